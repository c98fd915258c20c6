"""Commands that time the work on this machine: bench raster, render, step, fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pegasus_ray.cli.options import JsonFlag, PictureSize, Settings, command, group_of
from pegasus_ray.cli.output import answer, one_progress, table
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.schemas.manifests import Kind

if TYPE_CHECKING:
    from pegasus_ray.library.library import Library
    from pegasus_ray.library.track import Track

PANEL = "Measure"  # heading of these commands in `pegasus --help`

Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of torch.")]


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    commands = {"raster": bench_raster, "render": bench_render, "step": bench_step, "fit": bench_fit}
    bench = group_of("How long the work takes on this machine.", commands)
    app.add_typer(bench, name="bench", rich_help_panel=PANEL)


@command
def bench_raster(
    points: Annotated[int, typer.Option("--points", min=1, help="Points in the picture.")] = 20000,
    size: PictureSize = 256,
    per_pixel: Annotated[int, typer.Option("--per-pixel", min=1, help="Nearest points blended in a pixel.")] = 16,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Runs; the median is taken.")] = 5,
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
    scene = bench.BenchScene(points=points, size=size, per_pixel=per_pixel, features=features)
    facts = bench.bench_raster(scene, backend, repeats=repeats, against=against)
    _answer_figures(facts, as_json=json)


@command
def bench_render(
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="An avatar's key or name; a plain head without it.")
    ] = None,
    points: Annotated[int, typer.Option("--points", min=100, help="Points of the plain head.")] = 50_000,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Frames; the median is taken.")] = 20,
    size: PictureSize = 256,
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
        timing = bench.bench_render_plain_head(settings.pipeline().fit, points=points, frames=frames, size=size)
    else:
        library = settings.open()
        entry = Catalogue(library).find(key, Kind.AVATARS)
        avatar = read_avatar(library, entry.key)
        track = read_track(library.location, entry.inputs.get("track", ""))
        timing = bench.bench_render(avatar, track, frames=frames, size=size, fields=read_fields(library, entry.key))
    _answer_figures(timing.facts(), as_json=settings.json)


@command
def bench_step(
    track: Annotated[
        str | None, typer.Argument(metavar="[TRACK]", help="A track's key or name; a plain head without it.")
    ] = None,
    points: Annotated[int, typer.Option("--points", min=100, help="Points of the avatar.")] = 4000,
    size: PictureSize = 256,
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

    flags = {} if perceptual is None else {"fit": {"perceptual": perceptual}}
    config = settings.pipeline(flags).fit
    torch.set_num_threads(threads or config.threads)
    filmed = _find_track(settings.open(), track) if track is not None else None
    facts = bench.bench_step(
        config, points=points, size=size, frames=frames, steps=steps, track=filmed, preset=settings.preset
    )
    _answer_figures(facts, as_json=settings.json)


@command
def bench_fit(
    track: Annotated[str, typer.Argument(metavar="TRACK", help="A track's key or name.")],
    *,
    settings: Settings,
) -> None:
    """Time a whole fit, and compare its avatar with frames that it has not seen. Nothing is kept.

    Example: pegasus bench fit franck.mp4 --library people
    """
    import torch

    from pegasus_ray.evaluate import bench

    library, config = settings.open(), settings.pipeline().fit
    torch.set_num_threads(config.threads)
    filmed = _find_track(library, track)
    with one_progress("fit", filmed.source) as progress:
        facts = bench.bench_fit(filmed, config, preset=settings.preset, progress=progress)
    _answer_figures(facts, as_json=settings.json)


def _find_track(library: Library, reference: str) -> Track:
    """The track of a key or name."""
    from pegasus_ray.jobs.results import read_track

    return read_track(library.location, Catalogue(library).find(reference, Kind.TRACKS).key)


def _answer_figures(facts: dict[str, Any], *, as_json: bool) -> None:
    """Print a benchmark's answer."""
    rows = (
        (name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else value) for name, value in facts.items()
    )
    answer(facts, as_json=as_json, text=[table(("", "#"), rows)])
