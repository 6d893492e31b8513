"""Counts packets and bytes of each interface with NumPy columns: no Python per packet, so it is fast on large traces.

python examples/count_by_interface.py examples/sample-pktmon.etl
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np

import etwcap

packets: Counter[int] = Counter()
octets: Counter[int] = Counter()

with etwcap.open(sys.argv[1]) as trace:
    for chunk in trace.chunks():
        interface, size = chunk.packets["interface"], chunk.packets["original"]
        for index in np.unique(interface).tolist():
            mine = interface == index
            packets[index] += int(mine.sum())
            octets[index] += int(size[mine].sum())
    for index, count in packets.most_common():
        print(f"{trace.interfaces[index].name}: {count} packets, {octets[index]} bytes")
