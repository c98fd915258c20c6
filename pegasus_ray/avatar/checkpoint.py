"""A fit's state on disk, so that a killed fit resumes exactly where it was. Safetensors and JSON; nothing is unpickled.

A checkpoint is private to the machine that wrote it; it is replaced atomically, and ignored when its configuration differs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pegasus_ray.avatar.config import FitConfig
from pegasus_ray.avatar.model import Avatar
from pegasus_ray.avatar.stage import StageRun
from pegasus_ray.avatar.storage import avatar_tensors, rebuild_avatar

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A fit in the middle of a stage."""

    avatar: Avatar
    residuals: dict[str, Tensor]
    stage: int
    step: int
    figures: dict[str, float]
    state: dict[str, Tensor]
    order: list[int]
    smooth: float

    def restore(self, run: StageRun, generator: torch.Generator) -> None:
        """Bring a fresh stage run, and the source of chance, to where this checkpoint was taken."""
        generator.set_state(self.state["generator"])
        run.pull = self.state["pull"]
        run.order = list(self.order)
        run.smooth = self.smooth
        for number, optimizer in enumerate(run.optimizers):
            described = optimizer.state_dict()
            described["state"] = {
                index: {name: self.state[f"adam.{number}.{index}.{name}"] for name in ("step", "exp_avg", "exp_avg_sq")}
                for index in described["param_groups"][0]["params"]
                + [p for g in described["param_groups"][1:] for p in g["params"]]
                if f"adam.{number}.{index}.step" in self.state
            }
            optimizer.load_state_dict(described)


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
    """Write the state before `step` of `stage`; the previous checkpoint stays whole until this one is."""
    tensors = {f"avatar.{name}": value for name, value in avatar_tensors(run.avatar.detach()).items()}
    tensors |= {f"residual.{name}": value.detach() for name, value in run.residuals.values.items()}
    tensors |= {"state.generator": generator.get_state(), "state.pull": run.pull}
    for number, optimizer in enumerate(run.optimizers):
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"state.adam.{number}.{index}.{name}": value for name, value in moments.items()}
    about = {
        "format": FORMAT, "config": _digest(config), "rig": run.avatar.rig, "stage": stage, "step": step,
        "figures": figures, "order": run.order, "smooth": run.smooth,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, half, metadata={"about": json.dumps(about)}
    )
    half.replace(path)


def load_checkpoint(path: Path, config: FitConfig) -> Checkpoint | None:
    """The checkpoint at `path`, or nothing where there is none, it is broken, or it belongs to another configuration."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError):
        return None
    if about["format"] != FORMAT or about["config"] != _digest(config):
        return None

    def group(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    return Checkpoint(
        avatar=rebuild_avatar(about["rig"], group("avatar.")),
        residuals=group("residual."),
        stage=int(about["stage"]),
        step=int(about["step"]),
        figures=dict(about["figures"]),
        state=group("state."),
        order=[int(index) for index in about["order"]],
        smooth=float(about["smooth"]),
    )


def _digest(config: FitConfig) -> str:
    return hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode()).hexdigest()[:16]
