"""Structures of numbers and NUL-ended UTF-16 texts in event payloads, passed over."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_texts
from etwcap.native.loader import function, library, pointer


def skip_texts(
    buffer: NDArray[np.uint8],
    at: NDArray[np.int64],
    end: NDArray[np.int64],
    counts: NDArray[np.uint32],
    lead: int,
    texts: int,
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Pass over ``counts[i]`` structures of ``lead`` bytes and so many texts each, between ``at[i]`` and ``end[i]``.

    Gives the offset behind them (-1 where they do not fit) and the 64-bit FNV-1a hash of their bytes. Raises
    IndexError when ``at[i]`` to ``end[i]`` is no range of the buffer.
    """
    core = library()
    if core is None:
        return twin_texts.skip_texts(buffer, at, end, counts, lead, texts)
    at, end = np.ascontiguousarray(at, np.int64), np.ascontiguousarray(end, np.int64)
    counts = np.ascontiguousarray(counts, np.uint32)
    after, key = np.empty(len(at), np.int64), np.empty(len(at), np.uint64)
    call = function(
        core, "ec_skip_texts", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
    )  # fmt: skip
    got = call(
        pointer(buffer), buffer.size, pointer(at), pointer(end), pointer(counts), lead, texts, len(at),
        pointer(after), pointer(key),
    )  # fmt: skip
    if got < 0:
        raise IndexError(f"range {-got - 1} lies outside its buffer")
    return after, key
