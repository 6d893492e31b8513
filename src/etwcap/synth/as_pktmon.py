"""Packets as PktMon reports them (``pktmon start --capture``)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import Chunk, PacketTable
from etwcap.packets.linktypes import ETHERNET, IEEE802_11, RAW_IP
from etwcap.providers.pktmon_layout import GUID, PACKET_HEADER, Direction, EventId, PacketType
from etwcap.synth.headers import TCP, UDP, Headers
from etwcap.synth.pktmon_rundown import Stack, Traffic, rundown, stacks
from etwcap.synth.records import Events, Piece, Pool
from etwcap.synth.taps import DELAY, Counter, SideEvent, Tap, expand

LAST_BUILD_WITH_STABLE_IDS = 20348
"""Up to here all sightings of a packet share PktGroupId; from 26100 on each has its own. Between: not known."""
PAYLOAD_KEYWORD, RUNDOWN_KEYWORD = 0x10, 0x2
DROP_DELAY = 50_000
"""ns from a packet to the report of its drop"""
_LARGEST = 0xFFFF
_TAGS = {ETHERNET: PacketType.ETHERNET, IEEE802_11: PacketType.WIFI, RAW_IP: PacketType.IP}

NOT_LOCALLY_DESTINED, ENDPOINT_NOT_FOUND, PROTOCOL_NOT_BOUND = 902, 1204, 204
_AT_NETWORK_LAYER, _AT_TCP, _AT_UDP, _AT_NDIS = 0xE0004138, 0xE0004500, 0xE0004600, 0xE0001007
_IP_INTERFACES_FROM = 20348


class PktMonTap(Tap):
    """Event 160 at each component a packet passes, 170 for drops, the component tree at the end."""

    name = "pktmon"
    guid = GUID
    overhead = PACKET_HEADER.itemsize

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._random = np.random.default_rng(self.options.seed)
        self._groups = Counter()
        self._flow, self._dropped = Traffic(), Traffic()
        self._stable = self.options.os_build <= LAST_BUILD_WITH_STABLE_IDS

    @property
    def span(self) -> int:
        """The time from the wire to the top of the stack, or to the report of a drop."""
        return 2 * self.options.appearances * DELAY + (DROP_DELAY if self.options.drop_rate else 0)

    def prepare(self, chunk: Chunk, headers: Headers) -> PacketTable:
        """Packets of more than 65,535 bytes are left out: PktMon's lengths have 16 bits."""
        packets = chunk.packets
        long = packets["original"] > _LARGEST
        self.note("longer", "packets of more than 65,535 bytes cannot be told by PktMon: left out", long)
        if long.any():
            packets = packets.take(~long)
        radio = packets["options_length"] > 0
        self.note("radio", "802.11 frames lose their radiotap header: PktMon tells nothing of the radio", radio)
        packets = self.cut(packets, min(self.largest, _LARGEST))
        if radio.any():
            packets["options_length"] = np.zeros(len(packets), np.uint32)
            packets["options_offset"] = np.zeros(len(packets), np.int64)
        return packets

    def sightings(self, chunk: Chunk, headers: Headers) -> PacketTable:
        """One row for each edge: component and edge in ``point``, the tag in ``rank``, then drop reports."""
        packets = chunk.packets
        if self._stable:
            packets["identity"] = self._groups.next(packets["processor"])
        tree = self._stacks()
        deepest = max((len(stack.points) for stack in tree), default=1) + 1
        place = np.zeros((len(tree) or 1, deepest), np.int32)
        for number, stack in enumerate(tree):
            place[number, : len(stack.points)] = [component << 8 | edge for component, edge in stack.points]
        below = np.array([len(stack.points) for stack in tree] or [0])[packets["interface"]]
        top = self._top(packets, headers, tree)
        steps = below + (top > 0)
        table, step = expand(packets, steps)
        rows = np.repeat(np.arange(len(packets)), steps)
        at_top = step >= below[rows]
        table["point"] = np.where(at_top, top[rows], place[table["interface"], step])
        tags = np.array([int(_TAGS[each.link_type]) for each in self.adapters] or [0], np.uint8)
        table["rank"] = tags[table["interface"]]
        sent = table["direction"] == 2
        table["appearance"] = np.where(sent, steps[rows] - step, step + 1) if self._stable else np.zeros(len(rows))
        if self.options.drop_rate:
            reports = self._drops(packets, headers, tree, steps)
            table = PacketTable.concat([table, reports])
        return table

    def events(self, chunk: Chunk, pool: Pool) -> Events:
        """The events 160 and 170."""
        rows = chunk.packets
        head = np.zeros(len(rows), PACKET_HEADER)
        group = rows["identity"] if self._stable else self._groups.next(rows["processor"])
        head["pkt_group_id"] = group | rows["processor"].astype(np.uint64) << np.uint64(48)
        head["pkt_number"] = 1
        head["appearance_count"] = rows["appearance"]
        head["direction"] = np.where(rows["direction"] == 2, Direction.TX, Direction.RX)
        head["packet_type"] = rows["rank"]
        head["component_id"], head["edge_id"] = rows["point"] >> 8, rows["point"] & 0xFF
        head["drop_reason"], head["drop_location"] = rows["drop_reason"], rows["drop_location"]
        head["original_payload_size"] = rows["original"]
        head["logged_payload_size"] = rows["captured"]
        dropped = rows["drop_count"] > 0
        self._flow.add(rows, ~dropped)
        self._dropped.add(rows, dropped)
        anew, kept = self._rebuilt(chunk, pool)
        data = Piece(rows["offset"] + kept, rows["captured"].astype(np.int64) - kept)
        event = np.where(dropped, EventId.DROP_PAYLOAD, EventId.FLOW_PAYLOAD)
        return Events(np.arange(len(rows)), event, PAYLOAD_KEYWORD, [pool.rows(head), anew, data])

    def rundown(self) -> Iterator[SideEvent]:
        """The component tree with its counters, in the order in which Windows writes it."""
        for event_id, payload in rundown(self._stacks(), self.options.os_build, self._flow, self._dropped):
            yield SideEvent(event_id, payload, RUNDOWN_KEYWORD)

    def _stacks(self) -> list[Stack]:
        return stacks(self.adapters, self.options.appearances)

    def _top(self, packets: PacketTable, headers: Headers, tree: list[Stack]) -> NDArray[np.int32]:
        """The protocol above the stack that takes each packet, as in ``point``; 0: none."""
        top = np.zeros(len(packets), np.int32)
        for number, stack in enumerate(tree):
            mine = packets["interface"] == number
            for ether_type, component in stack.protocols.items():
                top[mine & (headers.ether_type == ether_type)] = component << 8 | 1
        return top

    def _drops(
        self, packets: PacketTable, headers: Headers, tree: list[Stack], steps: NDArray[np.int64]
    ) -> PacketTable:
        """The reports of some of the received packets: of IP at the IP interface, of all else at the adapter."""
        chosen = self._random.random(len(packets)) < self.options.drop_rate
        rows = np.flatnonzero(chosen & (packets["direction"] == 1))
        self.context.receipt.note("drops", "received packets are reported as dropped, too", len(rows))
        table = packets.take(rows)
        is_ip = (headers.ip >= 0)[rows]
        protocol, fragment = headers.protocol[rows], headers.fragment[rows]
        ip = np.where(is_ip, headers.ip[rows] - table["offset"], 0)
        at_ip = np.array([stack.ip_interface << 8 for stack in tree] or [0], np.int32)
        at_adapter = np.array([stack.points[0][0] << 8 for stack in tree] or [0], np.int32)
        if self.options.os_build < _IP_INTERFACES_FROM:
            at_ip = at_adapter
        for name in ("captured", "original"):
            table[name] = table[name] - ip.astype(np.uint32)
        table["offset"] = table["offset"] + ip
        table["time"] = table["time"] + DROP_DELAY
        table["point"] = np.where(is_ip, at_ip[table["interface"]], at_adapter[table["interface"]])
        link = self.link(table)
        framed = np.where(link == IEEE802_11, PacketType.WIFI, PacketType.ETHERNET)
        table["rank"] = np.where(is_ip, PacketType.IP, framed)
        table["appearance"] = (steps[rows] + 1) if self._stable else np.zeros(len(rows))
        tcp, udp = is_ip & ~fragment & (protocol == TCP), is_ip & ~fragment & (protocol == UDP)
        table["drop_count"] = np.ones(len(rows))
        table["drop_reason"] = np.where(
            tcp | udp, ENDPOINT_NOT_FOUND, np.where(is_ip, NOT_LOCALLY_DESTINED, PROTOCOL_NOT_BOUND)
        )
        table["drop_location"] = np.where(
            tcp, _AT_TCP, np.where(udp, _AT_UDP, np.where(is_ip, _AT_NETWORK_LAYER, _AT_NDIS))
        )
        return table

    def _rebuilt(self, chunk: Chunk, pool: Pool) -> tuple[Piece, NDArray[np.int64]]:
        """IP headers made anew, as Windows does for drops at the transport layer, and how many bytes each replaces.

        IPv4: id, TOS and checksum 0, TTL 1; IPv6: traffic class and flow label 0, hop limit 1.
        """
        rows = chunk.packets
        made: list[bytes] = [b""] * len(rows)
        at_transport = (rows["drop_location"] == _AT_TCP) | (rows["drop_location"] == _AT_UDP)
        for row in np.flatnonzero(at_transport).tolist():
            start, size = int(rows["offset"][row]), int(rows["captured"][row])
            old = chunk.buffer[start : start + min(size, 40)].tobytes()
            if old[0] >> 4 == 4:
                made[row] = old[:1] + b"\0" + old[2:4] + bytes(4) + b"\x01" + old[9:10] + bytes(2) + old[12:20]
            else:
                made[row] = b"\x60\0\0\0" + old[4:7] + b"\x01" + old[8:40]
        piece = pool.texts(made)
        return piece, piece.length
