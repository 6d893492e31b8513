"""Processes by number and creation time: a number alone is used again at once after its process has ended."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_size_t, c_uint16, c_uint32, c_void_p
from dataclasses import dataclass

from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import fail
from etwcap.windows.handles import close_handle, kernel32
from etwcap.windows.layouts_system import FILETIME, PROCESSENTRY32W
from etwcap.windows.text import utf16

IDLE, SYSTEM = 0, 4
"""Processes without an image."""
_QUERY_LIMITED, _SYNCHRONIZE = 0x1000, 0x100000
_ACCESS_DENIED, _INVALID_PARAMETER = 5, 87
_SNAP_PROCESSES = 0x2
_ROOM = 32_768


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process for good: its number and its creation time (FILETIME, 100 ns since 1601 UTC)."""

    pid: int
    created: int


class Processes:
    """What can be asked of other processes."""

    def __init__(self, library: Library | None = None) -> None:
        self._dll = library or kernel32()

    def this(self) -> ProcessIdentity:
        """The process that asks."""
        pid = int(self._dll.function("GetCurrentProcessId", c_uint32)())
        handle = int(self._dll.function("GetCurrentProcess", c_size_t)())
        created = self._created(handle)
        assert created is not None, "a process may ask for its own times"
        return ProcessIdentity(pid, created)

    def created(self, pid: int) -> int | None:
        """The creation time of a process; None where none runs under that number, or it may not be asked."""
        handle = self._open(pid, _QUERY_LIMITED)
        if not handle:
            return None
        try:
            return self._created(handle)
        finally:
            close_handle(handle, library=self._dll)

    def alive(self, process: ProcessIdentity) -> bool:
        """Whether this very process runs still. One that may not be asked counts as alive: nothing of it is touched."""
        handle = self._open(process.pid, _QUERY_LIMITED | _SYNCHRONIZE)
        if not handle:
            return last_error() == _ACCESS_DENIED
        try:
            created = self._created(handle)
            if created is None:
                return True
            if created != process.created:
                return False
            wait = self._dll.function("WaitForSingleObject", c_uint32, c_size_t, c_uint32)
            return int(wait(handle, 0)) != 0  # an ended process is signalled while somebody holds a handle
        finally:
            close_handle(handle, library=self._dll)

    def image(self, pid: int) -> str:
        """The path of the program that a process runs; "" where it may not be asked or has ended."""
        if pid in (IDLE, SYSTEM):
            return {IDLE: "Idle", SYSTEM: "System"}[pid]
        handle = self._open(pid, _QUERY_LIMITED)
        if not handle:
            return ""
        try:
            room, size = (c_uint16 * _ROOM)(), c_uint32(_ROOM)
            words = (c_size_t, c_uint32, c_void_p, c_void_p)
            call = self._dll.function("QueryFullProcessImageNameW", c_int32, *words)
            return utf16(room) if call(handle, 0, ctypes.byref(room), ctypes.byref(size)) else ""
        finally:
            close_handle(handle, library=self._dll)

    def own_image(self) -> str:
        """The path of the program that this process runs: the one that a firewall rule must name.

        In a virtual environment that is the base python.exe, not the launcher in the environment's folder.
        """
        return self.image(self.this().pid)

    def parent(self, pid: int) -> int | None:
        """The process that started a process; it may have ended, and its number may have been used again."""
        return self.parents().get(pid)

    def parents(self) -> dict[int, int]:
        """Process and parent of all processes (a snapshot)."""
        snapshot = int(self._dll.function("CreateToolhelp32Snapshot", c_size_t, c_uint32, c_uint32)(_SNAP_PROCESSES, 0))
        if snapshot == c_size_t(-1).value:
            fail("CreateToolhelp32Snapshot", last_error())
        try:
            entry = PROCESSENTRY32W(dwSize=ctypes.sizeof(PROCESSENTRY32W))
            found: dict[int, int] = {}
            step = self._dll.function("Process32FirstW", c_int32, c_size_t, c_void_p)
            while step(snapshot, ctypes.byref(entry)):
                found[entry.th32ProcessID] = entry.th32ParentProcessID
                step = self._dll.function("Process32NextW", c_int32, c_size_t, c_void_p)
            return found
        finally:
            close_handle(snapshot, library=self._dll)

    def _open(self, pid: int, access: int) -> int:
        return int(self._dll.function("OpenProcess", c_size_t, c_uint32, c_int32, c_uint32)(access, 0, pid))

    def _created(self, handle: int) -> int | None:
        times = [FILETIME() for _ in range(4)]
        call = self._dll.function("GetProcessTimes", c_int32, c_size_t, c_void_p, c_void_p, c_void_p, c_void_p)
        if not call(handle, *[ctypes.byref(each) for each in times]):
            return None
        created: int = (times[0].dwHighDateTime << 32) | times[0].dwLowDateTime
        return created
