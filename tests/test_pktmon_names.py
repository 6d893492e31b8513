"""Drop reasons and locations read as names."""

from __future__ import annotations

import pytest

from etwcap.providers.pktmon_names import drop_locations, drop_reasons, location_name, reason_name


def test_tables_are_complete() -> None:
    assert len(drop_reasons()) == 404
    assert len(drop_locations()) == 612


@pytest.mark.parametrize(
    ("number", "build", "name"),
    [(1206, 26100, "INET_SessionState"), (204, 26100, "ProtocolNotBound"), (104, 17763, "ProtocolNotBound"),
     (204, 17763, "VMBusError"), (204, 0, "ProtocolNotBound"), (4711, 0, "reason 4711")],
)  # fmt: skip
def test_reason_reads_as_its_build_means_it(number: int, build: int, name: str) -> None:
    assert reason_name(number, None, build) == name


def test_own_map_of_the_trace_names_only_what_the_table_lacks() -> None:
    texts = {204: "Unsupported EtherType ", 5000: "Something new "}
    assert reason_name(204, texts) == "ProtocolNotBound"
    assert reason_name(5000, texts) == "Something new"


def test_location_of_another_vendor_is_shown_as_a_number() -> None:
    assert location_name(0xE0001001) == "NDIS_FAKE_FILTER_SEND"
    assert location_name(0x1234) == "location 0x00001234"
