"""The callbacks of PktMonApi.dll's stream: each packet becomes the record that PktMon's driver would have written."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.errors import EtwcapError
from etwcap.etl.build import event_record
from etwcap.native.pktmon_stream import SLOTS, StreamReceiver
from etwcap.native.ring import ETW_RECORD, Ring
from etwcap.providers.pktmon_build import build_packet_event
from etwcap.providers.pktmon_layout import GUID
from etwcap.windows.layouts_pktmon import (
    STREAM_DATA_DESCRIPTOR,
    STREAM_EVENT_FATAL_ERROR,
    STREAM_EVENT_PROCESS_INFO,
    STREAM_EVENT_STARTED,
    STREAM_METADATA,
)

pytestmark = pytest.mark.usefixtures("both_cores")

NOBODY = 0xFFFFFFFF
NOON = 133_500_000_000_000_000
DATA = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
EVENT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)


class Stream:
    """A stream as PktMonApi.dll plays it: calls the callbacks with a descriptor over one buffer."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.receiver = StreamReceiver(ring)
        self._data = DATA(self.receiver.data_callback)
        self._event = EVENT(self.receiver.event_callback)

    def deliver(self, data: bytes, **fields: int) -> None:
        kept = ctypes.create_string_buffer(data, max(len(data), 1))
        descriptor = STREAM_DATA_DESCRIPTOR(Data=ctypes.addressof(kept), DataSize=len(data), **fields)
        self._data(self.receiver.context, ctypes.addressof(descriptor))

    def packet(
        self, packet: bytes, *, length: int | None = None, lead: int = 0, missed: int = 0, **fields: int
    ) -> None:
        metadata = bytes(STREAM_METADATA(**{"TimeStamp": NOON, **fields}))
        self.deliver(
            bytes(lead) + metadata + packet,
            MetadataOffset=lead,
            PacketOffset=lead + len(metadata),
            PacketLength=len(packet) if length is None else length,
            MissedPacketWriteCount=missed,
        )

    def event(self, kind: int, info: ctypes.Structure | None = None) -> None:
        self._event(self.receiver.context, None if info is None else ctypes.addressof(info), kind)

    def records(self) -> list[tuple[int, bytes]]:
        """(time, record with the 8 bytes before it) of everything in the ring."""
        out = np.zeros(1 << 20, np.uint8)
        drained = self.ring.drain(out, 1 << 12)
        assert set(drained.kind.tolist()) <= {ETW_RECORD}
        return [
            (int(time), out[at : at + length].tobytes())
            for time, at, length in zip(
                drained.time.tolist(), drained.offset.tolist(), drained.length.tolist(), strict=True
            )
        ]


@contextmanager
def opened(size: int = 1 << 20) -> Iterator[Stream]:
    with Ring(size) as ring:
        stream = Stream(ring)
        try:
            yield stream
        finally:
            stream.receiver.close()


def test_a_packet_is_the_record_that_the_driver_would_have_written() -> None:
    fields = {"PktGroupId": 7 << 48 | 5, "PktCount": 2, "AppearanceCount": 3, "DirectionName": 4, "PacketType": 1}
    places = {"ComponentId": 12, "EdgeId": 1, "FilterId": 1}
    with opened() as stream:
        stream.packet(b"frame", lead=8, Processor=7, **fields, **places)
        ((time, record),) = stream.records()
    payload = build_packet_event(
        b"frame", group=7 << 48 | 5, number=2, appearance=3, direction=4, packet_type=1, component_id=12, edge_id=1,
        filter_id=1,
    )  # fmt: skip
    made = bytearray(event_record(GUID, 160, payload, time=NOON, process=NOBODY, thread=NOBODY, level=4, keyword=0x10))
    made[4:6] = (0x240).to_bytes(2, "little")  # a 64-bit header with the index of its processor
    assert time == NOON
    assert record == (7).to_bytes(8, "little") + bytes(made)


def test_a_dropped_packet_is_event_170() -> None:
    with opened() as stream:
        stream.packet(b"\x45", DropReason=902, DropLocation=0xE0004138)
        ((_, record),) = stream.records()
    assert int.from_bytes(record[8 + 40 : 8 + 42], "little") == 170
    assert record[8 + 80 + 22 : 8 + 80 + 30] == (902).to_bytes(4, "little") + (0xE0004138).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("there", "told", "captured", "original"),
    [(100, 1500, 100, 1500), (100, 60, 60, 60), (0, 0, 0, 0), (9, 70_000, 9, 65_535)],
)
def test_what_is_there_of_a_packet_is_taken_and_its_length_told(
    there: int, told: int, captured: int, original: int
) -> None:
    with opened() as stream:
        stream.packet(bytes(there), length=told)
        ((_, record),) = stream.records()
        counts = stream.receiver.counts()
    sizes = np.frombuffer(record[8 + 80 + 30 : 8 + 80 + 34], "<u2")
    assert sizes.tolist() == [original, captured]
    assert len(record) == 8 + 80 + 34 + captured == 8 + int.from_bytes(record[8:10], "little")
    assert counts.cut == (captured < told)


def test_a_packet_as_long_as_the_stream_delivers_at_most_counts_as_cut() -> None:
    with opened() as stream:
        stream.event(0, STREAM_EVENT_STARTED(BufferSize=1 << 21, TruncationSize=100))
        for size in (99, 100):
            stream.packet(bytes(size))
        counts = stream.receiver.counts()
    assert (counts.packets, counts.cut, counts.truncation, counts.started) == (2, 1, 100, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"MetadataOffset": 61, "PacketOffset": 61},
        {"MetadataOffset": 21, "PacketOffset": 60},
        {"MetadataOffset": 0, "PacketOffset": 39},
        {"MetadataOffset": 0, "PacketOffset": 61},
        {"MetadataOffset": 0xFFFFFFFF, "PacketOffset": 20},
        {"MetadataOffset": 0, "PacketOffset": 0xFFFFFFFF},
    ],
)
def test_lengths_that_contradict_each_other_are_counted_and_nothing_is_read(fields: dict[str, int]) -> None:
    with opened() as stream:
        stream.deliver(bytes(60), PacketLength=20, **fields)
        assert stream.records() == []
        assert stream.receiver.counts().malformed == 1


@given(
    st.binary(max_size=200),
    st.integers(0, 220),
    st.integers(0, 220) | st.integers(0, 2**32 - 1),
    st.integers(0, 220) | st.integers(0, 2**32 - 1),
)
def test_whatever_the_offsets_are_what_comes_lies_inside_the_data(
    data: bytes, meta: int, packet: int, size: int
) -> None:
    with opened(1 << 12) as stream:
        stream.deliver(data, MetadataOffset=meta, PacketOffset=packet, PacketLength=size)
        found = stream.records()
        counts = stream.receiver.counts()
    assert len(found) + counts.malformed == 1
    for _, record in found:
        body = record[8 + 80 + 34 :]
        assert body == data[packet:][: min(size, 0xFFFF)]
        assert record[8 + 80 : 8 + 80 + 30] == data[meta : meta + 30]


def test_no_data_at_all_is_counted() -> None:
    with opened() as stream:
        descriptor = STREAM_DATA_DESCRIPTOR(Data=None, DataSize=100, PacketOffset=40, PacketLength=10)
        DATA(stream.receiver.data_callback)(stream.receiver.context, ctypes.addressof(descriptor))
        assert stream.receiver.counts().malformed == 1


def test_what_the_stream_missed_is_added_up() -> None:
    with opened() as stream:
        for missed in (0, 3, 4):
            stream.packet(b"x", missed=missed)
        assert stream.receiver.counts().missed == 7


def test_what_finds_no_room_is_refused_by_the_ring() -> None:
    with opened(1 << 12) as stream:
        for _ in range(100):
            stream.packet(bytes(500))
        taken = len(stream.records())
        counts = stream.ring.counts()
    assert (counts.taken, counts.refused) == (taken, 100 - taken)
    assert counts.refused > 0


def test_errors_and_warnings_of_the_stream_are_kept() -> None:
    with opened() as stream:
        stream.event(3, STREAM_EVENT_PROCESS_INFO(IsWarning=1, Reason=122, PacketLength=10_000))
        assert stream.receiver.counts().reason == 122
        stream.event(2, STREAM_EVENT_FATAL_ERROR(IsFatal=1, Reason=1359))
        stream.event(3, STREAM_EVENT_PROCESS_INFO(IsWarning=1, Reason=13))
        stream.event(1)
        stream.event(0)
        stream.event(99)
        counts = stream.receiver.counts()
    assert (counts.warnings, counts.fatal, counts.reason, counts.stopped, counts.started) == (2, 1, 1359, 1, 1)


def test_a_call_after_the_end_does_nothing() -> None:
    with opened() as stream:
        before = StreamReceiver.late_calls()
        stream.receiver.close()
        stream.packet(b"late")
        stream.event(1)
        other = StreamReceiver(stream.ring)  # takes the slot over, with another generation
        stream.packet(b"late")
        assert other.counts().packets == 0
        other.close()
        stream.deliver(b"", MetadataOffset=0)
        DATA(stream.receiver.data_callback)(0xFF, None)
        assert StreamReceiver.late_calls() == before + 5


def test_the_end_of_a_stream_is_the_end_of_its_ring() -> None:
    with opened() as stream:
        stream.packet(b"last")
        stream.receiver.end()
        stream.packet(b"too late")
        out = np.zeros(1 << 12, np.uint8)
        drained = stream.ring.drain(out, 10)
        assert (len(drained.time), drained.ended) == (1, True)
        assert stream.receiver.counts().packets == 1


def test_there_are_so_many_slots_and_no_more() -> None:
    with Ring(1 << 12) as ring:
        taken = [StreamReceiver(ring) for _ in range(SLOTS)]
        with pytest.raises(EtwcapError, match="too many streams"):
            StreamReceiver(ring)
        for each in taken:
            each.close()
        StreamReceiver(ring).close()


def test_threads_may_call_at_the_same_time() -> None:
    with opened(1 << 22) as stream:

        def play() -> None:
            for _ in range(500):
                stream.packet(bytes(60))

        threads = [threading.Thread(target=play) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(stream.records()) == stream.receiver.counts().packets == 2000
