"""The records of a classic pcap file (draft-ietf-opsawg-pcap), of either byte order and resolution."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from etwcap.errors import NotATraceError
from etwcap.native.capfile import EARLIEST, Check, PacketIndex, Stop
from etwcap.native.pcap_find import CERTAIN, LEAST, STEP, find
from etwcap.packets import Chunk, Context, Damage, Description, EventTable, Interface, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.sources.capfile_window import LIMIT, Window

HEADER = 24
MICROSECONDS, NANOSECONDS, MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
"""magic numbers; MODIFIED is Alexey Kuznetzov's variant with 8 more bytes in each record header"""
DGUX = 543
"""major version that tcpdump of DG/UX writes

A record of versions before 2.3, and of DG/UX, has the original length first, and one of 2.3 has the two in either order
(sf-pcap.c of libpcap). The captured length is the smaller one."""
FCS_PRESENT = 1 << 26
"""in the header's link type: the upper 4 bits are the length of the frame check sequence in 16-bit words"""
_ENDS = "the file ends inside a packet record"
IF_FCSLEN = 13
"""if_fcslen of a pcapng interface, in bits"""


class PcapReader:
    """The packets of a pcap file, from its header on; ``interface`` is what the header says of where they come from."""

    def __init__(self, window: Window, index: PacketIndex, context: Context, description: Description) -> None:
        self._window = window
        self.index = index
        self._context = context
        self._description = description
        window.slide(0, HEADER)
        header = window.view[:HEADER].tobytes()
        order = ">" if header[0] == 0xA1 else "<"
        if len(header) < HEADER:
            raise NotATraceError("the file ends inside its header", cause=f"{window.name}: {len(header)} bytes, pcap")
        magic, major, minor, _, _, snap_length, network = struct.unpack(order + "IHHiIII", header)
        if major not in (2, DGUX):
            raise NotATraceError("this version of pcap is not known", cause=f"{window.name}: {major}.{minor}")
        index.swapped = order == ">"
        index.scale = 1 if magic == NANOSECONDS else 1000
        index.header = 24 if magic == MODIFIED else 16
        index.either = major == DGUX or minor < 4
        index.limit = min(max(262144, snap_length), LIMIT)
        index.at = HEADER
        description.resolution = index.scale
        self.interface = Interface(network & 0xFFFF, snap_length=min(snap_length, 2**31 - 1))
        if network & FCS_PRESENT:
            bits = (network >> 28) * 16
            self.interface.options = struct.pack("<HHB3x", IF_FCSLEN, 1, bits)
        self._number = context.interfaces.add(self.interface)
        self._trusting = False
        """no record is held against the next one any more"""

    def chunks(self) -> Iterator[Chunk]:
        """The packets in the file's order; see ``CaptureFileSource.chunks``."""
        index, window = self.index, self._window
        while True:
            if not self._trusting:
                # of a pipe nothing is waited for that a packet does not need
                index.checks = Check.ALL if window.size and not window.ended else Check.HERE
            stop = index.pcap(window.view)
            if stop is Stop.MORE and not window.ended:
                if index.row:
                    yield self._chunk()
                self._slide(index.at, index.need)
                continue
            if stop is Stop.FULL:
                yield self._chunk()
                continue
            if stop is Stop.DOUBT:
                if window.view.size - index.at < 2 * CERTAIN and not window.ended:
                    if index.row:
                        yield self._chunk()
                    self._slide(index.at, 2 * CERTAIN)
                if self._believed():
                    continue
            elif index.at == window.view.size:
                break
            if index.row:
                yield self._chunk()
            what = "a packet record with an impossible length" if stop is not Stop.MORE else _ENDS
            if not self._resume(what):
                break
        if index.row:
            yield self._chunk()
        yield Chunk(np.empty(0, np.uint8), PacketTable(0), EventTable(0), END_OF_TIME)

    def _slide(self, start: int, need: int) -> None:
        index = self.index
        self._window.slide(start, need)
        index.at -= start
        index.sure = max(index.sure - start, 0)

    def _believed(self) -> bool:
        """Whether the record at ``at``, behind which no regular one begins, was taken with the length it says.

        It is unless others certainly begin before its end. Where none can be found far and wide, the file is one whose
        records are irregular, and no more is doubted. Odd records that lead one after another exactly to one that is
        certain are whole.
        """
        index, window = self.index, self._window
        found, end = self._find(index.at + 1), index.at + index.need
        if found is None:
            self._trusting = True
            index.checks = Check.NONE
            return True
        if found < end:
            return False
        if found == end or self._leads(index.at, found):
            index.sure = found
            return True
        near, whole, _ = self._look(index.at)
        if not (near and whole):
            return False
        rows, index.rows, index.sure = index.rows, index.row + 1, end
        index.pcap(window.view)
        index.rows = rows
        self._damage(window.base + end, "no packet record", window.base + found)
        index.at = found
        return True

    def _leads(self, at: int, found: int) -> bool:
        """Whether records lead from ``at`` exactly to ``found``, of which each has at most one oddity: its time or its
        lengths."""
        while found - at >= self.index.header:
            near, whole, captured = self._look(at)
            if not near and not (whole and captured >= LEAST):  # zeros look like empty packets of no time
                return False
            at += self.index.header + captured
        return at == found

    def _look(self, at: int) -> tuple[bool, bool, int]:
        """Of the record at ``at``: has it a time near those before, has it lengths and a fraction as every writer
        makes them, and its captured length."""
        seconds, fraction, captured, original = self.index.form.head(self._window.view, at)
        whole = captured <= original and fraction * self.index.scale < 10**9
        return self._near(seconds), whole, captured

    def _near(self, seconds: int) -> bool:
        latest = self.index.latest
        return latest == EARLIEST or abs(seconds - latest // 10**9) <= STEP

    def _find(self, start: int) -> int | None:
        """The next place that is certainly a record, within the window as far as it goes now."""
        index, window = self.index, self._window
        before: int | None = index.latest // 10**9
        if index.latest == EARLIEST:  # the first record of all: its own time, unless that is zeroed
            order = ">" if index.swapped else "<"
            before = (
                struct.unpack_from(order + "I", bytes(window.view[index.at : index.at + 4]).ljust(4, b"\0"))[0] or None
            )
        return find(index.form, window.view, start, window.view.size, ends=window.ended, before=before)

    def _resume(self, what: str) -> bool:
        """Go on at the next place that is certainly a record; False where there is none."""
        index, window = self.index, self._window
        start = window.base + index.at
        at = index.at + 1
        while True:
            if window.view.size - at < 2 * CERTAIN and not window.ended:
                index.at = at
                self._slide(at, 2 * CERTAIN)
                at = 0
            found = self._find(at)
            if found is not None or window.ended:
                break
            at = max(at, window.view.size - CERTAIN - index.limit)
        index.at = window.view.size if found is None else found
        self._trusting = False
        self._damage(start, what if found is not None else f"{what}; the rest cannot be read", window.base + index.at)
        return found is not None

    def _chunk(self) -> Chunk:
        rows = self.index.row
        table = PacketTable(rows, **self.index.take())
        if self._number:
            table["interface"] = np.full(rows, self._number, np.int32)
        return Chunk(self._window.view, table, EventTable(0), self.index.latest)

    def _damage(self, place: int, what: str, end: int) -> None:
        self._description.add_damage(Damage(self._window.name, place, what, end - place))
