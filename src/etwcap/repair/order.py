"""Causal order in captures that were taken on a host: nothing answers before its cause.

A host sees a packet before it answers it, and sends a packet before that is answered. A capture in which it is the
other way round was stamped or written in another order than things happened, as raw sockets do. The answer moves right
behind its cause and gets the cause's time, the least change that puts things right; a packet that does not contradict
its neighbours keeps place and time. What was late or lost on the wire stays as it is.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.order import CausalOrder
from etwcap.native.order_facts import FACT, order_facts, own_table
from etwcap.packets import Chunk, Context, EventTable, Mark, PacketTable
from etwcap.packets.addresses import OWN
from etwcap.packets.chunk import END_OF_TIME
from etwcap.packets.held import HeldRows
from etwcap.packets.links import link_types

WINDOW: Final = 2_000_000
"""ns: how far a packet moves at most. Raw sockets stamp an answer up to 0.2 ms before what it answers, and their stamps
step by up to 1 ms where the timer does; TCP repeats nothing so soon (RFC 6298: after 1 s, in practice 0.2 s), so that
what comes within the window is hardly ever a repetition of something that was lost."""
MOST_BYTES: Final = 16 << 20
"""Bytes that are held at most; then all of them pass."""


class OrderStage:
    """Moves packets behind those they answer; holds rows back for the window.

    Who the machine is, the direction of the packets says, or its addresses in ``context.addresses``. Packets of which
    neither tells whether the machine sent or received them stay where they are.
    """

    def __init__(self, context: Context, window: int = WINDOW) -> None:
        self._context = context
        self._window = window
        self._held = HeldRows()
        self._numbers = np.empty(0, np.int64)
        """of the held rows, ascending"""
        self._order = CausalOrder(window)
        self._taken = 0
        self._own = own_table(np.empty((0, 16), np.uint8))
        self._own_version = -1
        self._sides_known = False
        self._farthest = 0

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with the packets whose turn has come."""
        return self._pass_on(chunk, flush=False)

    def finish(self) -> Chunk | None:
        """The rows still held."""
        if self._taken and not self._sides_known:
            text = "neither directions nor --local tell which packets the machine sent: their order stays as it is"
            self._context.receipt.note("order-unknown", text, self._taken)
        if not len(self._held):
            return None
        nothing = Chunk(np.empty(0, np.uint8), PacketTable(0), EventTable(0), END_OF_TIME)
        return self._pass_on(nothing, flush=True)

    def _pass_on(self, chunk: Chunk, *, flush: bool) -> Chunk:
        held, new = len(self._held), chunk.packets
        number, time, reason = self._order.order(self._facts(chunk), new["time"], chunk.complete_to)
        numbers = np.concatenate([self._numbers, np.arange(self._taken, self._taken + len(new))])
        self._taken += len(new)
        packets = PacketTable.concat([self._held.packets, new])
        if flush or self._too_much(packets, len(number)):
            rest = self._order.flush()
            number = np.concatenate([number, rest[0]])
            time = np.concatenate([time, rest[1]])
            reason = np.concatenate([reason, rest[2]])
        passed = len(number)
        waits = np.ones(len(numbers), np.bool_)
        picked = np.searchsorted(numbers, number)
        waits[picked] = False
        source = np.concatenate([picked, np.flatnonzero(waits)])
        if passed and (source[1:] < source[:-1]).any():
            packets = packets.take(source)
        elif packets is new:
            packets = new.take(slice(None))
        self._mark(packets, np.flatnonzero(reason), time, reason)
        self._numbers = numbers[waits]
        complete_to = chunk.complete_to
        if passed < len(packets):
            complete_to = min(complete_to, int(packets["time"][passed:].min()))
        return self._held.release(chunk, packets, source < held, passed, complete_to)

    def _facts(self, chunk: Chunk) -> NDArray[Any]:
        """What the kernel knows of the new packets."""
        packets, book = chunk.packets, self._context.addresses
        if not len(packets):
            return np.empty(0, FACT)
        if self._own_version != book.version:
            self._own, self._own_version = own_table(book.of(OWN)), book.version
        link = link_types(self._context.interfaces)[packets["interface"]]
        facts = order_facts(
            chunk.buffer, packets["offset"], packets["captured"], packets["original"], link, packets["direction"],
            self._own,
        )  # fmt: skip
        self._sides_known = self._sides_known or bool(facts["side"].any())
        return facts

    @staticmethod
    def _too_much(packets: PacketTable, passed: int) -> bool:
        """Whether what is not passed on may take more memory than there should be."""
        if len(packets) == passed:
            return False
        return int((packets["captured"] + packets["options_length"]).sum(dtype=np.int64)) > MOST_BYTES

    def _mark(
        self, packets: PacketTable, rows: NDArray[np.intp], time: NDArray[np.int64], reason: NDArray[np.uint8]
    ) -> None:
        """Give the rows that were moved their new times, and say so."""
        if not len(rows):
            return
        times = packets.writable("time")
        added = time[rows] - times[rows]
        times[rows] = time[rows]
        packets.writable("moved")[rows] = added
        packets.writable("flags")[rows] |= np.uint32(Mark.MOVED)
        self._farthest = max(self._farthest, int(added.max()))
        note = self._context.receipt.note
        note("order", "", len(rows))
        self._context.receipt.notes[
            "order"
        ].text = f"packets were moved behind those that they answer or follow, by up to {self._farthest / 1000:,.1f} µs"
