"""Shape noise: smooth displacements of a head that no identity axis of the rig can express.

A real face lies near the span of the rig's axes, not in it. The noise makes that so for studio people too, so that a fit of the
rig to them leaves the same kind of residual.

Legend: V vertices of the rig, K shape axes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part
from pegasus_ray.studio.arrays import Floats

WAVES: Final = 32  # plane waves that the noise is a sum of
WAVELENGTHS_METRES: Final = (0.05, 0.13)
MIN_EIGENVALUE_SHARE: Final = 1e-9  # of the largest: axes that hardly move the head are not projected out


def shape_noise(
    seed: int,
    strength: float,  # metres, root mean square over the face
    rig: Rig,
) -> Floats:
    """Smooth offsets (V, 3) in metres, orthogonal to every identity axis and to rigid motions of the head.

    They fade out down the neck, so that the torso stays in place.
    """
    if strength == 0:
        return np.zeros_like(rig.template.numpy())
    places = rig.template.numpy().astype(np.float64)
    rng = np.random.default_rng([seed, 13])
    direction = rng.standard_normal((WAVES, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    wave = 2 * np.pi * direction / rng.uniform(*WAVELENGTHS_METRES, (WAVES, 1))
    swing, phase = rng.standard_normal((WAVES, 3)), rng.uniform(0, 2 * np.pi, WAVES)
    raw = np.cos(places @ wave.T + phase) @ swing

    fade = _head_share(rig)
    axes = np.concatenate([rig.shape_basis.numpy().astype(np.float64), _rigid_motions(places)]).reshape(-1, raw.size)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    faded = axes * np.repeat(fade, 3)
    shares = np.linalg.pinv(axes @ faded.T, rcond=MIN_EIGENVALUE_SHARE, hermitian=True) @ (faded @ raw.ravel())
    own = fade[:, None] * (raw - (shares @ axes).reshape(-1, 3))
    face = _face_vertices(rig)
    return np.asarray(own * (strength / np.sqrt((own[face] ** 2).sum(1).mean())), dtype=np.float32)


def _head_share(rig: Rig) -> npt.NDArray[np.float64]:
    """Share of each vertex's skinning weights that is neither torso nor neck, (V,) 0–1."""
    still = [rig.joint_names.index(name) for name in ("root", "neck")]
    return np.asarray(1 - rig.skin_weights.numpy()[:, still].astype(np.float64).sum(1))


def _rigid_motions(places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Displacements of all places by infinitesimal shifts and turns, (6, V, 3)."""
    shifts = np.broadcast_to(np.eye(3)[:, None], (3, len(places), 3))
    return np.concatenate([shifts, np.cross(shifts, places[None])])


def _face_vertices(rig: Rig) -> npt.NDArray[np.int64]:
    """Numbers of the vertices of the face, in front of the ears."""
    facial = np.isin(rig.parts.numpy(), (Part.SKIN, Part.NOSE, Part.MOUTH, Part.EYEBROWS))
    vertices = np.unique(rig.faces.numpy()[facial])
    place = rig.template.numpy()[vertices]
    return np.asarray(vertices[(place[:, 2] > -0.07) & (np.abs(place[:, 1] + 0.03) < 0.10)], dtype=np.int64)
