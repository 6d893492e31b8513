"""Buffers whose header is broken: what lies in them says whether there is one, and how long it is.

A buffer's place is known from its neighbours: in an uncompressed file all buffers have one size, in a compressed file
the next header says where it ends. Its contents must begin with a whole record of a known type, so nothing is taken
for a buffer that is none. Sequence number and processor of such a header are not believed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etwcap.etl import layout
from etwcap.etl.logfile import LogfileHeader
from etwcap.native.etl import BUFFER, records_end, records_resume
from etwcap.native.twin_etl import MOST_RATIO, plausible, read_at, read_header
from etwcap.native.xpress import END, decode

_HEADER = layout.BUFFER_HEADER_SIZE


class Sizes(NamedTuple):
    """What bounds the buffers of a file; 0 where it is not known."""

    max_filled: int
    """the session's buffer size: no buffer holds more, unpacked"""
    plain: int
    """bytes of each uncompressed data buffer in the file"""
    contradicted: bool = False
    """the logfile header says otherwise than the buffers do"""


def header_at(descriptor: int, offset: int) -> tuple[int, ...] | None:
    """The buffer header at that offset as a row of BUFFER; None where the file ends before."""
    data = read_at(descriptor, _HEADER, offset)
    return read_header(data, offset) if len(data) == _HEADER else None


def sizes_of(descriptor: int, header: LogfileHeader) -> Sizes:
    """The sizes by the logfile header, or by the first buffers where they agree with each other but not with it."""
    told = header.buffer_size if _HEADER <= header.buffer_size <= layout.MAXIMUM_BUFFER else 0
    told += -told % layout.ALIGNMENT
    sizes = Sizes(told, 0 if header.compressed else told)
    rows = _first_rows(descriptor)
    if len(rows) < 2 or all(plausible(row, *sizes[:2]) for row in rows):
        return sizes._replace(contradicted=told != header.buffer_size)
    plain = {row[3] for row in rows if not row[8] & layout.BUFFER_FLAG_COMPRESSED}
    if len(plain) > 1:
        return sizes
    size = plain.pop() if plain else 0
    return Sizes(size or layout.MAXIMUM_BUFFER, size, contradicted=True)


def _first_rows(descriptor: int) -> list[tuple[int, ...]]:
    """The headers of the first data buffers, as far as any file could have them."""
    rows: list[tuple[int, ...]] = []
    row = header_at(descriptor, 0)
    while row is not None and len(rows) < 3 and plausible(row, layout.MAXIMUM_BUFFER, 0):
        if row[0]:
            rows.append(row)
        row = header_at(descriptor, row[0] + row[3])
    return rows


def salvage(descriptor: int, start: int, end: int, sizes: Sizes, *, compressed: bool) -> NDArray[Any] | None:
    """The buffer in [start, end) as one row of BUFFER, whatever its header says; None where nothing in there is
    certainly one.

    ``compressed``: the file may have compressed buffers.
    """
    end = min(end, start + _HEADER + 2 * layout.MAXIMUM_BUFFER)
    if end - start < _HEADER + 8:
        return None
    data = read_at(descriptor, end - start, start)
    row = list(read_header(data[:_HEADER], start))
    body = data[_HEADER:]
    packed = False
    chain = records_end(body)
    if chain == 0 and compressed:
        most = min((sizes.max_filled or layout.MAXIMUM_BUFFER) - _HEADER, MOST_RATIO * len(data))
        body, status = decode(body, most)
        chain = records_end(body)
        packed = chain > 0
        filled = len(body) if status == END or not _believable(row[4], len(body), most) else row[4] - _HEADER
    elif row[4] - _HEADER == chain or _believable(row[4], chain, len(body)):
        filled = row[4] - _HEADER
    else:
        used = len(body.rstrip(b"\xff"))
        filled = max(chain, min(used + -used % layout.ALIGNMENT, len(body)))
    if chain == 0 and (compressed or not _goes_on(body)):
        return None
    row[3] = len(data)
    row[4] = _HEADER + filled
    row[8] = (row[8] & layout.BUFFER_FLAG_FLUSH_MARKER) | (layout.BUFFER_FLAG_COMPRESSED if packed else 0)
    row[9] = layout.BUFFER_TYPE_HEADER if start == 0 else 0
    return np.array([tuple(row)], BUFFER)


def _goes_on(body: bytes) -> bool:
    """Whether records certainly lie in an uncompressed buffer whose first ones are broken."""
    used = len(body.rstrip(b"\xff"))
    return records_resume(body[: min(used + -used % layout.ALIGNMENT, len(body))]) is not None


def _believable(filled: int, least: int, most: int) -> bool:
    return filled % layout.ALIGNMENT == 0 and _HEADER + least <= filled <= _HEADER + most
