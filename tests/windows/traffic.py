"""Packets that this system sends to itself over ::1 and 127.0.0.1, all of which is known."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

LOOPBACK = {4: bytes([127, 0, 0, 1]), 6: bytes(15) + b"\x01"}
_NAMES = {4: "127.0.0.1", 6: "::1"}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_MARK = b"etwcap-traffic"


class Datagram(NamedTuple):
    """What was sent, or what of it stands in a captured packet."""

    family: int
    ports: tuple[int, int]
    hops: int
    traffic_class: int
    payload: bytes


@dataclass
class Stream:
    """A connection: ports of client and server, and the client's bytes."""

    family: int
    ports: tuple[int, int]
    payload: bytes


@dataclass
class Sent:
    """All that was sent."""

    datagrams: list[Datagram] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    pings: list[bytes] = field(default_factory=list)


def send_all(*, datagrams: int = 30, stream: int = 70_000) -> Sent:
    """Datagrams of many sizes, hop limits and classes, a connection of each family, and IPv4 echo requests."""
    sent = Sent()
    for family in (4, 6):
        for number in range(datagrams):
            sent.datagrams.append(_datagram(family, number))
        sent.streams.append(_stream(family, stream))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        for number in range(5):
            body = struct.pack(">HH", 0x7E57, number) + _MARK
            words = struct.unpack(f">{len(body) // 2}H", body)
            total = 0x0800 + sum(words)
            total = (total & 0xFFFF) + (total >> 16)
            message = struct.pack(">BBH", 8, 0, ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + body
            raw.sendto(message, (_NAMES[4], 0))
            sent.pings.append(message)
    return sent


def _datagram(family: int, number: int) -> Datagram:
    payload = _MARK + bytes(each * number & 0xFF for each in range(number * 40))
    hops, traffic_class = 1 + number * 8, number * 4
    with (
        socket.socket(_FAMILIES[family], socket.SOCK_DGRAM) as to,
        socket.socket(_FAMILIES[family], socket.SOCK_DGRAM) as by,
    ):
        to.bind((_NAMES[family], 0))
        by.bind((_NAMES[family], 0))
        level, options = (
            (socket.IPPROTO_IPV6, (socket.IPV6_UNICAST_HOPS, socket.IPV6_TCLASS))
            if family == 6
            else (socket.IPPROTO_IP, (socket.IP_TTL, socket.IP_TOS))
        )
        for option, value in zip(options, (hops, traffic_class), strict=True):
            by.setsockopt(level, option, value)
        by.sendto(payload, to.getsockname())
        return Datagram(family, (by.getsockname()[1], to.getsockname()[1]), hops, traffic_class, payload)


def _stream(family: int, size: int) -> Stream:
    payload = bytes(each * 7 & 0xFF for each in range(size))
    with socket.socket(_FAMILIES[family]) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1200)
        listener.bind((_NAMES[family], 0))
        listener.listen(1)
        with socket.create_connection(listener.getsockname()[:2]) as client:
            server, _ = listener.accept()
            with server:
                left = size
                writer = threading.Thread(target=client.sendall, args=(payload,))
                writer.start()
                while left:
                    left -= len(server.recv(left))
                writer.join()
            return Stream(family, (client.getsockname()[1], listener.getsockname()[1]), payload)


def datagrams_in(packets: list[bytes]) -> list[Datagram]:
    """Those of the packets (IPv4 or IPv6) that are datagrams of ours. Fails where a header contradicts itself."""
    found = []
    for data in packets:
        family = data[0] >> 4
        start, protocol = (40, data[6]) if family == 6 else ((data[0] & 15) * 4, data[9])
        if protocol != 17 or not data[start + 8 :].startswith(_MARK):
            continue
        hops = data[7] if family == 6 else data[8]
        traffic_class = struct.unpack_from(">H", data)[0] >> 4 & 0xFF if family == 6 else data[1]
        ends = data[8:40] if family == 6 else data[12:20]
        length = struct.unpack_from(">H", data, 4 if family == 6 else 2)[0]
        source, target, size = struct.unpack_from(">HHH", data, start)
        assert ends == LOOPBACK[family] * 2
        assert length + (40 if family == 6 else 0) == len(data)
        assert size == len(data) - start
        found.append(Datagram(family, (source, target), hops, traffic_class, data[start + 8 :]))
    return found


def stream_in(packets: list[bytes], stream: Stream) -> bytes:
    """The client's bytes, in the order in which the packets stand, repeated segments once."""
    parts = []
    expected: int | None = None
    for data in packets:
        family = data[0] >> 4
        start, protocol = (40, data[6]) if family == 6 else ((data[0] & 15) * 4, data[9])
        if family != stream.family or protocol != 6 or struct.unpack_from(">HH", data, start) != stream.ports:
            continue
        number, offset, flags = struct.unpack_from(">I4xBB", data, start + 4)
        segment = data[start + (offset >> 4) * 4 :]
        if flags & 2:
            expected = number + 1 & 0xFFFFFFFF
        elif segment and number == expected:
            parts.append(segment)
            expected = number + len(segment) & 0xFFFFFFFF
    return b"".join(parts)


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """A datagram of each family every few milliseconds, to whom nobody listens in particular."""
    stop = threading.Event()

    def run() -> None:
        with contextlib.ExitStack() as stack:
            ends = []
            for family in (4, 6):
                end = stack.enter_context(socket.socket(_FAMILIES[family], socket.SOCK_DGRAM))
                end.bind((_NAMES[family], 0))
                ends.append(end)
            while not stop.is_set():
                for end in ends:
                    end.sendto(_MARK + bytes(200), end.getsockname())
                    with contextlib.suppress(BlockingIOError):
                        end.recv(1000, socket.MSG_DONTWAIT)
                time.sleep(0.005)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
