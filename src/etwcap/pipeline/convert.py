"""``convert``: inputs through stages into one file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from etwcap._version import __version__
from etwcap.errors import NothingToWriteError, OutputError, UsageError
from etwcap.filters.compiled import Filter
from etwcap.filters.stage import FilterStage
from etwcap.native import backend
from etwcap.packets import Context, Description, Receipt, linktypes
from etwcap.pipeline.choices import Choices, check_numbers, fixed_times, latest
from etwcap.pipeline.merge import MergedSource
from etwcap.pipeline.ordering import add_own, check_sides, parse_addresses, parse_order
from etwcap.pipeline.protocols import Sink, Source, Stage
from etwcap.pipeline.recording import RepairedRecording
from etwcap.pipeline.run import Staged, pump
from etwcap.repair.evidence import EvidenceStage
from etwcap.repair.limits import When, parse_when
from etwcap.repair.loopback import LoopbackStage
from etwcap.repair.names import ORDER, WIFI, parse_repairs
from etwcap.repair.order import OrderStage
from etwcap.repair.selection import InterfaceSelection
from etwcap.repair.sightings import SightingStage
from etwcap.repair.wifi import WifiStage
from etwcap.sinks.output import STDOUT, Output, ReaderGone
from etwcap.sinks.pcap import PcapSink
from etwcap.sinks.pcapng import PcapngSink, Section
from etwcap.sinks.pieces import PieceSink, Rotation, check_rotation
from etwcap.sources.absence import absence_in
from etwcap.sources.etl import EtlSource
from etwcap.sources.opening import FileSource, open_source
from etwcap.sources.recording import RecordingSource

_FORMATS = {".pcapng": "pcapng", ".pcap": "pcap", ".cap": "pcap"}


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How a conversion goes; the defaults are those of the command line."""

    appearances: str = "wire"
    """wire, all, first, or the name or id of a component"""
    drops: bool = True
    """keep frames that exist only as drop reports"""
    ethernet: bool = False
    """turn 802.11 data frames into the Ethernet frames that the stack saw"""
    radiotap: bool = True
    """put what the radio told of a received 802.11 frame before it (not in a pcap file, which has one link type, nor
    with ``ethernet``)"""
    repair: str = "auto"
    """auto, all, none, or names separated by commas; -name takes one out"""
    order: str | None = None
    """causal: packets behind those they answer, in any input; none: in no input; None: as ``repair`` says"""
    local: tuple[str, ...] = ()
    """addresses of the machine that was captured, where the input does not tell them"""
    format: str | None = None
    """pcapng or pcap; None: what the output's suffix says, else pcapng"""
    interfaces: tuple[str, ...] = ()
    """only packets of these interfaces (names or Windows' indexes)"""
    hash: bool = False
    """put the inputs' SHA-256 into the section comment and the receipt"""
    evidence: tuple[str, ...] = ()
    """"comments": why a packet was changed, in its comment"""
    filter: str | None = None
    """only packets that match this expression of pcap-filter(7)"""
    start: str | None = None
    """only packets from this time on: ISO 8601 (UTC where it names no zone), "+30s" after the first packet, "-10m"
    before the last"""
    end: str | None = None
    """only packets before this time"""
    count: int | None = None
    """stop reading after so many packets"""
    snap_length: int | None = None
    """cut packets to so many bytes"""
    strip_payload: bool = False
    """cut packets to their headers"""
    anonymize: bytes | None = None
    """the key by which addresses are mapped; None: they stay"""
    rotation: Rotation | None = None
    """output in pieces; None: one file"""


@dataclass(slots=True)
class Outcome:
    """What a conversion did."""

    output: Path | None
    """None: standard output, or no output because no packet survived the damage"""
    receipt: Receipt
    descriptions: list[Description]
    exit_code: int
    """0, or 4: an input is damaged"""
    format: str = "pcapng"
    pieces: list[str] = field(default_factory=list)
    """names of the files, where the output was to come in pieces"""
    interfaces: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: times in ns since 1970 UTC."""
        return {
            "etwcap": __version__,
            "output": str(self.output) if self.output else None,
            "pieces": self.pieces,
            "format": self.format,
            "exit_code": self.exit_code,
            "backend": self.receipt.backend,
            "packets_read": self.receipt.packets_read,
            "packets_written": self.receipt.packets_written,
            "bytes_written": self.receipt.bytes_written,
            "first_time_ns": self.receipt.first_time,
            "last_time_ns": self.receipt.last_time,
            "notes": [asdict(note) for note in self.receipt.notes.values()],
            "interfaces": self.interfaces,
            "inputs": [_description(description) for description in self.descriptions],
        }


def convert(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    options: ConvertOptions = ConvertOptions(),
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Write the packets of the inputs, merged in time, into ``output``.

    ``output`` "-" is standard output; None is the first input's stem with the format's suffix in the current folder,
    where nothing is ever replaced. A damaged input raises nothing: the outcome's exit code is 4.

    Raises an EtwcapError: NothingToWriteError where the inputs are intact but no packet is left, NotATraceError,
    InputError, OutputError, UsageError.
    """
    if not inputs:
        raise UsageError("no input", hint="etwcap convert trace.etl")
    repairs = parse_order(options.order, parse_repairs(options.repair))
    local = parse_addresses(options.local)
    check_numbers(options.count, options.snap_length, options.anonymize)
    chosen = Filter(options.filter) if options.filter is not None else None
    times = _times(inputs, options, repairs)
    context = Context()
    add_own(context, local)
    context.receipt.backend = backend()
    kind = output_format(output, options.format)
    context.radiotap = options.radiotap and not options.ethernet and kind == "pcapng"
    with ExitStack() as stack:
        sources: list[FileSource] = []
        for name in inputs:
            source = open_source(name, context)
            stack.callback(source.close)
            sources.append(source)
            context.descriptions.append(source.describe())
        if options.order == "causal":
            check_sides(context)
        if options.hash:
            for description in context.descriptions:
                _hash(description)
        target = os.fspath(Path(Path(os.fspath(inputs[0])).stem + "." + kind) if output is None else output)
        choices = Choices(context, times, options.count, options.snap_length, options.strip_payload, options.anonymize)
        rotation = Rotation() if options.rotation is None else options.rotation
        check_rotation(rotation, target, target in STDOUT)
        files = _Files(inputs, context, kind, choices, named=output is not None, pieces=bool(rotation))
        sink = PieceSink(files.create, target, rotation, context) if rotation else files.create(target)
        selection = InterfaceSelection(context, options.interfaces) if options.interfaces else None
        matching = FilterStage(context, chosen) if chosen is not None else None
        try:
            flow = _flow(sources, context, options, repairs, selection, choices, matching)
            pump(flow, sink, progress, lambda: choices.enough() or (isinstance(sink, PieceSink) and sink.enough))
            if sink.packets:
                sink.finish()
        except ReaderGone:
            sink.abort()
            context.receipt.note("reader-gone", "the reader of the output went away before the end")
        except BaseException:
            sink.abort()
            raise
        path = None if target in STDOUT else Path(target)
        pieces = sink.names if isinstance(sink, PieceSink) else []
        return _outcome(context, sources, sink, path, pieces, kind, options, selection, choices, matching)


def output_format(output: str | os.PathLike[str] | None, wanted: str | None) -> str:
    """``pcapng`` or ``pcap``: as wanted, else by the output's suffix, else pcapng."""
    return wanted or _FORMATS.get(Path(output).suffix.lower() if output is not None else "", "pcapng")


class _Files:
    """Makes the sink of each file that is written."""

    def __init__(
        self,
        inputs: Sequence[str | os.PathLike[str]],
        context: Context,
        kind: str,
        choices: Choices,
        *,
        named: bool,
        pieces: bool,
    ) -> None:
        self._inputs = [os.fspath(name) for name in inputs if os.fspath(name) != "-"]
        self._context = context
        self._kind = kind
        self._choices = choices
        self._named = named
        self._pieces = pieces

    def create(self, name: str) -> PcapSink | PcapngSink:
        """Raises OutputError where the file cannot be created, or is there and was not named."""
        if not self._named and os.path.exists(name):
            raise OutputError(f"{name} exists", hint=f"-w {name} replaces it")
        out = Output(name, inputs=self._inputs)
        if self._kind == "pcap":
            return PcapSink(out, self._context)
        shown = self._choices.shown
        section = section_of(self._context.descriptions, anonymous=shown is not None)
        return PcapngSink(out, self._context, section=section, shown=shown, whole=not self._pieces)


def _times(
    inputs: Sequence[str | os.PathLike[str]], options: ConvertOptions, repairs: frozenset[str]
) -> tuple[When | None, When | None]:
    """``start`` and ``end``; for a time before the last packet the inputs are read once more."""

    def last_time() -> int | None:
        if any(os.fspath(name) == "-" for name in inputs):
            raise UsageError(
                "a time before the last packet needs an input that can be read twice",
                cause="an input is standard input",
                hint="save it to a file first, or give a time of day or one after the first packet (+30s)",
            )
        context = Context()
        add_own(context, parse_addresses(options.local))
        with ExitStack() as stack:
            sources: list[FileSource] = []
            for name in inputs:
                sources.append(open_source(name, context))
                stack.callback(sources[-1].close)
                context.descriptions.append(sources[-1].describe())
            return latest(_flow(sources, context, options, repairs, None, None))

    start = parse_when(options.start, "--start") if options.start is not None else None
    end = parse_when(options.end, "--end") if options.end is not None else None
    return fixed_times(start, end, last_time)


def etl_stages(
    context: Context, appearances: str, *, drops: bool, ethernet: bool, repairs: frozenset[str]
) -> list[Stage]:
    """What an ETL source's packets go through before anything else."""
    stages: list[Stage] = [SightingStage(context, appearances, drops)]
    if appearances != "all":
        stages.append(LoopbackStage(context))
    return [*stages, WifiStage(context, ethernet=ethernet, clear_protected=WIFI in repairs)]


def _flow(
    sources: Sequence[FileSource],
    context: Context,
    options: ConvertOptions,
    repairs: frozenset[str],
    selection: InterfaceSelection | None,
    choices: Choices | None,
    matching: FilterStage | None = None,
) -> Source:
    flows: list[Source] = []
    for source in sources:
        stages: list[Stage] = []
        if isinstance(source, EtlSource):
            stages = etl_stages(
                context, options.appearances, drops=options.drops, ethernet=options.ethernet, repairs=repairs
            )
        elif isinstance(source, RecordingSource):
            flows.append(RepairedRecording(source, repairs, comments="comments" in options.evidence))
            continue
        elif options.ethernet:
            stages = [WifiStage(context, ethernet=True, clear_protected=False)]
        if ORDER in repairs:
            stages.append(OrderStage(context))
        flows.append(Staged(source, stages) if stages else source)
    flow = flows[0] if len(flows) == 1 else MergedSource(flows)
    common: list[Stage] = [*choices.first] if choices is not None else []
    if selection is not None:
        common.append(selection)
    if matching is not None:
        common.append(matching)
    if choices is not None:
        common += choices.last
    if "comments" in options.evidence:
        common.append(EvidenceStage(context))
    return Staged(flow, common) if common else flow


def section_of(descriptions: Sequence[Description], *, anonymous: bool) -> Section:
    """What the section header says of the machine and of every input; ``anonymous``: no names of these."""
    machine = descriptions[0].machine
    comments = [comment for description in descriptions for comment in description.comments]
    comments += [_comment(description) for description in descriptions]
    if anonymous:
        comments = ["addresses in the headers were mapped by a key; names of the inputs were left out"]
    return Section(
        hardware=_hardware(descriptions[0]),
        os=" ".join(
            part for part in (machine.os_name, f"({machine.os_version})" if machine.os_version else "") if part
        ),
        application=f"etwcap {__version__}",
        comments=comments,
    )


def _hardware(description: Description) -> str:
    machine = description.machine
    parts = [machine.hardware] if machine.hardware else []
    if machine.processors:
        parts.append(f"{machine.processors} processor" + ("s" if machine.processors > 1 else ""))
    if machine.cpu_mhz:
        parts.append(f"{machine.cpu_mhz} MHz")
    if machine.architecture:
        parts.append(machine.architecture)
    return ", ".join(parts)


def _comment(description: Description) -> str:
    if not description.inputs:
        return "captured live"
    facts = description.inputs[0]
    name = "standard input" if facts.name == "standard input" else Path(facts.name).name
    lines = [f"input: {name}, {facts.size} bytes" if facts.size else f"input: {name}"]
    if facts.sha256:
        lines.append(f"SHA-256: {facts.sha256}")
    session = description.session
    if session is not None:
        lines.append(f"session: {session.name or '(no name)'}")
        if description.machine.computer_name:
            lines.append(f"computer: {description.machine.computer_name}")
        losses = description.losses
        lost = f"lost: {losses.events} events, {losses.buffers} buffers"
        if losses.sequence_gaps:
            lost += f", {losses.sequence_gaps} buffers missing by their numbers"
        lines.append(lost)
        if losses.unclosed:
            lines.append("the session was never closed")
        elif losses.missing_end:
            lines.append("the end of the trace is missing")
        if losses.partial_first:
            lines.append("circular trace: the oldest events were overwritten")
    return "\n".join(lines)


def _hash(description: Description) -> None:
    for facts in description.inputs:
        try:
            with open(facts.name, "rb") as file:
                facts.sha256 = (
                    hashlib.file_digest(file, "sha256").hexdigest()
                    if hasattr(hashlib, "file_digest")
                    else _digest(file)
                )
        except OSError:
            continue  # a pipe: its bytes come only once


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    while data := file.read(1 << 20):
        digest.update(data)
    return digest.hexdigest()


def _outcome(
    context: Context,
    sources: Sequence[FileSource],
    sink: Sink,
    path: Path | None,
    pieces: list[str],
    kind: str,
    options: ConvertOptions,
    selection: InterfaceSelection | None,
    choices: Choices,
    matching: FilterStage | None,
) -> Outcome:
    receipt = context.receipt
    damaged = any(description.damage_count for description in context.descriptions)
    output = path
    if not receipt.packets_written and "reader-gone" not in receipt.notes:
        sink.abort()
        if not damaged:
            raise _nothing_to_write(sources, context, options, selection, choices, matching)
        output = None
    code = 4 if damaged else 0
    return Outcome(output, receipt, context.descriptions, code, kind, pieces, interface_facts(context))


def interface_facts(context: Context) -> list[dict[str, Any]]:
    """The interfaces of a run for JSON; not those that only carry events that become packets of others."""
    return [
        {"name": i.name, "description": i.description, "link_type": i.link_type, "index": i.if_index, "tap": i.tap}
        for i in context.interfaces
        if i.link_type != linktypes.ETW
    ]


def _nothing_to_write(
    sources: Sequence[FileSource],
    context: Context,
    options: ConvertOptions,
    selection: InterfaceSelection | None,
    choices: Choices,
    matching: FilterStage | None,
) -> NothingToWriteError:
    names = ", ".join(description.inputs[0].name for description in context.descriptions)
    if context.receipt.packets_read:
        if choices.range is not None and choices.range.left_out:
            asked = [f"{name} {text}" for name, text in (("--start", options.start), ("--end", options.end)) if text]
            return NothingToWriteError(
                f"no packet of {names} lies in that time",
                cause=f"{' '.join(asked)} leaves out {choices.range.left_out:,} packets",
                hint="etwcap info tells from when to when the packets are; times without a zone are UTC",
            )
        if selection is not None and selection.left_out:
            known = ", ".join(sorted({interface.name for interface in context.interfaces}))
            return NothingToWriteError(
                f"no packet of {names} is on {' or '.join(options.interfaces)}",
                cause=f"{context.receipt.packets_read:,} packet events on: {known}",
                hint="name one of these with -i",
            )
        if matching is not None and matching.left_out:
            reasons = [note.text for kind, note in context.receipt.notes.items() if kind.startswith("filter-")]
            return NothingToWriteError(
                f"no packet of {names} matches the filter",
                cause="; ".join(reasons) or f"{options.filter}: none of {matching.left_out:,} packets",
                hint="--explain-filter shows what a filter asks of a packet",
            )
        return NothingToWriteError(
            f"none of the {context.receipt.packets_read:,} packet events of {names} was kept",
            cause=f"--appearances {options.appearances}" + ("" if options.drops else " --no-drops"),
            hint="--appearances all keeps every sighting",
        )
    if len(sources) == 1 and isinstance(source := sources[0], EtlSource):
        absence = absence_in(source)
        return NothingToWriteError(f"no packets in {names}", cause=absence.text, hint=absence.hint)
    if len(sources) == 1:
        return NothingToWriteError(f"no packets in {names}", cause="the capture file has no packet blocks")
    return NothingToWriteError(
        f"no packets in {names}", cause="none of the inputs has any", hint="etwcap info tells what is in each"
    )


def _description(description: Description) -> dict[str, Any]:
    facts = asdict(description)
    facts["comments"] = description.comments
    return facts
