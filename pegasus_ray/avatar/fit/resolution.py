"""Fitting at one resolution: the optimisers, and a step on a batch of frames that share a code.

Legend: T frames, B a batch of them, N points, E expressions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pegasus_ray.avatar.fit.coded_frames import CodedFrames
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.corrections import TrackingCorrections
from pegasus_ray.avatar.fit.learner import Learner, Truth
from pegasus_ray.avatar.fit.perceptual import FeatureCache
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import Drive, Layers, Rendering, render_points
from pegasus_ray.avatar.points.frames import FrameSet
from pegasus_ray.schemas.errors import PegasusError, Reason

EXPLODED_RADIUS_METRES = 0.1
"""A fit in which a point's radius exceeds this has diverged."""

MIN_COVERED_SHARE = 0.2
"""Share of the mattes, averaged over the last steps, that points must cover; below it the fit has lost the person."""

WATCHED_FRAME_STRIDE = 20
"""Where a fit evaluates itself (`watch_every`), one frame in this many is held out for it."""

MIN_RELATIVE_GAIN = 0.005
"""Relative fall of the loss on held-out frames that counts as a gain."""

MIN_RATE_FACTOR = 0.03
"""Factor that learning rates have at the end of a fit."""


class ResolutionRun:
    """A model being fitted at one resolution.

    Args:
        learner: the model.
        corrections: of the frames' tracking.
        frames: at this resolution.
        config: of the whole fit.
        number: of the resolution in `config.stages`.
        coded: which frames are under which code; without it all are under one.
        features: perceptual features of the frames; without it there is no perceptual term.
    """

    def __init__(
        self,
        learner: Learner,
        corrections: TrackingCorrections,
        frames: FrameSet,
        config: FitConfig,
        number: int,
        *,
        coded: CodedFrames | None = None,
        features: FeatureCache | None = None,
    ) -> None:
        self.learner, self.frames, self.config = learner, frames, config
        self.coded = coded or CodedFrames.under_one_code(len(frames))
        self.features = features
        self.resolution = config.stages[number]
        self.is_last = number == len(config.stages) - 1
        steps = [resolution.steps for resolution in config.stages]
        self.steps_before, self.total_steps = sum(steps[:number]), sum(steps)
        self.corrections = corrections
        self.gradient_length = torch.zeros(len(learner.avatar), device=learner.avatar.offsets.device)
        self.order: list[list[int]] = []
        self.smoothed_loss, self.covered = 0.0, 1.0
        self.watched_losses: list[float] = []
        watched = range(WATCHED_FRAME_STRIDE // 2, len(frames), WATCHED_FRAME_STRIDE) if config.watch_every else ()
        self.watched = torch.tensor(list(watched), dtype=torch.int64)
        rates = config.rates
        corrected = [{"params": [value], "lr": getattr(rates, name)} for name, value in corrections.leaves().items()]
        self.optimizers = (
            torch.optim.Adam(learner.parameter_groups(rates), betas=(0.9, 0.99), fused=True),
            torch.optim.Adam(corrected, betas=(0.6, 0.9)),
        )
        self.rates = [[float(group["lr"]) for group in optimizer.param_groups] for optimizer in self.optimizers]

    @property
    def avatar(self) -> Avatar:
        """The points being fitted."""
        return self.learner.avatar

    def step(self, step: int, generator: torch.Generator) -> float:
        """One Adam step on a batch of frames that share a code; returns the loss."""
        self._schedule_rates(step)
        if not self.order:
            self.order = self.coded.batches(self.config.batch, generator, without=self.watched)
        index = torch.tensor(self.order.pop())
        share = (self.steps_before + step) / self.total_steps
        refine = self.config.refine_tracking and share >= self.config.refine_from
        rows = self.corrections.rows(index) if refine else self.corrections.tracked.rows(index)
        drive = rows.drive(self.avatar, motion_noise=self.config.motion_noise, generator=generator)
        loss, drawn = self._draw(index, drive, share)
        if refine:
            loss = loss + self.config.tracking_prior * self.corrections.prior(index) / len(index)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.learner.add_regulariser_gradients()
        self.optimizers[0].step()
        self.learner.clamp_parameters()
        if refine:
            self.optimizers[1].step()
            self.corrections.remove_shared()
        if self.avatar.offsets.grad is not None:
            self.gradient_length += self.avatar.offsets.grad.norm(dim=1)
        value = float(loss.detach())
        self.smoothed_loss = value if self.smoothed_loss == 0 else 0.98 * self.smoothed_loss + 0.02 * value
        mattes = self.frames.mattes[index]
        covered = float((drawn.alpha.detach() * mattes).sum() / mattes.sum().clamp(min=1))
        self.covered = 0.95 * self.covered + 0.05 * covered
        return value

    def check(self, loss: float, step: int) -> None:
        """Stop a fit that has gone wrong.

        Raises:
            PegasusError: DIVERGED where the loss is no number, a point has become huge, or the person is no longer covered.
        """
        wrong = ""
        if not math.isfinite(loss):
            wrong = f"the loss is {loss}"
        elif float(self.avatar.log_radii.detach().max()) > math.log(EXPLODED_RADIUS_METRES):
            wrong = f"a point is larger than {EXPLODED_RADIUS_METRES} m"
        elif self.covered < MIN_COVERED_SHARE:
            wrong = f"only {self.covered:.0%} of the person is covered"
        if wrong:
            message = f"{wrong} at step {self.steps_before + step}; lower fit.rates or look at the track"
            raise PegasusError(Reason.DIVERGED, message, subject=self.coded.source)

    def has_converged(self, step: int) -> bool:
        """Whether the loss on held-out frames has stopped falling; it is evaluated every `watch_every` steps."""
        every, patience = self.config.watch_every, self.config.patience
        if not every or step == 0 or step % every or len(self.watched) == 0:
            return False
        share = (self.steps_before + step) / self.total_steps
        with torch.no_grad():
            found = [
                float(self._draw(one, self.frames.drive(self.avatar, one), share)[0])
                for one in torch.split(self.watched, 1)
            ]
        self.watched_losses.append(sum(found) / len(found))
        if len(self.watched_losses) <= patience:
            return False
        recent, earlier = self.watched_losses[-patience:], self.watched_losses[:-patience]
        return min(recent) > (1 - MIN_RELATIVE_GAIN) * min(earlier)

    def _draw(self, index: Tensor, drive: Drive, share: float) -> tuple[Tensor, Rendering]:
        """The loss on frames `index` (B,), and how they were drawn."""
        points = self.learner.canonical(self.coded.code(index))
        normals = self.coded.pseudo_normals(index, self.frames.size)
        drawn = render_points(
            points,
            self.learner.rig,
            drive,
            self.frames.size,
            per_pixel=self.resolution.per_pixel,
            layers=Layers(normals=normals is not None, extra=self.learner.extra_features(points)),
        )
        images = self.frames.images[index]
        truth = Truth(
            images=images,
            mattes=self.frames.mattes[index],
            synthesised=self.coded.synthesised(index, self.frames.size),
            normals=normals,
            features=self.features.features(index, images) if self.features else None,
        )
        return self.learner.loss(drawn, points, truth, share), drawn

    def _schedule_rates(self, step: int) -> None:
        """Set the rates: they fall linearly to half within a resolution, and along a cosine to 3 % in the last one.

        Parameter groups marked `rests` have a rate of zero up to `codes_from`.
        """
        share = step / self.resolution.steps
        cosine = max(MIN_RATE_FACTOR, 0.5 * (1 + math.cos(math.pi * share)))
        factor = cosine if self.is_last else 1 - 0.5 * share
        resting = (self.steps_before + step) / self.total_steps < self.config.codes_from
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = 0.0 if resting and group.get("rests") else rate * factor
