"""Measures how the landmark model's points drift over the skin as a head turns.

The model was trained on photographs and has habits: a head that nods seems to it to nod less, and its outline of the face
slides. Studio people of many shapes are drawn from many sides; where a landmark is found, less where its place on the
rig truly lies, is a smooth function of the side that the head shows. The result is kept with the landmarks' places:
`python -m pegasus_ray.evaluate.measure_drift`. None of the people that evaluations judge by takes part.

Legend: T pictures, L landmarks, D = 6 terms (`view_terms`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from pegasus_ray.perception.nets.landmarks import FaceMesh
from pegasus_ray.perception.tracking.rig_state import BoundPoints, State, view_terms
from pegasus_ray.rig.embedding import EMBEDDING, save_embedding
from pegasus_ray.rig.model import Rig, rodrigues
from pegasus_ray.rig.open_rig import load_open_rig
from pegasus_ray.studio.film.shot import Studio
from pegasus_ray.studio.motion import perform, still
from pegasus_ray.studio.people import person, shape_tensor, studio_rig

PEOPLE: Final = range(201, 237)  # seeds
VIEWS: Final = 12  # pictures a person
SIZE: Final = 256  # pixels
TURN: Final = (0.38, 0.75, 0.2)  # radians of pitch, yaw and roll at most
RIDGE: Final = 1.0  # a term needs about so many pictures to be believed
ROUNDS: Final = 4  # of reweighting
AXIS: Final = 1e-5  # square metres over all landmarks: an identity axis that moves them less explains nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A picture whose truth is known, and the landmarks that the model finds in it."""

    shape: Tensor  # (K,)
    expression: Tensor  # (E,)
    head: Tensor  # (6,)
    focal: float  # sides
    off: Tensor  # (L, 2) found less true, sides


def fit_drift(rig: Rig, sightings: list[Sighting]) -> Tensor:
    """The drift (D, L, 3), metres in rig space, that explains the sightings best; robust, and shrunk towards none.

    Of what does not change with the view, the part that an identity could be is left out: whether the model sees all
    faces as wider, or these people alone, drawn as they are, no drawn person can tell.
    """
    head = torch.stack([sighting.head for sighting in sightings])
    state = State(
        rotation=rodrigues(head[:, :3]),
        translation=head[:, 3:],
        expression=torch.stack([sighting.expression for sighting in sightings]),
        shape=torch.zeros(len(rig.shape_names)),
        log_focal=0.0,
    )
    points = BoundPoints.of(rig, rig.landmarks.triangles, rig.landmarks.barycentric)
    own = torch.einsum("tk,knc->tnc", torch.stack([s.shape for s in sightings]), points.shape_basis)
    depth = points.place(state)[1][..., 2] + torch.einsum("tnc,tc->tn", own, state.rotation[:, 2])
    focal = torch.tensor([sighting.focal for sighting in sightings])
    off = torch.stack([s.off for s in sightings]) * (depth / focal[:, None])[..., None]  # (T, L, 2) metres
    design = torch.einsum(
        "tpc,td->tpdc", state.rotation[:, :2], view_terms(state.rotation, state.translation)[0]
    ).flatten(2)  # (T, 2, 3D)
    weight = torch.ones(off.shape[:2])
    ridge = RIDGE * torch.eye(design.shape[2])
    found = torch.zeros(off.shape[1], design.shape[2])
    for _ in range(ROUNDS):
        squares = torch.einsum("tpi,tpj,tl->lij", design, design, weight) + ridge
        found = torch.linalg.solve(squares, torch.einsum("tpi,tlp,tl->li", design, off, weight))
        miss = (off - torch.einsum("tpi,li->tlp", design, found)).norm(dim=2)
        weight = 1 / (miss / (1.5 * miss.median(0).values + 1e-6)).clamp(min=1)
    known = rig.landmarks.weights > 0
    drift = torch.where(known[:, None], found, 0.0).reshape(len(found), -1, 3).transpose(0, 1)
    axes = points.shape_basis[:, known].flatten(1)  # (K, 3L)
    constant = drift[0, known].flatten()
    identity = torch.linalg.solve(axes @ axes.T + AXIS * torch.eye(len(axes)), axes @ constant)
    drift[0, known] = (constant - identity @ axes).reshape(-1, 3)
    return drift * torch.tensor([1.0, -1.0, -1.0])


def sight(detector: FaceMesh, seed: int) -> Iterator[Sighting]:
    """Pictures of a person of that seed, from sides and with faces at random."""
    somebody = person(seed)
    performed = perform(somebody, 15 * VIEWS).expression[7::15]  # a second and more between the pictures
    draw = np.random.default_rng([seed, 99]).uniform(-1, 1, (VIEWS, 3))
    draw[:, :2] /= np.maximum(np.hypot(draw[:, 0], draw[:, 1]), 1)[:, None]
    names = studio_rig().expression_names
    faces = [dict(zip(names, row.tolist(), strict=True)) for row in performed]
    turns = np.rad2deg(Rotation.from_euler("xyz", draw * np.array(TURN)).as_rotvec())
    posed = still(faces, [(float(x), float(y), float(z)) for x, y, z in turns])
    studio = Studio.of(somebody, SIZE, detail=0.5)
    for view in range(VIEWS):
        frame = studio.frame(posed, view)
        face = detector.detect(frame.image)
        if face is not None:
            yield Sighting(
                shape=shape_tensor(somebody)[0],
                expression=posed.expression[view],
                head=posed.head[view],
                focal=float(posed.camera[0]),
                off=torch.from_numpy(face.points / SIZE - frame.landmarks).float(),
            )


def main() -> None:
    """Measures the open rig's drift and writes it where the package keeps its landmarks' places."""
    rig, detector = load_open_rig(), FaceMesh()
    sightings = [sighting for seed in PEOPLE for sighting in sight(detector, seed)]
    save_embedding(replace(rig.landmarks, drift=fit_drift(rig, sightings)), rig)
    sys.stdout.write(
        f"drift of {rig.landmarks.weights.count_nonzero()} landmarks by {len(sightings)} pictures in {EMBEDDING}\n"
    )


if __name__ == "__main__":
    main()
