"""The records of a classic pcap file (draft-ietf-opsawg-pcap), of either byte order and resolution."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from etwcap.errors import NotATraceError
from etwcap.native.capfile import PacketIndex, Stop
from etwcap.packets import Chunk, Context, Damage, Description, EventTable, Interface, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.sources.capfile_window import LIMIT, Window

HEADER = 24
MICROSECONDS, NANOSECONDS, MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
"""magic numbers; MODIFIED is Alexey Kuznetzov's variant with 8 more bytes in each record header"""
FCS_PRESENT = 1 << 26
"""in the header's link type: the upper 4 bits are the length of the frame check sequence in 16-bit words"""
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
        if major != 2:
            raise NotATraceError("this version of pcap is not known", cause=f"{window.name}: {major}.{minor}")
        index.swapped = order == ">"
        index.scale = 1 if magic == NANOSECONDS else 1000
        index.header = 24 if magic == MODIFIED else 16
        index.limit = min(max(262144, snap_length), LIMIT)
        index.at = HEADER
        description.resolution = index.scale
        self.interface = Interface(network & 0xFFFF, snap_length=min(snap_length, 2**31 - 1))
        if network & FCS_PRESENT:
            bits = (network >> 28) * 16
            self.interface.options = struct.pack("<HHB3x", IF_FCSLEN, 1, bits)
        self._number = context.interfaces.add(self.interface)

    def chunks(self) -> Iterator[Chunk]:
        """The packets in the file's order; see ``CaptureFileSource.chunks``."""
        index, window = self.index, self._window
        while True:
            stop = index.pcap(window.view)
            if index.row:
                yield self._chunk()
            if stop is Stop.BROKEN:
                self._damage("a packet record with an impossible length; the rest cannot be read")
                break
            if stop is Stop.MORE:
                if window.ended:
                    if index.at < window.view.size:
                        self._damage("the file ends inside a packet record")
                    break
                window.slide(index.at, index.need)
                index.at = 0
        yield Chunk(np.empty(0, np.uint8), PacketTable(0), EventTable(0), END_OF_TIME)

    def _chunk(self) -> Chunk:
        rows = self.index.row
        table = PacketTable(rows, **self.index.take())
        if self._number:
            table["interface"] = np.full(rows, self._number, np.int32)
        return Chunk(self._window.view, table, EventTable(0), self.index.latest)

    def _damage(self, what: str) -> None:
        window = self._window
        place = window.base + self.index.at
        end = max(window.size, window.base + window.view.size)
        self._description.add_damage(Damage(window.name, place, what, end - place))
