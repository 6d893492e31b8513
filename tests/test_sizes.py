"""The limits that docs/limits.md states."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import etwcap
from command_line import etwcap as run
from etwcap.etl.layout import BUFFER_HEADER
from etwcap.etl.writer import LogfileSettings
from pcapng_build import block, interface, packet, section
from traces import ndiscap_trace

SPREAD = 16 << 20
"""The largest buffer of an ETW session."""


def spread(trace: Path, out: Path, size: int) -> int:
    """The same trace with its buffers of ``size`` bytes grown to 16 MiB each, as a file with holes; its new length."""
    data = np.frombuffer(trace.read_bytes(), np.uint8).reshape(-1, size).copy()
    data[:, :4].view("<u4")[:, 0] = SPREAD
    assert BUFFER_HEADER.fields is not None
    assert BUFFER_HEADER.fields["buffer_size"][1] == 0
    data[0, 72 + 32 :][:4].view("<u4")[0] = SPREAD  # TRACE_LOGFILE_HEADER.BufferSize
    with open(out, "wb") as file:
        for number, each in enumerate(data):
            file.seek(number * SPREAD)
            file.write(each.tobytes())
        file.truncate(len(data) * SPREAD)
    return len(data) * SPREAD


def test_traces_beyond_4_gib_are_read_to_their_last_packet(tmp_path: Path, backend: str) -> None:
    written = ndiscap_trace(tmp_path / "small.etl", count=8_000, settings=LogfileSettings(buffer_size=4096))
    length = spread(tmp_path / "small.etl", tmp_path / "large.etl", 4096)
    assert length > 1 << 32
    with etwcap.open(tmp_path / "large.etl") as trace:
        times = [packet.time for packet in trace]
    assert len(times) == len(written.packets)
    assert times[-1] == written.packets[-1].time


def test_a_trace_of_more_buffers_than_its_size_allows_cannot_take_the_memory(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ndiscap_trace(tmp_path / "a.etl", count=2_000, settings=LogfileSettings(buffer_size=4096))
    monkeypatch.setattr("etwcap.etl.buffers.MOST_BUFFERS", 10)
    monkeypatch.setattr("etwcap.etl.buffers.SMALLEST_BUFFER", 1 << 40)
    done = run("convert", tmp_path / "a.etl", "-w", tmp_path / "b.pcapng")
    assert done.returncode == 4
    length = (tmp_path / "a.etl").stat().st_size
    said = f"at byte {10 * 4096:,}: more buffers than a trace of this size can have; the rest is left"
    assert said in done.stderr
    assert length > 20 * 4096
    with etwcap.open(tmp_path / "b.pcapng") as trace:
        assert 100 < len(list(trace)) < 2_000


def pcapng(*blocks: bytes) -> bytes:
    return section("<") + b"".join(blocks)


@pytest.mark.parametrize("length", [262_144, 262_145, (32 << 20) - 4096])
def test_packets_are_carried_up_to_32_mib(tmp_path: Path, backend: str, length: int) -> None:
    (tmp_path / "a.pcapng").write_bytes(pcapng(interface("<", 1), packet("<", 0, 5, bytes(length))))
    done = run("convert", tmp_path / "a.pcapng", "-w", tmp_path / "b.pcapng")
    assert done.returncode == 0, done.stderr
    with etwcap.open(tmp_path / "b.pcapng") as trace:
        assert [len(each.data) for each in trace] == [length]


def test_a_longer_packet_is_damage_that_is_passed_over(tmp_path: Path, both_cores: None) -> None:
    parts = [interface("<", 1), packet("<", 0, 5, bytes(33 << 20)), packet("<", 0, 6, b"intact" * 10)]
    (tmp_path / "a.pcapng").write_bytes(pcapng(*parts))
    done = run("convert", tmp_path / "a.pcapng", "-w", tmp_path / "b.pcapng")
    assert done.returncode == 4
    assert re.search(r"damaged: .*a\.pcapng at byte \d+: ", done.stderr)
    with etwcap.open(tmp_path / "b.pcapng") as trace:
        assert [each.data for each in trace] == [b"intact" * 10]


def test_a_section_has_up_to_65536_interfaces(tmp_path: Path, both_cores: None, tshark: str) -> None:
    many = 1 << 16
    ends = packet("<", 0, 5, bytes(60)) + packet("<", many - 1, 6, bytes(60))
    (tmp_path / "a.pcapng").write_bytes(pcapng(interface("<", 1) * many, ends))
    done = run("convert", tmp_path / "a.pcapng", "-w", tmp_path / "b.pcapng")
    assert done.returncode == 0, done.stderr
    judged = subprocess.run([tshark, "-r", str(tmp_path / "b.pcapng")], capture_output=True, check=True)
    assert len(judged.stdout.splitlines()) == 2


def test_packets_of_interfaces_beyond_the_limit_are_left_out_and_said(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etwcap.sources.capfile_pcapng.MOST_INTERFACES", 16)
    parts = [interface("<", 1) * 17, packet("<", 15, 5, bytes(60)), packet("<", 16, 6, bytes(60))]
    (tmp_path / "a.pcapng").write_bytes(pcapng(*parts))
    done = run("convert", tmp_path / "a.pcapng", "-w", tmp_path / "b.pcapng", "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["packets_written"] == 1


def test_a_block_that_nobody_knows_may_be_as_long_as_a_packet(tmp_path: Path, backend: str) -> None:
    parts = [interface("<", 1), block("<", 0x4242, bytes(31 << 20)), packet("<", 0, 5, bytes(60))]
    (tmp_path / "a.pcapng").write_bytes(pcapng(*parts))
    assert run("convert", tmp_path / "a.pcapng", "-w", tmp_path / "b.pcapng").returncode == 0


def test_the_page_states_the_limits_of_the_code() -> None:
    from etwcap.etl.buffers import MAXIMUM_CHAINS, MOST_BUFFERS, SMALLEST_BUFFER
    from etwcap.providers.base import MOST_INTERFACES
    from etwcap.providers.fragments import LONGEST
    from etwcap.sinks.pcap import SNAP_LENGTH
    from etwcap.sources.capfile_pcapng import MOST_INTERFACES as MOST_IN_A_SECTION
    from etwcap.sources.capfile_window import LIMIT

    page = (Path(__file__).parents[1] / "docs/limits.md").read_text("utf-8")
    numbers = (
        MAXIMUM_CHAINS,
        MOST_BUFFERS,
        SMALLEST_BUFFER,
        MOST_INTERFACES,
        LONGEST,
        SNAP_LENGTH,
        MOST_IN_A_SECTION,
        LIMIT >> 20,
    )
    for number in numbers:
        assert f"{number:,}" in page, number
