"""Twin of ranges.c."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def copy_ranges(
    buffer: NDArray[np.uint8], offsets: NDArray[np.int64], lengths: NDArray[np.uint32], out: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Twin of :func:`etwcap.native.ranges.copy_ranges`."""
    ends = np.cumsum(lengths, dtype=np.int64)
    outside = (offsets < 0) | (offsets + lengths.astype(np.int64) > buffer.size) | (ends > out.size)
    if outside.any():
        raise IndexError(f"range {int(np.flatnonzero(outside)[0])} lies outside its buffer")
    placed = ends - lengths
    for source, target, length in zip(offsets.tolist(), placed.tolist(), lengths.tolist(), strict=True):
        out[target : target + length] = buffer[source : source + length]
    return placed
