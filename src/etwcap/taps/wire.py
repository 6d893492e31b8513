"""What goes through the pipe between a collector, which has rights, and a front end, which has none.

Neither side trusts the other: frames are length-checked, of few kinds, and hold data only, no path, no code, no command
beyond "stop". A frame is

    0 u32 length of the body   4 u8 kind   5 u8[3] 0   8 body

and all numbers are little-endian. From the collector: HELLO (JSON, once, first), INTERFACE (JSON, before the first
record of it, and again when more is known), BATCH (records), LOSSES, NOTE (a line for people) and RECEIPT (a note of
the receipt; all JSON), then END (empty) or FAILURE (JSON). From the front end: STOP (empty), once.

A batch is

    0 u32 rows   4 u32 0   8 i64 complete_to   16 rows   then the records, one behind the other
    row: 0 i64 time   8 u32 length   12 u16 interface   14 u16 0

with times in ns since 1970 UTC.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import EtwcapError
from etwcap.native.ranges import pack_ranges

HEADER: Final = struct.Struct("<IB3s")
LONGEST: Final = 8 << 20
"""bytes of a body at most"""
LONGEST_TEXT: Final = 1 << 20
"""bytes of JSON at most"""
LONGEST_NOTE: Final = 1024
"""characters of a note of the receipt at most"""
LONGEST_RECORD: Final = 1 << 17
"""bytes of one record at most: 64 for the head of a raw record, 65,535 for its packet, and room"""
MOST_ROWS: Final = 1 << 16
_BATCH: Final = struct.Struct("<IIq")
_ROW: Final = np.dtype([("time", "<i8"), ("length", "<u4"), ("interface", "<u2"), ("zero", "<u2")])

Read = Callable[[int], bytes]
"""Gives up to so many bytes, at least one; none at the end."""


class FrameKind(enum.IntEnum):
    """Kinds of frames."""

    STOP = 1
    HELLO = 2
    BATCH = 3
    LOSSES = 4
    END = 5
    FAILURE = 6
    INTERFACE = 7
    NOTE = 8
    RECEIPT = 9


_EMPTY: Final = (FrameKind.STOP, FrameKind.END)
_TEXT: Final = tuple(kind for kind in FrameKind if kind not in (*_EMPTY, FrameKind.BATCH))


class WireError(EtwcapError):
    """The other side of the pipe sent what it may not send."""


class Batch(NamedTuple):
    """Records in the order of their stamps."""

    data: NDArray[np.uint8]
    """the records, one behind the other"""
    time: NDArray[np.int64]
    """ns since 1970 UTC"""
    offset: NDArray[np.int64]
    """of each record in ``data``"""
    length: NDArray[np.uint32]
    interface: NDArray[np.uint16]
    """as numbered by INTERFACE frames"""
    complete_to: int
    """ns since 1970 UTC: no later batch holds anything earlier"""


def frame(kind: FrameKind, body: bytes | bytearray = b"") -> bytes:
    """A frame as bytes. Raises ValueError for a body that the other side would refuse."""
    if len(body) > _longest(kind):
        raise ValueError(f"{len(body)} bytes are too many for a frame of kind {kind.name}")
    return HEADER.pack(len(body), kind, bytes(3)) + body


def text_frame(kind: FrameKind, facts: dict[str, Any]) -> bytes:
    """A frame of JSON."""
    return frame(kind, json.dumps(facts, separators=(",", ":")).encode("ascii"))


def batch_frames(batch: Batch) -> list[bytes]:
    """A batch as frames: several where it is too large for one. Raises ValueError for a record that is too long."""
    if len(batch.length) and int(batch.length.max()) > LONGEST_RECORD:
        raise ValueError("a record is too long for the pipe")
    frames, start, rows = [], 0, len(batch.time)
    ends = np.cumsum(batch.length, dtype=np.int64)
    while True:
        before = int(ends[start - 1]) if start else 0
        most = LONGEST - _BATCH.size - MOST_ROWS * _ROW.itemsize
        stop = min(int(np.searchsorted(ends, before + most, "right")), start + MOST_ROWS, rows)
        last = stop == rows
        # the promise holds only once everything before it has been sent
        complete_to = batch.complete_to if last else -(2**63)
        frames.append(_batch_frame(batch, start, stop, complete_to))
        if last:
            return frames
        start = stop


def _batch_frame(batch: Batch, start: int, stop: int, complete_to: int) -> bytes:
    rows = np.zeros(stop - start, _ROW)
    for name in ("time", "length", "interface"):
        rows[name] = getattr(batch, name)[start:stop]
    parts = [_BATCH.pack(len(rows), 0, complete_to), rows.tobytes()]
    at, length = batch.offset[start:stop], batch.length[start:stop].astype(np.int64)
    if len(rows):
        first, end = int(at[0]), int(at[-1] + length[-1])
        if end - first == int(length.sum()) and bool((at[1:] == at[:-1] + length[:-1]).all()):
            parts.append(batch.data[first:end].tobytes())
        else:
            parts.append(pack_ranges(batch.data, at, batch.length[start:stop])[0].tobytes())
    return frame(FrameKind.BATCH, b"".join(parts))


def read_frame(read: Read, allowed: tuple[FrameKind, ...]) -> tuple[FrameKind, bytes] | None:
    """The next frame; None at the end of the pipe. Raises WireError for anything but a whole frame of ``allowed``."""
    head = _exactly(read, HEADER.size, whole=False)
    if head is None:
        return None
    length, number, zero = HEADER.unpack(head)
    kind = next((each for each in allowed if each == number), None)
    if kind is None or zero != bytes(3) or length > _longest(kind):
        names = " or ".join(each.name for each in allowed)
        raise WireError("the other side of the pipe sent no frame", cause=f"{head.hex()} where {names} was to come")
    return kind, (_exactly(read, length, whole=True) or b"") if length else b""


def read_text(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises WireError for anything else."""
    try:
        facts = json.loads(body.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise WireError("the other side of the pipe sent no JSON", cause=str(error)[:200]) from error
    if not isinstance(facts, dict):
        raise WireError("the other side of the pipe sent no JSON object")
    return facts


def read_batch(body: bytes) -> Batch:
    """The batch of a body, its numbers checked: every record lies in ``data``. Raises WireError."""
    if len(body) < _BATCH.size:
        raise WireError("a batch is cut", cause=f"{len(body)} bytes")
    count, zero, complete_to = _BATCH.unpack_from(body)
    start = _BATCH.size + count * _ROW.itemsize
    if zero or count > MOST_ROWS or start > len(body):
        raise WireError("a batch has more rows than bytes", cause=f"{count} rows in {len(body)} bytes")
    rows = np.frombuffer(body, _ROW, count, _BATCH.size)
    length = np.ascontiguousarray(rows["length"])
    ends = np.cumsum(length, dtype=np.int64)
    total = int(ends[-1]) if count else 0
    if total != len(body) - start or (count and int(length.max()) > LONGEST_RECORD) or bool(rows["zero"].any()):
        raise WireError("the lengths in a batch are not those of its records", cause=f"{total} bytes, {len(body)}")
    data = np.frombuffer(bytearray(memoryview(body)[start:]), np.uint8)  # a copy: stages write into packets
    time, interface = np.ascontiguousarray(rows["time"]), np.ascontiguousarray(rows["interface"])
    return Batch(data, time, ends - length, length, interface, complete_to)


def _longest(kind: FrameKind) -> int:
    return 0 if kind in _EMPTY else LONGEST_TEXT if kind in _TEXT else LONGEST


def _exactly(read: Read, size: int, *, whole: bool) -> bytes | None:
    """So many bytes; None where the pipe ends before the first and need not go on. Raises WireError where it ends."""
    parts: list[bytes] = []
    missing = size
    while missing:
        part = read(missing)
        if not part:
            if not whole and missing == size:
                return None
            raise WireError("the pipe ended inside a frame", cause=f"{missing} of {size} bytes are missing")
        if len(part) > missing:
            raise WireError("the pipe gave more than was asked for")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
