"""Byte ranges of a buffer, copied next to each other."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_ranges
from etwcap.native.loader import function, library, pointer


def copy_ranges(
    buffer: NDArray[np.uint8], offsets: NDArray[np.int64], lengths: NDArray[np.uint32], out: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Copy each range to ``out``, one after the other; gives the offset in ``out`` of each.

    Raises IndexError when a range does not lie inside the buffer or ``out`` is too small.
    """
    core = library()
    if core is None:
        return twin_ranges.copy_ranges(buffer, offsets, lengths, out)
    offsets = np.ascontiguousarray(offsets, np.int64)
    lengths = np.ascontiguousarray(lengths, np.uint32)
    placed = np.empty(len(offsets), np.int64)
    call = function(
        core, "ec_copy_ranges", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
    )  # fmt: skip
    got = call(
        pointer(buffer),
        buffer.size,
        pointer(offsets),
        pointer(lengths),
        len(offsets),
        pointer(out),
        out.size,
        pointer(placed),
    )
    if got < 0:
        raise IndexError(f"range {-got - 1} lies outside its buffer")
    return placed


def pack_ranges(
    buffer: NDArray[np.uint8], offsets: NDArray[np.int64], lengths: NDArray[np.uint32]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The ranges one after the other in a buffer of their own, and where each begins there.

    Raises IndexError when a range does not lie inside the buffer.
    """
    out = np.empty(int(lengths.sum(dtype=np.int64)), np.uint8)
    return out, copy_ranges(buffer, offsets, lengths, out)
