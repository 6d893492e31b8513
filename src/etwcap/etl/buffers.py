"""The buffers of an ETL file and the chains they form.

A chain is what one processor wrote, in the order of its sequence numbers: the unit that the merge reads through one
window. The file is walked by BufferSize; neither BuffersWritten, SavedOffset, the lost-event flags nor EndTime can be
relied on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.etl import layout
from etwcap.etl.logfile import LogfileHeader
from etwcap.native.etl import find_header, scan
from etwcap.packets import Damage, Description

MAXIMUM_CHAINS = 2048
"""ETW numbers processors with 11 bits. More in a file are damage; what they hold is still read, folded onto these
chains."""


@dataclass(slots=True)
class BufferTable:
    """All buffers of a file, ordered by chain and sequence: the merge's input."""

    buffers: NDArray[Any]
    """rows of native.etl.BUFFER, the header buffer first in its chain"""
    chain_starts: NDArray[np.uint32]
    """chain i is ``buffers[chain_starts[i]:chain_starts[i + 1]]``"""
    complete_end: bool
    """a data buffer carries the flush marker, which a closed session sets on its last one"""

    @property
    def chains(self) -> int:
        """How many chains there are."""
        return len(self.chain_starts) - 1

    def last_of_chains(self, count: int) -> BufferTable:
        """Only the last ``count`` buffers of each chain."""
        starts = self.chain_starts.astype(np.int64)
        first = np.maximum(starts[1:] - count, starts[:-1])
        picked = np.concatenate(
            [np.arange(a, b) for a, b in zip(first, starts[1:], strict=True)] or [np.empty(0, np.intp)]
        )
        sizes = starts[1:] - first
        bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint32)
        return BufferTable(self.buffers[picked], bounds, self.complete_end)


def read_buffers(descriptor: int, file_size: int, header: LogfileHeader, file: str, facts: Description) -> BufferTable:
    """Walk the buffer headers of a file; damage and losses go into ``facts``."""
    rows = _walk(descriptor, file_size, header, file, facts)
    data = rows["type"] != layout.BUFFER_TYPE_HEADER
    compressed = (rows["flags"] & layout.BUFFER_FLAG_COMPRESSED) != 0
    if header.compression not in (layout.COMPRESSION_FORMAT_NONE, layout.COMPRESSION_FORMAT_XPRESS):
        name = {2: "LZNT1", 4: "Xpress Huffman"}.get(header.compression, f"number {header.compression}")
        for row in rows[compressed]:
            facts.add_damage(
                Damage(
                    file,
                    int(row["offset"]),
                    f"buffer compressed by {name}, which etwcap does not unpack",
                    int(row["size"]),
                )
            )
        rows, data = rows[~compressed], data[~compressed]
    complete = not data.any() or bool((rows["flags"][data] & layout.BUFFER_FLAG_FLUSH_MARKER).any())
    _report_losses(rows, data, header, complete, facts)
    return _chains(rows, complete)


def _walk(descriptor: int, file_size: int, header: LogfileHeader, file: str, facts: Description) -> NDArray[Any]:
    max_filled = header.buffer_size if layout.BUFFER_HEADER_SIZE <= header.buffer_size <= layout.MAXIMUM_BUFFER else 0
    plain_size = 0 if header.compressed else max_filled
    parts = []
    offset = 0
    while True:
        rows, reached, stopped = scan(descriptor, offset, file_size, max_filled, plain_size)
        parts.append(rows)
        if not stopped:
            left = file_size - reached
            if left > 0:
                facts.add_damage(Damage(file, reached, f"{left} bytes that are too few for a buffer", left))
            break
        found = find_header(descriptor, reached + 1, file_size, file_size, max_filled, plain_size)
        if found is None:
            if not _unwritten(descriptor, reached, file_size):
                facts.add_damage(
                    Damage(file, reached, "no buffer begins here, nor anywhere behind", file_size - reached)
                )
            break
        facts.add_damage(
            Damage(file, reached, f"no buffer begins here; the next one at offset {found}", found - reached)
        )
        offset = found
    return np.concatenate(parts)


def _unwritten(descriptor: int, start: int, file_size: int) -> bool:
    """Whether the rest is the unused tail of a preallocated file: zeros only."""
    from etwcap.native.twin_etl import read_at

    while start < file_size:
        data = read_at(descriptor, 1 << 20, start)
        if not data or data.count(0) != len(data):
            return not data
        start += len(data)
    return True


def _report_losses(
    rows: NDArray[Any], data: NDArray[np.bool_], header: LogfileHeader, complete: bool, facts: Description
) -> None:
    losses = facts.losses
    losses.events = header.events_lost
    losses.buffers = header.buffers_lost
    losses.unclosed = header.end_time == 0
    losses.missing_end = not complete and not losses.unclosed
    sequence = np.unique(rows["sequence"][data])
    if len(sequence):
        losses.sequence_gaps = int(sequence[-1]) - int(sequence[0]) + 1 - len(sequence)
        circular = bool(header.mode & layout.EVENT_TRACE_FILE_MODE_CIRCULAR)
        losses.partial_first = circular and int(sequence[0]) > 1
    if facts.session is not None:
        facts.session.buffers = len(rows)
        facts.session.compressed_buffers = int(np.count_nonzero(rows["flags"] & layout.BUFFER_FLAG_COMPRESSED))


def _chains(rows: NDArray[Any], complete: bool) -> BufferTable:
    processors = rows["processor"].astype(np.uint32)
    known, chain = np.unique(processors, return_inverse=True)
    rows["chain"] = chain % MAXIMUM_CHAINS
    order = np.lexsort((rows["offset"], rows["sequence"], rows["chain"]))
    rows = rows[order]
    count = min(len(known), MAXIMUM_CHAINS)
    starts = np.searchsorted(rows["chain"], np.arange(count + 1)).astype(np.uint32)
    return BufferTable(rows, starts, complete)
