"""From the tree to tests on the bytes of one link type.

What is tested, and in which order, is what libpcap 1.10 generates (``tcpdump -d -O`` shows it): the order matters,
since a load beyond the captured bytes ends the program and the packet does not match, not even under ``not``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from etwcap.errors import UsageError
from etwcap.filters.names import (
    AARP,
    ARP,
    ATALK,
    FRAGMENT,
    IP,
    IP6,
    LINK_PROTOCOLS,
    LLC_IPX,
    LLC_ISO,
    LLC_NETBEUI,
    RARP,
    TRANSPORTS,
    VLAN_TYPES,
)
from etwcap.filters.tree import (
    EITHER,
    And,
    Arithmetic,
    Cast,
    Direction,
    Dropped,
    Field,
    IpProtocol,
    Length,
    LengthValue,
    LinkProtocol,
    Mac,
    Negative,
    Net,
    Node,
    Not,
    Number,
    OfProcess,
    OnInterface,
    Or,
    Ports,
    Relation,
    Value,
    Vlan,
)
from etwcap.native.filter import CELLS, Op
from etwcap.packets import linktypes

Code = list[tuple[Op, int]]
"""Instructions without jumps: operation and its constant."""

PREFIX, PAYLOAD, FIRST_FREE = 0, 1, 2
"""Cells: where the 802.11 header begins, where it ends, and the first for intermediate values."""

SENT, RECEIVED, DROPPED, OWNED = 1, 2, 4, 8
FIRST_INTERFACE_BIT = 4
"""Bits of a packet's facts (see ``etwcap.filters.stage``); those from this one on are the ``if`` terms."""

MOST_INTERFACES = 32 - FIRST_INTERFACE_BIT

_ETHERNET_MTU = 1500
_LLC_PAIRS = (0x06, LLC_ISO, LLC_NETBEUI)
_SNAP = {ATALK: 0x080007, AARP: 0x000000}
_LOADS = {
    1: (Op.LDB_ABS, Op.LDB_IND),
    2: (Op.LDH_ABS, Op.LDH_IND),
    4: (Op.LDW_ABS, Op.LDW_IND),
}


class NotOnLinkError(UsageError):
    """A test that this link type has no answer for; no packet of it matches the filter."""


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison: code that loads A (and X), a jump, its constant."""

    code: tuple[tuple[Op, int], ...]
    jump: Op
    k: int


@dataclass(frozen=True, slots=True)
class All:
    """Tests that must all hold, in this order."""

    parts: tuple[Tests, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """Tests of which one must hold, in this order."""

    parts: tuple[Tests, ...]


@dataclass(frozen=True, slots=True)
class Opposite:
    """The opposite of a test."""

    part: Tests


Tests: TypeAlias = "Test | All | Any | Opposite"

TRUE = Test(((Op.LD_IMM, 0),), Op.JEQ_K, 0)
FALSE = Test(((Op.LD_IMM, 1),), Op.JEQ_K, 0)


@dataclass(slots=True)
class _Place:
    """Where the headers of a link type are; a VLAN tag moves them."""

    type_at: int | None = None
    payload: int = 0
    network: int = 0
    """of the network header in the payload: behind LLC and SNAP"""
    prefix_varies: bool = False
    payload_varies: bool = False


_PLACES: dict[int, Callable[[], _Place]] = {
    linktypes.ETHERNET: lambda: _Place(12, 14),
    linktypes.RAW_IP: _Place,
    linktypes.IPV4: _Place,
    linktypes.IPV6: _Place,
    linktypes.IEEE802_11: lambda: _Place(24, 0, 8, payload_varies=True),
    linktypes.IEEE802_11_RADIOTAP: lambda: _Place(24, 0, 8, prefix_varies=True, payload_varies=True),
    0: lambda: _Place(0, 4),
    113: lambda: _Place(14, 16),
    276: lambda: _Place(0, 20),
}
_WIFI = (linktypes.IEEE802_11, linktypes.IEEE802_11_RADIOTAP)


@dataclass(slots=True)
class Generated:
    """The tests of a filter on one link type, and what must be computed before them."""

    tests: Tests
    needs_prefix: bool
    needs_payload: bool
    link_type: int


def generate(tree: Node, link_type: int, interfaces: list[str]) -> Generated:
    """The tests that the filter stands for on packets of that link type. ``interfaces``: the names that the filter
    has after ``if``, in the order of their bits.

    Raises NotOnLinkError where the link type has no answer to one of them.
    """
    maker = _Maker(link_type, interfaces)
    tests = maker.node(tree)
    return Generated(tests, maker.needs_prefix, maker.needs_payload, link_type)


class _Maker:
    def __init__(self, link_type: int, interfaces: list[str]) -> None:
        self.link = link_type
        self.place = _PLACES.get(link_type, _Place)()
        self.interfaces = interfaces
        self.needs_prefix = self.needs_payload = False

    def refuse(self, what: str) -> NotOnLinkError:
        return NotOnLinkError(f"{what} cannot be asked of {linktypes.title(self.link)} packets")

    def node(self, node: Node) -> Tests:
        # Textual order: a VLAN test shifts whatever comes after it, wherever that stands in the tree.
        if isinstance(node, And):
            return All(tuple([self.node(child) for child in node.children]))
        if isinstance(node, Or):
            return Any(tuple([self.node(child) for child in node.children]))
        if isinstance(node, Not):
            return Opposite(self.node(node.child))
        if isinstance(node, Net):
            return self.net(node)
        if isinstance(node, Mac):
            return self.mac(node)
        if isinstance(node, Ports):
            return self.ports(node)
        if isinstance(node, LinkProtocol):
            return self.link_type(node.number)
        if isinstance(node, IpProtocol):
            return self.ip_protocol(node.number, node.version)
        if isinstance(node, Cast):
            return self.cast(node)
        if isinstance(node, Vlan):
            return self.vlan(node)
        if isinstance(node, Relation):
            return self.relation(node)
        return self.fact(node)

    # loads

    def from_link(self, offset: int, size: int) -> Code:
        absolute, indexed = _LOADS[size]
        if self.place.prefix_varies:
            self.needs_prefix = True
            return [(Op.LDX_MEM, PREFIX), (indexed, offset)]
        return [(absolute, offset)]

    def from_payload(self, offset: int, size: int) -> Code:
        """Offset from the LLC header where there is one, else from the network header."""
        absolute, indexed = _LOADS[size]
        offset += self.place.payload
        if self.place.payload_varies:
            self.needs_payload = True
            return [(Op.LDX_MEM, PAYLOAD), (indexed, offset)]
        return [(absolute, offset)]

    def from_network(self, offset: int, size: int) -> Code:
        self.need_network()
        return self.from_payload(self.place.network + offset, size)

    def need_network(self) -> None:
        if self.link not in _PLACES:
            raise self.refuse("a header")

    def header_length(self) -> Code:
        """X becomes the place of the IPv4 payload, counted from the place of the link payload's constant part."""
        at = self.place.payload + self.place.network
        if not self.place.payload_varies:
            return [(Op.LDX_MSH, at)]
        self.needs_payload = True
        return [
            *((Op.LDX_MEM, PAYLOAD), (Op.LDB_IND, at), (Op.AND_K, 15), (Op.LSH_K, 2), (Op.ADD_X, 0)),
            (Op.TAX, 0),
        ]

    def from_transport(self, offset: int, size: int) -> Code:
        at = self.place.payload + self.place.network + offset
        return [*self.header_length(), (_LOADS[size][1], at)]

    # link layer

    def link_type(self, number: int) -> Tests:
        place, link = self.place, self.link
        if link not in _PLACES:
            raise self.refuse("a protocol")
        if link == linktypes.RAW_IP:
            version = {IP: 0x40, IP6: 0x60}.get(number)
            if version is None:
                return FALSE
            return Test((*self.from_payload(0, 1), (Op.AND_K, 0xF0)), Op.JEQ_K, version)
        if link in (linktypes.IPV4, linktypes.IPV6):
            return TRUE if number == (IP if link == linktypes.IPV4 else IP6) else FALSE
        if link == 0:
            families = {IP: (2,), IP6: (24, 28, 30)}.get(number, ())
            tests = tuple(_equal(self.from_link(0, 4), family << 24) for family in families)
            return (tests[0] if len(tests) == 1 else Any(tests)) if tests else FALSE
        if link in _WIFI:
            data = (Opposite(self.bits(0, 4)), self.bits(0, 8))
            return All((*data, self.llc(number)))
        assert place.type_at is not None
        field = [(Op.LDH_ABS, place.type_at)]
        if link == linktypes.ETHERNET:
            return self.ethernet(number, field)
        return self.cooked(number, field)

    def ethernet(self, number: int, field: Code) -> Tests:
        is_llc = Opposite(_test(field, Op.JGT_K, _ETHERNET_MTU))
        if number in _LLC_PAIRS:
            return All((is_llc, _equal(self.from_payload(0, 2), number << 8 | number)))
        if number == LLC_IPX:
            inside = Any(
                (
                    self.snap(0, 0x8137),
                    _equal(self.from_payload(0, 1), LLC_IPX),
                    _equal(self.from_payload(0, 2), 0xFFFF),
                )
            )
            return Any((_equal(field, 0x8137), All((is_llc, inside))))
        if number in _SNAP:
            return Any((_equal(field, number), All((is_llc, self.snap(_SNAP[number], number)))))
        if number <= _ETHERNET_MTU:
            return All((is_llc, _equal(self.from_payload(0, 1), number)))
        return _equal(field, number)

    def cooked(self, number: int, field: Code) -> Tests:
        if self.link != 113:
            return _equal(field, number)
        is_llc = _equal(field, 4)
        if number in _LLC_PAIRS:
            return All((is_llc, _equal(self.from_payload(0, 2), number << 8 | number)))
        if number == LLC_IPX:
            inside = Any((_equal(self.from_payload(0, 1), LLC_IPX), self.snap(0, 0x8137)))
            return Any((_equal(field, 0x8137), _equal(field, 1), All((is_llc, inside))))
        if number in _SNAP:
            return Any((_equal(field, number), All((is_llc, self.snap(_SNAP[number], number)))))
        if number <= _ETHERNET_MTU:
            return All((is_llc, _equal(self.from_payload(0, 1), number)))
        return _equal(field, number)

    def llc(self, number: int) -> Tests:
        if number in _LLC_PAIRS:
            return _equal(self.from_payload(0, 2), number << 8 | number)
        if number == ATALK:
            return self.snap(_SNAP[ATALK], ATALK)
        if number <= _ETHERNET_MTU:
            return _equal(self.from_payload(0, 1), number)
        return _equal(self.from_payload(6, 2), number)

    def snap(self, organisation: int, number: int) -> Tests:
        low = (organisation << 16 | number) & 0xFFFFFFFF
        return All(
            (_equal(self.from_payload(4, 4), low), _equal(self.from_payload(0, 4), 0xAAAA0300 | organisation >> 16))
        )

    def bits(self, offset: int, mask: int) -> Test:
        return _test(self.from_link(offset, 1), Op.JSET_K, mask)

    def mac(self, node: Mac) -> Tests:
        def at(offset: int) -> Tests:
            return All(
                (
                    _equal(self.from_link(offset + 2, 4), int.from_bytes(node.address[2:], "big")),
                    _equal(self.from_link(offset, 2), int.from_bytes(node.address[:2], "big")),
                )
            )

        if self.link == linktypes.ETHERNET:
            return _ways(node.way, at(6), at(0))
        if self.link in _WIFI:
            return _ways(node.way, self.wifi_source(at), self.wifi_target(at))
        raise self.refuse("a MAC address")

    def wifi_source(self, at: Callable[[int], Tests]) -> Tests:
        is_data, from_ds, to_ds = self.bits(0, 8), self.bits(1, 2), self.bits(1, 1)
        from_system = Any((All((Opposite(to_ds), at(16))), All((to_ds, at(24)))))
        data = All((is_data, Any((All((Opposite(from_ds), at(10))), All((from_ds, from_system))))))
        return All((Opposite(self.bits(0, 4)), Any((All((Opposite(is_data), at(10))), data))))

    def wifi_target(self, at: Callable[[int], Tests]) -> Tests:
        is_data, to_ds = self.bits(0, 8), self.bits(1, 1)
        data = All((is_data, Any((All((Opposite(to_ds), at(4))), All((to_ds, at(16)))))))
        return All((Opposite(self.bits(0, 4)), Any((All((Opposite(is_data), at(4))), data))))

    def cast(self, node: Cast) -> Tests:
        if node.layer == "ip":
            return All((self.link_type(IP), _test(self.from_network(16, 1), Op.JGE_K, 224)))
        if node.layer == "ip6":
            return All((self.link_type(IP6), _equal(self.from_network(24, 1), 255)))
        if node.kind == "broadcast":
            return self.mac(Mac(b"\xff" * 6, "dst"))
        if self.link == linktypes.ETHERNET:
            return self.bits(0, 1)
        if self.link in _WIFI:
            return self.wifi_target(lambda offset: self.bits(offset, 1))
        raise self.refuse("multicast")

    def vlan(self, node: Vlan) -> Tests:
        if self.link not in (linktypes.ETHERNET, *_WIFI):
            raise self.refuse("a VLAN tag")
        tests: Tests = Any(tuple(self.link_type(number) for number in VLAN_TYPES))
        if node.number is not None:
            code = [*self.from_payload(self.place.network, 2), (Op.AND_K, 0xFFF)]
            tests = All((tests, _equal(code, node.number)))
        self.place.payload += 4
        if self.place.type_at is not None:
            self.place.type_at += 4
        return tests

    # network and transport

    def net(self, node: Net) -> Tests:
        if node.version == 6:
            return _ways(node.way, self.address6(node, 8), self.address6(node, 24))
        if node.protocol is not None:
            return self.address4(node, node.protocol)
        return Any((self.address4(node, "ip"), self.address4(node, "arp"), self.address4(node, "rarp")))

    def address4(self, node: Net, protocol: str) -> Tests:
        number, source, target = {"ip": (IP, 12, 16), "arp": (ARP, 14, 24), "rarp": (RARP, 14, 24)}[protocol]
        sides = (
            All((self.link_type(number), self.masked(offset, node.address, node.mask))) for offset in (source, target)
        )
        return _ways(node.way, *sides)

    def address6(self, node: Net, offset: int) -> Tests:
        words = tuple(
            self.masked(offset + 4 * n, *((each >> (96 - 32 * n)) & 0xFFFFFFFF for each in (node.address, node.mask)))
            for n in range(4)
        )
        return All((self.link_type(IP6), *words))

    def masked(self, offset: int, value: int, mask: int) -> Tests:
        code = self.from_network(offset, 4)
        return _equal(code if mask == 0xFFFFFFFF else [*code, (Op.AND_K, mask)], value)

    def ip_protocol(self, number: int, version: str | None) -> Tests:
        if version is None:
            return Any((self.ip_protocol(number, "ip"), self.ip_protocol(number, "ip6")))
        if version == "ip":
            return All((self.link_type(IP), _equal(self.from_network(9, 1), number)))
        fragment = All((_equal(self.from_network(6, 1), FRAGMENT), _equal(self.from_network(40, 1), number)))
        return All((self.link_type(IP6), Any((_equal(self.from_network(6, 1), number), fragment))))

    def not_a_later_fragment(self) -> Tests:
        return Opposite(_test(self.from_network(6, 2), Op.JSET_K, 0x1FFF))

    def ports(self, node: Ports) -> Tests:
        six = self.link_type(IP6), Any(tuple(self.ports6(node, number) for number in node.protocols))
        four = self.link_type(IP), Any(tuple(self.ports4(node, number) for number in node.protocols))
        return Any((All(six), All(four)))

    def ports4(self, node: Ports, protocol: int) -> Tests:
        first = (_equal(self.from_network(9, 1), protocol), self.not_a_later_fragment())
        sides = (self.port(node, self.from_transport(offset, 2)) for offset in (0, 2))
        return All((*first, _ways(node.way, *sides)))

    def ports6(self, node: Ports, protocol: int) -> Tests:
        sides = (self.port(node, self.from_network(40 + offset, 2)) for offset in (0, 2))
        return All((_equal(self.from_network(6, 1), protocol), _ways(node.way, *sides)))

    def port(self, node: Ports, code: Code) -> Tests:
        if not node.is_range:
            return _equal(code, node.low)
        return All((_test(code, Op.JGE_K, node.low), Opposite(_test(code, Op.JGT_K, node.high))))

    # facts that are no bytes

    def fact(self, node: Length | Direction | Dropped | OnInterface | OfProcess) -> Tests:
        if isinstance(node, Length):
            if node.compare == ">=":
                return _test([(Op.LD_LEN, 0)], Op.JGE_K, node.number)
            return Opposite(_test([(Op.LD_LEN, 0)], Op.JGT_K, node.number))
        facts: Code = [(Op.LD_FACTS, 0)]
        if isinstance(node, Direction):
            return _test(facts, Op.JSET_K, SENT if node.sent else RECEIVED)
        if isinstance(node, Dropped):
            return _test(facts, Op.JSET_K, DROPPED)
        if isinstance(node, OnInterface):
            return _test(facts, Op.JSET_K, 1 << FIRST_INTERFACE_BIT + self.interfaces.index(node.name))
        return All((_test(facts, Op.JSET_K, OWNED), _equal([(Op.LD_PROCESS, 0)], node.number)))

    # arithmetic

    def relation(self, node: Relation) -> Tests:
        left, left_checks = self.value(node.left, FIRST_FREE + 1)
        right, right_checks = self.value(node.right, FIRST_FREE)
        code = [*right, (Op.ST, FIRST_FREE), *left, (Op.LDX_MEM, FIRST_FREE)]
        test: Tests
        if node.operator in ("=", "!="):
            test = _test([*code, (Op.SUB_X, 0)], Op.JEQ_K, 0)
        else:
            test = _test(code, Op.JGT_X if node.operator in (">", "<=") else Op.JGE_X, 0)
        if node.operator in ("!=", "<=", "<"):
            test = Opposite(test)
        checks = [*left_checks, *right_checks]
        return All((*checks, test)) if checks else test

    def value(self, node: Value, cell: int) -> tuple[Code, list[Tests]]:
        """Code that leaves the value in A, using cells from ``cell`` on, and the checks of protocols that it needs.

        As in libpcap, an operator keeps the checks of its left side only.
        """
        if cell >= CELLS:
            raise UsageError("filter: the arithmetic is too deep", hint="split it with and")
        if isinstance(node, Number):
            return [(Op.LD_IMM, node.value)], []
        if isinstance(node, LengthValue):
            return [(Op.LD_LEN, 0)], []
        if isinstance(node, Negative):
            code, checks = self.value(node.value, cell)
            return [*code, (Op.NEG, 0)], checks
        if isinstance(node, Arithmetic):
            left, checks = self.value(node.left, cell + 1)
            right, _ = self.value(node.right, cell)
            return [*right, (Op.ST, cell), *left, (Op.LDX_MEM, cell), (_OPERATORS[node.operator], 0)], checks
        return self.field(node, cell)

    def field(self, node: Field, cell: int) -> tuple[Code, list[Tests]]:
        index, checks = self.value(node.index, cell)
        load = _LOADS[node.size][1]
        if node.protocol == "link":
            if self.place.prefix_varies:
                self.needs_prefix = True
                return [*index, (Op.LDX_MEM, PREFIX), (Op.ADD_X, 0), (Op.TAX, 0), (load, 0)], checks
            return [*index, (Op.TAX, 0), (load, 0)], checks
        self.need_network()
        at = self.place.payload + self.place.network
        if node.protocol in LINK_PROTOCOLS or node.protocol == "icmp6":
            number = LINK_PROTOCOLS.get(node.protocol, IP6)
            checks = [*checks, self.link_type(number)]
            if node.protocol == "icmp6":
                checks.append(_equal(self.from_network(6, 1), 58))
                at += 40
            if self.place.payload_varies:
                self.needs_payload = True
                return [*index, (Op.LDX_MEM, PAYLOAD), (Op.ADD_X, 0), (Op.TAX, 0), (load, at)], checks
            return [*index, (Op.TAX, 0), (load, at)], checks
        protocol, version = TRANSPORTS[node.protocol]
        checks = [self.link_type(IP), *checks, self.ip_protocol(protocol, version), self.not_a_later_fragment()]
        code = [*index, (Op.ST, cell), *self.header_length()]
        return [*code, (Op.LD_MEM, cell), (Op.ADD_X, 0), (Op.TAX, 0), (load, at)], checks


_OPERATORS = {
    "+": Op.ADD_X,
    "-": Op.SUB_X,
    "*": Op.MUL_X,
    "/": Op.DIV_X,
    "%": Op.MOD_X,
    "&": Op.AND_X,
    "|": Op.OR_X,
    "^": Op.XOR_X,
    "<<": Op.LSH_X,
    ">>": Op.RSH_X,
}


def _test(code: Code, jump: Op, k: int) -> Test:
    return Test(tuple(code), jump, k)


def _equal(code: Code, k: int) -> Test:
    return Test(tuple(code), Op.JEQ_K, k)


def _ways(way: str, source: Tests, target: Tests) -> Tests:
    if way == "src":
        return source
    if way == "dst":
        return target
    return Any((source, target)) if way == EITHER else All((source, target))
