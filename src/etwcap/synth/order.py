"""Time order: what a capture holds out of order is put in its place within a window."""

from __future__ import annotations

import numpy as np

from etwcap.packets import Chunk, Context, EventTable, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.packets.held import HeldRows

WINDOW = 1_000_000_000
"""ns: how much too late a packet may stand in the capture"""
MOST_ROWS = 1 << 16
MOST_BYTES = 16 << 20
_LONG_AGO = -(2**63)


class InOrder:
    """Holds packets back until nothing earlier is to be expected.

    One that comes later still gets the time of the packet before it, and is counted: a processor writes its events in
    time order.
    """

    def __init__(self, context: Context, window: int = WINDOW) -> None:
        self._context = context
        self._window = window
        self._held = HeldRows()
        self._passed_to = _LONG_AGO
        self._newest = _LONG_AGO

    def take(self, chunk: Chunk, *, last: bool = False) -> Chunk:
        """The packets whose turn has come; with ``last`` all of them."""
        held, new = self._held.packets, chunk.packets
        late = new["time"] < self._passed_to
        if late.any():
            text = "packets stand in the capture long after later ones: they got the time of the packet before them"
            self._context.receipt.note("times", text, int(np.count_nonzero(late)))
            new = new.take(slice(None))
            new["time"] = np.maximum(new["time"], self._passed_to)
        rows = PacketTable.concat([held, new])
        from_held = np.arange(len(rows)) < len(held)
        time = rows["time"]
        if (time[1:] < time[:-1]).any():
            order = np.argsort(time, kind="stable")
            rows, from_held = rows.take(order), from_held[order]
        time = rows["time"]
        if len(time):
            self._newest = max(self._newest, int(time[-1]))
        passed = len(rows) if last else int(np.searchsorted(time, self._newest - self._window, "left"))
        passed = max(passed, self._overflow(rows))
        if passed:
            self._passed_to = max(self._passed_to, int(time[passed - 1]))
        return self._held.release(chunk, rows, from_held, passed, END_OF_TIME if last else self._passed_to)

    @staticmethod
    def _overflow(rows: PacketTable) -> int:
        """How many rows have to pass lest too much is held."""
        behind = np.cumsum((rows["captured"] + rows["options_length"])[::-1], dtype=np.int64)
        fitting = min(int(np.searchsorted(behind, MOST_BYTES, "right")), MOST_ROWS)
        return max(len(rows) - fitting, 0)

    def finish(self) -> Chunk:
        """What is still held."""
        empty = Chunk(np.empty(0, np.uint8), PacketTable(0), EventTable(0), END_OF_TIME)
        return self.take(empty, last=True)
