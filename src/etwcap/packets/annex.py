"""Bytes that providers put together, beside the buffer of the chunk they belong to.

A packet that lies in several records has no place in the buffer where it stands whole. Its provider adds the joined
bytes here and gives the packet an offset behind the buffer's end; the source lays both into one buffer before it hands
on the chunk. ``waiting`` tells how far back a packet may still come: one of which only the first parts have been met.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etwcap.packets.chunk import END_OF_TIME, Chunk
from etwcap.packets.held import HeldRows


class Annex:
    """Joined bytes of one chunk, and the times of packets that are not whole yet."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.uint8]] = []
        self._size = 0
        self.waiting: dict[object, int] = {}
        """by who waits: time (ns since 1970 UTC) of the earliest packet that is not whole"""

    @property
    def since(self) -> int:
        """The earliest time that a packet may still have which comes late for want of its end."""
        return min(self.waiting.values(), default=END_OF_TIME)

    def add(self, buffer: NDArray[np.uint8], data: NDArray[np.uint8]) -> int:
        """Keep ``data`` beside the chunk whose buffer that is; gives the offset of its first byte."""
        at = buffer.size + self._size
        self._parts.append(data)
        self._size += data.size
        return at

    def lay_out(self, chunk: Chunk) -> Chunk:
        """The chunk with what was added since in its buffer (its own bytes are copied then)."""
        if not self._parts:
            return chunk
        rows = HeldRows()
        rows.buffer = np.concatenate(self._parts)
        self._parts, self._size = [], 0
        packets = chunk.packets.take(slice(None))
        own = packets["offset"] >= chunk.buffer.size
        for name in ("offset", "options_offset"):
            if name in packets:
                packets[name] = np.where(own, packets[name] - chunk.buffer.size, packets[name])
        if "options_offset" in packets:
            packets["options_offset"] = np.where(packets["options_length"] > 0, packets["options_offset"], 0)
        return rows.release(chunk, packets, own, len(packets), chunk.complete_to)
