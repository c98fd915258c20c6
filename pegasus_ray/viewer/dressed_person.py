"""A person of the library as they are to be seen: dressed in others' attributes, with codes mixed, driven by a track."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from pegasus_ray.avatar.fields.avatar import Fields
from pegasus_ray.avatar.generative.avatar import OWN, GenerativeAvatar, mix
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints
from pegasus_ray.jobs.plan import called, find_first
from pegasus_ray.jobs.results import read_avatar, read_fields, read_generative, read_track
from pegasus_ray.library.images import encode_png
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.render.images import contact_sheet
from pegasus_ray.render.video import write_video
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.render import render_clip
from pegasus_ray.stages.render import turntable as swing
from pegasus_ray.stages.transfer import TransferConfig, transfer
from pegasus_ray.viewer.export import points_as_ply

FPS = 25.0
TURNTABLE_FRAMES = 60
SHEET_COLUMNS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A code between two."""

    first: str  # an avatar that the model has learned from, or `own`
    second: str
    share: float  # 0 is the first, 1 the second


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """An avatar to draw, and the track of the person who wears it all."""

    avatar: Avatar
    track: str
    name: str
    fields: Fields | None = None  # the networks, of who has them and wears nothing of others

    def points(self) -> CanonicalPoints:
        """What is drawn: by the networks where there are any."""
        rig = load_rig(self.avatar.rig)
        return self.fields.canonical(rig) if self.fields else self.avatar.canonical(self.avatar.anchors(rig))


def assemble(
    library: Library,
    reference: str,
    config: TransferConfig,
    *,
    wear: Mapping[Attribute, str] | None = None,
    mixes: Mapping[Attribute, Mix] | None = None,
) -> Look:
    """The person that is meant, dressed.

    Args:
        library: where everybody is.
        reference: key or name of an avatar, a generative avatar or a transfer.
        config: of the seams, where points of one avatar are put on another.
        wear: an attribute, and the avatar whose it is to be. A generative avatar takes its code of that avatar if it
            has learned one; anyone else, and other attributes, are put on as `transfer` does.
        mixes: of a generative avatar: an attribute under a code between two.

    Raises:
        PegasusError: BAD_REFERENCE for who is not there, or a code that was not learned; MISSING_ATTRIBUTE.
    """
    wear, mixes = dict(wear or {}), dict(mixes or {})
    fields: Fields | None = None
    worn = find_first(library, reference, (Kind.AVATARS, Kind.MODELS, Kind.TRANSFERS))
    if worn.kind is Kind.MODELS:
        generative = read_generative(library, worn.key)
        chosen, rest = _codes(library, generative, wear, mixes)
        avatar = generative.decode(generative.codes(chosen), load_rig(worn.rig))
    else:
        if not wear and worn.kind is Kind.AVATARS:
            fields = read_fields(library, worn.key)
        if mixes:
            message = "only a generative avatar has codes to mix; run `pegasus personalize` and name what it makes"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=reference)
        avatar, rest = read_avatar(library, worn.key, worn.kind), wear
    for attribute, lender in rest.items():
        lending = library.find(lender, Kind.AVATARS)
        avatar = transfer(read_avatar(library, lending.key), avatar, [attribute], config)
    return Look(avatar=avatar, track=worn.input("track"), name=called(worn), fields=fields)


def parse_mix(text: str) -> Mix:
    """A mix written `FIRST:SECOND:SHARE`.

    Raises:
        PegasusError: BAD_CONFIG for anything else.
    """
    fields = text.split(":")
    try:
        first, second, share = fields[0], fields[1], float(fields[2]) if len(fields) == 3 else float("nan")
    except (IndexError, ValueError):
        first, second, share = "", "", float("nan")
    if not first or not second or not np.isfinite(share):
        message = "write FIRST:SECOND:SHARE, as anna:bert:0.5; `own` is the person's own"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=text)
    return Mix(first=first, second=second, share=share)


def frames_of(track: Track, *, unseen: bool = False, most: int | None = None) -> list[int]:
    """Frames to draw: all or those that no fit has seen, at most `most` of them, evenly spaced."""
    frames = track.held_out()[1] if unseen else np.arange(len(track))
    if most is not None and most < len(frames):
        frames = frames[np.linspace(0, len(frames) - 1, most).round().astype(int)]
    return [int(frame) for frame in frames]


def draw_look(
    library: Library,
    look: Look,
    driver: str,
    out: Path,
    *,
    unseen: bool = False,
    turntable: bool = False,
    most: int | None = None,
    size: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Draw a person into a file and return the number of pictures.

    Args:
        library: where the driving track is.
        look: who.
        driver: key of the track whose motion and camera are taken.
        out: a video (`.mp4`), or a sheet of pictures (`.png`); its folder is made.
        unseen: only the frames that no fit has seen.
        turntable: hold the middle frame and turn the person about.
        most: of the frames, evenly spaced.
        size: side in pixels, the track's own where it is not given.
        progress: told the share done and a short text.

    Raises:
        PegasusError: BAD_REFERENCE if there is no such track; BAD_CONFIG if the file cannot be written.
    """
    track = read_track(library.location, driver)
    frames = frames_of(track, unseen=unseen, most=most)
    turns: list[float] = []
    if turntable:
        turns = swing(most or TURNTABLE_FRAMES)
        frames = [frames[len(frames) // 2]] * len(turns)
    points = look.points()
    clip = render_clip(look.avatar, track, frames=frames, size=size, turns=turns, points=points)
    pictures = _heard(clip, len(frames), progress)
    with _writing(out):
        if out.suffix == ".png":
            out.write_bytes(encode_png(contact_sheet(list(pictures), columns=min(len(frames), SHEET_COLUMNS))))
        else:
            write_video(pictures, out, frames_per_second(track) if most is None else FPS)
    return len(frames)


def export_points(look: Look, out: Path) -> int:
    """Write a person's points at rest as a PLY file and return their number.

    Raises:
        PegasusError: BAD_CONFIG if the file cannot be written.
    """
    points = look.points()
    with _writing(out):
        out.write_bytes(points_as_ply(points, load_rig(look.avatar.rig)))
    return len(points)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Make the folder of `out`; what goes wrong in writing becomes BAD_CONFIG."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        message = f"cannot be written ({error.strerror}); give another place"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=str(out)) from error


def frames_per_second(track: Track) -> float:
    """Of a rendered clip: as the frames were taken, so that it lasts as long, but 10 at least, where few were taken."""
    seconds = float(track.times[-1] - track.times[0])
    return float(np.clip((len(track) - 1) / seconds, 10, 60)) if seconds > 0 else FPS


def _heard(pictures: Iterator[Bytes], count: int, progress: Progress | None) -> Iterator[Bytes]:
    for number, picture in enumerate(pictures):
        if progress:
            progress(number / count, f"{number} of {count} frames")
        yield picture


def _codes(
    library: Library,
    generative: GenerativeAvatar,
    wear: Mapping[Attribute, str],
    mixes: Mapping[Attribute, Mix],
) -> tuple[dict[Attribute, Tensor], dict[Attribute, str]]:
    """The codes that are learned, and what is left to be put on."""
    chosen: dict[Attribute, Tensor] = {}
    rest: dict[Attribute, str] = {}
    for attribute, name in wear.items():
        block = generative.blocks.get(attribute)
        source = _source(library, name)
        if block is not None and source in block.sources:
            chosen[attribute] = block.code(source)
        else:
            rest[attribute] = name
    for attribute, wanted in mixes.items():
        block = generative.blocks.get(attribute)
        if block is None:
            names = ", ".join(generative.blocks) or "none"
            message = f"the generative avatar has no codes of it; it has {names}"
            raise PegasusError(Reason.MISSING_ATTRIBUTE, message, subject=attribute.value)
        first, second = (block.code(_source(library, name)) for name in (wanted.first, wanted.second))
        chosen[attribute] = mix(first, second, wanted.share)
    return chosen, rest


def _source(library: Library, name: str) -> str:
    """A code's name: the key of the avatar that a person means, or `own`."""
    return OWN if name == OWN else library.find(name, Kind.AVATARS).key
