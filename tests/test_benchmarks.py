"""The traces of the benchmarks hold what they claim; nothing is timed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import CHECKOUT
from etwcap.etl import layout
from test_etl_writer import walk


def make(path: Path, kind: str, **numbers: int) -> int:
    words = [f"{key}={value}" for key, value in numbers.items()]
    command = [sys.executable, "-m", "benchmarks.make", kind, str(path), *words]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, cwd=CHECKOUT).stdout)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("ndiscap", {"frame": 1514, "packets": 500}),
        ("pktmon", {"build": 19042, "events": 9000}),
        ("pktmon", {"build": 26100, "events": 9000}),
        ("many_processors", {"processors": 5, "megabytes": 1, "compressed": 1}),
        ("small", {"count": 20}),
    ],
)
def test_a_trace_has_as_many_packet_events_as_its_maker_says(
    kind: str, numbers: dict[str, int], tmp_path: Path
) -> None:
    said = make(tmp_path / "x.etl", kind, **numbers)
    found = [record for buffer in walk(tmp_path / "x.etl") for record in buffer.records if record[2] == 0x13]
    ids = [int.from_bytes(record[40:42], "little") for record in found]
    assert sum(ids.count(number) for number in (160, 170, 1001)) == said > 0


@pytest.mark.parametrize("build", [19042, 26100])
def test_the_compressed_trace_compresses_as_real_ones_do(build: int, tmp_path: Path) -> None:
    make(tmp_path / "x.etl", "pktmon", build=build, events=20_000)
    buffers = walk(tmp_path / "x.etl")
    unpacked = sum(int(buffer.header["filled_bytes"]) for buffer in buffers)
    assert 4 <= unpacked / (tmp_path / "x.etl").stat().st_size <= 9
    assert all(buffer.header["buffer_flag"] & layout.BUFFER_FLAG_COMPRESSED for buffer in buffers[1:])
