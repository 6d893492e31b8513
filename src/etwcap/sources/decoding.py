"""Records of events to packets and events, by the providers: the same for ETL files and for live trace sessions."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.records import MESSAGE, Records, pick
from etwcap.packets import Chunk, Context, EventTable, Mark, PacketTable
from etwcap.packets.backlog import Backlog
from etwcap.packets.chunk import END_OF_TIME
from etwcap.providers import packet_providers
from etwcap.providers.base import PacketProvider, TraceFacts
from etwcap.providers.event_metadata import EventMetadata
from etwcap.providers.system import SystemFacts

_KERNEL_GROUPS = 256

_MOST_KINDS = 65536
"""Kinds of events told apart; real traces have a few hundred."""


class Learner(Protocol):
    """Something that reads side facts out of events."""

    def wants(self, records: Records) -> NDArray[np.bool_]:
        """Which records it reads."""
        ...

    def learn(self, buffer: NDArray[np.uint8], records: Records) -> None:
        """Read them; the same record may come twice."""
        ...


class EventKind(NamedTuple):
    """What is counted as one kind of event."""

    provider: int
    """ordinal in the source's list of GUIDs; below 0: kernel group -1 - provider"""
    id: int
    version: int
    opcode: int


class RecordDecoder:
    """Turns records (rows of RECORD over a buffer, in time order) into chunks of packets and events.

    ``seed`` are the GUIDs of the first ordinals, which the column ``provider`` of all records must go by. What is
    learned goes into ``facts``, what is counted into ``context.receipt``.
    """

    def __init__(self, context: Context, facts: TraceFacts, *, count_events: bool = False) -> None:
        self._context = context
        self._annex = facts.annex
        self._backlog = Backlog()
        self._latest = -(2**63)
        self._count_events = count_events
        self.providers: list[PacketProvider] = [make(context, facts) for make in packet_providers()]
        self.metadata = EventMetadata(facts)
        self.seed = [provider.guid for provider in self.providers]
        self.seed += [guid for guid in (SystemFacts.guid, EventMetadata.guid) if guid not in self.seed]
        self.metadata.ordinal = self.seed.index(EventMetadata.guid)
        self._learners: list[Learner] = [SystemFacts(facts, self.seed.index(SystemFacts.guid)), self.metadata]
        self.provider_counts: dict[int, int] = {}
        """records by provider ordinal (below 0: kernel group -1 - ordinal)"""
        self.messages = 0
        """WPP messages among the records"""
        self.event_counts: dict[EventKind, int] = {}
        """how often each kind of event came, packets included; only with ``count_events``"""

    def learn(self, buffer: NDArray[np.uint8], records: Records) -> NDArray[np.bool_]:
        """Let everyone read the side facts in the records; tells which records are such."""
        told = np.zeros(len(records), np.bool_)
        ordinals = records["provider"]
        for ordinal, provider in enumerate(self.providers):
            own = ordinals == ordinal
            if own.any():
                own[own] = ~provider.packet_rows(pick(records, own))
                if own.any():
                    provider.learn(buffer, pick(records, own))
                    told |= own
        for learner in self._learners:
            wanted = learner.wants(records)
            if wanted.any():
                learner.learn(buffer, pick(records, wanted))
                told |= wanted
        return told

    def chunk(self, buffer: NDArray[np.uint8], records: Records, complete_to: int) -> Chunk:
        """The packets and events of these records; packets that wait for one that is not whole come in a later one."""
        self._count_providers(records)
        packets, events = self.decode(buffer, records)
        chunk = self._annex.lay_out(Chunk(buffer, packets, events, complete_to))
        chunk = self._backlog.pass_on(chunk, self._annex.since)
        self._latest = mark_late(chunk.packets, self._latest)
        return chunk

    def last(self, buffer: NDArray[np.uint8]) -> Chunk:
        """What is still held, after the last records; the providers give their accounts."""
        for provider in self.providers:
            provider.finish()
        end = self._backlog.rest(Chunk(buffer, PacketTable(0), EventTable(0), END_OF_TIME))
        self._latest = mark_late(end.packets, self._latest)
        return end

    def promised(self, complete_to: int) -> None:
        """Take what is earlier than that for late from now on, though no later packet has come."""
        self._latest = max(self._latest, complete_to)

    def decode(self, buffer: NDArray[np.uint8], records: Records) -> tuple[PacketTable, EventTable]:
        """The packets of these records, and the records that are none."""
        ordinals = records["provider"]
        rest = np.ones(len(records), np.bool_)
        tables: list[PacketTable] = []
        places: list[NDArray[np.intp]] = []
        if self._count_events:
            self._count(records)
        for ordinal, provider in enumerate(self.providers):
            own = ordinals == ordinal
            if not own.any():
                continue
            mine = records if own.all() else pick(records, own)
            is_packet = provider.packet_rows(mine)
            if not is_packet.all():
                provider.learn(buffer, pick(mine, ~is_packet))
                own[own] = is_packet
                mine = pick(mine, is_packet)
            if not len(mine):
                continue
            table, index = provider.decode(buffer, mine)
            at = np.flatnonzero(own)
            rest[at] = False
            tables.append(table)
            places.append(at[index])
        packets = tables[0] if len(tables) == 1 else PacketTable.concat(tables)
        if len(tables) > 1:
            packets = packets.take(np.argsort(np.concatenate(places), kind="stable"))
        if not rest.any():
            return packets, EventTable(0)
        others = pick(records, rest)
        for learner in self._learners:
            wanted = learner.wants(others)
            if wanted.any():
                learner.learn(buffer, pick(others, wanted))
        self._context.receipt.events_read += len(others)
        return packets, _events(others)

    def _count_providers(self, records: Records) -> None:
        self.messages += int(np.count_nonzero(records["type"] == MESSAGE))
        counts = np.bincount(records["provider"] + _KERNEL_GROUPS)
        for place in np.flatnonzero(counts).tolist():
            ordinal = place - _KERNEL_GROUPS
            self.provider_counts[ordinal] = self.provider_counts.get(ordinal, 0) + int(counts[place])

    def _count(self, records: Records) -> None:
        key = (
            records["provider"].astype(np.int64) << 32
            | records["id"].astype(np.int64) << 16
            | records["version"].astype(np.int64) << 8
            | records["opcode"].astype(np.int64)
        )
        for value, count in zip(*np.unique(key, return_counts=True), strict=True):
            number = int(value)
            kind = EventKind(number >> 32, number >> 16 & 0xFFFF, number >> 8 & 0xFF, number & 0xFF)
            if len(self.event_counts) >= _MOST_KINDS and kind not in self.event_counts:
                kind = EventKind(kind.provider, 0xFFFF, 0xFF, 0xFF)  # no real trace comes here
            self.event_counts[kind] = self.event_counts.get(kind, 0) + int(count)


def _events(records: Records) -> EventTable:
    events = EventTable(len(records))
    for name in (
        "time",
        "provider",
        "id",
        "version",
        "opcode",
        "level",
        "type",
        "keyword",
        "process",
        "thread",
        "processor",
    ):
        events[name] = records[name]
    events["record"] = records["offset"]
    events["offset"] = records["offset"] + records["payload"]
    events["length"] = records["size"].astype(np.uint32) - records["payload"]
    return events


def mark_late(packets: PacketTable, latest: int) -> int:
    """Mark the packets that come after a later one, or before ``latest``; returns the latest time so far."""
    if not len(packets):
        return latest
    time = packets["time"]
    if int(time[0]) >= latest and not (time[1:] < time[:-1]).any():
        return int(time[-1])
    highest = np.maximum.accumulate(np.concatenate([[np.int64(latest)], time]))
    late = time < highest[:-1]
    packets.writable("flags")[late] |= np.uint32(Mark.LATE)
    return int(highest[-1])
