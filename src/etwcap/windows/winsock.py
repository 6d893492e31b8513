"""ws2_32.dll: raw sockets as overlapped Windows sockets, SIO_RCVALL, WSARecvMsg.

A socket is Windows' own number (SOCKET), closed with ``close``. Sources: Microsoft's pages of WSASocketW, SIO_RCVALL,
IPPROTO_IPV6 socket options and LPFN_WSARECVMSG.
"""

from __future__ import annotations

import ctypes
import uuid
from ctypes import c_int32, c_size_t, c_uint8, c_uint16, c_uint32, c_void_p
from ipaddress import IPv4Address, IPv6Address, ip_address

from etwcap.errors import UsageError
from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import fail
from etwcap.windows.layouts_winsock import SOCKADDR_IN, SOCKADDR_IN6, SOCKADDR_INET, WSADATA

AF_INET = 2
AF_INET6 = 23
"""Windows' numbers: AF_INET6 of Python's socket module is another one elsewhere."""
SOCK_RAW = 3
SOCK_DGRAM = 2
IPPROTO_IP = 0
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_IPV6 = 41
SOL_SOCKET = 0xFFFF
SO_RCVBUF = 0x1002
IPV6_PKTINFO = IP_PKTINFO = 19
IPV6_HOPLIMIT = IP_RECVTTL = 21
IPV6_TCLASS = 39
IPV6_RECVTCLASS = IP_RECVTOS = 40

RCVALL_OFF = 0
RCVALL_ON = 1
"""All packets of the interface, promiscuous where the adapter can."""
RCVALL_IPLEVEL = 3
"""All packets at IP level, not promiscuous."""

SIO_RCVALL = 0x98000001
SIO_GET_EXTENSION_FUNCTION_POINTER = 0xC8000006
WSAID_WSARECVMSG = uuid.UUID("f689d7c8-6f1f-436b-8a53-e54fe351c322")

MSG_TRUNC = 0x100
MSG_CTRUNC = 0x200

_INVALID_SOCKET = ctypes.c_size_t(-1).value
_OVERLAPPED = 0x01
_NO_HANDLE_INHERIT = 0x80


class Winsock:
    """The calls of ws2_32.dll; every one raises WindowsCallError with Winsock's number."""

    def __init__(self, library: Library | None = None) -> None:
        self._dll = library or Library("ws2_32.dll")
        self._started = False

    def startup(self) -> None:
        """WSAStartup for version 2.2, once per object; ``socket`` does it by itself."""
        if not self._started:
            call = self._dll.function("WSAStartup", c_int32, c_uint16, c_void_p)
            code = call(0x0202, ctypes.byref(WSADATA()))
            if code:
                fail("WSAStartup", code)
            self._started = True

    def socket(self, family: int, protocol: int, *, kind: int = SOCK_RAW) -> int:
        """An overlapped socket that child processes do not inherit.

        For SIO_RCVALL: AF_INET with IPPROTO_IP, AF_INET6 with IPPROTO_IPV6.
        """
        self.startup()
        call = self._dll.function("WSASocketW", c_size_t, c_int32, c_int32, c_int32, c_void_p, c_uint32, c_uint32)
        made = int(call(family, kind, protocol, None, 0, _OVERLAPPED | _NO_HANDLE_INHERIT))
        if made == _INVALID_SOCKET:
            fail("WSASocketW", last_error(), what="a raw socket cannot be opened" if kind == SOCK_RAW else "")
        return made

    def bind(self, socket: int, address: str, *, port: int = 0, scope: int = 0) -> None:
        """Bind to a local address; a link-local IPv6 address needs its interface's index as ``scope``."""
        packed = sockaddr(address, port, scope)
        call = self._dll.function("bind", c_int32, c_size_t, c_void_p, c_int32)
        if call(socket, packed, len(packed)):
            fail("bind", last_error(), what=f"a socket cannot be bound to {address}")

    def local_address(self, socket: int) -> tuple[str, int]:
        """The address and port that the socket is bound to."""
        room = SOCKADDR_INET()
        size = c_int32(ctypes.sizeof(room))
        call = self._dll.function("getsockname", c_int32, c_size_t, c_void_p, c_void_p)
        if call(socket, ctypes.byref(room), ctypes.byref(size)):
            fail("getsockname", last_error())
        return read_sockaddr(bytes(room))

    def receive_all(self, socket: int, mode: int = RCVALL_IPLEVEL) -> None:
        """SIO_RCVALL: give the socket every packet of the interface whose address it is bound to."""
        value = c_uint32(mode)
        self._ioctl(socket, SIO_RCVALL, bytes(value), 0, what="the raw socket cannot take all packets (SIO_RCVALL)")

    def receive_message_pointer(self, socket: int) -> int:
        """The address of WSARecvMsg for sockets of this kind, to be called from C."""
        answer = self._ioctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, WSAID_WSARECVMSG.bytes_le, 8)
        return int.from_bytes(answer, "little")

    def set_option(self, socket: int, level: int, option: int, value: int) -> None:
        """Set a socket option that is a 32-bit number."""
        number = c_uint32(value)
        call = self._dll.function("setsockopt", c_int32, c_size_t, c_int32, c_int32, c_void_p, c_int32)
        if call(socket, level, option, ctypes.byref(number), 4):
            fail("setsockopt", last_error(), what=f"socket option {level}/{option} cannot be set")

    def option(self, socket: int, level: int, option: int) -> int:
        """The value of a socket option that is a 32-bit number."""
        number, size = c_uint32(), c_int32(4)
        call = self._dll.function("getsockopt", c_int32, c_size_t, c_int32, c_int32, c_void_p, c_void_p)
        if call(socket, level, option, ctypes.byref(number), ctypes.byref(size)):
            fail("getsockopt", last_error())
        return number.value

    def close(self, socket: int) -> None:
        """Close the socket; calls under way on it complete as cancelled."""
        if self._dll.function("closesocket", c_int32, c_size_t)(socket):
            fail("closesocket", last_error())

    def _ioctl(self, socket: int, code: int, given: bytes, room: int, *, what: str = "") -> bytes:
        answer, size = (c_uint8 * max(room, 1))(), c_uint32()
        words = (c_size_t, c_uint32, c_void_p, c_uint32, c_void_p, c_uint32, c_void_p, c_void_p, c_void_p)
        call = self._dll.function("WSAIoctl", c_int32, *words)
        out = ctypes.byref(answer) if room else None
        if call(socket, code, given, len(given), out, room, ctypes.byref(size), None, None):
            fail("WSAIoctl", last_error(), what=what)
        return bytes(answer)[: size.value] if room else b""


def sockaddr(address: str, port: int = 0, scope: int = 0) -> bytes:
    """A SOCKADDR_IN or SOCKADDR_IN6 of the address (``fe80::1%7`` gives the scope too) and port."""
    try:
        known = ip_address(address)
        if isinstance(known, IPv6Address) and known.scope_id:
            scope = int(known.scope_id)
    except ValueError as error:
        raise UsageError(f"{address} is no IP address", cause=str(error)) from error
    swapped = int.from_bytes(port.to_bytes(2, "big"), "little")
    if isinstance(known, IPv4Address):
        return bytes(SOCKADDR_IN(AF_INET, swapped, (c_uint8 * 4)(*known.packed)))
    return bytes(SOCKADDR_IN6(AF_INET6, swapped, 0, (c_uint8 * 16)(*known.packed), scope))


def read_sockaddr(data: bytes) -> tuple[str, int]:
    """Address (with ``%scope`` where there is one) and port of a SOCKADDR; an empty address for another family."""
    family = int.from_bytes(data[:2], "little")
    if family == AF_INET and len(data) >= ctypes.sizeof(SOCKADDR_IN):
        return str(IPv4Address(data[4:8])), int.from_bytes(data[2:4], "big")
    if family == AF_INET6 and len(data) >= ctypes.sizeof(SOCKADDR_IN6):
        scope = int.from_bytes(data[24:28], "little")
        return str(IPv6Address(data[8:24])) + (f"%{scope}" if scope else ""), int.from_bytes(data[2:4], "big")
    return "", 0
