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
