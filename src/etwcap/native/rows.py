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
