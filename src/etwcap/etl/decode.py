"""Any event's payload to named, typed values, by the schema in the trace or in the event itself.

A record is untrusted: decoding never raises. What could be read is given, ``problem`` says where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from etwcap.etl.records import EVENT32, EVENT64, POINTER4_TYPES
from etwcap.etl.schemas import Property, SchemaError, Schemas, ValueMap
from etwcap.etl.tracelogging import CUSTOM, parse_tracelogging
from etwcap.etl.values import STRUCT, Cursor, MappedValue, PayloadError, Value, ansi_text, read_value

EVENT_HEADER_SIZE = 80

SCHEMA_TL, PROVIDER_TRAITS = 0x0B, 0x0C
"""ExtType of an extended data item (EVENT_HEADER_EXT_TYPE_ of evntcons.h)."""

_PROVIDER_GROUP = 1
"""ETW_PROVIDER_TRAIT_TYPE_GROUP of evntprov.h."""
_EXTENDED_INFO = 0x0001
_MOST_VALUES = 100_000
"""Values of one event, whatever its counts say; a payload has 65,455 bytes at most."""


class ExtendedItem(NamedTuple):
    """An extended data item of an EVENT_HEADER record."""

    type: int
    data: bytes


class ProviderTraits(NamedTuple):
    """What a provider says of itself in its events."""

    name: str
    group: bytes
    """GUID of its provider group; empty where it has none"""


@dataclass(slots=True)
class Decoded:
    """The values of one event."""

    provider_name: str = ""
    name: str = ""
    """event or task name, as far as the schema has one"""
    values: dict[str, Value] = field(default_factory=dict)
    """by property name, in the schema's order; a name that comes twice is numbered: ``Name#2``"""
    described: bool = False
    """whether there is a schema for this event"""
    rest: int = 0
    """payload bytes after the last value"""
    problem: str = ""
    """why decoding stopped early; empty: it did not"""


def extended_items(record: bytes) -> tuple[list[ExtendedItem], int]:
    """The extended data items of an EVENT_HEADER record, and where its payload begins.

    In a file the items lie inline behind the header, each on a multiple of 8 (other than the structures of the API). An
    item that does not fit ends the list; the payload then begins behind the last one that does.
    """
    items: list[ExtendedItem] = []
    at = EVENT_HEADER_SIZE
    linked = len(record) >= at + 8 and int.from_bytes(record[4:6], "little") & _EXTENDED_INFO
    while linked and at + 8 <= len(record):
        stride, kind, linkage, size = (int.from_bytes(record[at + n : at + n + 2], "little") for n in (0, 2, 4, 6))
        stride = (stride + 7) & ~7
        if stride < 8 + size or at + 8 + size > len(record):
            break
        items.append(ExtendedItem(kind, record[at + 8 : at + 8 + size]))
        at += stride
        linked = linkage & 1
    return items, min(at, len(record))


def provider_traits(data: bytes) -> ProviderTraits:
    """The data of an extended item PROV_TRAITS: u16 size, name, then traits of u16 size, u8 type and data."""
    size = min(int.from_bytes(data[:2], "little"), len(data))
    data = data[2:size]
    name, _, traits = data.partition(b"\0")
    group = b""
    while len(traits) >= 3:
        length = int.from_bytes(traits[:2], "little")
        if not 3 <= length <= len(traits):
            break
        if traits[2] == _PROVIDER_GROUP and length == 19:
            group = traits[3:19]
        traits = traits[length:]
    return ProviderTraits(ansi_text(name), group)


def decode_record(record: bytes, schemas: Schemas) -> Decoded:
    """An EVENT_HEADER record (header types 0x12 and 0x13), by its own TraceLogging schema or by one of ``schemas``.

    Any other record, and an event that nothing describes, gives no values and its payload as ``rest``.
    """
    if len(record) < EVENT_HEADER_SIZE or record[2] not in (EVENT32, EVENT64):
        return Decoded(rest=len(record))
    items, start = extended_items(record)
    payload = record[start:]
    decoded = Decoded(rest=len(payload))
    provider = record[24:40]
    by_type = {item.type: item.data for item in items}
    if PROVIDER_TRAITS in by_type:
        decoded.provider_name = provider_traits(by_type[PROVIDER_TRAITS]).name
    properties: tuple[Property, ...]
    if SCHEMA_TL in by_type:
        try:
            own = parse_tracelogging(by_type[SCHEMA_TL])
        except SchemaError as error:
            decoded.problem = str(error)
            return decoded
        decoded.name, properties = own.name, own.properties
    else:
        schema = schemas.event(provider, int.from_bytes(record[40:42], "little"), record[42])
        if schema is None:
            return decoded
        decoded.provider_name = schema.provider_name
        decoded.name = schema.event_name or schema.task_name
        properties = schema.properties
    decoded.described = True
    decode_payload(payload, properties, pointer_size(record[2]), decoded, lambda name: schemas.map(provider, name))
    return decoded


def pointer_size(record_type: int) -> int:
    """Bytes of a pointer in the payload of a record of that header type: the writer's, not the machine's."""
    return 4 if record_type in POINTER4_TYPES else 8


def decode_payload(
    payload: bytes,
    properties: Sequence[Property],
    pointer: int,
    into: Decoded,
    find_map: Callable[[str], ValueMap | None] = lambda name: None,
) -> None:
    """Read the properties from the payload into ``into``: its values, rest and problem."""
    cursor = Cursor(payload)
    reader = _Reader(cursor, pointer, find_map)
    try:
        reader.read(properties, into.values)
    except PayloadError as error:
        into.problem = str(error)
    into.rest = cursor.left


class _Reader:
    """One pass over one payload."""

    def __init__(self, cursor: Cursor, pointer: int, find_map: Callable[[str], ValueMap | None]) -> None:
        self._cursor = cursor
        self._pointer = pointer
        self._find_map = find_map
        self._numbers: dict[int, int] = {}
        self._values_left = _MOST_VALUES

    def read(self, properties: Sequence[Property], values: dict[str, Value]) -> None:
        for entry in properties:
            name = entry.name
            repeat = 2
            while name in values:
                name = f"{entry.name}#{repeat}"
                repeat += 1
            try:
                values[name] = value = self._property(entry)
            except PayloadError as error:
                raise PayloadError(f"{entry.name}: {error}") from None
            if entry.number >= 0 and isinstance(value, int):
                self._numbers[entry.number] = value

    def _property(self, entry: Property) -> Value:
        count = self._count(entry)
        if count is None:
            return self._element(entry)
        if count > self._cursor.left:  # no element is empty
            raise PayloadError(f"{count} elements in {self._cursor.left} bytes")
        return [self._element(entry) for _ in range(count)]

    def _count(self, entry: Property) -> int | None:
        if entry.counted:
            return self._cursor.unsigned(2)
        if entry.count_from is not None:
            return self._number(entry.count_from)
        return entry.count

    def _number(self, number: int) -> int:
        """The value of an earlier property that another refers to."""
        try:
            value = self._numbers[number]
        except KeyError:
            raise PayloadError(f"property {number}, which tells its size, is no earlier number") from None
        if value < 0:
            raise PayloadError(f"property {number} makes its size {value}")
        return value

    def _element(self, entry: Property) -> Value:
        self._values_left -= 1
        if self._values_left < 0:
            raise PayloadError(f"more than {_MOST_VALUES} values")
        if entry.in_type == STRUCT:
            members: dict[str, Value] = {}
            self.read(entry.members, members)
            return members
        if entry.in_type == CUSTOM:
            raise PayloadError("a serialisation of its own, which nothing describes")
        length = entry.length if entry.length_from is None else self._number(entry.length_from)
        value = read_value(self._cursor, entry.in_type, entry.out_type, self._pointer, length)
        if entry.map_name and type(value) is int:
            known = self._find_map(entry.map_name)
            text = known.text(value) if known else None
            return value if text is None else MappedValue(value, text)
        return value
