"""Progress from the workers to the driver: they post without waiting, the driver collects once a second."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from pegasus_ray.jobs.work import Event, Job, OnEvent
from pegasus_ray.schemas.progress import Progress

INTERVAL = 1.0
"""Seconds between collections."""


class Mailbox:
    """The latest news of each job that is at work."""

    def __init__(self) -> None:
        self._news: dict[str, Event] = {}

    def post(self, event: Event) -> None:
        """Keep it until it is collected; the newer one of a job replaces the older."""
        self._news[event.key] = event

    def collect(self) -> list[Event]:
        """All news since the last time."""
        news = list(self._news.values())
        self._news.clear()
        return news


def orderly(on_event: OnEvent) -> OnEvent:
    """One event at a time, from whatever thread; news of a job that has ended already are dropped."""
    lock, ended = threading.Lock(), set[str]()

    def hear(event: Event) -> None:
        with lock:
            if event.outcome is not None:
                ended.add(event.key)
            elif event.key in ended:
                return
            on_event(event)

    return hear


def posting(job: Job, mailbox: Any) -> Progress:
    """A job's progress, posted. News that nobody receives are no loss."""

    def report(share: float, text: str) -> None:
        mailbox.post.remote(Event(stage=job.stage, key=job.key, subject=job.subject, share=share, text=text))

    return report


@contextmanager
def relay(on_event: OnEvent) -> Iterator[Any]:
    """A mailbox whose news reach `on_event`, from a thread of the driver's, while the body runs."""
    mailbox: Any = ray.remote(Mailbox).options(num_cpus=0).remote()
    over = threading.Event()

    def collect() -> None:
        while not over.wait(INTERVAL):
            try:
                news = ray.get(mailbox.collect.remote(), timeout=10 * INTERVAL)
            except ray.exceptions.RayError:  # its node is gone, or busy: progress is a comfort, the run goes on
                continue
            for event in news:
                on_event(event)

    thread = threading.Thread(target=collect, name="progress", daemon=True)
    thread.start()
    try:
        yield mailbox
    finally:
        over.set()
        thread.join(timeout=2 * INTERVAL)
        ray.kill(mailbox)
