"""The component tree of PktMon: what its events say, and the order of a stack."""

from __future__ import annotations

import uuid
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.providers import pktmon_build as build
from etwcap.providers.pktmon_components import ComponentTree
from etwcap.providers.pktmon_layout import ComponentType, EventId, Property
from event_feed import (
    ADAPTER,
    HIGH_FILTER,
    IP_INTERFACE,
    LOW_FILTER,
    LOWER,
    MINIPORT,
    NWIFI,
    PROTOCOL,
    UPPER,
    Feed,
    learn_wifi_stack,
)

MAC = bytes.fromhex("025a00000010")


def tree_of(feed: Feed) -> ComponentTree:
    tree = ComponentTree()
    for row in feed.records:
        start, end = int(row["offset"]) + int(row["payload"]), int(row["offset"]) + int(row["size"])
        assert tree.learn(int(row["id"]), bytes(feed.data[start:end]))
    return tree


@pytest.fixture(params=[False, True], ids=["builds to 22621", "builds from 26100"])
def wifi_tree(request: pytest.FixtureRequest) -> ComponentTree:
    feed = Feed()
    learn_wifi_stack(feed, new_build=request.param)
    return tree_of(feed)


def test_rank_counts_from_the_miniport_upwards(wifi_tree: ComponentTree) -> None:
    upwards = [(MINIPORT, 1), (LOW_FILTER, LOWER), (LOW_FILTER, UPPER), (NWIFI, LOWER), (NWIFI, UPPER),
               (HIGH_FILTER, LOWER), (HIGH_FILTER, UPPER), (PROTOCOL, 1)]  # fmt: skip
    places = [wifi_tree.place(*at) for at in upwards]
    assert [place.rank for place in places] == list(range(8))
    assert {place.stack for place in places} == {ADAPTER}
    assert [place.wifi for place in places] == [True] * 4 + [False] * 4


def test_edge_of_a_drop_has_no_rank_and_no_content_of_its_own(wifi_tree: ComponentTree) -> None:
    for component in (MINIPORT, IP_INTERFACE):
        place = wifi_tree.place(component, 0)
        assert (place.stack, place.rank, place.wifi) == (ADAPTER, 255, None)


def test_unknown_component_and_edge_are_no_error(wifi_tree: ComponentTree) -> None:
    assert wifi_tree.place(4711, 3).stack == -1
    assert wifi_tree.place(NWIFI, 9).rank == 255
    assert wifi_tree.place(NWIFI, 9).stack == ADAPTER


def test_boolean_properties_keep_only_their_low_byte() -> None:
    tree = ComponentTree()
    tree.learn(EventId.PROPERTY_U32, build.build_property(3, Property.OPT_DATA_PATH, 0xFFFFF801))
    tree.learn(EventId.PROPERTY_U32, build.build_property(3, Property.IF_INDEX, 0x1F801))
    assert tree.components[3].properties == {Property.OPT_DATA_PATH: 1, Property.IF_INDEX: 0x1F801}


def test_properties_may_come_before_their_component() -> None:
    tree = ComponentTree()
    guid = uuid.uuid4()
    tree.learn(EventId.PROPERTY_PHYS_ADDRESS, build.build_phys_address(3, MAC))
    tree.learn(EventId.PROPERTY_GUID, build.build_guid(3, guid))
    tree.learn(EventId.PROPERTY_SWITCH_NAME, build.build_switch_name(3, "Default Switch"))
    tree.learn(EventId.PROPERTY_ETHER_TYPE, build.build_ether_type(3, 0x86DD))
    for address in (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"), IPv4Address(0)):
        kind = EventId.PROPERTY_IPV4 if address.version == 4 else EventId.PROPERTY_IPV6
        tree.learn(kind, build.build_ip_address(3, address))
    tree.learn(EventId.DROP_COUNTERS, build.build_drop_counters(3, 1, 2, 3, 4))
    tree.learn(EventId.PROPERTY_U32, build.build_property(3, Property.IF_INDEX, 9))
    tree.learn(EventId.COMPONENT, build.build_component(3, ComponentType.MINIPORT, "NULL", "An adapter"))
    component = tree.components[3]
    assert (component.type, component.title, component.mac) == (ComponentType.MINIPORT, "An adapter", MAC)
    assert (component.if_guid, component.switch_name, component.ether_types) == (guid, "Default Switch", [0x86DD])
    assert component.drops is not None
    assert (component.drops.packets_in, component.drops.bytes_out) == (1, 4)
    assert tree.addresses(9) == [IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")]
    assert tree.adapter_component(9) is component


def test_vf_adapter_shares_the_stack_of_its_netvsc_and_ranks_behind_it() -> None:
    tree = ComponentTree()
    parts = [(1, ComponentType.MINIPORT, "mlx5.sys", {Property.IF_INDEX: 24}),
             (2, ComponentType.NETVSC, "netvsc.sys", {Property.IF_INDEX: 5, Property.LOWEST_IF_INDEX: 24}),
             (3, ComponentType.MINIPORT, "netvsc.sys", {Property.IF_INDEX: 5}),
             (4, ComponentType.FILTER, "xdp.sys", {Property.IF_INDEX: 31, Property.MINIPORT_IF_INDEX: 5})]  # fmt: skip
    for number, kind, name, properties in parts:
        tree.learn(EventId.COMPONENT, build.build_component(number, kind, name))
        for key, value in properties.items():
            tree.learn(EventId.PROPERTY_U32, build.build_property(number, key, value))
        tree.learn(EventId.FLOW_COUNTERS, build.build_flow_counters(number, 1, "Edge"))
    places = [tree.place(number, 1) for number in (3, 2, 1, 4)]
    assert [place.rank for place in places] == [0, 1, 2, 3]
    assert [place.stack for place in places] == [5, 5, 5, 5]
    assert [place.adapter for place in places] == [5, 5, 24, 5]


def test_port_of_a_virtual_switch_is_a_stack_of_its_own() -> None:
    tree = ComponentTree()
    for number in (1, 2):
        tree.learn(EventId.COMPONENT, build.build_component(number, ComponentType.VMS_VM_NIC, "vmswitch.sys"))
        tree.learn(EventId.PROPERTY_U32, build.build_property(number, Property.VMS_EXT_IF_INDEX, 5))
        tree.learn(EventId.FLOW_COUNTERS, build.build_flow_counters(number, 1, "Upper"))
    assert tree.place(1, 1).rank == tree.place(2, 1).rank == 0
    assert tree.place(1, 1).stack != tree.place(2, 1).stack


def test_filters_whose_indexes_run_in_a_circle_are_still_placed() -> None:
    tree = ComponentTree()
    for number, lower in ((1, 12), (2, 11)):
        tree.learn(EventId.COMPONENT, build.build_component(number, ComponentType.FILTER, "loop.sys"))
        for key, value in (
            (Property.IF_INDEX, 10 + number),
            (Property.MINIPORT_IF_INDEX, 5),
            (Property.LOWER_IF_INDEX, lower),
        ):
            tree.learn(EventId.PROPERTY_U32, build.build_property(number, key, value))
        tree.learn(EventId.FLOW_COUNTERS, build.build_flow_counters(number, 2, "Lower"))
    assert sorted(tree.place(number, 2).rank for number in (1, 2)) == [0, 1]


def test_filter_reads_as_pktmon_takes_it() -> None:
    tree = ComponentTree()
    tree.learn(EventId.FILTER_IPV4, build.build_filter(1, "web", mac1=MAC, ip1=IPv4Address("192.0.2.1"),
               transport_protocol=6, port1=80, port2=443))  # fmt: skip
    six = IPv6Address("2001:db8::1")
    tree.learn(EventId.FILTER_IPV6, build.build_filter(2, ip1=six, ip2=IPv6Address(0), ether_type=0x86DD, vlan_id=7))
    assert tree.filter_text() == (
        "web -m 02-5A-00-00-00-10 -t TCP -i 192.0.2.1 -p 80 443 | -v 7 -d 0x86DD -i 2001:db8::1"
    )


def test_filter_has_the_size_seen_in_real_traces() -> None:
    assert len(build.build_filter(1, "eth3")) == 42


@given(st.sampled_from([*EventId]), st.binary(max_size=80))
def test_no_payload_is_an_error(event_id: int, payload: bytes) -> None:
    tree = ComponentTree()
    tree.learn(event_id, payload)
    tree.filter_text()
    for component in list(tree.components):
        tree.place(component, 1)


def test_short_event_is_refused_and_leaves_no_component() -> None:
    tree = ComponentTree()
    assert not tree.learn(EventId.PROPERTY_U32, build.build_property(3, 1, 2)[:-1])
    assert not tree.learn(EventId.PROPERTY_PHYS_ADDRESS, build.build_phys_address(3, MAC)[:-1])
    assert not tree.components
