"""What is learned of a generative avatar's points: their state at the zero code, and how it changes with the code.

Legend: n points of a block, D numbers per code, F numbers per point.
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
    """Adam's learning rates. The first two are factors of `STATE_RATES`."""

    state: float = 0.1  # of the points at the zero code; at higher rates the person's own picture gets worse
    basis: float = 0.1  # of what a unit of the code changes
    codes: float = 1e-4


STATE_RATES = {"offsets": 1e-4, "log_radii": 6e-3, "opacity_logits": 2e-2, "albedo": 6e-3}
"""Adam's learning rate for each part of a point's state, before the factor: metres, log metres, logits, colour."""


class CodedParameters:
    """A generative avatar's tensors as leaves of the autograd graph.

    Bases are stored in units of `STATE_RATES`, so that one learning rate suits all their numbers.

    Args:
        start: the avatar before training.
        codes: leaves to use instead of its codes, by block; the identity's block is under the key None.
    """

    def __init__(self, start: GenerativeAvatar, codes: Mapping[Attribute | None, Tensor] | None = None) -> None:
        self.unit = torch.cat([torch.full((width,), STATE_RATES[name]) for name, width in STATE.items()])
        initial: list[tuple[Attribute | None, CodedPoints]] = [(None, start.identity), *start.blocks.items()]
        self.blocks: dict[Attribute | None, CodedPoints] = {}
        for attribute, block in initial:
            state = {name: leaf(getattr(block.points, name)) for name in STATE}
            given = (codes or {}).get(attribute)
            self.blocks[attribute] = replace(
                block,
                points=block.points.with_tensors(state),
                basis=leaf(block.basis / self.unit),
                codes=leaf(block.codes) if given is None else given,
            )

    def groups(self, rates: GenerativeRates) -> ParameterGroups:
        """Parameter groups of all leaves but the codes; a checkpoint relies on their order."""
        groups: ParameterGroups = []
        for block in self.blocks.values():
            groups += [
                {"params": [getattr(block.points, name)], "lr": rates.state * STATE_RATES[name]} for name in STATE
            ]
            groups.append({"params": [block.basis], "lr": rates.basis})
        return groups

    def graph(self) -> GenerativeAvatar:
        """The avatar as a function of what is learned."""
        blocks = {attribute: replace(block, basis=block.basis * self.unit) for attribute, block in self.blocks.items()}
        identity = blocks.pop(None)
        return GenerativeAvatar(identity=identity, blocks={a: block for a, block in blocks.items() if a is not None})

    def avatar(self) -> GenerativeAvatar:
        """The avatar as it is now, cut off from the autograd graph."""
        whole = self.graph()
        return GenerativeAvatar(
            identity=_detached(whole.identity), blocks={a: _detached(block) for a, block in whole.blocks.items()}
        )


def _detached(block: CodedPoints) -> CodedPoints:
    """The same points, cut off from the autograd graph."""
    return replace(block, points=block.points.detach(), basis=block.basis.detach(), codes=block.codes.detach())
