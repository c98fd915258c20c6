"""Fitting fields: the preset `paper` behind the protocol of the fitting loop.

Legend: B frames, N points, E expressions, Q pose features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.avatar import SURE_OPACITY, FieldAvatar, canonical_homes
from pegasus_ray.avatar.fields.points import FieldPoints
from pegasus_ray.avatar.fit import field_losses, losses
from pegasus_ray.avatar.fit.config import FitConfig, LearningRates
from pegasus_ray.avatar.fit.explicit_learner import Groups, Truth, leaf
from pegasus_ray.avatar.fit.perceptual import look, perceptual_loss
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints, Rendering
from pegasus_ray.avatar.points.neighbours import nearest
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

RADIUS_DECAY = 0.75
"""What is left of the radius when the points double."""


DISCS = ("log_radii", "opacity_logits")
"""What the points' discs are, beside where."""

FREE_OPACITY = 3.0
"""Logit of their opacity where a fit begins and may change it: nearly opaque, and yet with a slope."""

PRIOR_STRIDE = 8
"""The bases of every eighth point are held to the rig's: the fields are smooth, and between them they are held too."""

SETTLED = 4096
"""Points of a step of `FieldLearner.settle`."""


class FieldLearner:
    """Networks and codes, and the generic canonical places (learned too) at which they are evaluated."""

    def __init__(
        self, fields: FieldAvatar, avatar: Avatar, rig: Rig, config: FitConfig, network: nn.Module | None
    ) -> None:
        self.fields, self.rig, self.config, self.network = fields, rig, config, network
        self.avatar = avatar.with_tensors({name: leaf(getattr(avatar, name)) for name in self._free(config)})
        self.anchors = avatar.anchors(rig)
        self.homes = canonical_homes(rig, avatar.triangles, avatar.barycentric)

    @staticmethod
    def _free(config: FitConfig) -> tuple[str, ...]:
        """The tensors of the points that are learned beside the networks."""
        assert config.fields is not None
        return ("offsets", *(DISCS if config.fields.free_discs else ()))

    @staticmethod
    def start(
        avatar: Avatar,
        rig: Rig,
        config: FitConfig,
        generator: torch.Generator,
        *,
        choices: Mapping[str, int] | None = None,
        network: nn.Module | None = None,
    ) -> FieldLearner:
        """New networks over points, which get radii that leave no holes and become opaque, or nearly so where they are free."""
        assert config.fields is not None
        radii = covering_radii(avatar.roots(rig) + avatar.offsets)
        opacity = FREE_OPACITY if config.fields.free_discs else SURE_OPACITY
        even = replace(avatar, log_radii=radii.log(), opacity_logits=torch.full_like(avatar.opacity_logits, opacity))
        fields = FieldAvatar(rig, even, config.fields, generator, choices=choices).to(avatar.offsets.device)
        return FieldLearner(fields, even, rig, config, network)

    def settle(self, steps: int, generator: torch.Generator) -> None:
        """Fit the canonical field to what is known of the points before any picture is drawn: far cheaper than drawing.

        Known are the colours of the pixels in which points were seen, the rig's normals on skin, and where the surface is.
        """
        weights, field = self.config.field_weights, self.fields.field
        rates, tables = self.config.rates, self._tables()
        networks = [parameter for parameter in field.parameters() if parameter not in tables]
        groups = [{"params": networks, "lr": rates.networks}, *({"params": [one], "lr": rates.grid} for one in tables)]
        optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
        places, code = self.homes + self.avatar.offsets.detach(), self.fields.codes({}).detach()
        skin = torch.softmax(self.avatar.part_logits, dim=-1)[:, Part.SKIN]
        for _ in range(steps):
            rows = torch.randperm(len(places), generator=generator)[:SETTLED].to(places.device)
            values = field(places[rows], code)
            unit = nn.functional.normalize(values.gradient, dim=-1)
            loss = (
                weights.colour * losses.colour_loss(values.albedo, self.avatar.albedo[rows])
                + weights.eikonal * field_losses.eikonal_loss(values.gradient)
                + weights.surface * field_losses.surface_loss(values.distance)
                + weights.normal * field_losses.normal_loss(unit, self.anchors.normals[rows], skin[rows])
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    def canonical(self, code: Mapping[str, int]) -> FieldPoints:
        """All networks but the shading, at all points."""
        return self.fields.canonical(self.avatar, self.homes, self.anchors, code)

    def extra(self, points: CanonicalPoints) -> Tensor | None:
        """χ."""
        assert isinstance(points, FieldPoints)
        return torch.sigmoid(points.membership)[:, None]

    def loss(self, drawn: Rendering, points: CanonicalPoints, truth: Truth, share: float) -> Tensor:
        """All terms of §4.3."""
        assert isinstance(points, FieldPoints)
        weights, features = self.config.field_weights, self.fields.features
        known = features + self.fields.expressions
        scale = field_losses.prior_scale(share, weights.prior_start, weights.prior_halvings)
        missing = 0.0 if self.fields.config.anchored else 1.0  # from nothing, the rig's own bases are to be learned too
        added = points.bases.at(PRIOR_STRIDE)
        own = (self.anchors.pose_basis[:, ::PRIOR_STRIDE], self.anchors.expression_basis[:, ::PRIOR_STRIDE])
        learned = (added[:features], added[features:known])
        bases = sum(
            field_losses.basis_prior_loss(one - missing * rigs, rigs) for one, rigs in zip(learned, own, strict=True)
        )
        loss = (
            weights.colour * losses.colour_loss(drawn.image, truth.images)
            + weights.square * losses.square_loss(drawn.image, truth.images)
            + weights.edges * losses.edge_loss(drawn.image, truth.images)
            + weights.mask * losses.mask_loss(drawn.alpha, truth.mattes)
            + weights.eikonal * field_losses.eikonal_loss(points.gradient)
            + weights.surface * field_losses.surface_loss(points.distance)
            + scale * weights.basis_prior * bases
            + scale * weights.skinning_prior * field_losses.skinning_prior_loss(points.weight_change)
            + weights.motion * added[known:].square().sum() / max(added.shape[1], 1)
            + weights.code * losses.code_loss(torch.cat([block.flatten() for block in self.fields.codes.parameters()]))
        )
        if weights.normal > 0:
            skin = torch.softmax(points.part_logits, dim=-1)[:, Part.SKIN]
            unit = nn.functional.normalize(points.gradient, dim=-1)
            loss = loss + weights.normal * field_losses.normal_loss(unit, self.anchors.normals, skin)
        if truth.members is not None:
            loss = loss + weights.segment * losses.segment_loss(drawn.extra[..., 0], truth.members)
        if self.network is not None and truth.features is not None:
            seen = look(self.network, drawn.image.clamp(0, 1))
            loss = loss + weights.perceptual * perceptual_loss(seen, truth.features)
        return loss

    def groups(self, rates: LearningRates) -> Groups:
        """Places, networks, codes, which rest at first."""
        codes = set(self.fields.codes.parameters())
        apart = codes | self._tables()
        networks = [parameter for parameter in self.fields.parameters() if parameter not in apart]
        return [
            *({"params": [getattr(self.avatar, name)], "lr": getattr(rates, name)} for name in self._free(self.config)),
            {"params": networks, "lr": rates.networks},
            *({"params": [table], "lr": rates.grid} for table in self._tables()),
            {"params": list(self.fields.codes.parameters()), "lr": rates.codes, "rests": True},
        ]

    def _tables(self) -> set[nn.Parameter]:
        """The grid's entries, each of which few points know: they learn faster than what all share."""
        return set() if self.fields.field.grid is None else {self.fields.field.grid.table}

    def shrink(self) -> None:
        """Nothing: all terms are in the loss."""

    def bound(self) -> None:
        """Nothing: radii are not learned."""

    def grow(self, keep: Tensor, pull: Tensor, count: int, generator: torch.Generator) -> Avatar:
        """Each point gets a twin half a radius away, and all radii shrink to three quarters; at most `count` points."""
        kept = self.avatar.detach().select(keep)
        missing = min(count - len(kept), len(kept))
        if missing <= 0:
            return kept
        parents = torch.randperm(len(kept), generator=generator)[:missing].to(pull.device)
        share = missing / len(kept)  # a full doubling shrinks wholly, a part of one in part
        smaller = replace(kept, log_radii=kept.log_radii + share * math.log(RADIUS_DECAY))
        step = torch.rand(missing, 3, generator=generator).to(pull.device) * 2 - 1
        twins = smaller.select(parents)
        twins = replace(twins, offsets=twins.offsets + 0.5 * step * kept.log_radii[parents].exp()[:, None])
        both = smaller.select(torch.cat([torch.arange(len(kept), device=pull.device), parents]))
        return replace(both, offsets=torch.cat([smaller.offsets, twins.offsets]))

    def over(self, avatar: Avatar) -> FieldLearner:
        """The same networks at other places."""
        return FieldLearner(self.fields, avatar, self.rig, self.config, self.network)

    def state(self) -> dict[str, Tensor]:
        """The networks and codes."""
        return self.fields.state_dict()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self.fields.load_state_dict(dict(state))


def covering_radii(
    places: Tensor,  # (N, 3) metres
    *,
    neighbours: int = 6,
) -> Tensor:
    """Radii (N,) with which discs leave no holes: as far as the nearest few neighbours, and at most twice the median of that."""
    radii = nearest(places, places, neighbours + 1)[0][:, -1]
    return radii.clamp(min=1e-4, max=2 * float(radii.median()))
