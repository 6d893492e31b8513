"""Prints every packet of a trace: the time, the direction, the interface, and whether Windows dropped it.

python examples/read_packets.py examples/sample-pktmon.etl
"""

from __future__ import annotations

import sys

import etwcap

with etwcap.open(sys.argv[1]) as trace:
    for packet in trace:
        arrow = {"in": "<-", "out": "->"}.get(packet.direction, "--")
        dropped = f"  {packet.comment}" if packet.dropped else ""
        print(f"{packet.datetime.isoformat()} {arrow} {packet.interface.name}: {packet.original_length} bytes{dropped}")
