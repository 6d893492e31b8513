"""Twin of order_layers.c and order_tunnel.c: the layers of a packet down to an IP packet, and into what it carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

ARP: Final = 0x0806
_IPV4, _IPV6, _BRIDGED, _PPPOE, _PPTP = 0x0800, 0x86DD, 0x6558, 0x8864, 0x880B
_VLANS: Final = {0x8100, 0x88A8, 0x9100}
_LABELS: Final = {0x8847, 0x8848}
_FRAGMENT, _AH = 44, 51
_EXTENSIONS: Final = {0, 43, _FRAGMENT, _AH, 60, 135, 139, 140}
_GTP, _TEREDO, _VXLAN, _GENEVE = 2152, 3544, 4789, 6081


class Span(NamedTuple):
    """Captured bytes, and how many there were."""

    data: bytes
    size: int

    def behind(self, count: int) -> Span | None:
        """What follows ``count`` bytes; None where not so many are captured."""
        return Span(self.data[count:], self.size - count) if count <= len(self.data) else None

    def cut(self, size: int) -> Span:
        """Of ``size`` bytes at most."""
        return Span(self.data[:size], min(self.size, size))


@dataclass(slots=True)
class Message:
    """An IP packet: the bytes behind its headers, and how many there were."""

    data: bytes
    size: int
    source: bytes
    target: bytes
    protocol: int
    ident: int = 0
    part: bool = False
    """a fragment that is not the first one"""
    more: bool = False
    """a fragment that is not the last one"""


class Opened(NamedTuple):
    """An EtherType (IPv4, IPv6 or ARP) and what follows it."""

    ether_type: int
    span: Span


def be16(data: bytes, at: int = 0) -> int:
    """A number of network byte order."""
    return int.from_bytes(data[at : at + 2], "big")


def open_frame(span: Span, link: int) -> Opened | None:
    """Twin of ``ec_order_open_frame``."""
    if link in (101, 228, 229):
        return Opened(_IPV4, span)
    if link in (0, 108):
        rest = span.behind(4)
        return Opened(_IPV4, rest) if rest and rest.data else None
    size, place = {1: (14, 12), 113: (16, 14), 276: (20, 0)}.get(link, (0, 0))
    return _open_header(span, size, place) if size else None


def _open_header(span: Span, size: int, place: int) -> Opened | None:
    rest = span.behind(size)
    return _open_type(rest, be16(span.data, place)) if rest else None


def _open_ethernet(span: Span) -> Opened | None:
    return _open_header(span, 14, 12)


def _open_type(span: Span, ether_type: int) -> Opened | None:
    while ether_type in _VLANS and (rest := span.behind(4)):
        ether_type, span = be16(span.data, 2), rest
    if ether_type in _LABELS:
        return _open_labels(span)
    if ether_type == _PPPOE:
        rest = span.behind(6)
        return _open_ppp(rest.cut(be16(span.data, 4))) if rest and span.data[:2] == b"\x11\0" else None
    return Opened(ether_type, span) if ether_type in (_IPV4, _IPV6, ARP) else None


def _open_labels(span: Span) -> Opened | None:
    last = False
    while not last and (rest := span.behind(4)):
        last, span = bool(span.data[2] & 1), rest
    return Opened(_IPV4 if span.data[0] >> 4 == 4 else _IPV6, span) if last and _is_ip(span) else None


def _open_ppp(span: Span) -> Opened | None:
    if len(span.data) < 2:
        return None
    short = span.data[0] & 1
    ether_type = {0x21: _IPV4, 0x57: _IPV6}.get(span.data[0] if short else be16(span.data))
    rest = span.behind(1 if short else 2)
    return Opened(ether_type, rest) if ether_type and rest else None


def _is_ip(span: Span) -> bool:
    data = span.data
    if len(data) >= 20 and data[0] >> 4 == 4:
        return (data[0] & 15) * 4 >= 20 and be16(data, 2) <= span.size
    return len(data) >= 40 and data[0] >> 4 == 6 and be16(data, 4) + 40 <= span.size


def read_ip(span: Span) -> Message | None:
    """Twin of ``ec_order_read_ip``."""
    version = span.data[0] >> 4 if span.data else 0
    return _read_ipv4(span) if version == 4 else _read_ipv6(span) if version == 6 else None


def _read_ipv4(span: Span) -> Message | None:
    data = span.data
    if len(data) < 20:
        return None
    header = (data[0] & 15) * 4
    total = be16(data, 2) or span.size
    if not 20 <= header <= len(data) or total < header:
        return None
    return Message(
        data[header:total], total - header, data[12:16], data[16:20], data[9], be16(data, 4),
        part=bool(be16(data, 6) & 0x1FFF), more=bool(data[6] & 0x20),
    )  # fmt: skip


def _read_ipv6(span: Span) -> Message | None:
    data = span.data
    if len(data) < 40:
        return None
    payload = be16(data, 4)
    total = 40 + payload if payload else span.size
    end = min(len(data), total)
    message = Message(b"", 0, data[8:24], data[24:40], data[6])
    at = 40
    while at + 8 <= end and message.protocol in _EXTENSIONS:
        units = data[at + 1]
        size = (units + 1) * 8
        if message.protocol == _FRAGMENT:
            message.part = message.part or bool(be16(data, at + 2) & 0xFFF8)
            message.more = message.more or bool(data[at + 3] & 1)
            size = 8
        elif message.protocol == _AH:
            size = (units + 2) * 4
        message.protocol = data[at]
        at += size
    if at > end:
        return None
    message.data, message.size = data[at:end], total - at
    return message


def entered(message: Message) -> Message | None:
    """Twin of ``ec_order_enter``: the packet that this one carries."""
    if message.part or message.more:
        return None
    found = _open_tunnel(Span(message.data, message.size), message.protocol)
    if found is None or not _is_ip(found.span):
        return None
    if found.span.data[0] >> 4 != (4 if found.ether_type == _IPV4 else 6):
        return None
    return read_ip(found.span)


def _open_tunnel(span: Span, protocol: int) -> Opened | None:
    if protocol in (4, 41):
        return Opened(_IPV4 if protocol == 4 else _IPV6, span)
    opener = {17: _open_udp, 47: _open_gre, 97: _open_etherip, 115: _open_l2tp, 137: _open_labels}.get(protocol)
    return opener(span) if opener else None


def _open_any(span: Span | None, ether_type: int) -> Opened | None:
    if span is None:
        return None
    return _open_ethernet(span) if ether_type == _BRIDGED else _open_type(span, ether_type)


def _open_gre(span: Span) -> Opened | None:
    if len(span.data) < 4:
        return None
    flags, ether_type = be16(span.data), be16(span.data, 2)
    if ether_type == _PPTP:
        rest = span.behind(16 if flags & 0x0080 else 12)
        if flags & 0xFF7F != 0x3001 or rest is None:
            return None
        return _open_ppp(rest.behind(2) or rest if rest.data[:2] == b"\xff\x03" else rest)
    if flags & 0x4FFF:
        return None
    return _open_any(span.behind(4 + 4 * (flags & 0xB000).bit_count()), ether_type)


def _open_etherip(span: Span) -> Opened | None:
    rest = span.behind(2)
    return _open_ethernet(rest) if rest and span.data[:2] == b"\x30\0" else None


def _is_exactly_ip(span: Span) -> bool:
    data = span.data
    if not _is_ip(span):
        return False
    total = be16(data, 4) + 40
    if data[0] >> 4 == 4:
        header = (data[0] & 15) * 4
        value = sum(be16(data, at) for at in range(0, header, 2))
        if header > len(data) or (value & 0xFFFF) + (value >> 16) != 0xFFFF:
            return False
        total = be16(data, 2)
    return total == span.size or (total < span.size and span.size == 46)


def _open_l2tp(span: Span) -> Opened | None:
    if len(span.data) < 4 or not any(span.data[:4]):
        return None
    starts = (span.behind(at) for at in (4, 8, 12, 16))
    opened = [found for start in starts if start is not None and (found := _open_ethernet(start)) is not None]
    certain = [found for found in opened if found.ether_type != ARP and _is_exactly_ip(found.span)]
    return certain[0] if len(certain) == 1 else None


def _open_udp(span: Span) -> Opened | None:
    if len(span.data) < 8:
        return None
    source, target, length = (be16(span.data, at) for at in (0, 2, 4))
    if length and not 8 <= length <= span.size:
        return None
    rest = (span.cut(length) if length else span).behind(8)
    if rest is None:
        return None
    if target == _VXLAN:
        rest = rest.behind(8) if rest.data and rest.data[0] & 0x0C == 0x08 else None
        return _open_ethernet(rest) if rest else None
    if target == _GENEVE:
        return _open_geneve(rest)
    if target == _GTP:
        return _open_gtp(rest)
    return _open_teredo(rest) if _TEREDO in (source, target) else None


def _open_geneve(span: Span) -> Opened | None:
    data = span.data
    if len(data) < 8 or data[0] >> 6 or data[1] & 0x80:
        return None
    return _open_any(span.behind(8 + 4 * (data[0] & 0x3F)), be16(data, 2))


def _open_gtp(span: Span) -> Opened | None:
    data = span.data
    if len(data) < 8 or data[0] & 0xF0 != 0x30 or data[1] != 255:
        return None
    rest = span.behind(8)
    if data[0] & 7:
        rest, extension = span.behind(12), data[11] if len(data) >= 12 and data[0] & 4 else 0
        while rest and extension:
            size = rest.data[0] * 4 if rest.data else 0
            if not size or size > len(rest.data):
                return None
            extension, rest = rest.data[size - 1], rest.behind(size)
    return Opened(_IPV4 if rest.data[:1] and rest.data[0] >> 4 == 4 else _IPV6, rest) if rest else None


def _open_teredo(span: Span) -> Opened | None:
    rest: Span | None = span
    if len(span.data) >= 4 and span.data[:2] == b"\0\1":
        rest = span.behind(13 + span.data[2] + span.data[3])
    if rest and rest.data[:2] == b"\0\0":
        rest = rest.behind(8)
    return Opened(_IPV6, rest) if rest and rest.data and rest.data[0] >> 4 == 6 else None
