"""TraceLogging: events that carry their own schema, in an extended data item (TraceLoggingProvider.h).

The blob is: u16 size; tag bytes, each with bit 7 set but the last; the event's name; then fields until its end. A field
is its name, a byte of type and array kind, and what these call for. Names are UTF-8 and NUL-ended.
"""

from __future__ import annotations

from dataclasses import dataclass

from etwcap.etl.schemas import Property, SchemaError
from etwcap.etl.values import (
    BINARY,
    MANIFEST_COUNTED_BINARY,
    OUT_BOOLEAN,
    OUT_IPV4,
    OUT_IPV6,
    OUT_PORT,
    OUT_SOCKET_ADDRESS,
    OUT_STRING,
    STRUCT,
    Cursor,
    PayloadError,
    ansi_text,
)

CUSTOM = -1
"""``in_type`` of a field that its writer serialises in a way of its own."""

_TYPE, _ARRAY, _FIXED, _COUNTED, _CUSTOM, _MORE = 0x1F, 0x60, 0x20, 0x40, 0x60, 0x80
_OUT_TYPES = {2: OUT_STRING, 3: OUT_BOOLEAN, 7: OUT_PORT, 8: OUT_IPV4, 9: OUT_IPV6, 10: OUT_SOCKET_ADDRESS}
"""TlgOut numbers to TDH_OUTTYPE_ numbers, as far as they change a value."""
_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class TraceLoggingSchema:
    """An event's name and fields."""

    name: str
    properties: tuple[Property, ...]


def parse_tracelogging(data: bytes) -> TraceLoggingSchema:
    """The data of an extended item EVENT_SCHEMA_TL; SchemaError where it is none."""
    cursor = Cursor(data)
    try:
        size = cursor.unsigned(2)
        if size > len(data):
            raise SchemaError(f"a TraceLogging schema of {size} bytes in {len(data)}")
        cursor = Cursor(data[:size], 2)
        _pass_tags(cursor)
        name = _name(cursor)
        properties = []
        while cursor.left:
            properties.append(_field(cursor, 0))
    except PayloadError as error:
        raise SchemaError(f"a TraceLogging schema breaks off: {error}") from error
    return TraceLoggingSchema(name, tuple(properties))


def _field(cursor: Cursor, depth: int) -> Property:
    name = _name(cursor)
    kind = cursor.unsigned(1)
    out_type = 0
    if kind & _MORE:
        out_type = cursor.unsigned(1)
        if out_type & _MORE:
            _pass_tags(cursor)
            out_type &= ~_MORE
    in_type, array = kind & _TYPE, kind & _ARRAY
    count = cursor.unsigned(2) if array == _FIXED else None
    if array == _CUSTOM:
        cursor.take(cursor.unsigned(2))
        in_type = CUSTOM
    members: tuple[Property, ...] = ()
    if in_type == STRUCT:
        if depth == _DEEPEST:
            raise SchemaError(f"structures more than {_DEEPEST} deep")
        members = tuple(_field(cursor, depth + 1) for _ in range(out_type))
        out_type = 0
    return Property(
        name,
        MANIFEST_COUNTED_BINARY if in_type == BINARY else in_type,
        _OUT_TYPES.get(out_type, 0),
        count=count,
        counted=array == _COUNTED,
        members=members,
    )


def _name(cursor: Cursor) -> str:
    end = cursor.data.find(b"\0", cursor.at)
    if end < 0:
        raise PayloadError(f"a name without an end at {cursor.at}")
    return ansi_text(cursor.take(end + 1 - cursor.at))


def _pass_tags(cursor: Cursor) -> None:
    while cursor.unsigned(1) & _MORE:
        pass
