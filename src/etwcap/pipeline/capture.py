"""``capture``: a live source through stages into a growing file, a pipe, or whatever else takes packets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from etwcap.errors import EtwcapError, UsageError
from etwcap.filters.compiled import Filter
from etwcap.filters.stage import FilterStage
from etwcap.filters.stopping import StopWhen
from etwcap.native import backend
from etwcap.packets import Chunk, Context
from etwcap.pipeline.choices import Choices, check_numbers
from etwcap.pipeline.convert import Outcome, interface_facts, output_format, section_of
from etwcap.pipeline.protocols import Sink, Source, Stage
from etwcap.pipeline.run import Staged
from etwcap.repair.evidence import EvidenceStage
from etwcap.sinks.output import STDOUT, Output, ReaderGone
from etwcap.sinks.pcap import PcapSink
from etwcap.sinks.pcapng import PcapngSink
from etwcap.sinks.pieces import PieceSink, Rotation, check_rotation

SECOND: Final = 1_000_000_000


class LiveSource(Source, Protocol):
    """A source that goes on until it is told to stop."""

    def stop(self) -> None:
        """Take nothing further; what was taken still comes out of ``chunks``, which then end. From any thread, and a
        signal handler; safe to call twice."""
        ...


class LiveSink(Sink, Protocol):
    """A sink that can be asked to hand on what it holds."""

    @property
    def size(self) -> int:
        """Bytes so far."""
        ...

    def flush(self) -> None:
        """Hand on what was gathered."""
        ...


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """How a capture goes; the defaults are those of the command line."""

    repair: str = "auto"
    filter: str | None = None
    """only packets that match this expression of pcap-filter(7)"""
    stop_when: str | None = None
    """end with the first packet that matches"""
    count: int | None = None
    """end after so many packets"""
    duration: int | None = None
    """ns: end after so long"""
    snap_length: int | None = None
    """cut packets to so many bytes"""
    strip_payload: bool = False
    anonymize: bytes | None = None
    evidence: tuple[str, ...] = ()
    format: str | None = None
    """pcapng or pcap; None: what the output's suffix says, else pcapng"""
    rotation: Rotation | None = None

    def check(self, output: str | os.PathLike[str] | None) -> None:
        """Raise UsageError for what cannot be, before anything is opened."""
        check_numbers(self.count, self.snap_length, self.anonymize)
        if self.duration is not None and self.duration <= 0:
            raise UsageError("a capture lasts longer than nothing", cause="--duration 0")
        for expression in (self.filter, self.stop_when):
            if expression is not None:
                Filter(expression)
        if self.rotation:
            if output is None:
                raise UsageError("pieces need a name", hint="name the files with -w")
            check_rotation(self.rotation, os.fspath(output), os.fspath(output) in STDOUT)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a capture is."""

    packets: int
    bytes: int
    seconds: float
    """since it began"""
    stopping: bool
    """no longer taking packets, but writing what was taken"""


def capture(
    source: LiveSource,
    context: Context,
    output: str | os.PathLike[str] | LiveSink,
    options: CaptureOptions = CaptureOptions(),
    *,
    stages: Sequence[Stage] = (),
    watch: Callable[[Progress], None] | None = None,
    keep_note: Callable[[str], Callable[[], None]] | None = None,
) -> Outcome:
    """Write what the source gives until it ends, or one of the options ends it.

    ``output`` is a file (written as NAME.part.SUFFIX until it is whole), "-" for standard output, or a sink.
    ``stages`` come first, right behind the source: what repairs its packets. ``keep_note`` is told the temporary name
    of each file before it is made, and gives what is to be called once it has its final name. The source is stopped and
    closed in any case, and what was taken is written, also when something fails: then the file is
    finished before the error is raised. A capture without packets leaves no file, and the outcome's exit code is 3.
    """
    context.receipt.backend = backend()
    if source.describe() not in context.descriptions:
        context.descriptions.append(source.describe())
    choices = Choices(
        context, (None, None), options.count, options.snap_length, options.strip_payload, options.anonymize
    )
    awaited = StopWhen(context, Filter(options.stop_when)) if options.stop_when is not None else None
    common: list[Stage] = [*stages]
    if options.filter is not None:
        common.append(FilterStage(context, Filter(options.filter)))
    common += choices.last if awaited is None else [awaited, *choices.last]
    if "comments" in options.evidence:
        common.append(EvidenceStage(context))
    kind = "lines"
    path: Path | None = None
    sink: LiveSink
    if isinstance(output, (str, os.PathLike)):
        kind = output_format(output, options.format)
        target = os.fspath(output)
        path = None if target in STDOUT else Path(target)
        sink = _file_sink(target, context, kind, choices, options.rotation or Rotation(), keep_note)
    else:
        sink = output
    end = None if options.duration is None else time.monotonic() + options.duration / SECOND
    run = _Run(source, context, sink, end, watch)
    try:
        run.pump(
            Staged(source, common),
            lambda: (
                choices.enough()
                or (awaited is not None and awaited.enough)
                or (isinstance(sink, PieceSink) and sink.enough)
            ),
        )
    except ReaderGone:
        sink.abort()
        context.receipt.note("reader-gone", "the reader of the output went away before the end")
    except BaseException:
        _save(sink)
        raise
    finally:
        source.stop()
        source.close()
    if sink.packets:
        sink.finish()
    else:
        sink.abort()
    if kind == "lines":
        context.receipt.packets_written, context.receipt.bytes_written = sink.packets, sink.size
    pieces = sink.names if isinstance(sink, PieceSink) else []
    gone = "reader-gone" in context.receipt.notes
    code = 0 if sink.packets or gone else 3
    made = path if sink.packets else None
    return Outcome(made, context.receipt, context.descriptions, code, kind, pieces, interface_facts(context))


class _Run:
    """The loop of one capture."""

    def __init__(
        self,
        source: LiveSource,
        context: Context,
        sink: LiveSink,
        end: float | None,
        watch: Callable[[Progress], None] | None,
    ) -> None:
        self._source = source
        self._context = context
        self._sink = sink
        self._end = end
        self._watch = watch
        self._begin = time.monotonic()

    def pump(self, flow: Source, enough: Callable[[], bool]) -> None:
        """Chunks into the sink; each is handed on at once, so that a reader of the file is never far behind."""
        sink, stopping = self._sink, False
        for chunk in flow.chunks():
            sink.write(chunk)
            sink.flush()
            now = time.monotonic()
            if not stopping and self._end is not None and now >= self._end:
                stopping = True
                self._source.stop()
            if self._watch is not None:
                self._watch(Progress(sink.packets, sink.size, now - self._begin, stopping))
            if enough():
                return


def _file_sink(
    target: str,
    context: Context,
    kind: str,
    choices: Choices,
    rotation: Rotation,
    keep_note: Callable[[str], Callable[[], None]] | None,
) -> LiveSink:
    def create(name: str) -> PcapSink | PcapngSink:
        out = Output(name, live=True, keep_note=keep_note)
        if kind == "pcap":
            return PcapSink(out, context)
        shown = choices.shown
        section = section_of(context.descriptions, anonymous=shown is not None)
        return PcapngSink(out, context, section=section, shown=shown, whole=not rotation)

    return PieceSink(create, target, rotation, context) if rotation else create(target)


def _save(sink: LiveSink) -> None:
    """Finish what was captured before an error; where that fails too, it stays under its temporary name."""
    try:
        if sink.packets:
            sink.finish()
            return
    except EtwcapError:
        pass
    sink.abort()


class CountingSink:
    """A sink that passes on each chunk to a function: for lines on a terminal, and for tests."""

    def __init__(self, take: Callable[[Chunk], None]) -> None:
        self._take = take
        self.packets = 0
        """so far"""
        self.size = 0
        """bytes of packets so far"""

    def write(self, chunk: Chunk) -> None:
        """Pass the chunk on."""
        self._take(chunk)
        self.packets += len(chunk.packets)
        self.size += int(chunk.packets["captured"].sum())

    def flush(self) -> None:
        """Nothing is held."""

    def finish(self) -> None:
        """Nothing stands at the end."""

    def abort(self) -> None:
        """Nothing was made."""
