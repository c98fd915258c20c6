"""One resolution of a fit: the optimisers, and a step on one frame.

Legend: T frames, N points, E expressions.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar import losses
from pegasus_ray.avatar.config import FitConfig
from pegasus_ray.avatar.frames import FrameSet, Parameters
from pegasus_ray.avatar.model import Avatar
from pegasus_ray.avatar.points import render_points
from pegasus_ray.rig.model import Rig

LEARNED = ("offsets", "log_radii", "opacity_logits", "albedo", "position_basis", "colour_basis", "lights")
"""The avatar's tensors that a fit changes."""

METRES_A_RADIAN = {"head": 0.27, "torso": 0.2}
"""How far a translation moves where a rotation moves by a radian: both are steps of one optimiser."""


class Residuals:
    """Small corrections of the tracked parameters, a row a frame, in units that one learning rate suits."""

    def __init__(self, tracked: Parameters) -> None:
        self.tracked = tracked
        self.values = {name: torch.zeros_like(getattr(tracked, name)) for name in ("head", "torso", "expression")}

    def leaves(self) -> dict[str, Tensor]:
        """The corrections as leaves of a graph."""
        for name, value in self.values.items():
            self.values[name] = _leaf(value)
        return self.values

    def rows(self, index: Tensor) -> Parameters:
        """Corrected parameters of frames `index` (B,)."""
        rows = self.tracked.rows(index)
        corrected = {
            name: getattr(rows, name) + value[index] * self._unit(name, value) for name, value in self.values.items()
        }
        return replace(rows, **corrected)

    def corrected(self) -> Parameters:
        """All frames, outside of any graph."""
        everything = torch.arange(len(self.tracked), device=self.tracked.head.device)
        with torch.no_grad():
            return self.rows(everything)

    def prior(self, index: Tensor) -> Tensor:
        """How far frames `index` have strayed from their tracking."""
        head, torso, expression = (self.values[name][index].square() for name in ("head", "torso", "expression"))
        turn = 0.4 * head[:, :3].sum() + 1e-3 * torso[:, :3].sum()
        shift = 0.7 * head[:, 3:].sum() + 0.04 * torso[:, 3:].sum()
        return turn + shift + 1e-3 * expression.sum()

    @staticmethod
    def _unit(name: str, like: Tensor) -> Tensor:
        unit = torch.ones(like.shape[1], device=like.device)
        if name in METRES_A_RADIAN:
            unit[3:] = METRES_A_RADIAN[name]
        return unit


class StageRun:
    """An avatar being fitted at one resolution."""

    def __init__(
        self, avatar: Avatar, residuals: Residuals, rig: Rig, frames: FrameSet, config: FitConfig, number: int
    ) -> None:
        self.rig, self.frames, self.config = rig, frames, config
        self.stage = config.stages[number]
        self.last = number == len(config.stages) - 1
        self.avatar = avatar.with_tensors({name: _leaf(getattr(avatar, name)) for name in LEARNED})
        self.anchors = avatar.anchors(rig)
        self.residuals = residuals
        self.pull = torch.zeros(len(avatar), device=avatar.offsets.device)
        self.order: list[int] = []
        self.smooth = 0.0
        rates = config.rates
        learned = [{"params": [getattr(self.avatar, name)], "lr": getattr(rates, name)} for name in LEARNED]
        refined = [{"params": [leaf], "lr": getattr(rates, name)} for name, leaf in residuals.leaves().items()]
        self.optimizers = (
            torch.optim.Adam(learned, betas=(0.9, 0.99), fused=True),
            torch.optim.Adam(refined, betas=(0.6, 0.9)),
        )
        self.rates = [[float(group["lr"]) for group in optimizer.param_groups] for optimizer in self.optimizers]

    def step(self, step: int, generator: torch.Generator) -> float:
        """One Adam step on one frame; returns the loss."""
        self._schedule(step / self.stage.steps)
        if not self.order:
            self.order = torch.randperm(len(self.frames), generator=generator).tolist()
        index = torch.tensor([self.order.pop()])
        rows = self.residuals.rows(index) if self.config.refine_tracking else self.residuals.tracked.rows(index)
        drive = rows.drive(self.avatar, motion_noise=self.config.motion_noise, generator=generator)
        points = self.avatar.canonical(self.anchors)
        drawn = render_points(
            points,
            self.rig,
            drive,
            self.frames.size,
            per_pixel=self.stage.per_pixel,
            full=False,
            extra=self.avatar.offsets,
        )
        loss = self._loss(drawn.image, drawn.alpha, index)
        loss = loss + self.config.weights.relief * losses.relief_loss(drawn.extra, drawn.alpha)
        if self.config.refine_tracking:
            loss = loss + self.config.tracking_prior * self.residuals.prior(index)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._shrink()
        self.optimizers[0].step()
        if self.config.refine_tracking:
            self.optimizers[1].step()
        if self.avatar.offsets.grad is not None:
            self.pull += self.avatar.offsets.grad.norm(dim=1)
        value = float(loss.detach())
        self.smooth = value if self.smooth == 0 else 0.98 * self.smooth + 0.02 * value
        return value

    def _loss(self, image: Tensor, alpha: Tensor, index: Tensor) -> Tensor:
        weights, truth, matte = self.config.weights, self.frames.images[index], self.frames.mattes[index]
        return (
            weights.colour * losses.colour_loss(image, truth)
            + weights.edges * losses.edge_loss(image, truth)
            + weights.square * losses.square_loss(image, truth)
            + weights.mask * losses.mask_loss(alpha, matte)
        )

    def _shrink(self) -> None:
        """The squared norms of offsets and motion bases, by their gradients: no graph over a million numbers."""
        weights = self.config.weights
        for name, weight in (
            ("offsets", weights.offsets),
            ("position_basis", weights.position_basis),
            ("colour_basis", weights.colour_basis),
        ):
            value = getattr(self.avatar, name)
            if value.grad is not None:
                components = value.shape[0] if value.dim() == 3 else 1
                value.grad.add_(value.detach(), alpha=2 * weight * components / value.numel())

    def _schedule(self, share: float) -> None:
        """Rates fall to half in a stage, and along a cosine to 3 % in the last."""
        factor = max(0.03, 0.5 * (1 + math.cos(math.pi * share))) if self.last else 1 - 0.5 * share
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format).requires_grad_(True)
