"""The blocks of a pcapng file (draft-ietf-opsawg-pcapng): packets by the kernel, all other blocks here."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from etwcap.errors import NotATraceError
from etwcap.native.capfile import INTERFACE, PacketIndex, Stop, find_block
from etwcap.packets import Chunk, Context, Damage, Description, EventTable, PacketTable, SideBlock
from etwcap.packets.chunk import END_OF_TIME
from etwcap.providers import rawsocket_layout
from etwcap.sources import capfile_blocks as blocks
from etwcap.sources.capfile_window import WINDOW, Window

SHB = 0x0A0D0D0A
LONGEST_FOUND = 1 << 19
"""the longest block that a search after damage believes"""
MOST_INTERFACES = 1 << 16
MOST_COMMENTS = 256
SIDE_BYTES = 1 << 20
"""side blocks that wait for a packet, at most"""
_NO_BLOCK = "no block can be that"


class PcapngReader:
    """The packets and side blocks of a pcapng file of any number of sections."""

    def __init__(self, window: Window, index: PacketIndex, context: Context, description: Description) -> None:
        self._window = window
        self.index = index
        self._context = context
        self._description = description
        self._order = "<"
        self._section = 0
        self._faces = np.zeros(16, INTERFACE)
        self._key = object()
        self._side: list[SideBlock] = []
        self._side_bytes = 0
        self._counted: dict[tuple[int, int], blocks.Statistics] = {}
        self._rows = index.rows
        description.resolution = 0
        window.slide(0, 28)
        if window.view.size < 28:
            raise NotATraceError(
                "the file ends inside its header", cause=f"{window.name}: {window.view.size} bytes, pcapng"
            )
        self._lead_in()

    def _lead_in(self) -> None:
        """Read up to the first packet, so that the section and its interfaces are known; as far as the window goes. A
        pipe is waited for."""
        index, window = self.index, self._window
        index.rows = 1
        while (stop := index.pcapng(window.view)) is not Stop.FULL:
            if stop is Stop.MISFIT:
                self._misfit()
            elif stop is Stop.BLOCK and self._block():
                if self._side_bytes > SIDE_BYTES:
                    break
            elif stop is Stop.BROKEN or not index.need:
                if not self._resume(_NO_BLOCK):
                    break
            elif window.ended or index.at + index.need > WINDOW:
                break
            else:
                window.slide(0, index.at + index.need)
        index.rows = self._rows

    def names_socket_records(self) -> bool:
        """Whether an interface met so far has raw sockets' link type, and their records' magic is in the window."""
        numbers = self.index.table["interface"].tolist()
        linked = any(self._context.interfaces[number].link_type == rawsocket_layout.LINK_TYPE for number in numbers)
        return linked and rawsocket_layout.MAGIC.to_bytes(4, "little") in self._window.view.tobytes()

    def chunks(self) -> Iterator[Chunk]:
        """The packets in the file's order; see ``CaptureFileSource.chunks``."""
        index, window = self.index, self._window
        while True:
            stop = index.pcapng(window.view)
            self._report_odd()
            if stop is Stop.BLOCK:
                if index.row and self._is_side_block():
                    yield self._chunk()
                if self._block():
                    if self._side_bytes > SIDE_BYTES:
                        yield self._chunk()
                    continue
                stop = Stop.MORE if index.need else Stop.BROKEN
            if stop is Stop.MISFIT:
                self._misfit()
                continue
            if index.row:
                yield self._chunk()
            if stop is Stop.BROKEN and not self._resume(_NO_BLOCK):
                break
            if stop is Stop.MORE:
                if not window.ended:
                    window.slide(index.at, index.need)
                    index.at = 0
                elif index.at == window.view.size or not self._resume("the file ends inside a block"):
                    break
        last = self._chunk()
        last.complete_to = END_OF_TIME
        yield last

    def _chunk(self) -> Chunk:
        rows = self.index.row
        side, self._side, self._side_bytes = self._side, [], 0
        table = PacketTable(rows, **self.index.take())
        return Chunk(self._window.view, table, EventTable(0), self.index.latest, side)

    def _kind(self) -> int:
        kind: int = struct.unpack_from(self._order + "I", self._window.view.data, self.index.at)[0]
        return kind

    def _is_side_block(self) -> bool:
        return self._kind() not in (SHB, blocks.IDB, blocks.ISB, blocks.CUSTOM_NOT_COPIED)

    def _block(self) -> bool:
        """Take the block that is no packet. False: a section header that is not whole (``need`` > 0) or no header."""
        index, kind = self.index, self._kind()
        if kind == SHB:
            return self._take_section()
        body = self._window.view[index.at + 8 : index.at + index.need - 4].tobytes()
        if kind == blocks.IDB:
            self._take_interface(body)
        elif kind == blocks.ISB:
            self._take_statistics(body)
        elif kind == blocks.CUSTOM_NOT_COPIED:
            self._context.receipt.note("left-out", "custom blocks that forbid to be copied were left out")
        elif (side := blocks.side_block(kind, body, self._order)) is not None:
            self._side.append(side)
            self._side_bytes += len(side.body)
        else:
            what = f"a block of type 0x{kind:08X} whose byte order cannot be changed was left out"
            self._damage(self._place(), what, index.need, severity="unknown")
        index.at += index.need
        return True

    def _take_section(self) -> bool:
        index, view = self.index, self._window.view
        left = view.size - index.at
        index.need = 28
        if left < 28:
            return False
        magic = view[index.at + 8 : index.at + 12].tobytes()
        order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(magic)
        total = struct.unpack_from(f"{order or '<'}I", view.data, index.at + 4)[0]
        if order is not None and self._section == 0:  # so that reading can go on behind a broken header
            self._order, index.swapped = order, order == ">"
        if order is None or total < 28 or total % 4 or total > index.limit:
            index.need = 0
            return False
        index.need = total
        if total > left:
            return False
        if struct.unpack_from(order + "I", view.data, index.at + total - 4)[0] != total:
            index.need = 0
            return False
        header = blocks.section_header(view[index.at + 8 : index.at + total - 4].tobytes(), order)
        if header.major != 1:
            if self._section == 0:
                version = f"{self._window.name}: {header.major}.{header.minor}"
                raise NotATraceError("this version of pcapng is not known", cause=version)
            index.need = 0
            return False
        self._order = order
        index.swapped = order == ">"
        index.table = np.empty(0, INTERFACE)
        self._section += 1
        description = self._description
        for comment in header.comments:
            if comment not in description.comments and len(description.comments) < MOST_COMMENTS:
                description.comments.append(comment)
        description.machine.hardware = description.machine.hardware or header.hardware
        description.machine.os_name = description.machine.os_name or header.os
        description.capture_application = description.capture_application or header.application
        index.at += total
        return True

    def _take_interface(self, body: bytes) -> None:
        ordinal = len(self.index.table)
        if ordinal == MOST_INTERFACES:
            self._damage(self._place(), f"more than {MOST_INTERFACES:,} interfaces in a section", len(body) + 12)
            return
        interface, resolution, offset, nanos = blocks.interface(body, self._order)
        number = self._context.interfaces.add(interface, key=(self._key, ordinal, self._order, body))
        if ordinal == len(self._faces):
            self._faces = np.concatenate([self._faces, np.zeros(ordinal, INTERFACE)])
        self._faces[ordinal] = (offset, interface.snap_length, number, resolution, [0] * 3, nanos)
        self.index.table = self._faces[: ordinal + 1]
        step = _nanoseconds(resolution)
        known = self._description.resolution
        self._description.resolution = min(known, step) if known else step

    def _take_statistics(self, body: bytes) -> None:
        """Totals of the interface: of several blocks in a section the last counts, sections add up."""
        found = blocks.statistics(body, self._order)
        if found is None or found.interface >= len(self.index.table):
            self._damage(self._place(), "a statistics block of an interface that is not there", 0)
            return
        interface = self._context.interfaces[int(self.index.table[found.interface]["interface"])]
        key = (self._section, found.interface)
        before = self._counted.get(key, blocks.Statistics(0))
        self._counted[key] = found
        interface.reports += (found.received or 0) - (before.received or 0)
        interface.drops += (found.dropped or 0) - (before.dropped or 0)
        self._description.losses.events += (found.os_dropped or 0) - (before.os_dropped or 0)

    def _misfit(self) -> None:
        index = self.index
        self._damage(
            self._place(), "a packet block whose content does not fit in it or whose interface is unknown", index.need
        )
        index.at += index.need

    def _report_odd(self) -> None:
        index = self.index
        if index.odd:
            what = f"the options of a packet run past its block ({index.odd} packets in this stretch)"
            self._damage(self._window.base + index.odd_at, what, 0)
            index.odd = 0

    def _resume(self, what: str) -> bool:
        """Go on at the next place that is certainly a block; False where there is none."""
        index, window = self.index, self._window
        start = self._place()
        if (behind := self._behind()) is not None:
            index.at = behind
            self._damage(start, what, self._place() - start)
            return True
        at = index.at + 1
        while True:
            if window.view.size - at < LONGEST_FOUND + 16 and not window.ended:
                window.slide(at, LONGEST_FOUND + 16)
                at = 0
            until = window.view.size if window.ended else window.view.size - LONGEST_FOUND - 15
            found = find_block(
                window.view, at, until, LONGEST_FOUND, swapped=self._order == ">", ends=window.ended
            )  # fmt: skip
            index.at = window.view.size if found is None else found
            if found is not None or window.ended:
                break
            at = max(at, until)
        self._damage(start, what, self._place() - start)
        return found is not None

    def _behind(self) -> int | None:
        """The end of the broken block by the length before its body, if another block certainly begins there.

        So what a packet carries, which may be a capture itself, is not taken for blocks of this file.
        """
        index, view = self.index, self._window.view
        if view.size - index.at < 8:
            return None
        (total,) = struct.unpack_from(self._order + "I", view.data, index.at + 4)
        end: int = index.at + total
        if total < 12 or total % 4 or end >= view.size:
            return None
        swapped, ends = self._order == ">", self._window.ended
        return find_block(view, end, end + 1, LONGEST_FOUND, swapped=swapped, ends=ends)

    def _place(self) -> int:
        return self._window.base + self.index.at

    def _damage(self, offset: int, what: str, lost: int, severity: str = "damage") -> None:
        self._description.add_damage(Damage(self._window.name, offset, what, lost, severity))


def _nanoseconds(resolution: int) -> int:
    """if_tsresol as whole ns, at least 1."""
    exponent = resolution & 0x7F
    units: int = (2 if resolution & 0x80 else 10) ** exponent
    return max(1, 10**9 // units)
