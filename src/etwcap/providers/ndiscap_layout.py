"""Microsoft-Windows-NDIS-PacketCapture: event ids, keywords and the packed layouts of its events.

From the provider's manifest (builds 7600, 17134, 18990), Microsoft's Message Analyzer and etl2pcapng, and a real
event of build 19044. What is told of 1002 and of the metadata of radios comes from Microsoft's page on
DOT11_EXTSTA_RECV_CONTEXT (windot11.h) and the same tools.
"""

from __future__ import annotations

import enum
import uuid
from typing import Final

import numpy as np

GUID: Final = uuid.UUID("2ed6006e-4729-4609-b423-3ee7bcd678ef").bytes_le
"""Provider GUID as it lies in a record."""


class EventId(enum.IntEnum):
    """Event ids of the provider."""

    PACKET_FRAGMENT = 1001
    PACKET_METADATA = 1002
    VMSWITCH_PACKET_FRAGMENT = 1003
    LAYER_ATTACHED = 1014
    LAYER_DETACHED = 1015
    CAPTURE_RULE = 1016
    STATE_RUNDOWN = 5100
    SOURCE_INFO = 5101


class Keyword(enum.IntFlag):
    """Keyword bits of the packet events; the low ones are ``1 << NDIS_MEDIUM``."""

    ETHERNET = 0x1
    WIRELESS_WAN = 0x200
    TUNNEL = 0x8000
    NATIVE_802_11 = 0x10000
    MEDIUM_IP = 0x80000
    VM_SWITCH = 0x1000000
    PACKET_TRUNCATED = 0x2000000
    PACKET_START = 0x40000000
    PACKET_END = 0x80000000
    SEND_PATH = 0x100000000
    RECEIVE_PATH = 0x200000000
    PII_PRESENT = 0x20000000000
    PACKET = 0x40000000000
    DIAGNOSTIC_CHANNEL = 0x8000000000000000


RULE_TRUNCATE_BYTES: Final = 17
"""RuleId of event 1016 whose value is the snap length."""

FRAGMENT_HEADER: Final = np.dtype([("miniport_if_index", "<u4"), ("lower_if_index", "<u4"), ("fragment_size", "<u4")])
"""What stands before the packet bytes of event 1001. After them: nothing, or on builds from about 18990 two u64
(GFT flow entry id and GFT offload information); the version of the event does not tell, the remaining length does."""
assert FRAGMENT_HEADER.itemsize == 12

GFT_TRAILER_SIZE: Final = 16

METADATA_HEADER: Final = np.dtype([("miniport_if_index", "<u4"), ("lower_if_index", "<u4"), ("metadata_size", "<u4")])
"""What stands before the metadata of event 1002."""

RECEIVE_CONTEXT: Final = np.dtype(
    [
        ("type", "u1"),
        ("revision", "u1"),
        ("size", "<u2"),
        ("receive_flags", "<u4"),
        ("phy_id", "<u4"),
        ("center_frequency", "<u4"),
        ("mpdus", "<u2"),
        ("padding", "<u2"),
        ("rssi", "<i4"),
        ("data_rate", "u1"),
        ("padding2", "V3"),
        ("media_specific_size", "<u4"),
    ]
)
"""DOT11_EXTSTA_RECV_CONTEXT, revision 1, up to its pointer: MHz, dBm, units of 500 kbit/s.

Then a pointer (8 bytes, or 4 where Size is not 48) and a u64 time stamp, which ``RECEIVE_FLAG_TIMESTAMP`` makes valid.
"""
assert RECEIVE_CONTEXT.itemsize == 32

RECEIVE_CONTEXT_SIZE: Final = 48
RECEIVE_CONTEXT_SIZE_32: Final = 44
"""Size of the whole context with 8-byte and with 4-byte pointers."""
NDIS_OBJECT_TYPE_DEFAULT: Final = 0x80

LEGACY_METADATA: Final = np.dtype(
    [
        ("miniport_if_index", "<u4"),
        ("lower_if_index", "<u4"),
        ("operation_mode", "<u4"),
        ("receive_flags", "<u4"),
        ("phy_id", "<u4"),
        ("center_frequency", "<u4"),
        ("rssi", "<i4"),
        ("data_rate", "u1"),
        ("timestamp", "<u8"),
    ]
)
"""Event 1002 of the older Microsoft-PEF-NDIS-PacketCapture, whole."""
assert LEGACY_METADATA.itemsize == 37


class ReceiveFlag(enum.IntFlag):
    """uReceiveFlags (DOT11_RECV_FLAG_ of windot11.h)."""

    RAW_PACKET = 1
    FCS_FAILURE = 2
    TIMESTAMP = 4
    """the time stamp is valid"""
