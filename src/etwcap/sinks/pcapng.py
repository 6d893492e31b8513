"""Packets as a pcapng file, to the letter of draft-ietf-opsawg-pcapng.

One section, little-endian, every interface with a resolution of 1 ns. An interface's block stands before its first
packet; what became known about it later stands as a comment in its statistics block at the end.

What a packet's options say:

* ``epb_flags``: the direction, where known.
* ``epb_packetid``: the ``packet_id`` column.
* ``epb_verdict`` of a dropped packet: octet 0 (hardware, the only free-form kind), then DropReason and DropLocation as
  little-endian 32-bit words. The comment says it in words.
* ``epb_processid_threadid``: where ``Mark.PROCESS_TRUSTED`` is set.
* ``opt_comment``: the row's text as one option; lines of it stay lines.
* whatever a pcapng input had beside these, unchanged.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from etwcap.native.blocks import epb_writer
from etwcap.packets import Chunk, Context, Interface, Mark, SideBlock
from etwcap.sinks.kernel_sink import BUFFER, KernelSink
from etwcap.sinks.options import COMMENT, block, joined, number_option, option, text_option, time_option, time_stamp
from etwcap.sinks.output import Output

SHB, IDB, ISB = 0x0A0D0D0A, 1, 5
NANOSECONDS = 9
"""if_tsresol"""
WAITING = 16 << 20
"""bytes of side blocks that are held back for the first packet"""


@dataclass(slots=True)
class Section:
    """What the section header says."""

    hardware: str = ""
    os: str = ""
    application: str = ""
    comments: list[str] = field(default_factory=list)


class PcapngSink(KernelSink):
    """Writes the packets of a run into one pcapng section (protocol ``Sink``).

    Nothing is written before the first packet (or 16 MiB of side blocks), or ``finish``.

    ``shown`` gives an interface as it is to be described. ``whole`` is false for one of several pieces: its statistics
    then tell what was written, and nothing of the inputs.
    """

    CLAMPED = "times before 1970 were written as 1970"

    def __init__(
        self,
        output: Output,
        context: Context,
        *,
        section: Section | None = None,
        shown: Callable[[Interface], Interface] | None = None,
        whole: bool = True,
    ) -> None:
        super().__init__(output, context, epb_writer(BUFFER, Mark.PROCESS_TRUSTED))
        self._section = section or Section()
        self._shown = shown
        self._whole = whole
        self._waiting: list[SideBlock] = []
        self._waiting_bytes = 0
        self._order: list[int] = []
        self._told: dict[int, dict[str, str]] = {}
        self._begun = False

    def write(self, chunk: Chunk) -> None:
        """Append the chunk's side blocks, then its packets."""
        self._waiting += chunk.side_blocks
        self._waiting_bytes += sum(len(side.body) for side in chunk.side_blocks)
        rows = len(chunk.packets)
        if rows == 0 and self._waiting_bytes <= WAITING:
            return
        self._begin()
        if "comment" in chunk.packets.columns:
            texts = self._writer.texts
            for text in self._context.comments.texts[len(texts) :]:
                texts.append(text)
        self._write_rows(chunk)

    def finish(self) -> None:
        """Write the statistics blocks and give the output its final name."""
        self._begin()
        for number, index in enumerate(self._order):
            self._put(self._statistics(number, index))
        self._commit()

    def _put(self, data: bytes) -> None:
        writer = self._writer
        if len(data) > writer.out.size - writer.used:
            self.flush()
            writer.grow(len(data))
        writer.out[writer.used : writer.used + len(data)] = np.frombuffer(data, np.uint8)
        writer.used += len(data)

    def _begin(self) -> None:
        """The section header once, and side blocks that wait."""
        if not self._begun:
            self._begun = True
            self._put(section_header(self._section))
        for side in self._waiting:
            self._put(block(side.block_type, side.body))
        self._waiting.clear()
        self._waiting_bytes = 0

    def _introduce(self, index: int, chunk: Chunk) -> None:
        interface = self._interface(index)
        self._put(interface_block(interface))
        self._told[index] = _facts(interface)
        self._writer.numbers[index] = len(self._order)
        self._order.append(index)

    def _interface(self, index: int) -> Interface:
        interface = self._context.interfaces[index]
        return interface if self._shown is None else self._shown(interface)

    def _statistics(self, number: int, index: int) -> bytes:
        """The Interface Statistics Block of a written interface."""
        interface, tally = self._interface(index), self._writer.tallies[index]
        start, end = int(tally["first"]), int(tally["last"])
        sessions = [d.session for d in self._context.descriptions if d.session is not None]
        if self._whole and len(self._context.descriptions) == 1 and sessions and sessions[0].start > 0:
            start = min(start, sessions[0].start)
            end = max(end, sessions[0].end or end)
        written = int(tally["packets"])
        lost = sum(d.losses.events for d in self._context.descriptions) if number == 0 and self._whole else 0
        late = [f"{name}: {text}" for name, text in _facts(interface).items() if self._told[index].get(name) != text]
        options = [
            time_option(2, start),
            time_option(3, end),
            number_option(4, interface.reports or written) if self._whole else b"",
            number_option(5, interface.drops) if interface.drops and self._whole else b"",
            number_option(7, lost) if lost else b"",
            number_option(8, written),
        ]
        if lost and len(self._order) > 1:
            options.append(text_option(COMMENT, "isb_osdrop counts the events lost on all interfaces together"))
        if late:
            options.append(text_option(COMMENT, "learnt after the interface's block was written: " + "; ".join(late)))
        return block(ISB, struct.pack("<I", number) + time_stamp(end) + joined(options))


def section_header(section: Section) -> bytes:
    """The Section Header Block; its length is not known beforehand (-1)."""
    options = [
        text_option(2, section.hardware),
        text_option(3, section.os),
        text_option(4, section.application),
        *(text_option(COMMENT, comment) for comment in section.comments),
    ]
    return block(SHB, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + joined(options))


def interface_block(interface: Interface) -> bytes:
    """The Interface Description Block."""
    options = [text_option(2, interface.name), text_option(3, interface.description)]
    options += [option(4, address.ip.packed + address.netmask.packed) for address in interface.ipv4]
    options += [option(5, address.ip.packed + bytes([address.network.prefixlen])) for address in interface.ipv6]
    if len(interface.mac) in (6, 8):
        options.append(option(6 if len(interface.mac) == 6 else 7, interface.mac))
    if interface.speed:
        options.append(number_option(8, interface.speed))
    options.append(option(9, bytes([NANOSECONDS])))
    if interface.filter:
        options.append(text_option(11, interface.filter, lead=b"\0"))
    options += [text_option(12, interface.os), text_option(15, interface.hardware), interface.options]
    head = struct.pack("<HHI", interface.link_type & 0xFFFF, 0, min(interface.snap_length, 2**32 - 1))
    return block(IDB, head + joined(options))


def _facts(interface: Interface) -> dict[str, str]:
    """What may become known after the interface's first packet."""
    facts = {
        "name": interface.name,
        "description": interface.description,
        "MAC": interface.mac.hex(":"),
        "IPv4": ", ".join(map(str, interface.ipv4)),
        "IPv6": ", ".join(map(str, interface.ipv6)),
        "speed": f"{interface.speed} bit/s" if interface.speed else "",
        "filter": interface.filter,
        "os": interface.os,
        "hardware": interface.hardware,
    }
    return {name: text for name, text in facts.items() if text}
