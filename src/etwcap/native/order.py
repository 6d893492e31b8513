"""Causal order: packets wait until those have come that they must stand behind."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.loader import function, library, pointer
from etwcap.native.twin_order import give, take
from etwcap.native.twin_order_state import Order

RING: Final = 1 << 15
"""Packets that the kernel knows at one time."""
AT_ONCE: Final = RING // 4
"""Packets that it takes at most in one call."""
MOST: Final = RING - AT_ONCE
"""Packets that wait at most."""
ANSWER: Final = 1
SEQUENCE: Final = 2
"""Why a packet was moved: it answers the one it stands behind, or its sender sent that first."""

END: Final = 2**63 - 1


class CausalOrder:
    """Puts packets behind those that they answer, and a sender's packets behind its earlier ones.

    ``window`` in ns: none is moved by more. The tables have fixed sizes (about 20 MB, touched as they fill): of more
    than 32,768 connections or 131,072 open questions at a time the oldest are forgotten, and their packets stay where
    they are. The rules are those of ``order_tcp.c`` and ``order.c``; see there.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._core = library()
        self._taken = 0
        if self._core is None:
            self._twin = Order()
        else:
            size = function(self._core, "ec_order_size", ctypes.c_size_t)()
            self._state = np.zeros(size, np.uint8)

    def order(
        self, facts: NDArray[Any], time: NDArray[np.int64], complete_to: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """Take packets (rows of FACT and their times in ns) and give those whose turn has come, in their new order:
        the number of each, counted from 0 over all that were ever taken; its time; and 0, ANSWER or SEQUENCE.

        No packet still to come is earlier than ``complete_to``.
        """
        given: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]] = []
        facts, time = np.ascontiguousarray(facts), np.ascontiguousarray(time, np.int64)
        for start in range(0, len(facts), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            last = start + AT_ONCE >= len(facts)
            self._take(facts[part], time[part])
            given.append(self._give(complete_to if last else min(complete_to, int(time[: part.stop].max())), MOST))
        if not len(facts):
            return self._give(complete_to, MOST)
        if len(given) == 1:
            return given[0]
        number, when, reason = (np.concatenate([each[column] for each in given]) for column in range(3))
        return number, when, reason

    def flush(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """As :meth:`order` of all that still waits; more may follow."""
        return self._give(END, MOST)

    def _take(self, facts: NDArray[Any], time: NDArray[np.int64]) -> None:
        self._taken += len(facts)
        if self._core is None:
            take(self._twin, facts, time.tolist(), self._window)
            return
        call = function(
            self._core, "ec_order_take", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
            ctypes.c_int64,
        )  # fmt: skip
        call(pointer(self._state), pointer(facts), pointer(time), len(facts), self._window)

    def _give(self, complete_to: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        if self._core is None:
            rows = give(self._twin, complete_to, self._window, most)
            number, time, reason = zip(*rows, strict=True) if rows else ((), (), ())
            return np.array(number, np.int64), np.array(time, np.int64), np.array(reason, np.uint8)
        out = np.empty(RING, np.int64), np.empty(RING, np.int64), np.empty(RING, np.uint8)
        call = function(
            self._core, "ec_order_give", ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
            ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
        )  # fmt: skip
        count = call(
            pointer(self._state), complete_to, self._window, most, pointer(out[0]), pointer(out[1]), pointer(out[2])
        )
        return out[0][:count], out[1][:count], out[2][:count]
