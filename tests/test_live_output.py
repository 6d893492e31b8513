"""Outputs of a capture under way: whole blocks under a name of their own, and nothing lost when it goes wrong."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from etwcap.errors import OutputError
from etwcap.filters.compiled import Filter
from etwcap.filters.stopping import StopWhen
from etwcap.packets import Chunk, Context, EventTable, Interface, PacketTable
from etwcap.sinks.output import Output, live_name
from etwcap.sinks.pcapng import PcapngSink
from etwcap.sinks.pieces import PieceSink, Rotation

SECOND = 1_000_000_000


def chunk(*times: int, complete_to: int = 0, size: int = 60) -> Chunk:
    count = len(times)
    packets = PacketTable(
        count,
        time=np.array(times, np.int64),
        offset=np.zeros(count, np.int64),
        captured=np.full(count, size),
        original=np.full(count, size),
    )
    return Chunk(np.zeros(max(size, 1), np.uint8), packets, EventTable(0), complete_to)


def context() -> Context:
    made = Context()
    made.interfaces.add(Interface(1, "Ethernet"))
    return made


def test_a_live_file_grows_under_a_name_of_its_own(tmp_path: Path) -> None:
    final = tmp_path / "x.pcapng"
    final.write_bytes(b"older")
    sink = PcapngSink(Output(final, live=True), context())
    sink.write(chunk(1, 2))
    sink.flush()
    part = tmp_path / "x.part.pcapng"
    seen = part.read_bytes()
    assert seen.startswith(b"\n\r\r\n")
    assert final.read_bytes() == b"older"
    sink.finish()
    assert final.read_bytes().startswith(seen)
    assert not part.exists()


def test_what_was_captured_survives_a_failure(tmp_path: Path) -> None:
    sink = PcapngSink(Output(tmp_path / "x.pcapng", live=True), context())
    sink.write(chunk(1))
    sink.flush()
    sink.abort()
    assert [path.name for path in tmp_path.iterdir()] == ["x.part.pcapng"]


def test_an_empty_live_file_is_not_left(tmp_path: Path) -> None:
    Output(tmp_path / "x.pcapng", live=True).abort()
    assert list(tmp_path.iterdir()) == []


def test_a_live_file_that_is_there_already_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "x.part.pcapng").write_bytes(b"another capture's")
    with pytest.raises(OutputError, match="another capture writes it") as raised:
        Output(tmp_path / "x.pcapng", live=True)
    assert "etwcap cleanup" in raised.value.hint
    assert (tmp_path / "x.part.pcapng").read_bytes() == b"another capture's"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_leaves_whole_blocks(tmp_path: Path) -> None:
    import resource

    out = Output(tmp_path / "x.pcapng", live=True)
    sink = PcapngSink(out, context())
    sink.write(chunk(1))
    sink.flush()
    whole = (tmp_path / "x.part.pcapng").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, limits[1]))
    try:
        sink.write(chunk(2, size=5000))
        with pytest.raises(OutputError):
            sink.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert (tmp_path / "x.part.pcapng").read_bytes() == whole


@pytest.mark.parametrize(("name", "live"), [("x.pcapng", "x.part.pcapng"), ("a.b/x", "a.b/x.part")])
def test_the_name_keeps_its_suffix(name: str, live: str) -> None:
    assert live_name(name) == live


def test_a_piece_is_finished_when_its_time_is_over_though_nothing_comes(tmp_path: Path) -> None:
    made = context()
    template = str(tmp_path / "%S.pcapng")
    sink = PieceSink(lambda name: PcapngSink(Output(name, live=True), made), template, Rotation(period=SECOND), made)
    sink.write(chunk(5 * SECOND))
    sink.write(chunk(complete_to=6 * SECOND - 1))
    assert (tmp_path / "05.part.pcapng").exists()
    sink.write(chunk(complete_to=6 * SECOND))
    assert [path.name for path in tmp_path.iterdir()] == ["05.pcapng"]
    sink.write(chunk(7 * SECOND))
    sink.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["05.pcapng", "07.pcapng"]


def test_the_packet_that_is_waited_for_is_the_last(backend: str) -> None:
    made = context()
    stage = StopWhen(made, Filter("len >= 100"))
    assert len(stage.process(chunk(1, 2)).packets) == 2
    assert not stage.enough
    mixed = chunk(3, 4, 5, size=100)
    mixed.packets["original"] = np.array([60, 100, 100])
    assert stage.process(mixed).packets["time"].tolist() == [3, 4]
    assert stage.enough
    assert len(stage.process(chunk(6)).packets) == 0
