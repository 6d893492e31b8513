"""Twin of anonymize.c."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PARTIAL, _UDP, _ODD = 1, 2, 4


def read_addresses(buffer: NDArray[np.uint8], fields: NDArray[Any]) -> NDArray[np.uint8]:
    """Twin of :func:`etwcap.native.anonymize.read_addresses`."""
    out = np.zeros((len(fields), 16), np.uint8)
    for row, (position, size) in enumerate(zip(fields["position"].tolist(), fields["size"].tolist(), strict=True)):
        if size > 16 or position < 0 or position + size > buffer.size:
            raise IndexError(f"address {row} lies outside the buffer")
        out[row, :size] = buffer[position : position + size]
    return out


def _words(data: bytes) -> int:
    return sum(byte if at & 1 else byte << 8 for at, byte in enumerate(data)) % 0xFFFF


def _grown(total: int, by: int) -> int:
    total += by
    return (total & 0xFFFF) + (total >> 16)


def _get(buffer: NDArray[np.uint8], at: int) -> int:
    return int(buffer[at]) << 8 | int(buffer[at + 1])


def _put(buffer: NDArray[np.uint8], at: int, value: int) -> None:
    buffer[at], buffer[at + 1] = value >> 8, value & 0xFF


def _update(buffer: NDArray[np.uint8], at: int, change: int) -> int:
    value = ~_grown(~_get(buffer, at) & 0xFFFF, change) & 0xFFFF
    _put(buffer, at, value)
    return value


def write_addresses(buffer: NDArray[np.uint8], fields: NDArray[Any], addresses: NDArray[np.uint8]) -> None:
    """Twin of :func:`etwcap.native.anonymize.write_addresses`."""
    for row, field in enumerate(fields.tolist()):
        position, header, body, outer, _, size, flags, _ = field
        sums = [position + sum_at for sum_at in (header, body, outer) if sum_at]
        if size > 16 or position < 0 or position + size > buffer.size or any(
            at < 0 or at + 2 > buffer.size for at in sums
        ):  # fmt: skip
            raise IndexError(f"address {row} or a checksum over it lies outside the buffer")
        new = addresses[row, :size].tobytes()
        change = (_words(new) - _words(buffer[position : position + size].tobytes())) % 0xFFFF
        if flags & _ODD:
            change = (change >> 8 | change << 8) & 0xFFFF
        buffer[position : position + size] = np.frombuffer(new, np.uint8)
        if change == 0:
            continue
        total = change
        if header:
            _update(buffer, position + header, change)
            total -= change
        if body and flags & _PARTIAL:
            _put(buffer, position + body, _grown(_get(buffer, position + body), change))
            total += change
        elif body:
            if _update(buffer, position + body, change) == 0 and flags & _UDP:
                _put(buffer, position + body, 0xFFFF)
            total -= change
        total %= 0xFFFF
        if outer and total:
            _update(buffer, position + outer, total)
