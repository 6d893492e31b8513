"""PktMon's packet events become rows: link type, ids, direction, drops, lengths, interfaces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.packets import Context, Mark
from etwcap.providers import pktmon_build as build
from etwcap.providers.base import NetworkCard
from etwcap.providers.pktmon import PktMonProvider
from etwcap.providers.pktmon_layout import Direction, EventId, PacketType
from event_feed import (
    ADAPTER,
    HIGH_FILTER,
    IP_INTERFACE,
    LOWER,
    MINIPORT,
    NWIFI,
    PROTOCOL,
    UPPER,
    Feed,
    chunk,
    decode,
    facts,
    frames,
    learn_wifi_stack,
)
from frames import HOST, RESOLVER, UDP, framed, ip, udp, wifi

PACKET = ip(HOST, RESOLVER, UDP, udp(50000, 53, b"question"))
ETHERNET = framed(PACKET, sent=True).frame
WIFI = wifi(ETHERNET, sent=True)


def flow(feed: Feed, payload: bytes = ETHERNET, **fields: int) -> None:
    feed.add(EventId.FLOW_PAYLOAD, build.build_packet_event(payload, **fields))


def test_content_is_told_by_the_place_whatever_the_tag() -> None:
    feed = Feed()
    learn_wifi_stack(feed)
    for component, edge, payload in ((MINIPORT, 1, WIFI), (NWIFI, LOWER, WIFI), (NWIFI, UPPER, ETHERNET),
                                     (HIGH_FILTER, LOWER, ETHERNET), (PROTOCOL, 1, ETHERNET)):  # fmt: skip
        flow(feed, payload, component_id=component, edge_id=edge, packet_type=PacketType.WIFI)
    context = Context()
    _, packets = decode(PktMonProvider(context, facts()), feed)
    assert [context.interfaces[number].link_type for number in packets["interface"]] == [105, 105, 1, 1, 1]
    assert packets["rank"].tolist() == [0, 3, 4, 5, 7]
    names = [context.points[number].name for number in packets["point"]]
    assert names == ["wlan.sys Upper", "nwifi.sys Lower", "nwifi.sys Upper", "npcap.sys Lower", "tcpip.sys Lower"]


@pytest.mark.parametrize("protected", [False, True])
@pytest.mark.parametrize("qos", [False, True])
def test_content_is_told_by_the_bytes_where_the_place_is_not_known(qos: bool, protected: bool) -> None:
    null = b"\x48\x01" + bytes(22)
    odd = ETHERNET[:12] + b"\x83\x00" + b"payload of a type that nobody knows"
    feed = Feed()
    for payload in (wifi(ETHERNET, sent=True, qos=qos, protected=protected), null, ETHERNET, odd, b"\x88\x00"):
        flow(feed, payload, packet_type=PacketType.WIFI)
    flow(feed, WIFI[:28], packet_type=PacketType.WIFI, original=len(WIFI))
    context = Context()
    _, packets = decode(PktMonProvider(context, facts()), feed)
    assert [context.interfaces[number].name for number in packets["interface"]] == [
        "PktMon (802.11)", "PktMon (802.11)", "PktMon (Ethernet)", "PktMon (Ethernet)", "PktMon (Ethernet)",
        "PktMon (802.11)",
    ]  # fmt: skip
    assert packets["stack"].tolist() == [-1] * 6
    assert packets["rank"].tolist() == [255] * 6


def test_direction_comes_from_the_tag_and_never_from_the_keyword() -> None:
    feed = Feed()
    for tag in (*Direction, 4711):
        feed.add(EventId.FLOW_PAYLOAD, build.build_packet_event(ETHERNET, direction=tag), keyword=0x100000010)
    _, packets = decode(PktMonProvider(Context(), facts()), feed)
    assert packets["direction"].tolist() == [0, 1, 2, 1, 2, 1, 2, 0]


def test_process_is_given_but_never_trusted() -> None:
    feed = Feed()
    feed.add(EventId.FLOW_PAYLOAD, build.build_packet_event(ETHERNET, direction=Direction.TX), process=999)
    _, packets = decode(PktMonProvider(Context(), facts()), feed)
    assert packets["process"].tolist() == [999]
    assert not packets["flags"].any()


def test_ids_identify_a_packet_only_where_sightings_share_them() -> None:
    feed = Feed()
    group = 3 << 48 | 77
    for number, appearance in ((1, 1), (1, 2), (2, 1), (33, 1), (33, 2), (1, 0)):
        flow(feed, group=group, number=number, appearance=appearance)
    flow(feed, group=2048 << 48 | 1, number=1, appearance=1)
    _, packets = decode(PktMonProvider(Context(), facts()), feed)
    ids = packets["packet_id"].tolist()
    assert ids == [group, group, group | 1 << 59, 0, 0, group, 0]
    identity = packets["identity"].tolist()
    assert identity[0] == identity[1]
    assert identity[3] == identity[4]
    assert identity[5] == 0
    assert len({*identity}) == 5
    assert all(identity[:5])


def test_bare_upper_layer_message_gets_wireshark_tags_in_front() -> None:
    feed = Feed()
    for kind in (PacketType.HTTP, PacketType.TCP, PacketType.UNKNOWN):
        flow(feed, b"payload", packet_type=kind)
    context = Context()
    buffer, packets = decode(PktMonProvider(context, facts()), feed)
    tags = b"\0\x0c\0\x04%s\0\0\0\0payload"
    assert frames(chunk(buffer, packets)) == [tags % b"http", tags % b"tcp\0", tags % b"data"]
    assert packets["original"].tolist() == [19, 19, 19]
    assert [interface.link_type for interface in context.interfaces] == [252]


def test_truncated_packet_keeps_its_original_length() -> None:
    feed = Feed()
    flow(feed, ETHERNET, original=1484)
    flow(feed, ETHERNET, original=10)
    _, packets = decode(PktMonProvider(Context(), facts()), feed)
    assert packets["original"].tolist() == [1484, len(ETHERNET)]
    assert packets["flags"].tolist() == [0, Mark.LENGTH_IMPLAUSIBLE]


def test_event_longer_than_its_record_is_no_packet_but_damage() -> None:
    feed = Feed()
    whole = build.build_packet_event(ETHERNET)
    feed.add(EventId.FLOW_PAYLOAD, whole[:-1])
    feed.add(EventId.FLOW_PAYLOAD, whole)
    feed.add(EventId.DROP_PAYLOAD, whole[:33])
    context, known = Context(), facts()
    buffer, packets = decode(PktMonProvider(context, known), feed)
    assert frames(chunk(buffer, packets)) == [ETHERNET]
    assert known.description.damage_count == 2
    assert context.receipt.notes["malformed"].count == 2


def test_drop_has_reason_location_and_a_count() -> None:
    feed = Feed()
    learn_wifi_stack(feed)
    rebuilt = PACKET[:1] + bytes([0]) + PACKET[2:4] + b"\0\0" + PACKET[6:8] + b"\x01\x11\0\0" + PACKET[12:]
    fields = {"component_id": IP_INTERFACE, "packet_type": PacketType.IP, "drop_reason": 1207}
    for payload, location in ((rebuilt, 0xE0004600), (PACKET, 0xE0004600), (rebuilt, 0xE0004138)):
        feed.add(EventId.DROP_PAYLOAD, build.build_packet_event(payload, drop_location=location, **fields))
    flow(feed, component_id=PROTOCOL, edge_id=1)
    context = Context()
    _, packets = decode(PktMonProvider(context, facts()), feed)
    assert packets["drop_count"].tolist() == [1, 1, 1, 0]
    assert packets["drop_reason"].tolist() == [1207, 1207, 1207, 0]
    assert packets["drop_location"].tolist() == [0xE0004600, 0xE0004600, 0xE0004138, 0]
    assert packets["flags"].tolist() == [Mark.HEADER_REBUILT, 0, 0, 0]
    raw = context.interfaces[int(packets["interface"][0])]
    assert (raw.link_type, raw.drops, raw.reports) == (101, 3, 3)


def test_interface_is_named_by_the_card_and_told_apart_by_link_type() -> None:
    feed = Feed()
    learn_wifi_stack(feed)
    flow(feed, WIFI, component_id=MINIPORT, edge_id=1, packet_type=PacketType.WIFI)
    flow(feed, component_id=PROTOCOL, edge_id=1)
    known = facts()
    known.cards[ADAPTER] = NetworkCard(ADAPTER, "Wi-Fi", "An adapter", mac=b"\x02Z\0\0\0\x10", receive_speed=10**9)
    context = Context()
    decode(PktMonProvider(context, known), feed)
    assert [interface.name for interface in context.interfaces] == ["Wi-Fi (802.11)", "Wi-Fi"]
    ethernet = context.interfaces[1]
    assert (ethernet.speed, ethernet.mac, ethernet.if_index) == (10**9, b"\x02Z\0\0\0\x10", ADAPTER)
    assert ethernet.os == "Windows 10.0.26100.1"


def test_missing_ids_count_as_lost_reports() -> None:
    feed = Feed()
    for counter in (5, 6, 9):
        flow(feed, group=1 << 48 | counter)
        flow(feed, group=counter, number=2, appearance=1)
    flow(feed, group=2 << 48 | 1, appearance=1)
    flow(feed, group=2 << 48 | 1, appearance=2)
    flow(feed, group=2 << 48 | 2, appearance=1)
    known = facts()
    provider = PktMonProvider(Context(), known)
    decode(provider, feed)
    provider.finish()
    assert known.description.losses.report_gaps == 2


@given(st.lists(st.tuples(st.sampled_from([160, 170]), st.binary(max_size=120)), max_size=8))
def test_any_bytes_give_rows_that_stay_inside_the_buffer(events: list[tuple[int, bytes]]) -> None:
    feed = Feed()
    for event_id, payload in events:
        feed.add(event_id, payload)
    context = Context()
    buffer, packets = decode(PktMonProvider(context, facts()), feed)
    assert (packets["offset"] >= 0).all()
    assert (packets["offset"] + packets["captured"] <= buffer.size).all()
    assert (packets["captured"] <= packets["original"]).all()
    assert (packets["interface"] < len(context.interfaces)).all()


@given(st.binary(max_size=300), st.integers(0, 2**64 - 1), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_what_is_built_is_what_is_read(payload: bytes, group: int, component: int, appearance: int) -> None:
    feed = Feed()
    flow(feed, payload, group=group, component_id=component, edge_id=component, appearance=appearance)
    buffer, packets = decode(PktMonProvider(Context(), facts()), feed)
    assert frames(chunk(buffer, packets)) == [payload]
    assert packets["appearance"].tolist() == [appearance]
    assert (packets["identity"] != 0).tolist() == [appearance > 0]


def test_both_back_ends_give_the_same_rows(backend: str) -> None:
    feed = Feed()
    learn_wifi_stack(feed)
    flow(feed, WIFI, component_id=MINIPORT, edge_id=1, packet_type=PacketType.WIFI, group=7, appearance=1)
    _, packets = decode(PktMonProvider(Context(), facts()), feed)
    row = {name: int(packets[name][0]) for name in ("captured", "identity", "stack", "rank", "direction")}
    assert row == {"captured": len(WIFI), "identity": 8, "stack": ADAPTER, "rank": 0, "direction": 1}
    assert packets["time"].dtype == np.int64
