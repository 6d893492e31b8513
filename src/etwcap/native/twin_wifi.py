"""Twin of wifi.c."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SNAP = b"\xaa\xaa\x03\x00\x00\x00"
_TO_DS, _FROM_DS, _PROTECTED, _ORDER = 0x01, 0x02, 0x40, 0x80
_OTHER, _CONVERTED, _UNSUPPORTED = 0, 1, 2


def _header_size(frame: bytes) -> int:
    size = 30 if frame[1] & 3 == _TO_DS | _FROM_DS else 24
    if frame[0] & 0x80:
        size += 6 if frame[1] & _ORDER else 2
    return size


def _has_snap(frame: bytes) -> bool:
    if len(frame) < 24 or frame[0] & 0x4C != 0x08:
        return False
    header = _header_size(frame)
    return len(frame) >= header + 8 and frame[header : header + 6] == _SNAP


def _frame(buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32], row: int) -> bytes:
    start, size = int(offset[row]), int(captured[row])
    if start < 0 or start + size > buffer.size:
        raise IndexError(f"frame {row} lies outside the buffer")
    return buffer[start : start + size].tobytes()


def clear_protected(
    buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32]
) -> NDArray[np.bool_]:
    """Twin of :func:`etwcap.native.wifi.clear_protected`."""
    changed = np.zeros(len(offset), np.bool_)
    for row in range(len(offset)):
        frame = _frame(buffer, offset, captured, row)
        if len(frame) >= 2 and frame[1] & _PROTECTED and _has_snap(frame):
            buffer[int(offset[row]) + 1] &= 0xFF ^ _PROTECTED
            changed[row] = True
    return changed


def to_ethernet(
    buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32]
) -> NDArray[np.uint8]:
    """Twin of ``ec_wifi_to_ethernet``: changes ``offset`` and ``captured``, gives what became of each frame."""
    state = np.zeros(len(offset), np.uint8)
    for row in range(len(offset)):
        frame = _frame(buffer, offset, captured, row)
        if len(frame) < 24 or frame[0] & 0x4C != 0x08:
            continue
        qos = bool(frame[0] & 0x80)
        if frame[1] & 3 == 3 or (qos and frame[1] & _ORDER) or (qos and len(frame) > 24 and frame[24] & 0x80):
            state[row] = _UNSUPPORTED
        elif _has_snap(frame):
            destination = frame[16:22] if frame[1] & _TO_DS else frame[4:10]
            source = frame[16:22] if frame[1] & _FROM_DS else frame[10:16]
            moved = _header_size(frame) + 6 - 12
            offset[row] += moved
            captured[row] -= moved
            start = int(offset[row])
            buffer[start : start + 12] = np.frombuffer(destination + source, np.uint8)
            state[row] = _CONVERTED
    return state
