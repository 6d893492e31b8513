"""Rows of a packet table written as Enhanced Packet Blocks (pcapng) or packet records (pcap)."""

from __future__ import annotations

import ctypes
import enum
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_blocks
from etwcap.native.loader import function, library, pointer

DTYPES: dict[str, type[np.generic]] = {
    "time": np.int64,
    "interface": np.int32,
    "direction": np.uint8,
    "offset": np.int64,
    "captured": np.uint32,
    "original": np.uint32,
    "flags": np.uint32,
    "process": np.uint32,
    "thread": np.uint32,
    "packet_id": np.uint64,
    "drop_count": np.uint32,
    "drop_reason": np.uint32,
    "drop_location": np.uint32,
    "comment": np.int32,
    "options_offset": np.int64,
    "options_length": np.uint32,
}
"""The columns a writer reads, with the types of ``etwcap.packets.table``."""

TALLY = np.dtype([("packets", "<u8"), ("first", "<i8"), ("last", "<i8")])
"""What was written on one interface (struct ec_tally); ``first`` and ``last`` mean nothing while ``packets`` is 0."""


class Written(enum.IntEnum):
    """Why a writer came back; but for DONE, ``PacketWriter.row`` is the row that was not written."""

    DONE = 0
    FULL = 1
    UNMAPPED = 2
    OUTSIDE = 3


class _Job(ctypes.Structure):
    """struct ec_write of blocks.h."""

    _fields_ = [
        ("buffer", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("out", ctypes.c_void_p),
        ("room", ctypes.c_size_t),
        ("used", ctypes.c_size_t),
        ("rows", ctypes.c_size_t),
        ("row", ctypes.c_size_t),
        ("need", ctypes.c_size_t),
        ("clamped", ctypes.c_uint64),
        ("longest", ctypes.c_uint32),
        ("trusted", ctypes.c_uint32),
        ("numbers", ctypes.c_void_p),
        ("tallies", ctypes.c_void_p),
        ("interfaces", ctypes.c_size_t),
        ("text", ctypes.c_void_p),
        ("text_size", ctypes.c_size_t),
        ("text_at", ctypes.c_void_p),
        ("texts", ctypes.c_size_t),
        *((name, ctypes.c_void_p) for name in DTYPES),
    ]


class TextTable:
    """Comments as one run of UTF-8 bytes and the offsets into it."""

    LONGEST = 0xFFFF
    """bytes of a pcapng option"""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.offsets = array("Q", [0])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def append(self, text: str) -> None:
        """Add a text; what an option cannot hold is cut off at a character."""
        data = text.encode("utf-8", "replace")
        if len(data) > self.LONGEST:
            data = data[: self.LONGEST].decode("utf-8", "ignore").encode()
        self.bytes += data
        self.offsets.append(len(self.bytes))


def prepared(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Those of the columns that a writer reads, contiguous; once per table."""
    return {name: np.ascontiguousarray(columns[name], kind) for name, kind in DTYPES.items() if name in columns}


class PacketWriter:
    """An output buffer that is reused, and what is written into it row by row.

    ``numbers[i]`` is the interface number in the output of interface ``i`` (-1: none yet), ``tallies[i]`` what was
    written on it. The caller grows both with :meth:`reserve`, empties ``out[:used]`` and sets ``used`` back to 0.
    """

    def __init__(self, kernel: str, room: int, trusted: int) -> None:
        self._kernel = kernel
        self.trusted = trusted
        self.out: NDArray[np.uint8] = np.empty(room, np.uint8)
        self.used = 0
        self.numbers: NDArray[np.int32] = np.empty(0, np.int32)
        self.tallies: NDArray[Any] = np.empty(0, TALLY)
        self.texts = TextTable()
        self.row = 0
        self.need = 0
        self.clamped = 0
        self.longest = 0

    def reserve(self, interfaces: int) -> None:
        """Make room for so many interfaces; new ones have no number."""
        more = interfaces - len(self.numbers)
        if more > 0:
            self.numbers = np.concatenate([self.numbers, np.full(more, -1, np.int32)])
            self.tallies = np.concatenate([self.tallies, np.zeros(more, TALLY)])

    def grow(self, room: int) -> None:
        """Make the output buffer at least that large; it must be empty."""
        if room > self.out.size:
            self.out = np.empty(room, np.uint8)

    def write(self, buffer: NDArray[np.uint8], columns: dict[str, NDArray[Any]], rows: int, start: int) -> Written:
        """Append rows ``start`` … ``rows`` to ``out``; ``row`` is where it stopped, ``need`` what FULL asks for.

        ``columns`` comes from :func:`prepared`. One that is absent reads as its default; ``offset`` and ``captured``
        must be there.
        """
        core = library()
        if core is None:
            twin: Callable[..., int] = getattr(twin_blocks, self._kernel)
            return Written(twin(self, buffer, columns, rows, start))
        text = np.frombuffer(self.texts.bytes, np.uint8) if self.texts.bytes else np.empty(0, np.uint8)
        text_at = np.frombuffer(self.texts.offsets, np.uint64)
        job = _Job(
            buffer=pointer(buffer),
            size=buffer.size,
            out=pointer(self.out),
            room=self.out.size,
            used=self.used,
            rows=rows,
            row=start,
            clamped=self.clamped,
            longest=self.longest,
            trusted=self.trusted,
            numbers=pointer(self.numbers),
            tallies=pointer(self.tallies),
            interfaces=len(self.numbers),
            text=pointer(text),
            text_size=text.size,
            text_at=pointer(text_at),
            texts=len(self.texts),
            **{name: pointer(column) for name, column in columns.items()},
        )
        call = function(core, "ec_" + self._kernel, ctypes.c_int32, ctypes.POINTER(_Job))
        result = Written(call(ctypes.byref(job)))
        self.used, self.row, self.need = job.used, job.row, job.need
        self.clamped, self.longest = job.clamped, job.longest
        return result


def epb_writer(room: int, trusted: int) -> PacketWriter:
    """A writer of Enhanced Packet Blocks (draft-ietf-opsawg-pcapng 4.3), times in ns since 1970.

    ``trusted`` is the bit of ``flags`` that lets the process be named. Negative times become 0 and are counted in
    ``clamped``.
    """
    return PacketWriter("epb_write", room, trusted)


def pcap_writer(room: int) -> PacketWriter:
    """A writer of pcap records with nanoseconds; times outside 1970 … 2106 are set to the nearest and counted."""
    return PacketWriter("pcap_write", room, 0)
