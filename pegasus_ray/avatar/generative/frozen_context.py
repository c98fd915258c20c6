"""What depends on the codes but hardly changes during training: computed once per choice of codes, without gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.points.avatar import Anchors
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenContext:
    """For one choice of codes: the rig at all points on the codes' shape, and which hair the hat presses.

    Computing these takes longer than a training step, and they change so slowly with the codes that the first values serve for
    the whole training.
    """

    anchors: Anchors
    pressed: Tensor  # (N,) 0–1, see `GenerativeAvatar.pressed`; () where there is no hat

    @staticmethod
    def of(whole: GenerativeAvatar, codes: Mapping[Attribute, Tensor], identity: Tensor, rig: Rig) -> FrozenContext:
        """The context of a code (D,) for every attribute and one for the identity."""
        nothing = torch.zeros(())
        with torch.no_grad():
            points = whole.decode(codes, rig, identity=identity, pressed=nothing)
            pressed = whole.pressed(points, rig) if Attribute.HAT in codes else nothing
            return FrozenContext(anchors=points.anchors(rig), pressed=pressed)
