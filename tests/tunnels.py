"""IP packets in tunnels, as bytes; the ends of the tunnels are HOST and SERVER, or HOST6 and SERVER6."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, TypeAlias

from frames import HOST, HOST6, HOST_MAC, IPV4, IPV6, SERVER, SERVER6, UDP, ethernet, ip, ipv4, ipv6, udp

Tunnel: TypeAlias = Callable[[bytes, bool], bytes]
"""An inner IP packet, and whether the host sends it, to the outer one."""

FAR_MAC: Final = bytes.fromhex("025a00000077")
SESSION: Final = b"\0\0\x30\x39"


def kind_of(packet: bytes) -> int:
    return IPV4 if packet[0] >> 4 == 4 else IPV6


def over4(protocol: int, payload: bytes, *, sent: bool) -> bytes:
    return ipv4(HOST, SERVER, protocol, payload) if sent else ipv4(SERVER, HOST, protocol, payload)


def over6(protocol: int, payload: bytes, *, sent: bool) -> bytes:
    return ipv6(HOST6, SERVER6, protocol, payload) if sent else ipv6(SERVER6, HOST6, protocol, payload)


def over_udp(source: int, target: int, payload: bytes, *, sent: bool) -> bytes:
    ends = (HOST, SERVER) if sent else (SERVER, HOST)
    return ip(*ends, UDP, udp(source, target, payload))


def bridged(packet: bytes, *, sent: bool, tag: bytes = b"") -> bytes:
    """The Ethernet frame inside a tunnel."""
    macs = (HOST_MAC, FAR_MAC) if sent else (FAR_MAC, HOST_MAC)
    frame = ethernet(*macs, kind_of(packet), packet)
    return frame[:12] + tag + frame[12:]


def ppp(packet: bytes) -> bytes:
    return (b"\0\x21" if kind_of(packet) == IPV4 else b"\0\x57") + packet


def gre(flags: int, fields: bytes, ether_type: int, payload: bytes) -> bytes:
    return struct.pack(">HH", flags, ether_type) + fields + payload


def pptp(packet: bytes, *, flags: int, numbers: bytes, head: bytes = b"") -> bytes:
    payload = head + ppp(packet)
    return struct.pack(">HHHH", flags, 0x880B, len(payload), 7) + numbers + payload


def gtp(packet: bytes, flags: int = 0x30, options: bytes = b"") -> bytes:
    return struct.pack(">BBHI", flags, 255, len(options + packet), 99) + options + packet


def geneve(ether_type: int, payload: bytes, options: bytes = b"") -> bytes:
    return struct.pack(">BBHI", len(options) // 4, 0, ether_type, 0x4200) + options + payload


LABELS: Final = b"\0\x06\x40\x40\0\x01\x01\x40"  # two, the second is the last one
VXLAN: Final = b"\x08\0\0\0\0\0\x42\0"

TUNNELS: Final[dict[str, Tunnel]] = {
    "IP in IPv4": lambda p, sent: over4(4 if p[0] >> 4 == 4 else 41, p, sent=sent),
    "IP in IPv6": lambda p, sent: over6(4 if p[0] >> 4 == 4 else 41, p, sent=sent),
    "GRE": lambda p, sent: over4(47, gre(0, b"", kind_of(p), p), sent=sent),
    "GRE with checksum, key and number": lambda p, sent: over6(47, gre(0xB000, bytes(12), kind_of(p), p), sent=sent),
    "GRE with a key": lambda p, sent: over4(47, gre(0x2000, SESSION, kind_of(p), p), sent=sent),
    "GRE with Ethernet": lambda p, sent: over4(47, gre(0x2000, SESSION, 0x6558, bridged(p, sent=sent)), sent=sent),
    "GRE with MPLS": lambda p, sent: over4(47, gre(0, b"", 0x8847, LABELS + p), sent=sent),
    "PPTP": lambda p, sent: over4(47, pptp(p, flags=0x3001, numbers=bytes(4), head=b"\xff\x03"), sent=sent),
    "PPTP with an acknowledgement": lambda p, sent: over4(47, pptp(p, flags=0x3081, numbers=bytes(8)), sent=sent),
    "EtherIP": lambda p, sent: over6(97, b"\x30\0" + bridged(p, sent=sent), sent=sent),
    "EtherIP with a VLAN": lambda p, sent: over4(97, b"\x30\0" + bridged(p, sent=sent, tag=b"\x81\0\0\5"), sent=sent),
    "L2TPv3": lambda p, sent: over4(115, SESSION + bridged(p, sent=sent), sent=sent),
    "L2TPv3 with a sublayer": lambda p, sent: over6(115, SESSION + bytes(4) + bridged(p, sent=sent), sent=sent),
    "L2TPv3 with a cookie": lambda p, sent: over4(115, SESSION + b"sweetest" + bridged(p, sent=sent), sent=sent),
    "L2TPv3 with both": lambda p, sent: over4(115, SESSION + b"sweetest" + bytes(4) + bridged(p, sent=sent), sent=sent),
    "MPLS": lambda p, sent: over4(137, LABELS + p, sent=sent),
    "VXLAN": lambda p, sent: over_udp(50123, 4789, VXLAN + bridged(p, sent=sent), sent=sent),
    "Geneve": lambda p, sent: over_udp(50123, 6081, geneve(kind_of(p), p), sent=sent),
    "Geneve with options": lambda p, sent: over_udp(
        50123, 6081, geneve(0x6558, bridged(p, sent=sent), bytes(8)), sent=sent
    ),
    "GTP-U": lambda p, sent: over_udp(2152, 2152, gtp(p), sent=sent),
    "GTP-U with extensions": lambda p, sent: over_udp(
        2152, 2152, gtp(p, 0x36, b"\0\1\0\x85\1\0\x09\xc0\2\0\0\0\0\0\0\0"), sent=sent
    ),
}
TEREDO: Final[dict[str, Tunnel]] = {
    "Teredo": lambda p, sent: over_udp(3544 if not sent else 50123, 3544 if sent else 50123, p, sent=sent),
    "Teredo with authentication and origin": lambda p, sent: over_udp(
        3544, 50123, b"\0\1\2\3idaut" + bytes(9) + b"\0\0" + bytes(6) + p, sent=sent
    ),
}
"""These carry IPv6 alone."""
