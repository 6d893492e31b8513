"""Twin of rows.c."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def gather_rows(buffer: NDArray[np.uint8], offsets: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Twin of :func:`etwcap.native.rows.gather_rows`."""
    outside = (offsets < 0) | (offsets > buffer.size - dtype.itemsize)
    if outside.any():
        raise IndexError(f"row {int(np.flatnonzero(outside)[0])} lies outside the buffer")
    rows = buffer[offsets[:, None] + np.arange(dtype.itemsize)]
    return np.ascontiguousarray(rows).reshape(-1).view(dtype)


def pack_rows(
    buffer: NDArray[np.uint8], offsets: NDArray[np.int64], lengths: NDArray[np.uint32]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Twin of :func:`etwcap.native.rows.pack_rows`."""
    out = bytearray()
    placed = np.empty(len(offsets), np.int64)
    for row, (at, length) in enumerate(zip(offsets.tolist(), lengths.tolist(), strict=True)):
        if at < 0 or at + length > buffer.size:
            raise IndexError(f"row {row} lies outside the buffer")
        placed[row] = len(out)
        out += buffer[at : at + length].tobytes() + bytes(-length % 4)
    return np.frombuffer(out, np.uint8), placed
