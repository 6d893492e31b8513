"""Payload bytes of Microsoft-Windows-NDIS-PacketCapture events: the reverse of ``ndiscap``.

Each function gives the payload of one event, without any header; ``ndiscap_layout.EventId`` has the event ids.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from etwcap.providers.ndiscap_layout import (
    NDIS_OBJECT_TYPE_DEFAULT,
    RECEIVE_CONTEXT_SIZE,
    RECEIVE_CONTEXT_SIZE_32,
    Keyword,
)


def _wstr(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"


def build_packet_event(
    fragment: bytes, *, miniport: int, lower: int | None = None, trailer: bool = True, flow: int = 0, offload: int = 0
) -> bytes:
    """Event 1001.

    ``lower`` is LowerIfIndex, the miniport itself if not given; ``trailer``: with the two GFT fields of newer builds.
    """
    head = struct.pack("<III", miniport, miniport if lower is None else lower, len(fragment))
    return head + fragment + (struct.pack("<QQ", flow, offload) if trailer else b"")


def packet_keyword(
    *, sent: bool, medium: int = Keyword.ETHERNET, start: bool = True, end: bool = True, truncated: bool = False
) -> int:
    """The keyword of a packet event as the driver sets it."""
    word = Keyword.DIAGNOSTIC_CHANNEL | Keyword.PACKET | Keyword.PII_PRESENT | medium
    word |= Keyword.SEND_PATH if sent else Keyword.RECEIVE_PATH
    if start:
        word |= Keyword.PACKET_START
    if end:
        word |= Keyword.PACKET_END
    if truncated:
        word |= Keyword.PACKET_TRUNCATED
    return int(word)


def build_layer(miniport: int, lower: int, media_type: int = 0, context: int = 0) -> bytes:
    """Event 1014 (attached) or 1015 (detached): a capture layer of a miniport; ``media_type`` is an NDIS_MEDIUM."""
    return struct.pack("<IIII", miniport, lower, media_type, context)


def build_capture_rule(rule_id: int, directive: int, value: bytes) -> bytes:
    """Event 1016: one capture rule."""
    return struct.pack("<BBH", rule_id, directive, len(value)) + value


def build_source_info(if_index: int, name: str, layers: Iterable[tuple[int, str]] = (), source_id: int = 1) -> bytes:
    """Event 5101: the name of an interface and of its filter layers, bottom first."""
    named = list(layers)
    head = struct.pack("<B", source_id) + _wstr(name) + struct.pack("<IH", if_index, len(named))
    return head + b"".join(struct.pack("<I", layer) + _wstr(text) for layer, text in named)


def build_wifi_metadata(
    *,
    miniport: int,
    lower: int | None = None,
    frequency: int = 0,
    rssi: int = 0,
    data_rate: int = 0,
    receive_flags: int = 0,
    phy_id: int = 0,
    timestamp: int = 0,
    pointer_size: int = 8,
) -> bytes:
    """Event 1002: what the radio told of the next 802.11 frame of the miniport (keyword: Native802.11).

    ``frequency`` in MHz, ``rssi`` in dBm, ``data_rate`` in units of 500 kbit/s; ``receive_flags`` are ``ReceiveFlag``
    bits.
    """
    size = RECEIVE_CONTEXT_SIZE if pointer_size == 8 else RECEIVE_CONTEXT_SIZE_32
    context = struct.pack(
        "<BBHIIIHHiB3xI", NDIS_OBJECT_TYPE_DEFAULT, 1, size, receive_flags, phy_id, frequency, 1, 0, rssi, data_rate, 0
    )
    context += bytes(pointer_size) + struct.pack("<Q", timestamp)
    return struct.pack("<III", miniport, miniport if lower is None else lower, len(context)) + context


def build_legacy_wifi_metadata(
    *,
    miniport: int,
    lower: int | None = None,
    frequency: int = 0,
    rssi: int = 0,
    data_rate: int = 0,
    receive_flags: int = 0,
    phy_id: int = 0,
    timestamp: int = 0,
    operation_mode: int = 0,
) -> bytes:
    """Event 1002 of the older provider Microsoft-PEF-NDIS-PacketCapture (``pefndis``), units as above."""
    head = struct.pack("<II", miniport, miniport if lower is None else lower)
    return head + struct.pack("<IIIIiBQ", operation_mode, receive_flags, phy_id, frequency, rssi, data_rate, timestamp)


def metadata_keyword() -> int:
    """The keyword of event 1002."""
    return int(Keyword.DIAGNOSTIC_CHANNEL | Keyword.PACKET | Keyword.RECEIVE_PATH | Keyword.NATIVE_802_11)
