"""Every kind of trace that the writer makes reads back as the packets that went in: time, bytes, direction,
interface."""

from __future__ import annotations

from pathlib import Path

import pytest

import etwcap
from etwcap.etl import layout
from etwcap.etl.time import CPU_CYCLES, SYSTEM_TIME
from etwcap.etl.writer import LogfileSettings
from traces import Expected, Written, ndiscap_trace, pktmon_trace

KINDS = {
    "native": LogfileSettings(processors=3, buffer_size=8192),
    "relogged": LogfileSettings(processors=3, buffer_size=8192, relogged=True),
    "compressed": LogfileSettings(processors=3, buffer_size=8192, relogged=True, compressed=True),
    "one compressed buffer a processor": LogfileSettings(
        processors=3, buffer_size=1 << 24, relogged=True, compressed=True
    ),
    "32 bit": LogfileSettings(processors=3, buffer_size=8192, pointer_size=4),
    "newfile": LogfileSettings(
        processors=3, buffer_size=8192, first_sequence=908, mode=layout.EVENT_TRACE_FILE_MODE_NEWFILE
    ),
    "one stream": LogfileSettings(processors=3, buffer_size=8192, one_stream=True),
    "roomy circle": LogfileSettings(processors=3, buffer_size=8192, circular_buffers=1000),
    "never closed": LogfileSettings(processors=3, buffer_size=8192, closed=False),
    "never closed, preallocated": LogfileSettings(processors=3, buffer_size=8192, closed=False, preallocated=1 << 20),
    "system time": LogfileSettings(processors=3, buffer_size=8192, clock_type=SYSTEM_TIME),
    "cpu cycles": LogfileSettings(processors=3, buffer_size=8192, clock_type=CPU_CYCLES, cpu_mhz=2000),
    "fast counter": LogfileSettings(processors=3, buffer_size=8192, perf_freq=1_000_000_000),
}


def read(path: Path, **options: str) -> list[Expected]:
    with etwcap.open(path, **options) as trace:  # type: ignore[arg-type]
        return [
            Expected(packet.time, packet.data, packet.direction == "out", packet.interface.if_index)
            for packet in trace
            if not packet.dropped or packet.interface.if_index != 1
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_ndiscap_packets_come_back_from_every_kind_of_file(kind: str, backend: str, tmp_path: Path) -> None:
    written = ndiscap_trace(tmp_path / "x.etl", settings=KINDS[kind])
    assert read(written.path) == written.packets


@pytest.mark.parametrize("kind", KINDS)
def test_pktmon_packets_come_back_from_every_kind_of_file(kind: str, backend: str, tmp_path: Path) -> None:
    written = pktmon_trace(tmp_path / "x.etl", settings=KINDS[kind])
    assert read(written.path) == written.packets


def test_a_slow_counter_is_no_further_off_than_its_tick(backend: str, tmp_path: Path) -> None:
    settings = LogfileSettings(processors=3, buffer_size=8192, perf_freq=3_579_545)
    written = ndiscap_trace(tmp_path / "x.etl", settings=settings)
    found = read(written.path)
    assert [packet._replace(time=0) for packet in found] == [packet._replace(time=0) for packet in written.packets]
    late = [packet.time - expected.time for packet, expected in zip(found, written.packets, strict=True)]
    assert min(late) >= 0
    assert max(late) <= 300


def test_a_circular_trace_that_wrapped_gives_what_is_left_in_order(backend: str, tmp_path: Path) -> None:
    settings = LogfileSettings(processors=2, buffer_size=8192, circular_buffers=7)
    written = ndiscap_trace(tmp_path / "x.etl", 300, settings=settings, cards=False)
    found = read(written.path)
    assert 0 < len(found) < len(written.packets)
    assert set(found) <= set(written.packets)
    assert [packet.time for packet in found] == sorted(packet.time for packet in found)
    assert found[-1] == written.packets[-1]


@pytest.mark.parametrize("medium", ["ethernet", "wifi", "ip"])
@pytest.mark.parametrize("trailer", [True, False])
def test_ndiscap_packets_come_back_in_every_medium(medium: str, trailer: bool, tmp_path: Path) -> None:
    written = ndiscap_trace(tmp_path / "x.etl", medium=medium, trailer=trailer)
    assert read(written.path) == written.packets


def test_of_several_layers_the_one_at_the_wire_is_kept(backend: str, tmp_path: Path) -> None:
    written = ndiscap_trace(tmp_path / "x.etl", layers=3)
    assert read(written.path) == written.packets
    assert len(read(written.path, appearances="all")) == written.sightings


@pytest.mark.parametrize("build", [19042, 20348, 26100])
@pytest.mark.parametrize("packet_size", [0, 128])
def test_pktmon_packets_come_back_once_from_every_build(
    build: int, packet_size: int, backend: str, tmp_path: Path
) -> None:
    written = pktmon_trace(tmp_path / "x.etl", build=build, packet_size=packet_size, drops=False)
    assert read(written.path, repair="none") == written.packets
    assert len(read(written.path, appearances="all")) == written.sightings


def test_every_appearance_counts_the_drops_too(backend: str, tmp_path: Path) -> None:
    written = pktmon_trace(tmp_path / "x.etl")
    with etwcap.open(written.path, appearances="all") as trace:
        assert sum(1 for _ in trace) == written.sightings + written.drops


def total(path: Path) -> int:
    with etwcap.open(path) as trace:
        return sum(1 for _ in trace)


@pytest.mark.parametrize("build", [19042, 26100])
def test_without_a_rundown_no_packet_is_lost(build: int, tmp_path: Path) -> None:
    written: Written = pktmon_trace(tmp_path / "x.etl", build=build, rundown=False, drops=False)
    assert total(written.path) >= len(written.packets)
