"""Directions of packets whose destination became known: what goes to an address of the machine's own was received."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etwcap.native.rows import gather_rows
from etwcap.packets import Chunk, Context, Mark
from etwcap.packets.addresses import LOCAL, OWN

_ADDRESSES = np.dtype([("skipped", "u1", (8,)), ("source", "u1", (16,)), ("destination", "u1", (16,))])
_RECEIVED, _SENT = 1, 2


class OwnDirectionStage:
    """Gives IPv6 packets of link type RAW a direction by the machine's tables, where they have none yet.

    If the destination was inferred, so is the direction (``Mark.DIRECTION_GUESSED``).
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with more directions."""
        packets = chunk.packets
        if "raw_record" not in packets:
            return chunk
        rows = np.flatnonzero((packets["raw_record"] > 0) & (packets["direction"] == 0) & (packets["captured"] >= 40))
        rows = rows[chunk.buffer[packets["offset"][rows]] >> 4 == 6] if len(rows) else rows
        if not len(rows):
            return chunk
        pair = gather_rows(chunk.buffer, packets["offset"][rows], _ADDRESSES)
        book = self._context.addresses
        sent = book.holds(pair["source"], OWN)
        received = ~sent & book.holds(pair["destination"], LOCAL)
        direction: NDArray[np.uint8] = packets.writable("direction")
        direction[rows[sent]], direction[rows[received]] = _SENT, _RECEIVED
        guessed = rows[received & (packets["flags"][rows] & int(Mark.DESTINATION_INFERRED) != 0)]
        if len(guessed):
            packets.writable("flags")[guessed] |= np.uint32(Mark.DIRECTION_GUESSED)
        return chunk

    def finish(self) -> None:
        """Nothing is held."""
