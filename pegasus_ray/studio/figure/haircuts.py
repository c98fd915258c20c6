"""The measures of each hair style: how long, how thick, which way it is combed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pegasus_ray.studio.person import HairStyle


@dataclass(frozen=True, slots=True, kw_only=True)
class Haircut:
    """How a style grows. Lengths in metres; heights (y) from the eyes upwards."""

    top_length: float  # of the hair on top of the head
    side_length: float  # of the hair on its sides and back
    ribbons: int  # how many
    points: int  # along a ribbon
    ribbon_width: float
    root_lift: float  # how far hair stands up at the root: share of the skin's normal in its first direction
    thickness: float  # of all the hair on the head
    gravity: float = 0.0
    parting_x: float | None = None  # None for no parting
    face_angle: float = 58.0  # degrees to either side of straight ahead that hair leaves free at the height of the eyes
    cut_height: float | None = None  # y at which the ends are cut off; None where they are not
    curl_radius: float = 0.0
    fringe: bool = False
    tied: bool = False
    jitter: float = 0.10  # random part of a ribbon's first direction
    hug: float = 0.30  # how closely it follows the skull, 0–1


HAIRCUTS: Final[dict[HairStyle, Haircut]] = {
    HairStyle.SHORT: Haircut(
        top_length=0.042,
        side_length=0.014,
        ribbons=6500,
        points=6,
        ribbon_width=0.0022,
        root_lift=0.55,
        thickness=0.010,
    ),
    HairStyle.SIDE_PART: Haircut(
        top_length=0.085,
        side_length=0.024,
        ribbons=5200,
        points=9,
        ribbon_width=0.0030,
        root_lift=0.55,
        thickness=0.014,
        gravity=0.25,
        parting_x=0.032,
    ),
    HairStyle.BOB: Haircut(
        top_length=0.30,
        side_length=0.22,
        ribbons=3600,
        points=11,
        ribbon_width=0.0054,
        root_lift=0.30,
        thickness=0.016,
        gravity=0.9,
        parting_x=0.012,
        cut_height=-0.105,
    ),
    HairStyle.LONG: Haircut(
        top_length=0.48,
        side_length=0.42,
        ribbons=4200,
        points=14,
        ribbon_width=0.0060,
        root_lift=0.28,
        thickness=0.014,
        gravity=1.0,
        parting_x=0.0,
        cut_height=-0.27,
    ),
    HairStyle.FRINGE: Haircut(
        top_length=0.34,
        side_length=0.26,
        ribbons=3900,
        points=12,
        ribbon_width=0.0054,
        root_lift=0.28,
        thickness=0.013,
        gravity=0.95,
        parting_x=0.0,
        cut_height=-0.165,
        fringe=True,
    ),
    HairStyle.CURLY: Haircut(
        top_length=0.066,
        side_length=0.054,
        ribbons=3800,
        points=16,
        ribbon_width=0.0042,
        root_lift=1.0,
        thickness=0.030,
        curl_radius=0.0065,
        face_angle=50,
        jitter=0.16,
        hug=0.0,
    ),
    HairStyle.TIED: Haircut(
        top_length=0.22,
        side_length=0.18,
        ribbons=3600,
        points=12,
        ribbon_width=0.0045,
        root_lift=0.12,
        thickness=0.006,
        tied=True,
    ),
}
