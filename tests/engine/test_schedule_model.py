"""The schedule, on any graph and whatever happens: needs come first, tries are bounded, and each job ends or is lost."""

from __future__ import annotations

import itertools
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pegasus_ray.engine.schedule import Ended, Schedule, Try
from pegasus_ray.jobs.work import Event, Outcome, failed_outcome, quarantine
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, ResultEntry, Stage
from tests.engine.clusters import apart
from tests.engine.fakes import FakeJob, key

ATTEMPTS = 3
PREEMPTIONS = 2
"""Instead of `MAX_PREEMPTIONS`, so that it is met."""
LADDER = 3
"""Forms of a job: with batches of 4, 2 and 1."""
ENDS = ("done", "done", "done", "skipped", "preempted", *Reason)
"""How a try may end; most jobs are done."""
_numbers = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class CoarserJob(FakeJob):
    """A job whose smaller form has another result, under its own key."""

    def smaller(self) -> CoarserJob | None:
        if self.batch == 1:
            return None
        wish = self.instead_of or self.key
        return replace(self, batch=self.batch // 2, instead_of=wish, key=f"{self.batch // 2}{wish[1:]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A graph of jobs: which are there at first, which follow from which, and what had ended before the run."""

    jobs: Sequence[FakeJob]
    first: Sequence[FakeJob]
    following: dict[str, list[FakeJob]]
    made: set[str]
    quarantined: set[str]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    jobs: list[FakeJob] = []
    for number in range(draw(st.integers(1, 10))):
        needs = draw(st.sets(st.sampled_from([job.key for job in jobs]), max_size=3)) if jobs else set()
        make = draw(st.sampled_from([FakeJob, FakeJob, CoarserJob]))
        jobs.append(make(key=key(number), stage=draw(st.sampled_from(Stage)), needs=tuple(needs)))
    followed = {job.key: draw(st.none() | st.sampled_from([other.key for other in jobs])) for job in jobs[1:]}
    following: dict[str, list[FakeJob]] = {}
    for job in draw(st.permutations(jobs)):
        if followed.get(job.key):
            following.setdefault(followed[job.key], []).append(job)
        if draw(st.integers(0, 5)) == 0:  # some are told of twice
            following.setdefault(draw(st.sampled_from(jobs)).key, []).append(job)
    first = [job for job in draw(st.permutations(jobs)) if not followed.get(job.key)]
    states = {job.key: draw(st.sampled_from(["to do"] * 6 + ["made", "quarantined"])) for job in jobs}
    made, bad = ({name for name, state in states.items() if state == which} for which in ("made", "quarantined"))
    return Plan(jobs=jobs, first=first, following=following, made=made, quarantined=bad)


class Model:
    """What has to hold of a schedule, kept beside it."""

    def __init__(self, plan: Plan, *, elsewhere: bool) -> None:
        library = Library(f"memory://model-{next(_numbers)}")
        self.plan = plan
        self.by_key = {job.key: job for job in plan.jobs}
        self.catalogue = Catalogue(library)
        self.known: set[str] = set()
        self.running: dict[str, Try] = {}
        self.ends: dict[str, list[str]] = {job.key: [] for job in plan.jobs}  # of the tries at each
        self.events: list[Event] = []
        for name in plan.made:
            self.catalogue.add(_entry(self.by_key[name]))
        for name in plan.quarantined:
            quarantine(library, self.by_key[name], failed_outcome(self.by_key[name], Reason.INTERNAL, "bad"), number=1)
        self.schedule = Schedule(
            self.join(plan.first),
            self.catalogue,
            attempts=ATTEMPTS,
            on_event=self.events.append,
            elsewhere=elsewhere,
            more=self.more,
        )

    def more(self, outcome: Outcome) -> list[FakeJob]:
        return self.join(self.plan.following.get(outcome.key, []))

    def join(self, jobs: Sequence[FakeJob]) -> list[FakeJob]:
        """Some jobs and before or after them those that they need, as whoever plans has to give them."""
        names = [job.key for job in jobs]
        for name in names:
            names.extend(need for need in self.by_key[name].needs if need not in names)
        self.known |= set(names)
        return [self.by_key[name] for name in names]

    def there(self, name: str) -> bool:
        return self.catalogue.get(self.by_key[name].stage.kind, name) is not None

    def take(self, stages: Sequence[Stage]) -> Try | None:
        tried = self.schedule.take(stages)
        if tried is None:
            return None
        name = tried.planned.key
        assert tried.planned.stage in stages
        assert name not in self.running, "nothing is taken twice at once"
        assert not self.there(name), "what is there is not made again"
        assert all(self.there(need) for need in tried.planned.needs), "needs come first"
        self.running[name] = tried
        return tried

    def end(self, name: str, how: str) -> None:
        tried = self.running.pop(name)
        self.ends[name].append(how)
        if how in ("done", "skipped"):
            outcome = _done(tried.job, how)
        elif how == "preempted":
            outcome = failed_outcome(tried.job, Reason.WORKER_DIED, "the node is gone")
        else:
            outcome = failed_outcome(tried.job, Reason(how), "it failed")
        self.schedule.record_end(Ended(tried=tried, outcome=outcome, node="here", preempted=how == "preempted"))

    def put_back(self, name: str) -> None:
        self.schedule.put_back(self.running.pop(name))

    def ended(self) -> set[str]:
        """The keys of the jobs of which an end was told, by what was planned."""
        smaller = {form.key: job.key for job in self.plan.jobs for form in _forms(job)}
        return {smaller[event.key] for event in self.events}

    def lost(self) -> set[str]:
        """The keys of jobs that will not be tried, because what they need, or what that needs, did not come to be."""
        ended, lost = self.ended(), set[str]()
        for name in sorted(self.known - ended):  # needs have lower keys
            gone = [
                need for need in self.by_key[name].needs if need in lost or (need in ended and not self.there(need))
            ]
            lost |= {name} if gone else set()
        return lost

    def check(self) -> None:
        told = Counter(event.key for event in self.events)
        assert max(told.values(), default=1) == 1, "each end is told once"
        assert sorted(told) == sorted(outcome.key for outcome in self.schedule.outcomes)
        still = self.known - self.ended() - self.lost()
        assert self.schedule.finished() == (not still)
        assert set(self.running) <= still
        for name, ends in self.ends.items():
            strikes = sum(how in (Reason.WORKER_DIED, Reason.TIMED_OUT) for how in ends)
            perhaps = sum(how in (Reason.INTERNAL, Reason.DISK_FULL, Reason.ASSET_MISSING) for how in ends)
            assert ends.count("preempted") <= PREEMPTIONS + ATTEMPTS
            assert strikes + max(0, ends.count("preempted") - PREEMPTIONS) <= ATTEMPTS
            assert perhaps <= 2
            assert ends.count(Reason.OUT_OF_MEMORY) <= LADDER
            assert not {"done", "skipped"} & set(ends[:-1]), f"{name} was tried after it was done"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans(), elsewhere=st.booleans(), data=st.data())
def test_every_schedule_ends_as_it_should(plan: Plan, elsewhere: bool, data: st.DataObject) -> None:
    with patch("pegasus_ray.engine.schedule.MAX_PREEMPTIONS", PREEMPTIONS):
        model = Model(plan, elsewhere=elsewhere)
        model.check()
        put_back = 0
        while not model.schedule.finished():
            do = data.draw(st.sampled_from(["end", "end", "take", "take", "put back", "add"]))
            if do == "add":
                jobs = data.draw(st.lists(st.sampled_from(plan.jobs), max_size=2))
                model.schedule.add(model.join(jobs))
            elif do == "take" or not model.running:
                stages = tuple(Stage) if not model.running else data.draw(st.sets(st.sampled_from(Stage), min_size=1))
                assert model.take(tuple(stages)) or model.running, "something can always be done"
            elif do == "end":
                model.end(data.draw(st.sampled_from(sorted(model.running))), data.draw(st.sampled_from(ENDS)))
            elif put_back < 20:
                put_back += 1
                model.put_back(data.draw(st.sampled_from(sorted(model.running))))
            model.check()
        assert model.schedule.take() is None and not model.running


def test_a_hundred_thousand_jobs_take_seconds_and_less_than_a_gibibyte() -> None:
    seconds, more_bytes, ended = apart(schedule_many, 50_000)
    assert ended == 100_000
    assert seconds < 20
    assert more_bytes < 1 << 30


def schedule_many(tracks: int) -> tuple[float, int, int]:
    """Seconds and bytes that it takes to schedule so many tracks and as many fits, and how many of them end."""
    jobs: list[FakeJob] = []
    for number in range(tracks):
        jobs.append(FakeJob(key=key(2 * number), stage=Stage.TRACK))
        jobs.append(FakeJob(key=key(2 * number + 1), needs=(key(2 * number),)))
    before, began = _peak(), time.monotonic()
    catalogue = Catalogue(Library("memory://many"))
    schedule = Schedule(jobs, catalogue, attempts=ATTEMPTS, on_event=lambda event: None, more=lambda outcome: ())
    while (tried := schedule.take()) is not None:
        schedule.record_outcome(tried, _done(tried.job, "done"))
    assert schedule.finished()
    return time.monotonic() - began, _peak() - before, len(schedule.outcomes)


def _peak() -> int:
    """The most bytes of memory that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _forms(job: FakeJob) -> list[FakeJob]:
    """A job and its smaller forms."""
    forms = [job]
    while (smaller := forms[-1].smaller()) is not None:
        forms.append(smaller)
    return forms


def _entry(job: FakeJob) -> ResultEntry:
    kind = job.stage.kind
    return ResultEntry(key=job.key, kind=kind, format_version=FORMAT_VERSIONS[kind], instead_of=job.instead_of)


def _done(job: FakeJob, status: str) -> Outcome:
    return Outcome(stage=job.stage, key=job.key, subject=job.subject, status=status, entry=_entry(job))
