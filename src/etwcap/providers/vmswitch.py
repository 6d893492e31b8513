"""Packets seen in a Hyper-V switch: event 1003 of Microsoft-Windows-NDIS-PacketCapture.

Each (switch, port, network adapter) that packets come from is an interface. The VLAN tag, which Windows keeps beside
the frame, goes back into it; the RSS hash becomes the packet's epb_hash; the ports it goes to stand in its comment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.records import EVENT32, Records, pick
from etwcap.native.rows import gather_rows
from etwcap.native.texts import skip_texts
from etwcap.packets import Context, Interface, PacketTable
from etwcap.packets.linktypes import ETHERNET
from etwcap.providers.base import MOST_INTERFACES, TraceFacts, first_of_each, payload_spans, report_malformed
from etwcap.providers.ndiscap_columns import packet_columns
from etwcap.providers.ndiscap_layout import Keyword
from etwcap.providers.vmswitch_layout import OobSlot, tag_control
from etwcap.words import plural

_U32: Final = np.dtype([("value", "<u4")])
_HEAD: Final = 12
"""MiniportIfIndex, LowerIfIndex, SourcePortId"""
_MOST_COMMENTS: Final = 1 << 16
"""Lists of destinations that are told apart; packets with further ones get no comment."""
_MOST_NAMED: Final = 16
"""Destinations that a comment lists."""
_HASH_OPTION: Final = np.dtype(
    [("code", "<u2"), ("length", "<u2"), ("algorithm", "u1"), ("hash", "<u4"), ("pad", "V3")]
)
_EPB_HASH, _TOEPLITZ = 3, 5


class SwitchPackets:
    """Decodes the events 1003 of one trace."""

    def __init__(self, context: Context, facts: TraceFacts, name_of: Callable[[int], str]) -> None:
        self._context = context
        self._facts = facts
        self._name_of = name_of
        """the name of a switch by its interface index, empty where it is not known"""
        self._interfaces: dict[int, int] = {}
        self._comments: dict[int, int] = {}

    def rows(
        self, buffer: NDArray[np.uint8], records: Records
    ) -> tuple[PacketTable, NDArray[np.intp], NDArray[np.uint32]]:
        """One row per event that fits its layout, the index of its record, and its MiniportIfIndex."""
        starts, sizes = payload_spans(buffer, records)
        ends = starts + sizes
        layout = _Layout(buffer, starts, ends)
        if len(layout.rows) < len(records):
            bad = np.ones(len(records), np.bool_)
            bad[layout.rows] = False
            what = "an event of the virtual switch does not end where its parts end"
            report_malformed(self._context, self._facts, pick(records, bad), what)
        mine = pick(records, layout.rows)
        packets = packet_columns(mine, layout.fragment, layout.fragment_size, trusted=False)
        miniport = layout.word(buffer, starts[layout.rows])
        packets["interface"] = self._sources(buffer, starts[layout.rows], layout, miniport)
        if layout.destinations.any():
            packets["comment"] = self._destinations(buffer, layout)
        pointer = np.where(mine["type"] == EVENT32, 4, 8)
        tag = layout.slot(buffer, OobSlot.IEEE8021Q, pointer)
        rss_hash = layout.slot(buffer, OobSlot.HASH_VALUE, pointer)
        first = mine["keyword"] & np.uint64(Keyword.PACKET_START) != 0
        self._put_tags(buffer, packets, np.where(first, tag, np.uint32(0)))
        _put_hashes(buffer, packets, starts[layout.rows], rss_hash)
        return packets, layout.rows, miniport

    def _sources(
        self, buffer: NDArray[np.uint8], starts: NDArray[np.int64], layout: _Layout, miniport: NDArray[np.uint32]
    ) -> NDArray[np.int32]:
        """The interface of each row."""
        first, back = first_of_each(layout.source_key)
        numbers = []
        for row in first.tolist():
            key = int(layout.source_key[row])
            if key not in self._interfaces and len(self._interfaces) < MOST_INTERFACES:
                head = buffer[int(starts[row]) : int(layout.source_end[row])].tobytes()
                self._interfaces[key] = self._interface(int(miniport[row]), head)
            numbers.append(self._interfaces[key] if key in self._interfaces else self._others())
        return np.array(numbers, np.int32)[back]

    def _others(self) -> int:
        made = Interface(ETHERNET, name="vSwitch: further ports", tap="ndiscap", hardware="Hyper-V virtual switch")
        return self._context.interfaces.add(made, ("vmswitch", "others"))

    def _interface(self, miniport: int, head: bytes) -> int:
        port = int.from_bytes(head[8:12], "little")
        port_name, nic, nic_type = _texts(head[_HEAD:], 3)
        switch = self._name_of(miniport)
        name = f"{switch or 'vSwitch'}: {_port(port, nic or port_name)}"
        made = Interface(ETHERNET, name=name, tap="ndiscap", if_index=miniport)
        made.description = ", ".join(text for text in (port_name, nic_type) if text)
        made.hardware = "Hyper-V virtual switch"
        machine = self._facts.machine
        made.os = " ".join(part for part in (machine.os_name, machine.os_version) if part)
        return self._context.interfaces.add(made, ("vmswitch", miniport, port, port_name, nic))

    def _destinations(self, buffer: NDArray[np.uint8], layout: _Layout) -> NDArray[np.int32]:
        """The comment of each row that has destinations."""
        first, back = first_of_each(layout.destination_key)
        numbers = []
        for row in first.tolist():
            key = int(layout.destination_key[row])
            if key not in self._comments and len(self._comments) < _MOST_COMMENTS:
                count = int(layout.destinations[row])
                data = buffer[int(layout.source_end[row]) + 4 : int(layout.destinations_end[row])].tobytes()
                self._comments[key] = self._context.comments.add(_destination_text(data, count)) if count else -1
            numbers.append(self._comments.get(key, -1))
        return np.array(numbers, np.int32)[back]

    def _put_tags(self, buffer: NDArray[np.uint8], packets: PacketTable, slot: NDArray[np.uint32]) -> None:
        """Put the 802.1Q tag back into the frames whose slot tells a VLAN or a priority."""
        tagged = slot & np.uint32(0xFFF7) != 0
        room = packets["captured"] >= 12
        lost = int(np.count_nonzero(tagged & ~room))
        self._context.receipt.note("vlan-lost", "VLAN tags had no place in what was logged of the frame", lost)
        rows = np.flatnonzero(tagged & room)
        if not len(rows):
            return
        self._context.receipt.note("vlan", "VLAN tags that Windows keeps beside the frame are back in it", len(rows))
        start = packets["offset"][rows] - 4
        word = tag_control(slot[rows])
        head = np.empty((len(rows), 16), np.uint8)
        head[:, :12] = buffer[start[:, None] + np.arange(4, 16)]
        head[:, 12:] = np.stack([np.full_like(word, 0x81), np.zeros_like(word), word >> 8, word & 0xFF], 1)
        buffer[start[:, None] + np.arange(16)] = head
        packets.writable("offset")[rows] = start
        for name in ("captured", "original"):
            packets.writable(name)[rows] += np.uint32(4)


class _Layout:
    """Where the parts of each event lie. Columns have one row per event that fits; ``rows`` says which those are."""

    def __init__(self, buffer: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        one = np.ones(len(starts), np.uint32)
        self.source_end, self.source_key = skip_texts(buffer, starts, ends, one, _HEAD, 3)
        rows = np.flatnonzero((self.source_end >= 0) & (self.source_end + 4 <= ends))
        self.destinations = self.word(buffer, self.source_end[rows])
        after, key = skip_texts(buffer, self.source_end[rows] + 4, ends[rows], self.destinations, 4, 3)
        kept = (after >= 0) & (after + 4 <= ends[rows])
        rows, after, key, self.destinations = rows[kept], after[kept], key[kept], self.destinations[kept]
        self.fragment = after + 4
        self.fragment_size = self.word(buffer, after)
        self.oob = self.fragment + self.fragment_size + 4
        kept = self.oob <= ends[rows]
        self.oob_size = np.zeros(len(rows), np.uint32)
        self.oob_size[kept] = self.word(buffer, self.oob[kept] - 4)
        kept &= self.oob + self.oob_size == ends[rows]
        self.rows = rows[kept]
        self.destinations_end, self.destination_key = after[kept], key[kept]
        self.source_end, self.source_key = self.source_end[self.rows], self.source_key[self.rows]
        self.destinations = self.destinations[kept]
        self.fragment, self.fragment_size = self.fragment[kept], self.fragment_size[kept]
        self.oob, self.oob_size = self.oob[kept], self.oob_size[kept]

    @staticmethod
    def word(buffer: NDArray[np.uint8], at: NDArray[np.int64]) -> NDArray[np.uint32]:
        """The number at each place."""
        values: NDArray[np.uint32] = gather_rows(buffer, at, _U32)["value"].astype(np.uint32)
        return values

    def slot(self, buffer: NDArray[np.uint8], number: int, pointer: NDArray[np.intp]) -> NDArray[np.uint32]:
        """The low 32 bits of an out-of-band value; 0 where the event does not have it."""
        values = np.zeros(len(self.rows), np.uint32)
        held = (number + 1) * pointer <= self.oob_size
        values[held] = self.word(buffer, (self.oob + number * pointer)[held])
        return values


def _put_hashes(
    buffer: NDArray[np.uint8], packets: PacketTable, starts: NDArray[np.int64], rss_hash: NDArray[np.uint32]
) -> None:
    """Give the packets their RSS hash as epb_hash, written over the beginning of their events."""
    rows = np.flatnonzero(rss_hash)
    if not len(rows):
        return
    option = np.zeros(len(rows), _HASH_OPTION)
    option["code"], option["length"], option["algorithm"] = _EPB_HASH, 5, _TOEPLITZ
    option["hash"] = rss_hash[rows]
    size = _HASH_OPTION.itemsize
    buffer[starts[rows][:, None] + np.arange(size)] = option.view(np.uint8).reshape(len(rows), size)
    packets["options_offset"] = np.where(rss_hash != 0, starts, 0)
    packets["options_length"] = np.where(rss_hash != 0, np.uint32(size), np.uint32(0))


def _texts(data: bytes, count: int) -> list[str]:
    """The first NUL-ended UTF-16 texts."""
    texts = data.decode("utf-16-le", "replace").split("\0")
    return texts[:count]


def _port(port: int, name: str) -> str:
    return f"{name} (port {port})" if name else f"port {port}"


def _destination_text(data: bytes, count: int) -> str:
    """ "to VM2 (port 3), port 4"."""
    named, at = [], 0
    for _ in range(min(count, _MOST_NAMED)):
        port = int.from_bytes(data[at : at + 4], "little")
        end, texts = at + 4, []
        for _ in range(3):
            begin = end
            while data[end : end + 2] != b"\0\0":
                end += 2
            texts.append(data[begin:end].decode("utf-16-le", "replace"))
            end += 2
        named.append(_port(port, texts[1] or texts[0]))
        at = end
    more = f" and {plural(count - _MOST_NAMED, 'port')} more" if count > _MOST_NAMED else ""
    return "to " + ", ".join(named) + more
