"""A fit's state, so that a killed fit resumes exactly where it was.

A checkpoint is private to the machine that wrote it, and ignored when its configuration differs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from pegasus_ray.avatar.files.avatar import avatar_tensors, rebuild_avatar
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.stage import StageRun
from pegasus_ray.avatar.fit.training_file import adam_tensors, read_state, restore_adam, under, write_state
from pegasus_ray.avatar.points.avatar import Avatar

FORMAT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A fit in the middle of a stage."""

    avatar: Avatar
    model: dict[str, Tensor]  # what is learned beside the points
    residuals: dict[str, Tensor]
    stage: int
    step: int
    figures: dict[str, float]
    state: dict[str, Tensor]
    order: list[list[int]]
    smooth: float
    covered: float
    watch: list[float]

    def restore(self, run: StageRun, generator: torch.Generator) -> None:
        """Bring a fresh stage run, and the source of chance, to where this checkpoint was taken."""
        generator.set_state(self.state["generator"])
        run.pull = self.state["pull"].to(run.pull.device)
        run.order = [list(batch) for batch in self.order]
        run.smooth, run.covered, run.watch = self.smooth, self.covered, list(self.watch)
        for number, optimizer in enumerate(run.optimizers):
            restore_adam(optimizer, under(self.state, f"adam.{number}."))


def save_checkpoint(
    path: Path,
    run: StageRun,
    generator: torch.Generator,
    config: FitConfig,
    *,
    stage: int,
    step: int,
    figures: dict[str, float],
) -> None:
    """Write the state before `step` of `stage`."""
    tensors = {f"avatar.{name}": value for name, value in avatar_tensors(run.avatar).items()}
    tensors |= {f"residual.{name}": value for name, value in run.residuals.values.items()}
    tensors |= {f"model.{name}": value for name, value in run.learner.state().items()}
    tensors |= {"state.generator": generator.get_state(), "state.pull": run.pull}
    for number, optimizer in enumerate(run.optimizers):
        tensors |= {f"state.adam.{number}.{name}": value for name, value in adam_tensors(optimizer).items()}
    facts = {
        "format": FORMAT, "config": digest_of(config), "rig": run.avatar.rig, "stage": stage, "step": step,
        "figures": figures, "order": run.order, "smooth": run.smooth, "covered": run.covered, "watch": run.watch,
    }  # fmt: skip
    write_state(path, tensors, facts)


def load_checkpoint(path: Path, config: FitConfig) -> Checkpoint | None:
    """The checkpoint at `path`; nothing where there is none, it is broken, or it belongs to another configuration."""
    found = read_state(path)
    if found is None:
        return None
    tensors, facts = found
    if facts["format"] != FORMAT or facts["config"] != digest_of(config):
        return None
    return Checkpoint(
        avatar=rebuild_avatar(facts["rig"], under(tensors, "avatar.")),
        model=under(tensors, "model."),
        residuals=under(tensors, "residual."),
        stage=int(facts["stage"]),
        step=int(facts["step"]),
        figures=dict(facts["figures"]),
        state=under(tensors, "state."),
        order=[[int(index) for index in batch] for batch in facts["order"]],
        smooth=float(facts["smooth"]),
        covered=float(facts["covered"]),
        watch=[float(value) for value in facts["watch"]],
    )


def digest_of(config: object) -> str:
    """Short digest of a configuration dataclass: a state belongs to one."""
    return hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode()).hexdigest()[:16]  # type: ignore[call-overload]
