"""The paths of hair: how strands grow from their roots, are combed, hang, curl, and keep off head, ears and face.

Legend: R ribbons, P points along one, S steps of growth.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pegasus_ray.studio.arrays import Bools, Floats
from pegasus_ray.studio.figure.bun import knot
from pegasus_ray.studio.figure.haircuts import Haircut
from pegasus_ray.studio.figure.piece import unit
from pegasus_ray.studio.figure.roots import Roots
from pegasus_ray.studio.figure.skull import Skull, cylindrical, outward_directions
from pegasus_ray.studio.noise import smoothstep
from pegasus_ray.studio.person import Hair

GROWTH_STEPS: Final = 36  # in which a path grows from root to tip
SHOULDER_REACH_METRES: Final = 0.114  # from the middle: how far out hair may lie on the shoulders
FRINGE_HEIGHT_METRES: Final = 0.034  # above the eyes, where a fringe is cut
UNCUT_HEIGHT_METRES: Final = -9.0  # below everything


def sample_lengths(cut: Haircut, hair: Hair, roots: Roots, rng: np.random.Generator) -> Floats:
    """Length of each ribbon (R,) in metres. Short styles get shorter towards the nape."""
    top = _on_top(roots.template)
    mean = cut.side_length + (cut.top_length - cut.side_length) * top
    above_nape = (
        smoothstep(-0.03, 0.03, roots.template[:, 1]) if cut.top_length < 0.12 else np.ones(len(roots), np.float32)
    )
    varied = rng.uniform(0.82, 1.08, len(roots))
    return np.asarray(hair.length * mean * (0.5 + 0.5 * above_nape) * varied, dtype=np.float32)


def sample_clearances(cut: Haircut, hair: Hair, roots: Roots, rng: np.random.Generator) -> Floats:
    """How far from the scalp each ribbon lies, (R,) metres: ribbons rooted higher lie over those rooted lower."""
    height = np.clip((roots.template[:, 1] + 0.07) / 0.18, 0, 1)
    return np.asarray(
        0.0015 + hair.volume * cut.thickness * (0.25 + 0.75 * height) * rng.uniform(0.25, 1.0, len(roots)), np.float32
    )


def grow_paths(
    cut: Haircut,
    skull: Skull,
    roots: Roots,
    lengths: Floats,  # (R,) metres
    clearance: Floats,  # (R,) metres
    rng: np.random.Generator,
) -> Floats:
    """Paths (R, P, 3) of ribbons from their roots.

    A path grows in `GROWTH_STEPS` steps. Each turns the heading towards the comb's direction and downwards, and pushes the new
    point out of the head and off the face.
    """
    count, gathered, places, start = len(roots), knot(skull), roots.template, roots.on(skull)
    wander = 0.012 * rng.standard_normal(count)
    side = np.where(places[:, 0] + wander > (cut.parting_x or 0.0), 1.0, -1.0).astype(np.float32)
    in_fringe = (
        cut.fringe & (places[:, 2] > -0.055) & (places[:, 1] > 0.048) & (np.abs(places[:, 0]) < 0.050 + 0.3 * wander)
    )
    normals = skull.distance(start)[1]
    jitter = cut.jitter * rng.standard_normal((count, 3)).astype(np.float32)
    combed = _comb_direction(cut, start, places, side, gathered)
    combed[in_fringe] = unit(
        np.stack([6 * places[in_fringe, 0], 0 * side[in_fringe] - 0.1, 0 * side[in_fringe] + 1], 1)
    )
    combed = combed - (combed * normals).sum(1, keepdims=True) * normals
    heading = unit(cut.root_lift * normals + unit(combed + jitter))
    face_angle = np.deg2rad(cut.face_angle + 7 * rng.standard_normal(count)).astype(np.float32)
    gravity = np.where(in_fringe, 1.4, cut.gravity).astype(np.float32)
    step = (lengths / GROWTH_STEPS)[:, None].astype(np.float32)
    down = np.array([0, -1, 0], np.float32)

    if cut.tied:
        step = (1.35 * np.linalg.norm(gathered - start, axis=1) / GROWTH_STEPS)[:, None].astype(np.float32)
    points, path = start.copy(), [start]
    for number in range(1, GROWTH_STEPS + 1):
        travelled = number * step[:, 0]
        comb = _comb_direction(cut, points, places, side, gathered)
        comb[in_fringe] = down
        pull = (1 - np.exp(-travelled / 0.05))[:, None]
        heading = unit(heading + 16 * step * comb + 40 * step * gravity[:, None] * pull * down)
        points = points + step * heading
        raised = clearance * (1 - np.exp(-travelled / 0.022))
        points = skull.push_out(
            points.astype(np.float32), raised.astype(np.float32), over_ears=cut.gravity > 0.5, hug=cut.hug
        )
        points = _push_off_face(points, face_angle, side, in_fringe)
        heading = unit(0.4 * heading + 0.6 * unit(points - path[-1]))
        path.append(points)
    paths = np.stack(path, 1)
    for _ in range(3):
        paths[:, 1:-1] = 0.25 * paths[:, :-2] + 0.5 * paths[:, 1:-1] + 0.25 * paths[:, 2:]
    stop = (
        np.full(count, UNCUT_HEIGHT_METRES)
        if cut.cut_height is None
        else cut.cut_height + 0.006 * rng.standard_normal(count)
    )
    stop = np.where(in_fringe, FRINGE_HEIGHT_METRES + 0.003 * rng.standard_normal(count) - 4 * places[:, 0] ** 2, stop)
    shoulder = (-0.125 - 0.060 * rng.random(count)).astype(np.float32)
    return _cut_and_resample(paths, stop.astype(np.float32), shoulder, cut.points)


def curl_paths(cut: Haircut, hair: Hair, paths: Floats, skull: Skull, rng: np.random.Generator) -> Floats:
    """Paths (R, P, 3) wound into helices around the given ones."""
    count, points, _ = paths.shape
    along = np.linspace(0, 1, points, dtype=np.float32)[None]
    turn = rng.uniform(0, 2 * np.pi, (count, 1)) + 2 * np.pi * rng.uniform(2.0, 3.2, (count, 1)) * along
    heading = unit(np.gradient(paths, axis=1))
    aside = unit(np.cross(heading, np.array([0.3, 0.9, 0.2], np.float32)))
    other = np.cross(heading, aside)
    radius = hair.volume * cut.curl_radius * np.minimum(along * 3, 1)
    wound = paths + (radius * np.cos(turn))[..., None] * aside + (radius * np.sin(turn))[..., None] * other
    flat = wound.reshape(-1, 3).astype(np.float32)
    flat = skull.push_out(flat, np.full(len(flat), 0.002, np.float32))
    face_angle = np.full(len(flat), np.deg2rad(cut.face_angle), np.float32)
    return _push_off_face(flat, face_angle, np.sign(flat[:, 0]), np.zeros(len(flat), bool)).reshape(paths.shape)


def _on_top(places: Floats) -> Floats:
    """1 on top of the head, 0 on its sides, (R,)."""
    height = places[:, 1] - 0.012 * np.clip((places[:, 2] + 0.09) / 0.09, -1, 1)
    return smoothstep(0.040, 0.072, height)


def _comb_direction(cut: Haircut, points: Floats, places: Floats, side: Floats, gathered: Floats) -> Floats:
    """Where the comb draws hair, (R, 3): to the knot, outwards (curls), backwards, or away from the parting.

    Args:
        cut: the style.
        points: where the hair is, (R, 3) metres.
        places: where it is rooted, on the template, (R, 3) metres.
        side: of the parting, −1 or 1, (R,).
        gathered: the knot of tied hair, (3,).
    """
    count = len(points)
    top = _on_top(places)[:, None]
    back = np.clip(-(places[:, 2] + 0.09) / 0.09, 0, 1)[:, None]
    if cut.tied:
        return unit(gathered - points)
    if cut.curl_radius:
        return unit(outward_directions(points) + np.array([0, 0.1, 0], np.float32))
    if cut.parting_x is None:
        swept = np.array([0.25, 0.35, -1.0], np.float32)
        return unit(top * swept + (1 - top) * np.array([0.0, -0.9, -0.45], np.float32))
    along = np.stack([side, np.full(count, 0.10), -0.55 * np.ones(count)], 1).astype(np.float32)
    fall = np.array([0, -1.0, -0.25], np.float32) + np.stack([0.15 * side, 0 * side, 0 * side], 1)
    share = top * (1 - 0.6 * back)
    return unit(share * along + (1 - share) * fall)


def _push_off_face(points: Floats, face_angle: Floats, side: Floats, exempt: Bools) -> Floats:
    """Points (R, 3) in front of the face, moved around the head's vertical axis until they are beside it.

    The angle that stays free narrows from the eyes upwards to nothing at the hairline.
    """
    azimuth, radius = cylindrical(points)
    wanted = face_angle * smoothstep(0.062, 0.026, points[:, 1])
    inside = (np.abs(azimuth) < wanted) & (points[:, 1] > -0.13) & ~exempt
    signed = np.where(np.abs(azimuth) > 0.35, np.sign(azimuth), side)
    turned = np.where(inside, signed * wanted, azimuth)
    moved = points.copy()
    moved[:, 0] = np.sin(turned) * radius
    moved[:, 2] = np.cos(turned) * radius + (points[:, 2] - np.cos(azimuth) * radius)
    return moved


def _cut_and_resample(paths: Floats, stop: Floats, shoulder: Floats, count: int) -> Floats:
    """Paths (R, S, 3) cut off and resampled to `count` points of equal spacing.

    They are cut where they fall below the height `stop` (R,), or below `shoulder` (R,) beyond the shoulders' reach.
    """
    slid = (np.abs(paths[..., 0]) > SHOULDER_REACH_METRES) & (paths[..., 1] < shoulder[:, None])
    below = (paths[..., 1] < stop[:, None]) | slid
    last = np.where(below.any(1), np.maximum(below.argmax(1), 2), paths.shape[1] - 1)
    lengths = np.concatenate(
        [np.zeros((len(paths), 1)), np.cumsum(np.linalg.norm(np.diff(paths, axis=1), axis=2), 1)], 1
    )
    whole = lengths[np.arange(len(paths)), last]
    wanted = np.linspace(0, 1, count)[None] * whole[:, None]
    above = np.clip((lengths[:, None, :] < wanted[..., None]).sum(2), 1, paths.shape[1] - 1)
    rows = np.arange(len(paths))[:, None]
    low, high = lengths[rows, above - 1], lengths[rows, above]
    share = ((wanted - low) / np.maximum(high - low, 1e-9))[..., None]
    return np.asarray(paths[rows, above - 1] * (1 - share) + paths[rows, above] * share, dtype=np.float32)
