"""Payload bytes of Microsoft-Windows-Ras-NdisWanPacketCapture events: the reverse of ``ras``."""

from __future__ import annotations

import struct
import uuid

from etwcap.providers.ras_layout import EventId, Keyword


def build_packet_event(
    fragment: bytes,
    *,
    domain: uuid.UUID = uuid.UUID(int=0),  # noqa: B008
    user: str = "",
) -> bytes:
    """Event 5001 (sent) or 5002 (received): an Ethernet frame of a user's tunnel in a routing domain."""
    texts = f"{{{str(domain).upper()}}}\0{user}\0".encode("utf-16-le")
    return texts + struct.pack("<I", len(fragment)) + fragment


def packet_event_id(*, sent: bool) -> EventId:
    """The event id by direction."""
    return EventId.SENT if sent else EventId.RECEIVED


def packet_keyword(*, sent: bool) -> int:
    """The keyword of a packet event; its level is 5 (verbose)."""
    return int(Keyword.SEND_PATH if sent else Keyword.RECEIVE_PATH)
