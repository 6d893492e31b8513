"""A made-up Windows machine that PktMon watches: its component tree, what it logs of a packet, and the rundown at
the end.

One Wi-Fi adapter with the native Wi-Fi filter, one Ethernet adapter, TCP/IP above both. Ids, edges, tags and the
traps among
them are as real traces of builds 19042 and 26100 have them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple

from etwcap.etl import build_facts, build_schema, layout
from etwcap.etl.build import event_record, full_header_record
from etwcap.etl.writer import EtlWriter, LogfileSettings
from etwcap.providers import pktmon_build as payloads
from etwcap.providers.pktmon_layout import GUID, ComponentType, Direction, EventId, PacketType, Property
from frames import HOST, HOST6, HOST_MAC, Seen, wifi

UPPER, LOWER = 1, 2
LAST_BUILD_WITH_STABLE_IDS = 20348
CONFIGURATION, PAYLOAD = 0x2, 0x10
"""Keywords."""

WIFI_MAC = HOST_MAC
WIRED_MAC = bytes.fromhex("025a00000011")
PACKET_FIELDS = (
    ("PktGroupId", build_schema.UINT64, ""), ("PktNumber", build_schema.UINT16, ""),
    ("AppearanceCount", build_schema.UINT16, ""), ("DirTag", build_schema.UINT16, "PacketDirectionTag"),
    ("PacketType", build_schema.UINT16, "PacketType"), ("ComponentId", build_schema.UINT16, ""),
    ("EdgeId", build_schema.UINT16, ""), ("FilterId", build_schema.UINT16, ""),
    ("DropReason", build_schema.UINT32, "DropReason"), ("DropLocation", build_schema.UINT32, ""),
    ("OriginalPayloadSize", build_schema.UINT16, ""), ("LoggedPayloadSize", build_schema.UINT16, ""),
)  # fmt: skip
DROP_REASONS = {
    0: "Unspecified",
    8: "Filtered VLAN",
    902: "INET_NL: not locally destined",
    1204: "INET: endpoint not found",
}


class Point(NamedTuple):
    """An edge of a component, and what is logged there."""

    component: int
    edge: int
    tag: int
    """PacketType as logged, which is not always true"""
    wifi: bool
    """whether the bytes are 802.11"""


@dataclass(slots=True)
class Component:
    """A component with its rundown events but for the counters, in the order in which Windows writes them."""

    id: int
    kind: int
    driver: str
    description: str
    edges: dict[int, str] = field(default_factory=dict)
    properties: list[tuple[int, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stack:
    """An adapter and what lies on it."""

    index: int
    alias: str
    description: str
    mac: bytes
    is_wifi: bool
    points: tuple[Point, ...]
    """from the wire upwards, without the protocol at the top"""
    protocols: dict[int, int]
    """component by EtherType"""
    ip_interface: int

    def path(self, seen: Seen) -> list[Point]:
        """Where the packet is seen, in time order."""
        ether_type = int.from_bytes(seen.frame[12:14], "big")
        top = [Point(self.protocols[ether_type], 1, PacketType.ETHERNET, False)] if ether_type in self.protocols else []
        path = [*self.points, *top]
        return path[::-1] if seen.sent else path


def _filter_points(component: int, *, wifi: bool, lower_tag: int | None = None) -> list[Point]:
    tag = PacketType.WIFI if wifi else PacketType.ETHERNET
    return [Point(component, LOWER, tag if lower_tag is None else lower_tag, wifi), Point(component, UPPER, tag, wifi)]


WIFI = Stack(
    index=12,
    alias="Wi-Fi",
    description="Made-up Wireless 6 Adapter",
    mac=WIFI_MAC,
    is_wifi=True,
    points=(
        Point(10, UPPER, PacketType.WIFI, True),
        *_filter_points(11, wifi=True),
        *_filter_points(12, wifi=True),
        Point(13, LOWER, PacketType.WIFI, True),
        Point(13, UPPER, PacketType.ETHERNET, False),
        *_filter_points(14, wifi=False, lower_tag=PacketType.WIFI),
    ),
    protocols={0x0800: 21, 0x0806: 21, 0x86DD: 22},
    ip_interface=40,
)
WIRED = Stack(
    index=6,
    alias="Ethernet",
    description="Made-up Gigabit Adapter",
    mac=WIRED_MAC,
    is_wifi=False,
    points=(
        Point(30, UPPER, PacketType.ETHERNET, False),
        *_filter_points(31, wifi=False),
        *_filter_points(32, wifi=False),
    ),
    protocols={0x0800: 33, 0x0806: 33, 0x86DD: 34},
    ip_interface=41,
)
LOOPBACK_INTERFACE = 42
STACKS = (WIFI, WIRED)


def interface_guid(index: int) -> uuid.UUID:
    return uuid.UUID(int=0xE7C0_0000_0000_4000_8000_0000_0000_0000 + index)


def components(build: int) -> list[Component]:
    """The component tree as that build describes it."""
    stable = build <= LAST_BUILD_WITH_STABLE_IDS
    true = 0xA5C3F101 if build <= 19042 else 1
    """19042 leaves garbage in the upper bytes of booleans"""

    def number(component: int, kind: int, value: int) -> tuple[int, bytes]:
        return EventId.PROPERTY_U32, payloads.build_property(component, kind, value)

    def medium(component: int, value: int) -> tuple[int, bytes]:
        if stable:
            return EventId.PROPERTY_NDIS_MEDIUM, payloads.build_ndis_medium(component, value)
        return number(component, Property.NDIS_MEDIUM, value)

    def miniport(id: int, driver: str, stack: Stack) -> Component:
        return Component(id, ComponentType.MINIPORT, driver, stack.description, {UPPER: "Upper"}, [
            (EventId.PROPERTY_PHYS_ADDRESS, payloads.build_phys_address(id, stack.mac)),
            medium(id, 16 if stack.is_wifi else 0),
            number(id, Property.IF_INDEX, stack.index),
            (EventId.PROPERTY_GUID, payloads.build_guid(id, interface_guid(stack.index))),
            number(id, Property.NDIS_OBJECT, true),
        ])  # fmt: skip

    def lightweight(
        id: int, driver: str, name: str, stack: Stack, index: int, lower: int = 0, own_medium: int | None = None
    ) -> Component:
        properties = [] if own_medium is None else [medium(id, own_medium)]
        properties += [number(id, Property.IF_INDEX, index), number(id, Property.MINIPORT_IF_INDEX, stack.index)]
        if lower:
            properties.append(number(id, Property.LOWER_IF_INDEX, lower))
        properties += [number(id, Property.OPT_DATA_PATH, true - 1), number(id, Property.NDIS_OBJECT, true)]
        return Component(id, ComponentType.FILTER, driver, name, {UPPER: "Upper", LOWER: "Lower"}, properties)

    def protocol(id: int, driver: str, name: str, stack: Stack, ether_types: Iterable[int]) -> Component:
        properties = [(int(EventId.PROPERTY_ETHER_TYPE), payloads.build_ether_type(id, value)) for value in ether_types]
        properties += [number(id, Property.MINIPORT_IF_INDEX, stack.index), number(id, Property.NDIS_OBJECT, true)]
        return Component(id, ComponentType.PROTOCOL, driver, name, {1: "Lower"}, properties)

    def ip_interface(id: int, index: int, addresses: Iterable[IPv4Address | IPv6Address]) -> Component:
        properties = [
            (
                int(EventId.PROPERTY_IPV4 if address.version == 4 else EventId.PROPERTY_IPV6),
                payloads.build_ip_address(id, address),
            )
            for address in addresses
        ]
        properties += [number(id, Property.IP_IF_INDEX, index), number(id, Property.COMPARTMENT_ID, 1)]
        return Component(id, ComponentType.IP_INTERFACE, "tcpip.sys", "TCP/IPv4 - L3/L4", {}, properties)

    tree = [
        miniport(10, "madewifi.sys", WIFI),
        lightweight(11, "wfplwfs.sys", "WFP 802.3 MAC Layer LightWeight Filter", WIFI, 13),
        lightweight(12, "vwififlt.sys", "Virtual WiFi Filter Driver", WIFI, 14, 13),
        lightweight(13, "nwifi.sys", "Native WiFi Filter Driver", WIFI, 15, 14, own_medium=0),
        lightweight(14, "npcap.sys", "Npcap Packet Driver", WIFI, 16, 15),
        protocol(21, "tcpip.sys", "TCPIP", WIFI, (0x0800, 0x0806)),
        protocol(22, "tcpip.sys", "TCPIP6", WIFI, (0x86DD,)),
        miniport(30, "madegig.sys", WIRED),
        lightweight(31, "wfplwfs.sys", "WFP 802.3 MAC Layer LightWeight Filter", WIRED, 7),
        lightweight(32, "pacer.sys", "QoS Packet Scheduler", WIRED, 8, 7),
        protocol(33, "tcpip.sys", "TCPIP", WIRED, (0x0800, 0x0806)),
        protocol(34, "tcpip.sys", "TCPIP6", WIRED, (0x86DD,)),
    ]
    if build > 19042:
        tree += [
            ip_interface(40, WIFI.index, (HOST, HOST6)),
            ip_interface(41, WIRED.index, (IPv4Address("192.0.2.11"),)),
            ip_interface(LOOPBACK_INTERFACE, 1, (IPv4Address("127.0.0.1"), IPv6Address("::1"))),
        ]
    return tree


@dataclass(slots=True)
class _Count:
    packets: list[int] = field(default_factory=lambda: [0, 0])
    octets: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, *, sent: bool, size: int) -> None:
        self.packets[sent] += 1
        self.octets[sent] += size

    def values(self) -> tuple[int, int, int, int]:
        return self.packets[0], self.octets[0], self.packets[1], self.octets[1]


class PktMonTrace:
    """Writes what ``pktmon start`` and ``stop`` would have left of packets given one by one.

    Times are ns since 1970 UTC and must not go back on one processor; the sightings of a packet are 1 us apart.
    """

    def __init__(
        self,
        path: Path,
        *,
        build: int = 26100,
        packet_size: int = 0,
        filter_id: int = 0,
        settings: LogfileSettings | None = None,
    ) -> None:
        self.build = build
        self.packet_size = packet_size or 0xFFFF
        self.filter_id = filter_id
        self.settings = settings or pktmon_settings(build)
        self.writer = EtlWriter(path, self.settings)
        self.groups = [0] * self.settings.processors
        self.flow: dict[tuple[int, int], _Count] = {}
        self.drops: dict[int, _Count] = {}
        self.known_events: set[int] = set()
        self.last = (self.settings.clock.to_unix_ns(self.settings.first_stamp), 0)
        for opcode, facts in (
            (layout.SYSTEM_CONFIG_EX_SYSTEM_PATHS, build_facts.system_paths()),
            (layout.SYSTEM_CONFIG_EX_VOLUME_MAPPING, build_facts.volume_mapping()),
        ):
            stamp = self.settings.first_stamp
            self.writer.add(0, full_header_record(layout.SYSTEM_CONFIG_EX, opcode, facts, time=stamp))

    def packet(
        self, stack: Stack, seen: Seen, time: int, *, processor: int = 0, process: int = 0, thread: int = 0
    ) -> None:
        """One packet, seen at every edge on its way."""
        for step, payload in enumerate(self.sightings(stack, seen, processor)):
            self._event(EventId.FLOW_PAYLOAD, payload, time + 1000 * step, processor, process, thread)

    def sightings(self, stack: Stack, seen: Seen, processor: int = 0) -> Iterator[bytes]:
        """The payloads of a packet's events, in time order; they count in the rundown."""
        stable = self.build <= LAST_BUILD_WITH_STABLE_IDS
        over_the_air = wifi(seen.frame, sent=seen.sent, protected=stable and not seen.sent) if stack.is_wifi else b""
        if stable:
            self.groups[processor] += 1
        for appearance, point in enumerate(stack.path(seen), 1):
            if not stable:
                self.groups[processor] += 1
            data = over_the_air if point.wifi else seen.frame
            self.flow.setdefault((point.component, point.edge), _Count()).add(sent=seen.sent, size=len(data))
            yield payloads.build_packet_event(
                data[: self.packet_size],
                group=processor << 48 | self.groups[processor],
                appearance=appearance if stable else 0,
                direction=Direction.TX if seen.sent else Direction.RX,
                packet_type=point.tag,
                component_id=point.component,
                edge_id=point.edge,
                filter_id=self.filter_id,
                original=len(data),
            )

    def drop(
        self,
        component: int,
        packet: bytes,
        time: int,
        *,
        reason: int,
        location: int,
        sent: bool = False,
        packet_type: int = PacketType.IP,
        processor: int = 0,
    ) -> None:
        """One drop report."""
        self.groups[processor] += 1
        self.drops.setdefault(component, _Count()).add(sent=sent, size=len(packet))
        payload = payloads.build_packet_event(
            packet[: self.packet_size],
            group=processor << 48 | self.groups[processor],
            appearance=1 if self.build <= LAST_BUILD_WITH_STABLE_IDS else 0,
            direction=Direction.TX if sent else Direction.RX,
            packet_type=packet_type,
            component_id=component,
            filter_id=self.filter_id,
            drop_reason=reason,
            drop_location=location,
            original=len(packet),
        )
        self._event(EventId.DROP_PAYLOAD, payload, time, processor, 0, 0)

    def close(self, *, rundown: bool = True) -> None:
        """End the session. Without the rundown: what is left of a file that was cut."""
        if rundown:
            self._rundown()
        self.writer.close()

    def _event(self, event_id: int, payload: bytes, time: int, processor: int, process: int, thread: int) -> None:
        stamp = self.settings.raw(time)
        if event_id not in self.known_events:
            self.known_events.add(event_id)
            for opcode, schema in _schemas(event_id):
                record = full_header_record(
                    layout.EVENT_METADATA, opcode, schema, time=stamp, process=process, thread=thread
                )
                self.writer.add(processor, record)
        keyword = PAYLOAD if event_id in (EventId.FLOW_PAYLOAD, EventId.DROP_PAYLOAD) else CONFIGURATION
        record = event_record(GUID, event_id, payload, time=stamp, process=process, thread=thread, keyword=keyword)
        self.writer.add(processor, record)
        self.last = max(self.last, (time, processor))

    def _rundown(self) -> None:
        time, processor = self.last
        time += 1_000_000
        for event_id, payload in self._rundown_events():
            time += 1000
            self._event(event_id, payload, time, processor, 5312, 7044)
        for opcode, facts in machine_facts(self.build):
            self.writer.add(
                processor, full_header_record(layout.SYSTEM_CONFIG_EX, opcode, facts, time=self.settings.raw(time))
            )

    def _rundown_events(self) -> Iterator[tuple[int, bytes]]:
        for part in components(self.build):
            yield EventId.COMPONENT, payloads.build_component(part.id, part.kind, part.driver, part.description)
            yield from part.properties
            yield EventId.DROP_COUNTERS, payloads.build_drop_counters(part.id, *self._counted(self.drops.get(part.id)))
            for edge, name in part.edges.items():
                counts = self._counted(self.flow.get((part.id, edge)))
                yield EventId.FLOW_COUNTERS, payloads.build_flow_counters(part.id, edge, name, *counts)
        if self.filter_id:
            yield EventId.FILTER_IPV4, payloads.build_filter(self.filter_id, "web", transport_protocol=6, port1=80)

    @staticmethod
    def _counted(count: _Count | None) -> tuple[int, int, int, int]:
        return (count or _Count()).values()


def rebuilt_header(packet: bytes) -> bytes:
    """An IPv4 packet as drops at the transport layer have it: its header is made anew, with next to nothing in it."""
    return packet[:1] + b"\0" + packet[2:4] + bytes(4) + b"\x01" + packet[9:10] + b"\0\0" + packet[12:]


def pktmon_settings(build: int = 26100, processors: int = 4, buffer_size: int = 1 << 20) -> LogfileSettings:
    """Settings as the files of ``pktmon`` have them, but for smaller buffers."""
    return LogfileSettings(
        processors=processors,
        buffer_size=buffer_size,
        relogged=True,
        compressed=True,
        build=build,
        log_file_name="C:\\Traces\\PktMon.etl",
    )


def machine_facts(build: int) -> Iterator[tuple[int, bytes]]:
    """What merging adds about the machine: cards, build, device family."""
    card = build_facts.network_interface
    for row in (
        card(1, "Loopback Pseudo-Interface 1", "Software Loopback", if_type=24, physical_medium=0, is_hardware=False),
        card(WIRED.index, WIRED.alias, WIRED.description, WIRED.mac, guid=interface_guid(WIRED.index)),
        card(
            WIFI.index, WIFI.alias, WIFI.description, WIFI.mac, guid=interface_guid(WIFI.index), speed=866_700_000,
            if_type=build_facts.IF_TYPE_WIFI, physical_medium=build_facts.PHYSICAL_MEDIUM_WIFI,
        ),
        card(
            13, "Wi-Fi-WFP 802.3 MAC Layer LightWeight Filter-0000", WIFI.description, WIFI.mac, is_filter=True,
            if_type=build_facts.IF_TYPE_WIFI, physical_medium=build_facts.PHYSICAL_MEDIUM_WIFI, is_hardware=False,
        ),
    ):  # fmt: skip
        yield layout.SYSTEM_CONFIG_EX_NETWORK_INTERFACE, row
    lab = f"{build}.1.amd64fre.ge_release.240331-1435"
    yield layout.SYSTEM_CONFIG_EX_BUILD_INFO, build_facts.build_info(lab, "Windows 10 Pro")
    yield layout.SYSTEM_CONFIG_EX_DEVICE_FAMILY, build_facts.device_family(2033, build)


def _schemas(event_id: int) -> Iterator[tuple[int, bytes]]:
    """The schema records that come with the first packet event; the other kinds of event go without one here."""
    if event_id not in (EventId.FLOW_PAYLOAD, EventId.DROP_PAYLOAD):
        return
    fields = [build_schema.Property(name, kind, map_name=map_name) for name, kind, map_name in PACKET_FIELDS]
    fields.append(
        build_schema.Property(
            "Payload", build_schema.BINARY, 15, build_schema.PROPERTY_PARAM_LENGTH, length=len(fields) - 1
        )
    )
    yield (
        layout.EVENT_METADATA_EVENT_INFO,
        build_schema.event_schema(
            GUID,
            event_id,
            fields,
            provider_name="Microsoft-Windows-PktMon",
            keyword=PAYLOAD,
            task_name="Payload",
            level_name="win:Informational",
            message="PktGroupId %1, PktNumber %2, Appearance %3, Direction %4, Type %5, Component %6, Edge %7 ",
        ),
    )
    maps = {
        "PacketDirectionTag": {0: "None", 1: "In", 2: "Out", 3: "Rx", 4: "Tx", 5: "Ingress", 6: "Egress"},
        "PacketType": {0: "Unknown", 1: "Ethernet", 2: "WiFi", 3: "IP", 4: "HTTP"},
        "DropReason": DROP_REASONS,
    }
    for name, entries in maps.items():
        yield layout.EVENT_METADATA_EVENT_MAP_INFO, build_schema.event_map(GUID, name, entries)
