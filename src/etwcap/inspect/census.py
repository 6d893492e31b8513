"""Counting what is in a source: one run over it, column by column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.decode import EVENT_HEADER_SIZE, PROVIDER_TRAITS, extended_items, provider_traits
from etwcap.etl.records import EVENT32, EVENT64, MESSAGE
from etwcap.packets import Chunk, EventTable, Mark, PacketTable
from etwcap.pipeline.protocols import Source, Stage

_TRIES = 16
"""Events of a provider, one a chunk, that are asked for its name."""


@dataclass(slots=True)
class InterfaceCount:
    """Packets of one interface."""

    unknown: int = 0
    received: int = 0
    sent: int = 0
    octets: int = 0
    """bytes of the packets where they were seen"""
    dropped: int = 0
    """drop reports"""

    @property
    def packets(self) -> int:
        """In any direction."""
        return self.unknown + self.received + self.sent


@dataclass(slots=True)
class KeptCount:
    """The packets that are left where each is taken once, nearest the wire: what ``convert`` writes."""

    packets: int = 0
    received: int = 0
    sent: int = 0
    drop_only: int = 0
    """packets known only from a drop report"""


@dataclass(slots=True)
class Census:
    """What was counted. Packets are counted at every sighting, but for ``kept``."""

    packets: int = 0
    kept: KeptCount = field(default_factory=KeptCount)
    cut: int = 0
    """packets of which fewer bytes were captured than they had"""
    first_packet: int | None = None
    last_packet: int | None = None
    first: int | None = None
    """the earliest of packets and events"""
    last: int | None = None
    interfaces: dict[int, InterfaceCount] = field(default_factory=dict)
    drops: Counter[tuple[int, int]] = field(default_factory=Counter)
    """by reason and location"""
    marks: Counter[int] = field(default_factory=Counter)
    """by mark"""
    messages: Counter[int] = field(default_factory=Counter)
    """WPP messages by the ordinal of their GUID"""
    provider_names: dict[int, str] = field(default_factory=dict)
    """by ordinal, as the providers call themselves in their events"""
    _tries: Counter[int] = field(default_factory=Counter)

    def run(self, source: Source, selection: Stage | None, progress: Callable[[int, int], None] | None = None) -> None:
        """Count everything the source gives; ``selection`` decides which sightings are kept (None: all)."""
        for chunk in source.chunks():
            self._packets(chunk.packets)
            self._events(chunk)
            self._keep(selection.process(chunk) if selection else chunk)
            if progress is not None:
                progress(*source.progress())
        rest = selection.finish() if selection else None
        if rest is not None:
            self._keep(rest)

    def _keep(self, chunk: Chunk) -> None:
        packets = chunk.packets
        if not len(packets):
            return
        self.kept.packets += len(packets)
        direction = packets["direction"]
        self.kept.received += int(np.count_nonzero(direction == 1))
        self.kept.sent += int(np.count_nonzero(direction == 2))
        self.kept.drop_only += int(np.count_nonzero(packets["flags"] & np.uint32(Mark.DROP_ONLY)))

    def _packets(self, packets: PacketTable) -> None:
        if not len(packets):
            return
        time = packets["time"]
        first, last = int(time.min()), int(time.max())
        self.first_packet, self.last_packet = _earlier(self.first_packet, first), _later(self.last_packet, last)
        self.first, self.last = _earlier(self.first, first), _later(self.last, last)
        self.packets += len(packets)
        self.cut += int(np.count_nonzero(packets["original"] > packets["captured"]))
        interfaces, row = np.unique(packets["interface"], return_inverse=True)
        many = len(interfaces)
        dropped = packets["drop_count"] > 0
        direction = np.bincount(row * 4 + np.minimum(packets["direction"], 3), minlength=4 * many).reshape(many, 4)
        octets = np.bincount(row, weights=packets["original"], minlength=many)
        drops = np.bincount(row[dropped], minlength=many)
        for number, interface in enumerate(interfaces.tolist()):
            counted = self.interfaces.setdefault(interface, InterfaceCount())
            unknown, received, sent, both = direction[number].tolist()
            counted.unknown += unknown + both
            counted.received += received
            counted.sent += sent
            counted.octets += int(octets[number])
            counted.dropped += int(drops[number])
        if dropped.any():
            both = packets["drop_reason"][dropped].astype(np.uint64) << np.uint64(32)
            both |= packets["drop_location"][dropped]
            for value, count in _tally(both):
                self.drops[value >> 32, value & 0xFFFFFFFF] += count
        if "flags" in packets:
            for value, count in _tally(packets["flags"]):
                for mark in Mark:
                    if value & mark:
                        self.marks[int(mark)] += count

    def _events(self, chunk: Chunk) -> None:
        events = chunk.events
        if not len(events):
            return
        time = events["time"]
        self.first, self.last = _earlier(self.first, int(time.min())), _later(self.last, int(time.max()))
        kind = events["type"]
        messages = kind == MESSAGE
        if messages.any():
            for ordinal, count in _tally(events["provider"][messages]):
                self.messages[ordinal] += count
        self._names(chunk.buffer, events, (kind == EVENT32) | (kind == EVENT64))

    def _names(self, buffer: NDArray[np.uint8], events: EventTable, rows: NDArray[np.bool_]) -> None:
        """Ask one event of each provider not yet named for the traits that name it."""
        rows &= events["offset"] - events["record"] > EVENT_HEADER_SIZE
        picked = np.flatnonzero(rows)
        ordinals, first = np.unique(events["provider"][picked], return_index=True)
        for ordinal, row in zip(ordinals.tolist(), picked[first].tolist(), strict=True):
            if ordinal in self.provider_names or self._tries[ordinal] >= _TRIES:
                continue
            self._tries[ordinal] += 1
            head = buffer[int(events["record"][row]) : int(events["offset"][row])].tobytes()
            for item in extended_items(head)[0]:
                if item.type == PROVIDER_TRAITS and (name := provider_traits(item.data).name):
                    self.provider_names[ordinal] = name


def _tally(values: NDArray[np.generic]) -> list[tuple[int, int]]:
    kinds, counts = np.unique(values, return_counts=True)
    return [(int(kind), int(count)) for kind, count in zip(kinds, counts, strict=True)]


def _earlier(known: int | None, time: int) -> int:
    return time if known is None else min(known, time)


def _later(known: int | None, time: int) -> int:
    return time if known is None else max(known, time)
