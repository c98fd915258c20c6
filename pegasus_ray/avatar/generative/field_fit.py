"""Training a generative avatar of fields in two steps: the target alone, then the target and all its swaps (paper §4.3).

The optimisation step, the checkpoints and the loss are those of a single person's fields. Two things are added: the points and
the shape depend on the code, and part-swapped frames bring masks of the synthesised part and pseudo normals.

Legend: T frames, M codes of a block, N points, S side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.avatar import FieldAvatar
from pegasus_ray.avatar.fields.codes import IDENTITY
from pegasus_ray.avatar.fields.points import FieldPoints
from pegasus_ray.avatar.fit import losses
from pegasus_ray.avatar.fit.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pegasus_ray.avatar.fit.coded_frames import CodedFrames
from pegasus_ray.avatar.fit.config import FitConfig, LearningRates
from pegasus_ray.avatar.fit.corrections import TrackingCorrections
from pegasus_ray.avatar.fit.field_learner import FieldLearner
from pegasus_ray.avatar.fit.learner import ParameterGroups, Truth
from pegasus_ray.avatar.fit.loop import FitContext
from pegasus_ray.avatar.fit.perceptual import FeatureCache
from pegasus_ray.avatar.fit.resolution import ResolutionRun
from pegasus_ray.avatar.fit.training_file import tensors_under
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.generative.clips import CodedClip
from pegasus_ray.avatar.generative.coded_parameters import CodedParameters, GenerativeRates
from pegasus_ray.avatar.generative.field_avatar import FieldGenerative, whole_code
from pegasus_ray.avatar.generative.frozen_context import FrozenContext
from pegasus_ray.avatar.generative.pretrain import pretrain_fields
from pegasus_ray.avatar.points.canonical import CanonicalPoints, Rendering
from pegasus_ray.avatar.points.frames import FrameSet, Parameters
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.evenly import evenly
from pegasus_ray.schemas.parts import Attribute

LEAF = "leaf."
"""Prefix of the tensors that a checkpoint holds for the points; the number of the tensor follows."""

UNKNOWN_NORMAL = 127
"""Value of `normals_to_rgb` in all channels where no normal is known."""

MAX_PERFORMANCE_FRAMES = 48
"""Frames of the target's own over which decoding fits motion and light, at most."""


def fit_field_generative(
    start: GenerativeAvatar,
    clips: Sequence[CodedClip],
    rig: Rig,
    config: FitConfig,
    rates: GenerativeRates,
    context: FitContext | None = None,
) -> tuple[FieldGenerative, dict[str, float]]:
    """Train the fields, and the points below them, on the clips; the first is the target's own.

    Args:
        start: what `initialise_generative` gives, with codes of the fields' size.
        clips: the target's own frames, then part-swapped ones.
        rig: of all of them.
        config: sizes, weights, rates; at its first resolution the target alone is trained on, at all others all clips.
        rates: of the points.
        context: progress, checkpoint and perceptual network; by default none of them.

    Returns:
        the trained avatar and the smoothed losses at the end of both steps.

    Raises:
        PegasusError: DIVERGED when the loss is no longer a number, or the person is lost.
    """
    context = context or FitContext()
    checkpoint, progress = context.checkpoint, context.progress
    generator = torch.Generator().manual_seed(config.seed)
    learner = CodedLearner(start, rig, config, rates, generator, context.perceptual)
    features = context.feature_cache()
    resumed = _resumed(checkpoint, config, learner)
    figures: dict[str, float] = {}
    if resumed is None:
        pretrained = pretrain_fields(learner.fields, learner.parameters.avatar(), rig, config, generator)
        figures["loss_settled"] = round(pretrained, 5)
    else:
        learner.load(resumed.model)
        figures = resumed.figures
    total, before = sum(stage.steps for stage in config.stages), 0
    for number, stage in enumerate(config.stages):
        first = 0
        if resumed is None or number >= resumed.stage:
            run = _stage(learner, clips[:1] if number == 0 else clips, config, number, features)
            if resumed is not None and number == resumed.stage:
                resumed.restore(run, generator)
                first = resumed.step
            for step in range(first, stage.steps):
                if checkpoint and step > first and step % config.checkpoint_every == 0:
                    save_checkpoint(checkpoint, run, generator, config, stage=number, step=step, figures=figures)
                run.check(run.step(step, generator), step)
                if progress and step % 20 == 0:
                    text = f"{'target alone' if number == 0 else 'all swaps'}, loss {run.smoothed_loss:.3f}"
                    progress((before + step) / total, text)
            figures["loss_target" if number == 0 else "loss_swaps"] = round(run.smoothed_loss, 5)
        before += stage.steps
    seen = torch.from_numpy(evenly(len(clips[0]), MAX_PERFORMANCE_FRAMES))
    return learner.generative(clips[0].parameters.rows(seen)), figures


class CodedLearner(FieldLearner):
    """Fields over points whose state depends on the code."""

    def __init__(
        self,
        start: GenerativeAvatar,
        rig: Rig,
        config: FitConfig,
        rates: GenerativeRates,
        generator: torch.Generator,
        network: nn.Module | None,
    ) -> None:
        assert config.fields is not None
        points = start.decode(start.codes(), rig)
        coded = {IDENTITY: start.identity, **{a.value: block for a, block in start.blocks.items()}}
        choices = {name: len(block.codes) for name, block in coded.items()}
        fields = FieldAvatar(rig, points, config.fields, generator, choices=choices)
        with torch.no_grad():
            for name, block in coded.items():
                fields.codes.blocks[name].copy_(block.codes)
        super().__init__(fields, points, rig, config, network)
        numbers: dict[Attribute | None, Tensor] = {a: fields.codes.blocks[a.value] for a in start.blocks}
        self.parameters = CodedParameters(start, numbers | {None: fields.codes.blocks[IDENTITY]})
        self.initial, self.rates = start, rates
        self._contexts: dict[tuple[tuple[str, int], ...], FrozenContext] = {}

    def canonical(self, code: Mapping[str, int]) -> FieldPoints:
        """The points under a code, on its shape."""
        whole, context = self.parameters.graph(), self._context(code)
        codes, identity = _codes_of(whole, code)
        points = whole.decode(codes, self.rig, identity=identity, pressed=context.pressed)
        return self.fields.canonical_of(points, self.roots, context.anchors, whole_code(self.fields, codes, identity))

    def loss(self, drawn: Rendering, points: CanonicalPoints, truth: Truth, share: float) -> Tensor:
        """All terms of §4.3. The surface term is weighted by opacity: points that are faint need not lie on the surface."""
        assert isinstance(points, FieldPoints)
        solid = replace(points, distance=points.distance * points.opacity.detach())
        loss = super().loss(drawn, solid, truth, share)
        if truth.normals is not None:
            loss = loss + self.config.field_weights.normal * losses.rendered_normal_loss(drawn.normals, truth.normals)
        return loss

    def parameter_groups(self, rates: LearningRates) -> ParameterGroups:
        """The points' leaves, the networks and the codes, which are not stepped at first."""
        return [
            *self.parameters.groups(self.rates),
            *super().parameter_groups(rates)[len(self.point_tensors(self.config)) :],
        ]

    def state(self) -> dict[str, Tensor]:
        """Networks, codes, and the points' leaves."""
        return super().state() | {f"{LEAF}{number}": leaf for number, leaf in enumerate(self._leaves())}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        super().load({name: value for name, value in state.items() if not name.startswith(LEAF)})
        saved = tensors_under(state, LEAF)
        with torch.no_grad():
            for number, leaf in enumerate(self._leaves()):
                leaf.copy_(saved[str(number)])

    def generative(self, performance: Parameters) -> FieldGenerative:
        """What has been learned, cut off from the autograd graph."""
        points = self.parameters.avatar()
        return FieldGenerative(
            identity=points.identity,
            blocks=points.blocks,
            networks=self.fields.requires_grad_(False),
            performance=performance,
        )

    def _leaves(self) -> list[Tensor]:
        return [leaf for group in self.parameters.groups(self.rates) for leaf in group["params"]]

    def _context(self, code: Mapping[str, int]) -> FrozenContext:
        """The context of a code, from the state before training, so that a resumed training has the same."""
        place = tuple(sorted(code.items()))
        if place not in self._contexts:
            codes, identity = _codes_of(self.initial, code)
            self._contexts[place] = FrozenContext.of(self.initial, codes, identity, self.rig)
        return self._contexts[place]


def _codes_of(whole: GenerativeAvatar, code: Mapping[str, int]) -> tuple[dict[Attribute, Tensor], Tensor]:
    """The codes (D,) of all attributes and of the identity, by their numbers in the blocks; the target's own has number 0."""
    codes = {attribute: block.codes[code.get(attribute.value, 0)] for attribute, block in whole.blocks.items()}
    return codes, whole.identity.codes[code.get(IDENTITY, 0)]


def _resumed(checkpoint: Path | None, config: FitConfig, learner: CodedLearner) -> Checkpoint | None:
    """A checkpoint of this configuration with tensors of the learner's shapes, if there is one."""
    found = load_checkpoint(checkpoint, config) if checkpoint else None
    if found is None:
        return None
    sizes = [{name: tuple(value.shape) for name, value in state.items()} for state in (found.model, learner.state())]
    return found if sizes[0] == sizes[1] else None


def _stage(
    learner: CodedLearner, clips: Sequence[CodedClip], config: FitConfig, number: int, features: FeatureCache | None
) -> ResolutionRun:
    """The run of one stage over the clips' frames."""
    frames = _frames(clips, config.stages[number].side(clips[0].images.shape[1]))
    together = _together(clips, learner.parameters.graph())
    corrections = TrackingCorrections(frames.parameters)
    return ResolutionRun(learner, corrections, frames, config, number, coded=together, features=features)


def _frames(clips: Sequence[CodedClip], size: int) -> FrameSet:
    """All clips' frames end to end, without labels, which this fit does not use."""
    return FrameSet(
        images=_resized(torch.cat([clip.images for clip in clips]), size),
        mattes=_resized(torch.cat([clip.mattes for clip in clips])[..., None], size)[..., 0],
        labels=torch.zeros(sum(map(len, clips)), 0, 0, dtype=torch.uint8),
        parameters=Parameters.join([clip.parameters for clip in clips]),
    )


def _together(clips: Sequence[CodedClip], whole: GenerativeAvatar) -> CodedFrames:
    """Which frames are under which code, with the masks of what is synthesised and the pseudo normals."""
    codes = [
        {IDENTITY: whole.identity.sources.index(clip.identity)}
        | {a.value: whole.blocks[a].sources.index(source) for a, source in clip.sources.items()}
        for clip in clips
    ]
    masks = [torch.zeros_like(clip.mattes) if clip.parts is None else clip.parts for clip in clips]
    facing = [torch.full_like(clip.images, UNKNOWN_NORMAL) if clip.normals is None else clip.normals for clip in clips]
    return CodedFrames(
        source="the generative fit",
        video=torch.cat([torch.full((len(clip),), number) for number, clip in enumerate(clips)]),
        codes=tuple(codes),
        masks=torch.cat(masks).float() / 255,
        normals=torch.cat(facing) if any(clip.normals is not None for clip in clips) else None,
    )


def _resized(frames: Tensor, size: int) -> Tensor:
    """Frames (T, S, S, C) uint8 as (T, size, size, C) 0–1."""
    planes = frames.movedim(-1, 1).float() / 255
    return nn.functional.interpolate(planes, (size, size), mode="area").movedim(1, -1).contiguous()
