"""Small made-up traces of each kind, for tests. Every function writes one file and returns what a reader must find
in it."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from etwcap.etl import build_facts, layout
from etwcap.etl.build import event_record, full_header_record, perfinfo_record, system_record
from etwcap.etl.writer import EtlWriter, LogfileSettings
from etwcap.providers import ndiscap_build, ndiscap_layout
from frames import HOST, TCP, Seen, ip, tcp, traffic, wifi
from pktmon_machine import (
    LOOPBACK_INTERFACE,
    STACKS,
    WIFI,
    WIRED,
    PktMonTrace,
    machine_facts,
    pktmon_settings,
    rebuilt_header,
)

START_NS = 1_705_526_400_000_000_000
"""The start of every trace here: LogfileSettings.start in ns since 1970 UTC."""
STEP_NS = 1_000_000
"""From one packet to the next."""

NDISCAP_MEDIA = {"ethernet": ndiscap_layout.Keyword.ETHERNET, "wifi": ndiscap_layout.Keyword.NATIVE_802_11,
                 "ip": ndiscap_layout.Keyword.WIRELESS_WAN}  # fmt: skip


class Expected(NamedTuple):
    """A packet that was written."""

    time: int
    """ns since 1970 UTC"""
    data: bytes
    sent: bool
    interface: int
    """interface index of Windows; 0 where the trace names none"""


@dataclass(slots=True)
class Written:
    """A trace and what is in it."""

    path: Path
    packets: list[Expected] = field(default_factory=list)
    """once per packet, nearest the wire, in time order"""
    sightings: int = 0
    """packet events of passed packets"""
    drops: int = 0
    """drop events"""


def packets(count: int) -> list[Seen]:
    """The first packets of the made-up traffic."""
    return list(itertools.islice(traffic(), count))


def ndiscap_trace(
    path: Path,
    count: int = 40,
    *,
    layers: int = 1,
    medium: str = "ethernet",
    trailer: bool = True,
    settings: LogfileSettings | None = None,
    traffic: Iterable[Seen] | None = None,
    cards: bool = True,
) -> Written:
    """A trace of ``netsh trace start capture=yes``: each packet once per layer of interface 6, the lowest layer at
    the wire."""
    settings = settings or LogfileSettings(processors=2, relogged=True, build=19044)
    written = Written(path)
    keyword_medium = NDISCAP_MEDIA[medium]
    with EtlWriter(path, settings) as trace:
        time = START_NS
        for number, seen in enumerate(packets(count) if traffic is None else traffic):
            time += STEP_NS
            data = seen.frame
            if medium == "wifi":
                data = wifi(seen.frame, sent=seen.sent)
            elif medium == "ip":
                if seen.frame[12:14] == b"\x08\x06":
                    continue
                data = seen.frame[14:]
            written.packets.append(Expected(time, data, seen.sent, 6))
            keyword = ndiscap_build.packet_keyword(sent=seen.sent, medium=keyword_medium)
            order = range(layers)
            for step, layer in enumerate(reversed(order) if seen.sent else order):
                written.sightings += 1
                payload = ndiscap_build.build_packet_event(data, miniport=6, lower=6 + layer, trailer=trailer)
                # the sighting at the wire has the packet's time
                stamp = settings.raw(time + 1000 * (step - layers + 1 if seen.sent else step))
                record = event_record(ndiscap_layout.GUID, 1001, payload, time=stamp, keyword=keyword)
                trace.add(number % settings.processors, record)
        last = (number % settings.processors) if written.packets else 0
        for layer in range(layers):
            time += 1000
            payload = ndiscap_build.build_layer(6, 6 + layer, {"ethernet": 0, "wifi": 16, "ip": 9}[medium])
            trace.add(last, event_record(ndiscap_layout.GUID, 1014, payload, time=settings.raw(time), level=5))
        if cards:
            for opcode, facts in machine_facts(settings.build):
                trace.add(last, full_header_record(layout.SYSTEM_CONFIG_EX, opcode, facts, time=settings.raw(time)))
    return written


def pktmon_trace(
    path: Path,
    count: int = 40,
    *,
    build: int = 26100,
    rundown: bool = True,
    drops: bool = True,
    packet_size: int = 0,
    filter_id: int = 0,
    settings: LogfileSettings | None = None,
) -> Written:
    """A trace of ``pktmon``: packets in turn on a Wi-Fi and an Ethernet adapter, every appearance, with the rundown.

    With ``drops``: every tenth received packet was refused above the network layer, and one segment over loopback
    that exists
    only as a drop. ``packets`` are the sightings at the miniports, the loopback one not among them.
    """
    settings = settings or pktmon_settings(build)
    written = Written(path)
    trace = PktMonTrace(path, build=build, packet_size=packet_size, filter_id=filter_id, settings=settings)
    time = START_NS
    for number, seen in enumerate(packets(count)):
        time += STEP_NS
        stack, processor = STACKS[number // 8 % 2], number % settings.processors
        trace.packet(stack, seen, time, processor=processor)
        path_points = stack.path(seen)
        at_wire = time + 1000 * (len(path_points) - 1 if seen.sent else 0)
        data = (
            wifi(seen.frame, sent=seen.sent, protected=build <= 20348 and not seen.sent)
            if stack is WIFI
            else seen.frame
        )
        data = data[: packet_size or None]
        written.packets.append(Expected(at_wire, data, seen.sent, stack.index))
        written.sightings += len(path_points)
        if drops and number % 10 == 9 and seen.frame[12:14] == b"\x08\x00":
            component = stack.ip_interface if build > 19042 else stack.points[0].component
            trace.drop(
                component,
                seen.frame[14:],
                time + 50_000,
                reason=902,
                location=0xE0004138,
                sent=seen.sent,
                processor=processor,
            )
            written.drops += 1
    if drops:
        time += STEP_NS
        segment = rebuilt_header(ip(HOST, HOST, TCP, tcp(50000, 50001, 1, 0, 2)))
        component = LOOPBACK_INTERFACE if build > 19042 else WIRED.points[0].component
        trace.drop(component, segment, time, reason=1204, location=0xE0004500)
        written.drops += 1
    trace.close(rundown=rundown)
    return written


def kernel_trace(path: Path, *, count: int = 50, settings: LogfileSettings | None = None) -> Written:
    """A trace of a kernel session: process, configuration and performance records, no packets."""
    settings = settings or LogfileSettings(
        processors=2, mode=layout.EVENT_TRACE_SYSTEM_LOGGER_MODE, logger_name="NT Kernel Logger"
    )
    with EtlWriter(path, settings) as trace:
        for number in range(count):
            stamp = settings.raw(START_NS + number * STEP_NS)
            processor = number % settings.processors
            trace.add(processor, perfinfo_record(0x0F43, struct.pack("<QI", number, 7), time=stamp))
            trace.add(processor, system_record(0x0303, bytes(64), time=stamp, process=4, thread=8))
        stamp = settings.raw(START_NS + count * STEP_NS)
        facts = {
            layout.HOOK_CPU_CONFIG: (
                3,
                build_facts.cpu_config("MADE-UP-PC", "WORKGROUP", processors=settings.processors),
            ),
            layout.HOOK_NIC_CONFIG: (
                2,
                build_facts.nic_config(WIRED.mac, 6, 6, WIRED.description, "192.0.2.11", "192.0.2.53"),
            ),
            layout.HOOK_SERVICES_CONFIG: (3, build_facts.services_config(1200, 7, "Dnscache", "DNS Client")),
            layout.HOOK_PLATFORM_CONFIG: (2, build_facts.platform_config("Made-up", "Model 1")),
        }
        for hook, (version, payload) in facts.items():
            trace.add(0, system_record(hook, payload, time=stamp, version=version))
    return Written(path)


def header_only_trace(path: Path, settings: LogfileSettings | None = None) -> Written:
    """A trace whose session ended, or crashed, before its first data buffer."""
    EtlWriter(path, replace(settings or LogfileSettings(), closed=False)).close()
    return Written(path)
