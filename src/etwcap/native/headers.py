"""Walking the headers of packets: how far they reach, and where addresses and the checksums over them lie."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_headers
from etwcap.native.loader import function, library, pointer

MAC: Final = 1
IPV4: Final = 2
IPV6: Final = 3

FIELD: Final = np.dtype(
    [
        ("position", "<i8"),
        ("header", "<i4"),
        ("body", "<i4"),
        ("outer", "<i4"),
        ("kind", "u1"),
        ("size", "u1"),
        ("flags", "u1"),
        ("zero", "u1"),
    ]
)
"""An address in a packet (struct ec_field of headers.h): its place in the buffer, the distances from there to the
checksums that cover it (0: none), MAC, IPV4 or IPV6, and how many bytes of it were captured."""

PARTIAL: Final = 1
UDP: Final = 2
ODD: Final = 4
"""Bits of ``flags``."""


def header_lengths(
    buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32], link: NDArray[np.uint16]
) -> NDArray[np.uint32]:
    """Bytes of each packet up to the end of the last header that is understood; 0 for an unknown link type.

    Raises IndexError when a packet does not lie inside the buffer.
    """
    return _walk(buffer, offset, captured, link, None)[0]


def find_addresses(
    buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32], link: NDArray[np.uint16]
) -> tuple[NDArray[np.uint32], NDArray[Any]]:
    """As :func:`header_lengths`, and the addresses in these headers as rows of FIELD, packet by packet.

    Which fields are covered by which checksum is judged by the bytes as they are: a checksum that was left to the
    network card (zero, or the sum of the pseudo-header) is told from one that was computed.
    """
    lengths, fields = _walk(buffer, offset, captured, link, np.empty(6 * len(offset) + 64, FIELD))
    assert fields is not None
    return lengths, fields


def _walk(
    buffer: NDArray[np.uint8],
    offset: NDArray[np.int64],
    captured: NDArray[np.uint32],
    link: NDArray[np.uint16],
    fields: NDArray[Any] | None,
) -> tuple[NDArray[np.uint32], NDArray[Any] | None]:
    offset = np.ascontiguousarray(offset, np.int64)
    captured = np.ascontiguousarray(captured, np.uint32)
    link = np.ascontiguousarray(link, np.uint16)
    core = library()
    if core is None:
        kept, found = twin_headers.walk(buffer, offset, captured, link)
        return kept, np.array(found, FIELD) if fields is not None else None
    kept = np.zeros(len(offset), np.uint32)
    row, used = ctypes.c_size_t(0), ctypes.c_size_t(0)
    call = function(
        core, "ec_headers_walk", ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_void_p,
    )  # fmt: skip
    while True:
        got = call(
            pointer(buffer), buffer.size, pointer(offset), pointer(captured), pointer(link), len(offset),
            ctypes.byref(row), pointer(kept), 0 if fields is None else pointer(fields),
            0 if fields is None else len(fields), ctypes.byref(used),
        )  # fmt: skip
        if got < 0:
            raise IndexError(f"packet {row.value} lies outside the buffer")
        if got == 0 or fields is None:
            return kept, None if fields is None else fields[: used.value]
        fields = np.concatenate([fields[: used.value], np.empty(len(fields) + 64, FIELD)])
