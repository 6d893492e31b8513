"""What of a filter a live tap's own filter can take over, so that fewer packets reach etwcap.

The part that is handed down is *sound*: it lets every packet through that the whole filter lets through. The whole
filter runs again behind the tap, so the part may be as coarse as it must be. Where a tap's behaviour is not documented
(VLAN tags, chains of IPv6 headers, SCTP ports), nothing is handed down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Literal

from etwcap.filters.names import ARP, IP, IP6, LINK_PROTOCOLS, RARP, TCP, TRANSPORTS, UDP
from etwcap.filters.tree import (
    And,
    Arithmetic,
    Cast,
    Field,
    IpProtocol,
    Leaf,
    LinkProtocol,
    Mac,
    Negative,
    Net,
    Node,
    Number,
    Or,
    Ports,
    Relation,
    Value,
    Vlan,
    leaves,
)

Tap = Literal["pktmon", "ndiscap", "wfp"]
TAPS: tuple[Tap, ...] = ("pktmon", "ndiscap", "wfp")

MOST_CONSTRAINTS = 8
"""Filters that PktMon takes at least; Microsoft's pages say 8 and 32."""

_FIRST_PLAIN_TYPE = 1536
_ALSO_SNAP = (0x809B, 0x80F3, 0x8137)
"""EtherTypes that the language looks for behind an LLC header too."""
_FLAGS = 0x3F
"""FIN to URG, the TCP flags that PktMon names."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """Conditions that must all hold, as PktMon's filters have them. Two addresses or ports must both occur, in
    whichever direction; of ``flags`` any must be set. What is not said matches anything."""

    ether_type: int | None = None
    macs: tuple[bytes, ...] = ()
    nets: tuple[tuple[int, int, int], ...] = ()
    """version, address, prefix length"""
    protocol: int | None = None
    ports: tuple[int, ...] = ()
    flags: int = 0

    def __str__(self) -> str:
        parts = [] if self.ether_type is None else [f"EtherType {self.ether_type:#06x}"]
        parts += ["MAC " + mac.hex(":") for mac in self.macs]
        parts += [f"IP {ip_network((address, length))}" for _, address, length in self.nets]
        parts += [] if self.protocol is None else [f"protocol {self.protocol}"]
        parts += [f"port {port}" for port in self.ports]
        parts += [f"TCP flags {self.flags:#04x}"] if self.flags else []
        return ", ".join(parts)


ANYTHING = Constraint()
Constraints = tuple[Constraint, ...]
"""One of them must hold."""


@dataclass(frozen=True, slots=True)
class Split:
    """A filter for a tap: ``pushed`` is what the tap is told, in its own words (empty: everything passes)."""

    tap: Tap
    constraints: Constraints
    """what the tap is told lets through; ANYTHING alone where it is told nothing"""
    pushed: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people."""
        told = [f"  {text}" for text in self.pushed] or ["  nothing: every packet passes"]
        return [f"told to {self.tap}" + (", one of" if len(told) > 1 else ""), *told, "then the whole filter"]


def split(tree: Node | None, tap: Tap) -> Split:
    """The part of a filter that can be handed down to a tap."""
    constraints: Constraints = (ANYTHING,) if tree is None else _few(implied(tree))
    if tap == "pktmon":
        told = tuple(str(constraint) for constraint in constraints if constraint != ANYTHING)
        return Split(tap, constraints, told)
    if tap == "ndiscap":
        return _ndiscap(constraints)
    return _wfp(constraints)


def implied(tree: Node) -> Constraints:
    """Constraints of which one holds for every packet that the filter lets through."""
    if any(isinstance(leaf, Vlan) for leaf in leaves(tree)):
        return (ANYTHING,)
    return _implied(tree)


def _implied(node: Node) -> Constraints:
    if isinstance(node, And):
        found: Constraints = (ANYTHING,)
        for child in node.children:
            found = _both(found, _implied(child))
        return found
    if isinstance(node, Or):
        return _simple([constraint for child in node.children for constraint in _implied(child)])
    return _of_leaf(node) if isinstance(node, _TOLD) else (ANYTHING,)


_TOLD = (Net, Mac, Ports, LinkProtocol, IpProtocol, Cast, Relation)


def _of_leaf(leaf: Leaf) -> Constraints:
    if isinstance(leaf, Net):
        return _of_net(leaf)
    if isinstance(leaf, Mac):
        return (Constraint(macs=(leaf.address,)),)
    if isinstance(leaf, Ports):
        return tuple(
            Constraint(protocol=number, ports=() if leaf.low != leaf.high or number not in (TCP, UDP) else (leaf.low,))
            for number in leaf.protocols
        )
    if isinstance(leaf, LinkProtocol):
        plain = leaf.number >= _FIRST_PLAIN_TYPE and leaf.number not in _ALSO_SNAP
        return (Constraint(ether_type=leaf.number),) if plain else (ANYTHING,)
    if isinstance(leaf, IpProtocol):
        four = Constraint(ether_type=IP, protocol=leaf.number)
        six = Constraint(ether_type=IP6)  # the protocol may stand behind a fragment header
        return {"ip": (four,), "ip6": (six,), None: (four, six)}[leaf.version]
    if isinstance(leaf, Cast):
        return _of_cast(leaf)
    return (_of_relation(leaf),) if isinstance(leaf, Relation) else (ANYTHING,)


def _of_net(net: Net) -> Constraints:
    if net.protocol in ("arp", "rarp"):
        return (Constraint(ether_type=ARP if net.protocol == "arp" else RARP),)
    width = 32 if net.version == 4 else 128
    length = _prefix_length(net.mask, width)
    nets = () if not length else ((net.version, net.address & net.mask, length),)
    with_address = Constraint(ether_type=IP if net.version == 4 else IP6, nets=nets)
    if net.version == 4 and net.protocol is None:
        return (with_address, Constraint(ether_type=ARP), Constraint(ether_type=RARP))
    return (with_address,)


def _prefix_length(mask: int, width: int) -> int:
    """How many bits lead a mask."""
    return width - ((1 << width) - 1 ^ mask).bit_length()


def _of_cast(cast: Cast) -> Constraints:
    if cast.layer == "ip":
        return (Constraint(ether_type=IP, nets=((4, 224 << 24, 3),)),)  # the test is: at least 224
    if cast.layer == "ip6":
        return (Constraint(ether_type=IP6, nets=((6, 0xFF << 120, 8),)),)
    return (Constraint(macs=(b"\xff" * 6,)),) if cast.kind == "broadcast" else (ANYTHING,)


def _of_relation(relation: Relation) -> Constraint:
    field = _checked(relation.left) or _checked(relation.right)
    if field is None or field.protocol == "link":
        return ANYTHING
    if field.protocol == "icmp6":
        return Constraint(ether_type=IP6, protocol=58)
    if field.protocol in LINK_PROTOCOLS:
        number = LINK_PROTOCOLS[field.protocol]
        return Constraint(ether_type=number) if number >= _FIRST_PLAIN_TYPE and number not in _ALSO_SNAP else ANYTHING
    return Constraint(ether_type=IP, protocol=TRANSPORTS[field.protocol][0], flags=_flags(relation))


def _checked(value: Value) -> Field | None:
    """The field whose protocol the filter checks: that at the left end of the value."""
    while isinstance(value, Arithmetic | Negative):
        value = value.left if isinstance(value, Arithmetic) else value.value
    return value if isinstance(value, Field) else None


def _flags(relation: Relation) -> int:
    """The flags of which one must be set, in ``tcp[tcpflags] & FLAGS != 0``; else 0."""
    left, right = relation.left, relation.right
    if relation.operator != "!=" or right != Number(0) or not isinstance(left, Arithmetic) or left.operator != "&":
        return 0
    mask = _constant(left.right)
    known = left.left == Field("tcp", Number(13), 1) and mask is not None and mask & ~_FLAGS == 0
    return mask if known and mask is not None else 0


def _constant(value: Value) -> int | None:
    if isinstance(value, Number):
        return value.value
    if isinstance(value, Arithmetic) and value.operator == "|":
        left, right = _constant(value.left), _constant(value.right)
        return None if left is None or right is None else left | right
    return None


def _both(left: Constraints, right: Constraints) -> Constraints:
    """What holds where one of each side does."""
    if left == (ANYTHING,) or right == (ANYTHING,):
        return right if left == (ANYTHING,) else left
    if len(left) * len(right) > 16 * MOST_CONSTRAINTS:
        return min(left, right, key=len)
    met = [both for one in left for other in right if (both := _met(one, other)) is not None]
    return _simple(met) if met else min(left, right, key=len)


def _met(one: Constraint, other: Constraint) -> Constraint | None:
    """A constraint that holds where both do; None where they exclude each other."""
    for first, second in ((one.ether_type, other.ether_type), (one.protocol, other.protocol)):
        if first is not None and second is not None and first != second:
            return None
    return Constraint(
        one.ether_type if other.ether_type is None else other.ether_type,
        _two(one.macs, other.macs),
        one.nets if not _apart(one.nets, other.nets) else one.nets + other.nets,
        one.protocol if other.protocol is None else other.protocol,
        _two(one.ports, other.ports),
        one.flags or other.flags,
    )


def _two(one: tuple, other: tuple) -> tuple:  # type: ignore[type-arg]
    """Two different values that both occur; a third is left out."""
    return (*one, *(value for value in other if value not in one))[:2]


def _apart(one: Sequence[tuple[int, int, int]], other: Sequence[tuple[int, int, int]]) -> bool:
    """Whether the nets can stand beside each other: two at most, and no address is in both, since one address of a
    packet could satisfy the filter where the tap wants two."""
    if len(one) + len(other) > 2:
        return False
    return not any(ip_network(a[1:]).overlaps(ip_network(b[1:])) for a in one for b in other if a[0] == b[0])


def _simple(constraints: Sequence[Constraint]) -> Constraints:
    """Without repetitions; ANYTHING alone where it is among them."""
    return (ANYTHING,) if ANYTHING in constraints else tuple(dict.fromkeys(constraints))


def _few(constraints: Constraints) -> Constraints:
    """As many as a tap takes: coarser ones where there are more."""
    for coarser in (
        lambda each: each,
        lambda each: replace(each, nets=each.nets[:1], ports=each.ports[:1], macs=each.macs[:1], flags=0),
        lambda each: Constraint(each.ether_type, protocol=each.protocol),
        lambda each: Constraint(each.ether_type),
    ):
        fewer = _simple([coarser(constraint) for constraint in constraints])
        if len(fewer) <= MOST_CONSTRAINTS:
            return fewer
    return (ANYTHING,)


def _ndiscap(constraints: Constraints) -> Split:
    """NdisCap's rules: one list for each field, all lists must hold. Rules for one side's address lost packets in
    reports, so only EtherTypes, protocols and addresses of either side are used."""
    types = [constraint.ether_type for constraint in constraints]
    protocols = [constraint.protocol for constraint in constraints]
    told = []
    kept: Constraints = (ANYTHING,)
    if None not in types:
        kept = _simple([Constraint(each) for each in types])
        told.append(f"Ethernet.Type={_listed([f'0x{each:04x}' for each in types if each is not None])}")
        if None not in protocols:
            kept = tuple(Constraint(t, protocol=p) for t in dict.fromkeys(types) for p in dict.fromkeys(protocols))
            told.append(f"Protocol={_listed([str(each) for each in protocols])}")
        if len(constraints) == 1 and len(constraints[0].nets) == 1:
            version, address, length = constraints[0].nets[0]
            if length == (32 if version == 4 else 128):
                kept = tuple(replace(each, nets=constraints[0].nets) for each in kept)
                told.append(f"IPv{version}.Address={ip_network((address, length)).network_address}")
    return Split("ndiscap", kept, (" ".join(told),) if told else ())


def _listed(values: list[str]) -> str:
    values = list(dict.fromkeys(values))
    return values[0] if len(values) == 1 else f"({','.join(values)})"


def _wfp(constraints: Constraints) -> Split:
    """The WFP driver's fast filters: a port, an address or an IP version. How several go together is not documented:
    one is told, where it is implied by all of the filter. The driver sees nothing but IP."""
    constraints = tuple(each for each in constraints if each.ether_type in (None, IP, IP6)) or (ANYTHING,)
    types = {constraint.ether_type for constraint in constraints}
    ports = {(constraint.protocol, constraint.ports[:1]) for constraint in constraints}
    nets = {constraint.nets for constraint in constraints}
    if len(ports) == 1:
        protocol, port = next(iter(ports))
        if protocol in (TCP, UDP) and port:
            name = "TCP" if protocol == TCP else "UDP"
            return Split("wfp", (Constraint(protocol=protocol, ports=port),), (f"{name} port {port[0]}",))
    if len(nets) == 1 and (one := next(iter(nets))[:1]):
        version, address, length = one[0]
        if length == (32 if version == 4 else 128):
            kind = IP if version == 4 else IP6
            text = f"address {ip_network((address, length)).network_address}"
            return Split("wfp", (Constraint(ether_type=kind, nets=one),), (text,))
    if types in ({IP}, {IP6}):
        number = next(iter(types))
        return Split("wfp", (Constraint(ether_type=number),), ("IPv4" if number == IP else "IPv6",))
    return Split("wfp", (ANYTHING,), ())
