"""A line of text per packet, in the manner of tcpdump: for people who watch, not for programs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import datetime, timezone
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from etwcap.packets import Chunk, Context, linktypes
from etwcap.words import safe_text

_DIRECTIONS: Final = ("", "In ", "Out", "")
_PROTOCOLS: Final = {
    0: "hop-by-hop", 1: "ICMP", 2: "IGMP", 4: "IPv4", 6: "TCP", 17: "UDP", 41: "IPv6", 44: "fragment", 46: "RSVP",
    47: "GRE", 50: "ESP", 51: "AH", 58: "ICMP6", 59: "no next header", 88: "EIGRP", 89: "OSPF", 103: "PIM", 112: "VRRP",
    115: "L2TP", 132: "SCTP", 136: "UDP-Lite", 255: "protocol not known",
}  # fmt: skip
_SERVICES: Final = {
    20: "ftp-data", 21: "ftp", 22: "ssh", 23: "telnet", 25: "smtp", 53: "domain", 67: "bootps", 68: "bootpc",
    80: "http", 88: "kerberos", 110: "pop3", 123: "ntp", 135: "epmap", 137: "netbios-ns", 138: "netbios-dgm",
    139: "netbios-ssn", 143: "imap", 161: "snmp", 389: "ldap", 443: "https", 445: "microsoft-ds", 464: "kpasswd",
    500: "isakmp", 514: "syslog", 546: "dhcpv6-client", 547: "dhcpv6-server", 587: "submission", 636: "ldaps",
    853: "domain-s", 993: "imaps", 995: "pop3s", 1433: "ms-sql-s", 1900: "ssdp", 3268: "msft-gc", 3389: "rdp",
    4500: "ipsec-nat-t", 5353: "mdns", 5355: "llmnr", 5985: "wsman", 5986: "wsmans",
}  # fmt: skip
_ICMP: Final = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"}
_ICMP6: Final = {
    1: "unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem", 128: "echo request",
    129: "echo reply", 130: "multicast listener query", 131: "multicast listener report",
    132: "multicast listener done", 133: "router solicitation", 134: "router advertisement",
    135: "neighbor solicitation", 136: "neighbor advertisement", 137: "redirect", 143: "multicast listener report v2",
}  # fmt: skip
_ETHER_TYPES: Final = {0x0806: "ARP", 0x88CC: "LLDP", 0x888E: "EAPOL", 0x8847: "MPLS", 0x8864: "PPPoE"}
_EXTENSIONS: Final = (0, 43, 60, 135)
_TCP_FLAGS: Final = ((0x02, "S"), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x10, "."), (0x20, "U"), (0x40, "E"),
                     (0x80, "W"))  # fmt: skip


class Style(NamedTuple):
    """How lines look."""

    numeric: bool = False
    """ports as numbers"""
    verbose: bool = False
    """what the headers say besides: hop limit, identification, sequence numbers"""
    interfaces: bool = True
    """name the interface"""


PLAIN: Final = Style()


def packet_lines(chunk: Chunk, context: Context, style: Style = PLAIN) -> Iterator[str]:
    """The lines of a chunk's packets, in its order. Any bytes give a line."""
    packets, buffer = chunk.packets, chunk.buffer
    columns = (packets[name].tolist() for name in ("time", "interface", "direction", "offset", "captured", "original"))
    for time, number, direction, offset, captured, original in zip(*columns, strict=True):
        interface = context.interfaces[number]
        named = f"{safe_text(interface.name or str(number))} " if style.interfaces else ""
        data = buffer[offset : offset + captured].tobytes()
        told = _of_link(data, interface.link_type, style)
        yield f"{_clock(time)} {named}{_DIRECTIONS[direction & 3]} {told}, length {original}"


def _clock(time: int) -> str:
    """Local time of the day, as tcpdump shows it, to the microsecond."""
    seconds, ns = divmod(time, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds, timezone.utc).astimezone():%H:%M:%S}.{ns // 1000:06d}"
    except (OverflowError, OSError, ValueError):
        return str(time)


def _of_link(data: bytes, link_type: int, style: Style) -> str:
    if link_type in (linktypes.RAW_IP, 12, 14, 228, 229):
        return _of_ip(data, style)
    if link_type in (0, 108):
        return _of_ip(data[4:], style)
    kind, at = (int.from_bytes(data[12:14], "big"), 14) if link_type == linktypes.ETHERNET else (-1, 0)
    if kind < 0:
        return linktypes.title(link_type)
    tag = ""
    while kind in (0x8100, 0x88A8) and len(data) >= at + 4:
        tag += f"vlan {int.from_bytes(data[at : at + 2], 'big') & 0xFFF}, "
        kind, at = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
    if kind in (0x0800, 0x86DD):
        return tag + _of_ip(data[at:], style)
    if kind == 0x0806 and len(data) >= at + 28:
        return tag + _of_arp(data[at:])
    ends = f"{data[6:12].hex(':')} > {data[:6].hex(':')}" if len(data) >= 12 else "cut Ethernet frame"
    return f"{tag}{ends} {_ETHER_TYPES.get(kind, f'type 0x{kind:04x}' if kind >= 1536 else 'LLC')}"


def _of_arp(data: bytes) -> str:
    operation, sender, target = int.from_bytes(data[6:8], "big"), IPv4Address(data[14:18]), IPv4Address(data[24:28])
    if operation == 1:
        return f"ARP who has {target}? tell {sender}"
    return f"ARP {sender} is at {data[8:14].hex(':')}" if operation == 2 else f"ARP operation {operation}"


def _of_ip(data: bytes, style: Style) -> str:
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        start = max((data[0] & 15) * 4, 20)
        more = f" (ttl {data[8]}, id {int.from_bytes(data[4:6], 'big')})" if style.verbose else ""
        part = int.from_bytes(data[6:8], "big") & 0x1FFF
        ends = (str(IPv4Address(data[12:16])), str(IPv4Address(data[16:20])))
        inner = f"fragment at {part * 8}" if part else ""
        return _of_transport(data[9], data[start:], ends, inner, style) + more
    if version == 6 and len(data) >= 40:
        more = (
            f" (hop limit {data[7]}, flow 0x{int.from_bytes(data[1:4], 'big') & 0xFFFFF:05x})" if style.verbose else ""
        )
        kind, at, inner = data[6], 40, ""
        while kind in _EXTENSIONS and len(data) >= at + 8:
            kind, at = data[at], at + 8 + data[at + 1] * 8
        if kind == 44 and len(data) >= at + 8:
            part = int.from_bytes(data[at + 2 : at + 4], "big") & 0xFFF8
            kind, at, inner = data[at], at + 8, f"fragment at {part}" if part else ""
        ends = (str(IPv6Address(data[8:24])), str(IPv6Address(data[24:40])))
        return _of_transport(kind, data[at:], ends, inner, style) + more
    return "cut IP packet" if version in (4, 6) else "no IP packet"


def _of_transport(protocol: int, data: bytes, ends: tuple[str, str], inner: str, style: Style) -> str:
    source, target = ends
    if inner:
        return f"{source} > {target} {_PROTOCOLS.get(protocol, f'protocol {protocol}')}, {inner}"
    if protocol in (6, 17, 132, 136) and len(data) >= 4:
        names = [_port(number, style) for number in struct.unpack_from(">HH", data)]
        ends_text = f"{source}.{names[0]} > {target}.{names[1]}"
        return f"{ends_text} {_of_tcp(data, style)}" if protocol == 6 else f"{ends_text} {_PROTOCOLS[protocol]}"
    text = f"{source} > {target} {_PROTOCOLS.get(protocol, f'protocol {protocol}')}"
    if protocol in (1, 58) and data:
        text += f" {(_ICMP if protocol == 1 else _ICMP6).get(data[0], f'type {data[0]}')}"
    return text


def _of_tcp(data: bytes, style: Style) -> str:
    if len(data) < 20:
        return "TCP, cut"
    sequence, acknowledged, _, flags, window = struct.unpack_from(">IIBBH", data, 4)
    text = f"TCP [{''.join(letter for bit, letter in _TCP_FLAGS if flags & bit) or 'none'}]"
    return f"{text}, seq {sequence}, ack {acknowledged}, win {window}" if style.verbose else text


def _port(number: int, style: Style) -> str:
    return str(number) if style.numeric else _SERVICES.get(number, str(number))
