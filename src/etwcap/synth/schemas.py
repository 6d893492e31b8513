"""The event schemas that Windows puts into a trace: TRACE_EVENT_INFO and maps of the events that synth writes.

Field names are those of the providers' manifests (builds 17134, 18990); for PktMon those of real traces' schemas.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from etwcap.etl import layout
from etwcap.etl.build_schema import (
    BINARY,
    GUID,
    HEX_INT64,
    PROPERTY_PARAM_COUNT,
    PROPERTY_PARAM_LENGTH,
    PROPERTY_STRUCT,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    UNICODE_STRING,
    Property,
    event_map,
    event_schema,
)
from etwcap.providers import ndiscap_layout, pktmon_layout, ras_layout, wfp_layout
from etwcap.providers.pktmon_names import drop_reasons

_ETHERNET_OUT, _IPV4_OUT = 15, 23
"""TDH_OUTTYPE_HEXBINARY and TDH_OUTTYPE_IPV4 of tdh.h."""


def _sized(name: str, size_from: int, out: int = _ETHERNET_OUT) -> Property:
    """Binary whose length another property tells."""
    return Property(name, BINARY, out, PROPERTY_PARAM_LENGTH, length=size_from)


def _fixed(name: str, length: int) -> Property:
    return Property(name, BINARY, _ETHERNET_OUT, 0x10, length=length)


def _numbers(kind: int, *names: str) -> list[Property]:
    return [Property(name, kind) for name in names]


_NDIS_FRAGMENT = [*_numbers(UINT32, "MiniportIfIndex", "LowerIfIndex", "FragmentSize"), _sized("Fragment", 2)]
_GFT = _numbers(UINT64, "GftFlowEntryId", "GftOffloadInformation")
_SWITCH = [
    *_numbers(UINT32, "MiniportIfIndex", "LowerIfIndex", "SourcePortId"),
    *_numbers(UNICODE_STRING, "SourcePortName", "SourceNicName", "SourceNicType"),
    Property("DestinationCount", UINT32),
    Property("Destination", 12, 4, PROPERTY_STRUCT | PROPERTY_PARAM_COUNT, count=6),
    Property("FragmentSize", UINT32),
    _sized("Fragment", 8),
    Property("OOBDataSize", UINT32),
    _sized("OOBData", 10),
    Property("DestinationPortId", UINT32),
    *_numbers(UNICODE_STRING, "DestinationPortName", "DestinationNicName", "DestinationNicType"),
]
_PKTMON_PACKET = [
    Property("PktGroupId", UINT64), *_numbers(UINT16, "PktNumber", "AppearanceCount"),
    Property("DirTag", UINT16, map_name="PacketDirectionTag"), Property("PacketType", UINT16, map_name="PacketType"),
    *_numbers(UINT16, "ComponentId", "EdgeId", "FilterId"), Property("DropReason", UINT32, map_name="DropReason"),
    Property("DropLocation", UINT32), *_numbers(UINT16, "OriginalPayloadSize", "LoggedPayloadSize"),
    _sized("Payload", 11),
]  # fmt: skip
_PROPERTY_HEAD = [Property("ComponentId", UINT16), Property("PropertyType", UINT16, map_name="ComponentProperty")]
_COUNTERS = [
    Property("DirectionIn", UINT16, map_name="PacketDirectionTag"), *_numbers(UINT64, "PacketsIn", "BytesIn"),
    Property("DirectionOut", UINT16, map_name="PacketDirectionTag"), *_numbers(UINT64, "PacketsOut", "BytesOut"),
]  # fmt: skip
_ADDRESSES4 = [Property("SourceAddress", UINT32, _IPV4_OUT), Property("DestinationAddress", UINT32, _IPV4_OUT)]
_ADDRESSES6 = [_fixed("SourceAddress", 16), _fixed("DestinationAddress", 16)]


def _message(addresses: list[Property], *, flow: bool) -> list[Property]:
    fields = [*addresses, Property("Protocol", UINT8)]
    fields += [Property("FlowHandle", HEX_INT64)] if flow else []
    return [*fields, Property("ByteLength", UINT16), _sized("MessageFrame", len(fields))]


_Fields = list[Property]
_NDIS = ndiscap_layout.EventId
_MON = pktmon_layout.EventId
_WFP = wfp_layout.EventId
_RAS = [
    *_numbers(UNICODE_STRING, "RoutingDomainID", "RRASUserName"), Property("FragmentSize", UINT32),
    _sized("Fragment", 2),
]  # fmt: skip

FIELDS: Final[dict[tuple[bytes, int], _Fields]] = {
    (ndiscap_layout.GUID, _NDIS.PACKET_FRAGMENT): _NDIS_FRAGMENT,
    (ndiscap_layout.GUID, _NDIS.PACKET_METADATA): [
        *_numbers(UINT32, "MiniportIfIndex", "LowerIfIndex", "MetadataSize"), _sized("Metadata", 2),
    ],
    (ndiscap_layout.GUID, _NDIS.VMSWITCH_PACKET_FRAGMENT): _SWITCH,
    (ndiscap_layout.GUID, _NDIS.LAYER_ATTACHED): _numbers(
        UINT32, "MiniportIfIndex", "LowerIfIndex", "MediaType", "ReferenceContext"
    ),
    (ndiscap_layout.GUID, _NDIS.CAPTURE_RULE): [
        *_numbers(UINT8, "RuleId", "Directive"), Property("Length", UINT16), _sized("Value", 2),
    ],
    (ndiscap_layout.GUID, _NDIS.SOURCE_INFO): [
        Property("SourceId", UINT8), Property("SourceName", UNICODE_STRING), Property("IfIndex", UINT32),
        Property("LayerCount", UINT16),
        Property("LayerInfo", 5, 2, PROPERTY_STRUCT | PROPERTY_PARAM_COUNT, count=3),
        Property("LayerId", UINT32), Property("LayerName", UNICODE_STRING),
    ],
    (pktmon_layout.GUID, _MON.FLOW_PAYLOAD): _PKTMON_PACKET,
    (pktmon_layout.GUID, _MON.DROP_PAYLOAD): _PKTMON_PACKET,
    (pktmon_layout.GUID, _MON.COMPONENT): [
        Property("ComponentId", UINT16), Property("ComponentType", UINT16, map_name="ComponentType"),
        *_numbers(UNICODE_STRING, "Name", "Description"),
    ],
    (pktmon_layout.GUID, _MON.PROPERTY_U32): [*_PROPERTY_HEAD, Property("Value", UINT32)],
    (pktmon_layout.GUID, _MON.PROPERTY_GUID): [*_PROPERTY_HEAD, Property("Value", GUID)],
    (pktmon_layout.GUID, _MON.PROPERTY_NDIS_MEDIUM): [*_PROPERTY_HEAD, Property("Value", UINT16)],
    (pktmon_layout.GUID, _MON.PROPERTY_IPV4): [*_PROPERTY_HEAD, Property("Value", UINT32, _IPV4_OUT)],
    (pktmon_layout.GUID, _MON.PROPERTY_IPV6): [*_PROPERTY_HEAD, _fixed("Value", 16)],
    (pktmon_layout.GUID, _MON.PROPERTY_PHYS_ADDRESS): [*_PROPERTY_HEAD, Property("Size", UINT32), _sized("Value", 2)],
    (pktmon_layout.GUID, _MON.PROPERTY_ETHER_TYPE): [*_PROPERTY_HEAD, Property("Value", UINT16)],
    (pktmon_layout.GUID, _MON.DROP_COUNTERS): [Property("ComponentId", UINT16), *_COUNTERS],
    (pktmon_layout.GUID, _MON.FLOW_COUNTERS): [
        Property("ComponentId", UINT16), Property("EdgeName", UNICODE_STRING), Property("EdgeId", UINT16), *_COUNTERS,
    ],
    (wfp_layout.GUID, _WFP.FRAGMENT): [
        Property("FragmentEventId", UINT16), *_numbers(UINT32, "GroupId", "ByteLength"), _sized("Fragment", 2),
    ],
    (wfp_layout.GUID, _WFP.MESSAGE_V4): _message(_ADDRESSES4, flow=False),
    (wfp_layout.GUID, _WFP.MESSAGE_V4_FLOW): _message(_ADDRESSES4, flow=True),
    (wfp_layout.GUID, _WFP.MESSAGE_V6): _message(_ADDRESSES6, flow=False),
    (wfp_layout.GUID, _WFP.MESSAGE_V6_FLOW): _message(_ADDRESSES6, flow=True),
    (ras_layout.GUID, ras_layout.EventId.SENT): _RAS,
    (ras_layout.GUID, ras_layout.EventId.RECEIVED): _RAS,
}  # fmt: skip
_TOP_LEVEL = {
    (ndiscap_layout.GUID, int(_NDIS.VMSWITCH_PACKET_FRAGMENT)): 12,
    (ndiscap_layout.GUID, int(_NDIS.SOURCE_INFO)): 5,
}
_NAMES = {
    ndiscap_layout.GUID: "Microsoft-Windows-NDIS-PacketCapture",
    pktmon_layout.GUID: "Microsoft-Windows-PktMon",
    wfp_layout.GUID: "Microsoft-Pef-WFP-MessageProvider",
    ras_layout.GUID: "Microsoft-Windows-Ras-NdisWanPacketCapture",
}
_TASKS = {int(_MON.FLOW_PAYLOAD): "Payload", int(_MON.DROP_PAYLOAD): "Payload"}


_MAPS = {
    "PacketDirectionTag": {0: "None", 1: "In", 2: "Out", 3: "Rx", 4: "Tx", 5: "Ingress", 6: "Egress"},
    "PacketType": {0: "Unknown", 1: "Ethernet", 2: "WiFi", 3: "IP", 4: "HTTP", 5: "TCP", 6: "UDP", 7: "ARP", 8: "ICMP",
                   9: "ESP", 10: "AH", 11: "L4Payload"},
    "ComponentType": {int(each): each.name.title().replace("_", "") for each in pktmon_layout.ComponentType},
    "ComponentProperty": {int(each): each.name.title().replace("_", "") for each in pktmon_layout.Property},
}  # fmt: skip


class Schemas:
    """Gives the schema records of each event once, before its first; a map that no buffer can hold is shortened."""

    def __init__(self, provider: bytes, largest: int, *, trailer: bool) -> None:
        """``largest``: bytes a payload may have; ``trailer``: NdisCap's event 1001 has its two last fields."""
        self._provider = provider
        self._largest = largest
        self._trailer = trailer
        self._given: set[int | str] = set()

    def before(self, event_id: int, keyword: int, level: int) -> Iterator[tuple[int, bytes]]:
        """(opcode, payload) of EventMetadata events that belong before an event of that id."""
        fields = FIELDS.get((self._provider, event_id))
        if event_id in self._given or fields is None:
            return
        self._given.add(event_id)
        if fields is _NDIS_FRAGMENT and self._trailer:
            fields = fields + _GFT
        schema = event_schema(
            self._provider, event_id, fields, provider_name=_NAMES[self._provider], keyword=keyword, level=level,
            task_name=_TASKS.get(event_id, ""), level_name="win:Verbose" if level == 5 else "win:Informational",
            top_level=_TOP_LEVEL.get((self._provider, event_id)),
        )  # fmt: skip
        if len(schema) <= self._largest:
            yield layout.EVENT_METADATA_EVENT_INFO, schema
        for name in dict.fromkeys(each.map_name for each in fields if each.map_name):
            if name not in self._given:
                self._given.add(name)
                yield layout.EVENT_METADATA_EVENT_MAP_INFO, self._map(name)

    def _map(self, name: str) -> bytes:
        entries = dict(drop_reasons()) if name == "DropReason" else _MAPS[name]
        built = event_map(self._provider, name, entries)
        while len(built) > self._largest:
            entries = dict(list(entries.items())[: len(entries) // 2])
            built = event_map(self._provider, name, entries)
        return built
