"""Writing packets as a trace session would: a tap's events, schemas before them, machine facts around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from etwcap.etl import layout
from etwcap.etl.build import event_record, full_header_record, system_record
from etwcap.etl.time import FILETIME_HZ, FILETIME_OF_1970, filetime
from etwcap.etl.writer import EtlWriter
from etwcap.packets import Chunk, Context, EventTable, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.packets.held import HeldRows
from etwcap.packets.table import NO_PROCESS
from etwcap.synth import machine, offload
from etwcap.synth.as_ndiscap import FIRST_BUILD_WITH_TRAILER, NdisCapTap
from etwcap.synth.as_pktmon import PktMonTap
from etwcap.synth.as_ras import RasTap
from etwcap.synth.as_vmswitch import VmSwitchTap
from etwcap.synth.as_wfp import WfpTap
from etwcap.synth.intake import Intake
from etwcap.synth.options import SynthOptions
from etwcap.synth.records import Pool, event_heads, lay_out
from etwcap.synth.schemas import Schemas
from etwcap.synth.sides import Sides
from etwcap.synth.taps import ALL_LINKS, SideEvent, Tap

TAPS: dict[str, type[Tap]] = {each.name: each for each in (NdisCapTap, PktMonTap, VmSwitchTap, WfpTap, RasTap)}
BEFORE_FIRST = 1_000_000_000
"""ns from the start of the session to its first packet"""
AFTER_LAST = 1_000_000
"""ns from the last packet to the rundown"""
_SIGHTINGS = 1 << 16
"""made at once, about"""
_TOGETHER = 4
"""times in a row whose packets one processor handles"""
_SYSTEM, _STOPPER = (4, 8), (5312, 7044)
"""Process and thread: what the kernel does by itself; the tool that stops the session."""


class Recorder:
    """Takes chunks of packets in time order and writes the trace."""

    def __init__(self, path: Path, options: SynthOptions, context: Context) -> None:
        self._path = path
        self._options = options
        self.context = context
        self._sides = Sides(options.local)
        kind = TAPS[options.tap]
        self.intake = Intake(context, self._sides, kind.link_types or ALL_LINKS, options.tap)
        self.tap = kind(options, context, self.intake.adapters, self.intake.headers)
        room = options.buffer_size - layout.BUFFER_HEADER_SIZE
        self._schemas = Schemas(
            self.tap.guid,
            min(room, layout.MAXIMUM_RECORD) // 8 * 8 - layout.FULL_HEADER.itemsize,
            trailer=options.os_build >= FIRST_BUILD_WITH_TRAILER,
        )
        self._writer: EtlWriter | None = None
        self._held = HeldRows()
        self._stamp: int | None = None
        self._group = 0
        self._last = (0, 0)
        """time of the last event in ns, and its processor"""
        self.packets = 0
        self.received = 0
        self.records = 0
        """of packets; side events are not counted"""
        self.span: tuple[int, int] | None = None

    @property
    def guessed(self) -> str:
        """The address taken for the machine's own, if it had to be guessed."""
        return self._sides.guessed

    def write(self, chunk: Chunk) -> None:
        """Report the packets of a chunk, whose table is that of ``Intake.take``, none earlier than those before."""
        packets = chunk.packets
        if not len(packets):
            return
        headers = self.intake.headers(chunk.buffer, packets)
        if self._options.lso:
            chunk = offload.merge_segments(chunk, headers, self.context)
            headers = self.intake.headers(chunk.buffer, chunk.packets)
        if self._options.offload:
            offload.leave_checksums_open(chunk, headers, self.context)
        table = self.tap.prepare(chunk, headers)
        rows = max(_SIGHTINGS // (2 * self._options.appearances), 1)
        for first in range(0, len(table), rows):
            self._report(Chunk(chunk.buffer, table.take(slice(first, first + rows)), chunk.events, chunk.complete_to))

    def _report(self, chunk: Chunk) -> None:
        """Write the sightings of packets that the tap has prepared, but for the last ones."""
        table = chunk.packets
        if self._writer is None:
            self._writer = self._begin(int(table["time"][0]))
        self._count(table)
        table["processor"] = self._processors(self._raw(table["time"]))
        self._own(table)
        sightings = self.tap.sightings(chunk, self.intake.headers(chunk.buffer, table))
        self._emit(chunk, sightings, int(table["time"][-1]) - self.tap.span)

    def finish(self) -> None:
        """Write what is held, the rundown and the header; without any packet there is no file."""
        if self._writer is None:
            return
        empty = Chunk(np.empty(0, np.uint8), PacketTable(0), EventTable(0), END_OF_TIME)
        self._emit(empty, empty.packets, END_OF_TIME)
        if self._options.unclosed:
            self.context.receipt.note("unclosed", "the session was never closed: no rundown, no end time")
        else:
            self._end()
        self._writer.close()

    def abort(self) -> None:
        """Leave no file behind."""
        if self._writer is not None:
            self._writer.__exit__(RuntimeError, None, None)

    def _begin(self, first: int) -> EtlWriter:
        start = filetime(first - BEFORE_FIRST)
        settings = self._options.settings(start)
        writer = EtlWriter(self._path, settings)
        stamp, pointer_size = settings.first_stamp, settings.pointer_size
        for opcode, facts in machine.facts_at_start():
            writer.add(0, full_header_record(layout.SYSTEM_CONFIG_EX, opcode, facts, time=stamp))
        self._writer = writer
        for event in self.tap.beginning():
            self._side_event(event, stamp, 0, pointer_size)
        return writer

    def _end(self) -> None:
        writer = self._writer
        assert writer is not None
        settings = writer.settings
        time, processor = self._last
        time += AFTER_LAST
        for event in self.tap.rundown():
            time += 1000
            self._side_event(event, self._raw_of(time), processor, settings.pointer_size)
        stamp = self._raw_of(time)
        layers = max(self._options.appearances - 1, 1)
        for opcode, facts in machine.facts_at_end(self.intake.adapters, self._options.os_build, layers):
            writer.add(processor, full_header_record(layout.SYSTEM_CONFIG_EX, opcode, facts, time=stamp))
        for hook, version, payload in machine.hooks_at_end(self.intake.adapters, settings.processors, settings.cpu_mhz):
            record = system_record(
                hook, payload, time=stamp, version=version, process=4, thread=8, pointer_size=settings.pointer_size
            )
            writer.add(processor, record)

    def _side_event(self, event: SideEvent, stamp: int, processor: int, pointer_size: int) -> None:
        assert self._writer is not None
        self._schema(event.id, event.keyword, event.level, stamp, processor)
        self._writer.add(
            processor,
            event_record(
                self.tap.guid, event.id, event.payload, time=stamp, process=_STOPPER[0], thread=_STOPPER[1],
                level=event.level, keyword=event.keyword, pointer_size=pointer_size,
            ),
        )  # fmt: skip

    def _schema(self, event_id: int, keyword: int, level: int, stamp: int, processor: int) -> None:
        assert self._writer is not None
        for opcode, schema in self._schemas.before(event_id, keyword, level):
            self._writer.add(processor, full_header_record(layout.EVENT_METADATA, opcode, schema, time=stamp))

    def _count(self, table: PacketTable) -> None:
        self.packets += len(table)
        self.received += int(np.count_nonzero(table["direction"] == 1))
        first = self.span[0] if self.span else int(table["time"][0])
        self.span = first, int(table["time"][-1])

    def _own(self, table: PacketTable) -> None:
        """A process for every packet: the capture's, else System and its thread for the processor."""
        unknown = table["process"] == NO_PROCESS
        table["process"] = np.where(unknown, _SYSTEM[0], table["process"])
        thread = _SYSTEM[1] + 4 * table["processor"].astype(np.uint32)
        table["thread"] = np.where(unknown | (table["thread"] == NO_PROCESS), thread, table["thread"])

    def _raw_of(self, time: int) -> int:
        return int(self._raw(np.array([time], np.int64))[0])

    def _raw(self, time: NDArray[np.int64]) -> NDArray[np.int64]:
        """The raw stamps of times in ns: the first tick that reads as that time, or a later one of a coarser clock."""
        assert self._writer is not None
        clock = self._writer.settings.clock
        start, raw0 = clock.origin
        since = time // 100 + np.int64(FILETIME_OF_1970 - start)
        whole, rest = since // FILETIME_HZ, since % FILETIME_HZ
        ticks: NDArray[np.int64] = raw0 + whole * clock.frequency + -(-rest * clock.frequency // FILETIME_HZ)
        return ticks

    def _processors(self, stamp: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Packets of one time stay on one processor, or the trace could not tell their order."""
        before = np.concatenate([[stamp[0] if self._stamp is None else self._stamp], stamp[:-1]])
        group = self._group + np.cumsum(stamp != before)
        self._stamp, self._group = int(stamp[-1]), int(group[-1])
        salt = self._options.seed * 0x9E3779B97F4A7C15 & (1 << 64) - 1
        word = (group // _TOGETHER).astype(np.uint64) + np.uint64(salt)
        word = (word ^ word >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ word >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        word ^= word >> np.uint64(31)
        chosen: NDArray[np.uint16] = (word % np.uint64(self._options.processors)).astype(np.uint16)
        return chosen

    def _emit(self, chunk: Chunk, sightings: PacketTable, complete: int) -> None:
        """Write the sightings before ``complete`` in time order; hold the others."""
        held = self._held.packets
        rows = PacketTable.concat([held, sightings])
        from_held = np.arange(len(rows)) < len(held)
        time = rows["time"]
        if (time[1:] < time[:-1]).any():
            order = np.argsort(time, kind="stable")
            rows, from_held = rows.take(order), from_held[order]
        passed = int(np.searchsorted(rows["time"], complete, "left")) if complete != END_OF_TIME else len(rows)
        out = self._held.release(chunk, rows, from_held, passed, complete)
        if len(out.packets):
            self._write_events(out)

    def _write_events(self, chunk: Chunk) -> None:
        assert self._writer is not None
        writer = self._writer
        pool = Pool(chunk.buffer)
        events = self.tap.events(chunk, pool)
        order = np.argsort(chunk.packets["processor"][events.row], kind="stable")
        events = events.take(order)
        rows = events.row
        heads = event_heads(self.tap.guid, events, writer.settings.pointer_size)
        for name in ("process", "thread"):
            heads[name] = chunk.packets[name][rows]
        heads["time"] = self._raw(chunk.packets["time"])[rows]
        data, ends = lay_out(heads, events.pieces, pool)
        processor = chunk.packets["processor"][rows]
        starts = np.flatnonzero(np.concatenate([[True], processor[1:] != processor[:-1]]))
        for first, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
            begin = int(ends[first - 1]) if first else 0
            number = int(processor[first])
            for each in np.unique(events.id[first:stop]).tolist():
                at = first + int(np.argmax(events.id[first:stop] == each))
                self._schema(each, int(events.keyword[at]), int(events.level[at]), int(heads["time"][first]), number)
            writer.add_many(number, data[begin : int(ends[stop - 1])], ends[first:stop] - begin)
        newest = int(np.argmax(chunk.packets["time"]))
        self._last = max(self._last, (int(chunk.packets["time"][newest]), int(chunk.packets["processor"][newest])))
        self.records += len(rows)
