"""Reads the arrays out of a pickle without running code that it names.

Licensed head models come as pickles of numpy, scipy.sparse and chumpy arrays. No class of these packages is called here. Each
global that such a file may name resolves to a stand-in of this file, which only keeps its state; the arrays are built from
the states afterwards, with every size checked. Any other global, and any opcode that plain arrays do not need, is refused
by its name before the pickle is run at all.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from pegasus_ray.schemas.errors import PegasusError, Reason

Array = npt.NDArray[Any]

MAX_FILE_BYTES: Final = 1 << 30  # of a pickle, or of an .npz once unpacked; larger ones are refused unread
MAX_ARRAY_BYTES: Final = 1 << 28  # of a sparse array once it is dense
_OPCODE_NAMES: Final = """
PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT
STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD
"""
OPCODES: Final = frozenset(_OPCODE_NAMES.split())
"""The opcodes that pickles of plain arrays use; all others are refused."""
NUMBER_TYPES: Final = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
"""NumPy's codes of the types of numbers that are accepted."""
MEMO_OPCODES: Final = ("PUT", "BINPUT", "LONG_BINPUT")


class _StandIn:
    """Has no attributes and takes none, so that a pickle can change it through `__setstate__` alone."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError(f"{type(self).__name__} takes no state")


class _NdArray(_StandIn):
    """`numpy.ndarray`, which such pickles use only as an argument."""

    __slots__ = ()


class _Latin1(_StandIn):
    """`_codecs.encode` for Latin-1 alone, which Python 3 uses to pickle bytes in protocol 2."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object = "") -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError(f"_codecs.encode to {encoding!r}")
        return text.encode("latin1")


class _NoBytes(_StandIn):
    """`bytes()`, which Python 3 uses to pickle an empty byte string in protocol 2."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


class _DType(_StandIn):
    """`numpy.dtype`. Any type is kept, but `number` accepts those of plain numbers only."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_: object) -> None:
        self.code: object = code
        self.order: object = "<"

    def __setstate__(self, state: object) -> None:
        self.order = state[1] if isinstance(state, tuple) and len(state) > 1 else None

    def number(self) -> np.dtype[Any]:
        """The type, if it is that of a plain number.

        Raises:
            UnpicklingError: for any other type.
        """
        if self.code not in NUMBER_TYPES or self.order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"an array of type {self.order!r}{self.code!r}")
        return np.dtype(f"{self.order}{self.code}")


class _Array(_StandIn):
    """`numpy.core.multiarray._reconstruct` and the array that it starts."""

    __slots__ = ("state",)

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def array(self) -> Array:
        """The array.

        Raises:
            UnpicklingError: where its state is not that of an array of plain numbers.
        """
        match self.state:
            case (int(), tuple(shape), _DType() as kind, bool() | 0 | 1 as fortran, bytes() | str() as data):
                pass
            case _:
                raise pickle.UnpicklingError("an array without plain contents")
        if not all(isinstance(side, int) and 0 <= side < 1 << 31 for side in shape) or len(shape) > 4:
            raise pickle.UnpicklingError(f"an array of shape {shape!r}")
        contents = data.encode("latin1") if isinstance(data, str) else data
        dtype = kind.number()
        if len(contents) != math.prod(shape) * dtype.itemsize:
            raise pickle.UnpicklingError(f"{len(contents)} bytes for an array of shape {shape}")
        return np.frombuffer(contents, dtype).reshape(shape, order="F" if fortran else "C")


class _Holder(_StandIn, ABC):
    """An object whose state is a dictionary."""

    __slots__ = ("state",)

    def __init__(self, *_: object) -> None:
        self.state: dict[object, object] = {}

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"{type(self).__name__} whose state is no dictionary")
        self.state = state

    @abstractmethod
    def array(self) -> Array:
        """The array that it holds."""


class _Chumpy(_Holder):
    """`chumpy.ch.Ch`."""

    __slots__ = ()

    def array(self) -> Array:
        held = self.state.get("x")
        if not isinstance(held, _Array):
            raise pickle.UnpicklingError("a chumpy object that is no plain array")
        return held.array()


class _Compressed(_Holder):
    """`scipy.sparse.csc_matrix`. It is made dense here, so that unchecked indices never reach scipy's compiled code."""

    __slots__ = ()
    by_column = True

    def array(self) -> Array:
        parts = [self.state.get(name) for name in ("data", "indices", "indptr")]
        values, indices, ends = (part.array() if isinstance(part, _Array) else None for part in parts)
        match self.state.get("_shape", self.state.get("shape")):
            case (int(rows), int(columns)) if min(rows, columns) > 0 and rows * columns * 8 <= MAX_ARRAY_BYTES:
                shape = (columns, rows) if self.by_column else (rows, columns)
            case other:
                raise pickle.UnpicklingError(f"a sparse matrix of shape {other!r}")
        if values is None or indices is None or ends is None or {indices.dtype.kind, ends.dtype.kind} - {"i", "u"}:
            raise pickle.UnpicklingError("a sparse matrix without values, indices and ends")
        ends = ends.astype(np.int64)
        counts = ends[1:] - ends[:-1]
        whole = ends.shape == (shape[0] + 1,) and ends[0] == 0 and ends[-1] == len(indices) == len(values)
        inside = len(indices) == 0 or (indices.min() >= 0 and indices.max() < shape[1])
        if not whole or not inside or (counts < 0).any():
            raise pickle.UnpicklingError("a sparse matrix whose indices lie outside of it")
        dense = np.zeros(shape)
        np.add.at(dense, (np.repeat(np.arange(shape[0]), counts), indices.astype(np.int64)), values)
        return dense.T if self.by_column else dense


class _CompressedRows(_Compressed):
    """`scipy.sparse.csr_matrix`."""

    __slots__ = ()
    by_column = False


STAND_INS: Final[dict[tuple[str, str], Any]] = {
    ("numpy", "ndarray"): _NdArray,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("scipy.sparse.csc", "csc_matrix"): _Compressed,
    ("scipy.sparse._csc", "csc_matrix"): _Compressed,
    ("scipy.sparse.csr", "csr_matrix"): _CompressedRows,
    ("scipy.sparse._csr", "csr_matrix"): _CompressedRows,
    ("chumpy.ch", "Ch"): _Chumpy,
    ("chumpy", "Ch"): _Chumpy,
    ("_codecs", "encode"): _Latin1(),
    ("__builtin__", "bytes"): _NoBytes(),
}
"""What each global that a pickle may name resolves to."""


_DAMAGE: Final = (
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
    AssertionError,
    MemoryError,
    RecursionError,
    struct.error,
)
"""What unpickling damaged contents may raise, beside UnpicklingError."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("a persistent id")


def read_pickled_arrays(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    """The arrays of these names in a pickled dictionary; what else it holds is ignored.

    Raises:
        PegasusError: NOT_FOUND; CORRUPT where the file is too large, is no pickle of arrays, names anything but arrays (the
            message says what), or lacks one of the names.
    """
    if not path.is_file():
        raise PegasusError(Reason.NOT_FOUND, "there is no such file", subject=str(path))
    if path.stat().st_size > MAX_FILE_BYTES:
        raise PegasusError(
            Reason.CORRUPT, f"larger than {MAX_FILE_BYTES >> 20} MiB, so no head model", subject=str(path)
        )
    contents = path.read_bytes()
    try:
        _refuse_unknown(contents)
        model = _Unpickler(io.BytesIO(contents), encoding="latin1").load()
        if not isinstance(model, dict):
            raise pickle.UnpicklingError("no dictionary at its top")
        return {name: _array(model, name) for name in names}
    except pickle.UnpicklingError as error:
        message = f"refused, nothing of it was run: it holds {error}, and only plain arrays are read"
        raise PegasusError(Reason.CORRUPT, message, subject=str(path)) from error
    except _DAMAGE as error:
        raise PegasusError(Reason.CORRUPT, f"not a whole pickle of arrays ({error})", subject=str(path)) from error


def _refuse_unknown(contents: bytes) -> None:
    """Refuse opcodes that arrays do not need, unknown globals, and memo numbers beyond the number of opcodes so far.

    A large memo number would make the unpickler reserve as much memory.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(contents)):
        if opcode.name not in OPCODES:
            raise pickle.UnpicklingError(f"the opcode {opcode.name}{f' of {argument}' if argument else ''}")
        if opcode.name == "GLOBAL" and tuple(str(argument).split(" ", 1)) not in STAND_INS:
            raise pickle.UnpicklingError(str(argument).replace(" ", "."))
        if opcode.name in MEMO_OPCODES and not 0 <= int(str(argument)) <= count:
            raise pickle.UnpicklingError(f"a memo of {argument} entries")


def _array(model: dict[object, object], name: str) -> Array:
    found = model.get(name)
    if found is None:
        raise ValueError(f"it has no {name!r}")
    if not isinstance(found, _Array | _Chumpy | _Compressed):
        raise pickle.UnpicklingError(f"{name!r} as a {type(found).__name__}")
    return found.array()
