"""A capture as the recording that raw sockets of Windows would have left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap._version import __version__
from etwcap.packets import Chunk, Context, EventTable, Interface, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.packets.linktypes import ETHERNET, IEEE802_11, RAW_IP, title
from etwcap.providers.rawsocket_build import LARGEST_PAYLOAD, address_records, build_records, record_heads
from etwcap.providers.rawsocket_layout import LINK_TYPE, RAW_RECORD, Present
from etwcap.sinks.output import Output
from etwcap.sinks.pcapng import PcapngSink, Section
from etwcap.synth import offload
from etwcap.synth.datagrams import Datagrams, datagrams
from etwcap.synth.disorder import Batches, EarlyAnswers
from etwcap.synth.headers import Bytes, Headers, read_headers
from etwcap.synth.ip_start import carries_ip, ip_start
from etwcap.synth.machine import MOST_ADAPTERS, Adapter, adapter_of
from etwcap.synth.options import SynthOptions
from etwcap.synth.order import InOrder
from etwcap.synth.raw_tables import Tables
from etwcap.synth.sides import Sides

_HEADER = RAW_RECORD.itemsize
_LONGEST = 0xFFFFFFFF - _HEADER
_ADAPTERS = {ETHERNET: ETHERNET, IEEE802_11: IEEE802_11, 127: IEEE802_11, 119: IEEE802_11, 163: IEEE802_11}
"""What the adapter of an interface is by the link type of the capture; else raw IP."""
_PRECISE = "every packet has its own stamp"
_COARSE = "stamped in user mode batch by batch, late by up to 100 us"


class RawIntake:
    """Turns chunks of a capture into IP packets that a socket could have given: ``offset`` is the IP header."""

    def __init__(self, context: Context, sides: Sides) -> None:
        self._context = context
        self._sides = sides
        self.adapters: list[Adapter] = []
        self._of_interface: dict[int, int] = {}

    def take(self, chunk: Chunk) -> PacketTable:
        """The IP packets of a chunk, ``interface`` an index into ``adapters``; the others are counted."""
        packets = chunk.packets
        data = Bytes(chunk.buffer, packets["offset"], packets["captured"])
        start = np.full(len(packets), -1, np.int64)
        adapter = np.full(len(packets), -1, np.int32)
        framed = np.full(len(packets), RAW_IP, np.uint16)
        for number in np.unique(packets["interface"]).tolist():
            rows = packets["interface"] == number
            link = self._context.interfaces[number].link_type
            adapter[rows] = self._adapter(number, link, int(np.count_nonzero(rows)))
            some = np.flatnonzero(rows)
            start[some] = ip_start(Bytes(chunk.buffer, data.start[some], packets["captured"][some]), link)
            if link == ETHERNET:
                framed[rows] = ETHERNET
        table = PacketTable(len(packets))
        table["time"] = packets["time"].copy()
        table["interface"] = adapter
        table["offset"] = np.maximum(start, 0)
        skipped = start - data.start
        table["captured"] = np.where(start >= 0, packets["captured"] - skipped, 0)
        long = np.maximum(packets["original"], packets["captured"])
        table["original"] = np.where(start >= 0, long - skipped, 0)
        headers = read_headers(chunk.buffer, table["offset"], table["captured"], np.full(len(table), RAW_IP, np.uint16))
        is_ip = (start >= 0) & (headers.version > 0)
        self._note("not-ip", "frames hold no whole IP header: left out", (adapter >= 0) & ~is_ip)
        headers.link, headers.bytes = framed, data  # MAC addresses stand in the frame
        table["direction"] = self._sides.directions(headers, packets["direction"])
        return table.take(is_ip & (adapter >= 0))

    def _adapter(self, number: int, link: int, rows: int) -> int:
        if not carries_ip(link):
            text = f"packets of link type {title(link)} are not looked into for IP: left out"
            self._context.receipt.note(f"link-type-{link}", text, rows)
            return -1
        if number not in self._of_interface:
            if len(self.adapters) == MOST_ADAPTERS:
                text = f"packets are on more than {MOST_ADAPTERS:,} interfaces: left out"
                self._context.receipt.note("interfaces", text, rows)
                return -1
            self._of_interface[number] = len(self.adapters)
            kind = _ADAPTERS.get(link, RAW_IP)
            made = adapter_of(len(self.adapters), self._context.interfaces[number], kind, self.adapters)
            self.adapters.append(made)
        return self._of_interface[number]

    def _note(self, kind: str, text: str, rows: NDArray[np.bool_]) -> None:
        self._context.receipt.note(kind, text, int(np.count_nonzero(rows)))


class RawRecorder:
    """Takes chunks of packets in time order and writes the recording.

    Each adapter has one socket for each family; each socket is an interface of the file.
    """

    def __init__(self, path: Path, options: SynthOptions, context: Context) -> None:
        self._options = options
        self.context = context
        self._sides = Sides(options.local)
        self.intake = RawIntake(context, self._sides)
        self._out = Context()
        self._out.receipt = context.receipt
        self._sink = PcapngSink(Output(path), self._out, section=Section(application=f"etwcap {__version__}"))
        self._tables = Tables(options.tables, options.seed, self._sides.addresses)
        self._early = EarlyAnswers(options.seed) if options.disorder else None
        self._delivered = InOrder(context)
        self._batches = Batches(options.seed)
        self._numbers: dict[int, int] = {}
        self._any_socket: int | None = None
        self.packets = 0
        self.received = 0
        self.records = 0
        self.span: tuple[int, int] | None = None

    @property
    def guessed(self) -> str:
        """The address taken for the machine's own, if it had to be guessed."""
        return self._sides.guessed

    def write(self, chunk: Chunk) -> None:
        """Record the packets of a chunk, whose table is that of ``RawIntake.take``, none earlier than those before."""
        packets = chunk.packets
        if not len(packets):
            return
        headers = _headers(chunk)
        self.packets += len(packets)
        self.received += int(np.count_nonzero(packets["direction"] == 1))
        first, last = int(packets["time"][0]), int(packets["time"][-1])
        self.span = self.span[0] if self.span else first, last
        if self._options.offload:
            offload.leave_checksums_open(chunk, headers, self.context)
        indexes = np.array([each.if_index for each in self.intake.adapters], np.uint32)
        self._tables.take(headers, packets["direction"], indexes[packets["interface"]])
        if self._early is None:
            self._record(chunk)
            return
        self._early.move(packets, headers)
        self._record_disordered(self._delivered.take(chunk))

    def _record_disordered(self, chunk: Chunk) -> None:
        chunk.packets = self._batches.stamp(chunk.packets)
        self._record(chunk)

    def finish(self) -> None:
        """Write what is held, the tables as they are at the end, and the file's last blocks."""
        if self.span is None:
            self._sink.abort()
            return
        if self._early is not None:
            self._record_disordered(self._delivered.finish())
            self.context.receipt.note("early", "answers stand before what they answer", self._early.moved)
        self._record_tables(self._tables.all(), self.span[1])
        receipt = self.context.receipt
        receipt.note("tables", "addresses stand in the machine's tables", len(self._tables.book))
        receipt.note("tables-full", "addresses found no room in the tables", self._tables.book.left_out)
        self._sink.finish()

    def abort(self) -> None:
        """Leave no file behind."""
        self._sink.abort()

    def _record(self, chunk: Chunk) -> None:
        packets = chunk.packets
        if not len(packets):
            return
        data = Bytes(chunk.buffer, packets["offset"], packets["captured"])
        found = datagrams(data, packets["offset"], packets["offset"] + packets["original"])
        sockets = self._sockets(packets["interface"], found.version)
        if self._any_socket is None:
            self._any_socket = int(sockets[0])
        self._record_tables(self._tables.changed(), int(packets["time"][0]))
        cut = found.original > LARGEST_PAYLOAD
        heads = self._heads(chunk, found, sockets, cut)
        captured = np.minimum(found.captured, LARGEST_PAYLOAD).astype(np.uint32)
        start = np.where(captured > 0, found.start, 0)
        buffer, offset = build_records(heads, chunk.buffer, start, captured)
        table = PacketTable(len(packets))
        table["time"], table["interface"], table["offset"] = packets["time"], sockets, offset
        table["captured"] = captured + np.uint32(_HEADER)
        table["original"] = np.where(cut, LARGEST_PAYLOAD, np.minimum(found.original, _LONGEST)) + _HEADER
        self._put(buffer, table)
        self._note("cut", f"packets are longer than a receive buffer of {LARGEST_PAYLOAD:,} bytes: cut", cut)
        self._note("captured-in-part", "packets are cut as they are in the capture",
                   (found.captured < found.original) & ~cut)  # fmt: skip
        headless = (found.version == 6) & (found.start > found.ip + 40)
        self._note("extension-headers", "packets lose IPv6 extension headers, too", headless)
        self._note("ipv6", "packets lose their IPv6 header", found.version == 6)

    def _heads(
        self, chunk: Chunk, found: Datagrams, sockets: NDArray[np.int32], cut: NDArray[np.bool_]
    ) -> NDArray[Any]:
        """The records' headers."""
        packets, six = chunk.packets, found.version == 6
        data = Bytes(chunk.buffer, packets["offset"], packets["captured"])
        index = np.array([each.if_index for each in self.intake.adapters], np.uint32)[packets["interface"]]
        source = data.fields(np.where(six, found.ip + 8, found.ip + 12), 16)
        target = data.fields(np.where(six, found.ip + 24, found.ip + 16), 16)
        source[~six, 4:] = target[~six, 4:] = 0
        heads = record_heads(len(packets))
        heads["family"], heads["socket"], heads["source"] = found.version, sockets, source
        near = six & (source[:, 0] == 0xFE) & (source[:, 1] & 0xC0 == 0x80)
        heads["scope"] = np.where(near, index, 0)
        present = np.where(cut, int(Present.CUT), 0)
        if self._options.pktinfo:
            present |= int(Present.DESTINATION | Present.INTERFACE)
            present[six] |= int(Present.HOP_LIMIT | Present.TRAFFIC_CLASS)
            heads["interface"], heads["destination"] = index, target
            heads["hop_limit"] = np.where(six, data.u8(found.ip + 7), 0)
            heads["traffic_class"] = np.where(six, data.u16(found.ip) >> 4 & 0xFF, 0)
        if not self._options.disorder:
            present |= int(Present.NUMBER)
            heads["number"] = self._next(sockets)
        heads["present"] = present
        return heads

    def _next(self, sockets: NDArray[np.int32]) -> NDArray[np.int64]:
        """The ordinals of the receives on each row's socket."""
        numbers = np.zeros(len(sockets), np.int64)
        for each in np.unique(sockets).tolist():
            rows = np.flatnonzero(sockets == each)
            begun = self._numbers.get(each, 0)
            numbers[rows] = begun + np.arange(len(rows))
            self._numbers[each] = begun + len(rows)
        return numbers

    def _sockets(self, adapters: NDArray[np.int32], version: NDArray[np.int64]) -> NDArray[np.int32]:
        """The interface of the output for the socket of each row."""
        both = adapters.astype(np.int64) * 16 + version
        kinds, first, row = np.unique(both, return_index=True, return_inverse=True)
        numbers = np.zeros(len(kinds), np.int32)
        for kind in np.argsort(first).tolist():
            adapter, family = divmod(int(kinds[kind]), 16)
            numbers[kind] = self._out.interfaces.add(self._interface(adapter, family), key=(adapter, family))
        sockets: NDArray[np.int32] = numbers[row.reshape(-1)]
        return sockets

    def _interface(self, adapter: int, family: int) -> Interface:
        made = self.intake.adapters[adapter]
        stamps = _COARSE if self._options.disorder else _PRECISE
        return Interface(LINK_TYPE, made.alias, f"raw socket, IPv{family}; {stamps}", speed=made.speed)

    def _record_tables(self, rows: NDArray[Any], time: int) -> None:
        """A snapshot of the tables, if there is anything in them."""
        records = address_records(rows)
        if not records or self._any_socket is None:
            return
        lengths = np.array([len(each) for each in records], np.uint32)
        table = PacketTable(len(records))
        table["time"] = np.full(len(records), time, np.int64)
        table["interface"] = np.full(len(records), self._any_socket, np.int32)
        table["offset"] = np.cumsum(lengths, dtype=np.int64) - lengths
        table["captured"] = table["original"] = lengths
        self._put(np.frombuffer(b"".join(records), np.uint8), table)

    def _put(self, buffer: NDArray[np.uint8], table: PacketTable) -> None:
        self._sink.write(Chunk(buffer, table, EventTable(0), END_OF_TIME))
        self.records += len(table)

    def _note(self, kind: str, text: str, rows: NDArray[np.bool_]) -> None:
        self.context.receipt.note(kind, text, int(np.count_nonzero(rows)))


def _headers(chunk: Chunk) -> Headers:
    packets = chunk.packets
    links = np.full(len(packets), RAW_IP, np.uint16)
    return read_headers(chunk.buffer, packets["offset"], packets["captured"], links)
