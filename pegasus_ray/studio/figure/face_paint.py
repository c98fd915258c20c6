"""The colour of the bare head: skin, lips, brows, stubble and the shade of the scalp.

Everything is a function of a place on the template, so the paint stays fixed to the skin when the face moves.

Legend: N places on the surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.rig.makehuman import MakeHumanData
from pegasus_ray.studio.arrays import Floats
from pegasus_ray.studio.colours import linear_light
from pegasus_ray.studio.figure.hair_growth import beard_density, scalp_density
from pegasus_ray.studio.noise import Noise, smoothstep
from pegasus_ray.studio.person import Brows, HairStyle, Person

BROW_ACROSS: Final = (-0.022, 0.032)  # metres from the eye's centre outwards: horizontal extent of the brow's texture
BROW_UP: Final = (0.004, 0.040)  # metres above the eyes: its vertical extent
BROW_TEXEL_METRES: Final = 0.00015
EYE_OFFSET_METRES: Final = 0.0311  # from the middle to an eye's centre, on the template
MASKS: Final = ("lips", "inside-mouth", "ears", "eyelids")


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintedSkin:
    """What the skin looks like at N places."""

    albedo: Floats  # (N, 3) linear light
    shine: Floats  # (N,) strength of the highlight
    lips: Floats  # (N,) 0–1
    inside: Floats  # (N,) 0–1 inside of the mouth
    brow: Floats  # (N,) 0–1 covered by brow hair
    scalp: Floats  # (N,) 0–1 in the shade of the hair that grows there


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePaint:
    """A person's skin as a function of the place on the template."""

    person: Person
    noise: Noise
    brows: tuple[Floats, Floats]  # opacity of the right and the left brow over BROW_UP × BROW_ACROSS, first row lowest

    @staticmethod
    def of(
        person: Person,
        footprint: float,  # metres on the skin between rays: finer detail is blurred away
    ) -> FacePaint:
        """The paint of a person. The brows are drawn here, the rest is computed where it is asked for."""
        right, left = (_draw_brow(person.brows, side, footprint) for side in (0, 1))
        return FacePaint(person=person, noise=Noise.of(person.seed), brows=(right, left))

    def __call__(
        self,
        places: Floats,  # (N, 3) metres on the template
        uvs: Floats,  # (N, 2)
    ) -> PaintedSkin:
        """The skin at places of the body's surface. Layers go from the lowest to the uppermost."""
        person, noise = self.person, self.noise
        lips, inside, ears, eyelids = (_look_up(_mask(name), uvs) for name in MASKS)
        tone = linear_light(person.skin.tone)
        fine = 0.045 * noise(places, 0.0011) + 0.040 * noise(places, 0.0035, 1) + 0.045 * noise(places, 0.019, 2)
        blotch = noise(places, 0.011, 3)
        albedo = tone * (1 + fine[:, None] * np.array([0.8, 1.0, 1.1], np.float32))

        redness = np.clip(_redness(places) * (1 + 0.25 * blotch) + 0.55 * ears, 0, 1)
        tint = np.array([1.02, 0.72, 0.70], np.float32)
        albedo *= 1 - (person.skin.redness * redness * 0.95)[:, None] * (1 - tint)
        albedo *= 1 - 0.30 * eyelids[:, None] * (1 - np.array([0.92, 0.76, 0.74], np.float32))

        if person.skin.freckles:
            spots = smoothstep(1.15, 1.75, noise(places, 0.0026, 4)) * _freckled(places)
            albedo *= 1 - person.skin.freckles * spots[:, None] * np.array([0.28, 0.42, 0.52], np.float32)
        hair = linear_light(person.hair.colour)
        if person.skin.stubble:
            dots = np.clip(0.55 + 0.35 * noise(places, 0.0009, 5), 0, 1) * beard_density(places) * (1 - lips)
            shade = 0.35 * tone + 0.65 * hair * 0.8
            albedo += (0.42 * person.skin.stubble * dots)[:, None] * (shade - albedo)
        scalp = scalp_density(places) * (0.18 if person.hair.style is HairStyle.BALD else 0.85) * (1 - ears)
        albedo += scalp[:, None] * (hair * 0.75 - albedo)

        creases = 1 + 0.10 * noise(places * np.array([1, 0.35, 1], np.float32), 0.0009, 6)
        lip_edge = smoothstep(0.25, 0.75, lips)
        albedo += lip_edge[:, None] * (linear_light(person.lips) * creases[:, None] - albedo)
        albedo += smoothstep(0.3, 0.8, inside)[:, None] * (np.array([0.20, 0.035, 0.035], np.float32) - albedo)
        brow = self._brow(places)
        albedo += brow[:, None] * (linear_light(person.brows.colour) * (1 + 0.5 * fine[:, None]) - albedo)

        oily = _bump(places, (0, 0.045, 0.02), 0.03) + _bump(places, (0, -0.02, 0.04), 0.014)
        shine = (0.75 + 0.6 * oily + 0.15 * noise(places, 0.002, 7)) * (1 - 0.8 * brow) * (
            1 - 0.7 * scalp
        ) + 0.9 * lip_edge
        return PaintedSkin(
            albedo=np.clip(albedo, 0.003, 1).astype(np.float32),
            shine=np.clip(shine, 0, 3).astype(np.float32),
            lips=lips,
            inside=inside,
            brow=brow,
            scalp=scalp.astype(np.float32),
        )

    def _brow(self, places: Floats) -> Floats:
        """Opacity of the brows at places, (N,)."""
        across = np.abs(places[:, 0]) - EYE_OFFSET_METRES
        columns = ((across - BROW_ACROSS[0]) / BROW_TEXEL_METRES - 0.5).astype(np.float32)
        rows = ((places[:, 1] - BROW_UP[0]) / BROW_TEXEL_METRES - 0.5).astype(np.float32)
        right, left = (_remap(texture, columns, rows) for texture in self.brows)
        return np.where(places[:, 2] > -0.02, np.where(places[:, 0] > 0, left, right), 0).astype(np.float32)


def _redness(places: Floats) -> Floats:
    """Where skin is red, (N,) from 0: cheeks, tip of the nose, chin."""
    cheeks = _bump(places, (0.042, -0.036, 0.012), 0.022, mirrored=True)
    nose = _bump(places, (0, -0.033, 0.044), 0.013)
    chin = _bump(places, (0, -0.098, 0.024), 0.015)
    return np.asarray(0.8 * cheeks + 0.8 * nose + 0.35 * chin, dtype=np.float32)


def _freckled(places: Floats) -> Floats:
    """Where freckles may be, (N,) 0–1: bridge of the nose and cheeks."""
    bridge = _bump(places, (0, -0.018, 0.035), 0.022)
    cheeks = _bump(places, (0.036, -0.026, 0.016), 0.026, mirrored=True)
    return np.asarray(np.clip(bridge + cheeks, 0, 1), dtype=np.float32)


def _bump(places: Floats, centre: tuple[float, float, float], radius: float, *, mirrored: bool = False) -> Floats:
    """A Gaussian (N,) of height one about a place of the template; `mirrored` puts it on both sides of the face."""
    folded = np.stack([np.abs(places[:, 0]), places[:, 1], places[:, 2]], 1) if mirrored else places
    squared = ((folded - np.array(centre, np.float32)) ** 2).sum(1)
    return np.asarray(np.exp(-squared / np.float32(radius**2)), dtype=np.float32)


@lru_cache(maxsize=8)
def _mask(name: str) -> Floats:
    """A mask of the base mesh over its UV square, 0–1."""
    return MakeHumanData.installed().mask(name).astype(np.float32)


def _look_up(mask: Floats, uvs: Floats) -> Floats:
    """A mask over the UV square, (N,), at uvs (N, 2) whose v points up."""
    height, width = mask.shape
    return _remap(mask, uvs[:, 0] * width - 0.5, (1 - uvs[:, 1]) * height - 0.5)


def _remap(texture: Floats, columns: Floats, rows: Floats) -> Floats:
    """A texture at N places by linear interpolation, zero outside. OpenCV limits a map to 2¹⁵ columns: the places go in rows."""
    count = len(columns)
    padded = np.full((2, -(-max(count, 1) // 4096) * 4096), -9, dtype=np.float32)
    padded[0, :count], padded[1, :count] = columns, rows
    x, y = padded.reshape(2, -1, 4096)
    return np.asarray(cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT).reshape(-1)[:count])


def _draw_brow(brows: Brows, side: int, footprint: float) -> Floats:
    """The opacity of one brow over BROW_UP × BROW_ACROSS: short hairs that stand up at the inner end and lie flat at the tail.

    `side` 0 is the right brow, 1 the left one; `footprint` in metres as in `FacePaint.of`.
    """
    rng = np.random.default_rng([brows.seed, side])
    width = round((BROW_ACROSS[1] - BROW_ACROSS[0]) / BROW_TEXEL_METRES)
    height = round((BROW_UP[1] - BROW_UP[0]) / BROW_TEXEL_METRES)
    inner, tail = -0.0150, -0.0150 + 0.0390 * brows.length
    count = int(230 * brows.density * brows.thickness)
    along = rng.beta(1.05, 1.25, count).astype(np.float32)
    u = inner + along * (tail - inner)
    middle = (
        0.0166
        + 0.0020 * smoothstep(0, 0.6, along)
        + brows.arch * 0.0046 * np.sin(np.pi * along**1.3)
        - 0.0040 * along**3
    )
    half = 0.0030 * brows.thickness * (np.minimum(1, 0.55 + 3.0 * along) * (1 - 0.80 * along**1.8))
    v = middle + half * rng.uniform(-1, 1, count)
    lean = np.deg2rad(np.interp(along, [0, 0.18, 0.55, 1], [78, 48, 14, -24]) + 9 * rng.standard_normal(count))
    lean -= np.deg2rad(22) * (v - middle) / np.maximum(half, 1e-4)
    length = 0.0056 * rng.uniform(0.7, 1.15, count) * (1 - 0.35 * along)
    canvas = np.zeros((height, width), np.float32)
    for i in range(count):
        points = []
        for step in np.linspace(0, 1, 5):
            angle = lean[i] - 0.35 * step
            points.append(
                (u[i] + length[i] * step * np.cos(angle), v[i] + length[i] * step * np.sin(angle) - half[i] * 0.3)
            )
        pixels = (np.array(points) - [BROW_ACROSS[0], BROW_UP[0]]) / BROW_TEXEL_METRES
        stroke = np.zeros_like(canvas)
        cv2.polylines(stroke, [np.round(pixels * 16).astype(np.int32)], False, 1.0, 2, cv2.LINE_AA, 4)
        canvas = 1 - (1 - canvas) * (1 - 0.62 * np.clip(stroke, 0, 1))
    root = cv2.GaussianBlur(canvas, (0, 0), 0.0007 / BROW_TEXEL_METRES)
    soft = np.clip(0.72 * canvas + 0.45 * root, 0, 1) * 0.94
    blur: npt.NDArray[np.float32] = cv2.GaussianBlur(soft, (0, 0), max(0.45 * footprint / BROW_TEXEL_METRES, 0.6))
    return np.asarray(blur, dtype=np.float32)
