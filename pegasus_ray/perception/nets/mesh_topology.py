"""Which of the 478 landmarks is where on the face: numbers of the landmark model's published mesh topology.

Left and right are those of the picture.
"""

from __future__ import annotations

from typing import Final

from pegasus_ray.schemas.parts import Label

Indices = tuple[int, ...]

FIRST_IRIS: Final = 468
"""The landmarks before this one lie on the skin; this one and the rest are the irises."""
OUTER_EYE_CORNERS: Final = (33, 263)
EYE_CORNERS: Final = (33, 133, 362, 263)  # from the left of the picture to the right
IRIS_CENTRES: Final = (468, 473)
MOUTH_CORNERS: Final = (61, 291)
NOSE_TIP: Final = 1
NOSE_BASE: Final = 2  # where the nose ends above the lip
FOREHEAD_TOP: Final = 10
CHIN: Final = 152
TEMPLES: Final = (234, 454)

FACE_OVAL: Final[Indices] = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
EYE_LEFT: Final[Indices] = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
EYE_RIGHT: Final[Indices] = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
BROW_LEFT: Final[Indices] = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
BROW_RIGHT: Final[Indices] = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
NOSE: Final[Indices] = (168, 193, 122, 188, 126, 129, 98, 97, 2, 326, 327, 358, 355, 412, 351, 417)
_OUTER_UPPER: Final = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_INNER_UPPER: Final = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_OUTER_LOWER: Final = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
_INNER_LOWER: Final = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LIP_UPPER: Final[Indices] = (*_OUTER_UPPER, *_INNER_UPPER[::-1])
LIP_LOWER: Final[Indices] = (*_OUTER_LOWER, *_INNER_LOWER[::-1])
MOUTH: Final[Indices] = (*_INNER_UPPER, *_INNER_LOWER[::-1])
"""The inner edge of both lips."""
CHEEKS: Final[tuple[Indices, ...]] = (
    (116, 117, 118, 101, 205, 187, 147, 123),
    (345, 346, 347, 330, 425, 411, 376, 352),
)

POLYGONS: Final[dict[Label, tuple[Indices, ...]]] = {
    Label.NOSE: (NOSE,),
    Label.BROW_LEFT: (BROW_LEFT,),
    Label.BROW_RIGHT: (BROW_RIGHT,),
    Label.EYE_LEFT: (EYE_LEFT,),
    Label.EYE_RIGHT: (EYE_RIGHT,),
    Label.MOUTH: (MOUTH,),
    Label.LIP_UPPER: (LIP_UPPER,),
    Label.LIP_LOWER: (LIP_LOWER,),
}
"""Outlines of the parts that landmarks mark, in the order in which they are to be drawn."""
