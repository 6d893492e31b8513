"""The component tree of a PktMon trace: components with properties, edges and counters, filters, the order of a stack.

Windows writes these events when the capture stops, so they carry times after every packet's. The rules of order were
checked on real traces of builds 19042 to 26200.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from etwcap.providers.pktmon_layout import NDIS_MEDIUM_NATIVE_802_11, ComponentType, EventId, Property

UNKNOWN_RANK: Final = 255
_HIGHEST_RANK: Final = 254
OWN_STACK: Final = 1 << 24
"""Stacks from here on are components that belong to no adapter's stack (ports of a virtual switch). Interface
indexes are smaller: the index within a NET_LUID has 24 bits."""

_BOOLEANS: Final = frozenset({Property.OPT_DATA_PATH, Property.NDIS_OBJECT})
"""On build 19042 only their low byte is set; the rest is garbage."""

_ADAPTERS: Final = (ComponentType.MINIPORT, ComponentType.NETCX, ComponentType.NETVSC)
_LOWER_EDGE: Final[dict[int, int]] = {ComponentType.FILTER: 2}
"""The edge towards the wire; every other type has it as edge 1."""


@dataclass(slots=True)
class Counters:
    """What a component dropped or an edge passed.

    Flow counters of Wi-Fi stacks are too high on builds 26100 and 26200.
    """

    direction_in: int = 0
    packets_in: int = 0
    bytes_in: int = 0
    direction_out: int = 0
    packets_out: int = 0
    bytes_out: int = 0


@dataclass(slots=True)
class Edge:
    """A pair of entry and exit points of a component."""

    id: int
    name: str = ""
    counters: Counters = field(default_factory=Counters)


@dataclass(slots=True)
class Component:
    """A driver, protocol or virtual part of a network stack that PktMon watches."""

    id: int
    type: int = ComponentType.UNKNOWN
    name: str = ""
    """driver file, e.g. "tcpip.sys"; "NULL" occurs"""
    description: str = ""
    properties: dict[int, int] = field(default_factory=dict)
    """numbers by property type"""
    if_guid: uuid.UUID | None = None
    mac: bytes = b""
    switch_name: str = ""
    ether_types: list[int] = field(default_factory=list)
    addresses: list[IPv4Address | IPv6Address] = field(default_factory=list)
    edges: dict[int, Edge] = field(default_factory=dict)
    drops: Counters | None = None

    @property
    def title(self) -> str:
        """A name for people."""
        if self.name and self.name != "NULL":
            return self.name
        return self.description or f"component {self.id}"

    @property
    def adapter(self) -> int | None:
        """The interface index of the network adapter it belongs to."""
        order = [Property.MINIPORT_IF_INDEX, Property.IP_IF_INDEX, Property.IF_INDEX, Property.VMS_EXT_IF_INDEX]
        found = next((self.properties[kind] for kind in order if kind in self.properties), None)
        return found if found is not None and found < OWN_STACK else None


@dataclass(slots=True)
class Filter:
    """A capture filter as the driver holds it; zero means any."""

    id: int
    name: str
    macs: tuple[bytes, bytes]
    ether_type: int
    vlan_id: int
    addresses: tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]
    transport_protocol: int
    ports: tuple[int, int]
    tcp_flags: int

    def text(self) -> str:
        """The filter as ``pktmon filter add`` takes it."""
        words = [self.name] if self.name else []
        macs = ["-".join(f"{byte:02X}" for byte in mac) for mac in self.macs if any(mac)]
        addresses = [str(address) for address in self.addresses if int(address)]
        ports = [str(port) for port in self.ports if port]
        protocols = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}
        transport = self.transport_protocol and protocols.get(self.transport_protocol, str(self.transport_protocol))
        shown: list[tuple[str, list[str]]] = [
            ("-m", macs),
            ("-v", [str(self.vlan_id)] if self.vlan_id else []),
            ("-d", [f"0x{self.ether_type:04X}"] if self.ether_type else []),
            ("-t", [str(transport)] if transport else []),
            ("-i", addresses),
            ("-p", ports),
        ]
        for option, values in shown:
            if values:
                words += [option, *values]
        if self.tcp_flags:
            words.append(f"TCP flags 0x{self.tcp_flags:02X}")
        return " ".join(words)


class Place(NamedTuple):
    """Where an edge lies in its stack."""

    adapter: int | None
    """interface index of the adapter; None = not known"""
    stack: int
    """as in the column of that name; -1 = not known"""
    rank: int
    """distance from the wire: 0 is the edge nearest to it that the trace knows; 255 = not known"""
    wifi: bool | None
    """whether frames there are 802.11 (True) or Ethernet (False) where the trace tags them WiFi; None: go by the
    bytes"""
    name: str


def _text(payload: bytes, at: int) -> tuple[str, int]:
    """A NUL-ended UTF-16 text and the offset after it; one that ends with the payload is whole too."""
    end = at
    while end + 1 < len(payload) and payload[end : end + 2] != b"\0\0":
        end += 2
    if at > len(payload):
        raise ValueError("a text begins behind the payload")
    return payload[at:end].decode("utf-16-le", "replace"), end + 2


class ComponentTree:
    """What the rundown of a trace says; grows with every event learnt."""

    def __init__(self) -> None:
        self.components: dict[int, Component] = {}
        self.filters: dict[int, Filter] = {}
        self.driver_load_error = 0
        """NTSTATUS of event 10; 0 = none"""
        self._places: dict[tuple[int, int], Place] | None = None
        self._members: dict[int, list[Component]] | None = None
        self._adapters: dict[int, Component] | None = None

    def learn(self, event_id: int, payload: bytes) -> bool:
        """Take in one event other than a packet; the same one may come again.

        False: its payload is too short for it, and nothing was learnt.
        """
        try:
            if event_id in (EventId.FILTER_IPV4, EventId.FILTER_IPV6):
                self._learn_filter(payload, 4 if event_id == EventId.FILTER_IPV4 else 16)
            elif event_id == EventId.DRIVER_LOAD_ERROR:
                self.driver_load_error = struct.unpack_from("<I", payload)[0]
            elif event_id in _LEARNT:
                identity = struct.unpack_from("<H", payload)[0]
                component = self.components.get(identity) or Component(identity)
                self._learn_component(component, event_id, payload)
                self.components[identity] = component
        except (struct.error, ValueError):
            return False
        self._places = self._members = self._adapters = None
        return True

    def _learn_component(self, component: Component, event_id: int, payload: bytes) -> None:
        if event_id == EventId.COMPONENT:
            kind = struct.unpack_from("<H", payload, 2)[0]
            name, after = _text(payload, 4)
            component.description = _text(payload, after)[0]
            component.type, component.name = kind, name
        elif event_id in (EventId.PROPERTY_U32, EventId.PROPERTY_HEX):
            kind, value = struct.unpack_from("<HI", payload, 2)
            component.properties[kind] = value & 0xFF if kind in _BOOLEANS else value
        elif event_id == EventId.PROPERTY_GUID:
            kind, raw = struct.unpack_from("<H16s", payload, 2)
            if kind == Property.IF_GUID:
                component.if_guid = uuid.UUID(bytes_le=raw)
        elif event_id == EventId.PROPERTY_NDIS_MEDIUM:
            kind, medium = struct.unpack_from("<HH", payload, 2)
            component.properties[kind] = medium
        elif event_id in (EventId.PROPERTY_IPV4, EventId.PROPERTY_IPV6):
            width = 4 if event_id == EventId.PROPERTY_IPV4 else 16
            address = ip_address(struct.unpack_from(f"{width}s", payload, 4)[0])
            if address not in component.addresses:
                component.addresses.append(address)
        elif event_id == EventId.PROPERTY_PHYS_ADDRESS:
            size = struct.unpack_from("<I", payload, 4)[0]
            if size > len(payload) - 8:
                raise ValueError("the address is longer than the event")
            component.mac = payload[8 : 8 + size]
        elif event_id == EventId.PROPERTY_SWITCH_NAME:
            component.switch_name = payload[4 : len(payload) & ~1].decode("utf-16-le", "replace").rstrip("\0")
        elif event_id == EventId.PROPERTY_ETHER_TYPE:
            ether_type = struct.unpack_from("<H", payload, 4)[0]
            if ether_type not in component.ether_types:
                component.ether_types.append(ether_type)
        elif event_id == EventId.DROP_COUNTERS:
            component.drops = Counters(*struct.unpack_from("<HQQHQQ", payload, 2))
        elif event_id == EventId.FLOW_COUNTERS:
            name, after = _text(payload, 2)
            edge_id, *counters = struct.unpack_from("<HHQQHQQ", payload, after)
            component.edges[edge_id] = Edge(edge_id, name, Counters(*counters))

    def _learn_filter(self, payload: bytes, width: int) -> None:
        identity = struct.unpack_from("<H", payload)[0]
        name, at = _text(payload, 2)
        mac1, mac2, ether_type, vlan, ip1, ip2, protocol, port1, port2, flags = struct.unpack_from(
            f"<6s6sHH{width}s{width}sBHHB", payload, at
        )
        self.filters[identity] = Filter(
            identity, name, (mac1, mac2), ether_type, vlan, (ip_address(ip1), ip_address(ip2)), protocol,
            (port1, port2), flags,
        )  # fmt: skip

    def adapter_component(self, if_index: int) -> Component | None:
        """The Miniport with that interface index, or another adapter component that has it."""
        if self._adapters is None:
            self._adapters = {}
            known = [c for c in self.components.values() if c.type in _ADAPTERS]
            for component in sorted(known, key=lambda c: _ADAPTERS.index(ComponentType(c.type))):
                self._adapters.setdefault(component.properties.get(Property.IF_INDEX, -1), component)
        return self._adapters.get(if_index)

    def addresses(self, if_index: int) -> list[IPv4Address | IPv6Address]:
        """The IP addresses that components of that adapter name, without a prefix length."""
        if self._members is None:
            self._members = {}
            for component in self.components.values():
                if component.addresses and component.adapter is not None:
                    self._members.setdefault(component.adapter, []).append(component)
        found = [address for component in self._members.get(if_index, ()) for address in component.addresses]
        return [address for address in dict.fromkeys(found) if not address.is_unspecified]

    def filter_text(self) -> str:
        """All filters in one line; a packet that fits any of them is captured."""
        return " | ".join(text for text in (self.filters[number].text() for number in sorted(self.filters)) if text)

    def place(self, component_id: int, edge_id: int) -> Place:
        """The place of a component's edge; edge 0 (drops) has no rank of its own."""
        if self._places is None:
            self._places = self._arrange()
        known = self._places.get((component_id, edge_id)) or self._places.get((component_id, 0))
        if known is None:
            return Place(None, -1, UNKNOWN_RANK, None, f"component {component_id}")
        if edge_id and (component_id, edge_id) not in self._places:
            return known._replace(name=f"{known.name} edge {edge_id}")
        return known

    def _arrange(self) -> dict[tuple[int, int], Place]:
        """Every known edge of every component; edge 0 stands for the component itself."""
        hosts = {
            c.properties[Property.LOWEST_IF_INDEX]: c.adapter
            for c in self.components.values()
            if c.type == ComponentType.NETVSC and Property.LOWEST_IF_INDEX in c.properties and c.adapter is not None
        }  # a NetVsc and the VF adapter beneath it carry the same traffic: one stack
        stacks: dict[int, list[Component]] = {}
        for component in self.components.values():
            if component.type == ComponentType.VMS_VM_NIC:  # sees traffic between virtual machines that no adapter sees
                stacks[OWN_STACK + component.id] = [component]
            elif component.adapter is not None:
                stacks.setdefault(hosts.get(component.adapter, component.adapter), []).append(component)
        places = {
            (c.id, edge): Place(None, -1, UNKNOWN_RANK, None, self._edge_name(c, edge))
            for c in self.components.values()
            for edge in [0, *c.edges]
        }
        for stack, members in stacks.items():
            self._arrange_stack(stack, members, places)
        return places

    def _arrange_stack(self, stack: int, members: list[Component], places: dict[tuple[int, int], Place]) -> None:
        depth = {id(c): level for level, c in enumerate(self._filters_upwards(members), 1)}
        nwifi = min(
            (depth[id(c)] for c in members if id(c) in depth and Property.NDIS_MEDIUM in c.properties), default=None
        )  # the filter that turns 802.11 into Ethernet is the only one with a medium of its own
        wifi_miniports = {
            c.properties.get(Property.IF_INDEX)
            for c in members
            if c.type in _ADAPTERS and c.properties.get(Property.NDIS_MEDIUM) == NDIS_MEDIUM_NATIVE_802_11
        }
        heights: dict[tuple[int, ...], list[tuple[Component, int]]] = {}
        for c in members:
            beneath = int(c.adapter != stack and stack < OWN_STACK)
            layer = _layer(c)
            for edge in c.edges:
                upper = int(edge != _LOWER_EDGE.get(c.type, 1))
                height: tuple[int, ...] = (
                    (0, beneath, layer) if layer <= 1 else (layer, beneath, depth.get(id(c), 0), upper)
                )
                heights.setdefault(height, []).append((c, edge))
        for rank, height in enumerate(sorted(heights)):
            for c, edge in heights[height]:
                wifi = self._is_wifi(c, edge, depth.get(id(c)), nwifi) if c.adapter in wifi_miniports else None
                adapter = c.adapter if stack < OWN_STACK else None
                places[c.id, edge] = Place(adapter, stack, min(rank, _HIGHEST_RANK), wifi, self._edge_name(c, edge))
        for c in members:
            adapter = c.adapter if stack < OWN_STACK else None
            places[c.id, 0] = Place(adapter, stack, UNKNOWN_RANK, None, self._edge_name(c, 0))

    @staticmethod
    def _filters_upwards(members: list[Component]) -> list[Component]:
        """The filters from the adapter upwards, by LowerIfIndex; filters that no chain reaches come last."""
        filters = [c for c in members if c.type == ComponentType.FILTER]
        above: dict[int | None, list[Component]] = {}
        for c in filters:
            above.setdefault(c.properties.get(Property.LOWER_IF_INDEX), []).append(c)
        ordered: list[Component] = []
        level = above.pop(None, [])
        while level:
            ordered += level
            indexes = [c.properties[Property.IF_INDEX] for c in level if Property.IF_INDEX in c.properties]
            level = [c for index in indexes for c in above.pop(index, [])]
        return ordered + [c for stranded in above.values() for c in stranded]

    @staticmethod
    def _is_wifi(component: Component, edge: int, depth: int | None, nwifi: int | None) -> bool | None:
        if component.type in _ADAPTERS:
            return True
        if depth is None:
            return False if component.type == ComponentType.PROTOCOL else None
        if nwifi is None:
            return None
        return depth < nwifi or (depth == nwifi and edge == _LOWER_EDGE[ComponentType.FILTER])

    @staticmethod
    def _edge_name(component: Component, edge: int) -> str:
        known = component.edges.get(edge)
        return f"{component.title} {known.name or f'edge {edge}'}" if known is not None else component.title


_LEARNT: Final = frozenset(
    {
        EventId.COMPONENT,
        EventId.PROPERTY_U32,
        EventId.PROPERTY_GUID,
        EventId.PROPERTY_HEX,
        EventId.PROPERTY_NDIS_MEDIUM,
        EventId.PROPERTY_IPV4,
        EventId.PROPERTY_IPV6,
        EventId.PROPERTY_PHYS_ADDRESS,
        EventId.PROPERTY_SWITCH_NAME,
        EventId.PROPERTY_ETHER_TYPE,
        EventId.DROP_COUNTERS,
        EventId.FLOW_COUNTERS,
    }
)
_KNOWN_TYPES: Final = frozenset(int(kind) for kind in ComponentType)
_LAYERS: Final = {
    ComponentType.MINIPORT: 0,
    ComponentType.VMS_EXT_MINIPORT: 0,
    ComponentType.VMS_MINIPORT: 0,
    ComponentType.NETCX: 1,
    ComponentType.NETVSC: 1,
    ComponentType.FILTER: 2,
    ComponentType.PROTOCOL: 3,
    ComponentType.IP_INTERFACE: 5,
    ComponentType.HTTP: 6,
    ComponentType.HTTP_MESSAGE: 7,
}


def _layer(component: Component) -> int:
    """The height of a component's type; tcpip's own protocols (with IpIfIndex) lie above the NDIS bindings."""
    if component.type == ComponentType.PROTOCOL and Property.MINIPORT_IF_INDEX not in component.properties:
        return 4
    return _LAYERS.get(ComponentType(component.type), 8) if component.type in _KNOWN_TYPES else 8
