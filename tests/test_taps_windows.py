"""The raw tap on a running Windows (Wine in CI): real packets through WSARecvMsg and a completion port.

Wine has no SIO_RCVALL and no raw socket of all protocols: there the sockets are of one protocol each, and go without.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from etwcap.errors import NotHereError, WindowsCallError
from etwcap.native.rawsock import FAILED, GONE, RECEIVING, RawReceiver, SocketCounts
from etwcap.native.ring import Ring
from etwcap.packets import Chunk, Context
from etwcap.packets.addresses import AddressKind
from etwcap.pipeline.capture import CaptureOptions, CountingSink, capture
from etwcap.providers.rawsocket_layout import LINK_TYPE, RAW_RECORD, Kind, Present
from etwcap.sources.opening import open_source
from etwcap.sources.recording import RecordingSource
from etwcap.taps.opening import open_taps
from etwcap.taps.protocol import State, TapOptions, usable
from etwcap.taps.raw import RawTap
from etwcap.taps.raw_sockets import SocketKinds
from etwcap.windows.winsock import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPV6_HOPLIMIT,
    IPV6_PKTINFO,
    IPV6_RECVTCLASS,
    Winsock,
)

if sys.platform != "win32":
    pytest.skip("raw sockets of Windows: scripts/windows-test runs these under Wine", allow_module_level=True)

PER_PROTOCOL = SocketKinds((IPPROTO_UDP, IPPROTO_TCP), (IPPROTO_UDP, IPPROTO_TCP), receive_all=False)
SMALL = TapOptions(ring=1 << 22)
LOOPBACK = bytes(15) + b"\x01"


def per_protocol() -> dict[str, RawTap]:
    return {"raw": RawTap(kinds=PER_PROTOCOL)}


def udp6(payload: bytes, *, hops: int | None = None) -> tuple[int, int]:
    """Send a datagram to ourselves over ::1; its ports."""
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as to,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as by,
    ):
        to.bind(("::1", 0))
        by.bind(("::1", 0))
        if hops is not None:
            by.setsockopt(IPPROTO_IPV6, 4, hops)  # IPV6_UNICAST_HOPS
        by.sendto(payload, to.getsockname())
        return by.getsockname()[1], to.getsockname()[1]


def tcp6(payload: bytes) -> tuple[int, int]:
    """Send bytes through a connection to ourselves over ::1; its ports."""
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind(("::1", 0))
        listener.listen(1)
        with socket.create_connection(listener.getsockname()[:2]) as client:
            server, _ = listener.accept()
            with server:
                client.sendall(payload)
                left = len(payload)
                while left:
                    left -= len(server.recv(left))
            return client.getsockname()[1], listener.getsockname()[1]


def captured(
    make: Callable[[], None], options: TapOptions = SMALL, *, context: Context | None = None
) -> tuple[list[tuple[bytes, int]], Context]:
    """The packets (bytes, direction) that the raw tap gives on the loopback while ``make`` sends."""
    context = context or Context()
    source = open_taps(["raw"], ["loopback"], options, context=context, taps=per_protocol())
    found: list[tuple[bytes, int]] = []

    def take(chunk: Chunk) -> None:
        rows = chunk.packets
        columns = (rows["offset"].tolist(), rows["captured"].tolist(), rows["direction"].tolist())
        for at, size, way in zip(*columns, strict=True):
            found.append((chunk.buffer[at : at + size].tobytes(), way))

    def send() -> None:
        time.sleep(0.3)
        make()
        time.sleep(0.5)
        source.stop()

    thread = threading.Thread(target=send)
    thread.start()
    capture(source, context, CountingSink(take), CaptureOptions())
    thread.join()
    return found, context


def test_udp_over_ipv6_comes_with_destination_hops_and_class_and_gets_its_header() -> None:
    ports: list[tuple[int, int]] = []
    found, context = captured(lambda: ports.append(udp6(b"a datagram", hops=37)))
    (packet, way) = next(each for each in found if each[0][40:44] == struct.pack(">HH", *ports[0]))
    assert packet[:8] == bytes([0x60, 0, 0, 0, 0, 18, 17, 37])
    assert (packet[8:24], packet[24:40]) == (LOOPBACK, LOOPBACK)
    assert packet[48:] == b"a datagram"
    assert way == 2  # from an address of our own
    assert len(context.addresses)


def test_tcp_over_ipv6_comes_whole_and_in_order() -> None:
    ports: list[tuple[int, int]] = []
    payload = bytes(range(256)) * 40
    found, _ = captured(lambda: ports.append(tcp6(payload)))
    client, server = ports[0]
    mine = [p for p, _ in found if p[0] >> 4 == 6 and p[6] == 6 and p[40:44] == struct.pack(">HH", client, server)]
    assert mine[0][53] & 2  # SYN
    stream = b"".join(p[40 + (p[52] >> 4) * 4 :] for p in mine)
    assert stream == payload
    assert all(p[8:40] == LOOPBACK + LOOPBACK and struct.unpack_from(">H", p, 4)[0] == len(p) - 40 for p in mine)


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_ipv4_comes_with_its_own_header(kind: str) -> None:
    ports: list[tuple[int, int]] = []

    def send() -> None:
        if kind == "udp":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as both:
                both.bind(("127.0.0.1", 0))
                both.sendto(b"four", both.getsockname())
                ports.append((both.getsockname()[1],) * 2)
            return
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(b"four")
                ports.append((client.getsockname()[1], listener.getsockname()[1]))
                listener.accept()[0].close()

    found, _ = captured(send)
    mine = [p for p, _ in found if p[0] == 0x45 and p[20:24] == struct.pack(">HH", *ports[0])]
    assert mine
    for packet in mine:
        assert struct.unpack_from(">H", packet, 2)[0] == len(packet)
        assert packet[9] == (17 if kind == "udp" else 6)
        assert packet[12:20] == bytes([127, 0, 0, 1] * 2)
    assert any(packet.endswith(b"four") for packet in mine)


def test_without_repair_a_packet_has_what_is_certain() -> None:
    ports: list[tuple[int, int]] = []
    found, _ = captured(lambda: ports.append(udp6(b"certain")), TapOptions(repairs=frozenset(), ring=1 << 22))
    (packet,) = {p for p, _ in found if p[0] >> 4 == 6 and p[40:44] == struct.pack(">HH", *ports[0])}
    assert packet[6] == 255
    assert packet[8:40] == LOOPBACK + LOOPBACK
    assert packet[48:] == b"certain"


def test_a_raw_recording_converts_to_what_was_sent(tmp_path: Path) -> None:
    context = Context()
    options = TapOptions(raw_recording=True, ring=1 << 22)
    source = open_taps(["raw"], ["loopback"], options, context=context, taps=per_protocol())
    sent = [b"%d" % number * (number + 1) for number in range(40)]

    def send() -> None:
        time.sleep(0.3)
        for each in sent:
            udp6(each)
        time.sleep(0.5)
        source.stop()

    thread = threading.Thread(target=send)
    thread.start()
    path = tmp_path / "live.pcapng"
    outcome = capture(source, context, path)
    thread.join()
    assert outcome.exit_code == 0
    assert {each.link_type for each in context.interfaces} == {LINK_TYPE}
    assert all("user mode, up to" in each.description for each in context.interfaces)
    again = Context()
    reader = open_source(path, again)
    payloads = []
    for chunk in reader.chunks():
        heads = [chunk.buffer[at : at + 64] for at in chunk.packets["raw_record"].tolist()]
        rows = np.concatenate(heads).view(RAW_RECORD) if heads else np.zeros(0, RAW_RECORD)
        wanted = Present.DESTINATION | Present.INTERFACE | Present.HOP_LIMIT | Present.TRAFFIC_CLASS | Present.NUMBER
        for row, at, size in zip(
            rows, chunk.packets["offset"].tolist(), chunk.packets["captured"].tolist(), strict=True
        ):
            if row["family"] == 6 and row["kind"] == Kind.PACKET:
                assert row["present"] == wanted
                payloads.append(chunk.buffer[at + 8 : at + size].tobytes())
    assert payloads == sent
    assert isinstance(reader, RecordingSource)
    assert len(reader.context.addresses.of([AddressKind.UNICAST]))
    reader.close()


def test_a_system_without_sio_rcvall_says_so() -> None:
    kinds = SocketKinds((IPPROTO_UDP,), (IPPROTO_UDP,), receive_all=True)
    if open_wine():
        with pytest.raises(NotHereError, match="cannot take all packets") as raised:
            open_taps(["raw"], ["loopback"], SMALL, context=Context(), taps={"raw": RawTap(kinds=kinds)})
        assert isinstance(raised.value, WindowsCallError)
        assert (raised.value.code, raised.value.exit_code) == (10045, 6)
        assert "SIO_RCVALL" in raised.value.what
        conditions = RawTap().available()
        assert not usable(conditions)
        assert next(each for each in conditions if each.name == "windows").state is State.MISSING


def open_wine() -> bool:
    from etwcap.windows.version import this_windows

    return bool(this_windows().wine)


def test_a_socket_of_all_protocols_is_refused_in_words() -> None:
    if open_wine():
        with pytest.raises(NotHereError, match="a raw socket cannot be opened") as raised:
            open_taps(["raw"], ["loopback"], SMALL, context=Context())
        assert raised.value.exit_code == 6


@contextmanager
def receiving(receives: int = 4, room: int = 65_535) -> Iterator[tuple[Winsock, Ring, RawReceiver, int, int]]:
    """A UDP raw socket on ::1 with its receiver: socket and handle last."""
    winsock = Winsock()
    with Ring(1 << 20) as ring:
        receiver = RawReceiver(ring, idle=20)
        made = winsock.socket(AF_INET6, IPPROTO_UDP)
        winsock.bind(made, "::1")
        for option in (IPV6_PKTINFO, IPV6_HOPLIMIT, IPV6_RECVTCLASS):
            winsock.set_option(made, IPPROTO_IPV6, option, 1)
        pointer = winsock.receive_message_pointer(made)
        handle = receiver.add(made, pointer, number=9, family=6, receives=receives, room=room)
        closed = []
        try:
            yield winsock, ring, receiver, made, handle
        finally:
            assert receiver.stop(5000)
            if not closed:
                try:
                    winsock.close(made)
                except WindowsCallError:
                    closed.append(made)  # the test did
            assert receiver.close()


def until(state: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not state():
        assert time.monotonic() < end, "it does not come to be"
        time.sleep(0.01)


def test_receives_are_numbered_in_the_order_of_the_packets() -> None:
    with receiving() as (_, ring, receiver, _, handle):
        until(lambda: receiver.counts(handle).outstanding == 4)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as by:
            by.bind(("::1", 0))
            for number in range(300):
                by.sendto(struct.pack("<I", number), by.getsockname())
        until(lambda: receiver.counts(handle).packets == 300)
        ring.wait(1 << 19, 100)
        out = np.empty(1 << 20, np.uint8)
        drained = ring.drain(out, 1000)
        heads = np.concatenate([out[at : at + 64] for at in drained.offset.tolist()]).view(RAW_RECORD)
        payload = [int.from_bytes(out[at + 72 : at + 76].tobytes(), "little") for at in drained.offset.tolist()]
        assert heads["number"].tolist() == payload  # the socket's order
        assert sorted(payload) == list(range(300))
        assert (np.diff(drained.time) >= 0).all()
        assert drained.complete_to >= int(drained.time[-1])


def test_a_packet_longer_than_the_buffer_is_marked_as_cut() -> None:
    with receiving(room=64) as (_, ring, receiver, _, handle):
        until(lambda: receiver.counts(handle).state == RECEIVING)
        udp6(b"x" * 300)
        udp6(b"y" * 10)
        until(lambda: receiver.counts(handle).packets == 2)
        ring.wait(1 << 19, 100)
        out = np.empty(1 << 16, np.uint8)
        drained = ring.drain(out, 10)
        assert drained.length.tolist() == [128, 82]
        heads = [np.frombuffer(out[at : at + 64].tobytes(), RAW_RECORD)[0] for at in drained.offset.tolist()]
        assert [bool(head["present"] & Present.CUT) for head in heads] == [True, False]
        assert receiver.counts(handle).cut == 1


def test_an_idle_receiver_promises_all_the_same() -> None:
    with receiving() as (_, ring, _, _, _):
        out = np.empty(1 << 16, np.uint8)
        seen = set()
        for _ in range(10):
            ring.wait(1, 50)
            seen.add(ring.drain(out, 10).complete_to)
        assert len(seen) > 3


def test_a_socket_that_is_taken_back_gives_all_its_receives_back() -> None:
    with receiving(receives=64) as (_, _, receiver, _, handle):
        until(lambda: receiver.counts(handle).outstanding == 64)
        receiver.remove(handle)
        until(lambda: receiver.counts(handle).state == GONE)
        counts = receiver.counts(handle)
        assert (counts.outstanding, counts.errors) == (0, 0)


def test_a_socket_that_is_closed_under_the_receiver_fails_and_the_others_go_on() -> None:
    with receiving() as (winsock, _, receiver, made, handle):
        other = winsock.socket(AF_INET, IPPROTO_UDP)
        winsock.bind(other, "127.0.0.1")
        pointer = winsock.receive_message_pointer(other)
        second = receiver.add(other, pointer, number=1, family=4, receives=4)
        until(lambda: receiver.counts(second).outstanding == 4)
        winsock.close(made)
        until(lambda: receiver.counts(handle).state == FAILED)
        assert receiver.counts(handle).last_error
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as by:
            by.bind(("127.0.0.1", 0))
            by.sendto(b"still here", by.getsockname())
        until(lambda: receiver.counts(second).packets == 1)
        receiver.remove(second)
        until(lambda: receiver.counts(second).state == GONE)
        winsock.close(other)


@pytest.mark.parametrize(("receives", "room"), [(0, 100), (1025, 100), (1, 0), (1, 65_536)])
def test_sizes_that_cannot_be_are_refused(receives: int, room: int) -> None:
    with receiving() as (winsock, _, receiver, made, _), pytest.raises(ValueError, match="receives of"):
        receiver.add(made, winsock.receive_message_pointer(made), number=1, family=6, receives=receives, room=room)


def test_counts_of_a_socket_are_those_of_what_was_sent() -> None:
    with receiving() as (_, _, receiver, _, handle):
        until(lambda: receiver.counts(handle).outstanding == 4)
        udp6(b"12345")
        until(lambda: receiver.counts(handle).packets == 1)
        counts = receiver.counts(handle)
        assert counts == SocketCounts(1, 13, 0, 0, 0, 0, 5, 4, RECEIVING, 0)


class _Memory(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = [
        ("cb", ctypes.c_uint32),
        ("PageFaultCount", ctypes.c_uint32),
        *(
            (name, ctypes.c_size_t)
            for name in (
                "PeakWorkingSetSize", "WorkingSetSize", "QuotaPeakPagedPoolUsage", "QuotaPagedPoolUsage",
                "QuotaPeakNonPagedPoolUsage", "QuotaNonPagedPoolUsage", "PagefileUsage", "PeakPagefileUsage",
            )
        ),
    ]  # fmt: skip


class _Thread(ctypes.Structure):
    """THREADENTRY32."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("size", "usage", "id", "process", "base", "delta", "flags")]


def resources() -> tuple[int, int, int]:
    """Handles, threads and bytes of memory of this process."""
    kernel = ctypes.WinDLL("kernel32.dll")
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    kernel.CreateToolhelp32Snapshot.restype = ctypes.c_void_p
    own = kernel.GetCurrentProcess()
    handles = ctypes.c_uint32()
    assert kernel.GetProcessHandleCount(ctypes.c_void_p(own), ctypes.byref(handles))
    memory = _Memory(cb=ctypes.sizeof(_Memory))
    assert kernel.K32GetProcessMemoryInfo(ctypes.c_void_p(own), ctypes.byref(memory), memory.cb)
    snapshot = ctypes.c_void_p(kernel.CreateToolhelp32Snapshot(4, 0))
    threads, entry = 0, _Thread(size=ctypes.sizeof(_Thread))
    more = kernel.Thread32First(snapshot, ctypes.byref(entry))
    while more:
        threads += entry.process == kernel.GetCurrentProcessId()
        more = kernel.Thread32Next(snapshot, ctypes.byref(entry))
    kernel.CloseHandle(snapshot)
    return int(handles.value), threads, int(memory.WorkingSetSize)


def test_a_thousand_captures_leave_no_handle_thread_or_memory() -> None:
    """Each opens the loopback's sockets of both families and has every receive posted (the receiver takes its orders in
    turn), and ends with them under way."""
    taps = {"raw": RawTap(kinds=SocketKinds((IPPROTO_UDP,), (IPPROTO_UDP,), receive_all=False))}
    options = TapOptions(ring=1 << 20, receives=4)

    def once() -> None:
        source = open_taps(["raw"], ["loopback"], options, context=Context(), taps=taps)
        source.close()

    for _ in range(50):
        once()
    handles, threads, memory = resources()
    for _ in range(1000):
        once()
    after = resources()
    assert after[0] <= handles + 3
    assert after[1] <= threads
    assert after[2] <= memory + (8 << 20)
