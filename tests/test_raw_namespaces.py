"""Real traffic, taken by Linux's raw sockets without IPv6 headers, rebuilt, and compared with what AF_PACKET saw.

Between two network namespaces with a veth pair, and over loopback; with checksums left to the adapter (what both do
unless told otherwise) and with checksums filled in. See ``raw_sockets`` for what Linux gives and what not.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from capture_files import read
from command_line import etwcap
from conftest import missing

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="raw sockets of Linux")

if sys.platform.startswith("linux"):
    from etwcap.packets import AddressKind
    from namespaces import Namespace, address, join, link_local, namespaces, why_not
    from raw_sockets import Received, Tap, fill_in_checksums, record

HERE, FIRST_THERE, THERE = "2001:db8:77::10", 0x20, 5
PORT, CLOSED = 5000, 5999
UNKNOWN = bytes(16)


@dataclass
class Traffic:
    """What the machine's end saw of one run."""

    packets: list[Received]
    """by raw sockets: received, and sent (by those of the other end), in the order of their stamps"""
    wire: list[Received]
    """by AF_PACKET"""
    tables: dict[AddressKind, list[str]]


def serve() -> None:
    """Answer TCP and UDP until everybody has gone."""
    listener = socket.create_server(("::", PORT), family=socket.AF_INET6)
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.bind(("::", PORT))
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    with listener, datagrams:
        listener.settimeout(10)
        datagrams.settimeout(10)
        echo = threading.Thread(target=_echo, args=(datagrams,), daemon=True)
        echo.start()
        for _ in range(2 * THERE):
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data[::-1])
        echo.join()


def _echo(datagrams: socket.socket) -> None:
    while True:
        data, control, _, sender = datagrams.recvmsg(65536, 256)
        if not data:
            return
        datagrams.sendmsg([data], [each for each in control if each[1] == socket.IPV6_PKTINFO], 0, sender)


def talk(peers: list[str]) -> None:
    """TCP, UDP and ICMPv6 of many sizes, hop limits and traffic classes, to each peer; errors too."""
    chance = random.Random(5)
    for peer in peers:
        for _ in range(2):
            with socket.create_connection((peer, PORT), 5) as stream:
                for _ in range(6):
                    data = chance.randbytes(chance.choice([1, 7, 500, 1400, 9000]))
                    stream.sendall(data)
                    left = len(data)
                    while left:
                        left -= len(stream.recv(left))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(5)
            for number in range(25):
                datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 10 + number)
                datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 4 * number)
                datagrams.sendto(chance.randbytes(1 + 50 * number), (peer, PORT))
                datagrams.recv(65536)
            datagrams.sendto(b"nobody listens", (peer, CLOSED))
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as echo:
            for number in range(15):
                request = struct.pack(">BBHHH", 128, 0, 0, os.getpid() & 0xFFFF, number) + chance.randbytes(40 * number)
                echo.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 30 + number)
                echo.sendto(request, (peer, 0))
                time.sleep(0.002)
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((peer, CLOSED), 2).close()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as last:
        last.sendto(b"", (peers[0], PORT))


@contextlib.contextmanager
def serving(space: Namespace) -> Iterator[None]:
    thread = threading.Thread(target=lambda: space.within(serve))
    thread.start()
    time.sleep(0.3)
    yield
    thread.join()


def merged(*parts: list[Received]) -> list[Received]:
    return sorted((each for part in parts for each in part), key=lambda each: each.time)


def over_veth(*, offload: bool) -> Traffic:
    """Traffic of two machines, as the first one would have recorded it."""
    with namespaces(("raw-here", "raw-there")) as (here, there):
        join(here, "eth0", there, "eth0")
        theirs = [f"2001:db8:77::{FIRST_THERE + number:x}" for number in range(THERE)]
        address(here, "eth0", f"{HERE}/64")
        address(there, "eth0", *(f"{each}/64" for each in theirs))
        local, far = (link_local(space, "eth0") for space in (here, there))
        if not offload:
            for space in (here, there):
                space.within(lambda: fill_in_checksums("eth0"))
        mine, other = Tap("eth0"), Tap("eth0")
        with mine.running(here), other.running(there), serving(there):
            here.within(lambda: talk(theirs))
    own = {AddressKind.UNICAST: [HERE, local], AddressKind.MULTICAST: ["ff02::1"]}
    known = {AddressKind.NEIGHBOUR: [*theirs, far]}
    return Traffic(merged(mine.raw, other.raw), merged(mine.wire, other.wire), {**own, **known})


def over_loopback() -> Traffic:
    """Traffic of one machine with itself: everything is received."""
    with namespaces(("raw-lo",)) as (space,):
        theirs = [f"2001:db8:78::{FIRST_THERE + number:x}" for number in range(THERE)]
        address(space, "lo", *(f"{each}/128" for each in theirs))
        tap = Tap("lo")
        with tap.running(space), serving(space):
            space.within(lambda: talk(theirs))
    return Traffic(tap.raw, tap.wire, {AddressKind.UNICAST: ["::1", *theirs]})


@pytest.fixture(scope="module", params=["veth-offload", "veth-filled-in", "loopback"])
def traffic(request: pytest.FixtureRequest) -> Traffic:
    reason = why_not()
    if reason:
        missing(reason)
    if request.param == "loopback":
        return over_loopback()
    return over_veth(offload=request.param == "veth-offload")


def rebuilt(traffic: Traffic, folder: Path, *, ancillary: bool) -> list[bytes]:
    """The recording after ``convert``: whole IPv6 packets in the order of the records."""
    recording, output = folder / "recording.pcapng", folder / "rebuilt.pcapng"
    record(recording, traffic.packets, traffic.tables, ancillary=ancillary)
    done = etwcap("convert", recording, "-w", output, "-q", "--repair", "ipv6")
    assert done.returncode == 0, done.stderr
    return [each["data"] for each in read(output).packets]


def test_raw_sockets_gave_what_af_packet_saw(traffic: Traffic) -> None:
    seen, gave = Counter(traffic.wire), Counter(traffic.packets)
    assert not gave - seen
    groups_of_others = Counter({each: n for each, n in (seen - gave).items() if each.destination[0] == 0xFF})
    assert seen - gave == groups_of_others
    assert Counter(each.protocol for each in traffic.packets).keys() == {6, 17, 58}
    assert len(traffic.packets) > 500


def test_with_ancillary_data_every_header_is_as_it_was(traffic: Traffic, tmp_path: Path) -> None:
    packets = rebuilt(traffic, tmp_path, ancillary=True)
    for was, now in zip(traffic.packets, packets, strict=True):
        first, length, protocol, hops = struct.unpack_from(">IHBB", now)
        assert now[40:] == was.payload
        assert length == (len(was.payload) if len(was.payload) < 65536 else 0)
        assert (protocol, now[8:24], now[24:40]) == (was.protocol, was.source, was.destination)
        assert (hops, first >> 20) == (was.hop_limit, 0x600 | was.traffic_class)


def test_without_ancillary_data_protocol_and_destination_are_found(traffic: Traffic, tmp_path: Path) -> None:
    packets = rebuilt(traffic, tmp_path, ancillary=False)
    assert [now[6] for now in packets] == [was.protocol for was in traffic.packets]
    assert [now[40:] for now in packets] == [was.payload for was in traffic.packets]
    found = [(was.destination, now[24:40]) for was, now in zip(traffic.packets, packets, strict=True)]
    assert [(was, now) for was, now in found if now not in (was, UNKNOWN)] == []
    assert sum(was == now for was, now in found) >= 0.99 * len(found)
