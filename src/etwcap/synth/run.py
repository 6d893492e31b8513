"""``synth``: a capture in, an ETL trace or a recording of raw sockets out."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from etwcap._version import __version__
from etwcap.errors import EtwcapError, NothingToWriteError, OutputError, UsageError
from etwcap.native import backend
from etwcap.packets import Chunk, Context, Description, Receipt
from etwcap.sources.capfile import CaptureFileSource
from etwcap.sources.opening import open_source
from etwcap.synth import losses
from etwcap.synth.as_raw import RawRecorder
from etwcap.synth.options import RAW, SynthOptions
from etwcap.synth.order import InOrder
from etwcap.synth.recorder import Recorder


@dataclass(slots=True)
class SynthOutcome:
    """What a run of ``synth`` made."""

    output: Path
    options: SynthOptions
    size: int
    """bytes"""
    packets: int
    """in the trace, each counted once"""
    received: int
    records: int
    """events that report packets; records of a recording, tables among them"""
    first_time: int
    """ns since 1970 UTC"""
    last_time: int
    local: str
    """the address guessed to be the machine's own; empty: it was given, or the capture tells directions"""
    adapters: list[dict[str, Any]]
    receipt: Receipt
    description: Description = field(repr=False)
    lost_buffers: int = 0
    exit_code: int = 0
    """4: the capture is damaged, what is intact is in the trace"""

    @property
    def sent(self) -> int:
        """Packets that the machine sent."""
        return self.packets - self.received

    def as_dict(self) -> dict[str, Any]:
        """For JSON: times in ns since 1970 UTC."""
        return {
            "etwcap": __version__,
            "output": str(self.output),
            "exit_code": self.exit_code,
            "backend": self.receipt.backend,
            "options": asdict(self.options),
            "size": self.size,
            "packets": self.packets,
            "received": self.received,
            "sent": self.sent,
            "records": self.records,
            "first_time_ns": self.first_time,
            "last_time_ns": self.last_time,
            "local_guessed": self.local or None,
            "lost_buffers": self.lost_buffers,
            "adapters": self.adapters,
            "notes": [asdict(note) for note in self.receipt.notes.values()],
            "input": asdict(self.description),
        }


def synthesize(
    capture: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: SynthOptions,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> SynthOutcome:
    """Write the packets of a pcap or pcapng capture as the trace that a Windows tap would have left of them, or as the
    recording of raw sockets.

    The same capture and options give the same bytes. The output gets its name when it is whole. Raises an EtwcapError:
    UsageError, InputError, NotATraceError, OutputError, NothingToWriteError where the tap can hold none of the packets.
    """
    target = _target(output, capture)
    part = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}.part")
    context = Context()
    context.receipt.backend = backend()
    source = open_source(capture, context)
    try:
        if not isinstance(source, CaptureFileSource):
            raise UsageError(
                f"{capture} is an ETL trace already", hint=f"etwcap convert {capture} makes a capture of it"
            )
        recorder = (RawRecorder if options.tap == RAW else Recorder)(part, options, context)
        try:
            outcome = _run(source, recorder, part, Path(output), options, progress)
            os.replace(part, target)
        except OSError as error:
            recorder.abort()
            raise OutputError("the output cannot be written", cause=f"{target}: {error.strerror or error}") from error
        except BaseException:
            recorder.abort()
            part.unlink(missing_ok=True)
            raise
        return outcome
    finally:
        source.close()


def _run(
    source: CaptureFileSource,
    recorder: Recorder | RawRecorder,
    part: Path,
    output: Path,
    options: SynthOptions,
    progress: Callable[[int, int], None] | None,
) -> SynthOutcome:
    context = recorder.context
    in_order = InOrder(context)
    description = source.describe()
    context.descriptions.append(description)
    for chunk in source.chunks():
        table = recorder.intake.take(chunk)
        recorder.write(in_order.take(Chunk(chunk.buffer, table, chunk.events, chunk.complete_to)))
        if progress is not None:
            progress(*source.progress())
    recorder.write(in_order.finish())
    recorder.finish()
    if recorder.span is None:
        raise _nothing(context, options, description)
    lost = losses.lose_buffers(part, options.lose_buffers, options.seed) if options.lose_buffers else 0
    if lost < options.lose_buffers:
        context.receipt.note(
            "lost", f"buffers lost: {lost}; there are no more that can be", options.lose_buffers - lost
        )
    if options.cut:
        losses.cut_end(part, options.cut)
    return SynthOutcome(
        output=output,
        options=options,
        size=part.stat().st_size,
        packets=recorder.packets,
        received=recorder.received,
        records=recorder.records,
        first_time=recorder.span[0],
        last_time=recorder.span[1],
        local=recorder.guessed,
        adapters=[
            {"index": each.if_index, "name": each.alias, "link_type": each.link_type, "mac": each.mac.hex(":")}
            for each in recorder.intake.adapters
        ],
        receipt=context.receipt,
        description=description,
        lost_buffers=lost,
        exit_code=4 if description.damage_count else 0,
    )


def _target(output: str | os.PathLike[str], capture: str | os.PathLike[str]) -> Path:
    """The path to write to; OutputError where it cannot be a trace's."""
    name = os.fspath(output)
    if name == "-":
        raise UsageError(
            "a trace cannot be written to a pipe", cause="its header is completed at the end", hint="-w FILE"
        )
    target = Path(os.path.realpath(name))
    if target.is_dir():
        raise OutputError("the output cannot be created", cause=f"{name} is a folder", hint="name a file in it")
    if target.exists() and not target.is_file():
        raise OutputError("the output cannot be created", cause=f"{name} is no regular file", hint="-w FILE")
    if not target.parent.is_dir():
        raise OutputError(
            "the output cannot be created", cause=f"there is no folder {target.parent}", hint="create it first"
        )
    if os.path.exists(capture) and target.exists() and os.path.samefile(target, capture):
        raise OutputError(
            "the output would replace the input", cause=f"{name} is the capture", hint="name another file with -w FILE"
        )
    return target


def _nothing(context: Context, options: SynthOptions, description: Description) -> EtwcapError:
    name = description.inputs[0].name
    left_out = [note.text for note in context.receipt.notes.values()]
    if not context.receipt.packets_read:
        return NothingToWriteError(f"no packets in {name}", cause="the capture file has no packet blocks")
    return NothingToWriteError(
        f"{options.tap} can hold none of the {context.receipt.packets_read:,} packets of {name}",
        cause="; ".join(left_out),
        hint="try another tap with --as",
    )
