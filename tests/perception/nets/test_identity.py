"""One person's vectors are alike and another's are not; whatever net gives them, faces come to it aligned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pegasus_ray.library.track import Track
from pegasus_ray.perception.assets.files import fetch
from pegasus_ray.perception.nets import identity
from pegasus_ray.perception.nets.identity import ArcFaceIdentity, DlibIdentity, distance, identity_model_of
from pegasus_ray.schemas.errors import PegasusError, Reason
from tests.perception.conftest import Filmed


@pytest.fixture(scope="module")
def dlib_net() -> DlibIdentity:
    try:
        fetch([identity.DLIB_MODEL])
    except PegasusError as error:
        pytest.skip(f"model file cannot be had: {error}")
    model = identity_model_of("dlib")
    assert isinstance(model, DlibIdentity)
    return model


def pictures(track: Track) -> tuple[np.ndarray, np.ndarray]:
    return track.images[:3], track.landmarks[:3]


def test_the_same_person_is_near_and_another_is_far(dlib_net: DlibIdentity, filmed: Filmed, other: Filmed) -> None:
    one, same, another = (
        dlib_net.embed(*pictures(truth)) for truth in (filmed.truth, filmed.truth.select([3, 4, 5]), other.truth)
    )
    assert one.shape == (3, 128)
    assert distance(one, same) < 0.4
    assert distance(one, another) > 0.5
    assert distance(one[0], one[0]) == 0


def test_a_turned_and_shrunk_picture_is_the_same_person(dlib_net: DlibIdentity, filmed: Filmed) -> None:
    images, landmarks = pictures(filmed.truth)
    turned = np.ascontiguousarray(images.transpose(0, 2, 1, 3)[:, :, ::-1])  # a quarter clockwise
    around = np.stack([1 - landmarks[..., 1], landmarks[..., 0]], -1).astype(np.float32)
    assert distance(dlib_net.embed(images, landmarks), dlib_net.embed(turned, around)) < 0.15


def test_faces_are_aligned_by_a_similarity() -> None:
    places = np.array([[10.0, 20.0], [60.0, 22.0], [35.0, 70.0]])
    angle, scale, shift = 0.7, 1.8, np.array([5.0, -3.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (places - shift) @ turn / scale
    matrix = identity._similarity(points, places)
    assert np.allclose(points @ matrix[:, :2].T + matrix[:, 2], places)


def test_samples_are_the_best_of_each_stretch() -> None:
    quality = np.array([0.1, 0.9, 0.2, 0.3, 0.8, 0.1, 0.5, 0.4, 0.6], np.float32)
    assert identity.best_frames(quality, 3).tolist() == [1, 4, 8]
    assert identity.best_frames(quality[:2], 5).tolist() == [0, 1]


def test_a_face_that_becomes_anothers_is_refused() -> None:
    random = np.random.default_rng(0)
    ada, bob = random.normal(size=(2, 128)) / 12
    noise = random.normal(size=(6, 128)) * 0.01
    identity.require_one_person((ada + noise).astype(np.float32), 0.6, "one.mp4")
    odd = ada + noise
    odd[2] = bob
    identity.require_one_person(odd.astype(np.float32), 0.6, "one bad picture is nobody else")
    odd[3:] = bob + noise[3:]
    with pytest.raises(PegasusError) as caught:
        identity.require_one_person(odd.astype(np.float32), 0.6, "two.mp4")
    assert caught.value.reason is Reason.SEVERAL_PEOPLE
    assert caught.value.subject == "two.mp4"


def test_arcface_gets_aligned_pictures_in_its_range(tmp_path: Path, filmed: Filmed) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `arcface` is not installed")
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_of_each_channel())
    images, landmarks = pictures(filmed.truth)
    found = ArcFaceIdentity(path).embed(images, landmarks)
    assert found.shape == (3, 3)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    chips = np.stack(identity._align_faces(images, landmarks[:, [468, 473, 1, 61, 291]], identity._ARCFACE_PLACES, 112))
    means = (chips.reshape(3, -1, 3).mean(1) - 127.5) / 127.5
    assert np.allclose(found, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-4)


def test_a_file_that_is_no_net_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `arcface` is not installed")
    path = tmp_path / "letter.onnx"
    path.write_bytes(b"not a net")
    with pytest.raises(PegasusError) as caught:
        ArcFaceIdentity(path)
    assert caught.value.reason is Reason.ASSET_CORRUPT


def test_names_decide_and_a_missing_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PEGASUS_CACHE", str(tmp_path))
    monkeypatch.delenv("PEGASUS_ASSET_MIRROR", raising=False)
    assert identity_model_of("none") is None
    assert identity_model_of("auto") is None
    for name, reason in (("dlib", Reason.ASSET_MISSING), ("arcface", Reason.ASSET_MISSING), ("eye", Reason.BAD_CONFIG)):
        with pytest.raises(PegasusError) as caught:
            identity_model_of(name)
        assert caught.value.reason is reason


def mean_of_each_channel() -> bytes:
    """An ONNX net from (1, 3, 112, 112) to (1, 3), written field by field as its protocol buffer has them."""

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return bytes([number << 3, value])
        assert len(value) < 128
        return bytes([number << 3 | 2, len(value)]) + value

    def tensor(name: bytes, *sides: int) -> bytes:
        shape = b"".join(field(1, field(1, side)) for side in sides)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))

    pool = field(1, b"x") + field(2, b"p") + field(4, b"GlobalAveragePool")
    flat = field(1, b"p") + field(2, b"y") + field(4, b"Flatten")
    graph = (
        field(1, pool)
        + field(1, flat)
        + field(2, b"g")
        + field(11, tensor(b"x", 1, 3, 112, 112))
        + field(12, tensor(b"y", 1, 3))
    )
    return field(1, 8) + bytes([7 << 3 | 2, len(graph)]) + graph + field(8, field(2, 13))
