"""A seed is always the same person, overrides change nothing else, and people come in the whole range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.studio.colours import IRIS_COLOURS
from pegasus_ray.studio.identity import shape_from_axes, studio_rig
from pegasus_ray.studio.person import GlassesStyle, HairStyle, Hat, HatStyle
from pegasus_ray.studio.sampling import sample_person

HAT = Hat(style=HatStyle.CAP, colour=(0.2, 0.2, 0.3), accent=(0.7, 0.2, 0.2))


def test_a_seed_is_a_person() -> None:
    assert sample_person(4) == sample_person(4)
    assert len({sample_person(seed).shape for seed in range(12)}) == 12


def test_overrides_replace_what_is_drawn_and_nothing_else() -> None:
    given = sample_person(4, hat=HAT)
    assert given.hat == HAT
    assert replace(given, hat=sample_person(4).hat) == sample_person(4)


def test_people_come_in_the_whole_range() -> None:
    """Among a few hundred there is every hair, hat, pair of glasses and eye colour, beards, and skin from dark to light."""
    crowd = [sample_person(seed) for seed in range(300)]
    assert {one.hair.style for one in crowd} == set(HairStyle)
    assert {one.hat.style for one in crowd if one.hat} == set(HatStyle)
    assert {one.glasses.style for one in crowd if one.glasses} == set(GlassesStyle)
    assert {one.iris for one in crowd} == set(IRIS_COLOURS)
    tones = [one.skin.tone[0] for one in crowd]
    assert min(tones) < 0.45
    assert max(tones) > 0.92
    female = studio_rig().shape_names.index("macro/female")
    assert 0.4 < np.mean([one.shape[female] for one in crowd]) < 0.6
    bearded = [one for one in crowd if one.beard]
    assert bearded
    assert all(one.shape[female] == 0 for one in bearded)


@pytest.mark.parametrize(
    ("build"), [lambda: sample_person(1, beret=HAT), lambda: shape_from_axes({"nose/of-wax": 1.0})]
)
def test_unknown_names_are_refused(build: object) -> None:
    with pytest.raises(PegasusError) as caught:
        build()  # type: ignore[operator]
    assert caught.value.reason is Reason.BAD_CONFIG
