"""Commands that compare results with the truth: evaluate avatar, people, studio, tracking, ablation; and the group of all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pegasus_ray.cli.evaluate_recombining import FilmFrames, evaluate_generative, evaluate_swap, evaluate_transfer
from pegasus_ray.cli.options import JsonFlag, PictureSize, Place, Run, Settings, command, group_of
from pegasus_ray.cli.output import answer, one_progress, table
from pegasus_ray.cli.running import prepare
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.schemas.manifests import Kind

PANEL = "Measure"  # heading of these commands in `pegasus --help`

Key = Annotated[str, typer.Argument(metavar="KEY", help="An avatar's key or name.")]
Sheet = Annotated[Path | None, typer.Option("--out", "-o", metavar="PNG", help="Truth above render, to look at.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of `pegasus evaluate`, those of `evaluate_recombining` among them."""
    commands = {
        "avatar": evaluate_avatar,
        "people": evaluate_people,
        "studio": evaluate_studio,
        "tracking": evaluate_tracking,
        "swap": evaluate_swap,
        "generative": evaluate_generative,
        "transfer": evaluate_transfer,
        "ablation": evaluate_ablation,
    }
    evaluate = group_of("Compare results with what they should be.", commands)
    app.add_typer(evaluate, name="evaluate", rich_help_panel=PANEL)


@command
def evaluate_avatar(
    key: Key,
    out: Sheet = None,
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
    manifest = library.expect(Kind.AVATARS, Catalogue(library).find(key, Kind.AVATARS).key)
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
def evaluate_people(
    people: Annotated[int, typer.Option("--people", min=1, help="How many people.")] = 3,
    size: PictureSize = 256,
    frames: FilmFrames = 80,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first person's; the others follow.")] = 900,
    out: Sheet = None,
    *,
    run: Run,
) -> None:
    """Fit avatars of studio people, and draw frames that no fit saw (unseen) and the head turned by 30° (aside).

    Each person's figures are as those of `evaluate avatar`. Tracks and avatars stay in the library.

    Example: pegasus evaluate people --people 2 --size 192 --library exam --json
    """
    from pegasus_ray.evaluate import people as evaluate
    from pegasus_ray.evaluate.exam import ExamConfig
    from pegasus_ray.jobs.studio import StudioConfig
    from pegasus_ray.library.images import encode_png

    film = StudioConfig(frames=frames, size=size, fps=ExamConfig().fps)
    exam = evaluate.PeopleExam(people=people, seed=seed, film=film, fit=run.pipeline().fit)
    if not prepare(exam.plan(), run):
        return
    with one_progress("evaluate", "people") as progress:
        report = evaluate.evaluate_people(exam, run.open(), progress)
    if out is not None:
        out.write_bytes(encode_png(report.sheet))
    facts = report.facts()
    shown = facts["people"] | {"mean": facts}
    columns = [(where, figure) for where in ("unseen", "aside") for figure in ("psnr", "ssim", "psnr_face")]
    rows = [(name, *(f"{row[where][figure]:.3f}" for where, figure in columns)) for name, row in shown.items()]
    text = [table(("", *(f"#{where} {figure}" for where, figure in columns)), rows)]
    answer(facts | {"size": size, "preset": run.preset}, as_json=run.json, text=text)


@command
def evaluate_studio(
    people: Annotated[int, typer.Option("--people", min=1, help="How many people.")] = 8,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Frames of each, spread over a performance.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first person's; the others follow.")] = 900,
    size: PictureSize = 256,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that film.")] = 2,
    json: JsonFlag = False,
) -> None:
    """Check with networks trained on photographs whether studio people have a face, and its parts where the truth has them.

    iou compares the 19-class parser's map with the truth; for the parser's file see `pegasus assets fetch`.

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
    size: PictureSize = 256,
    *,
    settings: Settings,
) -> None:
    """Film studio people, track the films like any video, and compare the tracks with the truth.

    Errors of rotation are also given after a constant turn of the head's own axes (turned), which identities may tilt. Films
    stay in the library.

    Example: pegasus evaluate tracking --people 2 --frames 40 --size 192 --library exams --json
    """
    import torch

    from pegasus_ray.evaluate import tracking
    from pegasus_ray.jobs.studio import StudioConfig

    config = settings.pipeline().track
    torch.set_num_threads(1)  # as in tracking jobs: a second thread makes the fit's small matrix products slower
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
    names = [name.strip() for name in variants.split(",") if name.strip()] or ablation.PAPER_VARIANTS
    with one_progress("ablation", preset) as progress:
        facts = ablation.run_ablation(exam, config, names, progress=progress)
    rows = [(name, *(f"{mean:.4g} ± {deviation:.2g}" for mean, deviation in facts[name].values())) for name in names]
    head = ("variant", "psnr", "ssim", f"perceptual ({facts['perceptual_model']})")
    answer(facts, as_json=settings.json, text=[table(head[: len(rows[0])], rows)])
