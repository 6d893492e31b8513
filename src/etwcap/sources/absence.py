"""Why a trace holds no packets, and the Windows commands that would have captured some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from etwcap.providers.names import (
    BOOKKEEPING,
    CLR_PROVIDERS,
    NDIS_PACKET_CAPTURE,
    NETWORK_PROVIDERS,
    PACKET_PROVIDERS,
    PKTMON,
    group_name,
    provider_name,
)
from etwcap.providers.pktmon import PktMonProvider
from etwcap.sources.etl import EtlSource
from etwcap.words import plural

_FIRST_CAPTURE_BUILD = 20348
"""Server 2022 (and Windows 11 after it): ``--capture`` took the place of ``--etw``."""
_FIRST_PKTMON_BUILD = 19041
"""Windows 10 2004: since then pktmon captures whole packets into an ETL file by itself."""
_KERNEL_TCP, _KERNEL_UDP = -1 - 0x06, -1 - 0x08
_BOOKKEEPING_GROUPS = {-1 - 0x00, -1 - 0x0B}


@dataclass(frozen=True, slots=True)
class Command:
    """What to type, as administrator, on the machine whose packets are wanted."""

    tool: str
    start: str
    stop: str
    note: str


PKTMON_COMMAND = Command(
    "pktmon",
    r"pktmon start --capture --pkt-size 0 --file-name C:\t.etl",
    "pktmon stop",
    "Windows 11 and Server 2022 or later; whole packets, drops with their reasons",
)
OLDER_PKTMON_COMMAND = Command(
    "pktmon",
    r"pktmon start --etw -p 0 --file-name C:\t.etl",
    "pktmon stop",
    "Windows 10 2004 to 22H2, whose pktmon calls it so; whole packets",
)
NETSH_COMMAND = Command(
    "netsh trace",
    r"netsh trace start capture=yes tracefile=C:\t.etl maxsize=500",
    "netsh trace stop",
    "Windows 7 or later; every frame of every adapter, 500 MB at most",
)


@dataclass(frozen=True, slots=True)
class NoPackets:
    """Why there are none."""

    category: str
    """header-only, rundown-only, no-packet-provider or empty-capture; stable, for machines"""
    text: str
    commands: tuple[Command, ...]

    @property
    def hint(self) -> str:
        """The first command, in one line."""
        return f"to capture packets, as administrator: {self.commands[0].start}  …  {self.commands[0].stop}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"category": self.category, "text": self.text, "commands": [asdict(each) for each in self.commands]}


@dataclass(slots=True)
class Seen:
    """What a trace without packets does hold."""

    events: dict[int, int]
    """by provider: an ordinal in ``guids``, or -1 - group for the kernel"""
    guids: Sequence[bytes]
    names: dict[int, str]
    messages: int
    """WPP messages among the events"""
    build: int
    """of Windows; 0 = not known"""
    unclosed: bool
    damaged: bool
    pktmon: PktMonProvider | None

    def of(self, guid: bytes) -> int:
        """Events of a provider."""
        return self.events.get(self.guids.index(guid), 0) if guid in self.guids else 0


def absence_in(source: EtlSource, known: Mapping[int, str] | None = None) -> NoPackets:
    """The reason, once a source has been read to its end without a packet.

    ``known`` are better names of providers by ordinal, where the caller has some.
    """
    description = source.describe()
    schemas = source.facts.schemas
    guids = source.provider_guids
    names = {
        ordinal: group_name(-1 - ordinal)
        if ordinal < 0
        else schemas.provider_name(guids[ordinal]) or provider_name(guids[ordinal])
        for ordinal in source.provider_counts
        if ordinal < len(guids)
    } | dict(known or {})
    losses = description.losses
    return why_no_packets(
        Seen(
            source.provider_counts,
            guids,
            names,
            source.messages,
            source.header.build,
            unclosed=losses.unclosed,
            damaged=bool(description.damage_count or losses.missing_end or losses.sequence_gaps),
            pktmon=next((each for each in source.providers if isinstance(each, PktMonProvider)), None),
        )
    )


def why_no_packets(seen: Seen) -> NoPackets:
    """The reason, by what the trace holds."""
    category, text, commands = _reason(seen)
    if seen.damaged:
        text += " Part of the file is damaged or missing: packets may have been there."
    return NoPackets(category, text, commands or _commands(seen.build))


def _commands(build: int) -> tuple[Command, ...]:
    return (NETSH_COMMAND,) if 0 < build < _FIRST_PKTMON_BUILD else (_pktmon_command(build), NETSH_COMMAND)


def _pktmon_command(build: int) -> Command:
    return OLDER_PKTMON_COMMAND if 0 < build < _FIRST_CAPTURE_BUILD else PKTMON_COMMAND


def _reason(seen: Seen) -> tuple[str, str, tuple[Command, ...]]:
    if seen.of(PKTMON):
        return _pktmon(seen)
    if count := seen.of(NDIS_PACKET_CAPTURE):
        return "empty-capture", (
            f"NdisCap was on ({plural(count, 'event')} of Microsoft-Windows-NDIS-PacketCapture), but none of its events"
            " is a whole packet: nothing passed its filter, or parts of the packets are missing or damaged."
        ), ()  # fmt: skip
    for guid, name in PACKET_PROVIDERS.items():
        if count := seen.of(guid):
            return "empty-capture", (
                f"The trace has {plural(count, 'event')} of {name}, but none of them is a whole packet: nothing passed"
                " while it ran, or parts of the packets are missing or damaged."
            ), ()  # fmt: skip
    told = {ordinal: count for ordinal, count in seen.events.items() if not _is_bookkeeping(seen, ordinal)}
    if not told:
        text = "The trace holds the records of its header and nothing else: no event was ever written to it."
        if seen.unclosed:
            text += (
                " The session was never stopped, so this may be a copy of a file still being written: stop the session,"
                " then copy."
            )
        return "header-only", text, ()
    return "no-packet-provider", f"No packet provider was enabled. {_what_it_is(seen, told)}", ()


def _is_bookkeeping(seen: Seen, ordinal: int) -> bool:
    if ordinal < 0:
        return ordinal in _BOOKKEEPING_GROUPS
    return ordinal < len(seen.guids) and seen.guids[ordinal] in BOOKKEEPING


def _pktmon(seen: Seen) -> tuple[str, str, tuple[Command, ...]]:
    components = seen.pktmon.tree.components.values() if seen.pktmon else ()
    flows = [edge.counters for component in components for edge in component.edges.values()]
    drops = [component.drops for component in components if component.drops]
    passed = max((each.packets_in + each.packets_out for each in flows), default=0)
    dropped = sum(each.packets_in + each.packets_out for each in drops)
    what = f"PktMon's rundown ({plural(len(components), 'component')} with counters) is there, but no packet event."
    filters = seen.pktmon.tree.filter_text() if seen.pktmon else ""
    limit = f" The capture was limited by a filter: {filters}." if filters else ""
    if passed or dropped:
        counted = f"{plural(passed, 'packet')} at the busiest point, {plural(dropped, 'drop')}"
        text = f"{what} Its counters say {counted}: packets were counted, but not logged (as --counters-only does)."
        return "rundown-only", text + limit, (_pktmon_command(seen.build),)
    text = f"{what} Its counters are all zero: no packet passed while it ran, or none fitted its filter."
    return "rundown-only", text + limit, (_pktmon_command(seen.build),)


def _what_it_is(seen: Seen, told: dict[int, int]) -> str:
    """A sentence on what the trace is about."""
    clr = sum(seen.of(guid) for guid in CLR_PROVIDERS)
    kernel = sum(count for ordinal, count in told.items() if ordinal < 0)
    total = sum(told.values())
    busiest, count = max(told.items(), key=lambda each: each[1])
    if seen.messages * 2 > total:
        messages = plural(seen.messages, "message")
        text = f"This is a software trace (WPP): {messages} that only their maker's symbols explain."
    elif clr and clr + kernel > total // 2:
        parts = [plural(clr, "event") + " of the .NET runtime"]
        parts += [plural(kernel, "event") + " of the kernel"] if kernel else []
        text = f"This is a performance trace: {' and '.join(parts)}."
    elif kernel * 2 > total:
        text = f"This is a kernel trace: {plural(kernel, 'event')}, most of {seen.names.get(busiest, 'the kernel')}."
    else:
        name = seen.names.get(busiest) or "a provider that gives no name"
        others = len(told) - 1
        text = f"This is a trace of {name} ({plural(count, 'event')})"
        text += f" and {plural(others, 'other provider')}." if others else "."
    return text + _connections(seen, told)


def _connections(seen: Seen, told: dict[int, int]) -> str:
    known = sum(seen.of(guid) for guid in NETWORK_PROVIDERS) + told.get(_KERNEL_TCP, 0) + told.get(_KERNEL_UDP, 0)
    if not known:
        return ""
    return f" {plural(known, 'event')} in it tell of connections or names, without the packets' bytes."
