"""``etwcap info`` as plain text."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from etwcap.etl import layout
from etwcap.inspect.text import duration, labelled, table, utc
from etwcap.packets.linktypes import title
from etwcap.words import counts, octets, plural, safe_text

if TYPE_CHECKING:
    from etwcap.inspect.info import TraceInfo
    from etwcap.packets import Losses, Machine, Session

CLOCKS = {1: "QPC", 2: "system time", 3: "CPU cycles"}
KINDS = {
    "etl": "ETL trace",
    "pcap": "pcap capture",
    "pcapng": "pcapng capture",
    "recording": "recording of raw sockets",
}
_SHOWN = 20
"""Rows of a table at most; --json has all."""
_DAMAGES_SHOWN = 10

_MODES = {
    layout.EVENT_TRACE_FILE_MODE_SEQUENTIAL: "sequential",
    layout.EVENT_TRACE_FILE_MODE_CIRCULAR: "circular",
    layout.EVENT_TRACE_FILE_MODE_APPEND: "append",
    layout.EVENT_TRACE_FILE_MODE_NEWFILE: "new file each time",
    layout.EVENT_TRACE_FILE_MODE_PREALLOCATE: "preallocated",
    layout.EVENT_TRACE_RELOG_MODE: "merged after the capture",
    layout.EVENT_TRACE_SYSTEM_LOGGER_MODE: "kernel events",
    layout.EVENT_TRACE_COMPRESSED_MODE: "compressed",
    layout.EVENT_TRACE_NO_PER_PROCESSOR_BUFFERING: "one buffer for all processors",
}


def render(info: TraceInfo, width: int) -> str:
    """See :meth:`etwcap.inspect.info.TraceInfo.render`."""
    width = max(width, 60)
    lines = [f"{safe_text(info.description.inputs[0].name)}: {KINDS.get(info.kind, info.kind)}, {octets(info.size)}"]
    for label, text in _facts(info):
        if text:
            lines += labelled(label, safe_text(text), width)
    lines += _packets(info, width)
    lines += _drops(info, width)
    lines += _providers(info, width)
    lines += _damage(info, width)
    lines += _no_packets(info, width)
    lines += _next(info)
    return "\n".join(lines) + "\n"


def _facts(info: TraceInfo) -> list[tuple[str, str]]:
    description = info.description
    facts = [
        *(_session(description.session) if description.session else ()),
        ("made by", info.maker),
        ("written by", description.capture_application),
        ("system", _system(description.machine)),
        ("machine", _hardware(description.machine)),
        ("time", _span(info)),
        ("clock", _clock(description.session) if description.session else ""),
        *(("comment", "; ".join(comment.splitlines())) for comment in description.comments[:5]),
        ("lost", _losses(description.losses, known=info.kind == "etl")),
    ]
    if info.recording is not None:
        facts += info.recording.lines()
    facts += [("note", f"{note.count:,} × {note.text}") for note in info.notes]
    return facts


def _session(session: Session) -> list[tuple[str, str]]:
    name = session.name or "without a name"
    into = f" into {session.log_file}" if session.log_file else ""
    modes = [text for bit, text in _MODES.items() if session.mode & bit]
    buffers = plural(session.buffers, "buffer") + f" of up to {session.buffer_size / 1024:,.0f} KiB"
    if session.compressed_buffers:
        buffers += f", {session.compressed_buffers:,} compressed"
    stopped = f"stopped {utc(session.end)} UTC" if session.end is not None else "never stopped"
    return [
        ("session", f"{name}{into}"),
        ("", f"started {utc(session.start)} UTC, {stopped}"),
        ("", ", ".join([*modes, buffers])),
    ]


def _system(machine: Machine) -> str:
    name = machine.os_name or ("Windows, version" if machine.os_version else "")
    version = f"{name} {machine.os_version}".strip()
    lab = f"base {machine.build_lab}" if machine.build_lab else ""
    return ", ".join(part for part in (version, machine.family, machine.architecture, lab) if part)


def _hardware(machine: Machine) -> str:
    name = f"{machine.computer_name}.{machine.domain}" if machine.domain else machine.computer_name
    speed = f" at {machine.cpu_mhz:,} MHz" if machine.cpu_mhz else ""
    processors = plural(machine.processors, "processor") + speed if machine.processors else ""
    return ", ".join(part for part in (name, machine.hardware, processors) if part)


def _span(info: TraceInfo) -> str:
    first, last = info.census.first, info.census.last
    if first is None or last is None:
        return ""
    return f"{utc(first)} to {utc(last)} UTC ({duration(last - first)})"


def _clock(session: Session) -> str:
    name = CLOCKS.get(session.clock_type, f"type {session.clock_type}")
    return f"{name} at {session.frequency:,} Hz" if session.clock_type == 1 else name


def _losses(losses: Losses, *, known: bool) -> str:
    counted = counts(
        (losses.events, "event"),
        (losses.buffers, "buffer"),
        (losses.sequence_gaps, "buffer missing by its number", "buffers missing by their numbers"),
        (losses.report_gaps, "packet report missing by its id", "packet reports missing by their ids"),
    )
    counted += [
        text
        for flag, text in (
            (losses.unclosed, "the session was never closed, so its end is missing"),
            (losses.missing_end, "the end of the trace is missing"),
            (losses.partial_first, "the oldest events were overwritten"),
        )
        if flag
    ]
    return "; ".join(counted) or ("nothing" if known else "")


def _packets(info: TraceInfo, width: int) -> list[str]:
    census = info.census
    if not census.packets or census.first_packet is None or census.last_packet is None:
        return []
    span = f"{utc(census.first_packet)} to {utc(census.last_packet)} UTC"
    seen = ", ".join(f"{count:,} by {tap}" for tap, count in info.by_tap().items() if tap)
    parts = [
        ", ".join(f"{count:,} {name}" for name, count in info.by_link_type().items()),
        ", ".join(f"{count:,} {name}" for name, count in info.by_direction().items() if count),
        f"{census.cut:,} cut short" if census.cut else "",
    ]
    about = "; ".join(part for part in parts if part)
    lines = [""]
    if info.kind == "etl":
        lines += labelled("packets", _kept(info), width)
        lines += labelled("sightings", f"{seen or format(census.packets, ',')}: {about}; {span}", width)
    else:
        lines += labelled("packets", f"{census.packets:,}: {about}; {span}", width)
    rows = [
        [
            safe_text(each.interface.name or f"interface {number}"), title(each.interface.link_type),
            *(f"{value:,}" for value in (
                each.count.packets, each.count.received, each.count.sent, each.count.dropped, each.count.octets,
            )),
        ]
        for number, each in enumerate(info.interfaces)
    ]  # fmt: skip
    seen_as = "sightings" if info.kind == "etl" else "packets"
    head = ["interface", "link type", seen_as, "received", "sent", "drops", "bytes"]
    return lines + table(head, rows[:_SHOWN], range(2, 7), width) + _more(len(rows), _SHOWN, "interface")


def _kept(info: TraceInfo) -> str:
    kept = info.census.kept
    ways = ", ".join(
        f"{count:,} {name}"
        for count, name in ((kept.received, "received"), (kept.sent, "sent"), (kept.drop_only, "known only as drops"))
        if count
    )
    return f"{kept.packets:,}" + (f" ({ways})" if ways else "") + ", each once, nearest the wire"


def _drops(info: TraceInfo, width: int) -> list[str]:
    if not info.drops:
        return []
    rows = [
        [safe_text(drop.name), safe_text(drop.location_name), f"{drop.reason}", f"{drop.count:,}"]
        for drop in info.drops
    ]
    head = ["drop reason", "at", "number", "reports"]
    return ["", *table(head, rows[:_SHOWN], (2, 3), width), *_more(len(rows), _SHOWN, "reason")]


def _providers(info: TraceInfo, width: int) -> list[str]:
    if not info.providers:
        return []
    rows = [
        [safe_text(each.name or "not known"), each.guid, f"{each.events:,}", f"{len(each.kinds):,}"]
        for each in info.providers
    ]
    head = ["provider", "GUID", "events", "kinds"]
    return ["", *table(head, rows[:_SHOWN], (2, 3), width), *_more(len(rows), _SHOWN, "provider")]


def _more(count: int, shown: int, word: str) -> list[str]:
    return [f"  and {plural(count - shown, word)} more: see --json"] if count > shown else []


def _damage(info: TraceInfo, width: int) -> list[str]:
    description = info.description
    places = description.damage
    if not places and not description.damage_count:
        return []
    lines = [""]
    for damage in places[:_DAMAGES_SHOWN]:
        label = "damage" if damage.severity == "damage" else "not known"
        lines += labelled(label, f"offset {damage.offset:,}: {safe_text(damage.what)}", width)
    unknown = sum(damage.severity != "damage" for damage in places)
    return lines + _more(max(len(places), description.damage_count + unknown), _DAMAGES_SHOWN, "place")


def _no_packets(info: TraceInfo, width: int) -> list[str]:
    if info.census.packets:
        return []
    reason = info.no_packets
    if reason is None:
        return ["", *labelled("packets", "none: the file is a capture without packets", width)]
    lines = ["", *labelled("packets", f"none. {safe_text(reason.text)}", width)]
    lines += ["", "To capture packets, on that machine as administrator:"]
    for command in reason.commands:
        lines += [f"  {command.start}", f"  {command.stop}", f"      {command.note}"]
    return lines


def _next(info: TraceInfo) -> list[str]:
    """The command to type next."""
    if info.kind not in ("etl", "recording") or not info.census.packets or info.path == "-":
        return []
    path = subprocess.list2cmdline([info.path]) if sys.platform == "win32" else shlex.quote(info.path)
    return ["", "To open them in Wireshark:", f"  etwcap convert {safe_text(path)}"]
