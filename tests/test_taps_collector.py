"""Collector and front end: what is captured comes through whole, and neither side can harm the other."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from ipaddress import IPv6Interface
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import etwcap
from etwcap.errors import EtwcapError, RightsError
from etwcap.packets import Chunk, Context, Description, EventTable, Interface, Machine, Mark, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.packets.receipt import Note
from etwcap.pipeline.capture import CaptureOptions, capture
from etwcap.pipeline.protocols import Stage
from etwcap.providers.rawsocket_layout import LINK_TYPE
from etwcap.repair.ipv6_header import Ipv6HeaderStage
from etwcap.taps import wire
from etwcap.taps.collector import collect
from etwcap.taps.per_tap import PerTap
from etwcap.taps.protocol import TapLosses
from etwcap.taps.raw_source import RecordsToPackets
from etwcap.taps.remote import RemoteSource
from etwcap.taps.several import LiveMerge, LiveStaged
from etwcap.taps.wire import FrameKind, WireError

START = 1_705_526_400_000_000_000
HELLO = wire.text_frame(
    FrameKind.HELLO, {"protocol": 1, "machine": {"os_name": "Windows", "processors": 4}, "resolution": 100}
)
FACE = {"number": 0, "link_type": LINK_TYPE, "name": "Ethernet", "speed": 0, "if_index": 3, "tap": "raw"}


class Socket:
    """One end of a pair of sockets, as either side of the pipe."""

    def __init__(self, end: socket.socket, *, timed: bool) -> None:
        self.end = end
        end.settimeout(0.05 if timed else None)

    def read(self, most: int) -> bytes | None:
        try:
            return self.end.recv(most)
        except TimeoutError:
            return None
        except OSError:
            return b""

    def write(self, data: bytes) -> bool:
        try:
            self.end.settimeout(None)
            self.end.sendall(data)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self.end.close()


class Blocking(Socket):
    def read(self, most: int) -> bytes:
        return super().read(most) or b""


class Records:
    """A source of records, one a chunk, until it is stopped or has given ``limit``."""

    def __init__(self, context: Context, *, limit: int = 5, error: EtwcapError | None = None, size: int = 100) -> None:
        self.context = context
        face = Interface(1, "Ethernet \x1b[31m", "d", mac=b"\2" * 6, speed=10**9, if_index=7, tap="raw")
        face.ipv6.append(IPv6Interface("fe80::1/64"))
        self.number = context.interfaces.add(face)
        self.description = Description(machine=Machine(os_name="Windows 11", processors=8), resolution=100)
        self.limit, self.error, self.size = limit, error, size
        self.stopped = threading.Event()
        self.closed = False
        self.given = 0

    def describe(self) -> Description:
        return self.description

    def progress(self) -> tuple[int, int]:
        return 0, 0

    def losses(self) -> TapLosses:
        return TapLosses(ring=self.given, mechanism=None)

    def stop(self) -> None:
        self.stopped.set()

    def close(self) -> None:
        self.closed = True

    def chunks(self) -> Iterator[Chunk]:
        while not self.stopped.is_set() and self.given < self.limit:
            time = START + self.given
            self.given += 1
            if self.given == 3:
                self.context.interfaces[0].description = "learnt later"
            rows = PacketTable(1, time=np.array([time]), offset=np.array([8]), captured=np.array([self.size]))
            rows["original"] = rows["captured"]
            rows["interface"] = np.array([self.number])
            yield Chunk(np.full(self.size + 8, self.given & 255, np.uint8), rows, EventTable(0), time)
        if self.error is not None:
            raise self.error
        yield Chunk(np.zeros(1, np.uint8), PacketTable(0), EventTable(0), END_OF_TIME)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()


def collecting(source: Records, end: socket.socket) -> threading.Thread:
    thread = threading.Thread(target=collect, args=(source, source.context, Blocking(end, timed=False)))
    thread.start()
    return thread


def test_records_come_through_whole(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    source = Records(Context())
    source.context.receipt.note("late", "events came late", 3)
    thread = collecting(source, ends[0])
    context = Context()
    remote = RemoteSource(Socket(ends[1], timed=True), context)
    outcome = capture(remote, context, tmp_path / "x.pcapng")
    thread.join(30)
    assert not thread.is_alive()
    assert source.closed
    assert outcome.exit_code == 0
    with etwcap.open(tmp_path / "x.pcapng") as trace:
        packets = list(trace)
    assert [packet.time for packet in packets] == [START + number for number in range(5)]
    assert [packet.data for packet in packets] == [bytes([number + 1]) * 100 for number in range(5)]
    (face,) = context.interfaces
    assert (face.name, face.description, face.mac, face.speed) == (
        "Ethernet \x1b[31m",
        "learnt later",
        b"\2" * 6,
        10**9,
    )
    assert face.ipv6 == [IPv6Interface("fe80::1/64")]
    assert context.descriptions[0].machine.processors == 8
    assert remote.losses() == TapLosses(ring=5)
    assert outcome.receipt.notes["late"] == Note("late", "events came late", 3)


def test_the_front_end_can_stop_the_collector(ends: tuple[socket.socket, socket.socket]) -> None:
    source = Records(Context(), limit=1 << 40)
    thread = collecting(source, ends[0])
    context = Context()
    remote = RemoteSource(Socket(ends[1], timed=True), context)
    got = 0
    for chunk in remote.chunks():
        got += len(chunk.packets)
        if got >= 10:
            remote.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert got == source.given


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\xff" * 100,
        wire.text_frame(FrameKind.HELLO, {"open": "C:\\secret"}),
        wire.text_frame(FrameKind.INTERFACE, FACE),
        struct.pack("<IB3s", 0xFFFFFFFF, FrameKind.STOP, bytes(3)),
        wire.frame(FrameKind.STOP)[:5],
    ],
)
def test_whatever_a_front_end_sends_the_collector_only_stops(
    ends: tuple[socket.socket, socket.socket], sent: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Records(Context(), limit=1 << 40)
    thread = collecting(source, ends[0])
    ends[1].sendall(sent)
    ends[1].shutdown(socket.SHUT_WR)
    ends[1].settimeout(0.05)
    while thread.is_alive():
        with contextlib.suppress(TimeoutError):
            ends[1].recv(1 << 16)
    thread.join(30)
    assert not thread.is_alive()
    assert source.stopped.is_set()
    assert list(tmp_path.iterdir()) == []


def test_a_front_end_that_goes_away_ends_the_collector(ends: tuple[socket.socket, socket.socket]) -> None:
    source = Records(Context(), limit=1 << 40)
    thread = collecting(source, ends[0])
    ends[1].recv(10)
    ends[1].close()
    thread.join(30)
    assert not thread.is_alive()
    assert source.closed


def test_an_error_of_the_collector_is_raised_in_the_front_end(ends: tuple[socket.socket, socket.socket]) -> None:
    thread = collecting(Records(Context(), error=RightsError("no", cause="why", hint="elevate")), ends[0])
    remote = RemoteSource(Socket(ends[1], timed=True), Context())
    with pytest.raises(RightsError, match="no: why") as raised:
        list(remote.chunks())
    assert raised.value.hint == "elevate"
    thread.join(30)


# ---- a hostile collector ----


class Canned:
    """A pipe that gives the same bytes in pieces, then its end."""

    def __init__(self, data: bytes, piece: int = 1 << 20) -> None:
        self.data, self.piece, self.closed = data, piece, False

    def read(self, most: int) -> bytes:
        part, self.data = self.data[: min(most, self.piece)], self.data[min(most, self.piece) :]
        return part

    def write(self, data: bytes) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def run(data: bytes, piece: int = 1 << 20) -> int:
    """What a front end makes of a collector's bytes: packets, through all stages of the tap raw; or a clear error."""
    context = Context()
    source = RemoteSource(Canned(data, piece), context)
    stages: list[Stage] = [RecordsToPackets(context, source.describe()), Ipv6HeaderStage(context)]
    complete = -(2**63)
    packets = 0
    for chunk in source.chunks():
        assert chunk.complete_to >= complete
        complete = chunk.complete_to
        for stage in stages:
            chunk = stage.process(chunk)
        rows = chunk.packets
        assert bool((rows["offset"] >= 0).all())
        assert bool((rows["offset"] + rows["captured"].astype(np.int64) <= len(chunk.buffer)).all())
        packets += len(rows)
    return packets


def batch(*records: bytes, interface: int = 0, time: int = START, complete_to: int = START) -> bytes:
    rows = b"".join(struct.pack("<qIHH", time, len(each), interface, 0) for each in records)
    return wire.frame(FrameKind.BATCH, struct.pack("<IIq", len(records), 0, complete_to) + rows + b"".join(records))


face = wire.text_frame(FrameKind.INTERFACE, FACE)
head = struct.pack("<IBBHQIIBBHI", 0x31535245, 1, 6, 5, 0, 0, 3, 64, 0, 0, 0) + bytes(15) + b"\1" + bytes(15) + b"\2"


@given(st.binary(max_size=400), st.integers(1, 64))
def test_any_bytes_of_a_collector_are_refused_or_packets(data: bytes, piece: int) -> None:
    for start in (b"", HELLO, HELLO + face):
        with pytest.raises(EtwcapError):
            run(start + data, piece)


records = st.binary(max_size=120) | st.binary(max_size=80).map(lambda tail: head + tail)
bodies = st.builds(
    lambda each, number, time, promise: batch(*each, interface=number, time=time, complete_to=promise),
    st.lists(records, max_size=6),
    st.integers(0, 1),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
)


@given(st.lists(bodies, max_size=5))
def test_any_records_in_well_formed_frames_are_harmless(sent: list[bytes]) -> None:
    with contextlib.suppress(WireError):  # an interface that is not there
        run(HELLO + face + b"".join(sent) + wire.frame(FrameKind.END))


def test_good_bytes_are_packets() -> None:
    udp = bytes.fromhex("14e914e90008 0000")
    assert run(HELLO + face + batch(head + udp) + wire.frame(FrameKind.END)) == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "before it began"),
        (wire.text_frame(FrameKind.HELLO, {"protocol": 2}), "another version"),
        (wire.text_frame(FrameKind.HELLO, {"protocol": 1}), "machine"),
        (wire.text_frame(FrameKind.HELLO, {"protocol": 1, "machine": {"processors": "x"}}), "processors"),
        (HELLO, "went away"),
        (HELLO + HELLO, "no frame"),
        (HELLO + wire.text_frame(FrameKind.INTERFACE, {**FACE, "number": 1}), "wrong number"),
        (HELLO + wire.text_frame(FrameKind.INTERFACE, {**FACE, "name": "x" * 2000}), "name"),
        (HELLO + wire.text_frame(FrameKind.INTERFACE, {**FACE, "mac": "xyz"}), "mac"),
        (HELLO + wire.text_frame(FrameKind.INTERFACE, {**FACE, "ipv4": ["1.2.3"]}), "ipv4"),
        (HELLO + wire.text_frame(FrameKind.INTERFACE, {**FACE, "link_type": 2**40}), "link type"),
        (HELLO + face + wire.text_frame(FrameKind.INTERFACE, {**FACE, "link_type": 1}), "changed"),
        (HELLO + wire.text_frame(FrameKind.LOSSES, {"ring": -1}), "ring"),
        (HELLO + wire.text_frame(FrameKind.LOSSES, {"ring": True}), "ring"),
        (HELLO + batch(b"x", interface=1), "not there"),
        (HELLO + wire.text_frame(FrameKind.FAILURE, {"what": ["x"]}), "what"),
        (HELLO + wire.text_frame(FrameKind.RECEIPT, {"kind": "late", "text": "x" * 1025, "count": 1}), "text"),
        (HELLO + wire.text_frame(FrameKind.RECEIPT, {"kind": "late", "text": "x", "count": -1}), "count"),
        (HELLO + wire.text_frame(FrameKind.RECEIPT, {"kind": "late", "text": "x", "count": 1}) * 257, "too much"),
    ],
)
def test_what_a_collector_may_not_say_is_a_clear_error(data: bytes, says: str) -> None:
    with pytest.raises(EtwcapError, match=says):
        run(data)


def test_notes_of_a_collector_are_told() -> None:
    told: list[str] = []
    note = wire.text_frame(FrameKind.NOTE, {"text": "going on"})
    source = RemoteSource(Canned(note + HELLO + note + wire.frame(FrameKind.END)), Context(), tell=told.append)
    assert [chunk.complete_to for chunk in source.chunks()] == [END_OF_TIME]
    assert told == ["going on", "going on"]


def test_a_collector_that_falls_silent_is_given_up(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(HELLO)
    remote = RemoteSource(Socket(ends[1], timed=True), Context(), silence=0.1)
    with pytest.raises(WireError, match="does not answer"):
        list(remote.chunks())


def test_an_interrupted_capture_leaves_the_file_whole(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    ends[0].sendall(HELLO + face + batch(b"x" * 60) + b"garbage!")
    context = Context()
    with pytest.raises(WireError):
        capture(RemoteSource(Socket(ends[1], timed=True), context), context, tmp_path / "x.pcapng", CaptureOptions())
    with etwcap.open(tmp_path / "x.pcapng") as trace:
        assert len(list(trace)) == 1


# ---- several taps through one pipe ----


class TwoTaps(Records):
    """Records of two taps in turns, some chunks with both and some with none."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        context.interfaces.add(Interface(290, "events", tap="pktmon"))

    def chunks(self) -> Iterator[Chunk]:
        for first in range(0, 12, 3):
            number = np.arange(first, first + 3) if first != 6 else np.arange(0)
            rows = PacketTable(len(number))
            rows["time"], rows["offset"] = START + number, number * 4 - first * 4
            rows["captured"] = rows["original"] = np.full(len(number), 4)
            rows["interface"] = number % 2
            data = b"".join(int(each).to_bytes(4, "little") for each in number) + bytes(8)
            yield Chunk(np.frombuffer(bytearray(data), np.uint8), rows, EventTable(0), START + first)
        yield Chunk(np.zeros(1, np.uint8), PacketTable(0), EventTable(0), END_OF_TIME)


def test_the_records_of_two_taps_come_apart_again(ends: tuple[socket.socket, socket.socket]) -> None:
    source = TwoTaps(Context())
    thread = collecting(source, ends[0])
    context = Context()
    parts = PerTap(RemoteSource(Socket(ends[1], timed=True), context), context, ["raw", "pktmon"])

    class Marked:
        """A stage that writes into its tap's packets."""

        def __init__(self, mark: int) -> None:
            self.mark = mark

        def process(self, chunk: Chunk) -> Chunk:
            chunk.buffer[chunk.packets["offset"] + 3] = self.mark
            return chunk

        def finish(self) -> None:
            return None

    merged = LiveMerge([LiveStaged(each, [Marked(number + 1)]) for number, each in enumerate(parts.sources)])
    got: list[tuple[int, int, int]] = []
    for chunk in merged.chunks():
        for time, offset in zip(chunk.packets["time"].tolist(), chunk.packets["offset"].tolist(), strict=True):
            got.append((time - START, int(chunk.buffer[offset]), int(chunk.buffer[offset + 3])))
    thread.join(30)
    assert not thread.is_alive()
    assert got == [(number, number, number % 2 + 1) for number in (0, 1, 2, 3, 4, 5, 9, 10, 11)]
    assert merged.losses() == source.losses()


def test_a_record_before_what_was_promised_keeps_its_time_and_is_marked() -> None:
    def batch(time: int, complete_to: int) -> bytes:
        row = wire.Batch(
            np.zeros(4, np.uint8),
            np.array([time]),
            np.array([0]),
            np.array([4], np.uint32),
            np.array([0], np.uint16),
            complete_to,
        )
        return b"".join(wire.batch_frames(row))

    sent = HELLO + wire.text_frame(FrameKind.INTERFACE, FACE) + batch(START, START + 10) + batch(START + 5, START + 20)
    source = RemoteSource(Canned(sent + wire.frame(FrameKind.END)), Context())
    chunks = list(source.chunks())
    assert [each.packets["time"].tolist() for each in chunks] == [[START], [START + 5], []]
    assert [bool((each.packets["flags"] & Mark.LATE).any()) for each in chunks] == [False, True, False]
