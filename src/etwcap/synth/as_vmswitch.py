"""Packets as NdisCap reports them inside a Hyper-V switch (event 1003)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import Chunk, PacketTable
from etwcap.packets.linktypes import ETHERNET
from etwcap.providers.ndiscap_build import build_source_info
from etwcap.providers.ndiscap_layout import GUID, EventId, Keyword
from etwcap.providers.vmswitch_build import SwitchPort, build_switch_event
from etwcap.providers.vmswitch_layout import OOB_SLOTS, OobSlot
from etwcap.synth.as_ndiscap import packet_keywords
from etwcap.synth.headers import Bytes, Headers
from etwcap.synth.records import Events, Piece, Pool
from etwcap.synth.taps import UNLIMITED, SideEvent, Tap, split

EXTERNAL_PORT, VM_PORT = 1, 2
_MACS, _TAG = 12, 4
_DEI = 0x8
"""Bit of the slot; a value that has nothing else tells no VLAN."""
_SOURCE_VM_SWITCH = 2
_ROOM_FOR_TEXTS = 1024


class VmSwitchTap(Tap):
    """Event 1003 for each frame: sent ones come from the port of a virtual machine, received ones from the external
    port. A VLAN tag lies beside the frame, as Windows keeps it."""

    name = "vmswitch"
    guid = GUID
    link_types = frozenset({ETHERNET})
    overhead = _ROOM_FOR_TEXTS

    def prepare(self, chunk: Chunk, headers: Headers) -> PacketTable:
        """Frames in one event are cut to its size; original lengths are lost."""
        packets = self.cut(chunk.packets, self.largest if self.options.fragments == 1 else UNLIMITED)
        self.note_lengths(packets)
        return packets

    def events(self, chunk: Chunk, pool: Pool) -> Events:
        """The events 1003, in fragments where they are asked for."""
        rows = chunk.packets.take(slice(None))
        slot = self._take_tags(chunk, rows)
        tagged = slot > 0
        # the twelve bytes before a tag move to the place right before what follows it
        untagged = _without_tags(chunk.buffer, rows, tagged, pool)
        parts = split(untagged, self.options.fragments, self.largest)
        row = parts.row
        number = rows["interface"].astype(np.int64) * 2 + (rows["direction"] == 2)
        heads = [self._head(adapter, sent) for adapter in range(len(self.adapters)) for sent in (False, True)]
        placed = pool.texts(heads)
        kind = number[row]
        oob = np.zeros((len(rows), OOB_SLOTS), f"<u{self.options.pointer_size}")
        oob[:, OobSlot.IEEE8021Q] = slot
        width = oob.itemsize * OOB_SLOTS
        at = pool.add(oob)
        pieces = [
            Piece(placed.offset[kind], placed.length[kind]),
            pool.rows(parts.length.astype("<u4")),
            Piece(parts.offset, parts.length),
            pool.same(width.to_bytes(4, "little"), len(row)),
            Piece(at + row * width, np.full(len(row), width, np.int64)),
        ]
        keyword = packet_keywords(rows, self.link(rows))[row] | np.uint64(Keyword.VM_SWITCH)
        keyword = np.where(parts.first, keyword | np.uint64(Keyword.PACKET_START), keyword)
        keyword = np.where(parts.last, keyword | np.uint64(Keyword.PACKET_END), keyword)
        return Events(row, EventId.VMSWITCH_PACKET_FRAGMENT, keyword, pieces)

    def rundown(self) -> Iterator[SideEvent]:
        """The name of each switch."""
        for adapter in self.adapters:
            yield SideEvent(
                EventId.SOURCE_INFO, build_source_info(adapter.if_index, adapter.alias, (), _SOURCE_VM_SWITCH)
            )

    def _head(self, adapter: int, sent: bool) -> bytes:
        """What stands before FragmentSize."""
        external = SwitchPort(EXTERNAL_PORT, "External", self.adapters[adapter].description[:64], "External")
        machine = SwitchPort(VM_PORT, "Port 2", "SYNTH-VM Network Adapter", "Synthetic")
        source, target = (machine, external) if sent else (external, machine)
        event = build_switch_event(
            b"", miniport=self.adapters[adapter].if_index, source=source, destinations=(target,), oob=False
        )
        return event[:-8]

    @staticmethod
    def _take_tags(chunk: Chunk, rows: PacketTable) -> NDArray[np.int64]:
        """The slot value of each frame's 802.1Q tag; 0: it has none, or one without VLAN and priority, which stays."""
        data = Bytes(chunk.buffer, rows["offset"], rows["captured"])
        start = rows["offset"]
        whole = (data.u16(start + _MACS) == 0x8100) & (rows["captured"] >= _MACS + _TAG + 2)
        control = data.u16(start + _MACS + 2)
        slot = control >> 13 | (control >> 12 & 1) << 3 | (control & 0xFFF) << 4
        return np.where(whole & (slot & ~_DEI != 0), slot, 0)


def _without_tags(buffer: NDArray[np.uint8], rows: PacketTable, tagged: NDArray[np.bool_], pool: Pool) -> PacketTable:
    """The rows with the frames of the tagged ones, tag taken out, in the pool."""
    picked = np.flatnonzero(tagged)
    if not len(picked):
        return rows
    offset, captured = rows["offset"].copy(), rows["captured"].copy()
    bare = []
    for row in picked.tolist():
        start, end = int(offset[row]), int(offset[row]) + int(captured[row])
        bare.append(buffer[start : start + _MACS].tobytes() + buffer[start + _MACS + _TAG : end].tobytes())
    placed = pool.texts(bare)
    offset[picked], captured[picked] = placed.offset, placed.length
    rows["offset"], rows["captured"] = offset, captured
    return rows
