"""Event schemas that lie in the trace: records of EventMetadata {bbccf6c1-6cd1-48c4-80ff-839482e37671}.

Merging a trace (PktMon, WPR, netsh) puts one record per kind of event into it: opcode 32 holds TRACE_EVENT_INFO,
opcode 33 a provider GUID and EVENT_MAP_INFO (both of tdh.h). With them the events of any provider can be read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from etwcap.etl.values import utf16_text

EVENT_INFO, MAP_INFO = 32, 33
"""Opcodes of the two kinds of record."""

_NAME_LIMIT, _MESSAGE_LIMIT = 512, 8192
"""Characters kept of a text, so that overlapping ones of a hostile record stay small."""
_KEEP_LIMIT = 32 << 20
_READ_LIMIT = 2 << 20
"""Bytes of records whose contents are held at hand; a hostile one grows some forty times when it is read."""

_EVENT_INFO = struct.Struct("<16s16sHBBBBHQI15I")
_PROPERTY = struct.Struct("<IIHHIHHI")
_MAP_INFO = struct.Struct("<IIII")
_IS_STRUCT, _LENGTH_IN_PROPERTY, _COUNT_IN_PROPERTY, _FIXED_COUNT = 0x01, 0x02, 0x04, 0x20
"""PROPERTY_FLAGS of tdh.h."""


class SchemaError(ValueError):
    """A schema that contradicts itself or does not fit its record."""


@dataclass(frozen=True, slots=True)
class Property:
    """One field of an event's payload, or of a structure in it."""

    name: str
    in_type: int
    """TDH_INTYPE_; 24 for a structure"""
    out_type: int = 0
    """TDH_OUTTYPE_"""
    number: int = -1
    """its place among the schema's properties, by which others refer to it"""
    map_name: str = ""
    length: int | None = None
    """characters of a text, bytes of a binary; None: the value itself shows where it ends"""
    length_from: int | None = None
    """number of the property that holds the length"""
    count: int | None = None
    """elements of an array; None: no array of a fixed size"""
    count_from: int | None = None
    """number of the property that holds the count"""
    counted: bool = False
    """an array behind a u16 count of its own (TraceLogging)"""
    members: tuple[Property, ...] = ()


@dataclass(frozen=True, slots=True)
class Schema:
    """What one kind of event means: (provider, id, version)."""

    provider: bytes
    """GUID as it lies in a record"""
    id: int
    version: int
    channel: int
    level: int
    opcode: int
    task: int
    keyword: int
    decoding_source: int
    """0 = XML manifest"""
    provider_name: str
    level_name: str
    channel_name: str
    task_name: str
    opcode_name: str
    event_name: str
    message: str
    """in the language of the traced machine"""
    properties: tuple[Property, ...]


@dataclass(frozen=True, slots=True)
class ValueMap:
    """Texts of a number, or of its bits."""

    provider: bytes
    name: str
    is_bits: bool
    texts: dict[int, str]

    def text(self, number: int) -> str | None:
        """The number's text, or its bits' texts joined by " | "; None where the map has none."""
        if number in self.texts or not self.is_bits:
            return self.texts.get(number)
        rest = number
        shown = []
        for bits, text in self.texts.items():
            if bits and number & bits == bits:
                shown.append(text)
                rest &= ~bits
        if rest or not shown:
            return None
        return " | ".join(shown)


def parse_schema(payload: bytes) -> Schema:
    """The payload of an opcode 32 record; SchemaError where it is none."""
    (
        provider, _, event_id, version, channel, level, opcode, task, keyword, source, provider_name, level_name,
        channel_name, _, task_name, opcode_name, message, _, _, _, event_name, _, count, top_level, _,
    ) = _EVENT_INFO.unpack_from(_checked(payload, _EVENT_INFO))  # fmt: skip
    return Schema(
        provider, event_id, version, channel, level, opcode, task, keyword, source,
        provider_name=_text(payload, provider_name),
        level_name=_text(payload, level_name),
        channel_name=_text(payload, channel_name),
        task_name=_text(payload, task_name),
        opcode_name=_text(payload, opcode_name),
        event_name=_text(payload, event_name) if source != 0 else "",
        message=_text(payload, message, _MESSAGE_LIMIT),
        properties=_properties(payload, count, top_level),
    )  # fmt: skip


def _properties(payload: bytes, count: int, top_level: int) -> tuple[Property, ...]:
    start = _EVENT_INFO.size
    if count > (len(payload) - start) // _PROPERTY.size or top_level > count:
        raise SchemaError(f"{count} properties, {top_level} at the top, in {len(payload)} bytes")
    built: list[Property | None] = [None] * count
    for number in reversed(range(count)):  # members stand behind their structure
        built[number] = _property(payload, start + number * _PROPERTY.size, number, built)
    return tuple(entry for entry in built[:top_level] if entry)


def _property(payload: bytes, at: int, number: int, built: list[Property | None]) -> Property:
    flags, name, in_type, out_type, map_name, count, length, _ = _PROPERTY.unpack_from(payload, at)
    is_array = bool(flags & _FIXED_COUNT) or count > 1
    members: tuple[Property, ...] = ()
    if flags & _IS_STRUCT:
        first, many = in_type, out_type
        if first <= number or first + many > len(built):
            raise SchemaError(f"property {number} is a structure of properties {first} to {first + many - 1}")
        members = tuple(entry for entry in built[first : first + many] if entry)
        in_type, out_type = 24, 0
    return Property(
        name=_text(payload, name) or f"property{number}",
        in_type=in_type,
        out_type=out_type,
        number=number,
        map_name=_text(payload, map_name) if not members else "",
        length=length if length and not flags & _LENGTH_IN_PROPERTY else None,
        length_from=length if flags & _LENGTH_IN_PROPERTY else None,
        count=count if is_array and not flags & _COUNT_IN_PROPERTY else None,
        count_from=count if flags & _COUNT_IN_PROPERTY else None,
        members=members,
    )


def parse_map(payload: bytes) -> ValueMap:
    """The payload of an opcode 33 record; SchemaError where it is none."""
    provider, info = payload[:16], payload[16:]  # offsets count from the map, not from the payload
    name, flag, count, _ = _MAP_INFO.unpack_from(_checked(info, _MAP_INFO))
    if count > (len(info) - _MAP_INFO.size) // 8:
        raise SchemaError(f"a map of {count} entries in {len(info)} bytes")
    texts = {}
    for text, number in struct.iter_unpack("<II", info[_MAP_INFO.size : _MAP_INFO.size + 8 * count]):
        texts[number] = _text(info, text).removesuffix(" ")
    return ValueMap(provider, _text(info, name), is_bits=bool(flag & 2), texts=texts)


def _checked(data: bytes, layout: struct.Struct) -> bytes:
    if len(data) < layout.size:
        raise SchemaError(f"{len(data)} bytes, at least {layout.size} wanted")
    return data


def _text(data: bytes, offset: int, limit: int = _NAME_LIMIT) -> str:
    """The UTF-16 text at the offset, without the blanks that some end with; empty for offset 0 or one outside."""
    if offset == 0 or offset >= len(data):
        return ""
    return utf16_text(data[offset : offset + 2 * limit]).rstrip()


EventKey = tuple[bytes, int, int]
"""Provider GUID, event id, version."""


@dataclass(slots=True)
class Schemas:
    """The schemas and maps of a trace. Records are kept as bytes and read when asked for: most never are, and what is
    read can be many times as large."""

    malformed: int = 0
    """records that turned out to be no schema or map"""
    left_out: int = 0
    """records beyond what is kept (32 MiB)"""
    _events: dict[EventKey, bytes] = field(default_factory=dict)
    _maps: dict[tuple[bytes, str], bytes] = field(default_factory=dict)
    _first: dict[bytes, EventKey] = field(default_factory=dict)
    """by provider"""
    _kept: int = 0
    _read_events: dict[EventKey, Schema | None] = field(default_factory=dict)
    _read_maps: dict[tuple[bytes, str], ValueMap | None] = field(default_factory=dict)
    _read: int = 0
    """bytes of the records that are at hand read"""

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[EventKey]:
        return iter(self._events)

    def add(self, opcode: int, payload: bytes) -> None:
        """Take in one record of EventMetadata; a repeated one changes nothing."""
        if self._kept + len(payload) > _KEEP_LIMIT:
            self.left_out += 1
        elif opcode == EVENT_INFO:
            self._add_event(payload)
        elif opcode == MAP_INFO:
            self._add_map(payload)

    def _add_event(self, payload: bytes) -> None:
        if len(payload) < _EVENT_INFO.size:
            self.malformed += 1
            return
        key = (payload[:16], int.from_bytes(payload[32:34], "little"), payload[34])
        if key not in self._events:
            self._events[key] = payload
            self._first.setdefault(key[0], key)
            self._kept += len(payload)

    def _add_map(self, payload: bytes) -> None:
        if len(payload) < 16 + _MAP_INFO.size:
            self.malformed += 1
            return
        key = (payload[:16], _text(payload[16:], int.from_bytes(payload[16:20], "little")))
        if key not in self._maps:
            self._maps[key] = payload
            self._kept += len(payload)

    def event(self, provider: bytes, event_id: int, version: int) -> Schema | None:
        """The schema of a kind of event; None where the trace has none that can be read."""
        key = (provider, event_id, version)
        payload = self._events.get(key)
        if payload is None:
            return None
        if key not in self._read_events:
            self._make_room(len(payload))
            try:
                self._read_events[key] = parse_schema(payload)
            except SchemaError:
                self.malformed += 1
                self._read_events[key] = None
        return self._read_events[key]

    def map(self, provider: bytes, name: str) -> ValueMap | None:
        """A provider's map by name; None where the trace has none that can be read."""
        key = (provider, name)
        payload = self._maps.get(key)
        if payload is None:
            return None
        if key not in self._read_maps:
            self._make_room(len(payload))
            try:
                self._read_maps[key] = parse_map(payload)
            except SchemaError:
                self.malformed += 1
                self._read_maps[key] = None
        return self._read_maps[key]

    def _make_room(self, size: int) -> None:
        """Forget what was read where it has become much: it can be read again."""
        if self._read + size > _READ_LIMIT:
            self._read_events.clear()
            self._read_maps.clear()
            self._read = 0
        self._read += size

    def provider_name(self, provider: bytes) -> str:
        """The provider's own name, as the first of its schemas says it; empty where there is none."""
        key = self._first.get(provider)
        schema = self.event(*key) if key else None
        return schema.provider_name if schema else ""
