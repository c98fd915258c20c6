"""One decision says how an attribute is borrowed, and swap, transfer and generative avatar all follow it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pegasus_ray.avatar.borrow.decide import Way, decide, way_of, without_motion
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part
from pegasus_ray.stages.composite import Blend
from pegasus_ray.stages.swap import blend_of
from tests.painted import painted_avatar

WAYS = {
    Attribute.HAIR: Way.COVER,
    Attribute.HAT: Way.COVER,
    Attribute.EYEBROWS: Way.STRANDS,
    Attribute.NOSE: Way.FORM,
    Attribute.EYES: Way.FORM,
    Attribute.MOUTH: Way.FORM,
}
SHAPED = (Attribute.NOSE, Attribute.EYES, Attribute.MOUTH)


@pytest.mark.parametrize("attribute", list(Attribute))
def test_the_way_goes_by_the_attribute(attribute: Attribute) -> None:
    assert way_of(painted_avatar(), attribute, load_rig()) is WAYS[attribute]


@pytest.mark.parametrize("attribute", SHAPED)
def test_a_feature_is_set_in_where_its_form_cannot_be_changed(attribute: Attribute) -> None:
    rig, wearer = load_rig(), painted_avatar()
    unnamed = replace(rig, shape_names=tuple(f"axis {number}" for number in range(len(rig.shape_names))))
    assert way_of(wearer, attribute, unnamed) is Way.SET_IN
    without = wearer.select(wearer.parts != attribute.part)
    assert way_of(without, attribute, rig) is Way.SET_IN


@pytest.mark.parametrize("attribute", list(Attribute))
def test_the_shape_is_the_wearer_s_but_for_the_attribute_s_axes(attribute: Attribute) -> None:
    rig, wearer, source = load_rig(), painted_avatar(), painted_avatar(1)
    shape, axes = decide(wearer, source, attribute, rig).shape, rig.axes_of(attribute)
    assert torch.equal(shape[axes], source.shape[axes]) and torch.equal(shape[~axes], wearer.shape[~axes])


def test_the_source_stands_in_the_wearer_s_light() -> None:
    rig, wearer = load_rig(), painted_avatar()
    dim = replace(painted_avatar(), albedo=0.5 * painted_avatar().albedo)
    lit = decide(wearer, dim, Attribute.MOUTH, rig).source
    assert bool((lit.albedo > 1.2 * dim.albedo).all()), "twice the light, less what two fits may differ by"
    assert torch.equal(decide(wearer, painted_avatar(), Attribute.MOUTH, rig).source.albedo, wearer.albedo)


def test_what_covers_the_scalp_is_carried_loses_its_motion_and_bares_the_head() -> None:
    rig, wearer, source = load_rig(), _broad(painted_avatar()), painted_avatar(1)
    how = decide(wearer, source, Attribute.HAIR, rig)
    hair, bound = how.lent(rig), source.select(source.parts == Part.HAIR)
    assert not how.keeps_motion and not bool(without_motion(hair).position_basis.any())
    assert not torch.equal(how.lender(rig).offsets, source.offsets)
    assert len(hair) <= len(bound)
    left = int((how.bare_head(wearer, hair, rig).parts == Part.HAIR).sum())
    assert left < 0.05 * int((wearer.parts == Part.HAIR).sum()), "nothing but specks is left"
    nose = decide(wearer, source, Attribute.NOSE, rig)
    assert nose.keeps_motion and nose.lender(rig) is nose.source


def test_a_part_meets_the_frame_as_it_was_borrowed() -> None:
    rig, wearer, source = load_rig(), painted_avatar(), painted_avatar(1)
    noseless = wearer.select(wearer.parts != Part.NOSE)
    blends = {a: blend_of(decide(wearer, source, a, rig)) for a in Attribute}
    assert blends == {
        Attribute.HAIR: Blend.ALPHA,
        Attribute.HAT: Blend.SOLID,
        Attribute.EYEBROWS: Blend.STRANDS,
        Attribute.NOSE: Blend.FORM,
        Attribute.EYES: Blend.REDRAWN,
        Attribute.MOUTH: Blend.REDRAWN,
    }
    assert blend_of(decide(noseless, source, Attribute.NOSE, rig)) is Blend.POISSON


def test_avatars_on_different_rigs_are_refused() -> None:
    with pytest.raises(PegasusError) as caught:
        decide(painted_avatar(), replace(painted_avatar(1), rig="another"), Attribute.HAIR, load_rig())
    assert caught.value.reason is Reason.BAD_REFERENCE


def _broad(avatar: Avatar) -> Avatar:
    """The avatar with a broader head."""
    axes = load_rig().global_axes
    return replace(avatar, shape=torch.where(axes, 0.5, avatar.shape))
