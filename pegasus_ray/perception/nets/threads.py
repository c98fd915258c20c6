"""Frames worked on by several threads: the nets and OpenCV let go of the interpreter while they compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from queue import SimpleQueue
from typing import TypeVar

Model = TypeVar("Model")
Item = TypeVar("Item")
Result = TypeVar("Result")


def one_each(make: Callable[[], Model], threads: int) -> Callable[[], AbstractContextManager[Model]]:
    """As many models as threads, each lent to one thread at a time: a net of its own a core beats a net on all cores."""
    free: SimpleQueue[Model] = SimpleQueue()
    for _ in range(threads):
        free.put(make())

    @contextmanager
    def lent() -> Iterator[Model]:
        model = free.get()
        try:
            yield model
        finally:
            free.put(model)

    return lent


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Results of items in their order; unlike the pool's own map it takes only a few items ahead: a clip's frames are large."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > 2 * ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
