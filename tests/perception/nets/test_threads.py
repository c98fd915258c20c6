"""Results come in order whoever is first, few items are taken ahead, and no model serves two threads at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pegasus_ray.perception.nets.threads import map_in_order, model_pool


def test_results_are_in_the_items_order_and_few_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        time.sleep(0.003 * (number % 3 == 0))
        return number * number

    with ThreadPoolExecutor(3) as pool:
        for place, result in enumerate(map_in_order(pool, work, items(), 3)):
            assert result == place * place
            assert len(taken) <= place + 8
    assert len(taken) == 20


def test_a_fault_in_the_work_is_the_callers() -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        list(map_in_order(pool, lambda number: 1 / number, [2, 1, 0], 2))


def test_a_model_serves_one_thread_at_a_time() -> None:
    made: list[threading.Lock] = []

    def make() -> threading.Lock:
        made.append(threading.Lock())
        return made[-1]

    lent = model_pool(make, 2)
    refused: list[int] = []

    def use(number: int) -> None:
        with lent() as lock:
            if not lock.acquire(blocking=False):
                refused.append(number)
                return
            time.sleep(0.001)
            lock.release()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(use, range(40)))
    assert len(made) == 2
    assert refused == []
