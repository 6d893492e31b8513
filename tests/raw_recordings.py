"""Recordings of raw sockets: built by hand, read back, and what a capture's packets become in one."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple, TypeAlias

from etwcap.packets import AddressKind, Context
from etwcap.sources.opening import open_source
from etwcap.sources.recording import RecordingSource
from pcapng_build import interface, packet, section

STRIPPED = {0, 43, 51, 60, 135, 139, 140}
HEADER = 64
SOURCE = IPv6Address("2001:db8::1")


@dataclass(frozen=True)
class Record:
    """A record of a packet; what is None the socket does not tell."""

    payload: bytes
    source: IPv4Address | IPv6Address = SOURCE
    destination: IPv4Address | IPv6Address | None = None
    index: int | None = None
    hops: int | None = None
    traffic_class: int | None = None
    number: int | None = None
    cut: bool = False
    socket: int = 0
    scope: int = 0
    original: int | None = None
    """of the payload"""

    def data(self) -> bytes:
        """The record's bytes."""
        told = (self.destination, self.index, self.hops, self.traffic_class, self.number, self.cut or None)
        present = sum(1 << bit for bit, value in enumerate(told) if value is not None)
        head = struct.pack(
            "<4sBBHQIIBBHI", b"ERS1", 1, self.source.version, present, self.number or 0, self.socket, self.index or 0,
            self.hops or 0, self.traffic_class or 0, 0, self.scope,
        )  # fmt: skip
        addresses = (self.source.packed, self.destination.packed if self.destination else b"")
        return head + b"".join(each.ljust(16, b"\0") for each in addresses) + self.payload


Records: TypeAlias = list[tuple[int, bytes | Record]]
"""(time in ns, record)"""


def tables(*rows: tuple[AddressKind | int, int, IPv4Address | IPv6Address]) -> bytes:
    """A record of address tables: (table, interface index, address)."""
    head = struct.pack("<4sBB58x", b"ERS1", 2, 0)
    return head + b"".join(
        struct.pack("<BBHI16s", address.version, table, 0, index, address.packed) for table, index, address in rows
    )


def recording(
    path: Path,
    records: Sequence[tuple[int, bytes | Record]],
    *,
    order: str = "<",
    faces: Sequence[tuple[str, int]] = (("Ethernet", 156),),
    on: Sequence[int] = (),
) -> Path:
    """A recording of (time in ns, record); ``on`` says on which of the interfaces each stands, else the first."""
    blocks = [section(order)]
    blocks += [interface(order, link, (2, name.encode()), (9, b"\x09")) for name, link in faces]
    for place, (time, record) in enumerate(records):
        data = record.data() if isinstance(record, Record) else record
        original = HEADER + record.original if isinstance(record, Record) and record.original is not None else None
        blocks.append(packet(order, on[place] if on else 0, time, data, original=original))
    path.write_bytes(b"".join(blocks))
    return path


class Given(NamedTuple):
    """A packet as a recording gives it, before its IPv6 header is rebuilt."""

    time: int
    payload: bytes
    original: int
    direction: int
    interface: str
    record: bytes
    """the 64 bytes"""


def given(path: Path, *, restamp: bool = False) -> tuple[list[Given], Context, RecordingSource]:
    """The packets of a recording, its context (with its address book) and its source."""
    source = open_source(path, Context())
    assert isinstance(source, RecordingSource)
    source.restamp = restamp
    found: list[Given] = []
    try:
        _read(source, found)
    finally:
        source.close()
    return found, source.context, source


def _read(source: RecordingSource, found: list[Given]) -> None:
    for chunk in source.chunks():
        packets = chunk.packets
        for row in range(len(packets)):
            at, size, head = (int(packets[name][row]) for name in ("offset", "captured", "raw_record"))
            assert head > 0
            found.append(
                Given(
                    int(packets["time"][row]), chunk.buffer[at : at + size].tobytes(), int(packets["original"][row]),
                    int(packets["direction"][row]), source.context.interfaces[int(packets["interface"][row])].name,
                    chunk.buffer[head : head + HEADER].tobytes(),
                )
            )  # fmt: skip


class Stripped(NamedTuple):
    """What a raw socket gives of an IPv6 packet."""

    next_header: int
    start: int
    """of the payload in the packet"""
    original: int


def stripped(packet: bytes, end: int) -> Stripped:
    """The headers of an IPv6 packet (of which the capture may have only a part) walked in plain words; ``end`` is where
    the packet ends."""
    next_header, at = packet[6], 40
    while next_header in STRIPPED and at + 2 <= len(packet):
        size = (packet[at + 1] + 2) * 4 if next_header == 51 else (packet[at + 1] + 1) * 8
        if at + size > end:
            break
        next_header, at = packet[at], at + size
    return Stripped(next_header, at, max(end - at, 0))


def extension(kind: int, following: int, units: int = 0) -> bytes:
    """An extension header of the stripped kinds or a Fragment header, zeros inside."""
    if kind == 44:
        return bytes([following, 0, 0, 1, 0, 0, 0, 7])
    if kind == 51:
        return bytes([following, units + 1]) + bytes(4 * (units + 3) - 2)
    return bytes([following, units]) + bytes(8 * (units + 1) - 2)


def chained(kinds: Sequence[int], last: int, data: bytes) -> tuple[int, bytes]:
    """The Next Header of the IPv6 header, and extension headers of these kinds before the data."""
    following = last
    for kind in reversed(kinds):
        data, following = extension(kind, following) + data, kind
    return following, data


def ends(path: Path) -> Iterator[int]:
    """Where each block of a little-endian pcapng file ends."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        at += struct.unpack_from("<I", data, at + 4)[0]
        yield at
