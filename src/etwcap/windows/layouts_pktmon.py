"""Structures of Packet Monitor, which ships without a header: of the API of PktMonApi.dll, of its older exports, and of
the driver's device.

Fields of the API as Microsoft documents them ("Packet Monitor API reference"); sizes and places agree in three
published programs. Those of the older exports and of the device are not documented: the former are those of the Rust
crate ``pktmon``, the latter agree in three published programs.
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


class STREAM_EVENT_STARTED(Structure):
    """Told by the stream's event callback when it starts (kind 0)."""

    _fields_ = [("BufferSize", c_uint32), ("TruncationSize", c_uint16)]


class STREAM_EVENT_FATAL_ERROR(Structure):
    """Told by the stream's event callback when it fails (kind 2)."""

    _fields_ = [("IsFatal", c_uint8), ("Reason", c_uint32)]


class STREAM_EVENT_PROCESS_INFO(Structure):
    """Told by the stream's event callback of a packet that it could not deliver (kind 3)."""

    _fields_ = [("IsWarning", c_uint8), ("Reason", c_uint32), ("PacketLength", c_uint64)]


class LEGACY_FILTER(Structure):
    """A filter of PktmonAddFilter; zero means any."""

    _fields_ = [
        ("Size", c_uint16),
        ("Name", c_uint16 * 64),
        ("Mac1", c_uint8 * 6),
        ("Mac2", c_uint8 * 6),
        ("VlanId", c_uint16),
        ("EtherType", c_uint16),
        ("TransportProtocol", c_uint8),
        ("IsIpv6", c_uint8),
        ("_padding", c_uint8 * 4),
        ("Ip1", c_uint8 * 16),
        ("Ip2", c_uint8 * 16),
        ("PrefixLength1", c_uint8),
        ("PrefixLength2", c_uint8),
        ("Port1", c_uint16),
        ("Port2", c_uint16),
        ("TCPFlags", c_uint8),
        ("EncapType", c_uint8),
        ("VxLanPort", c_uint16),
        ("Heartbeat", c_uint16),
        ("DSCP", c_uint16),
        ("_end", c_uint16),
    ]


class LEGACY_START(Structure):
    """What PktmonStart is given: CaptureType 1 is packets; ComponentMode 1 all, 2 adapters, 3 those of the list."""

    _fields_ = [
        ("CaptureType", c_uint32),
        ("_unknown4", c_uint32),
        ("ComponentMode", c_uint32),
        ("ComponentCount", c_uint16),
        ("_unknown14", c_uint16),
        ("Components", c_void_p),
        ("_unknown24", c_uint16),
        ("_end", c_uint8 * 6),
    ]


class DEVICE_START(Structure):
    """What the device is given to start: Selection 1 all components, 2 adapters; CaptureType 1 packets."""

    _fields_ = [
        ("Size", c_uint32),
        ("Selection", c_uint32),
        ("_unknown8", c_uint32),
        ("CaptureType", c_uint32),
        ("Flag", c_uint8),
        ("_end", c_uint8 * 3),
    ]
