"""Counting packet reports that never reached the file, by the numbers that PktMon gives them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_COUNTER: Final = np.uint64((1 << 48) - 1)
_UNBELIEVABLE: Final = 1 << 32
"""A distance between two numbers of one processor that means two captures, no loss."""


class GroupCounter:
    """Streams PktGroupIds: processor in the high 16 bits, a counter without gaps in the low 48.

    Seen on builds 19042 to 26200: flow and drop reports share one counter per processor that starts anywhere. Where
    a packet keeps its id (AppearanceCount from 1), its first sighting stands for the id.
    """

    def __init__(self) -> None:
        self._spans: dict[int, tuple[int, int, int]] = {}
        """by processor: lowest, highest, how many different ones"""

    def add(self, group: NDArray[np.uint64], number: NDArray[np.uint16], appearance: NDArray[np.uint16]) -> None:
        """Take in the ids of packet events: PktGroupId, PktNumber, AppearanceCount."""
        first = (number <= 1) & (appearance <= 1)
        picked = group if first.all() else group[first]
        if not len(picked):
            return
        processor = (picked >> np.uint64(48)).astype(np.uint16)
        order = np.argsort(processor, kind="stable")
        sorted_processor = processor[order]
        starts = np.flatnonzero(np.diff(sorted_processor.astype(np.int32), prepend=-1))
        counter = (picked & _COUNTER)[order].astype(np.int64)
        lows = np.minimum.reduceat(counter, starts)
        highs = np.maximum.reduceat(counter, starts)
        counts = np.diff(starts, append=len(counter))
        for number_of, low, high, count in zip(
            sorted_processor[starts].tolist(), lows.tolist(), highs.tolist(), counts.tolist(), strict=True
        ):
            known = self._spans.get(number_of)
            if known is not None:
                low, high, count = min(low, known[0]), max(high, known[1]), count + known[2]
            self._spans[number_of] = (low, high, count)

    def missing(self) -> int:
        """How many numbers between the first and the last of each processor never came."""
        gaps = (high - low + 1 - count for low, high, count in self._spans.values())
        return sum(gap for gap in gaps if 0 < gap < _UNBELIEVABLE)
