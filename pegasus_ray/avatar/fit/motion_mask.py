"""Which points may move beyond the rig, and with which components of the motion code.

A head is rigid but for its expressions. A point of it that learned to move with the pose would learn the outlines of single
frames, and would move wrongly in a turn that no frame shows. So cloth and neck, which the torso moves, may follow the pose;
points that the rig's expressions move may follow expressions; the scalp and its hair follow neither.

Legend: N points, Z motion components.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Anchors, Avatar
from pegasus_ray.avatar.points.regions import torso_share
from pegasus_ray.rig.model import Rig, interpolate_on_surface

MIN_TORSO_SHARE = 0.05
"""A point may follow the pose if the torso's share in its skinning is above this."""

MIN_EXPRESSION_METRES = 5e-4
"""A point may follow expressions if one unit of some expression moves it farther than this."""


def moved_by_torso(avatar: Avatar, rig: Rig) -> Tensor:
    """Which points the torso moves noticeably, (N,) bool."""
    share = interpolate_on_surface(torso_share(rig)[:, None], rig.faces, avatar.triangles, avatar.barycentric)[:, 0]
    return share > MIN_TORSO_SHARE


def motion_mask(avatar: Avatar, anchors: Anchors, rig: Rig) -> Tensor:
    """Which components of an avatar's first motion code may move each of its points, (Z, N), 0 or 1."""
    follows_pose = moved_by_torso(avatar, rig)
    follows_expressions = anchors.expression_basis.norm(dim=-1).amax(0) > MIN_EXPRESSION_METRES
    return torch.where(avatar.motions[0].of_pose[:, None], follows_pose, follows_expressions).float()
