"""IP packets in frames as raw sockets of Windows give them: without link header, IPv6 without its headers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from etwcap.providers.rawsocket_layout import STRIPPED
from etwcap.synth.headers import Bytes

_AUTHENTICATION = 51
_HOP_BY_HOP = 0
_MOST_HEADERS = 32
_ETHERNET_PADDING = 6
"""bytes that an Ethernet frame of the least length holds behind an IPv6 header without anything"""
_JUMBO = 0xC2


class Datagrams(NamedTuple):
    """One row a packet. Places are those in the buffer."""

    ip: NDArray[np.int64]
    version: NDArray[np.int64]
    """4 or 6; 0: no IP header that is whole"""
    start: NDArray[np.int64]
    """what the socket gives: the IPv4 header, or what follows the last IPv6 header that is stripped"""
    captured: NDArray[np.int64]
    """bytes of that which the capture has"""
    original: NDArray[np.int64]
    """bytes of that"""
    next_header: NDArray[np.int64]
    """IPv6: the Next Header of the last header that is stripped; IPv4: the protocol"""


def datagrams(data: Bytes, ip: NDArray[np.int64], original_end: NDArray[np.int64]) -> Datagrams:
    """The packets whose IP headers begin at ``ip`` (-1: none).

    ``data`` are the frames, ``original_end`` is where they ended before they were cut. A packet is as long as its
    header says, even where the frame ends before: it was cut on its way into the capture. To be stripped, the first two
    bytes of an IPv6 extension header must be there, and the header must end inside the packet.
    """
    nibble = np.where(ip >= 0, data.u8(ip) >> 4, 0)
    four = (nibble == 4) & (ip + 20 <= data.end)
    six = (nibble == 6) & (ip + 40 <= data.end)
    version = np.where(four, 4, np.where(six, 6, 0))
    end = np.where(four, _end_of_four(data, ip, original_end), _end_of_six(data, ip, original_end))
    next_header = np.where(four, data.u8(ip + 9), np.where(six, data.u8(ip + 6), 0))
    start = np.where(six, ip + 40, ip)
    for _ in range(_MOST_HEADERS):
        more = six & np.isin(next_header, STRIPPED) & (start + 2 <= data.end)
        if not more.any():
            break
        length = data.u8(start + 1)
        after = start + np.where(next_header == _AUTHENTICATION, (length + 2) * 4, (length + 1) * 8)
        more &= after <= end
        if not more.any():
            break
        next_header = np.where(more, data.u8(start), next_header)
        start = np.where(more, after, start)
    original = np.maximum(end - start, 0)
    captured = np.clip(np.minimum(end, data.end) - start, 0, original)
    return Datagrams(ip, version, start, captured, original, next_header)


def _end_of_four(data: Bytes, ip: NDArray[np.int64], original_end: NDArray[np.int64]) -> NDArray[np.int64]:
    """By the total length; 0 is that of a large send."""
    length = data.u16(ip + 2)
    return np.where(length < 20, original_end, ip + length)


def _end_of_six(data: Bytes, ip: NDArray[np.int64], original_end: NDArray[np.int64]) -> NDArray[np.int64]:
    """By the payload length; of 0, by the jumbo payload option (RFC 2675), or as far as a large send goes."""
    length = data.u16(ip + 4)
    at = ip + 40
    jumbo = (length == 0) & (data.u8(ip + 6) == _HOP_BY_HOP) & (data.u16(at + 2) == _JUMBO << 8 | 4)
    long = data.u16(at + 4) << 16 | data.u16(at + 6)
    rest = original_end - at
    open_end = np.where(rest > _ETHERNET_PADDING, original_end, at)
    return np.where(length > 0, at + length, np.where(jumbo & (long > 0xFFFF), at + long, open_end))
