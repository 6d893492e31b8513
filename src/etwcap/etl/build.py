"""Record builders: the bytes of one ETL record of each kind, header and payload, as they lie in a file.

Times are raw ticks of the session's clock, GUIDs are text or ``uuid.UUID``; ``pointer_size`` is that of the program
that wrote the record and selects the record type (evntrace.h, evntcons.h, ntwmi.h). What is longer than a record can
be raises ValueError.
Feed the results to :class:`etwcap.etl.writer.EtlWriter`.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable
from typing import TypeAlias

from etwcap.etl import layout, records

GuidLike: TypeAlias = uuid.UUID | str | bytes

_TRACE_HEADER = struct.Struct("<HBB")
_EVENT_REST = struct.Struct("<HHIIq16sHBBBBHQII16s")
_FULL_REST = struct.Struct("<BBHIIq16sII")
_KERNEL = struct.Struct("<BBBBHBB")


def guid_bytes(guid: GuidLike) -> bytes:
    """The 16 bytes of a GUID as Windows stores it; bytes are taken as they are."""
    if isinstance(guid, bytes):
        if len(guid) != 16:
            raise ValueError("a GUID has 16 bytes")
        return guid
    return (uuid.UUID(guid) if isinstance(guid, str) else guid).bytes_le


def wide(text: str) -> bytes:
    """UTF-16LE with its terminator."""
    return text.encode("utf-16-le") + b"\0\0"


def padded(record: bytes) -> bytes:
    """The record with zeros up to the next multiple of 8."""
    return record + bytes(-len(record) % layout.ALIGNMENT)


def _sized(size: int) -> int:
    if size > layout.MAXIMUM_RECORD:
        raise ValueError(f"a record of {size} bytes: its size field holds no more than {layout.MAXIMUM_RECORD}")
    return size


def _kind(type64: int, type32: int, pointer_size: int) -> int:
    if pointer_size not in (4, 8):
        raise ValueError("pointers have 4 or 8 bytes")
    return type64 if pointer_size == 8 else type32


def extended_item(ext_type: int, data: bytes, *, more: bool) -> bytes:
    """One extended data item, its data inline; ``more``: another one follows."""
    stride = 8 + len(data) + -len(data) % layout.ALIGNMENT
    head = struct.pack("<HHHH", _sized(stride), ext_type, int(more), len(data))
    return head + data + bytes(stride - 8 - len(data))


def event_record(
    provider: GuidLike,
    event_id: int,
    payload: bytes = b"",
    *,
    time: int,
    process: int = 4,
    thread: int = 8,
    version: int = 0,
    channel: int = 0,
    level: int = 4,
    opcode: int = 0,
    task: int = 0,
    keyword: int = 0,
    activity: GuidLike = bytes(16),
    pointer_size: int = 8,
    extended: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    """EVENT_HEADER: a manifest or TraceLogging event; ``extended`` are (ExtType, data) pairs."""
    items = list(extended)
    block = b"".join(extended_item(kind, data, more=i + 1 < len(items)) for i, (kind, data) in enumerate(items))
    size = _sized(layout.EVENT_HEADER.itemsize + len(block) + len(payload))
    head = _TRACE_HEADER.pack(size, _kind(records.EVENT64, records.EVENT32, pointer_size), layout.MARKER_EVENT)
    flags = layout.EVENT_HEADER_FLAG_EXTENDED_INFO if items else 0
    rest = _EVENT_REST.pack(
        flags, 0, thread, process, time, guid_bytes(provider), event_id, version, channel, level, opcode, task, keyword,
        0, 0, guid_bytes(activity),
    )  # fmt: skip
    return head + rest + block + payload


def full_header_record(
    guid: GuidLike,
    opcode: int,
    payload: bytes = b"",
    *,
    time: int,
    process: int = 0,
    thread: int = 0,
    version: int = 0,
    level: int = 0,
    pointer_size: int = 8,
) -> bytes:
    """EVENT_TRACE_HEADER: a classic event, or one that merging adds."""
    size = _sized(layout.FULL_HEADER.itemsize + len(payload))
    head = _TRACE_HEADER.pack(size, _kind(records.FULL64, records.FULL32, pointer_size), layout.MARKER_EVENT)
    return head + _FULL_REST.pack(opcode, level, version, thread, process, time, guid_bytes(guid), 0, 0) + payload


def instance_record(
    guid: GuidLike,
    opcode: int,
    payload: bytes = b"",
    *,
    time: int,
    instance: int = 1,
    parent_instance: int = 0,
    parent: GuidLike = bytes(16),
    process: int = 0,
    thread: int = 0,
    version: int = 2,
    level: int = 0,
    pointer_size: int = 8,
) -> bytes:
    """EVENT_INSTANCE_GUID_HEADER."""
    size = _sized(layout.INSTANCE_HEADER.itemsize + len(payload))
    head = _TRACE_HEADER.pack(size, _kind(records.INSTANCE64, records.INSTANCE32, pointer_size), layout.MARKER_EVENT)
    rest = _FULL_REST.pack(opcode, level, version, thread, process, time, guid_bytes(guid), 0, 0)
    return head + rest + struct.pack("<II", instance, parent_instance) + guid_bytes(parent) + payload


def _kernel_head(kind: int, hook: int, version: int, extension: int, size: int) -> bytes:
    return _KERNEL.pack(version, extension, kind, layout.MARKER_EVENT, _sized(size), hook & 0xFF, hook >> 8)


def system_record(
    hook: int,
    payload: bytes = b"",
    *,
    time: int,
    process: int = 0,
    thread: int = 0,
    version: int = 2,
    pointer_size: int = 8,
) -> bytes:
    """SYSTEM_TRACE_HEADER: a kernel event; ``hook`` is group * 256 + type."""
    kind = _kind(records.SYSTEM64, records.SYSTEM32, pointer_size)
    head = _kernel_head(kind, hook, version, 0, layout.SYSTEM_HEADER.itemsize + len(payload))
    return head + struct.pack("<IIqII", thread, process, time, 0, 0) + payload


def compact_record(
    hook: int,
    payload: bytes = b"",
    *,
    time: int,
    process: int = 0,
    thread: int = 0,
    version: int = 2,
    pointer_size: int = 8,
) -> bytes:
    """SYSTEM_TRACE_HEADER without the processor times."""
    kind = _kind(records.COMPACT64, records.COMPACT32, pointer_size)
    head = _kernel_head(kind, hook, version, 0, layout.COMPACT_HEADER.itemsize + len(payload))
    return head + struct.pack("<IIq", thread, process, time) + payload


def perfinfo_record(
    hook: int,
    payload: bytes = b"",
    *,
    time: int,
    version: int = 2,
    counters: Iterable[int] = (),
    pebs_index: int | None = None,
    pointer_size: int = 8,
) -> bytes:
    """PERFINFO_TRACE_HEADER; ``pebs_index`` and up to seven PMC ``counters`` are extension words before the payload."""
    words = [] if pebs_index is None else [pebs_index]
    pmc = list(counters)
    if len(pmc) > 7:
        raise ValueError("a record has room for 7 counters")
    words += pmc
    extension = (0x80 if pebs_index is not None else 0) | len(pmc)
    kind = _kind(records.PERFINFO64, records.PERFINFO32, pointer_size)
    size = layout.PERFINFO_HEADER.itemsize + 8 * len(words) + len(payload)
    return _kernel_head(kind, hook, version, extension, size) + struct.pack(f"<q{len(words)}Q", time, *words) + payload


def message_record(
    number: int,
    payload: bytes = b"",
    *,
    guid: GuidLike | None = None,
    component: int | None = None,
    sequence: int | None = None,
    time: int | None = None,
    owner: tuple[int, int] | None = None,
    pointer_size: int | None = 8,
) -> bytes:
    """MESSAGE_TRACE_HEADER: a WPP message. Only what is given is there; ``owner`` is (process, thread)."""
    options = 0
    body = b""
    if sequence is not None:
        options |= layout.TRACE_MESSAGE_SEQUENCE
        body += struct.pack("<I", sequence)
    if component is not None:
        options |= layout.TRACE_MESSAGE_COMPONENTID
        body += struct.pack("<I", component)
    elif guid is not None:
        options |= layout.TRACE_MESSAGE_GUID
        body += guid_bytes(guid)
    if time is not None:
        options |= layout.TRACE_MESSAGE_TIMESTAMP
        body += struct.pack("<q", time)
    if owner is not None:
        options |= layout.TRACE_MESSAGE_SYSTEMINFO
        body += struct.pack("<II", owner[1], owner[0])
    if pointer_size is not None:
        options |= layout.TRACE_MESSAGE_POINTER64 if pointer_size == 8 else layout.TRACE_MESSAGE_POINTER32
    size = _sized(layout.MESSAGE_HEADER.itemsize + len(body) + len(payload))
    return _TRACE_HEADER.pack(size, 0, layout.MARKER_MESSAGE) + struct.pack("<HH", number, options) + body + payload


def error_record(payload: bytes = b"") -> bytes:
    """A record of type ERROR, of which only the size (u16 at +0) is known from ntwmi.h."""
    return _TRACE_HEADER.pack(_sized(4 + len(payload)), records.ERROR, layout.MARKER_EVENT) + payload


_TIME_AT_8 = frozenset({records.PERFINFO32, records.PERFINFO64})


def _time_offset(record: bytes) -> int:
    """Where a record's time stamp lies; past its end where it has none."""
    if record[3] != layout.MARKER_MESSAGE:
        if record[2] in layout.UNUSED_TYPES:
            return layout.MAXIMUM_RECORD
        return 8 if record[2] in _TIME_AT_8 else 16
    options = int.from_bytes(record[6:8], "little")
    if not options & layout.TRACE_MESSAGE_TIMESTAMP:
        return layout.MAXIMUM_RECORD
    at = layout.MESSAGE_HEADER.itemsize
    for bits, size in layout.MESSAGE_FIELDS:
        if bits & layout.TRACE_MESSAGE_TIMESTAMP:
            break
        hidden = bits == layout.TRACE_MESSAGE_GUID and options & layout.TRACE_MESSAGE_COMPONENTID
        if options & bits and not hidden:
            at += size
    return at


def record_time(record: bytes) -> int | None:
    """The raw time stamp in the header of a record (its first 64 bytes do); None where there is none."""
    if len(record) < 4:
        return None
    at = _time_offset(record)
    return int.from_bytes(record[at : at + 8], "little", signed=True) if len(record) >= at + 8 else None
