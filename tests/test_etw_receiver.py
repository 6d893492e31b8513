"""The callbacks of trace sessions: EVENT_RECORDs become the records that a file of them has, or are counted."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import need_native_core
from etw_events import RECORD_CALLBACK, Event, call_with, end_buffer
from etwcap.errors import EtwcapError, NativeCoreError
from etwcap.etl import build
from etwcap.etl.records import EVENT32, EVENT64, RECORD
from etwcap.etl.writer import EtlWriter, LogfileSettings
from etwcap.native import use_backend
from etwcap.native.etw_receiver import SLOTS, EtwReceiver, ReceiverCounts
from etwcap.native.ring import ETW_RECORD, Drained, Ring
from etwcap.packets import Context
from etwcap.sources.etl import EtlSource
from etwcap.taps.etw_stage import RecordIndex

PROVIDER = UUID("4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac")
ITEMS = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=70)), max_size=6)


@pytest.fixture(autouse=True)
def _native() -> None:
    need_native_core()


def drained(ring: Ring) -> tuple[np.ndarray, Drained]:
    out = np.zeros(1 << 20, np.uint8)
    return out, ring.drain(out, 1 << 10)


def rows(ring: Ring) -> list[bytes]:
    out, got = drained(ring)
    return [out[at : at + size].tobytes() for at, size in zip(got.offset.tolist(), got.length.tolist(), strict=True)]


def record(number: int = 1, payload: bytes = b"payload", **more: object) -> bytes:
    return build.event_record(PROVIDER, number, payload, time=1000 + number, **more)  # type: ignore[arg-type]


def without_flags(row: bytes) -> bytes:
    """A row without the flags that only a callback has: 0x200, 0x40, 0x20."""
    flags = int.from_bytes(row[12:14], "little") & ~0x260
    return row[:12] + flags.to_bytes(2, "little") + row[14:]


def test_an_event_becomes_the_record_of_a_file_behind_processor_and_logger() -> None:
    whole = record(160, b"x" * 60, keyword=0x12, version=3, level=4, opcode=9, task=5, process=44, thread=45)
    with Ring(1 << 16) as ring, EtwReceiver(ring) as receiver:
        call_with([Event.of(whole, processor=300)], receiver)
        out, got = drained(ring)
        assert (got.time.tolist(), got.kind.tolist()) == ([1160], [ETW_RECORD])
        row = out[: got.bytes].tobytes()
        assert row[:8] == (300).to_bytes(2, "little") + (7).to_bytes(2, "little") + bytes(4)
        assert without_flags(row)[8:] == whole
        assert receiver.counts() == ReceiverCounts(1, len(row), 1, 0, 0, 1160)


@given(st.binary(max_size=300), ITEMS, st.sampled_from([4, 8]))
def test_lengths_and_extended_items_lie_as_in_a_file(
    payload: bytes, items: list[tuple[int, bytes]], pointer_size: int
) -> None:
    whole = record(1, payload, extended=items, pointer_size=pointer_size)
    event = Event.of(whole)
    event.record.EventHeader.Flags |= 1  # which Windows may leave set though there is no item
    with Ring(1 << 16) as ring, EtwReceiver(ring) as receiver:
        call_with([event], receiver)
        (row,) = rows(ring)
    assert without_flags(row)[8:] == whole
    assert row[10] == (EVENT64 if pointer_size == 8 else EVENT32)


@given(st.lists(st.tuples(st.binary(max_size=40), ITEMS), min_size=1, max_size=5))
def test_a_row_is_indexed_as_the_engine_indexes_the_same_record_of_a_file(
    tmp_path_factory: pytest.TempPathFactory, given_records: list[tuple[bytes, list[tuple[int, bytes]]]]
) -> None:
    whole = [
        record(number, payload, extended=items, keyword=1 << number, process=number, thread=9, version=2, opcode=7)
        for number, (payload, items) in enumerate(given_records, 1)
    ]
    path = tmp_path_factory.mktemp("etl") / "few.etl"
    with EtlWriter(path, LogfileSettings()) as writer:
        for each in whole:
            writer.add(0, each)
    source = EtlSource(path, Context())
    engine = source._merge(source.buffers)
    found = engine.next()
    assert found is not None
    file_rows = found[found["type"] == EVENT64][["raw", "keyword", "process", "thread", "id", "size", "payload", "type",
                                        "version", "opcode", "level", "provider"]]  # fmt: skip
    with Ring(1 << 16) as ring, EtwReceiver(ring) as receiver:
        call_with([Event.of(each) for each in whole], receiver)
        out, got = drained(ring)
    index = RecordIndex(source.decoder.seed)
    live, bad = index.rows(out, got.offset, got.length, got.time)
    assert bad == 0
    assert live.dtype == RECORD
    same = live[list(file_rows.dtype.names or ())]
    mine = [row[:-1] for row in same.tolist()]
    assert mine == [row[:-1] for row in file_rows.tolist()]
    assert {index.guids[each] for each in live["provider"].tolist()} == {PROVIDER.bytes_le}
    engine.close()
    source.close()


def test_a_row_that_holds_no_whole_record_is_left_out_and_counted() -> None:
    whole = bytes(8) + record(1, b"1234")
    broken = [whole[:40], whole[:-1], whole[:10] + b"\x0a" + whole[11:], whole[:11] + b"\x90" + whole[12:], b""]
    buffer = np.frombuffer(b"".join([*broken, whole]), np.uint8)
    length = np.array([len(each) for each in [*broken, whole]], np.uint32)
    offset = np.cumsum(length, dtype=np.int64) - length
    found, bad = RecordIndex([]).rows(buffer, offset, length, np.arange(6))
    assert bad == 5
    assert (found["time"].tolist(), found["offset"].tolist()) == ([5], [len(buffer) - len(whole) + 8])


@given(st.binary(max_size=200), st.integers(0, 3))
def test_whatever_a_row_says_its_payload_lies_in_it(noise: bytes, flags: int) -> None:
    row = bytearray(bytes(8) + record(1, noise))
    row[12] = flags
    buffer = np.frombuffer(bytes(row), np.uint8)
    one = np.zeros(1, np.int64)
    found, bad = RecordIndex([]).rows(buffer, one, np.array([len(row)], np.uint32), one)
    assert bad == 0
    assert 80 <= int(found["payload"][0]) <= int(found["size"][0]) == len(row) - 8


def test_the_providers_of_a_session_have_ordinals_that_stay() -> None:
    index = RecordIndex([bytes(16)])
    others = [UUID(int=number) for number in (9, 5, 7)]

    def ordinals(providers: list[UUID]) -> list[int]:
        parts = [bytes(8) + build.event_record(each, 1, b"", time=0) for each in providers]
        length = np.array([len(each) for each in parts], np.uint32)
        at = np.cumsum(length, dtype=np.int64) - length
        found, _ = index.rows(np.frombuffer(b"".join(parts), np.uint8), at, length, at)
        return found["provider"].tolist()  # type: ignore[no-any-return]

    first = ordinals([UUID(int=0), *others])
    assert first[0] == 0
    assert sorted(first) == [0, 1, 2, 3]
    assert ordinals([others[1], others[0], UUID(int=0)]) == [first[2], first[1], 0]
    assert index.guids[first[3]] == others[2].bytes_le


def test_a_processor_number_of_one_byte_is_told_from_an_index() -> None:
    header = bytearray(record()[:80])
    with Ring(1 << 16) as ring, EtwReceiver(ring) as receiver:
        call_with([Event(bytes(header), processor=0x0105)], receiver)
        header[5] |= 0x02
        call_with([Event(bytes(header), processor=0x0105)], receiver)
        assert [int.from_bytes(each[:2], "little") for each in rows(ring)] == [5, 0x0105]


def test_pointers_and_lengths_that_contradict_each_other_are_counted() -> None:
    def events() -> list[Event]:
        payload, item, many = Event(bytes(80), b"1234"), Event(bytes(80), b"", [(1, b"12")]), Event(bytes(80))
        payload.record.UserData = None
        item._items[0].DataPtr = 0
        many.record.ExtendedDataCount = 3
        too_many = Event(bytes(80), b"", [(1, b"")] * 65)
        return [payload, item, many, too_many]

    with Ring(1 << 16) as ring, EtwReceiver(ring) as receiver:
        call_with([*events(), Event(bytes(80), b"", [(1, b"")])], receiver)
        assert receiver.counts()[:5] == (1, 8 + 80 + 8, 1, 0, 4)
        assert len(rows(ring)) == 1


def test_what_no_record_can_hold_is_counted_and_the_longest_is_taken() -> None:
    longest = 65_535 - 80
    with Ring(1 << 18) as ring, EtwReceiver(ring) as receiver:
        call_with([Event(bytes(80), bytes(longest)), Event(bytes(80), bytes(longest), [(1, b"")])], receiver)
        assert receiver.counts()[:5] == (1, 8 + 65_535, 1, 1, 0)
        assert [len(each) for each in rows(ring)] == [8 + 65_535]


def test_what_finds_no_room_in_the_ring_is_counted_there() -> None:
    with Ring(1 << 12) as ring, EtwReceiver(ring) as receiver:
        call_with([Event(bytes(80), bytes(900))] * 20, receiver)
        counts = ring.counts()
        assert receiver.counts().records == 20 == counts.taken + counts.refused
        assert counts.refused > 0


def test_a_call_after_the_end_does_nothing_and_is_counted() -> None:
    with Ring(1 << 16) as ring:
        receiver = EtwReceiver(ring)
        call_with([Event(bytes(80))], receiver)
        receiver.end()
        before = EtwReceiver.late_calls()
        call_with([Event(bytes(80))], receiver)
        assert end_buffer(receiver) == 0, "which ends ProcessTrace"
        assert EtwReceiver.late_calls() == before + 3
        context, receiver.context = receiver.context, 0
        assert end_buffer(receiver) == 1, "a buffer that is nobody's"
        receiver.context = context
        assert len(rows(ring)) == 1
        assert drained(ring)[1].ended
        receiver.close()
    with Ring(1 << 16) as ring, EtwReceiver(ring) as other:  # in the same slot, for another session
        call_with([Event(bytes(80))], receiver)
        assert EtwReceiver.late_calls() == before + 5
        assert other.counts().records == 0 == ring.counts().taken
        assert receiver.counts().records == 1, "what it had counted stays"
        receiver.close()
        assert end_buffer(other) == 1, "closing twice does nothing to whoever has the slot"


def test_there_are_so_many_slots_and_each_comes_back() -> None:
    rings = [Ring(1 << 12) for _ in range(SLOTS + 1)]
    receivers = [EtwReceiver(ring) for ring in rings[:SLOTS]]
    with pytest.raises(EtwcapError, match="too many trace sessions"):
        EtwReceiver(rings[SLOTS])
    receivers.pop().close()
    receivers.append(EtwReceiver(rings[SLOTS]))
    assert len({each.context for each in receivers}) == SLOTS
    for each in receivers:
        each.close()
    for ring in rings:
        ring.close()


def test_closing_while_events_come_harms_nothing() -> None:
    event = Event.of(record(1, bytes(200)))
    for _ in range(15):
        ring = Ring(1 << 16)
        receiver = EtwReceiver(ring)
        event.record.UserContext = receiver.context
        call, going = RECORD_CALLBACK(receiver.record_callback), threading.Event()

        def produce(call: object = call, going: threading.Event = going) -> None:
            for _ in range(300):
                call(event.address)  # type: ignore[operator]
                going.set()

        thread = threading.Thread(target=produce)
        thread.start()
        going.wait()
        receiver.close()
        counts, known = ring.counts(), receiver.counts()
        assert known.records == counts.taken + counts.refused <= 300
        ring.close()
        gc.collect()
        thread.join()


def test_without_the_native_core_there_is_no_receiver() -> None:
    with Ring(1 << 12) as ring, use_backend("twin"), pytest.raises(NativeCoreError):
        EtwReceiver(ring)


def test_a_row_lies_in_a_file_as_it_came(tmp_path: Path) -> None:
    whole = record(5, b"abc", extended=[(11, b"12345")])
    with Ring(1 << 16) as ring, EtwReceiver(ring) as receiver:
        call_with([Event.of(whole)], receiver)
        (row,) = rows(ring)
    path = tmp_path / "one.etl"
    with EtlWriter(path, LogfileSettings()) as writer:
        writer.add(0, row[8:])
    source = EtlSource(path, Context())
    chunk = next(source.chunks())
    at, size = (int(chunk.events[name][-1]) for name in ("offset", "length"))
    assert chunk.buffer[at : at + size].tobytes() == b"abc"
    source.close()
