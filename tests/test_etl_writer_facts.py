"""What the builders write about machines and events is what the readers find."""

from __future__ import annotations

from pathlib import Path

import pytest

import etwcap
from etwcap.etl import build, build_facts, build_schema, layout
from etwcap.etl.writer import EtlWriter, LogfileSettings
from pktmon_machine import WIFI
from traces import START_NS, kernel_trace, pktmon_trace

PROVIDER = "11111111-2222-3333-4444-555555555555"


def test_the_computer_is_named_by_a_kernel_trace(backend: str, tmp_path: Path) -> None:
    with etwcap.open(kernel_trace(tmp_path / "x.etl").path) as trace:
        machine = trace.machine
    assert (machine.computer_name, machine.domain, machine.hardware) == ("MADE-UP-PC", "WORKGROUP", "Made-up Model 1")


def test_the_cards_and_the_build_stand_at_the_end_of_a_pktmon_trace(backend: str, tmp_path: Path) -> None:
    with etwcap.open(pktmon_trace(tmp_path / "x.etl").path) as trace:
        machine, cards = trace.machine, {card.index: card for card in trace.cards}
    assert machine.os_version == "10.0.26100.2033"
    assert sorted(cards) == [1, 6, 12, 13]
    card = cards[WIFI.index]
    assert (card.alias, card.description, card.mac) == (WIFI.alias, WIFI.description, WIFI.mac)
    assert (card.type, card.physical_medium, card.transmit_speed) == (71, 9, 866_700_000)
    assert cards[13].is_filter
    assert not card.is_filter


def test_a_card_keeps_the_room_for_the_end_of_its_names() -> None:
    row = build_facts.network_interface(5, "x" * 300, "y" * 300, bytes(6))
    assert len(row) == layout.MIB_IF_ROW2.itemsize
    assert row[28 + 512 : 28 + 514] == row[542 + 512 : 542 + 514] == b"\0\0"


def test_what_was_lost_is_in_the_header(tmp_path: Path) -> None:
    with EtlWriter(tmp_path / "x.etl", LogfileSettings(events_lost=3, buffers_lost=2, bias_minutes=-60)):
        pass
    with etwcap.open(tmp_path / "x.etl") as trace:
        assert (trace.losses.events, trace.losses.buffers, trace.machine.bias_minutes) == (3, 2, -60)


def fields_of(path: Path, name: str) -> dict[str, object]:
    with etwcap.open(path) as trace:
        (event,) = [event for event in trace.events() if event.name == name]
    return dict(event.fields)


def test_a_tracelogging_event_is_decoded_by_the_schema_it_carries(tmp_path: Path) -> None:
    schema = build_schema.tracelogging_schema("Hello", [("text", 1), ("number", 8), ("flag", 0x80 | 13, b"\0")])
    payload = build.wide("hi") + (7).to_bytes(4, "little") + (1).to_bytes(4, "little")
    extended = [
        (layout.EVENT_HEADER_EXT_TYPE_PROV_TRAITS, build_schema.provider_traits("Made.Up", PROVIDER)),
        (layout.EVENT_HEADER_EXT_TYPE_EVENT_SCHEMA_TL, schema),
    ]
    with EtlWriter(tmp_path / "x.etl") as trace:
        time = trace.settings.raw(START_NS)
        trace.add(0, build.event_record(PROVIDER, 0, payload, time=time, channel=11, extended=extended))
    assert fields_of(tmp_path / "x.etl", "Hello") == {"text": "hi", "number": 7, "flag": True}


def test_an_event_is_decoded_by_the_schema_that_the_trace_holds(tmp_path: Path) -> None:
    properties = [
        build_schema.Property("Colour", build_schema.UINT32, map_name="Colours"),
        build_schema.Property("Name", build_schema.UNICODE_STRING),
        build_schema.Property("Size", build_schema.UINT16),
        build_schema.Property("Data", build_schema.BINARY, flags=build_schema.PROPERTY_PARAM_LENGTH, length=2),
    ]
    schema = build_schema.event_schema(PROVIDER, 5, properties, provider_name="Made-Up", task_name="Painted")
    colours = build_schema.event_map(PROVIDER, "Colours", {1: "red", 2: "green"})
    payload = (2).to_bytes(4, "little") + build.wide("wall") + (3).to_bytes(2, "little") + b"abc"
    with EtlWriter(tmp_path / "x.etl") as trace:
        time = trace.settings.raw(START_NS)
        for opcode, facts in (
            (layout.EVENT_METADATA_EVENT_INFO, schema),
            (layout.EVENT_METADATA_EVENT_MAP_INFO, colours),
        ):
            trace.add(0, build.full_header_record(layout.EVENT_METADATA, opcode, facts, time=time))
        trace.add(0, build.event_record(PROVIDER, 5, payload, time=time))
    fields = fields_of(tmp_path / "x.etl", "Painted")
    assert (fields["Name"], fields["Size"], fields["Data"]) == ("wall", 3, b"abc")


@pytest.mark.parametrize("pointer_size", [4, 8])
def test_records_of_either_pointer_size_share_a_file(pointer_size: int, backend: str, tmp_path: Path) -> None:
    with EtlWriter(tmp_path / "x.etl", LogfileSettings(pointer_size=pointer_size)) as trace:
        time = trace.settings.raw(START_NS)
        for width in (4, 8):
            trace.add(0, build.event_record(PROVIDER, width, time=time, pointer_size=width))
            trace.add(0, build.full_header_record(PROVIDER, width, time=time, pointer_size=width))
            trace.add(0, build.system_record(0x0301, time=time, pointer_size=width))
            trace.add(0, build.compact_record(0x0302, time=time, pointer_size=width))
            trace.add(0, build.perfinfo_record(0x0F43, time=time, pointer_size=width))
            trace.add(0, build.instance_record(PROVIDER, 50 + width, time=time, pointer_size=width))
    with etwcap.open(tmp_path / "x.etl") as trace:
        assert sum(1 for _ in trace.events()) == 2 + 12
