"""Where the headers of frames lie: link layer, IP (RFC 791, RFC 8200) and transport, all rows at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etwcap.packets.linktypes import ETHERNET, IEEE802_11, RAW_IP

_TAGS = (0x8100, 0x88A8, 0x9100)
_EXTENSIONS = (0, 43, 60)
"""Hop-by-hop options, routing, destination options."""
FRAGMENT_HEADER = 44
TCP, UDP = 6, 17


class Bytes:
    """Bytes of many packets at once; what lies past a packet's end reads as 0."""

    def __init__(self, buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32]) -> None:
        self.buffer = buffer
        self.start = offset
        self.end = offset + captured

    def u8(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """The byte at those places of the buffer, one for each packet."""
        inside = (at >= self.start) & (at < self.end)
        if not self.buffer.size:
            return np.zeros(len(at), np.int64)
        value: NDArray[np.int64] = np.where(inside, self.buffer[np.where(inside, at, 0)], 0).astype(np.int64)
        return value

    def u16(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Two bytes in network order."""
        return self.u8(at) << 8 | self.u8(at + 1)

    def fields(self, at: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
        """``width`` bytes, one row a packet."""
        out = np.zeros((len(at), width), np.uint8)
        for column in range(width):
            out[:, column] = self.u8(at + column)
        return out


@dataclass(slots=True)
class Headers:
    """Offsets are those in the buffer; -1: there is none."""

    bytes: Bytes
    link: NDArray[np.uint16]
    ether_type: NDArray[np.int64]
    ip: NDArray[np.int64]
    """where the IP header begins, if it is whole"""
    version: NDArray[np.int64]
    """4, 6 or 0"""
    protocol: NDArray[np.int64]
    """of the header at ``transport``"""
    transport: NDArray[np.int64]
    """what follows the IP header and its extensions; of a later fragment what it carries"""
    ip_end: NDArray[np.int64]
    """where the datagram ends by its own length, or the captured bytes if these end before"""
    fragment: NDArray[np.bool_]
    """part of a fragmented datagram"""


def read_headers(
    buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32], link: NDArray[np.uint16]
) -> Headers:
    """The headers of frames of the link types Ethernet, raw IP and 802.11 (within which nothing is looked for)."""
    data = Bytes(buffer, offset, captured)
    none = np.full(len(offset), -1, np.int64)
    at = np.where(link == ETHERNET, offset + 14, np.where(link == RAW_IP, offset, none))
    ether_type = np.where(link == ETHERNET, data.u16(offset + 12), 0)
    for _ in range(2):
        tagged = np.isin(ether_type, _TAGS)
        if not tagged.any():
            break
        ether_type = np.where(tagged, data.u16(at + 2), ether_type)
        at = np.where(tagged, at + 4, at)
    nibble = data.u8(at) >> 4
    bare = link == RAW_IP
    v4 = (bare | (ether_type == 0x0800)) & (nibble == 4) & (at >= 0)
    v6 = (bare | (ether_type == 0x86DD)) & (nibble == 6) & (at >= 0)
    size = (data.u8(at) & 15) * 4
    v4 &= (size >= 20) & (at + size <= data.end)
    v6 &= at + 40 <= data.end
    ether_type = np.where(bare, np.where(v4, 0x0800, np.where(v6, 0x86DD, 0)), ether_type)
    protocol = np.where(v4, data.u8(at + 9), np.where(v6, data.u8(at + 6), 0))
    transport = np.where(v4, at + size, np.where(v6, at + 40, none))
    length = np.where(v4, data.u16(at + 2), np.where(v6, data.u16(at + 4), 0))
    by_length = np.where(v4, at + length, at + 40 + length)
    ip_end = np.where(length == 0, data.end, np.minimum(by_length, data.end))
    fragment = v4 & (data.u16(at + 6) & 0x3FFF != 0)
    if v6.any():
        for _ in range(8):
            more = v6 & np.isin(protocol, _EXTENSIONS) & (transport + 8 <= data.end)
            if not more.any():
                break
            after = transport + (data.u8(transport + 1) + 1) * 8
            protocol = np.where(more, data.u8(transport), protocol)
            transport = np.where(more, after, transport)
        fragment |= v6 & (protocol == FRAGMENT_HEADER)
    ip = np.where(v4 | v6, at, none)
    version = np.where(v4, 4, np.where(v6, 6, 0))
    return Headers(data, link, ether_type, ip, version, protocol, transport, np.maximum(ip_end, transport), fragment)


def ip_addresses(headers: Headers) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Source and destination, 16 bytes a row; IPv4 as ::ffff:a.b.c.d, zeros where there is no IP header."""
    data, at = headers.bytes, headers.ip
    pair = []
    for at4, at6 in ((12, 8), (16, 24)):
        address = np.zeros((len(at), 16), np.uint8)
        four, six = np.flatnonzero(headers.version == 4), np.flatnonzero(headers.version == 6)
        if len(four):
            address[four, 10:12] = 0xFF
            address[four, 12:] = data.fields(at + at4, 4)[four]
        if len(six):
            address[six] = data.fields(at + at6, 16)[six]
        pair.append(address)
    return pair[0], pair[1]


def mac_addresses(headers: Headers) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Source and destination of Ethernet frames, transmitter and receiver of 802.11 ones; else zeros. 6 bytes a row."""
    data, start = headers.bytes, headers.bytes.start
    wifi = headers.link == IEEE802_11
    framed = wifi | (headers.link == ETHERNET)
    pair = []
    for ethernet, radio in ((6, 10), (0, 4)):
        at = np.where(framed, start + np.where(wifi, radio, ethernet), -1)
        pair.append(data.fields(at, 6))
    return pair[0], pair[1]
