"""From an expression to its tree. The grammar is that of pcap-filter(7): ``and`` and ``or`` bind alike, from left to
right; ``not`` binds closer; a value without qualifiers takes those of the value before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Literal, NoReturn, cast

from etwcap.filters.names import (
    CONSTANTS,
    IP_PROTOCOLS,
    LINK_PROTOCOLS,
    LINK_WORDS,
    NOT_SUPPORTED,
    QUALIFIERS,
    SCTP,
    SERVICES,
    TCP,
    TRANSPORTS,
    UDP,
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
    Way,
    joined,
)
from etwcap.filters.words import FilterError, Word, suggestion, words_of

DEEPEST = 60
"""Levels of parentheses and of ``not``."""

_COMPARE = {"=": "=", "==": "=", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_LEVELS = (("|",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/"))
"""Operators from the loosest to the closest. ``^`` and ``%`` have no rank in libpcap's grammar: they bind the value on
their left to everything on their right."""
_PORT_PROTOCOLS = {"": (SCTP, TCP, UDP), "tcp": (TCP,), "udp": (UDP,), "sctp": (SCTP,)}
_FOUR = 0xFFFFFFFF
_SIX = (1 << 128) - 1


@dataclass(frozen=True, slots=True)
class _Qualifiers:
    protocol: str = ""
    way: Way | None = None
    kind: str = ""
    """host, net, port, portrange, proto; empty: not said"""


def parse(expression: str) -> Node | None:
    """The tree of an expression; None for an empty one, which every packet matches. Raises FilterError."""
    parser = _Parser(expression)
    if parser.word.kind == "end":
        return None
    node, _ = parser.expression()
    if parser.word.kind != "end":
        parser.fail("and, or or the end is expected here")
    return node


class _Parser:
    def __init__(self, expression: str) -> None:
        self.text = expression
        self.words = words_of(expression)
        self.at = 0
        self.depth = 0

    @property
    def word(self) -> Word:
        return self.words[self.at]

    def next(self) -> Word:
        word = self.word
        self.at += word.kind != "end"
        return word

    def is_word(self, *texts: str) -> bool:
        return self.word.kind in ("name", "sign") and self.word.text in texts

    def take(self, *texts: str) -> bool:
        found = self.is_word(*texts)
        self.at += found
        return found

    def fail(self, what: str, hint: str = "", word: Word | None = None) -> NoReturn:
        word = word or self.word
        if word.kind == "end":
            what = f"the expression ends too early: {what}"
        elif not hint and word.kind == "name":
            hint = suggestion(word.text)
        raise FilterError(what, self.text, word, hint)

    def enter(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"more than {DEEPEST} levels of parentheses")

    def expression(self) -> tuple[Node, _Qualifiers | None]:
        """Terms joined by and/or, and the qualifiers that a bare value after it would take."""
        node, qualifiers = self.term()
        while True:
            if self.take("and", "&&"):
                kind: type[And] | type[Or] = And
            elif self.take("or", "||"):
                kind = Or
            else:
                return node, qualifiers
            other, qualifiers = self.operand(qualifiers)
            node = joined(kind, node, other)
            if isinstance(node, And | Or) and self.height(node) > 2 * DEEPEST:
                self.fail("and and or alternate too often", "use parentheses")

    def height(self, node: Node) -> int:
        """How deep the left side of a chain is."""
        height = 0
        while isinstance(node, And | Or):
            node, height = node.children[0], height + 1
        return height

    def operand(self, before: _Qualifiers | None) -> tuple[Node, _Qualifiers | None]:
        """What follows and/or: a term, or a bare value with the qualifiers before it."""
        negations = 0
        start = self.at
        while self.take("not", "!"):
            negations += 1
        if self.starts_value() or self.starts_values():
            if before is None:
                self.fail("a value needs a qualifier here", "as in: port 80 or host 192.0.2.1")
            node = self.value(before)
            return (Not(node) if negations % 2 else node), before
        self.at = start
        return self.term()

    def starts_value(self) -> bool:
        """Whether a bare value is next, and not the beginning of a comparison."""
        word = self.word
        if word.kind == "number":
            return not self.is_relation()
        if word.kind in ("address4", "address6", "mac", "escaped"):
            return True
        return word.kind == "name" and not self.is_known(word.text)

    def starts_values(self) -> bool:
        """Whether a parenthesis is next whose first word is a bare value."""
        start = self.at
        while self.take("(", "not", "!"):
            pass
        found = self.at > start and self.starts_value()
        self.at = start
        return found and not self.is_arithmetic()

    def is_known(self, text: str) -> bool:
        return (
            text in QUALIFIERS
            or text in CONSTANTS
            or text in NOT_SUPPORTED
            or text
            in (
                *("and", "or", "not", "src", "dst", "host", "net", "port", "portrange", "proto", "broadcast"),
                *("multicast", "vlan", "greater", "less", "len", "length", "inbound", "outbound", "in", "out"),
                *("dropped", "if", "pid", "process", "pppoed", "mask"),
            )
        )

    def is_relation(self) -> bool:
        """Whether the number here is followed by an operator."""
        after = self.words[self.at + 1]
        return after.kind == "sign" and after.text not in (")", "!", "&&", "||", "[", "]", ":", "(")

    def term(self) -> tuple[Node, _Qualifiers | None]:
        self.enter()
        try:
            return self._term()
        finally:
            self.depth -= 1

    def _term(self) -> tuple[Node, _Qualifiers | None]:
        word = self.word
        if self.take("not", "!"):
            node, qualifiers = self.term()
            return Not(node), qualifiers
        if self.is_word("(") and not self.is_arithmetic():
            self.next()
            inner, _ = self.expression()
            if not self.take(")"):
                self.fail("a closing parenthesis is missing")
            return inner, None
        if self.starts_arithmetic():
            return self.relation(), None
        if word.kind in ("address4", "address6", "mac"):
            kind = "ether host" if word.kind == "mac" else "host"
            self.fail("an address needs a word before it that says what it is", f"{kind} {word.text}")
        return self.primitive()

    def starts_arithmetic(self) -> bool:
        word = self.word
        if word.kind == "number":
            return True
        if word.kind == "sign":
            return word.text in ("-", "(")
        if word.kind != "name":
            return False
        after = self.words[self.at + 1]
        return (
            word.text in ("len", "length")
            or word.text in CONSTANTS
            or (after.kind == "sign" and after.text == "[" and (word.text in QUALIFIERS or word.text == "radio"))
        )

    def is_arithmetic(self) -> bool:
        """Whether the parenthesis here belongs to a value: whether an operator follows its end, or only a value can
        stand in it."""
        depth = 0
        for number in range(self.at, len(self.words)):
            word = self.words[number]
            if word.kind == "sign" and word.text == "(":
                depth += 1
            elif word.kind == "sign" and word.text == ")":
                depth -= 1
                if depth == 0:
                    after = self.words[number + 1]
                    return after.kind == "sign" and after.text not in (")", "&&", "||", "!", "(", "]", "[", ":")
        return False

    # values of qualifiers

    def value(self, qualifiers: _Qualifiers) -> Node:
        """A bare value, or several in parentheses, under the qualifiers."""
        word = self.next()
        if word.kind == "sign" and word.text == "(":
            return self.values(qualifiers)
        if word.kind == "mac" and qualifiers.kind in ("", "host"):
            if qualifiers.protocol not in LINK_WORDS:
                self.fail("a MAC address needs ether before it", f"ether host {word.text}", word)
            digits = word.text.replace(":", " ").replace("-", " ").replace(".", " ").split()
            address = b"".join(bytes.fromhex(part.zfill(2 if len(digits) == 6 else 4)) for part in digits)
            return Mac(address, qualifiers.way or EITHER)
        if qualifiers.kind in ("", "host", "net"):
            return self.network(word, qualifiers)
        if qualifiers.kind in ("port", "portrange"):
            return self.ports(word, qualifiers)
        return self.protocol(word, qualifiers)

    def values(self, qualifiers: _Qualifiers) -> Node:
        self.enter()
        node = self._negated(qualifiers)
        while not self.take(")"):
            if self.take("and", "&&"):
                node = joined(And, node, self._negated(qualifiers))
            elif self.take("or", "||"):
                node = joined(Or, node, self._negated(qualifiers))
            else:
                self.fail("and, or or a closing parenthesis is expected here")
        self.depth -= 1
        return node

    def _negated(self, qualifiers: _Qualifiers) -> Node:
        negated = False
        while self.take("not", "!"):
            negated = not negated
        if not (self.starts_value() or self.is_word("(")):
            self.fail(f"a value for {qualifiers.kind or 'host'} is expected here")
        node = self.value(qualifiers)
        return Not(node) if negated else node

    def network(self, word: Word, qualifiers: _Qualifiers) -> Node:
        protocol = qualifiers.protocol
        if protocol in LINK_WORDS:
            self.fail("ether needs a MAC address", "as in: ether host 00:11:22:33:44:55", word)
        if protocol not in ("", "ip", "ip6", "arp", "rarp"):
            self.fail(f"{protocol} has no addresses; ip, ip6, arp and rarp do", f"{protocol} and host …", word)
        if word.kind == "address6":
            return self.network6(word, qualifiers)
        if word.kind not in ("address4", "number"):
            kind = qualifiers.kind or "host"
            self.fail(
                f"{word.text!r} is no address",
                suggestion(word.text) or f"names are not looked up: {kind} needs an address, as in host 192.0.2.1",
                word,
            )
        if protocol == "ip6":
            self.fail("an IPv4 address cannot follow ip6", word=word)
        if word.kind == "number":
            number = self.integer(word)
            address, mask = number, _FOUR
            if qualifiers.kind == "net":
                while address and not address & 0xFF000000:
                    address, mask = address << 8, mask << 8 & _FOUR
        else:
            parts = [int(part) for part in word.text.split(".")]
            if max(parts) > 255:
                self.fail(f"{word.text} is no IPv4 address", word=word)
            shift = 32 - 8 * len(parts)
            address = int.from_bytes(bytes(parts), "big") << shift
            mask = _FOUR << shift & _FOUR
        given = self.mask(word, qualifiers)
        if given is not None:
            mask = given
            if address & ~mask & _FOUR:
                self.fail("the address has bits that the mask leaves out", word=word)
        chosen = cast("Literal['ip', 'arp', 'rarp', None]", protocol or None)
        return Net(4, address, mask, qualifiers.way or EITHER, chosen)

    def mask(self, word: Word, qualifiers: _Qualifiers) -> int | None:
        if self.is_word("/"):
            self._only_net(word, qualifiers)
            self.next()
            length = self.number("a prefix length from 0 to 32", 32)
            return _FOUR << (32 - length) & _FOUR
        if self.is_word("mask"):
            self._only_net(word, qualifiers)
            self.next()
            given = self.next()
            parts = given.text.split(".")
            if given.kind != "address4" or len(parts) != 4 or max(map(int, parts)) > 255:
                self.fail("a mask such as 255.255.255.0 is expected here", word=given)
            return int.from_bytes(bytes(map(int, parts)), "big")
        return None

    def _only_net(self, word: Word, qualifiers: _Qualifiers) -> None:
        if qualifiers.kind != "net":
            self.fail("only net takes a prefix or a mask", f"net {word.text}{self.word.text}…")

    def network6(self, word: Word, qualifiers: _Qualifiers) -> Node:
        if qualifiers.protocol not in ("", "ip6"):
            self.fail(f"an IPv6 address cannot follow {qualifiers.protocol}", word=word)
        address, mask = int(IPv6Address(word.text)), _SIX
        if self.is_word("/"):
            self._only_net(word, qualifiers)
            self.next()
            mask = _SIX << (128 - self.number("a prefix length from 0 to 128", 128)) & _SIX
            if address & ~mask & _SIX:
                self.fail("the address has bits that the prefix leaves out", word=word)
        return Net(6, address, mask, qualifiers.way or EITHER, "ip6" if qualifiers.protocol else None)

    def ports(self, word: Word, qualifiers: _Qualifiers) -> Node:
        protocols = _PORT_PROTOCOLS.get(qualifiers.protocol)
        if protocols is None:
            self.fail(f"{qualifiers.protocol} has no ports; tcp, udp and sctp do", "tcp port 443", word)
        way = qualifiers.way or EITHER
        low, dash, high = word.text.partition("-")
        if qualifiers.kind == "portrange" and dash and word.text not in SERVICES:
            first, second = self.port(word, low), self.port(word, high)
            return Ports(min(first, second), max(first, second), protocols, way, is_range=True)
        name = word.text.removeprefix("\\")
        if name in SERVICES:
            port, has = SERVICES[name]
            if qualifiers.protocol and protocols[0] not in has and protocols != (SCTP,):
                self.fail(f"{name} is no service of {qualifiers.protocol}", f"{qualifiers.protocol} port {port}", word)
            if len(has) == 1 and protocols != (SCTP,):
                protocols = tuple(has)
        else:
            port = self.port(word, name)
        return Ports(port, port, protocols, way, is_range=qualifiers.kind == "portrange")

    def port(self, word: Word, text: str) -> int:
        if text in SERVICES:
            return SERVICES[text][0]
        try:
            number = _integer(text)
        except ValueError:
            self.fail(
                f"{text!r} is no port",
                suggestion(text, tuple(SERVICES)) or "a number, or one of the services etwcap knows (docs: filters)",
                word,
            )
        if number > 65535:
            self.fail(f"{number} is no port: the highest is 65535", word=word)
        return number

    def protocol(self, word: Word, qualifiers: _Qualifiers) -> Node:
        if qualifiers.way is not None:
            self.fail("src and dst do not go with proto", word=word)
        family = qualifiers.protocol
        if family not in ("", "ip", "ip6", *LINK_WORDS):
            self.fail(f"{family} carries no other protocol; ip, ip6 and ether do", word=word)
        names = LINK_PROTOCOLS if family in LINK_WORDS else IP_PROTOCOLS
        text = word.text.removeprefix("\\")
        if word.kind == "number":
            number = self.integer(word)
        elif text in names:
            number = names[text]
        else:
            hint = suggestion(text, tuple(names)) or f"a number, or one of: {', '.join(names)}"
            self.fail(f"{text!r} is no protocol that {family or 'proto'} knows", hint, word)
        if family in LINK_WORDS:
            return LinkProtocol(number)
        return IpProtocol(number, cast("Literal['ip', 'ip6', None]", family or None))

    # primitives

    def primitive(self) -> tuple[Node, _Qualifiers | None]:
        word = self.next()
        if word.kind == "name":
            own = self.own(word)
            if own is not None:
                return own, None
        if word.text in NOT_SUPPORTED and word.kind == "name":
            self.fail(f"{word.text} is not supported", NOT_SUPPORTED[word.text], word)
        protocol = ""
        if word.kind == "name" and word.text in QUALIFIERS:
            protocol = word.text
            if not self.qualifier_follows():
                return self.alone(word), None
            if self.is_word("broadcast", "multicast"):
                return self.cast(word, self.next()), None
            word = self.next()
        elif self.is_kind_of_cast(word):
            return self.cast(None, word), None
        return self.qualified(word, protocol)

    def is_kind_of_cast(self, word: Word) -> bool:
        return word.kind == "name" and word.text in ("broadcast", "multicast")

    def qualifier_follows(self) -> bool:
        follows = ("src", "dst", "host", "net", "port", "portrange", "proto", "broadcast", "multicast")
        refused = self.word.kind == "name" and self.word.text in NOT_SUPPORTED
        return self.is_word(*follows) or refused

    def alone(self, word: Word) -> Node:
        if word.text in LINK_WORDS:
            self.fail("host, src, dst, proto, broadcast, multicast or [ is expected here")
        if self.word.kind in ("number", "address4", "address6", "mac"):
            kind = "host" if word.text in ("ip", "ip6", "arp", "rarp") else "port"
            kind = kind if self.word.kind == "number" or kind == "host" else "and host"
            self.fail(f"a value cannot follow {word.text} alone", f"{word.text} {kind} {self.word.text}")
        if word.text in TRANSPORTS:
            return IpProtocol(*cast("tuple[int, Literal['ip', 'ip6', None]]", TRANSPORTS[word.text]))
        return LinkProtocol(LINK_PROTOCOLS[word.text])

    def own(self, word: Word) -> Node | None:
        """Primitives that take no qualifiers."""
        text = word.text
        if text in ("in", "inbound"):
            return Direction(sent=False)
        if text in ("out", "outbound"):
            return Direction(sent=True)
        if text == "dropped":
            return Dropped()
        if text == "if":
            name = self.next()
            if name.kind in ("end", "sign"):
                self.fail("the name or number of an interface is expected here", "quote a name with spaces", name)
            return OnInterface(name.text.strip("\"'").removeprefix("\\"))
        if text == "pid":
            return OfProcess(self.number("a process id", _FOUR))
        if text == "process":
            self.fail("process cannot be used: who owns a packet is not known yet", "pid NUMBER", word)
        if text in ("greater", "less"):
            return Length(">=" if text == "greater" else "<=", self.number("a length in bytes", _FOUR))
        if text == "pppoed":
            return LinkProtocol(LINK_PROTOCOLS["pppoed"])
        if text == "vlan":
            number = self.word.kind == "number" and not self.is_relation()
            return Vlan(self.number("a VLAN id from 0 to 4095", 4095) if number else None)
        return None

    def cast(self, protocol: Word | None, kind: Word) -> Node:
        name = protocol.text if protocol else ""
        layer: Literal["link", "ip", "ip6"]
        if name in ("", *LINK_WORDS):
            layer = "link"
        elif name == "ip" or (name == "ip6" and kind.text == "multicast"):
            layer = "ip" if name == "ip" else "ip6"
        else:
            self.fail(f"{name} has no {kind.text}", word=kind)
        if layer == "ip" and kind.text == "broadcast":
            self.fail(
                "ip broadcast needs the netmask of the interface, which a trace does not tell",
                "ether broadcast, or dst host ADDRESS",
                kind,
            )
        return Cast(cast("Literal['broadcast', 'multicast']", kind.text), layer)

    def qualified(self, word: Word, protocol: str) -> tuple[Node, _Qualifiers | None]:
        way: Way | None = None
        if word.kind == "name" and word.text in ("src", "dst"):
            way = self.way(word)
            refused = self.word.kind == "name" and self.word.text in NOT_SUPPORTED
            if not refused and not self.is_word("host", "net", "port", "portrange", "proto"):
                return self._valued(_Qualifiers(protocol, way))
            word = self.next()
        if word.kind != "name" or word.text not in ("host", "net", "port", "portrange", "proto"):
            if word.kind == "name" and word.text in NOT_SUPPORTED:
                self.fail(f"{word.text} is not supported", NOT_SUPPORTED[word.text], word)
            hint = suggestion(word.text) if word.kind == "name" else ""
            self.fail(f"{word.text!r} is no word of the filter language" if word.text else "", hint, word)
        return self._valued(_Qualifiers(protocol, way, word.text))

    def _valued(self, qualifiers: _Qualifiers) -> tuple[Node, _Qualifiers]:
        if self.word.kind in ("end", "sign", "quoted") and not self.is_word("("):
            self.fail(f"a value for {qualifiers.kind or qualifiers.way} is expected here")
        return self.value(qualifiers), qualifiers

    def way(self, word: Word) -> Way:
        other = "dst" if word.text == "src" else "src"
        after = self.words[self.at + 1] if self.word.kind != "end" else self.word
        if self.is_word("or", "and", "||", "&&") and after.kind == "name" and after.text == other:
            both = self.next().text in ("and", "&&")
            self.next()
            return "src and dst" if both else EITHER
        return cast("Way", word.text)

    # arithmetic

    def relation(self) -> Node:
        left = self.arithmetic(0)
        word = self.next()
        operator = _COMPARE.get(word.text) if word.kind == "sign" else None
        if operator is None:
            self.fail("a comparison is expected here: = != < <= > >=", word=word)
        return Relation(operator, left, self.arithmetic(0))

    def arithmetic(self, level: int) -> Value:
        if level == len(_LEVELS):
            return self.factor()
        left = self.arithmetic(level + 1)
        steps = 0
        while self.is_word(*_LEVELS[level]):
            word = self.next()
            right = self.arithmetic(level + 1)
            self.check(word, right)
            left = Arithmetic(word.text, left, right)
            steps += 1
            if steps > DEEPEST:
                self.fail("too many operators in one value", word=word)
        return left

    def check(self, word: Word, right: Value) -> None:
        if isinstance(right, Number):
            if word.text in ("/", "%") and right.value == 0:
                self.fail("division by zero", word=word)
            if word.text in ("<<", ">>") and right.value > 31:
                self.fail("a shift by more than 31 bits", word=word)

    def factor(self) -> Value:
        self.enter()
        try:
            value = self._factor()
            if self.is_word("^", "%"):
                word = self.next()
                right = self.arithmetic(0)
                self.check(word, right)
                value = Arithmetic(word.text, value, right)
            return value
        finally:
            self.depth -= 1

    def _factor(self) -> Value:
        word = self.next()
        if word.kind == "number":
            return Number(self.integer(word))
        if word.kind == "sign" and word.text == "-":
            return Negative(self.factor())
        if word.kind == "sign" and word.text == "(":
            value = self.arithmetic(0)
            if not self.take(")"):
                self.fail("a closing parenthesis is missing")
            return value
        if word.kind == "name" and word.text in ("len", "length"):
            return LengthValue()
        if word.kind == "name" and word.text in CONSTANTS:
            return Number(CONSTANTS[word.text])
        if word.kind == "name" and self.take("["):
            return self.field(word)
        return self.fail("a number, a constant, len or PROTO[OFFSET:SIZE] is expected here", word=word)

    def field(self, word: Word) -> Value:
        if word.text not in QUALIFIERS or word.text in ("ah", "esp", "iso", "stp", "ipx", "netbeui", "aarp"):
            hint = NOT_SUPPORTED.get(word.text, "")
            self.fail(f"{word.text} cannot be indexed", hint, word)
        index = self.arithmetic(0)
        size = 1
        if self.take(":"):
            at = self.word
            size = self.number("a size of 1, 2 or 4", 4)
            if size not in (1, 2, 4):
                self.fail("a size of 1, 2 or 4 is expected here", word=at)
        if not self.take("]"):
            self.fail("] is expected here")
        return Field("link" if word.text in LINK_WORDS else word.text, index, size)

    # numbers

    def number(self, what: str, highest: int) -> int:
        word = self.next()
        if word.kind != "number":
            self.fail(f"{what} is expected here", word=word)
        number = self.integer(word)
        if number > highest:
            self.fail(f"{what} is expected here", word=word)
        return number

    def integer(self, word: Word) -> int:
        try:
            number = _integer(word.text)
        except ValueError:
            self.fail(f"{word.text} is no number", word=word)
        if number > _FOUR:
            self.fail(f"{word.text} does not fit 32 bits", word=word)
        return number


def _integer(text: str) -> int:
    """A number as C writes it: 0x for hexadecimal, a leading 0 for octal. Raises ValueError."""
    if not text.isascii() or not text.isalnum() or len(text) > 32:
        raise ValueError(text)
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    return int(text, 8) if text.startswith("0") and len(text) > 1 else int(text, 10)
