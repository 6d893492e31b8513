r"""The device of PktMon's driver, \\.\PktMonDev, and its control codes.

Not documented by Microsoft; three published programs agree in what stands here. The driver must run already.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_size_t, c_uint32, c_void_p
from typing import Any, Protocol

from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import fail
from etwcap.windows.handles import close_handle, kernel32
from etwcap.windows.layouts_pktmon import DEVICE_START, PROTOCOL_CONSTRAINT
from etwcap.windows.text import wide

DEVICE = r"\\.\PktMonDev"
START, STOP, ADD_FILTER, REMOVE_FILTERS, STATE = 0x220404, 0x220408, 0x220410, 0x220414, 0x220424
"""IOCTL codes"""
STATE_ROOM = 20
_RUNNING_AT = 4
ALL, ADAPTERS = 1, 2
PACKETS = 1
_READ_WRITE, _OPEN_EXISTING = 0xC0000000, 3
_INVALID = c_size_t(-1).value


class Control(Protocol):
    """An open device."""

    def call(self, code: int, given: bytes = b"", room: int = 0) -> bytes:
        """One control code: what it gives, ``room`` bytes at most. Raises WindowsCallError."""
        ...

    def close(self) -> None:
        """Let go of it; safe twice."""
        ...


class Device:
    """An open device of Windows (protocol ``Control``).

    Raises WindowsCallError: 2 where the driver does not run, 5 without rights.
    """

    def __init__(self, path: str = DEVICE, *, library: Library | None = None) -> None:
        self._dll: Library = library or kernel32()
        words: tuple[Any, ...] = (c_void_p, c_uint32, c_uint32, c_void_p, c_uint32, c_uint32, c_size_t)
        opened = self._dll.function("CreateFileW", c_size_t, *words)(
            wide(path), _READ_WRITE, 0, None, _OPEN_EXISTING, 0, 0
        )
        if int(opened) == _INVALID:
            fail("CreateFileW", last_error(), what=f"the device {path} cannot be opened")
        self._handle = int(opened)

    def call(self, code: int, given: bytes = b"", room: int = 0) -> bytes:
        """DeviceIoControl."""
        out, written = ctypes.create_string_buffer(max(room, 1)), c_uint32()
        data = ctypes.create_string_buffer(given, max(len(given), 1))
        words: tuple[Any, ...] = (c_size_t, c_uint32, c_void_p, c_uint32, c_void_p, c_uint32, c_void_p, c_void_p)
        call = self._dll.function("DeviceIoControl", c_int32, *words)
        if not call(
            self._handle,
            code,
            data if given else None,
            len(given),
            out if room else None,
            room,
            ctypes.byref(written),
            None,
        ):
            fail("DeviceIoControl", last_error(), what=f"PktMon's driver refuses the control code 0x{code:06X}")
        return out.raw[: min(written.value, room)]

    def close(self) -> None:
        """CloseHandle."""
        handle, self._handle = self._handle, 0
        if handle:
            close_handle(handle, library=self._dll)


def running(device: Control) -> bool:
    """Whether the driver captures or counts for anybody."""
    state = device.call(STATE, room=STATE_ROOM)
    return len(state) > _RUNNING_AT and state[_RUNNING_AT] != 0


def start(device: Control, selection: int) -> None:
    """Capture packets of ALL components or of the ADAPTERS."""
    how = DEVICE_START(Size=ctypes.sizeof(DEVICE_START), Selection=selection, CaptureType=PACKETS, Flag=1)
    device.call(START, bytes(how))


def stop(device: Control) -> None:
    """End the driver's capture, whose-ever it is."""
    device.call(STOP, room=STATE_ROOM)


def add_filter(device: Control, constraint: PROTOCOL_CONSTRAINT) -> None:
    """One more filter, of which any must hold. Its layout differs between builds (the bit of DSCP)."""
    device.call(ADD_FILTER, bytes(constraint))


def remove_filters(device: Control) -> None:
    """Take all filters away."""
    device.call(REMOVE_FILTERS)
