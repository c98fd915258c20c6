"""Hair and beards as pieces: roots on the skin, paths that grow from them, ribbons along the paths.

A ribbon is bound to its root and moves with the head; below the jaw it partly follows the torso. No style but a fringe covers
an eye, because strands in front of the face are moved around it.

Legend: R ribbons, F faces of the rig.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from pegasus_ray.studio.arrays import Floats
from pegasus_ray.studio.figure.bun import tie_bun
from pegasus_ray.studio.figure.haircuts import HAIRCUTS
from pegasus_ray.studio.figure.piece import Material, Piece, unit
from pegasus_ray.studio.figure.ribbons import mesh_ribbons
from pegasus_ray.studio.figure.roots import scalp_roots, scatter_roots
from pegasus_ray.studio.figure.skull import Skull
from pegasus_ray.studio.figure.strands import curl_paths, grow_paths, sample_clearances, sample_lengths
from pegasus_ray.studio.person import Beard, Hair, HairStyle

BEARD_RIBBONS: Final = 5000  # number of a beard's ribbons


def grow_hair(
    hair: Hair,
    skull: Skull,
    *,
    under_hat: bool = False,  # pressed flat
    detail: float = 1.0,  # share of the ribbons, each the wider for it
) -> Piece | None:
    """The hair of a head, or None for a bald one."""
    if hair.style is HairStyle.BALD:
        return None
    cut = HAIRCUTS[hair.style]
    if under_hat:
        cut = replace(cut, root_lift=0.0, hug=0.7, curl_radius=0.0, gravity=max(cut.gravity, 0.3))
    rng = np.random.default_rng([hair.seed, 3])
    roots = scalp_roots(skull, rng, max(int(cut.ribbons * detail), 1))
    lengths = sample_lengths(cut, hair, roots, rng)
    clearance = sample_clearances(cut, hair, roots, rng)
    if under_hat:
        clearance = np.minimum(clearance, 0.004).astype(np.float32)
    paths = grow_paths(cut, skull, roots, lengths, clearance, rng)
    if cut.curl_radius:
        paths = curl_paths(cut, hair, paths, skull, rng)
    if cut.tied:
        roots, paths = tie_bun(skull, roots, paths, rng)
    return mesh_ribbons(cut.ribbon_width / np.sqrt(detail), skull, roots, paths, Material.HAIR)


def grow_beard(
    beard: Beard,
    skull: Skull,
    density: Floats,  # (F,) 0–1 of the rig's faces
) -> Piece:
    """Short straight hair on chin, jaw and upper lip."""
    rng = np.random.default_rng([beard.seed, 5])
    roots = scatter_roots(skull, rng, BEARD_RIBBONS, density)
    start = roots.on(skull)
    _, normals = skull.distance(start)
    down = unit(np.array([0, -1.0, 0.25], np.float32) + 0.25 * rng.standard_normal((len(start), 3)).astype(np.float32))
    heading = unit(0.55 * normals + down - (down * normals).sum(1, keepdims=True) * normals)
    steps = (
        np.linspace(0, 1, 4, dtype=np.float32)[None, :, None]
        * (beard.length * rng.uniform(0.6, 1.1, len(start)))[:, None, None]
    )
    paths = start[:, None] + steps * heading[:, None]
    flat = skull.push_out(paths.reshape(-1, 3).astype(np.float32), np.full(paths.shape[0] * 4, 0.0008, np.float32))
    return mesh_ribbons(0.0010, skull, roots, flat.reshape(paths.shape), Material.BEARD)
