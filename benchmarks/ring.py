"""``python -m benchmarks.ring OUTPUT``: a stand-in receiver fills the ring of a live capture at a given rate.

Everything behind the ring is the product: reader, raw-socket provider, IPv6 stage, pcapng sink. Each record is a
raw-socket record with an IPv4 packet of 100 bytes. Prints what was produced, refused and written as JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import struct
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ring_feed import Feed
from etwcap.native.ring import Ring
from etwcap.packets import Context, Description, Interface
from etwcap.packets.linktypes import RAW_IP
from etwcap.pipeline.capture import capture
from etwcap.pipeline.protocols import Stage
from etwcap.providers.rawsocket_build import record_heads
from etwcap.providers.rawsocket_layout import ADDRESS_ROW, RAW_RECORD, Present
from etwcap.repair.ipv6_header import Ipv6HeaderStage
from etwcap.repair.order import OrderStage
from etwcap.taps.protocol import TapLosses
from etwcap.taps.raw_source import RawRecordSource, RecordsToPackets

PACKET = 100
NUMBER_AT = 8
"""of the record's number in its header"""
OWN = bytes([10, 0, 0, 1])


class Nanoseconds:
    """The clock of the stand-in: its ticks are ns since 1970."""

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        return ticks


class StandIn:
    """What the source needs of a feeder, around a producer that ends by itself."""

    def __init__(self, size: int) -> None:
        self.ring = Ring(size)
        self.interface_of = np.zeros(1, np.int32)
        self._tables: NDArray[Any] | None = np.zeros(1, ADDRESS_ROW)
        self._tables["family"], self._tables["table"] = 4, 1
        self._tables["address"][0, :4] = list(OWN)

    def tend(self) -> NDArray[Any] | None:
        tables, self._tables = self._tables, None
        return tables

    def tables(self) -> NDArray[Any] | None:
        return None

    def stop(self) -> bool:
        return True

    def losses(self) -> TapLosses:
        return TapLosses()

    def close(self) -> None:
        self.ring.close()


def template() -> bytes:
    """A record of an IPv4 UDP packet of 100 bytes, sent by this machine."""
    head = record_heads(1)
    head["family"], head["present"] = 4, int(Present.NUMBER)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, PACKET, 0, 0, 64, 17, 0, OWN, bytes([10, 0, 0, 2]))
    return head.tobytes() + ip + struct.pack(">HHHH", 4000, 5000, PACKET - 20, 0) + bytes(PACKET - 28)


def measure(output: str, *, rate: int, count: int, size: int, order: bool = False) -> dict[str, float | int]:
    """Capture ``count`` records at ``rate`` a second (0: as fast as they can be made) through a ring of ``size``
    bytes."""
    assert RAW_RECORD.itemsize == 64
    context = Context()
    context.interfaces.add(Interface(RAW_IP, name="stand-in", tap="raw"))
    feeder, description = StandIn(size), Description()
    source = RawRecordSource(feeder, Nanoseconds(), context, description, start=time.time_ns())
    stages: list[Stage] = [RecordsToPackets(context, description), Ipv6HeaderStage(context)]
    if order:
        stages.append(OrderStage(context))
    feed = Feed(feeder.ring, template(), count=count, number_at=NUMBER_AT, rate=rate, batch=32)
    start, cpu = time.perf_counter(), time.process_time()
    outcome = capture(source, context, output, stages=stages)
    feed.join()
    wall = time.perf_counter() - start
    losses = source.losses()
    return {
        "produced": feed.produced,
        "produced_bytes": feed.produced_bytes,
        "refused": losses.ring,
        "refused_bytes": losses.ring_bytes,
        "read": outcome.receipt.packets_read,
        "written": outcome.receipt.packets_written,
        "output_bytes": outcome.receipt.bytes_written,
        "late_ms": feed.late / 1e6,
        "wall": wall,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    """Measure once, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ring", description="A live capture at a given rate.")
    parser.add_argument("output", help="the pcapng file that is written")
    parser.add_argument("--rate", type=int, default=1_000_000, help="records a second, 0: as fast as it goes")
    parser.add_argument("--seconds", type=float, default=30, help="how long, at that rate (%(default)s)")
    parser.add_argument("--count", type=int, help="records in all, instead of --seconds")
    parser.add_argument("--ring", type=int, default=1 << 26, help="bytes of the ring (%(default)s)")
    parser.add_argument("--order", action="store_true", help="with the repair of the order behind it")
    chosen = parser.parse_args()
    count = chosen.count or int(chosen.rate * chosen.seconds)
    print(json.dumps(measure(chosen.output, rate=chosen.rate, count=count, size=chosen.ring, order=chosen.order)))


if __name__ == "__main__":
    main()
