"""The pipe between collector and front end: what goes in comes out, and nothing else does harm."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.taps import wire
from etwcap.taps.wire import Batch, FrameKind, WireError

EVERY = tuple(FrameKind)


def batch(*records: bytes, complete_to: int = 7, gap: int = 0) -> Batch:
    """The records, ``gap`` bytes between them in memory."""
    length = np.array([len(each) for each in records], np.uint32)
    offset = np.cumsum(length, dtype=np.int64) - length + gap * np.arange(len(records))
    data = np.frombuffer(b"".join(each + bytes(gap) for each in records) or b"\0", np.uint8)
    count = len(records)
    return Batch(data, np.arange(count, dtype=np.int64), offset, length, np.ones(count, np.uint16), complete_to)


def records(one: Batch) -> list[bytes]:
    return [one.data[at : at + size].tobytes() for at, size in zip(one.offset, one.length, strict=True)]


def through(frames: list[bytes]) -> list[Batch]:
    stream = io.BytesIO(b"".join(frames))
    got = []
    while (found := wire.read_frame(stream.read, (FrameKind.BATCH,))) is not None:
        got.append(wire.read_batch(found[1]))
    return got


@given(st.lists(st.binary(max_size=300), max_size=40), st.integers(0, 3))
def test_batches_come_out_as_they_went_in(sent: list[bytes], gap: int) -> None:
    (got,) = through(wire.batch_frames(batch(*sent, gap=gap)))
    assert records(got) == sent
    assert got.time.tolist() == list(range(len(sent)))
    assert got.complete_to == 7


@pytest.mark.parametrize(("count", "size"), [(300, 100_000), (200_000, 3), (1, wire.LONGEST_RECORD)])
def test_a_large_batch_goes_in_several_frames_and_promises_only_at_the_end(count: int, size: int) -> None:
    sent = batch(*[bytes([number & 255]) * size for number in range(count)])
    got = through(wire.batch_frames(sent))
    assert [record for each in got for record in records(each)] == records(sent)
    assert [each.complete_to for each in got] == [-(2**63)] * (len(got) - 1) + [7]


def test_a_record_that_nobody_would_take_is_not_sent() -> None:
    with pytest.raises(ValueError, match="too long"):
        wire.batch_frames(batch(bytes(wire.LONGEST_RECORD + 1)))


def test_the_stages_may_write_into_what_was_received() -> None:
    (got,) = through(wire.batch_frames(batch(b"abc")))
    got.data[0] = 0


@given(st.binary(max_size=200), st.lists(st.sampled_from(EVERY), min_size=1, max_size=3))
def test_any_bytes_are_frames_or_refused(data: bytes, allowed: list[FrameKind]) -> None:
    stream = io.BytesIO(data)
    try:
        while (found := wire.read_frame(stream.read, tuple(allowed))) is not None:
            assert found[0] in allowed
    except WireError:
        pass


@given(st.binary(max_size=300), st.integers(0, 20))
def test_any_body_is_a_batch_that_lies_in_its_data_or_refused(tail: bytes, rows: int) -> None:
    body = struct.pack("<IIq", rows, 0, 0) + tail
    try:
        got = wire.read_batch(body)
    except WireError:
        return
    assert len(got.length) == rows
    assert sum(len(each) for each in records(got)) == int(got.length.sum()) == len(got.data)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(15),
        struct.pack("<IIq", 1 << 31, 0, 0),
        struct.pack("<IIq", 0, 1, 0),
        struct.pack("<IIq", 0, 0, 0) + b"more",
        struct.pack("<IIqqIHH", 1, 0, 0, 5, 0xFFFFFFFF, 1, 0) + b"abc",
        struct.pack("<IIqqIHH", 1, 0, 0, 5, 3, 1, 9) + b"abc",
    ],
)
def test_a_batch_that_lies_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        wire.read_batch(body)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<IB3s", 0, FrameKind.STOP, b"abc"),
        struct.pack("<IB3s", 1, FrameKind.STOP, bytes(3)) + b"x",
        struct.pack("<IB3s", wire.LONGEST + 1, FrameKind.BATCH, bytes(3)),
        struct.pack("<IB3s", wire.LONGEST_TEXT + 1, FrameKind.HELLO, bytes(3)),
        struct.pack("<IB3s", 0, 0, bytes(3)),
        struct.pack("<IB3s", 5, FrameKind.HELLO, bytes(3)) + b"cut",
        b"\0\0\0",
    ],
)
def test_a_frame_that_lies_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        wire.read_frame(io.BytesIO(data).read, EVERY)


def test_only_what_is_allowed_is_taken() -> None:
    stop = wire.frame(FrameKind.STOP)
    assert wire.read_frame(io.BytesIO(stop).read, (FrameKind.STOP,)) == (FrameKind.STOP, b"")
    with pytest.raises(WireError, match="no frame"):
        wire.read_frame(io.BytesIO(wire.text_frame(FrameKind.HELLO, {})).read, (FrameKind.STOP,))


def test_text_is_a_json_object_or_refused() -> None:
    facts = {"name": "Ethernet \x1b", "speed": 10**9}
    found = wire.read_frame(io.BytesIO(wire.text_frame(FrameKind.HELLO, facts)).read, (FrameKind.HELLO,))
    assert found is not None
    assert wire.read_text(found[1]) == facts
    for wrong in (b"", b"[]", b"\xff", b"[" * 100_000, json.dumps("x").encode()):
        with pytest.raises(WireError):
            wire.read_text(wrong)


def test_a_pipe_may_give_bytes_in_any_pieces() -> None:
    stream = io.BytesIO(wire.text_frame(FrameKind.LOSSES, {"refused": 3}))
    found = wire.read_frame(lambda size: stream.read(min(size, 3)), (FrameKind.LOSSES,))
    assert found == (FrameKind.LOSSES, b'{"refused":3}')
