"""Where the frames show nothing, an avatar takes after what is near, and its gaps are closed from below."""

from __future__ import annotations

from dataclasses import replace

import torch

from pegasus_ray.avatar.fit.complete_unseen import (
    BACKING_DEPTH_METRES,
    MAX_SKIN_OFFSET_METRES,
    MIN_SEEN_FOR_COLOUR,
    complete_unseen,
)
from pegasus_ray.avatar.fit.evidence import gather_evidence
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.frames import FrameSet
from pegasus_ray.rig.load import load_rig
from tests.painted import painted_avatar, painted_track

FRAMES = 6


def _completed(avatar: Avatar, backing: int) -> Avatar:
    frames = FrameSet.of(painted_track().select(range(FRAMES)), 64)
    generator = torch.Generator().manual_seed(0)
    return complete_unseen(avatar, load_rig(), frames, torch.arange(FRAMES), backing=backing, generator=generator)


def test_points_that_no_frame_shows_take_their_neighbours_colour_and_seen_ones_keep_theirs() -> None:
    rig, avatar = load_rig(), painted_avatar()
    frames = FrameSet.of(painted_track().select(range(FRAMES)), 64)
    points = avatar.canonical(avatar.anchors(rig))
    seen = gather_evidence(avatar, points, rig, frames, torch.arange(FRAMES), per_pixel=12).weight
    seen = seen / seen[seen > 0].mean()
    never, well = seen == 0, seen > MIN_SEEN_FOR_COLOUR
    assert int(never.sum()) > 50 and int(well.sum()) > 50
    green = torch.tensor([0.0, 1.0, 0.0])
    made = _completed(replace(avatar, albedo=torch.where(never[:, None], green, avatar.albedo)), 0)
    assert float((made.albedo[never] - green).norm(dim=1).min()) > 0.2
    assert torch.equal(made.albedo[well], avatar.albedo[well])


def test_the_backing_lies_under_the_skin_of_places_that_are_hardly_seen() -> None:
    avatar = painted_avatar()
    made = _completed(avatar, 2000)
    layer = made.select(torch.arange(len(avatar), len(made)))
    assert 20 < len(layer) < 2000
    anchors = layer.anchors(load_rig())
    depth = (layer.offsets * anchors.normals).sum(1)
    skin = avatar.select(avatar.offsets.norm(dim=1) < MAX_SKIN_OFFSET_METRES)
    over = skin.anchors(load_rig())
    near = torch.cdist(anchors.positions, over.positions).topk(8, largest=False).indices
    height = (skin.offsets * over.normals).sum(1)[near].mean(1)
    assert float((height - depth).median()) > 0.5 * BACKING_DEPTH_METRES
    assert float(layer.position_basis.abs().max()) == 0
    again = _completed(avatar, 2000)
    assert torch.equal(again.albedo, made.albedo)
