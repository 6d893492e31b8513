"""Twin of order_facts.c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.twin_order_talk import Datagram, datagram, hashed

_ARP: Final = 0x0806
_ICMP, _TCP, _UDP, _ROUTING, _FRAGMENT, _AH, _ICMP6 = 1, 6, 17, 43, 44, 51, 58
_EXTENSIONS: Final = {0, _ROUTING, _FRAGMENT, _AH, 60, 135, 139, 140}
_OWN, _CONNECTION, _QUOTE, _ECHO, _ARP_SEED, _NEIGHBOR = range(1, 7)
_MAPPED: Final = bytes(10) + b"\xff\xff"
_BLOCKS: Final = 4
_RECEIVED, _SENT = 1, 2


@dataclass(slots=True)
class _Message:
    data: bytes
    size: int
    source: bytes
    target: bytes
    protocol: int
    ident: int
    part: bool


@dataclass(slots=True)
class _Fact:
    key: int = 0
    answer: int = 0
    quote: int = 0
    seq: int = 0
    end: int = 0
    ack: int = 0
    sign: int = 0
    sack: tuple[int, ...] = ()
    role: int = 0
    side: int = 0
    way: int = 0
    flags: int = 0

    def row(self) -> tuple[Any, ...]:
        sack = self.sack + (0,) * (2 * _BLOCKS - len(self.sack))
        return (
            self.key, self.answer, self.quote, self.seq, self.end, self.ack, self.sign, sack, self.role, self.side,
            self.way, self.flags, len(self.sack) // 2, (0, 0, 0),
        )  # fmt: skip


def fill_own(addresses: NDArray[np.uint8], own: NDArray[np.uint64]) -> None:
    """Twin of ``ec_order_own``."""
    for row in addresses:
        value = hashed(_OWN, row.tobytes())
        slot = value & (len(own) - 1)
        while own[slot] and int(own[slot]) != value:
            slot = (slot + 1) & (len(own) - 1)
        own[slot] = value


def fill(
    buffer: NDArray[np.uint8],
    offset: NDArray[np.int64],
    captured: NDArray[np.uint32],
    original: NDArray[np.uint32],
    link: NDArray[np.uint16],
    direction: NDArray[np.uint8],
    own: NDArray[np.uint64],
    facts: NDArray[Any],
) -> None:
    """Twin of ``ec_order_facts``."""
    known = {int(value) for value in own if value}
    columns = (offset.tolist(), captured.tolist(), original.tolist(), link.tolist(), direction.tolist())
    for row, (start, size, whole, kind, way) in enumerate(zip(*columns, strict=True)):
        if start < 0 or start + size > buffer.size:
            raise IndexError(f"packet {row} lies outside the buffer")
        fact = _Fact()
        data = buffer[start : start + size].tobytes()
        ether_type, at = _open_frame(data, kind)
        if ether_type and at <= size:
            _read_packet(data[at:], max(whole, size) - at, ether_type, way, known, fact)
        facts[row] = (fact if fact.side else _Fact()).row()


def _be16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _be32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _open_frame(data: bytes, link: int) -> tuple[int, int]:
    """The EtherType and where its packet begins; 0 where there is none."""
    if link in (101, 228, 229):
        return 0x0800, 0
    if link in (0, 108):
        return 0x0800 if len(data) > 4 else 0, 4
    places = {1: (14, 12), 113: (16, 14), 276: (20, 0)}
    if link not in places or len(data) < places[link][0]:
        return 0, 0
    at, place = places[link]
    ether_type = _be16(data, place)
    while ether_type in (0x8100, 0x88A8, 0x9100) and at + 4 <= len(data):
        ether_type = _be16(data, at + 2)
        at += 4
    return ether_type if ether_type in (0x0800, 0x86DD, _ARP) else 0, at


def _side(source: bytes, target: bytes, direction: int, known: set[int]) -> int:
    side = direction & 3
    if known:
        for address, bit in ((source, _SENT), (target, _RECEIVED)):
            whole = _MAPPED + address if len(address) == 4 else address
            side |= bit if hashed(_OWN, whole) in known else 0
        many = target[0] == 0xFF if len(target) == 16 else target[0] >= 224 or target[3] == 0xFF
        if side == 0 and many:
            side = _RECEIVED
    return side


def _read_packet(data: bytes, original: int, ether_type: int, direction: int, known: set[int], fact: _Fact) -> None:
    if ether_type == _ARP:
        _read_arp(data, fact)
        if fact.role:
            fact.side = _side(data[14:18], data[24:28], direction, known)
        return
    message = _read_ip(data, original)
    if message is None:
        return
    fact.side = _side(message.source, message.target, direction, known)
    if fact.side == 0 or message.part:
        return
    if message.protocol == _TCP:
        _read_tcp(message, fact)
        return
    if message.protocol == _UDP and len(message.data) >= 8:
        fact.role = 2
        said = datagram(Datagram(message.source, message.target, message.data))
        fact.key, fact.answer = said.key, said.answer
    elif message.protocol == _ICMP:
        _read_icmp(message, fact)
    elif message.protocol == _ICMP6:
        _read_icmp6(message, fact)
    else:
        fact.role = 2
    if fact.role == 2:
        fact.quote = _quoted(message)


def _read_ip(data: bytes, original: int) -> _Message | None:
    if not data:
        return None
    return {4: _read_ipv4, 6: _read_ipv6}.get(data[0] >> 4, lambda _data, _original: None)(data, original)


def _read_ipv4(data: bytes, original: int) -> _Message | None:
    if len(data) < 20:
        return None
    header = (data[0] & 15) * 4
    total = _be16(data, 2) or original
    if not 20 <= header <= len(data) or total < header:
        return None
    body = data[header : max(total, header)]
    part = bool(_be16(data, 6) & 0x1FFF)
    return _Message(body, total - header, data[12:16], data[16:20], data[9], _be16(data, 4), part)


def _read_ipv6(data: bytes, original: int) -> _Message | None:
    if len(data) < 40:
        return None
    payload = _be16(data, 4)
    total = 40 + payload if payload else original
    end = min(len(data), total)
    at, protocol, part = 40, data[6], False
    while at + 8 <= end and protocol in _EXTENSIONS:
        if protocol == _FRAGMENT and _be16(data, at + 2) & 0xFFF8:
            part = True
        units = data[at + 1]
        size = 8 if protocol == _FRAGMENT else (units + 2) * 4 if protocol == _AH else (units + 1) * 8
        protocol = data[at]
        at += size
    if at > end:
        return None
    return _Message(data[at:end], total - at, data[8:24], data[24:40], protocol, 0, part)


def _connection(message: _Message) -> tuple[int, int]:
    """One value for both ways, and which way it is."""
    here = message.source + message.data[:2]
    there = message.target + message.data[2:4]
    way = int(here > there)
    return hashed(_CONNECTION, there + here if way else here + there), way


def _read_tcp(message: _Message, fact: _Fact) -> None:
    data = message.data
    if len(data) < 20:
        return
    header = (data[12] >> 4) * 4
    if header < 20 or header > message.size:
        return
    fact.role = 1
    fact.key, fact.way = _connection(message)
    fact.flags = data[13]
    fact.seq, fact.ack = _be32(data, 4), _be32(data, 8)
    fact.end = (fact.seq + message.size - header + (fact.flags & 1) + (fact.flags >> 1 & 1)) & 0xFFFFFFFF
    fact.sign = _be16(data, 14) << 16 | message.ident
    fact.sack = _sacks(data[: min(header, len(data))])


def _sacks(data: bytes) -> tuple[int, ...]:
    found: list[int] = []
    at = 20
    while at < len(data) and data[at]:
        if data[at] == 1:
            at += 1
            continue
        if at + 2 > len(data) or data[at + 1] < 2 or at + data[at + 1] > len(data):
            break
        if data[at] == 5:
            for place in range(at + 2, at + data[at + 1] - 7, 8):
                found += [_be32(data, place), _be32(data, place + 4)]
        at += data[at + 1]
    return tuple(found[: 2 * _BLOCKS])


def _quoted(message: _Message) -> int:
    if len(message.data) < 8 or message.part:
        return 0
    first = bytearray(message.data[:8])
    if message.protocol == _UDP:
        first[6:8] = bytes(2)
    elif message.protocol in (_ICMP, _ICMP6):
        first[2:4] = bytes(2)
    head = message.source.ljust(16, b"\0") + message.target.ljust(16, b"\0")
    return hashed(_QUOTE, head + bytes((message.protocol,)) + message.ident.to_bytes(2, "big") + b"\0" + first)


def _read_quotation(message: _Message, fact: _Fact) -> None:
    inner = _read_ip(message.data[8:], len(message.data) - 8)
    if inner is None or len(inner.data) < 8 or inner.part:
        return
    if inner.protocol == _TCP:
        fact.role = 4
        fact.key, fact.way = _connection(inner)
        fact.seq = _be32(inner.data, 4)
    else:
        fact.role, fact.answer = 3, _quoted(inner)


def _pair(seed: int, asker: bytes, asked: bytes, rest: bytes = b"") -> int:
    return hashed(hashed(hashed(seed, asker), asked), rest)


def _read_icmp(message: _Message, fact: _Fact) -> None:
    if len(message.data) < 8:
        return
    kind, ids = message.data[0], message.data[4:8]
    if kind in (3, 4, 5, 11, 12):
        _read_quotation(message, fact)
        return
    fact.role = 2
    if kind in (8, 13, 15, 17):
        fact.key = _pair(_ECHO << 8 | kind, message.source, message.target, ids)
    elif kind in (0, 14, 16, 18):
        asked = kind - 1 if kind else 8
        fact.answer = _pair(_ECHO << 8 | asked, message.target, message.source, ids)


def _read_icmp6(message: _Message, fact: _Fact) -> None:
    data = message.data
    if len(data) < 8 or len(message.source) != 16:
        return
    kind = data[0]
    if 1 <= kind <= 4:
        _read_quotation(message, fact)
        return
    fact.role = 2
    if kind == 128:
        fact.key = _pair(_ECHO << 8 | 128, message.source, message.target, data[4:8])
    elif kind == 129:
        fact.answer = _pair(_ECHO << 8 | 128, message.target, message.source, data[4:8])
    elif kind == 135 and len(data) >= 24 and any(message.source):
        fact.key = _pair(_NEIGHBOR, message.source, data[8:24])
    elif kind == 136 and len(data) >= 24 and data[4] & 0x40:
        fact.answer = _pair(_NEIGHBOR, message.target, data[8:24])


def _read_arp(data: bytes, fact: _Fact) -> None:
    if len(data) < 28 or data[2:6] != b"\x08\x00\x06\x04" or data[14:18] == data[24:28]:
        return
    fact.role = 2
    operation = _be16(data, 6)
    if operation == 1:
        fact.key = _pair(_ARP_SEED, data[14:18], data[24:28])
    elif operation == 2:
        fact.answer = _pair(_ARP_SEED, data[24:28], data[14:18])
