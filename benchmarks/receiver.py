"""``python -m benchmarks.receiver MODE``: a stand-in of a trace session hands events to the callbacks at a given rate.

Everything behind the callbacks is the product: receiver, ring, the order of stamps, and as MODE says the decoding and
what packets go through. Each event is a PktMon packet event of 200 bytes, in buffers of as many processors as are
asked for. Prints what was produced, lost and read as JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.build import event_record
from etwcap.packets import Chunk, Context, Description
from etwcap.providers.pktmon_layout import GUID, PACKET_HEADER, EventId, PacketType
from etwcap.taps.etw_feed import SessionFeed
from etwcap.taps.etw_session import EtwSession
from etwcap.taps.etw_source import EtwRecordSource
from etwcap.taps.etw_stage import EtwToPackets, Network, etw_stages
from etwcap.taps.protocol import LiveTapSource, TapOptions
from etwcap.taps.several import LiveStaged
from etwcap.windows.etw import FLUSH, STOP, Etw, SessionState

SOURCE = Path(__file__).with_name("receiver_harness.c")
NATIVE = Path(__file__).parents[1] / "src" / "etwcap" / "native"
PACKET: Final = 200
BUFFER: Final = 256 << 10
"""bytes of a session's buffer"""
MODES: Final = ("records", "packets", "stages")


class _Play(ctypes.Structure):
    """struct play of receiver_harness.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("record", "buffer", "event")),
        *((name, ctypes.c_uint64) for name in ("context", "length", "number_at", "count", "rate")),
        *((name, ctypes.c_uint32) for name in ("processors", "in_buffer")),
        *((name, ctypes.c_uint64) for name in ("produced", "late")),
        *((name, ctypes.c_uint32) for name in ("flush", "stop", "written")),
    ]


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    cc = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if cc is None:
        raise RuntimeError("a C compiler builds the stand-in session; there is none")
    folder = tempfile.mkdtemp(prefix="etwcap-receiver-")
    try:
        path = Path(folder, "receiver_harness.so")
        command = [cc, "-std=c11", "-O2", "-fPIC", "-shared", f"-I{NATIVE}", str(SOURCE), "-o", str(path), "-lpthread"]
        subprocess.run(command, check=True)
        library = ctypes.CDLL(str(path))
    finally:
        shutil.rmtree(folder)
    library.play_size.restype = ctypes.c_size_t
    if library.play_size() != ctypes.sizeof(_Play):
        raise RuntimeError("struct play has another size than _Play")
    return library


class StandIn(Etw):
    """The calls of event tracing on one session, whose ProcessTrace is the harness."""

    def __init__(self, *, count: int, rate: int, processors: int) -> None:
        head = np.zeros(1, PACKET_HEADER)
        head["packet_type"], head["component_id"], head["pkt_group_id"] = PacketType.ETHERNET, 1, 1
        head["original_payload_size"] = head["logged_payload_size"] = PACKET
        payload = head.tobytes() + bytes(range(PACKET))
        self._event = event_record(GUID, EventId.FLOW_PAYLOAD, payload, time=0, keyword=0x10)
        self._play = _Play(
            event=ctypes.cast(ctypes.c_char_p(self._event), ctypes.c_void_p).value,
            length=len(payload),
            number_at=PACKET_HEADER.itemsize + 40,
            count=count,
            rate=rate,
            processors=processors,
            in_buffer=BUFFER // (len(self._event) + 6),
        )
        self.ended = threading.Event()

    @property
    def produced(self) -> int:
        """Events so far."""
        return int(self._play.produced)

    @property
    def late(self) -> int:
        """ns that the session was behind its rate at most."""
        return int(self._play.late)

    def control(self, session: int | str, code: int, *fine: int) -> SessionState:
        if code == FLUSH:
            self._play.flush = 1
            end = time.monotonic() + 0.05
            while self._play.flush and time.monotonic() < end and not self.ended.is_set():
                time.sleep(0.0005)
        elif code == STOP:
            self._play.stop = 1
        return SessionState(1, "bench", 0x100, BUFFER >> 10, 8, 4, int(self._play.written), 0, 0, 0)

    def open(self, logfile: Any) -> int:
        self._play.record, self._play.buffer = logfile.EventRecordCallback, logfile.BufferCallback
        self._play.context = logfile.Context
        return 1

    def process(self, handle: int) -> int:
        code = int(_library().play(ctypes.byref(self._play)))
        self.ended.set()
        return code

    def close(self, handle: int) -> None:
        self._play.stop = 1


class Nanoseconds:
    """The clock of the stand-in: its ticks are ns since 1970."""

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        return ticks


def measure(mode: str, *, rate: int, count: int, size: int = 1 << 26, processors: int = 4) -> dict[str, float | int]:
    """Read ``count`` events at ``rate`` a second (0: as fast as they can be made) through a ring of ``size`` bytes."""
    _library()
    context, description = Context(), Description()
    etw = StandIn(count=count, rate=rate, processors=processors)
    session = EtwSession(etw, "bench", handle=1, forget=lambda: None)
    start, cpu = time.perf_counter(), time.process_time()
    feed = SessionFeed(session, etw, ring=size, counter=time.time_ns)
    records = EtwRecordSource(feed, Nanoseconds(), context, description, tap="pktmon", options=TapOptions())
    source: LiveTapSource = records
    network = Network({}, {})
    if mode == "packets":
        source = LiveStaged(records, [EtwToPackets(context, description, network)])
    elif mode == "stages":
        source = LiveStaged(
            records, etw_stages(context, description, TapOptions(), tap="pktmon", cards=lambda: network)
        )
    rows, out_of_order, latest, longest, before = 0, 0, -(2**63), 0.0, start
    for chunk in _until_produced(source, etw, count):
        times = chunk.packets["time"]
        rows += len(times)
        if len(times):
            out_of_order += int(int(times[0]) < latest) + int((times[1:] < times[:-1]).sum())
            latest = int(times[-1])
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    wall = time.perf_counter() - start
    losses = source.losses()
    source.close()
    return {
        "produced": etw.produced,
        "refused": losses.ring,
        "read": rows,
        "out_of_order": out_of_order,
        "late_marks": int(context.receipt.notes["late"].count) if "late" in context.receipt.notes else 0,
        "wall": wall,
        "rate": etw.produced / wall,
        "producer_behind_ms": etw.late / 1e6,
        "longest_chunk_ms": longest * 1e3,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _until_produced(source: LiveTapSource, etw: StandIn, count: int) -> Iterator[Chunk]:
    """The chunks; the source is stopped once everything has been produced."""
    for chunk in source.chunks():
        yield chunk
        if etw.produced >= count:
            source.stop()


def main() -> None:
    """Measure once, as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.receiver", description="A trace session at a given rate."
    )
    parser.add_argument("mode", choices=MODES, help="how far the events go: as records, as packets, through all stages")
    parser.add_argument("--rate", type=int, default=1_000_000, help="events a second, 0: as fast as it goes")
    parser.add_argument("--seconds", type=float, default=30, help="how long, at that rate (%(default)s)")
    parser.add_argument("--count", type=int, help="events in all, instead of --seconds")
    parser.add_argument("--ring", type=int, default=1 << 26, help="bytes of the ring (%(default)s)")
    parser.add_argument("--processors", type=int, default=4, help="that write events (%(default)s)")
    chosen = parser.parse_args()
    count = chosen.count or int(chosen.rate * chosen.seconds)
    found = measure(chosen.mode, rate=chosen.rate, count=count, size=chosen.ring, processors=chosen.processors)
    print(json.dumps({"mode": chosen.mode, **found}))


if __name__ == "__main__":
    main()
