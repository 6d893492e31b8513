"""The walk over headers and the rewriting of addresses: the same on both cores, whatever the bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from etwcap.native import use_backend
from etwcap.native.anonymize import read_addresses, write_addresses
from etwcap.native.headers import FIELD, IPV4, IPV6, MAC, ODD, UDP, find_addresses, header_lengths
from frames import HOST, RESOLVER, checksum, framed, ip, udp
from header_frames import QUESTION, all_frames, recorded_route

SEEDS = all_frames()
LINKS = [*sorted({link for link, _ in SEEDS}), 147]


@st.composite
def packets(draw: st.DrawFn) -> tuple[int, bytes]:
    """A frame with some bytes changed, cut somewhere, now and then under another link type."""
    link, frame = draw(st.sampled_from(SEEDS))
    data = bytearray(frame)
    for at, value in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=4)):
        data[at] = value
    cut = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    return draw(st.sampled_from([link, link, link, *LINKS])), bytes(data[:cut])


def laid(rows: list[tuple[int, bytes]]) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any], NDArray[Any]]:
    sizes = np.array([len(data) for _, data in rows], np.uint32)
    offsets = (np.cumsum(sizes) - sizes).astype(np.int64)
    buffer = np.frombuffer(bytearray(b"".join(data for _, data in rows)), np.uint8)
    return buffer, offsets, sizes, np.array([link for link, _ in rows], np.uint16)


@pytest.mark.usefixtures("both_cores")
@given(st.lists(packets(), max_size=5), st.randoms(use_true_random=False))
def test_both_back_ends_find_and_write_the_same(rows: list[tuple[int, bytes]], random: Any) -> None:
    results = []
    wanted = None
    for name in ("native", "twin"):
        with use_backend(name):
            buffer, *columns = laid(rows)
            lengths, fields = find_addresses(buffer, *columns)
            assert header_lengths(buffer, *columns).tolist() == lengths.tolist()
            old = read_addresses(buffer, fields)
            if wanted is None:
                wanted = np.frombuffer(random.randbytes(16 * len(fields)), np.uint8).reshape(-1, 16)
            write_addresses(buffer, fields, wanted)
            results.append((lengths.tolist(), fields.tolist(), old.tolist(), buffer.tobytes()))
    assert results[0] == results[1]
    assert all(length <= len(data) for length, (_, data) in zip(results[0][0], rows, strict=True))


@given(packets())
def test_addresses_lie_in_their_packet_and_apart_from_checksums_that_cover_them(row: tuple[int, bytes]) -> None:
    buffer, offsets, sizes, links = laid([row])
    for field in find_addresses(buffer, offsets, sizes, links)[1]:
        at, size = int(field["position"]), int(field["size"])
        assert at >= 0
        assert at + size <= len(row[1])
        for name in ("header", "body", "outer"):
            distance = int(field[name])
            assert distance == 0 or (at + distance >= 0 and at + distance + 2 <= len(row[1]))


@pytest.mark.usefixtures("both_cores")
def test_every_seed_gives_the_same_on_both_cores_at_every_cut() -> None:
    rows = [
        (link, frame[:cut]) for link, frame in dict.fromkeys(SEEDS) for cut in {*range(0, len(frame), 7), len(frame)}
    ]
    results = []
    for name in ("native", "twin"):
        with use_backend(name):
            buffer, *columns = laid(rows)
            lengths, fields = find_addresses(buffer, *columns)
            results.append((lengths.tolist(), fields.tolist()))
    assert results[0] == results[1]


def test_fields_are_named_with_the_checksums_over_them(backend: str) -> None:
    buffer, *columns = laid([(1, QUESTION)])
    lengths, fields = find_addresses(buffer, *columns)
    assert lengths.tolist() == [14 + 20 + 8]
    ip_fields = [(26, 24 - 26, 40 - 26, 0, IPV4, 4, UDP, 0), (30, 24 - 30, 40 - 30, 0, IPV4, 4, UDP, 0)]
    assert fields.tolist() == [(0, 0, 0, 0, MAC, 6, 0, 0), (6, 0, 0, 0, MAC, 6, 0, 0), *ip_fields]


def test_an_address_at_an_odd_place_keeps_the_checksum_right(backend: str) -> None:
    frame = recorded_route()
    buffer, *columns = laid([(1, frame)])
    fields = find_addresses(buffer, *columns)[1]
    odd = fields[(fields["flags"] & ODD) != 0]
    assert odd["position"].tolist() == [14 + 23, 14 + 27]
    addresses = np.frombuffer(bytes(range(1, 17)) * len(fields), np.uint8).reshape(-1, 16)
    write_addresses(buffer, fields, addresses)
    assert checksum(buffer[14 : 14 + 32].tobytes()) == 0


def test_a_udp_checksum_never_becomes_none(backend: str) -> None:
    packet = ip(HOST, RESOLVER, 17, udp(50000, 53, b"x"))
    buffer, *columns = laid([(1, framed(packet, sent=True).frame)])
    fields = find_addresses(buffer, *columns)[1]
    for value in range(0, 0x10000, 97):
        addresses = read_addresses(buffer, fields)
        addresses[2, :2] = value >> 8, value & 0xFF
        write_addresses(buffer, fields, addresses)
        assert buffer[40:42].any()


def test_more_addresses_than_expected_find_room(backend: str) -> None:
    groups = b"".join(b"\x04\0\0\0" + bytes([255, 2]) + bytes([n]) * 14 for n in range(200))
    body = b"\x8f\0\0\0\0\0\0\xc8" + groups
    packet = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x3a\x01" + bytes(32) + body
    buffer, *columns = laid([(101, packet)] * 3)
    fields = find_addresses(buffer, *columns)[1]
    assert len(fields) == 3 * 202
    assert (fields["kind"] == IPV6).all()


def test_what_lies_outside_the_buffer_is_refused(backend: str) -> None:
    link = np.ones(1, np.uint16)
    for offset, size in ((-1, 1), (0, 11), (11, 0), (2**62, 1)):
        with pytest.raises(IndexError):
            header_lengths(np.zeros(10, np.uint8), np.array([offset]), np.array([size], np.uint32), link)
    for position, distance in ((-1, 0), (5, 0), (0, 9), (0, -1)):
        field = np.zeros(1, FIELD)
        field["position"], field["size"], field["body"] = position, 6, distance
        with pytest.raises(IndexError):
            write_addresses(np.zeros(10, np.uint8), field, np.zeros((1, 16), np.uint8))
    field = np.zeros(1, FIELD)
    field["size"] = 17
    with pytest.raises(IndexError):
        read_addresses(np.zeros(40, np.uint8), field)
    with pytest.raises(ValueError, match="one address"):
        write_addresses(np.zeros(40, np.uint8), field, np.zeros((0, 16), np.uint8))
