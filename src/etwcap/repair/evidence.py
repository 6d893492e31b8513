"""``--evidence comments``: why a packet was changed, written into its comment."""

from __future__ import annotations

import numpy as np

from etwcap.packets import Chunk, Context, Mark

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
}


class EvidenceStage:
    """Adds a comment to every packet that carries a mark."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with its marks in words."""
        if "flags" in chunk.packets:
            flags = chunk.packets["flags"]
            for value in np.unique(flags):
                texts = [text for mark, text in _TEXTS.items() if int(value) & mark]
                if texts:
                    self._context.add_comment(chunk.packets, np.flatnonzero(flags == value), "; ".join(texts))
        return chunk

    def finish(self) -> None:
        """Nothing is held."""
