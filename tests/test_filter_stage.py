"""Filters in a run: what is known of a packet beside its bytes, several link types, and the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from capture_files import chunk_of, context_of, read
from command_line import etwcap
from etwcap.filters.compiled import Filter
from etwcap.filters.stage import FilterStage
from etwcap.packets import Interface, Mark
from filter_packets import ethernet_frames, ip_packets, packets_of, write_capture

pytestmark = pytest.mark.usefixtures("backend")


def kept(expression: str, **columns: list[int]) -> list[int]:
    """Numbers of the rows of three packets that pass."""
    frames = ethernet_frames()[:3]
    context = context_of(Interface(1, "Ethernet", "Big Adapter", if_index=7), Interface(1, "Wi-Fi"))
    chunk = chunk_of(frames, **{name: np.array(values) for name, values in columns.items()})
    chunk.packets["time"] = np.arange(3)
    stage = FilterStage(context, Filter(expression))
    passed = stage.process(chunk).packets["time"].tolist()
    assert stage.left_out == 3 - len(passed)
    return [int(number) for number in passed]


def test_directions() -> None:
    assert kept("in", direction=[0, 1, 2]) == [1]
    assert kept("out", direction=[0, 1, 2]) == [2]
    assert kept("not in and not out", direction=[0, 1, 2]) == [0]


def test_dropped_packets() -> None:
    flags = [0, int(Mark.DROP_ONLY), 0]
    assert kept("dropped", flags=flags, drop_count=[0, 0, 2]) == [1, 2]


def test_interfaces_by_name_description_and_index() -> None:
    for name in ("ethernet", '"big adapter"', "7"):
        assert kept(f"if {name}", interface=[0, 1, 0]) == [0, 2]
    assert kept("if wi-fi or if 7", interface=[0, 1, 0]) == [0, 1, 2]
    assert kept("if other") == []


def test_a_process_counts_only_where_the_trace_can_tell_whose_the_packet_is() -> None:
    flags = [int(Mark.PROCESS_TRUSTED), 0, int(Mark.PROCESS_TRUSTED)]
    assert kept("pid 10", flags=flags, process=[10, 10, 11]) == [0]
    assert kept("not pid 10", flags=flags, process=[10, 10, 11]) == [1, 2]


def test_packets_of_a_link_type_without_an_answer_do_not_match_and_a_note_says_so() -> None:
    frame, packet = ethernet_frames()[0], ip_packets()[0]
    context = context_of(Interface(1), Interface(101))
    stage = FilterStage(context, Filter("not ether host 02:00:00:00:00:01"))
    passed = stage.process(chunk_of([frame, packet], interface=np.array([0, 1], np.int32)))
    assert passed.packets["interface"].tolist() == [0]
    note = context.receipt.notes["filter-101"]
    assert note.count == 1
    assert note.text == ("no raw IP packet matches the filter: a MAC address cannot be asked of raw IP packets")


def test_interfaces_that_come_later_are_filtered_too() -> None:
    context = context_of(Interface(1))
    stage = FilterStage(context, Filter("ip"))
    stage.process(chunk_of([ethernet_frames()[0]]))
    context.interfaces.add(Interface(101))
    passed = stage.process(chunk_of([ip_packets()[0]], interface=np.array([1], np.int32)))
    assert len(passed.packets) == 1


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write_capture(tmp_path / "in.pcap", 1, packets_of(1, damaged=False))
    return tmp_path


def test_convert_writes_what_matches(here: Path) -> None:
    assert etwcap("convert", "in.pcap", "-w", "a.pcapng", "tcp", "port", "443", cwd=here).returncode == 0
    assert etwcap("convert", "in.pcap", "-w", "b.pcapng", "--filter", "tcp port 443", cwd=here).returncode == 0
    assert (here / "a.pcapng").read_bytes() == (here / "b.pcapng").read_bytes()
    assert 0 < len(read(here / "a.pcapng").packets) < len(read(here / "in.pcap").packets)


def test_a_number_of_packets_counts_those_that_match(here: Path) -> None:
    assert etwcap("convert", "in.pcap", "-w", "a.pcapng", "-c", "3", "udp", cwd=here).returncode == 0
    assert len(read(here / "a.pcapng").packets) == 3


def test_two_filters_are_refused(here: Path) -> None:
    done = etwcap("convert", "in.pcap", "-w", "a.pcapng", "--filter", "tcp", "udp", cwd=here)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "etwcap: two filters")


def test_a_filter_that_nothing_matches_is_exit_code_3(here: Path) -> None:
    done = etwcap("convert", "in.pcap", "-w", "a.pcapng", "host", "203.0.113.99", cwd=here)
    assert done.returncode == 3
    assert done.stderr.startswith("etwcap: no packet of in.pcap matches the filter\nhost 203.0.113.99: none of ")
    assert not (here / "a.pcapng").exists()


def test_info_counts_what_matches(here: Path) -> None:
    whole, part = (
        json.loads(etwcap("info", "--json", *more, "in.pcap", cwd=here).stdout)["packets"]
        for more in ((), ("--filter", "icmp"))
    )
    assert whole != part


def test_explaining_shows_tree_program_and_what_a_tap_is_told(here: Path) -> None:
    done = etwcap("convert", "in.pcap", "--explain-filter", "--tap", "pktmon", "not", "arp", "and", "ip", cwd=here)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:5] == ["tree", "  and", "    not", "      arp", "    ip"]
    assert "     1 jeq_k 0x806, 5, 2" in lines
    assert lines[-3:] == ["told to pktmon", "  EtherType 0x0800", "then the whole filter"]
    assert etwcap("convert", "--explain-filter", cwd=here).returncode == 2
    assert etwcap("convert", "in.pcap", "--tap", "pktmon", cwd=here).returncode == 2
