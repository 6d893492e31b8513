"""Traffic that a machine sends to itself, which the WFP capture logs twice: once as sent, once as received.

The second sighting has the same addresses and bytes, the opposite direction, and comes shortly after the first. A
machine that both sends and receives one packet has both its addresses, so these need not be known; multicasts, which
other machines get too, are left alone.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.packetkeys import packet_keys
from etwcap.native.rows import gather_rows
from etwcap.packets import Chunk, Context, PacketTable

WINDOW: Final = 100_000_000
"""ns: how far apart the two sightings may be."""
MOST_WAITING: Final = 1 << 18
"""First sightings that are remembered at most."""
_MOST_ROUNDS: Final = 256
"""Sightings without a second one between equal packets that are allowed for in one run of a chunk."""

_TAP: Final = "wfp"
_BYTE: Final = np.dtype("u1")
_IPV4_HEADER: Final = 20
_IPV6_HEADER: Final = 40
_DESTINATION_IPV4: Final = 16
_DESTINATION_IPV6: Final = 24


class LoopbackStage:
    """Leaves out the second sighting of each packet that the machine sent to itself."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._key = np.empty(0, np.uint64)
        self._time = np.empty(0, np.int64)
        self._direction = np.empty(0, np.uint8)
        """of sightings that wait for their second one"""

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk without second sightings."""
        wfp = np.array([interface.tap == _TAP for interface in self._context.interfaces], np.bool_)
        packets = chunk.packets
        if not len(packets) or not wfp.any():
            return chunk
        rows = np.flatnonzero(wfp[packets["interface"]] & (packets["direction"] > 0))
        if not len(rows):
            return chunk
        second = rows[self._second(self._keys(chunk.buffer, packets, rows), packets, rows)]
        if not len(second):
            return chunk
        text = (
            "second sightings of packets that the machine sent to itself were left out (--appearances all keeps them)"
        )
        self._context.receipt.note("loopback", text, len(second))
        keep = np.ones(len(packets), np.bool_)
        keep[second] = False
        return dataclasses.replace(chunk, packets=packets.take(keep))

    def finish(self) -> None:
        """No packet is held."""

    @staticmethod
    def _keys(buffer: NDArray[np.uint8], packets: PacketTable, rows: NDArray[np.intp]) -> NDArray[np.uint64]:
        """Equal for packets of the same addresses and bytes; 0 for those that go to many or are cut short."""
        offset, captured = packets["offset"][rows], packets["captured"][rows]
        links = np.full(len(rows), 101, np.uint16)
        key = packet_keys(buffer, offset, captured, packets["original"][rows], links)
        whole = np.flatnonzero(captured >= _IPV4_HEADER)
        ipv6 = np.zeros(len(rows), np.bool_)
        ipv6[whole] = gather_rows(buffer, offset[whole], _BYTE) >> 4 != 4
        cut = captured < np.where(ipv6, _IPV6_HEADER, _IPV4_HEADER)
        readable = np.flatnonzero(~cut)
        place = offset[readable] + np.where(ipv6[readable], _DESTINATION_IPV6, _DESTINATION_IPV4)
        first = gather_rows(buffer, place, _BYTE)
        many = np.where(ipv6[readable], first == 0xFF, first >= 224)
        key[cut] = 0
        key[readable[many]] = 0
        return key

    def _second(self, key: NDArray[np.uint64], packets: PacketTable, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of the rows are second sightings; the others wait for theirs as long as ``WINDOW``."""
        waiting = len(self._key)
        key = np.concatenate([self._key, key])
        time = np.concatenate([self._time, packets["time"][rows]])
        direction = np.concatenate([self._direction, packets["direction"][rows]])
        first, second = _pairs(key, time, direction == 2)
        alone = key != 0
        alone[first] = alone[second] = False
        rest = np.flatnonzero(alone & (time >= time.max() - WINDOW))[-MOST_WAITING:]
        self._key, self._time, self._direction = key[rest], time[rest], direction[rest]
        found = np.zeros(len(key), np.bool_)
        found[second] = True
        return found[waiting:]


def _pairs(
    key: NDArray[np.uint64], time: NDArray[np.int64], sent: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The two sightings of each packet, the earlier and the later: each sighting, in the order of time, goes with the
    oldest one of the opposite direction that has none yet and is not further away than ``WINDOW``. So what comes out
    does not depend on where a stream is cut into chunks.

    All sightings are paired at once by their number in their run. Where a pair is too far apart, one sighting had no
    other: it is taken out, and the rest of its run is paired again.
    """
    order = np.lexsort((time, key))
    order = order[key[order] != 0]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (key[order[1:]] != key[order[:-1]]) | (np.diff(time[order]) > WINDOW)
    run: NDArray[np.intp] = np.cumsum(begins) - 1
    found: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    for _ in range(_MOST_ROUNDS):
        if len(order) < 2:
            break
        runs = int(run[-1]) + 1
        mine = sent[order]
        number = np.where(mine, _count_within(mine, run), _count_within(~mine, run))
        pairing = np.lexsort((time[order], number, run))  # stable: the earlier sighting first
        a, b = pairing[:-1], pairing[1:]
        together = (run[a] == run[b]) & (number[a] == number[b])
        a, b = a[together], b[together]
        apart = time[order[b]] - time[order[a]] > WINDOW
        # each run's first pair that is too far apart; all before it are right
        wrong = np.flatnonzero(apart)
        run_of, at = np.unique(run[a[wrong]], return_index=True)
        wrong = wrong[at]
        first_wrong = np.full(runs, np.iinfo(np.intp).max)
        first_wrong[run_of] = number[a[wrong]]
        right = number[a] < first_wrong[run[a]]
        found.append((order[a[right]], order[b[right]]))
        if not len(wrong):
            break
        # what is older than the later one of that pair by more than the window never gets another
        oldest = np.full(runs, np.iinfo(np.int64).min)
        oldest[run_of] = time[order[b[wrong]]] - WINDOW
        left = number >= first_wrong[run]
        left &= time[order] >= oldest[run]
        order, run = order[left], run[left]
        run = np.cumsum(np.diff(run, prepend=run[:1]) != 0)
    firsts, seconds = zip(*found, strict=True) if found else ((), ())
    none = np.empty(0, np.intp)
    return np.concatenate([none, *firsts]), np.concatenate([none, *seconds])


def _count_within(marked: NDArray[np.bool_], run: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each marked row how many marked ones of its run come before it; ``run`` ascends."""
    before: NDArray[np.intp] = np.cumsum(marked) - marked
    begins = np.flatnonzero(np.diff(run, prepend=-1))
    counted: NDArray[np.intp] = before - before[begins][run]
    return counted
