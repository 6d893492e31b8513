"""What a tap is told of a filter never loses a packet that the filter wants."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.errors import UsageError
from etwcap.filters.compiled import Filter
from etwcap.filters.parser import parse
from etwcap.filters.split import ANYTHING, MOST_CONSTRAINTS, TAPS, Constraint, Tap, split
from etwcap.native.filter import filter_run
from filter_packets import Expressions, packets_of

FRAMES = packets_of(1, damaged=False)


def accepts(constraint: Constraint, frame: bytes) -> bool:
    """What a tap does with a frame, as Microsoft's pages describe it."""
    macs = {frame[:6], frame[6:12]}
    (kind,) = struct.unpack_from(">H", frame, 12)
    addresses, protocol, ports, flags = [], None, [], 0
    body = frame[14:]
    if kind == 0x0800 and len(body) >= 20:
        addresses, protocol, later = [body[12:16], body[16:20]], body[9], int.from_bytes(body[6:8], "big") & 0x1FFF
        body = b"" if later else body[(body[0] & 15) * 4 :]
    elif kind == 0x86DD and len(body) >= 40:
        addresses, protocol, body = [body[8:24], body[24:40]], body[6], body[40:]
    if protocol in (6, 17) and len(body) >= 4:
        ports = list(struct.unpack_from(">HH", body))
    if protocol == 6 and len(body) >= 14:
        flags = body[13]
    return (
        constraint.ether_type in (None, kind)
        and set(constraint.macs) <= macs
        and constraint.protocol in (None, protocol)
        and both_occur([ip_network(net[1:]) for net in constraint.nets], [ip_address(each) for each in addresses])
        and all(port in ports for port in constraint.ports)
        and (not constraint.flags or flags & constraint.flags != 0)
    )


def both_occur(nets: list, addresses: list) -> bool:  # type: ignore[type-arg]
    if not nets:
        return True
    if not addresses:
        return False
    orders = (addresses, addresses[::-1])
    return any(all(address in net for net, address in zip(nets, order, strict=False)) for order in orders)


def wanted(expression: str) -> list[bytes]:
    """The frames that the whole filter lets through."""
    lengths = np.array([len(frame) for frame in FRAMES], np.int64)
    code = Filter(expression).program(1)
    keep = filter_run(
        code, np.zeros(1, np.uint32), np.frombuffer(b"".join(FRAMES), np.uint8), np.cumsum(lengths) - lengths,
        lengths.astype(np.uint32), lengths.astype(np.uint32), np.zeros(len(FRAMES), np.int32),
    )  # fmt: skip
    return [frame for frame, kept in zip(FRAMES, keep, strict=True) if kept]


@given(st.integers(0, 1 << 32))
def test_a_packet_that_the_filter_wants_passes_what_the_tap_is_told(seed: int) -> None:
    expression = Expressions(seed).expression()
    try:
        frames = wanted(expression)
    except UsageError:
        return
    for tap in TAPS:
        constraints = split(parse(expression), tap).constraints
        seen = [frame for frame in frames if tap != "wfp" or frame[12:14] in (b"\x08\x00", b"\x86\xdd")]
        lost = [frame.hex() for frame in seen if not any(accepts(each, frame) for each in constraints)]
        assert lost == [], (expression, tap, constraints)


@pytest.mark.parametrize(
    ("expression", "tap", "told"),
    [
        ("tcp port 443", "pktmon", ["protocol 6, port 443"]),
        ("ip host 192.0.2.1 and tcp port 443", "pktmon", ["EtherType 0x0800, IP 192.0.2.1/32, protocol 6, port 443"]),
        ("tcp port 80 and port 443", "pktmon", ["protocol 6, port 80, port 443"]),
        ("udp port 53 or arp", "pktmon", ["protocol 17, port 53", "EtherType 0x0806"]),
        ("tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "pktmon", ["EtherType 0x0800, protocol 6, TCP flags 0x03"]),
        ("ether host 02:00:00:00:00:01 and ip", "pktmon", ["EtherType 0x0800, MAC 02:00:00:00:00:01"]),
        ("not tcp", "pktmon", []),
        ("vlan 5 and ip", "pktmon", []),
        ("tcp or len > 5", "pktmon", []),
        ("ip or arp", "ndiscap", ["Ethernet.Type=(0x0800,0x0806)"]),
        ("ip proto 6", "ndiscap", ["Ethernet.Type=0x0800 Protocol=6"]),
        ("ip host 192.0.2.1", "ndiscap", ["Ethernet.Type=0x0800 IPv4.Address=192.0.2.1"]),
        ("tcp port 443", "ndiscap", []),
        ("tcp port 443", "wfp", ["TCP port 443"]),
        ("ip and udp", "wfp", ["IPv4"]),
        ("tcp port 443 or udp port 443", "wfp", []),
        ("host 192.0.2.1", "wfp", ["address 192.0.2.1"]),
        ("host 2001:db8::1 and tcp", "wfp", ["address 2001:db8::1"]),
        ("host 192.0.2.1 or host 192.0.2.2", "wfp", ["IPv4"]),
        ("net 192.0.2.0/24", "wfp", ["IPv4"]),
        ("arp", "wfp", []),
    ],
)
def test_what_a_tap_is_told(expression: str, tap: Tap, told: list[str]) -> None:
    assert list(split(parse(expression), tap).pushed) == told


def test_two_nets_that_one_address_can_satisfy_are_not_asked_for_as_two_addresses() -> None:
    (constraint,) = split(parse("ip host 10.0.0.1 and ip net 10.0.0.0/8"), "pktmon").constraints
    assert constraint.nets == ((4, 0x0A000001, 32),)


def test_a_tap_is_told_no_more_filters_than_it_takes() -> None:
    many = " or ".join(f"ip host 192.0.2.{n}" for n in range(100))
    assert split(parse(many), "pktmon").constraints == (Constraint(ether_type=0x0800),)
    ports = " or ".join(f"ip proto {n}" for n in range(MOST_CONSTRAINTS))
    assert len(split(parse(ports), "pktmon").constraints) == MOST_CONSTRAINTS


def test_an_empty_filter_tells_a_tap_nothing() -> None:
    assert split(None, "pktmon").constraints == (ANYTHING,)
    assert split(None, "pktmon").lines() == [
        "told to pktmon",
        "  nothing: every packet passes",
        "then the whole filter",
    ]
