"""swap: the target's frames with one attribute borrowed from another's avatar (paper §4.2).

The lending avatar is driven by the target's rig parameters, on the target's shape except for the attribute's axes, which are its
own. Its part is cut out by its part logits and blended into the frame, from which the target's part has been removed.

Legend: T frames, B a batch of them, S side, K shape axes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.by_form import COLOUR_SMOOTHING_METRES, tint
from pegasus_ray.avatar.borrow.complete_scalp import bald
from pegasus_ray.avatar.borrow.decide import Borrowing, Way, decide
from pegasus_ray.avatar.borrow.parts import expect_attribute
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints, Layers, Rendering, render_points
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.library.images import normals_to_rgb
from pegasus_ray.library.performance import DRIVING
from pegasus_ray.library.swaps import Swap
from pegasus_ray.library.track import Bytes, Track, held_out
from pegasus_ray.rig.load import load_rig
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.evenly import evenly
from pegasus_ray.schemas.parts import Attribute, Label, Part
from pegasus_ray.stages.composite import (
    Blend,
    Composite,
    Labels,
    Layer,
    LentPart,
    blend_part,
    own_part,
    pressed_hair,
    to_bytes,
    without_feature,
    without_hair,
)
from pegasus_ray.stages.inpaint import DiffusionConfig, load_inpainter
from pegasus_ray.stages.judge import Judge, JudgeConfig, quality_of

HAIR_MARGIN = 0.03
"""Share of the side by which the target's hair or hat is dilated before it is removed: loose strands lie beside the mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapConfig:
    """How a swap is made."""

    frames: int = 40  # evenly spaced over the target's frames that a fit may see
    per_pixel: int = 20  # nearest points that are blended in a pixel
    batch: int = 4  # frames that are rendered at once
    bald: str = "rig"  # what completes the scalp under borrowed hair: rig, or diffusion
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    threads: int = 1

    def __post_init__(self) -> None:
        if self.bald not in ("rig", "diffusion"):
            raise PegasusError(Reason.BAD_CONFIG, "choose rig or diffusion", subject=f"swap.bald={self.bald}")


def swap_frames(length: int, config: SwapConfig) -> tuple[int, ...]:
    """The numbers of the target's frames that a swap shows, of so many."""
    seen, _ = held_out(length)
    return tuple(int(frame) for frame in seen[evenly(len(seen), config.frames)])


@dataclass(frozen=True, slots=True)
class _Figure:
    """An avatar with its canonical points on one shape: evaluated once, then drawn in any frame."""

    avatar: Avatar
    points: CanonicalPoints
    rig: Rig

    @staticmethod
    def of(avatar: Avatar, rig: Rig, shape: Tensor | None = None) -> _Figure:
        """An avatar on its own shape, or on another (K,)."""
        with torch.no_grad():
            return _Figure(avatar, avatar.canonical(avatar.anchors(rig, shape)), rig)

    def draw(self, parameters: Parameters, size: int, per_pixel: int, *, part: Part | None = None) -> Rendering:
        """Frames with parts and normals and, as `extra`, the colours of one part's points alone."""
        layers = Layers(parts=True, normals=True, only_part=part)
        drive = parameters.drive(self.avatar)
        with torch.no_grad():
            return render_points(self.points, self.rig, drive, size, layers=layers, per_pixel=per_pixel)


class Swapper:
    """Makes the swaps of one target, lending avatar and attribute: prepared once, then called with frame numbers.

    Raises:
        PegasusError: MISSING_ATTRIBUTE where the avatar does not show the attribute, BAD_REFERENCE where the rigs differ.
    """

    own: _Figure  # the target
    lender: _Figure  # the source, on the mixed shape
    lent: _Figure  # who shows the borrowed part: the lender or, where it is borrowed by form, the target in that form
    plain: _Figure | None  # what `lent` is compared with: by form the target, for hair the bald lender, else nothing
    bare: _Figure | None  # for hair and hats, the target without what they cover

    def __init__(
        self, target: Track, target_avatar: Avatar, avatar: Avatar, attribute: Attribute, config: SwapConfig
    ) -> None:
        if target.rig != target_avatar.rig:
            raise PegasusError(
                Reason.BAD_REFERENCE, "the target's track and avatar are bound to different rigs; fit both on one"
            )
        self.target, self.attribute, self.config = target, attribute, config
        self.rig = rig = load_rig(target.rig)
        self.how = how = decide(target_avatar, avatar, attribute, rig)
        expect_attribute(avatar, attribute)
        self.judge = Judge(config.judge)
        self.blend = blend_of(how)
        self.own = _Figure.of(target_avatar, rig)
        self.lender = _Figure.of(_drawn_lender(how, rig), rig, how.shape)
        self.lent, self.plain, self.bare = self.lender, None, None
        if how.way is Way.FORM:
            self.lent = _Figure.of(tint(target_avatar, how.source, attribute, rig), rig, how.shape)
            self.plain = self.own
        elif how.way is Way.COVER:
            self.bare = _Figure.of(how.bare_head(target_avatar, how.lent(rig), rig), rig)
            if attribute is Attribute.HAIR:
                self.plain = _Figure.of(bald(how.source, rig), rig, how.shape)

    def __call__(self, frames: tuple[int, ...], *, target_key: str = "", avatar_key: str = "") -> Swap:
        """The swapped frames; the keys are written into the result."""
        rows = self.target.select(frames)
        images = rows.on_white().astype(np.float32) / 255
        mattes = rows.mattes.astype(np.float32) / 255
        made: list[Composite] = []
        lent_normals, own_normals = [], []
        for start in range(0, len(frames), self.config.batch):
            batch = slice(start, min(start + self.config.batch, len(frames)))
            parameters = Parameters.of(rows.select(batch))
            own = self._draw(self.own, parameters, self.attribute.part)
            lent = self._draw(self.lent, parameters, self.attribute.part)
            bare = self._draw(self.bare, parameters) if self.bare else None
            plain = own if self.plain is self.own else self._draw(self.plain, parameters) if self.plain else None
            lent_normals.append(_normals(lent))
            own_normals.append(_normals(own))
            for offset, index in enumerate(range(batch.start, batch.stop)):
                borrowed = self._lent_part(lent, offset, plain)
                base = self._take_off(images[index], mattes[index], rows.parts[index], bare, offset, borrowed)
                made.append(blend_part(*base, self.blend))
        pictures, part_masks, object_masks = (
            to_bytes(np.stack(layers))
            for layers in ([c.image for c in made], [c.part for c in made], [c.matte for c in made])
        )
        scores = {
            "coverage": np.array([c.coverage for c in made], np.float32),
            "seam": np.array([c.seam for c in made], np.float32),
        }
        scores |= self.judge(rows, pictures, part_masks, object_masks, self.attribute)
        return Swap(
            target=target_key,
            avatar=avatar_key,
            attribute=self.attribute,
            indices=np.asarray(frames, np.int32),
            images=pictures,
            part_masks=part_masks,
            object_masks=object_masks,
            target_normals=np.concatenate(own_normals),
            source_normals=np.concatenate(lent_normals),
            shape=np.repeat(self.how.shape.numpy()[None], len(frames), 0),
            scores=scores | {"quality": quality_of(scores)},
            **{name: getattr(rows, name) for name in DRIVING},
        )

    def paste(self, frames: tuple[int, ...]) -> Bytes:
        """The baseline that swaps are compared with, (T, S, S, 3): the source's part laid on the frames as it is drawn.

        Nothing is removed from the frame, no hole is closed and nothing is blended.
        """
        images, pasted = self.target.select(frames).on_white(), []
        for image, frame in zip(images, frames, strict=True):
            parameters = Parameters.of(self.target.select([frame]))
            part = self._lent_part(self._draw(self.lender, parameters, self.attribute.part), 0)
            solid = part.share > 0.5
            colours = to_bytes(part.colours / np.maximum(part.share, 1e-3)[..., None])
            pasted.append(np.where(solid[..., None], colours, image))
        return np.stack(pasted)

    def _draw(self, figure: _Figure, parameters: Parameters, part: Part | None = None) -> Rendering:
        return figure.draw(parameters, self.target.size, self.config.per_pixel, part=part)

    def _lent_part(self, drawn: Rendering, index: int, plain: Rendering | None = None) -> LentPart:
        return LentPart(
            colours=drawn.extra[index].clamp(0, 1).numpy(),
            share=drawn.parts[index, ..., self.attribute.part].numpy(),
            whole=_layer(drawn, index),
            bare=_layer(plain, index) if plain else None,
            own=plain.parts[index, ..., self.attribute.part].numpy() if plain else None,
        )

    def _take_off(
        self, image: np.ndarray, matte: np.ndarray, labels: Labels, bare: Rendering | None, index: int, lent: LentPart
    ) -> tuple[np.ndarray, np.ndarray, LentPart]:
        """A frame and its matte without the target's own part, and the borrowed part without what hair or glasses cover."""
        if bare is None:
            hidden = np.isin(labels, (Label.HAIR, Label.HAT, Label.GLASSES))
            shown = replace(lent, share=np.where(hidden, 0, lent.share).astype(np.float32))
            if self.how.way is Way.FORM:
                own = np.zeros_like(matte) if shown.own is None else shown.own
                return image, matte, replace(shown, own=np.where(hidden, 0, own).astype(np.float32))
            base = np.where(hidden[..., None], image, without_feature(image, matte, labels, self.attribute))
            return base, matte, shown
        gone, layer = own_part(labels, self.attribute, grow=HAIR_MARGIN), _layer(bare, index)
        if self.attribute is Attribute.HAT:
            gone |= pressed_hair(labels, bare.parts[index, ..., Part.HAIR].numpy(), lent.share)
        else:
            layer = _painted(image, gone, layer, self.config)
        return *without_hair(image, matte, gone, layer), lent


def blend_of(how: Borrowing) -> Blend:
    """How a part that is borrowed in this way is blended into the frame."""
    match how.way:
        case Way.COVER:
            return Blend.ALPHA if how.attribute is Attribute.HAIR else Blend.SOLID
        case Way.FORM:
            return Blend.REDRAWN if how.attribute in COLOUR_SMOOTHING_METRES else Blend.FORM
        case Way.STRANDS:
            return Blend.STRANDS
        case Way.SET_IN:
            return Blend.POISSON if how.attribute is Attribute.NOSE else Blend.FEATHER


def swap(
    target: Track,
    target_avatar: Avatar,
    avatar: Avatar,
    attribute: Attribute,
    config: SwapConfig,
    *,
    frames: tuple[int, ...] | None = None,
) -> Swap:
    """The target's frames (those of the config, or `frames`) with `attribute` borrowed from `avatar`."""
    return Swapper(target, target_avatar, avatar, attribute, config)(frames or swap_frames(len(target), config))


def bald_frames(target: Track, avatar: Avatar, config: SwapConfig, frames: tuple[int, ...]) -> Bytes:
    """The target's frames without hair and hat, (T, S, S, 3) on white: what borrowed hair is laid on."""
    rig, made, rows = load_rig(target.rig), [], target.select(frames)
    bare = _Figure.of(bald(avatar, rig), rig)
    images = rows.on_white().astype(np.float32) / 255
    for index in range(len(frames)):
        drawn = bare.draw(Parameters.of(rows.select([index])), target.size, config.per_pixel)
        matte = rows.mattes[index].astype(np.float32) / 255
        gone = own_part(rows.parts[index], Attribute.HAIR, grow=HAIR_MARGIN)
        layer = _painted(images[index], gone, _layer(drawn, 0), config)
        made.append(without_hair(images[index], matte, gone, layer)[0])
    return to_bytes(np.stack(made))


def _drawn_lender(how: Borrowing, rig: Rig) -> Avatar:
    """The source as it is drawn. For a hat it has no hair, which would hide the hat's sides."""
    lender = how.lender(rig)
    return lender.select(lender.parts != Part.HAIR) if how.attribute is Attribute.HAT else lender


def _painted(image: np.ndarray, gone: np.ndarray, bald_head: Layer, config: SwapConfig) -> Layer:
    """The bald head as the rig completes it or, if so configured, as the diffusion model paints it within its outline."""
    if config.bald == "rig":
        return bald_head
    inside = bald_head.alpha[..., None]
    return replace(bald_head, image=load_inpainter(config.diffusion)(image, gone) * inside + 1 - inside)


def _layer(drawn: Rendering, index: int) -> Layer:
    return Layer(image=drawn.image[index].clamp(0, 1).numpy(), alpha=drawn.alpha[index].numpy())


def _normals(drawn: Rendering) -> np.ndarray:
    """Normals of a batch as pictures (B, S, S, 3), grey where nothing is drawn."""
    unit = torch.nn.functional.normalize(drawn.normals, dim=-1) * (drawn.alpha > 0.5)[..., None]
    return np.stack([normals_to_rgb(frame) for frame in unit.numpy()])
