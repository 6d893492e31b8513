"""``--strip-payload`` and ``-s``: packets cut to their headers, or to a length."""

from __future__ import annotations

import dataclasses

import numpy as np

from etwcap.native.headers import header_lengths
from etwcap.packets import Chunk, Context
from etwcap.packets.links import link_types


class StripStage:
    """Cuts packets behind the last header that is understood: link, IP with options and extension headers, TCP, UDP,
    ICMP and the like; ARP, Neighbor Discovery and the headers that ICMP quotes stay whole.

    Original lengths stay. Packets of a link type that is not known are emptied; what a pcapng input carried beside its
    packets (names, secrets) and their own comments are left out, since they may tell of content.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with its packets cut."""
        note = self._context.receipt.note
        if chunk.side_blocks:
            note(
                "strip-blocks",
                "pcapng blocks beside the packets (names, secrets) were left out",
                len(chunk.side_blocks),
            )
            chunk = dataclasses.replace(chunk, side_blocks=[])
        packets = chunk.packets
        if not len(packets):
            return chunk
        if "options_length" in packets and packets["options_length"].any():
            text = "packets lost the options and comments that their input gave them"
            note("strip-options", text, int(np.count_nonzero(packets["options_length"])))
            packets.writable("options_length")[:] = 0
        captured = packets["captured"]
        links = link_types(self._context.interfaces)[packets["interface"]]
        kept = header_lengths(chunk.buffer, packets["offset"], captured, links)
        note("strip", "packets were cut to their headers", int(np.count_nonzero(kept < captured)))
        packets["captured"] = kept
        return chunk

    def finish(self) -> None:
        """Nothing is held."""


class SnapLength:
    """Cuts packets to so many bytes; original lengths stay."""

    def __init__(self, context: Context, length: int) -> None:
        self._context = context
        self._length = np.uint32(length)

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with its packets cut."""
        captured = chunk.packets["captured"]
        longer = int(np.count_nonzero(captured > self._length))
        if longer:
            chunk.packets["captured"] = np.minimum(captured, self._length)
            self._context.receipt.note("snaplen", f"packets were cut to {self._length} bytes", longer)
        return chunk

    def finish(self) -> None:
        """Nothing is held."""
