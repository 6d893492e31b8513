"""Made-up traffic with right lengths and checksums, as bytes; addresses are those of RFC 5737 and RFC 3849, for
documentation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

HOST_MAC = bytes.fromhex("025a00000010")
GATEWAY_MAC = bytes.fromhex("025a000000fe")
BROADCAST = b"\xff" * 6
HOST, RESOLVER, SERVER = (IPv4Address(text) for text in ("192.0.2.10", "192.0.2.53", "198.51.100.80"))
HOST6, SERVER6 = IPv6Address("2001:db8::10"), IPv6Address("2001:db8:1::80")

IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


class Seen(NamedTuple):
    """A frame as the traced host saw it."""

    frame: bytes
    sent: bool


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(source: bytes, target: bytes, ether_type: int, payload: bytes) -> bytes:
    return target + source + struct.pack(">H", ether_type) + payload


def ipv4(
    source: IPv4Address, target: IPv4Address, protocol: int, payload: bytes, ident: int = 0, ttl: int = 64
) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), ident & 0xFFFF, 0x4000, ttl, protocol, 0)
    head += source.packed + target.packed
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ipv6(source: IPv6Address, target: IPv6Address, protocol: int, payload: bytes, hops: int = 64) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, hops) + source.packed + target.packed + payload


def ip(source: Address, target: Address, protocol: int, payload: bytes, ident: int = 0) -> bytes:
    """An IP packet around a transport header whose checksum field is zero; fills that in too."""
    pseudo = source.packed + target.packed + struct.pack(">II", len(payload), protocol)
    at = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}[protocol]
    found = checksum(payload if protocol == ICMP else pseudo + payload) or 0xFFFF
    payload = payload[:at] + struct.pack(">H", found) + payload[at + 2 :]
    if isinstance(source, IPv4Address) and isinstance(target, IPv4Address):
        return ipv4(source, target, protocol, payload, ident)
    assert isinstance(source, IPv6Address)
    assert isinstance(target, IPv6Address)
    return ipv6(source, target, protocol, payload)


def tcp(
    source_port: int, target_port: int, seq: int, ack: int, flags: int, data: bytes = b"", options: bytes = b""
) -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack(
        ">HHIIBBHHH", source_port, target_port, seq, ack, words << 4, flags, 64240 if flags & SYN else 1026, 0, 0
    )
    return head + options + data


def udp(source_port: int, target_port: int, data: bytes) -> bytes:
    return struct.pack(">HHHH", source_port, target_port, 8 + len(data), 0) + data


def echo(number: int, *, reply: bool, data: bytes = bytes(range(0x61, 0x77))) -> bytes:
    return struct.pack(">BBHHH", 0 if reply else 8, 0, 0, 1, number) + data


def arp(sender_mac: bytes, sender: IPv4Address, target_mac: bytes, target: IPv4Address, *, reply: bool) -> bytes:
    return (
        struct.pack(">HHBBH", 1, IPV4, 6, 4, 2 if reply else 1)
        + sender_mac
        + sender.packed
        + target_mac
        + target.packed
    )


def dns_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def dns_query(number: int, name: str) -> bytes:
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + dns_name(name) + struct.pack(">HH", 1, 1)


def dns_answer(number: int, name: str, address: IPv4Address) -> bytes:
    head = struct.pack(">HHHHHH", number, 0x8180, 1, 1, 0, 0) + dns_name(name) + struct.pack(">HH", 1, 1)
    return head + struct.pack(">HHHIH", 0xC00C, 1, 1, 300, 4) + address.packed


def framed(packet: bytes, *, sent: bool) -> Seen:
    """The host's Ethernet frame around an IP packet, to or from the gateway."""
    ether_type = IPV4 if packet[0] >> 4 == 4 else IPV6
    source, target = (HOST_MAC, GATEWAY_MAC) if sent else (GATEWAY_MAC, HOST_MAC)
    return Seen(ethernet(source, target, ether_type, packet), sent)


def name_lookup(number: int = 1, name: str = "www.example.com") -> Iterator[Seen]:
    """A DNS question and its answer."""
    yield framed(ip(HOST, RESOLVER, UDP, udp(50000 + number, 53, dns_query(number, name)), number), sent=True)
    yield framed(ip(RESOLVER, HOST, UDP, udp(53, 50000 + number, dns_answer(number, name, SERVER)), number), sent=False)


def ping(number: int = 1) -> Iterator[Seen]:
    """An echo request and its reply."""
    yield framed(ip(HOST, SERVER, ICMP, echo(number, reply=False), number), sent=True)
    yield framed(ip(SERVER, HOST, ICMP, echo(number, reply=True), number), sent=False)


def address_question() -> Iterator[Seen]:
    """An ARP request and its reply; the short frames are not padded, as Windows sees sent ones."""
    router = IPv4Address("192.0.2.254")
    yield Seen(ethernet(HOST_MAC, BROADCAST, ARP, arp(HOST_MAC, HOST, bytes(6), router, reply=False)), True)
    reply = arp(GATEWAY_MAC, router, HOST_MAC, HOST, reply=True)
    yield Seen(ethernet(GATEWAY_MAC, HOST_MAC, ARP, reply) + bytes(18), False)


def web_request(
    port: int = 51000, host: Address = HOST, server: Address = SERVER, body: int = 2000, segment: int = 1460
) -> Iterator[Seen]:
    """A whole TCP connection: handshake, an HTTP exchange with ``body`` bytes, the end."""
    request = b"GET / HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: made-up/1.0\r\nAccept: */*\r\n\r\n"
    text = b"".join(b"line %06d of a page that nobody wrote\n" % n for n in range(body // 38 + 1))[:body]
    response = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % body + text
    seq, ack = 1000, 90000
    options = b"\x02\x04\x05\xb4\x01\x03\x03\x08\x01\x01\x04\x02"
    ident = port

    def out(flags: int, data: bytes = b"", options: bytes = b"") -> Seen:
        return framed(
            ip(host, server, TCP, tcp(port, 80, seq, ack if flags & ACK else 0, flags, data, options), ident), sent=True
        )

    def back(flags: int, data: bytes = b"", options: bytes = b"") -> Seen:
        return framed(ip(server, host, TCP, tcp(80, port, ack, seq, flags, data, options), ident), sent=False)

    yield out(SYN, options=options)
    seq += 1
    yield back(SYN | ACK, options=options)
    ack += 1
    yield out(ACK)
    yield out(PSH | ACK, request)
    seq += len(request)
    yield back(ACK)
    for at in range(0, len(response), segment):
        piece = response[at : at + segment]
        yield back(PSH | ACK if at + segment >= len(response) else ACK, piece)
        ack += len(piece)
        yield out(ACK)
    yield out(FIN | ACK)
    seq += 1
    yield back(FIN | ACK)
    ack += 1
    yield out(ACK)


def traffic() -> Iterator[Seen]:
    """Conversations without end: ARP, DNS, TCP over both IP versions, pings."""
    number = 0
    while True:
        number += 1
        if number % 8 == 1:
            yield from address_question()
        yield from name_lookup(number & 0x3FFF)
        yield from web_request(40000 + number % 20000)
        yield from ping(number & 0xFFFF)
        yield from web_request(40000 + number % 20000, HOST6, SERVER6, body=500)


def wifi(frame: bytes, *, sent: bool, protected: bool = False, qos: bool = True) -> bytes:
    """The 802.11 data frame of an Ethernet frame, as Windows gives it: no FCS, no IV even where Protected is set."""
    target, source, rest = frame[:6], frame[6:12], frame[12:]
    control = bytes([0x88 if qos else 0x08, (0x01 if sent else 0x02) | (0x40 if protected else 0)])
    addresses = GATEWAY_MAC + source + target if sent else target + GATEWAY_MAC + source
    head = control + b"\x30\0" + addresses + b"\x10\0" + (b"\0\0" if qos else b"")
    return head + b"\xaa\xaa\x03\0\0\0" + rest
