"""Lights and materials: the colour of points on surfaces, in linear light and camera space (x right, y down, z away).

There are three lights (key, fill, rim) and an ambient light of sky and ground. Only the key light throws shadows. Directions are
unit vectors that point away from the surface. Colours of lights are linear RGB, and 1 is full brightness.

Legend: N samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pegasus_ray.studio.arrays import Bools, Floats, Ints
from pegasus_ray.studio.colours import linear_light
from pegasus_ray.studio.figure.face_paint import PaintedSkin
from pegasus_ray.studio.figure.hats import HatPart
from pegasus_ray.studio.figure.piece import unit
from pegasus_ray.studio.noise import Noise, smoothstep, value_noise
from pegasus_ray.studio.person import Cloth, Colour, Glasses, GlassesStyle, Hat, Pattern


def _towards(x: float, y: float, z: float) -> Floats:
    """A direction of unit length, (3,)."""
    return unit(np.array([x, y, z], np.float32))


KEY_DIRECTION: Final = _towards(-0.48, -0.52, -0.70)
KEY_COLOUR: Final = np.array([1.00, 0.955, 0.90], np.float32) * 1.05
FILL_DIRECTION: Final = _towards(0.80, -0.10, -0.60)
FILL_COLOUR: Final = np.array([0.86, 0.94, 1.00], np.float32) * 0.30
RIM_DIRECTION: Final = _towards(0.62, -0.55, 0.58)
RIM_COLOUR: Final = np.array([1.0, 0.98, 0.95], np.float32) * 0.45
SKY_COLOUR: Final = np.array([0.92, 0.97, 1.00], np.float32) * 0.42
GROUND_COLOUR: Final = np.array([1.00, 0.90, 0.82], np.float32) * 0.20
LENS_OPACITY: Final = 0.10  # share of a ray that a lens reflects
GUM_COLOUR: Final = np.array([0.42, 0.13, 0.12], np.float32)  # linear light, of gums and tongue
KEY_RADIUS_RADIANS: Final = 0.10  # of the key light's disc, as seen from the person


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadingSamples:
    """Points on surfaces, with all that the materials need to know of them."""

    points: Floats  # (N, 3) metres
    normals: Floats  # (N, 3) towards the viewer's side
    view: Floats  # (N, 3) towards the viewer
    tangents: Floats  # (N, 3)
    places: Floats  # (N, 3) metres, `Figure.places`
    coordinates: Floats  # (N, 3) `Piece.coordinates`
    exposure: Floats  # (N,) 0–1 ambient occlusion: 1 where nothing occludes the point
    lit: Floats  # (N,) 0–1: share of the key light that is not shadowed

    def select(self, chosen: Bools | Ints) -> ShadingSamples:
        """Some of the samples."""
        return ShadingSamples(**{name: getattr(self, name)[chosen] for name in ShadingSamples.__slots__})


def key_light_directions() -> Floats:
    """Directions (4, 3) to four points of the key light's disc, one for each of a pixel's four rays, so that shadows are soft."""
    aside = unit(np.cross(KEY_DIRECTION, np.array([0, 1, 0], np.float32)))
    up = np.cross(KEY_DIRECTION, aside)
    angles = np.pi / 4 + np.pi / 2 * np.arange(4)
    return unit(
        (
            KEY_DIRECTION + KEY_RADIUS_RADIANS * 0.7 * (np.cos(angles)[:, None] * aside + np.sin(angles)[:, None] * up)
        ).astype(np.float32)
    )


def shade_skin(samples: ShadingSamples, paint: PaintedSkin, noise: Noise) -> Floats:
    """Skin, lips and the inside of the mouth, (N, 3).

    Diffuse light wraps past the terminator, red the furthest, which imitates subsurface scattering. A soft gloss is added.
    """
    normals = samples.normals
    wrap = np.array([0.34, 0.17, 0.12], np.float32)
    bumps = np.stack([noise(samples.places, 0.0016, channel) for channel in (8, 9, 10)], 1)
    rough = unit(normals + 0.045 * bumps)
    seen = samples.exposure[:, None]
    outside = 1 - smoothstep(0.3, 0.8, paint.inside)[:, None]

    facing = (normals @ KEY_DIRECTION)[:, None]
    key = np.clip((facing + wrap) / (1 + wrap), 0, 1) ** 1.25
    soft = samples.lit[:, None] ** np.array([0.80, 1.0, 1.08], np.float32)
    light = KEY_COLOUR * key * soft * (0.6 + 0.4 * seen)
    light += FILL_COLOUR * _diffuse(normals, FILL_DIRECTION, 0.3) * (0.35 + 0.65 * seen)
    light += RIM_COLOUR * _diffuse(normals, RIM_DIRECTION) * seen**2
    light += _ambient(normals) * seen ** np.array([0.75, 0.95, 1.0], np.float32)
    colour = paint.albedo * light

    glancing = 0.35 + 0.65 * (1 - np.clip((normals * samples.view).sum(1), 0, 1)) ** 3
    broad, narrow = (_gloss(rough, samples.view, KEY_DIRECTION, sharpness) for sharpness in (18, 55))
    sheen = 0.10 * broad + 0.10 * narrow
    sheen = sheen * samples.lit + 0.04 * _gloss(rough, samples.view, FILL_DIRECTION, 18)
    wet = smoothstep(0.3, 0.8, paint.inside) * 0.3 * _gloss(rough, samples.view, KEY_DIRECTION, 40)
    shine = (sheen * paint.shine * glancing + wet) * samples.exposure
    return np.asarray(colour * (0.45 + 0.55 * outside) + shine[:, None] * KEY_COLOUR, dtype=np.float32)


def shade_eye(
    samples: ShadingSamples,
    gaze: Floats,  # (N, 3) the place on the eyeball as a direction from its centre: +z the middle of the pupil, +y up
    iris: Colour,
    open_sky: Floats,  # (N,) 0–1: share of the light that the lids let in
) -> Floats:
    """Eyeballs, (N, 3): pupil, iris with fibres and a dark limbus, white that darkens outwards, and reflections of the lights."""
    angle = np.arccos(np.clip(gaze[:, 2], -1, 1))
    turn = np.asarray(np.arctan2(gaze[:, 1], gaze[:, 0]) + np.pi, dtype=np.float32)
    lane = np.zeros(len(angle), np.int64)
    fibres = 0.62 + 0.62 * value_noise(turn * np.float32(9), lane) * (
        0.5 + 0.5 * value_noise(turn * np.float32(23), lane + 1)
    )
    collar = 1 + 0.45 * smoothstep(0.32, 0.20, angle)
    base = linear_light(iris) * (fibres * collar)[:, None]
    base *= (1 - 0.75 * smoothstep(0.37, 0.46, angle))[:, None]
    white = np.array([0.72, 0.66, 0.63], np.float32) * (1 - 0.30 * smoothstep(0.75, 1.35, angle))[:, None]
    white = white * np.stack([np.ones_like(angle), *[1 - 0.16 * smoothstep(0.6, 1.2, angle)] * 2], 1)
    albedo = white + smoothstep(0.475, 0.435, angle)[:, None] * (base - white)
    albedo *= (1 - 0.97 * smoothstep(0.185, 0.160, angle))[:, None]

    seen = (open_sky * (0.35 + 0.65 * samples.exposure))[:, None]
    lit = (samples.lit * (0.35 + 0.65 * open_sky))[:, None]
    light = KEY_COLOUR * _diffuse(samples.normals, KEY_DIRECTION, 0.25) * lit
    light += (_ambient(samples.normals) * 1.1 + FILL_COLOUR * 0.6) * seen
    mirrored = _reflect(samples)
    lamp = smoothstep(0.968, 0.982, mirrored @ KEY_DIRECTION) * open_sky
    window = 0.03 * smoothstep(0.965, 0.985, mirrored @ FILL_DIRECTION) * open_sky
    return np.asarray(albedo * light + (0.95 * lamp + window)[:, None], dtype=np.float32)


def shade_teeth(samples: ShadingSamples, upper: Bools) -> Floats:
    """Teeth, (N, 3): gaps, rounded edges and gums drawn on the rig's dental arches. `upper` (N,) says which arch."""
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
    albedo += gum[:, None] * (GUM_COLOUR - albedo)
    far = np.exp(-(np.abs(arc) ** 2) * 0.9)
    light = KEY_COLOUR * _diffuse(samples.normals, KEY_DIRECTION, 0.4) * (0.55 + 0.45 * samples.lit)[:, None]
    light = light * 0.95 + _ambient(samples.normals) + FILL_COLOUR * 0.4
    shine = 0.25 * _gloss(samples.normals, samples.view, KEY_DIRECTION, 40) * samples.lit * (1 - gap)
    return np.asarray(albedo * light * far[:, None] * 0.95 + shine[:, None], dtype=np.float32)


def shade_tongue(samples: ShadingSamples, noise: Noise) -> Floats:
    """The tongue, (N, 3)."""
    albedo = GUM_COLOUR * (1 + 0.12 * noise(samples.places, 0.0012))[:, None]
    light = KEY_COLOUR * _diffuse(samples.normals, KEY_DIRECTION) * samples.lit[:, None] * 0.7
    light += _ambient(samples.normals) * 0.45
    return np.asarray(albedo * light, dtype=np.float32)


def shade_lashes(samples: ShadingSamples) -> Floats:
    """Lashes and the dark line at their root, (N, 3)."""
    return np.broadcast_to(np.array([0.012, 0.009, 0.008], np.float32), samples.points.shape).copy()


def shade_hair(samples: ShadingSamples, colour: Colour) -> Floats:
    """Hair, (N, 3): two highlights across the strands, shifted along them (Kajiya and Kay 1989, Marschner et al. 2003)."""
    across, along, ribbon = samples.coordinates.T
    number = ribbon.astype(np.int64)
    strand = value_noise(across * 4.4 + 40, number * 3 + 1)
    streak = value_noise(along * 2.5 + across * 1.1 + 9, number * 3 + 2)
    own = value_noise(np.zeros_like(along), number)
    tone = (0.74 + 0.36 * own) * (0.66 + 0.56 * strand) * (0.9 + 0.2 * streak)
    base = linear_light(colour) * (tone * (0.72 + 0.38 * smoothstep(0.0, 0.6, along)))[:, None]

    shift = np.asarray(0.10 * (strand - 0.5) + 0.30 * (own - 0.5), dtype=np.float32)
    tangents = unit(samples.tangents + shift[:, None] * samples.normals)
    seen = samples.exposure[:, None]
    lit = samples.lit[:, None]

    def reflected(towards: Floats, colour: Floats, arriving: Floats) -> Floats:
        """What the hair reflects of one light."""
        facing = _diffuse(samples.normals, towards, 0.25)
        slope = np.sqrt(np.clip(1 - (tangents @ towards) ** 2, 0, 1))[:, None]
        half = unit(towards + samples.view)
        first = _strand_gloss(tangents, samples.normals, half, -0.09, 110)
        second = _strand_gloss(tangents, samples.normals, half, 0.12, 26)
        glint = 0.060 * first[:, None] + 0.85 * base * second[:, None]
        return np.asarray(colour * arriving * (0.95 * base * slope * facing + glint * np.clip(facing * 1.6, 0, 1)))

    light = (
        reflected(KEY_DIRECTION, KEY_COLOUR, lit * (0.35 + 0.65 * seen))
        + reflected(FILL_DIRECTION, FILL_COLOUR, seen)
        + reflected(RIM_DIRECTION, RIM_COLOUR, seen**1.5)
    )
    return np.asarray(light + base * _ambient(samples.normals) * seen * 0.95, dtype=np.float32)


def shade_cloth(
    samples: ShadingSamples,
    cloth: Cloth,
    depth: Floats,  # (N,) metres below the neckline
    noise: Noise,
) -> Floats:
    """The pullover in its pattern, (N, 3)."""
    main, accent = linear_light(cloth.colour), linear_light(cloth.accent)
    albedo = main + _accent_share(cloth.pattern, samples.places)[:, None] * (accent - main)
    albedo = albedo * _melange(samples.places, noise)[:, None]
    return _shade_rough(samples, albedo * (0.75 + 0.25 * smoothstep(-0.004, 0.012, depth))[:, None])


def shade_collar(samples: ShadingSamples, cloth: Cloth, noise: Noise) -> Floats:
    """The plain, ribbed collar of the pullover, (N, 3)."""
    ribs = 0.82 + 0.18 * np.sin(2 * np.pi * samples.coordinates[:, 0] / 0.0042)
    return _shade_rough(samples, linear_light(cloth.colour) * (_melange(samples.places, noise) * ribs)[:, None])


def _accent_share(pattern: Pattern, places: Floats) -> Floats:
    """How far a pattern shows the accent in place of the main colour, (N,) 0–1."""
    x, y, _ = places.T
    match pattern:
        case Pattern.PLAIN:
            return np.zeros(len(x), np.float32)
        case Pattern.STRIPES:
            return _band(y / 0.026, 0.36)
        case Pattern.CHECKS:
            return np.asarray(0.5 * _band(y / 0.040, 0.5) + 0.5 * _band(x / 0.040, 0.5), dtype=np.float32)
        case Pattern.DOTS:
            row = np.floor(y / 0.022)
            across = (x / 0.026 + 0.5 * (row % 2)) % 1 - 0.5
            up = (y / 0.022) % 1 - 0.5
            return smoothstep(0.28, 0.20, np.hypot(across, up))


def _melange(places: Floats, noise: Noise) -> Floats:
    """The irregular brightness of yarn, (N,) about one."""
    grains = 0.10 * noise(places, 0.0014), 0.10 * noise(places, 0.004, 1), 0.07 * noise(places, 0.02, 2)
    return np.asarray(1 + grains[0] + grains[1] + grains[2], dtype=np.float32)


def shade_hat(samples: ShadingSamples, hat: Hat, noise: Noise) -> Floats:
    """Hats, (N, 3): beanies are knitted, caps have seams, the brim of a brimmed hat is stitched and its crown has a ribbon."""
    around, share, part = samples.coordinates.T
    main, accent = linear_light(hat.colour), linear_light(hat.accent)
    ribbed = np.where(part == HatPart.BEANIE_BAND, 0.80 + 0.20 * np.sin(around * 70), 0.90 + 0.10 * np.sin(around * 56))
    seams = 1 - 0.45 * (np.abs(((around / (np.pi / 3)) % 1) - 0.5) > 0.485) * (share > 0.05)
    knitted = part < HatPart.CAP_CROWN
    stitched = np.where(part == HatPart.BRIMMED_BRIM, 1 - 0.25 * (np.abs((share * 7) % 1 - 0.5) > 0.44), 1.0)
    texture = np.where(knitted, ribbed, np.where(part == HatPart.CAP_CROWN, seams, stitched))
    ribbon = (part == HatPart.BRIMMED_CROWN) & (share > 0.80)
    grain = 1 + 0.08 * noise(samples.places, 0.0013) + 0.05 * noise(samples.places, 0.006, 1)
    accented = (part == HatPart.BEANIE_BAND) | (part == HatPart.CAP_VISOR) | ribbon
    base = np.where(accented[:, None], accent, main)
    return _shade_rough(samples, base * (texture * grain)[:, None])


def shade_frame(samples: ShadingSamples, glasses: Glasses) -> Floats:
    """The frame of glasses, (N, 3): polished metal if it is thin, horn if it is thick."""
    base = linear_light(glasses.colour)
    metal = glasses.style is GlassesStyle.ROUND
    gloss = _gloss(samples.normals, samples.view, KEY_DIRECTION, 30 if metal else 60) * samples.lit
    shine = (2.0 * base if metal else np.full(3, 0.30, np.float32)) * gloss[:, None]
    return np.asarray(_shade_rough(samples, np.broadcast_to(base, samples.points.shape)) + shine, dtype=np.float32)


def shade_lens(samples: ShadingSamples, glasses: Glasses) -> Floats:
    """What lenses reflect, (N, 3): a pale room in the tint, and the lights in it."""
    mirrored = _reflect(samples)
    room = 0.35 + 0.9 * smoothstep(-0.2, 0.7, -mirrored[:, 1])
    lights = 5.0 * smoothstep(0.955, 0.975, mirrored @ KEY_DIRECTION)
    lights = lights + 2.5 * smoothstep(0.93, 0.96, mirrored @ FILL_DIRECTION)
    return np.asarray(linear_light(glasses.tint) * room[:, None] + lights[:, None], dtype=np.float32)


def wall_light(size: int, colour: Colour) -> Floats:
    """The light of a plain wall that is lit from above, (size, size, 3)."""
    y, x = np.meshgrid(*[(np.arange(size) + 0.5) / size - 0.5] * 2, indexing="ij")
    fall = 1.05 - 0.35 * (y + 0.5) - 0.45 * (x**2 + (y + 0.1) ** 2)
    return np.asarray(linear_light(colour) * fall[..., None], dtype=np.float32)


def tone_map(light: Floats) -> Floats:
    """Linear light as sRGB in 0–1; bright light is compressed by a soft shoulder."""
    exposed = np.clip(light, 0, None)
    rolled = exposed * (1 + exposed / 2.2**2) / (1 + 0.55 * exposed)
    clipped = np.clip(rolled * 1.12, 0, 1)
    return np.asarray(
        np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055), dtype=np.float32
    )


def _shade_rough(samples: ShadingSamples, albedo: Floats) -> Floats:
    """A rough surface without highlights, (N, 3), a little brighter at grazing angles as cloth is."""
    seen = samples.exposure[:, None]
    light = KEY_COLOUR * _diffuse(samples.normals, KEY_DIRECTION, 0.12) * samples.lit[:, None] * (0.5 + 0.5 * seen)
    light = light + FILL_COLOUR * _diffuse(samples.normals, FILL_DIRECTION) * seen + _ambient(samples.normals) * seen
    fuzz = 0.05 * (1 - np.clip((samples.normals * samples.view).sum(1), 0, 1)) ** 2
    return np.asarray(albedo * (light + fuzz[:, None]), dtype=np.float32)


def _diffuse(normals: Floats, towards: Floats, wrap: float = 0.0) -> Floats:
    """The cosine between normal and light, (N, 1), at least 0; with `wrap` the light reaches past the terminator."""
    return np.asarray(np.clip(((normals @ towards)[:, None] + wrap) / (1 + wrap), 0, 1), dtype=np.float32)


def _reflect(samples: ShadingSamples) -> Floats:
    """The view direction mirrored at the surface, (N, 3)."""
    cosine = (samples.normals * samples.view).sum(1, keepdims=True)
    return np.asarray(2 * cosine * samples.normals - samples.view, dtype=np.float32)


def _ambient(normals: Floats) -> Floats:
    """Ambient light (N, 3): blended from the ground's colour to the sky's by how far the surface faces upwards."""
    up = 0.5 - 0.5 * normals[:, 1:2]
    return np.asarray(GROUND_COLOUR + (SKY_COLOUR - GROUND_COLOUR) * up, dtype=np.float32)


def _gloss(normals: Floats, view: Floats, towards: Floats, sharpness: float) -> Floats:
    """A Blinn–Phong highlight, (N,)."""
    half = unit(view + towards)
    strength = np.clip((normals * half).sum(1), 0, 1) ** sharpness
    return np.asarray(strength * np.clip(normals @ towards, 0, 1) * (sharpness + 8) / 25, dtype=np.float32)


def _strand_gloss(tangents: Floats, normals: Floats, half: Floats, shift: float, sharpness: float) -> Floats:
    """A Kajiya–Kay highlight across strands, (N,), shifted along them by tilting the tangents."""
    slanted = unit(tangents + shift * normals)
    across = np.clip(1 - (slanted * half).sum(1) ** 2, 0, 1)
    return np.asarray(across ** (sharpness / 2), dtype=np.float32)


def _band(values: Floats, width: float) -> Floats:
    """Stripes with soft edges, (N,): 1 on a share `width` of each unit of `values`, else 0."""
    place = np.abs(values % 1 - 0.5) * 2
    return smoothstep(width + 0.05, width - 0.05, place)
