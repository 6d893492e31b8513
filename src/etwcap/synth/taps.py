"""What the taps have in common: from packets to the events that report them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from etwcap.etl import layout
from etwcap.packets import Chunk, Context, Mark, PacketTable
from etwcap.packets.linktypes import ETHERNET, IEEE802_11, RAW_IP
from etwcap.synth.headers import Headers
from etwcap.synth.machine import Adapter
from etwcap.synth.options import SynthOptions
from etwcap.synth.records import HEAD, Events, Pool

ALL_LINKS = frozenset({ETHERNET, IEEE802_11, RAW_IP})
UNLIMITED = 0xFFFFFFFF
"""bytes: no limit of a packet's length"""
LINK_HEADER = 14
DELAY = 1000
"""ns from one sighting of a packet to the next"""

HeadersOf = Callable[[NDArray[np.uint8], PacketTable], Headers]


class SideEvent(NamedTuple):
    """An event of the session's start or end: configuration, rundown."""

    id: int
    payload: bytes
    keyword: int = 0
    level: int = 4


class Tap(ABC):
    """Base of the taps: one sighting of each packet, cut to what a record holds."""

    name = ""
    guid = b""
    link_types = ALL_LINKS
    overhead = 0
    """bytes of an event's payload beside the packet"""

    def __init__(self, options: SynthOptions, context: Context, adapters: list[Adapter], headers: HeadersOf) -> None:
        self.options = options
        self.context = context
        self.adapters = adapters
        """grows while the capture is read"""
        self.headers = headers
        room = (options.buffer_size - layout.BUFFER_HEADER_SIZE) // layout.ALIGNMENT * layout.ALIGNMENT
        self.largest = min(room, layout.MAXIMUM_RECORD) - HEAD - self.overhead
        """bytes of a packet that an event can hold"""

    @property
    def span(self) -> int:
        """ns: how far from its packet's time a sighting may lie."""
        return 0

    def prepare(self, chunk: Chunk, headers: Headers) -> PacketTable:
        """The packets that the tap reports, cut as it cuts them; losses are counted in the receipt."""
        return self.cut(chunk.packets, self.largest)

    def cut(self, packets: PacketTable, largest: int) -> PacketTable:
        """The packets cut to ``--truncate`` and to what an event can hold, so marked."""
        captured = packets["captured"]
        wanted = self.options.truncate
        limit = min(wanted, largest) if wanted else largest
        self.note("too-long", "packets are longer than an event can be: cut", (captured > largest) & (limit == largest))
        if wanted:
            self.note("truncated", f"packets were cut to {limit} bytes", captured > limit)
        packets = packets.take(slice(None))
        cut = captured > limit
        packets["captured"] = np.minimum(captured, limit)
        packets["flags"] = np.where(cut | (captured < packets["original"]), np.uint32(Mark.TRUNCATED), np.uint32(0))
        return packets

    def note_lengths(self, packets: PacketTable) -> None:
        """Count the packets whose original length no event of this tap tells."""
        text = "packets were captured in part: their original length is lost, the events have no field for it"
        self.note("original-length", text, packets["captured"] < packets["original"])

    def note(self, kind: str, text: str, rows: NDArray[np.bool_]) -> None:
        """A line of the receipt for those rows."""
        self.context.receipt.note(kind, text, int(np.count_nonzero(rows)))

    def sightings(self, chunk: Chunk, headers: Headers) -> PacketTable:
        """One row per report of a packet, its time and place set; of equal times the earlier packet's stands first."""
        return chunk.packets

    @abstractmethod
    def events(self, chunk: Chunk, pool: Pool) -> Events:
        """The events of sightings (``chunk.packets``), whose bytes and own payload parts lie in the pool."""

    def beginning(self) -> Iterator[SideEvent]:
        """Events before the first packet."""
        return iter(())

    def rundown(self) -> Iterator[SideEvent]:
        """Events when the session is stopped."""
        return iter(())

    def if_index(self, rows: PacketTable) -> NDArray[np.uint32]:
        """Windows' interface index of each row's adapter."""
        numbers = np.array([each.if_index for each in self.adapters] or [0], np.uint32)
        index: NDArray[np.uint32] = numbers[rows["interface"]]
        return index

    def link(self, rows: PacketTable) -> NDArray[np.uint16]:
        """The link type of each row."""
        links = np.array([each.link_type for each in self.adapters] or [0], np.uint16)
        link: NDArray[np.uint16] = links[rows["interface"]]
        return link


def expand(packets: PacketTable, steps: NDArray[np.int64]) -> tuple[PacketTable, NDArray[np.int64]]:
    """Every packet once for each of its ``steps``, and the number of the step (0 at the wire).

    A received packet is at the wire first, a sent one last; there it has its own time.
    """
    rows = np.repeat(np.arange(len(packets)), steps)
    first = np.cumsum(steps) - steps
    step = np.arange(len(rows)) - np.repeat(first, steps)
    table = packets.take(rows)
    away = step * DELAY
    table["time"] = packets["time"][rows] + np.where(table["direction"] == 2, -away, away)
    return table, step


class Parts(NamedTuple):
    """Packets split into parts: the row, the bytes of each part, and whether it is the first or last of its packet."""

    row: NDArray[np.intp]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    first: NDArray[np.bool_]
    last: NDArray[np.bool_]


def split(rows: PacketTable, parts: int, largest: int) -> Parts:
    """Each packet in so many parts of about one size, or more where one would be longer than ``largest``; the first
    holds the link header."""
    size = rows["captured"].astype(np.int64)
    rest = np.maximum(size - LINK_HEADER, 0)
    count = np.clip(rest, 1, parts)
    if parts > 1:
        count = np.maximum(count, -(-size // (largest - LINK_HEADER)))
    row = np.repeat(np.arange(len(rows)), count)
    number = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    of, share, head = count[row], rest[row], (size - rest)[row]
    begin = np.where(number == 0, 0, head + number * share // of)
    end = head + (number + 1) * share // of
    return Parts(row, rows["offset"][row] + begin, end - begin, number == 0, number == of - 1)


class Counter:
    """Numbers given out one after another for each processor."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}

    def next(self, processor: NDArray[np.uint16]) -> NDArray[np.uint64]:
        """The next number of each row's processor, from 1."""
        out = np.zeros(len(processor), np.uint64)
        for each in np.unique(processor).tolist():
            rows = np.flatnonzero(processor == each)
            last = self._last.get(each, 0)
            out[rows] = last + 1 + np.arange(len(rows))
            self._last[each] = last + len(rows)
        return out
