"""Light and materials: what colour a ray sees. All in linear light and camera space (x right, y down, z away).

Legend: N samples (hits of rays). Directions are unit vectors from the surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pegasus_ray.studio.figure.face_paint import Painted, linear
from pegasus_ray.studio.figure.piece import unit
from pegasus_ray.studio.noise import Floats, Noise, ripple, smoothstep
from pegasus_ray.studio.people import Cloth, Colour, Glasses, GlassesStyle, Hat, Pattern


def _towards(x: float, y: float, z: float) -> Floats:
    return unit(np.array([x, y, z], np.float32))


KEY: Final = _towards(-0.48, -0.52, -0.70)
KEY_COLOUR: Final = np.array([1.00, 0.955, 0.90], np.float32) * 1.05
FILL: Final = _towards(0.80, -0.10, -0.60)
FILL_COLOUR: Final = np.array([0.86, 0.94, 1.00], np.float32) * 0.30
RIM: Final = _towards(0.62, -0.55, 0.58)
RIM_COLOUR: Final = np.array([1.0, 0.98, 0.95], np.float32) * 0.45
SKY: Final = np.array([0.92, 0.97, 1.00], np.float32) * 0.42
GROUND: Final = np.array([1.00, 0.90, 0.82], np.float32) * 0.20
LENS_OPACITY: Final = 0.10
LAMP: Final = 0.10  # radius of the key light as an angle, radians


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Where rays hit, with what every material needs."""

    points: Floats  # (N, 3) metres
    normals: Floats  # (N, 3) towards the viewer's side
    view: Floats  # (N, 3) towards the viewer
    tangents: Floats  # (N, 3)
    places: Floats  # (N, 3) on the template, or in rest space
    coordinates: Floats  # (N, 3) of the piece
    occlusion: Floats  # (N,) 0–1: share of the surroundings that is seen
    lit: Floats  # (N,) 0–1: share of the key light that arrives

    def where(self, chosen: npt.NDArray[np.bool_ | np.integer]) -> Samples:
        """Some of the samples."""
        return Samples(**{name: getattr(self, name)[chosen] for name in Samples.__slots__})


def lamp_directions() -> Floats:
    """Four directions (4, 3) to the key light's disc: one for each of the four rays of a pixel."""
    aside = unit(np.cross(KEY, np.array([0, 1, 0], np.float32)))
    up = np.cross(KEY, aside)
    angles = np.pi / 4 + np.pi / 2 * np.arange(4)
    return unit(
        (KEY + LAMP * 0.7 * (np.cos(angles)[:, None] * aside + np.sin(angles)[:, None] * up)).astype(np.float32)
    )


def shade_skin(samples: Samples, paint: Painted, noise: Noise) -> Floats:
    """Skin, lips and the inside of the mouth, (N, 3): light that bleeds red past the terminator, and a soft sheen."""
    normals = samples.normals
    wrap = np.array([0.34, 0.17, 0.12], np.float32)
    bumps = np.stack([noise(samples.places, 0.0016, channel) for channel in (8, 9, 10)], 1)
    rough = unit(normals + 0.045 * bumps)
    seen = samples.occlusion[:, None]
    outside = 1 - smoothstep(0.3, 0.8, paint.inside)[:, None]

    facing = (normals @ KEY)[:, None]
    key = np.clip((facing + wrap) / (1 + wrap), 0, 1) ** 1.25
    soft = samples.lit[:, None] ** np.array([0.80, 1.0, 1.08], np.float32)
    light = KEY_COLOUR * key * soft * (0.6 + 0.4 * seen)
    light += FILL_COLOUR * np.clip(((normals @ FILL)[:, None] + 0.3) / 1.3, 0, 1) * (0.35 + 0.65 * seen)
    light += RIM_COLOUR * np.clip((normals @ RIM)[:, None], 0, 1) * seen**2
    light += _ambient(normals) * seen ** np.array([0.75, 0.95, 1.0], np.float32)
    colour = paint.albedo * light

    glancing = 0.35 + 0.65 * (1 - np.clip((normals * samples.view).sum(1), 0, 1)) ** 3
    sheen = 0.10 * _gloss(rough, samples.view, KEY, 18) + 0.10 * _gloss(rough, samples.view, KEY, 55)
    sheen = sheen * samples.lit + 0.04 * _gloss(rough, samples.view, FILL, 18)
    wet = smoothstep(0.3, 0.8, paint.inside) * 0.3 * _gloss(rough, samples.view, KEY, 40)
    shine = (sheen * paint.shine * glancing + wet) * samples.occlusion
    return np.asarray(colour * (0.45 + 0.55 * outside) + shine[:, None] * KEY_COLOUR, dtype=np.float32)


def shade_eye(
    samples: Samples,
    gaze: Floats,  # (N, 3) the place on the eyeball as a direction, +z the middle of the pupil, +y up
    iris: Colour,
    open_sky: Floats,  # (N,) 0–1: how far the lids let light in
) -> Floats:
    """Eyeballs, (N, 3): pupil, iris with fibres and a dark limbus, veined white, and the lamp's reflection."""
    angle = np.arccos(np.clip(gaze[:, 2], -1, 1))
    turn = np.asarray(np.arctan2(gaze[:, 1], gaze[:, 0]) + np.pi, dtype=np.float32)
    lane = np.zeros(len(angle), np.int64)
    fibres = 0.62 + 0.62 * ripple(turn * np.float32(9), lane) * (0.5 + 0.5 * ripple(turn * np.float32(23), lane + 1))
    collar = 1 + 0.45 * smoothstep(0.32, 0.20, angle)
    base = linear(iris) * (fibres * collar)[:, None]
    base *= (1 - 0.75 * smoothstep(0.37, 0.46, angle))[:, None]
    white = np.array([0.72, 0.66, 0.63], np.float32) * (1 - 0.30 * smoothstep(0.75, 1.35, angle))[:, None]
    white = white * np.stack([np.ones_like(angle), *[1 - 0.16 * smoothstep(0.6, 1.2, angle)] * 2], 1)
    albedo = white + smoothstep(0.475, 0.435, angle)[:, None] * (base - white)
    albedo *= (1 - 0.97 * smoothstep(0.185, 0.160, angle))[:, None]

    seen = (open_sky * (0.35 + 0.65 * samples.occlusion))[:, None]
    lit = (samples.lit * (0.35 + 0.65 * open_sky))[:, None]
    light = KEY_COLOUR * np.clip(((samples.normals @ KEY)[:, None] + 0.25) / 1.25, 0, 1) * lit
    light += (_ambient(samples.normals) * 1.1 + FILL_COLOUR * 0.6) * seen
    mirrored = 2 * (samples.normals * samples.view).sum(1, keepdims=True) * samples.normals - samples.view
    lamp = smoothstep(0.968, 0.982, mirrored @ KEY) * open_sky
    window = 0.03 * smoothstep(0.965, 0.985, mirrored @ FILL) * open_sky
    return np.asarray(albedo * light + (0.95 * lamp + window)[:, None], dtype=np.float32)


def shade_teeth(samples: Samples, upper: npt.NDArray[np.bool_]) -> Floats:
    """Teeth drawn on the rig's dental arches, (N, 3): gaps, rounded edges, gums."""
    x, y, z = samples.places.T
    arc = np.arctan2(x, z + 0.020)
    cell = arc / 0.24
    cell = np.where(upper, cell, cell * 1.25)
    within = cell - np.floor(cell) - 0.5
    edge = np.where(upper, -0.0700, -0.0634)  # y of the biting edges on the template
    height = np.where(upper, y - edge, edge - y) / 0.010
    gum = smoothstep(0.82, 0.95, height - 0.9 * within**2)
    gap = smoothstep(0.40, 0.49, np.abs(within))
    corner = smoothstep(0.06, -0.01, height - 0.5 * np.clip(np.abs(within) - 0.30, 0, 1))
    ivory = np.array([0.86, 0.78, 0.63], np.float32)
    albedo = (
        ivory * (1 - 0.12 * np.clip(height, 0, 1))[:, None] * (1 - 0.55 * gap)[:, None] * (1 - 0.5 * corner)[:, None]
    )
    albedo += gum[:, None] * (np.array([0.42, 0.13, 0.12], np.float32) - albedo)
    far = np.exp(-(np.abs(arc) ** 2) * 0.9)
    light = (
        KEY_COLOUR
        * np.clip(((samples.normals @ KEY) + 0.4) / 1.4, 0, 1)[:, None]
        * (0.55 + 0.45 * samples.lit)[:, None]
    )
    light = light * 0.95 + _ambient(samples.normals) + FILL_COLOUR * 0.4
    shine = 0.25 * _gloss(samples.normals, samples.view, KEY, 40) * samples.lit * (1 - gap)
    return np.asarray(albedo * light * far[:, None] * 0.95 + shine[:, None], dtype=np.float32)


def shade_tongue(samples: Samples, noise: Noise) -> Floats:
    """The tongue, (N, 3)."""
    albedo = np.array([0.42, 0.13, 0.12], np.float32) * (1 + 0.12 * noise(samples.places, 0.0012))[:, None]
    light = (
        KEY_COLOUR * np.clip(samples.normals @ KEY, 0, 1)[:, None] * samples.lit[:, None] * 0.7
        + _ambient(samples.normals) * 0.45
    )
    return np.asarray(albedo * light, dtype=np.float32)


def shade_lashes(samples: Samples) -> Floats:
    """Lashes and the dark line at their root, (N, 3)."""
    return np.broadcast_to(np.array([0.012, 0.009, 0.008], np.float32), samples.points.shape).copy()


def shade_hair(samples: Samples, colour: Colour) -> Floats:
    """Hair, (N, 3): two highlights across the strands, shifted along them (after Kajiya and Kay, and Marschner)."""
    across, along, lane = samples.coordinates.T
    number = lane.astype(np.int64)
    strand = ripple(across * 4.4 + 40, number * 3 + 1)
    streak = ripple(along * 2.5 + across * 1.1 + 9, number * 3 + 2)
    own = ripple(np.zeros_like(along), number)
    tone = (0.74 + 0.36 * own) * (0.66 + 0.56 * strand) * (0.9 + 0.2 * streak)
    base = linear(colour) * (tone * (0.72 + 0.38 * smoothstep(0.0, 0.6, along)))[:, None]

    shift = np.asarray(0.10 * (strand - 0.5) + 0.30 * (own - 0.5), dtype=np.float32)
    tangents = unit(samples.tangents + shift[:, None] * samples.normals)
    seen = samples.occlusion[:, None]
    lit = samples.lit[:, None]

    def lamp(towards: Floats, colour: Floats, arriving: Floats) -> Floats:
        facing = np.clip((samples.normals @ towards + 0.25) / 1.25, 0, 1)[:, None]
        slope = np.sqrt(np.clip(1 - (tangents @ towards) ** 2, 0, 1))[:, None]
        half = unit(towards + samples.view)
        first = _strand_gloss(tangents, samples.normals, half, -0.09, 110)
        second = _strand_gloss(tangents, samples.normals, half, 0.12, 26)
        glint = 0.060 * first[:, None] + 0.85 * base * second[:, None]
        return np.asarray(colour * arriving * (0.95 * base * slope * facing + glint * np.clip(facing * 1.6, 0, 1)))

    light = (
        lamp(KEY, KEY_COLOUR, lit * (0.35 + 0.65 * seen))
        + lamp(FILL, FILL_COLOUR, seen)
        + lamp(RIM, RIM_COLOUR, seen**1.5)
    )
    return np.asarray(light + base * _ambient(samples.normals) * seen * 0.95, dtype=np.float32)


def shade_cloth(
    samples: Samples, cloth: Cloth, depth: Floats, noise: Noise, *, collar: npt.NDArray[np.bool_]
) -> Floats:
    """The pullover, (N, 3): `depth` (N,) metres below the neckline; the collar is ribbed."""
    main, accent = linear(cloth.colour), linear(cloth.accent)
    x, y, _ = samples.places.T
    share = np.zeros(len(x), np.float32)
    match cloth.pattern:
        case Pattern.PLAIN:
            pass
        case Pattern.STRIPES:
            share = _band(y / 0.026, 0.36)
        case Pattern.CHECKS:
            share = 0.5 * _band(y / 0.040, 0.5) + 0.5 * _band(x / 0.040, 0.5)
        case Pattern.DOTS:
            row = np.floor(y / 0.022)
            dx = (x / 0.026 + 0.5 * (row % 2)) % 1 - 0.5
            dy = (y / 0.022) % 1 - 0.5
            share = smoothstep(0.28, 0.20, np.hypot(dx, dy))
    share = np.where(collar, 0.0, share)
    ribs = np.where(collar, 0.82 + 0.18 * np.sin(2 * np.pi * samples.coordinates[:, 0] / 0.0042), 1.0)
    melange = (
        1
        + 0.10 * noise(samples.places, 0.0014)
        + 0.10 * noise(samples.places, 0.004, 1)
        + 0.07 * noise(samples.places, 0.02, 2)
    )
    albedo = (main + share[:, None] * (accent - main)) * (melange * ribs)[:, None]
    return _matt(samples, albedo * (0.75 + 0.25 * smoothstep(-0.004, 0.012, depth))[:, None])


def shade_hat(samples: Samples, hat: Hat, noise: Noise) -> Floats:
    """Knitted or sewn, (N, 3), by the piece's kind: crown and band of a beanie (0, 1), crown and visor of a cap (2, 3), crown and
    brim of a brimmed hat (4, 5).
    """
    around, share, kind = samples.coordinates.T
    main, accent = linear(hat.colour), linear(hat.accent)
    ribbed = np.where(kind == 1, 0.80 + 0.20 * np.sin(around * 70), 0.90 + 0.10 * np.sin(around * 56))
    seams = 1 - 0.45 * (np.abs(((around / (np.pi / 3)) % 1) - 0.5) > 0.485) * (share > 0.05)
    knitted = kind < 2
    stitched = np.where(kind == 5, 1 - 0.25 * (np.abs((share * 7) % 1 - 0.5) > 0.44), 1.0)
    texture = np.where(knitted, ribbed, np.where(kind == 2, seams, stitched))
    ribbon = (kind == 4) & (share > 0.80)
    grain = 1 + 0.08 * noise(samples.places, 0.0013) + 0.05 * noise(samples.places, 0.006, 1)
    base = np.where(((kind == 1) | (kind == 3) | ribbon)[:, None], accent, main)
    return _matt(samples, base * (texture * grain)[:, None])


def shade_frame(samples: Samples, glasses: Glasses) -> Floats:
    """The frame of glasses, (N, 3): polished metal where it is thin, horn where it is thick."""
    base = linear(glasses.colour)
    metal = glasses.style is GlassesStyle.ROUND
    gloss = _gloss(samples.normals, samples.view, KEY, 30 if metal else 60) * samples.lit
    shine = (2.0 * base if metal else np.full(3, 0.30, np.float32)) * gloss[:, None]
    return np.asarray(_matt(samples, np.broadcast_to(base, samples.points.shape)) + shine, dtype=np.float32)


def shade_lens(samples: Samples, glasses: Glasses) -> Floats:
    """What lenses reflect, (N, 3): a pale room and the lamps in it, over a tint."""
    mirrored = 2 * (samples.normals * samples.view).sum(1, keepdims=True) * samples.normals - samples.view
    room = 0.35 + 0.9 * smoothstep(-0.2, 0.7, -mirrored[:, 1])
    lamp = 5.0 * smoothstep(0.955, 0.975, mirrored @ KEY) + 2.5 * smoothstep(0.93, 0.96, mirrored @ FILL)
    return np.asarray(linear(glasses.tint) * room[:, None] + lamp[:, None], dtype=np.float32)


def background(size: int, colour: Colour) -> Floats:
    """A plain wall lit from above, (size, size, 3)."""
    y, x = np.meshgrid(*[(np.arange(size) + 0.5) / size - 0.5] * 2, indexing="ij")
    fall = 1.05 - 0.35 * (y + 0.5) - 0.45 * (x**2 + (y + 0.1) ** 2)
    return np.asarray(linear(colour) * fall[..., None], dtype=np.float32)


def develop(light: Floats) -> Floats:
    """Linear light to sRGB in 0–1 with a soft shoulder."""
    exposed = np.clip(light, 0, None)
    rolled = exposed * (1 + exposed / 2.2**2) / (1 + 0.55 * exposed)
    clipped = np.clip(rolled * 1.12, 0, 1)
    return np.asarray(
        np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055), dtype=np.float32
    )


def _matt(samples: Samples, albedo: Floats) -> Floats:
    seen = samples.occlusion[:, None]
    light = (
        KEY_COLOUR
        * np.clip(((samples.normals @ KEY) + 0.12) / 1.12, 0, 1)[:, None]
        * samples.lit[:, None]
        * (0.5 + 0.5 * seen)
    )
    light = (
        light + FILL_COLOUR * np.clip((samples.normals @ FILL)[:, None], 0, 1) * seen + _ambient(samples.normals) * seen
    )
    fuzz = 0.05 * (1 - np.clip((samples.normals * samples.view).sum(1), 0, 1)) ** 2
    return np.asarray(albedo * (light + fuzz[:, None]), dtype=np.float32)


def _ambient(normals: Floats) -> Floats:
    up = 0.5 - 0.5 * normals[:, 1:2]
    return np.asarray(GROUND + (SKY - GROUND) * up, dtype=np.float32)


def _gloss(normals: Floats, view: Floats, towards: Floats, sharpness: float) -> Floats:
    half = unit(view + towards)
    strength = np.clip((normals * half).sum(1), 0, 1) ** sharpness
    return np.asarray(strength * np.clip(normals @ towards, 0, 1) * (sharpness + 8) / 25, dtype=np.float32)


def _strand_gloss(tangents: Floats, normals: Floats, half: Floats, shift: float, sharpness: float) -> Floats:
    slanted = unit(tangents + shift * normals)
    across = np.clip(1 - (slanted * half).sum(1) ** 2, 0, 1)
    return np.asarray(across ** (sharpness / 2), dtype=np.float32)


def _band(values: Floats, width: float) -> Floats:
    """1 inside bands that take `width` of each unit, with soft edges."""
    place = np.abs(values % 1 - 0.5) * 2
    return smoothstep(width + 0.05, width - 0.05, place)
