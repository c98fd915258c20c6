"""The rig that all studio people share, and a person's shape on its identity axes.

Legend: K shape axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch

from pegasus_ray.rig.model import Rig
from pegasus_ray.rig.open_rig import load_open_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.studio.person import Person


@lru_cache(maxsize=1)
def studio_rig() -> Rig:
    """The open rig, loaded once a process."""
    return load_open_rig()


def shape_from_axes(axes: Mapping[str, float]) -> tuple[float, ...]:
    """The identity (K,) with the named axes set and all others zero.

    Raises:
        PegasusError: BAD_CONFIG where the rig has no axis of that name.
    """
    names = studio_rig().shape_names
    unknown = sorted(set(axes) - set(names))
    if unknown:
        raise PegasusError(Reason.BAD_CONFIG, f"the rig has no shape axis {unknown[0]!r}; see `pegasus rig info`")
    return tuple(float(axes.get(name, 0.0)) for name in names)


def shape_tensor(person: Person) -> torch.Tensor:
    """The person's identity, (1, K)."""
    return torch.tensor([person.shape], dtype=torch.float32)
