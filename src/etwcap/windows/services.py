"""advapi32.dll: the service control manager, which also knows whether a driver is there and runs."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Iterator
from ctypes import c_int32, c_size_t, c_uint32, c_void_p
from dataclasses import dataclass

from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import fail
from etwcap.windows.handles import advapi32
from etwcap.windows.layouts_system import SERVICE_STATUS, SERVICE_STATUS_PROCESS
from etwcap.windows.text import wide

STOPPED, START_PENDING, STOP_PENDING, RUNNING = 1, 2, 3, 4
"""States of a service."""
KERNEL_DRIVER = 1

NO_SUCH_SERVICE, ALREADY_RUNNING, NOT_ACTIVE = 1060, 1056, 1062
_SC_MANAGER_CONNECT = 0x1
_QUERY_STATUS, _START, _STOP = 0x4, 0x10, 0x20
_CONTROL_STOP = 1


@dataclass(frozen=True, slots=True)
class ServiceState:
    """Kind (1: kernel driver), state (4: running), process and last error of a service."""

    kind: int
    state: int
    process: int
    exit_code: int

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.state == RUNNING


class Services:
    """Services and drivers by name; asking needs no elevation, starting and stopping does."""

    def __init__(self, library: Library | None = None) -> None:
        self._dll = library or advapi32()

    def state(self, name: str) -> ServiceState | None:
        """The state of a service; None where this machine has none of that name."""
        with self._open(name, _QUERY_STATUS) as service:
            return self._state(service) if service else None

    def start(self, name: str, *, wait: float = 10.0) -> bool:
        """Start it and wait up to ``wait`` s until it runs; False where it ran already.

        Raises WindowsCallError, with 1060 where there is none of that name.
        """
        with self._open(name, _QUERY_STATUS | _START) as service:
            if not service:
                fail("OpenServiceW", NO_SUCH_SERVICE, what=f"the service {name} cannot be started")
            call = self._dll.function("StartServiceW", c_int32, c_size_t, c_uint32, c_void_p)
            if not call(service, 0, None):
                code = last_error()
                if code == ALREADY_RUNNING:
                    return False
                fail("StartServiceW", code, what=f"the service {name} cannot be started")
            self._until(service, RUNNING, wait, name)
            return True

    def stop(self, name: str, *, wait: float = 10.0) -> bool:
        """Stop it and wait up to ``wait`` s until it has stopped; False where it did not run."""
        with self._open(name, _QUERY_STATUS | _STOP) as service:
            if not service:
                return False
            call = self._dll.function("ControlService", c_int32, c_size_t, c_uint32, c_void_p)
            if not call(service, _CONTROL_STOP, ctypes.byref(SERVICE_STATUS())):
                code = last_error()
                if code == NOT_ACTIVE:
                    return False
                fail("ControlService", code, what=f"the service {name} cannot be stopped")
            self._until(service, STOPPED, wait, name)
            return True

    def _until(self, service: int, wanted: int, wait: float, name: str) -> None:
        end = time.monotonic() + wait
        while (now := self._state(service)).state != wanted:
            if now.state == STOPPED:
                fail("StartServiceW", now.exit_code or NOT_ACTIVE, what=f"the service {name} stopped at once")
            if time.monotonic() > end:
                fail("QueryServiceStatusEx", 1460, what=f"the service {name} takes longer than {wait:.0f} s")
            time.sleep(0.05)

    def _state(self, service: int) -> ServiceState:
        room, needed = SERVICE_STATUS_PROCESS(), c_uint32()
        call = self._dll.function("QueryServiceStatusEx", c_int32, c_size_t, c_int32, c_void_p, c_uint32, c_void_p)
        if not call(service, 0, ctypes.byref(room), ctypes.sizeof(room), ctypes.byref(needed)):
            fail("QueryServiceStatusEx", last_error())
        return ServiceState(room.dwServiceType, room.dwCurrentState, room.dwProcessId, room.dwWin32ExitCode)

    @contextlib.contextmanager
    def _open(self, name: str, access: int) -> Iterator[int]:
        """A handle of the service; 0 where there is none of that name."""
        close = self._dll.function("CloseServiceHandle", c_int32, c_size_t)
        manager = int(
            self._dll.function("OpenSCManagerW", c_size_t, c_void_p, c_void_p, c_uint32)(
                None, None, _SC_MANAGER_CONNECT
            )
        )
        if not manager:
            fail("OpenSCManagerW", last_error(), what="the service manager does not answer")
        try:
            service = int(
                self._dll.function("OpenServiceW", c_size_t, c_size_t, c_void_p, c_uint32)(manager, wide(name), access)
            )
            if not service and (code := last_error()) != NO_SUCH_SERVICE:
                fail("OpenServiceW", code, what=f"the service {name} cannot be opened")
            try:
                yield service
            finally:
                if service:
                    close(service)
        finally:
            close(manager)
