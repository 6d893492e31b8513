"""Real traces: how many packets there are, which are kept, and that 802.11 becomes the Ethernet the stack saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from etwcap.packets import Chunk, Context
from etwcap.repair.sightings import SightingStage
from etwcap.repair.wifi import WifiStage
from etwcap.sources.etl import EtlSource
from event_feed import frames


def run(trace: Path, appearances: str, *, ethernet: bool = False) -> tuple[Context, list[tuple[int, int, bytes]]]:
    """(link type, direction, bytes) of every packet that is kept."""
    context = Context()
    source = EtlSource(trace, context)
    stages = (SightingStage(context, appearances), WifiStage(context, ethernet))
    found: list[tuple[int, int, bytes]] = []

    def outputs() -> Iterator[Chunk]:
        for chunk in source.chunks():
            yield stages[1].process(stages[0].process(chunk))
        rest = stages[0].finish()
        if rest is not None:
            yield stages[1].process(rest)

    for chunk in outputs():
        links = [context.interfaces[number].link_type for number in chunk.packets["interface"].tolist()]
        found += zip(links, chunk.packets["direction"].tolist(), frames(chunk), strict=True)
    source.close()
    return context, found


@pytest.mark.parametrize(
    ("name", "appearances", "expected"),
    [
        ("pktmon-d.etl", "all", {(1, 1): 38, (1, 2): 76}),
        ("pktmon-d.etl", "wire", {(1, 1): 19, (1, 2): 19}),
        ("pktmon-e.etl", "all", {(105, 1): 690, (105, 2): 276, (1, 1): 1063, (1, 2): 676}),
        ("pktmon-e.etl", "wire", {(105, 1): 115, (105, 2): 46, (1, 1): 43, (1, 2): 56}),
        ("pktmon-e.etl", "first", {(105, 1): 115, (1, 1): 43, (1, 2): 102}),
        ("ndiscap-a.etl", "all", {(105, 2): 1}),
        ("ndiscap-a.etl", "wire", {(105, 2): 1}),
    ],
)
def test_packets_of_real_traces(
    corpus: Path, name: str, appearances: str, expected: dict[tuple[int, int], int]
) -> None:
    context, found = run(corpus / name, appearances)
    assert Counter((link, direction) for link, direction, _ in found) == expected
    assert "malformed" not in context.receipt.notes


def test_both_back_ends_keep_the_same_packets(corpus: Path, backend: str) -> None:
    _, found = run(corpus / "pktmon-e.etl", "wire", ethernet=True)
    assert Counter((link, direction) for link, direction, _ in found) == {(1, 1): 158, (1, 2): 102}


def test_ethernet_made_of_802_11_is_what_tcpip_saw(corpus: Path) -> None:
    _, wire = run(corpus / "pktmon-e.etl", "wire", ethernet=True)
    _, seen = run(corpus / "pktmon-e.etl", "tcpip.sys")
    shortest = 128 - 26 - 8 + 14
    assert Counter(frame[:shortest] for _, _, frame in wire) == Counter(frame[:shortest] for _, _, frame in seen)


def test_interfaces_of_a_real_trace_are_named_and_addressed(corpus: Path) -> None:
    context, _ = run(corpus / "pktmon-e.etl", "all")
    names = [interface.name for interface in context.interfaces]
    assert {"Wi-Fi", "Wi-Fi (802.11)"} <= {*names}
    assert len({*names}) == len(names) == 4
    assert all(interface.mac and interface.ipv4 and interface.speed for interface in context.interfaces)


def test_no_report_is_missing_in_real_traces(corpus: Path) -> None:
    for name in ("pktmon-d.etl", "pktmon-e.etl"):
        source = EtlSource(corpus / name, Context())
        assert sum(len(chunk.packets) for chunk in source.chunks())
        assert source.describe().losses.report_gaps == 0
        source.close()
