"""Packets as the WFP capture driver of Message Analyzer reports them: from the transport header on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import Chunk, PacketTable
from etwcap.packets.linktypes import ETHERNET, RAW_IP
from etwcap.providers.wfp_layout import FRAGMENT_HEADER, GUID, MESSAGES, EventId, Keyword
from etwcap.synth.headers import TCP, UDP, Headers, ip_addresses
from etwcap.synth.records import Events, Piece, Pool
from etwcap.synth.taps import DELAY, Tap

_MOST_MESSAGE = 0xFFFF
_IPV4_HEADER, _IPV6_HEADER = 20, 40


class WfpTap(Tap):
    """One message for each IP packet, with a flow handle where it is TCP or UDP; long messages in several events 2000.

    Loopback traffic is logged twice, sent and then received.
    """

    name = "wfp"
    guid = GUID
    link_types = frozenset({ETHERNET, RAW_IP})
    overhead = max(layout.itemsize for layout in MESSAGES.values())

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._group = 0

    @property
    def span(self) -> int:
        """The time to the second sighting of loopback traffic."""
        return DELAY

    def prepare(self, chunk: Chunk, headers: Headers) -> PacketTable:
        """The IP packets that are whole datagrams or unfragmented; what else they lose is counted."""
        packets = chunk.packets
        is_ip = (headers.ip >= 0) & (headers.transport <= headers.bytes.end)
        self.note("not-ip", "packets are no IP: WFP does not see them", ~is_ip)
        self.note("ip-fragments", "fragments of IP packets: WFP sees only whole datagrams", is_ip & headers.fragment)
        keep = is_ip & ~headers.fragment
        head = headers.transport - headers.ip
        plain = np.where(headers.version == 4, _IPV4_HEADER, _IPV6_HEADER)
        self.note("ip-header", "packets lose their link header and the fields of the IP header but for addresses and"
                  " protocol", keep)  # fmt: skip
        self.note("ip-options", "packets lose IPv4 options or IPv6 extension headers", keep & (head > plain))
        cut = keep & (packets["captured"] < packets["original"]) & (headers.ip_end == headers.bytes.end)
        self.note("original-length", "packets were captured in part: their original length is lost", cut)
        return packets.take(keep)

    def sightings(self, chunk: Chunk, headers: Headers) -> PacketTable:
        """Loopback traffic twice."""
        packets = chunk.packets
        source, target = ip_addresses(headers)
        twice = np.flatnonzero(_is_loopback(source) & _is_loopback(target))
        if not len(twice):
            return packets
        self.context.receipt.note("loopback", "packets over loopback are logged twice, sent and received", len(twice))
        packets.writable("direction")[twice] = 2
        again = packets.take(twice)
        again["direction"] = np.ones(len(twice))
        again["time"] = again["time"] + DELAY
        return PacketTable.concat([packets, again])

    def events(self, chunk: Chunk, pool: Pool) -> Events:
        """The messages; those that one event cannot hold in parts."""
        rows = chunk.packets
        headers = self.headers(chunk.buffer, rows)
        source, target = ip_addresses(headers)
        size = np.minimum(headers.ip_end - headers.transport, _MOST_MESSAGE)
        flow = _flow_handles(headers, source, target)
        event, length, start = (
            np.zeros(len(rows), np.uint16),
            np.zeros(len(rows), np.int64),
            np.zeros(len(rows), np.int64),
        )
        for kind, layout in MESSAGES.items():
            four = kind in (EventId.MESSAGE_V4, EventId.MESSAGE_V4_FLOW)
            with_flow = "flow" in (layout.names or ())
            mine = np.flatnonzero((headers.version == (4 if four else 6)) & ((flow != 0) == with_flow))
            head = np.zeros(len(mine), layout)
            width = 4 if four else 16
            for name, address in (("source", source), ("destination", target)):
                head[name] = np.ascontiguousarray(address[mine, 16 - width :]).view(f"V{width}").reshape(-1)
            head["protocol"] = headers.protocol[mine]
            head["byte_length"] = size[mine]
            if with_flow:
                head["flow"] = flow[mine]
            placed = pool.rows(head)
            event[mine], start[mine], length[mine] = kind, placed.offset, placed.length
        keyword = np.where(rows["direction"] == 2, np.uint64(Keyword.SEND_PATH), np.uint64(Keyword.RECEIVE_PATH))
        keyword |= np.uint64(Keyword.PACKET | Keyword.PII_PRESENT)
        pieces = [Piece(start, length), Piece(headers.transport, size)]
        whole = Events(np.arange(len(rows)), event, keyword, pieces)
        long = length + size > self.largest
        if not long.any():
            return whole
        return Events.merged(whole.take(np.flatnonzero(~long)), self._in_parts(whole.take(np.flatnonzero(long)), pool))

    def _in_parts(self, messages: Events, pool: Pool) -> Events:
        """The events 2000 that carry messages."""
        room = self.largest - FRAGMENT_HEADER.itemsize
        self.context.receipt.note("parts", "messages are longer than an event and lie in several", len(messages.row))
        row, bits, heads = [], [], []
        spans: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        first, second = messages.pieces
        for number in range(len(messages.row)):
            self._group += 1
            head, body = int(first.length[number]), int(second.length[number])
            total = head + body
            for begin in range(0, total, room):
                end = min(begin + room, total)
                row.append(int(messages.row[number]))
                bits.append((Keyword.PACKET_START if begin == 0 else 0) | (Keyword.PACKET_END if end == total else 0))
                heads.append((int(messages.id[number]), self._group & 0xFFFFFFFF, end - begin))
                in_head = (min(begin, head), min(end, head))
                in_body = (max(begin - head, 0), max(end - head, 0))
                spans[0].append((int(first.offset[number]) + in_head[0], in_head[1] - in_head[0]))
                spans[1].append((int(second.offset[number]) + in_body[0], in_body[1] - in_body[0]))
        pieces = [pool.rows(np.array(heads, FRAGMENT_HEADER))]
        pieces += [Piece(*np.array(each, np.int64).reshape(-1, 2).T) for each in spans]
        of = {int(each): int(word) for each, word in zip(messages.row, messages.keyword, strict=True)}
        keyword = np.array([of[each] | int(bit) for each, bit in zip(row, bits, strict=True)], np.uint64)
        return Events(np.array(row, np.intp), EventId.FRAGMENT, keyword, pieces)


def _is_loopback(address: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """127.0.0.0/8 (mapped) and ::1."""
    four = (address[:, 10] == 0xFF) & (address[:, 11] == 0xFF) & (address[:, :10] == 0).all(axis=1)
    six = (address[:, :15] == 0).all(axis=1) & (address[:, 15] == 1)
    found: NDArray[np.bool_] = (four & (address[:, 12] == 127)) | six
    return found


def _flow_handles(headers: Headers, source: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A number that both directions of a TCP or UDP flow share; 0 for all else."""
    ports = [headers.bytes.u16(headers.transport + at).astype(np.uint64) for at in (0, 2)]
    ends = []
    for address, port in zip((source, target), ports, strict=True):
        halves = np.ascontiguousarray(address).view(np.uint64)
        ends.append(_mixed(halves[:, 0] ^ _mixed(halves[:, 1] ^ port)))
    handle = _mixed(ends[0] + ends[1]) | np.uint64(1)
    flows = (headers.protocol == TCP) | (headers.protocol == UDP)
    handles: NDArray[np.uint64] = np.where(flows, handle, np.uint64(0))
    return handles


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A well-mixing function of 64 bits (the finalizer of splitmix64)."""
    value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = value ^ value >> np.uint64(31)
    return mixed
