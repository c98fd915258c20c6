"""Measures how the landmark model's points drift over the skin as a head turns.

The model was trained on photographs and has systematic errors: it underestimates nods, and its outline of the face
slides. Here studio people of many shapes are drawn from many sides. The difference between the found and the true position of
a landmark is fitted as a smooth function of the direction from which the head is seen. `python -m
pegasus_ray.evaluate.measure_drift` stores the result with the landmarks' places. None of the people of the examinations is used.

Legend: T pictures, L landmarks, D = 6 terms of the view (`view_terms`), K identity axes, E expressions.
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
from pegasus_ray.studio.film.frame import PersonRenderer
from pegasus_ray.studio.identity import shape_tensor, studio_rig
from pegasus_ray.studio.motion import perform, pose_stills
from pegasus_ray.studio.sampling import sample_person

SEEDS: Final = range(201, 237)
"""Seeds of the people who are drawn."""
VIEWS_PER_PERSON: Final = 12
"""Pictures of each person."""
SIDE_PIXELS: Final = 256
"""Side of the pictures."""
MAX_TURN_RADIANS: Final = (0.38, 0.75, 0.2)
"""Greatest pitch, yaw and roll of the head."""
RIDGE_PICTURES: Final = 1.0
"""Strength of the shrinkage towards no drift, in pictures: a term that fewer pictures show is mostly shrunk away."""
REWEIGHTING_ROUNDS: Final = 4
"""Iterations of the reweighted least squares."""
INLIER_MEDIANS: Final = 1.5
"""Residual, in medians of the landmark's residuals, beyond which a picture counts less."""
IDENTITY_RIDGE_SQUARE_METRES: Final = 1e-5
"""Identity axes whose squared displacements, summed over all landmarks, are less than this explain next to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A picture whose truth is known, and the landmarks that the model finds in it."""

    shape: Tensor  # (K,)
    expression: Tensor  # (E,)
    head: Tensor  # (6,) rotation vector and translation
    focal: float  # sides
    off: Tensor  # (L, 2) found minus true, sides


def fit_drift(rig: Rig, sightings: list[Sighting]) -> Tensor:
    """The drift (D, L, 3), metres in rig space, that explains the sightings best, by robust and regularised least squares.

    The part of the constant term that identity axes can express is removed: rendered people cannot tell whether the model sees
    all faces as wider, or only rendered ones.
    """
    points = BoundPoints.of(rig, rig.landmarks.triangles, rig.landmarks.barycentric)
    off, design = _offsets_and_views(rig, points, sightings)
    found = _fit_robustly(off, design)
    known = rig.landmarks.weights > 0
    drift = torch.where(known[:, None], found, 0.0).reshape(len(found), -1, 3).transpose(0, 1)
    axes = points.shape_basis[:, known].flatten(1)  # (K, 3L)
    constant = drift[0, known].flatten()
    identity = torch.linalg.solve(axes @ axes.T + IDENTITY_RIDGE_SQUARE_METRES * torch.eye(len(axes)), axes @ constant)
    drift[0, known] = (constant - identity @ axes).reshape(-1, 3)
    return drift * torch.tensor([1.0, -1.0, -1.0])


def _offsets_and_views(rig: Rig, points: BoundPoints, sightings: list[Sighting]) -> tuple[Tensor, Tensor]:
    """The landmarks' offsets in metres (T, L, 2), and the linear map (T, 2, 3D) from a landmark's drift to its offset."""
    head = torch.stack([sighting.head for sighting in sightings])
    state = State(
        rotation=rodrigues(head[:, :3]),
        translation=head[:, 3:],
        expression=torch.stack([sighting.expression for sighting in sightings]),
        shape=torch.zeros(len(rig.shape_names)),
        log_focal=0.0,
    )
    by_shape = torch.einsum("tk,knc->tnc", torch.stack([s.shape for s in sightings]), points.shape_basis)
    depth = points.place(state)[1][..., 2] + torch.einsum("tnc,tc->tn", by_shape, state.rotation[:, 2])
    focal = torch.tensor([sighting.focal for sighting in sightings])
    off = torch.stack([s.off for s in sightings]) * (depth / focal[:, None])[..., None]
    terms = view_terms(state.rotation, state.translation)[0]  # (T, D)
    return off, torch.einsum("tpc,td->tpdc", state.rotation[:, :2], terms).flatten(2)


def _fit_robustly(off: Tensor, design: Tensor) -> Tensor:
    """The drift of each landmark (L, 3D) by ridge regression, reweighted so that pictures with great residuals count less."""
    weight = torch.ones(off.shape[:2])
    ridge = RIDGE_PICTURES * torch.eye(design.shape[2])
    found = torch.zeros(off.shape[1], design.shape[2])
    for _ in range(REWEIGHTING_ROUNDS):
        squares = torch.einsum("tpi,tpj,tl->lij", design, design, weight) + ridge
        found = torch.linalg.solve(squares, torch.einsum("tpi,tlp,tl->li", design, off, weight))
        residual = (off - torch.einsum("tpi,li->tlp", design, found)).norm(dim=2)
        weight = 1 / (residual / (INLIER_MEDIANS * residual.median(0).values + 1e-6)).clamp(min=1)
    return found


def draw_sightings(detector: FaceMesh, seed: int) -> Iterator[Sighting]:
    """Draw a person with random expressions from random sides; pictures in which the detector finds no face are left out."""
    somebody = sample_person(seed)
    performed = perform(somebody, 15 * VIEWS_PER_PERSON).expression[7::15]  # more than a second between the pictures
    turns = np.random.default_rng([seed, 99]).uniform(-1, 1, (VIEWS_PER_PERSON, 3))  # shares of the greatest angles
    turns[:, :2] /= np.maximum(np.hypot(turns[:, 0], turns[:, 1]), 1)[:, None]
    names = studio_rig().expression_names
    faces = [dict(zip(names, row.tolist(), strict=True)) for row in performed]
    vectors = np.rad2deg(Rotation.from_euler("xyz", turns * np.array(MAX_TURN_RADIANS)).as_rotvec())
    posed = pose_stills(faces, [(float(x), float(y), float(z)) for x, y, z in vectors])
    studio = PersonRenderer.of(somebody, SIDE_PIXELS, detail=0.5)
    for view in range(VIEWS_PER_PERSON):
        frame = studio.render(posed, view)
        face = detector.detect(frame.image)
        if face is not None:
            yield Sighting(
                shape=shape_tensor(somebody)[0],
                expression=posed.expression[view],
                head=posed.head[view],
                focal=float(posed.camera[0]),
                off=torch.from_numpy(face.points / SIDE_PIXELS - frame.landmarks).float(),
            )


def main() -> None:
    """Measure the drift on the open rig, and write it to the package's file of landmark places."""
    rig, detector = load_open_rig(), FaceMesh()
    sightings = [sighting for seed in SEEDS for sighting in draw_sightings(detector, seed)]
    save_embedding(replace(rig.landmarks, drift=fit_drift(rig, sightings)), rig)
    sys.stdout.write(
        f"drift of {rig.landmarks.weights.count_nonzero()} landmarks by {len(sightings)} pictures in {EMBEDDING}\n"
    )


if __name__ == "__main__":
    main()
