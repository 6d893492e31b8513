"""Microsoft-Windows-NDIS-PacketCapture (``netsh trace``): packets from events 1001 and 1003, layer names from 5101.

The same packet may lie in the trace once per capture layer of its adapter; each is one row. Which of them is kept
is decided later (``etwcap.repair.sightings``).
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.records import Records, pick
from etwcap.native.rows import gather_rows
from etwcap.packets import Context, Interface, PacketTable
from etwcap.packets.linktypes import ETHERNET, IEEE802_11, IEEE802_11_RADIOTAP, RAW_IP
from etwcap.packets.receipt import Point
from etwcap.providers.base import TraceFacts, add_addresses, payload_spans, report_malformed
from etwcap.providers.fragments import Fragments, cut_long
from etwcap.providers.ndiscap_columns import WHOLE, packet_columns, part_keys
from etwcap.providers.ndiscap_layout import FRAGMENT_HEADER, GUID, RULE_TRUNCATE_BYTES, EventId, Keyword
from etwcap.providers.ndiscap_radio import Radio, put_radiotap
from etwcap.providers.vmswitch import SwitchPackets

_TITLES: Final = {
    ETHERNET: "",
    IEEE802_11: " (802.11)",
    IEEE802_11_RADIOTAP: " (802.11 with radiotap)",
    RAW_IP: " (raw IP)",
}
_LARGEST_IF_INDEX: Final = 1 << 24
"""The index within a NET_LUID has 24 bits."""
_UNNAMED_LAYERS: Final = 128
"""Ranks from here on are given to layers whose place no event tells, in the order of their first packet."""
_HIGHEST_RANK: Final = 254
_FEW_KINDS: Final = 32
"""Up to so many combinations of adapter, layer and link type in a chunk are told apart without sorting."""


class NdisCapProvider:
    """Packets of the NdisCap filter driver."""

    tap = "ndiscap"
    guid = GUID
    _legacy = False
    """whether its metadata are those of the older provider"""
    _bare = Keyword.WIRELESS_WAN | Keyword.MEDIUM_IP
    """media whose packets begin with the IP header"""

    def __init__(self, context: Context, facts: TraceFacts) -> None:
        self._context = context
        self._facts = facts
        self._layers: dict[int, list[tuple[int, str]]] = {}
        """by interface index of the adapter: its layers with their names, bottom first (event 5101)"""
        self._names: dict[int, str] = {}
        """names of interfaces (event 5101)"""
        self._ranks: dict[tuple[int, int], int] = {}
        self._unnamed: dict[int, int] = {}
        self._interfaces: dict[tuple[int, int], int] = {}
        self._points: dict[tuple[int, int], int] = {}
        self._snap_length = 0
        self._fragments = Fragments(context, facts.annex)
        self._radio = Radio(context, facts, self._legacy)
        self._switch = SwitchPackets(context, facts, self._switch_name)

    def packet_rows(self, records: Records) -> NDArray[np.bool_]:
        """The events 1001 and 1003, and 1002, which belongs to one of them."""
        ids = records["id"]
        rows: NDArray[np.bool_] = (ids >= EventId.PACKET_FRAGMENT) & (ids <= EventId.VMSWITCH_PACKET_FRAGMENT)
        return rows

    def learn(self, buffer: NDArray[np.uint8], records: Records) -> None:
        """Take in the rules and the names of interfaces and layers."""
        known = records[np.isin(records["id"], (EventId.CAPTURE_RULE, EventId.SOURCE_INFO))]
        starts, sizes = payload_spans(buffer, known)
        for row, (event, start, size) in enumerate(
            zip(known["id"].tolist(), starts.tolist(), sizes.tolist(), strict=True)
        ):
            payload = buffer[start : start + size].tobytes()
            try:
                if event == EventId.SOURCE_INFO:
                    self._learn_source(payload)
                else:
                    self._learn_rule(payload)
            except (struct.error, ValueError):
                report_malformed(self._context, self._facts, known[row : row + 1], "an NdisCap event is too short")

    def decode(self, buffer: NDArray[np.uint8], records: Records) -> tuple[PacketTable, NDArray[np.intp]]:
        """One row per packet: an event 1001 or 1003, or several of them put together (Windows 7 and 8)."""
        ids = records["id"]
        plain = ids == EventId.PACKET_FRAGMENT
        frames, rows, miniport = self._frames(buffer, records, plain)
        if not plain.all():
            on_switch = np.flatnonzero(ids == EventId.VMSWITCH_PACKET_FRAGMENT)
            if len(on_switch):
                switched, kept, switch = self._switch.rows(buffer, pick(records, on_switch))
                frames = PacketTable.concat([frames, switched])
                rows = np.concatenate([rows, on_switch[kept]])
                order = np.argsort(rows, kind="stable")
                frames, rows, miniport = frames.take(order), rows[order], np.concatenate([miniport, switch])[order]
        packets, rows = self._join(buffer, records, frames, rows, miniport)
        self._context.receipt.packets_read += len(packets)
        for number, reports in enumerate(np.bincount(packets["interface"]).tolist()):
            if reports:
                self._context.interfaces[number].reports += reports
        return packets, rows

    def _frames(
        self, buffer: NDArray[np.uint8], records: Records, plain: NDArray[np.bool_]
    ) -> tuple[PacketTable, NDArray[np.intp], NDArray[np.uint32]]:
        """The events 1001: whole packets and parts, their rows in ``records``, and their adapters."""
        mine = records if plain.all() else pick(records, plain)
        kept, starts, head = self._headers(buffer, mine)
        mine = mine if len(kept) == len(mine) else pick(mine, kept)
        rows = np.flatnonzero(plain)[kept]
        size = head["fragment_size"].astype(np.uint32)
        frames = packet_columns(mine, starts + FRAGMENT_HEADER.itemsize, size, trusted=True)
        link_type = self._link_types(mine["keyword"])
        miniport = head["miniport_if_index"]
        if self._context.radiotap and (self._radio.pending or not plain.all()):
            metadata = np.flatnonzero(records["id"] == EventId.PACKET_METADATA)
            begins = mine["keyword"] & np.uint64(Keyword.PACKET_START) != 0
            received = np.flatnonzero(begins & (link_type == IEEE802_11) & (frames["direction"] != 2))
            has, radio = self._radio.match(buffer, records, metadata, rows[received], miniport[received])
            link_type[received[has]] = IEEE802_11_RADIOTAP
            put_radiotap(buffer, frames, received[has], radio)
        self._place(frames, miniport, head["lower_if_index"], link_type)
        return frames, rows, miniport

    def _join(
        self,
        buffer: NDArray[np.uint8],
        records: Records,
        frames: PacketTable,
        rows: NDArray[np.intp],
        miniport: NDArray[np.uint32],
    ) -> tuple[PacketTable, NDArray[np.intp]]:
        """The packets of whole and partial frames, in the order of their first events."""
        bits = records["keyword"][rows] & WHOLE
        whole = bits == WHOLE
        if whole.all() and not self._fragments:
            return frames, rows
        part = np.flatnonzero(~whole)
        bits = bits[part]
        joined, first, _ = self._fragments.join(
            buffer,
            frames.take(part),
            part_keys(pick(records, rows[part]), miniport[part]),
            bits & np.uint64(Keyword.PACKET_START) != 0,
            bits & np.uint64(Keyword.PACKET_END) != 0,
            int(records["time"][-1]),
        )
        self._context.receipt.note("fragments", "packets that lie in several events were put together", len(joined))
        cut_long(self._context, joined)
        before = first < 0
        at = np.zeros(len(first), np.intp)
        at[~before] = rows[part[first[~before]]]
        places = np.concatenate([at, rows[whole]])
        order = np.argsort(places, kind="stable")
        return PacketTable.concat([joined, frames.take(whole)]).take(order), places[order]

    def finish(self) -> None:
        """Complete the interfaces by what the trace's end told, and give up what is still unfinished."""
        self._fragments.give_up()
        self._radio.give_up()
        for (miniport, _), number in self._interfaces.items():
            self._describe(self._context.interfaces[number], miniport)

    def _headers(
        self, buffer: NDArray[np.uint8], records: Records
    ) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.void]]:
        """The records that fit, where their payloads start, and the fixed parts."""
        starts, sizes = payload_spans(buffer, records)
        fits = sizes >= FRAGMENT_HEADER.itemsize
        rows = np.flatnonzero(fits)
        head = gather_rows(buffer, starts[rows], FRAGMENT_HEADER)
        held = head["fragment_size"] <= sizes[rows] - FRAGMENT_HEADER.itemsize
        if not held.all():
            fits[rows[~held]] = False
            rows, head = rows[held], pick(head, held)
        if not fits.all():
            what = "an NdisCap packet is longer than its record"
            report_malformed(self._context, self._facts, records[~fits], what)
        return rows, starts[rows], head

    def _place(
        self,
        packets: PacketTable,
        miniport: NDArray[np.uint32],
        lower: NDArray[np.uint32],
        link_type: NDArray[np.uint16],
    ) -> None:
        """Fill interface, stack, rank and point: looked up once for each distinct combination."""
        first, back = _kinds(miniport.astype(np.uint64) << np.uint64(32) | lower, link_type)
        stack, rank, point, interface = [], [], [], []
        for row in first:
            adapter, layer = int(miniport[row]), int(lower[row])
            stack.append(adapter if adapter < _LARGEST_IF_INDEX else -1)
            rank.append(self._rank(adapter, layer) if adapter < _LARGEST_IF_INDEX else 255)
            point.append(self._point(adapter, layer))
            interface.append(self._interface(adapter, int(link_type[row])))
        packets["stack"] = np.array(stack, np.int32)[back]
        packets["rank"] = np.array(rank, np.uint8)[back]
        packets["point"] = np.array(point, np.int32)[back]
        packets["interface"] = np.array(interface, np.int32)[back]

    def _link_types(self, keyword: NDArray[np.uint64]) -> NDArray[np.uint16]:
        """The link type by the medium bits: 802.11, then the kinds of bare IP; all else is Ethernet."""
        wifi = keyword & np.uint64(Keyword.NATIVE_802_11) != 0
        bare = keyword & np.uint64(self._bare) != 0
        return np.where(wifi, IEEE802_11, np.where(bare, RAW_IP, ETHERNET)).astype(np.uint16)

    def _switch_name(self, miniport: int) -> str:
        card = self._facts.cards.get(miniport)
        return (card.alias if card else "") or self._names.get(miniport, "")

    def _rank(self, miniport: int, lower: int) -> int:
        """0 right above the adapter; then the layers as 5101 lists them, then all others as they come."""
        if lower == miniport:
            return 0
        key = (miniport, lower)
        if key not in self._ranks:
            listed = [layer for layer, _ in self._layers.get(miniport, ()) if layer != miniport]
            if lower in listed:
                rank = min(1 + listed.index(lower), _UNNAMED_LAYERS - 1)
            else:
                rank = min(_UNNAMED_LAYERS + self._unnamed.setdefault(miniport, 0), _HIGHEST_RANK)
                self._unnamed[miniport] += 1
            self._ranks[key] = rank
        return self._ranks[key]

    def _point(self, miniport: int, lower: int) -> int:
        key = (miniport, lower)
        if key not in self._points:
            named = dict(self._layers.get(miniport, ()))
            card = self._facts.cards.get(lower)
            if lower == miniport:
                name = f"adapter {(card.alias if card else '') or self._names.get(miniport, '') or miniport}"
            else:
                name = named.get(lower) or (card.description if card else "") or f"layer {lower}"
            self._points[key] = self._context.add_point(Point(lower, 0, name))
        return self._points[key]

    def _interface(self, miniport: int, link_type: int) -> int:
        key = (miniport, link_type)
        if key not in self._interfaces:
            made = Interface(link_type, tap=self.tap)
            self._describe(made, miniport)
            self._interfaces[key] = self._context.interfaces.add(made, (self.tap, miniport, link_type))
        return self._interfaces[key]

    def _describe(self, interface: Interface, miniport: int) -> None:
        machine = self._facts.machine
        card = self._facts.cards.get(miniport)
        name = (card.alias if card else "") or self._names.get(miniport, "") or f"Interface {miniport}"
        interface.name = name + _TITLES[interface.link_type]
        interface.description = card.description if card else ""
        interface.hardware = interface.description
        interface.mac = card.mac if card else b""
        interface.if_index = miniport
        interface.os = " ".join(part for part in (machine.os_name, machine.os_version) if part)
        interface.snap_length = self._snap_length
        if card and 0 < card.receive_speed < 2**63:
            interface.speed = card.receive_speed
        add_addresses(interface, self._facts.addresses.get(miniport, ()))

    def _learn_rule(self, payload: bytes) -> None:
        """Event 1016: RuleId, Directive, Length, Value."""
        rule, _, length = struct.unpack_from("<BBH", payload)
        if length > len(payload) - 4:
            raise ValueError("the rule's value is longer than the event")
        if rule == RULE_TRUNCATE_BYTES:
            self._snap_length = int.from_bytes(payload[4 : 4 + min(length, 4)], "little")

    def _learn_source(self, payload: bytes) -> None:
        """Event 5101: SourceId, SourceName, IfIndex, LayerCount, then LayerId and LayerName for each."""
        name, at = _text(payload, 1)
        if_index, count = struct.unpack_from("<IH", payload, at)
        at += 6
        layers = []
        for _ in range(count):
            layer = struct.unpack_from("<I", payload, at)[0]
            label, at = _text(payload, at + 4)
            layers.append((layer, label))
        self._names[if_index] = name
        self._layers[if_index] = layers


def _kinds(place: NDArray[np.uint64], link_type: NDArray[np.uint16]) -> tuple[list[int], NDArray[np.intp]]:
    """The first row of each distinct combination, in row order, and for every row the number of its combination."""
    first: list[int] = []
    back = np.full(len(place), -1, np.intp)
    while len(first) < _FEW_KINDS:
        rest = back < 0
        if not rest.any():
            return first, back
        row = int(np.argmax(rest))
        back[(place == place[row]) & (link_type == link_type[row])] = len(first)
        first.append(row)
    pairs = np.empty(len(place), [("place", np.uint64), ("link_type", np.uint16)])
    pairs["place"], pairs["link_type"] = place, link_type
    _, found, number = np.unique(pairs, return_index=True, return_inverse=True)
    in_order = np.argsort(found)
    return [int(row) for row in found[in_order]], np.argsort(in_order)[number.reshape(-1)]


def _text(payload: bytes, at: int) -> tuple[str, int]:
    """A NUL-ended UTF-16 text and the offset after it."""
    end = at
    while payload[end : end + 2] not in (b"\0\0", b""):
        end += 2
    return payload[at:end].decode("utf-16-le", "replace"), end + 2
