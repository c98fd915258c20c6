"""Where hair is rooted: random places on the skin, as dense as hair grows there.

Legend: R ribbons, F faces of the rig.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pegasus_ray.rig.model import Tissue
from pegasus_ray.schemas.parts import Part
from pegasus_ray.studio.arrays import Floats, Ints
from pegasus_ray.studio.figure.hair_growth import hairline, scalp_density
from pegasus_ray.studio.figure.skull import Skull


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """Places on the rig's skin that ribbons of hair grow from."""

    triangles: Ints  # (R,) faces of the rig
    barycentric: Floats  # (R, 3)
    template: Floats  # (R, 3) metres, where they lie on the template

    def __len__(self) -> int:
        return len(self.triangles)

    def on(self, skull: Skull) -> Floats:
        """Where they lie on a person's neutral skin, (R, 3) metres."""
        corners = skull.vertices[skull.rig.faces.numpy()[self.triangles]]
        return np.asarray(np.einsum("nc,ncd->nd", self.barycentric, corners), dtype=np.float32)


def scatter_roots(
    skull: Skull,
    rng: np.random.Generator,
    count: int,
    density: Floats,  # (F,)
) -> Roots:
    """`count` places drawn with a probability proportional to area × density."""
    faces, template = skull.rig.faces.numpy(), skull.rig.template.numpy()
    corners = template[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chance = area * density
    triangles = rng.choice(len(faces), count, p=chance / chance.sum()).astype(np.int64)
    barycentric = rng.dirichlet([1, 1, 1], count).astype(np.float32)
    places = np.einsum("nc,ncd->nd", barycentric, corners[triangles]).astype(np.float32)
    return Roots(triangles=triangles, barycentric=barycentric, template=places)


def scalp_roots(skull: Skull, rng: np.random.Generator, count: int) -> Roots:
    """At most `count` places on the scalp: three times as many are drawn, and each is kept with the hair's density there."""
    rig = skull.rig
    on_scalp = ((rig.tissue == Tissue.SKIN) & (rig.parts != Part.EARS)).numpy().astype(np.float32)
    corners = rig.template.numpy()[rig.faces.numpy()]
    on_scalp *= (hairline(corners.reshape(-1, 3)).reshape(-1, 3).max(1) > -0.004) & (corners[..., 1].min(1) > -0.11)
    drawn = scatter_roots(skull, rng, 3 * count, on_scalp)
    places = drawn.template
    kept = rng.random(3 * count) < scalp_density(places) * (skull.ear_distance(places) > 0.006)
    chosen = np.flatnonzero(kept)[:count]
    return Roots(
        triangles=drawn.triangles[chosen], barycentric=drawn.barycentric[chosen], template=drawn.template[chosen]
    )
