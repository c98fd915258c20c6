"""What carries jobs on Ray: actors for tracks, fits and transfers, Ray Data for swaps, Ray Train for generative fits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from pegasus_ray.engine.schedule import Ended, Schedule
from pegasus_ray.schemas.manifests import Stage


class Lane(Protocol):
    """Takes jobs of its stages from the schedule and reports how they ended. The driver asks each lane in turn.

    Ray gives room to whoever asks first, and keeps it there. A lane that waits for room is therefore hungry, and lanes with
    workers give some up to it.
    """

    @property
    def stages(self) -> Collection[Stage]:
        """The stages whose jobs it carries."""

    @property
    def hungry(self) -> bool:
        """Whether it has jobs and no worker for them yet."""

    def pull(self, schedule: Schedule, *, give_way: bool) -> None:
        """Take jobs and begin them, as far as there is room.

        Args:
            schedule: where the jobs are taken from.
            give_way: another lane is hungry: begin nothing for which a worker could be given up instead.
        """

    def collect(self, seconds: float) -> Sequence[Ended]:
        """The tries that have ended; waits for one at most so long, where it can."""

    def close(self) -> None:
        """Stop all that still runs, and all workers."""
