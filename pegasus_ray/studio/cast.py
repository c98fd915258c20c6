"""The people of the demo: one target, three sources to borrow from, one new user.

Each of them is one literal `Person`, so that all there is to know about somebody stands in one place.
"""

from __future__ import annotations

from dataclasses import dataclass

from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.studio.colours import HAIR_COLOURS, SKIN_TONES
from pegasus_ray.studio.identity import shape_from_axes
from pegasus_ray.studio.person import Brows, Cloth, ClothStyle, Hair, HairStyle, Pattern, Person, Skin
from pegasus_ray.studio.sampling import sample_person


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The demo's people by their role."""

    target: Person
    sources: tuple[Person, Person, Person]
    user: Person

    @property
    def everyone(self) -> tuple[Person, ...]:
        """All five, the target first and the user last."""
        return (self.target, *self.sources, self.user)


def demo_people() -> Cast:
    """The same five people each time. The sources' hair, nose, brows, mouth and eyes differ clearly from the target's."""
    return Cast(target=_milo(), sources=(_runa(), _ines(), _teo()), user=_amara())


def find_person(reference: str) -> Person:
    """A person by reference: the name of one of the cast, or a seed.

    Raises:
        PegasusError: BAD_CONFIG for anything else.
    """
    if reference.isdecimal():
        return sample_person(int(reference))
    cast = {one.name: one for one in demo_people().everyone}
    if reference not in cast:
        message = f"is not a studio person; give a seed, such as 7, or one of {', '.join(cast)}"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=reference)
    return cast[reference]


def _milo() -> Person:
    """The target: short brown hair, an even face."""
    return Person(
        name="milo",
        seed=101,
        shape=shape_from_axes(
            {
                "macro/thin": 0.15,
                "head/oval": 0.25,
                "nose/point-width-incr": -0.2,
                "nose/scale-vert-incr": 0.1,
                "chin/width-incr": -0.15,
                "cheek/bones-incr": 0.25,
                "eyes/scale-incr": 0.25,
                "eyes/height2-incr": 0.2,
                "mouth/scale-horiz-incr": 0.15,
            }
        ),
        skin=Skin(tone=(0.87, 0.68, 0.56), redness=0.5, stubble=0.35),
        lips=(0.72, 0.46, 0.41),
        iris=(0.36, 0.25, 0.14),
        brows=Brows(colour=(0.25, 0.17, 0.11), thickness=1.05, arch=0.35, seed=1),
        hair=Hair(style=HairStyle.SHORT, colour=HAIR_COLOURS["brown"], seed=1),
        cloth=Cloth(
            style=ClothStyle.CREW, colour=(0.17, 0.26, 0.42), accent=(0.87, 0.85, 0.79), pattern=Pattern.STRIPES
        ),
    )


def _runa() -> Person:
    """A blond bob, a small turned-up nose, thin high brows, a full red mouth, blue eyes, freckles."""
    return Person(
        name="runa",
        seed=102,
        shape=shape_from_axes(
            {
                "macro/female": 1.0,
                "head/round": 0.15,
                "nose/scale-vert-incr": -0.45,
                "nose/point-up": 0.6,
                "nose/base-up": 0.35,
                "nose/curve-convex": -0.5,
                "nose/scale-horiz-incr": -0.25,
                "mouth/lowerlip-volume-incr": 0.6,
                "mouth/upperlip-volume-incr": 0.5,
                "mouth/upperlip-height-incr": 0.4,
                "mouth/lowerlip-height-incr": 0.35,
                "mouth/angles-up": 0.3,
                "eyes/scale-incr": 0.45,
                "eyes/height2-incr": 0.4,
                "eyebrows/trans-up": 0.35,
                "cheek/volume-incr": 0.15,
            }
        ),
        skin=Skin(tone=(0.94, 0.79, 0.71), redness=0.6, freckles=0.6),
        lips=(0.76, 0.33, 0.34),
        iris=(0.34, 0.52, 0.68),
        brows=Brows(colour=(0.42, 0.30, 0.19), thickness=0.72, arch=1.0, seed=2),
        hair=Hair(style=HairStyle.BOB, colour=HAIR_COLOURS["blond"], seed=2),
        cloth=Cloth(
            style=ClothStyle.V_NECK, colour=(0.52, 0.20, 0.24), accent=(0.90, 0.80, 0.70), pattern=Pattern.DOTS
        ),
    )


def _ines() -> Person:
    """Long auburn hair, a long straight nose with a hump, strong straight brows, a wide mouth, green eyes."""
    return Person(
        name="ines",
        seed=103,
        shape=shape_from_axes(
            {
                "macro/female": 0.9,
                "head/oval": 0.3,
                "nose/hump-incr": 0.6,
                "nose/scale-vert-incr": 0.3,
                "nose/point-up": -0.3,
                "nose/scale-depth-incr": 0.35,
                "nose/width2-incr": -0.2,
                "mouth/scale-horiz-incr": 0.5,
                "mouth/upperlip-height-incr": -0.15,
                "mouth/cupidsbow-incr": 0.4,
                "eyes/corner2-up": 0.45,
                "eyes/height1-incr": 0.2,
                "eyes/scale-incr": 0.15,
                "eyebrows/angle-up": -0.35,
                "cheek/bones-incr": 0.45,
                "chin/prominent-incr": 0.2,
            }
        ),
        skin=Skin(tone=(0.80, 0.61, 0.48), redness=0.45),
        lips=(0.62, 0.33, 0.30),
        iris=(0.38, 0.43, 0.30),
        brows=Brows(colour=(0.17, 0.10, 0.06), thickness=1.35, arch=0.25, length=1.05, seed=3),
        hair=Hair(style=HairStyle.LONG, colour=HAIR_COLOURS["auburn"], seed=3),
        cloth=Cloth(
            style=ClothStyle.CREW, colour=(0.82, 0.79, 0.72), accent=(0.24, 0.42, 0.40), pattern=Pattern.CHECKS
        ),
    )


def _teo() -> Person:
    """Dark side-parted hair, a broad nose, angled brows, a small mouth with a pale lip, grey eyes."""
    return Person(
        name="teo",
        seed=104,
        shape=shape_from_axes(
            {
                "macro/asian": 0.55,
                "macro/muscle": 0.2,
                "head/square": 0.15,
                "nose/volume-incr": 0.5,
                "nose/width3-incr": 0.5,
                "nose/nostrils-width-incr": 0.4,
                "nose/point-width-incr": 0.5,
                "mouth/scale-horiz-incr": -0.35,
                "mouth/lowerlip-volume-incr": 0.25,
                "mouth/trans-up": -0.1,
                "eyes/corner2-up": 0.2,
                "eyes/trans-out": 0.2,
                "eyebrows/angle-up": -0.5,
                "chin/width-incr": 0.3,
                "chin/cleft-incr": 0.3,
            }
        ),
        skin=Skin(tone=(0.78, 0.58, 0.43), redness=0.35, stubble=0.5),
        lips=(0.66, 0.42, 0.37),
        iris=(0.30, 0.19, 0.10),
        brows=Brows(colour=(0.09, 0.07, 0.06), thickness=1.25, arch=0.6, seed=4),
        hair=Hair(style=HairStyle.SIDE_PART, colour=HAIR_COLOURS["black"], seed=4),
        cloth=Cloth(
            style=ClothStyle.TURTLENECK, colour=(0.22, 0.36, 0.31), accent=(0.76, 0.72, 0.52), pattern=Pattern.STRIPES
        ),
    )


def _amara() -> Person:
    """The new user: brown skin, hair tied at the back."""
    return Person(
        name="amara",
        seed=105,
        shape=shape_from_axes(
            {
                "macro/female": 1.0,
                "macro/african": 0.65,
                "head/oval": 0.2,
                "eyes/scale-incr": 0.3,
                "eyes/height2-incr": 0.2,
                "nose/scale-horiz-incr": -0.1,
                "mouth/angles-up": 0.25,
                "cheek/bones-incr": 0.35,
                "chin/triangle": 0.2,
            }
        ),
        skin=Skin(tone=SKIN_TONES[4], redness=0.4),
        lips=(0.50, 0.25, 0.22),
        iris=(0.27, 0.16, 0.09),
        brows=Brows(colour=(0.08, 0.06, 0.05), thickness=0.95, arch=0.65, seed=5),
        hair=Hair(style=HairStyle.TIED, colour=HAIR_COLOURS["black"], seed=5),
        cloth=Cloth(
            style=ClothStyle.V_NECK, colour=(0.80, 0.58, 0.26), accent=(0.28, 0.22, 0.20), pattern=Pattern.STRIPES
        ),
    )
