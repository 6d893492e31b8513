"""Microsoft-Windows-PktMon: event ids, enumerations and the packed layouts of its payloads.

Names and numbers are those of Microsoft's pktmon headers (PKTMON_* of pktmonclntk.h and pktmondefk.h) and of its
parsers for Network Monitor; the layouts were checked byte for byte on real traces of builds 19042, 20348, 22621,
26100 and 26200. All ids are 16 bits wide, all numbers little-endian, nothing is aligned.
"""

from __future__ import annotations

import enum
import uuid
from typing import Final

import numpy as np

GUID: Final = uuid.UUID("4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac").bytes_le
"""Provider GUID as it lies in a record."""


class EventId(enum.IntEnum):
    """Event ids of the provider."""

    DRIVER_LOAD_ERROR = 10
    COMPONENT = 20
    PROPERTY_U32 = 30
    PROPERTY_GUID = 40
    PROPERTY_HEX = 50
    PROPERTY_NDIS_MEDIUM = 60
    PROPERTY_IPV4 = 65
    PROPERTY_IPV6 = 66
    PROPERTY_PHYS_ADDRESS = 70
    PROPERTY_SWITCH_NAME = 73
    PROPERTY_ETHER_TYPE = 75
    DROP_COUNTERS = 80
    FLOW_COUNTERS = 90
    FILTER_IPV4 = 100
    FILTER_IPV6 = 110
    FLOW_PAYLOAD = 160
    DROP_PAYLOAD = 170
    DROP_DUPLICATE = 240


class Property(enum.IntEnum):
    """Property types of a component (PKTMON_COMPONENT_PROPERTY of pktmondefk.h)."""

    IF_INDEX = 1
    MINIPORT_IF_INDEX = 2
    LOWER_IF_INDEX = 3
    IF_GUID = 4
    NDIS_MEDIUM = 5
    PHYS_ADDRESS = 6
    ETHER_TYPE = 7
    OPT_DATA_PATH = 8
    NDIS_OBJECT = 9
    VM_SWITCH_NAME = 10
    VMS_EXT_IF_INDEX = 11
    LOWEST_IF_INDEX = 12
    IP_ADDRESS = 13
    IP_IF_INDEX = 14
    VSID = 15
    VLAN = 16
    COMPARTMENT_ID = 17


class ComponentType(enum.IntEnum):
    """Component types (PKTMON_COMPONENT_TYPE of pktmondefk.h)."""

    UNKNOWN = 0
    NDIS = 1
    MINIPORT = 2
    FILTER = 3
    PROTOCOL = 4
    VMS_VM_NIC = 5
    VMS_MINIPORT = 6
    VMS_EXT_MINIPORT = 7
    VMS_PROTOCOL_NIC = 8
    NETVSC = 9
    HTTP = 10
    IP_INTERFACE = 11
    SLBMUX = 12
    IPSEC = 13
    NETCX = 14
    HTTP_MESSAGE = 15


class Direction(enum.IntEnum):
    """Direction tags (PKTMON_DIRECTION_TAG): In, Rx and Ingress count as received, Out, Tx and Egress as sent."""

    UNSPECIFIED = 0
    IN = 1
    OUT = 2
    RX = 3
    TX = 4
    INGRESS = 5
    EGRESS = 6


class PacketType(enum.IntEnum):
    """Packet types (PKTMON_PACKET_TYPE): what the payload starts with."""

    UNKNOWN = 0
    ETHERNET = 1
    WIFI = 2
    IP = 3
    HTTP = 4
    TCP = 5
    UDP = 6
    ARP = 7
    ICMP = 8
    ESP = 9
    AH = 10
    L4_PAYLOAD = 11


NDIS_MEDIUM_802_3: Final = 0
NDIS_MEDIUM_NATIVE_802_11: Final = 16
"""NDIS_MEDIUM of ntddndis.h."""

PACKET_HEADER: Final = np.dtype(
    [
        ("pkt_group_id", "<u8"),  # high 16 bits: processor
        ("pkt_number", "<u2"),
        ("appearance_count", "<u2"),
        ("direction", "<u2"),
        ("packet_type", "<u2"),
        ("component_id", "<u2"),
        ("edge_id", "<u2"),
        ("filter_id", "<u2"),
        ("drop_reason", "<u4"),
        ("drop_location", "<u4"),
        ("original_payload_size", "<u2"),
        ("logged_payload_size", "<u2"),
    ]
)
"""What stands before the packet bytes of the events 160, 170 and 240."""
assert PACKET_HEADER.itemsize == 34
