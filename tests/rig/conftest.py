from __future__ import annotations

from pathlib import Path

import pytest

from pegasus_ray.rig.model import Rig
from pegasus_ray.rig.open_rig import load_open_rig


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    path: Path = tmp_path_factory.mktemp("rig") / "open.safetensors"
    return load_open_rig(path)
