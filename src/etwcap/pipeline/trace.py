"""``etwcap.open``: a trace or capture as a Python object."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.decode import decode_record
from etwcap.packets import (
    Chunk,
    Context,
    Damage,
    Description,
    EventTable,
    Interface,
    Losses,
    Machine,
    Mark,
    PacketTable,
    Receipt,
    Session,
)
from etwcap.packets.table import NO_PROCESS
from etwcap.pipeline.convert import etl_stages
from etwcap.pipeline.protocols import Source
from etwcap.pipeline.recording import RepairedRecording
from etwcap.pipeline.run import Staged
from etwcap.providers.base import NetworkCard
from etwcap.providers.names import group_name, provider_name
from etwcap.providers.pktmon import PktMonProvider
from etwcap.providers.pktmon_components import Component
from etwcap.repair.names import parse_repairs
from etwcap.sources.etl import EtlSource
from etwcap.sources.opening import FileSource, open_source
from etwcap.sources.recording import RecordingSource

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DIRECTIONS = ("", "in", "out", "")


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet; its bytes are its own."""

    time: int
    """ns since 1970 UTC"""
    data: bytes
    original_length: int
    interface: Interface
    direction: str
    """"in", "out" or "" (not known)"""
    process: int | None
    """process id in the event header, where it may be taken for the sender's"""
    drop_count: int
    """how many drop reports concern this packet"""
    drop_reason: int
    drop_location: int
    packet_id: int
    """0: none"""
    marks: Mark
    comment: str
    seen_at: str
    """where: "tcpip.sys Lower"; empty where the trace does not say"""

    @property
    def datetime(self) -> datetime:
        """The time in UTC, cut to microseconds."""
        return _EPOCH + timedelta(microseconds=self.time // 1000)

    @property
    def dropped(self) -> bool:
        """Whether Windows reported that it dropped the packet."""
        return self.drop_count > 0


@dataclass(frozen=True, slots=True)
class Event:
    """One event that is no packet, decoded by its schema where the trace has one."""

    time: int
    """ns since 1970 UTC"""
    provider: str
    """name, or GUID in braces"""
    id: int
    version: int
    process: int
    thread: int
    name: str
    fields: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """by property name; empty where no schema is known"""
    payload: bytes = b""


class Trace:
    """A trace or capture file. Each iteration reads the file anew, so nothing of it is held in memory.

    >>> with etwcap.open("trace.etl") as trace:          # doctest: +SKIP
    ...     for packet in trace:
    ...         print(packet.datetime, packet.interface.name, len(packet.data))
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        appearances: str = "wire",
        drops: bool = True,
        ethernet: bool = False,
        repair: str = "auto",
        radiotap: bool = True,
    ) -> None:
        """Open a file; the options are those of ``etwcap convert``.

        Raises InputError, NotATraceError and UsageError.
        """
        self.path = os.fspath(path)
        self._repairs = parse_repairs(repair)
        self._appearances, self._drops, self._ethernet = appearances, drops, ethernet
        self._radiotap = radiotap and not ethernet
        self._context = self._new_context()
        self._source: FileSource | None = open_source(self.path, self._context)
        self._description = self._source.describe()
        self._fresh = True

    def __enter__(self) -> Trace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        if self._source is not None:
            self._source.close()
            self._source = None

    # ---- the side tables ----

    @property
    def description(self) -> Description:
        """What the trace says of itself; damage and losses are complete after one reading."""
        return self._description

    @property
    def session(self) -> Session | None:
        """The session that wrote an ETL trace."""
        return self._description.session

    @property
    def machine(self) -> Machine:
        """The traced machine."""
        return self._description.machine

    @property
    def losses(self) -> Losses:
        """What never reached the file."""
        return self._description.losses

    @property
    def damage(self) -> list[Damage]:
        """Where the file is broken; complete after one reading."""
        return self._description.damage

    @property
    def interfaces(self) -> list[Interface]:
        """The interfaces met so far; complete after one reading."""
        return list(self._context.interfaces)

    @property
    def cards(self) -> list[NetworkCard]:
        """The interface table of the traced machine, where the trace has it."""
        return list(self._source.facts.cards.values()) if isinstance(self._source, EtlSource) else []

    @property
    def components(self) -> list[Component]:
        """PktMon's components with their edges, properties and counters, where the trace has its rundown."""
        if not isinstance(self._source, EtlSource):
            return []
        trees = [each.tree for each in self._source.providers if isinstance(each, PktMonProvider)]
        return [component for tree in trees for component in tree.components.values()]

    @property
    def receipt(self) -> Receipt:
        """What the last reading did: packets, repairs, notes."""
        return self._context.receipt

    # ---- the packets ----

    def chunks(self) -> Iterator[Chunk]:
        """The packets as columns; a chunk is valid until the next one is asked for."""
        yield from self._begin().chunks()

    def __iter__(self) -> Iterator[Packet]:
        """The packets, one Python object each: convenient, and far slower than ``chunks``."""
        return self.packets()

    def packets(self) -> Iterator[Packet]:
        """The packets in time order."""
        for chunk in self.chunks():
            yield from self._objects(chunk)

    def table(self) -> tuple[PacketTable, NDArray[np.uint8]]:
        """All packets as one table, and the buffer that holds their bytes (in memory: for traces that fit)."""
        from etwcap.native.ranges import pack_ranges

        tables, buffers = [], []
        base = 0
        for chunk in self.chunks():
            if not len(chunk.packets):
                continue
            rows = chunk.packets.take(slice(None))
            for place, size in (("offset", "captured"), ("options_offset", "options_length")):
                if size in rows:
                    packed, placed = pack_ranges(chunk.buffer, rows[place], rows[size])
                    rows[place] = placed + base
                    base += len(packed)
                    buffers.append(packed)
            for name, column in rows.columns.items():
                rows.columns[name] = column.copy()
            tables.append(rows)
        whole = np.concatenate(buffers) if buffers else np.empty(0, np.uint8)
        return PacketTable.concat(tables), whole

    def columns(self) -> dict[str, NDArray[Any]]:
        """All packets as NumPy columns by name (``etwcap.PacketTable.SCHEMA`` has units), without their bytes."""
        tables = []
        for chunk in self.chunks():
            if len(chunk.packets):
                rows = PacketTable(len(chunk.packets))
                rows.columns = {name: column.copy() for name, column in chunk.packets.columns.items()}
                tables.append(rows)
        whole = PacketTable.concat(tables)
        return {name: whole[name] for name in PacketTable.SCHEMA if not name.startswith(("offset", "options"))}

    def events(self) -> Iterator[Event]:
        """The events that are no packets, decoded where the trace holds their schema."""
        source = self._begin()
        inner = self._source
        if not isinstance(inner, EtlSource):
            return
        for chunk in source.chunks():
            for row in range(len(chunk.events)):
                yield self._event(inner, chunk.buffer, chunk.events, row)

    def _new_context(self) -> Context:
        context = Context()
        context.radiotap = self._radiotap
        return context

    def _begin(self) -> Source:
        """A source at the start of the file: the one that was opened, or one opened anew."""
        if self._source is None:
            raise ValueError("the trace is closed")
        if not self._fresh:
            self._source.close()
            self._context = self._new_context()
            self._source = open_source(self.path, self._context)
            self._description = self._source.describe()
        self._fresh = False
        self._context.descriptions = [self._description]
        if isinstance(self._source, RecordingSource):
            return RepairedRecording(self._source, self._repairs)
        if not isinstance(self._source, EtlSource):
            return self._source
        stages = etl_stages(
            self._context, self._appearances, drops=self._drops, ethernet=self._ethernet, repairs=self._repairs
        )
        return Staged(self._source, stages)

    def _objects(self, chunk: Chunk) -> Iterator[Packet]:
        packets, context = chunk.packets, self._context
        names = (
            "time", "offset", "captured", "original", "interface", "direction", "process", "flags", "drop_count",
            "drop_reason", "drop_location", "packet_id", "comment", "point",
        )  # fmt: skip
        for (
            time,
            offset,
            captured,
            original,
            interface,
            direction,
            process,
            flags,
            count,
            reason,
            place,
            number,
            comment,
            point,
        ) in zip(*(packets[name].tolist() for name in names), strict=True):
            trusted = flags & Mark.PROCESS_TRUSTED and process != NO_PROCESS
            yield Packet(
                time=time,
                data=chunk.buffer[offset : offset + captured].tobytes(),
                original_length=original,
                interface=context.interfaces[interface],
                direction=_DIRECTIONS[direction & 3],
                process=process if trusted else None,
                drop_count=count,
                drop_reason=reason,
                drop_location=place,
                packet_id=number,
                marks=Mark(flags),
                comment=context.comments.texts[comment] if comment >= 0 else "",
                seen_at=context.points[point].name if point >= 0 else "",
            )

    def _event(self, source: EtlSource, buffer: NDArray[np.uint8], events: EventTable, row: int) -> Event:
        start, length = int(events["offset"][row]), int(events["length"][row])
        record = buffer[int(events["record"][row]) : start + length].tobytes()
        decoded = decode_record(record, source.facts.schemas)
        return Event(
            time=int(events["time"][row]),
            provider=decoded.provider_name or self._provider_name(source, int(events["provider"][row])),
            id=int(events["id"][row]),
            version=int(events["version"][row]),
            process=int(events["process"][row]),
            thread=int(events["thread"][row]),
            name=decoded.name,
            fields=MappingProxyType(decoded.values),
            payload=record[len(record) - length :] if length else b"",
        )

    @staticmethod
    def _provider_name(source: EtlSource, ordinal: int) -> str:
        if ordinal < 0:
            return group_name(-1 - ordinal)
        guids = source.provider_guids
        return provider_name(guids[ordinal]) if ordinal < len(guids) else ""
