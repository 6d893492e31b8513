"""Packets of pcap and pcapng files, read in plain Python: whole files in memory, one object a packet."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SECTION, INTERFACE, SIMPLE, ENHANCED = 0x0A0D0D0A, 1, 3, 6
BYTE_ORDER_MAGIC = 0x1A2B3C4D
IF_TSRESOL, OPT_COMMENT = 9, 1


@dataclass(slots=True)
class Frame:
    """One packet of a file."""

    link: int
    time: int
    """ns since 1970"""
    data: bytes
    original: int
    comment: str = ""


def frames(path: Path) -> Iterator[Frame]:
    """The packets of a file in its order; ends where the file is cut or broken."""
    data = path.read_bytes()
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        return _pcapng(data)
    return _pcap(data)


def _pcap(data: bytes) -> Iterator[Frame]:
    order = {
        b"\xd4\xc3\xb2\xa1": "<",
        b"\x4d\x3c\xb2\xa1": "<",
        b"\xa1\xb2\xc3\xd4": ">",
        b"\xa1\xb2\x3c\x4d": ">",
    }.get(data[:4])
    if order is None:
        raise ValueError("neither pcap nor pcapng")
    unit = 1 if b"\x3c" in data[:4] else 1000
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at = 24
    while at + 16 <= len(data):
        seconds, fraction, captured, original = struct.unpack_from(order + "4I", data, at)
        at += 16
        if at + captured > len(data):
            return
        yield Frame(link, seconds * 10**9 + fraction * unit, data[at : at + captured], original)
        at += captured


def _pcapng(data: bytes) -> Iterator[Frame]:
    order, at = "<", 0
    links: list[tuple[int, int, int]] = []
    while at + 12 <= len(data):
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if struct.unpack_from("<I", data, at + 8)[0] == BYTE_ORDER_MAGIC else ">"
            links = []
        kind, length = struct.unpack_from(order + "II", data, at)
        if length < 12 or at + length > len(data):
            return
        body = data[at + 8 : at + length - 4]
        at += length
        if kind == INTERFACE:
            link, _, snap = struct.unpack_from(order + "HHI", body)
            resolution = next((value for code, value in _options(body[8:], order) if code == IF_TSRESOL), b"\x06")[0]
            links.append((link, 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution, snap))
        elif kind == ENHANCED:
            number, high, low, captured, original = struct.unpack_from(order + "5I", body)
            link, resolution, _ = links[number]
            time = (high << 32 | low) * 10**9 // resolution
            texts = [
                value.decode()
                for code, value in _options(body[20 + -(-captured // 4) * 4 :], order)
                if code == OPT_COMMENT
            ]
            yield Frame(link, time, body[20 : 20 + captured], original, "; ".join(texts))
        elif kind == SIMPLE:
            link, _, snap = links[0]
            original = struct.unpack_from(order + "I", body)[0]
            yield Frame(link, 0, body[4 : 4 + min(original, snap or original)], original)


def _options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from(order + "HH", data, at)
        if code == 0:
            return
        yield code, data[at + 4 : at + 4 + length]
        at += 4 + -(-length // 4) * 4
