"""What is learned of a generative avatar's points: their state at the zero code, and how it changes with the code.

Legend: n points of a block, D numbers a code, F numbers a point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pegasus_ray.avatar.fit.learner import ParameterGroups, leaf
from pegasus_ray.avatar.generative.avatar import STATE, CodedPoints, GenerativeAvatar
from pegasus_ray.schemas.parts import Attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerativeRates:
    """Adam's rates, a step."""

    state: float = (
        0.1  # times `STATE_RATES`: the points at the zero code; at higher rates the person's own picture gets worse
    )
    basis: float = 0.1  # times `STATE_RATES`: what a unit of the code changes
    codes: float = 1e-4


STATE_RATES = {"offsets": 1e-4, "log_radii": 6e-3, "opacity_logits": 2e-2, "albedo": 6e-3}
"""Adam's rate for each number of a point's state, before the factor in `GenerativeRates`: metres, log metres, logits, colour."""


class CodedParameters:
    """A generative avatar's tensors as leaves of the autograd graph.

    Bases are stored in units of `STATE_RATES`, so that one learning rate suits all their numbers.

    Args:
        start: where it begins.
        codes: leaves to use instead of its codes, by block; the identity's block is None.
    """

    def __init__(self, start: GenerativeAvatar, codes: Mapping[Attribute | None, Tensor] | None = None) -> None:
        self.unit = torch.cat([torch.full((width,), STATE_RATES[name]) for name, width in STATE.items()])
        coded: list[tuple[Attribute | None, CodedPoints]] = [(None, start.identity), *start.blocks.items()]
        self.parts: dict[Attribute | None, CodedPoints] = {}
        for attribute, part in coded:
            state = {name: leaf(getattr(part.points, name)) for name in STATE}
            own = (codes or {}).get(attribute)
            self.parts[attribute] = replace(
                part,
                points=part.points.with_tensors(state),
                basis=leaf(part.basis / self.unit),
                codes=leaf(part.codes) if own is None else own,
            )

    def groups(self, rates: GenerativeRates) -> ParameterGroups:
        """Parameter groups of all leaves but the codes; a checkpoint relies on their order."""
        groups: ParameterGroups = []
        for part in self.parts.values():
            groups += [
                {"params": [getattr(part.points, name)], "lr": rates.state * STATE_RATES[name]} for name in STATE
            ]
            groups.append({"params": [part.basis], "lr": rates.basis})
        return groups

    def graph(self) -> GenerativeAvatar:
        """The avatar as a function of what is learned."""
        parts = {attribute: replace(part, basis=part.basis * self.unit) for attribute, part in self.parts.items()}
        identity = parts.pop(None)
        return GenerativeAvatar(identity=identity, blocks={a: part for a, part in parts.items() if a is not None})

    def avatar(self) -> GenerativeAvatar:
        """The avatar as it stands, outside of any graph."""
        whole = self.graph()
        return GenerativeAvatar(
            identity=_detached(whole.identity), blocks={a: _detached(part) for a, part in whole.blocks.items()}
        )


def _detached(part: CodedPoints) -> CodedPoints:
    """The same points outside of any graph."""
    return replace(part, points=part.points.detach(), basis=part.basis.detach(), codes=part.codes.detach())
