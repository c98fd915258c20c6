"""Bakes the open rig from MakeHuman's CC0 data: head, neck and upper chest, eyes, teeth, tongue and lashes.

Pairs of targets such as nose-base-down and nose-base-up become one signed identity axis, and so do left and right. Axes of
the whole head are shifted so that the eyes stay in place, which keeps the origin midway between them.

Legend: V vertices kept, A all vertices of the base mesh, F faces kept, J joints.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from pegasus_ray.rig.makehuman import BaseMesh, Floats, Ints, MakeHumanData
from pegasus_ray.rig.model import GLOBAL_GROUPS, LandmarkEmbedding, Rig, Tissue
from pegasus_ray.rig.rest import LOWER_LASH_SHARE, UPPER_LASH_SHARE, close_lips, shortening_matrix
from pegasus_ray.schemas.parts import Part

METRES_PER_DECIMETRE: Final = 0.1
CHEST_DECIMETRES: Final = 4.2  # below the eyes: where the mesh ends
SHOULDER_DECIMETRES: Final = 2.9  # to either side of the middle: where the mesh ends
JOINTS: Final = ("root", "neck", "head", "jaw", "eye.L", "eye.R")
NAME: Final = "open"

IDENTITY_GROUPS: Final = ("head", "neck", "nose", "mouth", "eyes", "ears", "cheek", "chin", "forehead", "eyebrows")
"""MakeHuman's folders of targets that become identity axes."""
NEGATIVE_OF: Final = {  # ending of the target in an axis's positive direction → ending of its opposite
    "incr": "decr",
    "up": "down",
    "out": "in",
    "forward": "backward",
    "convex": "concave",
    "uncompress": "compress",
}
TISSUE_OF_GROUP: Final = {
    "body": Tissue.SKIN,
    "helper-l-eye": Tissue.EYE,
    "helper-r-eye": Tissue.EYE,
    "helper-upper-teeth": Tissue.TEETH,
    "helper-lower-teeth": Tissue.TEETH,
    "helper-tongue": Tissue.TONGUE,
    "helper-l-eyelashes-1": Tissue.LASHES,
    "helper-l-eyelashes-2": Tissue.LASHES,
    "helper-r-eyelashes-1": Tissue.LASHES,
    "helper-r-eyelashes-2": Tissue.LASHES,
}
LASH_SHARES: Final = {  # how much of the length of a lid's lashes is kept
    "helper-l-eyelashes-1": LOWER_LASH_SHARE,
    "helper-r-eyelashes-1": LOWER_LASH_SHARE,
    "helper-l-eyelashes-2": UPPER_LASH_SHARE,
    "helper-r-eyelashes-2": UPPER_LASH_SHARE,
}
SHARES_OF_NECK_BONE: Final = {  # weights on (root, neck, head); the joint `neck` moves as the mean of torso and head
    "neck01": (0.5, 0.5, 0.0),
    "neck02": (0.0, 0.9, 0.1),
    "neck03": (0.0, 0.3, 0.7),
}


def bake_open_rig(data: MakeHumanData) -> Rig:
    """The open rig in float32, without a landmark embedding.

    Its template is MakeHuman's young caucasian man of average build; identity axes lead to other people.
    """
    base = data.base_mesh()
    count = len(base.vertices)
    male = data.target("macrodetails/caucasian-male-young", count)
    average = data.target("macrodetails/universal-male-young-averagemuscle-averageweight", count)
    whole = base.vertices + male + average
    eyes = [base.vertices_of(f"helper-{side}-eye") for side in "lr"]
    whole = whole - np.mean([whole[eye].mean(0) for eye in eyes], axis=0)

    corners, tissue = _cut_faces(base, whole)
    kept, faces = np.unique(corners[..., 0], return_inverse=True)
    faces = faces.reshape(-1, 3)
    uvs = base.uvs[corners[..., 1]]
    weights = _joint_weights(data, base, count)[kept]

    axes = _identity_axes(data, count) | _macro_axes(data, count, male, average)
    moves = {name: data.expression(name, count) for name in data.expressions()}
    body = np.intersect1d(base.vertices_of("body"), kept)
    for group, share in LASH_SHARES.items():
        lashes = base.vertices_of(group)
        side = "lr".index(group.removeprefix("helper-")[0])
        shorten = shortening_matrix(whole[lashes], whole[eyes[side]].mean(0), share)
        for field in (whole, *axes.values(), *moves.values()):
            field[lashes] = shorten @ field[lashes]
    lips = faces[_refine_tissue(data, tissue, uvs) == Tissue.LIPS]
    whole[kept] += close_lips(whole[kept], lips, np.searchsorted(kept, body), moves["jawOpen"][kept])
    template = whole[kept]

    for name, offsets in axes.items():
        if name.partition("/")[0] in GLOBAL_GROUPS:
            offsets -= np.mean([offsets[eye].mean(0) for eye in eyes], axis=0)
    on_head = weights[:, JOINTS.index("root")] < 0.5
    shape = {name: offsets[kept] for name, offsets in axes.items() if np.abs(offsets[kept][on_head]).max() > 1e-3}
    expressions = {name: offsets[kept] for name, offsets in moves.items()}
    tissue = _refine_tissue(data, tissue, uvs)

    return Rig(
        name=NAME,
        template=_float(template * METRES_PER_DECIMETRE),
        faces=torch.from_numpy(faces),
        uvs=_float(uvs),
        shape_basis=_float(np.stack(list(shape.values())) * METRES_PER_DECIMETRE),
        expression_basis=_float(np.stack(list(expressions.values())) * METRES_PER_DECIMETRE),
        pose_basis=torch.zeros(0, len(template), 3),
        skin_weights=_float(weights),
        joint_regressor=_float(_joint_regressor(base, whole, eyes, kept)),
        tissue=torch.from_numpy(tissue),
        parts=torch.from_numpy(_parts_of_faces(data, template, faces, uvs, tissue, weights, shape)),
        shape_names=tuple(shape),
        expression_names=tuple(expressions),
        joint_names=JOINTS,
        from_blendshapes=torch.eye(len(expressions)),
        landmarks=LandmarkEmbedding.unknown(),
    )


def _float(values: Floats) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _cut_faces(base: BaseMesh, whole: Floats) -> tuple[Ints, Ints]:
    """Corners (F, 3, 2) and tissue (F,) of the faces kept."""
    corners, tissue = [], []
    for group, kind in TISSUE_OF_GROUP.items():
        triangles = base.triangles[group]
        if group == "body":
            points = whole[triangles[..., 0]]
            inside = (points[..., 1] > -CHEST_DECIMETRES) & (np.abs(points[..., 0]) < SHOULDER_DECIMETRES)
            triangles = triangles[inside.all(1)]
        corners.append(triangles)
        tissue.append(np.full(len(triangles), int(kind), dtype=np.int64))
    return np.concatenate(corners), np.concatenate(tissue)


def signed_axis(target: str) -> tuple[str, int]:
    """The signed axis that a target belongs to and its sign on it: l-eye-trans-down → eyes/trans-up, −1."""
    group, _, stem = target.partition("/")
    stem = re.sub(r"^[lr]-", "", stem)
    stem = re.sub(rf"^{group.removesuffix('s')}s?-", "", stem)
    start, _, ending = stem.rpartition("-")
    for positive, negative in NEGATIVE_OF.items():
        if ending == negative:
            return f"{group}/{start}-{positive}", -1
    return f"{group}/{stem}", 1


def _identity_axes(data: MakeHumanData, count: int) -> dict[str, Floats]:
    """The named signed axes, (A, 3) each: the mean of the positive target and the negated negative one.

    Targets of the left and the right side are added up.
    """
    sides: dict[str, dict[int, Floats]] = {}
    for target in (name for group in IDENTITY_GROUPS for name in data.targets(group)):
        if target.startswith("head/head-trans"):
            continue  # the pose says where the head is
        axis, sign = signed_axis(target)
        ends = sides.setdefault(axis, {})
        ends[sign] = ends.get(sign, np.zeros((count, 3))) + sign * data.target(target, count)
    return {axis: np.mean(list(ends.values()), axis=0) for axis, ends in sides.items()}


def _macro_axes(data: MakeHumanData, count: int, male: Floats, average: Floats) -> dict[str, Floats]:
    """Sex, age, ancestry and weight as differences from the young caucasian man of average build, (A, 3) each."""

    def detail(name: str) -> Floats:
        return data.target(f"macrodetails/{name}", count)

    def person(kind: str) -> Floats:
        return detail(f"caucasian-{kind}") + detail(f"universal-{kind}-averagemuscle-averageweight") - male - average

    return {
        "macro/female": person("female-young"),
        "macro/old": person("male-old"),
        "macro/child": person("male-child"),
        "macro/african": detail("african-male-young") - male,
        "macro/asian": detail("asian-male-young") - male,
        "macro/fat": detail("universal-male-young-averagemuscle-maxweight") - average,
        "macro/thin": detail("universal-male-young-averagemuscle-minweight") - average,
        "macro/muscle": detail("universal-male-young-maxmuscle-averageweight") - average,
    }


def _joint_weights(data: MakeHumanData, base: BaseMesh, count: int) -> Floats:
    """Skinning weights (A, J): each bone's weight goes to its nearest ancestor that is a joint of the rig."""
    parents = data.bone_parents()
    weights = np.zeros((count, len(JOINTS)))
    for bone, dense in data.bone_weights(count).items():
        ancestor = bone
        while ancestor not in SHARES_OF_NECK_BONE and ancestor not in JOINTS:
            ancestor = parents[ancestor]
        if ancestor in SHARES_OF_NECK_BONE:
            weights[:, :3] += dense[:, None] * SHARES_OF_NECK_BONE[ancestor]
        else:
            weights[:, JOINTS.index(ancestor)] += dense
    for group, joint in {
        "helper-l-eye": "eye.L",
        "helper-r-eye": "eye.R",
        "helper-upper-teeth": "head",
        "helper-lower-teeth": "jaw",
        "helper-tongue": "jaw",
    }.items():
        weights[base.vertices_of(group)] = np.eye(len(JOINTS))[JOINTS.index(joint)]
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-9)
    return weights


def _joint_regressor(base: BaseMesh, whole: Floats, eyes: list[Ints], kept: Ints) -> Floats:
    """Joints as affine combinations of the vertices kept, (J, V).

    An eye's joint is the mean of its eyeball. Any other joint is a combination of its 64 nearest vertices: of all weights that
    give its position exactly, those with the least sum of squares.
    """
    markers = {  # joint → the vertex group whose mean is its position
        "root": "joint-spine-1",
        "neck": "joint-neck",
        "head": "joint-head",
        "jaw": "joint-mouth",
    }
    regressor = np.zeros((len(JOINTS), len(kept)))
    for row, joint in enumerate(JOINTS):
        if joint in markers:
            place = whole[base.vertices_of(markers[joint])].mean(0)
            near = np.argsort(np.linalg.norm(whole[kept] - place, axis=1))[:64]
            system = np.concatenate([whole[kept][near].T, np.ones((1, len(near)))])
            regressor[row, near] = np.linalg.lstsq(system, np.append(place, 1.0), rcond=None)[0]
        else:
            eye = np.searchsorted(kept, eyes[JOINTS.index(joint) - JOINTS.index("eye.L")])
            regressor[row, eye] = 1 / len(eye)
    return regressor


def _sample_mask(mask: Floats, uvs: Floats) -> Floats:
    """A mask's value on each face, (F,): the mean of its texels at the corners and the centroid."""
    places = np.concatenate([uvs, uvs.mean(1, keepdims=True)], axis=1)
    rows = np.clip(((1 - places[..., 1]) * mask.shape[0]).astype(int), 0, mask.shape[0] - 1)
    columns = np.clip((places[..., 0] * mask.shape[1]).astype(int), 0, mask.shape[1] - 1)
    sampled: Floats = mask[rows, columns].mean(1)
    return sampled


def _refine_tissue(data: MakeHumanData, tissue: Ints, uvs: Floats) -> Ints:
    """The tissues with lips and the inside of the mouth set apart from the skin, as the masks say."""
    skin = tissue == Tissue.SKIN
    refined = tissue.copy()
    refined[skin & (_sample_mask(data.mask("lips"), uvs) > 0.5)] = Tissue.LIPS
    refined[skin & (_sample_mask(data.mask("inside-mouth"), uvs) > 0.5)] = Tissue.MOUTH
    return refined


def brow_band(points: Floats, eye: float) -> npt.NDArray[np.bool_]:
    """Which points (N, 3) of the template's skin lie in the eyebrows; the eyes' centres lie at x = ±`eye`; metres.

    A brow is a band 11 mm high around an arc that begins 17 mm towards the nose from the eye's centre and ends 28 mm beyond it.
    """
    across = np.abs(points[:, 0]) - eye
    above = points[:, 1] - 0.019 - 0.003 * np.cos(70 * (across - 0.006))
    band: npt.NDArray[np.bool_] = (across > -0.017) & (across < 0.028) & (np.abs(above) < 0.0055)
    return band & (points[:, 2] > -0.04)


def _parts_of_faces(
    data: MakeHumanData,
    template: Floats,
    faces: Ints,
    uvs: Floats,
    tissue: Ints,
    weights: Floats,
    shape: dict[str, Floats],
) -> Ints:
    """The part of each face on the bare head, (F,)."""
    centre = template[faces].mean(1)
    held = weights[faces].mean(1)
    skin = tissue == Tissue.SKIN
    parts = np.full(len(faces), int(Part.SKIN), dtype=np.int64)

    lower = held[:, JOINTS.index("root")]
    parts[skin & (held[:, JOINTS.index("neck")] + lower > 0.5)] = Part.NECK
    parts[skin & (lower > 0.5)] = Part.CLOTH

    axes = ("scale-depth-incr", "scale-horiz-incr", "hump-incr", "width2-incr")
    moved = [np.linalg.norm(shape[f"nose/{axis}"], axis=1) for axis in axes]
    nose = np.max([motion / motion.max() for motion in moved], axis=0)
    parts[skin & (nose[faces].mean(1) > 0.4)] = Part.NOSE

    eye = template[np.unique(faces[tissue == Tissue.EYE])]
    parts[skin & brow_band(centre * METRES_PER_DECIMETRE, np.abs(eye[:, 0]).mean() * METRES_PER_DECIMETRE)] = (
        Part.EYEBROWS
    )

    parts[skin & (_sample_mask(data.mask("ears"), uvs) > 0.5)] = Part.EARS
    parts[np.isin(tissue, (Tissue.LIPS, Tissue.TEETH, Tissue.TONGUE, Tissue.MOUTH))] = Part.MOUTH
    parts[np.isin(tissue, (Tissue.EYE, Tissue.LASHES))] = Part.EYES
    return parts
