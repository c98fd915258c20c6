"""The demo's people are found by name and differ from one another."""

from __future__ import annotations

import pytest

from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.studio.cast import demo_people, find_person
from pegasus_ray.studio.sampling import sample_person


def test_people_are_known_by_seed_or_by_name() -> None:
    assert find_person("7") == sample_person(7)
    assert find_person("milo") == demo_people().target
    with pytest.raises(PegasusError) as caught:
        find_person("nobody")
    assert caught.value.reason is Reason.BAD_CONFIG


def test_the_cast_is_five_people_with_hair_of_their_own() -> None:
    everyone = demo_people().everyone
    assert len({one.name for one in everyone}) == len({one.seed for one in everyone}) == 5
    assert len({one.hair.style for one in everyone}) == 5
