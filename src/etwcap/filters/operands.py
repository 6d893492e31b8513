"""What qualifiers ask of a value: an address or network, ports, a protocol."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Literal, cast

from etwcap.filters.names import IP_PROTOCOLS, LINK_PROTOCOLS, LINK_WORDS, SCTP, SERVICES, TCP, UDP
from etwcap.filters.reader import WORD32, Reader, as_c_writes_it
from etwcap.filters.tree import EITHER, IpProtocol, LinkProtocol, Net, Node, Ports, Way
from etwcap.filters.words import Word, suggestion

_PORT_PROTOCOLS = {"": (SCTP, TCP, UDP), "tcp": (TCP,), "udp": (UDP,), "sctp": (SCTP,)}
_SIX = (1 << 128) - 1


@dataclass(frozen=True, slots=True)
class Qualifiers:
    """The words before a value, which bare values behind it take too."""

    protocol: str = ""
    way: Way | None = None
    kind: str = ""
    """host, net, port, portrange, proto; empty: not said"""


def network(reader: Reader, word: Word, qualifiers: Qualifiers) -> Node:
    """The address or network that ``word`` begins."""
    protocol = qualifiers.protocol
    if protocol in LINK_WORDS:
        reader.fail("ether needs a MAC address", "as in: ether host 00:11:22:33:44:55", word)
    if protocol not in ("", "ip", "ip6", "arp", "rarp"):
        reader.fail(f"{protocol} has no addresses; ip, ip6, arp and rarp do", f"{protocol} and host …", word)
    if word.kind == "address6":
        return _network6(reader, word, qualifiers)
    if word.kind not in ("address4", "number"):
        kind = qualifiers.kind or "host"
        reader.fail(
            f"{word.text!r} is no address",
            suggestion(word.text) or f"names are not looked up: {kind} needs an address, as in host 192.0.2.1",
            word,
        )
    if protocol == "ip6":
        reader.fail("an IPv4 address cannot follow ip6", word=word)
    if word.kind == "number":
        number = reader.integer(word)
        address, mask = number, WORD32
        if qualifiers.kind == "net":
            while address and not address & 0xFF000000:
                address, mask = address << 8, mask << 8 & WORD32
    else:
        parts = [int(part) for part in word.text.split(".")]
        if max(parts) > 255:
            reader.fail(f"{word.text} is no IPv4 address", word=word)
        shift = 32 - 8 * len(parts)
        address = int.from_bytes(bytes(parts), "big") << shift
        mask = WORD32 << shift & WORD32
    given = _mask(reader, word, qualifiers)
    if given is not None:
        mask = given
        if address & ~mask & WORD32:
            reader.fail("the address has bits that the mask leaves out", word=word)
    chosen = cast("Literal['ip', 'arp', 'rarp', None]", protocol or None)
    return Net(4, address, mask, qualifiers.way or EITHER, chosen)


def _mask(reader: Reader, word: Word, qualifiers: Qualifiers) -> int | None:
    if reader.is_word("/"):
        _only_net(reader, word, qualifiers)
        reader.next()
        length = reader.number("a prefix length from 0 to 32", 32)
        return WORD32 << (32 - length) & WORD32
    if reader.is_word("mask"):
        _only_net(reader, word, qualifiers)
        reader.next()
        given = reader.next()
        parts = given.text.split(".")
        if given.kind != "address4" or len(parts) != 4 or max(map(int, parts)) > 255:
            reader.fail("a mask such as 255.255.255.0 is expected here", word=given)
        return int.from_bytes(bytes(map(int, parts)), "big")
    return None


def _only_net(reader: Reader, word: Word, qualifiers: Qualifiers) -> None:
    if qualifiers.kind != "net":
        reader.fail("only net takes a prefix or a mask", f"net {word.text}{reader.word.text}…")


def _network6(reader: Reader, word: Word, qualifiers: Qualifiers) -> Node:
    if qualifiers.protocol not in ("", "ip6"):
        reader.fail(f"an IPv6 address cannot follow {qualifiers.protocol}", word=word)
    address, mask = int(IPv6Address(word.text)), _SIX
    if reader.is_word("/"):
        _only_net(reader, word, qualifiers)
        reader.next()
        mask = _SIX << (128 - reader.number("a prefix length from 0 to 128", 128)) & _SIX
        if address & ~mask & _SIX:
            reader.fail("the address has bits that the prefix leaves out", word=word)
    return Net(6, address, mask, qualifiers.way or EITHER, "ip6" if qualifiers.protocol else None)


def ports(reader: Reader, word: Word, qualifiers: Qualifiers) -> Node:
    """The port, service or range of ports that ``word`` is."""
    protocols = _PORT_PROTOCOLS.get(qualifiers.protocol)
    if protocols is None:
        reader.fail(f"{qualifiers.protocol} has no ports; tcp, udp and sctp do", "tcp port 443", word)
    way = qualifiers.way or EITHER
    low, dash, high = word.text.partition("-")
    if qualifiers.kind == "portrange" and dash and word.text not in SERVICES:
        first, second = _port(reader, word, low), _port(reader, word, high)
        return Ports(min(first, second), max(first, second), protocols, way, is_range=True)
    name = word.text.removeprefix("\\")
    if name in SERVICES:
        port, has = SERVICES[name]
        if qualifiers.protocol and protocols[0] not in has and protocols != (SCTP,):
            reader.fail(f"{name} is no service of {qualifiers.protocol}", f"{qualifiers.protocol} port {port}", word)
        if len(has) == 1 and protocols != (SCTP,):
            protocols = tuple(has)
    else:
        port = _port(reader, word, name)
    return Ports(port, port, protocols, way, is_range=qualifiers.kind == "portrange")


def _port(reader: Reader, word: Word, text: str) -> int:
    if text in SERVICES:
        return SERVICES[text][0]
    try:
        number = as_c_writes_it(text)
    except ValueError:
        reader.fail(
            f"{text!r} is no port",
            suggestion(text, tuple(SERVICES)) or "a number, or one of the services etwcap knows (docs: filters)",
            word,
        )
    if number > 65535:
        reader.fail(f"{number} is no port: the highest is 65535", word=word)
    return number


def protocol(reader: Reader, word: Word, qualifiers: Qualifiers) -> Node:
    """The protocol inside IP or the link layer that ``word`` names."""
    if qualifiers.way is not None:
        reader.fail("src and dst do not go with proto", word=word)
    family = qualifiers.protocol
    if family not in ("", "ip", "ip6", *LINK_WORDS):
        reader.fail(f"{family} carries no other protocol; ip, ip6 and ether do", word=word)
    names = LINK_PROTOCOLS if family in LINK_WORDS else IP_PROTOCOLS
    text = word.text.removeprefix("\\")
    if word.kind == "number":
        number = reader.integer(word)
    elif text in names:
        number = names[text]
    else:
        hint = suggestion(text, tuple(names)) or f"a number, or one of: {', '.join(names)}"
        reader.fail(f"{text!r} is no protocol that {family or 'proto'} knows", hint, word)
    if family in LINK_WORDS:
        return LinkProtocol(number)
    return IpProtocol(number, cast("Literal['ip', 'ip6', None]", family or None))
