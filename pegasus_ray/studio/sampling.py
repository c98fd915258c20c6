"""Sampling people by seed: the statistics of shape, colours, hair and what is worn.

One random generator runs through a whole person, so the order of the draws is part of what a seed means.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from pegasus_ray.rig.pca import AXIS_DEVIATION
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.studio.colours import (
    CLOTH_COLOURS,
    FRAME_COLOURS,
    HAIR_COLOURS,
    IRIS_COLOURS,
    SKIN_TONES,
    colour_between,
    lip_colour,
    mix_colours,
)
from pegasus_ray.studio.identity import shape_from_axes, studio_rig
from pegasus_ray.studio.person import (
    Beard,
    Brows,
    Cloth,
    ClothStyle,
    Colour,
    Glasses,
    GlassesStyle,
    Hair,
    HairStyle,
    Hat,
    HatStyle,
    Pattern,
    Person,
    Skin,
)

FEMALE_STYLES: Final = (  # usual styles, equally likely
    HairStyle.BOB,
    HairStyle.LONG,
    HairStyle.FRINGE,
    HairStyle.TIED,
    HairStyle.CURLY,
    HairStyle.SIDE_PART,
)
MALE_STYLES: Final = (HairStyle.SHORT, HairStyle.SIDE_PART, HairStyle.SHORT, HairStyle.BALD, HairStyle.CURLY)
"""Usual styles; one that is named twice is twice as likely."""

UNSAMPLED_AXES: Final = (
    "ears/shape-pointed",
    "ears/shape-square",
    "ears/shape-triangle",
    "eyes/epicanthus-out",
    "neck/double-incr",
)
"""Axes that stay at zero, because small values of them already make an unusual head."""

SHAPE_NOISE_RANGE: Final = (0.0010, 0.0015)
"""Least and greatest `Person.noise`: metres, root mean square over the face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Population:
    """Sex, ancestry and age of a person, on which the other draws depend."""

    female: bool
    african: float  # share of ancestry, 0–1
    asian: float  # share of ancestry, 0–1
    old: float  # 0 young, 1 old

    @property
    def dark(self) -> bool:
        """Whether hair and irises are dark."""
        return self.african + self.asian > 0.6


def sample_person(seed: int, **overrides: Any) -> Person:
    """The person of a seed. Fields of `Person` that are given replace the drawn ones and change nothing else.

    Raises:
        PegasusError: BAD_CONFIG where an override is no field of `Person`.
    """
    rng = np.random.default_rng([seed, 7])
    female = bool(rng.random() < 0.5)
    african, asian = (float(share) for share in rng.dirichlet([0.5, 0.5, 0.7])[:2])
    tone_place = float(np.clip(0.5 + 4.2 * african + 0.9 * asian + 0.6 * rng.standard_normal(), 0, 5))
    group = _Population(female=female, african=african, asian=asian, old=float(rng.beta(1.0, 2.5)))
    tone = colour_between(SKIN_TONES, tone_place)
    hair = _sample_hair(rng, group)
    cloth_colour, accent = CLOTH_COLOURS[int(rng.integers(len(CLOTH_COLOURS)))]
    sampled = Person(
        name=f"person-{seed}",
        seed=seed,
        shape=shape_from_axes(_sample_axes(rng, group)),
        skin=Skin(
            tone=tone,
            redness=float(rng.uniform(0.3, 0.8)),
            freckles=float(rng.random() < 0.25) * float(rng.uniform(0.3, 1.0)) * (tone_place < 2),
            stubble=0.0 if female else float(rng.uniform(0.05, 0.9)),
        ),
        lips=lip_colour(tone, rose=float(rng.uniform(0.1, 0.65)) if female else float(rng.uniform(0.0, 0.3))),
        iris=IRIS_COLOURS[int(rng.integers(2 if group.dark else len(IRIS_COLOURS)))],
        brows=Brows(
            colour=mix_colours(hair.colour, (0.12, 0.09, 0.07), 0.45 + 0.25 * group.old),
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
        hat=_sample_hat(rng),
        beard=None if female else _sample_beard(rng, hair.colour),
        glasses=_sample_glasses(rng),
        noise=float(rng.uniform(*SHAPE_NOISE_RANGE)),
    )
    try:
        return replace(sampled, **overrides)
    except TypeError as error:
        raise PegasusError(Reason.BAD_CONFIG, f"a person has no such field: {error}") from error


def _sample_axes(rng: np.random.Generator, group: _Population) -> dict[str, float]:
    """Identity axes by name: those of sex, ancestry, age and weight, and an independent draw for each feature."""
    build = float(rng.standard_normal())
    axes = {
        "macro/female": 1.0 if group.female else 0.0,
        "macro/african": group.african,
        "macro/asian": group.asian,
        "macro/fat": float(np.clip(0.12 * build, 0, 0.3)),
        "macro/thin": float(np.clip(-0.2 * build, 0, 0.4)),
        "macro/old": 0.6 * group.old,
    }
    draws = np.clip(rng.standard_normal(len(studio_rig().shape_names)), -2, 2)
    for name, draw in zip(studio_rig().shape_names, draws, strict=True):
        deviation = AXIS_DEVIATION.get(name.partition("/")[0], 0.0)
        if deviation and name not in UNSAMPLED_AXES:
            axes[name] = float(deviation * draw)
    axes["mouth/angles-up"] += 0.15  # the rig's neutral mouth looks a little sad
    return axes


def _sample_hair(rng: np.random.Generator, group: _Population) -> Hair:
    """Hair in a style that is usual for the sex, or in 15 % of any style. Grey comes with age."""
    usual = FEMALE_STYLES if group.female else MALE_STYLES
    styles = usual if rng.random() < 0.85 else tuple(HairStyle)
    names = ["black", "espresso"] if group.dark else list(HAIR_COLOURS)[:6]
    colour = HAIR_COLOURS[str(rng.choice(names))]
    old = group.old
    grey = float(np.clip(3.0 * (old - 0.35) + 0.2 * rng.standard_normal(), 0, 1)) if old > 0.35 else 0.0
    return Hair(
        style=styles[int(rng.integers(len(styles)))],
        colour=mix_colours(colour, HAIR_COLOURS["grey"], grey),
        length=float(rng.uniform(0.85, 1.15)),
        volume=float(rng.uniform(0.85, 1.2)),
        seed=int(rng.integers(1 << 30)),
    )


def _sample_hat(rng: np.random.Generator) -> Hat | None:
    """A hat on 12 % of the people. The same numbers are drawn whether or not it is worn, so later draws do not depend on it."""
    worn, style = rng.random() < 0.12, list(HatStyle)[int(rng.integers(len(HatStyle)))]
    colour, accent = CLOTH_COLOURS[int(rng.integers(len(CLOTH_COLOURS)))]
    return Hat(style=style, colour=colour, accent=accent) if worn else None


def _sample_beard(rng: np.random.Generator, hair: Colour) -> Beard | None:
    """A beard, short or full, on 35 % of the men."""
    worn, full, seed = rng.random() < 0.35, rng.random() < 0.4, int(rng.integers(1 << 30))
    length = float(rng.uniform(0.011, 0.018) if full else rng.uniform(0.004, 0.008))
    return Beard(colour=mix_colours(hair, (0.20, 0.12, 0.08), 0.25), length=length, seed=seed) if worn else None


def _sample_glasses(rng: np.random.Generator) -> Glasses | None:
    """Glasses on 20 % of the people."""
    worn, style = rng.random() < 0.2, list(GlassesStyle)[int(rng.integers(len(GlassesStyle)))]
    colour = FRAME_COLOURS[style][int(rng.integers(len(FRAME_COLOURS[style])))]
    return Glasses(style=style, colour=colour) if worn else None
