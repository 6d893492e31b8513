"""The ETL engine: order, completeness, damage; and the native core against its twin."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etwcap.etl import layout
from etwcap.etl.buffers import BufferTable, read_buffers
from etwcap.etl.build import event_record, full_header_record, message_record, perfinfo_record, system_record
from etwcap.etl.logfile import LONGEST, LogfileHeader, parse_logfile_header
from etwcap.etl.records import MESSAGE, RECORD
from etwcap.etl.writer import EtlWriter, LogfileSettings
from etwcap.native import etl as engine_module
from etwcap.native import library, use_backend
from etwcap.native.etl import ClockRule, open_merge
from etwcap.native.twin_etl import CUT, MARKER, RECORD_SIZE, RECORD_TYPE, STREAM, read_at
from etwcap.packets import Description, Session

PROVIDER = bytes.fromhex("00112233445566778899aabbccddeeff")
OTHER = bytes.fromhex("ffeeddccbbaa99887766554433221100")


class Walk(NamedTuple):
    """All that a file gave."""

    header: LogfileHeader
    table: BufferTable
    facts: Description
    records: np.ndarray[Any, Any]
    data: list[bytes]
    issues: list[tuple[int, int, int]]
    """kind, buffer and place, sorted"""
    told: list[list[int]]
    """all that the issues say, in their order"""
    guids: list[bytes]

    def place(self, row: np.void) -> int:
        """Where the record lies in a file that is not compressed."""
        return int(self.table.buffers["offset"][row["buffer"]]) + int(row["position"])


def walk(path: Path) -> Walk:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(descriptor).st_size
        header = parse_logfile_header(read_at(descriptor, LONGEST, 0), path.name)
        facts = Description(session=Session())
        table = read_buffers(descriptor, size, header, path.name, facts)
        start, raw0 = header.clock.origin
        rule = ClockRule(0, start, raw0, 10_000_000, header.clock.frequency)
        engine = open_merge(descriptor, table.buffers, table.chain_starts, rule, [PROVIDER])
        parts, data = [], []
        while (records := engine.next()) is not None:
            assert len(records)
            assert engine.complete_to >= int(records["time"][-1])
            spans = zip(records["offset"].tolist(), records["size"].tolist(), strict=True)
            data += [engine.buffer[offset : offset + size].tobytes() for offset, size in spans]
            part = records.copy()
            part["offset"] = 0
            parts.append(part)
        found, count = engine.issues()
        assert count == len(found)
        issues = sorted((int(issue["kind"]), int(issue["buffer"]), int(issue["position"])) for issue in found)
        told = [[int(issue[name]) for name in ("kind", "buffer", "position", "detail")] for issue in found]
        guids = engine.guids()
        engine.close()
    finally:
        os.close(descriptor)
    return Walk(
        header, table, facts, np.concatenate(parts) if parts else np.empty(0, RECORD), data, issues, told, guids
    )


def both(path: Path) -> Walk:
    """Walk with the core and with the twin, which must agree in everything."""
    with use_backend("twin"):
        twin = walk(path)
    if library() is None:
        return twin
    native = walk(path)
    assert native.records.tobytes() == twin.records.tobytes()
    assert native.data == twin.data
    assert native.told == twin.told
    assert native.guids == twin.guids
    assert native.facts == twin.facts
    return native


def filler(seed: int, size: int) -> bytes:
    """Bytes that compress somewhat, as payloads do."""
    rng = random.Random(seed)
    words = [rng.randbytes(rng.randint(1, 12)) for _ in range(12)]
    out = b""
    while len(out) < size:
        out += rng.choice(words)
    return out[:size]


def event(time: int, number: int, payload: bytes = b"", provider: bytes = PROVIDER) -> bytes:
    return event_record(provider, number & 0xFFFF, payload, time=time, process=number, thread=7)


def sixty_events(path: Path, buffer_size: int, payload: bytes = b"") -> Walk:
    """A trace of one processor whose events are numbered by their process ids, one tick apart."""
    kind = LogfileSettings(buffer_size=buffer_size)
    with EtlWriter(path, kind) as trace:
        for number in range(60):
            trace.add(0, event(kind.raw0 + number, number, payload))
    return both(path)


@settings(deadline=None, max_examples=40)
@given(
    processors=st.integers(1, 5),
    compressed=st.booleans(),
    buffer_size=st.sampled_from([512, 1024, 8192, 0x10000]),
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 300), st.integers(0, 3)), max_size=120),
    frequency=st.sampled_from([10_000_000, 3_579_545, 1, 2_441_406, 3_000_000_000]),
)
def test_every_record_comes_once_in_time_order(
    tmp_path_factory: pytest.TempPathFactory,
    processors: int,
    compressed: bool,
    buffer_size: int,
    steps: list[tuple[int, int, int]],
    frequency: int,
) -> None:
    path = tmp_path_factory.mktemp("engine") / "trace.etl"
    kind = LogfileSettings(
        processors=processors, compressed=compressed, relogged=compressed, buffer_size=max(buffer_size, 1024),
        perf_freq=frequency,
    )  # fmt: skip
    time, expected = kind.raw0, []
    with EtlWriter(path, kind) as trace:
        for number, (processor, size, gap) in enumerate(steps):
            time += gap
            record = event(time, number, filler(number, size))
            expected.append((time, number))
            trace.add(processor % processors, record)
    found = both(path)
    own = [record for record in found.data if record[24:40] == PROVIDER]
    got = [struct.unpack_from("<I4xq", record, 12)[:1] for record in own]
    assert sorted(number for (number,) in got) == [number for _, number in expected]
    stamps = found.records["raw"].tolist()
    assert stamps == sorted(stamps)
    clock = found.header.clock
    assert [clock.to_unix_ns(raw) for raw in stamps] == found.records["time"].tolist()
    assert not found.issues
    assert not found.facts.damage


def test_equal_stamps_keep_the_order_of_sequence_and_place(tmp_path: Path) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(processors=3, buffer_size=1024)
    with EtlWriter(path, kind) as trace:
        for number in range(30):
            trace.add(number % 3, event(kind.raw0 + 5, number))
        for processor in (2, 0, 1):
            trace.flush(processor)
    found = both(path)
    keys = [(int(found.table.buffers["sequence"][row["buffer"]]), int(row["position"])) for row in found.records]
    same = [key for key, row in zip(keys, found.records, strict=True) if int(row["raw"]) == kind.raw0 + 5]
    assert len(same) == 30
    assert same == sorted(same)


def test_records_up_to_the_longest_pass_through_small_windows(tmp_path: Path) -> None:
    path = tmp_path / "trace.etl"
    for compressed in (False, True):
        kind = LogfileSettings(processors=300, buffer_size=0x20000, compressed=compressed, relogged=compressed)
        time = kind.raw0
        with EtlWriter(path, kind) as trace:
            for number in range(900):
                time += 1
                size = 65_535 - 80 if number % 100 == 7 else number % 50
                trace.add(number % 300, event(time, number, filler(number, size)))
        found = both(path)
        assert [int(process) for process in found.records["process"] if process < 900][-3:] == [897, 898, 899]
        assert found.records["size"].max() == 65_535
        assert not found.issues


def test_kinds_of_records_have_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=0x4000)
    time = kind.raw0 + 10
    with EtlWriter(path, kind) as trace:
        trace.add(0, system_record(0x0301, b"abcd", time=time, process=4, thread=8))
        trace.add(0, perfinfo_record(0x060A, b"tcp!", time=time + 1))
        trace.add(0, full_header_record(layout.SYSTEM_CONFIG_EX, 36, b"row", time=time + 2))
        trace.add(0, message_record(17, b"args", time=time + 3, guid=OTHER, owner=(5, 6)))
        trace.add(
            0, event_record(OTHER, 1001, b"payload", time=time + 4, keyword=0x8000000000000001, version=2, level=4)
        )
    found = both(path)
    last = found.records[-5:]
    assert last["provider"].tolist()[:2] == [-1 - 3, -1 - 6]
    assert last["id"].tolist() == [1, 10, 36, 17, 1001]
    assert last["raw"].tolist() == [time, time + 1, time + 2, time + 3, time + 4]
    assert last["process"].tolist()[0] == 4
    assert last["process"].tolist()[1] == 0xFFFFFFFF
    assert last["process"].tolist()[3] == 5
    assert last["type"].tolist()[3] == MESSAGE
    assert last["keyword"].tolist()[4] == 0x8000000000000001
    assert (last["version"].tolist()[4], last["level"].tolist()[4]) == (2, 4)
    payloads = [data[int(row["payload"]) :] for data, row in zip(found.data[-5:], last, strict=True)]
    assert payloads == [b"abcd", b"tcp!", b"row", b"args", b"payload"]
    assert found.guids[int(last["provider"][4])] == OTHER


def test_a_record_of_an_unknown_kind_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=0x4000)
    with EtlWriter(path, kind) as trace:
        trace.add(0, event(kind.raw0 + 1, 1))
        trace.add(0, struct.pack("<HBB", 40, 0x0D, 0xC0) + bytes(36))
        trace.add(0, event(kind.raw0 + 2, 2))
    found = both(path)
    assert [kind for kind, _, _ in found.issues] == [RECORD_TYPE]
    assert found.records["process"].tolist()[-2:] == [1, 2]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_anywhere_gives_all_records_before_the_cut(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=2048, compressed=compressed, relogged=compressed)
    with EtlWriter(path, kind) as trace:
        for number in range(60):
            trace.add(0, event(kind.raw0 + number, number, filler(number, 40)))
    whole = both(path)
    image = path.read_bytes()
    rng = random.Random(5)
    first = int(whole.table.buffers["offset"][1])
    for size in sorted(rng.sample(range(first, len(image)), 25)):
        path.write_bytes(image[:size])
        found = both(path)
        assert whole.data[: len(found.data)] == found.data
        # what lies in whole buffers before the cut is all there
        ends = whole.table.buffers["offset"] + whole.table.buffers["size"]
        kept = int(np.count_nonzero(ends <= size))
        assert len(found.data) >= int(np.count_nonzero(whole.records["buffer"] < kept))
        told = found.issues or found.facts.damage or found.facts.losses.missing_end
        assert told or found.data == whole.data  # a cut in the unused rest of the last buffer loses nothing
        assert {issue[0] for issue in found.issues} <= {CUT, STREAM}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("at", "broken"), [(0, b"\xff" * 8), (0x30, bytes(4)), (0, bytes(layout.BUFFER_HEADER_SIZE))])
def test_a_damaged_buffer_header_costs_none_of_its_records(
    tmp_path: Path, compressed: bool, at: int, broken: bytes
) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=2048, compressed=compressed, relogged=compressed)
    with EtlWriter(path, kind) as trace:
        for number in range(200):
            trace.add(0, event(kind.raw0 + number, number, filler(number, 40)))
    whole = both(path)
    for number in (3, len(whole.table.buffers) - 1):
        image = bytearray(path.read_bytes())
        offset = int(whole.table.buffers[number]["offset"])
        image[offset + at : offset + at + len(broken)] = broken
        damaged = tmp_path / "damaged.etl"
        damaged.write_bytes(image)
        found = both(damaged)
        assert found.data == whole.data
        assert [damage.offset for damage in found.facts.damage] == [offset]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_zeroed_buffer_costs_that_buffer_only(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=2048, compressed=compressed, relogged=compressed)
    with EtlWriter(path, kind) as trace:
        for number in range(200):
            trace.add(0, event(kind.raw0 + number, number, filler(number, 40)))
    whole = both(path)
    image = bytearray(path.read_bytes())
    broken = whole.table.buffers[3]
    image[int(broken["offset"]) : int(broken["offset"]) + int(broken["size"])] = bytes(int(broken["size"]))
    path.write_bytes(image)
    found = both(path)
    assert found.data == [data for data, row in zip(whole.data, whole.records, strict=True) if row["buffer"] != 3]
    assert [damage.offset for damage in found.facts.damage] == [int(broken["offset"])]
    assert found.facts.losses.sequence_gaps == 1


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shift", [0, 2, 7])
def test_a_captured_transfer_of_a_trace_is_not_taken_for_the_trace(
    tmp_path: Path, compressed: bool, shift: int
) -> None:
    path, inner = tmp_path / "trace.etl", tmp_path / "inner.etl"
    kind = LogfileSettings(buffer_size=0x4000, compressed=compressed, relogged=compressed)
    small = LogfileSettings(buffer_size=1024)
    with EtlWriter(inner, small) as trace:
        for number in range(40):
            trace.add(0, event(small.raw0 + number, 77, bytes(40)))
    sent = inner.read_bytes()
    with EtlWriter(path, kind) as trace:
        for number in range(40):  # the same clock, the same provider, the same times
            trace.add(0, event(kind.raw0 + number, number % 40, bytes(shift) + sent[number * 200 :][:4000]))
    whole = both(path)
    image = path.read_bytes()
    third = int(whole.table.buffers["offset"][3])
    victims = [row for row in whole.records if row["buffer"] == 3]
    broken = [(third, bytes(layout.BUFFER_HEADER_SIZE)), (third, b"\xff" * 4)]
    if not compressed:
        broken += [(third + int(row["position"]), bytes(2)) for row in victims]
    for at, new in broken:
        path.write_bytes(image[:at] + new + image[at + len(new) :])
        found = both(path)
        assert 77 not in found.records["process"].tolist()
        assert len(found.data) >= len(whole.data) - 1


def test_a_size_that_leads_past_the_end_of_the_file_hides_no_buffer(tmp_path: Path) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=2048, compressed=True, relogged=True)
    with EtlWriter(path, kind) as trace:
        for number in range(200):
            trace.add(0, event(kind.raw0 + number, number, filler(number, 40)))
    whole = both(path)
    image = bytearray(path.read_bytes())
    for number in (0, 3):
        broken = bytearray(image)
        offset = int(whole.table.buffers["offset"][number])
        broken[offset + 2] |= 0x10  # BufferSize a million bytes larger
        path.write_bytes(broken)
        found = both(path)
        assert found.data == whole.data
        assert [damage.offset for damage in found.facts.damage] == [offset]


@pytest.mark.parametrize("compressed", [False, True])
def test_the_size_of_the_last_buffer_may_be_too_small(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=2048, compressed=compressed, relogged=compressed)
    with EtlWriter(path, kind) as trace:
        for number in range(100):
            trace.add(0, event(kind.raw0 + number, number, filler(number, 40)))
    whole = both(path)
    image = bytearray(path.read_bytes())
    last = whole.table.buffers[-1]
    at, size = int(last["offset"]), int(last["size"])
    for wrong in (size - 1, size - 60):
        image[at : at + 4] = struct.pack("<I", wrong)
        path.write_bytes(image)
        found = both(path)
        assert found.data == whole.data
        assert len(found.facts.damage) == 1


@pytest.mark.parametrize("compressed", [False, True])
def test_a_buffer_that_is_there_twice_is_read_once(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=2048, compressed=compressed, relogged=compressed)
    with EtlWriter(path, kind) as trace:
        for number in range(100):
            trace.add(0, event(kind.raw0 + number, number, filler(number, 40)))
    whole = both(path)
    image = path.read_bytes()
    buffer = whole.table.buffers[2]
    end = int(buffer["offset"]) + int(buffer["size"])
    path.write_bytes(image[:end] + image[int(buffer["offset"]) :])
    found = both(path)
    assert found.data == whole.data
    assert [damage.offset for damage in found.facts.damage] == [end]


def test_a_record_size_that_cannot_be_costs_that_record_only_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.etl"
    whole = sixty_events(path, 2048)
    row = whole.records[20]
    at = whole.place(row)
    image = bytearray(path.read_bytes())
    for size in (3, 0xFFFF, int(row["size"]) + 24):
        image[at : at + 2] = struct.pack("<H", size)
        path.write_bytes(image)
        found = both(path)
        assert found.issues == [(RECORD_SIZE, int(row["buffer"]), int(row["position"]))]
        assert found.data == [*whole.data[:20], *whole.data[21:]]
    image[at : at + 4] = bytes(4)
    path.write_bytes(image)
    found = both(path)
    assert [kind for kind, _, _ in found.issues] == [MARKER]
    assert found.data == [*whole.data[:20], *whole.data[21:]]


def test_a_size_that_ends_by_chance_with_another_record_swallows_none(tmp_path: Path) -> None:
    path = tmp_path / "trace.etl"
    whole = sixty_events(path, 0x4000, bytes(16))
    row, other = whole.records[20], whole.records[25]
    at = whole.place(row)
    image = bytearray(path.read_bytes())
    image[at : at + 2] = struct.pack("<H", int(other["position"]) - int(row["position"]))
    path.write_bytes(image)
    found = both(path)
    assert found.issues == [(RECORD_SIZE, int(row["buffer"]), int(row["position"]))]
    assert found.data == [*whole.data[:20], *whole.data[21:]]


@pytest.mark.parametrize("time", [0, 1 << 60])
@pytest.mark.parametrize("other", [18, 19, 21, 22, 30, 39])
def test_a_broken_size_and_the_broken_time_of_another_record_cost_these_two_at_most(
    tmp_path: Path, other: int, time: int
) -> None:
    path = tmp_path / "trace.etl"
    whole = sixty_events(path, 0x4000, bytes(16))
    image = bytearray(path.read_bytes())
    places = {int(row["process"]): whole.place(row) for row in whole.records}
    image[places[20] : places[20] + 2] = struct.pack("<H", 400)
    image[places[other] + 16 : places[other] + 24] = struct.pack("<q", time)
    path.write_bytes(image)
    found = both(path)
    lost = set(range(60)) - set(found.records["process"].tolist())
    assert lost <= {20, other}
    assert [kind for kind, _, _ in found.issues] == [RECORD_SIZE]


def test_a_payload_that_looks_like_records_to_its_end_is_a_payload(tmp_path: Path) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=0x20000)
    like = [
        b"\x90" * 0xA000,  # 0x90909090 is the marker of a message of 0x9090 bytes without a time
        bytes(48) + struct.pack("<HBBHHI", 0x60, 0x13, 0xC0, 0, 0, 7) + b"\x5a" * 84,  # an event long after
        bytes(48) + struct.pack("<HBBHH", 0x60, 0x00, 0x90, 1, 0x10) + bytes(88),  # a message without a time
    ]
    with EtlWriter(path, kind) as trace:
        for number, payload in enumerate(like):
            trace.add(0, event(kind.raw0 + number, number, payload))
    found = both(path)
    assert not found.issues
    assert found.records["process"].tolist()[-3:] == [0, 1, 2]


@pytest.mark.parametrize("compressed", [False, True])
def test_records_behind_damage_are_not_trusted_unless_they_lead_to_the_end_of_the_buffer(
    tmp_path: Path, compressed: bool
) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=0x4000, compressed=compressed, relogged=compressed)
    with EtlWriter(path, kind) as trace:
        trace.add(0, event(kind.raw0 + 5, 1))
        # what lies in a payload is no record, even if it is one that a transfer of a trace carries
        hidden = b"".join(event(kind.raw0 + number, 77) for number in range(6, 9))
        broken = bytearray(event(kind.raw0 + 6, 2, bytes(3) + hidden + bytes(8)))
        broken[:2] = struct.pack("<H", 90)
        trace.add(0, bytes(broken))
        trace.add(0, event(kind.raw0 + 9, 3))
        trace.add(0, event(kind.raw0 - 1, 4))  # its time goes back: no chain leads through it
    found = both(path)
    assert 77 not in found.records["process"].tolist()
    assert found.records["process"].tolist().count(4) <= 1
    assert found.issues


@settings(deadline=None, max_examples=150)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=12),
    packed=st.booleans(),
)
def test_core_and_twin_agree_on_damaged_files(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], packed: bool
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "trace.etl"
    kind = LogfileSettings(processors=2, buffer_size=1024, compressed=packed, relogged=packed)
    with EtlWriter(path, kind) as trace:
        for number in range(40):
            trace.add(number % 2, event(kind.raw0 + number, number, filler(number, 30)))
    image = bytearray(path.read_bytes())
    for place, value in changes:
        image[layout.BUFFER_HEADER_SIZE + 320 + place % (len(image) - 400)] = value
    path.write_bytes(image)
    both(path)


@settings(deadline=None, max_examples=100)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 8),
    window=st.sampled_from([16 << 10, 32 << 10, 128 << 10]),
)
def test_what_is_lost_in_a_long_stream_does_not_depend_on_how_far_it_is_read_ahead(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int, window: int
) -> None:
    path = tmp_path_factory.mktemp("ahead") / "trace.etl"
    kind = LogfileSettings(buffer_size=0x20000, compressed=True, relogged=True)
    with EtlWriter(path, kind) as trace:
        for number in range(100):
            trace.add(0, event(kind.raw0 + number, number, filler(number, 900 + number)))
    image = bytearray(path.read_bytes())
    for place, value in changes:
        image[layout.BUFFER_HEADER_SIZE + 320 + place % (len(image) - 400)] = value
    path.write_bytes(image[: len(image) - cut])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "_window_sizes", lambda chains: (window, 3 << 20, 4 << 10))
        both(path)


def test_a_broken_record_and_a_stream_that_breaks_off_behind_it_are_one_loss(tmp_path: Path) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=0x20000, compressed=True, relogged=True)
    with EtlWriter(path, kind) as trace:
        trace.add(0, event(kind.raw0, 1, filler(1, 500)))
        trace.add(0, bytes(8) + filler(2, 100_000))  # no record
    whole = both(path)
    [(_, broken, place, lost)] = whole.told
    path.write_bytes(path.read_bytes()[:-100])
    found = both(path)
    assert found.told == [[MARKER, broken, place, lost]]
    assert found.records["process"].tolist() == whole.records["process"].tolist()


def test_memory_of_the_engine_does_not_depend_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "trace.etl"
    if library() is None:
        pytest.skip("the twin reads whole buffers")
    arenas = []
    for count in (100, 3000):
        kind = LogfileSettings(processors=4, buffer_size=0x10000)
        with EtlWriter(path, kind) as trace:
            for number in range(count):
                trace.add(number % 4, event(kind.raw0 + number, number, bytes(200)))
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        header = parse_logfile_header(read_at(descriptor, LONGEST, 0), path.name)
        facts = Description(session=Session())
        table = read_buffers(descriptor, path.stat().st_size, header, path.name, facts)
        engine = open_merge(descriptor, table.buffers, table.chain_starts, ClockRule(0, 0, 0, 1, 1), [])
        arenas.append(engine.buffer.size)
        engine.close()
        os.close(descriptor)
    assert arenas[0] == arenas[1]
