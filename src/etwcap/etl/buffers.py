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
from etwcap.etl.records import pick
from etwcap.etl.salvage import Sizes, header_at, salvage, sizes_of
from etwcap.native.etl import BUFFER, find_header, scan
from etwcap.native.twin_etl import LARGEST, plausible, read_at
from etwcap.packets import Damage, Description

MAXIMUM_CHAINS = 2048
"""ETW numbers processors with 11 bits. More in a file are damage; what they hold is still read, folded onto these
chains."""

MOST_BUFFERS = 1 << 19
"""Buffers of a file that are believed in any case; beyond them one for each 4 KiB of the file, the smallest that ETW
makes. The table of buffers is the only thing that grows with a file: a hostile one must not take the memory."""
SMALLEST_BUFFER = 4096

MOST_BREAKS = 1 << 16
"""Broken buffer headers in a file after which the rest is given up."""


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
    walk = _Walk(descriptor, file_size, header, file, facts)
    rows = _without_copies(descriptor, walk.rows(), file, facts)
    data = rows["type"] != layout.BUFFER_TYPE_HEADER
    compressed = (rows["flags"] & layout.BUFFER_FLAG_COMPRESSED) != 0
    count = len(rows)
    xpress = header.compression in (layout.COMPRESSION_FORMAT_NONE, layout.COMPRESSION_FORMAT_XPRESS)
    if not xpress and compressed.any() and _unpacks(descriptor, rows[int(np.argmax(compressed))], walk.sizes):
        what = f"the header names compression format {header.compression}, the buffers are compressed by Xpress"
        facts.add_damage(Damage(file, 0x2C, what))
        xpress = True
    if not xpress:
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
        rows, data = pick(rows, ~compressed), data[~compressed]
    if data.any():
        complete = bool((rows["flags"][data] & layout.BUFFER_FLAG_FLUSH_MARKER).any())
    else:
        complete = header.buffers_written <= count
    _report_losses(rows, data, header, complete, facts)
    if facts.losses.missing_end and count < header.buffers_written:
        missing = header.buffers_written - count
        what = f"the end of the trace is missing: {missing:,} of {header.buffers_written:,} buffers are not there"
        facts.add_damage(Damage(file, file_size, what))
    return _chains(rows, complete, np.isin(rows["offset"], walk.salvaged))


class _Walk:
    """The way through a file from header to header, and around those that are broken."""

    def __init__(self, descriptor: int, file_size: int, header: LogfileHeader, file: str, facts: Description) -> None:
        self.descriptor = descriptor
        self.file_size = file_size
        self.header = header
        self.file = file
        self.facts = facts
        self.sizes = sizes_of(descriptor, header)
        self.parts: list[NDArray[Any]] = []
        self.salvaged: list[int] = []
        """offsets of buffers whose own header is not believed"""
        if self.sizes.contradicted:
            place = layout.BUFFER_HEADER_SIZE + layout.SYSTEM_HEADER.itemsize
            what = f"the logfile header says buffers of {header.buffer_size:,} bytes, which the buffers contradict"
            self._damage(place, what, 0)

    def rows(self) -> NDArray[Any]:
        """All buffers, in the order of the file."""
        limits = self.sizes.max_filled, self.sizes.plain
        offset, resumed = 0, 0
        left = MOST_BUFFERS + self.file_size // SMALLEST_BUFFER
        while offset < self.file_size:
            rows, reached, stopped = scan(self.descriptor, offset, self.file_size, *limits, left)
            self.parts.append(rows)
            left -= len(rows)
            if left <= 0 and reached < self.file_size:
                what = "more buffers than a trace of this size can have; the rest is left"
                self._damage(reached, what, self.file_size - reached)
                break
            if not stopped:
                inside = self._inside_last()
                if inside is not None:
                    offset = inside
                    continue
                self._end(reached)
                break
            resumed += 1
            if resumed > MOST_BREAKS:
                self._damage(reached, "too many broken buffer headers; the rest is left", self.file_size - reached)
                break
            offset = self._around(reached)
        parts = [part for part in self.parts if len(part)]
        self.parts = []
        return parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, BUFFER)])

    def _inside_last(self) -> int | None:
        """Where another buffer begins inside the last one, whose size leads past the end of the file."""
        before = self._uncertain()
        if before is None:
            return None
        offset = int(before["offset"])
        told = header_at(self.descriptor, offset)
        if told is None or offset + told[3] <= self.file_size:
            return None
        first = offset + layout.BUFFER_HEADER_SIZE + 1
        found = find_header(self.descriptor, first, self.file_size, self.file_size, *self.sizes[:2])
        if found is not None:
            what = f"the size of this buffer, {told[3]:,} bytes, leads past the next one at offset {found}"
            self._damage(offset, what, 0)
            before["size"] = found - offset
        return found

    def _end(self, reached: int) -> None:
        """The file ends at ``reached``, or so soon after that no buffer fits; is its last buffer whole?"""
        left = self.file_size - reached
        if left > 0:
            self._damage(reached, f"{left} bytes that are too few for a buffer", left)
            before = self._uncertain()
            if before is not None:
                before["size"] = self.file_size - int(before["offset"])  # they may be the end of its stream
            return
        rows = self.parts[-1]
        if not len(rows):
            return
        offset, size = int(rows["offset"][-1]), int(rows["size"][-1])
        found = header_at(self.descriptor, offset)
        packed = rows["flags"][-1] & layout.BUFFER_FLAG_COMPRESSED
        if found is not None and found[3] > size and not packed and int(rows["filled"][-1]) <= size:
            # the engine tells where records are missing; here nothing is but unused room
            missing = found[3] - size
            self._damage(self.file_size, f"the file ends inside a buffer; {missing} bytes, all unused, are missing", 0)

    def _around(self, reached: int) -> int:
        """Where the next buffer begins, now that none does at ``reached``; the file's size where there is none."""
        size = self.sizes.plain
        slot = min(reached + size, self.file_size)
        if size and self._salvaged(reached, slot):
            return slot
        after = header_at(self.descriptor, slot) if size else None
        if after is not None and plausible(after, self.sizes.max_filled, size):
            self._damage(reached, f"no buffer begins here; the next one at offset {slot}", slot - reached)
            return slot
        before = self._uncertain()
        first = reached + 1 if before is None else int(before["offset"]) + layout.BUFFER_HEADER_SIZE + 1
        found = find_header(self.descriptor, first, self.file_size, self.file_size, self.sizes.max_filled, size)
        if found is not None and found < reached and before is not None:
            what = f"the size of this buffer, {int(before['size']):,} bytes, leads past the next one at offset {found}"
            self._damage(int(before["offset"]), what, 0)
            before["size"] = found - int(before["offset"])
            return found
        end = self.file_size if found is None else found
        if self._salvaged(reached, end):
            return end
        if before is not None and (end - int(before["offset"])) <= LARGEST:
            before["size"] = end - int(before["offset"])  # what is too much behind its stream does no harm
        if found is not None:
            self._damage(reached, f"no buffer begins here; the next one at offset {found}", found - reached)
        elif not _unwritten(self.descriptor, reached, self.file_size):
            self._damage(reached, "no buffer begins here, nor anywhere behind", self.file_size - reached)
        return end

    def _uncertain(self) -> NDArray[Any] | None:
        """The row of the buffer before, if its size may be wrong: nothing else says how long it is."""
        rows = next((part for part in reversed(self.parts) if len(part)), None)
        if rows is None:
            return None
        packed = rows["flags"][-1] & layout.BUFFER_FLAG_COMPRESSED
        if self.sizes.plain and not packed and rows["type"][-1] != layout.BUFFER_TYPE_HEADER:
            return None
        row: NDArray[Any] = rows[-1]
        return row

    def _salvaged(self, start: int, end: int) -> bool:
        """Take what lies in [start, end) for a buffer if its contents say so."""
        compressed = self.header.compressed or not self.sizes.plain
        row = salvage(self.descriptor, start, end, self.sizes, compressed=compressed)
        if row is None:
            return False
        self.parts.append(row)
        self.salvaged.append(start)
        self._damage(start, "the header of this buffer is broken; its records were found all the same", 0)
        return True

    def _damage(self, offset: int, what: str, lost: int) -> None:
        self.facts.add_damage(Damage(self.file, offset, what, lost))


def _unpacks(descriptor: int, row: Any, sizes: Sizes) -> bool:
    """Whether a compressed buffer is an Xpress stream of exactly the size its header says."""
    found = salvage(descriptor, int(row["offset"]), int(row["offset"]) + int(row["size"]), sizes, compressed=True)
    return found is not None and int(found["filled"][0]) == int(row["filled"])


def _without_copies(descriptor: int, rows: NDArray[Any], file: str, facts: Description) -> NDArray[Any]:
    """The rows without buffers that are there twice, byte by byte."""
    kept = np.ones(len(rows), np.bool_)
    if len(rows) < 2:
        return rows
    names = ("sequence", "timestamp", "size", "filled", "processor", "flags")
    key = np.zeros(len(rows), np.uint64)
    for name in names:  # equal rows have equal keys; whether rows of equal keys are equal is looked at below
        key = (key ^ rows[name].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    order = np.argsort(key, kind="stable")
    key = key[order]
    for pair in np.flatnonzero(key[1:] == key[:-1]).tolist():
        first, second = int(order[pair]), int(order[pair + 1])
        alike = all(rows[name][first] == rows[name][second] for name in names)
        if alike and _same_bytes(descriptor, rows[first], rows[second]):
            kept[second] = False
            what = f"the same buffer as at offset {int(rows['offset'][first])}, once more; it was left out"
            facts.add_damage(Damage(file, int(rows["offset"][second]), what, 0))
    return rows if kept.all() else pick(rows, kept)


def _same_bytes(descriptor: int, one: Any, other: Any) -> bool:
    size, step = int(one["size"]), 1 << 20
    return all(
        read_at(descriptor, min(step, size - at), int(one["offset"]) + at)
        == read_at(descriptor, min(step, size - at), int(other["offset"]) + at)
        for at in range(0, size, step)
    )


def _unwritten(descriptor: int, start: int, file_size: int) -> bool:
    """Whether the rest is the unused tail of a preallocated file: zeros only."""
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


def _chains(rows: NDArray[Any], complete: bool, salvaged: NDArray[np.bool_]) -> BufferTable:
    processors = rows["processor"].astype(np.uint32)
    # whose header is not believed is a chain of its own: then its records find their place by their times
    processors[salvaged] = 0x10000 + np.arange(np.count_nonzero(salvaged), dtype=np.uint32)
    known, chain = np.unique(processors, return_inverse=True)
    rows["chain"] = chain % MAXIMUM_CHAINS
    order = np.lexsort((rows["offset"], rows["sequence"], rows["chain"]))
    rows = pick(rows, order)
    count = min(len(known), MAXIMUM_CHAINS)
    starts = np.searchsorted(rows["chain"], np.arange(count + 1)).astype(np.uint32)
    return BufferTable(rows, starts, complete)
