"""The traces that are measured, written with the ETL writer: ``python -m benchmarks.make KIND FILE [KEY=NUMBER ...]``.

Prints the number of packet events. Nothing here runs Python once per record.
"""

from __future__ import annotations

import itertools
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests"))

from etwcap.etl.build import event_record
from etwcap.etl.build_bulk import RecordRun
from etwcap.etl.writer import EtlWriter, LogfileSettings
from etwcap.providers import ndiscap_build, ndiscap_layout, pktmon_build, pktmon_layout
from frames import (
    GATEWAY_MAC,
    HOST,
    HOST6,
    HOST_MAC,
    IPV4,
    IPV6,
    SERVER,
    SERVER6,
    TCP,
    UDP,
    ethernet,
    ip,
    tcp,
    traffic,
    udp,
)
from pktmon_machine import LAST_BUILD_WITH_STABLE_IDS, STACKS, WIRED, PktMonTrace, pktmon_settings
from traces import packets, pktmon_trace

THREAD_AT, PROCESS_AT, TIME_AT, PAYLOAD_AT = 8, 12, 16, 80
"""Offsets in an EVENT_HEADER record."""
NOISE_AT = (26, 38, 46, 66, 74, 82, 90, 98)
"""Offsets in an Ethernet frame where other bytes lie in each packet."""
BATCH = 16 << 20
"""Bytes made at once."""


def ndiscap(path: Path, *, frame: int, packets: int, processors: int = 4) -> int:
    """Plain event 1001 traces: frames of one size, in and out in turn, on one adapter."""
    settings = LogfileSettings(processors=processors, buffer_size=1 << 20, build=19044, relogged=True)
    source = bytes(range(256)) * (frame // 256 + 1)
    records = []
    for sent in (False, True):
        head = next(seen.frame for seen in traffic() if seen.sent == sent and seen.frame[12:14] == b"\x08\x00")[:54]
        payload = ndiscap_build.build_packet_event((head + source)[:frame], miniport=6)
        keyword = ndiscap_build.packet_keyword(sent=sent)
        records.append(event_record(ndiscap_layout.GUID, 1001, payload, time=0, keyword=keyword))
    run = RecordRun(records)
    random = np.random.default_rng(1)
    with EtlWriter(path, settings) as trace:
        for copies, first, processor in _shares(packets // 2, run, processors):
            rows = run.copies(copies)
            for record in range(2):
                stamps = settings.first_stamp + (first + np.arange(copies)) * 20 + record * 10 + processor
                run.put(rows, record, TIME_AT, stamps.astype("<i8"))
                run.put(rows, record, PAYLOAD_AT + 12 + 42, random.integers(0, 2**63, copies, "<u8"))
            trace.add_many(processor, rows.reshape(-1), run.ends(copies))
    return packets // 2 // processors * processors * 2


def pktmon(path: Path, *, build: int, events: int, processors: int = 4, packet_size: int = 128) -> int:
    """A compressed PktMon trace: the made-up traffic on two adapters, every appearance, headers and data changing."""
    settings = pktmon_settings(build, processors, buffer_size=16 << 20)
    trace = PktMonTrace(path, build=build, packet_size=packet_size, settings=settings)
    records, owners = [], []
    chosen = packets(256)
    for number, seen in enumerate(chosen):
        stack = STACKS[number // 16 % 2]
        for step, (payload, point) in enumerate(zip(trace.sightings(stack, seen), stack.path(seen), strict=True)):
            records.append(
                event_record(
                    pktmon_layout.GUID, 160, payload, time=number * 200 + step * 10, keyword=0x10, process=0, thread=0
                )
            )
            owners.append((number, PAYLOAD_AT + 34 + (20 if point.wifi else 0), len(seen.frame)))
    run = RecordRun(records)
    offsets = np.array([int.from_bytes(record[16:24], "little") for record in records])
    stable = build <= LAST_BUILD_WITH_STABLE_IDS
    random = np.random.default_rng(1)
    span = (len(chosen) + 1) * 200
    for copies, first, processor in _shares(events // len(run), run, processors):
        rows = run.copies(copies)
        turn = first + np.arange(copies)
        noise = random.integers(0, 2**63, (len(chosen), len(NOISE_AT), copies), "<u8")
        threads = random.integers(1, 2000, (len(chosen), 2, copies), "<u4") * 4
        for record, (packet, frame_at, length) in enumerate(owners):
            stamps = settings.first_stamp + turn * span + offsets[record] + 2 * processor
            group = turn * len(chosen) + packet if stable else turn * len(run) + record
            run.put(rows, record, TIME_AT, stamps.astype("<i8"))
            run.put(rows, record, PAYLOAD_AT, (group + (processor << 48) + 1).astype("<u8"))
            run.put(rows, record, THREAD_AT, threads[packet, 0])
            run.put(rows, record, PROCESS_AT, threads[packet, 1])
            room = min(length, packet_size - 20)
            for at, values in zip(NOISE_AT, noise[packet], strict=True):
                if at + 8 <= room:
                    run.put(rows, record, frame_at + at, values)
        trace.writer.add_many(processor, rows.reshape(-1), run.ends(copies))
        end = settings.clock.to_unix_ns(int(stamps[-1]))
        trace.last = max(trace.last, (end, processor))
    trace.close()
    return events // len(run) // processors * processors * len(run)


def many_processors(path: Path, *, processors: int, megabytes: int, compressed: int, frame: int = 1514) -> int:
    """Buffers of 16 MiB on many processors, the last of which writes at the beginning and at the end only."""
    settings = LogfileSettings(
        processors=processors, buffer_size=16 << 20, relogged=True, compressed=bool(compressed), build=26100
    )
    trace = PktMonTrace(path, build=26100, settings=settings)
    point = WIRED.points[0]
    body = packets(1)[0].frame[:12] + b"\x08\0" + bytes(frame - 14)
    payload = pktmon_build.build_packet_event(body, direction=3, component_id=point.component, edge_id=point.edge)
    record = event_record(pktmon_layout.GUID, 160, payload, time=0, keyword=0x10)
    run = RecordRun([record])
    count = megabytes * 1_000_000 // run.template.size // (processors - 1) * (processors - 1)

    def put(copies: int, first: int, processor: int) -> None:
        rows = run.copies(copies)
        turn = first + np.arange(copies)
        stamps: NDArray[np.int64] = settings.first_stamp + turn * 10 * processors + 10 * processor
        run.put(rows, 0, TIME_AT, stamps.astype("<i8"))
        run.put(rows, 0, PAYLOAD_AT, (turn + 1 + (processor << 48)).astype("<u8"))
        run.put(rows, 0, PAYLOAD_AT + 34 + 16, turn.astype("<u4"))
        trace.writer.add_many(processor, rows.reshape(-1), run.ends(copies))
        trace.last = max(trace.last, (settings.clock.to_unix_ns(int(stamps[-1])), processor))

    idle = processors - 1
    put(1, 0, idle)
    for copies, first, processor in _shares(count, run, processors - 1):
        put(copies, first, processor)
    trace.writer.add(
        idle, event_record(pktmon_layout.GUID, 160, payload, time=settings.raw(trace.last[0] + 1000), keyword=0x10)
    )
    trace.last = (trace.last[0] + 1000, idle)
    trace.close()
    return count + 2


def small(path: Path, *, count: int = 80) -> int:
    """A PktMon trace of a few kilobytes, as a user has one to look at."""
    written = pktmon_trace(path, count)
    return written.sightings + written.drops


def _shares(copies: int, run: RecordRun, processors: int) -> list[tuple[int, int, int]]:
    """(copies, number of the first on its processor, processor): batches that give every processor the same."""
    each = max(1, copies // processors)
    batch = max(1, BATCH // run.template.size)
    firsts = range(0, each, batch)
    return [(min(batch, each - first), first, cpu) for first, cpu in itertools.product(firsts, range(processors))]


def mixed(path: Path, *, count: int) -> int:
    """A pcap file of 100-byte frames: TCP and UDP over both versions of IP, on 20 pairs of ports, one of them 443."""
    ports = [443, *range(8000, 8004)]
    bodies = [
        ip(source, target, protocol, body)
        for source, target in ((HOST, SERVER), (HOST6, SERVER6))
        for port in ports
        for protocol, body in ((TCP, tcp(51000, port, 1, 1, 16, bytes(26))), (UDP, udp(51000, port, bytes(26))))
    ]
    made = [ethernet(HOST_MAC, GATEWAY_MAC, IPV4 if body[0] >> 4 == 4 else IPV6, body) for body in bodies]
    packed = b"".join(struct.pack("<IIII", 1, 0, 100, 100) + frame[:100].ljust(100, b"\0") for frame in made)
    batch = packed * 1000
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for _ in range(max(1, count // (1000 * len(made)))):
            file.write(batch)
    return max(1, count // (1000 * len(made))) * 1000 * len(made)


MAKERS: dict[str, Callable[..., int]] = {
    "ndiscap": ndiscap,
    "pktmon": pktmon,
    "many_processors": many_processors,
    "small": small,
    "mixed": mixed,
}


def main(arguments: list[str]) -> None:
    kind, path, *settings = arguments
    numbers = {key: int(value) for key, value in (setting.split("=") for setting in settings)}
    print(MAKERS[kind](Path(path), **numbers))


if __name__ == "__main__":
    main(sys.argv[1:])
