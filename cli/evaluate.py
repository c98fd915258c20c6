"""Commands that measure: evaluate, bench."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pegasus_ray.cli.evaluate_recombining import evaluate_generative, evaluate_people, evaluate_swap, evaluate_transfer
from pegasus_ray.cli.options import JsonFlag, Place, Settings, command
from pegasus_ray.cli.output import answer, one_progress, table
from pegasus_ray.schemas.manifests import Kind

PANEL = "Measure"

Key = Annotated[str, typer.Argument(metavar="KEY", help="An avatar's key or name.")]
Size = Annotated[int, typer.Option("--size", min=16, help="Side of the pictures in pixels.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of torch.")]


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    for name, about, commands in (
        (
            "evaluate",
            "Hold results against what they should be.",
            {
                "avatar": evaluate_avatar,
                "people": evaluate_people,
                "studio": evaluate_studio,
                "tracking": evaluate_tracking,
                "swap": evaluate_swap,
                "generative": evaluate_generative,
                "transfer": evaluate_transfer,
                "ablation": evaluate_ablation,
            },
        ),
        (
            "bench",
            "How long the work takes on this machine.",
            {"raster": bench_raster, "render": bench_render, "step": bench_step, "fit": bench_fit},
        ),
    ):
        group = typer.Typer(help=about, no_args_is_help=True, rich_markup_mode="rich")
        for part, made in commands.items():
            group.command(part)(made)
        app.add_typer(group, name=name, rich_help_panel=PANEL)


@command
def evaluate_avatar(
    key: Key,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="PNG", help="Truth above render, to look at.")
    ] = None,
    *,
    place: Place,
) -> None:
    """Draw an avatar on the last tenth of its video, which its fit has not seen, and compare.

    psnr and ssim are inside the matte, dilated by 2 % of the side, on white; psnr_face on face pixels alone. An avatar with
    networks is drawn by them; psnr_baked is that of the explicit points they were baked to.

    Example: pegasus evaluate avatar franck --library people --json
    """
    from pegasus_ray.evaluate import avatar as evaluate
    from pegasus_ray.jobs.results import read_avatar, read_fields, read_track
    from pegasus_ray.library.images import encode_png
    from pegasus_ray.rig.load import load_rig

    library = place.open()
    manifest = library.find(key, Kind.AVATARS)
    track, avatar = read_track(library.location, manifest.input("track")), read_avatar(library, manifest.key)
    score, sheet = evaluate.evaluate_avatar(track, avatar)
    facts: dict[str, Any] = {}
    if fields := read_fields(library, manifest.key):
        facts["psnr_baked"] = score.psnr
        score, sheet = evaluate.evaluate_avatar(track, avatar, points=fields.canonical(load_rig(avatar.rig)))
    if out is not None:
        out.write_bytes(encode_png(sheet))
    facts |= {
        "psnr": score.psnr,
        "ssim": score.ssim,
        "frames": score.frames,
        "psnr_face": score.psnr_face,
        "key": manifest.key,
        "source": manifest.source,
    }
    line = (
        f"{manifest.source or manifest.key}: {score.psnr:.2f} dB (face {score.psnr_face:.2f} dB), ssim {score.ssim:.4f}"
    )
    answer(facts, as_json=place.json, text=[f"{line}, {score.frames} frames"])


@command
def evaluate_studio(
    people: Annotated[int, typer.Option("--people", min=1, help="How many people.")] = 8,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Frames of each, spread over a performance.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first person's; the others follow.")] = 900,
    size: Size = 256,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that film.")] = 2,
    json: JsonFlag = False,
) -> None:
    """Have studio people judged by nets that were trained on photographs: is there a face, are its parts where the truth is?

    iou is that of the 19-class parser's map with the truth; for the parser's own file see `pegasus assets fetch`.

    Example: pegasus evaluate studio --people 4 --frames 6 --size 256 --json
    """
    from pegasus_ray.evaluate import studio

    with one_progress("evaluate", "studio") as progress:
        score = studio.evaluate_studio(range(seed, seed + people), frames, size, workers=workers, progress=progress)
    shares = ", ".join(f"{name} {value:.2f}" for name, value in score.iou.items())
    line = f"face found in {100 * score.face_found:.1f} % of {score.frames} frames; agreement: {shares}"
    answer(score.facts(), as_json=json, text=[f"{line}; {score.frames_per_second:.2f} frames/s"])


@command
def evaluate_tracking(
    people: Annotated[int, typer.Option("--people", min=1, help="How many people are filmed and tracked.")] = 6,
    frames: Annotated[int, typer.Option("--frames", min=8, help="Frames a person, twelve and a half a second.")] = 60,
    seed: Annotated[int, typer.Option("--seed", help="Of the first person; below 900 are those for tuning.")] = 900,
    size: Size = 256,
    *,
    settings: Settings,
) -> None:
    """Film studio people, track the films as anybody's video, and hold the tracks against the truth.

    Rotations are also told after a constant turn of the head's own axes (turned): identities may tilt them. Films stay
    in the library.

    Example: pegasus evaluate tracking --people 2 --frames 40 --size 192 --library exams --json
    """
    from dataclasses import replace

    import torch

    from pegasus_ray.evaluate import tracking
    from pegasus_ray.jobs.studio import StudioConfig

    config = settings.pipeline().track
    torch.set_num_threads(1)  # as tracking jobs do: the fit's small products lose by a second thread
    observe = replace(config.observe, size=size, max_frames=frames)
    exam = tracking.TrackingExam(
        people=people, seed=seed, film=StudioConfig(frames=frames, size=size), track=replace(config, observe=observe)
    )
    with one_progress("evaluate", "tracking") as progress:
        facts = tracking.evaluate_tracking(settings.open(), exam, progress)
    rows = [(name, facts[name]) for name in facts if name != "people"]
    answer(facts, as_json=settings.json, text=[table(("", "#"), rows)])


@command
def evaluate_ablation(
    variants: Annotated[
        str, typer.Option("--variants", metavar="NAMES", help="Separated by commas; the paper's Table 3 without it.")
    ] = "",
    size: Annotated[int, typer.Option("--size", min=32, help="Side of the pictures in pixels.")] = 96,
    frames: Annotated[int, typer.Option("--frames", min=4, help="Frames of each video.")] = 40,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Steps of each fit.")] = 300,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Fits of each variant.")] = 3,
    person: Annotated[int, typer.Option("--person", min=0, help="Number of the studio person.")] = 900,
    perceptual: Annotated[
        str, typer.Option("--perceptual", help="What the distance is measured by: vgg16, efficientnet-lite0 or none.")
    ] = "efficientnet-lite0",
    *,
    settings: Settings,
) -> None:
    """Fit a studio person's videos, own and part-swapped, with stages of canonical space switched off (the paper's Table 3).

    Figures are means and standard deviations over seeds, on performances that no fit has seen. Without --preset: paper-small.

    Example: pegasus evaluate ablation --steps 300 --seeds 3 --json
    """
    import torch

    from pegasus_ray.evaluate import ablation

    preset = "paper-small" if settings.preset == "fast" else settings.preset
    config = replace(settings, preset=preset).pipeline().fit
    torch.set_num_threads(config.threads)
    exam = ablation.AblationConfig(
        size=size, frames=frames, steps=steps, seeds=seeds, person=person, perceptual=perceptual
    )
    names = [name.strip() for name in variants.split(",") if name.strip()] or ablation.TABLE
    with one_progress("ablation", preset) as progress:
        facts = ablation.run_ablation(exam, config, names, progress=progress)
    rows = [(name, *(f"{mean:.4g} ± {spread:.2g}" for mean, spread in facts[name].values())) for name in names]
    head = ("variant", "psnr", "ssim", f"perceptual ({facts['perceptual_model']})")
    answer(facts, as_json=settings.json, text=[table(head[: len(rows[0])], rows)])


@command
def bench_raster(
    points: Annotated[int, typer.Option("--points", min=1, help="Points in the picture.")] = 20000,
    size: Size = 256,
    per_pixel: Annotated[int, typer.Option("--per-pixel", min=1, help="Nearest points blended in a pixel.")] = 16,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Of which the median is taken.")] = 5,
    backend: Annotated[str, typer.Option("--backend", help="warp, torch or pytorch3d.")] = "warp",
    against: Annotated[
        str, typer.Option("--against", help="What it is compared with; its own name: nothing.")
    ] = "torch",
    features: Annotated[int, typer.Option("--features", min=1, help="Numbers a point carries.")] = 3,
    threads: Threads = 1,
    json: JsonFlag = False,
) -> None:
    """Time the point rasteriser, forward and backward, beside the plain reference.

    Example: pegasus bench raster --points 20000 --size 256 --json
    """
    import torch

    from pegasus_ray.render import bench

    torch.set_num_threads(threads)
    facts = bench.bench_raster(points, size, per_pixel, repeats, backend, features=features, against=against)
    _tell(facts, json)


@command
def bench_render(
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="An avatar's key or name; a plain head without it.")
    ] = None,
    points: Annotated[int, typer.Option("--points", min=100, help="Points of the plain head.")] = 50_000,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Of which the median is taken.")] = 20,
    size: Size = 256,
    threads: Threads = 1,
    *,
    settings: Settings,
) -> None:
    """Time the drawing of an avatar, by its networks where it has some. Needs no library without an avatar.

    Example: pegasus bench render --points 50000 --size 512
    """
    import torch

    from pegasus_ray.evaluate import bench
    from pegasus_ray.jobs.results import read_avatar, read_fields, read_track

    torch.set_num_threads(threads)
    if key is None:
        timing = bench.bench_render_stand_in(settings.pipeline().fit, points=points, frames=frames, size=size)
    else:
        library = settings.open()
        manifest = library.find(key, Kind.AVATARS)
        avatar = read_avatar(library, manifest.key)
        track = read_track(library.location, manifest.input("track"))
        timing = bench.bench_render(avatar, track, frames=frames, size=size, fields=read_fields(library, manifest.key))
    _tell(timing.facts(), settings.json)


@command
def bench_step(
    track: Annotated[
        str | None, typer.Argument(metavar="[TRACK]", help="A track's key or name; a plain head without it.")
    ] = None,
    points: Annotated[int, typer.Option("--points", min=100, help="Points of the avatar.")] = 4000,
    size: Size = 256,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Frames of a step, which share a code.")] = 8,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps measured, after a first one.")] = 5,
    perceptual: Annotated[
        str | None, typer.Option("--perceptual", help="vgg16, efficientnet-lite0 or none; the preset's own without it.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of torch; the preset's own without it.")
    ] = None,
    *,
    settings: Settings,
) -> None:
    """Time the steps of a fit: seconds_per_frame is a step's, divided by its frames. Needs no library.

    Example: pegasus bench step --preset paper --points 4000 --size 256 --frames 8 --perceptual none --threads 2
    """
    import torch

    from pegasus_ray.evaluate import bench
    from pegasus_ray.jobs.results import read_track

    flags = {} if perceptual is None else {"fit": {"perceptual": perceptual}}
    config = settings.pipeline(flags).fit
    torch.set_num_threads(threads or config.threads)
    held = None
    if track is not None:
        library = settings.open()
        held = read_track(library.location, library.find(track, Kind.TRACKS).key)
    facts = bench.bench_step(
        config, points=points, size=size, frames=frames, steps=steps, track=held, preset=settings.preset
    )
    _tell(facts, settings.json)


@command
def bench_fit(
    track: Annotated[str, typer.Argument(metavar="TRACK", help="A track's key or name.")],
    *,
    settings: Settings,
) -> None:
    """Time a whole fit, and say what it is worth on frames that it has not seen. Nothing is kept.

    Example: pegasus bench fit franck.mp4 --library people
    """
    import torch

    from pegasus_ray.evaluate import bench
    from pegasus_ray.jobs.results import read_track

    library, config = settings.open(), settings.pipeline().fit
    torch.set_num_threads(config.threads)
    held = read_track(library.location, library.find(track, Kind.TRACKS).key)
    with one_progress("fit", held.source) as progress:
        facts = bench.bench_fit(held, config, preset=settings.preset, progress=progress)
    _tell(facts, settings.json)


def _tell(facts: dict[str, Any], as_json: bool) -> None:
    rows = (
        (name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else value) for name, value in facts.items()
    )
    answer(facts, as_json=as_json, text=[table(("", "#"), rows)])
