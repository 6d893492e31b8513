"""Raw-socket records: what a receive call of a raw socket gave, as a packet of link type 156.

A recording is a pcapng file whose interfaces are sockets of link type 156 (LINKTYPE_USER9); a live tap puts the same
records into its ring. A record is RAW_RECORD (64 bytes, little-endian) and a payload. The time of a record is the stamp
of the batch of receives it came with: later than the packet, never earlier.

* Kind PACKET, family 4: the payload is the whole IPv4 packet. Family 6: it is what follows the last IPv6 header that
  Windows strips; the IPv6 header, Hop-by-Hop Options, Routing, Destination Options, Authentication, Mobility, Host
  Identity and Shim6 headers are gone, a Fragment header is the payload's first (``SIO_RCVALL`` and the article on raw
  sockets of IPv6 in the Windows SDK documentation).
* Kind ADDRESSES: the payload is rows of ADDRESS_ROW, a snapshot of the machine's address tables. It comes at the start,
  whenever they change, and at the end.

The last 40 bytes of the header are as long as an IPv6 header, and the addresses stand where those of an IPv6 header
stand: one can be written over them, right before the payload.
"""

from __future__ import annotations

import enum
from typing import Final

import numpy as np

from etwcap.packets.addresses import AddressKind

__all__ = [
    "ADDRESS_ROW",
    "IPV6_HEADER",
    "LINK_TYPE",
    "MAGIC",
    "RAW_RECORD",
    "STRIPPED",
    "AddressKind",
    "Kind",
    "Present",
]

LINK_TYPE: Final = 156
"""LINKTYPE_USER9: for private use, so a reader needs the magic, too."""
MAGIC: Final = 0x31535245
""" "ERS1" """
IPV6_HEADER: Final = 24
"""where in the header of 64 bytes an IPv6 header fits, up to the payload"""
STRIPPED: Final = (0, 43, 51, 60, 135, 139, 140)
"""Next Header numbers of the headers that are stripped with the IPv6 header."""


class Kind(enum.IntEnum):
    """What a record is."""

    PACKET = 1
    ADDRESSES = 2


class Present(enum.IntFlag):
    """Which fields of a packet's record the socket told; the others are 0."""

    DESTINATION = 1
    """destination (IPV6_PKTINFO, IP_PKTINFO)"""
    INTERFACE = 2
    """interface index, from the same"""
    HOP_LIMIT = 4
    TRAFFIC_CLASS = 8
    NUMBER = 16
    """number: receives of this socket were numbered when they were posted"""
    CUT = 32
    """the packet was larger than the buffer; its length is not known"""


RAW_RECORD: Final = np.dtype(
    [
        ("magic", "<u4"),
        ("kind", "u1"),
        ("family", "u1"),
        ("present", "<u2"),
        ("number", "<u8"),
        ("socket", "<u4"),
        ("interface", "<u4"),
        ("hop_limit", "u1"),
        ("traffic_class", "u1"),
        ("zero", "<u2"),
        ("scope", "<u4"),
        ("source", "u1", (16,)),
        ("destination", "u1", (16,)),
    ]
)
"""magic; kind; family 4 or 6 (of kind ADDRESSES: 0); Present bits; number: ordinal of the receive among those posted on
its socket, from 0 (the order in which receives were posted is that of the packets, the order in which they complete is
not); socket, a number of the writer's; interface: index of Windows; hop limit; traffic class; 0; scope id of the
source; source; destination (IPv4 addresses: the first 4 bytes)."""

ADDRESS_ROW: Final = np.dtype(
    [("family", "u1"), ("table", "u1"), ("zero", "<u2"), ("interface", "<u4"), ("address", "u1", (16,))]
)
"""family 4 or 6; AddressKind; 0; index of the interface, 0 where it has none; address (IPv4: the first 4 bytes)."""
