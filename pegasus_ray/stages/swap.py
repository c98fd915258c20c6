"""swap: the target's frames with one attribute borrowed from another's avatar (paper §4.2).

The lending avatar is driven by the target's rig parameters, on the target's shape but for the borrowed attribute's own axes; its
part is cut out by its own part logits and blended into the frame, from which the target's part has been taken away.

Legend: T frames, B a batch of them, S side, K shape axes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.by_form import COLOURED, by_form, tinted
from pegasus_ray.avatar.borrow.complete_scalp import bald
from pegasus_ray.avatar.borrow.hair_under_hat import under_hat
from pegasus_ray.avatar.borrow.match_light import lit_as
from pegasus_ray.avatar.borrow.parts import COVERS_SCALP, carried, has_attribute, lend, part_of_points
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints, Rendering, render_points
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.library.images import normals_to_rgb
from pegasus_ray.library.swaps import Swap
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.rig.load import load_rig
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Label, Part
from pegasus_ray.stages.composite import (
    BLEND_OF,
    Blend,
    Composite,
    Labels,
    Layer,
    LentPart,
    blend_part,
    own_part,
    pressed_hair,
    without_feature,
    without_hair,
)
from pegasus_ray.stages.inpaint import DiffusionConfig, load_inpainter
from pegasus_ray.stages.judge import Judge, JudgeConfig, quality_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapConfig:
    """How a swap is made."""

    frames: int = 40  # evenly spaced over the target's frames that a fit may see
    per_pixel: int = 20
    batch: int = 4
    bald: str = "rig"  # what completes the scalp under borrowed hair: rig, or diffusion
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    threads: int = 1

    def __post_init__(self) -> None:
        if self.bald not in ("rig", "diffusion"):
            raise PegasusError(Reason.BAD_CONFIG, "choose rig or diffusion", subject=f"swap.bald={self.bald}")


def swap_frames(track: Track, config: SwapConfig) -> tuple[int, ...]:
    """The numbers of the target's frames that a swap shows."""
    seen, _ = track.held_out()
    chosen = np.unique(np.linspace(0, len(seen) - 1, min(config.frames, len(seen))).round().astype(int))
    return tuple(int(seen[i]) for i in chosen)


class Swapper:
    """One (target, avatar, attribute), prepared once and then asked for any frames.

    Raises:
        PegasusError: MISSING_ATTRIBUTE where the avatar does not show the attribute, BAD_REFERENCE where the rigs differ.
    """

    def __init__(
        self, target: Track, target_avatar: Avatar, avatar: Avatar, attribute: Attribute, config: SwapConfig
    ) -> None:
        if len({target.rig, target_avatar.rig, avatar.rig}) > 1:
            raise PegasusError(
                Reason.BAD_REFERENCE, "target and avatar are bound to different rigs; track and fit both on one"
            )
        if not has_attribute(avatar, attribute):
            raise PegasusError(
                Reason.MISSING_ATTRIBUTE, f"the avatar shows no {attribute.value} to borrow; plan another pair"
            )
        self.target, self.attribute, self.config = target, attribute, config
        self.judge = Judge(config.judge)
        self.rig: Rig = load_rig(target.rig)
        avatar = lit_as(avatar, target_avatar, self.rig)
        self.shape = self.rig.mix_shape(torch.tensor(target.shape), avatar.shape, attribute)
        cover = attribute in COVERS_SCALP
        self.lender = carried(avatar, attribute.part, self.rig, self.shape) if cover else avatar
        if attribute is Attribute.HAT:  # whose sides the lender's hair hides
            self.lender = self.lender.select(part_of_points(self.lender) != Part.HAIR)
        self.lent = _canonical(self.lender, self.rig, self.shape)
        self.blend = BLEND_OF[attribute]
        self.reshaped: CanonicalPoints | None = (
            None  # the target on the mixed shape in the lender's colours, where form and colour are borrowed
        )
        if by_form(target_avatar, attribute, self.rig):
            self.blend = Blend.REDRAWN if attribute in COLOURED else Blend.FORM
            self.reshaped = _canonical(tinted(target_avatar, avatar, attribute, self.rig), self.rig, self.shape)
        self.bald = bald(avatar, self.rig) if attribute is Attribute.HAIR else None  # the lender
        self.balded = _canonical(self.bald, self.rig, self.shape) if self.bald else None
        self.own = target_avatar
        self.worn = _canonical(target_avatar, self.rig, target_avatar.shape)
        self.bare = self._without_cover() if attribute in COVERS_SCALP else None
        self.bared = _canonical(self.bare, self.rig, self.bare.shape) if self.bare else None

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
            own = self._draw(self.own, self.worn, parameters, part=self.attribute.part)
            if self.reshaped is not None:
                lent = self._draw(self.own, self.reshaped, parameters, part=self.attribute.part)
            else:
                lent = self._draw(self.lender, self.lent, parameters, part=self.attribute.part)
            bare = self._draw(self.bare, self.bared, parameters) if self.bare and self.bared else None
            plain = self._draw(self.bald, self.balded, parameters) if self.bald and self.balded else None
            plain = own if self.reshaped is not None else plain
            lent_normals.append(_normals(lent))
            own_normals.append(_normals(own))
            for offset, index in enumerate(range(batch.start, batch.stop)):
                borrowed = self._lent_part(lent, offset, plain)
                base = self._take_off(images[index], mattes[index], rows.parts[index], bare, offset, borrowed)
                made.append(blend_part(*base, self.blend))
        coverage = np.array([c.coverage for c in made], np.float32)
        seam = np.array([c.seam for c in made], np.float32)
        pictures, part_masks, object_masks = (
            _bytes(layers) for layers in ([c.image for c in made], [c.part for c in made], [c.matte for c in made])
        )
        scores = {"coverage": coverage, "seam": seam}
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
            shape=np.repeat(self.shape.numpy()[None], len(frames), 0),
            expression=rows.expression,
            head=rows.head,
            torso=rows.torso,
            jaw=rows.jaw,
            eyes=rows.eyes,
            camera=rows.camera,
            scores=scores | {"quality": quality_of(scores)},
        )

    def paste(self, frames: tuple[int, ...]) -> Bytes:
        """The part laid on the frames as it is drawn, (T, S, S, 3): nothing taken away, closed or blended.

        What a swap has to be better than.
        """
        images, pasted = self.target.select(frames).on_white(), []
        for image, frame in zip(images, frames, strict=True):
            parameters = Parameters.of(self.target.select([frame]))
            part = self._lent_part(self._draw(self.lender, self.lent, parameters, part=self.attribute.part), 0)
            solid = part.share > 0.5
            colours = _bytes([part.colours / np.maximum(part.share, 1e-3)[..., None]])[0]
            pasted.append(np.where(solid[..., None], colours, image))
        return np.stack(pasted)

    def _draw(
        self, avatar: Avatar, points: CanonicalPoints, parameters: Parameters, *, part: Part | None = None
    ) -> Rendering:
        return _draw(avatar, points, self.rig, parameters, self.target.size, self.config, part)

    def _lent_part(self, drawn: Rendering, index: int, bare: Rendering | None = None) -> LentPart:
        return LentPart(
            colours=drawn.extra[index].clamp(0, 1).numpy(),
            share=drawn.parts[index, ..., self.attribute.part].numpy(),
            whole=_layer(drawn, index),
            bare=_layer(bare, index) if bare else None,
            own=bare.parts[index, ..., self.attribute.part].numpy() if bare else None,
        )

    def _without_cover(self) -> Avatar:
        """The target without the hair, or the hat and the hair that a hat presses flat."""
        if self.attribute is Attribute.HAIR:
            return bald(self.own, self.rig)
        return under_hat(self.own, lend(self.lender, Attribute.HAT), self.rig)

    def _take_off(
        self, image: np.ndarray, matte: np.ndarray, labels: Labels, bare: Rendering | None, index: int, lent: LentPart
    ) -> tuple[np.ndarray, np.ndarray, LentPart]:
        """A frame and its matte without the target's own part, and of the borrowed part what is not hidden."""
        if bare is None:
            hidden = np.isin(labels, (Label.HAIR, Label.HAT, Label.GLASSES))
            shown = replace(lent, share=np.where(hidden, 0, lent.share).astype(np.float32))
            if self.reshaped is not None:
                own = np.zeros_like(matte) if shown.own is None else shown.own
                return image, matte, replace(shown, own=np.where(hidden, 0, own).astype(np.float32))
            base = np.where(hidden[..., None], image, without_feature(image, matte, labels, self.attribute))
            return base, matte, shown
        gone, layer = own_part(labels, self.attribute, grow=0.03), _layer(bare, index)
        if self.attribute is Attribute.HAT:
            gone |= pressed_hair(labels, bare.parts[index, ..., Part.HAIR].numpy(), lent.share)
        else:
            layer = _painted(image, gone, layer, self.config)
        return *without_hair(image, matte, gone, layer), lent


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
    return Swapper(target, target_avatar, avatar, attribute, config)(frames or swap_frames(target, config))


def bald_frames(target: Track, avatar: Avatar, config: SwapConfig, frames: tuple[int, ...]) -> Bytes:
    """The target's frames without hair and hat, (T, S, S, 3) on white: what borrowed hair is laid on."""
    rig, bare, made = load_rig(target.rig), bald(avatar, load_rig(target.rig)), []
    points, rows = _canonical(bare, rig, bare.shape), target.select(frames)
    images = rows.on_white().astype(np.float32) / 255
    for index in range(len(frames)):
        drawn = _draw(bare, points, rig, Parameters.of(rows.select([index])), target.size, config, None)
        matte = rows.mattes[index].astype(np.float32) / 255
        gone = own_part(rows.parts[index], Attribute.HAIR, grow=0.03)
        layer = _painted(images[index], gone, _layer(drawn, 0), config)
        made.append(without_hair(images[index], matte, gone, layer)[0])
    return _bytes(made)


def _painted(image: np.ndarray, gone: np.ndarray, bald_head: Layer, config: SwapConfig) -> Layer:
    """The bald head as the rig completes it, or within its outline as the diffusion model paints it."""
    if config.bald == "rig":
        return bald_head
    inside = bald_head.alpha[..., None]
    return replace(bald_head, image=load_inpainter(config.diffusion)(image, gone) * inside + 1 - inside)


def _draw(
    avatar: Avatar,
    points: CanonicalPoints,
    rig: Rig,
    parameters: Parameters,
    size: int,
    config: SwapConfig,
    part: Part | None,
) -> Rendering:
    with torch.no_grad():
        return render_points(points, rig, parameters.drive(avatar), size, per_pixel=config.per_pixel, part=part)


def _canonical(avatar: Avatar, rig: Rig, shape: Tensor) -> CanonicalPoints:
    with torch.no_grad():
        return avatar.canonical(avatar.anchors(rig, shape))


def _layer(drawn: Rendering, index: int) -> Layer:
    return Layer(image=drawn.image[index].clamp(0, 1).numpy(), alpha=drawn.alpha[index].numpy())


def _normals(drawn: Rendering) -> np.ndarray:
    unit = torch.nn.functional.normalize(drawn.normals, dim=-1) * (drawn.alpha > 0.5)[..., None]
    return np.stack([normals_to_rgb(frame) for frame in unit.numpy()])


def _bytes(pictures: list[np.ndarray]) -> np.ndarray:
    return np.asarray((np.clip(np.stack(pictures), 0, 1) * 255).round(), np.uint8)
