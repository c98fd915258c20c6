"""Training a generative avatar in two steps: the target alone, then the target and all part-swapped frames (paper §4.3).

Legend: T frames, M codes, N points, S side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pegasus_ray.avatar.fit import losses
from pegasus_ray.avatar.fit.checkpoint import digest_of_config
from pegasus_ray.avatar.fit.loop import FitContext
from pegasus_ray.avatar.fit.training_file import adam_tensors, read_state, restore_adam, tensors_under, write_state
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.generative.clips import CodedClip
from pegasus_ray.avatar.generative.coded_parameters import CodedParameters, GenerativeRates
from pegasus_ray.avatar.generative.frozen_context import FrozenContext
from pegasus_ray.avatar.points.canonical import Layers, render_points
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerativeConfig:
    """The training of a generative avatar of explicit points, as in the preset `fast`."""

    code_size: int = 16
    target_steps: int = 200  # step 1: the target alone
    swap_steps: int = 900  # step 2: the target and the swaps
    own_share: float = 0.25  # of step 2's frames that are the target's own
    per_pixel: int = 16  # nearest points that are blended in a pixel
    colour: float = 3.0  # this and the next five: weights of the loss terms, see `avatar/fit/losses.py`
    edges: float = 1.5
    square: float = 8.0
    mask: float = 1.0
    segment: float = 0.1
    code: float = 0.01
    rates: GenerativeRates = field(default_factory=GenerativeRates)
    checkpoint_every: int = 200  # steps
    seed: int = 0
    threads: int = 1


def fit_generative(
    start: GenerativeAvatar,
    clips: Sequence[CodedClip],
    rig: Rig,
    config: GenerativeConfig,
    context: FitContext | None = None,
) -> tuple[GenerativeAvatar, dict[str, float]]:
    """Train on the clips; the first is the target's own.

    Args:
        start: what `initialise_generative` gives.
        clips: the target's own frames, then part-swapped ones.
        rig: of all of them.
        config: steps, weights, rates.
        context: progress and checkpoint; by default neither.

    Returns:
        the trained avatar and the smoothed losses at the end of both steps.

    Raises:
        PegasusError: DIVERGED when the loss is no longer a number.
    """
    context = context or FitContext()
    checkpoint, progress = context.checkpoint, context.progress
    generator = torch.Generator().manual_seed(config.seed)
    run = GenerativeRun(start, clips, rig, config)
    first = run.restore(checkpoint, generator) if checkpoint else 0
    total = config.target_steps + config.swap_steps
    for step in range(first, total):
        if checkpoint and step > first and step % config.checkpoint_every == 0:
            run.save(checkpoint, generator, step)
        alone = step < config.target_steps or len(clips) == 1
        loss = run.step(step / total, alone, generator)
        if not math.isfinite(loss):
            message = f"the loss of the generative fit is {loss} at step {step}; lower personalize.fit.rates"
            raise PegasusError(Reason.DIVERGED, message)
        if progress and step % 20 == 0:
            progress(step / total, f"{'target alone' if alone else 'all swaps'}, loss {run.smooth:.3f}")
        if step + 1 in (config.target_steps, total):
            run.figures["loss_target" if step + 1 == config.target_steps else "loss_swaps"] = round(run.smooth, 5)
    return run.avatar(), run.figures


class GenerativeRun:
    """A generative avatar of explicit points being trained."""

    def __init__(self, start: GenerativeAvatar, clips: Sequence[CodedClip], rig: Rig, config: GenerativeConfig) -> None:
        self.clips, self.rig, self.config = clips, rig, config
        self.parameters = CodedParameters(start)
        groups = self.parameters.groups(config.rates)
        groups += [{"params": [block.codes], "lr": config.rates.codes} for block in self.parameters.blocks.values()]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.contexts: dict[tuple[object, ...], FrozenContext] = {}
        self.smooth = 0.0
        self.figures: dict[str, float] = {}

    def save(self, path: Path, generator: torch.Generator, step: int) -> None:
        """Write the state before `step`."""
        leaves = self._learned()
        tensors = {f"leaf.{index}": leaf for index, leaf in enumerate(leaves)} | {"generator": generator.get_state()}
        tensors |= {f"adam.{name}": value for name, value in adam_tensors(self.optimizer).items()}
        facts = {"config": digest_of_config(self.config), "step": step, "smooth": self.smooth, "figures": self.figures}
        write_state(path, tensors, facts)

    def restore(self, path: Path, generator: torch.Generator) -> int:
        """Load a saved state of this configuration and of points like these, if there is one; returns the step to go on with."""
        found, leaves = read_state(path), self._learned()
        if found is None or found[1]["config"] != digest_of_config(self.config):
            return 0
        tensors, facts = found
        saved = tensors_under(tensors, "leaf.")
        if [tuple(leaf.shape) for leaf in leaves] != [tuple(saved[str(i)].shape) for i in range(len(saved))]:
            return 0
        with torch.no_grad():
            for index, leaf in enumerate(leaves):
                leaf.copy_(saved[str(index)])
        restore_adam(self.optimizer, tensors_under(tensors, "adam."))
        generator.set_state(tensors["generator"])
        self.smooth, self.figures = float(facts["smooth"]), dict(facts["figures"])
        return int(facts["step"])

    def _learned(self) -> list[Tensor]:
        return [leaf for group in self.optimizer.param_groups for leaf in group["params"]]

    def graph(self) -> GenerativeAvatar:
        """The avatar as a function of what is learned."""
        return self.parameters.graph()

    def avatar(self) -> GenerativeAvatar:
        """The avatar as it is now, cut off from the autograd graph."""
        return self.parameters.avatar()

    def step(self, share: float, alone: bool, generator: torch.Generator) -> float:
        """One Adam step on one frame of one clip; returns the loss."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * max(0.05, 0.5 * (1 + math.cos(math.pi * share)))
        clip = self._choose(alone, generator)
        index = torch.randint(len(clip), (1,), generator=generator)
        loss = self._loss(clip, index)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        value = float(loss.detach())
        self.smooth = value if self.smooth == 0 else 0.98 * self.smooth + 0.02 * value
        return value

    def _choose(self, alone: bool, generator: torch.Generator) -> CodedClip:
        if alone or float(torch.rand((), generator=generator)) < self.config.own_share:
            return self.clips[0]
        return self.clips[1 + int(torch.randint(len(self.clips) - 1, (), generator=generator))]

    def _loss(self, clip: CodedClip, index: Tensor) -> Tensor:
        config, whole = self.config, self.graph()
        codes = whole.codes({a: whole.blocks[a].code(source) for a, source in clip.sources.items()})
        identity = whole.identity.code(clip.identity)
        context = self._context(clip, whole, codes, identity)
        avatar = whole.decode(codes, self.rig, identity=identity, pressed=context.pressed)
        chi = self._membership(whole, clip.borrowed)
        drive = clip.parameters.rows(index).drive(avatar)
        size = clip.images.shape[1]
        drawn = render_points(
            avatar.canonical(context.anchors),
            self.rig,
            drive,
            size,
            layers=Layers(extra=chi),
            per_pixel=config.per_pixel,
        )
        truth, matte = clip.images[index].float() / 255, clip.mattes[index].float() / 255
        loss = (
            config.colour * losses.colour_loss(drawn.image, truth)
            + config.edges * losses.edge_loss(drawn.image, truth)
            + config.square * losses.square_loss(drawn.image, truth)
            + config.mask * losses.mask_loss(drawn.alpha, matte)
            + config.code * losses.code_loss(torch.cat([identity, *codes.values()]))
        )
        if chi is not None and clip.parts is not None:
            loss = loss + config.segment * losses.segment_loss(drawn.extra[..., 0], clip.parts[index].float() / 255)
        return loss

    def _context(
        self, clip: CodedClip, whole: GenerativeAvatar, codes: Mapping[Attribute, Tensor], identity: Tensor
    ) -> FrozenContext:
        place = (clip.identity, *sorted(clip.sources.items()))
        if place not in self.contexts:
            self.contexts[place] = FrozenContext.of(whole, codes, identity, self.rig)
        return self.contexts[place]

    def _membership(self, whole: GenerativeAvatar, attribute: Attribute | None) -> Tensor | None:
        """The paper's χ as a feature of each point, (N, 1): 1 on the borrowed attribute's points."""
        if attribute is None:
            return None
        start, end = whole.membership()[attribute]
        count = len(whole.identity.points) + sum(len(block.points) for block in whole.blocks.values())
        chi = torch.zeros(count, 1)
        chi[start:end] = 1.0
        return chi
