"""One resolution of a fit: the optimisers, and a step on a batch of frames that share a code.

Legend: T frames, B a batch of them, N points, E expressions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pegasus_ray.avatar.fit.coded_frames import Clips, Looking
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.explicit_learner import Learner, Truth
from pegasus_ray.avatar.fit.residuals import Residuals
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import Drive, Rendering, render_points
from pegasus_ray.avatar.points.frames import FrameSet
from pegasus_ray.schemas.errors import PegasusError, Reason

LARGEST_RADIUS = 0.1
"""Of a point, in metres: beyond it the fit has exploded."""

LEAST_COVERED = 0.2
"""Share of the mattes that points must cover, over the last steps: below it the face is lost."""

WATCHED = 20
"""Of so many frames, one is held out of the fit where the fit watches its own curve."""

LEAST_GAIN = 0.005
"""What the loss on held-out frames must fall by, of itself, not to count as flat."""


class StageRun:
    """A model being fitted at one resolution."""

    def __init__(
        self,
        learner: Learner,
        residuals: Residuals,
        frames: FrameSet,
        config: FitConfig,
        number: int,
        *,
        clips: Clips | None = None,
        looking: Looking | None = None,
    ) -> None:
        self.learner, self.frames, self.config = learner, frames, config
        self.clips = clips or Clips.single(len(frames))
        self.looking = looking
        self.stage = config.stages[number]
        self.last = number == len(config.stages) - 1
        steps = [stage.steps for stage in config.stages]
        self.before, self.total = sum(steps[:number]), sum(steps)
        self.residuals = residuals
        self.pull = torch.zeros(len(learner.avatar), device=learner.avatar.offsets.device)
        self.order: list[list[int]] = []
        self.smooth, self.covered = 0.0, 1.0
        self.watch: list[float] = []
        watched = range(WATCHED // 2, len(frames), WATCHED) if config.watch_every else ()
        self.watched = torch.tensor(list(watched), dtype=torch.int64)
        rates = config.rates
        refined = [{"params": [value], "lr": getattr(rates, name)} for name, value in residuals.leaves().items()]
        self.optimizers = (
            torch.optim.Adam(learner.groups(rates), betas=(0.9, 0.99), fused=True),
            torch.optim.Adam(refined, betas=(0.6, 0.9)),
        )
        self.rates = [[float(group["lr"]) for group in optimizer.param_groups] for optimizer in self.optimizers]

    @property
    def avatar(self) -> Avatar:
        """The points being fitted."""
        return self.learner.avatar

    def step(self, step: int, generator: torch.Generator) -> float:
        """One Adam step on a batch of frames that share a code; returns the loss."""
        self._schedule(step)
        if not self.order:
            self.order = self.clips.batches(self.config.batch, generator, without=self.watched)
        index = torch.tensor(self.order.pop())
        share = (self.before + step) / self.total
        refine = self.config.refine_tracking and share >= self.config.refine_from
        rows = self.residuals.rows(index) if refine else self.residuals.tracked.rows(index)
        drive = rows.drive(self.avatar, motion_noise=self.config.motion_noise, generator=generator)
        loss, drawn = self._look(index, drive, share)
        if refine:
            loss = loss + self.config.tracking_prior * self.residuals.prior(index) / len(index)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.learner.shrink()
        self.optimizers[0].step()
        self.learner.bound()
        if refine:
            self.optimizers[1].step()
            self.residuals.centre()
        if self.avatar.offsets.grad is not None:
            self.pull += self.avatar.offsets.grad.norm(dim=1)
        value = float(loss.detach())
        self.smooth = value if self.smooth == 0 else 0.98 * self.smooth + 0.02 * value
        mattes = self.frames.mattes[index]
        found = float((drawn.alpha.detach() * mattes).sum() / mattes.sum().clamp(min=1))
        self.covered = 0.95 * self.covered + 0.05 * found
        return value

    def check(self, value: float, step: int) -> None:
        """Raise PegasusError DIVERGED where the loss is no number, points have become huge, or the person is lost."""
        wrong = ""
        if not math.isfinite(value):
            wrong = f"the loss is {value}"
        elif float(self.avatar.log_radii.detach().max()) > math.log(LARGEST_RADIUS):
            wrong = f"a point is larger than {LARGEST_RADIUS} m"
        elif self.covered < LEAST_COVERED:
            wrong = f"only {self.covered:.0%} of the person is covered"
        if wrong:
            message = f"{wrong} at step {self.before + step}; lower fit.rates or look at the track"
            raise PegasusError(Reason.DIVERGED, message, subject=self.clips.source)

    def flat(self, step: int) -> bool:
        """Whether the loss on the frames held out of the fit has stopped falling; looks at them every `watch_every` steps."""
        every = self.config.watch_every
        if not every or step == 0 or step % every or len(self.watched) == 0:
            return False
        share = (self.before + step) / self.total
        with torch.no_grad():
            looks = [
                float(self._look(one, self.frames.drive(self.avatar, one), share)[0])
                for one in torch.split(self.watched, 1)
            ]
        self.watch.append(sum(looks) / len(looks))
        recent = self.watch[-self.config.patience :]
        return len(self.watch) > self.config.patience and min(recent) > (1 - LEAST_GAIN) * min(
            self.watch[: -self.config.patience]
        )

    def _look(self, index: Tensor, drive: Drive, share: float) -> tuple[Tensor, Rendering]:
        """The loss on frames `index`, and how they were drawn."""
        points, facing = self.learner.canonical(self.clips.code(index)), self.clips.facing(index, self.frames.size)
        drawn = render_points(
            points,
            self.learner.rig,
            drive,
            self.frames.size,
            per_pixel=self.stage.per_pixel,
            full=False,
            facing=facing is not None,
            extra=self.learner.extra(points),
        )
        images = self.frames.images[index]
        truth = Truth(
            images=images,
            mattes=self.frames.mattes[index],
            members=self.clips.members(index, self.frames.size),
            normals=facing,
            features=self.looking.features(index, images) if self.looking else None,
        )
        return self.learner.loss(drawn, points, truth, share), drawn

    def _schedule(self, step: int) -> None:
        """Rates fall to half in a stage, and along a cosine to 3 % in the last; codes rest at first."""
        share = step / self.stage.steps
        factor = max(0.03, 0.5 * (1 + math.cos(math.pi * share))) if self.last else 1 - 0.5 * share
        resting = (self.before + step) / self.total < self.config.codes_from
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = 0.0 if resting and group.get("rests") else rate * factor
