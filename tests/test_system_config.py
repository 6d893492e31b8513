"""What a trace says about the machine that was traced."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.etl import build_facts as facts_of
from etwcap.etl.build import wide
from etwcap.etl.build_schema import event_map, event_schema
from etwcap.etl.records import FULL64, RECORD, SYSTEM64, Records
from etwcap.packets import Context, Description
from etwcap.providers.base import TraceFacts
from etwcap.providers.event_metadata import EventMetadata
from etwcap.providers.names import PKTMON, group_name, guid_bytes, guid_text, provider_name
from etwcap.providers.system import SystemFacts
from etwcap.sources.etl import EtlSource

ORDINAL = 5
KERNEL_CONFIG, KERNEL_TRACE = -12, -1
MAC = bytes.fromhex("020406080a0c")


def rows_of(events: Sequence[tuple[int, int, bytes]]) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], Records]:
    """A buffer and records of (provider, opcode, payload)."""
    records = np.zeros(len(events), RECORD)
    buffer = bytearray(b"\xee" * 8)
    for row, (provider, opcode, payload) in zip(records, events, strict=True):
        row["offset"], row["payload"], row["size"] = len(buffer), 32, 32 + len(payload)
        row["provider"], row["id"], row["opcode"] = provider, opcode, opcode
        row["type"] = SYSTEM64 if provider < 0 else FULL64
        buffer += bytes(32) + payload
    return np.frombuffer(bytes(buffer), np.uint8), records


def learnt(*events: tuple[int, int, bytes], os_version: str = "") -> TraceFacts:
    description = Description()
    description.machine.os_version = os_version
    facts = TraceFacts(description, description.machine)
    system = SystemFacts(facts, ORDINAL)
    buffer, records = rows_of(events)
    wanted = system.wants(records)
    system.learn(buffer, records[wanted])
    system.learn(buffer, records[wanted])
    return facts


def test_build_product_and_family_are_told() -> None:
    machine = learnt(
        (ORDINAL, 32, facts_of.build_info("19041.985.amd64fre.vb_release.191206-1406", "Windows 10 Enterprise")),
        (ORDINAL, 37, facts_of.device_family(985, 19042)),
        os_version="10.0.19042",
    ).machine
    assert (machine.os_name, machine.os_version, machine.family) == (
        "Windows 10 Enterprise",
        "10.0.19042.985",
        "desktop",
    )
    assert (machine.build_lab, machine.architecture) == ("19041.985.amd64fre.vb_release.191206-1406", "x64")


@pytest.mark.parametrize("family_first", [True, False])
def test_windows_11_is_called_so_though_its_registry_says_10(family_first: bool) -> None:
    events = [
        (ORDINAL, 32, facts_of.build_info("26100.1.arm64fre.ge_release.240331-1435", "Windows 10 Home")),
        (ORDINAL, 37, facts_of.device_family(7462, 26200)),
    ]
    machine = learnt(*(reversed(events) if family_first else events)).machine
    assert (machine.os_name, machine.os_version, machine.architecture) == (
        "Windows 11 Home",
        "10.0.26200.7462",
        "arm64",
    )


def test_an_empty_device_family_keeps_the_version_of_the_header() -> None:
    machine = learnt((ORDINAL, 37, bytes(16)), os_version="6.2.9200").machine
    assert (machine.os_version, machine.family) == ("6.2.9200", "")


def test_network_interfaces_become_cards() -> None:
    row = facts_of.network_interface(12, "WLAN", "Made-up Wi-Fi", MAC, if_type=71, physical_medium=9, speed=866_700_000)
    card = learnt((ORDINAL, 36, row)).cards[12]
    assert (card.alias, card.description, card.mac, card.permanent_mac) == ("WLAN", "Made-up Wi-Fi", MAC, MAC)
    assert (card.type, card.physical_medium, card.mtu, card.receive_speed) == (71, 9, 1500, 866_700_000)
    assert (card.is_hardware, card.is_filter, card.oper_status, card.luid >> 48) == (True, False, 1, 71)
    assert card.guid == guid_text(guid_bytes(card.guid))


def test_a_network_interface_with_an_absurd_address_length_keeps_32_bytes() -> None:
    row = bytearray(facts_of.network_interface(12, "a", "b", MAC))
    row[1056:1060] = b"\xff\xff\xff\xff"
    assert len(learnt((ORDINAL, 36, bytes(row))).cards[12].mac) == 32


def test_kernel_configuration_names_the_computer_and_its_parts() -> None:
    facts = learnt(
        (KERNEL_CONFIG, 0x0A, facts_of.cpu_config("BOX", "example.org", mhz=3000, processors=8)),
        (KERNEL_CONFIG, 0x0F, facts_of.services_config(1200, 7, "Dnscache", "DNS Client")),
        (KERNEL_CONFIG, 0x0F, facts_of.services_config(1200, 8, "Dhcp", "DHCP Client")),
        (KERNEL_CONFIG, 0x19, facts_of.platform_config("Made-up", "Model 1")),
        (KERNEL_TRACE, 0x42, b"26100.1.amd64fre.ge_release.240331-1435\0"),
        (ORDINAL, 33, facts_of.system_paths()),
        (ORDINAL, 35, facts_of.volume_mapping("\\Device\\HarddiskVolume3\\", "C:\\")),
    )
    machine = facts.machine
    assert (machine.computer_name, machine.domain, machine.hardware) == ("BOX", "example.org", "Made-up Model 1")
    assert (machine.cpu_mhz, machine.processors, machine.architecture) == (3000, 8, "x64")
    assert {key: (each.display_name, each.tag) for key, each in facts.services.items()} == {
        (1200, "Dnscache"): ("DNS Client", 7),
        (1200, "Dhcp"): ("DHCP Client", 8),
    }
    assert facts.system_directory == "C:\\Windows\\system32\\"
    assert facts.volumes == {"\\Device\\HarddiskVolume3\\": "C:\\"}


def test_addresses_go_to_the_index_of_their_family_once() -> None:
    facts = learnt(
        (KERNEL_CONFIG, 0x0D, facts_of.nic_config(MAC, 4, 6, "Made-up NIC", "192.0.2.11;fe80::1%6;no address;"))
    )
    assert facts.addresses == {4: ["192.0.2.11"], 6: ["fe80::1"]}
    assert facts.cards[4].mac == MAC


def test_the_interface_table_outweighs_the_kernels_list_of_cards() -> None:
    row = (ORDINAL, 36, facts_of.network_interface(4, "Ethernet", "from the table", MAC))
    nic = (KERNEL_CONFIG, 0x0D, facts_of.nic_config(MAC, 4, 0, "from the kernel"))
    for events in ((row, nic), (nic, row)):
        assert learnt(*events).cards[4].description == "from the table"


def test_other_records_are_not_wanted() -> None:
    _, records = rows_of([(ORDINAL, 36, b""), (3, 36, b""), (KERNEL_TRACE, 0x42, b""), (KERNEL_TRACE, 0, b""),
                          (-4, 3, b"")])  # fmt: skip
    description = Description()
    system = SystemFacts(TraceFacts(description, description.machine), ORDINAL)
    assert system.wants(records).tolist() == [True, False, True, False, False]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([(ORDINAL, opcode) for opcode in (32, 35, 36, 37)]
                            + [(KERNEL_CONFIG, opcode) for opcode in (0x0A, 0x0D, 0x0F, 0x19, 0x21)]),
            st.binary(max_size=80),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_no_bytes_break_the_reading_of_facts(events: list[tuple[tuple[int, int], bytes]]) -> None:
    learnt(*((provider, opcode, payload) for (provider, opcode), payload in events))


def test_a_record_cut_short_is_counted_and_changes_nothing() -> None:
    description = Description()
    facts = TraceFacts(description, description.machine)
    system = SystemFacts(facts, ORDINAL)
    system.learn(*rows_of([(ORDINAL, 36, bytes(1351)), (ORDINAL, 37, b"\x01")]))
    assert (facts.cards, facts.machine.os_version, system.malformed) == ({}, "", 2)


def test_event_metadata_fills_schemas_and_drop_reasons() -> None:
    description = Description()
    facts = TraceFacts(description, description.machine)
    metadata = EventMetadata(facts, ORDINAL)
    pktmon = guid_text(PKTMON)
    events = [
        (ORDINAL, 32, event_schema(pktmon, 160, [], provider_name="Microsoft-Windows-PktMon")),
        (ORDINAL, 33, event_map(pktmon, "DropReason", {902: "Route not found"})),
        (4, 32, event_schema(pktmon, 170, [])),
    ]
    buffer, records = rows_of(events)
    metadata.learn(buffer, records[metadata.wants(records)])
    assert facts.drop_reason_texts == {902: "Route not found"}
    assert list(facts.schemas) == [(PKTMON, 160, 0)]


def test_guids_read_and_print_as_windows_does() -> None:
    text = "{4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac}"
    data = bytes.fromhex("d9804f4dbdc8734dbb5b19c90402c5ac")
    assert (guid_text(data), guid_bytes(text), guid_bytes(text[1:-1])) == (text, data, data)
    with pytest.raises(ValueError, match="badly formed"):
        guid_bytes("no guid")


def test_well_known_providers_and_groups_have_names() -> None:
    assert provider_name(PKTMON) == "Microsoft-Windows-PktMon"
    assert provider_name(bytes(16)) == ""
    assert group_name(0x0B) == "Windows Kernel: SystemConfig"
    assert group_name(0xEE) == "Windows Kernel: group 0xEE"


def facts_of_file(path: Path) -> TraceFacts:
    source = EtlSource(path, Context())
    for _ in source.chunks():
        pass
    source.close()
    return source.facts


@pytest.mark.parametrize(
    ("file", "cards", "services", "reasons", "schemas"),
    [
        ("pktmon-d.etl", 25, 0, 260, 12),
        ("pktmon-e.etl", 56, 0, 259, 11),
        ("ndiscap-a.etl", 80, 0, 0, 1),
        ("merge-64.etl", 3, 157, 0, 61),
        ("diag-kernel.etl", 3, 269, 0, 0),
    ],
)
def test_real_traces_tell_cards_services_and_schemas(
    corpus: Path, file: str, cards: int, services: int, reasons: int, schemas: int
) -> None:
    facts = facts_of_file(corpus / file)
    found = (len(facts.cards), len(facts.services), len(facts.drop_reason_texts), len(facts.schemas))
    assert found == (cards, services, reasons, schemas)


def test_a_real_interface_row_names_the_adapter_of_the_packet(corpus: Path) -> None:
    card = facts_of_file(corpus / "ndiscap-a.etl").cards[8]
    assert (card.type, card.physical_medium, len(card.mac)) == (71, 9, 6)


def test_texts_of_real_drop_reasons_have_no_space_at_their_end(corpus: Path) -> None:
    texts = facts_of_file(corpus / "pktmon-e.etl").drop_reason_texts
    assert all(text and text == text.rstrip() for text in texts.values())


def test_a_service_whose_texts_are_missing_is_left_out() -> None:
    facts = learnt((KERNEL_CONFIG, 0x0F, struct.pack("<II", 1, 2)), (KERNEL_CONFIG, 0x19, wide("Maker") + wide("")))
    assert (facts.services, facts.machine.hardware) == ({}, "Maker")
