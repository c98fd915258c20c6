"""A tiny library of three people: their tracks, avatars, swaps in several files, a model and a transfer, made without any fit."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from pegasus_ray.avatar.files.avatar import dump_avatar
from pegasus_ray.avatar.files.generative import dump_generative
from pegasus_ray.library.images import normals_to_rgb
from pegasus_ray.library.library import MANIFEST, Library
from pegasus_ray.library.shards import plan_shards, seal_swap, write_shard
from pegasus_ray.library.swaps import Swap
from pegasus_ray.library.track import Track
from pegasus_ray.library.tracks import Truth, save_track
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, Kind, Provenance, SeenPerson
from pegasus_ray.schemas.parts import Attribute
from tests.avatar.generative.two_sources import two_sources
from tests.library.test_swaps import make_swap
from tests.library.test_tracks import make_track
from tests.painted import painted_avatar

ADA = SeenPerson(recording="0" * 15 + "1", name="ada", consent="research")
BERT = SeenPerson(recording="0" * 15 + "2", name="bert", consent="research and teaching")
CARL = SeenPerson(recording="0" * 15 + "3", name="carl")
PEOPLE = (ADA, BERT, CARL)
FRAMES = 7  # of each swap, in files of three
SWAPS = {
    f"{number:016x}": (person, attribute)
    for number, (person, attribute) in enumerate(
        [(BERT, Attribute.HAIR), (CARL, Attribute.HAIR), (BERT, Attribute.NOSE)], start=0xA1
    )
}
"""Who lends what to ada, by the swap's key."""


@cache
def track_of(number: int) -> Track:
    """The track of a person, that of the last without an identity."""
    track = make_track(frames=4 + number, size=8, seed=number)
    return replace(track, identity=np.zeros(0, np.float32)) if number == 2 else track


@cache
def truth_of(number: int) -> Truth:
    """Depth and normals of a track."""
    random = np.random.default_rng(number)
    depth = random.uniform(0.3, 2, (4 + number, 8, 8)).astype(np.float32)
    return Truth(depth=depth, normals=normals_to_rgb(random.normal(size=(4 + number, 8, 8, 3)).astype(np.float32)))


def swap_of(key: str, frames: tuple[int, ...]) -> Swap:
    """A file's frames of a swap; that of a nose has no normals."""
    lender, attribute = SWAPS[key]
    made = make_swap(frames, normals=attribute is Attribute.HAIR)
    return replace(made, target=ADA.recording, avatar=f"b{lender.recording[1:]}", attribute=attribute)


def write_tables(library: Library) -> None:
    """Three tracks, the first with truth, and three swaps onto the first person."""
    for number, person in enumerate(PEOPLE):
        facts = Provenance(source=f"{person.name}.mp4", seen=(person,))
        truth = truth_of(number) if number == 0 else None
        save_track(library, person.recording, track_of(number), facts, truth=truth)
    for key, (lender, attribute) in SWAPS.items():
        write_swap(library, key, Provenance(source=f"ada, {attribute} of {lender.name}", seen=(ADA, lender)))


def write_swap(library: Library, key: str, facts: Provenance) -> None:
    """One swap in files of three frames."""
    shards = plan_shards(key, range(FRAMES), per_shard=3)
    told = [write_shard(library, shard, swap_of(key, shard.frames)) for shard in shards]
    seal_swap(library, key, shards, told, facts.model_copy(update={"attributes": (SWAPS[key][1],)}))


def write_avatars(library: Library) -> None:
    """Avatars of the first two, the first one's model, and the first one with the second's hair."""
    attributes = (Attribute.HAIR, Attribute.NOSE)
    for number, person in enumerate(PEOPLE[:2]):
        facts = Provenance(source=f"{person.name}.mp4", seen=(person,), attributes=attributes)
        library.commit(Kind.AVATARS, f"b{person.recording[1:]}", dump_avatar(painted_avatar(number)), facts)
    seen = {"seen": (ADA, BERT)}
    facts = Provenance(source="ada.mp4", attributes=attributes, **seen)
    library.commit(Kind.MODELS, "c" * 16, dump_generative(two_sources()), facts)
    facts = Provenance(source="hair of bert on ada", attributes=attributes[:1], **seen)
    library.commit(Kind.TRANSFERS, "d" * 16, dump_avatar(painted_avatar(1)), facts)


def make_stale(library: Library, kind: Kind, key: str) -> None:
    """Write a result's manifest as an earlier version of its stage would have."""
    earlier = library.expect(kind, key).model_copy(update={"format_version": FORMAT_VERSIONS[kind] - 1})
    library.put(f"{kind}/{key}/{MANIFEST}", earlier.model_dump_json().encode())


def path_of(library: Library, kind: Kind, key: str, number: int = 0) -> Path:
    """Where a result's file lies."""
    path = library.storage.local(f"{kind}/{key}/{library.expect(kind, key).files[number].path}")
    assert path is not None
    return path


def flip_a_bit(library: Library, kind: Kind, key: str, number: int) -> Path:
    """Change a result's file, which keeps its size."""
    path = path_of(library, kind, key, number)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    return path
