"""iphlpapi.dll: addresses, neighbours, the destination cache, TCP and UDP owners, interfaces, and changes of them.

Each table is read anew and whole. One that this Windows does not have, or does not keep for the family, is empty:
``missing`` names the calls that were found absent. Sources: Microsoft's IP Helper reference.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_int32, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any
from uuid import UUID

import numpy as np

from etwcap.errors import NotHereError
from etwcap.windows.addresses import ADDRESS, ENDPOINT, Rows, addresses, endpoints, rows_of, table_at
from etwcap.windows.dll import Library, callback_type
from etwcap.windows.failure import check, failure
from etwcap.windows.layouts_iphlpapi import (
    MIB_ANYCASTIPADDRESS_ROW,
    MIB_IF_ROW2,
    MIB_IPNET_ROW2,
    MIB_IPPATH_ROW,
    MIB_MULTICASTIPADDRESS_ROW,
    MIB_TCP6ROW_OWNER_MODULE,
    MIB_TCP6ROW_OWNER_PID,
    MIB_TCPROW_OWNER_MODULE,
    MIB_TCPROW_OWNER_PID,
    MIB_UDP6ROW_OWNER_MODULE,
    MIB_UDP6ROW_OWNER_PID,
    MIB_UDPROW_OWNER_MODULE,
    MIB_UDPROW_OWNER_PID,
    MIB_UNICASTIPADDRESS_ROW,
)
from etwcap.windows.text import utf16
from etwcap.windows.winsock import AF_INET, AF_INET6

AF_UNSPEC = 0
IF_MAX_STRING_SIZE = 256

_INVALID_FUNCTION, _NOT_SUPPORTED, _NO_DATA, _NOT_FOUND = 1, 50, 232, 1168
_EMPTY = (_INVALID_FUNCTION, _NOT_SUPPORTED, _NO_DATA, _NOT_FOUND)
_BUFFER_OVERFLOW, _INSUFFICIENT_BUFFER = 111, 122
_TRIES = 16

_OWNER_TABLES: dict[tuple[str, int, bool], tuple[int, Any, int]] = {
    # function, family, with times: table class, row, offset of the first row
    ("GetExtendedTcpTable", AF_INET, True): (8, MIB_TCPROW_OWNER_MODULE, 8),
    ("GetExtendedTcpTable", AF_INET, False): (5, MIB_TCPROW_OWNER_PID, 4),
    ("GetExtendedTcpTable", AF_INET6, True): (8, MIB_TCP6ROW_OWNER_MODULE, 8),
    ("GetExtendedTcpTable", AF_INET6, False): (5, MIB_TCP6ROW_OWNER_PID, 4),
    ("GetExtendedUdpTable", AF_INET, True): (2, MIB_UDPROW_OWNER_MODULE, 8),
    ("GetExtendedUdpTable", AF_INET, False): (1, MIB_UDPROW_OWNER_PID, 4),
    ("GetExtendedUdpTable", AF_INET6, True): (2, MIB_UDP6ROW_OWNER_MODULE, 8),
    ("GetExtendedUdpTable", AF_INET6, False): (1, MIB_UDP6ROW_OWNER_PID, 4),
}

PARAMETER_CHANGED, ADDED, DELETED, INITIAL = range(4)
"""Kinds of change that a notification tells."""


class IpHelper:
    """The tables of this machine, as NumPy rows (``addresses.ADDRESS`` and ``ENDPOINT``) and structures."""

    def __init__(self, library: Library | None = None) -> None:
        self._dll = library or Library("iphlpapi.dll")
        self.missing: set[str] = set()
        """calls that this Windows does not have"""

    def unicast(self, family: int = AF_UNSPEC) -> Rows:
        """The machine's own addresses; ``state`` 4 means in use (others are tentative, duplicate, deprecated = 3)."""
        rows = self._mib_table("GetUnicastIpAddressTable", MIB_UNICASTIPADDRESS_ROW, family)
        return addresses(
            rows["Address"],
            rows["InterfaceIndex"],
            state=rows["DadState"],
            prefix_length=rows["OnLinkPrefixLength"],
        )

    def multicast(self, family: int = AF_UNSPEC) -> Rows:
        """The groups that the machine listens to."""
        rows = self._mib_table("GetMulticastIpAddressTable", MIB_MULTICASTIPADDRESS_ROW, family)
        return addresses(rows["Address"], rows["InterfaceIndex"])

    def anycast(self, family: int = AF_UNSPEC) -> Rows:
        """The machine's anycast addresses."""
        rows = self._mib_table("GetAnycastIpAddressTable", MIB_ANYCASTIPADDRESS_ROW, family)
        return addresses(rows["Address"], rows["InterfaceIndex"])

    def neighbours(self, family: int = AF_UNSPEC) -> Rows:
        """Neighbours (ARP, ND); ``state`` 5 reachable, 4 stale, 6 permanent."""
        rows = self._mib_table("GetIpNetTable2", MIB_IPNET_ROW2, family)
        return addresses(rows["Address"], rows["InterfaceIndex"], state=rows["State"])

    def destinations(self, family: int = AF_UNSPEC) -> Rows:
        """The destination cache: whom the machine talks to, off the link too."""
        rows = self._mib_table("GetIpPathTable", MIB_IPPATH_ROW, family)
        return addresses(rows["Destination"], rows["InterfaceIndex"])

    def all_addresses(self, family: int = AF_UNSPEC) -> Rows:
        """Every address of the tables above and of TCP's connections, each once: candidates for a destination."""
        tables = [self.unicast, self.multicast, self.anycast, self.neighbours, self.destinations]
        found = [table(family) for table in tables]
        found += [_remote(self.tcp(each)) for each in (AF_INET, AF_INET6) if family in (AF_UNSPEC, each)]
        return distinct(np.concatenate(found))

    def tcp(self, family: int) -> Rows:
        """TCP's endpoints of AF_INET or AF_INET6, with their owners."""
        return self._owners("GetExtendedTcpTable", family, 6)

    def udp(self, family: int) -> Rows:
        """UDP's endpoints of AF_INET or AF_INET6, with their owners."""
        return self._owners("GetExtendedUdpTable", family, 17)

    def interface_rows(self) -> Rows:
        """MIB_IF_ROW2 of every interface, layers of filter drivers included (GetIfTable2)."""
        return self._mib_table("GetIfTable2", MIB_IF_ROW2)

    def adapters_buffer(self, flags: int) -> tuple[Any, int]:
        """The memory that GetAdaptersAddresses filled (it has pointers into itself), and its address; 0: no adapter."""
        call = self._dll.function("GetAdaptersAddresses", c_uint32, c_uint32, c_uint32, c_void_p, c_void_p, c_void_p)
        size = c_uint32(15_360)
        for _ in range(_TRIES):
            room = (c_uint8 * size.value)()
            code = call(AF_UNSPEC, flags, None, ctypes.byref(room), ctypes.byref(size))
            if code == _NO_DATA:
                return room, 0
            if code == 0:
                return room, ctypes.addressof(room)
            if code != _BUFFER_OVERFLOW:
                break
        raise failure("GetAdaptersAddresses", code)

    def luid_of_index(self, index: int) -> int:
        """The LUID of an interface; raises WindowsCallError where there is none."""
        luid = c_uint64()
        call = self._dll.function("ConvertInterfaceIndexToLuid", c_uint32, c_uint32, c_void_p)
        check("ConvertInterfaceIndexToLuid", call(index, ctypes.byref(luid)))
        return luid.value

    def index_of_luid(self, luid: int) -> int:
        """The index, until the next restart, of an interface."""
        index = c_uint32()
        call = self._dll.function("ConvertInterfaceLuidToIndex", c_uint32, c_void_p, c_void_p)
        check("ConvertInterfaceLuidToIndex", call(ctypes.byref(c_uint64(luid)), ctypes.byref(index)))
        return index.value

    def guid_of_luid(self, luid: int) -> UUID:
        """The GUID of an interface."""
        room = (c_uint8 * 16)()
        call = self._dll.function("ConvertInterfaceLuidToGuid", c_uint32, c_void_p, c_void_p)
        check("ConvertInterfaceLuidToGuid", call(ctypes.byref(c_uint64(luid)), ctypes.byref(room)))
        return UUID(bytes_le=bytes(room))

    def luid_of_guid(self, guid: UUID) -> int:
        """The LUID of the interface with that GUID."""
        luid, room = c_uint64(), (c_uint8 * 16)(*guid.bytes_le)
        call = self._dll.function("ConvertInterfaceGuidToLuid", c_uint32, c_void_p, c_void_p)
        check("ConvertInterfaceGuidToLuid", call(ctypes.byref(room), ctypes.byref(luid)))
        return luid.value

    def alias_of_luid(self, luid: int) -> str:
        """The name that people see ("Ethernet 2")."""
        return self._name("ConvertInterfaceLuidToAlias", luid)

    def name_of_luid(self, luid: int) -> str:
        """The name that programs see ("ethernet_32769")."""
        return self._name("ConvertInterfaceLuidToNameW", luid)

    def watch_addresses(self, changed: Callable[[int], None]) -> Watch:
        """Call ``changed`` with the kind of change whenever an address of the machine comes, goes or changes."""
        return Watch(self._dll, "NotifyUnicastIpAddressChange", changed)

    def watch_interfaces(self, changed: Callable[[int], None]) -> Watch:
        """Call ``changed`` with the kind of change whenever an IP interface comes, goes or changes."""
        return Watch(self._dll, "NotifyIpInterfaceChange", changed)

    def _name(self, function: str, luid: int) -> str:
        room = (c_uint16 * (IF_MAX_STRING_SIZE + 1))()
        call = self._dll.function(function, c_uint32, c_void_p, c_void_p, c_size_t)
        check(function, call(ctypes.byref(c_uint64(luid)), ctypes.byref(room), len(room)))
        return utf16(room)

    def _mib_table(self, function: str, row: Any, *family: int) -> Rows:
        """A table that Windows allocates (a pointer comes back, FreeMibTable frees it)."""
        try:
            call = self._dll.function(function, c_uint32, *[c_uint16] * len(family), c_void_p)
        except NotHereError:
            self.missing.add(function)
            return np.empty(0, np.dtype(row))
        table = c_void_p()
        code = call(*family, ctypes.byref(table))
        if code in _EMPTY:
            if code in (_INVALID_FUNCTION, _NOT_SUPPORTED):
                self.missing.add(function)
            return np.empty(0, np.dtype(row))
        check(function, code)
        if not table.value:
            return np.empty(0, np.dtype(row))
        try:
            return table_at(table.value, row)
        finally:
            self._dll.function("FreeMibTable", None, c_void_p)(table)

    def _owners(self, function: str, family: int, protocol: int) -> Rows:
        """A table of owners: with the time of each endpoint where Windows gives it, else without."""
        for with_times in (True, False):
            kind, row, first = _OWNER_TABLES[function, family, with_times]
            try:
                data = self._grown(function, family, kind)
            except NotHereError:
                self.missing.add(function)
                break
            if data is not None:
                return endpoints(rows_of(data, row, first), protocol, 4 if family == AF_INET else 6)
        return np.empty(0, ENDPOINT)

    def _grown(self, function: str, family: int, kind: int) -> bytes | None:
        """The bytes of a table that may grow between the question for its size and the reading; None: refused."""
        words = (c_void_p, c_void_p, c_int32, c_uint32, c_uint32, c_uint32)
        call = self._dll.function(function, c_uint32, *words)
        size = c_uint32(65_536)
        for _ in range(_TRIES):
            room = (c_uint8 * size.value)()
            code = call(ctypes.byref(room), ctypes.byref(size), 0, family, kind, 0)
            if code == 0:
                return bytes(room)
            if code != _INSUFFICIENT_BUFFER:
                return None
            size.value += size.value // 8
        raise failure(function, code)


class Watch:
    """A notification; ``close`` waits for a callback that runs, so it must not be called from one."""

    def __init__(self, library: Library, function: str, changed: Callable[[int], None]) -> None:
        self._dll = library
        self._callback = callback_type(None, c_void_p, c_void_p, c_uint32)(lambda _context, _row, kind: changed(kind))
        handle = c_size_t()
        kind = type(self._callback)
        call = library.function(function, c_uint32, c_uint16, kind, c_void_p, c_uint8, c_void_p)
        check(function, call(AF_UNSPEC, self._callback, None, 0, ctypes.byref(handle)))
        self._handle = handle.value

    def close(self) -> None:
        """End the notification; safe twice."""
        handle, self._handle = self._handle, 0
        if handle:
            call = self._dll.function("CancelMibChangeNotify2", c_uint32, c_size_t)
            check("CancelMibChangeNotify2", call(handle))


def distinct(rows: Rows) -> Rows:
    """ADDRESS rows with each (family, address, scope) once, the first of each kept, in their order."""
    keys = np.zeros(len(rows), [("family", "u1"), ("address", "u1", (16,)), ("scope", "<u4")])
    for name in keys.dtype.names or ():
        keys[name] = rows[name]
    _, first = np.unique(np.frombuffer(keys.tobytes(), f"V{keys.dtype.itemsize}"), return_index=True)
    picked: Rows = rows[np.sort(first)]
    return picked


def _remote(rows: Rows) -> Rows:
    """ADDRESS rows of the other ends of connections."""
    connected = rows[rows["remote_address"].any(axis=1)]
    made = np.zeros(len(connected), ADDRESS)
    for ours, theirs in (("family", "family"), ("address", "remote_address"), ("scope", "remote_scope")):
        made[ours] = connected[theirs]
    return made
