"""Recordings of raw sockets: pcapng files of link type 156, as packets of link type RAW without IPv6 headers."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from etwcap.native.rows import gather_rows
from etwcap.packets import AddressBook, Chunk, Context, Description, PacketTable
from etwcap.packets.linktypes import RAW_IP
from etwcap.providers.rawsocket import RawSocketProvider, RecordingFacts
from etwcap.providers.rawsocket_layout import LINK_TYPE, RAW_RECORD, Kind
from etwcap.providers.rawsocket_order import PostedOrder
from etwcap.sources.capfile import STANDARD_INPUT, CaptureFileSource


class RecordingSource:
    """The packets of a recording (protocol ``Source``), as ``RawSocketProvider`` gives them.

    Packets of other link types in the same file pass as they are. ``context`` is the run's, with an address book of
    this recording's own, begun with what the run's book held before: what stands in one machine's tables says nothing
    of another's packets. The stages that need the book take it from there.
    """

    def __init__(self, file: CaptureFileSource, context: Context) -> None:
        self._file = file
        self.context = copy.copy(context)
        self.context.addresses = AddressBook()
        for kind, interface, address in context.addresses.entries:
            self.context.addresses.add(kind, interface, address)
        self._provider = RawSocketProvider(self.context, file.describe(), self._place)
        self._sockets: dict[int, bool] = {}
        self._base = 0
        self.restamp = False
        """whether stamps that contradict the order of a socket's receives are changed"""
        file.describe().inputs[0].kind = "recording"

    @property
    def facts(self) -> RecordingFacts:
        """What the records told so far."""
        return self._provider.facts

    @property
    def seekable(self) -> bool:
        """Whether the input can be opened by its name and read a second time."""
        facts = self._file.describe().inputs[0]
        return facts.size > 0 and facts.name != STANDARD_INPUT

    def describe(self) -> Description:
        """What the header blocks say; damage is added while the records are read."""
        return self._file.describe()

    def progress(self) -> tuple[int, int]:
        """How far the file is."""
        return self._file.progress()

    def close(self) -> None:
        """Release the input. Safe to call twice."""
        self._file.close()

    def chunks(self) -> Iterator[Chunk]:
        """The packets, each socket's in the order of its receives where these have numbers."""
        receipt = self.context.receipt
        order = PostedOrder(self.context, restamp=self.restamp)
        for chunk in self._file.chunks():
            raw = self._raw_interfaces(chunk)
            kept = self._kept(chunk, raw)
            receipt.packets_read -= int(np.count_nonzero(~kept))
            if not kept.all():
                chunk.packets = chunk.packets.take(kept)
            chunk = order.take(chunk, raw)
            chunk.packets = self._decoded(chunk, raw)
            yield chunk
        order.account()
        receipt.note("addresses-full", "addresses of the machine's tables were left out: there are too many",
                     self.context.addresses.left_out)  # fmt: skip

    def _kept(self, chunk: Chunk, raw: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which rows are packets; the address tables are taken in."""
        rows = np.flatnonzero(raw[chunk.packets["interface"]])
        kept = np.ones(len(chunk.packets), np.bool_)
        kept[rows] = self._provider.sort_out(chunk.buffer, chunk.packets.take(rows))
        return kept

    def _decoded(self, chunk: Chunk, raw: NDArray[np.bool_]) -> PacketTable:
        of_sockets = raw[chunk.packets["interface"]]
        if of_sockets.all():
            return self._provider.decode_packets(chunk.buffer, chunk.packets)
        decoded = self._provider.decode_packets(chunk.buffer, chunk.packets.take(of_sockets))
        both = PacketTable.concat([chunk.packets.take(~of_sockets), decoded])
        return both.take(np.argsort(np.concatenate([np.flatnonzero(~of_sockets), np.flatnonzero(of_sockets)])))

    def _raw_interfaces(self, chunk: Chunk) -> NDArray[np.bool_]:
        """Which interfaces of the run are this recording's sockets; those met for the first time become interfaces of
        raw IP."""
        interfaces = self.context.interfaces
        for number in np.unique(chunk.packets["interface"]).tolist():
            if number not in self._sockets:
                face = interfaces[number]
                self._sockets[number] = face.link_type == LINK_TYPE
                if self._sockets[number]:
                    face.link_type, face.tap, face.snap_length = RAW_IP, "raw", 0
                    told = f"; {face.description}" if face.description else ""
                    rebuilt = "" if self._family(chunk, number) == 4 else ", IPv6 headers rebuilt"
                    face.description = f"raw socket{rebuilt}{told}"
        raw = np.zeros(len(interfaces), np.bool_)
        raw[[number for number, is_socket in self._sockets.items() if is_socket]] = True
        return raw

    @staticmethod
    def _family(chunk: Chunk, interface: int) -> int:
        """The family of the first packet of that interface in the chunk; 0 where none tells it."""
        packets = chunk.packets
        rows = np.flatnonzero((packets["interface"] == interface) & (packets["captured"] >= RAW_RECORD.itemsize))
        heads = gather_rows(chunk.buffer, packets["offset"][rows], RAW_RECORD)
        families = heads["family"][heads["kind"] == Kind.PACKET]
        return int(families[0]) if len(families) else 0

    def _place(self, offset: int) -> int:
        return self._file.place(offset)
