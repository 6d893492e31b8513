"""Structures of Winsock: addresses, messages with ancillary data (winsock2.h, ws2ipdef.h, mswsock.h)."""

# ruff: noqa: N801 - the names of the Windows SDK
from __future__ import annotations

from ctypes import Structure, Union, c_char, c_int32, c_size_t, c_uint8, c_uint16, c_uint32, c_void_p

HEADERS = ("winsock2.h", "ws2tcpip.h", "mswsock.h", "mstcpip.h")
"""C headers that declare the structures of this module."""


class SOCKADDR_IN(Structure):
    """An IPv4 address and port, both in network byte order."""

    _fields_ = [
        ("sin_family", c_uint16),
        ("sin_port", c_uint16),
        ("sin_addr", c_uint8 * 4),
        ("sin_zero", c_char * 8),
    ]


class SOCKADDR_IN6(Structure):
    """An IPv6 address and port in network byte order, and the interface of a link-local address."""

    _fields_ = [
        ("sin6_family", c_uint16),
        ("sin6_port", c_uint16),
        ("sin6_flowinfo", c_uint32),
        ("sin6_addr", c_uint8 * 16),
        ("sin6_scope_id", c_uint32),
    ]


class SOCKADDR_INET(Union):
    """Either of the two; ``si_family`` says which."""

    _fields_ = [("Ipv4", SOCKADDR_IN), ("Ipv6", SOCKADDR_IN6), ("si_family", c_uint16)]


class SOCKET_ADDRESS(Structure):
    """A pointer to an address, and its length in bytes."""

    _fields_ = [("lpSockaddr", c_void_p), ("iSockaddrLength", c_int32)]


class WSABUF(Structure):
    """Room for data: its length in bytes and where it is."""

    _fields_ = [("len", c_uint32), ("buf", c_void_p)]


class WSAMSG(Structure):
    """A message of WSARecvMsg: sender, data, ancillary data; namelen and Control.len are changed by each call."""

    _fields_ = [
        ("name", c_void_p),
        ("namelen", c_int32),
        ("lpBuffers", c_void_p),
        ("dwBufferCount", c_uint32),
        ("Control", WSABUF),
        ("dwFlags", c_uint32),
    ]


class WSACMSGHDR(Structure):
    """The header of one item of ancillary data; the next one begins at cmsg_len rounded up to 8."""

    _fields_ = [("cmsg_len", c_size_t), ("cmsg_level", c_int32), ("cmsg_type", c_int32)]


class IN_PKTINFO(Structure):
    """The destination address of a received IPv4 packet, and the interface it came in by."""

    _fields_ = [("ipi_addr", c_uint8 * 4), ("ipi_ifindex", c_uint32)]


class IN6_PKTINFO(Structure):
    """The destination address of a received IPv6 packet, and the interface it came in by."""

    _fields_ = [("ipi6_addr", c_uint8 * 16), ("ipi6_ifindex", c_uint32)]


class WSADATA(Structure):
    """What WSAStartup says (64-bit order of the fields)."""

    _fields_ = [
        ("wVersion", c_uint16),
        ("wHighVersion", c_uint16),
        ("iMaxSockets", c_uint16),
        ("iMaxUdpDg", c_uint16),
        ("lpVendorInfo", c_void_p),
        ("szDescription", c_char * 257),
        ("szSystemStatus", c_char * 129),
    ]
