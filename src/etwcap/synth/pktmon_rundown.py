"""What PktMon writes when it is stopped: components with their properties and counters, as builds 19042 to 26100 do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import PacketTable
from etwcap.packets.linktypes import ETHERNET, IEEE802_11, RAW_IP
from etwcap.providers import pktmon_build as payloads
from etwcap.providers.pktmon_layout import ComponentType, EventId, Property
from etwcap.synth.machine import FILTERS, Adapter

UPPER, LOWER = 1, 2
FIRST_COMPONENT, COMPONENTS_EACH = 10, 64
_PROTOCOLS_AT, _IP_INTERFACE_AT = 40, 50
_MEDIA = {ETHERNET: 0, IEEE802_11: 16, RAW_IP: 9}
_LAST_WITH_MEDIUM_EVENT = 22621
"""Up to here NdisMedium comes in event 60, from 26100 on in event 30."""
_LAST_WITHOUT_IP_INTERFACES = 19045
_DRIVERS = {ETHERNET: "madegig.sys", IEEE802_11: "madewifi.sys", RAW_IP: "madewwan.sys"}
_PROTOCOLS = (("TCPIP", (0x0800, 0x0806)), ("TCPIP6", (0x86DD,)))


@dataclass(frozen=True, slots=True)
class Stack:
    """An adapter and the components on it."""

    adapter: Adapter
    miniport: int
    filters: tuple[int, ...]
    """from the wire up"""
    protocols: dict[int, int]
    """component by EtherType; empty where nothing above the filters sees a packet"""
    ip_interface: int

    @property
    def points(self) -> list[tuple[int, int]]:
        """(component, edge) from the wire up, without the protocols."""
        return [(self.miniport, UPPER), *((each, edge) for each in self.filters for edge in (LOWER, UPPER))]


@dataclass(slots=True)
class Traffic:
    """Packets and bytes by point and direction: PktMon's counters."""

    counts: dict[int, list[int]] = field(default_factory=dict)

    def add(self, rows: PacketTable, wanted: NDArray[np.bool_]) -> None:
        """Count those rows at their ``point``."""
        if not wanted.any():
            return
        kind = rows["point"][wanted].astype(np.int64) * 2 + (rows["direction"][wanted] == 2)
        size = rows["original"][wanted]
        found, back = np.unique(kind, return_inverse=True)
        packets = np.bincount(back)
        octets = np.bincount(back, weights=size)
        for each, number, total in zip(found.tolist(), packets.tolist(), octets.tolist(), strict=True):
            held = self.counts.setdefault(each >> 1, [0, 0, 0, 0])
            held[each & 1] += number
            held[2 + (each & 1)] += int(total)

    def of(self, component: int, edge: int = 0) -> tuple[int, int, int, int]:
        """Packets in, bytes in, packets out, bytes out."""
        received, sent, bytes_in, bytes_out = self.counts.get(component << 8 | edge, (0, 0, 0, 0))
        return received, bytes_in, sent, bytes_out


def stacks(adapters: Sequence[Adapter], appearances: int) -> list[Stack]:
    """The stack of each adapter: the miniport, then filters, then the protocols, ``appearances`` components in all.

    802.11 frames go no higher than the filters, as in network monitor mode.
    """
    found = []
    for number, adapter in enumerate(adapters):
        base = FIRST_COMPONENT + COMPONENTS_EACH * number
        wifi = adapter.link_type == IEEE802_11
        filters = tuple(base + 1 + each for each in range(max(appearances - (1 if wifi else 2), 0)))
        protocols: dict[int, int] = {}
        if appearances > 1 and not wifi:
            for which, (_, ether_types) in enumerate(_PROTOCOLS):
                protocols |= dict.fromkeys(ether_types, base + _PROTOCOLS_AT + which)
        found.append(Stack(adapter, base, filters, protocols, base + _IP_INTERFACE_AT))
    return found


def rundown(tree: Sequence[Stack], build: int, flow: Traffic, dropped: Traffic) -> Iterator[tuple[int, bytes]]:
    """(event id, payload) of the whole rundown."""
    for stack in tree:
        yield from _miniport(stack, build)
        yield from _counters(stack.miniport, {UPPER: "Upper"}, flow, dropped)
        for number, component in enumerate(stack.filters):
            yield from _filter(stack, number)
            yield from _counters(component, {UPPER: "Upper", LOWER: "Lower"}, flow, dropped)
        for which, (title, ether_types) in enumerate(_PROTOCOLS):
            component = stack.miniport + _PROTOCOLS_AT + which
            yield EventId.COMPONENT, payloads.build_component(component, ComponentType.PROTOCOL, "tcpip.sys", title)
            for ether_type in ether_types:
                yield EventId.PROPERTY_ETHER_TYPE, payloads.build_ether_type(component, ether_type)
            numbers = {Property.MINIPORT_IF_INDEX: stack.adapter.if_index, Property.NDIS_OBJECT: 1}
            yield from _numbers(component, numbers)
            yield from _counters(component, {1: "Lower"}, flow, dropped)
        if build > _LAST_WITHOUT_IP_INTERFACES:
            yield from _ip_interface(stack)
            yield from _counters(stack.ip_interface, {}, flow, dropped)


def _miniport(stack: Stack, build: int) -> Iterator[tuple[int, bytes]]:
    adapter, component = stack.adapter, stack.miniport
    driver = _DRIVERS[adapter.link_type]
    yield (
        EventId.COMPONENT,
        payloads.build_component(component, ComponentType.MINIPORT, driver, adapter.description),
    )
    yield EventId.PROPERTY_PHYS_ADDRESS, payloads.build_phys_address(component, adapter.mac)
    medium = _MEDIA[adapter.link_type]
    if build <= _LAST_WITH_MEDIUM_EVENT:
        yield EventId.PROPERTY_NDIS_MEDIUM, payloads.build_ndis_medium(component, medium)
    else:
        yield from _numbers(component, {Property.NDIS_MEDIUM: medium})
    yield from _numbers(component, {Property.IF_INDEX: adapter.if_index})
    yield EventId.PROPERTY_GUID, payloads.build_guid(component, adapter.guid)
    yield from _numbers(component, {Property.NDIS_OBJECT: 1})


def _filter(stack: Stack, number: int) -> Iterator[tuple[int, bytes]]:
    component, own = stack.filters[number], stack.adapter.if_index + 1 + number
    driver, title = FILTERS[number % len(FILTERS)]
    yield EventId.COMPONENT, payloads.build_component(component, ComponentType.FILTER, driver, title)
    numbers = {Property.IF_INDEX: own, Property.MINIPORT_IF_INDEX: stack.adapter.if_index}
    if number:
        numbers[Property.LOWER_IF_INDEX] = own - 1
    yield from _numbers(component, numbers | {Property.OPT_DATA_PATH: 0, Property.NDIS_OBJECT: 1})


def _ip_interface(stack: Stack) -> Iterator[tuple[int, bytes]]:
    component = stack.ip_interface
    yield (
        EventId.COMPONENT,
        payloads.build_component(component, ComponentType.IP_INTERFACE, "tcpip.sys", "TCP/IPv4 - L3/L4"),
    )
    for text in stack.adapter.addresses:
        address = ip_address(text)
        event = EventId.PROPERTY_IPV4 if address.version == 4 else EventId.PROPERTY_IPV6
        yield event, payloads.build_ip_address(component, address)
    yield from _numbers(component, {Property.IP_IF_INDEX: stack.adapter.if_index, Property.COMPARTMENT_ID: 1})


def _numbers(component: int, numbers: dict[Property, int]) -> Iterator[tuple[int, bytes]]:
    for kind, value in numbers.items():
        yield EventId.PROPERTY_U32, payloads.build_property(component, kind, value)


def _counters(component: int, edges: dict[int, str], flow: Traffic, dropped: Traffic) -> Iterator[tuple[int, bytes]]:
    yield EventId.DROP_COUNTERS, payloads.build_drop_counters(component, *dropped.of(component))
    for edge, name in edges.items():
        counted = flow.of(component, edge)
        yield EventId.FLOW_COUNTERS, payloads.build_flow_counters(component, edge, name, *counted)
