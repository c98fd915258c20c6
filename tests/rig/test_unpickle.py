"""Plain arrays are read from pickles exactly, and nothing that a pickle names is ever called."""

from __future__ import annotations

import builtins
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pegasus_ray.rig.unpickle import read_pickled_arrays
from pegasus_ray.schemas.errors import PegasusError, Reason


class Reduced:
    """An object whose pickle calls a function when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.answer = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.answer


@pytest.fixture
def alarm(tmp_path: Path) -> Path:
    """A file that hostile pickles try to make."""
    return tmp_path / "alarm"


def refused(path: Path, contents: bytes) -> str:
    path.write_bytes(contents)
    with pytest.raises(PegasusError) as caught:
        read_pickled_arrays(path, ("a",))
    assert caught.value.reason is Reason.CORRUPT
    return caught.value.message


def test_arrays_of_all_kinds_come_through(tmp_path: Path) -> None:
    dense = np.random.default_rng(0).standard_normal((5, 7))
    dense[dense < 0.3] = 0
    kept = {
        "double": dense,
        "fortran": np.asfortranarray(dense),
        "big": dense.astype(">f4"),
        "unsigned": np.arange(6, dtype=np.uint32).reshape(2, 3),
        "empty": np.zeros((0, 3)),
        "columns": scipy.sparse.csc_matrix(dense),
        "rows": scipy.sparse.csr_matrix(dense),
    }
    for protocol in (2, 4):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps(kept | {"other": ["text", 1, None, {"x": 2.0}]}, protocol=protocol))
        read = read_pickled_arrays(path, tuple(kept))
        for name, value in kept.items():
            expected = value.toarray() if scipy.sparse.issparse(value) else value
            np.testing.assert_array_equal(read[name], expected, err_msg=name)


def test_python_2_files_are_read(tmp_path: Path) -> None:
    """A pickle as Python 2 wrote it, opcode by opcode: bytes as Latin-1 text, and numpy's old module names."""
    values = np.array([1.5, -2.0, 255.0])
    raw = values.tobytes()
    contents = (
        b"\x80\x02}q\x00U\x01ac"
        + b"numpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K\x03\x85"
        b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
        + bytes([len(raw)])
        + raw
        + b"tbs."
    )
    path = tmp_path / "old.pkl"
    path.write_bytes(contents)
    np.testing.assert_array_equal(read_pickled_arrays(path, ("a",))["a"], values)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_calls_are_refused_by_name_and_never_made(tmp_path: Path, alarm: Path, protocol: int) -> None:
    touch = f"open({str(alarm)!r}, 'w')"
    array = np.ones(3)
    hostile = {
        "system": Reduced(os.system, f"touch {alarm}"),
        "eval": Reduced(builtins.eval, touch),
        "exec": Reduced(builtins.exec, touch),
        "getattr": Reduced(getattr, array, "tofile"),
        "numpy.load": Reduced(np.load, str(alarm)),
        "numpy.savetxt": Reduced(np.savetxt, str(alarm), array),
        "numpy.save": Reduced(np.save, str(alarm), array),
        "open": Reduced(builtins.open, str(alarm), "w"),
    }
    for name, value in hostile.items():
        message = refused(tmp_path / "bad.pkl", pickle.dumps({"a": array, "b": [{"c": value}]}, protocol=protocol))
        assert name in message or "_reconstructor" in message, message  # protocol 0 names that first
        assert "nothing of it was run" in message
        assert not alarm.exists()


def test_known_globals_cannot_be_misused(tmp_path: Path, alarm: Path) -> None:
    path = tmp_path / "bad.pkl"
    system = f"cposix\nsystem\n(U{chr(len(str(alarm)) + 6)}touch {alarm}tR".encode()
    gadgets = {
        "posix.system": b"\x80\x02}U\x01a" + system + b"s.",
        "copyreg": b"\x80\x02}U\x01accopyreg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtRs.",
        "rot13": b"\x80\x02}U\x01ac_codecs\nencode\n(U\x01bU\x05rot13tRs.",
        "numpy.dtype.__reduce__": b"\x80\x02}U\x01acnumpy\ndtype.__reduce__\n(tRs.",
        "EXT1": b"\x80\x02}U\x01a\x82\x01s.",
        "INST": b"(S'ls'\niposix\nsystem\n.",
        "OBJ": b"(cnumpy\nndarray\nS'ls'\no.",
        "BINPERSID": b"\x80\x02K\x01Q.",
        "BYTEARRAY8": b"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x00.",
        "memo": b"\x80\x02}r\xff\xff\xff\x7f.",
        "no state": b"\x80\x02}U\x01acnumpy\nndarray\n)\x81N}U\x01xK\x01s\x86bs.",
    }
    for name, contents in gadgets.items():
        message = refused(path, contents)
        assert name.split(".")[0] in message or "takes no state" in message, (name, message)
        assert not alarm.exists()


def test_a_stand_in_cannot_be_changed_for_later_files(tmp_path: Path) -> None:
    """BUILD with a slot state, applied to a class or a function, would set attributes on it for the whole process."""
    path = tmp_path / "bad.pkl"
    for named in (b"cnumpy\nndarray\n", b"cscipy.sparse.csc\ncsc_matrix\n", b"cchumpy.ch\nCh\n", b"c_codecs\nencode\n"):
        refused(path, b"\x80\x02}U\x01a" + named + b"N}U\x05arrayK\x01s\x86bs.")
    test_arrays_of_all_kinds_come_through(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"indices": np.array([0, 99], np.int32)},
        {"indices": np.array([0, -1], np.int32)},
        {"indptr": np.array([0, 2, 1, 2], np.int32)},
        {"indptr": np.array([0, 2], np.int32)},
        {"_shape": (1 << 40, 3)},
        {"data": np.ones(1)},
    ],
)
def test_sparse_indices_are_never_trusted(tmp_path: Path, change: dict[str, Any]) -> None:
    matrix = scipy.sparse.csc_matrix(np.eye(4, 3)[:, :3])
    matrix = scipy.sparse.csc_matrix((np.ones(2), np.array([0, 1], np.int32), np.array([0, 1, 2, 2], np.int32)), (4, 3))
    for name, value in change.items():
        setattr(matrix, name, value)
    assert "sparse matrix" in refused(tmp_path / "bad.pkl", pickle.dumps({"a": matrix}, protocol=2))


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"text",
        b"\x80\x02}",
        pickle.dumps([1]),
        pickle.dumps({"b": 1}),
        pickle.dumps({"a": np.array([None])}),
        b"\x80\x02" * 9,
    ],
)
def test_what_is_no_pickle_of_arrays_is_refused(tmp_path: Path, contents: bytes) -> None:
    assert refused(tmp_path / "bad.pkl", contents)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PegasusError) as caught:
        read_pickled_arrays(tmp_path / "none.pkl", ("a",))
    assert caught.value.reason is Reason.NOT_FOUND


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    whole = {"a": np.arange(6.0), "b": scipy.sparse.csc_matrix(np.eye(3)), "c": [1, "x", None]}
    contents = bytearray(pickle.dumps(whole, protocol=2))
    for place, value in changes:
        contents[place % len(contents)] = value
    path = tmp_path / "damaged.pkl"
    path.write_bytes(contents)
    try:
        read = read_pickled_arrays(path, ("a", "b"))
    except PegasusError as error:
        assert error.reason is Reason.CORRUPT
    else:
        assert all(isinstance(array, np.ndarray) and array.dtype.kind in "fiu" for array in read.values())
