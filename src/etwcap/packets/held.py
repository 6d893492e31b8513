"""Rows that a stage holds back past the chunk they came in.

The buffer of a chunk is valid only until the next one is asked for, so held rows take a copy of their bytes along.
They come out again in a chunk whose buffer holds their bytes and those of the rows that pass with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from etwcap.native.ranges import copy_ranges
from etwcap.packets.chunk import Chunk
from etwcap.packets.table import EventTable, PacketTable


class HeldRows:
    """Packets held back, with the bytes they name (captured bytes and carried options)."""

    def __init__(self) -> None:
        self.packets = PacketTable(0)
        self.buffer = np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self.packets)

    def release(
        self,
        chunk: Chunk,
        packets: PacketTable,
        from_held: NDArray[np.bool_],
        passed: int,
        complete_to: int,
        lead: int = 0,
    ) -> Chunk:
        """A chunk of the first ``passed`` rows of ``packets``; the others are held from now on.

        ``packets`` has the rows in their order; a row's offsets are those in the buffer of the held rows where
        ``from_held`` says so, else those in ``chunk.buffer``. Events and side blocks of ``chunk`` go along. What
        was held and is not in ``packets`` is gone. ``lead`` bytes stay free before the packets of a new buffer.
        """
        buffers = (chunk.buffer, self.buffer)
        source = from_held.astype(np.intp)
        out, events, buffer = packets.take(slice(0, passed)), chunk.events, chunk.buffer
        if source[:passed].any():
            spans = _event_spans(events)
            buffer = np.empty(lead + _size(out) + int(spans[1].sum(dtype=np.int64)), np.uint8)
            at = _copy_packets(buffers, source[:passed], out, buffer, lead)
            events = _copy_events(chunk.buffer, events, spans, buffer, at)
        back = packets.take(slice(passed, len(packets)))
        room = np.empty(_size(back), np.uint8)
        _copy_packets(buffers, source[passed:], back, room)
        self.packets, self.buffer = back, room
        return Chunk(buffer, out, events, complete_to, chunk.side_blocks)


def _size(packets: PacketTable) -> int:
    """Bytes that the rows name."""
    return int(packets["captured"].sum(dtype=np.int64) + packets["options_length"].sum(dtype=np.int64))


def _copy_packets(
    buffers: Sequence[NDArray[np.uint8]],
    source: NDArray[np.intp],
    packets: PacketTable,
    out: NDArray[np.uint8],
    used: int = 0,
) -> int:
    """Copy the rows' bytes to ``out[used:]`` and rebase their offsets; returns where they end there."""
    for start, length in (("offset", "captured"), ("options_offset", "options_length")):
        lengths = packets[length]
        if not lengths.any():
            continue
        offsets = packets[start].copy()
        packets[start] = offsets
        for number, buffer in enumerate(buffers):
            rows = np.flatnonzero(source == number)
            if len(rows):
                offsets[rows] = used + copy_ranges(buffer, offsets[rows], lengths[rows], out[used:])
                used += int(lengths[rows].sum(dtype=np.int64))
    return used


def _event_spans(events: EventTable) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Where the bytes of each event begin in its buffer (its record, where that is known), and how many there are."""
    start = events["record"] if "record" in events else events["offset"]
    return start, (events["offset"] + events["length"] - start).astype(np.uint32)


def _copy_events(
    buffer: NDArray[np.uint8],
    events: EventTable,
    spans: tuple[NDArray[np.int64], NDArray[np.uint32]],
    out: NDArray[np.uint8],
    at: int,
) -> EventTable:
    """The events with their bytes copied to ``out[at:]``."""
    if not len(events):
        return events
    start, length = spans
    moved = at + copy_ranges(buffer, start, length, out[at:]) - start
    copied = events.take(slice(None))
    copied["offset"] = events["offset"] + moved
    if "record" in events:
        copied["record"] = events["record"] + moved
    return copied
