"""The collector: the part of a capture that holds rights. It copies records into a pipe, and does nothing else.

What it captures is fixed when it starts, by the words of its command line, which the administrator consented to.
Through the pipe comes one thing only, the wish to stop; whatever else comes, and the pipe's end, is taken for that
wish.
"""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any, Final, Protocol

import numpy as np

from etwcap._version import __version__
from etwcap.errors import EtwcapError
from etwcap.packets import Chunk, Context, Interface, Machine
from etwcap.taps import wire
from etwcap.taps.protocol import LiveTapSource, TapLosses
from etwcap.taps.wire import Batch, FrameKind

PROTOCOL: Final = 1


class Duplex(Protocol):
    """A pipe as both sides use it: one thread reads while another writes."""

    def read(self, most: int) -> bytes:
        """Up to ``most`` bytes, as soon as there are some; none where the other side is gone."""
        ...

    def write(self, data: bytes) -> bool:
        """All of the bytes; False where the other side is gone."""
        ...


def collect(source: LiveTapSource, context: Context, pipe: Duplex) -> bool:
    """Copy what the source gives into the pipe until the front end wants it to stop, or is gone, or the source ends.

    The source gives records, and is closed at the end. False: the front end went away.
    """
    threading.Thread(target=_wait_for_stop, args=(pipe, source), name="etwcap-front-end", daemon=True).start()
    try:
        there = _copy(source, context, pipe)
    except EtwcapError as error:
        return tell_failure(pipe, error)
    finally:
        source.stop()
        source.close()
    last = [wire.text_frame(FrameKind.LOSSES, asdict(source.losses()))]
    for note in context.receipt.notes.values():
        facts = {"kind": note.kind, "text": note.text[: wire.LONGEST_NOTE], "count": note.count}
        last.append(wire.text_frame(FrameKind.RECEIPT, facts))
    return there and all(pipe.write(each) for each in [*last, wire.frame(FrameKind.END)])


def tell_failure(pipe: Duplex, error: EtwcapError) -> bool:
    """Send an error to the front end, which raises it there."""
    facts = {"what": error.what, "cause": error.cause, "hint": error.hint, "exit_code": error.exit_code}
    return pipe.write(wire.text_frame(FrameKind.FAILURE, facts))


def tell_note(pipe: Duplex, text: str) -> None:
    """Send a line for people."""
    pipe.write(wire.text_frame(FrameKind.NOTE, {"text": text}))


def _copy(source: LiveTapSource, context: Context, pipe: Duplex) -> bool:
    description = source.describe()
    hello = {
        "protocol": PROTOCOL,
        "etwcap": __version__,
        "machine": machine_facts(description.machine),
        "resolution": max(each.resolution for each in (description, *context.descriptions)),
    }
    there = pipe.write(wire.text_frame(FrameKind.HELLO, hello))
    told: list[dict[str, Any]] = []
    losses = TapLosses()
    for chunk in source.chunks():
        frames = _interfaces(context, told)
        if source.losses() != losses:
            losses = source.losses()
            frames.append(wire.text_frame(FrameKind.LOSSES, asdict(losses)))
        frames += wire.batch_frames(_batch(chunk))
        there = there and all(pipe.write(frame) for frame in frames)
        if not there:
            source.stop()
    return there


def _wait_for_stop(pipe: Duplex, source: LiveTapSource) -> None:
    try:
        wire.read_frame(pipe.read, (FrameKind.STOP,))
    except (EtwcapError, OSError, ValueError):
        pass
    finally:
        source.stop()


def _batch(chunk: Chunk) -> Batch:
    packets = chunk.packets
    interface = packets["interface"].astype(np.uint16)
    length = np.ascontiguousarray(packets["captured"])
    return Batch(chunk.buffer, packets["time"], packets["offset"], length, interface, chunk.complete_to)


def _interfaces(context: Context, told: list[dict[str, Any]]) -> list[bytes]:
    """Frames for what is new or changed of the interfaces."""
    frames = []
    for number, interface in enumerate(context.interfaces):
        facts = interface_facts(number, interface)
        if number == len(told):
            told.append({})
        if told[number] != facts:
            told[number] = facts
            frames.append(wire.text_frame(FrameKind.INTERFACE, facts))
    return frames


def interface_facts(number: int, interface: Interface) -> dict[str, Any]:
    """An interface for the pipe."""
    return {
        "number": number,
        "link_type": interface.link_type,
        "name": interface.name,
        "description": interface.description,
        "mac": interface.mac.hex(),
        "ipv4": [str(each) for each in interface.ipv4],
        "ipv6": [str(each) for each in interface.ipv6],
        "speed": interface.speed,
        "if_index": interface.if_index,
        "tap": interface.tap,
    }


def machine_facts(machine: Machine) -> dict[str, Any]:
    """The machine for the pipe."""
    return {
        "os_name": machine.os_name,
        "os_version": machine.os_version,
        "computer_name": machine.computer_name,
        "processors": machine.processors,
        "architecture": machine.architecture,
    }
