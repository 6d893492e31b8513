"""Event 1003 of Microsoft-Windows-NDIS-PacketCapture: a packet seen in a Hyper-V switch.

From the provider's manifest (builds 17134, 18990); the members of the destinations, which exported manifests lack, from
Microsoft's Message Analyzer; the meaning of the out-of-band slots from NDIS_NET_BUFFER_LIST_INFO (nbl.h).

The event is, packed: u32 MiniportIfIndex, u32 LowerIfIndex, u32 SourcePortId, three NUL-ended UTF-16 texts
(SourcePortName, SourceNicName, SourceNicType), u32 DestinationCount, so many times {u32 DestinationPortId, three texts
as before}, u32 FragmentSize, the fragment, u32 OOBDataSize, the out-of-band data: one pointer-sized value for each
NDIS_NET_BUFFER_LIST_INFO. It ends there exactly.
"""

from __future__ import annotations

import enum
from typing import Final

import numpy as np
from numpy.typing import NDArray


class OobSlot(enum.IntEnum):
    """NDIS_NET_BUFFER_LIST_INFO: which pointer-sized value is what."""

    CHECKSUM = 0
    LARGE_SEND = 2
    IEEE8021Q = 4
    """bits 0-2 priority, bit 3 canonical format (DEI), bits 4-15 VLAN id"""
    HASH_VALUE = 8
    """RSS hash, low 32 bits"""
    HASH_INFO = 9
    """type and function of the hash"""


OOB_SLOTS: Final = 20
"""Slots that a switch event has at least; later builds have more."""


def pack_8021q(vlan: int, priority: int = 0, dei: int = 0) -> int:
    """The value of slot IEEE8021Q."""
    return priority & 7 | (dei & 1) << 3 | (vlan & 0xFFF) << 4


def tag_control(slot: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The tag control words of IEEE 802.1Q (priority, DEI, VLAN id from the top) of values of the slot."""
    return ((slot & 7) << 13 | (slot >> 3 & 1) << 12 | slot >> 4 & 0xFFF).astype(np.uint32)
