"""Passes progress from the workers to the driver.

Workers post events to an actor without waiting for an answer, and a thread of the driver collects them once a second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pegasus_ray.jobs.work import Event, Job, OnEvent, progress_event
from pegasus_ray.schemas.progress import Progress

COLLECT_SECONDS = 1.0
"""Time between two collections."""


class LatestEvents:
    """The actor between workers and driver: keeps the latest event of each job until the driver collects it."""

    def __init__(self) -> None:
        self._events: dict[str, Event] = {}

    def post(self, event: Event) -> None:
        """Keep an event; it replaces an earlier one of the same job."""
        self._events[event.key] = event

    def collect(self) -> list[Event]:
        """The events since the last collection."""
        events = list(self._events.values())
        self._events.clear()
        return events


def one_at_a_time(on_event: OnEvent) -> OnEvent:
    """Pass events on one at a time, from whatever thread they come, and drop progress of a job that has ended already."""
    lock, ended = threading.Lock(), set[str]()

    def pass_on(event: Event) -> None:
        with lock:
            if event.outcome is not None:
                ended.add(event.key)
            elif event.key in ended:
                return
            on_event(event)

    return pass_on


def progress_by_post(job: Job, events: Any) -> Progress:
    """A job's progress, posted to a `LatestEvents` actor; if the actor is gone, the progress is lost and the job goes on."""

    def report(share: float, text: str) -> None:
        events.post.remote(progress_event(job, share, text))

    return report


@contextmanager
def relay_events(on_event: OnEvent) -> Iterator[Any]:
    """Start a `LatestEvents` actor and, while the body runs, pass its events to `on_event` from a thread of the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)  # other nodes may go
    events: Any = ray.remote(LatestEvents).options(num_cpus=0, scheduling_strategy=here).remote()
    stop = threading.Event()

    def collect() -> None:
        while not stop.wait(COLLECT_SECONDS):
            try:
                collected = ray.get(events.collect.remote(), timeout=10 * COLLECT_SECONDS)
            except ray.exceptions.RayError:  # the actor's node is gone, or busy; the run can do without progress
                continue
            for event in collected:
                on_event(event)

    thread = threading.Thread(target=collect, name="progress", daemon=True)
    thread.start()
    try:
        yield events
    finally:
        stop.set()
        thread.join(timeout=2 * COLLECT_SECONDS)
        ray.kill(events)
