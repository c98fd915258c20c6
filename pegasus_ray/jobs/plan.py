"""Plans the jobs of each command from videos, the catalogue and a configuration. Nothing is run here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pegasus_ray.jobs.fit import FitJob
from pegasus_ray.jobs.personalize import PersonalizeJob
from pegasus_ray.jobs.results import join_seen
from pegasus_ray.jobs.sources import Source
from pegasus_ray.jobs.stage_job import StageJob
from pegasus_ray.jobs.studio import StudioConfig, StudioJob
from pegasus_ray.jobs.swap import Models, SwapJob
from pegasus_ray.jobs.track import TrackJob
from pegasus_ray.jobs.transfer import TransferJob
from pegasus_ray.jobs.work import Job, Outcome
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.recordings import together, what_is_new
from pegasus_ray.library.videos.addresses import expand, is_remote, shown
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Recording, ResultEntry, SeenPerson, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.config import PipelineConfig
from pegasus_ray.stages.judge import judge_models
from pegasus_ray.studio.cast import find_person
from pegasus_ray.studio.counterfactual import swap_attribute
from pegasus_ray.studio.sampling import sample_person

_AnyJob = TypeVar("_AnyJob", bound=StageJob)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkPlan:
    """Jobs to run, the inputs for which no job could be planned, and what is said about recordings."""

    stage: Stage  # the stage whose results the command answers with
    jobs: tuple[Job, ...] = ()
    failed: tuple[Outcome, ...] = ()
    recordings: tuple[Recording, ...] = ()  # only those about which something new is said
    remarks: tuple[str, ...] = ()  # what the user should know before it runs

    def counts(self, catalogue: Catalogue) -> dict[Stage, tuple[int, int]]:
        """For each stage of the plan, how many results are still to be made and how many are there."""
        keys: dict[Stage, set[str]] = {}
        for job in self.jobs:
            keys.setdefault(job.stage, set()).add(job.key)
        made = {stage: {key for key in keys[stage] if catalogue.get(stage.kind, key)} for stage in keys}
        return {stage: (len(keys[stage]) - len(made[stage]), len(made[stage])) for stage in Stage if stage in keys}


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


def plan_tracks(
    sources: Sequence[Source], catalogue: Catalogue, config: PipelineConfig, *, keep_stale: bool = False
) -> WorkPlan:
    """Plan the tracking of each video; `keep_stale` takes what an earlier version of the stage made of the same work."""
    jobs: list[Job] = []
    failed: list[Outcome] = []
    recordings: list[Recording] = []
    for source in sources:
        try:
            jobs += _trackings(source, catalogue, config, recordings, keep_stale)
        except PegasusError as error:
            failed.append(_failed_source(source, error))
    return WorkPlan(stage=Stage.TRACK, jobs=tuple(jobs), failed=tuple(failed), recordings=tuple(recordings))


def plan_avatars(
    sources: Sequence[Source], catalogue: Catalogue, config: PipelineConfig, *, keep_stale: bool = False
) -> WorkPlan:
    """Plan an avatar of each source: tracking and fit for a video, the fit alone for a track that the library holds.

    `keep_stale` takes what earlier versions of the stages made of the same work.
    """
    jobs: list[Job] = []
    failed: list[Outcome] = []
    recordings: list[Recording] = []
    for source in sources:
        try:
            held = _held_track(source, catalogue)
            trackings = [] if held else _trackings(source, catalogue, config, recordings, keep_stale)
        except PegasusError as error:
            failed.append(_failed_source(source, error))
            continue
        tracks = [(tracking.key, tracking.seen[0], tracking.video.name) for tracking in trackings]
        if held is not None:
            person = _person_said(source, catalogue.recording_of(held), catalogue, recordings)
            tracks = [(held.key, person, catalogue.name(held))]
        jobs += trackings
        for track, person, name in tracks:
            fit = FitJob.plan(track, config.fit, subject=source.subject or name, seen=(person,))
            fit = replace(fit, stale=_stale(catalogue, (Kind.TRACKS, track)))
            jobs.append(_standing(fit, catalogue, keep_stale))
    return WorkPlan(stage=Stage.FIT, jobs=tuple(jobs), failed=tuple(failed), recordings=tuple(recordings))


def plan_swaps(
    catalogue: Catalogue,
    target: str,
    config: PipelineConfig,
    *,
    attributes: Sequence[Attribute] = (),
    avatars: Sequence[str] = (),
    keep_stale: bool = False,
) -> WorkPlan:
    """Plan swaps on the target's frames: one for each pair of an avatar and an attribute that it is there to give.

    Args:
        catalogue: what there is.
        target: key or name of the target's avatar.
        config: of the swaps.
        attributes: only these; by default all.
        avatars: keys or names of the avatars that lend; by default everybody's but the target's.
        keep_stale: take what an earlier version of the stage made of the same work.

    Raises:
        PegasusError: BAD_REFERENCE for an avatar that there is not, or a person with several; MISSING_ATTRIBUTE if there is
            nothing to borrow.
    """
    wearer = catalogue.find(target, Kind.AVATARS)
    lenders = [catalogue.find(name, Kind.AVATARS) for name in avatars]
    remarks: tuple[str, ...] = ()
    if not lenders:
        lenders, remarks = everybody(catalogue, config, but=catalogue.recording_of(wearer), keep_stale=keep_stale)
    models, jobs = judge_models(config.swap.judge), []
    for lender in lenders:
        jobs += swaps_of_pair(
            catalogue, wearer, lender, config, attributes=attributes, models=models, keep_stale=keep_stale
        )
    if not jobs:
        wanted = ", ".join(attributes) or "attributes"
        message = f"no other avatar gives it {wanted}; `pegasus status` lists the avatars and what each gives"
        raise PegasusError(Reason.MISSING_ATTRIBUTE, message, subject=catalogue.name(wearer))
    return WorkPlan(stage=Stage.SWAP, jobs=tuple(jobs), remarks=remarks)


def swaps_of_pair(
    catalogue: Catalogue,
    wearer: ResultEntry,
    lender: ResultEntry,
    config: PipelineConfig,
    *,
    attributes: Sequence[Attribute] = (),
    models: Models | None = None,
    keep_stale: bool = False,
) -> list[SwapJob]:
    """The swaps of one avatar onto one target, as in `plan_swaps`: none where both show one recording, or are on two rigs.

    `models` are the `judge_models` of the configuration, from who plans many.
    """
    if catalogue.recording_of(lender) == catalogue.recording_of(wearer) or lender.rig != wearer.rig:
        return []
    track, jobs = wearer.inputs.get("track", ""), []
    on, seen = catalogue.name(wearer), join_seen(catalogue.people(wearer), catalogue.people(lender))
    stale = _stale(catalogue, (Kind.TRACKS, track), (Kind.AVATARS, wearer.key), (Kind.AVATARS, lender.key))
    for attribute in (given for given in catalogue.lends(lender) if not attributes or given in attributes):
        subject = f"{attribute} of {catalogue.name(lender)} on {on}"
        job = SwapJob.plan(
            track, wearer.key, lender.key, attribute, config.swap, subject=subject, seen=seen, models=models
        )
        jobs.append(_standing(replace(job, stale=stale), catalogue, keep_stale))
    return jobs


def plan_personalize(
    catalogue: Catalogue,
    target: str,
    config: PipelineConfig,
    *,
    attributes: Sequence[Attribute] = (),
    avatars: Sequence[str] = (),
    keep_stale: bool = False,
) -> WorkPlan:
    """Plan the generative avatar of a target from those swaps of `plan_swaps`, with the same arguments, that are made.

    With `personalize.synthesis` off, it is planned from the tracks and avatars of the same lenders instead.

    Raises:
        PegasusError: as `plan_swaps`; BAD_REFERENCE if none of the swaps is made.
    """
    planned = plan_swaps(catalogue, target, config, attributes=attributes, avatars=avatars, keep_stale=keep_stale)
    swaps = [job for job in planned.jobs if isinstance(job, SwapJob)]
    plan = plan_model(catalogue, target, swaps, config, keep_stale)
    return replace(plan, remarks=(*planned.remarks, *plan.remarks))


def plan_model(
    catalogue: Catalogue, target: str, swaps: Sequence[SwapJob], config: PipelineConfig, keep_stale: bool
) -> WorkPlan:
    """As `plan_personalize`, from the swaps that were planned on the target. Raises BAD_REFERENCE as it does."""
    avatar = catalogue.find(target, Kind.AVATARS)
    track, name = avatar.inputs.get("track", ""), catalogue.name(avatar)
    remarks: tuple[str, ...] = ()
    if not config.personalize.synthesis:
        lenders = {job.avatar: catalogue.get(Kind.AVATARS, job.avatar) for job in swaps}
        people = [(entry.inputs.get("track", ""), key) for key, entry in lenders.items() if entry]
        job = PersonalizeJob.plan(track, avatar.key, [], config.personalize, subject=name, people=people)
    else:
        made = [job for job in swaps if catalogue.get(Kind.SWAPS, job.key)]
        if not made:
            message = f"no swap of it is made; run `pegasus synthesize --target {target}` with the same settings first"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=name)
        if len(made) < len(swaps):
            missing = f"{len(swaps) - len(made)} of {len(swaps)} swaps are not made; it learns from the others"
            remarks = (f"{name}: {missing}",)
        swaps = made
        job = PersonalizeJob.plan(track, avatar.key, [swap.key for swap in swaps], config.personalize, subject=name)
    stale = _stale(
        catalogue,
        (Kind.TRACKS, track),
        (Kind.AVATARS, avatar.key),
        *((Kind.SWAPS, key) for key in job.swaps),
        *((Kind.AVATARS, key) for _, key in job.people),
    )
    job = replace(job, stale=stale, seen=join_seen(catalogue.people(avatar), *(swap.seen for swap in swaps)))
    return WorkPlan(stage=Stage.PERSONALIZE, jobs=(_standing(job, catalogue, keep_stale),), remarks=remarks)


def plan_transfer(
    catalogue: Catalogue,
    source: str,
    users: Sequence[str],
    config: PipelineConfig,
    *,
    attributes: Sequence[Attribute],
    codes: Mapping[Attribute, str] | None = None,
    keep_stale: bool = False,
) -> WorkPlan:
    """Plan the transfer of a source's attributes to new users' avatars, a job a user.

    Args:
        catalogue: what there is.
        source: key or name of an avatar or a generative avatar.
        users: keys or names of the new users' avatars.
        config: of the transfer.
        attributes: what to borrow.
        codes: for a generative source, the code to take for an attribute, named by the avatar it was learned from.
        keep_stale: take what an earlier version of the stage made of the same work.

    Raises:
        PegasusError: BAD_REFERENCE; MISSING_ATTRIBUTE if the source cannot give an attribute.
    """
    lender = catalogue.find_first(source, Kind.AVATARS, Kind.MODELS)
    if not users:
        raise PegasusError(Reason.BAD_REFERENCE, "name somebody to wear it", subject="--user")
    wearers = [catalogue.find(user, Kind.AVATARS) for user in users]
    given = lender.attributes if lender.kind is Kind.MODELS else catalogue.lends(lender)
    lacking = [attribute for attribute in attributes if attribute not in given]
    if lacking or not attributes:
        gives = ", ".join(given) or "nothing"
        asked = ", ".join(lacking) or "no attribute"
        message = f"{asked} was asked for and it gives {gives}; name some of those with --attributes"
        raise PegasusError(Reason.MISSING_ATTRIBUTE, message, subject=catalogue.name(lender))
    learned = {attribute: catalogue.find(name, Kind.AVATARS) for attribute, name in (codes or {}).items()}
    named = {attribute: entry.key for attribute, entry in learned.items()}
    parts = [f"{attribute} of {catalogue.name(learned.get(attribute, lender))}" for attribute in attributes]
    jobs = []
    for wearer in wearers:
        job = TransferJob.plan(
            lender.key,
            lender.kind,
            wearer.key,
            attributes,
            config.transfer,
            codes=named,
            subject=f"{', '.join(parts)} on {catalogue.name(wearer)}",
            seen=join_seen(catalogue.people(wearer), catalogue.people(lender)),
        )
        stale = _stale(catalogue, (lender.kind, lender.key), (Kind.AVATARS, wearer.key))
        jobs.append(_standing(replace(job, stale=stale), catalogue, keep_stale))
    return WorkPlan(stage=Stage.TRANSFER, jobs=tuple(jobs))


def everybody(
    catalogue: Catalogue, config: PipelineConfig, *, but: str = "", keep_stale: bool = False
) -> tuple[list[ResultEntry], tuple[str, ...]]:
    """Everybody's avatar but that of one recording, so that nobody lends twice, and a remark about who is left out.

    What an earlier version of the stage made lends only where there is nothing else at all, or the user asks for it. Of several
    avatars of one recording that lends which today's settings of the fit make.

    Raises:
        PegasusError: BAD_REFERENCE for a recording of whose avatars none is of today's settings.
    """
    there = catalogue.entries(Kind.AVATARS)
    current = [entry for entry in there if not entry.is_stale]
    chosen = catalogue.preferred(there if keep_stale or not current else current)
    of_recording: dict[str, list[ResultEntry]] = {}
    for entry in chosen:
        of_recording.setdefault(catalogue.recording_of(entry), []).append(entry)
    left_out = {catalogue.recording_of(entry) for entry in there} - of_recording.keys()
    of_recording.pop(but, None)
    lenders = [_of_todays_settings(entries, catalogue, config) for entries in of_recording.values()]
    remark = (
        f"left out, because an earlier version made their avatars: {len(left_out)}; build-db makes them anew, "
        "--keep-stale takes them"
    )
    return sorted(lenders, key=lambda entry: entry.key), (remark,) if left_out else ()


def _of_todays_settings(entries: Sequence[ResultEntry], catalogue: Catalogue, config: PipelineConfig) -> ResultEntry:
    """The one of a recording's avatars that today's settings of the fit make; the only one, where there is one."""
    if len(entries) == 1:
        return entries[0]
    wanted = {FitJob.plan(entry.inputs.get("track", ""), config.fit, subject="").key for entry in entries}
    found = [entry for entry in entries if entry.key in wanted]
    if len(found) != 1:
        keys = ", ".join(entry.key for entry in entries)
        message = f"has several avatars ({keys}), not one by these settings of the fit; say who lends with --avatars"
        raise PegasusError(Reason.BAD_REFERENCE, message, subject=catalogue.name(entries[0]))
    return found[0]


def _held_track(source: Source, catalogue: Catalogue) -> ResultEntry | None:
    """The library's track that a source names; None where it names videos.

    Raises:
        PegasusError: BAD_REFERENCE if it is the name of several tracks.
    """
    if is_remote(source.reference) or Path(source.reference).exists():
        return None
    return catalogue.tracks_named(source.reference)


def _trackings(
    source: Source, catalogue: Catalogue, config: PipelineConfig, recordings: list[Recording], keep_stale: bool
) -> list[TrackJob]:
    """The jobs that track a source's videos. What is said about them and is new is added to `recordings`.

    Raises:
        PegasusError: as `expand`.
    """
    jobs = []
    for video in expand(source.reference):
        job = _standing(TrackJob.plan(video, config.track), catalogue, keep_stale)
        person = _person_said(source, job.seen[0].recording, catalogue, recordings)
        person = person if person.name else person.model_copy(update={"name": Path(video.name).stem})
        jobs.append(replace(job, seen=(person,)))
    return jobs


def _person_said(source: Source, recording: str, catalogue: Catalogue, recordings: list[Recording]) -> SeenPerson:
    """Whom a source shows, with what is said about it now. What is new is added to `recordings`."""
    known = catalogue.recordings.get(recording) or Recording(recording=recording)
    earlier = [said for said in recordings if said.recording == recording]  # in this very plan
    known = together([known, *earlier]).get(recording, known)
    said = what_is_new(known, name=source.subject, consent=source.consent, lends=source.attributes)
    if said is not None:
        recordings.append(said)
    person = catalogue.person(recording)
    name, consent = source.subject or known.name, source.consent or known.consent
    return SeenPerson(recording=recording, name=name or person.name, consent=consent or person.consent)


def _standing(job: _AnyJob, catalogue: Catalogue, keep_stale: bool) -> _AnyJob:
    """A job as things stand: in its result's place may be one of an earlier version, or a smaller one for want of memory."""
    kind = job.stage.kind
    if catalogue.get(kind, job.key) is not None:
        return job
    if keep_stale and (earlier := catalogue.of_same_work(kind, job.work)):
        return replace(job, key=earlier.key)
    smaller = catalogue.instead_of(kind, job.key)
    return replace(job, short_of=smaller.room) if smaller else job


def _stale(catalogue: Catalogue, *inputs: tuple[Kind, str]) -> frozenset[str]:
    """The keys of those inputs that an earlier version of their stage made."""
    found = [catalogue.get(kind, key) for kind, key in inputs]
    return frozenset(entry.key for entry in found if entry is not None and entry.is_stale)


def _failed_source(source: Source, error: PegasusError) -> Outcome:
    subject, reason, message = shown(source.reference), error.reason, error.message
    return Outcome(stage=Stage.TRACK, key="", subject=subject, status="failed", reason=reason, message=message)
