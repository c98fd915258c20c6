"""The description of a studio person: shape, colours, hair and what is worn, as plain values.

Nothing here knows how a head is drawn. `figure/` builds meshes from a description, `film/` renders them.

Legend: K shape axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
    """Patterns of the pullover."""

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
    """Eyebrows, drawn hair by hair on the skin."""

    colour: Colour
    thickness: float = 1.0  # times the usual
    arch: float = 0.5  # 0 straight, 1 high
    length: float = 1.0  # times the usual
    density: float = 1.0  # times the usual number of hairs
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
    """A beard of strands on chin, jaw and upper lip."""

    colour: Colour
    length: float = 0.008  # metres
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hat:
    """A hat; the hair lies flat below it."""

    style: HatStyle
    colour: Colour
    accent: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Glasses:
    """Glasses on the nose."""

    style: GlassesStyle
    colour: Colour
    tint: Colour = (0.80, 0.86, 0.90)  # of the reflections in the lenses


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloth:
    """What covers the torso."""

    style: ClothStyle
    colour: Colour
    accent: Colour
    pattern: Pattern = Pattern.STRIPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person who does not exist; the same description is always rendered to the same pixels."""

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
    noise: float = 0.0  # metres, root mean square over the face, of `shape_noise`: detail beyond the rig's axes
