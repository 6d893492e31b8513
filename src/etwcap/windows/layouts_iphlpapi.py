"""Rows of the tables of the IP Helper API (iphlpapi.h, netioapi.h, tcpmib.h, udpmib.h).

Addresses and ports are in network byte order; of a port only the low 16 bits of its field count.
"""

# ruff: noqa: N801 - the names of the Windows SDK
from __future__ import annotations

from ctypes import Structure, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p

from etwcap.windows.layouts_system import GUID
from etwcap.windows.layouts_winsock import SOCKADDR_INET, SOCKET_ADDRESS

HEADERS = ("winsock2.h", "ws2tcpip.h", "iphlpapi.h", "netioapi.h")
"""C headers that declare the structures of this module."""

MAX_PHYSICAL_ADDRESS = 32
MODULE_INFO = c_uint64 * 16


class MIB_UNICASTIPADDRESS_ROW(Structure):
    """A local unicast address; DadState 4 means that it is in use."""

    _fields_ = [
        ("Address", SOCKADDR_INET),
        ("InterfaceLuid", c_uint64),
        ("InterfaceIndex", c_uint32),
        ("PrefixOrigin", c_uint32),
        ("SuffixOrigin", c_uint32),
        ("ValidLifetime", c_uint32),
        ("PreferredLifetime", c_uint32),
        ("OnLinkPrefixLength", c_uint8),
        ("SkipAsSource", c_uint8),
        ("DadState", c_uint32),
        ("ScopeId", c_uint32),
        ("CreationTimeStamp", c_int64),
    ]


class MIB_MULTICASTIPADDRESS_ROW(Structure):
    """A multicast group that the machine listens to."""

    _fields_ = [
        ("Address", SOCKADDR_INET),
        ("InterfaceIndex", c_uint32),
        ("InterfaceLuid", c_uint64),
        ("ScopeId", c_uint32),
    ]


class MIB_ANYCASTIPADDRESS_ROW(Structure):
    """A local anycast address."""

    _fields_ = [
        ("Address", SOCKADDR_INET),
        ("InterfaceLuid", c_uint64),
        ("InterfaceIndex", c_uint32),
        ("ScopeId", c_uint32),
    ]


class MIB_IPNET_ROW2(Structure):
    """A neighbour (ARP or ND); Flags bit 0: it is a router."""

    _fields_ = [
        ("Address", SOCKADDR_INET),
        ("InterfaceIndex", c_uint32),
        ("InterfaceLuid", c_uint64),
        ("PhysicalAddress", c_uint8 * MAX_PHYSICAL_ADDRESS),
        ("PhysicalAddressLength", c_uint32),
        ("State", c_uint32),
        ("Flags", c_uint8),
        ("ReachabilityTime", c_uint32),
    ]


class MIB_IPPATH_ROW(Structure):
    """An entry of the destination cache."""

    _fields_ = [
        ("Source", SOCKADDR_INET),
        ("Destination", SOCKADDR_INET),
        ("InterfaceLuid", c_uint64),
        ("InterfaceIndex", c_uint32),
        ("CurrentNextHop", SOCKADDR_INET),
        ("PathMtu", c_uint32),
        ("RttMean", c_uint32),
        ("RttDeviation", c_uint32),
        ("LastReachable", c_uint32),
        ("IsReachable", c_uint8),
        ("LinkTransmitSpeed", c_uint64),
        ("LinkReceiveSpeed", c_uint64),
    ]


class MIB_TCPROW_OWNER_PID(Structure):
    """A TCP connection over IPv4 and the process that owns it."""

    _fields_ = [
        ("dwState", c_uint32),
        ("dwLocalAddr", c_uint8 * 4),
        ("dwLocalPort", c_uint32),
        ("dwRemoteAddr", c_uint8 * 4),
        ("dwRemotePort", c_uint32),
        ("dwOwningPid", c_uint32),
    ]


class MIB_TCP6ROW_OWNER_PID(Structure):
    """A TCP connection over IPv6 and the process that owns it."""

    _fields_ = [
        ("ucLocalAddr", c_uint8 * 16),
        ("dwLocalScopeId", c_uint32),
        ("dwLocalPort", c_uint32),
        ("ucRemoteAddr", c_uint8 * 16),
        ("dwRemoteScopeId", c_uint32),
        ("dwRemotePort", c_uint32),
        ("dwState", c_uint32),
        ("dwOwningPid", c_uint32),
    ]


class MIB_TCPROW_OWNER_MODULE(Structure):
    """As the row with the process, and since when (FILETIME)."""

    _fields_ = [
        *MIB_TCPROW_OWNER_PID._fields_,
        ("liCreateTimestamp", c_int64),
        ("OwningModuleInfo", MODULE_INFO),
    ]


class MIB_TCP6ROW_OWNER_MODULE(Structure):
    """As the row with the process, and since when (FILETIME)."""

    _fields_ = [
        *MIB_TCP6ROW_OWNER_PID._fields_,
        ("liCreateTimestamp", c_int64),
        ("OwningModuleInfo", MODULE_INFO),
    ]


class MIB_UDPROW_OWNER_PID(Structure):
    """A UDP socket over IPv4 and the process that owns it."""

    _fields_ = [("dwLocalAddr", c_uint8 * 4), ("dwLocalPort", c_uint32), ("dwOwningPid", c_uint32)]


class MIB_UDP6ROW_OWNER_PID(Structure):
    """A UDP socket over IPv6 and the process that owns it."""

    _fields_ = [
        ("ucLocalAddr", c_uint8 * 16),
        ("dwLocalScopeId", c_uint32),
        ("dwLocalPort", c_uint32),
        ("dwOwningPid", c_uint32),
    ]


class MIB_UDPROW_OWNER_MODULE(Structure):
    """As the row with the process, and since when (FILETIME)."""

    _fields_ = [
        *MIB_UDPROW_OWNER_PID._fields_,
        ("liCreateTimestamp", c_int64),
        ("dwFlags", c_int32),
        ("OwningModuleInfo", MODULE_INFO),
    ]


class MIB_UDP6ROW_OWNER_MODULE(Structure):
    """As the row with the process, and since when (FILETIME)."""

    _fields_ = [
        *MIB_UDP6ROW_OWNER_PID._fields_,
        ("liCreateTimestamp", c_int64),
        ("dwFlags", c_int32),
        ("OwningModuleInfo", MODULE_INFO),
    ]


class MIB_IF_ROW2(Structure):
    """An interface; flags bit 0 hardware, bit 1 a filter driver's layer, which is no adapter."""

    _fields_ = [
        ("InterfaceLuid", c_uint64),
        ("InterfaceIndex", c_uint32),
        ("InterfaceGuid", GUID),
        ("Alias", c_uint16 * 257),
        ("Description", c_uint16 * 257),
        ("PhysicalAddressLength", c_uint32),
        ("PhysicalAddress", c_uint8 * MAX_PHYSICAL_ADDRESS),
        ("PermanentPhysicalAddress", c_uint8 * MAX_PHYSICAL_ADDRESS),
        ("Mtu", c_uint32),
        ("Type", c_uint32),
        ("TunnelType", c_uint32),
        ("MediaType", c_uint32),
        ("PhysicalMediumType", c_uint32),
        ("AccessType", c_uint32),
        ("DirectionType", c_uint32),
        ("InterfaceAndOperStatusFlags", c_uint8),
        ("OperStatus", c_uint32),
        ("AdminStatus", c_uint32),
        ("MediaConnectState", c_uint32),
        ("NetworkGuid", GUID),
        ("ConnectionType", c_uint32),
        ("TransmitLinkSpeed", c_uint64),
        ("ReceiveLinkSpeed", c_uint64),
        ("InOctets", c_uint64),
        ("InUcastPkts", c_uint64),
        ("InNUcastPkts", c_uint64),
        ("InDiscards", c_uint64),
        ("InErrors", c_uint64),
        ("InUnknownProtos", c_uint64),
        ("InUcastOctets", c_uint64),
        ("InMulticastOctets", c_uint64),
        ("InBroadcastOctets", c_uint64),
        ("OutOctets", c_uint64),
        ("OutUcastPkts", c_uint64),
        ("OutNUcastPkts", c_uint64),
        ("OutDiscards", c_uint64),
        ("OutErrors", c_uint64),
        ("OutUcastOctets", c_uint64),
        ("OutMulticastOctets", c_uint64),
        ("OutBroadcastOctets", c_uint64),
        ("OutQLen", c_uint64),
    ]


class IP_ADAPTER_UNICAST_ADDRESS(Structure):
    """An address of an adapter, in a linked list."""

    _fields_ = [
        ("Length", c_uint32),
        ("Flags", c_uint32),
        ("Next", c_void_p),
        ("Address", SOCKET_ADDRESS),
        ("PrefixOrigin", c_uint32),
        ("SuffixOrigin", c_uint32),
        ("DadState", c_uint32),
        ("ValidLifetime", c_uint32),
        ("PreferredLifetime", c_uint32),
        ("LeaseLifetime", c_uint32),
        ("OnLinkPrefixLength", c_uint8),
    ]


class IP_ADAPTER_ADDRESSES(Structure):
    """An adapter, in a linked list; IfIndex 0: no IPv4, Ipv6IfIndex 0: no IPv6."""

    _fields_ = [
        ("Length", c_uint32),
        ("IfIndex", c_uint32),
        ("Next", c_void_p),
        ("AdapterName", c_void_p),
        ("FirstUnicastAddress", c_void_p),
        ("FirstAnycastAddress", c_void_p),
        ("FirstMulticastAddress", c_void_p),
        ("FirstDnsServerAddress", c_void_p),
        ("DnsSuffix", c_void_p),
        ("Description", c_void_p),
        ("FriendlyName", c_void_p),
        ("PhysicalAddress", c_uint8 * 8),
        ("PhysicalAddressLength", c_uint32),
        ("Flags", c_uint32),
        ("Mtu", c_uint32),
        ("IfType", c_uint32),
        ("OperStatus", c_uint32),
        ("Ipv6IfIndex", c_uint32),
        ("ZoneIndices", c_uint32 * 16),
        ("FirstPrefix", c_void_p),
        ("TransmitLinkSpeed", c_uint64),
        ("ReceiveLinkSpeed", c_uint64),
        ("FirstWinsServerAddress", c_void_p),
        ("FirstGatewayAddress", c_void_p),
        ("Ipv4Metric", c_uint32),
        ("Ipv6Metric", c_uint32),
        ("Luid", c_uint64),
        ("Dhcpv4Server", SOCKET_ADDRESS),
        ("CompartmentId", c_uint32),
        ("NetworkGuid", GUID),
        ("ConnectionType", c_uint32),
        ("TunnelType", c_uint32),
        ("Dhcpv6Server", SOCKET_ADDRESS),
        ("Dhcpv6ClientDuid", c_uint8 * 130),
        ("Dhcpv6ClientDuidLength", c_uint32),
        ("Dhcpv6Iaid", c_uint32),
        ("FirstDnsSuffix", c_void_p),
    ]
