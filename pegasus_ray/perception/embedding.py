"""Measures where the landmark model's points lie on a rig.

The bare rig is rendered in plain colours as several people, from several directions, with the mouth shut and open. The
landmark model finds its points in the renders. Each point is cast back on the mesh; its position is the median over all renders.
The open rig's result is committed; after a change of its mesh it must be measured again:
`python -m pegasus_ray.perception.embedding`. An imported rig is measured when it is imported.

Legend: L landmarks, F faces, V vertices, P pixels.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
import trimesh
from scipy.spatial import cKDTree

from pegasus_ray.library.track import LANDMARKS
from pegasus_ray.perception.nets.landmarks import FaceMesh
from pegasus_ray.perception.nets.mesh_topology import FACE_OVAL, FIRST_IRIS, MOUTH
from pegasus_ray.rig.bake import brow_band
from pegasus_ray.rig.closest import Surface
from pegasus_ray.rig.embedding import EMBEDDING, save_embedding
from pegasus_ray.rig.makehuman import MakeHumanData
from pegasus_ray.rig.model import LandmarkEmbedding, Rig, Tissue
from pegasus_ray.rig.open_rig import load_open_rig

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

OVAL_WEIGHT: Final = 0.3  # of landmarks on the face's outline, which slide over the skin as the head turns
MAX_DEVIATION_METRES: Final = 0.012  # a landmark whose places are farther apart than this is not trusted
MAX_MISS_SIDES: Final = 0.02  # of the picture, by which a landmark may fall beside the rig's surface
JAW_OPEN: Final = 0.6  # 0–1, value of the expression jawOpen in the renders with an open mouth

SIZE: Final = 640  # pixels, side of the renders
FOCAL: Final = 2.2  # focal length in sides of the render
DISTANCE: Final = 0.9  # metres from the camera
LOOK_AT: Final = np.array([0.0, -0.035, -0.05])  # metres, rig space: what the camera looks at
PALETTE: Final = {  # RGB, 0–1, before shading
    "lips": (0.65, 0.30, 0.28),
    "mouth": (0.15, 0.04, 0.04),
    "brow": (0.20, 0.13, 0.08),
    "hair": (0.16, 0.10, 0.06),
    "within": (0.20, 0.06, 0.06),  # teeth and tongue are dark, so that they are not taken for lips
    "white": (0.85, 0.81, 0.77),
    "lashes": (0.10, 0.07, 0.05),
}
SKIN_TONES: Final = ((0.78, 0.57, 0.47), (0.62, 0.43, 0.33), (0.85, 0.66, 0.57))  # RGB, 0–1, before shading
PEOPLE: Final = len(SKIN_TONES) + 2  # shapes; the skin tones are used in turn


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One render to make."""

    yaw: float  # radians
    pitch: float  # radians
    jaw_open: float  # 0–1, value of the expression jawOpen
    person: int  # number of a shape and a skin tone


VIEWS: Final = tuple(
    View(yaw=yaw, pitch=pitch, jaw_open=jaw_open, person=person)
    for person in range(PEOPLE)
    for yaw, pitch, jaw_open in (
        (0.0, 0.0, 0.0),
        (0.25, 0.0, 0.0),
        (-0.25, 0.0, 0.0),
        (0.0, 0.15, 0.0),
        (0.0, -0.15, 0.0),
        (0.0, 0.0, JAW_OPEN),
        (0.15, 0.0, JAW_OPEN),
        (-0.15, 0.0, JAW_OPEN),
    )
)


def measure_embedding(rig: Rig, detector: FaceMesh) -> LandmarkEmbedding:
    """The places of the 478 landmarks on a rig: the open one, or one with its tissues and textures (`rig.annotate`)."""
    renderer = _Renderer(rig)
    skin = np.isin(rig.tissue.numpy(), (Tissue.SKIN, Tissue.LIPS))
    eyes = rig.tissue.numpy() == Tissue.EYE
    jaw_open = rig.expression_basis[rig.expression_names.index("jawOpen")]
    # With the mouth open, the point of the surface nearest to a landmark of one lip cannot lie on the other.
    apart = (rig.template + JAW_OPEN * jaw_open).double().numpy()
    faces = rig.faces.numpy()
    found: list[list[Floats]] = [[] for _ in range(LANDMARKS)]
    for view in VIEWS:
        picture = renderer.render(view)
        face = detector.detect(picture.image)
        if face is None:
            continue
        points = face.points.astype(np.float64)
        for chosen, numbers in ((skin, range(FIRST_IRIS)), (eyes, range(FIRST_IRIS, LANDMARKS))):
            triangles, barycentric = picture.lift(points[numbers], chosen)
            places = (barycentric[..., None] * apart[faces[triangles]]).sum(1)
            for number, triangle, place in zip(numbers, triangles, places, strict=True):
                if triangle >= 0 and (number in MOUTH) == (view.jaw_open > 0):
                    found[number].append(place)
    return _consensus(found, Surface(apart, faces, skin), Surface(apart, faces, eyes))


def _consensus(found: list[list[Floats]], skin: Surface, eyes: Surface) -> LandmarkEmbedding:
    """The median of each landmark's places, projected on the surface.

    Args:
        found: of each landmark, its places (3,) in the renders.
        skin: the surface for landmarks of the skin.
        eyes: the surface for those of the irises.
    """
    triangles = np.zeros(LANDMARKS, dtype=np.int64)
    barycentric = np.full((LANDMARKS, 3), 1 / 3)
    weights = np.zeros(LANDMARKS)
    for landmark, places in enumerate(found):
        if len(places) < len(VIEWS) // 8:
            continue
        middle = np.median(places, axis=0)
        if np.linalg.norm(np.array(places) - middle, axis=1).mean() < MAX_DEVIATION_METRES:
            surface = skin if landmark < FIRST_IRIS else eyes
            face, at, _ = surface.nearest(middle[None])
            triangles[landmark], barycentric[landmark] = face[0], at[0]
            weights[landmark] = OVAL_WEIGHT if landmark in FACE_OVAL else 1.0
    return LandmarkEmbedding(
        triangles=torch.from_numpy(triangles),
        barycentric=torch.from_numpy(barycentric).float(),
        weights=torch.from_numpy(weights).float(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """A render of the rig, and what each of its pixels shows."""

    image: Bytes  # (SIZE, SIZE, 3) RGB
    triangles: Ints  # (P,) faces row by row, −1 beside the rig; lashes are left out, as they hide the lids' edges
    barycentric: Floats  # (P, 3)

    def lift(self, points: Floats, chosen: npt.NDArray[np.bool_]) -> tuple[Ints, Floats]:
        """Cast points of the picture back on the rig, each through the nearest pixel that shows one of the chosen faces.

        So a landmark of a lid that falls on the eye moves to the edge of the lid, and one of a lip that falls on the teeth to
        the edge of the lip.

        Args:
            points: (N, 2) pixels.
            chosen: which faces may be hit, (F,).

        Returns:
            Faces (N,), −1 where no such pixel is near; and barycentric coordinates (N, 3).
        """
        shown = np.flatnonzero((self.triangles >= 0) & chosen[self.triangles])
        distance, nearest = cKDTree(_centres()[shown]).query(points)
        pixels = shown[nearest]
        return np.where(distance < MAX_MISS_SIDES * SIZE, self.triangles[pixels], -1), self.barycentric[pixels]


class _Renderer:
    """Renders the bare rig by ray casting, in the plain colours of a face."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        data = MakeHumanData.installed()
        self.lips, self.inside = (cv2.GaussianBlur(data.mask(name), (0, 0), 2.0) for name in ("lips", "inside-mouth"))
        source = torch.Generator().manual_seed(0)
        self.shapes = 0.2 * torch.randn(PEOPLE, len(rig.shape_names), generator=source)
        self.shapes[0] = 0
        for axis, name in enumerate(rig.shape_names):
            if name.startswith("macro/"):
                self.shapes[:, axis] = 0 if name == "macro/child" else self.shapes[:, axis].abs() * 1.5

    def render(self, view: View) -> _Picture:
        """The rig from one direction, with one face."""
        rig = self.rig
        expression = torch.zeros(1, len(rig.expression_names))
        expression[0, rig.expression_names.index("jawOpen")] = view.jaw_open
        vertices = rig.vertices(self.shapes[view.person : view.person + 1], expression)[0].double().numpy()
        faces = rig.faces.numpy()
        turn = cv2.Rodrigues(np.array([0.0, view.yaw, 0.0]))[0] @ cv2.Rodrigues(np.array([view.pitch, 0.0, 0.0]))[0]
        eye = LOOK_AT + turn.T @ np.array([0, 0, DISTANCE])
        triangles, points, barycentric = _cast(vertices, faces, eye, _rays(_centres()) @ turn)
        hit = triangles >= 0
        normals = trimesh.Trimesh(vertices, faces, process=False).vertex_normals[faces[triangles[hit]]]
        normal = (normals * barycentric[hit, :, None]).sum(1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        key, fill = normal @ np.array([-0.4, 0.7, 0.6]), normal[:, 2]
        light = 0.45 + 0.5 * np.clip(key, 0, 1) + 0.2 * np.clip(fill, 0, 1)
        colour = self._colour(
            triangles[hit], barycentric[hit], points[hit], vertices, SKIN_TONES[view.person % len(SKIN_TONES)]
        )
        image = np.full((SIZE * SIZE, 3), 0.35)
        image[hit] = np.clip(colour * light[:, None], 0, 1)
        image = cv2.GaussianBlur(image.reshape(SIZE, SIZE, 3), (0, 0), 0.7) ** (1 / 1.5)
        bare = np.flatnonzero(rig.tissue.numpy() != Tissue.LASHES)
        triangles, _, barycentric = _cast(vertices, faces[bare], eye, _rays(_centres()) @ turn)
        triangles = np.where(triangles >= 0, bare[triangles], -1)
        return _Picture(image=(255 * image).astype(np.uint8), triangles=triangles, barycentric=barycentric)

    def _colour(
        self,
        triangles: Ints,  # (P,)
        barycentric: Floats,  # (P, 3)
        points: Floats,  # (P, 3) on the mesh as it is rendered
        vertices: Floats,  # (V, 3)
        skin_tone: tuple[float, float, float],
    ) -> Floats:
        """Colours without light of points on the rig, (P, 3) 0–1."""
        rig = self.rig
        tissue = rig.tissue.numpy()[triangles]
        uvs = (rig.uvs.double().numpy()[triangles] * barycentric[..., None]).sum(1)
        rest = (rig.template.double().numpy()[rig.faces.numpy()[triangles]] * barycentric[..., None]).sum(1)
        colour = np.tile(np.array(skin_tone), (len(triangles), 1))
        body = np.isin(tissue, (Tissue.SKIN, Tissue.LIPS, Tissue.MOUTH))
        for mask, name in ((self.lips, "lips"), (self.inside, "mouth")):
            rows = np.clip(((1 - uvs[:, 1]) * mask.shape[0]).astype(int), 0, mask.shape[0] - 1)
            share = (mask[rows, (uvs[:, 0] * mask.shape[1]).astype(int)] * body)[:, None]
            colour = colour * (1 - share) + share * np.array(PALETTE[name])
        eyeballs = rig.joints(torch.zeros(1, len(rig.shape_names)))[0, -2:]
        colour[body & brow_band(rest, float(eyeballs[0, 0]))] = PALETTE["brow"]
        slope = np.clip((rest[:, 2] + 0.09) / 0.11, -1, 1)
        scalp = rest[:, 1] > 0.005 + 0.075 * slope
        colour[body & scalp & (rest[:, 1] > -0.03)] = PALETTE["hair"]
        for kind, name in ((Tissue.TEETH, "within"), (Tissue.TONGUE, "within"), (Tissue.LASHES, "lashes")):
            colour[tissue == kind] = PALETTE[name]
        for side in (1, -1):
            ball = vertices[np.unique(rig.faces.numpy()[rig.tissue.numpy() == Tissue.EYE])]
            ball = ball[ball[:, 0] * side > 0]
            seen = (tissue == Tissue.EYE) & (points[:, 0] * side > 0)
            radius = points[seen] - (ball.max(0) + ball.min(0)) / 2
            angle = np.arccos(np.clip(radius[:, 2] / np.linalg.norm(radius, axis=1), -1, 1))[:, None]
            iris = np.where(angle < 0.19, 0.02, 0.25)
            colour[seen] = np.where(angle < 0.44, iris, np.array(PALETTE["white"]))
        return colour


def _centres() -> Floats:
    """Centres of a render's pixels, row by row, (P, 2)."""
    return np.stack(np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5), -1).reshape(-1, 2)


def _rays(pixels: Floats) -> Floats:
    """Directions (P, 3) of the rays through pixels (P, 2), for a camera that looks along −z, y up."""
    across = (pixels / SIZE - 0.5) / FOCAL
    return np.column_stack([across[:, 0], -across[:, 1], -np.ones(len(pixels))])


def _cast(vertices: Floats, faces: Ints, eye: Floats, directions: Floats) -> tuple[Ints, Floats, Floats]:
    """First hits of rays on a mesh.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        eye: where the rays begin, (3,).
        directions: (P, 3).

    Returns:
        Faces (P,), −1 where nothing is hit; places (P, 3); barycentric coordinates (P, 3).
    """
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    triangles = np.asarray(mesh.ray.intersects_first(np.repeat(eye[None], len(directions), 0), directions))
    corners = vertices[faces[triangles]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    steep = (directions * normal).sum(1)
    along = ((corners[:, 0] - eye) * normal).sum(1) / np.where(np.abs(steep) < 1e-12, 1e-12, steep)
    points = eye + along[:, None] * directions
    barycentric = np.clip(trimesh.triangles.points_to_barycentric(corners, points), 0, 1)
    return triangles.astype(np.int64), points, barycentric / barycentric.sum(1, keepdims=True)


def main() -> None:
    """Measure the open rig and write the result where the package keeps it."""
    rig = load_open_rig(measured=False)
    embedding = measure_embedding(rig, FaceMesh())
    save_embedding(embedding, rig)
    sys.stdout.write(f"{int((embedding.weights > 0).sum())} landmarks in {EMBEDDING}\n")


if __name__ == "__main__":
    main()
