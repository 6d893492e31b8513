"""What ``etwcap info`` says of a trace or a capture file."""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from etwcap.filters.compiled import Filter
from etwcap.filters.stage import FilterStage
from etwcap.inspect.census import Census, InterfaceCount
from etwcap.inspect.recording import RecordingInfo, recording_info
from etwcap.native import backend
from etwcap.packets import Chunk, Context, Description, Interface, Note, Receipt
from etwcap.packets.linktypes import title
from etwcap.pipeline.protocols import Source
from etwcap.pipeline.recording import RepairedRecording
from etwcap.pipeline.run import Staged
from etwcap.providers.base import NetworkCard, TraceFacts
from etwcap.providers.names import (
    NDIS_PACKET_CAPTURE,
    PEF_NDIS,
    PKTMON,
    RAS_CAPTURE,
    WFP_CAPTURE,
    group_name,
    guid_text,
    provider_name,
)
from etwcap.providers.pktmon_names import location_name, reason_name
from etwcap.repair.loopback import LoopbackStage
from etwcap.repair.names import IPV6
from etwcap.repair.sightings import SightingStage
from etwcap.sources.absence import NoPackets, absence_in
from etwcap.sources.etl import EtlSource
from etwcap.sources.opening import open_source
from etwcap.sources.recording import RecordingSource

_MAKERS = {
    PKTMON: "pktmon",
    NDIS_PACKET_CAPTURE: "netsh trace, or another session with NdisCap",
    WFP_CAPTURE: "Message Analyzer, or another session with the WFP capture driver",
    RAS_CAPTURE: "a session with the RAS capture of ndiswan.sys",
    PEF_NDIS: "Message Analyzer on Windows 7 or 8",
}
_DIRECTIONS = ("received", "sent", "unknown")
_HEADERS = frozenset({IPV6})
"""A recording is counted with its headers rebuilt, so that filters see them."""


@dataclass(slots=True)
class EventInfo:
    """One kind of event and how often it came."""

    id: int
    version: int
    opcode: int
    name: str
    count: int


@dataclass(slots=True)
class ProviderInfo:
    """A provider and its events, packets included."""

    name: str
    """empty where neither the trace nor etwcap knows it"""
    guid: str
    """empty for a kernel group, whose records carry none"""
    events: int
    kinds: list[EventInfo] = field(default_factory=list)
    """the most frequent first"""


@dataclass(slots=True)
class InterfaceInfo:
    """An interface that packets were seen on."""

    interface: Interface
    count: InterfaceCount


@dataclass(slots=True)
class DropInfo:
    """Drop reports of one reason at one place."""

    reason: int
    name: str
    location: int
    location_name: str
    count: int


@dataclass(slots=True)
class TraceInfo:
    """All that is known of one input after one run over it."""

    path: str
    description: Description
    census: Census
    providers: list[ProviderInfo] = field(default_factory=list)
    """the busiest first; empty for a capture file"""
    interfaces: list[InterfaceInfo] = field(default_factory=list)
    drops: list[DropInfo] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    cards: list[NetworkCard] = field(default_factory=list)
    services: int = 0
    no_packets: NoPackets | None = None
    """why there are none; None where there are some"""
    recording: RecordingInfo | None = None
    """what a recording of raw sockets had"""
    backend: str = field(default_factory=backend)

    @property
    def kind(self) -> str:
        """etl, pcap, pcapng or recording."""
        return self.description.inputs[0].kind

    @property
    def size(self) -> int:
        """Bytes of the input."""
        return self.description.inputs[0].size

    @property
    def events(self) -> int:
        """All events of the trace, packets included; 0 for a capture file."""
        return sum(provider.events for provider in self.providers)

    @property
    def maker(self) -> str:
        """The tool that such a trace comes from, as far as its providers tell."""
        guids = {provider.guid for provider in self.providers}
        return next((tool for guid, tool in _MAKERS.items() if guid_text(guid) in guids), "")

    @property
    def exit_code(self) -> int:
        """0, or 4 where the input is damaged."""
        return 4 if self.description.damage_count else 0

    def by_tap(self) -> dict[str, int]:
        """Sightings by the mechanism that captured them ("" for a capture file)."""
        return self._by(lambda interface: interface.tap)

    def by_link_type(self) -> dict[str, int]:
        """Sightings by link type."""
        return self._by(lambda interface: title(interface.link_type))

    def by_direction(self) -> dict[str, int]:
        """Sightings received, sent, and of unknown direction."""
        return {name: sum(getattr(each.count, name) for each in self.interfaces) for name in _DIRECTIONS}

    def _by(self, key: Callable[[Interface], str]) -> dict[str, int]:
        counted: Counter[str] = Counter()
        for each in self.interfaces:
            counted[key(each.interface)] += each.count.packets
        return dict(counted.most_common())

    def as_dict(self) -> dict[str, Any]:
        """Everything, of types that JSON has. Times are ISO 8601 in UTC with nine digits of the second."""
        from etwcap.inspect.as_json import trace_info_dict

        return trace_info_dict(self)

    def render(self, width: int = 100) -> str:
        """Plain text for people, lines up to ``width`` where names allow."""
        from etwcap.inspect.render import render

        return render(self, width)


def describe_trace(
    path: str | os.PathLike[str],
    *,
    filter: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TraceInfo:
    """Read an ETL, pcap or pcapng file once and tell what is in it; "-" is standard input. A recording of raw sockets
    is read twice, as ``convert`` does.

    ``filter``: count only packets that match this expression of pcap-filter(7). ``progress`` is told (bytes done, bytes
    in all). Raises FilterError for a filter that cannot be understood, InputError where the file cannot be read and
    NotATraceError where it is no trace; damage is no error, it stands in the result.
    """
    chosen = Filter(filter) if filter is not None else None
    context = Context()
    source = open_source(path, context, count_events=True)
    try:
        census = Census()
        matching = FilterStage(context, chosen) if chosen is not None else None
        packets: Source = RepairedRecording(source, _HEADERS) if isinstance(source, RecordingSource) else source
        packets = Staged(packets, [matching]) if matching is not None else packets
        census.run(packets, _Selection(context) if isinstance(source, EtlSource) else None, progress)
        info = TraceInfo(os.fspath(path), source.describe(), census)
        info.interfaces = [
            InterfaceInfo(context.interfaces[number], count) for number, count in sorted(census.interfaces.items())
        ]
        info.notes = list(context.receipt.notes.values())
        if isinstance(source, EtlSource):
            _tell_trace(info, source)
        elif isinstance(source, RecordingSource):
            info.recording = recording_info(source)
        if matching is not None and matching.left_out:
            info.no_packets = None
    finally:
        source.close()
    return info


class _Selection:
    """What ``convert`` would keep by default; what it has to say about it stays out of the notes."""

    def __init__(self, context: Context) -> None:
        apart = copy.copy(context)
        apart.receipt = Receipt()
        self._sightings = SightingStage(apart)
        self._loopback = LoopbackStage(apart)

    def process(self, chunk: Chunk) -> Chunk:
        """The packets that are kept and decided."""
        return self._loopback.process(self._sightings.process(chunk))

    def finish(self) -> Chunk | None:
        """The rest of them."""
        rest = self._sightings.finish()
        return None if rest is None else self._loopback.process(rest)


def _tell_trace(info: TraceInfo, source: EtlSource) -> None:
    facts = source.facts
    info.cards = sorted(facts.cards.values(), key=lambda card: card.index)
    info.services = len(facts.services)
    build = _build(facts)
    info.drops = [
        DropInfo(reason, reason_name(reason, facts.drop_reason_texts, build), location, location_name(location), count)
        for (reason, location), count in info.census.drops.most_common()
    ]
    names = _names(source, info.census)
    info.providers = _providers(source, names)
    if not info.census.packets:
        info.no_packets = absence_in(source, names)


def _build(facts: TraceFacts) -> int:
    parts = facts.machine.os_version.split(".")
    return int(parts[2]) if len(parts) > 2 and parts[2].isdecimal() else 0


def _names(source: EtlSource, census: Census) -> dict[int, str]:
    """Provider names by ordinal: from its schemas, its traits, or the table of those well known."""
    guids = source.provider_guids
    names = {}
    for ordinal in {kind.provider for kind in source.event_counts}:
        if ordinal < 0:
            names[ordinal] = group_name(-1 - ordinal)
        elif ordinal < len(guids):
            names[ordinal] = (
                source.facts.schemas.provider_name(guids[ordinal])
                or census.provider_names.get(ordinal)
                or provider_name(guids[ordinal])
                or ("WPP messages" if ordinal in census.messages else "")
            )
        else:
            names[ordinal] = "WPP messages without a GUID" if ordinal in census.messages else "no GUID"
    return names


def _providers(source: EtlSource, names: dict[int, str]) -> list[ProviderInfo]:
    guids = source.provider_guids
    found: dict[int, ProviderInfo] = {}
    for kind, count in sorted(source.event_counts.items(), key=lambda each: -each[1]):
        guid = guids[kind.provider] if 0 <= kind.provider < len(guids) else b""
        schema = source.facts.schemas.event(guid, kind.id, kind.version) if guid else None
        known = found.get(kind.provider)
        if known is None:
            known = found[kind.provider] = ProviderInfo(names[kind.provider], guid_text(guid) if guid else "", 0)
        known.events += count
        name = (schema.event_name or schema.task_name) if schema else ""
        known.kinds.append(EventInfo(kind.id, kind.version, kind.opcode, name, count))
    return sorted(found.values(), key=lambda provider: -provider.events)
