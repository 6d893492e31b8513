"""advapi32.dll: control and consumption of trace sessions.

The functions return a Win32 number (OpenTraceW apart); a controller's handle and a consumer's are different things.
Sources: Microsoft's "Event Tracing Reference".
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from uuid import UUID

from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import check, fail
from etwcap.windows.handles import advapi32
from etwcap.windows.layouts_etw import (
    ENABLE_TRACE_PARAMETERS,
    EVENT_FILTER_DESCRIPTOR,
    EVENT_TRACE_LOGFILEW,
    EVENT_TRACE_PROPERTIES,
)
from etwcap.windows.text import utf16, wide

REAL_TIME_MODE = 0x100
INDEPENDENT_SESSION_MODE = 0x08000000
CLOCK_QPC, CLOCK_SYSTEM_TIME, CLOCK_CPU = 1, 2, 3

QUERY, STOP, UPDATE, FLUSH = range(4)
"""Codes of ControlTraceW."""
DISABLE_PROVIDER, ENABLE_PROVIDER, CAPTURE_STATE = range(3)
"""Codes of EnableTraceEx2."""
FILTER_EVENT_ID = 0x80000200

PROCESS_REAL_TIME = 0x100
PROCESS_RAW_TIMESTAMP = 0x1000
PROCESS_EVENT_RECORD = 0x10000000
INVALID_PROCESSTRACE_HANDLE = 2**64 - 1

MORE_DATA, NOT_RUNNING, CLOSE_PENDING = 234, 4201, 7007

_WNODE_FLAG_TRACED_GUID = 0x00020000
_NAME_ROOM = 1024
_MOST_SESSIONS = 256


class _Properties(ctypes.Structure):
    """A session's properties, with the room behind them that its two names need."""

    _fields_ = [
        ("base", EVENT_TRACE_PROPERTIES),
        ("logger_name", c_uint16 * _NAME_ROOM),
        ("file_name", c_uint16 * _NAME_ROOM),
    ]


@dataclass(frozen=True, slots=True)
class SessionState:
    """What Windows says of a session; sizes in KiB, counts since its start."""

    handle: int
    name: str
    mode: int
    buffer_size: int
    buffers: int
    free_buffers: int
    buffers_written: int
    events_lost: int
    real_time_buffers_lost: int
    log_buffers_lost: int
    file: str = ""
    """the path of its file; "" for events in real time alone"""


class Etw:
    """The calls of event tracing; each raises WindowsCallError unless it says otherwise."""

    def __init__(self, library: Library | None = None) -> None:
        self._dll = library or advapi32()

    def start(
        self, name: str, *, guid: UUID, buffer_size: int, buffers: tuple[int, int], flush_timer: int = 1, mode: int = 0
    ) -> tuple[int, SessionState]:
        """StartTraceW: a real-time session by the counter's clock; its handle, and what was granted.

        ``buffer_size`` KiB, ``buffers`` smallest and largest number, ``flush_timer`` s, ``mode`` more bits of
        LogFileMode.
        """
        room = _properties()
        base = room.base
        base.Wnode.Guid = type(base.Wnode.Guid).from_buffer_copy(guid.bytes_le)
        base.Wnode.ClientContext = CLOCK_QPC
        base.BufferSize = buffer_size
        base.MinimumBuffers, base.MaximumBuffers = buffers
        base.LogFileMode = REAL_TIME_MODE | mode
        base.FlushTimer = flush_timer
        base.LogFileNameOffset = 0
        handle = c_uint64()
        call = self._dll.function("StartTraceW", c_uint32, c_void_p, c_void_p, c_void_p)
        packed = wide(name)
        code = call(ctypes.byref(handle), packed, ctypes.byref(room))
        check("StartTraceW", code, what=f"the trace session {name} cannot be started")
        return handle.value, _state(room)

    def control(self, session: int | str, code: int, *fine: int) -> SessionState:
        """ControlTraceW with QUERY, STOP or FLUSH, by handle or name; numbers in ``fine`` are no error.

        A session that was not running gives 4201 (NOT_RUNNING); STOP has stopped it also where it gives MORE_DATA.
        """
        room = _properties()
        call = self._dll.function("ControlTraceW", c_uint32, c_uint64, c_void_p, c_void_p, c_uint32)
        handle, name = (0, wide(session)) if isinstance(session, str) else (session, None)
        check("ControlTraceW", call(handle, name, ctypes.byref(room), code), *fine)
        return _state(room)

    def enable(
        self,
        session: int,
        provider: UUID,
        *,
        level: int = 5,
        any_keyword: int = 0,
        all_keyword: int = 0,
        event_ids: Sequence[int] | None = None,
        timeout: int = 0,
    ) -> None:
        """EnableTraceEx2: the provider writes into the session; replaces what an earlier call set.

        ``event_ids`` (64 at most) keeps those events alone; ``timeout`` in ms, 0 does not wait for the provider.
        """
        parameters = ENABLE_TRACE_PARAMETERS(Version=2)
        kept: list[object] = []
        if event_ids is not None:
            chosen = (
                b"\x01\0" + len(event_ids).to_bytes(2, "little") + b"".join(i.to_bytes(2, "little") for i in event_ids)
            )
            data = ctypes.create_string_buffer(chosen, len(chosen))
            descriptor = EVENT_FILTER_DESCRIPTOR(ctypes.addressof(data), len(chosen), FILTER_EVENT_ID)
            parameters.EnableFilterDesc = ctypes.addressof(descriptor)
            parameters.FilterDescCount = 1
            kept += [data, descriptor]
        self._enable(session, provider, ENABLE_PROVIDER, level, any_keyword, all_keyword, timeout, parameters)
        del kept  # the call read them through their addresses

    def disable(self, session: int, provider: UUID) -> None:
        """EnableTraceEx2: the provider no longer writes into the session."""
        self._enable(session, provider, DISABLE_PROVIDER, 0, 0, 0, 0, None)

    def _enable(
        self,
        session: int,
        provider: UUID,
        code: int,
        level: int,
        any_keyword: int,
        all_keyword: int,
        timeout: int,
        parameters: ENABLE_TRACE_PARAMETERS | None,
    ) -> None:
        words = (c_uint64, c_void_p, c_uint32, c_uint8, c_uint64, c_uint64, c_uint32, c_void_p)
        call = self._dll.function("EnableTraceEx2", c_uint32, *words)
        guid = ctypes.create_string_buffer(provider.bytes_le, 16)
        given = None if parameters is None else ctypes.byref(parameters)
        done = call(session, guid, code, level, any_keyword, all_keyword, timeout, given)
        check("EnableTraceEx2", done, what=f"the provider {{{provider}}} cannot be switched {'on' if code else 'off'}")

    def sessions(self) -> list[SessionState]:
        """QueryAllTracesW: the sessions of this machine that the process may see."""
        rooms = [_properties() for _ in range(_MOST_SESSIONS)]
        pointers = (c_void_p * len(rooms))(*[ctypes.addressof(each) for each in rooms])
        count = c_uint32()
        call = self._dll.function("QueryAllTracesW", c_uint32, c_void_p, c_uint32, c_void_p)
        check("QueryAllTracesW", call(pointers, len(rooms), ctypes.byref(count)), MORE_DATA)
        return [_state(each) for each in rooms[: count.value]]

    def open(self, logfile: EVENT_TRACE_LOGFILEW) -> int:
        """OpenTraceW: a consumer's handle. The caller keeps the structure, its names and callbacks until the end."""
        made = int(self._dll.function("OpenTraceW", c_uint64, c_void_p)(ctypes.byref(logfile)))
        if made == INVALID_PROCESSTRACE_HANDLE:
            fail("OpenTraceW", last_error(), what="the trace session cannot be read")
        return made

    def process(self, handle: int) -> int:
        """ProcessTrace on one session: blocks until it ends; the Win32 number, for the caller to judge."""
        call = self._dll.function("ProcessTrace", c_uint32, c_void_p, c_uint32, c_void_p, c_void_p)
        return int(call(ctypes.byref(c_uint64(handle)), 1, None, None))

    def close(self, handle: int) -> None:
        """CloseTrace: from any thread; ``process`` returns soon afterwards."""
        check("CloseTrace", self._dll.function("CloseTrace", c_uint32, c_uint64)(handle), CLOSE_PENDING)


def real_time_logfile(name: int, callback: int, context: int = 0, buffer_callback: int = 0) -> EVENT_TRACE_LOGFILEW:
    """What ``open`` wants for a real-time session: the addresses of its name (UTF-16) and of the callbacks.

    The caller keeps what they point to. Times are left in the session's clock (PROCESS_RAW_TIMESTAMP).
    """
    return EVENT_TRACE_LOGFILEW(
        LoggerName=name,
        ProcessTraceMode=PROCESS_REAL_TIME | PROCESS_EVENT_RECORD | PROCESS_RAW_TIMESTAMP,
        EventRecordCallback=callback,
        BufferCallback=buffer_callback,
        Context=context,
    )


def _properties() -> _Properties:
    room = _Properties()
    room.base.Wnode.BufferSize = ctypes.sizeof(room)
    room.base.Wnode.Flags = _WNODE_FLAG_TRACED_GUID
    room.base.LoggerNameOffset = _Properties.logger_name.offset
    room.base.LogFileNameOffset = _Properties.file_name.offset
    return room


def _state(room: _Properties) -> SessionState:
    base = room.base
    return SessionState(
        handle=base.Wnode.HistoricalContext,
        name=utf16(room.logger_name),
        mode=base.LogFileMode,
        buffer_size=base.BufferSize,
        buffers=base.NumberOfBuffers,
        free_buffers=base.FreeBuffers,
        buffers_written=base.BuffersWritten,
        events_lost=base.EventsLost,
        real_time_buffers_lost=base.RealTimeBuffersLost,
        log_buffers_lost=base.LogBuffersLost,
        file=utf16(room.file_name),
    )
