"""A training state on disk: tensors and a few facts in one safetensors file that is replaced atomically. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps for each parameter."""


def write_state(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a state. The previous one stays whole until the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    solid = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    save_file(solid, half, metadata={"facts": json.dumps(dict(facts))})
    half.replace(path)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and facts of a state, or None where there is no file or it is broken."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            # Cloned for alignment: the last bit of a matrix product depends on where its operands lie in memory.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, facts  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError):
        return None


def tensors_under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix`, named without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def adam_tensors(optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """The optimiser's state as `<number of the parameter>.<name in ADAM_STATE>`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": moments[name] for index, moments in state.items() for name in ADAM_STATE}


def restore_adam(optimizer: torch.optim.Adam, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors of `adam_tensors` back into an optimiser over the same parameters."""
    described = optimizer.state_dict()
    indices = [index for group in described["param_groups"] for index in group["params"]]
    described["state"] = {
        index: {name: tensors[f"{index}.{name}"] for name in ADAM_STATE}
        for index in indices
        if f"{index}.step" in tensors
    }
    optimizer.load_state_dict(described)
