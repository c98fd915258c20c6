"""Fitting fields: the preset `paper` behind the protocol of the fitting loop.

Legend: B frames, N points, E expressions, Q pose features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.avatar import OPAQUE_LOGIT, FieldAvatar, canonical_roots
from pegasus_ray.avatar.fields.points import FieldPoints
from pegasus_ray.avatar.fit import losses
from pegasus_ray.avatar.fit.config import FitConfig, LearningRates
from pegasus_ray.avatar.fit.learner import ParameterGroups, Truth, leaf
from pegasus_ray.avatar.fit.perceptual import extract_features, perceptual_loss
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints, Rendering
from pegasus_ray.avatar.points.neighbours import nearest
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

RADIUS_FACTOR = 0.75
"""Factor by which radii shrink when all points are doubled."""

DISC_TENSORS = ("log_radii", "opacity_logits")
"""The tensors of a point's disc that `free_discs` makes learnable."""

FREE_OPACITY_LOGIT = 3.0
"""Opacity logit of learnable discs at the start: nearly opaque, but low enough for the sigmoid to have a slope."""

PRIOR_STRIDE = 8
"""The bases of every eighth point are held to the rig's. The fields are smooth, so this holds those of points in between too."""

PRETRAINING_POINTS = 4096
"""Points in a step of `FieldLearner.pretrain`."""


class FieldLearner:
    """Networks and codes, and the points at which they are evaluated, whose generic canonical places are learned too.

    Args:
        fields: the networks and codes.
        avatar: the points.
        rig: the rig that they are bound to.
        config: weights, rates and sizes.
        network: of the perceptual term; without it there is no such term.
    """

    def __init__(
        self, fields: FieldAvatar, avatar: Avatar, rig: Rig, config: FitConfig, network: nn.Module | None
    ) -> None:
        self.fields, self.rig, self.config, self.network = fields, rig, config, network
        self.avatar = avatar.with_tensors({name: leaf(getattr(avatar, name)) for name in self.point_tensors(config)})
        self.anchors = avatar.anchors(rig)
        self.roots = canonical_roots(rig, avatar.triangles, avatar.barycentric)

    @staticmethod
    def point_tensors(config: FitConfig) -> tuple[str, ...]:
        """The tensors of the points that are learned beside the networks."""
        assert config.fields is not None
        return ("offsets", *(DISC_TENSORS if config.fields.free_discs else ()))

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
        """New networks over points.

        The points get radii that leave no holes. They become opaque, or nearly opaque where discs are learned.
        """
        assert config.fields is not None
        radii = covering_radii(avatar.roots(rig) + avatar.offsets)
        opacity = FREE_OPACITY_LOGIT if config.fields.free_discs else OPAQUE_LOGIT
        even = replace(avatar, log_radii=radii.log(), opacity_logits=torch.full_like(avatar.opacity_logits, opacity))
        fields = FieldAvatar(rig, even, config.fields, generator, choices=choices).to(avatar.offsets.device)
        return FieldLearner(fields, even, rig, config, network)

    def pretrain(self, steps: int, generator: torch.Generator) -> None:
        """Fit the canonical field to what is known of the points without drawing, which is far cheaper than a step that draws.

        Known are the mean colours of the pixels in which points were seen, the rig's normals on skin, and that points lie on the
        surface.
        """
        weights, field = self.config.field_weights, self.fields.field
        rates, tables = self.config.rates, self._grid_tables()
        networks = [parameter for parameter in field.parameters() if parameter not in tables]
        groups = [{"params": networks, "lr": rates.networks}, *({"params": [one], "lr": rates.grid} for one in tables)]
        optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
        places, code = self.roots + self.avatar.offsets.detach(), self.fields.codes({}).detach()
        skin = torch.softmax(self.avatar.part_logits, dim=-1)[:, Part.SKIN]
        for _ in range(steps):
            rows = torch.randperm(len(places), generator=generator)[:PRETRAINING_POINTS].to(places.device)
            values = field(places[rows], code)
            unit = nn.functional.normalize(values.gradient, dim=-1)
            loss = (
                weights.colour * losses.colour_loss(values.albedo, self.avatar.albedo[rows])
                + weights.eikonal * losses.eikonal_loss(values.gradient)
                + weights.surface * losses.surface_loss(values.distance)
                + weights.normal * losses.normal_loss(unit, self.anchors.normals[rows], skin[rows])
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    def canonical(self, code: Mapping[str, int]) -> FieldPoints:
        """All networks but the shading, evaluated at all points."""
        return self.fields.canonical(self.avatar, self.roots, self.anchors, code)

    def extra_features(self, points: CanonicalPoints) -> Tensor | None:
        """The membership χ of each point, for the segmentation term."""
        assert isinstance(points, FieldPoints)
        return torch.sigmoid(points.membership)[:, None]

    def loss(self, drawn: Rendering, points: CanonicalPoints, truth: Truth, share: float) -> Tensor:
        """All terms of §4.3."""
        assert isinstance(points, FieldPoints)
        weights, features = self.config.field_weights, self.fields.features
        known = features + self.fields.expressions
        scale = losses.prior_scale(share, weights.prior_start, weights.prior_halvings)
        missing = (
            0.0 if self.fields.config.anchored else 1.0
        )  # without anchors the networks learn the rig's own bases too
        added = points.bases.subsample(PRIOR_STRIDE)
        own = (self.anchors.pose_basis[:, ::PRIOR_STRIDE], self.anchors.expression_basis[:, ::PRIOR_STRIDE])
        learned = (added[:features], added[features:known])
        bases = sum(losses.basis_prior_loss(one - missing * rigs, rigs) for one, rigs in zip(learned, own, strict=True))
        loss = (
            weights.colour * losses.colour_loss(drawn.image, truth.images)
            + weights.square * losses.square_loss(drawn.image, truth.images)
            + weights.edges * losses.edge_loss(drawn.image, truth.images)
            + weights.mask * losses.mask_loss(drawn.alpha, truth.mattes)
            + weights.eikonal * losses.eikonal_loss(points.gradient)
            + weights.surface * losses.surface_loss(points.distance)
            + scale * weights.basis_prior * bases
            + scale * weights.skinning_prior * losses.skinning_prior_loss(points.weight_change)
            + weights.motion * added[known:].square().sum() / max(added.shape[1], 1)
            + weights.code * losses.code_loss(torch.cat([block.flatten() for block in self.fields.codes.parameters()]))
        )
        if weights.normal > 0:
            skin = torch.softmax(points.part_logits, dim=-1)[:, Part.SKIN]
            unit = nn.functional.normalize(points.gradient, dim=-1)
            loss = loss + weights.normal * losses.normal_loss(unit, self.anchors.normals, skin)
        if truth.synthesised is not None:
            loss = loss + weights.segment * losses.segment_loss(drawn.extra[..., 0], truth.synthesised)
        if self.network is not None and truth.features is not None:
            seen = extract_features(self.network, drawn.image.clamp(0, 1))
            loss = loss + weights.perceptual * perceptual_loss(seen, truth.features)
        return loss

    def parameter_groups(self, rates: LearningRates) -> ParameterGroups:
        """The points' tensors, the networks, the grid's table, and the codes, which are not stepped at first."""
        codes = set(self.fields.codes.parameters())
        apart = codes | self._grid_tables()
        networks = [parameter for parameter in self.fields.parameters() if parameter not in apart]
        return [
            *(
                {"params": [getattr(self.avatar, name)], "lr": getattr(rates, name)}
                for name in self.point_tensors(self.config)
            ),
            {"params": networks, "lr": rates.networks},
            *({"params": [table], "lr": rates.grid} for table in self._grid_tables()),
            {"params": list(self.fields.codes.parameters()), "lr": rates.codes, "rests": True},
        ]

    def _grid_tables(self) -> set[nn.Parameter]:
        """The hash grid's table, if there is one. Each entry is learned from few points, so it needs a larger rate."""
        return set() if self.fields.field.grid is None else {self.fields.field.grid.table}

    def add_regulariser_gradients(self) -> None:
        """Does nothing: all terms are in the loss."""

    def clamp_parameters(self) -> None:
        """Does nothing: no parameter is bounded."""

    def grow(self, keep: Tensor, gradient_length: Tensor, count: int, generator: torch.Generator) -> Avatar:
        """Give points a twin up to half a radius away along each axis, up to `count` points.

        When all points are doubled, all radii shrink by `RADIUS_FACTOR`; when only some are, by a power of it between 0 and 1.
        """
        kept = self.avatar.detach().select(keep)
        missing = min(count - len(kept), len(kept))
        if missing <= 0:
            return kept
        device = gradient_length.device
        parents = torch.randperm(len(kept), generator=generator)[:missing].to(device)
        share = missing / len(kept)
        smaller = replace(kept, log_radii=kept.log_radii + share * math.log(RADIUS_FACTOR))
        step = torch.rand(missing, 3, generator=generator).to(device) * 2 - 1
        twins = smaller.select(parents)
        twins = replace(twins, offsets=twins.offsets + 0.5 * step * kept.log_radii[parents].exp()[:, None])
        both = smaller.select(torch.cat([torch.arange(len(kept), device=device), parents]))
        return replace(both, offsets=torch.cat([smaller.offsets, twins.offsets]))

    def with_points(self, avatar: Avatar) -> FieldLearner:
        """The same networks at other points."""
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
    """Radii (N,) with which discs leave no holes: the distance to the last of `neighbours`, at most twice its median."""
    radii = nearest(places, places, neighbours + 1)[0][:, -1]
    return radii.clamp(min=1e-4, max=2 * float(radii.median()))
