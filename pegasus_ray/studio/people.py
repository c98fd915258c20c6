"""People who do not exist: who they are, by seed, and what swapping an attribute between two of them means.

A person is plain data. Nothing here knows how a head is drawn; `figure.py` builds what rays can hit from it.

Legend: K shape axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch

from pegasus_ray.rig.model import Rig
from pegasus_ray.rig.open_rig import load_open_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute

Colour = tuple[float, float, float]
"""sRGB, 0–1."""


class HairStyle(StrEnum):
    """How the hair is cut and combed."""

    BALD = "bald"
    SHORT = "short"
    SIDE_PART = "side_part"
    BOB = "bob"
    LONG = "long"
    FRINGE = "fringe"
    CURLY = "curly"
    TIED = "tied"


class HatStyle(StrEnum):
    """Kinds of hat."""

    BEANIE = "beanie"
    CAP = "cap"
    BRIMMED = "brimmed"


class GlassesStyle(StrEnum):
    """Kinds of glasses."""

    ROUND = "round"  # thin wire
    RECTANGULAR = "rectangular"  # thick


class ClothStyle(StrEnum):
    """Necklines."""

    CREW = "crew"
    V_NECK = "v_neck"
    TURTLENECK = "turtleneck"


class Pattern(StrEnum):
    """What is knitted into the cloth."""

    PLAIN = "plain"
    STRIPES = "stripes"
    CHECKS = "checks"
    DOTS = "dots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skin:
    """The skin's colours."""

    tone: Colour
    redness: float = 0.5  # of cheeks, nose and ears, 0–1
    freckles: float = 0.0  # 0–1
    stubble: float = 0.0  # shaved beard, 0–1


@dataclass(frozen=True, slots=True, kw_only=True)
class Brows:
    """Eyebrows: drawn hair by hair on the skin."""

    colour: Colour
    thickness: float = 1.0  # of the band, 1 is usual
    arch: float = 0.5  # 0 straight, 1 high
    length: float = 1.0
    density: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hair:
    """Hair of the head."""

    style: HairStyle
    colour: Colour
    length: float = 1.0  # times the style's own length
    volume: float = 1.0  # times the style's own volume
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beard:
    """A beard of real hair on chin, jaw and upper lip."""

    colour: Colour
    length: float = 0.008  # metres
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hat:
    """Something on the head; the hair lies flat below it."""

    style: HatStyle
    colour: Colour
    accent: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Glasses:
    """Glasses on the nose."""

    style: GlassesStyle
    colour: Colour
    tint: Colour = (0.80, 0.86, 0.90)  # of what the lenses reflect


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloth:
    """What covers the torso."""

    style: ClothStyle
    colour: Colour
    accent: Colour
    pattern: Pattern = Pattern.STRIPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Someone who does not exist, whole: the same person always looks the same."""

    name: str
    seed: int
    shape: tuple[float, ...]  # (K,) on the open rig's named axes
    skin: Skin
    lips: Colour
    iris: Colour
    brows: Brows
    hair: Hair
    cloth: Cloth
    hat: Hat | None = None
    beard: Beard | None = None
    glasses: Glasses | None = None
    noise: float = 0.0  # metres, root mean square over the face: shape that no axis of the rig has


SKIN_TONES: Final[tuple[Colour, ...]] = (
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
IRISES: Final[tuple[Colour, ...]] = (
    (0.29, 0.17, 0.09),
    (0.38, 0.24, 0.12),
    (0.46, 0.36, 0.17),
    (0.36, 0.46, 0.29),
    (0.36, 0.51, 0.65),
    (0.46, 0.53, 0.57),
)
FEMALE_STYLES: Final = (
    HairStyle.BOB,
    HairStyle.LONG,
    HairStyle.FRINGE,
    HairStyle.TIED,
    HairStyle.CURLY,
    HairStyle.SIDE_PART,
)
MALE_STYLES: Final = (HairStyle.SHORT, HairStyle.SIDE_PART, HairStyle.SHORT, HairStyle.BALD, HairStyle.CURLY)
FRAMES: Final[dict[GlassesStyle, tuple[Colour, ...]]] = {
    GlassesStyle.ROUND: ((0.75, 0.62, 0.38), (0.62, 0.63, 0.65), (0.16, 0.16, 0.18)),
    GlassesStyle.RECTANGULAR: ((0.06, 0.06, 0.07), (0.28, 0.16, 0.09), (0.14, 0.18, 0.30)),
}
CLOTHS: Final[tuple[tuple[Colour, Colour], ...]] = (
    ((0.16, 0.24, 0.40), (0.86, 0.84, 0.78)),
    ((0.82, 0.79, 0.72), (0.62, 0.24, 0.20)),
    ((0.20, 0.36, 0.31), (0.76, 0.72, 0.52)),
    ((0.52, 0.20, 0.24), (0.90, 0.80, 0.70)),
    ((0.24, 0.24, 0.26), (0.66, 0.68, 0.72)),
    ((0.80, 0.58, 0.26), (0.28, 0.22, 0.20)),
)


@lru_cache(maxsize=1)
def studio_rig() -> Rig:
    """The open rig, loaded once a process."""
    return load_open_rig()


def shape_of(axes: Mapping[str, float]) -> tuple[float, ...]:
    """The identity (K,) with the named axes set and all others zero.

    Raises:
        PegasusError: BAD_CONFIG where the rig has no axis of that name.
    """
    names = studio_rig().shape_names
    unknown = sorted(set(axes) - set(names))
    if unknown:
        raise PegasusError(Reason.BAD_CONFIG, f"the rig has no shape axis {unknown[0]!r}; see `pegasus rig info`")
    return tuple(float(axes.get(name, 0.0)) for name in names)


def shape_tensor(person: Person) -> torch.Tensor:
    """The person's identity, (1, K)."""
    return torch.tensor([person.shape], dtype=torch.float32)


SPREAD: Final[dict[str, float]] = {
    "head": 0.16,
    "neck": 0.10,
    "nose": 0.30,
    "mouth": 0.26,
    "eyes": 0.22,
    "ears": 0.15,
    "cheek": 0.28,
    "chin": 0.26,
    "forehead": 0.20,
    "eyebrows": 0.25,
}
"""Standard deviation of the axes of each group among people; the draw is cut at two of them."""

NOISE: Final = (0.0010, 0.0015)
"""From how little to how much of people's shape lies outside the rig's span: metres, root mean square over the face."""

UNUSUAL: Final = (
    "ears/shape-pointed",
    "ears/shape-square",
    "ears/shape-triangle",
    "eyes/epicanthus-out",
    "neck/double-incr",
)
"""Axes left at zero unless asked for: far from the usual head already at small values."""


def person(seed: int, **overrides: Any) -> Person:
    """Someone by seed; any field of `Person` can be given instead of drawn.

    Raises:
        PegasusError: BAD_CONFIG where an override is no field of `Person`.
    """
    rng = np.random.default_rng([seed, 7])
    female = bool(rng.random() < 0.5)
    african, asian = (float(share) for share in rng.dirichlet([0.5, 0.5, 0.7])[:2])
    tone_place = float(np.clip(0.5 + 4.2 * african + 0.9 * asian + 0.6 * rng.standard_normal(), 0, 5))
    dark = african + asian > 0.6
    old = float(rng.beta(1.0, 2.5))
    tone = _between(SKIN_TONES, tone_place)
    hair = _hair(rng, female, dark, old)
    cloth_colour, accent = CLOTHS[int(rng.integers(len(CLOTHS)))]
    drawn = Person(
        name=f"person-{seed}",
        seed=seed,
        shape=shape_of(_axes(rng, female, african, asian, old)),
        skin=Skin(
            tone=tone,
            redness=float(rng.uniform(0.3, 0.8)),
            freckles=float(rng.random() < 0.25) * float(rng.uniform(0.3, 1.0)) * (tone_place < 2),
            stubble=0.0 if female else float(rng.uniform(0.05, 0.9)),
        ),
        lips=lip_colour(tone, rose=float(rng.uniform(0.1, 0.65)) if female else float(rng.uniform(0.0, 0.3))),
        iris=IRISES[int(rng.integers(2 if dark else len(IRISES)))],
        brows=Brows(
            colour=_mixed(hair.colour, (0.12, 0.09, 0.07), 0.45 + 0.25 * old),
            thickness=float(rng.uniform(0.9, 1.25)) if female else float(rng.uniform(1.0, 1.4)),
            arch=float(rng.uniform(0.35, 0.9)) if female else float(rng.uniform(0.1, 0.5)),
            seed=int(rng.integers(1 << 30)),
        ),
        hair=hair,
        cloth=Cloth(
            style=list(ClothStyle)[int(rng.integers(3))],
            colour=cloth_colour,
            accent=accent,
            pattern=list(Pattern)[int(rng.integers(4))],
        ),
        hat=_hat(rng),
        beard=None if female else _beard(rng, hair.colour),
        glasses=_glasses(rng),
        noise=float(rng.uniform(*NOISE)),
    )
    try:
        return replace(drawn, **overrides)
    except TypeError as error:
        raise PegasusError(Reason.BAD_CONFIG, f"a person has no such field: {error}") from error


def _axes(rng: np.random.Generator, female: bool, african: float, asian: float, old: float) -> dict[str, float]:
    """Identity axes by name: sex, ancestry, age and weight, and a draw of each feature's own."""
    build = float(rng.standard_normal())
    axes = {
        "macro/female": 1.0 if female else 0.0,
        "macro/african": african,
        "macro/asian": asian,
        "macro/fat": float(np.clip(0.12 * build, 0, 0.3)),
        "macro/thin": float(np.clip(-0.2 * build, 0, 0.4)),
        "macro/old": 0.6 * old,
    }
    draws = np.clip(rng.standard_normal(len(studio_rig().shape_names)), -2, 2)
    for name, draw in zip(studio_rig().shape_names, draws, strict=True):
        spread = SPREAD.get(name.partition("/")[0], 0.0)
        if spread and name not in UNUSUAL:
            axes[name] = float(spread * draw)
    axes["mouth/angles-up"] += 0.15  # the rig's neutral mouth looks a little sad
    return axes


def _hair(rng: np.random.Generator, female: bool, dark: bool, old: float) -> Hair:
    """Hair of a style that is usual for the sex, or now and then of any; grey comes with age."""
    usual = FEMALE_STYLES if female else MALE_STYLES
    styles = usual if rng.random() < 0.85 else tuple(HairStyle)
    names = ["black", "espresso"] if dark else list(HAIR_COLOURS)[:6]
    colour = HAIR_COLOURS[str(rng.choice(names))]
    grey = float(np.clip(3.0 * (old - 0.35) + 0.2 * rng.standard_normal(), 0, 1)) if old > 0.35 else 0.0
    return Hair(
        style=styles[int(rng.integers(len(styles)))],
        colour=_mixed(colour, HAIR_COLOURS["grey"], grey),
        length=float(rng.uniform(0.85, 1.15)),
        volume=float(rng.uniform(0.85, 1.2)),
        seed=int(rng.integers(1 << 30)),
    )


def _hat(rng: np.random.Generator) -> Hat | None:
    worn, style = rng.random() < 0.12, list(HatStyle)[int(rng.integers(len(HatStyle)))]
    colour, accent = CLOTHS[int(rng.integers(len(CLOTHS)))]
    return Hat(style=style, colour=colour, accent=accent) if worn else None


def _beard(rng: np.random.Generator, hair: Colour) -> Beard | None:
    """None for most, else short or full."""
    worn, full, seed = rng.random() < 0.35, rng.random() < 0.4, int(rng.integers(1 << 30))
    length = float(rng.uniform(0.011, 0.018) if full else rng.uniform(0.004, 0.008))
    return Beard(colour=_mixed(hair, (0.20, 0.12, 0.08), 0.25), length=length, seed=seed) if worn else None


def _glasses(rng: np.random.Generator) -> Glasses | None:
    worn, style = rng.random() < 0.2, list(GlassesStyle)[int(rng.integers(len(GlassesStyle)))]
    colour = FRAMES[style][int(rng.integers(len(FRAMES[style])))]
    return Glasses(style=style, colour=colour) if worn else None


def swap_parts(target: Person, attribute: Attribute, other: Person) -> Person:
    """The target with one attribute of another: the truth that a swap is to reach.

    The face's geometry follows the rig's split of the axes (`Rig.mix_shape`), colours and hair go along, the noise stays.
    """
    rig = studio_rig()
    mixed = rig.mix_shape(shape_tensor(target)[0], shape_tensor(other)[0], attribute)
    shape = tuple(mixed.tolist())
    name = f"{target.name}+{attribute}={other.name}"
    match attribute:
        case Attribute.HAIR:
            return replace(target, name=name, hair=other.hair)
        case Attribute.HAT:
            return replace(target, name=name, hat=other.hat)
        case Attribute.EYES:
            return replace(target, name=name, shape=shape, iris=other.iris)
        case Attribute.EYEBROWS:
            return replace(target, name=name, shape=shape, brows=other.brows)
        case Attribute.MOUTH:
            return replace(target, name=name, shape=shape, lips=other.lips)
        case Attribute.NOSE:
            return replace(target, name=name, shape=shape)


def lip_colour(tone: Colour, rose: float) -> Colour:
    """Lips that suit a skin; `rose` 0–1 is how far they stand out."""
    natural = (tone[0] * 0.88, tone[1] * 0.72, tone[2] * 0.73)
    return _mixed(natural, (0.74 * tone[0] + 0.06, 0.40 * tone[1], 0.42 * tone[2]), rose)


def _mixed(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (float(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def _between(colours: tuple[Colour, ...], place: float) -> Colour:
    below = min(int(place), len(colours) - 2)
    return _mixed(colours[below], colours[below + 1], place - below)
