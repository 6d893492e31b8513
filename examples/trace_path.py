"""Follows one packet through the network stack: every place where PktMon saw it.

python examples/trace_path.py examples/sample-pktmon.etl
"""

from __future__ import annotations

import sys

import etwcap

with etwcap.open(sys.argv[1], appearances="all") as trace:
    first = None
    for packet in trace:
        if first is None:
            first = packet
        if packet.time - first.time > 20_000:
            break
        print(f"+{(packet.time - first.time) / 1000:5.1f} us  {packet.seen_at:24} {len(packet.data)} bytes")
