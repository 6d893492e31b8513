"""The order of a socket's packets: that in which its receives were posted, not that in which they completed."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.rows import gather_rows
from etwcap.packets import Chunk, Context, Mark, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.packets.held import HeldRows
from etwcap.providers.rawsocket_layout import MAGIC, RAW_RECORD, Kind, Present

WINDOW: Final = 10_000_000
"""ns: how far apart the stamps of two receives may be that completed in the wrong order"""
MOST_ROWS: Final = 1 << 16
MOST_BYTES: Final = 16 << 20
"""What is held at most; then rows pass."""
_EARLIEST: Final = -(2**63)


class PostedOrder:
    """Puts the records of each socket that have numbers into the order of these.

    Among records of one stamp, they change places. Where stamps contradict the numbers, the earlier receive cannot have
    completed after the later one: with ``restamp`` it gets the later one's stamp, which is the least change that puts
    both right. Without, stamps stay, and so do packets that have different ones.
    """

    def __init__(self, context: Context, *, restamp: bool) -> None:
        self._context = context
        self._restamp = restamp
        self._held = HeldRows()
        self.moved = 0
        """records that changed places within a stamp"""
        self.restamped = 0
        self.largest = 0
        """ns: by how much a stamp was changed at most"""

    def take(self, chunk: Chunk, raw: NDArray[np.bool_]) -> Chunk:
        """The records whose turn has come. ``raw`` says which interfaces are sockets."""
        held, new = self._held.packets, chunk.packets
        if not len(held) and not len(new):
            return chunk
        rows = PacketTable.concat([held, new])
        from_held = np.arange(len(rows)) < len(held)
        last = chunk.complete_to == END_OF_TIME
        socket, number = self._numbers(chunk, rows, from_held, raw)
        numbered = socket >= 0
        if not numbered.any() and not len(held):
            return chunk
        rows, order = self._sorted(rows, socket, number)
        from_held = from_held[order]
        time = rows["time"]
        newest = max(int(time.max()), chunk.complete_to)  # while a live tap is idle, only complete_to grows
        since = max(newest - WINDOW, _EARLIEST) if self._restamp else newest
        passed = len(rows) if last else int(np.searchsorted(np.maximum.accumulate(time), since, "left"))
        behind = np.cumsum((rows["captured"] + rows["options_length"])[::-1], dtype=np.int64)
        fitting = min(int(np.searchsorted(behind, MOST_BYTES, "right")), MOST_ROWS)
        passed = max(passed, len(rows) - fitting)
        complete = chunk.complete_to if passed == len(rows) else min(chunk.complete_to, int(time[passed:].min()))
        return self._held.release(chunk, rows, from_held, passed, complete, RAW_RECORD.itemsize)

    def _numbers(
        self, chunk: Chunk, rows: PacketTable, from_held: NDArray[np.bool_], raw: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Socket (interface and socket number; -1: no numbered packet) and number of each row."""
        socket, number = np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.uint64)
        wanted = raw[rows["interface"]] & (rows["captured"] >= RAW_RECORD.itemsize)
        for buffer, of_it in ((self._held.buffer, from_held), (chunk.buffer, ~from_held)):
            some = np.flatnonzero(wanted & of_it)
            heads = gather_rows(buffer, rows["offset"][some], RAW_RECORD)
            good = (heads["magic"] == MAGIC) & (heads["kind"] == Kind.PACKET)
            good &= heads["present"] & int(Present.NUMBER) != 0
            picked = some[good]
            socket[picked] = rows["interface"][picked].astype(np.int64) << 32 | heads["socket"][good]
            number[picked] = heads["number"][good]
        return socket, number

    def _sorted(
        self, rows: PacketTable, socket: NDArray[np.int64], number: NDArray[np.uint64]
    ) -> tuple[PacketTable, NDArray[np.intp]]:
        """The rows in order, and where each stood."""
        place = np.arange(len(rows))
        by_number = np.lexsort((place, number, socket))
        numbered = by_number[socket[by_number] >= 0]
        if not (numbered[1:] < numbered[:-1])[socket[numbered][1:] == socket[numbered][:-1]].any():
            return rows, place
        time = rows["time"]
        order = place
        if self._restamp:
            time = self._least(rows, socket, numbered)
            order = np.argsort(time, kind="stable")
        # the places that each socket's packets of one stamp hold, filled in the order of the numbers
        run = np.zeros(len(rows), np.int64)
        run[order] = np.cumsum(np.concatenate([[0], time[order][1:] != time[order][:-1]]))
        rank = np.empty(len(rows), np.int64)
        rank[order] = place
        slots = np.lexsort((rank, socket, run))
        fill = np.lexsort((rank, np.where(socket >= 0, number, 0), socket, run))
        final = np.empty(len(rows), np.intp)
        final[rank[slots]] = fill
        self.moved += int(np.count_nonzero(final != order))
        rows = rows.take(slice(None))
        changed = time != rows["time"]
        if changed.any():
            rows["flags"] = rows["flags"] | np.where(changed, np.uint32(Mark.RESTAMPED), np.uint32(0))
            rows["time"] = time
        return rows.take(final), final

    def _least(self, rows: PacketTable, socket: NDArray[np.int64], numbered: NDArray[np.intp]) -> NDArray[np.int64]:
        """The times, none later than that of a later receive of its socket (within the window).

        ``numbered`` are the numbered rows by socket and number.
        """
        time: NDArray[np.int64] = rows["time"].copy()
        before = time[numbered]
        stamps, rank = np.unique(before, return_inverse=True)
        of = socket[numbered]
        step = np.cumsum(np.concatenate([[0], of[1:] != of[:-1]])) * len(stamps)  # keeps the sockets' minima apart
        least = stamps[np.minimum.accumulate((rank.reshape(-1) + step)[::-1])[::-1] - step]
        change = before - least  # below 0: the difference of two times at the ends of all time does not fit
        after = np.where((change > WINDOW) | (change < 0), before, least)
        time[numbered] = after
        self.restamped += int(np.count_nonzero(before != after))
        self.largest = max(self.largest, int((before - after).max()))
        return time

    def account(self) -> None:
        """Write what was done into the receipt."""
        receipt = self._context.receipt
        receipt.note("posted-order", "packets took their place among those of one stamp by the numbers of their"
                     " receives", self.moved)  # fmt: skip
        text = f"times were set back to that of a later receive of their socket, by up to {self.largest / 1000:,.1f} us"
        receipt.note("restamped", text, self.restamped)
