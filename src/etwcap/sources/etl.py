"""ETL files as a source: the container's records, turned into packets and events by the providers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from etwcap.etl import layout
from etwcap.etl.buffers import BufferTable, read_buffers
from etwcap.etl.logfile import LogfileHeader
from etwcap.etl.recover import read_logfile_header
from etwcap.etl.time import FILETIME_HZ, unix_ns
from etwcap.native.etl import ClockRule, Engine, open_merge
from etwcap.native.twin_etl import CUT, MARKER, READ, RECORD_SIZE, RECORD_TYPE, STREAM
from etwcap.packets import Chunk, Context, Damage, Description, InputFacts, Machine, Session
from etwcap.providers.base import TraceFacts
from etwcap.sources.decoding import EventKind, RecordDecoder

_RUNDOWN_DEPTH = 8
"""Buffers of each chain, from its end, that are looked at for the rundown at most."""


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
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def describe(self) -> Description:
        """What is known of the trace; its losses and damage grow while it is read."""
        return self.facts.description

    @property
    def provider_counts(self) -> dict[int, int]:
        """Records by provider ordinal (below 0: kernel group -1 - ordinal)."""
        return self.decoder.provider_counts

    @property
    def messages(self) -> int:
        """WPP messages among the records."""
        return self.decoder.messages

    @property
    def event_counts(self) -> dict[EventKind, int]:
        """How often each kind of event came, packets included; only with ``count_events``."""
        return self.decoder.event_counts

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
        self.decoder = RecordDecoder(self.context, self.facts, count_events=self._count_events)
        self.providers, self.metadata = self.decoder.providers, self.decoder.metadata
        self.provider_guids = list(self.decoder.seed)
        self._read_rundown()

    def _rule(self) -> ClockRule:
        start, raw0 = self.header.clock.origin
        return ClockRule(0, start, raw0, FILETIME_HZ, self.header.clock.frequency)

    def _merge(self, table: BufferTable) -> Engine:
        return open_merge(self._descriptor, table.buffers, table.chain_starts, self._rule(), self.decoder.seed)

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
                told = self.decoder.learn(engine.buffer, records)
                # the first record of a chain's first buffer here: is the rundown already under way?
                begins = (records["position"] == layout.BUFFER_HEADER_SIZE) & told
                inside = inside or any(int(buffer) in firsts for buffer in records["buffer"][begins])
        finally:
            engine.close()
        return inside

    # ---- the packets ----

    def chunks(self) -> Iterator[Chunk]:
        """Packets and events of the whole file, in time order."""
        engine = self._engine = self._merge(self.buffers)
        try:
            while (records := engine.next()) is not None:
                if engine.guid_count != len(self.provider_guids):
                    self.provider_guids = engine.guids()
                yield self.decoder.chunk(engine.buffer, records, engine.complete_to)
            self._report_issues(engine)
            yield self.decoder.last(engine.buffer)
        finally:
            engine.close()

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
