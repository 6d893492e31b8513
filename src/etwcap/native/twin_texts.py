"""Twin of texts.c."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FNV_BASIS, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


def _behind(data: bytes, at: int, lead: int, texts: int) -> int:
    """Behind the structure at ``at``, or -1 where it does not fit."""
    at += lead
    if at > len(data):
        return -1
    for _ in range(texts):
        while data[at : at + 2] != b"\0\0":
            if at + 2 > len(data):
                return -1
            at += 2
        at += 2
    return at


def skip_texts(
    buffer: NDArray[np.uint8],
    at: NDArray[np.int64],
    end: NDArray[np.int64],
    counts: NDArray[np.uint32],
    lead: int,
    texts: int,
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Twin of :func:`etwcap.native.texts.skip_texts`."""
    after, key = np.full(len(at), -1, np.int64), np.zeros(len(at), np.uint64)
    for row, (start, stop, count) in enumerate(zip(at.tolist(), end.tolist(), counts.tolist(), strict=True)):
        if start < 0 or stop < start or stop > buffer.size:
            raise IndexError(f"range {row} lies outside its buffer")
        data = buffer[start:stop].tobytes()
        place = 0
        for _ in range(count):
            following = _behind(data, place, lead, texts)
            if following == place:
                break
            place = following
            if place < 0:
                break
        if place >= 0:
            value = _FNV_BASIS
            for byte in data[:place]:
                value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
            after[row], key[row] = start + place, value
    return after, key
