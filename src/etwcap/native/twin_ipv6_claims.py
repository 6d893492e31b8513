"""Twin of ipv6_match.c and ipv6_claims.c: that a packet is of a protocol, and what speaks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from etwcap.native import twin_ipv6_shape as shape
from etwcap.native.twin_ipv6_shape import NO, be16, be32
from etwcap.native.twin_ipv6_state import GROUP, JOINED, LINK, LOOPBACK, OWN, WELL_KNOWN, State, kind_of, sum_of

UNKNOWN, SHAPE, CHECKSUM, OFFLOADED, OFFLOADED_LARGE, OWN_SUM, BY_FLOW, EMPTY, SERIES = range(9)
"""how the protocol is known; the numbers of ``ipv6_rebuild.How``"""
(TO_UNKNOWN, TO_TOLD, TO_FLOW_SUM, TO_KIND_SUM, TO_ONLY_SUM, TO_CONTEXT_SUM, TO_FLOW, TO_KIND, TO_JOINED, TO_ANSWERED,
 TO_SOLE, TO_SEVERAL) = range(12)  # fmt: skip
"""how the destination is known; the numbers of ``ipv6_rebuild.To``"""

_MOST_STEPS: Final = 64
_CLEAR: Final = 4
_LEAST_BITS: Final = 4
_NEVER: Final = -12
_OFTEN: Final = 3
_SURE: Final = 30
_LEAST: Final = 4
_NO_UDP_CHECKSUM: Final = frozenset((4789, 6081, 2152, 4341, 4754, 6635))


@dataclass(slots=True)
class Packet:
    """What the record says."""

    p: bytes
    length: int
    whole: bool
    sum: int
    source: bytes
    told: bytes | None
    hop_limit: int
    source_sum: int
    source_kind: int
    source_role: int = 0
    source_index: int = -1
    own_known: bool = False
    only_two: bool = False
    """there are but two unicast addresses of its kind"""
    sole: int = -1


@dataclass(slots=True)
class Claim:
    """That the packet is of this protocol and went there."""

    protocol: int
    ports: int | None = None
    how: int = SHAPE
    score: int = NO
    to: bytes | None = None
    where: int = TO_UNKNOWN
    left: bool = False
    """cut packets: the checksum field fits offload"""


def reverse_ports(protocol: int, ports: int) -> int:
    """Of the other direction."""
    return ports ^ 1 if protocol == 58 else (ports & 0xFFFF) << 16 | ports >> 16


def _suits(s: State, x: Packet, protocol: int, index: int) -> int:
    to, role = s.addresses[index], s.roles[index]
    kind, bits = kind_of(to), 0
    if (kind == LOOPBACK) != (x.source_kind == LOOPBACK):
        bits -= 20 if kind == LOOPBACK else 4
    if kind == GROUP:
        if protocol in (6, 33, 132):
            return -20
        bits += 2 if x.source_kind == LINK and to[1] & 15 == 2 else -6 if to[1] & 15 == 1 else 0
        if role == WELL_KNOWN:
            bits -= 2
    else:
        if x.source_kind == LINK:
            bits += 2 if kind == LINK else -3
        else:
            bits += -4 if kind == LINK else 2
        if to == x.source and kind != LOOPBACK and not role & OWN:
            bits -= 3  # machines talk to themselves, but few of others' packets to themselves are seen
    if x.own_known:
        if x.source_role & OWN:
            bits -= 2 if role & OWN and to != x.source else 0
        else:
            bits += 4 if role & OWN else 3 if role & JOINED else 0 if kind == GROUP else -2
    return bits + 5 if ("pair", x.source, to) in s.learnt else bits


def _match(
    s: State,
    x: Packet,
    c: Claim,
    length: int,
    total: int,
    whole: bool,
    field: int | None,
    groups: Sequence[bytes],
) -> int:
    pseudo = x.source_sum + length + c.protocol
    need = [(-total - pseudo) % 65535]
    if field is not None:
        need += [(field - pseudo) % 65535, (field - x.source_sum - c.protocol) % 65535]
    cost = [0, 3, 6 if length > 1460 else 11]
    filled, left = s.learnt.get(("filling", c.protocol, x.source), (0, 0))
    if filled >= 4 * (left + 1):
        cost[1] += 8
        cost[2] += 8
    elif left >= 4 * (filled + 1):
        cost = [cost[0] + 6, cost[1] - 3, cost[2] - 3]
    ways = range(0 if whole else 1, len(need))
    if x.told is not None:
        c.to, c.where, c.how = x.told, TO_TOLD, SHAPE
        for t in ways:
            if need[t] == sum_of(x.told):
                c.how = CHECKSUM + t
                return 16 - t * 2
        return -4 if whole else 0
    known = 0
    peer = s.learnt.get(("peer", c.protocol, x.source, c.ports)) if c.ports is not None else None
    if peer is not None:
        known = 8
        for t in ways:
            if need[t] == s.sums[peer.index]:
                c.to, c.where, c.how = s.addresses[peer.index], TO_FLOW_SUM, CHECKSUM + t
                return 24 - t * 2
    for group in groups:
        for t in ways:
            if need[t] == sum_of(group) and cost[t] < 8:
                c.to, c.where, c.how = group, TO_KIND_SUM, CHECKSUM + t
                return 15 - cost[t]
    best = second = NO
    found, filling = -1, 0
    for t in ways:
        for step, i in enumerate(s.by_sum.get(need[t], ())):
            if step >= _MOST_STEPS:
                second = best
                break
            fit = _suits(s, x, c.protocol, i)
            if fit < _NEVER:
                continue
            if fit - cost[t] > best:
                if i != found:
                    second = best
                best, found, filling = fit - cost[t], i, t
            elif i != found and fit - cost[t] > second:
                second = fit - cost[t]
    if found < 0:
        return (-4 if whole else 0) + known
    bits = 16 - len(s.addresses).bit_length() + min(best, 6)
    if best - second >= _CLEAR and bits >= _LEAST_BITS:
        c.to, c.how = s.addresses[found], CHECKSUM + filling
        c.where = TO_ONLY_SUM if second == NO else TO_CONTEXT_SUM
    else:
        c.where = TO_SEVERAL
        if bits > 0:
            c.how = CHECKSUM + filling
    return max(bits, 0) + known


def match(
    s: State,
    x: Packet,
    c: Claim,
    length: int,
    total: int,
    whole: bool,
    field: int | None,
    groups: Sequence[bytes] = (),
) -> int:
    """Which destination makes the checksum right, or is in the pseudo-header sum that offload left in the field."""
    bits = _match(s, x, c, length, total, whole, field, groups)
    if whole or x.told is not None or c.how == SHAPE:
        return bits
    # Of a cut packet only the field is there: a chance match must not pass for offload that this source never does.
    c.left = True
    left, other = s.learnt.get(("open", c.protocol, x.source), (0, 0))
    if left >= _OFTEN and left >= 4 * other:
        return bits
    c.to, c.how, c.where = None, SHAPE, TO_UNKNOWN
    return 0


def group(last: int) -> bytes:
    """ff02::last"""
    return b"\xff\x02" + bytes(12) + last.to_bytes(2, "big")


def solicited(target: bytes) -> bytes:
    """The group that is asked for a target."""
    return b"\xff\x02" + bytes(9) + b"\x01\xff" + target[13:16]


def _udp(s: State, x: Packet) -> Claim:
    p = x.p
    c = Claim(17)
    if len(p) < 8 or x.length < 8:
        return c
    c.ports = be32(p, 0)
    source, to, size, field = (be16(p, at) for at in (0, 2, 4, 6))
    length, total, whole = x.length, x.sum, x.whole
    if size == x.length:
        bits = 17
    elif size == len(p):
        bits, whole, length, total = 10, True, size, sum_of(p[:size])
    elif size == 0:
        bits = 12 if x.length > 65535 else 6
    elif 8 <= size < x.length:
        bits, length, whole = -3, size, size <= len(p)
        total = sum_of(p[:size]) if whole else 0
    else:
        bits = -6
    if source == 0 and to == 0:
        bits -= 4
    if field == 0:
        bits += 8 if to in _NO_UDP_CHECKSUM else 2
        if x.told is not None:
            c.to, c.where = x.told, TO_TOLD
        c.score = bits + (8 if ("peer", 17, x.source, c.ports) in s.learnt else 0)
        return c
    groups = [address for port, address in s.services if port in (to, source)][:4]
    c.score = bits + match(s, x, c, length, total, whole, field, groups)
    return c


def _tcp(s: State, x: Packet) -> Claim:
    c = Claim(6)
    bits = shape.tcp(x.p, x.length)
    if bits == NO:
        return c
    c.ports = be32(x.p, 0)
    field = be16(x.p, 16) if len(x.p) >= 18 else None
    c.score = bits + match(s, x, c, x.length, x.sum, x.whole, field)
    return c


def _icmpv6_groups(p: bytes) -> list[bytes]:
    kind = p[0]
    if 1 <= kind <= 4:
        return [p[16:32]] if len(p) >= 32 else []
    if kind == 130:
        return [group(1), p[8:24]] if len(p) >= 24 else [group(1)]
    if kind == 131:
        return [p[8:24]] if len(p) >= 24 else []
    if kind == 135:
        return [p[8:24], solicited(p[8:24])] if len(p) >= 24 else []
    last = {132: 2, 133: 2, 134: 1, 136: 1, 143: 0x16, 151: 0x6A, 155: 0x1A}.get(kind)
    return [] if last is None else [group(last)]


def _icmpv6(s: State, x: Packet) -> Claim:
    c = Claim(58)
    bits = shape.icmpv6(x.p, x.length, x.hop_limit)
    if bits == NO:
        return c
    if len(x.p) >= 8 and x.p[0] in (128, 129):
        c.ports = be16(x.p, 4) << 16 | x.p[0]
    groups = _icmpv6_groups(x.p) if len(x.p) >= 8 else []
    field = be16(x.p, 2) if len(x.p) >= 4 else None
    got = match(s, x, c, x.length, x.sum, x.whole, field, groups)
    c.score = bits + got - (3 if x.whole and got <= 0 else 0)
    return c


def _summed(
    s: State, x: Packet, c: Claim, bits: int, length: int, covered: int, *lasts: int, field: int | None = None
) -> Claim:
    """A protocol with a checksum over pseudo-header (with this length) and data (so many bytes); ``field``: where an
    adapter may fill it in."""
    there = x.whole or covered <= len(x.p)
    total = x.sum if covered == len(x.p) else sum_of(x.p[:covered]) if there else 0
    c.score = bits + match(s, x, c, length, total, there, field, [group(last) for last in lasts])
    return c


def _own_sum(x: Packet, protocol: int, bits: int, good: int, bad: int) -> Claim:
    """A protocol with a checksum over its own bytes alone."""
    right = x.whole and x.sum == 0
    return Claim(protocol, how=OWN_SUM if right else SHAPE, score=bits + (good if right else bad))


def _routing(s: State, x: Packet) -> list[Claim]:
    p, length, claims = x.p, x.length, []
    bits = shape.ospf(p, length)
    if bits != NO:
        size = be16(p, 2)
        covered = size if 16 <= size <= length else length
        claims.append(_summed(s, x, Claim(89), bits - 5, covered, covered, 5, 6))
    bits = shape.pim(p, length)
    if bits != NO:
        claims.append(_summed(s, x, Claim(103), bits - 6, length, length, 0x0D))
        if p[0] & 15 == 1 and length > 8:
            claims.append(_summed(s, x, Claim(103), bits - 6, 8, 8))
    bits = shape.vrrp(p, length)
    if bits != NO:
        if p[0] == 0x21 and x.sum == 0 and x.whole:
            claims.append(_own_sum(x, 112, bits - 7, 15, 0))
        else:
            claims.append(_summed(s, x, Claim(112), bits - 7, length, length, 0x12))
    bits = shape.eigrp(p, length)
    if bits != NO:
        claims.append(_own_sum(x, 88, bits - 7, 15, -6 if x.whole else 0))
    bits = shape.rsvp(p, length)
    if bits != NO:
        claims.append(_own_sum(x, 46, bits - 10, 15, 6 if be16(p, 2) == 0 else -4))
    return claims


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _transport(s: State, x: Packet) -> list[Claim]:
    p, length, claims = x.p, x.length, []
    bits = shape.sctp(p, length)
    if bits != NO:
        c = Claim(132, be32(p, 0), score=bits - 6)
        if x.whole and bits > 0 and int.from_bytes(p[8:12], "little") == _crc32c(p[:8] + bytes(4) + p[12:]):
            c.score += 30
            c.how = OWN_SUM
        claims.append(c)
    bits = shape.dccp(p, length)
    if bits != NO:
        cover = p[5] & 15
        covered = length if cover == 0 or p[4] * 4 + (cover - 1) * 4 > length else p[4] * 4 + (cover - 1) * 4
        claims.append(_summed(s, x, Claim(33, be32(p, 0)), bits - 9, length, covered, field=be16(p, 6)))
    if len(p) >= 8 and length >= 8:
        size = be16(p, 4)
        covered = size or length
        if 8 <= covered <= length and be16(p, 6):
            bits = (16 if size == length else 6 if size <= 20 else 0) - 10
            c = _summed(s, x, Claim(136, be32(p, 0)), bits, length, covered, field=be16(p, 6))
            if c.how != SHAPE:
                claims.append(c)
    return claims


def _tunnels(s: State, x: Packet) -> list[Claim]:
    p, length, claims = x.p, x.length, []

    def claim(protocol: int, bits: int, prior: int) -> None:
        if bits != NO:
            claims.append(Claim(protocol, 0, score=bits - prior))

    claim(41 if p[0] >> 4 == 6 else 4, shape.ip(p, length), 5)
    claim(47, shape.gre(p, length), 6)
    claim(115, shape.l2tp(p, length), 10)
    claim(137, shape.mpls(p, length), 10)
    if len(p) >= 16 and p[:2] == b"\x30\x00":
        claim(97, 12 + shape.ethernet(p[2:], length - 2), 8)
    claim(143, shape.ethernet(p, length), 14)
    bits = shape.fragment(p, length)
    if bits != NO:
        piece = s.learnt.get(("piece", x.source, be32(p, 4)))
        known = piece is not None and (piece[3] or piece[2] != be16(p, 2) & 0xFFF9)
        claims.append(Claim(44, how=BY_FLOW if known else SHAPE, score=bits - 5 + (12 if known else 0)))
    claim(108, shape.ipcomp(p, length), 12)
    if len(p) >= 8 and x.whole and x.sum == 0 and p[0] <= 18 and p[1] <= 15:
        claim(1, 21, 14)
    if len(p) >= 8 and length % 4 == 0 and be32(p, 0) >= 256 and be32(p, 4):
        sequence = be32(p, 4)
        runs = s.learnt.get(("series", x.source, be32(p, 0)), (0, 0))[0]
        bits = 14 if sequence < 4096 else 8 if sequence < 1 << 20 else 0
        score = bits - 5 + (18 if runs > 3 else runs * 6) - (6 if length < 28 else 0)
        claims.append(Claim(50, 0, how=SERIES if runs else SHAPE, score=score))
    return claims


def best_claim(s: State, x: Packet) -> Claim:
    """The best claim about the packet; its protocol is 255 where none is good enough."""
    unknown = Claim(255, how=UNKNOWN, score=0)
    if x.length == 0:
        return Claim(59, how=EMPTY, score=10)
    if len(x.p) < 4:
        return unknown
    like_udp = len(x.p) >= 8 and be16(x.p, 4) == x.length
    best = Claim(255)
    for claims in (_udp, _tcp) if like_udp else (_tcp, _udp):
        if best.score < _SURE:
            best = max(best, claims(s, x), key=lambda c: c.score)
    if best.score < _SURE:
        best = max(best, _icmpv6(s, x), key=lambda c: c.score)
    if best.score < _SURE:
        best = max(best, *_routing(s, x), *_transport(s, x), *_tunnels(s, x), Claim(255), key=lambda c: c.score)
    return best if best.score >= _LEAST else unknown
