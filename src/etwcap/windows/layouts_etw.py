"""Structures of event tracing (evntrace.h, evntcons.h, evntprov.h).

Where C has a union, the member is declared that a real-time session uses.
"""

# ruff: noqa: N801 - the names of the Windows SDK
from __future__ import annotations

from ctypes import Structure, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p

from etwcap.windows.layouts_system import GUID, TIME_ZONE_INFORMATION

HEADERS = ("winsock2.h", "windows.h", "evntrace.h", "evntcons.h", "evntprov.h")
"""C headers that declare the structures of this module."""


class WNODE_HEADER(Structure):
    """The head of a session's properties; BufferSize is that of the whole allocation in bytes."""

    _fields_ = [
        ("BufferSize", c_uint32),
        ("ProviderId", c_uint32),
        ("HistoricalContext", c_uint64),
        ("TimeStamp", c_int64),
        ("Guid", GUID),
        ("ClientContext", c_uint32),
        ("Flags", c_uint32),
    ]


class EVENT_TRACE_PROPERTIES(Structure):
    """A session: buffers in KiB, times in seconds, counts of what was lost."""

    _fields_ = [
        ("Wnode", WNODE_HEADER),
        ("BufferSize", c_uint32),
        ("MinimumBuffers", c_uint32),
        ("MaximumBuffers", c_uint32),
        ("MaximumFileSize", c_uint32),
        ("LogFileMode", c_uint32),
        ("FlushTimer", c_uint32),
        ("EnableFlags", c_uint32),
        ("AgeLimit", c_int32),
        ("NumberOfBuffers", c_uint32),
        ("FreeBuffers", c_uint32),
        ("EventsLost", c_uint32),
        ("BuffersWritten", c_uint32),
        ("LogBuffersLost", c_uint32),
        ("RealTimeBuffersLost", c_uint32),
        ("LoggerThreadId", c_void_p),
        ("LogFileNameOffset", c_uint32),
        ("LoggerNameOffset", c_uint32),
    ]


class EVENT_TRACE_PROPERTIES_V2(Structure):
    """As EVENT_TRACE_PROPERTIES, with filters (Windows 10 1703)."""

    _fields_ = [
        *EVENT_TRACE_PROPERTIES._fields_,
        ("V2Control", c_uint32),
        ("FilterDescCount", c_uint32),
        ("FilterDesc", c_void_p),
        ("V2Options", c_uint64),
    ]


class EVENT_FILTER_DESCRIPTOR(Structure):
    """A filter for a provider: where its data are, their size in bytes, and the kind of filter."""

    _fields_ = [("Ptr", c_uint64), ("Size", c_uint32), ("Type", c_uint32)]


class ENABLE_TRACE_PARAMETERS(Structure):
    """How a provider is enabled."""

    _fields_ = [
        ("Version", c_uint32),
        ("EnableProperty", c_uint32),
        ("ControlFlags", c_uint32),
        ("SourceId", GUID),
        ("EnableFilterDesc", c_void_p),
        ("FilterDescCount", c_uint32),
    ]


class EVENT_DESCRIPTOR(Structure):
    """Which event of its provider a record is."""

    _fields_ = [
        ("Id", c_uint16),
        ("Version", c_uint8),
        ("Channel", c_uint8),
        ("Level", c_uint8),
        ("Opcode", c_uint8),
        ("Task", c_uint16),
        ("Keyword", c_uint64),
    ]


class EVENT_HEADER(Structure):
    """The head of every event; TimeStamp in the units that OpenTraceW was asked for."""

    _fields_ = [
        ("Size", c_uint16),
        ("HeaderType", c_uint16),
        ("Flags", c_uint16),
        ("EventProperty", c_uint16),
        ("ThreadId", c_uint32),
        ("ProcessId", c_uint32),
        ("TimeStamp", c_int64),
        ("ProviderId", GUID),
        ("EventDescriptor", EVENT_DESCRIPTOR),
        ("ProcessorTime", c_uint64),
        ("ActivityId", GUID),
    ]


class ETW_BUFFER_CONTEXT(Structure):
    """Where an event was recorded."""

    _fields_ = [("ProcessorNumber", c_uint8), ("Alignment", c_uint8), ("LoggerId", c_uint16)]


class EVENT_HEADER_EXTENDED_DATA_ITEM(Structure):
    """An item of data beside an event."""

    _fields_ = [
        ("Reserved1", c_uint16),
        ("ExtType", c_uint16),
        ("_linkage", c_uint16),
        ("DataSize", c_uint16),
        ("DataPtr", c_uint64),
    ]


class EVENT_RECORD(Structure):
    """What a consumer's callback gets; valid during the callback only."""

    _fields_ = [
        ("EventHeader", EVENT_HEADER),
        ("BufferContext", ETW_BUFFER_CONTEXT),
        ("ExtendedDataCount", c_uint16),
        ("UserDataLength", c_uint16),
        ("ExtendedData", c_void_p),
        ("UserData", c_void_p),
        ("UserContext", c_void_p),
    ]


class EVENT_TRACE_HEADER(Structure):
    """The head of an event in the form before EVENT_RECORD."""

    _fields_ = [
        ("Size", c_uint16),
        ("FieldTypeFlags", c_uint16),
        ("Version", c_uint32),
        ("ThreadId", c_uint32),
        ("ProcessId", c_uint32),
        ("TimeStamp", c_int64),
        ("Guid", GUID),
        ("ProcessorTime", c_uint64),
    ]


class EVENT_TRACE(Structure):
    """An event in the form before EVENT_RECORD; only its size matters here."""

    _fields_ = [
        ("Header", EVENT_TRACE_HEADER),
        ("InstanceId", c_uint32),
        ("ParentInstanceId", c_uint32),
        ("ParentGuid", GUID),
        ("MofData", c_void_p),
        ("MofLength", c_uint32),
        ("ClientContext", c_uint32),
    ]


class TRACE_LOGFILE_HEADER(Structure):
    """What OpenTraceW says of the session: PerfFreq in Hz, ReservedFlags the clock (1 QPC, 2 system time, 3 CPU)."""

    _fields_ = [
        ("BufferSize", c_uint32),
        ("Version", c_uint32),
        ("ProviderVersion", c_uint32),
        ("NumberOfProcessors", c_uint32),
        ("EndTime", c_int64),
        ("TimerResolution", c_uint32),
        ("MaximumFileSize", c_uint32),
        ("LogFileMode", c_uint32),
        ("BuffersWritten", c_uint32),
        ("StartBuffers", c_uint32),
        ("PointerSize", c_uint32),
        ("EventsLost", c_uint32),
        ("CpuSpeedInMHz", c_uint32),
        ("LoggerName", c_void_p),
        ("LogFileName", c_void_p),
        ("TimeZone", TIME_ZONE_INFORMATION),
        ("BootTime", c_int64),
        ("PerfFreq", c_int64),
        ("StartTime", c_int64),
        ("ReservedFlags", c_uint32),
        ("BuffersLost", c_uint32),
    ]


class EVENT_TRACE_LOGFILEW(Structure):
    """What a consumer opens; exactly one of LogFileName and LoggerName is set."""

    _fields_ = [
        ("LogFileName", c_void_p),
        ("LoggerName", c_void_p),
        ("CurrentTime", c_int64),
        ("BuffersRead", c_uint32),
        ("ProcessTraceMode", c_uint32),
        ("CurrentEvent", EVENT_TRACE),
        ("LogfileHeader", TRACE_LOGFILE_HEADER),
        ("BufferCallback", c_void_p),
        ("BufferSize", c_uint32),
        ("Filled", c_uint32),
        ("EventsLost", c_uint32),
        ("EventRecordCallback", c_void_p),
        ("IsKernelTrace", c_uint32),
        ("Context", c_void_p),
    ]
