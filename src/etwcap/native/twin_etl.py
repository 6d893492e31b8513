"""Twin of etl.c, etl_record.c and etl_scan.c: the same records, issues and order, one buffer at a time in plain
Python."""

from __future__ import annotations

import heapq
import itertools
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_xpress

if TYPE_CHECKING:
    from etwcap.native.etl import ClockRule

HEADER = 72
FLAG_COMPRESSED = 0x0040
LARGEST = 0x2000000
"""Twice the largest buffer that Windows allows."""
MOST_RATIO = 256
"""A compressed buffer that unpacks to more times its size is not sought through; traces compress 5 to 50 times."""
NOBODY = 0xFFFFFFFF

RECORD_SIZE, RECORD_TYPE, STREAM, CUT, READ, MARKER = 1, 2, 3, 4, 5, 6
"""Kinds of issues (enum ec_etl_issue_kind)."""

BUFFER = np.dtype(
    [
        ("offset", "<i8"),  # in the file
        ("sequence", "<i8"),
        ("timestamp", "<i8"),
        ("size", "<u4"),  # BufferSize; less where the file ends before
        ("filled", "<u4"),  # FilledBytes: valid bytes with the header, unpacked
        ("chain", "<u4"),
        ("processor", "<u2"),
        ("logger", "<u2"),
        ("flags", "<u2"),
        ("type", "<u2"),
        ("state", "<u4"),
    ]
)
"""A buffer of the file as its header says; struct ec_etl_buffer."""

ISSUE = np.dtype([("kind", "<u4"), ("buffer", "<u4"), ("position", "<u4"), ("detail", "<u4")])
"""Something that could not be read; struct ec_etl_issue."""

RECORD = np.dtype(
    [
        ("time", "<i8"),  # ns since 1970 UTC
        ("offset", "<i8"),  # first byte of the record in the chunk's buffer
        ("raw", "<i8"),  # time stamp as it lies in the record
        ("keyword", "<u8"),  # EVENT_HEADER keyword, else 0
        ("process", "<u4"),  # 0xFFFFFFFF where the header has none
        ("thread", "<u4"),
        ("provider", "<i4"),  # index in the engine's GUID table; -1 - group for kernel hook records
        ("buffer", "<u4"),  # index in the table of buffers
        ("position", "<u4"),  # offset in the (unpacked) ETL buffer
        ("id", "<u2"),  # event id, opcode (classic, hook), message number (WPP)
        ("size", "<u2"),  # whole record, without padding
        ("payload", "<u2"),  # payload offset from the start of the record
        ("processor", "<u2"),
        ("type", "u1"),  # record header type
        ("version", "u1"),
        ("opcode", "u1"),
        ("level", "u1"),
    ]
)
"""The record index: one row per ETL record; struct ec_record. A payload is ``buffer[offset + payload : offset +
size]``."""


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Up to ``size`` bytes at ``offset``; less only at the end of the file."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    parts = []
    while size > 0:
        part = os.read(descriptor, size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


# ---- buffer headers ----


def read_header(data: bytes, offset: int) -> tuple[int, ...]:
    """The 72 bytes of a buffer header as a row of BUFFER."""
    u = int.from_bytes
    flags = u(data[0x34:0x36], "little")
    processor = u(data[0x28:0x2A], "little")
    return (
        offset,
        u(data[0x18:0x20], "little", signed=True),
        u(data[0x10:0x18], "little", signed=True),
        u(data[0:4], "little"),
        u(data[0x30:0x34], "little"),
        0,
        processor if flags & 0x20 else processor & 0xFF,
        u(data[0x2A:0x2C], "little"),
        flags,
        u(data[0x36:0x38], "little"),
        u(data[0x2C:0x30], "little"),
    )


def plausible(row: tuple[int, ...], max_filled: int, plain_size: int) -> bool:
    """Whether a buffer may have that header: ``max_filled`` and ``plain_size`` as in :func:`etwcap.native.etl.scan`."""
    size, filled, flags, kind = row[3], row[4], row[8], row[9]
    if not HEADER <= size <= LARGEST or filled < HEADER or filled % 8 or kind > 7 or flags & ~0x7F:
        return False
    if filled > (max_filled or LARGEST):
        return False
    if flags & FLAG_COMPRESSED:
        return True
    return filled <= size and (plain_size == 0 or size == plain_size or kind == 4)


def scan(
    descriptor: int, offset: int, file_size: int, max_filled: int, plain_size: int, most: int
) -> tuple[NDArray[Any], int, bool]:
    """Twin of :func:`etwcap.native.etl.scan`."""
    rows: list[tuple[int, ...]] = []
    while file_size - offset >= HEADER and len(rows) < most:
        header = read_at(descriptor, HEADER, offset)
        row = read_header(header, offset) if len(header) == HEADER else None
        if row is None or not plausible(row, max_filled, plain_size):
            return np.array(rows, BUFFER), offset, True
        size = row[3]
        if size > file_size - offset:
            row = (*row[:3], file_size - offset, *row[4:])
        rows.append(row)
        offset = min(offset + size, file_size)
    return np.array(rows, BUFFER), offset, False


_LIKE_A_HEADER = re.compile(rb"(?s)(?=.{12}\0{4}.{28}[\0-\4]\0{3}.{5}\0[\0\4]\0)")
"""ReferenceCount 0, a small State, the high byte of BufferFlag 0, BufferType 0 or 4."""


def find_header(descriptor: int, start: int, end: int, file_size: int, max_filled: int, plain_size: int) -> int | None:
    """Twin of :func:`etwcap.native.etl.find_header`."""
    need = HEADER + 4
    step = 4096
    end = min(end, file_size)
    while start < end and file_size - start >= need:
        data = read_at(descriptor, step, start)
        if len(data) < need:
            return None
        last = len(data) - need
        for match in _LIKE_A_HEADER.finditer(data, 0, last + HEADER):
            i = match.start()
            if i > last or start + i >= end:
                break
            row = read_header(data[i : i + HEADER], start + i)
            if not plausible(row, max_filled, plain_size) or row[4] == HEADER or row[1] < 0:
                continue
            if not row[8] & FLAG_COMPRESSED and data[i + HEADER + 3] not in (0xC0, 0x90):
                continue
            follows = start + i + row[3]
            if file_size - follows < HEADER:
                return start + i
            after = read_at(descriptor, HEADER, follows)
            if len(after) == HEADER and plausible(read_header(after, follows), max_filled, plain_size):
                return start + i
        start += last + 1
        step = min(step * 4, 1 << 18)
    return None


# ---- record headers ----


class Parsed(NamedTuple):
    """A record header: row values of RECORD, the GUID if it has one, and whether its type is known."""

    stride: int
    known: bool
    guid: bytes | None
    values: dict[str, int]


def _skip_extended(p: bytes, size: int) -> int:
    at = 80
    while size - at >= 8:
        stride = int.from_bytes(p[at : at + 2], "little")
        more = p[at + 4] & 1
        if stride < 8 or stride > size - at:
            break
        at += stride
        if not more:
            break
    return at


def parse(p: bytes, previous: int) -> Parsed | int | None:
    """The record at the start of ``p`` (all that is left of the buffer).

    Returns None where no record begins, the stride (0: not known) where its size cannot be, else the header.
    ``previous`` is the raw time of the record before, for messages without one.
    """
    u = int.from_bytes
    marker = u(p[:4], "little")
    family, kind = marker >> 24, marker >> 16 & 0xFF
    if marker in (0, 0xFFFFFFFF) or family not in (0xC0, 0x90, 0xB0):
        return None
    short = family == 0xC0 and (1 <= kind <= 4 or kind in (0x10, 0x11))
    size = u(p[4:6], "little") if short else marker & 0xFFFF
    if size < 8 or size > len(p):
        return 0
    stride = min((size + 7) & ~7, len(p))
    values = {"size": size, "type": kind, "raw": previous, "process": NOBODY, "thread": NOBODY, "provider": 0}
    guid: bytes | None = None

    def number(at: int, width: int, signed: bool = False) -> int:
        return u(p[at : at + width], "little", signed=signed)

    if family == 0x90:
        options = number(6, 2)
        at = 8 + (4 if options & 1 else 0)
        values |= {"type": 0x0F, "id": number(4, 2)}
        if options & 4:
            at += 4
        elif options & 2:
            if at + 16 > size:
                return stride
            guid = p[at : at + 16]
            at += 16
        if options & 0x18:
            if at + 8 > size:
                return stride
            if options & 8:
                values["raw"] = number(at, 8, True)
            at += 8
        if options & 0x20:
            if at + 8 > size:
                return stride
            values |= {"thread": number(at, 4), "process": number(at + 4, 4)}
            at += 8
        if at > size:
            return stride
        values["payload"] = at
        return Parsed(stride, True, guid, values)
    if family == 0xB0:
        return Parsed(stride, False, None, values)
    if kind in (1, 2, 3, 4):
        header = 24 if kind >= 3 else 32
        if size < header:
            return stride
        values |= {"version": p[0], "opcode": p[6], "id": p[6], "provider": -1 - p[7], "payload": header}
        values |= {"thread": number(8, 4), "process": number(12, 4), "raw": number(16, 8, True)}
    elif kind in (0x10, 0x11):
        if size < 16:
            return stride
        extra = (8 if p[1] & 0x80 else 0) + 8 * (p[1] & 7)
        values |= {"version": p[0], "opcode": p[6], "id": p[6], "provider": -1 - p[7], "payload": min(16 + extra, size)}
        values["raw"] = number(8, 8, True)
    elif kind in (0x0A, 0x0B, 0x14, 0x15):
        if size < 48:
            return stride
        values |= {"opcode": p[4], "id": p[4], "level": p[5], "version": p[6]}
        values |= {"thread": number(8, 4), "process": number(12, 4), "raw": number(16, 8, True)}
        guid = p[24:40]
        values["payload"] = min(72 if kind in (0x0B, 0x15) else 48, size)
    elif kind in (0x12, 0x13):
        if size < 80:
            return stride
        values |= {"thread": number(8, 4), "process": number(12, 4), "raw": number(16, 8, True)}
        values |= {"id": number(40, 2), "version": p[42], "level": p[44], "opcode": p[45], "keyword": number(48, 8)}
        guid = p[24:40]
        values["payload"] = _skip_extended(p, size) if number(4, 2) & 1 else 80
    else:
        return Parsed(stride, False, None, values)
    return Parsed(stride, True, guid, values)


def may_begin(p: bytes, left: int) -> bool:
    """Whether a record may begin with these 8 bytes, where ``left`` bytes of its buffer remain."""
    family, kind = p[3], p[2]
    if family not in (0xC0, 0x90, 0xB0):
        return False
    at = 4 if family == 0xC0 and (1 <= kind <= 4 or kind in (0x10, 0x11)) else 0
    return 8 <= int.from_bytes(p[at : at + 2], "little") <= left


def _broken_off(p: bytes, have: int, left: int) -> bool:
    """Whether a break took away what begins with ``p``, of which ``have`` bytes came of the ``left`` that should."""
    return have < 8 or (may_begin(p, left) and not may_begin(p, have))


def records_end(data: bytes) -> int:
    """Twin of :func:`etwcap.native.etl.records_end`."""
    at = 0
    while len(data) - at >= 8:
        got = parse(data[at : at + 65544], 0)
        if not isinstance(got, Parsed) or not got.known:
            break
        at += got.stride
    return at


_NO_TIME = -(2**63)
_ANY_TIME = 2**63 - 1
_NEAR = 1 << 42
"""ticks: 5 days at 10 MHz, 20 minutes at 3.5 GHz"""


class _Place(NamedTuple):
    """A record from which others lead to the end."""

    raw: int
    then: int
    """the time of the record behind it"""
    late: bool
    """its time alone is broken, and later than ``then``, which is the one to compare with"""


def _in_order(raw: int, after: _Place) -> tuple[bool, bool]:
    """Whether a record of the time ``raw`` may stand before that one, and whether it is late itself."""
    if _NO_TIME in (raw, after.raw):
        return True, False
    if after.late:
        return raw <= after.then, False
    return True, raw > after.raw and (after.then == _NO_TIME or raw > after.then)


def resume(data: bytes, start: int, low: int, high: int = _ANY_TIME) -> int | None:
    """Where records certainly go on at or after ``start``, in the unpacked payload of a buffer; None where that is not
    certain.

    Certain is a place at a multiple of 8 where a record of a known type lies from which the sizes lead, record by
    record, exactly to the end, with times that do not go back and are not before ``low``; the time of one record
    between two others may be broken. Where ``high`` is told, the first record has a time, which is not behind that.
    """
    good: dict[int, _Place] = {}  # where such chains begin
    found = None
    for at in range((len(data) - 8) & ~7, (start + 7 & ~7) - 1, -8):
        if data[at + 3] not in (0xC0, 0x90):
            continue
        got = parse(data[at : at + 65544], _NO_TIME)
        if not isinstance(got, Parsed) or not got.known:
            continue
        raw, behind = got.values["raw"], at + got.stride
        late = False
        if behind != len(data):
            if behind not in good:
                continue
            fits, late = _in_order(raw, good[behind])
            if not fits:
                continue
        good[at] = _Place(raw, good[behind].raw if behind in good else _NO_TIME, late)
        if late:
            continue
        if high == _ANY_TIME if raw == _NO_TIME else low <= raw <= high:
            found = at
    return found


def swallowed(record: bytes, raw: int) -> int | None:
    """Where in a record, whose size is too large but ends by chance where another one does, records certainly begin.

    The first one's time must be near that of the record: what is random by nature, such as an encrypted payload, leads
    to its end once in 10,000 times.
    """
    markers = record[11::8]
    if b"\xc0" not in markers and b"\x90" not in markers:
        return None
    return resume(record, 8, raw, min(raw + _NEAR, _ANY_TIME - 1))


def to_unix_ns(clock: ClockRule, raw: int) -> int:
    """ns since 1970 UTC of a raw time stamp, kept inside 64 bits."""
    filetime = raw if clock.type == 2 else clock.start + (raw - clock.raw0) * clock.scale // clock.frequency
    return max(-(2**63), min(2**63 - 1, (filetime - 116444736000000000) * 100))


# ---- the merge ----


class TwinMerge:
    """Twin of the native merge; see :class:`etwcap.native.etl.Engine`."""

    ROWS = 4096

    def __init__(
        self,
        descriptor: int,
        buffers: NDArray[Any],
        chain_starts: NDArray[np.uint32],
        clock: ClockRule,
        guids: list[bytes],
        capacity: int,
    ) -> None:
        self.buffer: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.complete_to = -(2**63)
        self.bytes_read = 0
        self._descriptor = descriptor
        self._buffers = buffers
        self._clock = clock
        self._capacity = capacity
        self._guids = list(guids)
        self._ordinals = {guid: ordinal for ordinal, guid in enumerate(guids)}
        self._issues: list[tuple[int, int, int, int]] = []
        bounds = [int(start) for start in chain_starts]
        chains = [self._chain(first, last) for first, last in itertools.pairwise(bounds)]
        self._merged = heapq.merge(*chains, key=lambda item: item[0])
        self._ahead = next(self._merged, None)

    def next(self) -> NDArray[Any] | None:
        """The next records, or None at the end."""
        rows: list[tuple[int, ...]] = []
        data = bytearray()
        while self._ahead is not None and len(rows) < self.ROWS:
            _, record, values = self._ahead
            values["time"] = to_unix_ns(self._clock, values["raw"])
            values["offset"] = len(data)
            rows.append(tuple(values.get(name, 0) for name in RECORD.names or ()))
            data += record
            self._ahead = next(self._merged, None)
        if not rows:
            self.complete_to = 2**63 - 1
            return None
        self.buffer = np.frombuffer(data, np.uint8)
        records = np.array(rows, RECORD)
        self.complete_to = 2**63 - 1 if self._ahead is None else int(records["time"][-1])
        return records

    @property
    def guid_count(self) -> int:
        """GUIDs met so far."""
        return len(self._guids)

    def guids(self) -> list[bytes]:
        """The GUIDs met so far, by ordinal."""
        return list(self._guids)

    def issues(self) -> tuple[NDArray[Any], int]:
        """The issues and their number."""
        return np.array(self._issues, ISSUE), len(self._issues)

    def close(self) -> None:
        """Nothing is held."""

    def _ordinal(self, guid: bytes) -> int:
        known = self._ordinals.get(guid)
        if known is None:
            if len(self._guids) == self._capacity:
                return self._capacity - 1
            known = self._ordinals[guid] = len(self._guids)
            self._guids.append(guid)
        return known

    def _payload(self, index: int) -> tuple[bytes, int]:
        """The unpacked bytes behind a buffer's header, and how many there should be.

        What a plain buffer lacks is known from its header: it is reported here, and no longer expected. Where the
        stream of a compressed one breaks off is for the caller to report, when reading comes to it.
        """
        row = self._buffers[index]
        total = int(row["filled"]) - HEADER
        stored = int(row["size"]) - HEADER
        compressed = bool(row["flags"] & FLAG_COMPRESSED)
        wanted = stored if compressed else min(stored, total)
        data = read_at(self._descriptor, wanted, int(row["offset"]) + HEADER)
        self.bytes_read += len(data)
        if compressed:
            data, _ = twin_xpress.decode(data, total)
            return data, total
        if len(data) < total:
            self._issues.append((CUT, index, HEADER + len(data), total - len(data)))
        return data, len(data)

    def _chain(self, first: int, last: int) -> Iterator[tuple[tuple[int, ...], bytes, dict[str, int]]]:
        """The records of a processor: sort key, bytes, values.

        What is lost in a buffer is told in the order of its bytes: a broken record from which nothing certain leads on
        loses the rest of the buffer as one issue, whether or not its stream breaks off further on.
        """
        previous = self._clock.raw0
        for index in range(first, last):
            data, total = self._payload(index)
            row = self._buffers[index]
            cut = total < int(row["filled"]) - HEADER
            broken = len(data) < total
            at, low = 0, _NO_TIME
            behind: int | None = None  # where records go on after damage; searched once in a buffer
            sought = False
            while total - at >= 8:
                position, left = HEADER + at, total - at
                if broken and _broken_off(data[at : at + 8], len(data) - at, left):
                    self._issues.append((STREAM, index, HEADER + len(data), total - len(data)))
                    break
                got = parse(data[at : at + 65544], previous)
                stride = got.stride if isinstance(got, Parsed) else got or 0
                after = data[at + stride : at + stride + 8]
                doubtful = stride == 0 or (not broken and left - stride >= 8 and not may_begin(after, left - stride))
                if stride == 0 and got == 0 and cut:
                    break
                if doubtful and not sought:
                    sought = True
                    bomb = row["flags"] & FLAG_COMPRESSED and len(data) // MOST_RATIO > int(row["size"])
                    behind = None if cut or broken or bomb else resume(data, at + 8, low)
                if stride == 0 or (doubtful and behind is not None and at < behind < at + stride):
                    ahead = behind is not None and behind > at
                    passed = behind - at if behind is not None and ahead else left
                    self._issues.append((MARKER if got is None else RECORD_SIZE, index, position, passed))
                    if not ahead:
                        break
                    at += passed
                    continue
                if isinstance(got, int):
                    self._issues.append((RECORD_SIZE, index, position, stride))
                    at += stride
                    continue
                assert got is not None
                if not got.known:
                    self._issues.append((RECORD_TYPE, index, position, int.from_bytes(data[at : at + 4], "little")))
                    at += got.stride
                    continue
                values = got.values
                inner = swallowed(data[at : at + stride], values["raw"])
                if inner is not None:
                    self._issues.append((RECORD_SIZE, index, position, inner))
                    at += inner
                    continue
                low = min(previous, values["raw"])  # one of both may be broken
                previous = values["raw"]
                if got.guid is not None:
                    values["provider"] = self._ordinal(got.guid)
                elif values["type"] == 0x0F:
                    values["provider"] = self._capacity - 1
                values |= {"buffer": index, "position": position, "processor": int(row["processor"])}
                key = (previous, int(row["sequence"]), position, int(row["offset"]))
                yield key, data[at : at + got.stride], values
                at += got.stride
            else:
                if broken:  # in the padding of its last record
                    self._issues.append((STREAM, index, HEADER + len(data), total - len(data)))
