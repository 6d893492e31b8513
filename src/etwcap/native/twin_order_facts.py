"""Twin of order_facts.c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.twin_order_layers import ARP, Message, Span, be16, entered, open_frame, read_ip
from etwcap.native.twin_order_talk import Datagram, datagram, hashed

_ICMP, _TCP, _UDP, _ICMP6 = 1, 6, 17, 58
_DEEPEST: Final = 4
_OWN, _CONNECTION, _QUOTE, _ECHO, _ARP_SEED, _NEIGHBOR = range(1, 7)
_MAPPED: Final = bytes(10) + b"\xff\xff"
_BLOCKS: Final = 4
_RECEIVED, _SENT = 1, 2


@dataclass(slots=True)
class _Fact:
    key: int = 0
    answer: int = 0
    quote: int = 0
    seq: int = 0
    end: int = 0
    ack: int = 0
    sign: int = 0
    stamp: int = 0
    echo: int = 0
    sack: tuple[int, ...] = ()
    role: int = 0
    side: int = 0
    way: int = 0
    flags: int = 0
    stamped: int = 0

    def row(self) -> tuple[Any, ...]:
        sack = self.sack + (0,) * (2 * _BLOCKS - len(self.sack))
        return (
            self.key, self.answer, self.quote, self.seq, self.end, self.ack, self.sign, self.stamp, self.echo, sack,
            self.role, self.side, self.way, self.flags, len(self.sack) // 2, self.stamped, (0, 0),
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
        opened = open_frame(Span(buffer[start : start + size].tobytes(), max(whole, size)), kind)
        if opened:
            _read_packet(opened.span, opened.ether_type, way, known, fact)
        facts[row] = (fact if fact.side else _Fact()).row()


def _be32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _own_side(source: bytes, target: bytes, known: set[int]) -> int:
    side = 0
    for address, bit in ((source, _SENT), (target, _RECEIVED)) if known else ():
        side |= bit if hashed(_OWN, _MAPPED + address if len(address) == 4 else address) in known else 0
    return side


def _side(source: bytes, target: bytes, direction: int, known: set[int]) -> int:
    side = direction & 3 | _own_side(source, target, known)
    many = target[0] == 0xFF if len(target) == 16 else target[0] >= 224 or target[3] == 0xFF
    return _RECEIVED if known and side == 0 and many else side


def _layers(message: Message) -> list[Message]:
    """The packet and those that it carries, from the outside."""
    layers = [message]
    while len(layers) <= _DEEPEST and (inner := entered(layers[-1])):
        layers.append(inner)
    return layers


def _read_packet(span: Span, ether_type: int, direction: int, known: set[int], fact: _Fact) -> None:
    if ether_type == ARP:
        _read_arp(span.data, fact)
        if fact.role:
            fact.side = _side(span.data[14:18], span.data[24:28], direction, known)
        return
    outer = read_ip(span)
    if outer is None:
        return
    fact.side = _side(outer.source, outer.target, direction, known)
    _, *carried = layers = _layers(outer)
    for inner in carried:
        side = _own_side(inner.source, inner.target, known)
        if side and fact.side in (0, _SENT | _RECEIVED):
            fact.side = side
    message = layers[-1]
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


def _connection(message: Message) -> tuple[int, int]:
    """One value for both ways, and which way it is."""
    here = message.source + message.data[:2]
    there = message.target + message.data[2:4]
    way = int(here > there)
    return hashed(_CONNECTION, there + here if way else here + there), way


def _read_tcp(message: Message, fact: _Fact) -> None:
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
    fact.sign = be16(data, 14) << 16 | message.ident
    _read_options(data[: min(header, len(data))], fact)


def _read_options(data: bytes, fact: _Fact) -> None:
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
        if data[at] == 8 and data[at + 1] == 10:
            fact.stamp, fact.echo, fact.stamped = _be32(data, at + 2), _be32(data, at + 6), 1
        at += data[at + 1]
    fact.sack = tuple(found[: 2 * _BLOCKS])


def _quoted(message: Message) -> int:
    if len(message.data) < 8 or message.part:
        return 0
    first = bytearray(message.data[:8])
    if message.protocol == _UDP:
        first[6:8] = bytes(2)
    elif message.protocol in (_ICMP, _ICMP6):
        first[2:4] = bytes(2)
    head = message.source.ljust(16, b"\0") + message.target.ljust(16, b"\0")
    return hashed(_QUOTE, head + bytes((message.protocol,)) + message.ident.to_bytes(2, "big") + b"\0" + first)


def _read_quotation(message: Message, fact: _Fact) -> None:
    outer = read_ip(Span(message.data[8:], max(len(message.data) - 8, 0)))
    if outer is None:
        return
    inner = _layers(outer)[-1]
    if len(inner.data) < 8 or inner.part:
        return
    if inner.protocol == _TCP:
        fact.role = 4
        fact.key, fact.way = _connection(inner)
        fact.seq = _be32(inner.data, 4)
    else:
        fact.role, fact.answer = 3, _quoted(inner)


def _pair(seed: int, asker: bytes, asked: bytes, rest: bytes = b"") -> int:
    return hashed(hashed(hashed(seed, asker), asked), rest)


def _read_icmp(message: Message, fact: _Fact) -> None:
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


def _read_icmp6(message: Message, fact: _Fact) -> None:
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
    operation = be16(data, 6)
    if operation == 1:
        fact.key = _pair(_ARP_SEED, data[14:18], data[24:28])
    elif operation == 2:
        fact.answer = _pair(_ARP_SEED, data[24:28], data[14:18])
