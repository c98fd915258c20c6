"""One person is followed: never mixed with others, and each frame that is lost has its reason. No net is asked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pegasus_ray.perception.footage.bystanders import without_bystanders
from pegasus_ray.perception.footage.follow import Followed, Follower, summarize
from pegasus_ray.perception.footage.quality import facing, features_seen, plausible_frames
from pegasus_ray.perception.footage.shots import Shots, View
from pegasus_ray.perception.footage.video import Frame
from pegasus_ray.perception.nets import mesh_topology as mesh
from pegasus_ray.perception.nets.face_regions import polygon
from pegasus_ray.perception.nets.landmarks import Face
from pegasus_ray.schemas.errors import DropReason
from pegasus_ray.schemas.parts import Label
from tests.perception.faces import landmarks

WIDTH, HEIGHT = 320, 240
RANDOM = np.random.default_rng(0)
ROOM, STREET = (
    RANDOM.integers(0, 256, (HEIGHT // 40, WIDTH // 40, 3)).repeat(40, 0).repeat(40, 1).astype(np.uint8) for _ in "ab"
)


def face_at(x: float, y: float = 120.0, side: float = 160.0) -> Face:
    points = landmarks(1, x=0, y=0, height=1) * side * 0.44
    depth = np.zeros(478, np.float32)
    return Face(
        points=points + np.array([x, y], np.float32), depth=depth, blendshapes=np.zeros(52, np.float32), score=1.0
    )


class Seen:
    """In place of the landmark net: it knows who is where in each frame, and gives them in the order of `previous`."""

    def __init__(self, people: Sequence[Sequence[Face]]) -> None:
        self.people = iter(people)

    def detect_all(self, rgb: np.ndarray, previous: Sequence[np.ndarray]) -> tuple[list[Face | None], list[Face]]:
        there = list(next(self.people))
        followed: list[Face | None] = []
        for points in previous:
            near = [face for face in there if np.hypot(*(face.points.mean(0) - points.mean(0))) < 40]
            followed.append(near[0] if near else None)
            there = [face for face in there if face is not (near or [None])[0]]
        return followed, there


def follow(people: Sequence[Sequence[Face]], rooms: Sequence[np.ndarray] | None = None, scale: float = 1.0) -> Followed:
    follower = Follower(Seen(people))  # type: ignore[arg-type]
    for index, room in enumerate(rooms or [ROOM] * len(people)):
        follower.add(Frame(index=index, time=index / 25, image=room, scale=scale))
    return follower.choose()


def test_the_larger_nearer_the_middle_and_longer_seen_is_kept_and_the_other_never_mixed_in() -> None:
    ada = [face_at(120 + 2 * step) for step in range(8)]
    bob = [face_at(270, side=90) for _ in range(8)]
    found = follow([[b, a] if step % 2 else [a, b] for step, (a, b) in enumerate(zip(ada, bob, strict=True))])
    assert list(found.faces) == list(range(8))
    assert found.dropped == {}
    for index, face in found.faces.items():
        assert face is ada[index]
        (box,) = found.bystanders[index]
        assert np.allclose(box, bob[index].box)


def test_a_short_visit_of_a_large_face_does_not_take_over() -> None:
    people = [[face_at(100, side=100)] for _ in range(12)]
    people[5] = [face_at(100, side=100), face_at(240, side=160)]
    found = follow(people)
    assert len(found.faces) == 12
    assert list(found.bystanders) == [5]


def test_the_longest_shot_is_taken_and_the_rest_named_also_when_it_comes_back() -> None:
    rooms = [STREET] * 3 + [ROOM] * 4 + [STREET] * 2 + [ROOM] * 4
    found = follow([[face_at(150)] for _ in rooms], rooms)
    assert list(found.faces) == [3, 4, 5, 6, 9, 10, 11, 12]
    assert set(found.dropped.values()) == {DropReason.ANOTHER_SHOT}


def test_a_closer_picture_of_the_same_room_is_another_shot() -> None:
    people = [[face_at(150, side=80)]] * 3 + [[face_at(150, side=150)]] * 6
    closer = np.ascontiguousarray(ROOM[60:180, 80:240].repeat(2, 0).repeat(2, 1))
    found = follow(people, [ROOM] * 3 + [closer] * 6)
    assert list(found.faces) == list(range(3, 9))
    assert set(found.dropped.values()) == {DropReason.ANOTHER_SHOT}


def test_a_face_that_leaves_the_picture_is_named_so_and_found_again() -> None:
    path = [190, 225, 260, 290, 322, 340]
    people = [[face_at(x)] for x in path] + [[], []] + [[face_at(x)] for x in reversed(path)]
    found = follow(people)
    assert set(found.faces) == {0, 1, 2, 3, 10, 11, 12, 13}
    assert {found.dropped[index] for index in (4, 5, 6, 7, 8, 9)} == {DropReason.LEAVES_PICTURE}


def test_a_hidden_face_in_the_middle_is_no_face() -> None:
    people = [[face_at(160)], [face_at(160)], [], [face_at(160)]]
    assert follow(people).dropped == {2: DropReason.NO_FACE}
    nobody = follow([[], [], []])
    assert nobody.faces == {}
    assert set(nobody.dropped.values()) == {DropReason.NO_FACE}


def test_landmarks_of_no_face_are_dropped() -> None:
    people = [[face_at(160)] for _ in range(9)]
    scattered = RANDOM.uniform(60, 200, (478, 2)).astype(np.float32)
    people[4] = [replace(people[4][0], points=scattered)]
    assert follow(people).dropped == {4: DropReason.IMPLAUSIBLE}


def test_faces_of_shrunk_frames_are_in_the_videos_pixels() -> None:
    found = follow([[face_at(160)], [face_at(160)]], scale=3.0)
    assert (found.width, found.height) == (3 * WIDTH, 3 * HEIGHT)
    assert np.allclose(found.faces[0].points, 3 * face_at(160).points)


def test_turned_and_scaled_faces_are_plausible() -> None:
    def turned(angle: float, scale: float) -> Face:
        face = face_at(0, 0)
        space = np.column_stack([face.points, 0.3 * np.cos(face.points[:, 0] / 40) * 80])
        x, z = space[:, 0].copy(), space[:, 2].copy()
        space[:, 0], space[:, 2] = np.cos(angle) * x + np.sin(angle) * z, np.cos(angle) * z - np.sin(angle) * x
        return replace(
            face, points=(scale * space[:, :2]).astype(np.float32), depth=(scale * space[:, 2]).astype(np.float32)
        )

    faces = {index: turned(angle, 1 + index / 5) for index, angle in enumerate(np.linspace(-0.8, 0.8, 7))}
    assert plausible_frames(faces) == set(faces)
    assert facing(turned(0.0, 1.0)) > 0.99
    assert facing(turned(0.7, 1.0)) == pytest.approx(np.cos(0.7), abs=0.05)


def test_exposure_and_a_moving_head_are_no_cut() -> None:
    shots = Shots()
    for step in range(6):
        image = np.clip(ROOM.astype(int) * 0.6 + 10 * step, 0, 255).astype(np.uint8)
        image[40:200, 60 + 20 * step : 160 + 20 * step] = (200, 160, 140)
        assert shots.place(View.of(image, 100.0)) == 0
    assert shots.place(View.of(STREET, 100.0)) == 1


def test_counts_and_runs_of_what_was_lost() -> None:
    dropped = {4: DropReason.NO_FACE, 6: DropReason.NO_FACE, 12: DropReason.NO_FACE, 14: DropReason.ANOTHER_SHOT}
    told = summarize([0, 2, 8, 10], dropped)
    assert told["frames"] == 4
    assert told["frames_looked_at"] == 8
    assert (told["dropped_no_face"], told["dropped_another_shot"]) == (3, 1)
    assert told["dropped"] == "no_face: 4-6, 12; another_shot: 14"
    assert "dropped" not in summarize([0, 2], {})


def test_a_neighbour_who_touches_is_cut_out_of_the_matte() -> None:
    matte = np.zeros((200, 200), np.uint8)
    matte[30:, 20:90] = matte[60:, 80:190] = 255  # two people, shoulder to shoulder
    matte[10:15, 150:160] = 255  # something in the air
    own, other = np.array([[35, 40], [75, 90]], np.float32), np.array([[115, 70], [155, 120]], np.float32)
    alone = without_bystanders(matte, own, [other])
    assert (alone[30:, 20:90] == 255).all()
    assert (alone[:, 105:] == 0).all()
    assert (without_bystanders(matte, own, ())[60:, 80:190] == 255).all(), "what hangs together is one person's"
    assert (without_bystanders(matte, own, ())[:20] == 0).all()


def test_features_that_the_parser_does_not_see_are_hidden() -> None:
    points = landmarks(64) / 64
    seen = np.full((3, 64, 64), Label.SKIN, np.uint8)
    for outline, label, frames in ((mesh.NOSE, Label.NOSE, (0, 2)), (mesh.LIP_UPPER, Label.LIP_UPPER, (0,))):
        for frame in frames:
            seen[frame][polygon(points * 64, outline, 64)] = label
    seen[0][polygon(points * 64, mesh.LIP_LOWER, 64)] = Label.LIP_LOWER
    seen[0][polygon(points * 64, mesh.MOUTH, 64)] = Label.MOUTH
    share = features_seen(seen, np.stack([points] * 3))
    assert share[0] > 0.9
    assert share[1] == 0
    assert share[2] < 0.2, "a mask below the nose"
