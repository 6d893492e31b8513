"""TraceLogging events, which carry their own schema."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.etl.build import event_record, wide
from etwcap.etl.build_schema import provider_traits, tracelogging_schema
from etwcap.etl.decode import SCHEMA_TL, Decoded, decode_record
from etwcap.etl.schemas import SchemaError, Schemas
from etwcap.etl.tracelogging import parse_tracelogging
from etwcap.packets import Context
from etwcap.sources.etl import EtlSource

PROVIDER = uuid.UUID("12345678-9abc-def0-1122-334455667788")
FIXED, COUNTED, CUSTOM, OUT = 0x20, 0x40, 0x60, 0x80


def decode(schema: bytes, payload: bytes, pointer_size: int = 8) -> Decoded:
    items = [(0x0C, provider_traits("Made-Up")), (SCHEMA_TL, schema)]
    return decode_record(
        event_record(PROVIDER, 0, payload, time=0, pointer_size=pointer_size, extended=items), Schemas()
    )


def test_an_event_names_itself_its_provider_and_its_values() -> None:
    schema = tracelogging_schema("Started", [("text", 1), ("count", 8), ("small", 3)])
    decoded = decode(schema, wide("hello") + struct.pack("<Ib", 7, -1))
    assert (decoded.provider_name, decoded.name) == ("Made-Up", "Started")
    assert decoded.values == {"text": "hello", "count": 7, "small": -1}
    assert (decoded.rest, decoded.problem) == (0, "")


def test_tags_out_types_and_field_tags_are_passed_over() -> None:
    fields: list[tuple[str, int] | tuple[str, int, bytes]] = [
        ("yes", 4 | OUT, b"\x03"), ("tagged", 8 | OUT, b"\x85\x81\x02"), ("n", 8),
    ]  # fmt: skip
    decoded = decode(tracelogging_schema("E", fields, tags=b"\x80\x81\x01"), b"\x01" + struct.pack("<II", 5, 6))
    assert decoded.values == {"yes": True, "tagged": 5, "n": 6}


def test_arrays_are_fixed_or_counted_in_the_payload() -> None:
    schema = tracelogging_schema("E", [("two", 6 | FIXED, b"\x02\x00"), ("some", 4 | COUNTED), ("last", 4)])
    decoded = decode(schema, struct.pack("<HH", 1, 2) + b"\x03\x00abc" + b"\x09")
    assert decoded.values == {"two": [1, 2], "some": [97, 98, 99], "last": 9}


def test_structures_nest() -> None:
    schema = tracelogging_schema(
        "E", [("outer", 24 | OUT, b"\x02"), ("a", 4), ("inner", 24 | OUT, b"\x01"), ("b", 4), ("c", 4)]
    )
    assert decode(schema, b"\x01\x02\x03").values == {"outer": {"a": 1, "inner": {"b": 2}}, "c": 3}


def test_counted_texts_and_binaries() -> None:
    schema = tracelogging_schema("E", [("wide", 22), ("narrow", 23), ("bytes", 14)])
    decoded = decode(schema, b"\x04\x00a\0b\0" + b"\x02\x00cd" + b"\x03\x00\x01\x02\x03")
    assert decoded.values == {"wide": "ab", "narrow": "cd", "bytes": b"\x01\x02\x03"}


def test_pointers_follow_the_record_type() -> None:
    schema = tracelogging_schema("E", [("at", 16), ("n", 4)])
    assert decode(schema, b"\x10\0\0\0\x01", pointer_size=4).values == {"at": 16, "n": 1}


def test_a_field_serialised_by_its_writer_ends_the_decoding() -> None:
    decoded = decode(tracelogging_schema("E", [("n", 4), ("own", 4 | CUSTOM, b"\x01\x00\xaa")]), b"\x01\x02")
    assert decoded.values == {"n": 1}
    assert decoded.problem == "own: a serialisation of its own, which nothing describes"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05",
        b"\x40\x00\x00E\0",
        b"\x05\x00\x00E!",
        b"\x03\x00\x80",
        tracelogging_schema("E", [("cut", 24 | OUT, b"\x02")]),
        tracelogging_schema("E", [("s", 24 | OUT, b"\x01")] * 18 + [("n", 4)]),
    ],
    ids=["empty", "one byte", "longer than its item", "no end of name", "endless tags", "no members", "too deep"],
)
def test_a_blob_that_is_no_schema_is_refused(data: bytes) -> None:
    with pytest.raises(SchemaError):
        parse_tracelogging(data)
    decoded = decode(data, b"abc")
    assert decoded.problem
    assert (decoded.described, decoded.values, decoded.rest) == (False, {}, 3)


@given(st.binary(max_size=200), st.binary(max_size=100))
def test_no_bytes_break_a_tracelogging_event(blob: bytes, payload: bytes) -> None:
    decoded = decode(struct.pack("<H", len(blob) + 2) + blob, payload)
    assert decoded.rest <= len(payload)


@pytest.mark.parametrize(
    ("file", "count"), [("tlg-a.etl", 1), ("tlg-b.etl", 1), ("tlg-c.etl", 5), ("lxcore-a.etl", 2), ("sih.etl", 10)]
)
def test_real_events_decode_to_their_last_byte(corpus: Path, file: str, count: int) -> None:
    source = EtlSource(corpus / file, Context())
    decoded = []
    for chunk in source.chunks():
        events = chunk.events
        for row in range(len(events)):
            first, end = int(events["record"][row]), int(events["offset"][row]) + int(events["length"][row])
            decoded.append(decode_record(chunk.buffer[first:end].tobytes(), source.facts.schemas))
    source.close()
    described = [each for each in decoded if each.described]
    assert len(described) == count
    assert all(each.name and each.provider_name and not each.rest and not each.problem for each in described)


def test_every_basic_type_of_a_real_event_has_its_value(corpus: Path) -> None:
    source = EtlSource(corpus / "tlg-c.etl", Context())
    for chunk in source.chunks():
        events = chunk.events
        first, end = int(events["record"][2]), int(events["offset"][2]) + int(events["length"][2])
        decoded = decode_record(chunk.buffer[first:end].tobytes(), source.facts.schemas)
        break
    source.close()
    values = decoded.values
    assert (values["string_type"], values["boolean_type"], values["char_type"]) == ("Mercury", False, "M")
    assert (values["int16_type"], values["int32_type"], values["uint64_type"]) == (-51, -102, 204)
    assert values["guid_type"] == uuid.UUID("0ad614c4-0ef4-4225-8013-f44f37cb0397")
    assert str(values["file_time_type"])[:19] == str(values["system_time_type"])[:19] == "2021-09-09 14:59:35"
