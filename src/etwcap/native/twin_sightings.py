"""Twin of sightings.c."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAVE_OUT, _KEEP, _HOLD = 0, 1, 2
_MIX, _WORD = 0x9E3779B97F4A7C15, (1 << 64) - 1


def _slot(table: NDArray[np.uint64], identity: int) -> int:
    """The slot of the id, or the free one where it belongs."""
    at = (identity * _MIX & _WORD) >> 20 & (len(table) - 1)
    while table[at] not in (0, identity):
        at = (at + 1) & (len(table) - 1)
    return at


def keep_best(
    identity: NDArray[np.uint64],
    score: NDArray[np.uint32],
    decisive: NDArray[np.bool_],
    time: NDArray[np.int64],
    deadline: int,
    young: NDArray[np.uint64],
    old: NDArray[np.uint64],
) -> tuple[NDArray[np.uint8], int]:
    """Twin of :func:`etwcap.native.sightings.keep_best`."""
    verdict = np.full(len(identity), _KEEP, np.uint8)
    best: dict[int, int] = {}
    decided: set[int] = set()
    for row, known in enumerate(identity.tolist()):
        if known == 0:
            continue
        if young[_slot(young, known)] == known or old[_slot(old, known)] == known:
            verdict[row] = _LEAVE_OUT
            continue
        leader = best.setdefault(known, row)
        if leader == row or score[row] < score[leader]:
            verdict[leader] = _LEAVE_OUT
            verdict[row] = _HOLD
            best[known] = row
        else:
            verdict[row] = _LEAVE_OUT
        if decisive[row]:
            decided.add(known)
    for known, row in best.items():
        if known in decided or time[row] <= deadline:
            verdict[row] = _KEEP
    held = np.flatnonzero(verdict == _HOLD)
    return verdict, int(held[0]) if len(held) else len(verdict)


def remember_ids(ids: NDArray[np.uint64], table: NDArray[np.uint64]) -> int:
    """Twin of ``ec_remember_ids``: adds the ids to the open-addressed set, gives how many were new."""
    fresh = 0
    for identity in ids.tolist():
        if identity:
            at = _slot(table, identity)
            fresh += int(table[at] == 0)
            table[at] = identity
    return fresh
