"""The kernels of causal order: both back ends agree on anything, and nothing leaves its buffer."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from etwcap.native import use_backend
from etwcap.native.order import AT_ONCE, END, MOST, CausalOrder
from etwcap.native.order_facts import FACT, TCP, order_facts, own_table
from etwcap.packets.linktypes import RAW_IP
from frames import ACK, FIN, SYN, ip, tcp
from frames import TCP as TCP_PROTOCOL
from made_captures import ADDRESSES4, ADDRESSES6, LINKS, framed

OWN = [bytes(10) + b"\xff\xff" + ADDRESSES4[0].packed, ADDRESSES6[0].packed]
WINDOW = 1000


def facts_of(packets: list[tuple[int, bytes]], own: list[bytes], directions: list[int] | None = None) -> NDArray[Any]:
    lengths = np.array([len(data) for _, data in packets], np.uint32)
    offset = np.cumsum(lengths, dtype=np.int64) - lengths
    buffer = np.frombuffer(b"".join(data for _, data in packets), np.uint8)
    link = np.array([kind for kind, _ in packets], np.uint16)
    table = own_table(np.frombuffer(b"".join(own), np.uint8).reshape(-1, 16))
    direction = np.array(directions or [0] * len(packets), np.uint8)
    return order_facts(buffer, offset, lengths, lengths + 7, link, direction, table)


def both_facts(packets: list[tuple[int, bytes]], directions: list[int] | None = None) -> NDArray[Any]:
    found = []
    for name in ("native", "twin"):
        with use_backend(name):
            found.append(facts_of(packets, OWN, directions))
    assert found[0].tobytes() == found[1].tobytes()
    return found[0]


@pytest.mark.usefixtures("both_cores")
@pytest.mark.parametrize("number", range(40))
def test_both_back_ends_read_the_same_facts(number: int) -> None:
    source = random.Random(number)
    packets = [(link, framed(link, source)) for link in source.choices(LINKS, k=100)]
    packets = [
        (link, data[: source.randrange(len(data) + 1)] if source.random() < 0.3 else data) for link, data in packets
    ]
    both_facts(packets)
    both_facts(packets, source.choices((0, 1, 2, 3, 255), k=100))


@pytest.mark.usefixtures("both_cores")
@pytest.mark.parametrize(("data", "flags", "end"), [(10, ACK, 9), (0, SYN, 0), (1, FIN | ACK, 1), (0, ACK, 0xFFFFFFFF)])
def test_sequence_numbers_start_again_at_0(data: int, flags: int, end: int) -> None:
    segment = tcp(1, 2, 0xFFFFFFFF, 0, flags, bytes(data))
    (fact,) = both_facts([(RAW_IP, ip(ADDRESSES4[0], ADDRESSES4[1], TCP_PROTOCOL, segment))])
    assert (fact["seq"], fact["end"]) == (0xFFFFFFFF, end)


PORTS = (53, 67, 68, 69, 111, 123, 137, 161, 162, 500, 546, 547, 1645, 1812, 2049, 3478, 3799, 4500, 5355, 40000, 41000)


@pytest.mark.usefixtures("both_cores")
@given(st.sampled_from(PORTS), st.sampled_from(PORTS), st.binary(max_size=300), st.booleans())
def test_both_back_ends_read_any_datagram_alike(source: int, target: int, body: bytes, six: bool) -> None:
    udp = source.to_bytes(2, "big") + target.to_bytes(2, "big") + bytes(4) + body
    one, other = ADDRESSES6[:2] if six else ADDRESSES4[:2]
    head = (
        b"\x60\0\0\0" + len(udp).to_bytes(2, "big") + b"\x11\x40"
        if six
        else b"\x45\0" + (20 + len(udp)).to_bytes(2, "big") + bytes(5) + b"\x11\0\0"
    )
    both_facts([(101, head + one.packed + other.packed + udp)])


@pytest.mark.usefixtures("both_cores")
@given(st.sampled_from(LINKS), st.binary(max_size=200), st.sampled_from([b"", b"\x45", b"\x60", b"\x4f"]))
def test_any_bytes_are_read_alike(link: int, data: bytes, start: bytes) -> None:
    both_facts([(link, start + data)], [1])


def test_a_packet_outside_the_buffer_is_an_error(backend: str) -> None:
    one = np.array([1], np.uint32)
    for offset, captured in ((-1, 1), (10, 1), (0, 11), (2**62, 1)):
        where, size = np.array([offset], np.int64), np.array([captured], np.uint32)
        with pytest.raises(IndexError, match="packet 0 lies outside"):
            order_facts(
                np.zeros(10, np.uint8), where, size, size, one.astype(np.uint16), one.astype(np.uint8),
                np.empty(0, np.uint64),
            )  # fmt: skip


def segments(source: random.Random, count: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """TCP facts of a few connections in which anything happens, with their times."""
    facts, times = np.zeros(count, FACT), np.zeros(count, np.int64)
    base = {key: source.choice((0, 1000, 2**32 - 300)) for key in range(1, 4)}
    now = 10**6
    for row in range(count):
        now += source.choice((0, 0, 1, 20, 300, 5000))
        key = source.randrange(1, 4)
        size = source.choice((0, 0, 1, 100))
        flags = source.choice((16, 16, 16, 16, 17, 2, 18, 4, 20))
        seq = base[key] + 50 * source.randrange(12)
        blocks = source.choice((0, 0, 1, 2))
        edges = [base[key] + 50 * source.randrange(14) for _ in range(2 * blocks)] + [0] * (8 - 2 * blocks)
        end = seq + size + (flags & 1) + (flags >> 1 & 1)
        ack = base[key] + 50 * source.randrange(12)
        role = source.choice((1, 1, 1, 1, 1, 2, 3, 4))
        stamp, echo = (base[key] + source.randrange(6) for _ in range(2))
        facts[row] = (
            key if role in (1, 4) else source.randrange(4), source.randrange(4), source.randrange(4), seq % 2**32,
            end % 2**32, ack % 2**32, source.randrange(3) << 16 | source.randrange(5), stamp % 2**32,
            echo % 2**32, [edge % 2**32 for edge in edges], role, source.choice((1, 2, 3)), source.randrange(2), flags,
            blocks, source.random() < 0.7, 0,
        )  # fmt: skip
        times[row] = now - source.choice((0, 0, 0, 40, 800))
    return facts, times


def through(facts: NDArray[Any], times: NDArray[np.int64], cuts: list[int]) -> list[tuple[int, int, int]]:
    order = CausalOrder(WINDOW)
    given, latest = [], 0
    for start, stop in zip([0, *cuts], [*cuts, len(facts)], strict=True):
        latest = max([latest, *times[start:stop].tolist()])
        given.append(order.order(facts[start:stop], times[start:stop], latest))
    given.append(order.flush())
    columns = (np.concatenate([each[column] for each in given]).tolist() for column in range(3))
    return list(zip(*columns, strict=True))


@pytest.mark.usefixtures("both_cores")
@given(st.integers(0, 2**32), st.integers(1, 120), st.lists(st.integers(0, 120), max_size=3))
def test_both_back_ends_order_alike_and_lose_nothing(seed: int, count: int, cuts: list[int]) -> None:
    facts, times = segments(random.Random(seed), count)
    at = sorted(min(cut, count) for cut in cuts)
    results = []
    for name in ("native", "twin"):
        with use_backend(name):
            results.append(through(facts, times, at))
    assert results[0] == results[1]
    assert sorted(number for number, _, _ in results[0]) == list(range(count))
    for number, time, reason in results[0]:
        assert 0 <= time - times[number] <= WINDOW
        assert reason or time == times[number]


def test_more_packets_than_the_ring_holds_pass_all_the_same(backend: str) -> None:
    count = 3 * MOST + AT_ONCE if backend == "native" else MOST + 2
    facts = np.zeros(count, FACT)
    facts["role"], facts["key"], facts["side"], facts["flags"] = TCP, 1 + np.arange(count) // 8, 2, 16
    facts["ack"] = np.arange(count)[::-1]
    order = CausalOrder(WINDOW)
    number, time, _ = order.order(facts, np.full(count, 77, np.int64), 77)
    rest, _, _ = order.order(facts[:0], time[:0], END)
    assert len(number) >= count - MOST
    assert sorted([*number.tolist(), *rest.tolist()]) == list(range(count))


def test_the_oldest_of_too_many_connections_are_forgotten(backend: str) -> None:
    count = 5000
    facts = np.zeros(count, FACT)
    facts["role"], facts["side"], facts["flags"] = TCP, 2, 16
    facts["key"] = np.arange(1, count + 1, dtype=np.uint64) << np.uint64(20)  # one bucket
    order = CausalOrder(WINDOW)
    number, _, _ = order.order(facts, np.arange(count, dtype=np.int64), END)
    assert number.tolist() == list(range(count))
