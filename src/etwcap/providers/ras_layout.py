"""Microsoft-Windows-Ras-NdisWanPacketCapture: packets inside Windows' own VPN and dial-up tunnels, before encryption.

From the provider's own manifest (Message Analyzer's archive; builds 17134, 18990) and etl2pcapng; no real trace was at
hand. An event is, packed: two NUL-ended UTF-16 texts (RoutingDomainID, a GUID in braces; RRASUserName), u32
FragmentSize, an Ethernet frame. One event is one packet.
"""

from __future__ import annotations

import enum
import uuid
from typing import Final

GUID: Final = uuid.UUID("d84521f7-2235-4237-a7c0-14e3a9676286").bytes_le
"""Provider GUID as it lies in a record."""


class EventId(enum.IntEnum):
    """Event ids of the provider."""

    SENT = 5001
    RECEIVED = 5002


class Keyword(enum.IntFlag):
    """Keyword bits of the provider."""

    SEND_PATH = 0x100000000
    RECEIVE_PATH = 0x200000000
