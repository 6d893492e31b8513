"""pcapng and pcap bytes of either byte order, built field by field for the tests of the readers."""

from __future__ import annotations

import struct


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def end(order: str) -> bytes:
    return struct.pack(order + "HH", 0, 0)


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    total = len(body) + 12
    return struct.pack(order + "II", kind, total) + body + struct.pack(order + "I", total)


def section(order: str, *options: tuple[int, bytes]) -> bytes:
    data = b"".join(option(order, *one) for one in options)
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + data)


def interface(order: str, link_type: int, *options: tuple[int, bytes], snap: int = 0) -> bytes:
    data = b"".join(option(order, *one) for one in options)
    return block(order, 1, struct.pack(order + "HHI", link_type, 0, snap) + data)


def packet(
    order: str, face: int, ticks: int, data: bytes, *options: tuple[int, bytes], original: int | None = None
) -> bytes:
    head = struct.pack(order + "IIIII", face, ticks >> 32, ticks & 0xFFFFFFFF, len(data), original or len(data))
    tail = b"".join(option(order, *one) for one in options)
    return block(order, 6, head + data + bytes(-len(data) % 4) + (tail + end(order) if tail else b""))


def old_packet(order: str, face: int, ticks: int, data: bytes) -> bytes:
    head = struct.pack(order + "HHIIII", face, 0xFFFF, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(order, 2, head + data)


def simple_packet(order: str, data: bytes, original: int) -> bytes:
    return block(order, 3, struct.pack(order + "I", original) + data)


def pcap(order: str, magic: int, link_type: int, *packets: tuple[int, int, bytes, int], snap: int = 65535) -> bytes:
    """Each packet is (seconds, fraction, data, original length)."""
    extra = bytes(8) if magic == 0xA1B2CD34 else b""
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap, link_type)
    for seconds, fraction, data, original in packets:
        out += struct.pack(order + "IIII", seconds, fraction, len(data), original) + extra + data
    return out
