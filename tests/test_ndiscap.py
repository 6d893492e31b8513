"""NdisCap's event 1001 becomes rows: trailer, layers, link type, direction, process, snap length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.packets import Context, Mark
from etwcap.providers import ndiscap_build as build
from etwcap.providers.base import NetworkCard
from etwcap.providers.ndiscap import NdisCapProvider
from etwcap.providers.ndiscap_layout import EventId, Keyword
from event_feed import Feed, chunk, decode, facts, frames

FRAME = bytes(range(60))


def add(
    feed: Feed, fragment: bytes = FRAME, *, keyword: int | None = None, process: int = 1234, miniport: int = 8,
    lower: int | None = None, trailer: bool = True,
) -> None:  # fmt: skip
    payload = build.build_packet_event(fragment, miniport=miniport, lower=lower, trailer=trailer)
    keyword = build.packet_keyword(sent=True) if keyword is None else keyword
    feed.add(EventId.PACKET_FRAGMENT, payload, keyword=keyword, process=process)


def test_trailer_of_newer_builds_is_no_part_of_the_packet(backend: str) -> None:
    feed = Feed()
    add(feed, trailer=True)
    add(feed, trailer=False)
    buffer, packets = decode(NdisCapProvider(Context(), facts()), feed)
    assert frames(chunk(buffer, packets)) == [FRAME, FRAME]
    assert packets["identity"].tolist() == [0, 0]


def test_keyword_of_a_real_event_is_what_is_built() -> None:
    assert build.packet_keyword(sent=True, medium=Keyword.NATIVE_802_11) == 0x80000601C0010000


@pytest.mark.parametrize(
    ("medium", "link_type"),
    [
        (Keyword.ETHERNET, 1),
        (0x8, 1),
        (Keyword.NATIVE_802_11, 105),
        (Keyword.WIRELESS_WAN, 101),
        (Keyword.MEDIUM_IP, 101),
    ],
)
def test_link_type_comes_from_the_medium_bits(medium: int, link_type: int) -> None:
    feed = Feed()
    add(feed, keyword=build.packet_keyword(sent=False, medium=medium))
    context = Context()
    _, packets = decode(NdisCapProvider(context, facts()), feed)
    assert context.interfaces[int(packets["interface"][0])].link_type == link_type
    assert packets["direction"].tolist() == [1]


@pytest.mark.parametrize(
    ("sent", "process", "trusted"),
    [(True, 1234, True), (True, 0, False), (True, 4, False), (True, 0xFFFFFFFF, False), (False, 1234, False)],
)
def test_process_is_trusted_only_where_an_ordinary_one_sends(sent: bool, process: int, trusted: bool) -> None:
    feed = Feed()
    add(feed, keyword=build.packet_keyword(sent=sent), process=process)
    _, packets = decode(NdisCapProvider(Context(), facts()), feed)
    assert bool(packets["flags"][0] & Mark.PROCESS_TRUSTED) is trusted


def test_rank_counts_from_the_adapter_by_the_listed_layers() -> None:
    feed = Feed()
    feed.add(EventId.SOURCE_INFO, build.build_source_info(8, "Ethernet", [(21, "WFP"), (22, "QoS")]))
    for lower in (33, 22, 21, 8, 34):
        add(feed, lower=lower)
    context = Context()
    _, packets = decode(NdisCapProvider(context, facts()), feed)
    assert packets["rank"].tolist() == [128, 2, 1, 0, 129]
    assert packets["stack"].tolist() == [8] * 5
    assert [context.points[number].name for number in packets["point"]] == [
        "layer 33",
        "QoS",
        "WFP",
        "adapter Ethernet",
        "layer 34",
    ]
    assert [interface.name for interface in context.interfaces] == ["Ethernet"]


def test_interface_is_one_for_each_adapter_and_link_type() -> None:
    feed = Feed()
    add(feed, miniport=9)
    add(feed, miniport=8, keyword=build.packet_keyword(sent=True, medium=Keyword.NATIVE_802_11))
    add(feed, miniport=8)
    add(feed, miniport=9, lower=70)
    known = facts()
    known.cards[8] = NetworkCard(8, "Wi-Fi", "An adapter", mac=b"\x02Z\0\0\0\x10")
    context = Context()
    _, packets = decode(NdisCapProvider(context, known), feed)
    assert [interface.name for interface in context.interfaces] == ["Interface 9", "Wi-Fi (802.11)", "Wi-Fi"]
    assert packets["interface"].tolist() == [0, 1, 2, 0]
    assert [interface.reports for interface in context.interfaces] == [2, 1, 1]


@pytest.mark.parametrize("adapters", [3, 40])
def test_rows_of_many_adapters_find_their_own_interface(adapters: int) -> None:
    feed = Feed()
    for number in range(2 * adapters):
        add(feed, miniport=100 + number % adapters)
    context = Context()
    _, packets = decode(NdisCapProvider(context, facts()), feed)
    assert packets["stack"].tolist() == [100 + number % adapters for number in range(2 * adapters)]
    assert packets["interface"].tolist() == [number % adapters for number in range(2 * adapters)]


def test_snap_length_rule_stands_in_the_interface() -> None:
    feed = Feed()
    feed.add(EventId.CAPTURE_RULE, build.build_capture_rule(17, 3, (128).to_bytes(4, "little")))
    feed.add(EventId.CAPTURE_RULE, build.build_capture_rule(3, 3, b"\x01"))
    add(feed, keyword=build.packet_keyword(sent=True, truncated=True))
    context = Context()
    _, packets = decode(NdisCapProvider(context, facts()), feed)
    assert context.interfaces[0].snap_length == 128
    assert packets["flags"][0] & Mark.TRUNCATED
    assert packets["original"].tolist() == [len(FRAME)]


def test_fragment_longer_than_its_record_is_no_packet_but_damage() -> None:
    feed = Feed()
    payload = build.build_packet_event(FRAME, miniport=8, trailer=False)
    feed.add(EventId.PACKET_FRAGMENT, payload[:-1], keyword=build.packet_keyword(sent=True))
    feed.add(EventId.PACKET_FRAGMENT, payload[:11], keyword=build.packet_keyword(sent=True))
    feed.add(EventId.SOURCE_INFO, build.build_source_info(8, "Ethernet", [(1, "x")])[:-6])
    context, known = Context(), facts()
    _, packets = decode(NdisCapProvider(context, known), feed)
    assert len(packets) == 0
    assert known.description.damage_count == 3


@given(st.lists(st.tuples(st.sampled_from([1001, 1014, 1016, 5101]), st.binary(max_size=60)), max_size=8))
def test_any_bytes_give_rows_that_stay_inside_the_buffer(events: list[tuple[int, bytes]]) -> None:
    feed = Feed()
    for event_id, payload in events:
        feed.add(event_id, payload, keyword=build.packet_keyword(sent=True))
    context = Context()
    buffer, packets = decode(NdisCapProvider(context, facts()), feed)
    assert (packets["offset"] + packets["captured"] <= buffer.size).all()
    assert (packets["interface"] < len(context.interfaces)).all()
