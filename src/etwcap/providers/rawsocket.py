"""Records of raw sockets to packets: ``offset`` at what the socket gave, ``raw_record`` at the record's header."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.native.rows import gather_rows
from etwcap.packets import AddressBook, Context, Damage, Description, Mark, PacketTable
from etwcap.packets.addresses import LOCAL, OWN, AddressKind, mapped
from etwcap.providers.rawsocket_layout import ADDRESS_ROW, MAGIC, RAW_RECORD, Kind, Present

HEADER = RAW_RECORD.itemsize
_RECEIVED, _SENT = 1, 2
_BEGIN = np.dtype([("magic", "<u4"), ("kind", "u1"), ("family", "u1")])
"""how a record begins"""
_MOST_SOCKETS = 1 << 12
"""sockets whose packets are counted"""
_MOST_SNAPSHOTS = 1 << 12
"""snapshots whose like is recognised and not read again"""
_IPV4_PAIR = np.dtype([("source", "u1", (4,)), ("destination", "u1", (4,))])
_KINDS = (int(min(AddressKind)), int(max(AddressKind)))


@dataclass(slots=True)
class SocketFacts:
    """What one socket gave, by the interface its records are on."""

    family: int = 0
    packets: int = 0
    first_number: int | None = None
    last_number: int = 0
    numbered: int = 0
    """packets whose receive has a number"""

    @property
    def missing(self) -> int:
        """Receives that were posted and gave no packet, as far as the numbers of those that did tell."""
        if self.first_number is None:
            return 0
        return max(self.last_number - self.first_number + 1 - self.numbered, 0)


@dataclass(slots=True)
class RecordingFacts:
    """What the records told so far."""

    sockets: dict[tuple[int, int], SocketFacts] = field(default_factory=dict)
    """by interface of the run and socket number"""
    present: dict[Present, int] = field(default_factory=dict)
    """packets whose record has the field"""
    families: dict[int, int] = field(default_factory=lambda: {4: 0, 6: 0})
    """packets by family"""
    snapshots: int = 0
    """records of address tables"""


class RawSocketProvider:
    """Turns records into packets and takes in the address tables between them.

    ``context.addresses`` gets what the tables hold. What is no record is counted and reported to ``description``, at
    the place in the input that ``place`` gives for an offset in the buffer.
    """

    def __init__(self, context: Context, description: Description, place: Callable[[int], int]) -> None:
        self._context = context
        self._description = description
        self._place = place
        self._snapshots: set[int] = set()
        self.facts = RecordingFacts()

    @property
    def addresses(self) -> AddressBook:
        """The tables so far."""
        return self._context.addresses

    def decode(self, buffer: NDArray[np.uint8], records: PacketTable) -> PacketTable:
        """``sort_out`` and ``decode_packets`` in one."""
        return self.decode_packets(buffer, records.take(self.sort_out(buffer, records)))

    def sort_out(self, buffer: NDArray[np.uint8], records: PacketTable) -> NDArray[np.bool_]:
        """Which of the records are packets. Address tables among them are taken in, what is broken or not known is
        reported.

        Each row names a record: ``offset`` its header, ``captured`` and ``original`` its bytes, header included.
        """
        long = records["captured"] >= HEADER
        if long.all():
            heads = gather_rows(buffer, records["offset"], _BEGIN)
        else:
            heads = np.zeros(len(records), _BEGIN)
            heads[long] = gather_rows(buffer, records["offset"][long], _BEGIN)
        sound = long & (heads["magic"] == MAGIC)
        family = heads["family"]
        is_packet: NDArray[np.bool_] = sound & (heads["kind"] == Kind.PACKET) & ((family == 4) | (family == 6))
        is_tables = sound & (heads["kind"] == Kind.ADDRESSES)
        self._report(records, ~sound, "no record of a raw socket", "damage")
        self._report(records, sound & (heads["kind"] == Kind.PACKET) & ~is_packet, "a packet of no IP family", "damage")
        unknown = sound & (heads["kind"] != Kind.PACKET) & ~is_tables
        self._report(records, unknown, "a kind of record that is not known", "unknown")
        for row in np.flatnonzero(is_tables).tolist():
            self._tables(buffer, records, row)
        return is_packet

    def decode_packets(self, buffer: NDArray[np.uint8], records: PacketTable) -> PacketTable:
        """The packets of records that ``sort_out`` found to be some, in their order."""
        heads = gather_rows(buffer, records["offset"], RAW_RECORD)
        packets = records.take(slice(None))
        packets["raw_record"] = packets["offset"]
        packets["offset"] = packets["offset"] + HEADER
        packets["captured"] = packets["captured"] - np.uint32(HEADER)
        packets["original"] = np.maximum(packets["original"], packets["captured"] + HEADER) - np.uint32(HEADER)
        cut = heads["present"] & int(Present.CUT) != 0
        if cut.any():
            packets["flags"] = packets["flags"] | np.where(cut, np.uint32(Mark.TRUNCATED), np.uint32(0))
        packets["direction"] = self._directions(buffer, packets, heads)
        self._count(packets, heads)
        return packets

    def _directions(self, buffer: NDArray[np.uint8], packets: PacketTable, heads: NDArray[Any]) -> NDArray[np.uint8]:
        """Sent is what comes from an address of the machine's own, received what goes to one it listens to; the other
        packets keep what the input says of them."""
        known = packets["direction"]
        source, target = heads["source"].copy(), heads["destination"].copy()
        told = heads["present"] & int(Present.DESTINATION) != 0
        whole = np.flatnonzero((heads["family"] == 4) & (packets["captured"] >= 20))
        if len(whole):
            pair = gather_rows(buffer, packets["offset"][whole] + 12, _IPV4_PAIR)
            source[whole, :4], target[whole, :4] = pair["source"], pair["destination"]
            told[whole] = True
        sent = self.addresses.holds(mapped(source, heads["family"]), OWN)
        received = told & self.addresses.holds(mapped(target, heads["family"]), LOCAL)
        found = np.where(sent, _SENT, np.where(received, _RECEIVED, 0))
        return np.where(known == 0, found, known).astype(np.uint8)

    def _tables(self, buffer: NDArray[np.uint8], records: PacketTable, row: int) -> None:
        """Take in one snapshot of address tables."""
        start = int(records["offset"][row]) + HEADER
        size = int(records["captured"][row]) - HEADER
        self.facts.snapshots += 1
        whole = size // ADDRESS_ROW.itemsize
        if size % ADDRESS_ROW.itemsize or records["original"][row] > records["captured"][row]:
            self._damage(start, "address tables that end inside a row", size - whole * ADDRESS_ROW.itemsize)
        data = buffer[start : start + whole * ADDRESS_ROW.itemsize].tobytes()
        seen = hash(data)
        if seen in self._snapshots:
            return
        if len(self._snapshots) < _MOST_SNAPSHOTS:
            self._snapshots.add(seen)
        rows = np.frombuffer(data, ADDRESS_ROW)
        known = np.isin(rows["family"], (4, 6)) & (rows["table"] >= _KINDS[0]) & (rows["table"] <= _KINDS[1])
        odd = int(np.count_nonzero(~known))
        if odd:
            self._damage(start, f"address tables with rows of kinds that are not known: {odd:,}", 0, "unknown")
        rows = rows[known]
        addresses = mapped(rows["address"], rows["family"])
        for kind, interface, address in zip(rows["table"].tolist(), rows["interface"].tolist(), addresses, strict=True):
            self.addresses.add(kind, interface, address.tobytes())

    def _count(self, packets: PacketTable, heads: NDArray[Any]) -> None:
        facts = self.facts
        for family in (4, 6):
            facts.families[family] += int(np.count_nonzero(heads["family"] == family))
        for bit in Present:
            count = int(np.count_nonzero(heads["present"] & int(bit)))
            if count:
                facts.present[bit] = facts.present.get(bit, 0) + count
        key = packets["interface"].astype(np.int64) << 32 | heads["socket"]
        keys, first, row = np.unique(key, return_index=True, return_inverse=True)
        row = row.reshape(-1)
        packets_of = np.bincount(row, minlength=len(keys))
        numbered = heads["present"] & int(Present.NUMBER) != 0
        numbers_of = np.bincount(row[numbered], minlength=len(keys))
        lowest = np.full(len(keys), np.iinfo(np.uint64).max, np.uint64)
        highest = np.zeros(len(keys), np.uint64)
        np.minimum.at(lowest, row[numbered], heads["number"][numbered])
        np.maximum.at(highest, row[numbered], heads["number"][numbered])
        for place, each in enumerate(keys.tolist()):
            head = heads[first[place]]
            face = self._context.interfaces[each >> 32]
            if head["present"] & int(Present.INTERFACE) and not face.if_index:
                face.if_index = int(head["interface"])
            known = facts.sockets.get((each >> 32, each & 0xFFFFFFFF))
            if known is None:
                if len(facts.sockets) >= _MOST_SOCKETS:
                    break
                known = facts.sockets[each >> 32, each & 0xFFFFFFFF] = SocketFacts(int(head["family"]))
            known.packets += int(packets_of[place])
            if numbers_of[place]:
                low, high = int(lowest[place]), int(highest[place])
                known.first_number = low if known.first_number is None else min(low, known.first_number)
                known.last_number = max(high, known.last_number)
                known.numbered += int(numbers_of[place])

    def _report(self, records: PacketTable, rows: NDArray[np.bool_], what: str, severity: str) -> None:
        count = int(np.count_nonzero(rows))
        if not count:
            return
        first = int(records["offset"][int(np.argmax(rows))])
        more = f" ({count:,} in this stretch)" if count > 1 else ""
        self._damage(first, what + more, int(records["captured"][rows].sum(dtype=np.int64)), severity)

    def _damage(self, offset: int, what: str, lost: int, severity: str = "damage") -> None:
        name = self._description.inputs[0].name if self._description.inputs else ""
        self._description.add_damage(Damage(name, self._place(offset), what, lost, severity))
