"""Reading the few radiotap fields that Windows tells of a frame, too (radiotap.org, "Defined fields")."""

from __future__ import annotations

import struct
from typing import NamedTuple

_FIELDS = ((0, 8, 8), (1, 1, 1), (2, 1, 1), (3, 2, 4), (4, 1, 2), (5, 1, 1))
"""Bit, alignment and size of the first fields: TSFT, flags, rate, channel, FHSS, antenna signal."""
_FLAGS, _RATE, _CHANNEL, _SIGNAL = 1, 2, 3, 5
_MORE = 1 << 31
FCS_AT_END = 0x10


class Radio(NamedTuple):
    """What a header told; 0: nothing."""

    frequency: int = 0
    """MHz"""
    rate: int = 0
    """units of 500 kbit/s"""
    signal: int = 0
    """dBm"""
    flags: int = 0


def read_radiotap(header: bytes) -> Radio | None:
    """Frequency, rate and signal of a radiotap header; None where it is damaged."""
    if len(header) < 8:
        return None
    present = word = int.from_bytes(header[4:8], "little")
    at = 8
    while word & _MORE:
        if at + 4 > len(header):
            return None
        word = int.from_bytes(header[at : at + 4], "little")
        at += 4
    values = {}
    for bit, alignment, size in _FIELDS:
        if present >> bit & 1:
            at += -at % alignment
            if at + size > len(header):
                return None
            values[bit] = header[at : at + size]
            at += size
    return Radio(
        int.from_bytes(values.get(_CHANNEL, b"")[:2], "little"),
        int.from_bytes(values.get(_RATE, b""), "little"),
        struct.unpack("b", values.get(_SIGNAL, b"\0"))[0],
        int.from_bytes(values.get(_FLAGS, b""), "little"),
    )
