"""The 19 classes of a face parser, the parts that an avatar's points carry, and the attributes P of the paper.

Source: paper §4.2 and `CelebAMask-HQ`'s class order, which the common face parsers share.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Label(IntEnum):
    """A pixel's class in a part map (uint8), in CelebAMask-HQ's order. Left and right are the image's."""

    BACKGROUND = 0
    SKIN = 1
    BROW_LEFT = 2
    BROW_RIGHT = 3
    EYE_LEFT = 4
    EYE_RIGHT = 5
    GLASSES = 6
    EAR_LEFT = 7
    EAR_RIGHT = 8
    EARRING = 9
    NOSE = 10
    MOUTH = 11
    LIP_UPPER = 12
    LIP_LOWER = 13
    NECK = 14
    NECKLACE = 15
    CLOTH = 16
    HAIR = 17
    HAT = 18


class Part(IntEnum):
    """What a point of an avatar belongs to: the index of its part logit."""

    SKIN = 0
    HAIR = 1
    HAT = 2
    EYES = 3
    EYEBROWS = 4
    NOSE = 5
    MOUTH = 6
    EARS = 7
    GLASSES = 8
    NECK = 9
    CLOTH = 10


class Attribute(StrEnum):
    """An attribute that can be borrowed: the paper's P (§4.1)."""

    HAIR = "hair"
    HAT = "hat"
    EYES = "eyes"
    EYEBROWS = "eyebrows"
    NOSE = "nose"
    MOUTH = "mouth"

    @property
    def part(self) -> Part:
        """The part whose points make up this attribute."""
        return Part[self.name]


PART_OF_LABEL: dict[Label, Part] = {
    Label.SKIN: Part.SKIN,
    Label.BROW_LEFT: Part.EYEBROWS,
    Label.BROW_RIGHT: Part.EYEBROWS,
    Label.EYE_LEFT: Part.EYES,
    Label.EYE_RIGHT: Part.EYES,
    Label.GLASSES: Part.GLASSES,
    Label.EAR_LEFT: Part.EARS,
    Label.EAR_RIGHT: Part.EARS,
    Label.EARRING: Part.EARS,
    Label.NOSE: Part.NOSE,
    Label.MOUTH: Part.MOUTH,
    Label.LIP_UPPER: Part.MOUTH,
    Label.LIP_LOWER: Part.MOUTH,
    Label.NECK: Part.NECK,
    Label.NECKLACE: Part.NECK,
    Label.CLOTH: Part.CLOTH,
    Label.HAIR: Part.HAIR,
    Label.HAT: Part.HAT,
}
"""Every label but the background has a part."""


def labels_of(part: Part) -> tuple[Label, ...]:
    """The labels of a part map that make up `part`."""
    return tuple(label for label, owner in PART_OF_LABEL.items() if owner is part)
