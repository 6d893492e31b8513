"""Payload bytes of Microsoft-Windows-PktMon events: the reverse of ``pktmon`` and ``pktmon_components``.

Each function gives the payload of one event, without any header; ``pktmon_layout.EventId`` has the event ids. Where
many packet events are wanted, fill an array of ``pktmon_layout.PACKET_HEADER`` instead.
"""

from __future__ import annotations

import struct
import uuid
from ipaddress import IPv4Address, IPv6Address

from etwcap.providers.pktmon_layout import Direction, EventId, PacketType, Property


def _wstr(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"


def build_driver_load_error(status: int) -> bytes:
    """Event 10: the driver failed to load with that NTSTATUS."""
    return struct.pack("<I", status)


def build_component(component_id: int, component_type: int, name: str, description: str = "") -> bytes:
    """Event 20: a component; ``name`` is its driver file, e.g. ``tcpip.sys``."""
    return struct.pack("<HH", component_id, component_type) + _wstr(name) + _wstr(description)


def build_property(component_id: int, property_type: int, value: int) -> bytes:
    """Event 30 (and 50): a number. Builds from 26100 give NdisMedium this way too."""
    return struct.pack("<HHI", component_id, property_type, value)


def build_guid(component_id: int, guid: uuid.UUID, property_type: int = Property.IF_GUID) -> bytes:
    """Event 40: a GUID."""
    return struct.pack("<HH", component_id, property_type) + guid.bytes_le


def build_ndis_medium(component_id: int, medium: int) -> bytes:
    """Event 60: NdisMedium as builds up to 22621 give it."""
    return struct.pack("<HHH", component_id, Property.NDIS_MEDIUM, medium)


def build_ip_address(component_id: int, address: IPv4Address | IPv6Address) -> bytes:
    """Event 65 (IPv4) or 66 (IPv6)."""
    return struct.pack("<HH", component_id, Property.IP_ADDRESS) + address.packed


def build_phys_address(component_id: int, mac: bytes) -> bytes:
    """Event 70: a MAC address."""
    return struct.pack("<HHI", component_id, Property.PHYS_ADDRESS, len(mac)) + mac


def build_switch_name(component_id: int, name: str) -> bytes:
    """Event 73: the name of a virtual switch, without a terminator."""
    return struct.pack("<HH", component_id, Property.VM_SWITCH_NAME) + name.encode("utf-16-le")


def build_ether_type(component_id: int, ether_type: int) -> bytes:
    """Event 75: one EtherType that a protocol is bound to."""
    return struct.pack("<HHH", component_id, Property.ETHER_TYPE, ether_type)


def _counters(packets_in: int, bytes_in: int, packets_out: int, bytes_out: int) -> bytes:
    return struct.pack("<HQQHQQ", Direction.RX, packets_in, bytes_in, Direction.TX, packets_out, bytes_out)


def build_drop_counters(
    component_id: int, packets_in: int = 0, bytes_in: int = 0, packets_out: int = 0, bytes_out: int = 0
) -> bytes:
    """Event 80: what the component dropped."""
    return struct.pack("<H", component_id) + _counters(packets_in, bytes_in, packets_out, bytes_out)


def build_flow_counters(
    component_id: int,
    edge_id: int,
    edge_name: str,
    packets_in: int = 0,
    bytes_in: int = 0,
    packets_out: int = 0,
    bytes_out: int = 0,
) -> bytes:
    """Event 90: what passed one edge of the component; the only event that names edges."""
    head = struct.pack("<H", component_id) + _wstr(edge_name) + struct.pack("<H", edge_id)
    return head + _counters(packets_in, bytes_in, packets_out, bytes_out)


def build_filter(
    filter_id: int,
    name: str = "",
    *,
    mac1: bytes = bytes(6),
    mac2: bytes = bytes(6),
    ether_type: int = 0,
    vlan_id: int = 0,
    ip1: IPv4Address | IPv6Address = IPv4Address(0),  # noqa: B008
    ip2: IPv4Address | IPv6Address = IPv4Address(0),  # noqa: B008
    transport_protocol: int = 0,
    port1: int = 0,
    port2: int = 0,
    tcp_flags: int = 0,
) -> bytes:
    """Event 100 (both addresses IPv4) or 110 (both IPv6); zero means any."""
    if ip1.version != ip2.version:
        raise ValueError("a filter has two addresses of one family")
    head = struct.pack("<H", filter_id) + _wstr(name) + mac1 + mac2 + struct.pack("<HH", ether_type, vlan_id)
    tail = struct.pack("<BHHB", transport_protocol, port1, port2, tcp_flags)
    return head + ip1.packed + ip2.packed + tail


def build_packet_event(
    payload: bytes,
    *,
    group: int = 0,
    number: int = 1,
    appearance: int = 0,
    direction: int = Direction.RX,
    packet_type: int = PacketType.ETHERNET,
    component_id: int = 0,
    edge_id: int = 0,
    filter_id: int = 0,
    drop_reason: int = 0,
    drop_location: int = 0,
    original: int | None = None,
) -> bytes:
    """Event 160 (flow) or 170 (drop): one sighting of a packet.

    ``group`` is PktGroupId (processor << 48 | counter); ``original`` is OriginalPayloadSize, the length of ``payload``
    if not given. Both lengths are 16 bits wide: a larger one raises ValueError.
    """
    original = len(payload) if original is None else original
    if max(original, len(payload)) > 0xFFFF:
        raise ValueError("PktMon cannot log more than 65535 bytes of a packet")
    head = struct.pack(
        "<QHHHHHHHIIHH", group, number, appearance, direction, packet_type, component_id, edge_id, filter_id,
        drop_reason, drop_location, original, len(payload),
    )  # fmt: skip
    return head + payload


def packet_event_id(drop_reason: int) -> EventId:
    """170 for a drop, 160 for a packet that passed."""
    return EventId.DROP_PAYLOAD if drop_reason else EventId.FLOW_PAYLOAD
