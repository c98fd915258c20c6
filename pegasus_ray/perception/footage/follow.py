"""One person of a video, found and followed: whose face, in which of its frames, and why not in the others.

All faces are followed from frame to frame. A person in a shot counts by how long, how large and how near the middle of
the picture the face is seen; the one with the most is kept, the other faces are remembered as bystanders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from pegasus_ray.perception.footage.quality import plausible
from pegasus_ray.perception.footage.shots import Shots, View
from pegasus_ray.perception.footage.video import Frame
from pegasus_ray.perception.nets.landmarks import Face, LandmarkModel, square_around
from pegasus_ray.perception.nets.square import Floats
from pegasus_ray.schemas.errors import Loss

LONGEST: Final = 1920
"""Longer side in pixels of the frames in which faces are sought; larger ones are made smaller as they are read."""

_MOST: Final = 4  # people followed at a time
_NEAR: Final = 0.75  # sides of the face's square: a face that was lost and is found this near is the same person's
_BEYOND: Final = 0.12  # share of the landmarks beyond the picture's border that makes a frame useless


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What was found of the one person."""

    faces: dict[int, Face]  # by frame number, in pixels of the video's picture
    bystanders: dict[int, tuple[Floats, ...]]  # the other faces' boxes, (2, 2) each, in those frames
    dropped: dict[int, Loss]  # the other frames that were looked at
    width: int  # of the video's picture in pixels
    height: int


@dataclass(slots=True, kw_only=True)
class _Somebody:
    """A person in a shot."""

    shot: int
    faces: dict[int, Face] = field(default_factory=dict)
    weight: float = 0.0

    @property
    def last(self) -> Face:
        """As last seen."""
        return next(reversed(self.faces.values()))

    def is_near(self, face: Face) -> bool:
        """Whether a face may be this person's, seen again."""
        here, there = square_around(self.last.points), square_around(face.points)
        return bool(np.hypot(here.x - there.x, here.y - there.y) < _NEAR * max(here.side, there.side))


class Follower:
    """Everybody in a video, frame by frame."""

    def __init__(self, mesh: LandmarkModel) -> None:
        self._mesh = mesh
        self._shots = Shots()
        self._people: list[_Somebody] = []
        self._shot_of: dict[int, int] = {}
        self._shape = (0, 0)  # of the video's picture
        self._scale = 1.0  # pixels of the video for one of a frame seen

    def see(self, frame: Frame) -> None:
        """Take the next frame."""
        height, width = frame.image.shape[:2]
        self._scale = frame.scale
        self._shape = (round(height * frame.scale), round(width * frame.scale))
        before = max(self._shot_of, default=None)
        at_hand = [p for p in self._people if before is not None and before in p.faces]
        followed, others = self._mesh.detect_all(frame.image, [person.last.points for person in at_hand])
        known = [(person, face) for person, face in zip(at_hand, followed, strict=True) if face is not None]
        sides = [square_around(face.points).side for face in (*(face for _, face in known), *others)]
        shot = self._shots.place(View.of(frame.image, max(sides, default=None)))
        self._shot_of[frame.index] = shot
        for person, face in known:
            self._meet(person if person.shot == shot else self._recognise(shot, face, frame.index), face, frame)
        for face in others[:_MOST]:
            self._meet(self._recognise(shot, face, frame.index), face, frame)

    def choose(self) -> Followed:
        """The one person, once all frames are seen."""
        (height, width), scale = self._shape, self._scale
        chosen = max(self._people, key=lambda person: person.weight, default=None)
        dropped: dict[int, Loss] = {}
        faces: dict[int, Face] = {}
        if chosen is not None:
            faces = {index: _enlarged(face, scale) for index, face in chosen.faces.items()}
            beyond = {index for index, face in faces.items() if _beyond(face, width, height)}
            odd = set(faces) - beyond - plausible({i: face for i, face in faces.items() if i not in beyond})
            dropped |= dict.fromkeys(beyond, Loss.LEAVES_PICTURE) | dict.fromkeys(odd, Loss.IMPLAUSIBLE)
        last: int | None = None
        for index, shot in self._shot_of.items():
            last = index if index in faces else last
            if index not in faces:
                dropped[index] = self._loss(
                    index, shot, chosen, went=last is not None and _at_border(faces[last], width, height)
                )
        kept = {index: face for index, face in faces.items() if index not in dropped}
        others = {
            index: tuple(
                _enlarged(p.faces[index], scale).box for p in self._people if p is not chosen and index in p.faces
            )
            for index in kept
        }
        return Followed(
            faces=kept,
            bystanders={index: boxes for index, boxes in others.items() if boxes},
            dropped=dict(sorted(dropped.items())),
            width=width,
            height=height,
        )

    def _meet(self, person: _Somebody, face: Face, frame: Frame) -> None:
        height, width = frame.image.shape[:2]
        square = square_around(face.points)
        aside = np.hypot(square.x - width / 2, square.y - height / 2) / np.hypot(width / 2, height / 2)
        person.faces[frame.index] = face
        if _beyond(face, width, height):
            return  # of no use
        person.weight += square.side / max(height, width) * (1 - 0.5 * min(float(aside), 1.0))

    def _recognise(self, shot: int, face: Face, index: int) -> _Somebody:
        """Who that is: somebody of the shot who was last seen there, or a new person."""
        lost = [p for p in self._people if p.shot == shot and index not in p.faces and p.is_near(face)]
        if lost:
            return max(lost, key=lambda person: person.weight)
        self._people.append(_Somebody(shot=shot))
        return self._people[-1]

    def _loss(self, index: int, shot: int, chosen: _Somebody | None, *, went: bool) -> Loss:
        anybody = any(index in person.faces for person in self._people)
        if chosen is not None and anybody and shot != chosen.shot:
            return Loss.ANOTHER_SHOT
        return Loss.LEAVES_PICTURE if went and chosen is not None and shot == chosen.shot else Loss.NO_FACE


def summarize(kept: Sequence[int], dropped: Mapping[int, Loss]) -> dict[str, float | int | str]:
    """Counts for people and machines: frames kept, frames lost by reason, and which (`no_face: 3-5, 9; …`).

    Args:
        kept: frame numbers.
        dropped: frame numbers and why.
    """
    by_reason = {loss: [index for index, why in sorted(dropped.items()) if why is loss] for loss in Loss}
    lost = {loss: indices for loss, indices in by_reason.items() if indices}
    order = {index: place for place, index in enumerate(sorted([*kept, *dropped]))}
    return {
        "frames": len(kept),
        "frames_looked_at": len(kept) + len(dropped),
        **{f"dropped_{loss}": len(indices) for loss, indices in lost.items()},
        **(
            {"dropped": "; ".join(f"{loss}: {_runs(indices, order)}" for loss, indices in lost.items())} if lost else {}
        ),
    }


def _runs(indices: list[int], order: Mapping[int, int]) -> str:
    """Frame numbers as text, those that follow one another among all that were looked at drawn together."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and order[index] == order[runs[-1][-1]] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _enlarged(face: Face, scale: float) -> Face:
    factor = np.float32(scale)
    return face if scale == 1 else replace(face, points=face.points * factor, depth=face.depth * factor)


def _beyond(face: Face, width: int, height: int) -> bool:
    """Whether too much of a face lies outside of the picture."""
    x, y = face.points.T
    return float(((x < 0) | (y < 0) | (x > width) | (y > height)).mean()) > _BEYOND


def _at_border(face: Face, width: int, height: int) -> bool:
    """Whether a face is so near the picture's border that it may be gone in the next frame."""
    (left, top), (right, bottom) = face.box
    near = 0.25 * max(right - left, bottom - top)
    return bool(left < near or top < near or right > width - near or bottom > height - near)
