"""The Python side of a ring: records in whole columns, times in ns."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from etwcap.native.ring import NOTHING_KNOWN, Ring
from etwcap.packets.chunk import END_OF_TIME

LEAD: Final = 64
"""bytes of the buffer before the first record: no record is at offset 0, which means "none" in columns"""
ROOM: Final = 4 << 20
"""bytes of records taken at once"""
ROWS: Final = 1 << 15
FILL: Final = 1 << 19
"""bytes in the ring at which the reader is woken before its time"""
LATENCY: Final = 100
"""ms: how long records wait at most until they are read; chunks come at least that often"""


class TickClock(Protocol):
    """Ticks of the producer's clock as time."""

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """ns since 1970 UTC of each; a later tick is never earlier."""
        ...


class Records(NamedTuple):
    """Records of one reading, in the order in which they were put into the ring."""

    buffer: NDArray[np.uint8]
    """used again by the next reading"""
    time: NDArray[np.int64]
    """ns since 1970 UTC"""
    offset: NDArray[np.int64]
    """in the buffer"""
    length: NDArray[np.uint32]
    kind: NDArray[np.uint16]
    complete_to: int
    """ns since 1970 UTC: no later reading gives anything earlier"""
    ended: bool
    """nothing follows"""


class RingReader:
    """Reads a ring whose records come in the order of their stamps.

    ``longest`` is the length of the longest record that the producer puts; a longer one raises ValueError. ``start`` is
    when capturing began, in ns: no record is earlier.
    """

    def __init__(self, ring: Ring, clock: TickClock, *, start: int, longest: int = 1 << 17) -> None:
        self._ring = ring
        self._clock = clock
        self._complete = start
        self._more = False
        self._buffer = np.empty(LEAD + max(ROOM, longest), np.uint8)

    def read(self, milliseconds: int = LATENCY) -> Records:
        """What is in the ring; waits for it up to that long."""
        if not self._more:
            self._ring.wait(FILL, milliseconds)
        drained = self._ring.drain(self._buffer[LEAD:], ROWS)
        self._more = drained.more
        time = np.maximum(self._clock.to_ns(drained.time), self._complete)
        if len(time):
            self._complete = int(time[-1])
        if drained.complete_to != NOTHING_KNOWN:
            promised = self._clock.to_ns(np.array([drained.complete_to], np.int64))
            self._complete = max(self._complete, int(promised[0]))
        if drained.ended:
            self._complete = END_OF_TIME
        return Records(
            self._buffer, time, drained.offset + LEAD, drained.length, drained.kind, self._complete, drained.ended
        )
