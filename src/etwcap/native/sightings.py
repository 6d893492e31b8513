"""Choosing one of several rows with the same identity."""

from __future__ import annotations

import ctypes
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_sightings
from etwcap.native.loader import function, library, pointer

LEAVE_OUT: Final = 0
KEEP: Final = 1
HOLD: Final = 2
"""Verdicts: another row is kept; this row is; this row may be, a better one could still come."""


class RecentIds:
    """The ids of rows passed on lately: the last ``limit`` at least, twice as many at most."""

    def __init__(self, limit: int = 1 << 17) -> None:
        self.limit = limit
        self.young = np.zeros(4 * limit, np.uint64)
        self.old = np.zeros(4 * limit, np.uint64)
        self.used = 0

    def add(self, ids: NDArray[np.uint64]) -> None:
        """Remember the ids; 0 is none."""
        for start in range(0, len(ids), self.limit):
            if self.used >= self.limit:
                self.young, self.old = self.old, self.young
                self.young[:] = 0
                self.used = 0
            self.used += _remember(ids[start : start + self.limit], self.young, self.used)


def keep_best(
    identity: NDArray[np.uint64],
    score: NDArray[np.uint32],
    decisive: NDArray[np.bool_],
    time: NDArray[np.int64],
    deadline: int,
    recent: RecentIds,
) -> tuple[NDArray[np.uint8], int]:
    """A verdict for each row (in time order), and the index of the first HOLD (the number of rows if there is none).

    Of the rows of one identity the one with the lowest score is kept, of equal ones the first: at once where one of
    them is ``decisive`` or the best one's time (ns) is not after ``deadline``, else it is to be held. Rows of an
    identity in ``recent`` are left out, rows of identity 0 kept.
    """
    core = library()
    if core is None:
        return twin_sightings.keep_best(identity, score, decisive, time, deadline, recent.young, recent.old)
    rows = len(identity)
    identity = np.ascontiguousarray(identity, np.uint64)
    score = np.ascontiguousarray(score, np.uint32)
    decisive = np.ascontiguousarray(decisive, np.bool_)
    time = np.ascontiguousarray(time, np.int64)
    slots = 1 << (2 * rows + 1).bit_length()
    keys, best = np.zeros(slots, np.uint64), np.empty(slots, np.uint32)
    slot_of, verdict = np.empty(rows, np.uint32), np.empty(rows, np.uint8)
    call = function(
        core, "ec_keep_best", ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_size_t, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
    )  # fmt: skip
    first = call(
        pointer(identity), pointer(score), pointer(decisive), pointer(time), rows, deadline, pointer(recent.young),
        pointer(recent.old), recent.young.size, pointer(keys), pointer(best), slots, pointer(slot_of), pointer(verdict),
    )  # fmt: skip
    if first < 0:
        raise ValueError(f"{rows} rows are too many for one call")
    return verdict, int(first)


def _remember(ids: NDArray[np.uint64], table: NDArray[np.uint64], used: int) -> int:
    core = library()
    if core is None:
        return twin_sightings.remember_ids(ids, table)
    ids = np.ascontiguousarray(ids, np.uint64)
    call = function(
        core, "ec_remember_ids", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_size_t,
    )  # fmt: skip
    fresh = int(call(pointer(ids), len(ids), pointer(table), table.size, used))
    if fresh < 0:
        raise ValueError("the set of ids is full")
    return fresh
