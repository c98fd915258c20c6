"""The colours that studio people are sampled from, and what is computed of colours. sRGB, 0–1, unless said otherwise."""

from __future__ import annotations

from typing import Final

import numpy as np

from pegasus_ray.studio.arrays import Floats
from pegasus_ray.studio.person import Colour, GlassesStyle

SKIN_TONES: Final[tuple[Colour, ...]] = (  # from light to dark
    (0.94, 0.79, 0.71),
    (0.89, 0.71, 0.60),
    (0.80, 0.61, 0.48),
    (0.69, 0.49, 0.36),
    (0.53, 0.36, 0.26),
    (0.39, 0.255, 0.185),
)
HAIR_COLOURS: Final[dict[str, Colour]] = {
    "black": (0.10, 0.085, 0.08),
    "espresso": (0.20, 0.13, 0.09),
    "brown": (0.33, 0.21, 0.13),
    "auburn": (0.43, 0.20, 0.10),
    "copper": (0.62, 0.31, 0.14),
    "blond": (0.72, 0.56, 0.36),
    "grey": (0.60, 0.59, 0.58),
}
IRIS_COLOURS: Final[tuple[Colour, ...]] = (  # the first two are dark
    (0.29, 0.17, 0.09),
    (0.38, 0.24, 0.12),
    (0.46, 0.36, 0.17),
    (0.36, 0.46, 0.29),
    (0.36, 0.51, 0.65),
    (0.46, 0.53, 0.57),
)
FRAME_COLOURS: Final[dict[GlassesStyle, tuple[Colour, ...]]] = {
    GlassesStyle.ROUND: ((0.75, 0.62, 0.38), (0.62, 0.63, 0.65), (0.16, 0.16, 0.18)),
    GlassesStyle.RECTANGULAR: ((0.06, 0.06, 0.07), (0.28, 0.16, 0.09), (0.14, 0.18, 0.30)),
}
CLOTH_COLOURS: Final[tuple[tuple[Colour, Colour], ...]] = (  # main colour, accent; hats take them too
    ((0.16, 0.24, 0.40), (0.86, 0.84, 0.78)),
    ((0.82, 0.79, 0.72), (0.62, 0.24, 0.20)),
    ((0.20, 0.36, 0.31), (0.76, 0.72, 0.52)),
    ((0.52, 0.20, 0.24), (0.90, 0.80, 0.70)),
    ((0.24, 0.24, 0.26), (0.66, 0.68, 0.72)),
    ((0.80, 0.58, 0.26), (0.28, 0.22, 0.20)),
)


def mix_colours(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with a share 0–1 of `b`."""
    red, green, blue = (float(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def colour_between(colours: tuple[Colour, ...], place: float) -> Colour:
    """A palette as a continuous scale: the colour at `place`, 0 the first and `len(colours) − 1` the last."""
    below = min(int(place), len(colours) - 2)
    return mix_colours(colours[below], colours[below + 1], place - below)


def lip_colour(tone: Colour, rose: float) -> Colour:
    """Lips that suit a skin tone; `rose` 0–1 is how far they stand out."""
    natural = (tone[0] * 0.88, tone[1] * 0.72, tone[2] * 0.73)
    return mix_colours(natural, (0.74 * tone[0] + 0.06, 0.40 * tone[1], 0.42 * tone[2]), rose)


def linear_light(colour: Colour) -> Floats:
    """An sRGB colour in linear light, (3,)."""
    encoded = np.asarray(colour, dtype=np.float32)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)
