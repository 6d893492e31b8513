"""The published method tells what it is said to tell, and the rebuilder tells it too."""

from __future__ import annotations

import random

from etwcap.native.ipv6_rebuild import To
from ipv6_baseline import UNKNOWN, Baseline
from ipv6_records import Received, address, icmpv6, rebuild, tcp, udp

A, B, C = "2001:db8::a", "2001:db8::b", "2001:db8::c:5"


def test_baseline_tells_what_checksums_tell() -> None:
    method = Baseline([address(C), address(B)])
    a, b = address(A), address(B)
    assert method.tell(a, udp(a, b, (5000, 53), b"question")) == (17, b)
    assert method.tell(a, tcp(a, b, (5000, 80), b"GET /")) == (6, b)
    assert method.tell(a, icmpv6(a, b, 128, b"\0\1\0\2abcd")) == (58, b)
    assert method.tell(a, udp(a, b, (5000, 53), b"question", offload="left")) == (17, UNKNOWN)
    assert method.tell(a, tcp(a, b, (5000, 80), b"GET /", offload="left")) == (255, UNKNOWN)
    assert method.tell(a, b"\x11\0\0\1" + bytes(20)) == (44, UNKNOWN)


def test_rebuilder_agrees_wherever_the_baseline_knows_both(backend: str) -> None:
    chance = random.Random(7)
    a, b = address(A), address(B)
    packets = []
    for _ in range(60):
        body = chance.randbytes(chance.randrange(0, 90))
        ports = chance.randrange(1024, 65536), chance.randrange(1, 1024)
        packets.append(chance.choice([udp, tcp])(a, b, ports, body))
    got = rebuild([Received(a, data) for data in packets], [B, C])
    method = Baseline([address(B), address(C)])
    for data, header in zip(packets, got, strict=True):
        protocol, to = method.tell(a, data)
        assert (header.protocol, address(header.to)) == (protocol, to)
        assert header.where in (To.ONLY_SUM, To.FLOW_SUM)
