"""A wire with faults: ``python wire.py ONE OTHER LOSS REORDER DELAY_US SEED`` carries frames between two links.

Of 1,000 frames LOSS are lost and REORDER are held back a little, so that later ones overtake them. Runs in a namespace
of its own; who sends through it must fill in checksums and cut segments (ethtool -K LINK tx off tso off gso off).
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import sys
import time

ETH_P_ALL = 3
HELD = 0.002


def carry(one: str, other: str, loss: int, reorder: int, delay: float, seed: int) -> None:
    """Carry frames until killed."""
    chance = random.Random(seed)
    ends = []
    for name in (one, other):
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        end.bind((name, ETH_P_ALL))
        end.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        ends.append(end)
    waiting: list[tuple[float, int, int, bytes]] = []
    number = 0
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for ready in select.select(ends, [], [], pause)[0]:
            frame = ready.recv(65536)
            if chance.randrange(1000) < loss:
                continue
            held = chance.random() * HELD if chance.randrange(1000) < reorder else 0.0
            number += 1
            heapq.heappush(waiting, (time.monotonic() + delay + held, number, 1 - ends.index(ready), frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, to, frame = heapq.heappop(waiting)
            ends[to].send(frame)


if __name__ == "__main__":
    carry(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]) / 1e6, int(sys.argv[6]))
