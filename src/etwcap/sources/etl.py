"""ETL files as a source: the container's records, turned into packets and events by the providers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from etwcap.etl import layout
from etwcap.etl.buffers import BufferTable, read_buffers
from etwcap.etl.logfile import LogfileHeader
from etwcap.etl.records import MESSAGE, Records, pick
from etwcap.etl.recover import read_logfile_header
from etwcap.etl.time import FILETIME_HZ, unix_ns
from etwcap.native.etl import ClockRule, Engine, open_merge
from etwcap.native.twin_etl import CUT, MARKER, READ, RECORD_SIZE, RECORD_TYPE, STREAM
from etwcap.packets import (
    Chunk,
    Context,
    Damage,
    Description,
    EventTable,
    InputFacts,
    Machine,
    Mark,
    PacketTable,
    Session,
)
from etwcap.packets.backlog import Backlog
from etwcap.packets.chunk import END_OF_TIME
from etwcap.providers import packet_providers
from etwcap.providers.base import PacketProvider, TraceFacts
from etwcap.providers.event_metadata import EventMetadata
from etwcap.providers.system import SystemFacts

_RUNDOWN_DEPTH = 8
"""Buffers of each chain, from its end, that are looked at for the rundown at most."""


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
    """ordinal in ``EtlSource.provider_guids``; below 0: kernel group -1 - provider"""
    id: int
    version: int
    opcode: int


class EtlSource:
    """An ETL file.

    ``file`` is a path or the descriptor of a file that can be read at any place, which the source then closes. Raises
    OSError where it cannot be opened or read and NotATraceError where it is no ETL file; ``sources.opening`` does
    both better.
    """

    def __init__(
        self, file: str | os.PathLike[str] | int, context: Context, *, name: str = "", count_events: bool = False
    ) -> None:
        self.name = name or str(file)
        self.context = context
        self._descriptor = file if isinstance(file, int) else os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._engine: Engine | None = None
        self._count_events = count_events
        self.provider_guids: list[bytes] = []
        """by ordinal, as far as met"""
        self.provider_counts: dict[int, int] = {}
        """records by provider ordinal (below 0: kernel group -1 - ordinal)"""
        self.messages = 0
        """WPP messages among the records"""
        self.event_counts: dict[EventKind, int] = {}
        """how often each kind of event came, packets included; only with ``count_events``"""
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def describe(self) -> Description:
        """What is known of the trace; its losses and damage grow while it is read."""
        return self.facts.description

    def progress(self) -> tuple[int, int]:
        """(bytes of the file read, its size)."""
        return (self._engine.bytes_read if self._engine else 0), self.size

    def close(self) -> None:
        """Release the file."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    # ---- before the first packet ----

    def _prepare(self) -> None:
        self.size = os.fstat(self._descriptor).st_size
        self.header, broken = read_logfile_header(self._descriptor, self.size, self.name)
        description = Description(inputs=[InputFacts(self.name, self.size, "etl")])
        description.session = _session(self.header)
        description.machine = _machine(self.header)
        for each in broken:
            description.add_damage(each)
        self.facts = TraceFacts(description, description.machine)
        self.buffers = read_buffers(self._descriptor, self.size, self.header, self.name, description)
        self.providers: list[PacketProvider] = [make(self.context, self.facts) for make in packet_providers()]
        self.metadata = EventMetadata(self.facts)
        self._seed = [provider.guid for provider in self.providers]
        self._seed += [guid for guid in (SystemFacts.guid, EventMetadata.guid) if guid not in self._seed]
        self.provider_guids = list(self._seed)
        self._learners: list[Learner] = [SystemFacts(self.facts, self._seed.index(SystemFacts.guid))]
        self.metadata.ordinal = self._seed.index(EventMetadata.guid)
        self._learners.append(self.metadata)
        self._read_rundown()

    def _rule(self) -> ClockRule:
        start, raw0 = self.header.clock.origin
        return ClockRule(0, start, raw0, FILETIME_HZ, self.header.clock.frequency)

    def _merge(self, table: BufferTable) -> Engine:
        return open_merge(self._descriptor, table.buffers, table.chain_starts, self._rule(), self._seed)

    def _read_rundown(self) -> None:
        """Learn what stands at the end of the trace: components, counters, network cards, schemas of late events.

        What is found broken on the way is not told: the whole reading comes upon it again.
        """
        description, receipt = self.facts.description, self.context.receipt
        told, count = len(description.damage), description.damage_count
        notes = {kind: replace(note) for kind, note in receipt.notes.items()}
        for depth in range(1, _RUNDOWN_DEPTH + 1):
            table = self.buffers.last_of_chains(depth)
            if not self._rundown_reaches_back(table) or len(table.buffers) == len(self.buffers.buffers):
                break
        del description.damage[told:]
        description.damage_count, receipt.notes = count, notes
        self.facts.buffer_offsets = self.buffers.buffers["offset"]

    def _rundown_reaches_back(self, table: BufferTable) -> bool:
        engine = self._merge(table)
        self.facts.buffer_offsets = table.buffers["offset"]
        firsts = set(table.chain_starts[:-1].tolist())
        inside = False
        try:
            while (records := engine.next()) is not None:
                told = self._learn(engine.buffer, records)
                # the first record of a chain's first buffer here: is the rundown already under way?
                begins = (records["position"] == layout.BUFFER_HEADER_SIZE) & told
                inside = inside or any(int(buffer) in firsts for buffer in records["buffer"][begins])
        finally:
            engine.close()
        return inside

    def _learn(self, buffer: NDArray[np.uint8], records: Records) -> NDArray[np.bool_]:
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

    # ---- the packets ----

    def chunks(self) -> Iterator[Chunk]:
        """Packets and events of the whole file, in time order."""
        engine = self._engine = self._merge(self.buffers)
        annex, backlog = self.facts.annex, Backlog()
        latest = -(2**63)
        try:
            while (records := engine.next()) is not None:
                if engine.guid_count != len(self.provider_guids):
                    self.provider_guids = engine.guids()
                self._count_providers(records)
                packets, events = self._split(engine.buffer, records)
                chunk = annex.lay_out(Chunk(engine.buffer, packets, events, engine.complete_to))
                chunk = backlog.pass_on(chunk, annex.since)
                latest = _mark_late(chunk.packets, latest)
                yield chunk
            self._report_issues(engine)
            for provider in self.providers:
                provider.finish()
            end = backlog.rest(Chunk(engine.buffer, PacketTable(0), EventTable(0), END_OF_TIME))
            _mark_late(end.packets, latest)
            yield end
        finally:
            engine.close()

    def _split(self, buffer: NDArray[np.uint8], records: Records) -> tuple[PacketTable, EventTable]:
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
        self.context.receipt.events_read += len(others)
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

    def _report_issues(self, engine: Engine) -> None:
        issues, count = engine.issues()
        description = self.facts.description
        for issue in issues:
            description.add_damage(self._damage(issue))
        description.damage_count += max(0, count - len(issues))

    def _damage(self, issue: Any) -> Damage:
        row = self.buffers.buffers[int(issue["buffer"])]
        kind, position, detail = int(issue["kind"]), int(issue["position"]), int(issue["detail"])
        packed = bool(row["flags"] & layout.BUFFER_FLAG_COMPRESSED)
        offset = int(row["offset"]) + (0 if packed else position)
        place = f" (byte {position} of the unpacked buffer)" if packed else ""
        severity = "unknown" if kind == RECORD_TYPE else "damage"
        text = {
            RECORD_SIZE: f"a record whose size cannot be{place}; {detail} bytes passed over",
            RECORD_TYPE: f"a record of an unknown kind, marker {detail:#010x}{place}, skipped",
            STREAM: f"the compressed stream of this buffer breaks off{place}; {detail} unpacked bytes are missing",
            CUT: f"the file ends inside a buffer; {detail} bytes are missing",
            READ: f"the file could not be read here; {detail} bytes are missing",
            MARKER: f"no record where one should begin{place}; {detail} bytes passed over",
        }[kind]
        lost = 0 if kind == RECORD_TYPE else detail
        return Damage(self.name, offset, text, lost, severity)


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


def _mark_late(packets: PacketTable, latest: int) -> int:
    """Mark the packets that come after a later one; returns the latest time so far."""
    if not len(packets):
        return latest
    time = packets["time"]
    if int(time[0]) >= latest and not (time[1:] < time[:-1]).any():
        return int(time[-1])
    highest = np.maximum.accumulate(np.concatenate([[np.int64(latest)], time]))
    late = time < highest[:-1]
    packets.writable("flags")[late] |= np.uint32(Mark.LATE)
    return int(highest[-1])


def _session(header: LogfileHeader) -> Session:
    return Session(
        name=header.logger_name,
        log_file=header.log_file_name,
        start=unix_ns(header.clock.start),
        end=unix_ns(header.end_time) if header.end_time else None,
        clock_type=header.clock.type,
        frequency=header.clock.perf_freq,
        mode=header.mode,
        buffer_size=header.buffer_size,
        pointer_size=header.pointer_size,
    )


def _machine(header: LogfileHeader) -> Machine:
    return Machine(
        os_version=f"{header.os_major}.{header.os_minor}.{header.build}",
        processors=header.processors,
        cpu_mhz=header.cpu_mhz,
        boot_time=unix_ns(header.boot_time) if header.boot_time else 0,
        bias_minutes=header.bias_minutes,
    )
