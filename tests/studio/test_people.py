"""A person is the same for the same seed, and a swap takes what belongs to the attribute and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.studio.cast import demo_people, someone
from pegasus_ray.studio.people import (
    IRISES,
    GlassesStyle,
    HairStyle,
    Hat,
    HatStyle,
    Person,
    person,
    shape_of,
    studio_rig,
    swap_parts,
)

HAT = Hat(style=HatStyle.CAP, colour=(0.2, 0.2, 0.3), accent=(0.7, 0.2, 0.2))


def test_a_seed_is_a_person() -> None:
    assert person(4) == person(4)
    assert len({person(seed).shape for seed in range(12)}) == 12


def test_overrides_replace_what_is_drawn_and_nothing_else() -> None:
    given = person(4, hat=HAT)
    assert given.hat == HAT
    assert replace(given, hat=person(4).hat) == person(4)


def test_people_come_in_the_whole_range() -> None:
    """Among a few hundred there is every hair, hat, pair of glasses and eye colour, beards, and skin from dark to light."""
    crowd = [person(seed) for seed in range(300)]
    assert {one.hair.style for one in crowd} == set(HairStyle)
    assert {one.hat.style for one in crowd if one.hat} == set(HatStyle)
    assert {one.glasses.style for one in crowd if one.glasses} == set(GlassesStyle)
    assert {one.iris for one in crowd} == set(IRISES)
    tones = [one.skin.tone[0] for one in crowd]
    assert min(tones) < 0.45
    assert max(tones) > 0.92
    female = studio_rig().shape_names.index("macro/female")
    assert 0.4 < np.mean([one.shape[female] for one in crowd]) < 0.6
    bearded = [one for one in crowd if one.beard]
    assert bearded
    assert all(one.shape[female] == 0 for one in bearded)


def test_people_are_known_by_seed_or_by_name() -> None:
    assert someone("7") == person(7)
    assert someone("milo") == demo_people().target
    with pytest.raises(PegasusError) as caught:
        someone("nobody")
    assert caught.value.reason is Reason.BAD_CONFIG


@pytest.mark.parametrize(("build"), [lambda: person(1, beret=HAT), lambda: shape_of({"nose/of-wax": 1.0})])
def test_unknown_names_are_refused(build: object) -> None:
    with pytest.raises(PegasusError) as caught:
        build()  # type: ignore[operator]
    assert caught.value.reason is Reason.BAD_CONFIG


@pytest.mark.parametrize("attribute", list(Attribute))
def test_a_swap_changes_the_attribute_only(attribute: Attribute) -> None:
    target, other = person(1), person(2, hat=HAT)
    swapped = swap_parts(target, attribute, other)
    colours = {
        Attribute.HAIR: {"hair"},
        Attribute.HAT: {"hat"},
        Attribute.EYES: {"iris"},
        Attribute.EYEBROWS: {"brows"},
        Attribute.MOUTH: {"lips"},
        Attribute.NOSE: set(),
    }[attribute]
    for field in fields(Person):
        if field.name not in ("name", "shape"):
            source = other if field.name in colours else target
            assert getattr(swapped, field.name) == getattr(source, field.name)
    own = studio_rig().axes_of(attribute).numpy()
    shape = np.array(swapped.shape, np.float32)
    assert np.array_equal(shape[own], np.array(other.shape, np.float32)[own])
    assert np.array_equal(shape[~own], np.array(target.shape, np.float32)[~own])
    assert own.any() == (attribute not in (Attribute.HAIR, Attribute.HAT))


def test_swapping_with_oneself_changes_nothing_but_the_name() -> None:
    target = demo_people().target
    for attribute in Attribute:
        swapped = swap_parts(target, attribute, target)
        assert np.allclose(swapped.shape, target.shape, atol=1e-7)
        assert replace(swapped, name=target.name, shape=target.shape) == target


def test_the_cast_is_five_people_with_hair_of_their_own() -> None:
    everyone = demo_people().everyone
    assert len({one.name for one in everyone}) == len({one.seed for one in everyone}) == 5
    assert len({one.hair.style for one in everyone}) == 5
