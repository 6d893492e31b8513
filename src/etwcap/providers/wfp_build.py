"""Payload bytes of Microsoft-Pef-WFP-MessageProvider events: the reverse of ``wfp``.

Each function gives the payload of one event, without any header; ``wfp_layout.EventId`` has the event ids.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from etwcap.providers.wfp_layout import EventId, Keyword

Address = IPv4Address | IPv6Address


def message_event_id(version: int, flow: bool) -> EventId:
    """The event id of a message: of IPv4 or IPv6, with a flow handle or without."""
    if version == 4:
        return EventId.MESSAGE_V4_FLOW if flow else EventId.MESSAGE_V4
    return EventId.MESSAGE_V6_FLOW if flow else EventId.MESSAGE_V6


def build_message(
    frame: bytes, *, source: Address, destination: Address, protocol: int, flow: int | None = None
) -> bytes:
    """Event 60011, 60012, 60021 or 60022 (``message_event_id`` says which): ``frame`` starts with the transport header.

    ``flow`` is the flow handle; None: an event without one. Raises ValueError where the addresses are of two families,
    or the frame is longer than its 16-bit length can say.
    """
    if source.version != destination.version:
        raise ValueError("a message has two addresses of one family")
    if len(frame) > 0xFFFF:
        raise ValueError("a message cannot hold more than 65535 bytes")
    middle = b"" if flow is None else struct.pack("<Q", flow)
    head = source.packed + destination.packed + struct.pack("<B", protocol) + middle
    return head + struct.pack("<H", len(frame)) + frame


def build_fragments(payload: bytes, *, event: int, group: int, size: int) -> list[tuple[bytes, int]]:
    """Events 2000 that carry the payload of another event in parts of ``size`` bytes: (payload, PacketStart and
    PacketEnd bits of the keyword) each."""
    starts = range(0, max(len(payload), 1), size)
    events = []
    for at in starts:
        part = payload[at : at + size]
        bits = (Keyword.PACKET_START if at == 0 else 0) | (Keyword.PACKET_END if at == starts[-1] else 0)
        events.append((struct.pack("<HII", event, group, len(part)) + part, int(bits)))
    return events


def build_ale(
    *,
    source: Address,
    destination: Address,
    source_port: int,
    destination_port: int,
    protocol: int,
    flow: int,
    process: int,
    path: str = "",
    inbound: bool = False,
    interface_luid: int = 0,
) -> bytes:
    """Event 60031 (IPv4) or 60041 (IPv6): a flow was authorised for a process."""
    if source.version != destination.version:
        raise ValueError("an authorisation has two addresses of one family")
    text = path.encode("utf-16-le") + b"\0\0"
    numbers = struct.pack(
        "<HHQBBQQH", source_port, destination_port, interface_luid, inbound, protocol, flow, process, len(text)
    )
    return source.packed + destination.packed + numbers + text


def build_discard(module: int, reason: int, filter_id: int = 0) -> bytes:
    """Event 60050: something was discarded."""
    return struct.pack("<BIQ", module, reason, filter_id)


def message_keyword(*, sent: bool, clear_ipsec: bool = False) -> int:
    """The keyword of a message."""
    word = Keyword.PACKET | Keyword.PII_PRESENT | (Keyword.SEND_PATH if sent else Keyword.RECEIVE_PATH)
    return int(word | (Keyword.CLEAR_IPSEC if clear_ipsec else 0))
