"""Training a generative avatar of fields in two steps: the target alone, then the target and all its swaps (paper §4.3).

The steps of the loop, the checkpoints and the loss are those of a single person's fields; what is new is that points and shape go
by the code, and that pictures say what is synthesised in them and which way surfaces face.

Legend: T frames, M codes of a block, N points, S side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.avatar import FieldAvatar
from pegasus_ray.avatar.fields.codes import IDENTITY
from pegasus_ray.avatar.fields.points import FieldPoints
from pegasus_ray.avatar.fit import field_losses
from pegasus_ray.avatar.fit.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pegasus_ray.avatar.fit.coded_frames import Clips, Looking
from pegasus_ray.avatar.fit.config import FitConfig, LearningRates
from pegasus_ray.avatar.fit.explicit_learner import Groups, Truth
from pegasus_ray.avatar.fit.field_learner import FieldLearner
from pegasus_ray.avatar.fit.loop import spread_frames
from pegasus_ray.avatar.fit.residuals import Residuals
from pegasus_ray.avatar.fit.stage import StageRun
from pegasus_ray.avatar.fit.training_file import under
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.generative.coded_parameters import CodedLeaves, GenerativeRates
from pegasus_ray.avatar.generative.field_avatar import FieldGenerative, whole_code
from pegasus_ray.avatar.generative.fit import Clip
from pegasus_ray.avatar.generative.pretrain import settle_generative
from pegasus_ray.avatar.points.avatar import Anchors
from pegasus_ray.avatar.points.canonical import CanonicalPoints, Rendering
from pegasus_ray.avatar.points.frames import FrameSet, Parameters
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress

LEAF = "leaf."
"""Before the number of a leaf in a checkpoint."""

GREY = 127
"""Of `normals_to_rgb`: a normal that says nothing."""

PERFORMANCE = 48
"""Frames of the target's own over which decoding fits motion and light, at most."""


def fit_field_generative(
    start: GenerativeAvatar,
    clips: Sequence[Clip],
    rig: Rig,
    config: FitConfig,
    rates: GenerativeRates,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    perceptual: nn.Module | None = None,
) -> tuple[FieldGenerative, dict[str, float]]:
    """Train fields, and the points that they are over, on the clips; the first is the target's own.

    Args:
        start: what `compose` gives, with codes of the fields' size.
        clips: the target's own frames, then part-swapped ones.
        rig: of all of them.
        config: sizes, weights, rates; its first stage has the target alone, all others all clips.
        rates: of the points.
        progress: told the share done and a short text.
        checkpoint: a file to resume from and to save to; removed when the training is done.
        perceptual: the network of the perceptual term; without it there is no such term.

    Returns:
        the trained avatar and the smoothed losses at the end of both steps.

    Raises:
        PegasusError: DIVERGED when the loss is no longer a number, or the person is lost.
    """
    generator = torch.Generator().manual_seed(config.seed)
    learner = CodedLearner(start, rig, config, rates, generator, perceptual)
    looking = Looking(perceptual) if perceptual is not None else None
    resumed = _resumed(checkpoint, config, learner)
    figures: dict[str, float] = {}
    if resumed is None:
        settled = settle_generative(learner.fields, learner.leaves.avatar(), rig, config, generator)
        figures["loss_settled"] = round(settled, 5)
    else:
        learner.load(resumed.model)
        figures = resumed.figures
    total, before = sum(stage.steps for stage in config.stages), 0
    for number, stage in enumerate(config.stages):
        first = 0
        if resumed is None or number >= resumed.stage:
            run = _stage(learner, clips[:1] if number == 0 else clips, config, number, looking)
            if resumed is not None and number == resumed.stage:
                resumed.restore(run, generator)
                first = resumed.step
            for step in range(first, stage.steps):
                if checkpoint and step > first and step % config.checkpoint_every == 0:
                    save_checkpoint(checkpoint, run, generator, config, stage=number, step=step, figures=figures)
                run.check(run.step(step, generator), step)
                if progress and step % 20 == 0:
                    text = f"{'target alone' if number == 0 else 'all swaps'}, loss {run.smooth:.3f}"
                    progress((before + step) / total, text)
            figures["loss_target" if number == 0 else "loss_swaps"] = round(run.smooth, 5)
        before += stage.steps
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    seen = spread_frames(len(clips[0]), PERFORMANCE)
    return learner.generative(clips[0].parameters.rows(seen)), figures


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """What depends on a choice of codes and hardly changes while they are trained."""

    anchors: Anchors
    pressed: Tensor  # see `GenerativeAvatar.pressed`


class CodedLearner(FieldLearner):
    """Fields over points that go by the code."""

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
        self.leaves = CodedLeaves(start, numbers | {None: fields.codes.blocks[IDENTITY]})
        self.composed, self.rates = start, rates
        self._settled: dict[tuple[tuple[str, int], ...], _Settled] = {}

    def canonical(self, code: Mapping[str, int]) -> FieldPoints:
        """The points under a code, on its shape."""
        whole = self.leaves.graph()
        codes = {a: block.codes[code.get(a.value, 0)] for a, block in whole.blocks.items()}
        identity = whole.identity.codes[code.get(IDENTITY, 0)]
        settled = self._settle(code)
        points = whole.decode(codes, self.rig, identity=identity, pressed=settled.pressed)
        return self.fields.canonical_of(points, self.homes, settled.anchors, whole_code(self.fields, codes, identity))

    def loss(self, drawn: Rendering, points: CanonicalPoints, truth: Truth, share: float) -> Tensor:
        """All terms of §4.3; what is faint under a code need not lie on the surface."""
        assert isinstance(points, FieldPoints)
        solid = replace(points, distance=points.distance * points.opacity.detach())
        loss = super().loss(drawn, solid, truth, share)
        if truth.normals is not None:
            loss = loss + self.config.field_weights.normal * field_losses.facing_loss(drawn.normals, truth.normals)
        return loss

    def groups(self, rates: LearningRates) -> Groups:
        """The points' leaves, networks, codes, which rest at first."""
        return [*self.leaves.groups(self.rates), *super().groups(rates)[len(self._free(self.config)) :]]

    def state(self) -> dict[str, Tensor]:
        """Networks, codes, and the points' leaves."""
        return super().state() | {f"{LEAF}{number}": leaf for number, leaf in enumerate(self._leaves())}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        super().load({name: value for name, value in state.items() if not name.startswith(LEAF)})
        saved = under(state, LEAF)
        with torch.no_grad():
            for number, leaf in enumerate(self._leaves()):
                leaf.copy_(saved[str(number)])

    def generative(self, performance: Parameters) -> FieldGenerative:
        """What has been learned, outside of any graph."""
        points = self.leaves.avatar()
        return FieldGenerative(
            identity=points.identity,
            blocks=points.blocks,
            networks=self.fields.requires_grad_(False),
            performance=performance,
        )

    def _leaves(self) -> list[Tensor]:
        return [leaf for group in self.leaves.groups(self.rates) for leaf in group["params"]]

    def _settle(self, code: Mapping[str, int]) -> _Settled:
        """The rig under the codes' shape, the hair under their hat: as before training, so that a resumed one has the same."""
        place = tuple(sorted(code.items()))
        if place not in self._settled:
            start = self.composed
            codes = {a: block.codes[code.get(a.value, 0)] for a, block in start.blocks.items()}
            identity = start.identity.codes[code.get(IDENTITY, 0)]
            points = start.decode(codes, self.rig, identity=identity, pressed=torch.zeros(()))
            pressed = start.pressed(points, self.rig) if Attribute.HAT in codes else torch.zeros(())
            self._settled[place] = _Settled(anchors=points.anchors(self.rig), pressed=pressed)
        return self._settled[place]


def _resumed(checkpoint: Path | None, config: FitConfig, learner: CodedLearner) -> Checkpoint | None:
    """A checkpoint of this configuration and of such points, where there is one."""
    found = load_checkpoint(checkpoint, config) if checkpoint else None
    if found is None:
        return None
    sizes = [{name: tuple(value.shape) for name, value in state.items()} for state in (found.model, learner.state())]
    return found if sizes[0] == sizes[1] else None


def _stage(
    learner: CodedLearner, clips: Sequence[Clip], config: FitConfig, number: int, looking: Looking | None
) -> StageRun:
    """The run of one stage over the clips' frames."""
    frames = _frames(clips, max(32, round(clips[0].images.shape[1] * config.stages[number].scale)))
    together = _together(clips, learner.leaves.graph())
    return StageRun(learner, Residuals(frames.parameters), frames, config, number, clips=together, looking=looking)


def _frames(clips: Sequence[Clip], size: int) -> FrameSet:
    """All clips' frames end to end; nothing is read of their labels."""
    rows = {
        name: torch.cat([getattr(clip.parameters, name) for clip in clips]) for name in Parameters.__dataclass_fields__
    }
    return FrameSet(
        images=_resized(torch.cat([clip.images for clip in clips]), size),
        mattes=_resized(torch.cat([clip.mattes for clip in clips])[..., None], size)[..., 0],
        labels=torch.zeros(sum(map(len, clips)), 0, 0, dtype=torch.uint8),
        parameters=Parameters(**rows),
    )


def _together(clips: Sequence[Clip], whole: GenerativeAvatar) -> Clips:
    """Which frames are under which code, with the masks of what is synthesised and the pseudo normals."""
    codes = [
        {IDENTITY: whole.identity.sources.index(clip.identity)}
        | {a.value: whole.blocks[a].sources.index(source) for a, source in clip.sources.items()}
        for clip in clips
    ]
    masks = [torch.zeros_like(clip.mattes) if clip.parts is None else clip.parts for clip in clips]
    facing = [torch.full_like(clip.images, GREY) if clip.normals is None else clip.normals for clip in clips]
    return Clips(
        source="the generative fit",
        of=torch.cat([torch.full((len(clip),), number) for number, clip in enumerate(clips)]),
        codes=tuple(codes),
        masks=torch.cat(masks).float() / 255,
        normals=torch.cat(facing) if any(clip.normals is not None for clip in clips) else None,
    )


def _resized(frames: Tensor, size: int) -> Tensor:
    """Frames (T, S, S, C) uint8 as (T, size, size, C) 0–1."""
    planes = frames.movedim(-1, 1).float() / 255
    return nn.functional.interpolate(planes, (size, size), mode="area").movedim(1, -1).contiguous()
