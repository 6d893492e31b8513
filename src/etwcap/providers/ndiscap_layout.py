"""Microsoft-Windows-NDIS-PacketCapture: event ids, keywords and the packed layout of event 1001.

From the provider's manifest (builds 7600, 17134, 18990), Microsoft's Message Analyzer and etl2pcapng, and a real
event of build 19044.
"""

from __future__ import annotations

import enum
import uuid
from typing import Final

import numpy as np

GUID: Final = uuid.UUID("2ed6006e-4729-4609-b423-3ee7bcd678ef").bytes_le
"""Provider GUID as it lies in a record."""


class EventId(enum.IntEnum):
    """Event ids of the provider; 1002 (Wi-Fi metadata) and 1003 (virtual switch) are events to us, no packets."""

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
