"""The ring between a receiver and its reader: order, bounds, counts, waking, and what threads may see."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from benchmarks.ring_feed import NATIVE, SOURCE, Feed, compiler
from hypothesis import given
from hypothesis import strategies as st

from conftest import missing, need_native_core
from etwcap.errors import NativeCoreError
from etwcap.native import use_backend
from etwcap.native.ring import NOTHING_KNOWN, SLOT, Drained, Ring

SMALL = 1 << 12


@pytest.fixture(autouse=True)
def _native() -> None:
    need_native_core()


def need_harness() -> None:
    if sys.platform == "win32":
        pytest.skip("the stand-in producer is made of POSIX threads")
    if compiler() is None:
        missing("a C compiler builds the stand-in producer; there is none")


def drain_all(ring: Ring, *, room: int = 1 << 16, rows: int = 1 << 12) -> list[tuple[int, int, bytes]]:
    """Time, kind and bytes of everything that is in the ring."""
    out = np.empty(room, np.uint8)
    found = []
    while True:
        drained = ring.drain(out, rows)
        found += records_of(out, drained)
        if not drained.more:
            return found


def records_of(out: np.ndarray, drained: Drained) -> list[tuple[int, int, bytes]]:
    spans = zip(drained.offset.tolist(), drained.length.tolist(), strict=True)
    data = [out[at : at + size].tobytes() for at, size in spans]
    return list(zip(drained.time.tolist(), drained.kind.tolist(), data, strict=True))


def test_records_come_out_as_they_went_in() -> None:
    given_records = [(5, 1, b""), (5, 2, b"a"), (-3, 65535, b"x" * 100), (2**62, 7, bytes(range(256)) * 3)]
    with Ring(SMALL) as ring:
        for when, kind, data in given_records:
            assert ring.put(kind, when, data)
        assert drain_all(ring) == []  # nothing is there before it is published
        ring.publish(0)
        assert drain_all(ring) == given_records


@given(st.lists(st.one_of(st.integers(0, 600), st.none()), max_size=200), st.integers(600, 5000), st.integers(1, 9))
def test_what_goes_in_comes_out_or_is_counted(steps: list[int | None], room: int, rows: int) -> None:
    """Sizes: a record; None: publish and drain once. Across many wraps of a small ring."""
    with Ring(SMALL) as ring:
        out = np.empty(room, np.uint8)
        kept, seen, refused = [], [], 0
        for number, size in enumerate([*steps, None]):
            if size is None:
                ring.publish(number)
                seen += records_of(out, ring.drain(out, rows))
            elif ring.put(1 + number, number, data := bytes([number & 255]) * size):
                kept.append((number, 1 + number, data))
            else:
                refused += 1
        seen += drain_all(ring, room=room, rows=rows)
        assert seen == kept
        counts = ring.counts()
        assert (counts.taken, counts.refused, counts.delivered) == (len(kept), refused, len(kept))
        assert counts.taken_bytes == counts.delivered_bytes == sum(len(data) for _, _, data in kept)


def test_a_full_ring_counts_what_it_cannot_take_and_goes_on() -> None:
    with Ring(SMALL) as ring:
        taken = [ring.put(1, 0, bytes(100)) for _ in range(50)]
        fitting = SMALL // (SLOT + 112)
        assert taken == [True] * fitting + [False] * (50 - fitting)
        ring.publish(0)
        assert len(drain_all(ring)) == fitting
        assert ring.put(1, 0, bytes(100))
        assert ring.counts()[:4] == (fitting, 100 * fitting, 50 - fitting, 100 * (50 - fitting))


@pytest.mark.parametrize("before", range(0, SMALL, 208))
def test_the_longest_record_fits_wherever_the_ring_stands(before: int) -> None:
    with Ring(SMALL) as ring:
        for _ in range(before // 16):
            assert ring.put(1, 0, b"")
            ring.publish(0)
            drain_all(ring)
        assert ring.put(1, 0, bytes(ring.longest))
        assert not ring.put(1, 0, bytes(ring.longest + 1))
        ring.publish(0)
        assert [len(data) for _, _, data in drain_all(ring)] == [ring.longest]


def test_a_record_never_spans_two_readings() -> None:
    with Ring(1 << 16) as ring:
        for number in range(50):
            ring.put(1, number, bytes([number]) * 300)
        ring.publish(0)
        out, sizes = np.empty(1000, np.uint8), []
        while True:
            drained = ring.drain(out, 100)
            sizes.append(len(drained.length))
            assert drained.bytes == 300 * len(drained.length) <= 1000
            if not drained.more:
                break
        assert sizes == [3] * 16 + [2]


def test_a_record_longer_than_the_room_is_an_error_and_stays() -> None:
    with Ring(SMALL) as ring:
        ring.put(1, 0, bytes(500))
        ring.publish(0)
        with pytest.raises(ValueError, match="does not fit into 499 bytes"):
            ring.drain(np.empty(499, np.uint8), 10)
        assert len(drain_all(ring)) == 1


def test_a_promise_is_passed_on_when_all_before_it_has_been_read() -> None:
    with Ring(SMALL) as ring:
        out = np.empty(1 << 12, np.uint8)
        assert ring.drain(out, 9).complete_to == NOTHING_KNOWN
        for when in (10, 11, 12):
            ring.put(1, when, b"a")
        ring.publish(12)
        assert ring.drain(out, 2).complete_to == NOTHING_KNOWN
        ring.put(1, 20, b"b")
        ring.publish(20)
        assert ring.drain(out, 1).complete_to == 12
        assert ring.drain(out, 9).complete_to == 20
        ring.publish(15)  # an earlier promise changes nothing
        assert ring.drain(out, 9).complete_to == 20
        ring.publish(30)  # nothing came, and the time went on
        assert ring.drain(out, 9).complete_to == 30


def test_the_end_is_said_when_everything_has_been_read() -> None:
    with Ring(SMALL) as ring:
        out = np.empty(1 << 12, np.uint8)
        ring.put(1, 0, b"a")
        ring.put(1, 0, b"b")
        ring.end()
        assert ring.wait(SMALL, 60_000)
        assert [ring.drain(out, 1).ended for _ in range(2)] == [False, True]


def test_a_sleeping_reader_is_woken_at_the_fill_it_asked_for_with_one_call() -> None:
    with Ring(1 << 16) as ring:
        begun = threading.Event()

        def produce() -> None:
            begun.wait()
            for _ in range(200):
                ring.put(1, 0, bytes(84))
                ring.publish(0)
                time.sleep(0.0001)

        thread = threading.Thread(target=produce)
        thread.start()
        begun.set()
        assert ring.wait(100 * 112, 60_000)
        assert len(drain_all(ring)) >= 100
        thread.join()
        assert ring.counts().wakes <= 1


def test_a_reader_that_waits_for_more_than_can_come_is_woken_by_what_does_not_fit() -> None:
    with Ring(SMALL) as ring:
        ring.put(1, 0, bytes(1024 - SLOT))
        ring.publish(0)
        drain_all(ring)
        assert ring.put(1, 0, bytes(1600))  # from 1024 on: neither behind nor before it is room for the longest record
        ring.publish(0)
        woken = []
        thread = threading.Thread(target=lambda: woken.append(ring.wait(SMALL, 60_000)))
        thread.start()
        while thread.is_alive():
            assert not ring.put(1, 0, bytes(ring.longest))
            ring.publish(0)
            time.sleep(0.001)
        thread.join()
        assert ring.counts().wakes == 1


def test_waiting_ends_with_its_time() -> None:
    with Ring(SMALL) as ring:
        assert not ring.wait(1, 1)
        assert not ring.wait(1, 0)


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL + 1, SMALL // 2, 1 << 33, 3 << 12])
def test_sizes_that_are_no_ring_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Ring(size)


@pytest.mark.parametrize("kind", [0, -1, 1 << 16])
def test_kinds_that_are_none_are_refused(kind: int) -> None:
    with Ring(SMALL) as ring, pytest.raises(ValueError, match="no kind"):
        ring.put(kind, 0, b"")


def test_a_closed_ring_says_so() -> None:
    ring = Ring(SMALL)
    ring.close()
    ring.close()
    with pytest.raises(ValueError, match="closed"):
        ring.put(1, 0, b"")


def test_without_the_native_core_there_is_no_ring() -> None:
    with use_backend("twin"), pytest.raises(NativeCoreError, match="live capture needs the native core"):
        Ring(SMALL)


def read_feed(ring: Ring, size: int, *, pause: float = 0) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Numbers and lengths of all records until the end, and how ``complete_to`` went."""
    out = np.empty(1 << 20, np.uint8)
    numbers, lengths = [], []
    promises: list[int] = []
    while True:
        ring.wait(1 << 16, 50)
        drained = ring.drain(out, 1 << 14)
        at = drained.offset[:, None] + np.arange(8)
        numbers.append(out[at].copy().view("<u8").reshape(-1))
        lengths.append(drained.length)
        if promises and promises[-1] != NOTHING_KNOWN and len(drained.time):
            assert int(drained.time.min()) >= promises[-1]
        promises.append(drained.complete_to)
        if drained.ended:
            return np.concatenate(numbers), np.concatenate(lengths), promises
        time.sleep(pause)


def test_a_native_producer_loses_nothing_where_there_is_room() -> None:
    need_harness()
    with Ring(1 << 26) as ring:
        feed = Feed(ring, bytes(100), count=200_000, rate=1_000_000)
        numbers, lengths, promises = read_feed(ring, 100)
        feed.join()
        assert numbers.tolist() == list(range(200_000))
        assert set(lengths.tolist()) == {100}
        assert promises == sorted(promises)
        counts = ring.counts()
        assert (counts.refused, counts.delivered) == (0, feed.produced)


def test_overfed_it_gives_or_counts_every_record() -> None:
    need_harness()
    with Ring(1 << 14) as ring:
        feed = Feed(ring, bytes(300), count=300_000, lengths=20, batch=9)
        numbers, lengths, _ = read_feed(ring, 300, pause=0.0005)
        feed.join()
        counts = ring.counts()
        assert counts.refused > 0
        assert (np.diff(numbers.astype(np.int64)) > 0).all()
        assert (lengths == 20 + numbers % 281).all()
        assert feed.produced == 300_000 == len(numbers) + counts.refused
        assert feed.produced_bytes == int(lengths.sum()) + counts.refused_bytes


@pytest.mark.parametrize("arguments", [("60000", "65536", "65536", "0"), ("60000", "4096", "2048", "100000")])
def test_thread_sanitizer_finds_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    need_harness()
    cc = shutil.which("gcc") or shutil.which("clang") or missing("gcc or clang with ThreadSanitizer is not installed")
    program = tmp_path / "harness"
    words = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=thread", "-DSTANDALONE", f"-I{NATIVE}"]
    built = subprocess.run(
        [cc, *words, str(SOURCE), str(NATIVE / "ring.c"), "-o", str(program), "-lpthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode and "tsan" in built.stderr:
        missing("the compiler has no ThreadSanitizer")
    assert built.returncode == 0, built.stderr
    command = [str(program), *arguments]
    if setarch := shutil.which("setarch"):
        command = [setarch, os.uname().machine, "-R", *command]  # some kernels put memory where it does not expect it
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # another sanitizer's
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
