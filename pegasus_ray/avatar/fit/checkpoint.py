"""A fit's state on disk, so that a killed fit resumes exactly where it was.

A checkpoint is for the machine that wrote it, and is ignored where the configuration differs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.resolution import ResolutionRun
from pegasus_ray.avatar.fit.training_file import adam_tensors, read_state, restore_adam, tensors_under, write_state
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.tensors import avatar_tensors, rebuild_avatar

CHECKPOINT_FORMAT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A fit in the middle of a resolution."""

    avatar: Avatar
    model: dict[str, Tensor]  # what is learned besides the points
    corrections: dict[str, Tensor]  # of the tracking
    stage: int  # number of the resolution
    step: int  # number of the next step at that resolution
    figures: dict[str, float]  # of the resolutions before it
    state: dict[str, Tensor]  # of the optimisers and the source of random numbers, and accumulated gradients
    order: list[list[int]]  # batches that are left of the epoch
    smoothed_loss: float
    covered: float
    watched_losses: list[float]

    def restore(self, run: ResolutionRun, generator: torch.Generator) -> None:
        """Bring a new run, and the source of random numbers, to where this checkpoint was taken."""
        generator.set_state(self.state["generator"])
        run.gradient_length = self.state["pull"].to(run.gradient_length.device)
        run.order = [list(batch) for batch in self.order]
        run.smoothed_loss, run.covered = self.smoothed_loss, self.covered
        run.watched_losses = list(self.watched_losses)
        for number, optimizer in enumerate(run.optimizers):
            restore_adam(optimizer, tensors_under(self.state, f"adam.{number}."))


def save_checkpoint(
    path: Path,
    run: ResolutionRun,
    generator: torch.Generator,
    config: FitConfig,
    *,
    stage: int,
    step: int,
    figures: dict[str, float],
) -> None:
    """Write the state before step `step` of resolution number `stage`."""
    tensors = {f"avatar.{name}": value for name, value in avatar_tensors(run.avatar).items()}
    tensors |= {f"residual.{name}": value for name, value in run.corrections.values.items()}
    tensors |= {f"model.{name}": value for name, value in run.learner.state().items()}
    tensors |= {"state.generator": generator.get_state(), "state.pull": run.gradient_length}
    for number, optimizer in enumerate(run.optimizers):
        tensors |= {f"state.adam.{number}.{name}": value for name, value in adam_tensors(optimizer).items()}
    facts = {
        "format": CHECKPOINT_FORMAT, "config": digest_of_config(config), "rig": run.avatar.rig,
        "stage": stage, "step": step, "figures": figures, "order": run.order,
        "smooth": run.smoothed_loss, "covered": run.covered, "watch": run.watched_losses,
    }  # fmt: skip
    write_state(path, tensors, facts)


def load_checkpoint(path: Path, config: FitConfig) -> Checkpoint | None:
    """The checkpoint at `path`, or None where there is none, it is broken, or it belongs to another configuration."""
    found = read_state(path)
    if found is None:
        return None
    tensors, facts = found
    if facts["format"] != CHECKPOINT_FORMAT or facts["config"] != digest_of_config(config):
        return None
    return Checkpoint(
        avatar=rebuild_avatar(facts["rig"], tensors_under(tensors, "avatar.")),
        model=tensors_under(tensors, "model."),
        corrections=tensors_under(tensors, "residual."),
        stage=int(facts["stage"]),
        step=int(facts["step"]),
        figures=dict(facts["figures"]),
        state=tensors_under(tensors, "state."),
        order=[[int(index) for index in batch] for batch in facts["order"]],
        smoothed_loss=float(facts["smooth"]),
        covered=float(facts["covered"]),
        watched_losses=[float(value) for value in facts["watch"]],
    )


def digest_of_config(config: object) -> str:
    """Short digest of a configuration dataclass, by which a state is matched to its configuration."""
    return hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode()).hexdigest()[:16]  # type: ignore[call-overload]
