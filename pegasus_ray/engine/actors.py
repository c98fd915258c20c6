"""Runs jobs on Ray actors, one job at a time on each.

A job is given to an actor only once the actor has answered. So a job never waits for room that another job's idle actor holds:
idle actors are ended, actors that cannot start hold nobody up, and a run goes on with what is left of a cluster.

The driver counts the tries and starts them again. Ray's own retries would all be used up within seconds of a node's death,
and Ray cannot ask for a smaller form of a job. An actor that died is replaced by a new one and is not restarted, because a
call to an actor that is still restarting fails at once, which would cost the next job a try.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import ray

from pegasus_ray.engine.cluster import worker_capacity
from pegasus_ray.engine.config import Demand, EngineConfig
from pegasus_ray.engine.relay import progress_by_post
from pegasus_ray.engine.schedule import LATEST_FIRST, PERHAPS_THE_WORKER, Ended, Schedule, Try
from pegasus_ray.jobs.work import Job, Outcome, attempt, describe_error, failed_outcome
from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Stage

IDLE_SECONDS: Final = 2.0
"""After which an actor without a job is ended, so that others have its room."""
SAY_SECONDS: Final = 30.0
"""After which it is said that jobs wait for room, and for what."""
STARTING_AT_ONCE: Final = 32
"""Actors that are asked for and have not answered; more of them would not start sooner."""
FAILED_STARTS: Final = 3
"""Times in a row that actors end before they answer; then no more are tried, and their jobs fail."""
GIVE_WAY_SECONDS: Final = 15.0
"""Between two actors that are given up to others, who take some time to begin; after so long an actor counts as without room."""
ANOTHER_LANES: Final = Demand(cpus=1.0, gpus=0.0, memory=0)
"""What is left to another lane that waits for room."""
NODE_DEATH_SECONDS: Final = 20.0
"""How long after a worker's death it may become known that its node is gone: Ray's health check takes 15 seconds."""
ELSEWHERE_SECONDS: Final = 30.0
"""How long a job waits for another node than that on which it failed, before it is tried there again."""


class Worker:
    """The actor: runs one job at a time."""

    def __init__(self, location: str, events: Any, sees_gpus: bool) -> None:
        if not sees_gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray does not hide them from who reserved none
        self._library = Library(location)
        self._events = events

    def answer(self, token: str) -> tuple[str, bool]:
        """The node that it is on, and whether it sees the driver's library: whether the token lies there."""
        return ray.get_runtime_context().get_node_id(), bool(self._library.storage.files(token))

    def run(self, job: Job, number: int) -> Outcome:
        """See `attempt`."""
        return attempt(job, self._library, progress_by_post(job, self._events), number=number)


@dataclass(slots=True, kw_only=True)
class _Actor:
    """An actor, and what it is doing."""

    handle: Any
    demand: Demand
    node: str = ""
    tried: Try | None = None
    since: float = field(default_factory=time.monotonic)  # when it was asked for, became idle, or got its job


class ActorLane:
    """Tracks, fits and transfers, on actors.

    Args:
        config: how many actors, and what each stage asks for.
        location: of the library.
        token: a folder in it that the driver has made and that every worker must see.
        events: the actor that passes progress on.
        say: told what the run waits for.
    """

    stages = frozenset({Stage.TRACK, Stage.FIT, Stage.TRANSFER})
    hungry = False  # others give way to it by their tasks' ends

    def __init__(
        self, config: EngineConfig, location: str, *, token: str, events: Any, say: Callable[[str], None]
    ) -> None:
        self._config = config
        self._location = location
        self._token = token
        self._events = events
        self._say = say
        self._starting: dict[Any, _Actor] = {}  # by the reference to its answer
        self._busy: dict[Any, _Actor] = {}
        self._idle: list[_Actor] = []
        self._failed_starts: dict[Demand, int] = {}
        self._start_failed_at: dict[Demand, float] = {}
        self._deaths: list[tuple[float, Ended]] = []  # when they were heard of; it is open whether the nodes are gone
        self._refused: list[Ended] = []
        self._waits_since: dict[Demand, float] = {}
        self._said: set[Demand] = set()
        self._given_up: list[tuple[float, float]] = []  # when actors were given up to others, and their CPUs
        self._held_back: dict[str, float] = {}  # keys of jobs that wait for another node, and since when
        self._demands = {stage: config.demand(stage) for stage in self.stages}

    def pull(self, schedule: Schedule, *, give_way: bool) -> None:
        """See `Lane.pull`. Idle actors get jobs first; then actors are asked for, as many as there are jobs for.

        Where stages ask for different things, the latest come first: the others give way to them as to another lane.
        """
        spare = ANOTHER_LANES.cpus if give_way else 0.0  # CPUs that are left to others
        wanted = ANOTHER_LANES if give_way and _free_cpus() < ANOTHER_LANES.cpus else None
        latest_first = [stage for stage in LATEST_FIRST if stage in self.stages and schedule.ready([stage])]
        for demand in dict.fromkeys(self._demands[stage] for stage in (*latest_first, *self._demands)):
            stages = [stage for stage, own in self._demands.items() if own == demand]
            if wanted:
                self._give_way(demand, wanted)
            self._give_jobs(demand, stages, schedule)
            self._ask_for_actors(demand, stages, schedule, spare=spare)
            self._watch(demand, stages, schedule)
            if self._wants_room(demand):
                spare, wanted = max(spare, demand.cpus), demand
        self._end_idle_ones()

    def collect(self, seconds: float) -> Sequence[Ended]:
        """See `Lane.collect`."""
        references = [*self._busy, *self._starting]
        ended, self._refused = [*self._refused, *self._judge_deaths()], []
        if not references:
            time.sleep(0 if ended else seconds)
            return ended
        ready, _ = ray.wait(references, timeout=0 if ended else seconds)
        if ready:  # whatever else is ready is taken along
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        for reference in ready:
            if reference in self._starting:
                self._take_answer(reference)
            else:
                ended.extend(self._take_outcome(reference))
        return [*ended, *self._end_overdue()]

    def close(self) -> None:
        """See `Lane.close`."""
        for actor in (*self._idle, *self._busy.values(), *self._starting.values()):
            ray.kill(actor.handle)

    def _give_way(self, demand: Demand, wanted: Demand) -> None:
        """Give up idle actors, and those that wait for room themselves, until there is room for a worker that others want."""
        self._end_starting([r for r, actor in self._starting.items() if actor.demand == demand and _has_waited(actor)])
        now, nodes = time.monotonic(), _nodes_for(wanted)
        for actor in [actor for actor in self._idle if actor.demand == demand and actor.node in nodes]:
            if sum(cpus for at, cpus in self._given_up if now - at < GIVE_WAY_SECONDS) < wanted.cpus:
                self._given_up.append((now, demand.cpus))
                self._idle.remove(actor)
                ray.kill(actor.handle)

    def _wants_room(self, demand: Demand) -> bool:
        """Whether an actor waits for CPUs that actors of other stages hold: there is a GPU for it, or it would be the first."""
        starting = [actor for actor in self._starting.values() if actor.demand == demand]
        if not any(_has_waited(actor) for actor in starting) or not can_ever_hold(demand):
            return False
        if demand.gpus:
            return float(ray.available_resources().get("GPU", 0.0)) >= demand.gpus
        return not any(actor.demand == demand for actor in (*self._busy.values(), *self._idle))

    def _give_jobs(self, demand: Demand, stages: Sequence[Stage], schedule: Schedule) -> None:
        waiting = [actor for actor in self._idle if actor.demand == demand]
        back: list[Try] = []
        while waiting and (tried := schedule.take(stages)) is not None:
            actor = next((actor for actor in waiting if actor.node not in tried.avoid), None)
            if actor is None and self._others_may_come(tried):
                back.append(tried)
                continue
            actor = actor or waiting[0]
            waiting.remove(actor)
            self._idle.remove(actor)
            actor.tried, actor.since = tried, time.monotonic()
            self._busy[actor.handle.run.remote(tried.job, tried.number)] = actor
        for tried in back:
            schedule.put_back(tried)

    def _others_may_come(self, tried: Try) -> bool:
        """Whether a job that failed on all nodes with an idle actor should wait for an actor on another one."""
        if {node for node in _live_nodes() if node not in tried.avoid}:
            began = self._held_back.setdefault(tried.planned.key, time.monotonic())
            return time.monotonic() - began < ELSEWHERE_SECONDS
        return False

    def _ask_for_actors(self, demand: Demand, stages: Sequence[Stage], schedule: Schedule, *, spare: float) -> None:
        """Ask for as many actors as there are jobs for; while a lane is hungry only where CPUs are left over for it."""
        mine = [
            actor for actor in (*self._starting.values(), *self._busy.values(), *self._idle) if actor.demand == demand
        ]
        starting = sum(actor.demand == demand for actor in self._starting.values())
        # A cluster elsewhere may grow by what it is asked for; this machine does not, and its last CPU is the controllers'.
        on_others = len(mine) + STARTING_AT_ONCE if self._config.address else worker_capacity(demand)
        most = self._config.workers or on_others
        wanted = min(schedule.ready(stages) - starting, STARTING_AT_ONCE - starting, most - len(mine))
        if spare and wanted > 0:
            wanted = min(wanted, int((_free_cpus() - spare) / demand.cpus))
        if self._failed_starts.get(demand, 0) >= FAILED_STARTS:
            wanted = 0
        surplus = starting - schedule.ready(stages)  # they would take room from others, for nothing
        if surplus > 0:
            asked = [reference for reference, actor in self._starting.items() if actor.demand == demand]
            self._end_starting(asked[-surplus:])
        for _ in range(max(wanted, 0)):
            actor = _Actor(handle=self._new_actor(demand), demand=demand)
            self._starting[actor.handle.answer.remote(self._token)] = actor

    def _end_starting(self, references: Iterable[Any]) -> None:
        for reference in references:
            ray.kill(self._starting.pop(reference).handle)

    def _new_actor(self, demand: Demand) -> Any:
        resources: dict[str, Any] = {"num_cpus": demand.cpus, "num_gpus": demand.gpus, "max_restarts": 0}
        resources |= {"memory": demand.memory} if demand.memory else {}
        resources |= {"label_selector": self._config.labels} if self._config.labels else {}
        return ray.remote(Worker).options(**resources).remote(self._location, self._events, demand.gpus > 0)

    def _take_answer(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            actor.node, sees_library = ray.get(reference)
        except ray.exceptions.RayError as error:
            # Those that were asked for together may have failed for the same reason, such as a node that went down.
            if actor.since > self._start_failed_at.get(actor.demand, 0.0) and not _tells_of_lost_node(error):
                self._start_failed_at[actor.demand] = time.monotonic()
                self._failed_starts[actor.demand] = self._failed_starts.get(actor.demand, 0) + 1
            self._say(f"a worker did not start: {_in_short(error)}")
            return
        if not sees_library:
            ray.kill(actor.handle)
            message = "is not the same place on the workers; use a bucket, or a folder that all machines mount at the same path"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=self._location)
        self._failed_starts[actor.demand] = 0
        actor.since = time.monotonic()
        self._idle.append(actor)

    def _take_outcome(self, reference: Any) -> Iterable[Ended]:
        actor = self._busy.pop(reference)
        tried, actor.tried = actor.tried, None
        assert tried is not None
        try:
            outcome: Outcome = ray.get(reference)
        except ray.exceptions.RayError as error:
            ray.kill(actor.handle)
            outcome, preempted = outcome_of_error(tried.job, error, node=actor.node)
            ended = Ended(tried=tried, outcome=outcome, node=actor.node, preempted=preempted)
            here = ray.get_runtime_context().get_node_id()
            if outcome.reason is not Reason.WORKER_DIED or preempted or actor.node == here:
                return [ended]
            self._deaths.append((time.monotonic(), ended))
            return []
        if outcome.status == "failed" and outcome.reason in PERHAPS_THE_WORKER:
            ray.kill(actor.handle)  # it may be sick, and would fail the next job as fast
        else:
            actor.since = time.monotonic()
            self._idle.append(actor)
        return [Ended(tried=tried, outcome=outcome, node=actor.node)]

    def _judge_deaths(self) -> Iterable[Ended]:
        """The tries whose workers have died, as soon as it is known whether the node was taken away.

        A node that goes down ends its workers first, and they are heard of before it.
        """
        nodes = _live_nodes() if self._deaths else {}
        for death in list(self._deaths):
            heard_at, ended = death
            gone = ended.node not in nodes
            if gone or time.monotonic() - heard_at > NODE_DEATH_SECONDS:
                self._deaths.remove(death)
                yield replace(ended, preempted=gone)

    def _end_overdue(self) -> Iterable[Ended]:
        """End the actors whose tries take longer than their stages allow."""
        now = time.monotonic()
        for reference, actor in list(self._busy.items()):
            tried = actor.tried
            assert tried is not None
            seconds = 60 * self._config.of(tried.job.stage).timeout_minutes
            if seconds and now - actor.since > seconds:
                del self._busy[reference]
                ray.kill(actor.handle)
                message = f"took longer than engine.{tried.job.stage}.timeout_minutes, {seconds / 60:g} minutes"
                outcome = failed_outcome(tried.job, Reason.TIMED_OUT, message, seconds=now - actor.since)
                yield Ended(tried=tried, outcome=outcome, node=actor.node)

    def _end_idle_ones(self) -> None:
        now = time.monotonic()
        for actor in [actor for actor in self._idle if now - actor.since > IDLE_SECONDS]:
            self._idle.remove(actor)
            ray.kill(actor.handle)

    def _watch(self, demand: Demand, stages: Sequence[Stage], schedule: Schedule) -> None:
        """Say what is waited for, and after `patience_minutes`, or where workers do not start at all, fail the jobs that wait."""
        working = any(actor.demand == demand for actor in (*self._busy.values(), *self._idle))
        if working or not schedule.ready(stages):
            self._waits_since.pop(demand, None)
            self._said.discard(demand)
            return
        waited = time.monotonic() - self._waits_since.setdefault(demand, time.monotonic())
        if waited > SAY_SECONDS and demand not in self._said:
            self._said.add(demand)
            self._say(f"{schedule.ready(stages)} jobs wait for a worker with {demand}")
        broken = self._failed_starts.get(demand, 0) >= FAILED_STARTS
        if broken or (waited > 60 * self._config.patience_minutes and not can_ever_hold(demand)):
            message = (
                "workers do not start; their logs are in Ray's session folder"
                if broken
                else f"no node of the cluster has {demand}; ask for less, or add such a node"
            )
            while (tried := schedule.take(stages)) is not None:
                outcome = failed_outcome(tried.job, Reason.BAD_CONFIG, message)
                self._refused.append(Ended(tried=tried, outcome=outcome))


def can_ever_hold(demand: Demand) -> bool:
    """Whether some node of the cluster as it is has what one worker reserves."""
    return bool(_nodes_for(demand))


def outcome_of_error(job: Job, error: Exception, *, node: str = "") -> tuple[Outcome, bool]:
    """The outcome of a try for which the worker gave no answer, and whether its node was taken away."""
    if isinstance(error, ray.exceptions.RayTaskError):  # an error outside `attempt`, for instance in unpickling the job
        reason, message = describe_error(error.cause or error)
        return failed_outcome(job, reason, message), False
    text = str(error)
    if (
        isinstance(error, ray.exceptions.OutOfMemoryError)
        or "memory pressure" in text
        or "out of memory" in text.lower()
    ):
        return failed_outcome(job, Reason.OUT_OF_MEMORY, "the node ran out of memory and the worker was ended"), False
    if _tells_of_lost_node(error) or (node and node not in _live_nodes()):
        return failed_outcome(job, Reason.WORKER_DIED, "the worker's node was taken away"), True
    return failed_outcome(job, Reason.WORKER_DIED, "the worker died; its log is in Ray's session folder"), False


def _tells_of_lost_node(error: Exception) -> bool:
    return bool(getattr(error, "preempted", False)) or "node has died" in str(error)


def _free_cpus() -> float:
    """Logical CPUs of the cluster that nobody has reserved."""
    return float(ray.available_resources().get("CPU", 0.0))


def _nodes_for(demand: Demand) -> Collection[str]:
    """The nodes that have what one worker reserves, if nobody else had any of it."""
    wanted = {"CPU": demand.cpus, "GPU": demand.gpus, "memory": float(demand.memory)}
    return [
        name
        for name, node in _live_nodes().items()
        if all(node["Resources"].get(resource, 0.0) >= n for resource, n in wanted.items())
    ]


def _has_waited(actor: _Actor) -> bool:
    """Whether an actor that was asked for should have answered by now, had it room."""
    return time.monotonic() - actor.since > GIVE_WAY_SECONDS


def _live_nodes() -> dict[str, Any]:
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[-200:]  # the end of it says what went wrong
