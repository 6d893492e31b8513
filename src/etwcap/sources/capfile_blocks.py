"""The bodies of pcapng blocks that are no packets (draft-ietf-opsawg-pcapng), read in either byte order."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface

from etwcap.packets import Interface, SideBlock

IDB, NRB, ISB, JOURNAL, DSB = 1, 4, 5, 9, 10
CUSTOM, CUSTOM_NOT_COPIED = 0x00000BAD, 0x40000BAD
COMMENT, HARDWARE, OS, APPLICATION = 1, 2, 3, 4
_CUSTOM_OPTIONS = (2988, 2989, 19372, 19373)
_OPTIONS_NOT_COPIED = (19372, 19373)
_IDB_NUMBERS = {(8, 8): "Q", (10, 4): "i", (14, 8): "q", (16, 8): "Q", (17, 8): "Q", (19, 4): "i"}
"""(code, length) of interface options that are numbers: speed, tzone, tsoffset, txspeed, rxspeed, tsoffset_ns"""


@dataclass(slots=True)
class SectionHeader:
    """A Section Header Block."""

    major: int = 1
    minor: int = 0
    hardware: str = ""
    os: str = ""
    application: str = ""
    comments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Statistics:
    """An Interface Statistics Block."""

    interface: int
    received: int | None = None
    dropped: int | None = None
    os_dropped: int | None = None


def options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(code, value) of each option up to opt_endofopt, the end or the first that does not fit."""
    at = 0
    while len(data) - at >= 4:
        code, length = struct.unpack_from(order + "HH", data, at)
        at += 4
        if code == 0 or length > len(data) - at:
            return
        yield code, data[at : at + length]
        at += length + -length % 4


def text(value: bytes) -> str:
    """An option's text; writers that end it with NUL are forgiven."""
    return value.rstrip(b"\0").decode("utf-8", "replace")


def section_header(body: bytes, order: str) -> SectionHeader:
    """The block's body from the byte-order magic on."""
    major, minor = struct.unpack_from(order + "HH", body.ljust(16, b"\0"), 4)
    header = SectionHeader(major, minor)
    for code, value in options(body[16:], order):
        if code == COMMENT:
            header.comments.append(text(value))
        elif code == HARDWARE:
            header.hardware = header.hardware or text(value)
        elif code == OS:
            header.os = header.os or text(value)
        elif code == APPLICATION:
            header.application = header.application or text(value)
    return header


def interface(body: bytes, order: str) -> tuple[Interface, int, int, int]:
    """The interface of an Interface Description Block, its if_tsresol, and what is to be added to
    its times: if_tsoffset (s) and if_tsoffset_ns, the latter as 0 to 999,999,999.

    Options without a field of their own are carried in ``Interface.options``.
    """
    link_type, _, snap_length = struct.unpack_from(order + "HHI", body.ljust(8, b"\0"))
    face = Interface(link_type, snap_length=snap_length)
    resolution, offset, nanos, carried = 6, 0, 0, bytearray()
    for code, value in options(body[8:], order):
        value = _little_endian(code, value, _IDB_NUMBERS) if order == ">" else value
        if code == 9 and len(value) == 1:
            resolution = value[0]
        elif code == 14 and len(value) == 8:
            (offset,) = struct.unpack("<q", value)
        elif code == 19 and len(value) == 4:
            (nanos,) = struct.unpack("<i", value)
        elif not _take(face, code, value) and code not in _OPTIONS_NOT_COPIED:
            carried += struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
    face.options = bytes(carried)
    extra = nanos // 10**9
    return face, resolution, min(max(offset + extra, -(2**63)), 2**63 - 1), nanos - extra * 10**9


def _take(face: Interface, code: int, value: bytes) -> bool:
    """Put an option into its field; False where it has none."""
    if code == 2:
        face.name = face.name or text(value)
    elif code == 3:
        face.description = face.description or text(value)
    elif code == 4 and len(value) == 8 and (prefix := _prefix(value[4:])) is not None:
        face.ipv4.append(IPv4Interface((value[:4], prefix)))
    elif code == 5 and len(value) == 17 and value[16] <= 128:
        face.ipv6.append(IPv6Interface((value[:16], value[16])))
    elif code in (6, 7) and len(value) == (6 if code == 6 else 8) and not face.mac:
        face.mac = value
    elif code == 8 and len(value) == 8:
        (face.speed,) = struct.unpack("<Q", value)
    elif code == 11 and value[:1] == b"\0":
        face.filter = face.filter or text(value[1:])
    elif code == 12:
        face.os = face.os or text(value)
    elif code == 15:
        face.hardware = face.hardware or text(value)
    else:
        return False
    return True


def _prefix(mask: bytes) -> int | None:
    """The length of a netmask; None where its ones are not in one run."""
    bits = int.from_bytes(mask, "big")
    inverted = bits ^ 0xFFFFFFFF
    return 32 - inverted.bit_length() if inverted & (inverted + 1) == 0 else None


def statistics(body: bytes, order: str) -> Statistics | None:
    """The counters of an Interface Statistics Block; None where it is too short."""
    if len(body) < 12:
        return None
    found = Statistics(struct.unpack_from(order + "I", body)[0])
    for code, value in options(body[12:], order):
        if len(value) != 8:
            continue
        (number,) = struct.unpack(order + "Q", value)
        if code == 4:
            found.received = number
        elif code == 5:
            found.dropped = number
        elif code == 7:
            found.os_dropped = number
    return found


def side_block(kind: int, body: bytes, order: str) -> SideBlock | None:
    """A block to carry through, little-endian; None where its byte order cannot be changed without knowing its
    fields.
    """
    if order == "<" or kind == JOURNAL:
        return SideBlock(kind, body)
    try:
        if kind == CUSTOM:
            return SideBlock(kind, body[3::-1] + body[4:])
        if kind == NRB:
            return SideBlock(kind, _names(body))
        if kind == DSB:
            secrets, length = struct.unpack_from(">II", body)
            end = 8 + length + -length % 4
            return SideBlock(kind, struct.pack("<II", secrets, length) + body[8:end] + _turned_options(body[end:]))
    except struct.error:
        return None
    return None


def _names(body: bytes) -> bytes:
    """The records of a Name Resolution Block and its options, turned around; raises struct.error."""
    turned, at = bytearray(), 0
    while True:
        kind, length = struct.unpack_from(">HH", body, at)
        end = at + 4 + length + -length % 4
        turned += struct.pack("<HH", kind, length) + body[at + 4 : end]
        at = end
        if kind == 0:
            return bytes(turned) + _turned_options(body[at:])


def _turned_options(data: bytes) -> bytes:
    turned = bytearray()
    for code, value in options(data, ">"):
        value = _little_endian(code, value, {})
        turned += struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
    return bytes(turned) + bytes(4) if turned else b""


def _little_endian(code: int, value: bytes, numbers: dict[tuple[int, int], str]) -> bytes:
    if form := numbers.get((code, len(value))):
        return struct.pack("<" + form, *struct.unpack(">" + form, value))
    if code in _CUSTOM_OPTIONS and len(value) >= 4:
        return value[3::-1] + value[4:]
    return value
