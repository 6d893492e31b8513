"""Causal order of TCP: packets a second, of an orderly capture and of one whose answers stand early."""

from __future__ import annotations

import random
import statistics
import struct
import sys
import time

import numpy as np
from numpy.typing import NDArray

from etwcap.native.order import CausalOrder
from etwcap.native.order_facts import order_facts, own_table
from etwcap.packets.linktypes import RAW_IP

PACKETS = 1_000_000
FLOWS = 300
EARLY = 200_000
"""ns: how far before the segment that it acknowledges an acknowledgement may stand"""
WINDOW = 2_000_000
_KINDS = 200_000
_HOST, _PEERS = bytes([192, 0, 2, 1]), bytes([198, 51, 100])


def segments(count: int) -> tuple[list[bytes], NDArray[np.int64], NDArray[np.int64]]:
    """Headers of segments that a host receives in several downloads, each followed by the acknowledgement; their times,
    and times by which each acknowledgement stands before its segment."""
    chance = random.Random(1)
    number = [0] * FLOWS
    made, times, early = [], [], []
    now = 10**9
    for _ in range(count // 2):
        flow = chance.randrange(FLOWS)
        peer, port = _PEERS + bytes([flow % 250]), 40000 + flow
        now += chance.randrange(1000, 4000)
        data = struct.pack(">HHIIBBHHH", 443, port, number[flow], 1, 0x50, 0x10, 512, 0, 0)
        number[flow] += 1400
        answer = struct.pack(">HHIIBBHHH", port, 443, 1, number[flow], 0x50, 0x10, 512, 0, 0)
        for source, target, tcp, size in ((peer, _HOST, data, 1440), (_HOST, peer, answer, 40)):
            made.append(struct.pack(">BBHHHBBH", 0x45, 0, size, 0, 0, 64, 6, 0) + source + target + tcp)
        times += [now, now + 500]
        early += [now, now - chance.randrange(EARLY)]
    return made, np.array(times, np.int64), np.array(early, np.int64)


def rate_of_order(made: list[bytes], times: NDArray[np.int64], rounds: int) -> tuple[float, float]:
    """Packets a CPU second, the median of so many rounds after a first one; and the share that was moved."""
    length = np.array([len(data) for data in made], np.uint32)
    offset = np.cumsum(length, dtype=np.int64) - length
    buffer = np.frombuffer(b"".join(made), np.uint8)
    link, direction = np.full(len(made), RAW_IP, np.uint16), np.zeros(len(made), np.uint8)
    own = own_table(np.frombuffer(bytes(10) + b"\xff\xff" + _HOST, np.uint8).reshape(1, 16))
    rates, moved = [], 0
    for _ in range(rounds + 1):
        order = CausalOrder(WINDOW)
        begun = time.process_time()
        facts = order_facts(buffer, offset, length, length, link, direction, own)
        given = [order.order(facts, times, int(times.max())), order.flush()]
        rates.append(len(made) / (time.process_time() - begun))
        moved = sum(int(np.count_nonzero(reason)) for _, _, reason in given)
    return statistics.median(rates[1:]), moved / len(made)


def main() -> None:
    """``python -m benchmarks.ordering [COUNT]``: packets a CPU second in order, in disorder, and share moved then."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else PACKETS
    kinds = min(count, _KINDS)
    made, times, early = segments(kinds)
    rounds = max(count // kinds, 1)
    orderly, _ = rate_of_order(made, times, rounds)
    place = np.argsort(early, kind="stable")
    disturbed, moved = rate_of_order([made[row] for row in place.tolist()], early[place], rounds)
    print(f"{orderly:.0f} {disturbed:.0f} {moved:.5f}")


if __name__ == "__main__":
    main()
