"""Invariants: the cluster files follow Ray's schema, name the installed version of Ray, and label spot nodes as such."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import ray
import ray.autoscaler
import yaml

ROOT = Path(__file__).parents[2]
SPOT = "ray.io/market-type"


def test_ray_up_takes_the_cluster() -> None:
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    for node in cluster["available_node_types"].values():
        is_spot = "InstanceMarketOptions" in node["node_config"]
        assert node["labels"][SPOT] == ("spot" if is_spot else "on-demand")
    (install,) = (command for command in cluster["setup_commands"] if "pip install" in command)
    assert "pytorch3d,diffusion" in install
    assert f"=={ray.__version__}" in install


def test_the_rayjob_runs_the_same_ray() -> None:
    spec = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text())["spec"]
    assert spec["rayClusterSpec"]["rayVersion"] == ray.__version__
    labels = [group["labels"][SPOT] for group in spec["rayClusterSpec"]["workerGroupSpecs"]]
    assert labels == ["spot", "on-demand"]
    assert f"=={ray.__version__}" in (ROOT / "deploy" / "Dockerfile").read_text()
