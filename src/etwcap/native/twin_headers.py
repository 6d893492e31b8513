"""Twin of headers.c and headers_ip.c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Field: TypeAlias = tuple[int, int, int, int, int, int, int, int]
"""position, header, body, outer, kind, size, flags, zero"""

_MAC, _IPV4, _IPV6 = 1, 2, 3
_SIZES = {_MAC: 6, _IPV4: 4, _IPV6: 16}
_PARTIAL, _UDP, _ODD = 1, 2, 4
_NO_SUM, _FULL_SUM, _PARTIAL_SUM = 0, 1, 2
_SNAP = b"\xaa\xaa\x03\0\0\0"
_DEEPEST = 6
_VLAN = (0x8100, 0x88A8, 0x9100)
_ROUTING, _FRAGMENT, _AH = 43, 44, 51
_DHCP_LISTS = {*range(3, 12), 28, 32, 41, 42, 44, 45, 50, 54}


def walk(
    buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32], link: NDArray[np.uint16]
) -> tuple[NDArray[np.uint32], list[Field]]:
    """Twin of ``ec_headers_walk`` with room for every field."""
    kept = np.zeros(len(offset), np.uint32)
    fields: list[Field] = []
    for row, (start, size, kind) in enumerate(zip(offset.tolist(), captured.tolist(), link.tolist(), strict=True)):
        if start < 0 or start + size > buffer.size:
            raise IndexError(f"packet {row} lies outside the buffer")
        packet = _Walk(buffer[start : start + size].tobytes(), start)
        packet.link(kind)
        kept[row] = min(packet.kept, size)
        fields += [field.row() for field in packet.fields]
    return kept, fields


@dataclass(slots=True)
class _Address:
    position: int
    kind: int
    size: int
    header: int = 0
    body: int = 0
    outer: int = 0
    flags: int = 0

    @property
    def whole(self) -> bool:
        return self.size == _SIZES[self.kind]

    def row(self) -> Field:
        return (self.position, self.header, self.body, self.outer, self.kind, self.size, self.flags, 0)


@dataclass(slots=True)
class _Pseudo:
    source: _Address | None
    target: _Address | None
    source_at: int
    target_at: int
    address: int
    size: int = 0
    fragment: bool = False


def _add_words(data: bytes) -> int:
    data += bytes(len(data) % 2)
    return sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))


def _folded(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class _Walk:
    """One packet."""

    def __init__(self, p: bytes, base: int) -> None:
        self.p = p
        self.n = len(p)
        self.base = base
        self.kept = 0
        self.outer = 0
        self.depth = 0
        self.fields: list[_Address] = []

    def has(self, at: int, size: int) -> bool:
        return at + size <= self.n

    def word(self, at: int) -> int:
        return self.p[at] << 8 | self.p[at + 1]

    def add(self, kind: int, at: int) -> _Address | None:
        if at >= self.n:
            return None
        field = _Address(self.base + at, kind, min(_SIZES[kind], self.n - at))
        if field.whole and self.outer:
            field.outer = self.outer - at
        self.fields.append(field)
        return field

    # link layers

    def link(self, kind: int) -> None:
        if kind == 1:
            self.ethernet(0)
        elif kind in (101, 228, 229):
            self.ip(0, self.n)
        elif kind == 105:
            self.wifi(0)
        elif kind == 127:
            if self.has(0, 4):
                self.kept = self.p[2] | self.p[3] << 8
                if 8 <= self.kept <= self.n:
                    self.wifi(self.kept)
        elif kind in (0, 108):
            self.kept = 4
            self.ip(4, self.n)
        elif kind == 113:
            self.cooked(5, 6, 14, 16)
        elif kind == 276:
            self.cooked(11, 12, 0, 20)
        elif kind == 252:
            self.upper_pdu()

    def llc(self, at: int, end: int) -> None:
        if end - at >= 8 and self.p[at : at + 6] == _SNAP:
            self.network(self.word(at + 6), at + 8, end)

    def ethernet(self, at: int) -> None:
        self.add(_MAC, at)
        self.add(_MAC, at + 6)
        self.kept = at + 14
        if not self.has(at, 14):
            return
        kind = self.word(at + 12)
        if kind > 1500:
            self.network(kind, at + 14, self.n)
        else:
            self.llc(at + 14, min(self.n, at + 14 + kind))

    def amsdu(self, at: int) -> None:
        while at < self.n:
            self.add(_MAC, at)
            self.add(_MAC, at + 6)
            self.kept = at + 14
            if not self.has(at, 14):
                return
            size = self.word(at + 12)
            self.llc(at + 14, min(self.n, at + 14 + size))
            at += (14 + size + 3) & ~3

    def wifi(self, at: int) -> None:
        self.kept = at + 10
        self.add(_MAC, at + 4)
        if not self.has(at, 2):
            return
        control, flags = self.p[at], self.p[at + 1]
        kind = control & 0x0C
        if kind == 0x04 and control in (0xC4, 0xD4):
            return
        self.add(_MAC, at + 10)
        self.kept = at + 16
        if kind == 0x04:
            return
        self.add(_MAC, at + 16)
        self.kept = at + 24
        if kind == 0x0C or (kind == 0 and not flags & 0x80):
            return
        header = 24
        qos = kind == 0x08 and bool(control & 0x80)
        if kind == 0x08 and flags & 3 == 3:
            self.add(_MAC, at + 24)
            header += 6
        qos_at = at + header
        header += 2 if qos else 0
        header += 4 if (qos or kind == 0) and flags & 0x80 else 0
        self.kept = at + header
        if kind != 0x08 or control & 0x40 or not self.has(at, header):
            return
        if qos and self.p[qos_at] & 0x80 and not flags & 0x40:
            self.amsdu(at + header)
        else:
            self.llc(at + header, self.n)

    def upper_pdu(self) -> None:
        at = 0
        while self.has(at, 4):
            tag, size = self.word(at), self.word(at + 2)
            if tag in (20, 21) and size == 4:
                self.add(_IPV4, at + 4)
            if tag in (22, 23) and size == 16:
                self.add(_IPV6, at + 4)
            at += 4 + size
            self.kept = at
            if tag == 0:
                return
        self.kept = self.n

    def cooked(self, size_at: int, address: int, type_at: int, header: int) -> None:
        self.kept = header
        if self.has(0, header):
            if self.p[size_at] == 6:
                self.add(_MAC, address)
            self.network(self.word(type_at), header, self.n)

    # from the EtherType up

    def network(self, kind: int, at: int, end: int) -> None:
        self.kept = min(at, end)
        while at + 4 <= end and kind in _VLAN:
            kind = self.word(at + 2)
            at += 4
            self.kept = at
        if at >= end:
            return
        if kind == 0x0800:
            self.ipv4(at, end)
        elif kind == 0x86DD:
            self.ipv6(at, end)
        elif kind in (0x0806, 0x8035):
            self.arp(at, end)
        elif kind in (0x8847, 0x8848):
            last = False
            while not last and at + 4 <= end:
                last = bool(self.p[at + 2] & 1)
                at += 4
                self.kept = at
            if last:
                self.ip(at, end)
        elif kind == 0x8864 and at + 8 <= end:
            self.kept = at + 8
            if self.word(at + 6) in (0x0021, 0x0057):
                self.ip(at + 8, end)

    def ip(self, at: int, end: int) -> None:
        if at >= end:
            return
        if self.p[at] >> 4 == 6:
            self.ipv6(at, end)
        else:
            self.ipv4(at, end)

    def set_header(self, field: _Address | None, at: int, flags: int = 0) -> None:
        if field is not None and field.whole:
            field.header = self.base + at - field.position
            field.flags |= flags

    def set_body(self, field: _Address | None, at: int, flags: int = 0) -> None:
        if field is not None and field.whole:
            field.body = self.base + at - field.position
            field.flags |= flags

    def inside(self, kind: int, at: int, start: int, total: int, state: int, flags: int = 0) -> None:
        field = self.add(kind, at)
        if state == _FULL_SUM:
            self.set_body(field, total, flags | (_ODD if (at - start) & 1 else 0))

    def tie(self, protocol: int, start: int, total: int, end: int, pseudo: _Pseudo, flags: int = 0) -> int:
        if end > self.n or total + 2 > end:
            return _NO_SUM
        value = self.word(total)
        if value == 0 and flags & _UDP:
            return _NO_SUM
        around = length = 0
        partial = False
        if pseudo.address:
            around = protocol
            around += _add_words(self.p[pseudo.source_at : pseudo.source_at + pseudo.address])
            around += _add_words(self.p[pseudo.target_at : pseudo.target_at + pseudo.address])
            length = pseudo.size
            partial = value in (_folded(around), _folded(around + length))
        if partial or value == 0:
            message = self.p[start : start + pseudo.size]
            right = not pseudo.fragment and self.has(start, pseudo.size)
            right = right and _folded(around + length + _add_words(message)) == 0xFFFF
            if not right and not partial:
                return _NO_SUM
            if not right:
                self.set_body(pseudo.source, total, _PARTIAL)
                self.set_body(pseudo.target, total, _PARTIAL)
                return _PARTIAL_SUM
        self.set_body(pseudo.source, total, flags)
        self.set_body(pseudo.target, total, flags)
        return _FULL_SUM

    def nested(self, kind: int, at: int, end: int, total: int) -> None:
        if self.depth == _DEEPEST or (total and self.outer):
            return
        before = self.outer
        self.depth += 1
        if total:
            self.outer = total
        if kind == 0x6558:
            self.ethernet(at)
        else:
            self.network(kind, at, end)
        self.outer = before
        self.depth -= 1

    def arp(self, at: int, end: int) -> None:
        self.kept = min(at + 8, end)
        if self.kept != at + 8 or self.p[at + 4] != 6 or self.p[at + 5] != 4:
            return
        self.add(_MAC, at + 8)
        self.add(_IPV4, at + 14)
        self.add(_MAC, at + 18)
        self.add(_IPV4, at + 24)
        self.kept = at + 28

    def ipv4(self, at: int, end: int) -> None:
        header = (self.p[at] & 15) * 4
        if self.p[at] >> 4 != 4 or header < 20:
            return
        total_at = at + 10
        source = self.add(_IPV4, at + 12)
        pseudo = _Pseudo(source, self.add(_IPV4, at + 16), at + 12, at + 16, 4)
        self.kept = min(at + header, end)
        if not self.has(at, 20):
            return
        whole = self.has(at, header)
        summed = self.word(total_at) != 0 or (whole and _folded(_add_words(self.p[at : at + header])) == 0xFFFF)
        if summed:
            self.set_header(pseudo.source, total_at)
            self.set_header(pseudo.target, total_at)
        i = at + 20
        while i + 2 <= min(at + header, self.n) and self.p[i] != 0:
            kind = self.p[i]
            size = 1 if kind == 1 else self.p[i + 1]
            if size == 0 or (kind != 1 and size < 2) or i + size > at + header:
                break
            if kind in (7, 131, 137):
                for j in range(i + 3, i + size - 3, 4):
                    hop = self.add(_IPV4, j)
                    if summed:
                        self.set_header(hop, total_at, _ODD if (j - at) & 1 else 0)
            i += size
        if not whole:
            return
        total = self.word(at + 2)
        if total >= header:
            end = min(end, at + total)
        fragment = self.word(at + 6)
        pseudo.size = total - header if total >= header else self.n - at - header
        pseudo.fragment = bool(fragment & 0x2000)
        if not fragment & 0x1FFF and at + header < end:
            self.transport(self.p[at + 9], at + header, end, pseudo)

    def ipv6(self, at: int, end: int) -> None:
        if self.p[at] >> 4 != 6:
            return
        source = self.add(_IPV6, at + 8)
        pseudo = _Pseudo(source, self.add(_IPV6, at + 24), at + 8, at + 24, 16)
        self.kept = min(at + 40, end)
        if not self.has(at, 40):
            return
        payload = self.word(at + 4)
        stop = at + 40 + payload if payload else self.n
        end = min(end, stop)
        following = self.p[at + 6]
        i = at + 40
        while i + 8 <= end and following in (0, _ROUTING, _FRAGMENT, _AH, 60):
            now, following = following, self.p[i]
            size = {_FRAGMENT: 8, _AH: (self.p[i + 1] + 2) * 4}.get(now, (self.p[i + 1] + 1) * 8)
            self.kept = min(i + size, end)
            if now == _ROUTING:
                self.routing(i, size, pseudo)
            if now == _FRAGMENT and self.word(i + 2) & 0xFFF8:
                return
            pseudo.fragment |= now == _FRAGMENT and bool(self.p[i + 3] & 1)
            i += size
        pseudo.size = max(stop - i, 0)
        if i < end:
            self.transport(following, i, end, pseudo)

    def routing(self, at: int, size: int, pseudo: _Pseudo) -> None:
        kind, left = self.p[at + 2], self.p[at + 3]
        if kind not in (0, 2, 4):
            return
        count = (size - 8) // 16
        if kind == 4:
            count = min(count, self.p[at + 4] + 1)
        for number in range(count):
            place = at + 8 + 16 * number
            field = self.add(_IPV6, place)
            if left and number == (0 if kind == 4 else count - 1) and self.has(place, 16):
                pseudo.target, pseudo.target_at = field, place

    def transport(self, protocol: int, at: int, end: int, pseudo: _Pseudo) -> None:
        header = 0
        if protocol == 6:
            self.tie(6, at, at + 16, end, pseudo)
            header = max(20, (self.p[at + 12] >> 4) * 4 if self.has(at, 13) else 0)
        elif protocol in (17, 136):
            state = self.tie(protocol, at, at + 6, end, pseudo, _UDP)
            header = 8
            if protocol == 17 and at + 8 <= end and {self.word(at), self.word(at + 2)} & {67, 68}:
                self.dhcp(at, end, state)
        elif protocol == 33:
            self.tie(33, at, at + 6, end, pseudo)
            header = max(12, self.p[at + 4] * 4 if self.has(at, 5) else 0)
        elif protocol == 132:
            header = 12
        elif protocol in (2, 50):
            header = 8
        elif protocol == _AH:
            if at + 8 <= end:
                size = (self.p[at + 1] + 2) * 4
                self.kept = min(at + size, end)
                pseudo.size = max(pseudo.size - size, 0)
                if at + size < end and self.p[at] != _AH:
                    self.transport(self.p[at], at + size, end, pseudo)
            return
        elif protocol == 1:
            self.icmp(at, end, pseudo)
            return
        elif protocol == 58:
            self.icmp6(at, end, pseudo)
            return
        elif protocol == 4:
            self.nested(0x0800, at, end, 0)
            return
        elif protocol == 41:
            self.nested(0x86DD, at, end, 0)
            return
        elif protocol == 47:
            self.gre(at, end)
            return
        else:
            return
        self.kept = min(at + header, end)

    def dhcp(self, start: int, end: int, state: int) -> None:
        at, total = start + 8, start + 6
        if at + 44 > end:
            return
        for i in range(12, 28, 4):
            self.inside(_IPV4, at + i, start, total, state, _UDP)
        if self.p[at + 1] == 1 and self.p[at + 2] == 6:
            self.inside(_MAC, at + 28, start, total, state, _UDP)
        i = at + 240
        while i < end and self.p[i] != 255:
            code = self.p[i]
            if code == 0:
                i += 1
                continue
            if i + 2 > end or i + 2 + self.p[i + 1] > end:
                return
            size, data = self.p[i + 1], i + 2
            if code in _DHCP_LISTS:
                for j in range(0, size - 3, 4):
                    self.inside(_IPV4, data + j, start, total, state, _UDP)
            if code == 61 and size == 7 and self.p[data] == 1:
                self.inside(_MAC, data + 1, start, total, state, _UDP)
            i = data + size

    def icmp(self, at: int, end: int, pseudo: _Pseudo) -> None:
        self.kept = min(at + 8, end)
        if at + 8 > end:
            return
        pseudo.address = 0
        pseudo.source = pseudo.target = None
        state = self.tie(1, at, at + 2, end, pseudo)
        kind = self.p[at]
        if kind == 5:
            self.inside(_IPV4, at + 4, at, at + 2, state)
        if kind in (3, 4, 5, 11, 12):
            self.nested(0x0800, at + 8, end, at + 2 if state == _FULL_SUM else 0)

    def icmp6(self, at: int, end: int, pseudo: _Pseudo) -> None:
        self.kept = min(at + 8, end)
        if at + 8 > end:
            return
        total = at + 2
        state = self.tie(58, at, total, end, pseudo)
        kind = self.p[at]
        if 1 <= kind <= 4:
            self.nested(0x86DD, at + 8, end, total if state == _FULL_SUM else 0)
        if 130 <= kind <= 132:
            self.inside(_IPV6, at + 8, at, total, state)
            self.kept = min(at + 24, end)
            if kind == 130:
                for i in range(at + 28, end, 16):
                    self.inside(_IPV6, i, at, total, state)
        if 133 <= kind <= 137:
            addresses = {133: 0, 134: 0, 137: 2}.get(kind, 1)
            for number in range(addresses):
                self.inside(_IPV6, at + 8 + 16 * number, at, total, state)
            self.neighbor_options(at + 16 if kind == 134 else at + 8 + 16 * addresses, at, end, state)
            self.kept = end
        if kind == 143:
            i = at + 8
            while i + 4 <= end:
                sources, extra = self.word(i + 2), self.p[i + 1] * 4
                for place in range(i + 4, min(end, i + 4 + 16 * (sources + 1)), 16):
                    self.inside(_IPV6, place, at, total, state)
                i += 20 + 16 * sources + extra
            self.kept = end

    def neighbor_options(self, at: int, start: int, end: int, state: int) -> None:
        total = start + 2
        while at + 8 <= end:
            kind, size = self.p[at], self.p[at + 1] * 8
            if size == 0:
                return
            if kind in (1, 2):
                self.inside(_MAC, at + 2, start, total, state)
            if kind == 3 and size == 32:
                self.inside(_IPV6, at + 16, start, total, state)
            if kind in (24, 25) and size >= 24:
                for i in range(8, size - 15, 16):
                    self.inside(_IPV6, at + i, start, total, state)
            if kind == 4 and at + 8 < end:
                self.nested(0x86DD, at + 8, min(at + size, end), total if state == _FULL_SUM else 0)
            at += size

    def gre(self, at: int, end: int) -> None:
        self.kept = min(at + 4, end)
        if at + 4 > end or self.p[at + 1] & 7:
            return
        flags = self.p[at]
        header = 4 + sum(4 for bit in (0x80, 0x20, 0x10) if flags & bit)
        self.kept = min(at + header, end)
        if not flags & 0x40 and at + header < end:
            self.nested(self.word(at + 2), at + header, end, at + 4 if flags & 0x80 else 0)
