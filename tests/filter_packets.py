"""Packets and expressions for tests of capture filters."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import frames
from frames import GATEWAY_MAC, HOST, HOST6, HOST_MAC, SERVER, SERVER6, ethernet

LINK_TYPES = (1, 101, 105, 127, 228, 229, 252, 0, 113, 276)


def _fragments() -> list[bytes]:
    first = bytearray(frames.ipv4(HOST, SERVER, 17, frames.udp(53, 4000, bytes(40))))
    first[6:8] = b"\x20\x00"
    later = bytearray(first)
    later[6:8] = b"\x20\x05"
    last = bytearray(first)
    last[6:8] = b"\x00\x0a"
    inner = struct.pack(">BBHI", 17, 0, 0, 7) + frames.udp(53, 53, b"x")
    other = struct.pack(">BBHI", 6, 0, 0, 7) + frames.tcp(443, 80, 1, 1, 16)
    return [bytes(first), bytes(later), bytes(last), frames.ipv6(HOST6, SERVER6, 44, inner),
            frames.ipv6(HOST6, SERVER6, 44, other)]  # fmt: skip


def _with_options() -> bytes:
    packet = bytearray(frames.ipv4(HOST, SERVER, 6, b"\1\1\1\1" + frames.tcp(443, 5000, 1, 1, 18, b"data")))
    packet[0] = 0x46
    return bytes(packet)


def ip_packets() -> list[bytes]:
    """IP packets of many kinds."""
    seen = [frame.frame[14:] for frame in (*frames.web_request(5000), *frames.ping(), *frames.name_lookup())]
    seen += [frame.frame[14:] for frame in frames.web_request(443, HOST6, SERVER6, body=100)]
    for port, other in ((80, 443), (443, 80), (22, 50), (21, 6001)):
        for protocol, body in (
            (6, frames.tcp(port, other, 1, 1, 24, b"x" * port)),
            (17, frames.udp(port, other, b"y" * 9)),
            (132, struct.pack(">HHII", port, other, 1, 2)),
        ):
            seen.append(frames.ipv4(HOST, SERVER, protocol, body))
            seen.append(frames.ipv6(SERVER6, HOST6, protocol, body))
    seen += [frames.ipv4(SERVER, HOST, number, bytes(range(30))) for number in (1, 2, 9, 47, 50, 51, 103, 112)]
    seen += [frames.ipv6(HOST6, SERVER6, number, bytes([number]) * 20) for number in (0, 43, 58, 59, 103)]
    seen += [frames.ipv4(HOST, type(HOST)("224.0.0.5"), 2, bytes(8)), _with_options(), *_fragments()]
    seen.append(frames.ipv6(HOST6, type(HOST6)("ff02::1"), 58, b"\x80\x00" + bytes(10)))
    return seen


def ethernet_frames() -> list[bytes]:
    """Ethernet frames of many kinds, IP and not, with VLAN tags and cut short."""
    made = []
    for packet in ip_packets():
        kind = frames.IPV4 if packet[0] >> 4 == 4 else frames.IPV6
        made.append(ethernet(HOST_MAC, GATEWAY_MAC, kind, packet))
    made += [frame.frame for frame in frames.address_question()]
    arp = frames.arp(HOST_MAC, HOST, GATEWAY_MAC, SERVER, reply=True)
    made.append(ethernet(GATEWAY_MAC, HOST_MAC, 0x8035, arp))
    for tags in ("81000005", "88a80064", "9100012c", "8100006488a80005", "8100000581000064810012c0"):
        for frame in (*made[:6], *made[20:26]):
            made.append(frame[:12] + bytes.fromhex(tags) + frame[12:])
    for body in (
        *("424203000000", "e0e003ffff0022", "ffff00220004", "f0f003112233", "fefe03831b01", "060603aabb", "0505031234"),
        *("aaaa03080007809b0011223344", "aaaa0300000080f300112233", "aaaa03000000813700112233"),
    ):
        data = bytes.fromhex(body)
        made.append(ethernet(HOST_MAC, b"\x01\x80\xc2\x00\x00\x00", len(data), data + bytes(20)))
    for kind in (0x809B, 0x80F3, 0x8137, 0x6003, 0x6004, 0x8863, 0x9000, 0x88CC, 1500, 1501):
        made.append(ethernet(HOST_MAC, b"\xff" * 6, kind, bytes(range(60))))
    return made


def _wifi_frames() -> list[bytes]:
    made = []
    for number, frame in enumerate(ethernet_frames()):
        made.append(frames.wifi(frame, sent=number % 2 == 0, qos=number % 3 != 0))
    data = made[0]
    for control in (0x80, 0x40, 0xB4, 0xD4, 0x08, 0x48, 0x88, 0x0C):
        made += [bytes([control, direction]) + data[2:] for direction in range(4)]
    return made


def _radiotap(frame: bytes, number: int) -> bytes:
    """A frame behind one of several radiotap headers; some say that the frame's header is padded."""
    flags = 0x20 if number % 5 == 0 else 0
    if number % 4 == 0:
        return struct.pack("<BBHI", 0, 0, 8, 0) + frame
    if number % 4 == 1:
        return struct.pack("<BBHIB", 0, 0, 9, 2, flags) + frame
    if number % 4 == 2:
        return struct.pack("<BBHIQB", 0, 0, 17, 3, 1, flags) + frame
    return struct.pack("<BBHIIB", 0, 0, 13, 0x80000002, 0, flags) + frame


def packets_of(link_type: int, *, damaged: bool = True) -> list[bytes]:
    """Packets of that link type: whole ones and, where ``damaged``, cut ones and some of random bytes."""
    rng = random.Random(link_type)
    if link_type == 1:
        made = ethernet_frames()
    elif link_type == 105:
        made = _wifi_frames()
    elif link_type == 127:
        made = [_radiotap(frame, number) for number, frame in enumerate(_wifi_frames())]
    elif link_type == 113:
        made = [struct.pack(">HHHQ", 0, 1, 6, 0) + frame[12:] for frame in ethernet_frames()]
        made += [struct.pack(">HHHQH", 0, 1, 6, 0, 4) + frame[14:] for frame in ethernet_frames()[-20:]]
    elif link_type == 276:
        made = [frame[12:14] + bytes(18) + frame[14:] for frame in ethernet_frames()]
    elif link_type == 0:
        families = {4: (2,), 6: (24, 28, 30, 10)}
        made = [struct.pack("<I", f) + packet for packet in ip_packets() for f in families[packet[0] >> 4]]
    else:
        made = ip_packets()
    whole = len(made)
    if not damaged:
        return made
    for _ in range(60):
        packet = made[rng.randrange(whole)]
        made.append(packet[: rng.randrange(len(packet) + 1)])
    made += [rng.randbytes(rng.randrange(80)) for _ in range(20)]
    return made


def write_capture(path: Path, link_type: int, packets: list[bytes]) -> None:
    """A pcap file; the time of each packet is its number in microseconds, every third one was longer on the wire."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link_type)]
    for number, packet in enumerate(packets):
        parts.append(struct.pack("<IIII", 1, number, len(packet), original_of(number, packet)) + packet)
    path.write_bytes(b"".join(parts))


def original_of(number: int, packet: bytes) -> int:
    return len(packet) + (100 if number % 3 == 0 else 0)


class Expressions:
    """Random expressions in the language of pcap-filter(7)."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def pick(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def expression(self, depth: int = 3) -> str:
        kind = self.rng.random()
        if depth == 0 or kind < 0.35:
            return self.primitive()
        left, right = self.expression(depth - 1), self.expression(depth - 1)
        if kind < 0.55:
            return f"{left} {self.pick('and', '&&', 'or', '||')} {right}"
        if kind < 0.7:
            return f"{self.pick('not ', '!')}{self.primitive()} {self.pick('and', 'or')} {right}"
        if kind < 0.8:
            return f"{self.pick('not ', '! ')}({left})"
        return f"({left}) {self.pick('and', 'or')} ({right})"

    def primitive(self) -> str:
        return self.rng.choice(
            (self.address, self.port, self.protocol, self.relation, self.relation, self.length, self.mac, self.tag)
        )()

    def way(self) -> str:
        return self.pick("", "", "src ", "dst ", "src or dst ", "src and dst ", "dst and src ")

    def address(self) -> str:
        four = self.pick("192.0.2.10", "198.51.100.80", "192.0.2.53", "10.1.2.3", "224.0.0.5")
        six = self.pick("2001:db8::10", "2001:db8:1::80", "::1", "ff02::1")
        family = self.pick("", "", "ip ", "arp ", "rarp ")
        more = self.pick("", "", f" or {four}", f" and not {four}")
        return self.pick(
            f"{family}{self.way()}host {four}{more}",
            f"{family}src {four}",
            f"{family}{self.way()}net {self.pick('192.0.2.0/24', '192.0', '198', '0.0.0.0/0', '192.0.2.0/28', '10')}",
            f"net 192.0.0.0 mask {self.pick('255.255.0.0', '255.0.0.0')}",
            f"{self.pick('', 'ip6 ')}{self.way()}host {six}",
            f"{self.pick('', 'ip6 ')}{self.way()}net {self.pick('2001:db8::/32', 'ff00::/8', '::/0', '2001::/16')}",
            f"host ({four} or {six})",
            f"{family}host 10",
        )

    def port(self) -> str:
        family = self.pick("", "tcp ", "udp ", "sctp ")
        ports = ("80", "443", "53", "0x35", "5000", "065")
        more = self.pick("", "", f" or {self.pick(*ports)}", f" or not {self.pick(*ports)}", " and 80")
        return self.pick(
            f"{family}{self.way()}port {self.pick(*ports)}{more}",
            f"{family}{self.way()}portrange {self.pick('1-100', '443-443', '6000-50', '80', '20-5001')}",
            f"{family}port (80 or 443)",
        )

    def protocol(self) -> str:
        return self.pick(
            *("ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "pim", "vrrp", "ah", "esp"),
            *("igrp", "carp", "atalk", "aarp", "stp", "ipx", "netbeui", "iso", "lat", "decnet", "pppoed", "sca"),
            *("proto 6", "ip proto 17", "ip6 proto 58", "ip6 proto 44", "proto 47", "ip proto (6 or 17)"),
            *("ether proto 0x800", "ether proto 0x86dd", "ether proto 6", "ether proto 5", "ether proto \\arp"),
            *("ether proto 1500", "ether proto 1501", "ip proto \\tcp", "proto \\udp", "ether proto 0x88cc"),
        )

    def mac(self) -> str:
        address = self.pick("02:5a:00:00:00:10", "02-5a-00-00-00-fe", "ff:ff:ff:ff:ff:ff", "025a.0000.0010")
        return self.pick(
            *(f"ether {self.way()}host {address}", f"ether src {address}", f"wlan dst {address}"),
            *("ether broadcast", "broadcast", "ether multicast", "multicast", "ip multicast", "ip6 multicast"),
        )

    def tag(self) -> str:
        return self.pick("vlan", "vlan 5", "vlan 100", "vlan 5 and ip", "vlan and vlan 100", "not vlan", "vlan and tcp")

    def length(self) -> str:
        return self.pick(f"{self.pick('less', 'greater')} {self.rng.randrange(200)}", f"len > {self.rng.randrange(99)}")

    def relation(self) -> str:
        compare = self.pick("=", "==", "!=", "<", "<=", ">", ">=")
        usual = self.pick(
            *("tcp[tcpflags] & tcp-syn != 0", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "icmp[icmptype] = icmp-echo"),
            *("icmp6[icmp6type] == 128", "ip[0] & 0xf != 5", "ip[6:2] & 0x1fff = 0", "ether[0] & 1 != 0"),
            *("ip[2:2] - ((ip[0]&0xf)<<2) > 40", "udp[4:2] > 8", "link[12:2] = 0x800", "ip6[6] = 17", "arp[6:2] = 1"),
        )
        return self.rng.choice((usual, f"{self.value(2)} {compare} {self.value(1)}"))

    def value(self, depth: int) -> str:
        kind = self.rng.random()
        if depth == 0 or kind < 0.3:
            return self.pick(str(self.rng.randrange(300)), "len", "0x10", f"-{self.rng.randrange(5)}", "tcp-ack")
        if kind < 0.7:
            name = self.pick("ip", "ip6", "tcp", "udp", "icmp", "icmp6", "arp", "link", "ether", "wlan", "sctp", "igmp")
            index = self.value(depth - 1) if self.rng.random() < 0.15 else str(self.rng.randrange(45))
            return f"{name}[{index}{self.pick('', '', ':1', ':2', ':4')}]"
        operator = self.pick("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>")
        joined = f"{self.value(depth - 1)} {operator} {self.value(depth - 1)}"
        return self.pick(joined, f"({joined})", f"({joined}) {self.pick('+', '|', '^', '%')} {self.value(0)}")
