"""Writes sample-pktmon.etl: made-up traffic as PktMon of Windows 11 would have logged it, for trying etwcap out.

    PYTHONPATH=src python examples/make_sample.py [FILE]

The same bytes every time. Two adapters, four processors, a compressed trace with its rundown: a name lookup, a web
page over
IPv4 and IPv6, pings, an ARP exchange; and three packets that were dropped, one of which exists only as a drop report.
All addresses are reserved for documentation (RFC 5737, RFC 3849); the MAC addresses are locally administered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from frames import (
    HOST,
    HOST6,
    SERVER6,
    TCP,
    UDP,
    Seen,
    address_question,
    framed,
    ip,
    name_lookup,
    ping,
    tcp,
    udp,
    web_request,
)
from pktmon_machine import LOOPBACK_INTERFACE, WIFI, WIRED, PktMonTrace, Stack, pktmon_settings, rebuilt_header

BUILD = 26100
START_NS = 1_705_526_400_000_000_000
SAMPLE = Path(__file__).with_name("sample-pktmon.etl")

ENDPOINT_NOT_FOUND, NOT_LOCALLY_DESTINED = 1204, 902
UDP_ENDPOINT, NETWORK_LAYER, TCP_ENDPOINT = 0xE0004600, 0xE0004138, 0xE0004500


def conversation() -> Iterator[tuple[int, Stack, Seen]]:
    """(ns since the packet before, adapter, frame)"""
    for seen in address_question():
        yield 400_000, WIFI, seen
    for seen in name_lookup(1):
        yield 9_000_000, WIFI, seen
    for seen in web_request(51000, body=6000):
        yield 3_100_000, WIFI, seen
    for number in (1, 2, 3):
        for seen in ping(number):
            yield 12_000_000, WIRED, seen
    for seen in web_request(51001, HOST6, SERVER6, body=1500):
        yield 2_700_000, WIRED, seen


def write_sample(path: Path) -> None:
    """Write the sample trace."""
    trace = PktMonTrace(path, build=BUILD, settings=pktmon_settings(BUILD, processors=4, buffer_size=1 << 24))
    time = START_NS
    for number, (pause, stack, seen) in enumerate(conversation()):
        time += pause
        trace.packet(stack, seen, time, processor=number // 3 % 4, process=4, thread=8 * (number // 3 % 4))

    stray = ip(IPv4Address("192.0.2.77"), HOST, UDP, udp(49500, 40123, b"nobody listens to this"), 7)
    time += 5_000_000
    trace.packet(WIFI, framed(stray, sent=False), time, processor=1)
    trace.drop(
        WIFI.ip_interface,
        rebuilt_header(stray),
        time + 40_000,
        reason=ENDPOINT_NOT_FOUND,
        location=UDP_ENDPOINT,
        processor=1,
    )

    foreign = ip(IPv4Address("192.0.2.77"), IPv4Address("192.0.2.200"), UDP, udp(49500, 40009, b"for another host"), 8)
    time += 5_000_000
    trace.packet(WIRED, framed(foreign, sent=False), time, processor=2)
    trace.drop(
        WIRED.ip_interface, foreign, time + 40_000, reason=NOT_LOCALLY_DESTINED, location=NETWORK_LAYER, processor=2
    )

    loopback = rebuilt_header(ip(IPv4Address("127.0.0.1"), IPv4Address("127.0.0.1"), TCP, tcp(50000, 50001, 1, 0, 2)))
    time += 5_000_000
    trace.drop(LOOPBACK_INTERFACE, loopback, time, reason=ENDPOINT_NOT_FOUND, location=TCP_ENDPOINT, processor=3)
    trace.close()


if __name__ == "__main__":
    write_sample(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE)
