"""Core and twin tell the same of any bytes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etwcap.native import use_backend
from etwcap.native.ipv6_rebuild import Knowledge, Mode, Role
from etwcap.repair.ipv6_groups import GROUPS, SERVICES
from ipv6_records import Received, Recording, address, icmpv6, tcp, udp, with_checksum

HOSTS = [
    address(text)
    for text in ("2001:db8::a", "2001:db8::b", "2001:db8::1:a", "fe80::1", "fe80::2", "::1", "ff02::1", "::")
]


def _both(received: list[Received], *, limit: int = 1 << 10, own: int = 0, two_passes: bool = True) -> None:
    results = []
    for name in ("native", "twin"):
        with use_backend(name):
            knowledge = Knowledge(SERVICES, most_addresses=40, most_learnt=limit)
            knowledge.add(GROUPS[:10], Role.WELL_KNOWN)
            knowledge.add(np.frombuffer(b"".join(HOSTS[: own + 1]), np.uint8), Role.OWN if own else Role.LISTED)
            recording = Recording(received)
            got = []
            if two_passes:
                got.append(recording.run(knowledge, Mode.INFER | Mode.JOIN))
                knowledge.sole = 2
            got.append(recording.run(knowledge, Mode.WRITE | Mode.INFER))
            results.append((np.concatenate(got).tolist(), recording.buffer.tobytes(), len(knowledge)))
    assert results[0] == results[1]


_STARTS = st.sampled_from(
    [bytes.fromhex(text) for text in (
        "", "11000001", "06000000", "3a000101", "4500", "60000000", "00000800", "00006558", "3000", "31010101", "2000",
        "21010101", "03010024", "0205", "1001", "00000000c803", "8700", "8f00", "0100", "005000500000000000000000",
        "00010140", "8200", "8600", "8900",
    )]
)  # fmt: skip


@st.composite
def _receives(draw: st.DrawFn) -> Received:
    source, to = draw(st.sampled_from(HOSTS)), draw(st.sampled_from(HOSTS))
    data = draw(_STARTS) + draw(st.binary(max_size=70))
    made = draw(st.integers(0, 5))
    ports = draw(st.sampled_from([(5000, 80), (80, 5000), (5353, 5353), (546, 547)]))
    offload = draw(st.sampled_from(["", "left", "large"]))
    if made == 1:
        data = udp(source, to, ports, data, offload=offload)
    elif made == 2:
        flags = draw(st.sampled_from([2, 0x12, 0x10, 0x18, 0x11, 4]))
        data = tcp(source, to, ports, data, flags=flags, sequence=draw(st.integers(0, 300)), offload=offload)
    elif made == 3 and len(data) >= 4:
        data = icmpv6(source, to, draw(st.integers(0, 255)), data)
    elif made == 4 and len(data) >= 14:
        protocol, at = draw(st.sampled_from([(89, 12), (103, 2), (112, 6), (33, 6), (136, 6)]))
        data = with_checksum(source, to, protocol, data, at)
    elif made == 5:
        place = draw(st.sampled_from([0, 1, 9, 64, 65]))
        data = bytes((draw(st.sampled_from([6, 17, 58])), 0)) + place.to_bytes(2, "big") + b"\0\0\0\1" + data
    cut = draw(st.integers(0, 40))
    original = len(data) + cut
    return Received(
        source,
        data,
        original if cut < 20 else None,
        draw(st.none() | st.just(to)),
        draw(st.none() | st.sampled_from([1, 64, 255])),
        present=draw(st.sampled_from([0, 32])),
    )


@pytest.mark.usefixtures("both_cores")
@settings(max_examples=150)
@given(st.lists(_receives(), max_size=12), st.sampled_from([4, 1 << 10]), st.integers(0, 3), st.booleans())
def test_same_answers_for_any_records(received: list[Received], limit: int, own: int, two_passes: bool) -> None:
    _both(received, limit=limit, own=own, two_passes=two_passes)


@pytest.mark.usefixtures("both_cores")
def test_same_answers_for_much_traffic() -> None:
    chance = random.Random(3)
    hosts = [chance.randbytes(16) for _ in range(30)]
    received = []
    for _ in range(600):
        source, to = chance.sample(hosts, 2)
        ports = chance.choice([(5000, 80), (80, 5000), (123, 123)])
        data = chance.choice([udp, tcp])(source, to, ports, chance.randbytes(chance.randrange(60)))
        received.append(Received(source, data[: chance.choice([22, 30, 200])], len(data)))
    _both(received)
