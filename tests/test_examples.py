"""The files in examples/ are what their scripts make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import CHECKOUT

EXAMPLES = CHECKOUT / "examples"

SAMPLE = EXAMPLES / "sample-pktmon.etl"


def run(script: str) -> list[str]:
    command = [sys.executable, str(EXAMPLES / script), str(SAMPLE)]
    return subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout.splitlines()


def test_the_sample_trace_is_what_its_script_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, EXAMPLES / "make_sample.py", tmp_path / "made.etl"], check=True, timeout=60)
    assert (tmp_path / "made.etl").read_bytes() == SAMPLE.read_bytes()


def test_the_packets_are_read_one_by_one() -> None:
    lines = run("read_packets.py")
    assert len(lines) == 43
    assert [line for line in lines if "dropped" in line] == lines[-3:]


def test_the_columns_count_what_the_packets_are() -> None:
    assert [line.split(",")[0] for line in run("count_by_interface.py")] == [
        "Wi-Fi (802.11): 23 packets",
        "Ethernet: 19 packets",
        "Loopback Pseudo-Interface 1 (raw IP): 1 packets",
    ]


def test_the_way_of_a_packet_leads_from_the_protocol_to_the_adapter() -> None:
    lines = run("trace_path.py")
    assert "tcpip.sys Lower" in lines[0]
    assert "madewifi.sys Upper" in lines[-1]
