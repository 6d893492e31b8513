"""Every kind of ETL file through the source: circular, series, preallocated, unclosed, piped, other clocks, losses."""

from __future__ import annotations

import os
import struct
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import etwcap
from etwcap.errors import NotATraceError
from etwcap.etl import layout
from etwcap.etl.time import CPU_CYCLES, QPC, SYSTEM_TIME
from etwcap.etl.writer import LogfileSettings
from etwcap.packets import Context
from etwcap.pipeline.merge import MergedSource
from etwcap.sources.etl import EtlSource
from etwcap.sources.opening import open_source
from traces import Written, header_only_trace, ndiscap_trace, pktmon_trace


def packets_of(path: Path | str) -> list[tuple[int, bytes]]:
    with etwcap.open(path) as trace:
        return [(packet.time, packet.data) for packet in trace]


def expected(written: Written) -> list[tuple[int, bytes]]:
    return [(packet.time, packet.data) for packet in written.packets]


@pytest.mark.parametrize("clock", [QPC, SYSTEM_TIME, CPU_CYCLES])
@pytest.mark.parametrize("frequency", [10_000_000, 3_579_545, 2_441_406, 24_000_000])
def test_times_are_utc_with_every_clock(tmp_path: Path, backend: str, clock: int, frequency: int) -> None:
    kind = LogfileSettings(processors=2, clock_type=clock, perf_freq=frequency, cpu_mhz=2_893)
    written = ndiscap_trace(tmp_path / "trace.etl", 20, settings=kind)
    got = packets_of(written.path)
    assert [data for _, data in got] == [packet.data for packet in written.packets]
    tick = 0 if clock == SYSTEM_TIME else 1_000_000_000 // (frequency if clock == QPC else 2_893_000_000) + 100
    for (time, _), packet in zip(got, written.packets, strict=True):
        assert 0 <= time - packet.time <= tick


def test_a_32_bit_logger_is_read(tmp_path: Path, backend: str) -> None:
    written = ndiscap_trace(tmp_path / "trace.etl", 20, settings=LogfileSettings(pointer_size=4))
    assert packets_of(written.path) == expected(written)


def test_a_wrapped_circular_file_gives_what_is_left_in_order_and_says_so(tmp_path: Path, backend: str) -> None:
    kind = LogfileSettings(processors=3, buffer_size=2048, circular_buffers=7)
    written = ndiscap_trace(tmp_path / "trace.etl", 200, settings=kind, cards=False)
    got = packets_of(written.path)
    assert 10 < len(got) < 200
    assert [time for time, _ in got] == sorted(time for time, _ in got)
    assert set(got) <= set(expected(written))
    with etwcap.open(written.path) as trace:
        list(trace)
        assert trace.losses.partial_first
        assert trace.losses.sequence_gaps == 0
        assert not trace.damage


def test_files_of_a_series_merge_into_one_time_order(tmp_path: Path, backend: str) -> None:
    together: list[tuple[int, bytes]] = []
    paths = []
    for number in range(3):
        shift = number * 5_000_000_000
        kind = LogfileSettings(
            processors=2, first_sequence=1 + 10 * number, mode=layout.EVENT_TRACE_FILE_MODE_NEWFILE,
            start=133_500_000_000_000_000 + shift // 100,
        )  # fmt: skip
        base = replace(kind, start=kind.start - shift // 100)
        written = ndiscap_trace(tmp_path / f"part{number}.etl", 30, settings=base)
        image = bytearray(written.path.read_bytes())
        at = layout.BUFFER_HEADER_SIZE + layout.SYSTEM_HEADER.itemsize + layout.LOGFILE_HEADER64.fields["start_time"][1]  # type: ignore[index]
        image[at : at + 8] = struct.pack("<q", kind.start)
        written.path.write_bytes(image)
        together += [(packet.time + shift, packet.data) for packet in written.packets]
        paths.append(written.path)
    out = tmp_path / "out.pcapng"
    outcome = etwcap.convert([paths[2], paths[0], paths[1]], out)
    assert outcome.exit_code == 0
    assert packets_of(out) == together


def test_overlapping_inputs_interleave_by_time(tmp_path: Path, backend: str) -> None:
    first = ndiscap_trace(tmp_path / "a.etl", 40)
    second = ndiscap_trace(tmp_path / "b.etl", 40, settings=LogfileSettings(start=133_500_000_000_003_333))
    shifted = tmp_path / "b.etl"
    image = bytearray(shifted.read_bytes())
    at = layout.BUFFER_HEADER_SIZE + layout.SYSTEM_HEADER.itemsize + layout.LOGFILE_HEADER64.fields["start_time"][1]  # type: ignore[index]
    image[at : at + 8] = struct.pack("<q", 133_500_000_000_006_666)
    shifted.write_bytes(image)
    context = Context()
    sources = [open_source(first.path, context), open_source(second.path, context)]
    merged = MergedSource(sources)
    seen = []
    for chunk in merged.chunks():
        rows = chunk.packets
        spans = zip(rows["time"].tolist(), rows["offset"].tolist(), rows["captured"].tolist(), strict=True)
        seen += [(time, chunk.buffer[offset : offset + size].tobytes()) for time, offset, size in spans]
    merged.close()
    whole = expected(first) + [(packet.time + 333_300, packet.data) for packet in second.packets]
    assert seen == sorted(whole, key=lambda item: item[0])


def test_the_unwritten_tail_of_a_preallocated_file_is_no_damage(tmp_path: Path, backend: str) -> None:
    written = ndiscap_trace(tmp_path / "trace.etl", 20)
    with written.path.open("ab") as file:
        file.write(bytes(3 * 0x10000 + 100))
    with etwcap.open(written.path) as trace:
        assert [(packet.time, packet.data) for packet in trace] == expected(written)
        assert not trace.damage


def test_a_session_that_was_never_closed_is_read_and_said(tmp_path: Path, backend: str) -> None:
    written = ndiscap_trace(tmp_path / "trace.etl", 20, settings=LogfileSettings(processors=2, closed=False))
    with etwcap.open(written.path) as trace:
        assert [(packet.time, packet.data) for packet in trace] == expected(written)
        assert trace.losses.unclosed
        assert not trace.losses.missing_end
        assert trace.session is not None
        assert trace.session.end is None


def test_a_missing_end_and_missing_buffers_are_said(tmp_path: Path, backend: str) -> None:
    kind = LogfileSettings(buffer_size=2048, events_lost=17, buffers_lost=2)
    written = ndiscap_trace(tmp_path / "trace.etl", 100, settings=kind, cards=False)
    image = written.path.read_bytes()
    written.path.write_bytes(image[: 2048 * 3] + image[2048 * 5 : -2048])
    with etwcap.open(written.path) as trace:
        got = [(packet.time, packet.data) for packet in trace]
        losses = trace.losses
    assert set(got) < set(expected(written))
    assert (losses.events, losses.buffers, losses.sequence_gaps, losses.missing_end) == (17, 2, 2, True)


def test_one_stream_for_all_processors_is_read(tmp_path: Path, backend: str) -> None:
    kind = LogfileSettings(processors=4, one_stream=True, buffer_size=4096)
    written = ndiscap_trace(tmp_path / "trace.etl", 60, settings=kind)
    assert packets_of(written.path) == expected(written)


@pytest.mark.parametrize(("number", "name"), [(2, "LZNT1"), (4, "Xpress Huffman")])
def test_buffers_of_another_compression_are_reported_with_their_offset(
    tmp_path: Path, backend: str, number: int, name: str
) -> None:
    kind = LogfileSettings(processors=2, compressed=True, relogged=True)
    written = ndiscap_trace(tmp_path / "trace.etl", 20, settings=kind)
    image = bytearray(written.path.read_bytes())
    image[0x2C:0x30] = struct.pack("<I", number)
    written.path.write_bytes(image)
    misnamed = etwcap.convert([written.path], tmp_path / "out.pcapng")
    assert misnamed.exit_code == 4
    assert misnamed.receipt.packets_written == 20
    assert [damage.offset for damage in misnamed.descriptions[0].damage] == [0x2C]
    (tmp_path / "out.pcapng").unlink()

    at = 1024
    while at < len(image):  # no Xpress stream any more
        size = int.from_bytes(image[at : at + 4], "little")
        image[at + 72 : at + size] = b"\xff" * (size - 72)
        at += size
    written.path.write_bytes(image)
    outcome = etwcap.convert([written.path], tmp_path / "out.pcapng")
    assert outcome.exit_code == 4
    assert outcome.output is None
    assert not (tmp_path / "out.pcapng").exists()
    places = [(damage.offset, damage.what) for damage in outcome.descriptions[0].damage]
    assert len(places) == 2
    assert all(name in what for _, what in places)
    assert places[0][0] == 1024


def test_an_etl_comes_through_a_pipe(tmp_path: Path, backend: str) -> None:
    written = ndiscap_trace(tmp_path / "trace.etl", 20)
    if not hasattr(os, "mkfifo"):
        pytest.skip("no FIFOs on this system")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    feeder = threading.Thread(target=lambda: fifo.write_bytes(written.path.read_bytes()))
    feeder.start()
    outcome = etwcap.convert([fifo], tmp_path / "out.pcapng")
    feeder.join()
    assert outcome.receipt.packets_written == 20
    assert packets_of(tmp_path / "out.pcapng") == expected(written)


def test_a_file_that_is_too_short_or_something_else_is_refused_with_its_offset(tmp_path: Path, backend: str) -> None:
    written = header_only_trace(tmp_path / "trace.etl")
    image = written.path.read_bytes()
    for content in (b"", b"\0" * 5000, b"hello, this is a log file\n" * 20, image[:200], os.urandom(4000)):
        path = tmp_path / "other.etl"
        path.write_bytes(content)
        with pytest.raises(NotATraceError) as caught:
            etwcap.open(path)
        assert "offset" in caught.value.cause


def test_a_trace_can_be_read_twice_and_as_columns(tmp_path: Path, backend: str) -> None:
    written = ndiscap_trace(tmp_path / "trace.etl", 30)
    with etwcap.open(written.path) as trace:
        assert [(packet.time, packet.data) for packet in trace] == expected(written)
        assert [packet.data for packet in trace.packets()] == [packet.data for packet in written.packets]
        columns = trace.columns()
        assert columns["time"].tolist() == [packet.time for packet in written.packets]
        table, buffer = trace.table()
        offset, size = int(table["offset"][7]), int(table["captured"][7])
        assert buffer[offset : offset + size].tobytes() == written.packets[7].data
        assert np.count_nonzero(columns["direction"] == 2) == sum(packet.sent for packet in written.packets)
        names = {event.provider for event in trace.events()}
        assert "Microsoft-Windows-NDIS-PacketCapture" in names


def test_records_that_go_back_in_time_are_marked_late_and_kept(tmp_path: Path, backend: str) -> None:
    kind = LogfileSettings(buffer_size=4096)
    written = ndiscap_trace(tmp_path / "trace.etl", 12, settings=kind, cards=False)
    image = bytearray(written.path.read_bytes())
    source = EtlSource(written.path, Context())
    chunk = next(iter(source.chunks()))
    fifth = int(chunk.packets["offset"][5])
    frame = chunk.buffer[fifth : fifth + 60].tobytes()
    source.close()
    at = image.find(frame) - 12 - 80 + 16
    early = struct.unpack_from("<q", image, at)[0] - 10_000_000
    image[at : at + 8] = struct.pack("<q", early)
    written.path.write_bytes(image)
    with etwcap.open(written.path) as trace:
        marks = [bool(packet.marks & etwcap.Mark.LATE) for packet in trace]
    assert len(marks) == 12
    assert marks.count(True) == 1


def test_a_trace_names_the_components_that_saw_its_packets(tmp_path: Path, backend: str) -> None:
    written = pktmon_trace(tmp_path / "trace.etl", 10)
    with etwcap.open(written.path) as trace:
        names = {component.name for component in trace.components}
        assert "tcpip.sys" in names
        seen = {packet.seen_at.split()[0] for packet in trace}
        assert seen <= names
    capture = tmp_path / "out.pcapng"
    etwcap.convert([written.path], capture)
    with etwcap.open(capture) as trace:
        assert trace.components == []
