"""The record index: one 64-byte row per ETL record, as the native engine and its twin give it.

Layout shared with native/etl.h (struct ec_record). A record's payload is
``buffer[offset + payload : offset + size]``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

RECORD = np.dtype(
    [
        ("time", "<i8"),  # ns since 1970 UTC
        ("offset", "<i8"),  # first byte of the record in the chunk's buffer
        ("raw", "<i8"),  # time stamp as it lies in the record
        ("keyword", "<u8"),  # EVENT_HEADER keyword, else 0
        ("process", "<u4"),  # 0xFFFFFFFF where the header has none
        ("thread", "<u4"),
        ("provider", "<i4"),  # index in the engine's GUID table; -1 - group for kernel hook records
        ("buffer", "<u4"),  # index in the table of buffers
        ("position", "<u4"),  # offset in the (unpacked) ETL buffer
        ("id", "<u2"),  # event id, opcode (classic, hook), message number (WPP)
        ("size", "<u2"),  # whole record, without padding
        ("payload", "<u2"),  # payload offset from the start of the record
        ("processor", "<u2"),
        ("type", "u1"),  # record header type, etl-format 3.1
        ("version", "u1"),
        ("opcode", "u1"),
        ("level", "u1"),
    ]
)
assert RECORD.itemsize == 64

Records: TypeAlias = NDArray[Any]
"""A structured array of RECORD."""

SYSTEM32, SYSTEM64, COMPACT32, COMPACT64 = 0x01, 0x02, 0x03, 0x04
FULL32, INSTANCE32, TIMED, ERROR, WNODE, MESSAGE = 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F
PERFINFO32, PERFINFO64, EVENT32, EVENT64, FULL64, INSTANCE64 = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15

POINTER4_TYPES = frozenset({SYSTEM32, COMPACT32, FULL32, INSTANCE32, PERFINFO32, EVENT32})
"""Record types of writers with 4-byte pointers (providers.md 0.3)."""
