"""advapi32.dll: what this process may do: user, groups, elevation, integrity, privileges, and giving privileges up."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Collection, Iterator
from ctypes import c_int32, c_size_t, c_uint8, c_uint16, c_uint32, c_void_p
from typing import Any

from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import fail
from etwcap.windows.handles import advapi32, close_handle, kernel32
from etwcap.windows.layouts_system import (
    LUID_AND_ATTRIBUTES,
    SID_AND_ATTRIBUTES,
    TOKEN_ELEVATION,
    TOKEN_GROUPS,
    TOKEN_MANDATORY_LABEL,
    TOKEN_PRIVILEGES,
    TOKEN_USER,
)
from etwcap.windows.security import sid_text
from etwcap.windows.text import utf16

PERFORMANCE_LOG_USERS = "S-1-5-32-559"
"""Members may run trace sessions without elevation."""
LOW, MEDIUM, HIGH, SYSTEM = 0x1000, 0x2000, 0x3000, 0x4000
"""Integrity levels."""
CHANGE_NOTIFY = "SeChangeNotifyPrivilege"
"""The one privilege that everybody has, and that opening files takes for granted."""

_QUERY, _ADJUST = 0x8, 0x20
_USER, _GROUPS, _PRIVILEGES, _ELEVATION, _INTEGRITY = 1, 2, 3, 20, 25
_ENABLED, _REMOVED = 0x2, 0x4
_GROUP_ENABLED, _GROUP_DENY_ONLY = 0x4, 0x10
_NOT_ALL_ASSIGNED = 1300


class Tokens:
    """The token of this process."""

    def __init__(self, library: Library | None = None) -> None:
        self._dll = library or advapi32()

    def elevated(self) -> bool:
        """Whether the process runs as administrator, past User Account Control."""
        with self._open(_QUERY) as token:
            room = self._information(token, _ELEVATION, ctypes.sizeof(TOKEN_ELEVATION))
            return bool(TOKEN_ELEVATION.from_buffer(room).TokenIsElevated)

    def integrity(self) -> int:
        """The integrity level: MEDIUM of ordinary programs, HIGH of elevated ones."""
        with self._open(_QUERY) as token:
            room = self._information(token, _INTEGRITY)
            sid = sid_text(TOKEN_MANDATORY_LABEL.from_buffer(room).Label.Sid)
        return int(sid.rpartition("-")[2])

    def user(self) -> str:
        """The SID of the user."""
        with self._open(_QUERY) as token:
            room = self._information(token, _USER)
            return sid_text(TOKEN_USER.from_buffer(room).User.Sid)

    def groups(self) -> list[str]:
        """The SIDs of the groups that count when something is allowed."""
        with self._open(_QUERY) as token:
            room = self._information(token, _GROUPS)
            entries = _array(room, TOKEN_GROUPS.Groups.offset, SID_AND_ATTRIBUTES)
            return [
                sid_text(each.Sid)
                for each in entries
                if each.Attributes & _GROUP_ENABLED and not each.Attributes & _GROUP_DENY_ONLY
            ]

    def privileges(self) -> dict[str, bool]:
        """The privileges that the process holds, and whether each is switched on."""
        with self._open(_QUERY) as token:
            return {self._name(each): bool(each.Attributes & _ENABLED) for each in self._held(token)[1]}

    def drop_privileges(self, keep: Collection[str] = (CHANGE_NOTIFY,)) -> list[str]:
        """Remove all privileges but those to keep, for good; their names. What is removed cannot come back."""
        with self._open(_QUERY | _ADJUST) as token:
            room, held = self._held(token)
            dropped = [(self._name(each), each) for each in held if self._name(each) not in keep]
            words = (c_size_t, c_int32, c_void_p, c_uint32, c_void_p, c_void_p)
            adjust = self._dll.function("AdjustTokenPrivileges", c_int32, *words)
            for name, each in dropped:
                one = TOKEN_PRIVILEGES(PrivilegeCount=1)
                one.Privileges[0].Luid, one.Privileges[0].Attributes = each.Luid, _REMOVED
                if not adjust(token, 0, ctypes.byref(one), 0, None, None) or last_error() == _NOT_ALL_ASSIGNED:
                    fail("AdjustTokenPrivileges", last_error(), what=f"the privilege {name} cannot be given up")
            del room
        return [name for name, _ in dropped]

    def _held(self, token: int) -> tuple[Any, list[Any]]:
        room = self._information(token, _PRIVILEGES)
        return room, _array(room, TOKEN_PRIVILEGES.Privileges.offset, LUID_AND_ATTRIBUTES)

    def _name(self, privilege: Any) -> str:
        room, size = (c_uint16 * 256)(), c_uint32(256)
        call = self._dll.function("LookupPrivilegeNameW", c_int32, c_void_p, c_void_p, c_void_p, c_void_p)
        if not call(None, ctypes.byref(privilege.Luid), ctypes.byref(room), ctypes.byref(size)):
            fail("LookupPrivilegeNameW", last_error())
        return utf16(room)

    def _information(self, token: int, what: int, size: int = 0) -> Any:
        """What GetTokenInformation gives; it has pointers into itself, so it must be kept while they are used."""
        call = self._dll.function("GetTokenInformation", c_int32, c_size_t, c_int32, c_void_p, c_uint32, c_void_p)
        needed = c_uint32(size)
        if not size:
            call(token, what, None, 0, ctypes.byref(needed))
        room = (c_uint8 * max(needed.value, 64))()
        if not call(token, what, ctypes.byref(room), len(room), ctypes.byref(needed)):
            fail("GetTokenInformation", last_error())
        return room

    @contextlib.contextmanager
    def _open(self, access: int) -> Iterator[int]:
        handle = c_size_t()
        this = int(kernel32().function("GetCurrentProcess", c_size_t)())
        call = self._dll.function("OpenProcessToken", c_int32, c_size_t, c_uint32, c_void_p)
        if not call(this, access, ctypes.byref(handle)):
            fail("OpenProcessToken", last_error())
        try:
            yield handle.value
        finally:
            close_handle(handle.value)


def _array(room: Any, offset: int, kind: Any) -> list[Any]:
    """The entries of a list whose number stands at the room's beginning."""
    count = int.from_bytes(bytes(room[:4]), "little")
    count = min(count, (len(room) - offset) // ctypes.sizeof(kind))
    return [kind.from_buffer(room, offset + each * ctypes.sizeof(kind)) for each in range(count)]
