"""Hair: ribbons of strands grown on the scalp, combed, hanging, kept off head, ears and face.

A ribbon is rooted at a (triangle, barycentric) of the scalp and goes with the head; what hangs below the jaw follows the torso a
little. Strands in front of the face are moved around it, so no style but a fringe covers an eye.

Legend: R ribbons, P points along one, N = R · 2P vertices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from pegasus_ray.rig.model import Tissue
from pegasus_ray.schemas.parts import Part
from pegasus_ray.studio.figure.face_paint import hairline, scalp_density
from pegasus_ray.studio.figure.piece import Ints, Material, Piece, grid_faces, unit
from pegasus_ray.studio.figure.skull import Skull, around, outward
from pegasus_ray.studio.noise import Floats, smoothstep
from pegasus_ray.studio.people import Hair, HairStyle

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a style grows. Lengths in metres, angles in degrees."""

    top: float  # length of the hair on top
    sides: float  # length below
    ribbons: int
    points: int  # along a ribbon
    width: float  # of a ribbon
    lift: float  # how far it stands up at the root
    volume: float  # thickness of the whole
    gravity: float = 0.0
    part: float | None = None  # x of the parting; None for none
    frame: float = 58.0  # azimuth that the hair stays behind at the height of the eyes
    floor: float | None = None  # y at which it is cut
    curl: float = 0.0  # radius of the curls
    fringe: bool = False
    tied: bool = False
    jitter: float = 0.10  # of directions
    hug: float = 0.30  # how closely it follows the skull, 0–1


CUTS: Final[dict[HairStyle, Cut]] = {
    HairStyle.SHORT: Cut(top=0.042, sides=0.014, ribbons=6500, points=6, width=0.0022, lift=0.55, volume=0.010),
    HairStyle.SIDE_PART: Cut(
        top=0.085, sides=0.024, ribbons=5200, points=9, width=0.0030, lift=0.55, volume=0.014, gravity=0.25, part=0.032
    ),
    HairStyle.BOB: Cut(
        top=0.30,
        sides=0.22,
        ribbons=3600,
        points=11,
        width=0.0054,
        lift=0.30,
        volume=0.016,
        gravity=0.9,
        part=0.012,
        floor=-0.105,
    ),
    HairStyle.LONG: Cut(
        top=0.48,
        sides=0.42,
        ribbons=4200,
        points=14,
        width=0.0060,
        lift=0.28,
        volume=0.014,
        gravity=1.0,
        part=0.0,
        floor=-0.27,
    ),
    HairStyle.FRINGE: Cut(
        top=0.34,
        sides=0.26,
        ribbons=3900,
        points=12,
        width=0.0054,
        lift=0.28,
        volume=0.013,
        gravity=0.95,
        part=0.0,
        floor=-0.165,
        fringe=True,
    ),
    HairStyle.CURLY: Cut(
        top=0.066,
        sides=0.054,
        ribbons=3800,
        points=16,
        width=0.0042,
        lift=1.0,
        volume=0.030,
        curl=0.0065,
        frame=50,
        jitter=0.16,
        hug=0.0,
    ),
    HairStyle.TIED: Cut(
        top=0.22, sides=0.18, ribbons=3600, points=12, width=0.0045, lift=0.12, volume=0.006, tied=True
    ),
}
KNOT_HEIGHT: Final = 0.015  # metres above the eyes: where tied hair meets
BUN: Final = 0.034  # metres, radius
STEPS: Final = 36
SHOULDER: Final = 0.114  # metres from the middle: how far out hair may lie on the shoulders
TAIL: Final = 0.045  # metres: over these the ends of hair thin out
FRINGE_FLOOR: Final = 0.034  # metres above the eyes


def grow_hair(
    hair: Hair,
    skull: Skull,
    *,
    under_hat: bool = False,  # flat, and nothing above the ears' height stands up
    detail: float = 1.0,  # share of the ribbons, each the wider for it
) -> Piece | None:
    """The hair of a head, or None for none."""
    if hair.style is HairStyle.BALD:
        return None
    cut = CUTS[hair.style]
    if under_hat:
        cut = replace(cut, lift=0.0, hug=0.7, curl=0.0, gravity=max(cut.gravity, 0.3))
    rng = np.random.default_rng([hair.seed, 3])
    triangles, barycentric, places = _roots(skull, rng, max(int(cut.ribbons * detail), 1))
    roots = _on_surface(skull, triangles, barycentric)
    lengths = _lengths(cut, hair, places, rng)
    clearance = _layers(cut, hair, places, rng)
    if under_hat:
        clearance = np.minimum(clearance, 0.004).astype(np.float32)
    paths = _grow(cut, skull, roots, places, lengths, clearance, rng)
    if cut.curl:
        paths = _curl(cut, hair, paths, skull, rng)
    if cut.tied:
        triangles, barycentric, paths = _with_bun(skull, triangles, barycentric, paths, rng)
    return _ribbons(cut.width / np.sqrt(detail), skull, triangles, barycentric, paths)


def grow_beard(
    length: float,  # metres
    seed: int,
    skull: Skull,
    density: Floats,  # (F,) 0–1 of the rig's faces
) -> Piece:
    """Short hair on chin and jaw."""
    rng = np.random.default_rng([seed, 5])
    triangles, barycentric, _ = _scatter(skull, rng, 5000, density)
    roots = _on_surface(skull, triangles, barycentric)
    _, normals = skull.distance(roots)
    down = unit(np.array([0, -1.0, 0.25], np.float32) + 0.25 * rng.standard_normal((len(roots), 3)).astype(np.float32))
    heading = unit(0.55 * normals + down - (down * normals).sum(1, keepdims=True) * normals)
    steps = (
        np.linspace(0, 1, 4, dtype=np.float32)[None, :, None]
        * (length * rng.uniform(0.6, 1.1, len(roots)))[:, None, None]
    )
    paths = roots[:, None] + steps * heading[:, None]
    flat = skull.keep_out(paths.reshape(-1, 3).astype(np.float32), np.full(paths.shape[0] * 4, 0.0008, np.float32))
    return _ribbons(0.0010, skull, triangles, barycentric, flat.reshape(paths.shape), Material.BEARD)


def _scatter(skull: Skull, rng: np.random.Generator, count: int, density: Floats) -> tuple[Ints, Floats, Floats]:
    """`count` places on the skin by area × density (F,): faces, barycentric, places on the template."""
    faces, template = skull.rig.faces.numpy(), skull.rig.template.numpy()
    corners = template[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chance = area * density
    triangles = rng.choice(len(faces), count, p=chance / chance.sum()).astype(np.int64)
    barycentric = rng.dirichlet([1, 1, 1], count).astype(np.float32)
    return triangles, barycentric, np.einsum("nc,ncd->nd", barycentric, corners[triangles]).astype(np.float32)


def _roots(skull: Skull, rng: np.random.Generator, count: int) -> tuple[Ints, Floats, Floats]:
    rig = skull.rig
    on_scalp = ((rig.tissue == Tissue.SKIN) & (rig.parts != Part.EARS)).numpy().astype(np.float32)
    corners = rig.template.numpy()[rig.faces.numpy()]
    on_scalp *= (hairline(corners.reshape(-1, 3)).reshape(-1, 3).max(1) > -0.004) & (corners[..., 1].min(1) > -0.11)
    triangles, barycentric, places = _scatter(skull, rng, 3 * count, on_scalp)
    kept = rng.random(3 * count) < scalp_density(places) * (skull.near_ears(places) > 0.006)
    chosen = np.flatnonzero(kept)[:count]
    return triangles[chosen], barycentric[chosen], places[chosen]


def _on_surface(skull: Skull, triangles: Ints, barycentric: Floats) -> Floats:
    corners = skull.vertices[skull.rig.faces.numpy()[triangles]]
    return np.asarray(np.einsum("nc,ncd->nd", barycentric, corners), dtype=np.float32)


def _on_top(places: Floats) -> Floats:
    """1 on top of the head, 0 on its sides, (R,)."""
    height = places[:, 1] - 0.012 * np.clip((places[:, 2] + 0.09) / 0.09, -1, 1)
    return smoothstep(0.040, 0.072, height)


def _lengths(cut: Cut, hair: Hair, places: Floats, rng: np.random.Generator) -> Floats:
    top = _on_top(places)
    mean = cut.sides + (cut.top - cut.sides) * top
    low = smoothstep(-0.03, 0.03, places[:, 1]) if cut.top < 0.12 else np.ones(len(places), np.float32)
    return np.asarray(hair.length * mean * (0.5 + 0.5 * low) * rng.uniform(0.82, 1.08, len(places)), dtype=np.float32)


def _layers(cut: Cut, hair: Hair, places: Floats, rng: np.random.Generator) -> Floats:
    """How far from the scalp each ribbon lies (R,): what is rooted higher lies over what is rooted lower."""
    height = np.clip((places[:, 1] + 0.07) / 0.18, 0, 1)
    return np.asarray(
        0.0015 + hair.volume * cut.volume * (0.25 + 0.75 * height) * rng.uniform(0.25, 1.0, len(places)), np.float32
    )


def _heading(cut: Cut, points: Floats, places: Floats, side: Floats, knot: Floats) -> Floats:
    """Where the comb draws hair (R, 3), by the place of its root."""
    count = len(points)
    top = _on_top(places)[:, None]
    back = np.clip(-(places[:, 2] + 0.09) / 0.09, 0, 1)[:, None]
    if cut.tied:
        return unit(knot - points)
    if cut.curl:
        return unit(outward(points) + np.array([0, 0.1, 0], np.float32))
    if cut.part is None:
        swept = np.array([0.25, 0.35, -1.0], np.float32)
        return unit(top * swept + (1 - top) * np.array([0.0, -0.9, -0.45], np.float32))
    along = np.stack([side, np.full(count, 0.10), -0.55 * np.ones(count)], 1).astype(np.float32)
    fall = np.array([0, -1.0, -0.25], np.float32) + np.stack([0.15 * side, 0 * side, 0 * side], 1)
    share = top * (1 - 0.6 * back)
    return unit(share * along + (1 - share) * fall)


def _grow(
    cut: Cut,
    skull: Skull,
    roots: Floats,
    places: Floats,
    lengths: Floats,
    clearance: Floats,
    rng: np.random.Generator,
) -> Floats:
    """Paths (R, P, 3) from the roots."""
    count, knot = len(roots), _knot(skull)
    wander = 0.012 * rng.standard_normal(count)
    side = np.where(places[:, 0] + wander > (cut.part or 0.0), 1.0, -1.0).astype(np.float32)
    in_fringe = (
        cut.fringe & (places[:, 2] > -0.055) & (places[:, 1] > 0.048) & (np.abs(places[:, 0]) < 0.050 + 0.3 * wander)
    )
    normals = skull.distance(roots)[1]
    jitter = cut.jitter * rng.standard_normal((count, 3)).astype(np.float32)
    combed = _heading(cut, roots, places, side, knot)
    combed[in_fringe] = unit(
        np.stack([6 * places[in_fringe, 0], 0 * side[in_fringe] - 0.1, 0 * side[in_fringe] + 1], 1)
    )
    combed = combed - (combed * normals).sum(1, keepdims=True) * normals
    heading = unit(cut.lift * normals + unit(combed + jitter))
    frame = np.deg2rad(cut.frame + 7 * rng.standard_normal(count)).astype(np.float32)
    gravity = np.where(in_fringe, 1.4, cut.gravity).astype(np.float32)
    step = (lengths / STEPS)[:, None].astype(np.float32)
    down = np.array([0, -1, 0], np.float32)

    if cut.tied:
        step = (1.35 * np.linalg.norm(knot - roots, axis=1) / STEPS)[:, None].astype(np.float32)
    points, path = roots.copy(), [roots]
    for number in range(1, STEPS + 1):
        travelled = number * step[:, 0]
        wish = _heading(cut, points, places, side, knot)
        wish[in_fringe] = down
        pull = (1 - np.exp(-travelled / 0.05))[:, None]
        heading = unit(heading + 16 * step * wish + 40 * step * gravity[:, None] * pull * down)
        points = points + step * heading
        raised = clearance * (1 - np.exp(-travelled / 0.022))
        points = skull.keep_out(
            points.astype(np.float32), raised.astype(np.float32), over_ears=cut.gravity > 0.5, hug=cut.hug
        )
        points = _off_the_face(points, frame, side, in_fringe)
        heading = unit(0.4 * heading + 0.6 * unit(points - path[-1]))
        path.append(points)
    paths = np.stack(path, 1)
    for _ in range(3):
        paths[:, 1:-1] = 0.25 * paths[:, :-2] + 0.5 * paths[:, 1:-1] + 0.25 * paths[:, 2:]
    stop = np.full(count, -9.0) if cut.floor is None else cut.floor + 0.006 * rng.standard_normal(count)
    stop = np.where(in_fringe, FRINGE_FLOOR + 0.003 * rng.standard_normal(count) - 4 * places[:, 0] ** 2, stop)
    shoulder = (-0.125 - 0.060 * rng.random(count)).astype(np.float32)
    return _resample(paths, stop.astype(np.float32), shoulder, cut.points)


def _off_the_face(points: Floats, frame: Floats, side: Floats, exempt: Bools) -> Floats:
    """Points in front of the face moved around the head's axis to the frame of the face."""
    azimuth, radius = around(points)
    wanted = frame * smoothstep(0.062, 0.026, points[:, 1])
    inside = (np.abs(azimuth) < wanted) & (points[:, 1] > -0.13) & ~exempt
    signed = np.where(np.abs(azimuth) > 0.35, np.sign(azimuth), side)
    turned = np.where(inside, signed * wanted, azimuth)
    moved = points.copy()
    moved[:, 0] = np.sin(turned) * radius
    moved[:, 2] = np.cos(turned) * radius + (points[:, 2] - np.cos(azimuth) * radius)
    return moved


def _resample(paths: Floats, stop: Floats, shoulder: Floats, count: int) -> Floats:
    """Paths (R, S, 3) cut where they fall below `stop` (R,) or slide out over a shoulder, in `count` points of equal spacing."""
    slid = (np.abs(paths[..., 0]) > SHOULDER) & (paths[..., 1] < shoulder[:, None])
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


def _curl(cut: Cut, hair: Hair, paths: Floats, skull: Skull, rng: np.random.Generator) -> Floats:
    """Paths wound around themselves."""
    count, points, _ = paths.shape
    along = np.linspace(0, 1, points, dtype=np.float32)[None]
    turn = rng.uniform(0, 2 * np.pi, (count, 1)) + 2 * np.pi * rng.uniform(2.0, 3.2, (count, 1)) * along
    heading = unit(np.gradient(paths, axis=1))
    aside = unit(np.cross(heading, np.array([0.3, 0.9, 0.2], np.float32)))
    other = np.cross(heading, aside)
    radius = hair.volume * cut.curl * np.minimum(along * 3, 1)
    wound = paths + (radius * np.cos(turn))[..., None] * aside + (radius * np.sin(turn))[..., None] * other
    flat = wound.reshape(-1, 3).astype(np.float32)
    flat = skull.keep_out(flat, np.full(len(flat), 0.002, np.float32))
    frame = np.full(len(flat), np.deg2rad(cut.frame), np.float32)
    return _off_the_face(flat, frame, np.sign(flat[:, 0]), np.zeros(len(flat), bool)).reshape(paths.shape)


def _knot(skull: Skull) -> Floats:
    """Where tied hair meets, (3,): just off the back of the head."""
    behind = np.array([[0.0, KNOT_HEIGHT, -0.30]], np.float32)
    return np.asarray(behind[0] + [0, 0, skull.distance(behind)[0][0] - 0.020], dtype=np.float32)


def _with_bun(
    skull: Skull, triangles: Ints, barycentric: Floats, paths: Floats, rng: np.random.Generator
) -> tuple[Ints, Floats, Floats]:
    """Ribbons that end at the knot, and a bun of more of them wound around it."""
    count, points, _ = paths.shape
    knot = _knot(skull)
    reached = np.linalg.norm(paths - knot, axis=2) < 0.8 * BUN
    held = np.flatnonzero(reached.any(1))
    until = np.minimum(np.arange(points)[None], np.maximum(reached[held].argmax(1), 1)[:, None])
    triangles, barycentric, paths = triangles[held], barycentric[held], paths[held[:, None], until]
    loops = count // 4
    centre = knot + np.array([0, 0.004, -0.006], np.float32)
    pole = unit(np.array([0, 0.25, -1.0], np.float32) + 0.35 * rng.standard_normal((loops, 3)).astype(np.float32))
    aside = unit(np.cross(pole, rng.standard_normal((loops, 3)).astype(np.float32)))
    other = np.cross(pole, aside)
    angle = np.linspace(0, 1, points)[None] * rng.uniform(1.5, 3.5, (loops, 1))
    level = rng.uniform(-0.95, 0.95, (loops, 1))
    ring = np.sqrt(1 - level**2)
    size = (BUN * rng.uniform(0.75, 1.03, loops))[:, None, None]
    ball = ring[..., None] * (np.cos(angle)[..., None] * aside[:, None] + np.sin(angle)[..., None] * other[:, None])
    wound = centre + size * (ball + level[..., None] * pole[:, None])
    near, shares = skull.anchor(np.repeat(knot[None], loops, 0))
    return (
        np.concatenate([triangles, near]),
        np.concatenate([barycentric, shares]),
        np.concatenate([paths, wound.astype(np.float32)]),
    )


def _ribbons(
    width: float, skull: Skull, triangles: Ints, barycentric: Floats, paths: Floats, material: Material = Material.HAIR
) -> Piece:
    """Flat bands along paths (R, P, 3) that narrow towards their ends."""
    count, points, _ = paths.shape
    flat = paths.reshape(-1, 3)
    tangents = unit(np.gradient(paths, axis=1)).reshape(-1, 3)
    normals = outward(flat)
    across = unit(np.cross(tangents, normals))
    along = _towards_the_end(paths).reshape(-1)
    half = 0.5 * width * (1 - 0.55 * smoothstep(0.60, 1.0, along)) * (0.6 + 0.4 * smoothstep(0, 0.15, along))
    both = np.stack([flat - half[:, None] * across, flat + half[:, None] * across], 1).reshape(-1, 3).astype(np.float32)
    lane = np.repeat(np.arange(count), points)
    coordinates = np.stack([np.tile([-1.0, 1.0], len(flat)), np.repeat(along, 2), np.repeat(lane, 2)], 1)
    cell = grid_faces(points, 2)
    faces = (cell[None] + (np.arange(count) * 2 * points)[:, None, None]).reshape(-1, 3)
    return Piece(
        material=material,
        points=both,
        normals=np.repeat(normals, 2, 0),
        tangents=np.repeat(tangents, 2, 0),
        coordinates=coordinates.astype(np.float32),
        triangles=triangles,
        barycentric=barycentric,
        weights=skull.hanging_weights(both),
        faces=faces,
        half_width=0.5 * width,
    )


def _towards_the_end(paths: Floats) -> Floats:
    """0 at the roots of paths (R, P, 3), 0.7 where the last TAIL begins, 1 at the tips, (R, P): short hair is tail by a third."""
    place = np.linspace(0, 1, paths.shape[1], dtype=np.float32)[None]
    length = np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(1, keepdims=True)
    tail = np.minimum(TAIL / np.maximum(length, 1e-6), 0.3)
    body = 0.7 * place / (1 - tail)
    return np.asarray(np.where(place < 1 - tail, body, 0.7 + 0.3 * (place - 1 + tail) / tail), dtype=np.float32)
