"""The front end's side of the pipe: what a collector sends, as a live source of records.

The collector is not trusted: each frame is checked, every fact has its type and bounds, a time before what was
promised is marked, and one that falls silent is given up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any, Final, Protocol

import numpy as np

from etwcap.errors import EtwcapError, NotHereError, RightsError
from etwcap.packets import Chunk, Context, Description, EventTable, Interface, Machine, Mark, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.packets.linktypes import ETW
from etwcap.taps import wire
from etwcap.taps.collector import PROTOCOL
from etwcap.taps.protocol import TapLosses
from etwcap.taps.reader import LEAD
from etwcap.taps.wire import FrameKind, WireError

MOST_INTERFACES: Final = 4096
MOST_NOTES: Final = 256
LONGEST_NAME: Final = 1024
SILENCE: Final = 10.0
"""s: a collector sends a batch at least every 250 ms; one that sends nothing for so long hangs"""
_MOST: Final = 2**63 - 1
_BEFORE: Final = (FrameKind.HELLO, FrameKind.NOTE, FrameKind.FAILURE)
_AFTER: Final = tuple(kind for kind in FrameKind if kind not in (FrameKind.STOP, FrameKind.HELLO))


class TimedDuplex(Protocol):
    """A pipe whose reads may come back empty-handed."""

    def read(self, most: int) -> bytes | None:
        """Up to ``most`` bytes; none (b"") where the other side is gone; None where nothing came for a moment (at most
        250 ms)."""
        ...

    def write(self, data: bytes) -> bool:
        """All of the bytes; False where the other side is gone."""
        ...

    def close(self) -> None:
        """Close this side. Safe to call twice."""
        ...


class RemoteSource:
    """A capture by a collector (protocol ``LiveTapSource``): each row is a record of the tap.

    Reads the collector's HELLO at once. Raises WireError for what a collector may not send, and whatever error the
    collector itself met.
    """

    def __init__(
        self,
        pipe: TimedDuplex,
        context: Context,
        *,
        tell: Callable[[str], None] = lambda _line: None,
        silence: float = SILENCE,
    ) -> None:
        self._pipe = pipe
        self._context = context
        self._silence = silence
        self._tell = tell
        self._losses = TapLosses()
        self._interfaces: list[int] = []
        self._notes = 0
        self._complete = -(2**63)
        self._bytes = 0
        self._stopping = threading.Event()
        self._told = False
        self._closed = False
        while True:
            found = wire.read_frame(self._read, _BEFORE)
            if found is None:
                raise WireError("the collector went away before it began")
            facts = wire.read_text(found[1])
            if found[0] is not FrameKind.NOTE:
                break
            tell(_text(facts, "text"))
        if found[0] is FrameKind.FAILURE:
            raise failure_of(facts)
        if facts.get("protocol") != PROTOCOL:
            raise WireError("the collector is of another version", cause=f"protocol {facts.get('protocol')!r:.40}")
        self._description = Description(machine=_machine(facts.get("machine")), resolution=_number(facts, "resolution"))

    def describe(self) -> Description:
        """The machine, and losses so far."""
        return self._description

    def progress(self) -> tuple[int, int]:
        """(bytes of records so far, 0)."""
        return self._bytes, 0

    def losses(self) -> TapLosses:
        """What the collector said last."""
        return self._losses

    def stop(self) -> None:
        """Ask the collector to stop, at the next read; from any thread and from signal handlers."""
        self._stopping.set()

    def close(self) -> None:
        """Close the pipe, which the collector takes for a stop. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._pipe.close()

    def chunks(self) -> Iterator[Chunk]:
        """Chunks of records until the collector ends."""
        while True:
            found = wire.read_frame(self._read, _AFTER)
            if found is None:
                raise WireError("the collector went away", cause="the pipe ended without an end of the capture")
            kind, body = found
            if kind is FrameKind.BATCH:
                yield self._chunk(body)
            elif kind is FrameKind.END:
                yield Chunk(np.zeros(LEAD, np.uint8), PacketTable(0), EventTable(0), END_OF_TIME)
                return
            elif kind is FrameKind.FAILURE:
                raise failure_of(wire.read_text(body))
            elif kind is FrameKind.NOTE:
                self._tell(_text(wire.read_text(body), "text"))
            elif kind is FrameKind.RECEIPT:
                self._take_note(wire.read_text(body))
            elif kind is FrameKind.LOSSES:
                self._take_losses(wire.read_text(body))
            else:
                self._take_interface(wire.read_text(body))

    def _chunk(self, body: bytes) -> Chunk:
        batch = wire.read_batch(body)
        if len(batch.time) and int(batch.interface.max()) >= len(self._interfaces):
            raise WireError("a batch names an interface that is not there", cause=f"{int(batch.interface.max())}")
        begin = self._complete
        self._complete = max(begin, batch.complete_to)
        rows = PacketTable(len(batch.time))
        rows["time"] = batch.time
        late = batch.time < begin
        if late.any():  # a promise was not kept: the row goes on, marked
            rows["flags"] = np.where(late, np.uint32(Mark.LATE), np.uint32(0))
        rows["offset"] = batch.offset + LEAD
        rows["captured"] = rows["original"] = batch.length
        rows["interface"] = np.array(self._interfaces or [0], np.int32)[batch.interface]
        self._bytes += len(batch.data)
        events = np.array([self._context.interfaces[each].link_type == ETW for each in self._interfaces] or [False])
        # those of trace sessions are counted when they become packets
        self._context.receipt.packets_read += int(np.count_nonzero(~events[batch.interface]))
        return Chunk(np.concatenate([np.zeros(LEAD, np.uint8), batch.data]), rows, EventTable(0), self._complete)

    def _take_losses(self, facts: dict[str, Any]) -> None:
        self._losses = TapLosses(
            ring=_number(facts, "ring"),
            ring_bytes=_number(facts, "ring_bytes"),
            failed=_number(facts, "failed"),
            cut=_number(facts, "cut"),
            mechanism=None if facts.get("mechanism") is None else _number(facts, "mechanism"),
            buffers=_number(facts, "buffers"),
        )
        self._description.losses.events = self._losses.ring + (self._losses.mechanism or 0)
        self._description.losses.buffers = self._losses.buffers

    def _take_note(self, facts: dict[str, Any]) -> None:
        """What the collector noted, as if it had been noted here."""
        kind, text, count = _text(facts, "kind", 64), _text(facts, "text", wire.LONGEST_NOTE), _number(facts, "count")
        self._notes += 1
        if self._notes > MOST_NOTES:
            raise WireError("the collector notes too much")
        self._context.receipt.note(kind, text, count)

    def _take_interface(self, facts: dict[str, Any]) -> None:
        number, made = _number(facts, "number"), interface_of(facts)
        if number > len(self._interfaces) or number >= MOST_INTERFACES:
            raise WireError("an interface has the wrong number", cause=f"{number}")
        if number == len(self._interfaces):
            self._interfaces.append(self._context.interfaces.add(made))
            return
        known = self._context.interfaces[self._interfaces[number]]
        if known.link_type != made.link_type:
            raise WireError("an interface changed its link type", cause=f"{known.link_type} to {made.link_type}")
        known.description, known.speed = made.description, made.speed
        known.ipv4, known.ipv6 = made.ipv4, made.ipv6

    def _read(self, most: int) -> bytes:
        """As ``wire.Read``: waits, passes a stop on, and gives a silent collector up."""
        last = time.monotonic()
        while True:
            if self._stopping.is_set() and not self._told:
                self._told = True
                self._pipe.write(wire.frame(FrameKind.STOP))
            data = self._pipe.read(most)
            if data is not None:
                return data
            if time.monotonic() - last >= self._silence:
                raise WireError("the collector does not answer", cause=f"nothing came for {self._silence:g} s")


def failure_of(facts: dict[str, Any]) -> EtwcapError:
    """The error that a collector met, as one of ours."""
    what, cause, hint = (_text(facts, name, 4 * LONGEST_NAME) for name in ("what", "cause", "hint"))
    kinds: dict[object, type[EtwcapError]] = {5: RightsError, 6: NotHereError}
    return kinds.get(facts.get("exit_code"), EtwcapError)(what or "the collector failed", cause=cause, hint=hint)


def interface_of(facts: dict[str, Any]) -> Interface:
    """The interface of an INTERFACE frame. Raises WireError where a fact is not what it has to be."""
    link_type = _number(facts, "link_type")
    if link_type > 0xFFFF:
        raise WireError("a link type is too large", cause=f"{link_type}")
    return Interface(
        link_type,
        _text(facts, "name"),
        _text(facts, "description"),
        mac=_parsed(facts, "mac", bytes.fromhex, 16),
        ipv4=_addresses(facts, "ipv4", IPv4Interface),
        ipv6=_addresses(facts, "ipv6", IPv6Interface),
        speed=_number(facts, "speed"),
        if_index=_number(facts, "if_index"),
        tap=_text(facts, "tap", 32),
    )


def _machine(facts: object) -> Machine:
    if not isinstance(facts, dict):
        raise WireError("the collector does not name its machine")
    return Machine(
        os_name=_text(facts, "os_name"),
        os_version=_text(facts, "os_version"),
        computer_name=_text(facts, "computer_name"),
        processors=_number(facts, "processors"),
        architecture=_text(facts, "architecture"),
    )


def _text(facts: dict[str, Any], name: str, most: int = LONGEST_NAME) -> str:
    text = facts.get(name, "")
    if not isinstance(text, str) or len(text) > most:
        raise WireError(f"{name} is no text, or too long")
    return text


def _number(facts: dict[str, Any], name: str) -> int:
    number = facts.get(name)
    if type(number) is not int or not 0 <= number <= _MOST:
        raise WireError(f"{name} is no number that can be", cause=f"{number!r:.40}")
    return number


def _parsed(facts: dict[str, Any], name: str, parse: Callable[[str], bytes], most: int) -> bytes:
    try:
        return parse(_text(facts, name, most))
    except ValueError as error:
        raise WireError(f"{name} cannot be read", cause=str(error)) from error


def _addresses(facts: dict[str, Any], name: str, parse: Callable[[str], Any]) -> list[Any]:
    given = facts.get(name, [])
    if not isinstance(given, list) or len(given) > 256:
        raise WireError(f"{name} is no list, or too long")
    try:
        return [parse(each) for each in given if isinstance(each, str) and len(each) < 64]
    except ValueError as error:
        raise WireError(f"{name} has no addresses", cause=str(error)[:100]) from error
