"""Frames of every kind in which headers hold addresses, with right checksums."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from frames import (
    GATEWAY_MAC,
    HOST,
    HOST6,
    HOST_MAC,
    ICMP,
    ICMP6,
    RESOLVER,
    SERVER,
    SERVER6,
    TCP,
    UDP,
    address_question,
    checksum,
    ethernet,
    framed,
    ip,
    ipv4,
    ipv6,
    name_lookup,
    ping,
    tcp,
    traffic,
    udp,
    wifi,
)

LINK_LOCAL, ROUTER6 = IPv6Address("fe80::25a:ff:fe00:10"), IPv6Address("fe80::1")
ALL_ROUTERS, SOLICITED = IPv6Address("ff02::16"), IPv6Address("ff02::1:ff00:10")
SOLICITED_MAC = bytes.fromhex("3333ff000010")
MAC_OPTION = b"\x01\x01" + HOST_MAC
QUESTION = framed(ip(HOST, RESOLVER, UDP, udp(50000, 53, b"a question")), sent=True).frame


def neighbor_question() -> bytes:
    body = struct.pack(">BBHI", 135, 0, 0, 0) + HOST6.packed + MAC_OPTION
    return ethernet(HOST_MAC, SOLICITED_MAC, 0x86DD, ip(LINK_LOCAL, SOLICITED, ICMP6, body))


def router_advertisement() -> bytes:
    prefix = struct.pack(">BBBBIII", 3, 4, 64, 0xC0, 3600, 1800, 0) + IPv6Address("2001:db8::").packed
    servers = struct.pack(">BBHI", 25, 3, 0, 600) + IPv6Address("2001:db8::53").packed
    body = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + MAC_OPTION + prefix + servers
    return framed(ip(ROUTER6, LINK_LOCAL, ICMP6, body), sent=False).frame


def listener_report() -> bytes:
    records = b"".join(struct.pack(">BBH", 4, 0, 0) + group.packed for group in (SOLICITED, ALL_ROUTERS))
    records += struct.pack(">BBH", 1, 0, 1) + ALL_ROUTERS.packed + SERVER6.packed
    body = struct.pack(">BBHHH", 143, 0, 0, 0, 3) + records
    return framed(ip(LINK_LOCAL, ALL_ROUTERS, ICMP6, body), sent=True).frame


def unreachable() -> bytes:
    quoted = ip(HOST, SERVER, UDP, udp(50000, 9999, b"nobody listens"), 7)
    body = struct.pack(">BBHI", 3, 3, 0, 0) + quoted
    return framed(ip(SERVER, HOST, ICMP, body), sent=False).frame


def unreachable6() -> bytes:
    quoted = ip(HOST6, SERVER6, TCP, tcp(50000, 9999, 1, 0, 2))
    return framed(ip(SERVER6, HOST6, ICMP6, struct.pack(">BBHI", 1, 4, 0, 0) + quoted), sent=False).frame


def redirect() -> bytes:
    quoted = ip(HOST, SERVER, TCP, tcp(50000, 80, 1, 0, 2))[:28]
    body = struct.pack(">BBH", 5, 1, 0) + IPv4Address("192.0.2.253").packed + quoted
    return framed(ip(IPv4Address("192.0.2.254"), HOST, ICMP, body), sent=False).frame


def dhcp_answer() -> bytes:
    head = struct.pack(">BBBBIHH", 2, 1, 6, 0, 99, 0, 0) + bytes(4) + HOST.packed + RESOLVER.packed + bytes(4)
    head += HOST_MAC + bytes(10 + 192) + bytes.fromhex("63825363")
    options = b"\x35\x01\x05\x36\x04" + RESOLVER.packed + b"\x00\x03\x04" + RESOLVER.packed
    options += b"\x06\x08" + RESOLVER.packed + SERVER.packed + b"\x3d\x07\x01" + HOST_MAC + b"\xff"
    return framed(ip(RESOLVER, HOST, UDP, udp(67, 68, head + options)), sent=False).frame


def recorded_route() -> bytes:
    """A ping whose IP header holds addresses at odd places."""
    inner = ip(HOST, SERVER, ICMP, struct.pack(">BBHHH", 8, 0, 0, 1, 1) + b"payload")
    options = b"\x07\x0b\x08" + RESOLVER.packed + SERVER.packed + b"\0"
    head = b"\x48" + inner[1:2] + struct.pack(">H", len(inner) + 12) + inner[4:10] + b"\0\0" + inner[12:20] + options
    return framed(head[:10] + struct.pack(">H", checksum(head)) + head[12:] + inner[20:], sent=True).frame


def routed6() -> bytes:
    """A segment routing header: the last target, which the checksum covers, stands in it."""
    inner = ip(HOST6, SERVER6, TCP, tcp(50000, 80, 1, 0, 2))
    routing = struct.pack(">BBBBBBH", TCP, 4, 4, 1, 1, 0, 0) + SERVER6.packed + IPv6Address("2001:db8:2::7").packed
    return framed(ipv6(HOST6, IPv6Address("2001:db8:2::7"), 43, routing + inner[40:]), sent=True).frame


def fragment6() -> bytes:
    inner = ip(HOST6, SERVER6, UDP, udp(50000, 5000, bytes(range(64))))
    return framed(ipv6(HOST6, SERVER6, 44, struct.pack(">BBHI", UDP, 0, 1, 9) + inner[40:80]), sent=True).frame


def tunnels() -> list[bytes]:
    inner, inner6 = (
        ip(a, b, TCP, tcp(50000, 80, 1, 0, 2, b"", b"\x01\x01\x01\x00")) for a, b in ((HOST, SERVER), (HOST6, SERVER6))
    )
    gre = struct.pack(">HHHH", 0x8000, 0x86DD, 0, 0)
    gre = gre[:4] + struct.pack(">H", checksum(gre + inner6)) + gre[6:]
    bodies = [
        ipv4(RESOLVER, SERVER, 4, inner),
        ipv4(RESOLVER, SERVER, 41, inner6),
        ipv6(HOST6, SERVER6, 4, inner),
        ipv4(RESOLVER, SERVER, 47, gre + inner6),
        ipv4(RESOLVER, SERVER, 47, struct.pack(">HHI", 0x2000, 0x6558, 7) + QUESTION),
    ]
    return [framed(body, sent=True).frame for body in bodies]


def framings() -> list[bytes]:
    packet = QUESTION[14:]
    return [
        ethernet(HOST_MAC, GATEWAY_MAC, 0x8100, b"\x00\x05\x08\x00" + packet),
        ethernet(HOST_MAC, GATEWAY_MAC, 0x88A8, b"\x00\x05\x81\x00\x00\x07\x08\x00" + packet),
        ethernet(HOST_MAC, GATEWAY_MAC, 0x8847, b"\x00\x01\x00\x40\x00\x02\x01\x40" + packet),
        ethernet(HOST_MAC, GATEWAY_MAC, 0x8864, struct.pack(">BBHHH", 0x11, 0, 1, len(packet) + 2, 0x21) + packet),
        ethernet(HOST_MAC, GATEWAY_MAC, len(packet) + 8, b"\xaa\xaa\x03\0\0\0\x08\0" + packet),
        ethernet(HOST_MAC, GATEWAY_MAC, 0x88B5, b"experiment"),
    ]


def ethernet_frames() -> list[bytes]:
    seen = [*address_question(), *name_lookup(), *ping(), *islice(traffic(), 90)]
    made = [neighbor_question(), router_advertisement(), listener_report(), unreachable(), unreachable6(), redirect()]
    made += [dhcp_answer(), recorded_route(), routed6(), fragment6(), *tunnels(), *framings()]
    return [packet.frame for packet in seen] + made


def wifi_frames() -> list[bytes]:
    plain = wifi(QUESTION, sent=True)
    sub = QUESTION[:12] + struct.pack(">H", len(QUESTION) - 14 + 8) + b"\xaa\xaa\x03\0\0\0\x08\0" + QUESTION[14:]
    sub += bytes(-len(sub) % 4)
    amsdu = plain[:24] + b"\x80\0" + sub + sub
    beacon = b"\x80\0\0\0" + b"\xff" * 6 + GATEWAY_MAC * 2 + b"\0\0" + bytes(12) + b"\0\x04name"
    return [
        plain,
        wifi(QUESTION, sent=False, qos=False),
        amsdu,
        beacon,
        b"\xd4\0\0\0" + HOST_MAC,
        b"\xb4\0\0\0" + HOST_MAC + GATEWAY_MAC,
        plain[:1] + bytes([plain[1] | 3]) + plain[2:24] + GATEWAY_MAC + plain[24:],
        plain[:1] + bytes([plain[1] | 0x40]) + plain[2:26] + b"ciphertext",
    ]


def upper_pdu() -> bytes:
    tags = struct.pack(">HH", 12, 4) + b"http" + struct.pack(">HH", 20, 4) + HOST.packed
    return tags + struct.pack(">HH", 22, 16) + HOST6.packed + struct.pack(">HH", 0, 0) + b"GET / HTTP/1.1"


def all_frames() -> list[tuple[int, bytes]]:
    """Link type and frame."""
    frames = [(1, frame) for frame in ethernet_frames()]
    frames += [(105, frame) for frame in wifi_frames()]
    frames += [(127, b"\0\0\x0c\0" + bytes(8) + frame) for frame in wifi_frames()]
    frames += [(101, QUESTION[14:]), (228, QUESTION[14:]), (0, b"\x02\0\0\0" + QUESTION[14:])]
    frames += [(113, struct.pack(">HHH", 0, 1, 6) + HOST_MAC + b"\0\0\x08\0" + QUESTION[14:])]
    frames += [(276, b"\x08\0" + bytes(9) + b"\x06" + HOST_MAC + b"\0\0" + QUESTION[14:]), (252, upper_pdu())]
    return frames
