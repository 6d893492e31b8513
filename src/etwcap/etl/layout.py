"""Byte layouts of the ETL container, shared by the reader and the writer.

Every number is little-endian and every dtype here is packed. Names are those of the Windows headers evntrace.h and
evntcons.h; WMI_BUFFER_HEADER and the record headers of the kernel are in ntwmi.h (ntetw.h) of the Windows 10 WDK.
"""

from __future__ import annotations

import numpy as np

from etwcap.etl.records import (
    COMPACT32,
    ERROR,
    EVENT32,
    FULL32,
    INSTANCE32,
    MESSAGE,
    PERFINFO32,
    SYSTEM32,
    TIMED,
    WNODE,
)  # fmt: skip

ALIGNMENT = 8
"""Records and extended data items start at multiples of this, counted from the start of their buffer or record."""

MAXIMUM_RECORD = 0xFFFF
"""A record's size is a u16."""

MAXIMUM_BUFFER = 16 << 20
"""Largest session buffer of ETW since Windows 8 (1 MiB before), EVENT_TRACE_PROPERTIES."""

# ---------------------------------------------------------------------------------------------------------------------
# Buffers

GUID = np.dtype([("data1", "<u4"), ("data2", "<u2"), ("data3", "<u2"), ("data4", "u1", 8)])

BUFFER_HEADER = np.dtype(
    [
        ("buffer_size", "<u4"),  # to the next header; of a compressed buffer: 72 + compressed bytes
        ("saved_offset", "<u4"),
        ("current_offset", "<u4"),
        ("reference_count", "<i4"),
        ("time_stamp", "<i8"),  # flush time; header buffer: 0; relogged file: FILETIME of the relogging
        ("sequence_number", "<i8"),
        ("clock", "<u8"),  # stale kernel pointer in files; no clock
        ("processor_index", "<u2"),
        ("logger_id", "<u2"),
        ("state", "<u4"),  # header buffer of a relogged file: COMPRESSION_FORMAT_*; else BUFFER_STATE_FLUSH
        ("filled_bytes", "<u4"),  # "Offset": valid bytes with this header, of the unpacked buffer
        ("buffer_flag", "<u2"),
        ("buffer_type", "<u2"),
        ("union", "<u8", 2),  # list entry or reference clock; stale in files
    ]
)
"""WMI_BUFFER_HEADER."""
BUFFER_HEADER_SIZE = 72
assert BUFFER_HEADER.itemsize == BUFFER_HEADER_SIZE

BUFFER_FLAG_FLUSH_MARKER = 0x0001
BUFFER_FLAG_EVENTS_LOST = 0x0002
BUFFER_FLAG_BUFFER_LOST = 0x0004
BUFFER_FLAG_RTBACKUP_CORRUPT = 0x0008
BUFFER_FLAG_RTBACKUP = 0x0010
BUFFER_FLAG_PROC_INDEX = 0x0020
BUFFER_FLAG_COMPRESSED = 0x0040

BUFFER_TYPE_GENERIC = 0
BUFFER_TYPE_RUNDOWN = 1
BUFFER_TYPE_CTX_SWAP = 2
BUFFER_TYPE_REFTIME = 3
BUFFER_TYPE_HEADER = 4
BUFFER_TYPE_BATCHED = 5
BUFFER_TYPE_EMPTY_MARKER = 6
BUFFER_TYPE_DBG_INFO = 7

BUFFER_STATE_FLUSH = 3

COMPRESSION_FORMAT_NONE = 0
COMPRESSION_FORMAT_LZNT1 = 2
COMPRESSION_FORMAT_XPRESS = 3
COMPRESSION_FORMAT_XPRESS_HUFF = 4

# ---------------------------------------------------------------------------------------------------------------------
# LogFileMode, "Logging Mode Constants" of evntrace.h

EVENT_TRACE_FILE_MODE_NONE = 0x00000000
EVENT_TRACE_FILE_MODE_SEQUENTIAL = 0x00000001
EVENT_TRACE_FILE_MODE_CIRCULAR = 0x00000002
EVENT_TRACE_FILE_MODE_APPEND = 0x00000004
EVENT_TRACE_FILE_MODE_NEWFILE = 0x00000008
EVENT_TRACE_USE_MS_FLUSH_TIMER = 0x00000010
EVENT_TRACE_FILE_MODE_PREALLOCATE = 0x00000020
EVENT_TRACE_NONSTOPPABLE_MODE = 0x00000040
EVENT_TRACE_SECURE_MODE = 0x00000080
EVENT_TRACE_REAL_TIME_MODE = 0x00000100
EVENT_TRACE_DELAY_OPEN_FILE_MODE = 0x00000200
EVENT_TRACE_BUFFERING_MODE = 0x00000400
EVENT_TRACE_PRIVATE_LOGGER_MODE = 0x00000800
EVENT_TRACE_ADD_HEADER_MODE = 0x00001000
EVENT_TRACE_USE_KBYTES_FOR_SIZE = 0x00002000
EVENT_TRACE_USE_GLOBAL_SEQUENCE = 0x00004000
EVENT_TRACE_USE_LOCAL_SEQUENCE = 0x00008000
EVENT_TRACE_RELOG_MODE = 0x00010000
EVENT_TRACE_PRIVATE_IN_PROC = 0x00020000
EVENT_TRACE_MODE_RESERVED = 0x00100000
EVENT_TRACE_STOP_ON_HYBRID_SHUTDOWN = 0x00400000
EVENT_TRACE_PERSIST_ON_HYBRID_SHUTDOWN = 0x00800000
EVENT_TRACE_USE_PAGED_MEMORY = 0x01000000
EVENT_TRACE_SYSTEM_LOGGER_MODE = 0x02000000
EVENT_TRACE_COMPRESSED_MODE = 0x04000000
EVENT_TRACE_INDEPENDENT_SESSION_MODE = 0x08000000
EVENT_TRACE_NO_PER_PROCESSOR_BUFFERING = 0x10000000
EVENT_TRACE_BLOCKING_MODE = 0x20000000
EVENT_TRACE_ADDTO_TRIAGE_DUMP = 0x80000000

# ---------------------------------------------------------------------------------------------------------------------
# The first record's payload

SYSTEMTIME = np.dtype(
    [(name, "<u2") for name in ("year", "month", "day_of_week", "day", "hour", "minute", "second", "milliseconds")]
)

TIME_ZONE_INFORMATION = np.dtype(
    [
        ("bias", "<i4"),  # minutes; UTC = local time + bias
        ("standard_name", "<u2", 32),  # UTF-16, NUL-ended
        ("standard_date", SYSTEMTIME),
        ("standard_bias", "<i4"),
        ("daylight_name", "<u2", 32),
        ("daylight_date", SYSTEMTIME),
        ("daylight_bias", "<i4"),
    ]
)
assert TIME_ZONE_INFORMATION.itemsize == 172


def _logfile_header(pointer: str) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("buffer_size", "<u4"),  # bytes; the unpacked buffer size of the session
            ("major_version", "u1"),
            ("minor_version", "u1"),
            ("sub_version", "u1"),  # 1.5; 2.0 exactly when compressed, buffers above 1 MiB, or above 256 processors
            ("sub_minor_version", "u1"),
            ("provider_version", "<u4"),  # OS build
            ("number_of_processors", "<u4"),
            ("end_time", "<i8"),  # FILETIME; 0 if the session was never closed
            ("timer_resolution", "<u4"),  # 100 ns
            ("maximum_file_size", "<u4"),  # MB, or KB with EVENT_TRACE_USE_KBYTES_FOR_SIZE
            ("log_file_mode", "<u4"),
            ("buffers_written", "<u4"),  # with the header buffer; 0 if the session was never closed
            ("start_buffers", "<u4"),  # 1
            ("pointer_size", "<u4"),
            ("events_lost", "<u4"),
            ("cpu_speed_in_mhz", "<u4"),
            ("logger_name", pointer),  # no pointers in a file: timer source numbers, or 0
            ("log_file_name", pointer),
            ("time_zone", TIME_ZONE_INFORMATION),
            ("padding", "<u4"),
            ("boot_time", "<i8"),  # FILETIME
            ("perf_freq", "<i8"),  # ticks a second of the performance counter
            ("start_time", "<i8"),  # FILETIME of the first record's own time stamp
            ("reserved_flags", "<u4"),  # clock type, etwcap.etl.time
            ("buffers_lost", "<u4"),
        ]
    )


LOGFILE_HEADER64 = _logfile_header("<u8")
LOGFILE_HEADER32 = _logfile_header("<u4")
"""TRACE_LOGFILE_HEADER as 64- and 32-bit loggers write it. Logger name and file name follow, UTF-16, NUL-ended."""
assert (LOGFILE_HEADER64.itemsize, LOGFILE_HEADER32.itemsize) == (280, 272)

# ---------------------------------------------------------------------------------------------------------------------
# Records

MARKER_EVENT = 0xC0
"""Last byte of a record's first u32: TRACE_HEADER_FLAG | TRACE_HEADER_EVENT_TRACE."""
MARKER_MESSAGE = 0x90
"""The same of a WPP message: TRACE_HEADER_FLAG | TRACE_MESSAGE."""

SYSTEM_HEADER = np.dtype(
    [
        ("version", "u1"),
        ("extension", "u1"),
        ("type", "u1"),
        ("marker", "u1"),
        ("size", "<u2"),
        ("opcode", "u1"),
        ("group", "u1"),
        ("thread", "<u4"),
        ("process", "<u4"),
        ("time", "<i8"),
        ("kernel_time", "<u4"),
        ("user_time", "<u4"),
    ]
)
"""SYSTEM_TRACE_HEADER."""

COMPACT_HEADER = np.dtype([(name, SYSTEM_HEADER[name]) for name in SYSTEM_HEADER.names[:10]])  # type: ignore[index]
"""SYSTEM_TRACE_HEADER without its two times."""

PERFINFO_HEADER = np.dtype(
    [
        ("version", "u1"),
        ("extension", "u1"),
        ("type", "u1"),
        ("marker", "u1"),
        ("size", "<u2"),
        ("opcode", "u1"),
        ("group", "u1"),
        ("time", "<i8"),
    ]
)
"""PERFINFO_TRACE_HEADER; extension words of 8 bytes may follow."""

FULL_HEADER = np.dtype(
    [
        ("size", "<u2"),
        ("type", "u1"),
        ("marker", "u1"),
        ("opcode", "u1"),
        ("level", "u1"),
        ("version", "<u2"),
        ("thread", "<u4"),
        ("process", "<u4"),
        ("time", "<i8"),
        ("guid", GUID),
        ("kernel_time", "<u4"),
        ("user_time", "<u4"),
    ]
)
"""EVENT_TRACE_HEADER."""

INSTANCE_HEADER = np.dtype(
    [
        *((name, FULL_HEADER[name]) for name in FULL_HEADER.names),  # type: ignore[union-attr]
        ("instance_id", "<u4"),
        ("parent_instance_id", "<u4"),
        ("parent_guid", GUID),
    ]
)
"""EVENT_INSTANCE_GUID_HEADER."""

EVENT_HEADER = np.dtype(
    [
        ("size", "<u2"),
        ("type", "u1"),
        ("marker", "u1"),
        ("flags", "<u2"),
        ("event_property", "<u2"),
        ("thread", "<u4"),
        ("process", "<u4"),
        ("time", "<i8"),
        ("provider", GUID),
        ("id", "<u2"),
        ("version", "u1"),
        ("channel", "u1"),
        ("level", "u1"),
        ("opcode", "u1"),
        ("task", "<u2"),
        ("keyword", "<u8"),
        ("kernel_time", "<u4"),
        ("user_time", "<u4"),
        ("activity", GUID),
    ]
)
"""EVENT_HEADER. Extended data items follow if ``flags`` has EVENT_HEADER_FLAG_EXTENDED_INFO, then the payload."""

MESSAGE_HEADER = np.dtype(
    [("size", "<u2"), ("type", "u1"), ("marker", "u1"), ("message_number", "<u2"), ("options", "<u2")]
)
"""MESSAGE_TRACE_HEADER; what TRACE_MESSAGE_* options name follows, in the order of :data:`MESSAGE_FIELDS`."""

assert (SYSTEM_HEADER.itemsize, COMPACT_HEADER.itemsize, PERFINFO_HEADER.itemsize) == (32, 24, 16)
assert (FULL_HEADER.itemsize, INSTANCE_HEADER.itemsize, EVENT_HEADER.itemsize, MESSAGE_HEADER.itemsize) == (
    48,
    72,
    80,
    8,
)

HEADER_OF_TYPE = {
    SYSTEM32: SYSTEM_HEADER,
    COMPACT32: COMPACT_HEADER,
    FULL32: FULL_HEADER,
    INSTANCE32: INSTANCE_HEADER,
    PERFINFO32: PERFINFO_HEADER,
    EVENT32: EVENT_HEADER,
    MESSAGE: MESSAGE_HEADER,
}
"""Header by record type (the 32-bit type; its 64-bit twin has the same)."""

UNUSED_TYPES = frozenset({TIMED, ERROR, WNODE})
"""Record types of ntwmi.h with no documented layout but their size (u16 at +0)."""

EVENT_HEADER_FLAG_EXTENDED_INFO = 0x0001

TRACE_MESSAGE_SEQUENCE = 0x0001
TRACE_MESSAGE_GUID = 0x0002
TRACE_MESSAGE_COMPONENTID = 0x0004
TRACE_MESSAGE_TIMESTAMP = 0x0008
TRACE_MESSAGE_PERFORMANCE_TIMESTAMP = 0x0010
TRACE_MESSAGE_SYSTEMINFO = 0x0020
TRACE_MESSAGE_POINTER32 = 0x0040
TRACE_MESSAGE_POINTER64 = 0x0080

MESSAGE_FIELDS = (
    (TRACE_MESSAGE_SEQUENCE, 4),
    (TRACE_MESSAGE_COMPONENTID, 4),
    (TRACE_MESSAGE_GUID, 16),  # absent when TRACE_MESSAGE_COMPONENTID is set
    (TRACE_MESSAGE_TIMESTAMP | TRACE_MESSAGE_PERFORMANCE_TIMESTAMP, 8),
    (TRACE_MESSAGE_SYSTEMINFO, 8),  # u32 thread, u32 process
)
"""(option bits, bytes) in the order in which they lie after MESSAGE_HEADER."""

EXTENDED_ITEM = np.dtype([("stride", "<u2"), ("ext_type", "<u2"), ("linkage", "<u2"), ("data_size", "<u2")])
"""Head of an extended data item as files hold it: the data is inline, padded to 8; linkage bit 0 = another follows."""

EVENT_HEADER_EXT_TYPE_RELATED_ACTIVITYID = 0x01
EVENT_HEADER_EXT_TYPE_SID = 0x02
EVENT_HEADER_EXT_TYPE_TS_ID = 0x03
EVENT_HEADER_EXT_TYPE_INSTANCE_INFO = 0x04
EVENT_HEADER_EXT_TYPE_STACK_TRACE32 = 0x05
EVENT_HEADER_EXT_TYPE_STACK_TRACE64 = 0x06
EVENT_HEADER_EXT_TYPE_PEBS_INDEX = 0x07
EVENT_HEADER_EXT_TYPE_PMC_COUNTERS = 0x08
EVENT_HEADER_EXT_TYPE_PSM_KEY = 0x09
EVENT_HEADER_EXT_TYPE_EVENT_KEY = 0x0A
EVENT_HEADER_EXT_TYPE_EVENT_SCHEMA_TL = 0x0B
EVENT_HEADER_EXT_TYPE_PROV_TRAITS = 0x0C
EVENT_HEADER_EXT_TYPE_PROCESS_START_KEY = 0x0D
EVENT_HEADER_EXT_TYPE_CONTROL_GUID = 0x0E
EVENT_HEADER_EXT_TYPE_QPC_DELTA = 0x0F
EVENT_HEADER_EXT_TYPE_CONTAINER_ID = 0x10

# ---------------------------------------------------------------------------------------------------------------------
# Hooks and classes that describe the trace itself

HOOK_HEADER = 0x0000
HOOK_EXTENSION = 0x0005
HOOK_RUNDOWN_COMPLETE = 0x0008
HOOK_END_EXTENSION = 0x0020
HOOK_DBGID_RSDS = 0x0040
HOOK_BUILD_LAB = 0x0042
HOOK_PARTITION_INFO = 0x0050
HOOK_LAST_DROPPED_TIMES = 0x0052
HOOK_CPU_CONFIG = 0x0B0A
HOOK_NIC_CONFIG = 0x0B0D
HOOK_SERVICES_CONFIG = 0x0B0F
HOOK_PLATFORM_CONFIG = 0x0B19
HOOK_DEVICE_FAMILY = 0x0B21

SYSTEM_CONFIG_EX = "9b79ee91-b5fd-41c0-a243-4248e266e9d0"
"""SystemConfigExGuid: machine facts that merging a trace adds (FULL_HEADER records)."""
SYSTEM_CONFIG_EX_BUILD_INFO = 32
SYSTEM_CONFIG_EX_SYSTEM_PATHS = 33
SYSTEM_CONFIG_EX_UNKNOWN_VOLUME = 34
SYSTEM_CONFIG_EX_VOLUME_MAPPING = 35
SYSTEM_CONFIG_EX_NETWORK_INTERFACE = 36
SYSTEM_CONFIG_EX_DEVICE_FAMILY = 37

EVENT_METADATA = "bbccf6c1-6cd1-48c4-80ff-839482e37671"
"""EventMetadataGuid: schemas of the events in a merged trace (FULL_HEADER records)."""
EVENT_METADATA_EVENT_INFO = 32
EVENT_METADATA_EVENT_MAP_INFO = 33

MIB_IF_ROW2 = np.dtype(
    [
        ("interface_luid", "<u8"),
        ("interface_index", "<u4"),
        ("interface_guid", GUID),
        ("alias", "<u2", 257),
        ("description", "<u2", 257),
        ("physical_address_length", "<u4"),
        ("physical_address", "u1", 32),
        ("permanent_physical_address", "u1", 32),
        ("mtu", "<u4"),
        ("type", "<u4"),  # IF_TYPE_*: 6 Ethernet, 24 loopback, 53 virtual, 71 802.11, 131 tunnel
        ("tunnel_type", "<u4"),
        ("media_type", "<u4"),  # NDIS_MEDIUM
        ("physical_medium_type", "<u4"),  # NDIS_PHYSICAL_MEDIUM: 9 native 802.11, 14 802.3
        ("access_type", "<u4"),
        ("direction_type", "<u4"),
        ("flags", "u1"),  # 1 hardware, 2 filter, 4 connector, 8 not authenticated, 16 not connected, ...
        ("padding1", "u1", 3),
        ("oper_status", "<u4"),
        ("admin_status", "<u4"),
        ("media_connect_state", "<u4"),
        ("network_guid", GUID),
        ("connection_type", "<u4"),
        ("padding2", "<u4"),
        ("transmit_link_speed", "<u8"),  # bit/s
        ("receive_link_speed", "<u8"),
        ("counters", "<u8", 18),
    ]
)
"""MIB_IF_ROW2 of netioapi.h with 64-bit alignment: the payload of SYSTEM_CONFIG_EX_NETWORK_INTERFACE."""
assert MIB_IF_ROW2.itemsize == 1352
