"""Twin of ipv6_shape.c: how much bytes look like a protocol, in bits.

Every function takes the captured bytes and how many bytes there were, and gives log2 of how much likelier such bytes
are in a packet of the protocol than random ones, or NO. Sources of the formats: RFC 9293 (TCP), 9260 (SCTP), 4340
(DCCP), 4443 (ICMPv6), 4861 (Neighbor Discovery), 3810 (MLD), 5340 (OSPF), 7761 (PIM), 9568 (VRRP), 7868 (EIGRP), 2205
(RSVP), 2784 and 2890 (GRE), 2637 (PPTP's GRE), 3931 (L2TP), 4023 (MPLS), 3378 (EtherIP), 8200 (fragments), 3173
(IPComp).
"""

from __future__ import annotations

from typing import Final

NO: Final = -1000

_OPTION_SIZES: Final = {2: (4,), 3: (3,), 4: (2,), 8: (10,), 19: (18,), 28: (4,)}
_CHUNKS: Final = frozenset((*range(16), 64, 0x80, 0x81, 0x82, 0x84, 0xC0, 0xC1, 0xC2))
_DCCP_LEAST: Final = (20, 28, 16, 24, 24, 28, 28, 24, 24, 24)
_COMMON: Final = frozenset((6, 17, 58))
_KNOWN: Final = frozenset((0, 4, 41, 43, 44, 47, 50, 51, 59, 60, 89, 103, 112, 132, 33, 135, 136, 108, 115))
_OTHER_FRAMES: Final = frozenset((0x88CC, 0x8847, 0x8863, 0x8864, 0x888E, 0x9000))


def be16(data: bytes, at: int) -> int:
    """Big-endian, of bytes that are there."""
    return data[at] << 8 | data[at + 1]


def be32(data: bytes, at: int) -> int:
    """Big-endian, of bytes that are there."""
    return int.from_bytes(data[at : at + 4], "big")


def _option_fits(kind: int, size: int) -> bool:
    if kind == 5:
        return size % 8 == 2 and size > 2
    if kind == 29:
        return size >= 4
    if kind == 30:
        return size >= 3
    if kind == 34:
        return size == 2 or 6 <= size <= 18
    return size in _OPTION_SIZES.get(kind, ())


def _tcp_options(data: bytes) -> int:
    bits = at = 0
    while at < len(data):
        kind = data[at]
        if kind == 0:
            if any(data[at:]):
                return bits - 2 if bits > 0 else -4
            bits += 2
            break
        if kind == 1:
            at += 1
            bits += 2
            continue
        if len(data) - at < 2 or data[at + 1] < 2 or data[at + 1] > len(data) - at:
            return -6
        size = data[at + 1]
        bits += 8 if _option_fits(kind, size) else -4
        at += size
    return max(min(bits, 16), -6)


def tcp(p: bytes, length: int) -> int:
    """A TCP header."""
    if len(p) < 14 or length < 20:
        return NO
    header, flags = (p[12] >> 4) * 4, p[13]
    fin, syn, rst, ack = (bool(flags & bit) for bit in (1, 2, 4, 16))
    bits = -16 if header < 20 else -8 if header > length else 4 if header == length else 1
    bits += -3 if p[12] & 0x0E else 3
    if flags & 0x3F == 0 or (syn and (fin or rst)) or (fin and rst):
        bits -= 6
    elif not (ack or syn or rst):
        bits -= 2
    else:
        bits += 3
    if be16(p, 0) == 0 or be16(p, 2) == 0:
        bits -= 6
    if not ack:
        bits += 14 if be32(p, 8) == 0 else -1
    if len(p) >= 20:
        if not flags & 0x20:
            bits += 12 if be16(p, 18) == 0 else -4
        if 20 < header <= len(p):
            bits += _tcp_options(p[20:header])
    return bits


def sctp(p: bytes, length: int) -> int:
    """A common header and chunks that fill the packet."""
    if len(p) < 16 or length < 16 or be16(p, 0) == 0 or be16(p, 2) == 0:
        return NO
    bits, at = 0, 12
    while at < length:
        if len(p) < at + 4:
            return bits
        kind, size = p[at], be16(p, at + 2)
        if size < 4 or size > length - at or kind not in _CHUNKS:
            return bits - 8 if bits > 0 else NO
        bits += 5
        if kind == 0 and size > 16 and p[at + 1] & 0xF0 == 0:
            bits += 3
        at += (size + 3) & ~3
        if at >= length:
            bits += 12
            break
    return min(bits, 24)


def dccp(p: bytes, length: int) -> int:
    """A DCCP header."""
    if len(p) < 16 or length < 12:
        return NO
    kind, header = p[8] >> 1 & 15, p[4] * 4
    if kind > 9 or header > length or header < 12 or p[8] >> 5:
        return NO
    bits = 6
    if p[8] & 1:
        if header < _DCCP_LEAST[kind] or p[9]:
            return NO
        bits += 8
    if kind != 2 and header == length:
        bits += 5
    return bits


def _nd_options(p: bytes, length: int, at: int) -> int:
    if at == length:
        return 4
    bits = 0
    while at < length:
        if len(p) < at + 2:
            return bits
        size = p[at + 1] * 8
        if size == 0 or size > length - at:
            return bits - 4
        bits += 5 if 0 < p[at] < 40 else -2
        at += size
    return min(bits + 3, 16)


def _icmpv6_error(p: bytes, length: int) -> int:
    bits = 6 if p[1] <= (0, 8, 0, 2, 10)[p[0]] else -4
    if p[0] in (1, 3):
        bits += 12 if be32(p, 4) == 0 else -3
    else:
        bits += 7 if be16(p, 4) == 0 else -2
    if len(p) >= 9:
        bits += 5 if p[8] >> 4 == 6 else -6
    return bits + 1 if length >= 48 else bits


def _mld_report(p: bytes, length: int) -> int:
    bits = 10 if be16(p, 4) == 0 else -3
    left, at = be16(p, 6), 8
    while left > 0 and at < length:
        if len(p) < at + 20:
            return bits
        if not 1 <= p[at] <= 6 or p[at + 4] != 0xFF:
            return bits - 6
        bits += 8 if bits < 24 else 0
        at += 20 + p[at + 1] * 4 + be16(p, at + 2) * 16
        left -= 1
    return bits + (6 if left == 0 and at == length else -4)


def _icmpv6_body(p: bytes, length: int) -> int:
    """Of a message of 8 captured bytes at least that is neither an error nor an echo."""
    kind, code = p[0], p[1]
    if kind == 130:
        return (2 if length == 24 or length >= 28 else -6) + (8 if be16(p, 6) == 0 else -3)
    if kind in (131, 132):
        bits = (4 if length == 24 else -4) + (14 if be32(p, 4) == 0 else -4)
        return bits + (6 if len(p) >= 9 and p[8] == 0xFF else -3)
    if kind in (133, 141, 142):
        return (14 if be32(p, 4) == 0 else -3) + _nd_options(p, length, 8)
    if kind == 134:
        return -8 if length < 16 else _nd_options(p, length, 16) + (2 if p[5] & 3 == 0 else 0)
    if kind in (135, 136):
        bits = -8 if length < 24 else _nd_options(p, length, 24)
        bits += 14 if be32(p, 4) & (0x1FFFFFFF if kind == 136 else 0xFFFFFFFF) == 0 else -3
        return bits - 4 if len(p) >= 9 and p[8] == 0xFF else bits
    if kind == 137:
        return (-8 if length < 40 else _nd_options(p, length, 40)) + (14 if be32(p, 4) == 0 else -3)
    if kind == 138:
        return 2 if length >= 16 else -6
    if kind in (139, 140):
        return 6 if length >= 16 and code <= 2 else -4
    if kind == 143:
        return _mld_report(p, length)
    if 144 <= kind <= 147:
        return 2
    if kind in (148, 149, 151, 152, 153, 154, 160, 161):
        return 1
    if kind == 155:
        return 6 if code <= 8 or 0x80 <= code <= 0x8A else -3
    if kind in (157, 158):
        return 4 if length >= 16 else -4
    return -5


def icmpv6(p: bytes, length: int, hop_limit: int) -> int:
    """An ICMPv6 message; ``hop_limit`` -1: not told."""
    if len(p) < 4 or length < 4:
        return NO
    kind, code = p[0], p[1]
    if len(p) < 8:
        return 6 if (1 <= kind <= 4 or 128 <= kind <= 161) and code == 0 else -8
    if 1 <= kind <= 4:
        return 3 + _icmpv6_error(p, length)
    if kind in (128, 129):
        return 3 + (8 if code == 0 else -2)
    bits = 3 + (7 if code == 0 else 1 if kind in (155, 138, 139, 140, 157, 158) else -3) + _icmpv6_body(p, length)
    if hop_limit >= 0 and (133 <= kind <= 137 or kind in (141, 142)):
        bits += 5 if hop_limit == 255 else -5
    return max(bits, -6)


def ospf(p: bytes, length: int) -> int:
    """An OSPF header of version 3."""
    if len(p) < 16 or p[0] != 3 or not 1 <= p[1] <= 5:
        return NO
    size = be16(p, 2)
    return 13 + (16 if size == length else 6 if 16 <= size < length else -6) + (8 if p[15] == 0 else -3)


def pim(p: bytes, length: int) -> int:
    """A PIM message of version 2."""
    if len(p) < 4 or length < 4 or p[0] >> 4 != 2 or p[0] & 15 > 13:
        return NO
    kind = p[0] & 15
    bits = 4 + (8 if p[1] == 0 else -4)
    if kind == 0 and len(p) == length:
        at = 4
        while length - at >= 4 and be16(p, at + 2) + 4 <= length - at:
            bits += 8 if be16(p, at) <= 40 and bits < 28 else 0
            at += be16(p, at + 2) + 4
        bits += 6 if at == length else -4
    elif kind == 1:
        bits += -8 if length < 8 else 14 if len(p) >= 8 and be32(p, 4) & 0x3FFFFFFF == 0 else -4
        if len(p) >= 28 and length > 28:
            bits += 8 if ip(p[8:], length - 8) > 0 else -4
    elif len(p) >= 6 and 3 <= kind <= 8:
        bits += (6 if p[4] in (1, 2) else 0) + (4 if p[5] == 0 else 0)
    return bits


def vrrp(p: bytes, length: int) -> int:
    """VRRP of version 3 or 2, and CARP."""
    if len(p) < 8 or length < 8:
        return NO
    count = p[3]
    if p[0] == 0x31:
        fits = 14 if count >= 1 and length == 8 + count * 16 else 10 if count >= 1 and length == 8 + count * 4 else -6
        return 8 + fits + (1 if p[1] else -4) + (3 if p[4] >> 4 == 0 else -2)
    if p[0] == 0x21 and length == 36 and count == 7:
        return 24
    if p[0] == 0x21:
        return 4 + (14 if count >= 1 and length in (16 + count * 16, 8 + count * 16) else -6)
    return NO


def eigrp(p: bytes, length: int) -> int:
    """An EIGRP header, and TLVs that fill the packet."""
    if len(p) < 20 or p[0] != 2 or not 1 <= p[1] <= 12:
        return NO
    bits = 12 + (20 if be32(p, 4) < 32 else -4)
    if len(p) == length:
        at = 20
        while length - at >= 4 and 4 <= be16(p, at + 2) <= length - at:
            at += be16(p, at + 2)
        bits += 6 if at == length else -6
    return bits


def rsvp(p: bytes, length: int) -> int:
    """An RSVP header."""
    if len(p) < 8 or p[0] >> 4 != 1 or not 1 <= p[1] <= 35:
        return NO
    return 6 + (16 if be16(p, 6) == length else -8) + (8 if p[5] == 0 else -4) + (2 if length % 4 == 0 else -4)


def ip(p: bytes, length: int) -> int:
    """An IPv4 or IPv6 header."""
    if len(p) < 20 or length < 20:
        return NO
    if p[0] >> 4 == 6:
        if len(p) < 40 or length < 40:
            return NO
        size = be16(p, 4) + 40
        bits = 4 + (16 if size == length else 3 if size == 40 or size < length else -6)
        bits += 6 if p[6] in _COMMON else 3 if p[6] in (0, 44, 4, 41, 59) else 0
        return bits - 6 if p[8] == 0xFF else bits
    if p[0] >> 4 == 4:
        header, size = (p[0] & 15) * 4, be16(p, 2)
        if header < 20 or header > length:
            return NO
        bits = 4 + (3 if header == 20 else 0)
        bits += 16 if size == length else 3 if size == 0 or header <= size < length else -6
        if header <= len(p):
            bits += 15 if int.from_bytes(p[:header], "big") % 65535 == 0 else -5
        return bits
    return NO


def ethernet(p: bytes, length: int) -> int:
    """An Ethernet frame."""
    if len(p) < 14:
        return NO
    at, kind, bits = 14, be16(p, 12), 0
    for _ in range(2):
        if kind not in (0x8100, 0x88A8) or len(p) < at + 4:
            break
        kind = be16(p, at + 2)
        at += 4
        bits += 8
    if kind in (0x0800, 0x86DD):
        if len(p) < at + 20:
            return bits + 10
        if p[at] >> 4 != (4 if kind == 0x0800 else 6):
            return NO
        inner = ip(p[at:], length - at)
        return bits - 4 if inner < 0 else bits + 12 + inner
    if kind == 0x0806:
        return bits + 30 if len(p) >= at + 6 and be16(p, at) == 1 and be16(p, at + 2) == 0x0800 else bits
    if kind in _OTHER_FRAMES:
        return bits + 10
    if kind <= 1500 and len(p) >= at + 3 and kind <= length - at:
        return bits + 16 if p[at : at + 2] in (b"\x42\x42", b"\xaa\xaa", b"\xfe\xfe") else -4
    return -4


def gre(p: bytes, length: int) -> int:
    """A GRE header and what it says to follow."""
    if len(p) < 4 or length < 4:
        return NO
    flags, kind = be16(p, 0), be16(p, 2)
    header = 4 + sum(4 for mask in (0xC000, 0x2000, 0x1000, 0x0080) if flags & mask)
    if flags & 7 > 1 or header > length:
        return NO
    bits = 8 if flags & 0x0F78 == 0 else 0 if flags & 0x0078 == 0 else -6
    if flags & 7 == 1:
        return bits + 18 if kind == 0x880B and flags & 0x2000 else NO
    if flags & 0x0080:
        bits -= 4
    if kind in (0x0800, 0x86DD):
        bits += 12
        if len(p) >= header + 20:
            version = 4 if kind == 0x0800 else 6
            bits += max(ip(p[header:], length - header) if p[header] >> 4 == version else -8, -8)
        return bits
    if kind == 0x6558:
        bits += 12
        if len(p) >= header + 14:
            bits += max(ethernet(p[header:], length - header), -4)
        return bits
    if kind in (0x8847, 0x8848, 0x88BE, 0x22EB):
        return bits + 12
    if kind in (0x2000, 0x2001, 0x00FE, 0x880B):
        return bits + 10
    if kind == 0:
        return bits + (14 if length == header else -6)
    return bits - 10


def l2tp(p: bytes, length: int) -> int:
    """L2TP of version 3 over IP: a control message, or a frame in a session."""
    if len(p) < 12:
        return NO
    if be32(p, 0) == 0:
        if p[4] & 0xF7 == 0xC0 and p[5] & 15 == 3:
            return 24 + (12 if be16(p, 6) == length - 4 else 0)
        return 24 if be16(p, 4) == 0xC803 else NO
    best = max((ethernet(p[at:], length - at) for at in range(4, 17, 4) if len(p) >= at + 14), default=NO)
    return NO if best < 10 else min(best, 26)


def mpls(p: bytes, length: int) -> int:
    """A stack of labels, and an IP packet."""
    for at in range(0, 32, 4):
        if at + 4 > len(p):
            break
        entry = be32(p, at)
        label = entry >> 12
        if entry & 0xFF == 0 or (3 < label < 16 and label not in (7, 13, 14)):
            return NO
        if entry & 0x100:
            inner = ip(p[at + 4 :], length - at - 4)
            return inner if inner > 8 else NO
    return NO


def _next_header(value: int) -> int:
    return 6 if value in _COMMON else 3 if value in _KNOWN else 0


def fragment(p: bytes, length: int) -> int:
    """A Fragment header, and the beginning of what was fragmented."""
    if len(p) < 8 or length < 8 or p[1]:
        return NO
    place = be16(p, 2)
    bits = 8 + (_next_header(p[0]) or -4) + (2 if place & 6 == 0 else -4)
    if place & 1:
        bits += 3 + (3 if length > 1000 else 0) if length % 8 == 0 else -4
    if place & 0xFFF8:
        return bits + (1 if (place & 0xFFF8) + length - 8 <= 65535 else -4)
    inner = 0
    if p[0] == 17 and len(p) >= 16:
        size = be16(p, 12)
        inner = 16 if size == length - 8 else 4 if place & 1 and size > length - 8 else -2
    elif p[0] == 6 and len(p) >= 22:
        inner = tcp(p[8:], length - 8)
    elif p[0] == 58 and len(p) >= 16:
        inner = icmpv6(p[8:], length - 8, -1)
    return bits + max(min(inner, 14), -8)


def ipcomp(p: bytes, length: int) -> int:
    """An IPComp header with a well-known index."""
    if len(p) < 4 or length < 5 or p[1] or not 1 <= be16(p, 2) <= 4:
        return NO
    known = _next_header(p[0])
    return 8 + known + 12 if known else NO


def _inner_ip(p: bytes) -> tuple[bytes, bytes] | None:
    if len(p) >= 20 and p[0] >> 4 == 4:
        return (p[12:16], p[16:20]) if p[16] < 224 else None
    if len(p) >= 40 and p[0] >> 4 == 6:
        return (p[8:24], p[24:40]) if p[24] != 0xFF else None
    return None


def _inner_frame(p: bytes) -> tuple[bytes, bytes] | None:
    if len(p) < 14 or p[0] & 1:
        return None
    return (_inner_ip(p[14:]) if be16(p, 12) in (0x0800, 0x86DD) else None) or (p[6:12], p[:6])


def inner(protocol: int, p: bytes) -> tuple[bytes, bytes] | None:
    """Who sent and who gets the packet inside a tunnel's; None where the bytes do not tell, or it goes to many."""
    if len(p) < 20:
        return None
    if protocol in (4, 41):
        return _inner_ip(p)
    if protocol == 97:
        return _inner_frame(p[2:])
    if protocol == 143:
        return _inner_frame(p)
    if protocol == 47:
        flags, kind = be16(p, 0), be16(p, 2)
        header = 4 + sum(4 for mask in (0xC000, 0x2000, 0x1000) if flags & mask)
        if kind in (0x0800, 0x86DD):
            return _inner_ip(p[header:])
        return _inner_frame(p[header:]) if kind == 0x6558 else None
    if protocol == 115:
        places = [at for at in range(4, 17, 4) if len(p) >= at + 14]
        best = max(places, key=lambda at: ethernet(p[at:], len(p) - at), default=0)
        if not be32(p, 0) or not best or ethernet(p[best:], len(p) - best) <= 0:
            return None
        return _inner_frame(p[best:])
    if protocol == 137:
        for at in range(0, min(32, len(p) - 3), 4):
            if p[at + 2] & 1:
                return _inner_ip(p[at + 4 :])
    return None
