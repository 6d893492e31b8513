"""The ETL writer: every kind of file has the shape that Windows gives it, and what went in comes out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.etl import build, layout, records
from etwcap.etl.build_bulk import RecordRun
from etwcap.etl.time import CPU_CYCLES, QPC, SYSTEM_TIME
from etwcap.etl.writer import EtlWriter, LogfileSettings
from test_xpress_encode import decode
from traces import START_NS, header_only_trace, kernel_trace, ndiscap_trace, pktmon_trace

PROVIDER = "2ed6006e-4729-4609-b423-3ee7bcd678ef"
SIZE_AT_4 = {
    records.SYSTEM32, records.SYSTEM64, records.COMPACT32, records.COMPACT64, records.PERFINFO32, records.PERFINFO64,
}  # fmt: skip


@dataclass(frozen=True)
class Buffer:
    header: Any
    records: list[bytes]
    at: int


def walk_records(content: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(content):
        size_at = at + (4 if content[at + 3] == layout.MARKER_EVENT and content[at + 2] in SIZE_AT_4 else 0)
        size = int.from_bytes(content[size_at : size_at + 2], "little")
        assert size >= 4
        found.append(content[at : at + size])
        at += size + -size % 8
    assert at == len(content), "the records end on FilledBytes"
    return found


def walk(path: Path) -> list[Buffer]:
    data = path.read_bytes()
    buffers, at = [], 0
    while at < len(data) and int.from_bytes(data[at : at + 4], "little"):
        header = np.frombuffer(data, layout.BUFFER_HEADER, 1, at)[0]
        size, filled = int(header["buffer_size"]), int(header["filled_bytes"])
        if header["buffer_flag"] & layout.BUFFER_FLAG_COMPRESSED:
            content = decode(data[at + 72 : at + size])
            assert len(content) == filled - 72
        else:
            content = data[at + 72 : at + filled]
            assert set(data[at + filled : at + size]) <= {0xFF}
        buffers.append(Buffer(header, walk_records(content), at))
        at += size
    assert header["buffer_type"] != layout.BUFFER_TYPE_HEADER or len(buffers) == 1
    return buffers


def logfile_header(path: Path) -> Any:
    record = walk(path)[0].records[0]
    kind = layout.LOGFILE_HEADER64 if record[2] == records.SYSTEM64 else layout.LOGFILE_HEADER32
    return np.frombuffer(record, kind, 1, layout.SYSTEM_HEADER.itemsize)[0]


def event(number: int, time: int, size: int = 100) -> bytes:
    return build.event_record(PROVIDER, number, bytes([number & 0xFF]) * size, time=time)


KINDS = {
    "native": LogfileSettings(processors=3, buffer_size=4096),
    "relogged": LogfileSettings(processors=3, buffer_size=4096, relogged=True),
    "compressed": LogfileSettings(processors=3, buffer_size=4096, relogged=True, compressed=True),
    "32 bit": LogfileSettings(processors=3, buffer_size=4096, pointer_size=4),
    "newfile": LogfileSettings(
        processors=3, buffer_size=4096, first_sequence=908, mode=layout.EVENT_TRACE_FILE_MODE_NEWFILE
    ),
    "one stream": LogfileSettings(processors=3, buffer_size=4096, one_stream=True),
    "roomy circle": LogfileSettings(processors=3, buffer_size=4096, circular_buffers=1000),
    "system time": LogfileSettings(processors=3, buffer_size=4096, clock_type=SYSTEM_TIME),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_added_is_in_the_file_in_order(kind: str, tmp_path: Path) -> None:
    settings = KINDS[kind]
    added: list[list[bytes]] = [[] for _ in range(settings.processors)]
    with EtlWriter(tmp_path / "x.etl", settings) as trace:
        for number in range(500):
            record = event(number, settings.first_stamp + number, number % 300)
            added[0 if settings.one_stream else number % 3].append(record)
            trace.add(number % 3, record)
    buffers = walk(tmp_path / "x.etl")[1:]
    sequences = [int(buffer.header["sequence_number"]) for buffer in buffers]
    assert sequences == list(range(settings.first_sequence, settings.first_sequence + len(buffers)))
    for processor, expected in enumerate(added):
        mine = [buffer.records for buffer in buffers if buffer.header["processor_index"] == processor]
        assert list(itertools.chain.from_iterable(mine)) == expected
    assert logfile_header(tmp_path / "x.etl")["buffers_written"] == len(buffers) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_header_and_the_last_buffer_carry_the_flush_marker(kind: str, tmp_path: Path) -> None:
    with EtlWriter(tmp_path / "x.etl", KINDS[kind]) as trace:
        for number in range(200):
            trace.add(number % 3, event(number, number))
    marked = [
        bool(buffer.header["buffer_flag"] & layout.BUFFER_FLAG_FLUSH_MARKER) for buffer in walk(tmp_path / "x.etl")
    ]
    assert marked == [True] + [False] * (len(marked) - 2) + [True]


def test_a_circular_file_that_wrapped_keeps_its_newest_buffers(tmp_path: Path) -> None:
    settings = LogfileSettings(buffer_size=4096, circular_buffers=5)
    with EtlWriter(tmp_path / "x.etl", settings) as trace:
        for number in range(1000):
            trace.add(0, event(number, number))
    buffers = walk(tmp_path / "x.etl")
    sequences = [int(buffer.header["sequence_number"]) for buffer in buffers[1:]]
    written = int(logfile_header(tmp_path / "x.etl")["buffers_written"]) - 1
    assert sorted(sequences) == list(range(written - 4, written + 1))
    assert sequences != sorted(sequences)
    newest = max(buffers, key=lambda buffer: cast("int", buffer.header["sequence_number"]))
    assert newest.records[-1] == event(999, 999)


def test_a_session_that_never_closed_has_no_end(tmp_path: Path) -> None:
    with EtlWriter(tmp_path / "x.etl", LogfileSettings(closed=False)) as trace:
        trace.add(0, event(1, 1))
    header = logfile_header(tmp_path / "x.etl")
    assert (header["end_time"], header["buffers_written"]) == (0, 0)
    assert not walk(tmp_path / "x.etl")[1].header["buffer_flag"] & layout.BUFFER_FLAG_FLUSH_MARKER


@pytest.mark.parametrize("closed", [True, False])
def test_a_preallocated_file_keeps_its_tail_only_when_it_was_not_closed(closed: bool, tmp_path: Path) -> None:
    settings = LogfileSettings(preallocated=1 << 20, closed=closed)
    with EtlWriter(tmp_path / "x.etl", settings) as trace:
        trace.add(0, event(1, 1))
    assert (tmp_path / "x.etl").stat().st_size == (2 * settings.buffer_size if closed else 1 << 20)
    assert len(walk(tmp_path / "x.etl")) == 2


@pytest.mark.parametrize(
    ("settings", "version"),
    [
        (LogfileSettings(), (1, 5)),
        (LogfileSettings(relogged=True, compressed=True), (2, 0)),
        (LogfileSettings(buffer_size=2 << 20), (2, 0)),
        (LogfileSettings(processors=257), (2, 0)),
    ],
)
def test_the_format_version_follows_what_old_readers_cannot_read(
    settings: LogfileSettings, version: tuple[int, int], tmp_path: Path
) -> None:
    header_only_trace(tmp_path / "x.etl", settings)
    header = logfile_header(tmp_path / "x.etl")
    assert (header["sub_version"], header["sub_minor_version"]) == version


def test_the_header_buffer_of_a_compressed_file_is_small(tmp_path: Path) -> None:
    header_only_trace(tmp_path / "x.etl", LogfileSettings(buffer_size=1 << 24, relogged=True, compressed=True))
    assert (tmp_path / "x.etl").stat().st_size == 0x400


@given(
    st.sampled_from(
        [(QPC, 10_000_000, 2400), (QPC, 3_579_545, 2400), (SYSTEM_TIME, 10_000_000, 2400), (CPU_CYCLES, 1, 1992)]
    ),
    st.integers(0, 10**17),
)
def test_raw_stamps_read_back_as_the_time_they_were_made_from(clock: tuple[int, int, int], since: int) -> None:
    kind, frequency, mhz = clock
    settings = LogfileSettings(clock_type=kind, perf_freq=frequency, cpu_mhz=mhz)
    wanted = (START_NS + since) // 100 * 100
    late = settings.clock.to_unix_ns(settings.raw(START_NS + since)) - wanted
    tick = 10**9 // settings.clock.frequency
    assert 0 <= late <= tick // 100 * 100


def test_an_error_inside_the_block_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no more than 65535"), EtlWriter(tmp_path / "x.etl") as trace:
        trace.add(0, event(1, 1, 65_500))
    assert not (tmp_path / "x.etl").exists()


def test_a_record_larger_than_a_buffer_is_refused(tmp_path: Path) -> None:
    with EtlWriter(tmp_path / "x.etl", LogfileSettings(buffer_size=4096)) as trace:
        with pytest.raises(ValueError, match="in a buffer of 4096"):
            trace.add(0, event(1, 1, 5000))
        trace.add(0, event(1, 1, 4096 - 72 - 80))
    assert len(walk(tmp_path / "x.etl")) == 2


def test_records_in_bulk_are_the_same_file_as_one_by_one(tmp_path: Path) -> None:
    settings = LogfileSettings(buffer_size=8192, relogged=True, compressed=True)
    run = RecordRun([event(7, 0, 33), event(8, 0, 600)])
    times = np.arange(200, dtype="<i8") * 10 + settings.raw0
    rows = run.copies(200)
    run.put(rows, 0, 16, times)
    run.put(rows, 1, 16, times + 1)
    with EtlWriter(tmp_path / "bulk.etl", settings) as trace:
        trace.add_many(0, rows.reshape(-1), run.ends(200))
    with EtlWriter(tmp_path / "single.etl", settings) as trace:
        for time in times.tolist():
            trace.add(0, event(7, time, 33))
            trace.add(0, event(8, time + 1, 600))
    assert (tmp_path / "bulk.etl").read_bytes() == (tmp_path / "single.etl").read_bytes()


def test_no_field_can_be_put_across_the_end_of_its_record() -> None:
    run = RecordRun([event(1, 0, 8), event(2, 0, 8)])
    with pytest.raises(ValueError, match="does not lie in the record"):
        run.put(run.copies(1), 0, 84, np.zeros(1, "<i8"))


MESSAGE_PARTS: list[dict[str, Any]] = [
    {"sequence": 5}, {"component": 6}, {"guid": PROVIDER}, {"owner": (1, 2)}, {"component": 1, "guid": PROVIDER},
]  # fmt: skip


@pytest.mark.parametrize("parts", MESSAGE_PARTS, ids=lambda parts: "+".join(parts))
def test_the_time_of_a_message_is_found_behind_its_other_fields(parts: dict[str, Any]) -> None:
    assert build.record_time(build.message_record(3, b"arguments", time=-12345, **parts)) == -12345
    assert build.record_time(build.message_record(3, b"arguments long enough for a time", **parts)) is None


def test_the_time_of_each_kind_of_record_is_found() -> None:
    made = [
        build.event_record(PROVIDER, 1, time=77, extended=[(1, bytes(16)), (3, bytes(4))]),
        build.full_header_record(PROVIDER, 1, time=77, pointer_size=4),
        build.instance_record(PROVIDER, 1, time=77),
        build.system_record(0x0301, time=77),
        build.compact_record(0x0301, time=77),
        build.perfinfo_record(0x0F43, time=77, counters=[1, 2], pebs_index=3),
    ]
    assert [build.record_time(record) for record in made] == [77] * 6
    assert build.record_time(build.error_record(bytes(40))) is None


def test_the_size_in_every_header_is_that_of_the_record() -> None:
    made = [
        build.event_record(PROVIDER, 1, b"odd", time=1, extended=[(1, bytes(16)), (3, bytes(4))]),
        build.full_header_record(PROVIDER, 1, b"odd", time=1),
        build.instance_record(PROVIDER, 1, b"odd", time=1),
        build.system_record(0x0301, b"odd", time=1),
        build.compact_record(0x0301, b"odd", time=1),
        build.perfinfo_record(0x0F43, b"odd", time=1, counters=[1]),
        build.message_record(1, b"odd", time=1, guid=PROVIDER),
        build.error_record(b"odd"),
    ]
    assert walk_records(b"".join(build.padded(record) for record in made)) == made


@pytest.mark.parametrize("build_number", [19042, 26100])
@pytest.mark.parametrize("compressed", [True, False])
def test_the_made_up_traces_walk_to_their_last_byte(build_number: int, compressed: bool, tmp_path: Path) -> None:
    settings = LogfileSettings(processors=4, relogged=True, compressed=compressed, build=build_number)
    written = pktmon_trace(tmp_path / "p.etl", build=build_number, settings=settings)
    found = [record for buffer in walk(written.path) for record in buffer.records if record[2] == records.EVENT64]
    ids = [int.from_bytes(record[40:42], "little") for record in found]
    assert (ids.count(160), ids.count(170)) == (written.sightings, written.drops)
    assert ids.count(20) == ids.count(80) > 0


def test_the_other_made_up_traces_walk_too(tmp_path: Path) -> None:
    for make in (ndiscap_trace, kernel_trace, header_only_trace):
        walk(make(tmp_path / "x.etl").path)


def test_a_trace_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, second = (pktmon_trace(tmp_path / name).path.read_bytes() for name in ("a.etl", "b.etl"))
    assert first == second


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "roomy circle"])
def test_another_reader_finds_every_record(kind: str, tmp_path: Path) -> None:
    other = pytest.importorskip("dissect.etl")
    with EtlWriter(tmp_path / "x.etl", KINDS[kind]) as trace:
        for number in range(300):
            trace.add(number % 3, event(number, KINDS[kind].first_stamp + number))
    with (tmp_path / "x.etl").open("rb") as file:
        assert sum(1 for _ in other.ETL(file)) == 300 + 2
