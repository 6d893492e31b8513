"""Microsoft-Pef-WFP-MessageProvider: transport messages of the Windows Filtering Platform, given an IP header.

The events hold addresses, protocol and everything from the transport header on: traffic of the loopback interface
too, and traffic before IPsec encrypts it. The IP header that belongs before them is put there; what the event does not
tell (TTL, id, type of service, options) has fixed values in it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.records import EVENT32, EVENT64, Records, pick
from etwcap.native.rows import gather_rows
from etwcap.packets import Context, Interface, Mark, PacketTable
from etwcap.packets.linktypes import RAW_IP
from etwcap.providers.base import TraceFacts, payload_spans, report_malformed
from etwcap.providers.fragments import Fragments, cut_long
from etwcap.providers.wfp_flows import Discards, Flows
from etwcap.providers.wfp_headers import IPV6_HEADER_SIZE, put_ip_headers
from etwcap.providers.wfp_layout import ALE, DISCARD, FRAGMENT_HEADER, GUID, MESSAGES, EventId, Keyword

_EVENTS: Final = (EventId.FRAGMENT, EventId.DISCARD, *MESSAGES)


class WfpProvider:
    """Packets of the WFP capture driver, and the flows that it authorised."""

    tap = "wfp"
    guid = GUID

    def __init__(self, context: Context, facts: TraceFacts) -> None:
        self._context = context
        self._facts = facts
        self._fragments = Fragments(context, facts.annex, "messages", IPV6_HEADER_SIZE)
        self._interfaces: dict[bool, int] = {}
        self.flows = Flows()
        """the authorisations met so far"""
        self._discards = Discards(context)

    def packet_rows(self, records: Records) -> NDArray[np.bool_]:
        """The messages, the parts of long ones, and the discards, which are counted like them."""
        event = (records["type"] == EVENT64) | (records["type"] == EVENT32)
        rows: NDArray[np.bool_] = event & np.isin(records["id"], _EVENTS)
        return rows

    def learn(self, buffer: NDArray[np.uint8], records: Records) -> None:
        """Take in authorisations."""
        known = records[np.isin(records["id"], list(ALE))]
        starts, sizes = payload_spans(buffer, known)
        bad = np.zeros(len(known), np.bool_)
        for event, layout in ALE.items():
            mine = known["id"] == event
            fits = mine & (sizes >= layout.itemsize)
            bad |= mine & ~fits
            rows = np.flatnonzero(fits)
            if not len(rows):
                continue
            fields = gather_rows(buffer, starts[rows], layout)
            paths = [
                buffer[start + layout.itemsize : start + min(size, layout.itemsize + length)].tobytes()
                for start, size, length in zip(
                    starts[rows].tolist(), sizes[rows].tolist(), fields["byte_length"].tolist(), strict=True
                )
            ]
            self.flows.add(known["time"][rows], fields, paths)
        if bad.any():
            report_malformed(self._context, self._facts, known[bad], "a WFP event is too short")

    def decode(self, buffer: NDArray[np.uint8], records: Records) -> tuple[PacketTable, NDArray[np.intp]]:
        """One row per message, its IP header put before it."""
        starts, sizes = payload_spans(buffer, records)
        ids = records["id"]
        found = [
            self._messages(buffer, records, event, np.flatnonzero(ids == event), starts, sizes) for event in MESSAGES
        ]
        tables, rows = [table for table, _ in found], [index for _, index in found]
        part = np.flatnonzero(ids == EventId.FRAGMENT)
        if len(part) or self._fragments:
            table, index = self._long_messages(buffer, records, part, starts, sizes)
            tables.append(table)
            rows.append(index)
        self._discard(buffer, pick(records, ids == EventId.DISCARD))
        at = np.concatenate(rows)
        order = np.argsort(at, kind="stable")
        packets = PacketTable.concat(tables).take(order)
        self._context.receipt.packets_read += len(packets)
        for number, count in enumerate(np.bincount(packets["interface"]).tolist()):
            if count:
                self._context.interfaces[number].reports += count
        return packets, at[order]

    def finish(self) -> None:
        """Say what was discarded and what is still unfinished."""
        self._fragments.give_up()
        self._discards.say()
        self._context.receipt.note(
            "wfp-flows", "flows beyond those that are remembered were left out", self.flows.left_out
        )

    def _discard(self, buffer: NDArray[np.uint8], records: Records) -> None:
        """Count events 60050."""
        starts, sizes = payload_spans(buffer, records)
        fits = sizes >= DISCARD.itemsize
        if not fits.all():
            report_malformed(self._context, self._facts, records[~fits], "a WFP discard is too short")
        if fits.any():
            self._discards.add(gather_rows(buffer, starts[fits], DISCARD))

    def _messages(
        self,
        buffer: NDArray[np.uint8],
        records: Records,
        event: EventId,
        rows: NDArray[np.intp],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
    ) -> tuple[PacketTable, NDArray[np.intp]]:
        """The messages of one kind among ``records[rows]``."""
        if not len(rows):
            return PacketTable(0), rows
        mine = pick(records, rows)
        packets = _columns(mine)
        packets["offset"], packets["captured"] = starts[rows], sizes[rows]
        fits = self._decode(buffer, event, packets, whole_rest=False)
        if not fits.all():
            what = "a WFP message is longer than its record"
            report_malformed(self._context, self._facts, pick(mine, ~fits), what)
        packets = packets.take(fits)
        packets["interface"] = self._place(mine["keyword"][fits])
        return packets, rows[fits]

    def _decode(
        self, buffer: NDArray[np.uint8], event: EventId, packets: PacketTable, *, whole_rest: bool
    ) -> NDArray[np.bool_]:
        """Turn rows that name a message's payload into packets with an IP header; tells which of them fit.

        ``whole_rest``: a 16-bit length that the rest of the payload equals but for its upper bits is right.
        """
        layout = MESSAGES[event]
        size = packets["captured"].astype(np.int64)
        fits = size >= layout.itemsize
        fields = np.zeros(len(packets), layout)
        fields[fits] = gather_rows(buffer, packets["offset"][fits], layout)
        rest = size - layout.itemsize
        length = fields["byte_length"].astype(np.int64)
        all_of_it = length == 0
        if whole_rest:
            all_of_it |= rest & 0xFFFF == length
        length = np.where(all_of_it, rest, length)
        fits &= length <= rest
        rows = np.flatnonzero(fits)
        frame = packets["offset"] + layout.itemsize
        header = put_ip_headers(buffer, frame[rows], length[rows], fields[rows])
        packets["offset"] = frame - header
        packets["captured"] = np.where(fits, length + header, 0)
        packets["original"] = packets["captured"].copy()
        packets["flags"] = np.full(len(packets), Mark.HEADER_DECODED, np.uint32)
        if "flow" in (layout.names or ()):
            packets["flow"] = fields["flow"]
        return fits

    def _long_messages(
        self,
        buffer: NDArray[np.uint8],
        records: Records,
        part: NDArray[np.intp],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
    ) -> tuple[PacketTable, NDArray[np.intp]]:
        """The messages that came in several events 2000 and are whole now."""
        fits = sizes[part] >= FRAGMENT_HEADER.itemsize
        head = np.zeros(len(part), FRAGMENT_HEADER)
        head[fits] = gather_rows(buffer, starts[part][fits], FRAGMENT_HEADER)
        fits &= head["byte_length"] <= sizes[part] - FRAGMENT_HEADER.itemsize
        if not fits.all():
            what = "a part of a WFP message is longer than its record"
            report_malformed(self._context, self._facts, pick(records, part[~fits]), what)
        part, head = part[fits], head[fits]
        mine = pick(records, part)
        rows = _columns(mine)
        rows["offset"] = starts[part] + FRAGMENT_HEADER.itemsize
        rows["captured"] = head["byte_length"].astype(np.uint32)
        key = head["event"].astype(np.uint64) << np.uint64(32) | head["group"].astype(np.uint64)
        start = mine["keyword"] & np.uint64(Keyword.PACKET_START) != 0
        end = mine["keyword"] & np.uint64(Keyword.PACKET_END) != 0
        now = int(records["time"][-1])
        joined, first, key = self._fragments.join(buffer, rows, key, start, end, now)
        self._context.receipt.note("fragments", "messages that lie in several events were put together", len(joined))
        at = np.zeros(len(joined), np.intp)
        at[first >= 0] = part[first[first >= 0]]
        carried = key >> np.uint64(32)
        known = np.zeros(len(joined), np.bool_)
        base, data = self._fragments.base, self._fragments.data
        joined["offset"] = joined["offset"] - base
        whole = []
        for event in MESSAGES:
            mine_now = np.flatnonzero(carried == event)
            table = joined.take(mine_now)
            good = self._decode(data, event, table, whole_rest=True)
            table["offset"] = table["offset"] + base
            known[mine_now] = good
            whole.append((table.take(good), mine_now[good]))
        self._context.receipt.note(
            "fragments-unknown", "long messages that are no packets were left out", int(np.count_nonzero(~known))
        )
        index = np.concatenate([places for _, places in whole])
        order = np.argsort(index)
        packets = PacketTable.concat([table for table, _ in whole]).take(order)
        cut_long(self._context, packets)
        packets["interface"] = self._place(np.zeros(len(packets), np.uint64))
        return packets, at[index[order]]

    def _place(self, keyword: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The interface of each packet: what IPsec will hide, or has hidden, is apart."""
        clear = keyword & np.uint64(Keyword.CLEAR_IPSEC) != 0
        numbers = np.zeros(len(keyword), np.int32)
        for is_clear, rows in ((False, ~clear), (True, clear)):
            if rows.any():
                numbers[rows] = self._interface(is_clear)
        return numbers

    def _interface(self, clear: bool) -> int:
        if clear not in self._interfaces:
            machine = self._facts.machine
            made = Interface(RAW_IP, name="WFP (clear IPsec)" if clear else "WFP", tap=self.tap)
            made.description = "Windows Filtering Platform, transport layer" + (", IPsec in clear" if clear else "")
            made.os = " ".join(part for part in (machine.os_name, machine.os_version) if part)
            self._interfaces[clear] = self._context.interfaces.add(made, (self.tap, clear))
        return self._interfaces[clear]


def _columns(records: Records) -> PacketTable:
    """What the event headers and keywords tell. Directions are those that the manifest names."""
    packets = PacketTable(len(records))
    for name in ("time", "process", "thread", "processor"):
        packets[name] = records[name].copy()
    sent = records["keyword"] & np.uint64(Keyword.SEND_PATH) != 0
    received = records["keyword"] & np.uint64(Keyword.RECEIVE_PATH) != 0
    packets["direction"] = np.where(sent, 2, np.where(received, 1, 0))
    return packets
