"""Microsoft-Pef-WFP-MessageProvider: event ids, keywords and the packed layouts of its messages.

From the provider's manifest (build 17134), Microsoft's Message Analyzer (its WFPCapture and WfpUtility parsers) and
Microsoft's SQL Network Analyzer; no real trace was at hand. Numbers are little-endian, ports too; addresses lie in
network order.
"""

from __future__ import annotations

import enum
import uuid
from typing import Final

import numpy as np

GUID: Final = uuid.UUID("c22d1b14-c242-49de-9f17-1d76b8b9c458").bytes_le
"""Provider GUID as it lies in a record."""


class EventId(enum.IntEnum):
    """Event ids of the provider."""

    FRAGMENT = 2000
    """a part of a message that is too long for one event"""
    MESSAGE_V4 = 60011
    MESSAGE_V4_FLOW = 60012
    MESSAGE_V6 = 60021
    MESSAGE_V6_FLOW = 60022
    ALE_V4 = 60031
    ALE_V6 = 60041
    DISCARD = 60050


class Keyword(enum.IntFlag):
    """Keyword bits of the messages."""

    CLEAR_IPSEC = 0x10000000
    CLEAR_IKE = 0x20000000
    PACKET_START = 0x40000000
    PACKET_END = 0x80000000
    SEND_PATH = 0x100000000
    RECEIVE_PATH = 0x200000000
    GLOBAL = 0x8000000000
    DROPPED = 0x10000000000
    PII_PRESENT = 0x20000000000
    PACKET = 0x40000000000


def _message(address: int, flow: bool) -> np.dtype[np.void]:
    fields = [("source", f"V{address}"), ("destination", f"V{address}"), ("protocol", "u1")]
    fields += [("flow", "<u8")] if flow else []
    return np.dtype([*fields, ("byte_length", "<u2")])


MESSAGES: Final = {
    EventId.MESSAGE_V4: _message(4, False),
    EventId.MESSAGE_V4_FLOW: _message(4, True),
    EventId.MESSAGE_V6: _message(16, False),
    EventId.MESSAGE_V6_FLOW: _message(16, True),
}
"""What stands before the transport header. A ByteLength of 0 means the rest of the event."""
assert [head.itemsize for head in MESSAGES.values()] == [11, 19, 35, 43]

FRAGMENT_HEADER: Final = np.dtype([("event", "<u2"), ("group", "<u4"), ("byte_length", "<u4")])
"""What stands before the bytes of event 2000: which event is carried, which parts belong together."""
assert FRAGMENT_HEADER.itemsize == 10


def _ale(address: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("source", f"V{address}"),
            ("destination", f"V{address}"),
            ("source_port", "<u2"),
            ("destination_port", "<u2"),
            ("interface_luid", "<u8"),
            ("direction", "u1"),
            ("protocol", "u1"),
            ("flow", "<u8"),
            ("process", "<u8"),
            ("byte_length", "<u2"),
        ]
    )


ALE: Final = {EventId.ALE_V4: _ale(4), EventId.ALE_V6: _ale(16)}
"""What stands before the process path (UTF-16) of an authorisation.

Direction is FWP_DIRECTION: 0 outbound, 1 inbound."""
assert [head.itemsize for head in ALE.values()] == [40, 64]

DISCARD: Final = np.dtype([("module", "u1"), ("reason", "<u4"), ("filter", "<u8")])
"""Event 60050, whole."""
assert DISCARD.itemsize == 13
