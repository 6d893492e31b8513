"""Microsoft-Windows-PktMon: packets from the events 160 and 170, side facts from all others.

Every sighting of a packet is one row; which of them is kept is decided later (``etwcap.repair.sightings``).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.records import Records, pick
from etwcap.native.rows import gather_rows
from etwcap.packets import Context, Interface, Mark, PacketTable
from etwcap.packets.linktypes import ETHERNET, IEEE802_11, RAW_IP, UPPER_PDU
from etwcap.packets.receipt import Point
from etwcap.providers.base import TraceFacts, add_addresses, payload_spans, report_malformed
from etwcap.providers.pktmon_components import OWN_STACK, ComponentTree, Place
from etwcap.providers.pktmon_content import is_wifi_frame, mark_rebuilt_headers, write_pdu_prefix
from etwcap.providers.pktmon_gaps import GroupCounter
from etwcap.providers.pktmon_layout import GUID, PACKET_HEADER, EventId, PacketType

_LINK_TYPES: Final = (ETHERNET, IEEE802_11, RAW_IP, UPPER_PDU)
_TITLES: Final = ("Ethernet", "802.11", "raw IP", "upper layers")
_ETHERNET, _WIFI, _IP, _PDU = range(4)

_DIRECTIONS: Final = np.array([0, 1, 2, 1, 2, 1, 2, 0], np.uint8)
"""By direction tag: In, Rx and Ingress are received, Out, Tx and Egress sent."""
_EDGES: Final = 16
"""Edges with a smaller id are looked up in a table; real ones go up to 3."""
_WIFI_YES, _WIFI_NO, _WIFI_BY_BYTES = 1, 0, 2
_UNKNOWN_PLACE: Final = 0


class PktMonProvider:
    """Packets of the Packet Monitor driver."""

    tap = "pktmon"
    guid = GUID

    def __init__(self, context: Context, facts: TraceFacts) -> None:
        self.tree = ComponentTree()
        self._context = context
        self._facts = facts
        self._groups = GroupCounter()
        self._interfaces: dict[tuple[int, int], int] = {}
        self._forget_places()
        context.drop_reason_texts = facts.drop_reason_texts

    def packet_rows(self, records: Records) -> NDArray[np.bool_]:
        """The events 160 (flow) and 170 (drop)."""
        identity = records["id"]
        rows: NDArray[np.bool_] = (identity == EventId.FLOW_PAYLOAD) | (identity == EventId.DROP_PAYLOAD)
        return rows

    def learn(self, buffer: NDArray[np.uint8], records: Records) -> None:
        """Take in components, properties, counters and filters; other events hold nothing to learn."""
        known = records[records["id"] <= EventId.FILTER_IPV6]
        if not len(known):
            return
        starts, sizes = payload_spans(buffer, known)
        bad = [
            row
            for row, (event, start, size) in enumerate(
                zip(known["id"].tolist(), starts.tolist(), sizes.tolist(), strict=True)
            )
            if not self.tree.learn(event, buffer[start : start + size].tobytes())
        ]
        if bad:
            report_malformed(self._context, self._facts, known[bad], "a PktMon rundown event is too short")
        self._forget_places()

    def decode(self, buffer: NDArray[np.uint8], records: Records) -> tuple[PacketTable, NDArray[np.intp]]:
        """One row per event 160 or 170 whose sizes fit its payload."""
        rows, starts, head = self._headers(buffer, records)
        records = records if len(rows) == len(records) else pick(records, rows)
        count = len(rows)
        offset = starts + PACKET_HEADER.itemsize
        captured = head["logged_payload_size"].astype(np.uint32)
        original = head["original_payload_size"].astype(np.uint32)
        flags = np.where(original < captured, np.uint32(Mark.LENGTH_IMPLAUSIBLE), np.uint32(0))
        original = np.maximum(original, captured)
        dropped = records["id"] == EventId.DROP_PAYLOAD
        place = self._places_of(head["component_id"], head["edge_id"], dropped)
        link = self._links(buffer, head["packet_type"], place, offset, captured, original)
        if (link == _PDU).any():
            moved = write_pdu_prefix(buffer, np.flatnonzero(link == _PDU), head["packet_type"], offset)
            offset = offset - moved
            captured = captured + moved.astype(np.uint32)
            original = original + moved.astype(np.uint32)
        packets = PacketTable(count)
        packets["time"] = records["time"].copy()
        packets["interface"] = self._interface_of(place, link)
        packets["direction"] = _DIRECTIONS[np.minimum(head["direction"], 7)]
        packets["offset"] = offset
        packets["captured"] = captured
        packets["original"] = original
        packets["flags"] = flags
        for name in ("process", "thread", "processor"):
            packets[name] = records[name].copy()
        group, number = head["pkt_group_id"].copy(), head["pkt_number"].astype(np.uint64)
        appearance = head["appearance_count"].copy()
        self._groups.add(group, head["pkt_number"], appearance)
        packet_id = _packet_id(group, number)
        packets["packet_id"] = packet_id
        packets["appearance"] = appearance
        if appearance.any():
            packets["identity"] = _identity(group, number, packet_id, appearance)
        packets["stack"] = self._stack[place]
        packets["rank"] = self._rank[place]
        packets["point"] = self._point[place]
        if dropped.any():
            packets["drop_count"] = dropped.astype(np.uint32)
            packets["drop_reason"] = np.where(dropped, head["drop_reason"], 0)
            packets["drop_location"] = np.where(dropped, head["drop_location"], 0)
            mark_rebuilt_headers(buffer, packets, dropped & (link == _IP))
        self._count(packets, dropped)
        return packets, rows

    def finish(self) -> None:
        """Report what never reached the file, and complete the interfaces by what the trace's end told."""
        self._facts.description.losses.report_gaps = self._groups.missing()
        for (adapter, slot), number in self._interfaces.items():
            if adapter >= 0:
                self._describe(self._context.interfaces[number], adapter, slot)
        if self.tree.driver_load_error:
            text = f"the PktMon driver failed to load: NTSTATUS 0x{self.tree.driver_load_error:08X}"
            self._context.receipt.note("pktmon-driver", text)

    def _headers(self, buffer: NDArray[np.uint8], records: Records) -> tuple[NDArray[np.intp], NDArray[np.int64], Any]:
        """The records that hold a whole packet event, where their payloads start, and the fixed parts."""
        starts, sizes = payload_spans(buffer, records)
        fits = sizes >= PACKET_HEADER.itemsize
        rows = np.flatnonzero(fits)
        head = gather_rows(buffer, starts[rows], PACKET_HEADER)
        whole = head["logged_payload_size"] <= sizes[rows] - PACKET_HEADER.itemsize
        if not whole.all():
            fits[rows[~whole]] = False
            rows, head = rows[whole], pick(head, whole)
        if len(rows) < len(records):
            what = "a PktMon packet event is longer than its record"
            report_malformed(self._context, self._facts, records[~fits], what)
        return rows, starts[rows], head

    def _links(
        self,
        buffer: NDArray[np.uint8],
        packet_type: NDArray[np.uint16],
        place: NDArray[np.intp],
        offset: NDArray[np.int64],
        captured: NDArray[np.uint32],
        original: NDArray[np.uint32],
    ) -> NDArray[np.intp]:
        """The slot in ``_LINK_TYPES`` of each packet.

        The type tag WiFi is wrong above nwifi.sys: there the place tells, or the bytes.
        """
        link = np.full(len(packet_type), _PDU, np.intp)
        link[packet_type == PacketType.ETHERNET] = _ETHERNET
        link[packet_type == PacketType.IP] = _IP
        tagged = np.flatnonzero(packet_type == PacketType.WIFI)
        if len(tagged):
            wifi = self._wifi[place[tagged]]
            link[tagged] = np.where(wifi == _WIFI_YES, _WIFI, _ETHERNET)
            unsure = tagged[wifi == _WIFI_BY_BYTES]
            if len(unsure):
                frames = is_wifi_frame(buffer, offset[unsure], captured[unsure], original[unsure])
                link[unsure] = np.where(frames, _WIFI, _ETHERNET)
        return link

    def _forget_places(self) -> None:
        """Number places anew: what the tree says has changed."""
        self._numbers = np.full((1 << 16) * _EDGES, -1, np.int32)
        self._rare: dict[int, int] = {}
        self._adapter: list[int] = []
        self._stack = np.empty(0, np.int32)
        self._rank = np.empty(0, np.uint8)
        self._wifi = np.empty(0, np.uint8)
        self._point = np.empty(0, np.int32)
        self._interface = np.empty((0, len(_LINK_TYPES)), np.int32)

    def _places_of(
        self, component: NDArray[np.uint16], edge: NDArray[np.uint16], dropped: NDArray[np.bool_]
    ) -> NDArray[np.intp]:
        """The number of each row's place (component and edge)."""
        wide = component.astype(np.int64) * _EDGES + np.minimum(edge, _EDGES - 1)
        place = self._numbers[wide].astype(np.intp)
        missing = place < 0
        if missing.any():
            rows = np.flatnonzero(missing)
            exact = component[rows].astype(np.int64) << 16 | edge[rows]
            kinds, back = np.unique(exact, return_inverse=True)
            numbers = np.array([self._number(int(kind)) for kind in kinds], np.intp)
            place[rows] = numbers[back]
        return place

    def _number(self, exact: int) -> int:
        """The number of the place ``component << 16 | edge``; a new one is looked up in the tree."""
        component, edge = exact >> 16, exact & 0xFFFF
        if exact in self._rare:
            return self._rare[exact]
        place = self.tree.place(component, edge)
        number = len(self._adapter)
        self._add_place(place, self._context.add_point(Point(component, edge, place.name)))
        if edge < _EDGES - 1:
            self._numbers[component * _EDGES + edge] = number
        else:
            self._rare[exact] = number
        return number

    def _add_place(self, place: Place, point: int) -> None:
        adapter = place.stack if place.stack >= OWN_STACK else place.adapter
        self._adapter.append(-1 if adapter is None else adapter)
        wifi = _WIFI_BY_BYTES if place.wifi is None else int(place.wifi)
        self._stack = np.append(self._stack, np.int32(place.stack))
        self._rank = np.append(self._rank, np.uint8(place.rank))
        self._wifi = np.append(self._wifi, np.uint8(wifi))
        self._point = np.append(self._point, np.int32(point))
        self._interface = np.vstack([self._interface, np.full((1, len(_LINK_TYPES)), -1, np.int32)])

    def _interface_of(self, place: NDArray[np.intp], link: NDArray[np.intp]) -> NDArray[np.int32]:
        interface = self._interface[place, link]
        for row in _first_of_each(np.flatnonzero(interface < 0), place * len(_LINK_TYPES) + link):
            at, slot = int(place[row]), int(link[row])
            adapter = self._adapter[at]
            key = (adapter, slot)
            if key not in self._interfaces:
                made = Interface(_LINK_TYPES[slot], tap=self.tap)
                self._describe(made, adapter, slot)
                self._interfaces[key] = self._context.interfaces.add(made, (self.tap, adapter, _LINK_TYPES[slot]))
            self._interface[at, slot] = self._interfaces[key]
        chosen: NDArray[np.int32] = self._interface[place, link]
        return chosen

    def _describe(self, interface: Interface, adapter: int, slot: int) -> None:
        """Fill in what the trace says of an adapter; -1: a packet whose adapter is not known."""
        machine = self._facts.machine
        interface.os = " ".join(part for part in (machine.os_name, machine.os_version) if part)
        interface.filter = self.tree.filter_text()
        if adapter < 0:
            interface.name = f"PktMon ({_TITLES[slot]})"
            return
        card = self._facts.cards.get(adapter)
        own = adapter >= OWN_STACK
        component = self.tree.components.get(adapter - OWN_STACK) if own else self.tree.adapter_component(adapter)
        description = component.description if component else ""
        names = [card.alias if card else "", description, component.title if component else ""]
        name = next((text for text in names if text), f"Interface {adapter}")
        interface.name = name if slot == _ETHERNET else f"{name} ({_TITLES[slot]})"
        interface.description = (card.description if card else "") or description
        interface.hardware = interface.description
        interface.mac = (component.mac if component else b"") or (card.mac if card else b"")
        interface.if_index = 0 if own else adapter
        if card and 0 < card.receive_speed < 2**63:
            interface.speed = card.receive_speed
        add_addresses(interface, [*self.tree.addresses(adapter), *self._facts.addresses.get(adapter, ())])

    def _count(self, packets: PacketTable, dropped: NDArray[np.bool_]) -> None:
        interfaces = self._context.interfaces
        for number, reports in enumerate(np.bincount(packets["interface"], minlength=0).tolist()):
            if reports:
                interfaces[number].reports += reports
        if dropped.any():
            for number, drops in enumerate(np.bincount(packets["interface"][dropped]).tolist()):
                if drops:
                    interfaces[number].drops += drops
        self._context.receipt.packets_read += len(packets)


def _first_of_each(rows: NDArray[np.intp], kind: NDArray[np.intp]) -> list[int]:
    """The first of the rows of each kind, in row order."""
    if not len(rows):
        return []
    return [int(row) for row in np.sort(rows[np.unique(kind[rows], return_index=True)[1]])]


def _packet_id(group: NDArray[np.uint64], number: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """PktGroupId and PktNumber in one word, or 0 where they do not fit (processor up to 2047, number 1 to 32)."""
    fits = (group >> np.uint64(59) == 0) & (number >= 1) & (number <= 32)
    word: NDArray[np.uint64] = np.where(fits, group | (number - np.uint64(1)) << np.uint64(59), np.uint64(0))
    return word


def _identity(
    group: NDArray[np.uint64], number: NDArray[np.uint64], packet_id: NDArray[np.uint64], appearance: NDArray[np.uint16]
) -> NDArray[np.uint64]:
    """A key that all sightings of a packet share.

    0 where AppearanceCount is 0: there every sighting has ids of its own (builds 26100 and 26200).
    """
    mixed = (group ^ number << np.uint64(48)) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
    key: NDArray[np.uint64] = np.where(packet_id != 0, packet_id + np.uint64(1), mixed)
    return np.where(appearance > 0, key, np.uint64(0)).astype(np.uint64)
