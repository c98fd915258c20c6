"""Invariants of the schedule: a job is taken after its needs, and a failure ends the jobs that need it, however many."""

from __future__ import annotations

from pathlib import Path

from pegasus_ray.engine.schedule import Schedule
from pegasus_ray.jobs.work import Outcome, failed_outcome
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.storage import Entry, LocalStorage
from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, ResultEntry, Stage
from tests.engine.fakes import FakeJob, key


def test_thousands_of_jobs_whose_need_failed_end_without_a_try(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("pegasus_ray.engine.schedule.outcome_before_run", lambda job, catalogue, ledger: None)
    need = FakeJob(key=key(1), stage=Stage.TRACK)
    jobs = [need, *(FakeJob(key=key(number), needs=(need.key,)) for number in range(2, 3002))]
    schedule = Schedule(jobs, Catalogue(Library(tmp_path)), attempts=1, on_event=lambda event: None)
    first = schedule.take()
    assert first is not None and first.job is need
    assert schedule.take() is None, "all others wait for it"
    schedule.record_outcome(first, failed_outcome(need, Reason.NOT_A_VIDEO, "is no video"))
    assert schedule.take() is None
    assert schedule.finished()
    assert [outcome.key for outcome in schedule.outcomes] == [need.key]


def test_a_chain_in_any_order_is_taken_needs_first(tmp_path: Path) -> None:
    jobs = [FakeJob(key=key(number), needs=(key(number - 1),) if number else ()) for number in range(5)]
    schedule = Schedule(jobs[::-1], Catalogue(Library(tmp_path)), attempts=1, on_event=lambda event: None)
    taken = []
    while (tried := schedule.take()) is not None:
        taken.append(tried.job.key)
        assert schedule.take() is None, "the next needs this one"
        schedule.record_outcome(tried, _done(tried.job))
    assert taken == [job.key for job in jobs]


def test_the_ledger_is_listed_once_for_all_jobs(tmp_path: Path, monkeypatch) -> None:
    listed: list[str] = []

    def files(storage: LocalStorage, folder: str) -> list[Entry]:
        listed.append(folder)
        return list_files(storage, folder)

    list_files = LocalStorage.files
    monkeypatch.setattr(LocalStorage, "files", files)
    jobs = [FakeJob(key=key(number)) for number in range(300)]
    Schedule(jobs, Catalogue(Library(tmp_path)), attempts=1, on_event=lambda event: None)
    assert [folder for folder in listed if folder.startswith("ledger")] == ["ledger/events"]


def test_what_was_made_smaller_ends_the_job_and_not_those_that_need_it(tmp_path: Path) -> None:
    need = FakeJob(key=key(1))
    schedule = Schedule(
        [need, FakeJob(key=key(2), needs=(need.key,))],
        Catalogue(Library(tmp_path)),
        attempts=1,
        on_event=lambda event: None,
    )
    tried = schedule.take()
    assert tried is not None
    schedule.record_outcome(tried, _done(FakeJob(key=key(11))))
    assert schedule.take() is None and schedule.finished()
    first, second = schedule.outcomes
    assert (first.key, first.status) == (key(11), "done")
    assert (second.key, second.status) == (key(2), "failed") and "made smaller" in second.message


def test_the_latest_stage_comes_first_but_none_stands_still(tmp_path: Path) -> None:
    tracks = [FakeJob(key=key(number), stage=Stage.TRACK) for number in range(4)]
    fits = [FakeJob(key=key(10 + number), needs=(key(number),)) for number in range(4)]
    schedule = Schedule([*tracks, *fits], Catalogue(Library(tmp_path)), attempts=1, on_event=lambda event: None)
    first, second = schedule.take(), schedule.take()
    assert [tried.job.key for tried in (first, second)] == [key(0), key(1)]
    schedule.record_outcome(first, _done(first.job))
    fit = schedule.take()
    assert fit.job.key == key(10), "no fit runs, and so the first comes before the third track"
    schedule.record_outcome(second, _done(second.job))
    track = schedule.take()
    assert track.job.key == key(2), "no track runs: all fits would wait for the next in the end"
    assert schedule.take().job.key == key(11), "of two stages that run the latest comes first"


def _done(job: FakeJob) -> Outcome:
    entry = ResultEntry(key=job.key, kind=job.stage.kind, format_version=FORMAT_VERSIONS[job.stage.kind])
    return Outcome(stage=job.stage, key=job.key, subject=job.subject, status="done", entry=entry)
