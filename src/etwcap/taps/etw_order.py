"""Records in the order of their stamps, out of a stream that is in order only as far as was promised.

Rows wait, with the memory they came in, until nothing earlier can come; then they go out sorted, a limited number at a
time. All of it works on whole columns.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etwcap.native.ranges import copy_ranges
from etwcap.taps.reader import LEAD

MOST_HELD: Final = 128 << 20
"""bytes that wait at most; then the oldest half goes on, and what comes earlier than that is late"""
ROWS: Final = 1 << 15
ROOM: Final = 4 << 20
"""rows and bytes that go out at once"""
_SPARES: Final = 8
NOTHING: Final = -(2**63)
EVERYTHING: Final = 2**63 - 1


class Rows(NamedTuple):
    """Columns of rows that wait or go out."""

    ticks: NDArray[np.int64]
    offset: NDArray[np.int64]
    """of the record in its block"""
    length: NDArray[np.uint32]
    block: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Rows:
        """Some of the rows."""
        return Rows(self.ticks[rows], self.offset[rows], self.length[rows], self.block[rows])


class Ordered(NamedTuple):
    """Rows that go out, in the order of their stamps."""

    buffer: NDArray[np.uint8]
    """used again by the next ones"""
    ticks: NDArray[np.int64]
    offset: NDArray[np.int64]
    length: NDArray[np.uint32]
    late: NDArray[np.bool_]
    """earlier than had been promised"""


_NONE: Final = Rows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.int64))


class TickOrder:
    """Holds rows until a promise reaches them.

    ``most``: bytes that are held. Used in turns: ``add`` as rows come, ``settle``, then ``following`` until it has no
    more.
    """

    def __init__(self, most: int = MOST_HELD) -> None:
        self._most = most
        self._blocks: dict[int, tuple[NDArray[np.uint8], int]] = {}
        """by number: the bytes, and how many of their rows are still here"""
        self._next_block = 0
        self._new: list[Rows] = []
        self._rest = _NONE
        self._due = _NONE
        self._late_due = 0
        self._given = 0
        self._room = np.empty(LEAD + ROOM, np.uint8)
        self._spare: list[NDArray[np.uint8]] = []
        self._late = False
        self.promised = NOTHING
        """ticks: rows before that have gone out, or go out now"""
        self.held = 0
        """bytes of memory that wait"""
        self.forced = 0
        """how often ``most`` was too little"""

    def room(self) -> NDArray[np.uint8]:
        """A buffer of ROOM bytes to fill, and to give to ``add``."""
        return self._spare.pop() if self._spare else np.empty(ROOM, np.uint8)

    def add(
        self,
        buffer: NDArray[np.uint8],
        ticks: NDArray[np.int64],
        offset: NDArray[np.int64],
        length: NDArray[np.uint32],
    ) -> None:
        """Take rows of a buffer, which is left alone from now on."""
        if not len(ticks):
            return
        number = self._next_block
        self._next_block += 1
        self._blocks[number] = (buffer, len(ticks))
        self.held += buffer.nbytes
        self._late = self._late or int(ticks.min()) < self.promised
        self._new.append(Rows(ticks, offset, length, np.full(len(ticks), number, np.int64)))

    def settle(self, promise: int | None) -> None:
        """Find out what is due: nothing earlier than ``promise`` (ticks) comes any more; None: no more is known than
        before."""
        assert self._given == len(self._due.ticks), "rows that are due were not taken"
        before = self.promised
        if promise is not None:
            self.promised = max(before, promise)
        if self.promised == before and not self._late and self.held <= self._most:
            return
        parts = [self._rest, *self._new]
        rows = Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        self._new.clear()
        self._late = False
        if self.held > self._most and len(rows.ticks) and self.promised != EVERYTHING:
            self._let_go(rows)
        is_due = rows.ticks < self.promised if self.promised != EVERYTHING else np.ones(len(rows.ticks), np.bool_)
        self._rest, due = rows.take(~is_due), rows.take(is_due)
        self._due, self._given = due.take(np.argsort(due.ticks, kind="stable")), 0
        self._late_due = int(np.searchsorted(self._due.ticks, before, "left"))

    def following(self) -> Ordered | None:
        """The next rows that are due; None where there are none."""
        first, due = self._given, self._due
        if first == len(due.ticks):
            return None
        size = np.cumsum(due.length[first : first + ROWS], dtype=np.int64)
        count = max(1, int(np.searchsorted(size, ROOM, "right")))
        rows = due.take(slice(first, first + count))
        self._given += count
        needed = LEAD + int(size[count - 1])
        if needed > self._room.size:
            self._room = np.empty(needed, np.uint8)
        late = np.arange(first, first + count) < self._late_due
        return Ordered(self._room[:needed], rows.ticks, self._gathered(rows), rows.length, late)

    @property
    def next_ticks(self) -> int:
        """The stamp of the next row that is due; without any, what was promised."""
        return int(self._due.ticks[self._given]) if self._given < len(self._due.ticks) else self.promised

    def _gathered(self, rows: Rows) -> NDArray[np.int64]:
        """Copy the rows' bytes next to each other; where each begins. Blocks that are used up are let go."""
        offset = np.empty(len(rows.ticks), np.int64)
        used = LEAD
        for number in np.unique(rows.block).tolist():
            mine = np.flatnonzero(rows.block == number)
            buffer, left = self._blocks[number]
            length = rows.length[mine]
            offset[mine] = used + copy_ranges(buffer, rows.offset[mine], length, self._room[used:])
            used += int(length.sum(dtype=np.int64))
            if left == len(mine):
                del self._blocks[number]
                self.held -= buffer.nbytes
                if buffer.size == ROOM and len(self._spare) < _SPARES:
                    self._spare.append(buffer)
            else:
                self._blocks[number] = (buffer, left - len(mine))
        return offset

    def _let_go(self, rows: Rows) -> None:
        """Have the oldest half go on, though earlier ones may come."""
        middle = int(np.partition(rows.ticks, len(rows.ticks) // 2)[len(rows.ticks) // 2])
        if middle + 1 > self.promised:
            self.promised = middle + 1
            self.forced += 1
