"""Finds one person in a video and follows the face: in which frames it is seen, and why not in the others.

All faces are followed from frame to frame. A person in a shot scores by how long, how large and how near to the middle of
the picture the face is seen. The person with the highest score is kept, the other faces are recorded as bystanders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from pegasus_ray.perception.footage.quality import plausible_frames
from pegasus_ray.perception.footage.shots import Shots, View
from pegasus_ray.perception.footage.video import Frame
from pegasus_ray.perception.nets.landmarks import Face, LandmarkModel, square_around
from pegasus_ray.perception.nets.square import Floats
from pegasus_ray.schemas.errors import DropReason

MAX_SEARCH_SIDE: Final = 1920
"""Longer side in pixels of the frames in which faces are sought; larger frames are reduced as they are read."""

_MAX_NEW_FACES: Final = 4  # taken up in one frame
_SAME_PERSON_SIDES: Final = 0.75  # of the face's square: a lost face that is found again this near is the same person's
_MAX_SHARE_BEYOND: Final = 0.12  # of the landmarks beyond the picture's border; more make a frame useless
_BORDER_SIDES: Final = 0.25  # of the face's box: a face this near to the border may be gone in the next frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Where the one person was found, and why not in the other frames."""

    faces: dict[int, Face]  # by frame number, in pixels of the video's picture
    bystanders: dict[int, tuple[Floats, ...]]  # the other faces' boxes, (2, 2) each, in those frames
    dropped: dict[int, DropReason]  # the other frames that were searched, and why each was left out
    width: int  # of the video's picture in pixels
    height: int


@dataclass(slots=True, kw_only=True)
class _Person:
    """A person in a shot."""

    shot: int
    faces: dict[int, Face] = field(default_factory=dict)  # by frame number
    weight: float = 0.0  # the score by which the one person is chosen

    @property
    def last(self) -> Face:
        """The face in the last frame that it was found in."""
        return next(reversed(self.faces.values()))

    def is_near(self, face: Face) -> bool:
        """Whether a face is near enough to where this person was last seen to be the same person's."""
        here, there = square_around(self.last.points), square_around(face.points)
        return bool(np.hypot(here.x - there.x, here.y - there.y) < _SAME_PERSON_SIDES * max(here.side, there.side))


class Follower:
    """Follows everybody in a video, frame by frame.

    Args:
        model: finds faces.
    """

    def __init__(self, model: LandmarkModel) -> None:
        self._model = model
        self._shots = Shots()
        self._people: list[_Person] = []
        self._shot_of: dict[int, int] = {}
        self._shape = (0, 0)  # of the video's picture
        self._scale = 1.0  # pixels of the video's picture for one pixel of the frames that are added

    def add(self, frame: Frame) -> None:
        """Find everybody in the next frame."""
        height, width = frame.image.shape[:2]
        self._scale = frame.scale
        self._shape = (round(height * frame.scale), round(width * frame.scale))
        before = max(self._shot_of, default=None)
        present = [p for p in self._people if before is not None and before in p.faces]
        followed, others = self._model.detect_all(frame.image, [person.last.points for person in present])
        known = [(person, face) for person, face in zip(present, followed, strict=True) if face is not None]
        sides = [square_around(face.points).side for face in (*(face for _, face in known), *others)]
        shot = self._shots.place(View.of(frame.image, max(sides, default=None)))
        self._shot_of[frame.index] = shot
        for person, face in known:
            self._record(person if person.shot == shot else self._recognise(shot, face, frame.index), face, frame)
        for face in others[:_MAX_NEW_FACES]:
            self._record(self._recognise(shot, face, frame.index), face, frame)

    def choose(self) -> Followed:
        """The one person with the highest score, once all frames have been added."""
        (height, width), scale = self._shape, self._scale
        chosen = max(self._people, key=lambda person: person.weight, default=None)
        dropped: dict[int, DropReason] = {}
        faces: dict[int, Face] = {}
        if chosen is not None:
            faces = {index: _scaled(face, scale) for index, face in chosen.faces.items()}
            beyond = {index for index, face in faces.items() if _leaves_picture(face, width, height)}
            odd = set(faces) - beyond - plausible_frames({i: face for i, face in faces.items() if i not in beyond})
            dropped |= dict.fromkeys(beyond, DropReason.LEAVES_PICTURE) | dict.fromkeys(odd, DropReason.IMPLAUSIBLE)
        last: int | None = None
        for index, shot in self._shot_of.items():
            last = index if index in faces else last
            if index not in faces:
                left = last is not None and _at_border(faces[last], width, height)
                dropped[index] = self._loss(index, shot, chosen, left_picture=left)
        kept = {index: face for index, face in faces.items() if index not in dropped}
        others = {
            index: tuple(
                _scaled(p.faces[index], scale).box for p in self._people if p is not chosen and index in p.faces
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

    def _record(self, person: _Person, face: Face, frame: Frame) -> None:
        """A person's face in a frame, and what it adds to the score."""
        height, width = frame.image.shape[:2]
        square = square_around(face.points)
        off_centre = np.hypot(square.x - width / 2, square.y - height / 2) / np.hypot(width / 2, height / 2)
        person.faces[frame.index] = face
        if _leaves_picture(face, width, height):
            return  # a face of which too little is seen adds nothing
        person.weight += square.side / max(height, width) * (1 - 0.5 * min(float(off_centre), 1.0))

    def _recognise(self, shot: int, face: Face, index: int) -> _Person:
        """Whose face that is: a person of the same shot who was last seen there, or a new person."""
        lost = [p for p in self._people if p.shot == shot and index not in p.faces and p.is_near(face)]
        if lost:
            return max(lost, key=lambda person: person.weight)
        self._people.append(_Person(shot=shot))
        return self._people[-1]

    def _loss(self, index: int, shot: int, chosen: _Person | None, *, left_picture: bool) -> DropReason:
        """Why the chosen person's face was not found in a frame.

        Args:
            index: the frame's number.
            shot: the shot that it belongs to.
            chosen: the person, if there is one.
            left_picture: when last found, the face was at the picture's border.
        """
        anybody = any(index in person.faces for person in self._people)
        if chosen is not None and anybody and shot != chosen.shot:
            return DropReason.ANOTHER_SHOT
        return (
            DropReason.LEAVES_PICTURE
            if left_picture and chosen is not None and shot == chosen.shot
            else DropReason.NO_FACE
        )


def summarize(kept: Sequence[int], dropped: Mapping[int, DropReason]) -> dict[str, float | int | str]:
    """Counts of frames kept and of frames lost by reason, and which frames those are (`no_face: 3-5, 9; …`).

    Args:
        kept: frame numbers.
        dropped: frame numbers, and why each was left out.
    """
    by_reason = {loss: [index for index, why in sorted(dropped.items()) if why is loss] for loss in DropReason}
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
    """Frame numbers as text (`3-5, 9`).

    Args:
        indices: the frame numbers, ascending.
        order: each frame's place among those that were searched; neighbours there form one run.
    """
    runs: list[list[int]] = []
    for index in indices:
        if runs and order[index] == order[runs[-1][-1]] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _scaled(face: Face, scale: float) -> Face:
    """A face in a picture that is larger by a factor."""
    factor = np.float32(scale)
    return face if scale == 1 else replace(face, points=face.points * factor, depth=face.depth * factor)


def _leaves_picture(face: Face, width: int, height: int) -> bool:
    """Whether too much of a face lies beyond the picture's border for the frame to be of use."""
    x, y = face.points.T
    return float(((x < 0) | (y < 0) | (x > width) | (y > height)).mean()) > _MAX_SHARE_BEYOND


def _at_border(face: Face, width: int, height: int) -> bool:
    """Whether a face is so near the picture's border that it may be gone in the next frame."""
    (left, top), (right, bottom) = face.box
    near = _BORDER_SIDES * max(right - left, bottom - top)
    return bool(left < near or top < near or right > width - near or bottom > height - near)
