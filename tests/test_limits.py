"""``--start``, ``--end`` and ``-c``: the part that is wanted, and no reading beyond it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture_files import chunk_of, read
from command_line import etwcap, etwcap_process
from etwcap.errors import UsageError
from etwcap.packets import Chunk, Context
from etwcap.repair.limits import SECOND, CountLimit, TimeRange, When, parse_duration, parse_when

T0 = 1_705_526_400 * SECOND
"""2024-01-17 21:20:00 UTC"""


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2024-01-17T21:20:00", When(T0)),
        ("2024-01-17 21:20", When(T0)),
        ("2024-01-17T21:20:00Z", When(T0)),
        ("2024-01-17T22:20:00+01:00", When(T0)),
        ("2024-01-17T16:20-0500", When(T0)),
        ("2024-01-17T21:20:00.000000001", When(T0 + 1)),
        ("2024-01-17T21:20:00,5", When(T0 + SECOND // 2)),
        ("2024-01-17", When(T0 - (21 * 3600 + 20 * 60) * SECOND)),
        ("1969-12-31T23:59:59.25", When(-SECOND * 3 // 4)),
        ("+30s", When(30 * SECOND, "first")),
        ("5m", When(300 * SECOND, "first")),
        ("1h30m", When(5400 * SECOND, "first")),
        ("+0.5s", When(SECOND // 2, "first")),
        ("250ms", When(250_000_000, "first")),
        ("-10m", When(-600 * SECOND, "last")),
        ("2d", When(2 * 86400 * SECOND, "first")),
    ],
)
def test_a_time_is_read_as_it_is_written(text: str, when: When) -> None:
    assert parse_when(text, "--start") == when


@pytest.mark.parametrize(
    "text", ["", "+", "-", "10", "+10", "yesterday", "2024-13-01", "2024-01-17T25:00", "10s5", "1.s", "99999-01-01"]
)
def test_what_is_no_time_is_told_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is no time") as caught:
        parse_when(text, "--end")
    assert f"--end {text}" in caught.value.cause
    assert "+30s" in caught.value.hint


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_a_usage_error(text: str) -> None:
    try:
        found = parse_when(text, "--start")
    except UsageError:
        return
    assert isinstance(found.time, int)


@given(st.integers(0, 10**6), st.sampled_from(["d", "h", "m", "s", "ms", "us", "ns"]))
def test_durations_of_any_unit_are_exact(number: int, unit: str) -> None:
    sizes = {"d": 86400 * SECOND, "h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND, "ms": 10**6, "us": 1000, "ns": 1}
    assert parse_duration(f"{number}{unit}") == number * sizes[unit]


def at(*times: int, complete_to: int = 0) -> Chunk:
    chunk = chunk_of([bytes(4)] * len(times), time=np.array(times, np.int64))
    chunk.complete_to = complete_to
    return chunk


def test_the_start_is_in_and_the_end_is_out() -> None:
    context = Context()
    stage = TimeRange(context, When(10), When(20))
    assert stage.process(at(9, 10, 19, 20)).packets["time"].tolist() == [10, 19]
    assert (stage.left_out, context.receipt.notes["outside"].count) == (2, 2)


def test_relative_times_count_from_the_first_packet_of_all() -> None:
    stage = TimeRange(Context(), When(5, "first"), When(20, "first"))
    assert len(stage.process(at(complete_to=90)).packets) == 0
    assert stage.process(at(100, 104, 105, complete_to=106)).packets["time"].tolist() == [105]
    assert not stage.enough
    assert stage.process(at(119, 120, complete_to=121)).packets["time"].tolist() == [119]
    assert stage.enough


def test_reading_ends_only_when_no_earlier_packet_can_come() -> None:
    stage = TimeRange(Context(), None, When(20))
    stage.process(at(25, complete_to=15))
    assert not stage.enough
    assert stage.process(at(18, complete_to=30)).packets["time"].tolist() == [18]
    assert stage.enough


def test_count_takes_the_first_packets() -> None:
    context = Context()
    stage = CountLimit(context, 3)
    assert [len(stage.process(at(*times)).packets) for times in ((1, 2), (3, 4), (5,))] == [2, 1, 0]
    assert stage.enough
    assert context.receipt.notes["enough"].count == 1


def pcap(path: Path, times: list[int], tail: bytes = b"") -> Path:
    records = b"".join(
        struct.pack("<IIII", t // SECOND, t % SECOND, 20, 20) + struct.pack(">I", n) * 5 for n, t in enumerate(times)
    )
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1) + records + tail)
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--start", "2024-01-17T21:20:02"), [2, 3, 4]),
        (("--end", "2024-01-17T21:20:02"), [0, 1]),
        (("--start", "+1s", "--end", "+3s"), [1, 2]),
        (("--start", "-1s"), [3, 4]),
        (("--start=-3s", "--end=-1s"), [1, 2]),
        (("--start", "+1s", "--end", "-1s"), [1, 2]),
        (("-c", "2"), [0, 1]),
        (("--start", "+1s", "-c", "1"), [1]),
        (("-c", "99"), [0, 1, 2, 3, 4]),
    ],
)
def test_convert_takes_the_part_that_is_wanted(tmp_path: Path, options: tuple[str, ...], expected: list[int]) -> None:
    source = pcap(tmp_path / "in.pcap", [T0 + n * SECOND for n in range(5)])
    done = etwcap("convert", source, "-w", tmp_path / "out.pcapng", *options)
    assert done.returncode == 0, done.stderr
    assert [(time - T0) // SECOND for time in read(tmp_path / "out.pcapng").column("time")] == expected


def test_reading_stops_before_damage_that_lies_beyond(tmp_path: Path) -> None:
    times = [T0 + n * 1000 for n in range(400_000)]
    source = pcap(tmp_path / "in.pcap", times, b"broken")
    assert etwcap("convert", source, "-w", tmp_path / "out.pcapng", "-c", "3").returncode == 0
    assert etwcap("convert", source, "-w", tmp_path / "out.pcapng", "--end", "+1ms").returncode == 0
    assert etwcap("convert", source, "-w", tmp_path / "out.pcapng").returncode == 4


def test_a_time_without_packets_is_exit_code_3_with_the_reason(tmp_path: Path) -> None:
    source = pcap(tmp_path / "in.pcap", [T0, T0 + SECOND])
    done = etwcap("convert", source, "-w", tmp_path / "out.pcapng", "--start", "2030-01-01")
    assert (done.returncode, (tmp_path / "out.pcapng").exists()) == (3, False)
    assert "lies in that time" in done.stderr
    assert "--start 2030-01-01 leaves out 2 packets" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--start", "noon"), "'noon' is no time"),
        (("--start", "2024-01-02", "--end", "2024-01-01"), "nothing can lie between"),
        (("--start", "+5s", "--end", "5s"), "nothing can lie between"),
        (("--start", "-1s", "--end", "-2s"), "nothing can lie between"),
        (("-c", "0"), "at least 1"),
        (("-c", "-3"), "at least 1"),
        (("-c", "many"), "many"),
    ],
)
def test_wrong_usage_writes_nothing(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    source = pcap(tmp_path / "in.pcap", [T0])
    done = etwcap("convert", source, "-w", tmp_path / "out.pcapng", *options)
    assert (done.returncode, (tmp_path / "out.pcapng").exists()) == (2, False)
    assert says in done.stderr


def test_a_time_before_the_last_packet_needs_a_file(tmp_path: Path) -> None:
    with pcap(tmp_path / "in.pcap", [T0]).open("rb") as pipe:
        done = etwcap_process("convert", "-", "-w", tmp_path / "out.pcapng", "--start", "-1s", stdin=pipe.fileno())
    assert done.returncode == 2
    assert b"read twice" in done.stderr


def test_the_receipt_tells_what_was_left_out(tmp_path: Path) -> None:
    source = pcap(tmp_path / "in.pcap", [T0 + n * SECOND for n in range(5)])
    done = etwcap("convert", source, "-w", tmp_path / "out.pcapng", "--start", "+2s", "--json")
    notes = {note["kind"]: note["count"] for note in json.loads(done.stdout)["notes"]}
    assert notes == {"outside": 2}
