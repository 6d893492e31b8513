"""Linux's raw sockets of IPv6 as a tap: what they give (no IPv6 header, as on Windows) beside what AF_PACKET saw.

Linux gives a raw socket the packets that were *received*, never those the machine sent (on loopback every packet is
received too). So a recording of both directions takes what the machine sent from the sockets of the other end.
Fragments come reassembled: traffic to be compared must not be fragmented.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from etwcap.packets import AddressBook, AddressKind
from etwcap.providers.rawsocket_build import address_records, address_rows, build_record, record_heads
from etwcap.providers.rawsocket_layout import LINK_TYPE, Present
from namespaces import Namespace
from pcapng_build import interface, packet, section

PROTOCOLS = (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMPV6)
HOP_BY_HOP, DESTINATION_OPTIONS = 0, 60
LARGEST = 1 << 17
QUIET = 0.3
"""seconds without a packet after which nothing more comes"""
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
ETH_P_IPV6, PACKET_OUTGOING = 0x86DD, 4
SO_RCVBUFFORCE = 33


@dataclass(frozen=True)
class Received:
    """One packet, by a raw socket or by AF_PACKET."""

    protocol: int
    source: bytes
    payload: bytes
    destination: bytes
    hop_limit: int
    traffic_class: int
    time: int = field(compare=False)
    interface: int = field(compare=False, default=0)


class Tap:
    """Raw sockets of each protocol and an AF_PACKET socket, read by a thread in one namespace."""

    def __init__(self, link: str) -> None:
        self.link = link
        self.raw: list[Received] = []
        self.wire: list[Received] = []
        self._stop = threading.Event()
        self._ready = threading.Event()

    def _run(self) -> None:
        with contextlib.ExitStack() as opened:
            sockets = [
                opened.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_RAW, each)) for each in PROTOCOLS
            ]
            for each in sockets:
                for option in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS):
                    each.setsockopt(socket.IPPROTO_IPV6, option, 1)
            wire = opened.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IPV6)))
            wire.bind((self.link, ETH_P_IPV6))
            for each in (*sockets, wire):
                each.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
            self._ready.set()
            while not self._stop.is_set():
                ready = select.select([*sockets, wire], [], [], QUIET)[0]
                for each in ready:
                    self._wire_packet(each) if each is wire else self._raw_packet(each)

    def _raw_packet(self, sock: socket.socket) -> None:
        data, control, _, sender = sock.recvmsg(LARGEST, 256)
        told = {kind: value for _, kind, value in control}
        destination, index = struct.unpack("16si", told[socket.IPV6_PKTINFO])
        (hops,) = struct.unpack("i", told[socket.IPV6_HOPLIMIT])
        (traffic_class,) = struct.unpack("i", told[socket.IPV6_TCLASS])
        source = socket.inet_pton(socket.AF_INET6, sender[0].split("%")[0])
        self.raw.append(Received(sock.proto, source, data, destination, hops, traffic_class, time.time_ns(), index))

    def _wire_packet(self, sock: socket.socket) -> None:
        data, sender = sock.recvfrom(LARGEST)
        if sender[2] == PACKET_OUTGOING:
            return
        first, length, protocol, hops = struct.unpack_from(">IHBB", data)
        start, end = 40, 40 + length if length else len(data)
        while protocol in (HOP_BY_HOP, DESTINATION_OPTIONS):
            protocol, start = data[start], start + 8 * (data[start + 1] + 1)
        if protocol in PROTOCOLS:
            seen = (protocol, data[8:24], data[start:end], data[24:40], hops, first >> 20 & 0xFF, time.time_ns())
            self.wire.append(Received(*seen))

    @contextlib.contextmanager
    def running(self, space: Namespace) -> Iterator[None]:
        """Read while inside; on leaving, all that came until then has been read."""
        thread = threading.Thread(target=lambda: space.within(self._run))
        thread.start()
        try:
            assert self._ready.wait(10)
            yield
            count = -1
            while count != len(self.raw) + len(self.wire):
                count = len(self.raw) + len(self.wire)
                time.sleep(2 * QUIET)
        finally:
            self._stop.set()
            thread.join()


def fill_in_checksums(link: str) -> None:
    """Switch the transmit checksum offload of a link off (with it goes segmentation)."""
    value = array.array("B", struct.pack("II", ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", link.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def record(path: Path, packets: list[Received], tables: dict[AddressKind, list[str]], *, ancillary: bool) -> None:
    """A recording of ours: tables first, then the packets; without ``ancillary`` only what recvfrom gives."""
    book = AddressBook()
    for kind, known in tables.items():
        for text in known:
            book.add(kind, 1, socket.inet_pton(socket.AF_INET6, text))
    parts = [section("<"), interface("<", LINK_TYPE, (2, b"eth0"), (9, b"\x09"))]
    start = packets[0].time
    parts += [packet("<", 0, start, table) for table in address_records(address_rows(book))]
    for number, each in enumerate(packets):
        head = record_heads(1)
        present = Present.NUMBER
        head["family"], head["number"] = 6, number
        head["source"] = np.frombuffer(each.source, np.uint8)
        if ancillary:
            present |= Present.DESTINATION | Present.INTERFACE | Present.HOP_LIMIT | Present.TRAFFIC_CLASS
            head["destination"] = np.frombuffer(each.destination, np.uint8)
            head["interface"], head["hop_limit"], head["traffic_class"] = 1, each.hop_limit, each.traffic_class
        head["present"] = int(present)
        parts.append(packet("<", 0, each.time, build_record(head, each.payload)))
    path.write_bytes(b"".join(parts))
