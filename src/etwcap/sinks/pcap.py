"""Packets as a classic pcap file with nanoseconds (draft-ietf-opsawg-pcap): one link type, no names, no comments."""

from __future__ import annotations

import struct

import numpy as np

from etwcap.errors import MixedLinkTypesError
from etwcap.native.blocks import pcap_writer
from etwcap.packets import Chunk, Context, Interface
from etwcap.packets.linktypes import title
from etwcap.sinks.kernel_sink import BUFFER, KernelSink
from etwcap.sinks.output import Output

MAGIC = 0xA1B23C4D
SNAP_LENGTH = 262144
"""what tcpdump and Wireshark take for "no limit" """


class PcapSink(KernelSink):
    """Writes the packets of a run into one pcap file (protocol ``Sink``).

    Nothing is written before the first packet, or ``finish``. ``write`` also raises MixedLinkTypesError, at the first
    packet of a second link type.
    """

    CLAMPED = "times that a pcap file cannot hold (1970 to 2106) were set to the nearest"

    def __init__(self, output: Output, context: Context) -> None:
        super().__init__(output, context, pcap_writer(BUFFER))
        self._link_type: int | None = None
        self._snap_length = SNAP_LENGTH

    def write(self, chunk: Chunk) -> None:
        """Append the chunk's packets; its side blocks have no place in a pcap file."""
        if chunk.side_blocks:
            self._context.receipt.note(
                "left-out", "pcapng blocks that a pcap file cannot hold were left out", len(chunk.side_blocks)
            )
        if len(chunk.packets):
            self._write_rows(chunk)

    def finish(self) -> None:
        """Correct the header's snap length where a packet was longer, and give the output its final name."""
        if self._link_type is None:
            self._link_type = 1
            self._output.write(file_header(1, self._snap_length))
        self.flush()
        if self._writer.longest > self._snap_length:
            self._output.rewrite(16, struct.pack("<I", self._writer.longest))
        self._commit()

    def _begin(self, chunk: Chunk) -> None:
        """The file header, by the first packet."""
        interface = self._context.interfaces[int(chunk.packets["interface"][0])]
        self._link_type = interface.link_type
        longest = int(chunk.packets["captured"].max())
        self._snap_length = max(SNAP_LENGTH, interface.snap_length, longest)
        self._output.write(file_header(self._link_type | fcs_length(interface), self._snap_length))

    def _introduce(self, index: int, chunk: Chunk) -> None:
        if self._link_type is None:
            self._begin(chunk)
        interfaces = self._context.interfaces
        if interfaces[index].link_type == self._link_type:
            self._writer.numbers[index] = 0
            return
        written = np.flatnonzero(self._writer.numbers >= 0)
        involved = sorted({*written.tolist(), *np.unique(chunk.packets["interface"]).tolist()})
        known = [interfaces[i] for i in involved if 0 <= i < len(interfaces)]
        raise MixedLinkTypesError(
            "a pcap file holds packets of one link type only",
            cause=", ".join(f"{i.name or 'an interface without a name'}: {title(i.link_type)}" for i in known),
            hint="choose one with -i INTERFACE, turn 802.11 into Ethernet with --ethernet, or write pcapng",
        )


def fcs_length(interface: Interface) -> int:
    """The bits of the header's link type that tell the length of the frame check sequence; 0 where it is not known."""
    carried, at = interface.options, 0
    while len(carried) - at >= 8:
        code, length, bits = struct.unpack_from("<HHB", carried, at)
        if (code, length) == (13, 1) and bits % 16 == 0:
            return 1 << 26 | int(bits) // 16 << 28
        at += 4 + length + -length % 4
    return 0


def file_header(link_type: int, snap_length: int) -> bytes:
    """The header of a pcap file with nanoseconds, little-endian."""
    return struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, min(snap_length, 2**32 - 1), link_type)
