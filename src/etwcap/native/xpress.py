"""Plain LZ77 (Xpress) decompression of one whole stream, MS-XCA 2.4."""

from __future__ import annotations

import ctypes

from etwcap.native import twin_xpress
from etwcap.native.loader import function, library
from etwcap.native.twin_xpress import BAD_LENGTH, BAD_OFFSET, CUT, END, FULL

__all__ = ["BAD_LENGTH", "BAD_OFFSET", "CUT", "END", "FULL", "decode"]


def decode(data: bytes, size: int) -> tuple[bytes, int]:
    """At most ``size`` unpacked bytes of one stream, and how it ended: END, FULL (size reached) or a negative error.

    What was unpacked before an error is good.
    """
    core = library()
    if core is None:
        return twin_xpress.decode(data, size)
    call = function(
        core, "ec_xpress_decode", ctypes.c_int64, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_void_p,
    )  # fmt: skip
    out = ctypes.create_string_buffer(size or 1)
    status = ctypes.c_int32()
    made = call(data, len(data), ctypes.addressof(out), size, ctypes.addressof(status))
    return out.raw[:made], status.value
