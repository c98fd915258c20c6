"""Plans the jobs of each command from videos, manifests and a configuration. Nothing is run here."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pegasus_ray.jobs.fit import FitJob
from pegasus_ray.jobs.personalize import PersonalizeJob
from pegasus_ray.jobs.studio import StudioConfig, StudioJob
from pegasus_ray.jobs.swap import SwapJob
from pegasus_ray.jobs.track import TrackJob
from pegasus_ray.jobs.transfer import TransferJob
from pegasus_ray.jobs.work import Job, Outcome
from pegasus_ray.library.library import Library, is_stale
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Manifest, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.config import PipelineConfig
from pegasus_ray.studio.cast import find_person
from pegasus_ray.studio.counterfactual import swap_attribute
from pegasus_ray.studio.sampling import sample_person

COLUMNS = ("path", "attributes", "subject", "consent")
"""Columns of a table of videos (`videos.csv`); all but the first may be left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A video, or a track that the library holds, and which attributes it is there to give."""

    reference: str  # a path, or a track's key or name
    attributes: tuple[Attribute, ...] = ()  # empty: whatever it shows
    subject: str = ""  # name of the person it shows; empty: the file's name
    consent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkPlan:
    """Jobs to run, and the inputs for which no job could be planned."""

    stage: Stage  # the stage whose results the command answers with
    jobs: tuple[Job, ...] = ()
    failed: tuple[Outcome, ...] = ()

    def counts(self, library: Library) -> dict[Stage, tuple[int, int]]:
        """For each stage of the plan, how many results are still to be made and how many are there."""
        keys: dict[Stage, set[str]] = {}
        for job in self.jobs:
            keys.setdefault(job.stage, set()).add(job.key)
        made = {stage: {key for key in keys[stage] if library.exists(stage.kind, key)} for stage in keys}
        return {stage: (len(keys[stage]) - len(made[stage]), len(made[stage])) for stage in Stage if stage in keys}


def read_sources(path: Path) -> list[Source]:
    """Read a table of videos (`path, attributes, subject, consent`; attributes separated by spaces or semicolons).

    Paths are relative to the table.

    Raises:
        PegasusError: NOT_FOUND; BAD_CONFIG for unknown columns or attributes, with the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except OSError as error:
        raise PegasusError(
            Reason.NOT_FOUND, f"cannot be read ({error.strerror}); check the path", subject=str(path)
        ) from error
    return [_source_of_row(row, path, line) for line, row in enumerate(rows, start=2)]


def plan_studio(
    seeds: Iterable[int], config: StudioConfig, *, swaps: Mapping[Attribute, str] | None = None
) -> WorkPlan:
    """Plan tracks of studio people, a job a seed.

    Args:
        seeds: one for each person.
        config: how they are filmed.
        swaps: attributes that each of them has from another person, who is named by seed or is one of the cast.

    Raises:
        PegasusError: BAD_CONFIG if a swap names a person that there is not.
    """
    jobs = []
    for seed in seeds:
        wearer = sample_person(seed)
        for attribute, other in (swaps or {}).items():
            wearer = swap_attribute(wearer, attribute, find_person(other))
        jobs.append(StudioJob.plan(wearer, config))
    return WorkPlan(stage=Stage.TRACK, jobs=tuple(jobs))


def plan_tracks(sources: Sequence[Source], config: PipelineConfig) -> WorkPlan:
    """Plan the tracking of each video."""
    jobs: list[Job] = []
    failed: list[Outcome] = []
    for source in sources:
        try:
            jobs.append(TrackJob.plan(Path(source.reference), config.track))
        except PegasusError as error:
            failed.append(_failed_source(source, error))
    return WorkPlan(stage=Stage.TRACK, jobs=tuple(jobs), failed=tuple(failed))


def plan_avatars(sources: Sequence[Source], library: Library, config: PipelineConfig) -> WorkPlan:
    """Plan an avatar of each source: tracking and fit for a video, the fit alone for a track that the library holds."""
    jobs: list[Job] = []
    failed: list[Outcome] = []
    for source in sources:
        try:
            track, name = _track_of(source, library, config, jobs)
        except PegasusError as error:
            failed.append(_failed_source(source, error))
            continue
        subject = source.subject or name
        jobs.append(FitJob.plan(track, config.fit, subject=subject, lends=source.attributes, consent=source.consent))
    return WorkPlan(stage=Stage.FIT, jobs=tuple(jobs), failed=tuple(failed))


def plan_swaps(
    library: Library,
    target: str,
    config: PipelineConfig,
    *,
    attributes: Sequence[Attribute] = (),
    avatars: Sequence[str] = (),
) -> WorkPlan:
    """Plan swaps on the target's frames: one for each pair of an avatar and an attribute that it is there to give.

    Args:
        library: where the avatars are.
        target: key or name of the target's avatar.
        config: of the swaps.
        attributes: only these; by default all.
        avatars: keys or names of the avatars that lend; by default all but the target's.

    Raises:
        PegasusError: BAD_REFERENCE for an avatar that there is not; MISSING_ATTRIBUTE if there is nothing to borrow.
    """
    wearer = library.find(target, Kind.AVATARS)
    lenders = [library.find(name, Kind.AVATARS) for name in avatars] or _all_lenders(library)
    track = wearer.input("track")
    pairs = [
        (lender, attribute)
        for lender in lenders
        if lender.key != wearer.key and lender.input("track") != track and lender.rig == wearer.rig
        for attribute in lender.attributes
        if not attributes or attribute in attributes
    ]
    if not pairs:
        wanted = ", ".join(attributes) or "attributes"
        message = f"no other avatar gives it {wanted}; `pegasus status` lists the avatars and what each gives"
        raise PegasusError(Reason.MISSING_ATTRIBUTE, message, subject=display_name(wearer))
    jobs = tuple(
        SwapJob.plan(
            track,
            wearer.key,
            lender.key,
            attribute,
            config.swap,
            subject=f"{attribute} of {display_name(lender)} on {display_name(wearer)}",
        )
        for lender, attribute in pairs
    )
    return WorkPlan(stage=Stage.SWAP, jobs=jobs)


def _all_lenders(library: Library) -> list[Manifest]:
    """All avatars; those that an earlier version made only if there are no others, for a person would lend twice."""
    found = list(library.manifests(Kind.AVATARS))
    return [manifest for manifest in found if not is_stale(manifest)] or found


def plan_personalize(
    library: Library,
    target: str,
    config: PipelineConfig,
    *,
    attributes: Sequence[Attribute] = (),
    avatars: Sequence[str] = (),
) -> WorkPlan:
    """Plan the generative avatar of a target from those swaps of `plan_swaps`, with the same arguments, that are made.

    With `personalize.synthesis` off, it is planned from the tracks and avatars of the same lenders instead.

    Raises:
        PegasusError: as `plan_swaps`; BAD_REFERENCE if none of the swaps is made.
    """
    avatar = library.find(target, Kind.AVATARS)
    planned = plan_swaps(library, avatar.key, config, attributes=attributes, avatars=avatars).jobs
    if not config.personalize.synthesis:
        lenders = {job.avatar for job in planned if isinstance(job, SwapJob)}
        people = [(library.expect(Kind.AVATARS, key).input("track"), key) for key in lenders]
        unswapped = PersonalizeJob.plan(
            avatar.input("track"), avatar.key, [], config.personalize, subject=display_name(avatar), people=people
        )
        return WorkPlan(stage=Stage.PERSONALIZE, jobs=(unswapped,))
    made = [job for job in planned if library.exists(Kind.SWAPS, job.key)]
    if not made:
        message = f"no swap of it is made; run `pegasus synthesize --target {target}` with the same settings first"
        raise PegasusError(Reason.BAD_REFERENCE, message, subject=display_name(avatar))
    swaps = [job.key for job in made]
    job = PersonalizeJob.plan(
        avatar.input("track"), avatar.key, swaps, config.personalize, subject=display_name(avatar)
    )
    return WorkPlan(stage=Stage.PERSONALIZE, jobs=(job,))


def plan_transfer(
    library: Library,
    source: str,
    users: Sequence[str],
    config: PipelineConfig,
    *,
    attributes: Sequence[Attribute],
    codes: Mapping[Attribute, str] | None = None,
) -> WorkPlan:
    """Plan the transfer of a source's attributes to new users' avatars, a job a user.

    Args:
        library: where all of them are.
        source: key or name of an avatar or a generative avatar.
        users: keys or names of the new users' avatars.
        config: of the transfer.
        attributes: what to borrow.
        codes: for a generative source, the code to take for an attribute, named by the avatar it was learned from.

    Raises:
        PegasusError: BAD_REFERENCE; MISSING_ATTRIBUTE if the source cannot give an attribute.
    """
    lender = find_first(library, source, (Kind.AVATARS, Kind.MODELS))
    if not users:
        raise PegasusError(Reason.BAD_REFERENCE, "name somebody to wear it", subject="--user")
    wearers = [library.find(user, Kind.AVATARS) for user in users]
    lacking = [attribute for attribute in attributes if attribute not in lender.attributes]
    if lacking or not attributes:
        gives = ", ".join(lender.attributes) or "nothing"
        asked = ", ".join(lacking) or "no attribute"
        message = f"{asked} was asked for and it gives {gives}; name some of those with --attributes"
        raise PegasusError(Reason.MISSING_ATTRIBUTE, message, subject=display_name(lender))
    learned = {attribute: library.find(name, Kind.AVATARS) for attribute, name in (codes or {}).items()}
    named = {attribute: manifest.key for attribute, manifest in learned.items()}
    parts = [f"{attribute} of {display_name(learned.get(attribute, lender))}" for attribute in attributes]
    jobs = tuple(
        TransferJob.plan(
            lender.key,
            lender.kind,
            wearer.key,
            attributes,
            config.transfer,
            codes=named,
            subject=f"{', '.join(parts)} on {display_name(wearer)}",
        )
        for wearer in wearers
    )
    return WorkPlan(stage=Stage.TRANSFER, jobs=jobs)


def display_name(manifest: Manifest) -> str:
    """The name of the person that a result shows: that of its source file without the suffix, else the key."""
    return PurePosixPath(manifest.source).stem or manifest.key


def find_first(library: Library, reference: str, kinds: Sequence[Kind]) -> Manifest:
    """Find a result by key or name, in the first of several kinds that has it.

    The kinds are tried in order, because a person's avatar and generative avatar have the same name.

    Raises:
        PegasusError: BAD_REFERENCE if none or more than one fits.
    """
    for kind in kinds:
        try:
            return library.find(reference, kind)
        except PegasusError:
            continue
    return library.find(reference, *kinds)


def _track_of(source: Source, library: Library, config: PipelineConfig, jobs: list[Job]) -> tuple[str, str]:
    """Key and name of the track of a source. If the source is a video, the job that makes the track is added to `jobs`."""
    path = Path(source.reference)
    if not path.exists():
        held = _held_track(source.reference, library)
        if held is not None:
            return held.key, held.source
    job = TrackJob.plan(path, config.track)
    jobs.append(job)
    return job.key, path.name


def _held_track(reference: str, library: Library) -> Manifest | None:
    try:
        return library.find(reference, Kind.TRACKS)
    except PegasusError:
        return None


def _failed_source(source: Source, error: PegasusError) -> Outcome:
    return Outcome(
        stage=Stage.TRACK,
        key="",
        subject=source.reference,
        status="failed",
        reason=error.reason,
        message=error.message,
    )


def _source_of_row(row: Mapping[str | None, str | None], path: Path, line: int) -> Source:
    where = f"{path}, line {line}"
    unknown = [name for name in row if name not in COLUMNS]
    if unknown or not row.get("path"):
        message = f"its columns are {', '.join(COLUMNS)}, and a path must be there"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=where)
    names = (row.get("attributes") or "").replace(";", " ").replace(",", " ").split()
    for name in names:
        if name not in tuple(Attribute):
            message = f"{name!r} is no attribute; there are {', '.join(Attribute)}"
            raise PegasusError(Reason.BAD_CONFIG, message, subject=where)
    return Source(
        reference=str(path.parent / str(row["path"])),
        attributes=tuple(Attribute(name) for name in names),
        subject=row.get("subject") or "",
        consent=row.get("consent") or "",
    )
