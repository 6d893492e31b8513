"""What a capture's IPv6 packets were: the answer that a rebuilt header must give."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from benchmarks.accuracy.files import Frame

ETHERNET, NULL, LOOP, RAW, SLL, SLL2, IPV6 = 1, 0, 108, 101, 113, 276, 229
STRIPPED = (0, 43, 51, 60, 135, 139, 140)
"""Headers that go with the IPv6 header: options, routing, AH, Mobility, HIP, Shim6. A Fragment header (44) stays."""
TAGS = (0x8100, 0x88A8, 0x9100, 0x9200)
PPPOE = 0x8864
CHECKSUM_AT = {6: 16, 17: 6, 58: 2, 136: 6, 33: 6, 89: 12, 103: 2, 112: 6}
NAMES = {
    1: "ICMP", 4: "IPv4", 6: "TCP", 17: "UDP", 33: "DCCP", 41: "IPv6", 44: "fragment", 46: "RSVP", 47: "GRE",
    50: "ESP", 58: "ICMPv6", 59: "nothing", 88: "EIGRP", 89: "OSPF", 97: "EtherIP", 103: "PIM", 112: "VRRP",
    115: "L2TP", 132: "SCTP", 136: "UDP-Lite", 137: "MPLS",
}  # fmt: skip


@dataclass(slots=True)
class Truth:
    """One IPv6 packet of a capture."""

    protocol: int
    """Next Header of the last header that is stripped"""
    time: int
    source: bytes
    destination: bytes
    hop_limit: int
    traffic_class: int
    payload: bytes
    """what is left, as far as it was captured"""
    whole: bool
    """all of it was captured"""

    @property
    def name(self) -> str:
        """The protocol in a word."""
        return NAMES.get(self.protocol, f"number {self.protocol}")

    @property
    def checksum(self) -> str:
        """What its checksum is: good, offloaded (with or without length), zero, bad, in part, or none."""
        at = CHECKSUM_AT.get(self.protocol)
        if at is None or len(self.payload) < at + 2:
            return "none"
        (field,) = struct.unpack_from(">H", self.payload, at)
        for name, length in (("offloaded", len(self.payload)), ("large-send", 0)):
            if field == fold(pseudo_sum(self.source, self.destination, length, self.protocol)):
                return name
        if not self.whole:
            return "in part"
        total = fold(
            pseudo_sum(self.source, self.destination, len(self.payload), self.protocol) + data_sum(self.payload)
        )
        return "good" if total == 0xFFFF else "zero" if field == 0 else "bad"


def fold(total: int) -> int:
    """The one's-complement sum in 16 bits."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def data_sum(data: bytes) -> int:
    """The sum of the 16-bit words, the last byte padded with 0; not folded."""
    padded = data + bytes(len(data) % 2)
    return sum(struct.unpack(f">{len(padded) // 2}H", padded))


def pseudo_sum(source: bytes, destination: bytes, length: int, protocol: int) -> int:
    """The sum of the pseudo-header of RFC 8200; not folded."""
    return data_sum(source) + data_sum(destination) + (length >> 16) + (length & 0xFFFF) + protocol


def ip_at(frame: Frame) -> int:
    """Where the IP header of a frame begins; -1: none found. Fewer link types than synth knows: see ``truths``."""
    data, link = frame.data, frame.link
    if link == ETHERNET:
        return _by_type(data, 12)
    if link in (NULL, LOOP):
        return 4
    if link in (RAW, IPV6, 12, 14):
        return 0
    if link == SLL:
        return _by_type(data, 14)
    if link == SLL2:
        return 20 if data[:2] in (b"\x08\x00", b"\x86\xdd") else -1
    return -1


def _by_type(data: bytes, at: int) -> int:
    kind = int.from_bytes(data[at : at + 2], "big")
    while kind in TAGS:
        at += 4
        kind = int.from_bytes(data[at : at + 2], "big")
    if kind == PPPOE:
        return at + 10 if data[at + 8 : at + 10] in (b"\x00\x21", b"\x00\x57") else -1
    return at + 2 if kind in (0x0800, 0x86DD) else -1


def truth_of(frame: Frame) -> Truth | None:
    """The IPv6 packet of a frame; None: it has none."""
    at = ip_at(frame)
    data = frame.data
    if at < 0 or at + 40 > len(data) or data[at] >> 4 != 6:
        return None
    first, length, protocol, hop_limit = struct.unpack_from(">IHBB", data, at)
    start = at + 40
    full = at + max(frame.original, len(data)) - at
    if length:
        end = start + length
    elif protocol == 0 and data[start + 2 : start + 4] == b"\xc2\x04":
        end = start + struct.unpack_from(">I", data, start + 4)[0]
    else:
        end = full if full - start > 6 else start
    source, destination = data[at + 8 : at + 24], data[at + 24 : at + 40]
    while protocol in STRIPPED and start + 2 <= len(data):
        size = (data[start + 1] + 2) * 4 if protocol == 51 else (data[start + 1] + 1) * 8
        if start + size > end:
            break
        protocol, start = data[start], start + size
    payload = data[start : max(min(end, len(data)), start)]
    whole = end <= len(data)
    return Truth(protocol, frame.time, source, destination, hop_limit, first >> 20 & 0xFF, payload, whole)
