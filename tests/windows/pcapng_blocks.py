"""Packets of a little-endian pcapng file as they stand in it, for comparing files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_INTERFACE, _PACKET = 1, 6
_NAME, _RESOLUTION = 2, 9


class Options(NamedTuple):
    """Options of a block: (code, value) in their order."""

    values: tuple[tuple[int, bytes], ...]

    def get(self, code: int) -> bytes:
        return next((value for each, value in self.values if each == code), b"")


class Face(NamedTuple):
    """An interface: its link type, name and ticks a second."""

    link_type: int
    name: str
    ticks: int


class Packet(NamedTuple):
    """A packet: ns since 1970, its interface, bytes, length on the wire and options."""

    time: int
    face: Face
    data: bytes
    original: int
    options: tuple[tuple[int, bytes], ...]


def read(path: Path) -> list[Packet]:
    """All packets of a file."""
    faces: list[Face] = []
    found = []
    for kind, body in _blocks(path.read_bytes()):
        if kind == _INTERFACE:
            options = _options(body[8:])
            power = (options.get(_RESOLUTION) or b"\x06")[0]
            faces.append(Face(int.from_bytes(body[:2], "little"), options.get(_NAME).decode(), 10**power))
        elif kind == _PACKET:
            number, high, low, size, original = struct.unpack_from("<5I", body)
            face = faces[number]
            time = (high << 32 | low) * 10**9 // face.ticks
            end = 20 + size + -size % 4
            found.append(Packet(time, face, body[20 : 20 + size], original, _options(body[end:]).values))
    return found


def _blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        yield kind, data[at + 8 : at + size - 4]
        at += size


def _options(data: bytes) -> Options:
    found = []
    at = 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from("<HH", data, at)
        if code == 0:
            break
        found.append((code, data[at + 4 : at + 4 + size]))
        at += 4 + size + -size % 4
    return Options(tuple(found))
