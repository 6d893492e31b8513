"""What a provider module offers: payload bytes to columns, and the side facts its other events teach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_interface
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.records import Records
from etwcap.etl.schemas import Schemas
from etwcap.packets import Context, Damage, Description, Interface, Machine, PacketTable
from etwcap.packets.annex import Annex

MOST_INTERFACES: Final = 4096
"""Interfaces that a provider makes of names in packets; what comes under further names shares one."""


@dataclass(slots=True)
class NetworkCard:
    """One network interface of the traced machine: MIB_IF_ROW2 of netioapi.h, of which merging puts the whole table
    into a trace; or index, description and MAC only, from the kernel's system configuration."""

    index: int
    """InterfaceIndex"""
    alias: str = ""
    description: str = ""
    mac: bytes = b""
    permanent_mac: bytes = b""
    luid: int = 0
    guid: str = ""
    mtu: int = 0
    type: int = 0
    """``IF_TYPE_`` of ipifcons.h: 6 Ethernet, 24 loopback, 71 802.11 ..."""
    media_type: int = 0
    """NDIS_MEDIUM; 0 (Ethernet) on Wi-Fi adapters too"""
    physical_medium: int = 0
    """NDIS_PHYSICAL_MEDIUM: 9 native 802.11, 14 Ethernet"""
    is_filter: bool = False
    """a filter driver on top of an adapter, with the adapter's MAC"""
    is_hardware: bool = False
    oper_status: int = 0
    """1 up, 2 down, 6 not present"""
    transmit_speed: int = 0
    """bit/s; 2^64 - 1 where not known"""
    receive_speed: int = 0


@dataclass(slots=True)
class Service:
    """One service of the traced machine, from the kernel's system configuration."""

    process: int
    name: str
    display_name: str = ""
    image: str = ""
    """"svchost.exe"; empty for a stopped service"""
    tag: int = 0


@dataclass(slots=True)
class TraceFacts:
    """What an ETL source knows beside the packets; filled before the first chunk as far as the file allows."""

    description: Description
    machine: Machine
    cards: dict[int, NetworkCard] = field(default_factory=dict)
    """by interface index"""
    addresses: dict[int, list[str]] = field(default_factory=dict)
    """IP addresses by interface index, where an event of the system configuration gave them (no prefix lengths)"""
    drop_reason_texts: dict[int, str] = field(default_factory=dict)
    """the trace's own DropReason map"""
    schemas: Schemas = field(default_factory=Schemas)
    """what the trace says about its own events"""
    services: dict[tuple[int, str], Service] = field(default_factory=dict)
    """by process id and name"""
    volumes: dict[str, str] = field(default_factory=dict)
    """DOS path ("C:") by NT path ("\\Device\\HarddiskVolume3")"""
    system_directory: str = ""
    """e.g. "C:\\Windows\\system32\\" """
    annex: Annex = field(default_factory=Annex)
    """where packets that lie in several records are put together"""
    buffer_offsets: NDArray[np.int64] | None = None
    """file offset of each buffer, by the column ``buffer`` of the records; None where it is not known"""


class PacketProvider(Protocol):
    """One ETW provider whose events are packets.

    ``buffer`` is the chunk's bytes and ``records`` rows of ``etwcap.etl.records.RECORD`` of this provider only, in
    time order. Every length is checked against the record's own payload; a record that does not fit is no packet:
    it is counted in ``context.receipt`` (kind "malformed") and reported with its place through
    ``facts.description.add_damage``.
    """

    tap: str
    """ndiscap, pktmon, wfp, ras"""
    guid: bytes
    """provider GUID as it lies in a record (16 bytes, Windows order)"""

    def __init__(self, context: Context, facts: TraceFacts) -> None: ...

    def packet_rows(self, records: Records) -> NDArray[np.bool_]:
        """Which of the records are packet events."""
        ...

    def learn(self, buffer: NDArray[np.uint8], records: Records) -> None:
        """Take in the records that are no packets. Called with the rundown first (before any packet), later with
        what comes on the way; the same record may come twice."""
        ...

    def decode(self, buffer: NDArray[np.uint8], records: Records) -> tuple[PacketTable, NDArray[np.intp]]:
        """The packets of the packet events, and for each the index of its record in ``records`` (ascending).

        The bytes of a packet lie in ``buffer``, or behind its end in ``facts.annex``. The bytes of its own record
        before a packet may be overwritten by a header that belongs there.

        Fills time, interface, direction, offset, captured, original, flags, process, thread, processor and, where
        the provider has them, packet_id, identity, appearance, stack, rank, point, drop_count, drop_reason,
        drop_location.
        """
        ...

    def finish(self) -> None:
        """Write what was counted into the receipt and the interfaces."""
        ...


def payload_spans(buffer: NDArray[np.uint8], records: Records) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First byte of each record's payload in the buffer, and its size; a record that leaves the buffer has none
    (size 0)."""
    start = records["offset"] + records["payload"]
    end = records["offset"] + records["size"]
    whole = (records["offset"] >= 0) & (start <= end) & (end <= buffer.size)
    return np.where(whole, start, 0), np.where(whole, end - start, 0)


def first_of_each(values: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first row of each distinct value, in row order, and for every row the number of its value in that order."""
    _, found, number = np.unique(values, return_index=True, return_inverse=True)
    in_order = np.argsort(found)
    return found[in_order], np.argsort(in_order)[number.reshape(-1)]


def add_addresses(interface: Interface, addresses: Iterable[str | IPv4Address | IPv6Address]) -> None:
    """Give the interface addresses whose prefix lengths are not known; text that is no address is passed over."""
    for address in addresses:
        try:
            host = ip_interface(address)
        except ValueError:
            continue
        if isinstance(host, IPv4Interface):
            if host not in interface.ipv4:
                interface.ipv4.append(host)
        elif host not in interface.ipv6:
            interface.ipv6.append(host)


def report_malformed(context: Context, facts: TraceFacts, records: Records, what: str) -> None:
    """Count records that do not hold what their event id says, and name the first places."""
    context.receipt.note("malformed", "events whose payload does not fit their layout were passed over", len(records))
    description = facts.description
    name = description.inputs[0].name if description.inputs else ""
    for record in records:
        buffer, position = int(record["buffer"]), int(record["position"])
        known = facts.buffer_offsets is not None and buffer < len(facts.buffer_offsets)
        offset = int(facts.buffer_offsets[buffer]) if known and facts.buffer_offsets is not None else 0
        place = f"event {int(record['id'])} at {position} of the unpacked buffer {buffer}"
        description.add_damage(Damage(name, offset, f"{what} ({place})", int(record["size"])))
