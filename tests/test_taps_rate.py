"""A stand-in receiver at a rate, through the ring into a file: every record arrives or is counted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import missing, need_native_core

if sys.platform == "win32":
    pytest.skip("the stand-in producer is made of POSIX threads", allow_module_level=True)

from benchmarks.ring import PACKET, measure
from benchmarks.ring_feed import compiler


@pytest.fixture(autouse=True)
def _harness() -> None:
    need_native_core()
    if compiler() is None:
        missing("a C compiler builds the stand-in producer; there is none")


def packets_in(path: Path, tshark: str) -> list[tuple[str, str]]:
    """Length and captured length of each packet, as tshark reads the file."""
    words = ["-r", str(path), "-n", "-T", "fields", "-e", "frame.len", "-e", "frame.cap_len"]
    done = subprocess.run([tshark, *words], capture_output=True, text=True, check=True)
    return [tuple(line.split("\t")) for line in done.stdout.splitlines()]  # type: ignore[misc]


def test_a_ring_with_room_loses_nothing_on_the_way_to_the_file(tmp_path: Path, tshark: str) -> None:
    path = tmp_path / "live.pcapng"
    found = measure(str(path), rate=200_000, count=60_000, size=1 << 26)
    assert (found["produced"], found["refused"], found["written"]) == (60_000, 0, 60_000)
    assert packets_in(path, tshark) == [(str(PACKET), str(PACKET))] * 60_000


@pytest.mark.parametrize("order", [False, True], ids=["as stamped", "order repaired"])
def test_overfed_every_record_is_in_the_file_or_counted(tmp_path: Path, capinfos: str, order: bool) -> None:
    path = tmp_path / "live.pcapng"
    found = measure(str(path), rate=0, count=400_000, size=1 << 18, order=order)
    assert found["refused"] > 0
    assert found["produced"] == 400_000 == found["written"] + found["refused"]
    size = 64 + PACKET
    assert found["produced_bytes"] == found["written"] * size + found["refused_bytes"]
    done = subprocess.run([capinfos, "-c", "-M", str(path)], capture_output=True, text=True, check=True)
    assert f"{found['written']}" in done.stdout.split()
