"""Twin of order_talk.c: questions and answers over UDP."""

from __future__ import annotations

from typing import Final, NamedTuple

_MULTIPLIER: Final = 0x9E3779B97F4A7C15
_WORD: Final = (1 << 64) - 1
_DNS, _LOCAL_NAMES, _NTP, _DHCP, _DHCP6, _SNMP, _RADIUS, _OPEN, _DATA, _ACK, _STUN, _RPC, _IKE = range(16, 29)
_RADIUS_ASKED: Final = {2: 1, 3: 1, 5: 4, 11: 1, 41: 40, 42: 40, 44: 43, 45: 43}
_RADIUS_PORTS: Final = {1812, 1813, 1645, 1646, 3799}


class Datagram(NamedTuple):
    """Addresses, and the bytes from the UDP header on."""

    source: bytes
    target: bytes
    data: bytes


class Said(NamedTuple):
    """Keys of what is asked and what is answered; 0: nothing."""

    key: int = 0
    answer: int = 0


def hashed(seed: int, data: bytes) -> int:
    """Twin of ``ec_order_hash``."""
    for at in range(0, len(data), 8):
        word = int.from_bytes(data[at : at + 8], "little")
        seed = ((seed ^ word) * _MULTIPLIER) & _WORD
        seed ^= seed >> 32
    return seed or 1


def _key(d: Datagram, seed: int, rest: bytes, *, answers: bool, both: bool = True) -> int:
    ends = [(d.source, d.data[:2]), (d.target, d.data[2:4])]
    if answers:
        ends.reverse()
    value = seed
    for address, port in ends if both else ends[:1]:
        value = hashed(hashed(value, address), port)
    return hashed(value, rest)


def _said(d: Datagram, seed: int, rest: bytes, *, answers: bool, both: bool = True) -> Said:
    key = _key(d, seed, rest, answers=answers, both=both)
    return Said(answer=key) if answers else Said(key)


def datagram(d: Datagram) -> Said:
    """Twin of ``ec_order_datagram``."""
    source, target = (int.from_bytes(d.data[at : at + 2], "big") for at in (0, 2))
    low, ports = min(source, target), {source, target}
    p = d.data[8:]
    if len(p) < 4:
        return Said()
    if low in (53, 137) or ports & {53, 5355}:
        return _names(d, p, source, target)
    if low == 123:
        return _network_time(d, p)
    if low in (67, 68):
        return _dhcp(p)
    if low in (546, 547):
        return _dhcp6(d, p)
    if low in (161, 162):
        return _snmp(d, p, from_agent=source == 161 and target != 161)
    if 69 in ports:
        opens = target == 69 and p[0] == 0 and p[1] in (1, 2)
        return Said(_key(d, _OPEN, b"", answers=False, both=False)) if opens else Said()
    if low == 111 or 2049 in ports:
        fits = len(p) >= 8 and p[4:7] == b"\0\0\0" and p[7] <= 1
        return _said(d, _RPC, p[:4], answers=p[7] == 1) if fits else Said()
    if low == 500:
        return _ike(d, p)
    if 4500 in ports:
        return _ike(d, p[4:]) if len(p) > 4 and not any(p[:4]) else Said()
    if ports & (_RADIUS_PORTS - {3799}) or 3799 in ports:
        return _radius(d, p)
    if len(p) >= 20 and p[0] < 2 and p[4:8] == b"\x21\x12\xa4\x42":
        kind = int.from_bytes(p[:2], "big") & 0x0110
        return _said(d, _STUN, p[8:20], answers=kind != 0) if kind != 0x0010 else Said()
    if p[0] == 0 and p[1] in (3, 4, 6) and low >= 1024:
        return _tftp(d, p)
    return Said()


def _names(d: Datagram, p: bytes, source: int, target: int) -> Said:
    if len(p) < 12:
        return Said()
    answers = bool(p[2] >> 7)
    server = source if answers else target
    if server == 53:
        return _said(d, _DNS, p[:2], answers=answers)
    if server in (5355, 137):
        return _said(d, _LOCAL_NAMES << 16 | server, p[:2], answers=answers, both=False)
    return Said()


def _network_time(d: Datagram, p: bytes) -> Said:
    if len(p) < 48:
        return Said()
    mode = p[0] & 7
    if mode == 3 and any(p[40:48]):
        return _said(d, _NTP, p[40:48], answers=False)
    if mode == 4 and any(p[24:32]):
        return _said(d, _NTP, p[24:32], answers=True)
    return Said()


def _dhcp(p: bytes) -> Said:
    if len(p) < 236 or p[0] not in (1, 2):
        return Said()
    kind, at = 0, 240
    while p[236:240] == b"\x63\x82\x53\x63" and at + 2 < len(p) and p[at] != 255:
        if p[at] == 0:
            at += 1
            continue
        if p[at] == 53:
            kind = p[at + 2]
        at += p[at + 1] + 2
    asked = 1 if kind in (1, 2) else 0 if kind == 0 else 3
    key = hashed(hashed(_DHCP << 8 | asked, p[4:8]), p[28:34])
    if p[0] == 1:
        return Said(key) if kind in (0, 1, 3, 8) else Said()
    return Said(answer=key)


def _dhcp6(d: Datagram, p: bytes) -> Said:
    if not 1 <= p[0] <= 11 or p[0] == 10:
        return Said()
    return _said(d, _DHCP6 << 8 | (1 if p[0] <= 2 else 3), p[1:4], answers=p[0] in (2, 7), both=False)


def _ber(p: bytes, at: int, tag: int) -> tuple[int, int]:
    """The size of a BER value with that tag, and where it begins; size 0 where there is none."""
    if at + 2 > len(p) or p[at] != tag:
        return 0, at
    size, head = p[at + 1], 2
    if size & 0x80:
        more = size & 0x7F
        if not 1 <= more <= 3 or at + 2 + more > len(p):
            return 0, at
        size = int.from_bytes(p[at + 2 : at + 2 + more], "big")
        head += more
    return size, at + head


def _snmp(d: Datagram, p: bytes, *, from_agent: bool) -> Said:
    size, at = _ber(p, 0, 0x30)
    if not size:
        return Said()
    size, at = _ber(p, at, 2)
    if size != 1 or at >= len(p):
        return Said()
    version = p[at]
    at += 1
    answers = from_agent
    if version == 3:
        size, at = _ber(p, at, 0x30)
        if not size:
            return Said()
    else:
        if at + 2 > len(p) or p[at] != 4:
            return Said()
        size, at = _ber(p, at, 4)
        at += size
        if at + 2 > len(p) or not 0xA0 <= p[at] <= 0xA6 or p[at] == 0xA4:
            return Said()
        answers = p[at] == 0xA2
        size, at = _ber(p, at, p[at])
        if not size:
            return Said()
    size, at = _ber(p, at, 2)
    if 0 < size <= 8 and at + size <= len(p):
        return _said(d, _SNMP, p[at : at + size], answers=answers)
    return Said()


def _radius(d: Datagram, p: bytes) -> Said:
    if len(p) < 20:
        return Said()
    if p[0] in _RADIUS_ASKED:
        return _said(d, _RADIUS << 8 | _RADIUS_ASKED[p[0]], p[1:2], answers=True)
    if p[0] in (1, 4, 40, 43):
        return _said(d, _RADIUS << 8 | p[0], p[1:2], answers=False)
    return Said()


def _tftp(d: Datagram, p: bytes) -> Said:
    kind, block = p[1], 0 if p[1] == 6 else int.from_bytes(p[2:4], "big")
    earlier = ((block - 1) & 0xFFFF).to_bytes(2, "big")
    acknowledges = kind == 4 and len(p) == 4
    key = answer = 0
    if (kind == 3 and block == 1) or kind == 6 or (acknowledges and block == 0):
        answer = _key(d, _OPEN, b"", answers=True, both=False)
    if kind == 3:
        key = _key(d, _DATA, p[2:4], answers=False)
        if block != 1:
            answer = _key(d, _ACK, earlier, answers=True)
    elif acknowledges:
        key = _key(d, _ACK, p[2:4], answers=False)
        if block != 0:
            answer = _key(d, _DATA, p[2:4], answers=True)
    return Said(key, answer)


def _ike(d: Datagram, p: bytes) -> Said:
    if len(p) < 28 or p[17] >> 4 != 2:
        return Said()
    return _said(d, _IKE, p[:8] + p[18:19] + p[20:24], answers=bool(p[19] & 0x20))
