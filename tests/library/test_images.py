"""Any picture comes back exactly, depth and normals within half a step of their encoding; other bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pegasus_ray.library.images import (
    decode_all,
    decode_png,
    depth_to_steps,
    encode_all,
    encode_png,
    normals_to_rgb,
    steps_to_depth,
)
from pegasus_ray.schemas.errors import PegasusError, Reason

sides = st.integers(1, 9)


@given(st.data(), sides, sides, st.sampled_from([((), np.uint8), ((3,), np.uint8), ((), np.uint16)]))
def test_any_picture_comes_back(data: st.DataObject, height: int, width: int, form: tuple) -> None:
    tail, kind = form
    picture = data.draw(arrays.arrays(kind, (height, width, *tail)))
    back = decode_png(encode_png(picture))
    assert back.dtype == kind
    np.testing.assert_array_equal(back, picture)


def test_colours_are_rgb_in_the_file() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert b"IDAT" in encode_png(red)
    np.testing.assert_array_equal(decode_all(encode_all(np.stack([red] * 3))), np.stack([red] * 3))


@given(arrays.arrays(np.float32, 8, elements=st.floats(0, 6.5, width=32)))
def test_depth_is_kept_to_half_a_step(depth: np.ndarray) -> None:
    np.testing.assert_allclose(steps_to_depth(depth_to_steps(depth)), depth, atol=0.51e-4)


@given(arrays.arrays(np.float32, (4, 3), elements=st.floats(-1, 1, width=32)))
def test_normals_are_kept_to_half_a_step_and_the_zero_vector_stays_zero(normals: np.ndarray) -> None:
    np.testing.assert_allclose(normals_to_rgb(normals) / 127.0 - 1.0, normals, atol=0.501 / 127)
    np.testing.assert_array_equal(normals_to_rgb(np.zeros((1, 3), np.float32)), 127)


@pytest.mark.parametrize("data", [b"", b"not a picture", encode_png(np.zeros((4, 4), np.uint8))[:20]])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PegasusError) as caught:
        decode_png(data)
    assert caught.value.reason is Reason.CORRUPT
