"""An even choice has no repetition, holds both ends, and leaves gaps that differ by one at most."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pegasus_ray.schemas.evenly import evenly


@given(st.integers(0, 400), st.integers(0, 60))
def test_evenly(count: int, most: int) -> None:
    chosen = evenly(count, most).tolist()
    assert len(chosen) == min(count, most) and chosen == sorted(set(chosen))
    if len(chosen) > 1:
        gaps = {after - before for before, after in pairwise(chosen)}
        assert chosen[0] == 0 and chosen[-1] == count - 1 and max(gaps) - min(gaps) <= 1


def test_of_nothing_and_of_one() -> None:
    assert evenly(0, 5).tolist() == [] and evenly(5, 1).tolist() == [0]
