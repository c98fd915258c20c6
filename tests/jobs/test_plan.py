"""Invariants of plans: swaps are planned from what manifests and tables of videos say may be lent, and nothing runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pegasus_ray.jobs.fit import FitJob
from pegasus_ray.jobs.plan import (
    plan_avatars,
    plan_personalize,
    plan_studio,
    plan_swaps,
    plan_transfer,
)
from pegasus_ray.jobs.sources import Source, read_sources
from pegasus_ray.jobs.studio import StudioConfig
from pegasus_ray.library.keys import digest_file
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.recordings import read_recordings, recording_of_video
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, InputEntry, Kind, Provenance, SeenPerson, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.config import PipelineConfig
from pegasus_ray.stages.settings import override

HAIR, NOSE, HAT = Attribute.HAIR, Attribute.NOSE, Attribute.HAT


def avatar(
    library: Library, number: int, gives: tuple[Attribute, ...], *, track: int | None = None, rig: str = "open"
) -> str:
    key = f"{number:016x}"
    inputs = (InputEntry(name="track", key=f"{track or number + 100:016x}"),)
    facts = Provenance(source=f"person-{number}", inputs=inputs, rig=rig, attributes=gives)
    return library.commit(Kind.AVATARS, key, {"avatar.safetensors": b"x"}, facts).key


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path / "lib")
    avatar(library, 1, (HAIR, NOSE))  # the target
    avatar(library, 2, (HAIR, NOSE))
    avatar(library, 3, (HAT,))
    avatar(library, 4, (HAIR,), rig="flame")  # bound to another rig
    avatar(library, 5, (HAIR,), track=101)  # the target's own video, fitted otherwise
    return library


def pairs(library: Library, **chosen: object) -> set[tuple[int, Attribute]]:
    jobs = plan_swaps(Catalogue(library), "person-1", PipelineConfig(), **chosen).jobs
    return {(int(job.avatar, 16), job.attribute) for job in jobs}


def test_pairs_are_what_others_may_give(library: Library) -> None:
    assert pairs(library) == {(2, HAIR), (2, NOSE), (3, HAT)}
    assert pairs(library, attributes=[HAIR]) == {(2, HAIR)}
    assert pairs(library, avatars=["person-3"]) == {(3, HAT)}


def test_nobody_lends_twice_for_having_been_fitted_by_an_earlier_version(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setitem(FORMAT_VERSIONS, Kind.AVATARS, FORMAT_VERSIONS[Kind.AVATARS] - 1)
        avatar(library, 12, (HAIR, NOSE))
    assert pairs(library) == {(2, HAIR), (2, NOSE), (3, HAT)}
    assert pairs(library, avatars=["person-12"]) == {(12, HAIR), (12, NOSE)}, "whoever is named lends"


def test_nobody_gives_it(library: Library) -> None:
    with pytest.raises(PegasusError) as caught:
        plan_swaps(Catalogue(library), "person-1", PipelineConfig(), attributes=[Attribute.MOUTH])
    assert caught.value.reason is Reason.MISSING_ATTRIBUTE
    with pytest.raises(PegasusError, match="synthesize --target person-1"):
        plan_personalize(Catalogue(library), "person-1", PipelineConfig())


def test_personalize_takes_the_swaps_that_are_made(library: Library) -> None:
    planned = plan_swaps(Catalogue(library), "person-1", PipelineConfig()).jobs
    for job in planned[:2]:
        library.commit(Kind.SWAPS, job.key, {"part.parquet": b"x"}, Provenance())
    (job,) = plan_personalize(Catalogue(library), "person-1", PipelineConfig()).jobs
    assert set(job.swaps) == {made.key for made in planned[:2]}


def test_a_transfer_gives_what_the_source_has(library: Library) -> None:
    plan = plan_transfer(Catalogue(library), "person-2", ["person-3", "person-1"], PipelineConfig(), attributes=[HAIR])
    assert plan.counts(Catalogue(library)) == {Stage.TRANSFER: (2, 0)}, "a job a user"
    with pytest.raises(PegasusError, match="somebody to wear it"):
        plan_transfer(Catalogue(library), "person-2", [], PipelineConfig(), attributes=[HAIR])
    for wrong in ([HAT], []):
        with pytest.raises(PegasusError, match="gives hair, nose"):
            plan_transfer(Catalogue(library), "person-2", ["person-3"], PipelineConfig(), attributes=wrong)


def test_one_chain_a_video_and_missing_ones_named(library: Library, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"not looked at while planning")
    sources = [Source(reference=str(video), attributes=(HAIR,), consent="yes"), Source(reference="gone.mp4")]
    plan = plan_avatars(sources, Catalogue(library), PipelineConfig())
    track, fit = plan.jobs
    assert (track.stage, fit.stage, fit.needs) == (Stage.TRACK, Stage.FIT, (track.key,))
    recording = recording_of_video(digest_file(video))
    assert [(said.recording, said.consent, said.lends) for said in plan.recordings] == [(recording, "yes", (HAIR,))]
    assert {person.consent for job in (track, fit) for person in job.seen} == {"yes"}
    assert [(item.subject, item.reason) for item in plan.failed] == [("gone.mp4", Reason.NOT_FOUND)]
    assert not (tmp_path / "lib" / "tracks").exists()


def test_a_held_track_needs_only_its_fit(library: Library) -> None:
    library.commit(Kind.TRACKS, "a" * 16, {"frames.parquet": b"x"}, Provenance(source="anna.mp4"))
    (fit,) = plan_avatars([Source(reference="anna")], Catalogue(library), PipelineConfig()).jobs
    assert (fit.needs, fit.subject) == (("a" * 16,), "anna")


def test_a_table_says_who_gives_what(tmp_path: Path) -> None:
    table = tmp_path / "videos.csv"
    table.write_text('path, attributes, subject, consent\na.mp4, hair;nose, anna, "signed, 2026"\nb.mp4,,,\n')
    assert read_sources(table) == [
        Source(reference=str(tmp_path / "a.mp4"), attributes=(HAIR, NOSE), subject="anna", consent="signed, 2026"),
        Source(reference=str(tmp_path / "b.mp4")),
    ]


@pytest.mark.parametrize(
    "text", ["file\na.mp4\n", "path,attributes\na.mp4,beard\n", "path,subject\n,anna\n", "path\na.mp4,more\n"]
)
def test_a_table_that_is_wrong_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    table = tmp_path / "videos.csv"
    table.write_text(text)
    with pytest.raises(PegasusError, match="line 2") as caught:
        read_sources(table)
    assert caught.value.reason is Reason.BAD_CONFIG


def test_studio_people_are_planned_by_seed() -> None:
    config = StudioConfig(frames=2, size=16)
    plain = plan_studio(range(3), config).jobs
    assert len({job.key for job in plain}) == 3
    assert plan_studio([1], config).jobs[0].key == plain[1].key
    assert plan_studio([1], config, swaps={HAIR: "2"}).jobs[0].key != plain[1].key


def test_what_an_earlier_version_made_is_kept_on_demand_and_marked_in_what_follows(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.commit(Kind.TRACKS, "a" * 16, {"frames.parquet": b"x"}, Provenance(source="anna.mp4"))
    sources = [Source(reference="anna", subject="anna")]
    with monkeypatch.context() as earlier:
        earlier.setitem(FORMAT_VERSIONS, Kind.AVATARS, FORMAT_VERSIONS[Kind.AVATARS] - 1)
        (old,) = plan_avatars(sources, Catalogue(library), PipelineConfig()).jobs
        facts = old.provenance(old.config, source="anna.mp4", rig="open", attributes=(HAIR,))
        library.commit(Kind.AVATARS, old.key, {"avatar.safetensors": b"x"}, facts)
    catalogue = Catalogue(library)
    (anew,) = plan_avatars(sources, catalogue, PipelineConfig()).jobs
    (kept,) = plan_avatars(sources, catalogue, PipelineConfig(), keep_stale=True).jobs
    assert anew.key != old.key == kept.key
    plain = plan_swaps(catalogue, "person-1", PipelineConfig())
    assert old.key not in {job.avatar for job in plain.jobs}
    assert "earlier version made their avatars: 1" in plain.remarks[0]
    swap = next(
        job
        for job in plan_swaps(catalogue, "person-1", PipelineConfig(), keep_stale=True).jobs
        if job.avatar == old.key
    )
    told = {entry.name: entry.stale for entry in swap.provenance(swap.config, source="", rig="open").inputs}
    assert told == {"track": False, "target": False, "avatar": True}


def test_a_person_with_two_avatars_lends_that_of_todays_settings_or_nobody_guesses(library: Library) -> None:
    wanted = FitJob.plan(f"{102:016x}", PipelineConfig().fit, subject="").key
    avatar(library, int(wanted, 16), (HAIR,), track=102)
    assert {job.avatar for job in plan_swaps(Catalogue(library), "person-1", PipelineConfig()).jobs} == {
        wanted,
        f"{3:016x}",
    }
    with pytest.raises(PegasusError, match="has several avatars"):
        plan_swaps(Catalogue(library), "person-1", replace(PipelineConfig(), fit=replace(PipelineConfig().fit, seed=5)))


def test_what_memory_did_not_suffice_for_is_tried_again_with_more(library: Library) -> None:
    library.commit(Kind.TRACKS, "a" * 16, {"frames.parquet": b"x"}, Provenance(source="anna.mp4"))
    (wish,) = plan_avatars([Source(reference="anna")], Catalogue(library), PipelineConfig()).jobs
    smaller = replace(wish.smaller(), room=5 << 30)  # as the schedule notes it
    facts = smaller.provenance(smaller.config, source="anna.mp4", rig="open", attributes=(HAIR,))
    library.commit(Kind.AVATARS, smaller.key, {"avatar.safetensors": b"x"}, facts)
    catalogue = Catalogue(library)
    (again,) = plan_avatars([Source(reference="anna")], catalogue, PipelineConfig()).jobs
    assert (again.key, again.short_of) == (wish.key, facts.room)
    assert facts.room == 5 << 30
    assert smaller.key in {job.avatar for job in plan_swaps(catalogue, "person-1", PipelineConfig()).jobs}


def test_one_source_may_be_many_videos(library: Library, tmp_path: Path) -> None:
    for name in ("b.mp4", "a.mp4", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    plan = plan_avatars(
        [Source(reference=str(tmp_path), consent="theirs"), Source(reference=f"{tmp_path}/*.mov")],
        Catalogue(library),
        PipelineConfig(),
    )
    assert [job.seen[0].name for job in plan.jobs] == ["a", "b", "a", "b"]
    assert {person.consent for job in plan.jobs for person in job.seen} == {"theirs"}
    assert [outcome.reason for outcome in plan.failed] == [Reason.NOT_FOUND]


def test_what_is_said_holds_for_every_track_of_a_video(library: Library, tmp_path: Path) -> None:
    video = tmp_path / "anna.mp4"
    video.write_bytes(b"anna")
    small = override(PipelineConfig(), {"track": {"observe": {"size": 64}}})
    catalogue = Catalogue(library)
    for config, consent in ((PipelineConfig(), "signed"), (small, "withdrawn")):
        plan = plan_avatars([Source(reference=str(video), consent=consent)], catalogue, config)
        track, fit = plan.jobs
        for job in (track, fit):
            library.commit(job.stage.kind, job.key, {"x": b"x"}, job.provenance({}, source="anna.mp4", rig="open"))
        catalogue.say(plan.recordings)
    known = Catalogue(library)
    tracks = known.entries(Kind.TRACKS)
    assert len(tracks) == 2
    assert {person.consent for entry in tracks for person in known.people(entry)} == {"withdrawn"}


def test_a_video_that_is_named_twice_keeps_all_that_is_said(library: Library, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"a")
    sources = [
        Source(reference=str(video), consent="signed", subject="anna"),
        Source(reference=str(video), attributes=(HAIR,)),
    ]
    catalogue = Catalogue(library)
    catalogue.say(plan_avatars(sources, catalogue, PipelineConfig()).recordings)
    (said,) = read_recordings(library).values()
    assert (said.name, said.consent, said.lends) == ("anna", "signed", (HAIR,))


def test_a_new_track_of_a_video_takes_the_place_of_a_stale_one(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = (SeenPerson(recording=f"{500:016x}", name="anna"),)

    def put(number: int, track: int) -> None:
        inputs = (InputEntry(name="track", key=f"{track:016x}"),)
        facts = Provenance(source="anna.mp4", inputs=inputs, rig="open", attributes=(HAIR,), seen=seen)
        library.commit(Kind.AVATARS, f"{number:016x}", {"avatar.safetensors": b"x"}, facts)

    with monkeypatch.context() as earlier:
        earlier.setitem(FORMAT_VERSIONS, Kind.AVATARS, FORMAT_VERSIONS[Kind.AVATARS] - 1)
        put(21, 700)
    put(22, 701)
    catalogue = Catalogue(library)
    assert catalogue.find("anna").key == f"{22:016x}"
    plan = plan_swaps(catalogue, "person-1", PipelineConfig(), keep_stale=True)
    assert f"{21:016x}" not in {job.avatar for job in plan.jobs} and plan.remarks == ()
    with pytest.raises(PegasusError, match="no other avatar"):
        plan_swaps(catalogue, "anna", PipelineConfig(), avatars=[f"{21:016x}"])  # nobody borrows from themselves


def test_a_table_of_another_encoding_is_named(tmp_path: Path) -> None:
    table = tmp_path / "videos.csv"
    table.write_bytes("path,subject\na.mp4,J\u00fcrgen\n".encode("latin-1"))
    with pytest.raises(PegasusError, match="UTF-8") as caught:
        read_sources(table)
    assert caught.value.reason is Reason.BAD_CONFIG
