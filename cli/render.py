"""Commands that make pictures: render, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pegasus_ray.cli.options import Place, Settings, assignments_of, command
from pegasus_ray.cli.output import answer, one_progress
from pegasus_ray.schemas.errors import PegasusError, Reason

PANEL = "Look"  # heading of these commands in `pegasus --help`
FRAMES_OF_SHEET = 6
"""How many frames a sheet of pictures shows, at most, without --frames."""


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    for function in (render, report):
        app.command(function.__name__, rich_help_panel=PANEL)(function)


@command
def render(
    who: Annotated[str, typer.Argument(metavar="KEY", help="An avatar, generative avatar or transfer: key or name.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="A video (.mp4), a sheet of pictures (.png), points (.ply).",
        ),
    ],
    wear: Annotated[
        list[str] | None,
        typer.Option("--wear", metavar="ATTRIBUTE=AVATAR", help="Wear someone's attribute, as hair=anna; repeatable."),
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            "--mix",
            metavar="ATTRIBUTE=A:B:SHARE",
            help="Of a generative avatar: an attribute between two people's, as hair=anna:bert:0.5; `own` is its own.",
        ),
    ] = None,
    strip: Annotated[
        list[str] | None,
        typer.Option(
            "--strip",
            metavar="ATTRIBUTE=A:B",
            help="Of a generative avatar: a row of pictures from one to the other, as hair=own:anna; repeatable.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of a strip.")] = 8,
    drive: Annotated[
        str | None, typer.Option("--drive", metavar="TRACK", help="Whose motion: a track; the person's own without it.")
    ] = None,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Only the last tenth of the frames, which no fit has seen.")
    ] = False,
    turntable: Annotated[bool, typer.Option("--turntable", help="Hold one frame and turn the person about.")] = False,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="At most so many, evenly spaced.")] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=16, help="Side in pixels; the track's own without it.")
    ] = None,
    *,
    settings: Settings,
) -> None:
    """Draw a person, dressed in other people's attributes, moved by a video of anyone.

    Example: pegasus render franck --wear hair=cap12_edit --out franck.mp4 --library people
    """
    from pegasus_ray.schemas.manifests import Kind
    from pegasus_ray.viewer.codes import parse_code_mix, parse_code_pair
    from pegasus_ray.viewer.draw_person import Shot, draw_person, export_points
    from pegasus_ray.viewer.dressed_person import Outfit, dress_person
    from pegasus_ray.viewer.strips import Strips, draw_strips

    if out.suffix not in (".mp4", ".png", ".ply"):
        raise PegasusError(Reason.BAD_CONFIG, "give a name that ends in .mp4, .png or .ply", subject=str(out))
    catalogue = settings.catalogue()
    library = catalogue.library
    mixes = {name: parse_code_mix(text) for name, text in assignments_of(mix or []).items()}
    outfit = Outfit(wear=assignments_of(wear or []), mixes=mixes)
    if strip:
        ends = {name: parse_code_pair(text) for name, text in assignments_of(strip).items()}
        if out.suffix != ".png":
            raise PegasusError(
                Reason.BAD_CONFIG, "a strip is a picture: give a name that ends in .png", subject=str(out)
            )
        with one_progress("render", who) as progress:
            driver = catalogue.find(drive, Kind.TRACKS).key if drive else None
            strips = Strips(person=who, ends=ends, steps=steps, outfit=outfit, driver=driver, size=size)
            drawn = draw_strips(catalogue, strips, settings.pipeline().transfer, out, progress=progress)
        answer({"out": str(out), "frames": drawn}, as_json=settings.json, text=[f"{out}: {drawn} pictures"])
        return
    person = dress_person(catalogue, who, outfit, settings.pipeline().transfer)
    if out.suffix == ".ply":
        count = export_points(person, out)
        answer({"out": str(out), "points": count}, as_json=settings.json, text=[f"{out}: {count} points"])
        return
    driver = catalogue.find(drive, Kind.TRACKS).key if drive else person.track
    most = frames or (FRAMES_OF_SHEET if out.suffix == ".png" else None)
    shot = Shot(driver=driver, unseen=unseen, turntable=turntable, most=most, size=size)
    with one_progress("render", person.name) as progress:
        drawn = draw_person(library, person, shot, out, progress=progress)
    answer({"out": str(out), "frames": drawn}, as_json=settings.json, text=[f"{out}: {drawn} frames"])


@command
def report(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The page; report.html in the library without it."),
    ] = None,
    *,
    place: Place,
) -> None:
    """Write one page that shows a library: tracks, avatars, swaps, recombinations, failures. It needs no network.

    Example: pegasus report --library demo/library
    """
    from pegasus_ray.viewer.report import write_report

    catalogue = place.catalogue()
    library = catalogue.library
    home = library.storage.local("report.html")
    path = out or home
    if path is None:
        raise PegasusError(
            Reason.BAD_CONFIG, "the library is elsewhere; say where the page goes with --out", subject="--out"
        )
    if path == home:
        library.claim()
    with one_progress("report", place.library) as progress:
        write_report(catalogue, path, progress=progress)
    answer({"report": str(path)}, as_json=place.json, text=[str(path)])
