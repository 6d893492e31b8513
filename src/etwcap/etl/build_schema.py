"""Payload builders of event schemas: TRACE_EVENT_INFO, EVENT_MAP_INFO, TraceLogging metadata, provider traits.

Structures of tdh.h and the TraceLogging format of TraceLoggingProvider.h. In a file every pointer of these
structures is an offset.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from etwcap.etl.build import GuidLike, guid_bytes, wide

PROPERTY_STRUCT, PROPERTY_PARAM_LENGTH, PROPERTY_PARAM_COUNT, PROPERTY_PARAM_FIXED_LENGTH = 0x1, 0x2, 0x4, 0x10
"""PROPERTY_FLAGS of tdh.h."""

UNICODE_STRING, ANSI_STRING, INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64 = range(1, 11)
FLOAT, DOUBLE, BOOLEAN, BINARY, GUID, POINTER, FILETIME, SYSTEMTIME, SID, HEX_INT32, HEX_INT64 = range(11, 22)
"""TDH_INTYPE_* of tdh.h."""


_LENGTHS = {
    INT8: 1, UINT8: 1, INT16: 2, UINT16: 2, INT32: 4, UINT32: 4, INT64: 8, UINT64: 8,
    FLOAT: 4, DOUBLE: 8, BOOLEAN: 4, GUID: 16, FILETIME: 8, SYSTEMTIME: 16, HEX_INT32: 4, HEX_INT64: 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Property:
    """One field of an event. ``count`` and ``length`` are values, or property numbers where the flags say so; a length
    of 0 is that of the type."""

    name: str
    in_type: int
    out_type: int = 0
    flags: int = 0
    count: int = 1
    length: int = 0
    map_name: str = ""


class _Text:
    """Strings appended behind a structure of known size; gives their offsets."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.data = b""

    def add(self, text: str) -> int:
        """Offset of the string from the start of the structure; 0 for the empty one, which means absent."""
        if not text:
            return 0
        at = self.start + len(self.data)
        self.data += wide(text)
        return at


def event_schema(
    provider: GuidLike,
    event_id: int,
    properties: Iterable[Property],
    *,
    provider_name: str = "",
    version: int = 0,
    channel: int = 0,
    level: int = 4,
    opcode: int = 0,
    task: int = 0,
    keyword: int = 0,
    task_name: str = "",
    level_name: str = "",
    message: str = "",
    top_level: int | None = None,
) -> bytes:
    """TRACE_EVENT_INFO (EVENT_METADATA_EVENT_INFO). ``top_level``: how many properties are no members of a
    structure."""
    fields = list(properties)
    text = _Text(112 + 24 * len(fields))
    names = [text.add(item) for item in (provider_name, level_name, "", "", task_name, "", message, "")]
    head = guid_bytes(provider) + bytes(16)
    head += struct.pack("<HBBBBHQ", event_id, version, channel, level, opcode, task, keyword)
    head += struct.pack("<I8I", 0, *names)
    head += struct.pack("<7I", 0, 0, 0, 0, len(fields), len(fields) if top_level is None else top_level, 1)
    rows = b"".join(
        struct.pack(
            "<IIHHIHHI", item.flags, text.add(item.name), item.in_type, item.out_type, text.add(item.map_name),
            item.count, item.length or _LENGTHS.get(item.in_type, 0), 0,
        )
        for item in fields
    )  # fmt: skip
    return head + rows + text.data


def event_map(provider: GuidLike, name: str, entries: Mapping[int, str], *, bitmap: bool = False) -> bytes:
    """EVENT_MAP_INFO (EVENT_METADATA_EVENT_MAP_INFO); every text gets the one space at its end that Windows writes."""
    text = _Text(16 + 8 * len(entries))
    at = text.add(name)
    head = struct.pack("<IIII", at, 2 if bitmap else 1, len(entries), 0)
    rows = b"".join(struct.pack("<II", text.add(entry + " "), value) for value, entry in entries.items())
    return guid_bytes(provider) + head + rows + text.data


def tracelogging_schema(
    name: str, fields: Iterable[tuple[str, int] | tuple[str, int, bytes]], tags: bytes = b"\0"
) -> bytes:
    """The data of an EVENT_SCHEMA_TL item: (field name, InType byte[, the bytes after it])."""
    body = tags + name.encode() + b"\0"
    for field in fields:
        body += field[0].encode() + b"\0" + bytes([field[1]]) + (field[2] if len(field) == 3 else b"")
    return struct.pack("<H", 2 + len(body)) + body


def provider_traits(name: str, group: GuidLike | None = None) -> bytes:
    """The data of a PROV_TRAITS item: the provider's name and the GUID of its group."""
    body = name.encode() + b"\0"
    if group is not None:
        body += struct.pack("<HB", 19, 1) + guid_bytes(group)
    return struct.pack("<H", 2 + len(body)) + body
