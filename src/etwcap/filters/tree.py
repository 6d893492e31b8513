"""The tree of a filter: what was asked, before any link type is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, TypeAlias

from etwcap.filters.names import IP_PROTOCOLS, LINK_PROTOCOLS

Way = Literal["src", "dst", "src or dst", "src and dst"]
EITHER: Way = "src or dst"


@dataclass(frozen=True, slots=True)
class And:
    """All of them, from left to right."""

    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of them, from left to right."""

    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; a packet too short for what is asked matches neither."""

    child: Node


@dataclass(frozen=True, slots=True)
class Net:
    """An IPv4 or IPv6 address under a mask."""

    version: Literal[4, 6]
    address: int
    mask: int
    way: Way = EITHER
    protocol: Literal["ip", "arp", "rarp", "ip6", None] = None
    """None: IPv4, ARP and RARP for an IPv4 address, IPv6 for an IPv6 one"""

    def __str__(self) -> str:
        kind = IPv4Address if self.version == 4 else IPv6Address
        width = 32 if self.version == 4 else 128
        full = (1 << width) - 1
        ending = (full ^ self.mask).bit_length()
        if self.mask == full:
            text = f"host {kind(self.address)}"
        elif self.mask == full >> ending << ending:
            text = f"net {kind(self.address)}/{width - ending}"
        else:
            text = f"net {kind(self.address)} mask {kind(self.mask)}"
        return _qualified(self.protocol or "", self.way, text)


@dataclass(frozen=True, slots=True)
class Mac:
    """A link-layer address."""

    address: bytes
    way: Way = EITHER

    def __str__(self) -> str:
        return _qualified("ether", self.way, "host " + ":".join(f"{byte:02x}" for byte in self.address))


@dataclass(frozen=True, slots=True)
class Ports:
    """A port or a range of ports, over IPv4 and IPv6."""

    low: int
    high: int
    protocols: tuple[int, ...]
    """in the order in which they are tried: of 6, 17, 132"""
    way: Way = EITHER
    is_range: bool = False

    def __str__(self) -> str:
        names = {number: name for name, number in IP_PROTOCOLS.items() if name in ("tcp", "udp", "sctp")}
        protocol = names[self.protocols[0]] if len(self.protocols) == 1 else ""
        text = f"portrange {self.low}-{self.high}" if self.is_range else f"port {self.low}"
        return _qualified(protocol, self.way, text)


@dataclass(frozen=True, slots=True)
class LinkProtocol:
    """An EtherType, or a service access point of 802.2 below 1501."""

    number: int

    def __str__(self) -> str:
        name = next((name for name, number in LINK_PROTOCOLS.items() if number == self.number), "")
        return name or f"ether proto {self.number:#06x}"


@dataclass(frozen=True, slots=True)
class IpProtocol:
    """The protocol inside IP; in IPv6 the first next header, or the one behind a fragment header."""

    number: int
    version: Literal["ip", "ip6", None] = None
    """None: either"""

    def __str__(self) -> str:
        return f"{self.version or ''} proto {self.number}".strip()


@dataclass(frozen=True, slots=True)
class Cast:
    """Broadcast or multicast, by the link layer's address or by that of IP."""

    kind: Literal["broadcast", "multicast"]
    layer: Literal["link", "ip", "ip6"] = "link"

    def __str__(self) -> str:
        return f"{'ether' if self.layer == 'link' else self.layer} {self.kind}"


@dataclass(frozen=True, slots=True)
class Vlan:
    """A VLAN tag; whatever stands to the right of it is looked for behind the tag."""

    number: int | None = None

    def __str__(self) -> str:
        return "vlan" if self.number is None else f"vlan {self.number}"


@dataclass(frozen=True, slots=True)
class Length:
    """The packet's length as it was on the wire."""

    compare: Literal[">=", "<="]
    number: int

    def __str__(self) -> str:
        return f"len {self.compare} {self.number}"


@dataclass(frozen=True, slots=True)
class Direction:
    """Received or sent."""

    sent: bool

    def __str__(self) -> str:
        return "out" if self.sent else "in"


@dataclass(frozen=True, slots=True)
class Dropped:
    """Some part of the system reported that it dropped the packet."""

    def __str__(self) -> str:
        return "dropped"


@dataclass(frozen=True, slots=True)
class OnInterface:
    """Seen on an interface of that name, description or Windows index (case does not matter)."""

    name: str

    def __str__(self) -> str:
        return f"if {self.name}"


@dataclass(frozen=True, slots=True)
class OfProcess:
    """Sent by the process of that id, where the trace can tell."""

    number: int

    def __str__(self) -> str:
        return f"pid {self.number}"


@dataclass(frozen=True, slots=True)
class Number:
    """A constant, 32 bits."""

    value: int

    def __str__(self) -> str:
        return str(self.value) if self.value < 4096 else f"{self.value:#x}"


@dataclass(frozen=True, slots=True)
class LengthValue:
    """``len``."""

    def __str__(self) -> str:
        return "len"


@dataclass(frozen=True, slots=True)
class Field:
    """``proto[index:size]``: bytes of a header, big-endian."""

    protocol: str
    index: Value
    size: int

    def __str__(self) -> str:
        return f"{self.protocol}[{self.index}:{self.size}]"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two values and an operator, modulo 2**32."""

    operator: str
    left: Value
    right: Value

    def __str__(self) -> str:
        return f"({self.left} {self.operator} {self.right})"


@dataclass(frozen=True, slots=True)
class Negative:
    """Minus."""

    value: Value

    def __str__(self) -> str:
        return f"-{self.value}"


@dataclass(frozen=True, slots=True)
class Relation:
    """Two values compared, unsigned."""

    operator: str
    left: Value
    right: Value

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


Value: TypeAlias = "Number | LengthValue | Field | Arithmetic | Negative"
Leaf: TypeAlias = (
    "Net | Mac | Ports | LinkProtocol | IpProtocol | Cast | Vlan | Length | Direction | Dropped | OnInterface | "
    "OfProcess | Relation"
)
Node: TypeAlias = "And | Or | Not | Leaf"


def _qualified(*words: str) -> str:
    return " ".join(word for word in words if word and word != EITHER)


def joined(kind: type[And] | type[Or], left: Node, right: Node) -> Node:
    """Two nodes under one of that kind; a chain of the same kind stays flat."""
    before = left.children if isinstance(left, kind) else (left,)
    return kind((*before, right))


def leaves(node: Node) -> Iterator[Leaf]:
    """Every primitive, from left to right."""
    if isinstance(node, And | Or):
        for child in node.children:
            yield from leaves(child)
    elif isinstance(node, Not):
        yield from leaves(node.child)
    else:
        yield node


def drawn(node: Node, indent: str = "") -> list[str]:
    """The tree as lines of text."""
    if isinstance(node, And | Or):
        lines = [indent + ("and" if isinstance(node, And) else "or")]
        for child in node.children:
            lines += drawn(child, indent + "  ")
        return lines
    if isinstance(node, Not):
        return [indent + "not", *drawn(node.child, indent + "  ")]
    return [indent + str(node)]
