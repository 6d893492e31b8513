"""PktMonApi.dll: the older, undocumented exports, which pktmon.exe itself used; they work on the driver's one capture.

Source: the Rust crate ``pktmon``, which calls them. Each returns a Win32 number.
"""

from __future__ import annotations

import ctypes
from ctypes import c_uint16, c_uint32, c_void_p

from etwcap.windows.dll import Library
from etwcap.windows.failure import check
from etwcap.windows.layouts_pktmon import LEGACY_FILTER, LEGACY_START
from etwcap.windows.pktmon_exe import Components

STATUS_ROOM = 0x103C
"""bytes that PktmonGetStatus and PktmonStop write; the first one: whether it runs"""
PACKETS = 1
_ALL, _ADAPTERS, _LISTED = 1, 2, 3
_EXPORTS = ("PktmonStart", "PktmonStop", "PktmonGetStatus", "PktmonAddFilter", "PktmonRemoveAllFilters")


class PktMonLegacy:
    """The calls; each raises NotHereError where the DLL or the export is missing, WindowsCallError."""

    def __init__(self, library: Library | None = None) -> None:
        self._dll = library or Library("PktMonApi.dll")

    def there(self) -> bool:
        """Whether all of the exports are there."""
        return all(self._dll.has(name) for name in _EXPORTS)

    def running(self) -> bool:
        """PktmonGetStatus: whether the driver captures or counts for anybody."""
        room = ctypes.create_string_buffer(STATUS_ROOM)
        check("PktmonGetStatus", self._dll.function("PktmonGetStatus", c_uint32, c_void_p)(room))
        return room.raw[0] != 0

    def start(self, components: Components) -> None:
        """PktmonStart: packets go to whoever has enabled the provider, whole."""
        ids = components if isinstance(components, tuple) else ()
        listed = (c_uint16 * max(len(ids), 1))(*ids)
        mode = _LISTED if ids else _ADAPTERS if components == "nics" else _ALL
        how = LEGACY_START(
            CaptureType=PACKETS, ComponentMode=mode, ComponentCount=len(ids), Components=ctypes.addressof(listed)
        )
        if not ids:
            how.Components = None
        call = self._dll.function("PktmonStart", c_uint32, c_void_p, c_void_p)
        check("PktmonStart", call(ctypes.byref(how), None), what="the capture of PktMon cannot be started")

    def stop(self) -> None:
        """PktmonStop: ends the driver's capture, whose-ever it is."""
        room = ctypes.create_string_buffer(STATUS_ROOM)
        call = self._dll.function("PktmonStop", c_uint32, c_void_p)
        check("PktmonStop", call(room), what="the capture of PktMon cannot be stopped")

    def add_filter(self, given: LEGACY_FILTER) -> None:
        """PktmonAddFilter: one more filter, of which any must hold."""
        given.Size = ctypes.sizeof(LEGACY_FILTER)
        call = self._dll.function("PktmonAddFilter", c_uint32, c_void_p)
        check("PktmonAddFilter", call(ctypes.byref(given)), what="PktMon does not take the filter")

    def remove_filters(self) -> None:
        """PktmonRemoveAllFilters."""
        check("PktmonRemoveAllFilters", self._dll.function("PktmonRemoveAllFilters", c_uint32)())
