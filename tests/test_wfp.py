"""WFP messages become raw IP packets: header, direction, flows, long messages, discards, loopback seen twice."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.packets import Chunk, Context, Mark
from etwcap.providers import wfp_build as build
from etwcap.providers.wfp import WfpProvider
from etwcap.providers.wfp_layout import EventId, Keyword
from etwcap.repair.loopback import WINDOW, LoopbackStage
from etwcap.sinks.output import Output
from etwcap.sinks.pcapng import PcapngSink, Section
from event_feed import START, Feed, chunk, decode, facts, frames

UDP = struct.pack(">HHHH", 1000, 53, 8 + 10, 0) + b"0123456789"
A4, B4 = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.7")
A6, B6 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
HERE4 = IPv4Address("127.0.0.1")


def add(
    feed: Feed,
    frame: bytes = UDP,
    *,
    source: build.Address = A4,
    destination: build.Address = B4,
    flow: int | None = None,
    sent: bool = True,
    time: int = 0,
    clear: bool = False,
) -> None:
    payload = build.build_message(frame, source=source, destination=destination, protocol=17, flow=flow)
    event = build.message_event_id(source.version, flow is not None)
    feed.add(event, payload, time=time, keyword=build.message_keyword(sent=sent, clear_ipsec=clear))


def ones_complement(header: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("flow", [None, 0x1122334455667788])
def test_ipv4_message_gets_a_header_with_a_right_checksum(flow: int | None, backend: str) -> None:
    feed, context = Feed(), Context()
    add(feed, flow=flow)
    buffer, packets = decode(WfpProvider(context, facts()), feed)
    (packet,) = frames(chunk(buffer, packets))
    assert packet[20:] == UDP
    assert packet[:10] == bytes.fromhex("4500 0026 0000 0000 40 11")
    assert packet[12:20] == A4.packed + B4.packed
    assert ones_complement(packet[:20]) == 0xFFFF
    assert packets["flow"].tolist() == [flow or 0]
    assert Mark(int(packets["flags"][0])) == Mark.HEADER_DECODED
    assert context.interfaces[0].link_type == 101


@pytest.mark.parametrize("flow", [None, 7])
def test_ipv6_message_gets_a_header(flow: int | None, backend: str) -> None:
    feed = Feed()
    add(feed, source=A6, destination=B6, flow=flow, sent=False)
    buffer, packets = decode(WfpProvider(Context(), facts()), feed)
    header = bytes.fromhex("60000000 0012 11 40") + A6.packed + B6.packed
    assert frames(chunk(buffer, packets)) == [header + UDP]
    assert packets["direction"].tolist() == [1]


def test_clear_ipsec_has_an_interface_of_its_own(backend: str) -> None:
    feed, context = Feed(), Context()
    for clear in (False, True, True):
        add(feed, clear=clear)
    _, packets = decode(WfpProvider(context, facts()), feed)
    assert [context.interfaces[number].name for number in packets["interface"]] == [
        "WFP", "WFP (clear IPsec)", "WFP (clear IPsec)",
    ]  # fmt: skip
    assert [interface.reports for interface in context.interfaces] == [1, 2]


def test_messages_of_all_kinds_keep_their_order(backend: str) -> None:
    feed = Feed()
    kinds: list[tuple[build.Address, build.Address, int | None]] = [
        (A6, B6, None),
        (A4, B4, 3),
        (A4, B4, None),
        (A6, B6, 4),
        (A4, B4, 5),
    ]
    for number, (source, destination, flow) in enumerate(kinds):
        add(feed, source=source, destination=destination, flow=flow, time=number)
    _, packets = decode(WfpProvider(Context(), facts()), feed)
    assert packets["time"].tolist() == [START + number for number in range(5)]
    assert packets["flow"].tolist() == [0, 3, 0, 4, 5]


def test_length_zero_means_the_rest_of_the_event(backend: str) -> None:
    feed = Feed()
    payload = bytearray(build.build_message(UDP, source=A4, destination=B4, protocol=17))
    payload[9:11] = b"\0\0"
    feed.add(EventId.MESSAGE_V4, bytes(payload), keyword=build.message_keyword(sent=True))
    buffer, packets = decode(WfpProvider(Context(), facts()), feed)
    assert frames(chunk(buffer, packets))[0][20:] == UDP


def test_messages_that_do_not_fit_are_damage(backend: str) -> None:
    feed, known = Feed(), facts()
    good = build.build_message(UDP, source=A4, destination=B4, protocol=17)
    for event, payload in (
        (EventId.MESSAGE_V4, good[:-1]),
        (EventId.MESSAGE_V4, good[:10]),
        (EventId.MESSAGE_V6, good),
        (EventId.FRAGMENT, bytes(9)),
        (EventId.FRAGMENT, struct.pack("<HII", 60011, 1, 5)),
        (EventId.ALE_V4, bytes(39)),
        (EventId.DISCARD, bytes(12)),
    ):
        feed.add(event, payload, keyword=build.message_keyword(sent=True))
    _, packets = decode(WfpProvider(Context(), known), feed)
    assert len(packets) == 0
    assert known.description.damage_count == 7


def long_message(feed: Feed, payload: bytes, *, event: int, group: int = 9, time: int = 0, size: int = 60_000) -> None:
    for number, (part, bits) in enumerate(build.build_fragments(payload, event=event, group=group, size=size)):
        feed.add(EventId.FRAGMENT, part, time=time + number, keyword=build.message_keyword(sent=True) | bits)


def test_long_messages_are_joined_and_get_their_header(backend: str) -> None:
    feed, known, context = Feed(), facts(), Context()
    body = random.Random(2).randbytes(65_000)
    six = build.build_message(body, source=A6, destination=B6, protocol=17, flow=5)
    four = build.build_message(UDP, source=A4, destination=B4, protocol=17)
    long_message(feed, six, event=EventId.MESSAGE_V6_FLOW)
    long_message(feed, four, event=EventId.MESSAGE_V4, group=10, time=5, size=7)
    buffer, packets = decode(WfpProvider(context, known), feed)
    laid = known.annex.lay_out(chunk(buffer, packets))
    first, second = frames(laid)
    assert first[40:] == body
    assert first[24:40] == B6.packed
    assert second[20:] == UDP
    assert ones_complement(second[:20]) == 0xFFFF
    assert laid.packets["flow"].tolist() == [5, 0]
    assert context.receipt.notes["fragments"].count == 2


def test_long_message_longer_than_its_length_word_is_taken_whole(backend: str) -> None:
    feed, known = Feed(), facts()
    body = bytes(70_000)
    payload = A4.packed + B4.packed + b"\x06" + struct.pack("<H", len(body) & 0xFFFF) + body
    long_message(feed, payload, event=EventId.MESSAGE_V4)
    buffer, packets = decode(WfpProvider(Context(), known), feed)
    laid = known.annex.lay_out(chunk(buffer, packets))
    (packet,) = frames(laid)
    assert len(packet) == 70_020
    assert packet[2:4] == b"\0\0"  # as Windows' large sends: no 16-bit length can say it
    assert ones_complement(packet[:20]) == 0xFFFF


def test_long_message_of_an_unknown_event_is_counted(backend: str) -> None:
    feed, known, context = Feed(), facts(), Context()
    long_message(feed, bytes(50), event=60099, size=20)
    _, packets = decode(WfpProvider(context, known), feed)
    assert len(packets) == 0
    assert context.receipt.notes["fragments-unknown"].count == 1


def test_authorisations_are_kept_once_with_path_and_addresses() -> None:
    feed = Feed()
    for source, destination, inbound in ((A4, B4, False), (A6, B6, True)):
        payload = build.build_ale(
            source=source, destination=destination, source_port=1000, destination_port=443, protocol=6, flow=77,
            process=1234, path="\\device\\harddiskvolume3\\a.exe", inbound=inbound, interface_luid=2**40,
        )  # fmt: skip
        feed.add(EventId.ALE_V4 if source.version == 4 else EventId.ALE_V6, payload, time=int(inbound))
    provider = WfpProvider(Context(), facts())
    for _ in range(2):
        provider.learn(feed.buffer, feed.records)
    table = provider.flows.table
    assert table["process"].tolist() == [1234, 1234]
    assert table["inbound"].tolist() == [False, True]
    assert table["destination_port"].tolist() == [443, 443]
    assert [provider.flows.paths[number] for number in table["path"]] == ["\\device\\harddiskvolume3\\a.exe"] * 2
    assert ip_address(bytes(table["source"][1].tobytes())) == A6
    assert table["source"][0].tobytes()[:4] == A4.packed
    assert table["time"].tolist() == [START, START + 1]


def test_flows_beyond_those_remembered_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etwcap.providers.wfp_flows.MOST_FLOWS", 3)
    feed, context = Feed(), Context()
    for number in range(5):
        payload = build.build_ale(
            source=A4, destination=B4, source_port=number, destination_port=443, protocol=6, flow=number, process=1
        )
        feed.add(EventId.ALE_V4, payload, time=number)
    provider = WfpProvider(context, facts())
    provider.learn(feed.buffer, feed.records)
    provider.finish()
    assert provider.flows.table["flow"].tolist() == [0, 1, 2]
    assert context.receipt.notes["wfp-flows"].count == 2


def test_discards_are_counted_by_reason() -> None:
    feed, context = Feed(), Context()
    for module, reason in ((0, 7), (0, 7), (2, 0), (1, 999), (9, 1)):
        feed.add(EventId.DISCARD, build.build_discard(module, reason), keyword=Keyword.DROPPED)
    provider = WfpProvider(context, facts())
    provider.learn(feed.buffer, feed.records)
    decode(provider, feed)
    provider.finish()
    assert {note.text.partition(", ")[2]: note.count for note in context.receipt.notes.values()} == {
        "network: no route": 2,
        "general: firewall policy": 1,
        "transport: reason 999": 1,
        "module 9: reason 1": 1,
    }


def kept(feeds: Sequence[Feed]) -> tuple[list[int], Context]:
    """Directions of the packets that are left, chunk by chunk."""
    context = Context()
    provider, stage = WfpProvider(context, facts()), LoopbackStage(context)
    left: list[int] = []
    for feed in feeds:
        buffer, packets = decode(provider, feed)
        left += stage.process(Chunk(buffer, packets, chunk(buffer, packets).events, 0)).packets["direction"].tolist()
    return left, context


def test_second_sighting_of_loopback_traffic_is_left_out(backend: str) -> None:
    feed = Feed()
    for number in range(3):
        for sent in (True, False):
            add(
                feed, UDP + bytes([number]), source=HERE4, destination=HERE4, sent=sent, time=number * 1000 + (not sent)
            )
    left, context = kept([feed])
    assert left == [2, 2, 2]
    assert context.receipt.notes["loopback"].count == 3


def test_messages_of_a_few_bytes_are_paired_too(backend: str) -> None:
    feed = Feed()
    for sent in (True, False):
        add(feed, b"\1\2\3\4", source=HERE4, destination=HERE4, sent=sent, time=int(not sent))
    assert kept([feed])[0] == [2]


def test_equal_packets_pair_one_to_one(backend: str) -> None:
    feed = Feed()
    for number, sent in enumerate((True, True, False, True, False, False, False)):
        add(feed, source=HERE4, destination=HERE4, sent=sent, time=number)
    left, _ = kept([feed])
    assert left == [2, 2, 2, 1]


def test_own_address_on_both_sides_is_loopback_too(backend: str) -> None:
    feed = Feed()
    for sent in (True, False):
        add(feed, source=A6, destination=B6, sent=sent)
    left, _ = kept([feed])
    assert left == [2]


def test_sightings_in_two_chunks_are_paired(backend: str) -> None:
    first, second = Feed(), Feed()
    add(first, source=HERE4, destination=HERE4, sent=True)
    add(second, source=HERE4, destination=HERE4, sent=False, time=10)
    add(second, source=HERE4, destination=HERE4, sent=False, time=20)
    left, _ = kept([first, second])
    assert left == [2, 1]


@pytest.mark.parametrize(
    ("destination", "frame", "gap"),
    [
        (IPv4Address("239.255.255.250"), UDP, 1),
        (IPv4Address("255.255.255.255"), UDP, 1),
        (HERE4, UDP + b"x", 1),
        (HERE4, UDP, WINDOW + 1),
    ],
)
def test_multicasts_other_bytes_and_late_ones_stay(
    destination: IPv4Address, frame: bytes, gap: int, backend: str
) -> None:
    feed = Feed()
    add(feed, source=HERE4, destination=destination, sent=True)
    add(feed, frame, source=HERE4, destination=destination, sent=False, time=gap)
    left, _ = kept([feed])
    assert left == [2, 1]


def test_requests_and_answers_of_one_direction_stay(backend: str) -> None:
    feed = Feed()
    for number in range(4):
        add(feed, sent=True, time=number)
        add(feed, source=B4, destination=A4, sent=False, time=number)
    left, context = kept([feed])
    assert len(left) == 8
    assert "loopback" not in context.receipt.notes


def test_packets_of_other_taps_stay(backend: str) -> None:
    context = Context()
    feed = Feed()
    for sent in (True, False):
        add(feed, source=HERE4, destination=HERE4, sent=sent)
    buffer, packets = decode(WfpProvider(context, facts()), feed)
    context.interfaces[0].tap = "pktmon"
    assert len(LoopbackStage(context).process(chunk(buffer, packets)).packets) == 2


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.booleans()), max_size=24), st.integers(0, 24))
def test_pairs_are_those_of_two_queues(history: list[tuple[bool, int, bool]], cut: int) -> None:
    feeds = [Feed(), Feed()]
    for number, (sent, kind, _) in enumerate(history):
        feed = feeds[number >= cut]
        add(feed, UDP + bytes([kind]), source=HERE4, destination=HERE4, sent=sent, time=number)
    left, _ = kept([feed for feed in feeds if feed.rows])
    waiting: dict[tuple[int, bool], int] = {}
    wanted = []
    for sent, kind, _ in history:
        if waiting.get((kind, not sent)):
            waiting[kind, not sent] -= 1
        else:
            waiting[kind, sent] = waiting.get((kind, sent), 0) + 1
            wanted.append(2 if sent else 1)
    assert left == wanted


@given(
    st.lists(
        st.tuples(st.sampled_from([*EventId, 1]), st.binary(max_size=90), st.integers(0, 2**44)),
        max_size=10,
    )
)
def test_any_bytes_give_rows_inside_the_buffer(events: list[tuple[int, bytes, int]]) -> None:
    feed, known, context = Feed(), facts(), Context()
    for event, payload, keyword in events:
        feed.add(event, payload, keyword=keyword)
    provider = WfpProvider(context, known)
    for _ in range(2):
        buffer, packets = decode(provider, feed)
        laid = known.annex.lay_out(chunk(buffer, packets))
        assert (laid.packets["offset"] >= 0).all()
        assert (laid.packets["offset"] + laid.packets["captured"] <= laid.buffer.size).all()
        LoopbackStage(context).process(laid)
    provider.finish()


def test_tshark_finds_every_checksum_right(tmp_path: Path, tshark: str) -> None:
    feed, context = Feed(), Context()
    for number in range(50):
        add(feed, UDP, source=IPv4Address(random.Random(number).getrandbits(31) | 1), destination=B4, time=number)
        add(feed, UDP, source=A6, destination=B6, time=number)
    buffer, packets = decode(WfpProvider(context, facts()), feed)
    sink = PcapngSink(Output(str(tmp_path / "t.pcapng")), context, section=Section("", "", "", []))
    sink.write(chunk(buffer, packets))
    sink.finish()
    command = [tshark, "-r", str(tmp_path / "t.pcapng"), "-o", "ip.check_checksum:TRUE", "-T", "fields"]
    fields = ["-e", "ip.checksum.status", "-e", "udp.dstport", "-e", "_ws.expert"]
    done = subprocess.run([*command, *fields], check=True, capture_output=True, text=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == 100
    assert {row[0] for row in rows[::2]} == {"1"}
    assert {row[1] for row in rows} == {"53"}
    assert len(np.unique(packets["interface"])) == 1


GAP = WINDOW // 4


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.integers(0, 5)), max_size=40), st.data())
def test_pairs_do_not_depend_on_where_a_live_stream_is_cut(history: list[tuple[bool, int, int]], data: Any) -> None:
    """Each sighting goes with the oldest of the other direction that waits and is not further than the window."""
    now, expected = 0, list[int]()
    waiting: list[tuple[int, int, bool]] = []
    cuts = data.draw(st.sets(st.integers(0, len(history)), max_size=6))
    feeds = [Feed()]
    for number, (sent, kind, gap) in enumerate(history):
        now += gap * GAP
        if number in cuts:
            feeds.append(Feed())
        add(feeds[-1], UDP + bytes([kind]), source=HERE4, destination=HERE4, sent=sent, time=now)
        other = [each for each in waiting if each[1:] == (kind, not sent) and now - each[0] <= WINDOW]
        if other:
            waiting.remove(other[0])
        else:
            waiting.append((now, kind, sent))
            expected.append(2 if sent else 1)
    left, _ = kept([feed for feed in feeds if feed.rows])
    assert left == expected


def test_one_sighting_that_is_missing_does_not_shift_the_pairs_of_a_long_run(backend: str) -> None:
    feed = Feed()
    for number in range(200):
        for sent in (True, False):
            if sent or number != 5:
                add(feed, source=HERE4, destination=HERE4, sent=sent, time=number * GAP + (not sent))
    left, _ = kept([feed])
    assert left == [2] * 200
