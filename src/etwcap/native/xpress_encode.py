"""Plain LZ77 compression (MS-XCA 2.3), as the buffers of compressed traces hold it: one stream, no chunks."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_xpress_encode
from etwcap.native.loader import function, library, pointer

_SLOTS = 32768


def xpress_encode(data: bytes | bytearray | memoryview | NDArray[np.uint8]) -> bytes:
    """The stream that unpacks to ``data`` (below 4 GiB). As those of Windows it ends with a match flag and no input."""
    core = library()
    if core is None:
        return twin_xpress_encode.xpress_encode(bytes(data))
    source = np.frombuffer(data, np.uint8) if len(data) else np.empty(0, np.uint8)
    out = np.empty(source.size + source.size // 32 * 4 + 8, np.uint8)
    heads = np.empty(_SLOTS, np.uint32)
    call = function(
        core, "ec_xpress_encode", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_void_p,
    )  # fmt: skip
    size = call(pointer(source), source.size, pointer(out), out.size, pointer(heads))
    if size < 0:
        raise ValueError(f"cannot compress {source.size} bytes as one stream")
    return out[:size].tobytes()
