"""The kernels under the choice of sightings: both back ends agree, and nothing leaves its buffer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from etwcap.native import use_backend
from etwcap.native.packetkeys import packet_keys
from etwcap.native.ranges import copy_ranges
from etwcap.native.sightings import HOLD, KEEP, LEAVE_OUT, RecentIds, keep_best

rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans(), st.integers(0, 2)), max_size=30)


def judged(table: list[tuple[int, int, bool, int]], deadline: int, known: list[int]) -> tuple[list[int], int]:
    recent = RecentIds(limit=8)
    recent.add(np.array(known, np.uint64))
    times = np.cumsum([row[3] for row in table], dtype=np.int64) if table else np.empty(0, np.int64)
    columns: list[NDArray[Any]] = [
        np.array([row[at] for row in table], kind) for at, kind in enumerate((np.uint64, np.uint32, np.bool_))
    ]
    verdict, first = keep_best(columns[0], columns[1], columns[2], times, deadline, recent)
    return verdict.tolist(), first


@pytest.mark.usefixtures("both_cores")
@given(rows, st.integers(-1, 40), st.lists(st.integers(1, 6), max_size=3))
def test_both_back_ends_judge_alike_and_keep_one_of_each(
    table: list[tuple[int, int, bool, int]], deadline: int, known: list[int]
) -> None:
    results = []
    for name in ("native", "twin"):
        with use_backend(name):
            results.append(judged(table, deadline, known))
    assert results[0] == results[1]
    verdict, first = results[0]
    for identity in {row[0] for row in table} - {0}:
        left = [(row[1], at) for at, row in enumerate(table) if row[0] == identity]
        chosen = [at for _, at in left if verdict[at] != LEAVE_OUT]
        assert chosen == ([] if identity in known else [min(left)[1]])
    assert [verdict[at] for at, row in enumerate(table) if row[0] == 0] == [KEEP] * sum(row[0] == 0 for row in table)
    assert first == (verdict.index(HOLD) if HOLD in verdict else len(table))


@pytest.mark.usefixtures("both_cores")
@given(st.lists(st.lists(st.integers(1, 2**64 - 1), max_size=12), max_size=12))
def test_the_last_ids_are_remembered(batches: list[list[int]]) -> None:
    for name in ("native", "twin"):
        with use_backend(name):
            recent = RecentIds(limit=8)
            seen: list[int] = []
            for batch in batches:
                recent.add(np.array(batch, np.uint64))
                seen += batch
            last = list(dict.fromkeys(reversed(seen)))[:4]
            ids = np.array(last, np.uint64)
            zeros = np.zeros(len(ids), np.uint32)
            verdict, _ = keep_best(ids, zeros, zeros.astype(np.bool_), zeros.astype(np.int64), -1, recent)
            assert verdict.tolist() == [LEAVE_OUT] * len(ids)


snap = b"\xaa\xaa\x03\x00\x00\x00"
some = st.binary(max_size=60)
wire_bytes = st.one_of(
    some,
    st.builds(lambda head, rest: b"\x45" + head + rest, st.binary(min_size=19, max_size=19), some),
    st.builds(
        lambda kind, rest: b"\x60\0\0\0\0\x20" + kind + bytes(33) + rest,
        st.sampled_from([b"\0", b"\x3c", b"\x11"]),
        some,
    ),
    st.builds(
        lambda control, body, rest: b"\x88" + control + bytes(24) + snap + body + rest,
        st.sampled_from([b"\x01", b"\x42"]),
        st.sampled_from([b"\x08\0\x45", b"\x86\xdd\x60", b"\x81\0"]),
        some,
    ),
    st.builds(
        lambda body, rest: bytes(12) + body + rest,
        st.sampled_from([b"\x08\0\x45\0", b"\x81\0\0\1\x08\0\x46"]),
        some,
    ),
)


@pytest.mark.usefixtures("both_cores")
@given(st.lists(st.tuples(wire_bytes, st.sampled_from([1, 101, 105, 252]), st.integers(0, 99999)), max_size=6))
def test_both_back_ends_find_the_same_keys(packets: list[tuple[bytes, int, int]]) -> None:
    sizes = np.array([len(payload) for payload, _, _ in packets], np.uint32)
    offsets = (np.cumsum(sizes) - sizes).astype(np.int64)
    links = np.array([link for _, link, _ in packets], np.uint16)
    originals = np.array([length for _, _, length in packets], np.uint32)
    buffer = np.frombuffer(bytearray(b"".join(payload for payload, _, _ in packets)), np.uint8)
    results = []
    for name in ("native", "twin"):
        with use_backend(name):
            results.append(packet_keys(buffer, offsets, sizes, originals, links).tolist())
    assert results[0] == results[1]


@pytest.mark.usefixtures("both_cores")
@given(
    st.binary(max_size=40), st.lists(st.tuples(st.integers(-2, 45), st.integers(0, 45)), max_size=6), st.integers(0, 60)
)
def test_ranges_are_copied_whole_or_refused(data: bytes, spans: list[tuple[int, int]], room: int) -> None:
    offsets = np.array([at for at, _ in spans], np.int64)
    lengths = np.array([size for _, size in spans], np.uint32)
    fits = all(at >= 0 and at + size <= len(data) for at, size in spans) and sum(size for _, size in spans) <= room
    for name in ("native", "twin"):
        with use_backend(name):
            out = np.zeros(room, np.uint8)
            buffer = np.frombuffer(bytearray(data), np.uint8)
            if not fits:
                with pytest.raises(IndexError):
                    copy_ranges(buffer, offsets, lengths, out)
                continue
            placed = copy_ranges(buffer, offsets, lengths, out)
            copies = [out[at : at + size].tobytes() for at, size in zip(placed.tolist(), lengths.tolist(), strict=True)]
            assert copies == [data[at : at + size] for at, size in spans]


def test_packet_outside_the_buffer_is_refused(backend: str) -> None:
    one = np.ones(1, np.uint32)
    for offset, size in ((-1, 1), (0, 11), (11, 0)):
        with pytest.raises(IndexError):
            packet_keys(np.zeros(10, np.uint8), np.array([offset]), one * np.uint32(size), one, one.astype(np.uint16))
