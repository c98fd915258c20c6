"""Which points may move beyond the rig, and in answer to what.

A head is rigid but for its expressions. A point of it that learns to move as the head turns learns the outlines of single frames,
and goes astray in a turn that no frame shows. So cloth and neck, in which the torso has a share, may follow the pose; what the
rig's expressions move may follow expressions; the scalp and its hair follow neither.

Legend: N points, Z motion components.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Anchors, Avatar
from pegasus_ray.avatar.points.initialize import torso_share
from pegasus_ray.rig.model import Rig, surface

LEAST_SHARE = 0.05
"""The torso's share in a point from which on it may follow the pose."""

LEAST_MOTION = 5e-4
"""Metres that some expression must move a point by for it to follow expressions."""


def torso_part(avatar: Avatar, rig: Rig) -> Tensor:
    """Which points the torso moves, at least a little: (N,) bool."""
    return surface(torso_share(rig)[:, None], rig.faces, avatar.triangles, avatar.barycentric)[:, 0] > LEAST_SHARE


def motion_freedom(avatar: Avatar, anchors: Anchors, rig: Rig) -> Tensor:
    """Which components of its first motion code may move each of an avatar's points: (Z, N), 0 or 1."""
    carried = torso_part(avatar, rig)
    mimic = anchors.expression_basis.norm(dim=-1).amax(0) > LEAST_MOTION
    return torch.where(avatar.motions[0].of_pose[:, None], carried, mimic).float()
