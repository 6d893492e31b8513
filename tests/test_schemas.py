"""Schemas that lie in the trace, and events read by them."""

from __future__ import annotations

import struct
import uuid
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.etl import build_schema as tdh
from etwcap.etl.build import event_record, wide
from etwcap.etl.build_schema import Property, event_map, event_schema
from etwcap.etl.decode import Decoded, decode_record, extended_items, provider_traits
from etwcap.etl.records import EVENT32, EVENT64
from etwcap.etl.schemas import EVENT_INFO, MAP_INFO, SchemaError, Schemas, parse_map, parse_schema
from etwcap.etl.values import MappedValue, UtcTime
from etwcap.packets import Context
from etwcap.sources.etl import EtlSource

PROVIDER = uuid.UUID("12345678-9abc-def0-1122-334455667788")
OUT_PORT, OUT_IPV4, OUT_IPV6, OUT_SOCKET_ADDRESS = 22, 23, 24, 25


def schemas_of(*properties: Property, top_level: int | None = None, maps: dict[str, bytes] | None = None) -> Schemas:
    schemas = Schemas()
    schemas.add(EVENT_INFO, event_schema(PROVIDER, 7, properties, provider_name="Made-Up", top_level=top_level))
    for payload in (maps or {}).values():
        schemas.add(MAP_INFO, payload)
    return schemas


def decode(payload: bytes, *properties: Property, pointer_size: int = 8, **more: Any) -> Decoded:
    record = event_record(PROVIDER, 7, payload, time=0, pointer_size=pointer_size)
    return decode_record(record, schemas_of(*properties, **more))


def test_a_schema_tells_provider_event_and_properties() -> None:
    payload = event_schema(
        PROVIDER, 160, [Property("Id", tdh.UINT64), Property("Name", tdh.UNICODE_STRING)], provider_name="Made-Up",
        version=3, opcode=4, task=5, keyword=1 << 63, task_name="Packet", level_name="Information ", message="%1",
    )  # fmt: skip
    schema = parse_schema(payload)
    assert (schema.provider, schema.id, schema.version, schema.opcode, schema.task, schema.keyword) == (
        PROVIDER.bytes_le, 160, 3, 4, 5, 1 << 63,
    )  # fmt: skip
    assert (schema.provider_name, schema.task_name, schema.level_name, schema.message) == (
        "Made-Up", "Packet", "Information", "%1",
    )  # fmt: skip
    assert [(each.name, each.in_type) for each in schema.properties] == [("Id", 10), ("Name", 1)]


def test_the_space_at_the_end_of_map_texts_is_cut_off() -> None:
    assert parse_map(event_map(PROVIDER, "Tag", {3: "Rx", 4: "Tx"})).texts == {3: "Rx", 4: "Tx"}


def test_scalars_of_every_type_are_read_in_order() -> None:
    guid = uuid.uuid4()
    decoded = decode(
        struct.pack("<bBhHiIqQfdI", -1, 2, -3, 4, -5, 6, -7, 8, 0.5, 0.25, 1) + guid.bytes_le
        + struct.pack("<qII", 133_500_000_000_000_000, 7, 9),
        *(Property(f"p{kind}", kind) for kind in range(tdh.INT8, tdh.BOOLEAN + 1)),
        Property("guid", tdh.GUID), Property("time", tdh.FILETIME), Property("hex", tdh.HEX_INT32),
        Property("last", tdh.UINT32),
    )  # fmt: skip
    assert list(decoded.values.values()) == [
        -1, 2, -3, 4, -5, 6, -7, 8, 0.5, 0.25, True, guid, 1_705_526_400_000_000_000, 7, 9,
    ]  # fmt: skip
    assert (decoded.rest, decoded.problem, decoded.provider_name) == (0, "", "Made-Up")
    assert str(decoded.values["time"]) == "2024-01-17 21:20:00.0000000"


@pytest.mark.parametrize("pointer_size", [4, 8])
def test_pointers_are_as_wide_as_the_writers_of_the_record(pointer_size: int) -> None:
    payload = (0x1234).to_bytes(pointer_size, "little") + b"\x05"
    decoded = decode(payload, Property("at", tdh.POINTER), Property("n", tdh.UINT8), pointer_size=pointer_size)
    assert decoded.values == {"at": 0x1234, "n": 5}


def test_a_length_and_a_count_may_stand_in_earlier_properties() -> None:
    decoded = decode(
        b"\x03\x00" + b"abc" + b"\x02\x00\x00\x00" + struct.pack("<HH", 10, 20),
        Property("Size", tdh.UINT16),
        Property("Data", tdh.BINARY, flags=tdh.PROPERTY_PARAM_LENGTH, length=0),
        Property("Count", tdh.UINT32),
        Property("Numbers", tdh.UINT16, flags=tdh.PROPERTY_PARAM_COUNT, count=2),
    )
    assert decoded.values == {"Size": 3, "Data": b"abc", "Count": 2, "Numbers": [10, 20]}


def test_structures_and_arrays_of_structures_give_dictionaries() -> None:
    decoded = decode(
        b"\x02" + struct.pack("<I", 1) + wide("one") + struct.pack("<I", 2) + wide("two"),
        Property("Count", tdh.UINT8),
        Property("Layers", 2, 2, flags=tdh.PROPERTY_STRUCT | tdh.PROPERTY_PARAM_COUNT, count=0),
        Property("LayerId", tdh.UINT32),
        Property("LayerName", tdh.UNICODE_STRING),
        top_level=2,
    )
    assert decoded.values["Layers"] == [{"LayerId": 1, "LayerName": "one"}, {"LayerId": 2, "LayerName": "two"}]
    assert (decoded.rest, decoded.problem) == (0, "")


def test_numbers_with_a_map_show_its_texts() -> None:
    maps = {
        "Tag": event_map(PROVIDER, "Tag", {3: "Rx"}),
        "Flags": event_map(PROVIDER, "Flags", {1: "SYN", 2: "ACK"}, bitmap=True),
    }
    decoded = decode(
        b"\x03\x04\x03\x08",
        Property("known", tdh.UINT8, map_name="Tag"), Property("unknown", tdh.UINT8, map_name="Tag"),
        Property("bits", tdh.UINT8, map_name="Flags"), Property("odd bits", tdh.UINT8, map_name="Flags"),
        maps=maps,
    )  # fmt: skip
    assert [str(value) for value in decoded.values.values()] == ["Rx", "4", "SYN | ACK", "8"]
    assert decoded.values["known"] == 3
    assert isinstance(decoded.values["known"], MappedValue)
    assert not isinstance(decoded.values["unknown"], MappedValue)


def test_addresses_and_ports_are_shown_as_such() -> None:
    ip6 = IPv6Address("2001:db8::5")
    socket4 = struct.pack("<H", 2) + b"\x00\x35" + IPv4Address("192.0.2.53").packed + bytes(8)
    decoded = decode(
        IPv4Address("192.0.2.1").packed + b"\x01\xbb" + ip6.packed + b"\x10\x00" + socket4,
        Property("ip", tdh.UINT32, OUT_IPV4), Property("port", tdh.UINT16, OUT_PORT),
        Property("ip6", tdh.BINARY, OUT_IPV6), Property("size", tdh.UINT16),
        Property("socket", tdh.BINARY, OUT_SOCKET_ADDRESS, flags=tdh.PROPERTY_PARAM_LENGTH, length=3),
    )  # fmt: skip
    assert decoded.values == {
        "ip": IPv4Address("192.0.2.1"), "port": 443, "ip6": ip6, "size": 16, "socket": "192.0.2.53:53",
    }  # fmt: skip


def test_texts_end_at_their_nul_or_with_the_payload() -> None:
    decoded = decode(
        wide("AĀ") + b"ansi\0" + "rest".encode("utf-16-le"),
        Property("a", tdh.UNICODE_STRING), Property("b", tdh.ANSI_STRING), Property("c", tdh.UNICODE_STRING),
    )  # fmt: skip
    assert decoded.values == {"a": "AĀ", "b": "ansi", "c": "rest"}


def test_security_identifiers_are_shown_as_text() -> None:
    sid = b"\x01\x02" + (5).to_bytes(6, "big") + struct.pack("<II", 32, 544)
    assert decode(sid, Property("user", tdh.SID)).values == {"user": "S-1-5-32-544"}


def test_a_name_that_comes_twice_is_numbered() -> None:
    assert decode(b"\x01\x02", Property("n", tdh.UINT8), Property("n", tdh.UINT8)).values == {"n": 1, "n#2": 2}


def test_a_payload_too_short_gives_what_is_there_and_says_where_it_ends() -> None:
    decoded = decode(b"\x01\x02", Property("first", tdh.UINT8), Property("second", tdh.UINT32))
    assert decoded.values == {"first": 1}
    assert decoded.problem.startswith("second: 4 bytes wanted")
    assert decoded.rest == 1


def test_bytes_after_the_last_property_are_counted() -> None:
    assert decode(bytes(5), Property("n", tdh.UINT8)).rest == 4


def test_an_event_without_a_schema_is_left_as_it_is() -> None:
    decoded = decode_record(event_record(PROVIDER, 8, b"abc", time=0), Schemas())
    assert (decoded.described, decoded.values, decoded.rest) == (False, {}, 3)


def test_a_huge_count_is_refused() -> None:
    decoded = decode(
        b"\xff\xff\xff\xff\x01",
        Property("Count", tdh.UINT32),
        Property("Numbers", tdh.UINT8, flags=tdh.PROPERTY_PARAM_COUNT, count=0),
    )
    assert decoded.problem == "Numbers: 4294967295 elements in 1 bytes"


def test_a_structure_of_itself_is_no_schema() -> None:
    payload = event_schema(PROVIDER, 7, [Property("loop", 0, 1, flags=tdh.PROPERTY_STRUCT)])
    with pytest.raises(SchemaError, match="structure of properties 0 to 0"):
        parse_schema(payload)
    schemas = Schemas()
    schemas.add(EVENT_INFO, payload)
    assert schemas.event(PROVIDER.bytes_le, 7, 0) is None
    assert schemas.malformed == 1


def test_nested_structures_cannot_make_decoding_endless() -> None:
    doubling = [Property(f"s{n}", n + 1, 40 - n, flags=tdh.PROPERTY_STRUCT) for n in range(40)]
    decoded = decode(bytes(100), *doubling, Property("end", tdh.UNICODE_STRING))
    assert "more than 100000 values" in decoded.problem


def test_schemas_beyond_the_limit_are_left_out_and_counted() -> None:
    schemas = Schemas()
    for number in range(700):
        schemas.add(EVENT_INFO, event_schema(PROVIDER, number, []) + bytes(60_000))
    assert len(schemas) == 32 * 1024 * 1024 // 60_112
    assert schemas.left_out == 700 - len(schemas)


def test_schemas_can_be_read_again_after_many_others() -> None:
    schemas = Schemas()
    for number in range(60):
        schemas.add(EVENT_INFO, event_schema(PROVIDER, number, [Property(f"p{number}", tdh.UINT8)]) + bytes(60_000))
    for _ in range(2):
        read = [schemas.event(PROVIDER.bytes_le, number, 0) for number in range(60)]
        assert [each.properties[0].name for each in read if each] == [f"p{number}" for number in range(60)]


def test_a_repeated_schema_changes_nothing() -> None:
    schemas = schemas_of(Property("n", tdh.UINT8))
    first = schemas.event(PROVIDER.bytes_le, 7, 0)
    schemas.add(EVENT_INFO, event_schema(PROVIDER, 7, []))
    assert schemas.event(PROVIDER.bytes_le, 7, 0) is first
    assert schemas.provider_name(PROVIDER.bytes_le) == "Made-Up"
    assert schemas.provider_name(bytes(16)) == ""


def test_provider_traits_give_name_and_group() -> None:
    group = uuid.uuid4()
    assert provider_traits(tdh.provider_traits("Made-Up", group)) == ("Made-Up", group.bytes_le)
    assert provider_traits(tdh.provider_traits("Made-Up")) == ("Made-Up", b"")


def test_extended_items_end_where_the_payload_begins() -> None:
    record = event_record(PROVIDER, 7, b"payload", time=0, extended=[(1, bytes(16)), (12, b"\x05\x00ab\0")])
    items, start = extended_items(record)
    assert [(item.type, len(item.data)) for item in items] == [(1, 16), (12, 5)]
    assert record[start:] == b"payload"


def test_an_extended_item_that_overruns_its_record_ends_the_list() -> None:
    record = bytearray(event_record(PROVIDER, 7, b"payload", time=0, extended=[(1, bytes(16))]))
    record[86:88] = b"\xff\xff"
    assert extended_items(bytes(record)) == ([], 80)


@given(st.binary(max_size=400))
def test_no_bytes_break_the_parsers_of_schemas(data: bytes) -> None:
    schemas = Schemas()
    schemas.add(EVENT_INFO, data)
    schemas.add(MAP_INFO, data)
    for key in schemas:
        schemas.event(*key)
    provider_traits(data)


@given(st.data())
def test_no_change_of_a_schema_breaks_decoding(data: st.DataObject) -> None:
    payload = bytearray(
        event_schema(
            PROVIDER, 7,
            [
                Property("Count", tdh.UINT8), Property("S", 2, 2, flags=tdh.PROPERTY_STRUCT | tdh.PROPERTY_PARAM_COUNT),
                Property("a", tdh.UNICODE_STRING), Property("b", tdh.BINARY, flags=tdh.PROPERTY_PARAM_LENGTH),
            ],
            top_level=2,
        )
    )  # fmt: skip
    for at, value in data.draw(st.lists(st.tuples(st.integers(48, len(payload) - 1), st.integers(0, 255)), max_size=6)):
        payload[at] = value
    schemas = Schemas()
    schemas.add(EVENT_INFO, bytes(payload))
    event = data.draw(st.binary(max_size=64))
    decoded = decode_record(event_record(PROVIDER, 7, event, time=0), schemas)
    assert 0 <= decoded.rest <= len(event)


@given(st.binary(max_size=300), st.integers(0, 1))
def test_no_bytes_after_the_header_break_decoding(tail: bytes, flags: int) -> None:
    record = bytearray(event_record(PROVIDER, 7, tail, time=0))
    record[4] = flags
    decoded = decode_record(bytes(record), schemas_of(Property("n", tdh.UINT8)))
    assert decoded.rest <= len(tail)


def events_of(path: Path) -> tuple[list[bytes], Schemas]:
    """Every EVENT_HEADER record of a trace, and its schemas."""
    source = EtlSource(path, Context())
    records = []
    for chunk in source.chunks():
        events = chunk.events
        for kind, first, payload, length in zip(
            events["type"].tolist(), events["record"].tolist(), events["offset"].tolist(), events["length"].tolist(),
            strict=True,
        ):  # fmt: skip
            if kind in (EVENT32, EVENT64):
                records.append(chunk.buffer[first : payload + length].tobytes())
    source.close()
    return records, source.facts.schemas


@pytest.mark.parametrize(
    ("file", "described", "whole"),
    [("pktmon-d.etl", 289, 289), ("pktmon-e.etl", 946, 946), ("merge-32.etl", 39_854, 34_648)],
)
def test_real_events_decode_to_their_last_byte(corpus: Path, file: str, described: int, whole: int) -> None:
    """Of merge-32 the rest are CLR stack walks, whose own schema is wrong about them."""
    records, schemas = events_of(corpus / file)
    decoded = [decode_record(record, schemas) for record in records]
    assert sum(each.described for each in decoded) == described
    assert sum(each.described and not each.problem and not each.rest for each in decoded) == whole
    assert {each.name for each in decoded if each.described and each.rest} <= {"CLRStack"}


def test_times_in_real_events_agree_with_their_time_stamps(corpus: Path) -> None:
    """Each of the nine events carries the moment at which its program wrote it, to the millisecond."""
    source = EtlSource(corpus / "wpr-a.etl", Context())
    differences = []
    for chunk in source.chunks():
        events = chunk.events
        for row in range(len(events)):
            first, end = int(events["record"][row]), int(events["offset"][row]) + int(events["length"][row])
            decoded = decode_record(chunk.buffer[first:end].tobytes(), source.facts.schemas)
            written = decoded.values.get("time")
            if isinstance(written, UtcTime):
                differences.append(int(events["time"][row]) - written)
    source.close()
    assert len(differences) == 9
    assert all(0 <= difference < 1_000_000 for difference in differences)
