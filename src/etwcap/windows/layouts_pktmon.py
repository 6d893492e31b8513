"""Structures of the Packet Monitor API (PktMonApi.dll), which ships without a header.

Fields as Microsoft documents them ("Packet Monitor API reference"); sizes and places agree in three published programs.
"""

# ruff: noqa: N801 - the names of Microsoft's documentation, without the prefix PACKETMONITOR_
from __future__ import annotations

from ctypes import Structure, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p

HEADERS = ()
"""No SDK, MinGW's neither, has a C header of these."""


class DATA_SOURCE_SPECIFICATION(Structure):
    """A component whose packets can be captured; IsPresent bits: 0 Guid, 1 IPv6, 2 IPv4, 3 MAC."""

    _fields_ = [
        ("Kind", c_uint32),
        ("Name", c_uint16 * 64),
        ("Description", c_uint16 * 128),
        ("Id", c_uint32),
        ("SecondaryId", c_uint32),
        ("ParentId", c_uint32),
        ("IsPresent", c_uint32),
        ("_padding", c_uint32),
        ("Detail", c_uint8 * 16),
    ]


class PROTOCOL_CONSTRAINT(Structure):
    """A capture filter of the driver; ports and EtherType in host order, addresses in network order."""

    _fields_ = [
        ("Name", c_uint16 * 64),
        ("IsPresent", c_uint32),
        ("Mac1", c_uint8 * 6),
        ("Mac2", c_uint8 * 6),
        ("VlanId", c_uint16),
        ("EtherType", c_uint16),
        ("DSCP", c_uint16),
        ("TransportProtocol", c_uint8),
        ("_padding", c_uint8),
        ("Ip1", c_uint8 * 16),
        ("Ip2", c_uint8 * 16),
        ("PrefixLength1", c_uint8),
        ("PrefixLength2", c_uint8),
        ("Port1", c_uint16),
        ("Port2", c_uint16),
        ("TCPFlags", c_uint8),
        ("EncapType", c_uint32),
        ("VxLanPort", c_uint16),
        ("Packets", c_uint64),
        ("Bytes", c_uint64),
    ]


class REALTIME_STREAM_CONFIGURATION(Structure):
    """How packets are delivered; BufferSizeMultiplier counts 256 KiB."""

    _fields_ = [
        ("UserContext", c_void_p),
        ("EventCallback", c_void_p),
        ("DataCallback", c_void_p),
        ("BufferSizeMultiplier", c_uint16),
        ("TruncationSize", c_uint16),
    ]


class STREAM_DATA_DESCRIPTOR(Structure):
    """Where a delivered packet and its metadata are, and how many were missed."""

    _fields_ = [
        ("Data", c_void_p),
        ("DataSize", c_uint32),
        ("MetadataOffset", c_uint32),
        ("PacketOffset", c_uint32),
        ("PacketLength", c_uint32),
        ("MissedPacketWriteCount", c_uint32),
        ("MissedPacketReadCount", c_uint32),
    ]


class STREAM_METADATA(Structure):
    """What is told of a packet; packed. TimeStamp is a FILETIME of the system tick."""

    _pack_ = 1
    _fields_ = [
        ("PktGroupId", c_uint64),
        ("PktCount", c_uint16),
        ("AppearanceCount", c_uint16),
        ("DirectionName", c_uint16),
        ("PacketType", c_uint16),
        ("ComponentId", c_uint16),
        ("EdgeId", c_uint16),
        ("FilterId", c_uint16),
        ("DropReason", c_uint32),
        ("DropLocation", c_uint32),
        ("Processor", c_uint16),
        ("TimeStamp", c_int64),
    ]
