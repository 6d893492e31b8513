"""PktMonApi.dll: the documented Packet Monitor API, sessions of which run beside each other and beside pktmon.exe.

Functions return an HRESULT or nothing. Source: Microsoft's "Packet Monitor API reference". Windows Server 2022 has it
with the update of June 2022, Windows 11 with a later one; the exports tell.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, addressof, byref, c_int32, c_size_t, c_uint8, c_uint32, c_void_p
from dataclasses import dataclass

from etwcap.windows.dll import Library
from etwcap.windows.failure import failure
from etwcap.windows.layouts_pktmon import (
    DATA_SOURCE_SPECIFICATION,
    PROTOCOL_CONSTRAINT,
    REALTIME_STREAM_CONFIGURATION,
)
from etwcap.windows.text import utf16, wide

VERSION = 0x00010000
ALL, NETWORK_INTERFACE, FILTER_DRIVER, PROTOCOL, APP_PROTOCOL, VIRTUAL_SWITCH = range(6)
"""Kinds of data sources; Microsoft documents the first two."""
HAS_GUID, HAS_IPV6, HAS_IPV4, HAS_MAC = 1, 2, 4, 8
MOST_BYTES = 9000
"""of a packet that a stream delivers"""
MOST_BUFFERS = 10
"""times 256 KiB that a stream may have"""
_MOST_SOURCES = 65_536
_EXPORTS = (
    "PacketMonitorInitialize",
    "PacketMonitorUninitialize",
    "PacketMonitorEnumDataSources",
    "PacketMonitorCreateLiveSession",
    "PacketMonitorCloseSessionHandle",
    "PacketMonitorAddSingleDataSourceToSession",
    "PacketMonitorAddCaptureConstraint",
    "PacketMonitorCreateRealtimeStream",
    "PacketMonitorAttachOutputToSession",
    "PacketMonitorCloseRealtimeStream",
    "PacketMonitorSetSessionActive",
)


@dataclass(frozen=True, slots=True)
class DataSource:
    """A component whose packets can be had."""

    kind: int
    id: int
    name: str
    description: str
    secondary_id: int = 0
    parent_id: int = 0
    guid: bytes = b""
    """16 bytes as Windows stores a GUID; empty: not told"""
    mac: bytes = b""
    address: bytes = b""
    """IPv4 or IPv6, network order"""


class PktMonApi:
    """The calls; handles are plain numbers. Each raises NotHereError where DLL or export is missing, else
    WindowsCallError."""

    def __init__(self, library: Library | None = None) -> None:
        self._dll = library or Library("PktMonApi.dll")
        self._specifications: dict[int, DATA_SOURCE_SPECIFICATION] = {}

    def there(self) -> bool:
        """Whether all of the exports are there."""
        return all(self._dll.has(name) for name in _EXPORTS)

    def initialize(self) -> int:
        """PacketMonitorInitialize: the API's handle."""
        handle = c_void_p()
        call = self._dll.function("PacketMonitorInitialize", c_int32, c_uint32, c_void_p, c_void_p)
        _checked("PacketMonitorInitialize", call(VERSION, None, byref(handle)), "PktMon's API does not answer")
        return handle.value or 0

    def uninitialize(self, handle: int) -> None:
        """PacketMonitorUninitialize."""
        self._dll.function("PacketMonitorUninitialize", None, c_void_p)(handle)

    def data_sources(self, handle: int, kind: int = ALL, *, hidden: bool = True) -> list[DataSource]:
        """PacketMonitorEnumDataSources; with ``hidden`` also what is there to understand packets' components alone."""
        words = (c_void_p, c_uint32, c_uint8, c_size_t, c_void_p, c_void_p)
        call = self._dll.function("PacketMonitorEnumDataSources", c_int32, *words)
        size = c_size_t()
        call(handle, kind, int(hidden), 0, byref(size), None)  # says how much room it needs
        for _ in range(4):
            room = ctypes.create_string_buffer(max(size.value, 16))
            code = call(handle, kind, int(hidden), len(room), byref(size), room)
            if code == 0:
                return self._listed(room)
            if size.value <= len(room):
                break
        raise failure("PacketMonitorEnumDataSources", _number(code), what="PktMon's components cannot be listed")

    def create_session(self, handle: int, name: str) -> int:
        """PacketMonitorCreateLiveSession, not active yet."""
        session = c_void_p()
        call = self._dll.function("PacketMonitorCreateLiveSession", c_int32, c_void_p, c_void_p, c_void_p)
        _checked("PacketMonitorCreateLiveSession", call(handle, wide(name), byref(session)), "no session of PktMon")
        return session.value or 0

    def close_session(self, session: int) -> None:
        """PacketMonitorCloseSessionHandle."""
        self._dll.function("PacketMonitorCloseSessionHandle", None, c_void_p)(session)

    def add_source(self, session: int, source: DataSource) -> None:
        """PacketMonitorAddSingleDataSourceToSession, of a source that ``data_sources`` gave."""
        given = self._specifications.get(source.id) or specification(source)
        call = self._dll.function("PacketMonitorAddSingleDataSourceToSession", c_int32, c_void_p, c_void_p)
        code = call(session, byref(given))
        _checked("PacketMonitorAddSingleDataSourceToSession", code, f"the component {source.id} cannot be captured")

    def add_constraint(self, session: int, constraint: PROTOCOL_CONSTRAINT) -> None:
        """PacketMonitorAddCaptureConstraint: one of them must hold."""
        call = self._dll.function("PacketMonitorAddCaptureConstraint", c_int32, c_void_p, c_void_p)
        _checked("PacketMonitorAddCaptureConstraint", call(session, byref(constraint)), "PktMon refuses the filter")

    def create_stream(
        self, handle: int, *, context: int, event: int, data: int, buffers: int = MOST_BUFFERS, most: int = MOST_BYTES
    ) -> int:
        """PacketMonitorCreateRealtimeStream: ``event`` and ``data`` are addresses of callbacks, which get ``context``;
        ``buffers`` times 256 KiB, of each packet ``most`` bytes."""
        how = REALTIME_STREAM_CONFIGURATION(
            UserContext=context,
            EventCallback=event,
            DataCallback=data,
            BufferSizeMultiplier=buffers,
            TruncationSize=most,
        )
        stream = c_void_p()
        call = self._dll.function("PacketMonitorCreateRealtimeStream", c_int32, c_void_p, c_void_p, c_void_p)
        _checked("PacketMonitorCreateRealtimeStream", call(handle, byref(how), byref(stream)), "no stream of PktMon")
        return stream.value or 0

    def close_stream(self, stream: int) -> None:
        """PacketMonitorCloseRealtimeStream."""
        self._dll.function("PacketMonitorCloseRealtimeStream", None, c_void_p)(stream)

    def attach(self, session: int, stream: int) -> None:
        """PacketMonitorAttachOutputToSession."""
        call = self._dll.function("PacketMonitorAttachOutputToSession", c_int32, c_void_p, c_void_p)
        _checked("PacketMonitorAttachOutputToSession", call(session, stream), "the stream of PktMon is refused")

    def set_active(self, session: int, active: bool) -> None:
        """PacketMonitorSetSessionActive."""
        call = self._dll.function("PacketMonitorSetSessionActive", c_int32, c_void_p, c_uint8)
        what = f"the session of PktMon cannot be {'started' if active else 'stopped'}"
        _checked("PacketMonitorSetSessionActive", call(session, int(active)), what)

    def _listed(self, room: ctypes.Array[ctypes.c_char]) -> list[DataSource]:
        """DATA_SOURCE_LIST: a count, and pointers into the same room, or, where the size that was asked for has no room
        for more than the pointers, elsewhere. What they lead to is copied."""
        size = ctypes.sizeof(DATA_SOURCE_SPECIFICATION)
        told = c_uint32.from_buffer(room).value
        count = min(told, _MOST_SOURCES, (len(room) - 8) // 8)
        elsewhere = count == told and len(room) - 8 - count * 8 <= 8
        first, last = addressof(room), addressof(room) + len(room) - size
        found = []
        for pointer in (c_void_p * count).from_buffer(room, 8):
            if pointer is None or not (elsewhere or first <= pointer <= last):
                continue  # not as documented
            kept = DATA_SOURCE_SPECIFICATION.from_buffer_copy(
                ctypes.cast(pointer, POINTER(DATA_SOURCE_SPECIFICATION)).contents
            )
            self._specifications[kept.Id] = kept
            found.append(data_source(kept))
        return found


def data_source(given: DATA_SOURCE_SPECIFICATION) -> DataSource:
    """What a specification says."""
    detail, present = bytes(given.Detail), given.IsPresent
    address = detail if present & HAS_IPV6 else detail[:4] if present & HAS_IPV4 else b""
    return DataSource(
        given.Kind,
        given.Id,
        utf16(given.Name),
        utf16(given.Description),
        given.SecondaryId,
        given.ParentId,
        detail if present & HAS_GUID else b"",
        detail[:6] if present & HAS_MAC else b"",
        address,
    )


def specification(source: DataSource) -> DATA_SOURCE_SPECIFICATION:
    """The reverse of ``data_source``."""
    made = DATA_SOURCE_SPECIFICATION(
        Kind=source.kind, Id=source.id, SecondaryId=source.secondary_id, ParentId=source.parent_id
    )
    put_text(made.Name, source.name)
    put_text(made.Description, source.description)
    for bit, detail in (
        (HAS_GUID, source.guid),
        (HAS_MAC, source.mac),
        (HAS_IPV6 if len(source.address) == 16 else HAS_IPV4, source.address),
    ):
        if detail:
            made.IsPresent |= bit
            made.Detail[: len(detail)] = detail
    return made


def put_text(room: ctypes.Array[ctypes.c_uint16], text: str) -> None:
    """A text into an array of UTF-16 units, cut where it is too long, with a zero at its end."""
    packed = text.encode("utf-16-le", "replace")[: 2 * (len(room) - 1)] + b"\0\0"
    ctypes.memmove(room, packed, len(packed))


def _checked(function: str, result: int, what: str) -> None:
    if result < 0:
        raise failure(function, _number(result), what=what)


def _number(result: int) -> int:
    """A failed HRESULT; where it wraps a Win32 number, that one."""
    code = result & 0xFFFFFFFF
    return code & 0xFFFF if code >> 16 == 0x8007 else code
