"""Event 1003: ports of a Hyper-V switch as interfaces, the VLAN tag back in the frame, the RSS hash as an option."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.etl.records import EVENT32, EVENT64
from etwcap.native.texts import skip_texts
from etwcap.packets import Context
from etwcap.providers import ndiscap_build
from etwcap.providers.base import NetworkCard
from etwcap.providers.ndiscap import NdisCapProvider
from etwcap.providers.ndiscap_layout import EventId
from etwcap.providers.vmswitch_build import SwitchPort, build_switch_event, switch_keyword
from etwcap.sinks.output import Output
from etwcap.sinks.pcapng import PcapngSink, Section
from event_feed import Feed, chunk, comments, decode, facts, frames

FRAME = bytes.fromhex("020000000001 020000000002 0800") + bytes(range(46))
VM1 = SwitchPort(7, "{port-7}", "VM1", "Synthetic")
VM2 = SwitchPort(3, "", "VM2", "Synthetic")
WIRE = SwitchPort(1, "External", "", "External")


def add(feed: Feed, payload: bytes, *, sent: bool = True, kind: int = EVENT64) -> None:
    feed.add(EventId.VMSWITCH_PACKET_FRAGMENT, payload, keyword=switch_keyword(sent=sent), kind=kind)


def test_each_source_is_an_interface_and_destinations_stand_in_the_comment(backend: str) -> None:
    feed, context, known = Feed(), Context(), facts()
    known.cards[12] = NetworkCard(12, "Lab Switch", "Hyper-V Virtual Switch")
    add(feed, build_switch_event(FRAME, miniport=12, source=VM1, destinations=[VM2, WIRE]))
    add(feed, build_switch_event(FRAME, miniport=12, source=VM2), sent=False)
    add(feed, build_switch_event(FRAME, miniport=12, source=VM1, destinations=[SwitchPort(9)]))
    add(feed, build_switch_event(FRAME, miniport=13, source=VM1))
    buffer, packets = decode(NdisCapProvider(context, known), feed)
    assert frames(chunk(buffer, packets)) == [FRAME] * 4
    assert [context.interfaces[number].name for number in packets["interface"]] == [
        "Lab Switch: VM1 (port 7)", "Lab Switch: VM2 (port 3)", "Lab Switch: VM1 (port 7)", "vSwitch: VM1 (port 7)",
    ]  # fmt: skip
    assert comments(context, packets) == ["to VM2 (port 3), External (port 1)", "", "to port 9", ""]
    assert packets["direction"].tolist() == [2, 1, 2, 2]
    assert [interface.reports for interface in context.interfaces] == [2, 1, 1]
    assert {interface.tap for interface in context.interfaces} == {"ndiscap"}


def test_a_long_list_of_destinations_is_shortened(backend: str) -> None:
    feed, context = Feed(), Context()
    add(feed, build_switch_event(FRAME, miniport=1, source=VM1, destinations=[SwitchPort(n) for n in range(40)]))
    _, packets = decode(NdisCapProvider(context, facts()), feed)
    assert comments(context, packets)[0].endswith("port 15 and 24 ports more")


@pytest.mark.parametrize(("pointer_size", "kind"), [(8, EVENT64), (4, EVENT32)])
def test_vlan_tag_goes_back_into_the_frame(pointer_size: int, kind: int, backend: str) -> None:
    feed, context = Feed(), Context()
    for vlan, priority, dei in ((42, 5, 1), (0, 3, 0), (0, 0, 0), (0, 0, 1)):
        payload = build_switch_event(
            FRAME, miniport=1, source=VM1, vlan=vlan, priority=priority, dei=dei, pointer_size=pointer_size
        )
        add(feed, payload, kind=kind)
    buffer, packets = decode(NdisCapProvider(context, facts()), feed)
    assert frames(chunk(buffer, packets)) == [
        FRAME[:12] + bytes.fromhex("8100b02a") + FRAME[12:],
        FRAME[:12] + bytes.fromhex("81006000") + FRAME[12:],
        FRAME,
        FRAME,
    ]
    assert packets["original"].tolist() == [len(FRAME) + 4] * 2 + [len(FRAME)] * 2
    assert context.receipt.notes["vlan"].count == 2


def test_tag_without_a_place_in_the_bytes_is_said(backend: str) -> None:
    feed, context = Feed(), Context()
    add(feed, build_switch_event(FRAME[:11], miniport=1, source=VM1, vlan=2))
    buffer, packets = decode(NdisCapProvider(context, facts()), feed)
    assert frames(chunk(buffer, packets)) == [FRAME[:11]]
    assert context.receipt.notes["vlan-lost"].count == 1


def test_parts_of_a_switch_packet_join_with_tag_and_hash(backend: str) -> None:
    feed, context, known = Feed(), Context(), facts()
    for part, start, end in ((FRAME[:14], True, False), (FRAME[14:], False, True)):
        payload = build_switch_event(part, miniport=1, source=VM1, vlan=9, rss_hash=0xA1B2C3D4, destinations=[VM2])
        keyword = switch_keyword(sent=True, start=start, end=end)
        feed.add(EventId.VMSWITCH_PACKET_FRAGMENT, payload, keyword=keyword)
    frame_event = ndiscap_build.build_packet_event(FRAME, miniport=1)
    feed.add(EventId.PACKET_FRAGMENT, frame_event, keyword=ndiscap_build.packet_keyword(sent=True))
    buffer, packets = decode(NdisCapProvider(context, known), feed)
    laid = known.annex.lay_out(chunk(buffer, packets))
    assert frames(laid) == [FRAME[:12] + bytes.fromhex("81000009") + FRAME[12:], FRAME]
    at = int(laid.packets["options_offset"][0])
    assert laid.packets["options_length"].tolist() == [12, 0]
    assert laid.buffer[at : at + 12].tobytes() == struct.pack("<HHBI3x", 3, 5, 5, 0xA1B2C3D4)


def test_events_that_do_not_end_where_their_parts_end_are_damage(backend: str) -> None:
    good = build_switch_event(FRAME, miniport=1, source=VM1, destinations=[VM2])
    count_at = 12 + len("{port-7}VM1Synthetic") * 2 + 6
    more = good[:count_at] + struct.pack("<I", 0xFFFFFFFF) + good[count_at + 4 :]
    bad = [good[:-1], good + b"\0", more, good[:11], good[:30], b""]
    feed, context, known = Feed(), Context(), facts()
    for payload in [*bad, good]:
        add(feed, payload)
    buffer, packets = decode(NdisCapProvider(context, known), feed)
    assert frames(chunk(buffer, packets)) == [FRAME]
    assert known.description.damage_count == len(bad)


def test_event_without_out_of_band_data_is_a_plain_frame(backend: str) -> None:
    feed, context = Feed(), Context()
    add(feed, build_switch_event(FRAME, miniport=1, source=VM1, vlan=3, oob=False))
    buffer, packets = decode(NdisCapProvider(context, facts()), feed)
    assert frames(chunk(buffer, packets)) == [FRAME]


def test_header_process_is_no_sender_on_a_switch() -> None:
    feed = Feed()
    add(feed, build_switch_event(FRAME, miniport=1, source=VM1))
    _, packets = decode(NdisCapProvider(Context(), facts()), feed)
    assert packets["flags"].tolist() == [0]


def test_names_without_end_do_not_make_interfaces_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etwcap.providers.vmswitch.MOST_INTERFACES", 3)
    feed, context = Feed(), Context()
    for number in (0, 1, 2, 3, 4, 1):
        add(feed, build_switch_event(FRAME, miniport=1, source=SwitchPort(number)))
    _, packets = decode(NdisCapProvider(context, facts()), feed)
    assert packets["interface"].tolist() == [0, 1, 2, 3, 3, 1]
    assert context.interfaces[3].name == "vSwitch: further ports"


def test_tshark_reads_tag_hash_and_port(tmp_path: Path, tshark: str) -> None:
    feed, context = Feed(), Context()
    add(feed, build_switch_event(FRAME, miniport=1, source=VM1, destinations=[VM2], vlan=42, rss_hash=0x01020304))
    buffer, packets = decode(NdisCapProvider(context, facts()), feed)
    sink = PcapngSink(Output(str(tmp_path / "t.pcapng")), context, section=Section("", "", "", []))
    sink.write(chunk(buffer, packets))
    sink.finish()
    assert struct.pack("<HHBI", 3, 5, 5, 0x01020304) in (tmp_path / "t.pcapng").read_bytes()
    fields = [word for name in ("vlan.id", "frame.interface_name", "frame.comment") for word in ("-e", name)]
    command = [tshark, "-r", str(tmp_path / "t.pcapng"), "-T", "fields", *fields]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.rstrip("\n").split("\t") == ["42", "vSwitch: VM1 (port 7)", "to VM2 (port 3)"]


@given(st.data())
def test_kernel_and_twin_pass_over_the_same_texts(both_cores: None, data: st.DataObject) -> None:
    from etwcap.native import use_backend

    octets = data.draw(st.lists(st.sampled_from([0, 0, 0, 65]), max_size=60))
    buffer = np.array(octets, np.uint8)
    places = st.integers(0, len(octets))
    spans = [sorted(pair) for pair in data.draw(st.lists(st.tuples(places, places), min_size=1, max_size=5))]
    at, end = (np.array(column, np.int64) for column in zip(*spans, strict=True))
    counts = np.array(data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=len(at), max_size=len(at))), np.uint32)
    counts = np.where(counts % 2, counts, counts % 5).astype(np.uint32)
    lead, texts = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 3))
    got = {}
    for backend in ("native", "twin"):
        with use_backend(backend):
            got[backend] = [column.tolist() for column in skip_texts(buffer, at, end, counts, lead, texts)]
    assert got["native"] == got["twin"]


def test_a_span_outside_the_buffer_is_an_error(backend: str) -> None:
    one = np.ones(1, np.uint32)
    for at, end in ((0, 9), (-1, 2), (3, 2)):
        with pytest.raises(IndexError):
            skip_texts(np.zeros(8, np.uint8), np.array([at]), np.array([end]), one, 0, 1)


@given(st.binary(max_size=120))
def test_any_payload_gives_rows_inside_the_buffer_or_damage(payload: bytes) -> None:
    feed, known = Feed(), facts()
    add(feed, payload)
    add(feed, build_switch_event(FRAME, miniport=1, source=VM1)[: 30 + len(payload) % 150])
    buffer, packets = decode(NdisCapProvider(Context(), known), feed)
    assert (packets["offset"] + packets["captured"] <= buffer.size).all()
    assert len(packets) + known.description.damage_count == 2
