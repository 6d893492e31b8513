"""Twin of ipv6_rebuild.c: destinations without a checksum, learning, and the headers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_ipv6_claims as claims
from etwcap.native import twin_ipv6_shape as shape
from etwcap.native import twin_ipv6_state as state
from etwcap.native.twin_ipv6_claims import Claim, Packet, best_claim, group, match, reverse_ports, solicited
from etwcap.native.twin_ipv6_shape import be16, be32
from etwcap.native.twin_ipv6_state import State, kind_of, sum_of

WRITE, INFER, JOIN = 1, 2, 4
"""the numbers of ``ipv6_rebuild.Mode``"""

_CERTAIN: Final = 18
_WIDEST_STEP: Final = 1024
_ENOUGH_VOTES: Final = 3
_LEAST_BYTES: Final = 16
_UNSUMMED: Final = frozenset((4, 41, 44, 46, 47, 50, 59, 88, 97, 108, 115, 132, 137, 143, 255))
_TUNNELS: Final = frozenset((4, 41, 47, 50, 97, 115, 137, 143))
_KEYS: Final = frozenset((500, 4500))
"""UDP ports at which hosts agree on keys of ESP"""
_FILLED: Final = frozenset((6, 17, 58, 33, 136))
"""protocols whose checksum an adapter may fill in"""
_HAS_DESTINATION, _HAS_HOP_LIMIT, _HAS_CLASS, _IS_CUT = 1, 4, 8, 32
_RECORD, _HEADER = 64, 40


class _Census:
    """Own and other unicast addresses, of links and global."""

    def __init__(self, s: State) -> None:
        self.own: dict[int, list[int]] = {state.LINK: [], state.GLOBAL: []}
        self.other: dict[int, list[int]] = {state.LINK: [], state.GLOBAL: []}
        for index, address in enumerate(s.addresses):
            kind = kind_of(address)
            if kind in self.own:
                (self.own if s.roles[index] & state.OWN else self.other)[kind].append(index)
        self.own_known = any(self.own.values())

    def only_two(self, x: Packet) -> bool:
        """Whether there are but two unicast addresses of the source's kind."""
        kind = x.source_kind
        return kind in self.own and len(self.own[kind]) + len(self.other[kind]) == 2

    def sole(self, x: Packet) -> int:
        """The only address that can be at the other end of a unicast packet from this source, or -1."""
        if x.source_kind == state.LOOPBACK:
            return x.source_index
        if x.source_kind not in self.own:
            return -1
        own, other = self.own[x.source_kind], self.other[x.source_kind]
        if self.own_known:
            wanted = other if x.source_role & state.OWN else own
            return wanted[0] if len(wanted) == 1 else -1
        if len(other) != 2 or x.source_index not in other:
            return -1
        return other[1] if other[0] == x.source_index else other[0]


def _sent_to(s: State, c: Claim, index: int, where: int) -> bool:
    if index < 0:
        return False
    c.to, c.where = s.addresses[index], where
    return True


def _kind(c: Claim, to: bytes) -> bool:
    c.to, c.where = to, claims.TO_KIND
    return True


def _one_voted(s: State, key: tuple[Any, ...], x: Packet, least: int) -> int:
    vote = s.learnt.get(key)
    if vote is None or vote.several or vote.hits < least or vote.index == x.source_index:
        return -1
    return int(vote.index)


def _peer(s: State, x: Packet, protocol: int, ports: int | None, least: int) -> int:
    return -1 if ports is None else _one_voted(s, ("peer", protocol, x.source, ports), x, least)


def _serves_groups(s: State, p: bytes) -> bool:
    return be16(p, 0) in s.ports or be16(p, 2) in s.ports


def _ports_tell(s: State, x: Packet, protocol: int, ports: int) -> bool:
    """Whether ports alone tell a flow: an echo's identifier and two equal ports serve several destinations, and a whole
    packet whose checksum does not agree with the flow's destination rather went to another one. A service that talks
    to groups and to hosts from the same port never does."""
    equal = ports >> 16 == ports & 0xFFFF
    if protocol == 17 and equal and ports & 0xFFFF in s.ports:
        return False
    return not x.whole or protocol == 6 or (protocol != 58 and not equal)


def _by_kind(s: State, x: Packet, c: Claim) -> bool:
    p = x.p
    if c.protocol == 58 and len(p) >= 8:
        if 1 <= p[0] <= 4 and len(p) >= 32 and kind_of(p[16:32]) not in (state.NONE, state.GROUP):
            return _kind(c, p[16:32])
        if p[0] == 133:
            return _kind(c, group(2))
        if p[0] == 135 and len(p) >= 24 and x.source_kind == state.NONE:
            return _kind(c, solicited(p[8:24]))
        return p[0] == 143 and _kind(c, group(0x16))
    if c.protocol == 17 and x.source_kind == state.LINK:
        source, to = be16(p, 0), be16(p, 2)
        if source == to == 521:
            return _kind(c, group(9))
        if to == 5355 and source != 5355:
            return _kind(c, b"\xff\x02" + bytes(11) + b"\1\0\3")
        return (source, to) == (546, 547) and _kind(c, b"\xff\x02" + bytes(11) + b"\1\0\2")
    if c.protocol == 46 and p[1] in (1, 5) and len(p) >= 28 and be32(p, 8) == 0x00180102:
        return _sent_to(s, c, s.index.get(p[12:28], -1), claims.TO_KIND)  # a path, to its session's address
    if c.protocol == 88 and c.how == claims.OWN_SUM and p[1] == 5 and be32(p, 12) == 0:
        return _kind(c, group(0x0A))
    if c.protocol == 89 and not x.whole and p[1] == 1 and x.source_kind == state.LINK:
        return _kind(c, group(5))  # hellos
    if c.protocol == 103 and not x.whole and p[0] in (0x20, 0x23):
        return _kind(c, group(0x0D))  # hellos, joins and prunes
    return c.protocol == 112 and (c.how == claims.OWN_SUM or not x.whole) and _kind(c, group(0x12))


def _eigrp_number(p: bytes, at: int) -> tuple[int, int]:
    """The number by which routers acknowledge a packet of EIGRP: sequence at 8 or acknowledgement at 12."""
    return be16(p, 18), be32(p, at)


def _by_router(s: State, x: Packet, c: Claim) -> bool:
    """Routers acknowledge to whom they heard, and reserve where a path came from."""
    p = x.p
    key: tuple[Any, ...]
    if c.protocol == 88 and len(p) >= 20 and be32(p, 12):
        key = "sent", 88, _eigrp_number(p, 12)
    elif c.protocol == 88 and len(p) >= 20 and be32(p, 8) and (p[1] == 4 or p[7] & 1):
        key = "acknowledged", 88, _eigrp_number(p, 8)
    elif c.protocol == 46 and len(p) >= 32 and p[1] in (2, 6) and be32(p, 8) == 0x00180102:
        key = "path", 46, p[12:32]
    else:
        return False
    return _sent_to(s, c, _one_voted(s, key, x, 1), claims.TO_ANSWERED)


def _by_answer(s: State, x: Packet, c: Claim) -> bool:
    key: tuple[Any, ...]
    if _by_router(s, x, c):
        return True
    inner = shape.inner(c.protocol, x.p)
    if inner is not None:
        key = "inner", c.protocol, inner[1], inner[0]
        return _sent_to(s, c, _one_voted(s, key, x, 1), claims.TO_ANSWERED)
    if not c.ports:
        return False
    back = reverse_ports(c.protocol, c.ports)
    if c.protocol == 132:
        tag = be32(x.p, 4)
        if tag and _sent_to(s, c, _one_voted(s, ("tag", back, tag), x, 1), claims.TO_ANSWERED):
            return True
        key = "user", 132, back
    elif c.protocol == 58 and x.source_kind == state.GLOBAL:
        key = "user", 58, back, be16(x.p, 6)
    elif c.protocol == 6 and len(x.p) >= 14 and x.p[13] & 16:
        key = "sequence", back, be32(x.p, 8)
    elif c.protocol == 17 and not _serves_groups(s, x.p):
        key = "user", 17, back
    else:
        return False
    return _sent_to(s, c, _one_voted(s, key, x, 1), claims.TO_ANSWERED)


def _joined_in_vain(s: State, x: Packet) -> bool:
    """Whether all pieces of a packet are there, and its checksum was right with no address that is known. A packet of
    one piece tells nothing: it may be a first piece that says wrongly that it is the last one."""
    key = x.source, be32(x.p, 4)
    return s.learnt.get(("joining", *key)) is False and ("joined", *key) not in s.learnt


def _by_piece(s: State, x: Packet, c: Claim) -> bool:
    identification = be32(x.p, 4)
    if _sent_to(s, c, _one_voted(s, ("joined", x.source, identification), x, 1), claims.TO_JOINED):
        return True
    ports = s.learnt.get(("piece", x.source, identification), (0, None, 0, False))[1]
    if ports is None or x.p[0] == 58 or _joined_in_vain(s, x):
        return False
    least = 2 if ports >> 16 == ports & 0xFFFF else 1
    return _sent_to(s, c, _peer(s, x, x.p[0], ports, least), claims.TO_FLOW)


def _is_own(x: Packet) -> bool:
    return x.own_known and bool(x.source_role & state.OWN)


def _party_key(x: Packet, protocol: int, own: bool) -> tuple[Any, ...]:
    return "party", protocol, x.source_kind, own


def _other_party(s: State, x: Packet, protocol: int) -> tuple[int, int]:
    """The other end, told by who else uses the protocol, or -1; how many could be meant. Sides: the machine's own
    addresses, and all others; where its own are not known all are others."""
    side = s.learnt.get(_party_key(x, protocol, _is_own(x)), ())
    across = s.learnt.get(_party_key(x, protocol, not _is_own(x)), ()) if x.own_known else ()
    if across:
        return across[0] if len(across) == 1 else -1, len(across)
    if len(side) != 2 or x.source_index not in side:
        return -1, len(side)
    return side[1] if side[0] == x.source_index else side[0], 2


def _associations(s: State, host: bytes) -> int:
    """How many security associations of ESP a host sends on."""
    return int(s.learnt.get(("spis", host), 0))


def _is_gateway(s: State, x: Packet, protocol: int, to: int) -> bool:
    """Whether a tunnel can lead there: nobody else is heard who has one. Of ESP a host that sends on more associations
    than come back has others as well."""
    if to < 0:
        return False
    back = _associations(s, s.addresses[to]) if protocol == 50 else 1
    if protocol == 50 and _associations(s, x.source) > max(back, 1):
        return False
    other, others = _other_party(s, x, protocol)
    return (others < 2 or (not _is_own(x) and back > 0)) if other < 0 else other == to


def _is_likely(s: State, x: Packet, protocol: int, to: int, other: int) -> bool:
    """Whether to believe that the only host there is is at the other end."""
    if to < 0 or (protocol == 50 and not _is_gateway(s, x, protocol, to)):
        return False
    pair = ("pair", x.source, s.addresses[to])
    return protocol not in _TUNNELS or x.only_two or other == to or pair in s.learnt


def _by_host(s: State, x: Packet, c: Claim) -> bool:
    p, unsummed = x.p, c.protocol in _UNSUMMED
    echo = c.protocol == 58 and len(p) >= 8 and p[0] in (128, 129)
    if not x.whole and len(p) < _LEAST_BYTES:
        return False
    if c.protocol == 88 and p[1] != 4 and not p[7] & 1 and be32(p, 12) == 0:
        return False  # may go to the group as well as to one router
    if x.source_kind == state.LOOPBACK and (unsummed or not x.whole or c.protocol == 6):
        return _sent_to(s, c, x.source_index, claims.TO_SOLE)
    if c.protocol == 44 and _joined_in_vain(s, x):
        return False
    if not unsummed and (x.whole or not (c.protocol in (6, 17) or echo)):
        return False
    if c.protocol == 17 and _serves_groups(s, p):
        return False
    if x.source_kind == state.LINK and (c.protocol in (50, 44) or not unsummed):
        return False
    other, others = _other_party(s, x, c.protocol) if unsummed and c.protocol not in (44, 255) else (-1, 0)
    if other == x.source_index:
        other = -1
    if s.sole < 2 or not unsummed:
        likely = s.sole > 0 and x.own_known and (not unsummed or _is_likely(s, x, c.protocol, x.sole, other))
        return likely and _sent_to(s, c, x.sole, claims.TO_SOLE)
    to = other
    vote = s.learnt.get(("host", x.source))
    if vote is not None:
        if vote.several:  # of many hosts the one that talks so, too
            to = -1 if c.protocol == 59 or not x.own_known else other
        elif other != vote.index if other >= 0 else c.protocol in _TUNNELS and x.sole != vote.index:
            return False
        else:
            to = vote.index
    elif other < 0:
        to = x.sole if others <= 1 else -1
    return _is_likely(s, x, c.protocol, to, other) and _sent_to(s, c, to, claims.TO_SOLE)


def _look_further(s: State, x: Packet, c: Claim) -> None:
    if c.to is not None or (c.protocol == 44 and _by_piece(s, x, c)) or c.where == claims.TO_SEVERAL:
        return
    peer = _peer(s, x, c.protocol, c.ports, 2 if x.whole else 1)
    if c.ports and _ports_tell(s, x, c.protocol, c.ports) and _sent_to(s, c, peer, claims.TO_FLOW):
        return
    if _by_kind(s, x, c) or _by_answer(s, x, c):
        return
    if c.ports == 0:
        peer = _peer(s, x, c.protocol, 0, 1)
        if _is_gateway(s, x, c.protocol, peer) and _sent_to(s, c, peer, claims.TO_FLOW):
            return
    _by_host(s, x, c)


def _learn_flow(s: State, source: bytes, index: int, to: bytes, protocol: int, ports: int | None) -> None:
    unicast = kind_of(to) != state.GROUP
    to_index = s.intern(to, state.TOLD)
    if to_index < 0:
        return
    if ports is not None:
        key = "peer", protocol, source, ports
        vote = s.learnt.get(key)
        if vote is not None and vote.index == to_index and vote.hits >= _ENOUGH_VOTES:
            return
        s.vote(key, to_index)
        if unicast and index >= 0:
            s.vote(("peer", protocol, to, reverse_ports(protocol, ports)), index)
    if protocol == 17 and unicast and index >= 0 and ports is not None and _KEYS & {ports >> 16, ports & 0xFFFF}:
        s.vote(("peer", 50, source, 0), to_index)
        s.vote(("peer", 50, to, 0), index)
    s.put(("pair", source, to), True)
    if unicast and source != to:
        s.put(("pair", to, source), True)
        s.vote(("host", source), to_index)
        if index >= 0:
            s.vote(("host", to), index)


def _learn_quoted(s: State, x: Packet) -> None:
    quoted = x.p[8:]
    if len(x.p) < 56 or quoted[0] >> 4 != 6:
        return
    index = s.intern(quoted[8:24], state.TOLD)
    if index < 0:
        return
    protocol, ports = quoted[6], None
    if protocol in (6, 17, 132, 33, 136):
        ports = be32(quoted, 40)
    elif protocol == 58 and quoted[40] == 128:
        ports = be16(quoted, 44) << 16 | 128
    _learn_flow(s, quoted[8:24], index, quoted[24:40], protocol, ports)


def _learn_filling(s: State, x: Packet, c: Claim) -> None:
    filled, left = s.learnt.get(("filling", c.protocol, x.source), (0, 0))
    if c.how == claims.CHECKSUM:
        if filled >= 64:
            return
        filled += 1
    else:
        if left >= 64:
            return
        left += 1
    s.put(("filling", c.protocol, x.source), (filled, left))


def _learn_open(s: State, x: Packet, c: Claim) -> None:
    left, other = s.learnt.get(("open", c.protocol, x.source), (0, 0))
    left, other = (left + 1, other) if c.left else (left, other + 1)
    if left + other >= 128:
        left, other = left // 2, other // 2
    s.put(("open", c.protocol, x.source), (left, other))


def _learn_routers(s: State, x: Packet, c: Claim) -> None:
    p = x.p
    if c.protocol == 88 and len(p) >= 20:
        if be32(p, 8):
            s.vote(("sent", 88, _eigrp_number(p, 8)), x.source_index)
        if be32(p, 12):
            s.vote(("acknowledged", 88, _eigrp_number(p, 12)), x.source_index)
    elif c.protocol == 46 and len(p) >= 52 and p[1] == 1 and be32(p, 8) == 0x00180102 and be32(p, 32) == 0x00180302:
        hop = s.intern(p[36:52], state.TOLD)
        if hop >= 0:
            s.vote(("path", 46, p[12:32]), hop)


def _learn_association(s: State, x: Packet) -> None:
    key = "spi", x.source, be32(x.p, 0)
    if key not in s.learnt:
        s.put(key, True)
        s.put(("spis", x.source), _associations(s, x.source) + 1)


def _learn_unsummed(s: State, x: Packet, c: Claim) -> None:
    p, me = x.p, x.source_index
    if me < 0:
        return
    if c.protocol in _UNSUMMED and c.protocol not in (44, 255):
        key = _party_key(x, c.protocol, _is_own(x))
        parties = s.learnt.get(key, ())
        if len(parties) < 3 and me not in parties[:2]:
            s.put(key, (*parties, me))
    _learn_routers(s, x, c)
    inner = shape.inner(c.protocol, p)
    if inner is not None:
        s.vote(("inner", c.protocol, *inner), me)
    if c.ports == 0 and c.to is not None and c.where == claims.TO_ANSWERED:
        s.vote(("peer", c.protocol, x.source, 0), s.index[c.to])
    if not c.ports:
        return
    if c.protocol == 132:
        s.vote(("user", 132, c.ports), me)
        if len(p) >= 20 and p[12] in (1, 2):
            s.vote(("tag", c.ports, be32(p, 16)), me)
    elif c.protocol == 17:
        s.vote(("user", 17, c.ports), me)
    elif c.protocol == 58:
        s.vote(("user", 58, c.ports, be16(p, 6)), me)
    elif c.protocol == 6 and len(p) >= 14:
        header, sequence = (p[12] >> 4) * 4, be32(p, 4)
        after = (p[13] >> 1 & 1) + (p[13] & 1)
        following = (sequence + max(x.length - header, 0) + after) & 0xFFFFFFFF
        s.vote(("sequence", c.ports, sequence), me)
        if following != sequence:
            s.vote(("sequence", c.ports, following), me)
        if c.to is not None and c.where == claims.TO_ANSWERED:
            s.vote(("peer", 6, x.source, c.ports), s.index[c.to])
            s.vote(("peer", 6, c.to, reverse_ports(6, c.ports)), me)


def _learn_piece(s: State, x: Packet, mode: int) -> None:
    p = x.p
    identification, place = be32(p, 4), be16(p, 2)
    start = place & 0xFFF8
    piece, joining = ("piece", x.source, identification), ("joining", x.source, identification)
    before = s.learnt.get(piece)
    known: tuple[int, int | None] = (p[0], None) if before is None else before[:2]
    several = before is not None and (before[3] or before[2] != place & 0xFFF9)
    if start == 0 and len(p) >= 16:
        known = p[0], None
        if p[0] in (6, 17, 132, 33, 136):
            known = p[0], be32(p, 8)
        elif p[0] == 58 and p[8] in (128, 129):
            known = p[0], be16(p, 12) << 16 | p[8]
    s.put(piece, (*known, place & 0xFFF9, several))
    if not mode & JOIN or not x.whole:
        return
    joined = s.learnt.get(joining, (0, 0, 0, 0))
    if isinstance(joined, bool):
        return
    total, size, end, protocol = joined
    if start == 0:
        protocol = p[0]
    total = (total + sum_of(p[8:])) % 65535
    size = min(size + len(p) - 8, 0x1FFFF)
    if not place & 1:
        end = (start + len(p) - 8) & 0xFFFFF
    if size != end or protocol == 0:
        s.put(joining, (total, size, end, protocol))
        return
    inner = Claim(protocol, known[1])
    told, x.told = x.told, None
    match(s, x, inner, end, total, True, None)
    x.told = told
    if inner.to is not None:
        index = s.intern(inner.to, state.TOLD)
        if index >= 0:
            s.vote(("joined", x.source, identification), index)
        _learn_flow(s, x.source, x.source_index, inner.to, protocol, inner.ports)
    s.put(joining, start == 0)


def _learn_series(s: State, x: Packet) -> None:
    key, now = ("series", x.source, be32(x.p, 0)), be32(x.p, 4)
    known = s.learnt.get(key)
    runs = 0
    if known is not None:
        step = (now - known[1]) & 0xFFFFFFFF
        runs = min(known[0] + 1, 255) if 1 <= step <= _WIDEST_STEP else max(known[0] - 1, 0)
    s.put(key, (runs, now))


def _learn(s: State, x: Packet, c: Claim, mode: int) -> None:
    summed = claims.CHECKSUM <= c.how <= claims.OFFLOADED_LARGE
    checked = summed and claims.TO_FLOW_SUM <= c.where <= claims.TO_CONTEXT_SUM
    if c.to is not None and ((checked and c.score >= _CERTAIN) or c.where == claims.TO_TOLD):
        _learn_flow(s, x.source, x.source_index, c.to, c.protocol, c.ports)
        if c.protocol == 58 and 1 <= x.p[0] <= 4:
            _learn_quoted(s, x)
    if c.score >= _CERTAIN and summed and c.protocol in _FILLED and c.where != claims.TO_SEVERAL:
        _learn_filling(s, x, c)
    if c.protocol == 50:
        _learn_association(s, x)
    if not x.whole and x.told is None and c.protocol in (6, 17):
        _learn_open(s, x, c)
    if not checked and c.score >= 10:
        _learn_unsummed(s, x, c)
    if c.protocol == 44:
        _learn_piece(s, x, mode)
    if c.score < 30 and len(x.p) >= 8:
        _learn_series(s, x)


def _usual_hop_limit(x: Packet, protocol: int) -> int:
    if protocol == 58 and (133 <= x.p[0] <= 137 or x.p[0] in (141, 142)):
        return 255
    if protocol == 58 and (130 <= x.p[0] <= 132 or x.p[0] == 143):
        return 1
    return 255 if protocol == 112 else 64


def _header(x: Packet, c: Claim, traffic_class: int) -> bytes:
    first = (0x60000000 | traffic_class << 20).to_bytes(4, "big")
    length = 0 if x.length > 65535 else x.length
    hops = x.hop_limit if x.hop_limit >= 0 else _usual_hop_limit(x, c.protocol)
    return first + length.to_bytes(2, "big") + bytes((c.protocol, hops)) + x.source + (c.to or bytes(16))


def rebuild(
    s: State,
    buffer: NDArray[np.uint8],
    record: NDArray[np.int64],
    payload: NDArray[np.int64],
    captured: NDArray[np.uint32],
    original: NDArray[np.uint32],
    mode: int,
) -> NDArray[np.uint32]:
    """Twin of :meth:`etwcap.native.ipv6_rebuild.Knowledge.rebuild`."""
    evidence = np.zeros(len(record), np.uint32)
    census = _Census(s)
    rows = zip(record.tolist(), payload.tolist(), captured.tolist(), original.tolist(), strict=True)
    for row, (head, start, size, length) in enumerate(rows):
        if head < 0 or head + _RECORD > buffer.size or start < _HEADER or start + size > buffer.size:
            raise IndexError(f"packet {row} lies outside the buffer")
        fields = buffer[head : head + _RECORD].tobytes()
        present, source = int.from_bytes(fields[6:8], "little"), fields[32:48]
        x = Packet(
            p=buffer[start : start + size].tobytes(),
            length=max(length, size),
            whole=length <= size and not present & _IS_CUT,
            sum=0,
            source=source,
            told=fields[48:64] if present & _HAS_DESTINATION else None,
            hop_limit=fields[24] if present & _HAS_HOP_LIMIT else -1,
            source_sum=sum_of(source),
            source_kind=kind_of(source),
        )
        c = Claim(255, how=claims.UNKNOWN, score=0)
        if mode & INFER:
            x.sum = sum_of(x.p)
            x.source_index = s.index.get(source, -1)
            if x.source_index < 0 and x.source_kind != state.GROUP:
                x.source_index = s.intern(source, state.SOURCE)
            x.source_role = s.roles[x.source_index] if x.source_index >= 0 else 0
            x.own_known, x.sole, x.only_two = census.own_known, census.sole(x), census.only_two(x)
            c = best_claim(s, x)
        if x.told is not None:
            c.to, c.where = x.told, claims.TO_TOLD
        if mode & INFER:
            _look_further(s, x, c)
            _learn(s, x, c, mode)
        evidence[row] = c.protocol | c.how << 8 | c.where << 16
        if mode & WRITE:
            written = _header(x, c, fields[25] if present & _HAS_CLASS else 0)
            buffer[start - _HEADER : start] = np.frombuffer(written, np.uint8)
    return evidence
