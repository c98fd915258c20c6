"""The counterfactual truth of a swap: a person who really has one attribute of another."""

from __future__ import annotations

from dataclasses import replace

from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.studio.identity import shape_tensor, studio_rig
from pegasus_ray.studio.person import Person


def swap_attribute(target: Person, attribute: Attribute, other: Person) -> Person:
    """The target with one attribute of another person. A swap of the two is measured against the render of this person.

    Of the face's shape, the axes that `Rig.mix_shape` assigns to the attribute come from the other. The attribute's colours
    and hair come along. The target's shape noise stays.
    """
    rig = studio_rig()
    mixed = rig.mix_shape(shape_tensor(target)[0], shape_tensor(other)[0], attribute)
    shape = tuple(mixed.tolist())
    name = f"{target.name}+{attribute}={other.name}"
    match attribute:
        case Attribute.HAIR:
            return replace(target, name=name, hair=other.hair)
        case Attribute.HAT:
            return replace(target, name=name, hat=other.hat)
        case Attribute.EYES:
            return replace(target, name=name, shape=shape, iris=other.iris)
        case Attribute.EYEBROWS:
            return replace(target, name=name, shape=shape, brows=other.brows)
        case Attribute.MOUTH:
            return replace(target, name=name, shape=shape, lips=other.lips)
        case Attribute.NOSE:
            return replace(target, name=name, shape=shape)
