"""Records of raw sockets made of IPv6 packets, and what a rebuilt header is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

import numpy as np
from numpy.typing import NDArray

from etwcap.native.ipv6_rebuild import How, Knowledge, Mode, Role, To
from etwcap.packets import Chunk, EventTable, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.providers.rawsocket_layout import MAGIC, RAW_RECORD, Kind, Present
from etwcap.repair.ipv6_groups import SERVICES


def address(text: str) -> bytes:
    return IPv6Address(text).packed


def fold_sum(data: bytes) -> int:
    """The sum of the 16-bit words, folded, not complemented."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[i : i + 2], "big") for i in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(source: bytes, to: bytes, protocol: int, length: int) -> bytes:
    return source + to + length.to_bytes(4, "big") + protocol.to_bytes(4, "big")


def with_checksum(source: bytes, to: bytes, protocol: int, data: bytes, at: int, *, offload: str = "") -> bytes:
    """``data`` with its checksum at that offset; ``offload`` "left" or "large": what a stack leaves to the hardware."""
    blank = data[:at] + b"\0\0" + data[at + 2 :]
    head = pseudo(source, to, protocol, 0 if offload == "large" else len(data))
    value = fold_sum(head) if offload else 0xFFFF ^ fold_sum(head + blank)
    return blank[:at] + (value or 0xFFFF).to_bytes(2, "big") + blank[at + 2 :]


def udp(source: bytes, to: bytes, ports: tuple[int, int], body: bytes, *, offload: str = "") -> bytes:
    head = b"".join(port.to_bytes(2, "big") for port in ports) + (8 + len(body)).to_bytes(2, "big") + b"\0\0"
    return with_checksum(source, to, 17, head + body, 6, offload=offload)


def tcp(
    source: bytes,
    to: bytes,
    ports: tuple[int, int],
    body: bytes = b"",
    *,
    sequence: int = 1000,
    acknowledged: int = 5000,
    flags: int = 0x18,
    offload: str = "",
) -> bytes:
    head = b"".join(port.to_bytes(2, "big") for port in ports)
    head += sequence.to_bytes(4, "big") + acknowledged.to_bytes(4, "big") + bytes((0x50, flags)) + b"\x20\0\0\0\0\0"
    return with_checksum(source, to, 6, head + body, 16, offload=offload)


def icmpv6(source: bytes, to: bytes, kind: int, rest: bytes, *, code: int = 0) -> bytes:
    return with_checksum(source, to, 58, bytes((kind, code)) + b"\0\0" + rest, 2)


@dataclass
class Received:
    """One receive of a raw socket."""

    source: bytes
    data: bytes
    original: int | None = None
    destination: bytes | None = None
    hop_limit: int | None = None
    traffic_class: int | None = None
    present: int = 0


class Recording:
    """Receives laid out as records in one buffer."""

    def __init__(self, received: list[Received]) -> None:
        parts: list[bytes] = [bytes(8)]
        at, self.record = 8, np.zeros(len(received), np.int64)
        for i, each in enumerate(received):
            head = np.zeros(1, RAW_RECORD)
            head["magic"], head["kind"], head["family"] = MAGIC, Kind.PACKET, 6
            head["source"] = np.frombuffer(each.source, np.uint8)
            present = each.present
            if each.destination is not None:
                head["destination"] = np.frombuffer(each.destination, np.uint8)
                present |= Present.DESTINATION
            if each.hop_limit is not None:
                head["hop_limit"] = each.hop_limit
                present |= Present.HOP_LIMIT
            if each.traffic_class is not None:
                head["traffic_class"] = each.traffic_class
                present |= Present.TRAFFIC_CLASS
            head["present"] = present
            self.record[i] = at
            parts += [head.tobytes(), each.data]
            at += RAW_RECORD.itemsize + len(each.data)
        self.buffer = np.frombuffer(b"".join(parts), np.uint8).copy()
        self.payload = self.record + RAW_RECORD.itemsize
        self.captured = np.array([len(each.data) for each in received], np.uint32)
        self.original = np.array(
            [len(each.data) if each.original is None else each.original for each in received], np.uint32
        )

    def run(self, knowledge: Knowledge, mode: Mode = Mode.WRITE | Mode.INFER | Mode.JOIN) -> NDArray[np.uint32]:
        return knowledge.rebuild(self.buffer, self.record, self.payload, self.captured, self.original, mode)

    def header(self, row: int) -> bytes:
        start = int(self.payload[row])
        return bytes(self.buffer[start - 40 : start])

    def chunk(self) -> Chunk:
        table = PacketTable(len(self.record))
        table["raw_record"], table["offset"] = self.record, self.payload
        table["captured"], table["original"] = self.captured, self.original
        return Chunk(self.buffer, table, EventTable(0), END_OF_TIME)


@dataclass
class Rebuilt:
    """What a rebuilt header says, and why."""

    protocol: int
    to: str
    how: How
    where: To
    header: bytes


def rebuild(
    received: list[Received], candidates: list[str], *, two_passes: bool = False, own: tuple[str, ...] = ()
) -> list[Rebuilt]:
    """The headers of the receives, with these addresses as candidates, of which ``own`` are the machine's."""
    knowledge = Knowledge(SERVICES, most_addresses=1 << 12, most_learnt=1 << 12)
    for each in own:
        knowledge.add(np.frombuffer(address(each), np.uint8).reshape(-1, 16), Role.OWN)
    rows = b"".join(address(each) for each in candidates)
    knowledge.add(np.frombuffer(rows, np.uint8).reshape(-1, 16), Role.LISTED)
    recording = Recording(received)
    if two_passes:
        recording.run(knowledge, Mode.INFER | Mode.JOIN)
        knowledge.sole = 2
    evidence = recording.run(knowledge, Mode.WRITE | Mode.INFER | (Mode(0) if two_passes else Mode.JOIN))
    out = []
    for row, code in enumerate(evidence.tolist()):
        header = recording.header(row)
        to = str(IPv6Address(header[24:40]))
        out.append(Rebuilt(header[6], to, How(code >> 8 & 255), To(code >> 16 & 255), header))
        assert code & 255 == header[6]
    return out
