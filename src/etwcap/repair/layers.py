"""Which layer of an adapter's stack lies nearest the wire, learnt from the packets as they come."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.sightings import HOLD, KEEP, LEAVE_OUT

SETTLING_TIME: Final = 1_000_000_000
"""ns of trace time after which the best layer seen so far is taken for the best there is."""
UNKNOWN_RANK: Final = 255

_DIRECT: Final = 1 << 16
"""Stacks below this number are their own number; larger ones get one behind."""


class Layers:
    """The lowest captured rank of every (stack, direction).

    Rank 0 settles at once; else the lowest rank seen within a second of the first packet does. A lower one that
    comes later is taken from then on, for good.
    """

    def __init__(self) -> None:
        self._lowest = np.full(4 * _DIRECT, UNKNOWN_RANK, np.uint8)
        self._settled = np.zeros(4 * _DIRECT, np.bool_)
        self._large: dict[int, int] = {}
        self._open: dict[int, int] = {}
        """keys that are not settled: time of their first packet"""
        self._switches: list[tuple[int, int, int]] = []
        """of the last ``learn``: key, rank that was kept, time from which a lower one is"""

    def keys(self, stack: NDArray[np.int32], direction: NDArray[np.uint8]) -> NDArray[np.int64]:
        """A small number for each (stack, direction); below 0 where the stack is not known."""
        number = stack.astype(np.int64)
        large = np.flatnonzero(number >= _DIRECT)
        if len(large):
            values, back = np.unique(number[large], return_inverse=True)
            numbers = [self._large.setdefault(value, _DIRECT + len(self._large)) for value in values.tolist()]
            number[large] = np.array(numbers, np.int64)[back]
            grown = 4 * (_DIRECT + len(self._large)) - len(self._lowest)
            if grown > 0:
                self._lowest = np.concatenate([self._lowest, np.full(grown, UNKNOWN_RANK, np.uint8)])
                self._settled = np.concatenate([self._settled, np.zeros(grown, np.bool_)])
        return np.where(number < 0, np.int64(-1), number * 4 + (direction & 3))

    def learn(self, key: NDArray[np.int64], rank: NDArray[np.uint8], time: NDArray[np.int64]) -> None:
        """Take in new rows, in time order, that have a key and a rank."""
        self._switches = []
        better = np.flatnonzero(rank < self._lowest[key])
        if not len(better):
            return
        found, first, back = np.unique(key[better], return_index=True, return_inverse=True)
        lowest = np.full(len(found), UNKNOWN_RANK, np.uint8)
        np.minimum.at(lowest, back, rank[better])
        for number, rank_found, row in zip(found.tolist(), lowest.tolist(), better[first].tolist(), strict=True):
            if self._settled[number]:
                self._switches.append((number, int(self._lowest[number]), int(time[row])))
            else:
                self._open.setdefault(number, int(time[row]))
            self._lowest[number] = rank_found
            if rank_found == 0:
                self._settle(number)

    def settle(self, now: int) -> None:
        """Settle what has been open for long enough at that time."""
        for number in [key for key, since in self._open.items() if now - since >= SETTLING_TIME]:
            self._settle(number)

    def settle_all(self) -> None:
        """Settle everything: nothing more can be held, or nothing more comes."""
        for number in list(self._open):
            self._settle(number)

    def _settle(self, number: int) -> None:
        self._settled[number] = True
        self._open.pop(number, None)

    def nearest(self, key: NDArray[np.int64], rank: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Rows that lie as near the wire as anything that can be expected."""
        nearest: NDArray[np.bool_] = (rank <= self._lowest[key]) & self._settled[key]
        return nearest

    def verdicts(self, key: NDArray[np.int64], rank: NDArray[np.uint8], time: NDArray[np.int64]) -> NDArray[np.uint8]:
        """KEEP, LEAVE_OUT or HOLD for each row of a packet that has no id."""
        lowest = self._lowest[key]
        verdict: NDArray[np.uint8] = np.where(rank > lowest, np.uint8(LEAVE_OUT), np.uint8(KEEP))
        if self._open:
            verdict[(rank <= lowest) & ~self._settled[key]] = HOLD
        for number, former, since in self._switches:
            verdict[(key == number) & (rank == former) & (time < since)] = KEEP
        return verdict
