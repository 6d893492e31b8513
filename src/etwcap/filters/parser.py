"""From an expression to its tree. The grammar is that of pcap-filter(7): ``and`` and ``or`` bind alike, from left to
right; ``not`` binds closer; a value without qualifiers takes those of the value before it.
"""

from __future__ import annotations

from typing import Literal, cast

from etwcap.filters import arithmetic, operands
from etwcap.filters.names import CONSTANTS, LINK_PROTOCOLS, LINK_WORDS, NOT_SUPPORTED, QUALIFIERS, TRANSPORTS
from etwcap.filters.operands import Qualifiers
from etwcap.filters.reader import DEEPEST, WORD32, Reader
from etwcap.filters.tree import (
    EITHER,
    And,
    Cast,
    Direction,
    Dropped,
    IpProtocol,
    Length,
    LinkProtocol,
    Mac,
    Node,
    Not,
    OfProcess,
    OnInterface,
    Or,
    Vlan,
    Way,
    joined,
)
from etwcap.filters.words import Word, suggestion


def parse(expression: str) -> Node | None:
    """The tree of an expression; None for an empty one, which every packet matches. Raises FilterError."""
    parser = _Parser(expression)
    if parser.word.kind == "end":
        return None
    node, _ = parser.expression()
    if parser.word.kind != "end":
        parser.fail("and, or or the end is expected here")
    return node


class _Parser(Reader):
    def expression(self) -> tuple[Node, Qualifiers | None]:
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

    def operand(self, before: Qualifiers | None) -> tuple[Node, Qualifiers | None]:
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
            return not arithmetic.is_relation(self)
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
        return found and not arithmetic.parenthesis_is_value(self)

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

    def term(self) -> tuple[Node, Qualifiers | None]:
        with self.nested():
            return self._term()

    def _term(self) -> tuple[Node, Qualifiers | None]:
        word = self.word
        if self.take("not", "!"):
            node, qualifiers = self.term()
            return Not(node), qualifiers
        if self.is_word("(") and not arithmetic.parenthesis_is_value(self):
            self.next()
            inner, _ = self.expression()
            if not self.take(")"):
                self.fail("a closing parenthesis is missing")
            return inner, None
        if arithmetic.starts_relation(self):
            return arithmetic.relation(self), None
        if word.kind in ("address4", "address6", "mac"):
            kind = "ether host" if word.kind == "mac" else "host"
            self.fail("an address needs a word before it that says what it is", f"{kind} {word.text}")
        return self.primitive()

    def value(self, qualifiers: Qualifiers) -> Node:
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
            return operands.network(self, word, qualifiers)
        if qualifiers.kind in ("port", "portrange"):
            return operands.ports(self, word, qualifiers)
        return operands.protocol(self, word, qualifiers)

    def values(self, qualifiers: Qualifiers) -> Node:
        with self.nested():
            node = self._negated(qualifiers)
            while not self.take(")"):
                if self.take("and", "&&"):
                    node = joined(And, node, self._negated(qualifiers))
                elif self.take("or", "||"):
                    node = joined(Or, node, self._negated(qualifiers))
                else:
                    self.fail("and, or or a closing parenthesis is expected here")
            return node

    def _negated(self, qualifiers: Qualifiers) -> Node:
        negated = False
        while self.take("not", "!"):
            negated = not negated
        if not (self.starts_value() or self.is_word("(")):
            self.fail(f"a value for {qualifiers.kind or 'host'} is expected here")
        node = self.value(qualifiers)
        return Not(node) if negated else node

    def primitive(self) -> tuple[Node, Qualifiers | None]:
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
            return OfProcess(self.number("a process id", WORD32))
        if text == "process":
            self.fail("process cannot be used: who owns a packet is not known yet", "pid NUMBER", word)
        if text in ("greater", "less"):
            return Length(">=" if text == "greater" else "<=", self.number("a length in bytes", WORD32))
        if text == "pppoed":
            return LinkProtocol(LINK_PROTOCOLS["pppoed"])
        if text == "vlan":
            number = self.word.kind == "number" and not arithmetic.is_relation(self)
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

    def qualified(self, word: Word, protocol: str) -> tuple[Node, Qualifiers | None]:
        way: Way | None = None
        if word.kind == "name" and word.text in ("src", "dst"):
            way = self.way(word)
            refused = self.word.kind == "name" and self.word.text in NOT_SUPPORTED
            if not refused and not self.is_word("host", "net", "port", "portrange", "proto"):
                return self._valued(Qualifiers(protocol, way))
            word = self.next()
        if word.kind != "name" or word.text not in ("host", "net", "port", "portrange", "proto"):
            if word.kind == "name" and word.text in NOT_SUPPORTED:
                self.fail(f"{word.text} is not supported", NOT_SUPPORTED[word.text], word)
            hint = suggestion(word.text) if word.kind == "name" else ""
            self.fail(f"{word.text!r} is no word of the filter language" if word.text else "", hint, word)
        return self._valued(Qualifiers(protocol, way, word.text))

    def _valued(self, qualifiers: Qualifiers) -> tuple[Node, Qualifiers]:
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
