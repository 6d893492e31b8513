"""Fixed-width rows out of a byte buffer."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_rows
from etwcap.native.loader import function, library, pointer


def gather_rows(buffer: NDArray[np.uint8], offsets: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """One structured row of ``dtype`` (packed, any itemsize) read at each offset of the buffer.

    Raises IndexError when a row does not lie inside the buffer.
    """
    core = library()
    if core is None:
        return twin_rows.gather_rows(buffer, offsets, dtype)
    offsets = np.ascontiguousarray(offsets, np.int64)
    out = np.empty(len(offsets), dtype)
    call = function(
        core, "ec_gather_rows", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_size_t, ctypes.c_void_p,
    )  # fmt: skip
    got = call(pointer(buffer), buffer.size, pointer(offsets), len(offsets), dtype.itemsize, pointer(out))
    if got != len(offsets):
        raise IndexError(f"row {-got - 1} lies outside the buffer")
    return out


def pack_rows(
    buffer: NDArray[np.uint8], offsets: NDArray[np.int64], lengths: NDArray[np.uint32]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of all rows behind each other in a new buffer (each at a multiple of 4), and where each begins.

    Raises IndexError when a row does not lie inside the buffer.
    """
    core = library()
    if core is None:
        return twin_rows.pack_rows(buffer, offsets, lengths)
    offsets = np.ascontiguousarray(offsets, np.int64)
    lengths = np.ascontiguousarray(lengths, np.uint32)
    room = int(((lengths.astype(np.int64) + 3) & ~3).sum())
    out = np.empty(room, np.uint8)
    placed = np.empty(len(offsets), np.int64)
    call = function(
        core, "ec_pack_rows", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
    )  # fmt: skip
    used = call(
        pointer(buffer), buffer.size, pointer(offsets), pointer(lengths), len(offsets), pointer(out), room,
        pointer(placed),
    )  # fmt: skip
    if used < 0:
        raise IndexError(f"row {-used - 1} lies outside the buffer")
    return out, placed
