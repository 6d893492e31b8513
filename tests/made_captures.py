"""Captures made up at random, each by a number: link types, formats, tags, headers, lengths and times of every kind."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from frames import ICMP, ICMP6, TCP, UDP, ethernet, ip, ipv4, ipv6, tcp, udp
from pcapng_build import block, interface, option, packet, pcap, section

LINKS = (1, 1, 1, 1, 101, 228, 229, 12, 0, 108, 113, 276, 105, 127)
MACS = [bytes([2, 0x5A, 0, 0, 1, number]) for number in range(5)]
ADDRESSES4 = [IPv4Address(f"192.0.2.{number}") for number in (1, 2, 3, 77)] + [IPv4Address("127.0.0.1")]
ADDRESSES6 = [IPv6Address(f"2001:db8::{number}") for number in (1, 2, 3)] + [IPv6Address("::1")]
START = 1_700_000_000_000_000_000


class Made(NamedTuple):
    """A packet of a made-up capture."""

    time: int
    face: int
    data: bytes
    original: int
    direction: int


def capture(number: int, packets: int | None = None) -> bytes:
    """The capture of that number, as the bytes of its file."""
    source = random.Random(number)
    faces = [source.choice(LINKS)] if source.random() < 0.7 else [source.choice(LINKS) for _ in range(3)]
    count = source.randrange(1, 120) if packets is None else packets
    time, made = START + source.randrange(10**15), []
    told = source.random() < 0.5
    for _ in range(count):
        time += source.choice((0, 0, 100, 700, 37_300, 10**6, 5 * 10**8))
        face = source.randrange(len(faces))
        data = framed(faces[face], source)
        longer = source.choice((0, 0, 0, 1, 900)) if source.random() < 0.1 else 0
        late = source.choice((0, 0, 0, 0, 0, 0, 0, 200_000)) if number % 3 == 0 else 0
        made.append(
            Made(
                time - late, face, data, len(data) + longer, 1 + zlib.crc32(data.rstrip(b"\0")[-4:]) % 2 if told else 0
            )
        )
    if len(faces) == 1 and source.random() < 0.5:
        return _pcap(source, faces[0], made)
    return _pcapng(source, faces, made)


def _pcap(source: random.Random, link: int, made: list[Made]) -> bytes:
    order, nano = source.choice("<>"), source.random() < 0.5
    unit = 1 if nano else 1000
    rows = [(each.time // 10**9, each.time % 10**9 // unit, each.data, each.original) for each in made]
    return pcap(order, 0xA1B23C4D if nano else 0xA1B2C3D4, link, *rows)


def _pcapng(source: random.Random, faces: list[int], made: list[Made]) -> bytes:
    order = source.choice("<>")
    out = section(order)
    for number, link in enumerate(faces):
        names = [(2, f"eth{number}".encode()), (9, b"\x09")] if source.random() < 0.5 else [(9, b"\x09")]
        out += interface(order, link, *names)
    for each in made:
        flags = [(2, struct.pack(order + "I", each.direction))] if each.direction else []
        comment = [(1, b"seen")] if source.random() < 0.05 else []
        out += packet(order, each.face, each.time, each.data, *comment, *flags, original=each.original)
    return out + block(order, 0x0BAD, option(order, 1, b"custom"))


def framed(link: int, source: random.Random) -> bytes:
    """A packet of that link type."""
    if source.random() < 0.05:
        return source.randbytes(source.choice((0, 1, 13, 14, 60, 1500)))
    datagram = _datagram(source)
    kind = 0x0800 if datagram[0] >> 4 == 4 else 0x86DD
    if link in (105, 127):
        return _wifi(link, kind, datagram, source)
    if link == 0:
        return struct.pack("<I", 2 if kind == 0x0800 else 30) + datagram
    if link == 108:
        return struct.pack(">I", 2 if kind == 0x0800 else 30) + datagram
    if link == 113:
        return struct.pack(">HHH", 0, 1, 6) + MACS[0] + b"\0\0" + struct.pack(">H", kind) + datagram
    if link == 276:
        return struct.pack(">HHIHBB", kind, 0, 1, 1, 0, 6) + MACS[0] + b"\0\0" + datagram
    if link != 1:
        return datagram
    return _ethernet(kind, datagram, source)


def _ethernet(kind: int, datagram: bytes, source: random.Random) -> bytes:
    one, other = source.sample(MACS, 2)
    which = source.random()
    if which < 0.08:
        return ethernet(one, b"\xff" * 6, 0x0806, bytes(46))
    if which < 0.12:
        return ethernet(one, other, source.choice((0x88CC, 0x8300, 0x002A)), source.randbytes(46))
    frame = ethernet(one, other, kind, datagram)
    if source.random() < 0.2:
        tag = struct.pack(">HH", source.choice((0x8100, 0x8100, 0x88A8)), source.choice((0, 7, 0x2064, 0xFFFF)))
        frame = frame[:12] + tag + frame[12:]
        if source.random() < 0.3:
            frame = frame[:12] + struct.pack(">HH", 0x8100, 5) + frame[12:]
    return frame + bytes(max(60 - len(frame), 0)) if source.random() < 0.5 else frame


def _wifi(link: int, kind: int, datagram: bytes, source: random.Random) -> bytes:
    one, other = source.sample(MACS, 2)
    header = bytes([0x08, source.choice((0x01, 0x02, 0x41, 0x42)), 0, 0]) + one + other + MACS[4] + b"\0\0"
    frame = header + b"\xaa\xaa\x03\0\0\0" + struct.pack(">H", kind) + datagram
    if source.random() < 0.3:
        frame = bytes([0x80, 0]) + header[2:] + source.randbytes(40)
    if link == 105:
        return frame
    present = source.choice((0, 0x2E, 0x2F, 0x20, 0x8000002E))
    words = struct.pack("<I", present) + (struct.pack("<I", 0) if present >> 31 else b"")
    at, fields = 4 + len(words), b""
    for bit, alignment, value in (
        (0, 8, struct.pack("<Q", 99)), (1, 1, b"\0"), (2, 1, b"\x0c"), (3, 2, struct.pack("<HH", 2412, 0xC0)),
        (5, 1, b"\xc4"),
    ):  # fmt: skip
        if present >> bit & 1:
            fields += bytes(-(at + len(fields)) % alignment) + value
    return struct.pack("<BBH", 0, 0, at + len(fields)) + words + fields + frame


def _datagram(source: random.Random) -> bytes:
    body = source.randbytes(source.choice((0, 1, 5, 64, 512, 1400)))
    protocol = source.choice((TCP, TCP, UDP, ICMP, 47))
    transport: Callable[[], bytes] = {
        TCP: lambda: tcp(
            source.choice((80, 50000)), source.choice((443, 50001)), source.randrange(2**32), 0, 0x10, body
        ),
        UDP: lambda: udp(source.choice((53, 5353)), source.choice((53, 40000)), body),
        ICMP: lambda: b"\x08\0\0\0\0\1\0\1" + body,
        47: lambda: b"\x20\0\x08\0\0\0\0\7" + body,
    }[protocol]
    if source.random() < 0.6:
        one, other = source.choice(ADDRESSES4), source.choice(ADDRESSES4)
        made = ipv4(one, other, protocol, transport()) if protocol == 47 else ip(one, other, protocol, transport())
        which = source.random()
        if which < 0.05:
            return made[:6] + struct.pack(">H", 0x2000) + made[8:]
        if which < 0.1:
            options = b"\x94\x04\0\0"
            return b"\x46" + made[1:2] + struct.pack(">H", len(made) + 4) + made[4:20] + options + made[20:]
        return made
    six = ICMP6 if protocol == ICMP else protocol
    one6, other6 = source.choice(ADDRESSES6), source.choice(ADDRESSES6)
    payload = transport()
    which = source.random()
    if which < 0.1:
        return ipv6(one6, other6, 0, bytes([six, 0, 1, 4, 0, 0, 0, 0]) + payload)
    if which < 0.15:
        return ipv6(one6, other6, 44, bytes([six, 0, 0, 1, 0, 0, 0, 9]) + payload)
    return ipv6(one6, other6, six, payload)
