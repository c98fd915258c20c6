"""What depends on a choice of codes and hardly changes while they are trained: computed once a choice, without gradients."""

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
    """The rig under the shape of a choice of codes, and the hair under its hat.

    Reading the rig at all points, and telling which hair a hat presses, take longer than a training step. Both follow the codes
    so slowly that the first values serve for the whole training.
    """

    anchors: Anchors
    pressed: Tensor  # (N,) 0–1, see `GenerativeAvatar.pressed`; () where there is no hat

    @staticmethod
    def of(whole: GenerativeAvatar, codes: Mapping[Attribute, Tensor], identity: Tensor, rig: Rig) -> FrozenContext:
        """The context of a code for every attribute and one (D,) for the identity."""
        nothing = torch.zeros(())
        with torch.no_grad():
            points = whole.decode(codes, rig, identity=identity, pressed=nothing)
            pressed = whole.pressed(points, rig) if Attribute.HAT in codes else nothing
            return FrozenContext(anchors=points.anchors(rig), pressed=pressed)
