"""Events laid into a buffer with the index rows that the ETL engine would give for them, and providers run on them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.records import EVENT64, RECORD, Records
from etwcap.packets import Chunk, Context, Description, EventTable, InputFacts, Machine, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.providers import pktmon_build
from etwcap.providers.base import PacketProvider, TraceFacts
from etwcap.providers.pktmon_layout import ComponentType, EventId, Property

HEADER = 80
START = 1_700_000_000_000_000_000
"""ns: time 0 of the tests."""


@dataclass
class Feed:
    """Collects events in the order they are added."""

    data: bytearray = field(default_factory=bytearray)
    rows: list[tuple[int, ...]] = field(default_factory=list)

    def add(
        self,
        event_id: int,
        payload: bytes,
        time: int = 0,
        keyword: int = 0,
        process: int = 1234,
        processor: int = 0,
        kind: int = EVENT64,
    ) -> None:
        """``time`` in ns after START; ``kind`` is the record's type."""
        at, size = len(self.data), HEADER + len(payload)
        self.data += bytes(HEADER) + payload + bytes(-size % 8)
        self.rows.append(
            (START + time, at, 0, keyword, process, 5678, 0, 1, at, event_id, size, HEADER, processor, kind, 0, 0, 0)
        )

    @property
    def buffer(self) -> NDArray[np.uint8]:
        return np.frombuffer(bytearray(self.data), np.uint8)

    @property
    def records(self) -> Records:
        return np.array(self.rows, RECORD)


def facts() -> TraceFacts:
    return TraceFacts(Description(inputs=[InputFacts("made-up.etl", 0, "etl")]), Machine("Windows", "10.0.26100.1"))


def decode(provider: PacketProvider, feed: Feed) -> tuple[NDArray[np.uint8], PacketTable]:
    """What the source does with one chunk."""
    buffer, records = feed.buffer, feed.records
    packet = provider.packet_rows(records)
    provider.learn(buffer, records[~packet])
    packets, _ = provider.decode(buffer, records[packet])
    return buffer, packets


def chunk(buffer: NDArray[np.uint8], packets: PacketTable, complete_to: int = END_OF_TIME) -> Chunk:
    return Chunk(buffer, packets, EventTable(0), complete_to)


def frames(chunk: Chunk) -> list[bytes]:
    """The captured bytes of every packet."""
    spans = zip(chunk.packets["offset"].tolist(), chunk.packets["captured"].tolist(), strict=True)
    return [chunk.buffer[at : at + size].tobytes() for at, size in spans]


def comments(context: Context, packets: PacketTable) -> list[str]:
    return [context.comments.texts[number] if number >= 0 else "" for number in packets["comment"].tolist()]


MINIPORT, LOW_FILTER, NWIFI, HIGH_FILTER, PROTOCOL, IP_INTERFACE = 10, 20, 30, 40, 50, 60
ADAPTER = 7
UPPER, LOWER = 1, 2
"""Edges of a filter."""


def learn_wifi_stack(feed: Feed, *, new_build: bool = False) -> None:
    """The rundown of one Wi-Fi adapter: a filter below nwifi.sys, one above, TCP/IP on top."""

    def component(number: int, kind: int, name: str, *edges: tuple[int, str], **properties: int) -> None:
        feed.add(EventId.COMPONENT, pktmon_build.build_component(number, kind, name, f"{name} description"))
        for key, value in properties.items():
            feed.add(EventId.PROPERTY_U32, pktmon_build.build_property(number, Property[key.upper()], value))
        for edge, edge_name in edges:
            feed.add(EventId.FLOW_COUNTERS, pktmon_build.build_flow_counters(number, edge, edge_name))

    both = ((UPPER, "Upper"), (LOWER, "Lower"))
    component(PROTOCOL, ComponentType.PROTOCOL, "tcpip.sys", (1, "Lower"), miniport_if_index=ADAPTER)
    component(HIGH_FILTER, ComponentType.FILTER, "npcap.sys", *both, if_index=93, miniport_if_index=ADAPTER,
              lower_if_index=92)  # fmt: skip
    component(LOW_FILTER, ComponentType.FILTER, "wfplwfs.sys", *both, if_index=91, miniport_if_index=ADAPTER)
    component(
        NWIFI, ComponentType.FILTER, "nwifi.sys", *both, if_index=92, miniport_if_index=ADAPTER, lower_if_index=91
    )
    component(MINIPORT, ComponentType.MINIPORT, "wlan.sys", (1, "Upper"), if_index=ADAPTER)
    component(IP_INTERFACE, ComponentType.IP_INTERFACE, "tcpip.sys", ip_if_index=ADAPTER)
    for number, medium in ((MINIPORT, 16), (NWIFI, 0)):
        if new_build:
            feed.add(EventId.PROPERTY_U32, pktmon_build.build_property(number, Property.NDIS_MEDIUM, medium))
        else:
            feed.add(EventId.PROPERTY_NDIS_MEDIUM, pktmon_build.build_ndis_medium(number, medium))
