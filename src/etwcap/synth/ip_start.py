"""Where the IP packet of a frame begins, by link type (the registry of LINKTYPE_ values at tcpdump.org)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from etwcap.packets.linktypes import ETHERNET, IEEE802_11, IEEE802_11_RADIOTAP, IPV4, IPV6, RAW_IP
from etwcap.synth.headers import Bytes

Places: TypeAlias = NDArray[np.int64]

_TAGS = (0x8100, 0x88A8, 0x9100, 0x9200)
_MOST_TAGS = 4
_PPPOE = 0x8864
_PPPOE_HEADER = 6
_SNAP = 0xAAAA03
_NLPID4, _NLPID6, _NLPID_SNAP = 0xCC, 0x8E, 0x80
_PPP_FOLLOWS = (0x21, 0x57)
"""PPP protocols IPv4 and IPv6"""
_ETHER_IP = (0x0800, 0x86DD)


def ip_start(data: Bytes, link_type: int) -> Places:
    """Where in the buffer the IP header of each frame of that link type begins; -1: the frame has none."""
    finder = _FINDERS.get(link_type)
    if finder is None:
        return np.full(len(data.start), -1, np.int64)
    at = finder(data, data.start)
    nibble = data.u8(at) >> 4
    return np.where((at >= data.start) & (at < data.end) & ((nibble == 4) | (nibble == 6)), at, -1)


def carries_ip(link_type: int) -> bool:
    """Whether IP packets are looked for in frames of that link type."""
    return link_type in _FINDERS


def _by_ether_type(data: Bytes, place: Places) -> Places:
    """From an EtherType to what it announces: past VLAN tags and PPPoE, and past LLC where it is a length."""
    kind = data.u16(place)
    for _ in range(_MOST_TAGS):
        tagged = np.isin(kind, _TAGS)
        if not tagged.any():
            break
        place = np.where(tagged, place + 4, place)
        kind = data.u16(place)
    after = place + 2
    at = np.where(np.isin(kind, _ETHER_IP), after, -1)
    session = kind == _PPPOE
    if session.any():
        at = np.where(session, _by_ppp(data, after + _PPPOE_HEADER), at)
    length = kind <= 1500
    return np.where(length, _by_llc(data, after), at) if length.any() else at


def _by_llc(data: Bytes, place: Places) -> Places:
    """From an LLC header with SNAP (RFC 1042)."""
    snap = (data.u16(place) << 8 | data.u8(place + 2)) == _SNAP
    return np.where(snap & np.isin(data.u16(place + 6), _ETHER_IP), place + 8, -1)


def _by_ppp(data: Bytes, place: Places) -> Places:
    """From a PPP header (RFC 1661, RFC 1662), with or without address and control, protocol of one byte or two."""
    place = np.where(data.u16(place) == 0xFF03, place + 2, place)
    short = data.u8(place) & 1 == 1
    protocol = np.where(short, data.u8(place), data.u16(place))
    return np.where(np.isin(protocol, _PPP_FOLLOWS), np.where(short, place + 1, place + 2), -1)


def _by_frame_relay(data: Bytes, place: Places) -> Places:
    """From a Q.922 address of two bytes (RFC 2427)."""
    nlpid = data.u8(place + 3)
    padded = (nlpid == 0) | (nlpid == _NLPID_SNAP)
    snap = np.where(nlpid == _NLPID_SNAP, place + 4, place + 5)
    inside = padded & np.isin(data.u16(snap + 3), _ETHER_IP)
    return np.where((nlpid == _NLPID4) | (nlpid == _NLPID6), place + 4, np.where(inside, snap + 5, -1))


def _by_wifi(data: Bytes, place: Places) -> Places:
    """From an 802.11 header: data frames in clear that carry LLC."""
    control, more = data.u8(place), data.u8(place + 1)
    carries = (control & 0x0C == 0x08) & (control & 0x40 == 0) & (more & 0x40 == 0)
    quality = control & 0x80 != 0
    size = 24 + np.where(more & 3 == 3, 6, 0) + np.where(quality, 2, 0) + np.where(quality & (more & 0x80 != 0), 4, 0)
    return np.where(carries, _by_llc(data, place + size), -1)


def _radiotap(data: Bytes, place: Places) -> Places:
    return _by_wifi(data, place + (data.u8(place + 2) | data.u8(place + 3) << 8))


def _avs(data: Bytes, place: Places) -> Places:
    return _by_wifi(data, place + data.u16(place + 6))


def _prism(data: Bytes, place: Places) -> Places:
    little = data.u8(place + 4) | data.u8(place + 5) << 8
    return _by_wifi(data, place + np.where(little == 144, 144, data.u16(place + 6)))


def _pflog(data: Bytes, place: Places) -> Places:
    return place + (data.u8(place) + 3) // 4 * 4


def _behind(size: int) -> Callable[[Bytes, Places], Places]:
    """The IP header stands behind so many bytes."""
    return lambda data, place: place + size


def _at(position: int, how: Callable[[Bytes, Places], Places]) -> Callable[[Bytes, Places], Places]:
    """``how``, from that byte of the frame on."""
    return lambda data, place: how(data, place + position)


def _cooked(data: Bytes, place: Places) -> Places:
    """LINKTYPE_LINUX_SLL2: the protocol stands first, what it announces behind 20 bytes."""
    kind = data.u16(place)
    tagged = np.isin(kind, _TAGS)
    at = np.where(np.isin(kind, _ETHER_IP), place + 20, -1)
    return np.where(tagged, _by_ether_type(data, place + 22), at) if tagged.any() else at


_FINDERS: dict[int, Callable[[Bytes, Places], Places]] = {
    0: _behind(4),
    108: _behind(4),
    ETHERNET: _at(12, _by_ether_type),
    143: _at(12, _by_ether_type),
    9: _by_ppp,
    50: _by_ppp,
    51: _at(_PPPOE_HEADER, _by_ppp),
    166: _at(2, _by_ppp),
    204: _at(1, _by_ppp),
    10: _at(13, _by_llc),
    11: _by_llc,
    12: _behind(0),
    14: _behind(0),
    RAW_IP: _behind(0),
    IPV4: _behind(0),
    IPV6: _behind(0),
    104: _at(2, _by_ether_type),
    IEEE802_11: _by_wifi,
    IEEE802_11_RADIOTAP: _radiotap,
    119: _prism,
    163: _avs,
    107: _by_frame_relay,
    109: _behind(12),
    113: _at(14, _by_ether_type),
    117: _pflog,
    122: _at(16, _by_llc),
    123: _at(4, _by_llc),
    138: _at(16, _by_ether_type),
    242: lambda data, place: np.where(np.isin(data.u16(place), _ETHER_IP), place + 4, -1),
    276: _cooked,
}
"""NULL, LOOP, Ethernet, DOCSIS, PPP in its forms, FDDI, ATM, raw IP in its forms, Cisco HDLC, 802.11 in its forms,
Frame Relay, ENC, SLL, PFLOG, Fibre Channel, SunATM, IEEE 1394, InfiniBand, SLL2."""
