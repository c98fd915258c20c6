"""Putting a rendered part into a frame: take the target's own part away, close the render's holes, blend (paper §4.2).

All pictures are of one size S; images are on white, float32 0–1 RGB; masks are float32 0–1 unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.schemas.parts import Attribute, labels_of

Image = npt.NDArray[np.float32]  # (S, S, 3)
Mask = npt.NDArray[np.float32]  # (S, S)
Labels = npt.NDArray[np.uint8]  # (S, S)

FADE_REACH = 0.022
"""Width, as a share of the side, over which the bald head fades into the frame, whose skin beside hair is in its shade."""
STRAND_REACH = 0.03
"""How far beside hair single strands are looked for, as a share of the side."""
FORM_REACH = 0.045
"""How far beside a part a change of its form may change the frame, as a share of the side."""
MIN_HAT_SHARE, FULL_HAT_SHARE = 0.15, 0.65
"""A pixel with a smaller share of a hat shows none of it, and one with a larger share shows nothing else.

In between, points of the lining and of what lies behind mix in, although a hat is solid.
"""


class Blend(StrEnum):
    """How a part is blended into the frame."""

    ALPHA = "alpha"
    """By the render's own opacity: hair."""
    SOLID = "solid"
    """By the render's opacity, steepened to all or nothing: hats."""
    FEATHER = "feather"
    """By a softened mask: parts that bring their own colours."""
    POISSON = "poisson"
    """By gradients (Poisson cloning): parts of skin, which take the target's tone."""
    FORM = "form"
    """The frame plus the difference that the new form makes to the target's render: the skin's detail stays the frame's."""
    REDRAWN = "redrawn"
    """As FORM around the part, while the part itself is taken from the new render, since it has other colours."""
    STRANDS = "strands"
    """By how much each pixel differs from the skin around it: only the hairs are added, the skin's tone stays the target's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Something rendered: a picture on white and how much of each pixel it fills."""

    image: Image
    alpha: Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class LentPart:
    """One part in the render of the person who shows it."""

    colours: Image  # of the part's points alone, times their share
    share: Mask  # how much of each pixel they fill
    whole: Layer  # the whole render of that person
    bare: Layer | None = None  # the render without the part or, where a form is borrowed, with the target's own part
    own: Mask | None = None  # how much of each pixel the part fills in `bare`


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """A frame with a borrowed part."""

    image: Image
    part: Mask  # of the borrowed part
    matte: Mask  # of the whole person
    coverage: float  # share of the part's mask, after holes are closed, that the render fills; by form, 1 or 0
    seam: float  # 0–1; 1 if the part's border shows no edge that neither of the two pictures had there


def own_part(labels: Labels, attribute: Attribute, *, grow: float = 0.015) -> npt.NDArray[np.bool_]:
    """Where the target's own part lies, dilated by `grow` of the side; for hair also the hat that sits on it."""
    parts = [attribute.part] if attribute is not Attribute.HAIR else [Attribute.HAIR.part, Attribute.HAT.part]
    mask = np.isin(labels, [label for part in parts for label in labels_of(part)]).astype(np.uint8)
    return np.asarray(cv2.dilate(mask, _disc(max(1, round(grow * len(labels)))))) > 0


def without_hair(image: Image, matte: Mask, gone: npt.NDArray[np.bool_], bald: Layer) -> tuple[Image, Mask]:
    """The frame and its matte with the pixels `gone` (S, S) replaced by the bald avatar's render, which fades out beside them."""
    away = fade(gone, FADE_REACH)
    share = away[..., None]
    return image * (1 - share) + bald.image * share, matte * (1 - away) + bald.alpha * away


def fade(mask: npt.NDArray[np.bool_], reach: float) -> Mask:
    """1 in a mask (S, S), falling smoothly to 0 at `reach` of the side beside it."""
    away = np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), np.float32)
    share = np.clip(1 - away / max(1.0, reach * len(mask)), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def pressed_hair(labels: Labels, left: Mask, hat: Mask) -> npt.NDArray[np.bool_]:
    """Where a hat takes the target's hair away, (S, S): above its rim, where the frame shows hair and `left` shows none.

    Hair below the rim stays as it is in the frame.

    Args:
        labels: the frame's part map.
        left: share of hair in the render of the target without the hair that the hat presses.
        hat: share of the hat in the lender's render.
    """
    gone = np.isin(labels, labels_of(Attribute.HAIR.part)) & (left < 0.5)
    disc = _disc(max(1, round(0.035 * len(labels))))
    opened = cv2.morphologyEx(gone.astype(np.uint8), cv2.MORPH_OPEN, _disc(1))
    return np.asarray((cv2.dilate(opened, disc) > 0) & (left < 0.5) & _above(hat > 0.5))


def _above(solid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """What lies above a mask's lower edge in each column, (S, S); in columns beside the mask, above its lowest pixel."""
    rows, columns = np.arange(len(solid))[:, None], solid.any(0)
    if not columns.any():
        return solid
    lowest = len(solid) - 1 - solid[::-1].argmax(0)
    first, last = np.flatnonzero(columns)[[0, -1]]
    inside = (np.arange(len(solid)) >= first) & (np.arange(len(solid)) <= last)
    edge = np.where(columns, lowest, np.where(inside, -1, lowest[columns].max()))
    return np.asarray(rows <= edge[None])


def without_feature(image: Image, matte: Mask, labels: Labels, attribute: Attribute) -> Image:
    """The frame with a facial feature inpainted from the skin around it."""
    mask = own_part(labels, attribute)
    return _fill_hole(image, matte, mask) if mask.any() else image


def _fill_hole(image: Image, matte: Mask, hole: npt.NDArray[np.bool_]) -> Image:
    """A hole filled from the person around it (Telea), never from the white behind them."""
    rim = cv2.dilate(hole.astype(np.uint8), _disc(max(3, round(0.02 * len(hole))))) > 0
    missing = hole | (rim & (matte < 0.98))
    filled = cv2.inpaint(to_bytes(image), missing.astype(np.uint8), 3, cv2.INPAINT_TELEA).astype(
        np.float32
    ) / np.float32(255)
    opacity = matte[..., None]
    return np.asarray(np.where(hole[..., None], filled * opacity + (1 - opacity), image), np.float32)


def close_holes(share: Mask, *, radius: float = 0.008) -> Mask:
    """A render's part mask without the pinholes between its points: morphologically closed, nowhere smaller than it was."""
    closed = cv2.morphologyEx(share, cv2.MORPH_CLOSE, _disc(max(1, round(radius * len(share)))))
    return np.asarray(np.maximum(share, closed), np.float32)


def tidy_share(share: Mask, *, least: float = 0.25, smallest: float = 0.2) -> Mask:
    """A part's share without pixels under `least`, and without pieces smaller than `smallest` times the largest one."""
    solid = (share >= least).astype(np.uint8)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(solid)
    if count <= 1:
        return np.zeros_like(share)
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = 1 + np.flatnonzero(areas >= smallest * areas.max())
    near = cv2.dilate(np.isin(pieces, large).astype(np.uint8), _disc(1)) > 0
    return np.where(near, share, 0).astype(np.float32)


def fill_colours(colours: Image, share: Mask) -> Image:
    """The part's own colours, also in pixels where it has little or no share: there, a normalised blur of its other pixels."""
    sigma = max(0.8, 0.006 * len(share))
    weight = cv2.GaussianBlur(share, (0, 0), sigma)[..., None]
    spread = cv2.GaussianBlur(colours * (share > 0)[..., None], (0, 0), sigma) / np.maximum(weight, 1e-4)
    pure = colours / np.maximum(share, 1e-3)[..., None]
    return np.clip(np.where(share[..., None] > 0.4, pure, spread), 0, 1).astype(np.float32)


def blend_part(base: Image, matte: Mask, lent: LentPart, blend: Blend) -> Composite:
    """Blend a rendered part into `base`.

    Args:
        base: the frame without the target's own part.
        matte: opacity of the person in `base`.
        lent: the part in the render of the person who shows it.
        blend: how it is blended.
    """
    share = tidy_share(lent.share)
    part = np.clip(close_holes(share), 0, 1)
    if blend in (Blend.FORM, Blend.REDRAWN) and lent.bare is not None:
        return _reformed(base, matte, part, lent, lent.bare, redraw=blend is Blend.REDRAWN)
    colours = fill_colours(lent.colours, share)
    if blend is Blend.ALPHA:
        if lent.bare is not None:
            part, colours = _with_strands(part, colours, lent.whole, lent.bare)
        soft, colours = _behind(part, colours, matte, lent.whole)
    elif blend is Blend.SOLID:
        soft = np.clip((part - MIN_HAT_SHARE) / (FULL_HAT_SHARE - MIN_HAT_SHARE), 0, 1)
    else:
        sigma = max(0.6, 0.004 * len(part))
        soft = np.clip(cv2.GaussianBlur(part, (0, 0), sigma), 0, 1) * (matte > 0.02)
    image = base * (1 - soft[..., None]) + colours * soft[..., None]
    if blend is Blend.POISSON:
        cloned = _clone(lent.whole.image, base, part)
        image = image if cloned is None else cloned
    solid = soft > 0.5
    coverage = float((share[solid] > 0.5).mean()) if solid.any() else 0.0
    if blend is Blend.STRANDS:
        image, opacity, zone = _draw_strands(lent.whole, base, matte, part)
        soft, solid = np.maximum(soft, opacity), zone
    seam = _seam((base, lent.whole.image), image, solid)
    return Composite(image=image, part=soft, matte=np.maximum(matte, soft), coverage=coverage, seam=seam)


def _reformed(base: Image, matte: Mask, part: Mask, lent: LentPart, bare: Layer, *, redraw: bool) -> Composite:
    """The frame plus the difference between the renders of the same person in the new form and in their own, near the part.

    With `redraw`, the new render itself is shown where the part is or was.
    """
    whole, both = lent.whole, part if lent.own is None else np.maximum(part, lent.own)
    near = fade(both > 0.3, FORM_REACH)
    image = np.clip(base + near[..., None] * (whole.image - bare.image), 0, 1)
    opacity = np.clip(matte + near * (whole.alpha - bare.alpha), 0, 1)
    if redraw:
        grown = cv2.dilate((both > 0.3).astype(np.float32), _disc(max(1, round(0.008 * len(part)))))
        inside = cv2.GaussianBlur(grown, (0, 0), max(0.6, 0.004 * len(part)))[..., None]
        image = image * (1 - inside) + whole.image * inside
    seam = _seam((base, whole.image), image, part > 0.5)
    return Composite(image=image, part=part, matte=opacity, coverage=float((part > 0.5).any()), seam=seam)


def _with_strands(part: Mask, colours: Image, whole: Layer, bare: Layer) -> tuple[Mask, Image]:
    """Hair's opacity and colours, extended by loose strands beside it, whose points are labelled skin.

    Each pixel near the hair is taken for a mixture of the bare head and the hair's colour nearby, and its share of hair is solved
    for. Where these two colours are similar, the share is not determined and the part's own share is kept.
    """
    near = fade(part > 0.5, STRAND_REACH)
    hair = _extend_colours(colours, part > 0.6)
    towards = hair - bare.image
    contrast = np.square(towards).sum(-1)
    found = ((whole.image - bare.image) * towards).sum(-1) / np.maximum(contrast, 1e-3)
    sure = np.clip((np.sqrt(contrast) - 0.1) / 0.15, 0, 1) * (bare.alpha > 0.5)
    strands = np.clip((found - 0.15) / 0.7, 0, 1) * near * sure
    rest = (1 - strands)[..., None]
    unmixed = (whole.image - rest * bare.image) / np.maximum(strands, 0.3)[..., None]
    own = np.where((strands > 0.3)[..., None], np.clip(unmixed, 0, 1), hair)
    more = strands > part
    return np.maximum(part, strands).astype(np.float32), np.where(more[..., None], own, colours).astype(np.float32)


def _extend_colours(colours: Image, solid: npt.NDArray[np.bool_]) -> Image:
    """For every pixel the colour of the nearest pixel in a mask (S, S), smoothed."""
    if not solid.any():
        return colours
    _, nearest = cv2.distanceTransformWithLabels(
        (~solid).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    palette = np.zeros((int(nearest.max()) + 1, 3), np.float32)
    palette[nearest[solid]] = colours[solid]
    return np.asarray(cv2.GaussianBlur(palette[nearest], (0, 0), max(0.8, 0.01 * len(solid))), np.float32)


def _behind(part: Mask, colours: Image, matte: Mask, whole: Layer) -> tuple[Mask, Image]:
    """Opacity and colours of hair, filled in behind a slimmer target.

    Between the locks the lender's render shows head or neck, but a slimmer target leaves background there. It is filled with the
    hair's darkest colour, since hair behind a head is in its shade.
    """
    solid = part > 0.5
    columns = np.arange(len(part))[None]
    left = np.where(solid, columns, len(part)).min(1, keepdims=True)
    right = np.where(solid, columns, -1).max(1, keepdims=True)
    between = (columns > left) & (columns < right)
    if not between.any():
        return part, colours
    grey = colours[solid].mean(-1)
    dark = colours[solid][grey <= np.quantile(grey, 0.2)].mean(0)
    more = np.clip(between * whole.alpha * (1 - matte) - part, 0, 1)
    total = np.maximum(part + more, 1e-3)[..., None]
    return part + more, (colours * part[..., None] + dark * more[..., None]) / total


def _clone(lent: Image, base: Image, part: Mask) -> Image | None:
    """Poisson cloning of the part, with the lender's own skin around it, into the base; None where the part is too small.

    It works in a crop that is enlarged until the solver's border does not matter. OpenCV's solver writes into its mask and erodes
    it at the border, so it gets a dilated copy.
    """
    ys, xs = np.nonzero(part > 0.3)
    if len(ys) < 12:
        return None
    margin = max(4, round(0.04 * len(part)))
    top, bottom = max(ys.min() - margin, 0), min(ys.max() + margin + 1, len(part))
    left, right = max(xs.min() - margin, 0), min(xs.max() + margin + 1, len(part))
    scale = max(1, round(96 / max(1, min(bottom - top, right - left))))
    source, target, mask = (
        cv2.resize(picture[top:bottom, left:right], None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        for picture in (lent, base, part)
    )
    inner = cv2.dilate((mask > 0.3).astype(np.uint8), _disc(scale + 1)) * 255
    inner[:2], inner[-2:], inner[:, :2], inner[:, -2:] = 0, 0, 0, 0
    if not inner.any():
        return None
    rows, columns = np.nonzero(inner)
    centre = (int((columns.min() + columns.max() + 1) // 2), int((rows.min() + rows.max() + 1) // 2))
    cloned = cv2.seamlessClone(to_bytes(source), to_bytes(target), inner.copy(), centre, cv2.NORMAL_CLONE)
    cloned = cloned.astype(np.float32) / 255
    small = cv2.resize(cloned, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    result = base.copy()
    near = cv2.dilate((part > 0.05).astype(np.uint8), _disc(2))[top:bottom, left:right, None] > 0
    result[top:bottom, left:right] = np.where(near, small, result[top:bottom, left:right])
    return result


def _draw_strands(lent: Layer, base: Image, matte: Mask, part: Mask) -> tuple[Image, Mask, npt.NDArray[np.bool_]]:
    """The lender's hairs on the target's skin: the picture, their opacity, and the zone (S, S) in which hairs were looked for.

    Each pixel is split into skin and hair by its place on the line between the two colours, and the hair alone is put on. Its
    colour is multiplied by the square root of the ratio of the two skins. The full ratio would be right if it came from the light
    alone, and none of it if it came from the skin alone; and strands thinner than a pixel have half of the skin's colour in them.
    """
    whole, solid = lent.image, (part > 0.3) & (matte > 0.5)
    if solid.sum() < 12:
        return base, np.zeros_like(part), solid
    around = cv2.dilate(solid.astype(np.uint8), _disc(max(1, round(0.012 * len(part))))) > 0
    skin = _fill_hole(whole, lent.alpha, around)
    away = np.linalg.norm(whole - skin, axis=-1)
    hairy = solid & (away >= np.quantile(away[solid], 0.8))
    hair = np.median(whole[hairy], axis=0)
    towards = hair - skin
    share = ((whole - skin) * towards).sum(-1) / np.maximum(np.square(towards).sum(-1), 1e-4)
    soft = cv2.GaussianBlur(around.astype(np.float32), (0, 0), max(0.6, 0.004 * len(part)))
    opacity = np.asarray(np.clip(share, 0, 1) * soft * around * matte, np.float32)
    gain = base / np.maximum(skin, 0.05)
    shown = hair * np.sqrt(gain)
    drawn = base * (1 - opacity[..., None]) + shown * opacity[..., None]
    return drawn.astype(np.float32), opacity, around


def _seam(before: tuple[Image, Image], image: Image, solid: npt.NDArray[np.bool_]) -> float:
    """How little the part's border shows, 0–1: 1 minus the mean by which its gradient exceeds those of both pictures there."""
    ring = cv2.morphologyEx(solid.astype(np.uint8), cv2.MORPH_GRADIENT, _disc(1)) > 0
    if not ring.any():
        return 0.0
    there = np.maximum(gradient_length(before[0]), gradient_length(before[1]))
    return float(np.clip(1 - np.maximum(gradient_length(image) - there, 0)[ring].mean(dtype=np.float64), 0, 1))


def gradient_length(image: Image) -> Mask:
    """Length of the brightness gradient, (S, S).

    By NumPy, since the last bit of `cv2.magnitude` depends on where its result lies in memory, and equal frames have to get
    equal scores.
    """
    grey = np.ascontiguousarray(image.mean(-1), np.float32)
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *axes) for axes in ((1, 0), (0, 1)))
    return np.asarray(np.sqrt(np.square(across) + np.square(down)), np.float32)


def to_bytes(picture: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """A picture of 0–1 in 8 bits, of the same shape."""
    return np.asarray((np.clip(picture, 0, 1) * 255).round(), np.uint8)


def _disc(radius: int) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
