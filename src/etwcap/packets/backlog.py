"""Rows that wait for an earlier packet of which only a part has been read."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from etwcap.packets.chunk import END_OF_TIME, Chunk
from etwcap.packets.held import HeldRows
from etwcap.packets.table import EventTable, PacketTable

MOST_ROWS: Final = 1 << 16
MOST_BYTES: Final = 16 << 20
"""What is held at most; then rows pass, and the packet they waited for comes late."""


class Backlog:
    """Keeps the packets of a source in time order while packets in several records are put together."""

    def __init__(self) -> None:
        self._held = HeldRows()

    def pass_on(self, chunk: Chunk, since: int) -> Chunk:
        """The chunk with the packets earlier than ``since`` (ns since 1970 UTC), those held before among them."""
        if since == END_OF_TIME and not self._held:
            return chunk
        held, new = self._held.packets, chunk.packets
        both = PacketTable.concat([held, new])
        order = np.argsort(both["time"], kind="stable")
        packets = both.take(order)
        passed = int(np.searchsorted(packets["time"], since, "left"))
        size = np.cumsum(packets["captured"][passed:], dtype=np.int64)
        if len(size) and (len(size) > MOST_ROWS or int(size[-1]) > MOST_BYTES):
            passed, since = len(packets), END_OF_TIME
        complete_to = min(chunk.complete_to, since)
        return self._held.release(chunk, packets, order < len(held), passed, complete_to)

    def rest(self, chunk: Chunk) -> Chunk:
        """An empty chunk with all that is held."""
        empty = dataclasses.replace(chunk, packets=PacketTable(0), events=EventTable(0))
        return self.pass_on(empty, END_OF_TIME)
