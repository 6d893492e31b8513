"""A trace played live through the callback gives the packets that its file gives."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import need_native_core
from etw_events import FakeEtw
from etwcap.etl.records import EVENT32, EVENT64
from etwcap.etl.time import Clock
from etwcap.packets import Chunk, Context
from etwcap.pipeline.convert import etl_stages
from etwcap.pipeline.run import Staged
from etwcap.providers import packet_providers
from etwcap.providers.pktmon_layout import GUID as PKTMON
from etwcap.sources.etl import EtlSource
from etwcap.synth.options import SynthOptions
from etwcap.synth.run import synthesize
from etwcap.taps.collector import collect
from etwcap.taps.etw_feed import SessionFeed
from etwcap.taps.etw_session import EtwSession
from etwcap.taps.etw_source import EtwRecordSource
from etwcap.taps.etw_stage import Network, etw_stages
from etwcap.taps.per_tap import PerTap
from etwcap.taps.protocol import LiveTapSource, TapOptions
from etwcap.taps.remote import RemoteSource
from etwcap.taps.several import LiveMerge, LiveStaged
from frames import traffic
from pcapng_build import pcap

LAST_OF_RUNDOWN = 110
"""PktMon's events up to here stand at a file's end; a live session asks for them at its start"""


class FileClock:
    """The clock of a trace file."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._clock.to_unix_ns_array(ticks)


class Event(NamedTuple):
    """An event of a file, in the order in which the file's processors wrote them."""

    stamp: int
    processor: int
    record: bytes
    first: bool
    """part of the rundown"""


def events_of(source: EtlSource) -> list[Event]:
    """What the packet providers wrote; the rundown first, as a live session has it."""
    ordinals = [ordinal for ordinal, each in enumerate(source.provider_guids) if each in known_guids()]
    pktmon = source.provider_guids.index(PKTMON)
    engine = source._merge(source.buffers)
    found = []
    while (records := engine.next()) is not None:
        for row in records[np.isin(records["provider"], ordinals)]:
            if row["type"] in (EVENT64, EVENT32):
                at, size = int(row["offset"]), int(row["size"])
                first = row["provider"] == pktmon and row["id"] <= LAST_OF_RUNDOWN
                data = engine.buffer[at : at + size].tobytes()
                found.append(Event(int(row["raw"]), int(row["processor"]), data, bool(first)))
    engine.close()
    return sorted(found, key=lambda each: not each.first)


def known_guids() -> set[bytes]:
    return {provider.guid for provider in packet_providers()}


def packets_of(chunks: Iterable[Chunk], context: Context) -> Iterator[tuple[Any, ...]]:
    names = ("time", "captured", "original", "direction", "flags", "process", "drop_count", "drop_reason", "comment",
             "packet_id", "rank", "stack", "processor", "interface", "offset")  # fmt: skip
    for chunk in chunks:
        for row in zip(*(chunk.packets[name].tolist() for name in names), strict=True):
            at, number = row[-1], row[-2]
            face = context.interfaces[number]
            yield (*row[:-2], face.name, face.link_type, face.if_index, face.tap,
                   chunk.buffer[at : at + row[1]].tobytes())  # fmt: skip


def trace(path: Path, **options: Any) -> Path:
    """A trace of synth's usual traffic."""
    frames = list(itertools.islice(traffic(), 300))
    rows = [(1_705_526_400 + n // 1000, n % 1000 * 137, each.frame, len(each.frame)) for n, each in enumerate(frames)]
    capture = path.with_suffix(".pcap")
    capture.write_bytes(pcap("<", 0xA1B2C3D4, 1, *rows))
    synthesize(capture, path, SynthOptions(**options))
    return path


class End:
    """One end of a pair of sockets, as a side of the pipe between collector and front end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def read(self, most: int) -> bytes:
        return self._end.recv(most)

    def write(self, data: bytes) -> bool:
        self._end.sendall(data)
        return True

    def close(self) -> None:
        self._end.close()


def play(etw: FakeEtw, events: list[Event], now: list[int], done: Callable[[], None]) -> threading.Thread:
    """A thread that has the processors write the events, each at its time."""

    def run() -> None:
        session = etw.known["theirs"]
        for each in events:
            if not each.first:
                now[0] = each.stamp
                etw.write(session, each.record, processor=each.processor)
        done()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def told_first(events: list[Event]) -> list[bytes]:
    """The rundown, without stamps."""
    return [each.record[:16] + bytes(8) + each.record[24:] for each in events if each.first]


@pytest.mark.parametrize("piped", [False, True], ids=["here", "through a pipe"])
@pytest.mark.parametrize(
    ("options", "appearances"),
    [
        ({"tap": "pktmon", "processors": 4, "appearances": 3, "drop_rate": 0.1, "os_build": 22621}, "wire"),
        ({"tap": "pktmon", "processors": 2, "appearances": 3, "os_build": 26100}, "all"),
        ({"tap": "pktmon", "os_build": 19045}, "wire"),
        ({"tap": "ndiscap", "processors": 3, "appearances": 2}, "wire"),
        ({"tap": "ndiscap", "processors": 3, "fragments": 3, "os_build": 9600}, "wire"),
        ({"tap": "wfp", "processors": 2}, "wire"),
    ],
    ids=["pktmon 22621", "pktmon all", "pktmon 19045", "ndiscap", "ndiscap in fragments", "wfp"],
)
def test_a_trace_played_live_gives_the_packets_of_its_file(
    tmp_path: Path, options: dict[str, Any], appearances: str, piped: bool
) -> None:
    need_native_core()
    converted, played = both_ways(trace(tmp_path / "trace.etl", **options), options["tap"], appearances, piped=piped)
    assert len(played) >= 290
    assert played == converted


@pytest.mark.parametrize("piped", [False, True], ids=["here", "through a pipe"])
@pytest.mark.parametrize("appearances", ["wire", "all"])
@pytest.mark.parametrize(
    ("name", "tap", "packets"),
    [
        ("pktmon-d.etl", "pktmon", {"wire": 38, "all": 114}),
        ("pktmon-e.etl", "pktmon", {"wire": 260, "all": 2705}),
        ("ndiscap-a.etl", "ndiscap", {"wire": 1, "all": 1}),
    ],
)
def test_a_real_trace_played_live_gives_the_packets_of_its_file(
    corpus: Path, name: str, tap: str, packets: dict[str, int], appearances: str, piped: bool
) -> None:
    need_native_core()
    converted, played = both_ways(corpus / name, tap, appearances, piped=piped)
    assert len(played) == packets[appearances]
    assert played == converted


class Playing:
    """A session that plays a trace, and the source of a tap that reads it."""

    def __init__(self, path: Path, tap: str, context: Context, *, records: bool) -> None:
        self.tap = tap
        self._file = EtlSource(path, Context())
        facts = self._file.facts
        self._network = Network(facts.cards, facts.addresses)
        self._events = events_of(self._file)
        self._now = [self._events[0].stamp]
        self._etw = FakeEtw()
        self._etw.start("theirs")
        session = EtwSession.attach(self._etw, "theirs")
        feed = SessionFeed(session, self._etw, ring=1 << 22, counter=lambda: self._now[0], flush_every=0.0)
        clock, options = FileClock(self._file.header.clock), TapOptions(records=records)
        self.records = EtwRecordSource(feed, clock, context, self._file.describe(), tap=tap, options=options, latency=1)
        self.records.put_first(told_first(self._events))

    def play(self) -> threading.Thread:
        """Begin, on a thread; then the session is stopped."""
        return play(self._etw, self._events, self._now, self.records.stop)

    def packets(self, source: LiveTapSource, context: Context, appearances: str) -> LiveStaged:
        """The records with the tap's stages behind them."""
        made = etw_stages(
            context, source.describe(), TapOptions(), tap=self.tap, appearances=appearances, cards=lambda: self._network
        )
        return LiveStaged(source, made)

    def close(self) -> None:
        self.records.close()
        self._file.close()


def of_the_file(path: Path, appearances: str) -> tuple[list[tuple[Any, ...]], int]:
    """The packets of a trace as a file, and how many sightings they are of."""
    context = Context()
    source = EtlSource(path, context)
    stages = etl_stages(context, appearances, drops=True, ethernet=False, repairs=TapOptions().repairs)
    packets = list(packets_of(Staged(source, stages).chunks(), context))
    source.close()
    return packets, context.receipt.packets_read


def both_ways(
    path: Path, tap: str, appearances: str, *, piped: bool
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The packets of a trace as a file, and as a session that plays it."""
    converted, sightings = of_the_file(path, appearances)
    context = Context()
    tap_context = Context() if piped else context
    playing = Playing(path, tap, tap_context, records=piped)
    read: LiveTapSource = playing.records
    ends = socket.socketpair()
    with ends[0], ends[1]:
        threads = [playing.play()]
        if piped:
            threads.append(threading.Thread(target=collect, args=(read, tap_context, End(ends[0]))))
            threads[-1].start()
            read = RemoteSource(End(ends[1]), context)
        live = playing.packets(read, context, appearances)
        played = list(packets_of(live.chunks(), context))
        assert live.losses().ring == 0
        live.close()
        for each in threads:
            each.join()
    playing.close()
    assert context.receipt.packets_read == sightings
    return converted, played


def test_two_taps_through_one_pipe_give_one_timeline(tmp_path: Path) -> None:
    need_native_core()
    first = trace(tmp_path / "pktmon.etl", tap="pktmon", processors=2, appearances=2, os_build=22621)
    second = trace(tmp_path / "ndiscap.etl", tap="ndiscap", processors=2)
    there, context = Context(), Context()
    taps = [Playing(first, "pktmon", there, records=True), Playing(second, "ndiscap", there, records=True)]
    whole = LiveMerge([each.records for each in taps])
    ends = socket.socketpair()
    with ends[0], ends[1]:
        threads = [each.play() for each in taps]
        threads.append(threading.Thread(target=collect, args=(whole, there, End(ends[0]))))
        threads[-1].start()
        parts = PerTap(RemoteSource(End(ends[1]), context), context, [each.tap for each in taps])
        sources = zip(taps, parts.sources, strict=True)
        live = LiveMerge([tap.packets(source, context, "wire") for tap, source in sources])
        played = list(packets_of(live.chunks(), context))
        live.close()
        for each in threads:
            each.join()
    for tap in taps:
        tap.close()
    converted = of_the_file(first, "wire")[0] + of_the_file(second, "wire")[0]
    assert len(played) >= 580
    assert played == sorted(converted, key=lambda packet: packet[0])
