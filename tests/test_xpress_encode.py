"""Plain LZ77 compression: what it writes unpacks by the rules of MS-XCA 2.4, on both back ends to the same bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etwcap.native import library, use_backend
from etwcap.native.xpress_encode import xpress_encode


def decode(data: bytes) -> bytes:
    """MS-XCA 2.4, slowly; asserts whatever a stream may not hold and that it ends as Windows ends one."""
    out = bytearray()
    at = count = flags = 0
    half: int | None = None
    while True:
        if count == 0:
            flags, at, count = int.from_bytes(data[at : at + 4], "little"), at + 4, 32
        count -= 1
        if not flags >> count & 1:
            out.append(data[at])
            at += 1
            continue
        if at == len(data):
            assert flags & (1 << count) - 1 == (1 << count) - 1, "the unused flags are ones"
            return bytes(out)
        token, at = int.from_bytes(data[at : at + 2], "little"), at + 2
        offset, length = (token >> 3) + 1, token & 7
        if length == 7:
            if half is None:
                half, at = at, at + 1
                length = data[half] & 15
            else:
                length, half = data[half] >> 4, None
            if length == 15:
                length, at = data[at], at + 1
                if length == 255:
                    length, at = int.from_bytes(data[at : at + 2], "little"), at + 2
                    if length == 0:
                        length, at = int.from_bytes(data[at : at + 4], "little"), at + 4
                        assert length > 0xFFFF
                    assert length >= 22
                    length -= 22
                length += 15
            length += 7
        length += 3
        assert offset <= len(out)
        for _ in range(length):
            out.append(out[-offset])


def encode_on_both(data: bytes) -> bytes:
    with use_backend("twin"):
        stream = xpress_encode(data)
    if library() is not None:
        assert xpress_encode(data) == stream
    return stream


repetitive = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.builds(lambda piece, n: piece * n, st.binary(min_size=1, max_size=12), st.integers(1, 300)),
    ),
    max_size=12,
).map(b"".join)


@given(repetitive)
@settings(deadline=None)
def test_what_was_compressed_unpacks_to_the_same_bytes(data: bytes) -> None:
    assert decode(encode_on_both(data)) == data


@pytest.mark.parametrize("more", [0, 6, 7, 21, 22, 23, 276, 277, 278, 0xFFFF, 0x10000, 200_000])
def test_every_form_of_match_length_is_written_right(more: int) -> None:
    data = b"abcdefg" + b"x" * (more + 4) + b"end" + b"y" * (more + 4)
    assert decode(encode_on_both(data)) == data


@pytest.mark.parametrize("literals", range(30, 36))
def test_the_flags_of_the_last_group_are_complete(literals: int) -> None:
    data = bytes(range(literals))
    stream = encode_on_both(data)
    assert decode(stream) == data
    assert len(stream) == literals + 4 * (literals // 32 + 1)


def test_nothing_compresses_to_the_end_mark_alone() -> None:
    assert encode_on_both(b"") == b"\xff\xff\xff\xff"


@pytest.mark.parametrize("distance", [8191, 8192, 8193])
def test_no_match_reaches_further_back_than_the_window(distance: int) -> None:
    phrase = b"a phrase that comes twice"
    once = phrase + bytes(distance - len(phrase))
    stream = encode_on_both(once + phrase)
    assert decode(stream) == once + phrase
    cost = len(stream) - len(encode_on_both(once))
    assert cost < len(phrase) if distance <= 8192 else cost >= len(phrase)


def test_bytes_that_do_not_compress_grow_by_their_flags_only() -> None:
    data = random.Random(2).randbytes(50_000)
    stream = encode_on_both(data)
    assert decode(stream) == data
    assert len(stream) <= len(data) + len(data) // 32 * 4 + 8
