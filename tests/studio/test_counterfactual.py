"""A swap takes what belongs to the attribute and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.studio.cast import demo_people
from pegasus_ray.studio.counterfactual import swap_attribute
from pegasus_ray.studio.identity import studio_rig
from pegasus_ray.studio.person import Hat, HatStyle, Person
from pegasus_ray.studio.sampling import sample_person

HAT = Hat(style=HatStyle.CAP, colour=(0.2, 0.2, 0.3), accent=(0.7, 0.2, 0.2))


@pytest.mark.parametrize("attribute", list(Attribute))
def test_a_swap_changes_the_attribute_only(attribute: Attribute) -> None:
    target, other = sample_person(1), sample_person(2, hat=HAT)
    swapped = swap_attribute(target, attribute, other)
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
        swapped = swap_attribute(target, attribute, target)
        assert np.allclose(swapped.shape, target.shape, atol=1e-7)
        assert replace(swapped, name=target.name, shape=target.shape) == target
