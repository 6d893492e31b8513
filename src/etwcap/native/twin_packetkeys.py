"""Twin of packetkeys.c."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_COMPARED = 40
_CHECKSUM_AT = {6: 16, 17: 6, 1: 2, 58: 2}
_WORD = (1 << 64) - 1
_SNAP = b"\xaa\xaa\x03\x00\x00\x00"


def _be16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _key(kind: int, addresses: bytes, length: int, body: bytes, skipped: int = _COMPARED) -> int:
    compared = bytearray(body[:_COMPARED])
    for at in (skipped, skipped + 1):
        if at < len(compared):
            compared[at] = 0
    value = 0xCBF29CE484222325
    for byte in kind.to_bytes(4, "little") + length.to_bytes(4, "little") + addresses + bytes(compared):
        value = (value ^ byte) * 0x100000001B3 & _WORD
    return value or 1


def _ip_key(data: bytes, original: int) -> int:
    if len(data) >= 20 and data[0] >> 4 == 4:
        at = (data[0] & 15) * 4
        length = _be16(data, 2) or original
        protocol, addresses = data[9], data[12:20]
        if at < 20 or at > len(data) or length < at:
            return 0
        length -= at
    elif len(data) >= 40 and data[0] >> 4 == 6:
        at = 40
        length = _be16(data, 4) or max(original - 40, 0)
        protocol, addresses = data[6], data[8:40]
        while protocol in (0, 43, 60) and len(data) - at >= 8:
            extension = (data[at + 1] + 1) * 8
            if extension > len(data) - at or extension > length:
                return 0
            protocol = data[at]
            at += extension
            length -= extension
    else:
        return 0
    body = data[at : at + length]
    return _key(len(addresses) << 8 | protocol, addresses, length, body, _CHECKSUM_AT.get(protocol, _COMPARED))


def _frame_key(addresses: bytes, data: bytes, at: int, original: int) -> int:
    kind = _be16(data, at - 2)
    while kind in (0x8100, 0x88A8, 0x9100) and len(data) - at >= 4:
        kind = _be16(data, at + 2)
        at += 4
    length = max(original - at, 0)
    if kind in (0x0800, 0x86DD):
        return _ip_key(data[at:], length)
    return _key(0x10000 | kind, addresses, length, data[at:])


def _wifi_key(data: bytes, original: int) -> int:
    if len(data) < 24 or data[0] & 0x4C != 0x08 or data[1] & 3 == 3:
        return 0
    header = (30 if data[1] & 0x80 else 26) if data[0] & 0x80 else 24
    if len(data) < header + 8 or data[header : header + 6] != _SNAP:
        return 0
    destination = data[16:22] if data[1] & 1 else data[4:10]
    source = data[16:22] if data[1] & 2 else data[10:16]
    return _frame_key(destination + source, data, header + 8, original)


def packet_keys(
    buffer: NDArray[np.uint8],
    offset: NDArray[np.int64],
    captured: NDArray[np.uint32],
    original: NDArray[np.uint32],
    link_type: NDArray[np.uint16],
) -> NDArray[np.uint64]:
    """Twin of :func:`etwcap.native.packetkeys.packet_keys`."""
    out = np.zeros(len(offset), np.uint64)
    rows = zip(offset.tolist(), captured.tolist(), original.tolist(), link_type.tolist(), strict=True)
    for row, (start, size, length, link) in enumerate(rows):
        if start < 0 or start + size > buffer.size:
            raise IndexError(f"packet {row} lies outside the buffer")
        data = buffer[start : start + size].tobytes()
        if link == 1 and size >= 14:
            out[row] = _frame_key(data[:12], data, 14, length)
        elif link == 101:
            out[row] = _ip_key(data, length)
        elif link == 105:
            out[row] = _wifi_key(data, length)
    return out
