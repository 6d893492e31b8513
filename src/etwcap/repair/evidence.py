"""``--evidence comments``: why a packet was changed, written into its comment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import Chunk, Context, Mark, PacketTable

_TEXTS = {
    Mark.LATE: "late: stands after a packet with a later time",
    Mark.DROP_ONLY: "known only from a drop report",
    Mark.HEADER_REBUILT: "IP header rebuilt by Windows: id, TTL, TOS and checksum are not the packet's own",
    Mark.PROTECTED_CLEARED: "802.11 Protected bit cleared: the frame is in clear",
    Mark.FROM_WIFI: "Ethernet header built from the 802.11 header",
    Mark.TRUNCATED: "cut when it was captured; the original length is not logged",
    Mark.TIME_CLAMPED: "the time did not fit and was set to the nearest that does",
    Mark.LENGTH_IMPLAUSIBLE: "the event's length fields contradict each other; what is there was taken",
    Mark.HEADER_DECODED: "IP header made from the event's fields: TTL, id and TOS are not the packet's own",
    Mark.DIRECTION_GUESSED: "direction inferred, not logged",
    Mark.RESTAMPED: "time set back to that of a later receive of the same socket",
}


MOST_TIMES = 1 << 18
"""Moved packets whose own time is written out; of the others the distance tells it. Each is a text of its own that
stays in memory until the end."""


def _clock(time: int) -> str:
    """A time (ns since 1970 UTC) to read."""
    moment = np.datetime64(time, "ns")
    return str(moment).replace("T", " ") + " UTC"


class EvidenceStage:
    """Adds a comment to every packet that carries a mark."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._told = 0

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with its marks in words."""
        if "flags" in chunk.packets:
            flags = chunk.packets["flags"]
            for value in np.unique(flags):
                texts = [text for mark, text in _TEXTS.items() if int(value) & mark]
                if texts:
                    self._context.add_comment(chunk.packets, np.flatnonzero(flags == value), "; ".join(texts))
            self._tell_moves(chunk.packets, np.flatnonzero(flags & np.uint32(Mark.MOVED)))
        return chunk

    def _tell_moves(self, packets: PacketTable, rows: NDArray[np.intp]) -> None:
        """What time a moved packet had; one comment each while there are not too many."""
        if not len(rows):
            return
        moved, time = packets["moved"][rows], packets["time"][rows]
        for value in np.unique(moved).tolist():
            some = rows[moved == value]
            if value == 0:
                text = "moved behind the packet that it answers or follows; time kept"
                self._context.add_comment(packets, some, text)
                continue
            for row, when in zip(some.tolist(), time[moved == value].tolist(), strict=True):
                text = f"moved by {value / 1000:,.3f} µs behind the packet that it answers or follows"
                if self._told < MOST_TIMES:
                    text = f"time was {_clock(when - value)}, {text}"
                self._told += 1
                self._context.add_comment(packets, np.array([row]), text)

    def finish(self) -> None:
        """Nothing is held."""
