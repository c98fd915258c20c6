"""Work on frames in several threads: the networks and OpenCV release the interpreter's lock while they compute."""

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


def model_pool(make: Callable[[], Model], threads: int) -> Callable[[], AbstractContextManager[Model]]:
    """A pool of as many models as threads; a call lends one of them to the calling thread.

    One single-threaded model a core is faster than one model that uses all cores.
    """
    free: SimpleQueue[Model] = SimpleQueue()
    for _ in range(threads):
        free.put(make())

    @contextmanager
    def lend() -> Iterator[Model]:
        model = free.get()
        try:
            yield model
        finally:
            free.put(model)

    return lend


def map_in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Results of `work` in the order of the items.

    Unlike the pool's own `map` it takes at most 2 · `ahead` + 1 items before their results are fetched, because the frames
    of a video are too large to be in memory all at once.
    """
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > 2 * ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
