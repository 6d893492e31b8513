"""Output in pieces: tcpdump's -C, -G and -W, each piece a whole capture."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture_files import read
from command_line import etwcap
from conftest import tool_path
from etwcap.errors import UsageError
from etwcap.sinks.pieces import Rotation, parse_size

SAMPLE = Path(__file__).parents[1] / "examples" / "sample-pktmon.etl"
T0 = 1_705_526_400
"""2024-01-17 21:20:00 UTC"""


def pcap(path: Path, times: list[float], size: int = 100) -> Path:
    records = b"".join(
        struct.pack("<IIII", int(T0 + t), round(t % 1 * 10**9), size, size) + struct.pack(">I", n) * (size // 4)
        for n, t in enumerate(times)
    )
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1) + records)
    return path


def numbers(path: Path) -> list[int]:
    return [int.from_bytes(packet["data"][:4], "big") for packet in read(path).packets]


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("out"))


@pytest.mark.parametrize(
    ("rotation", "names"),
    [
        (Rotation(size=1), ["out", "out1", "out2", "out3"]),
        (Rotation(size=1, count=2), ["out0", "out1", "out0", "out1"]),
        (Rotation(size=1, count=11), ["out00", "out01", "out02", "out03"]),
        (Rotation(size=1, count=10), ["out0", "out1", "out2", "out3"]),
        (Rotation(size=1, count=1), ["out", "out", "out", "out"]),
        (Rotation(period=1), ["out", "out", "out", "out"]),
    ],
)
def test_pieces_are_numbered_as_tcpdump_numbers_them(rotation: Rotation, names: list[str]) -> None:
    assert [rotation.name("out", 0, number) for number in range(4)] == names


def test_times_in_names_are_utc() -> None:
    rotation = Rotation(period=1, size=1)
    assert rotation.name("a-%Y%m%d-%H%M%S.pcapng", T0 * 10**9, 0) == "a-20240117-212000.pcapng"
    assert rotation.name("a-%H.pcapng", T0 * 10**9, 3) == "a-21.pcapng3"


@pytest.mark.parametrize(
    ("text", "size"), [("1", 10**6), ("20", 20 * 10**6), ("3k", 3072), ("2M", 2 << 20), ("1g", 1 << 30)]
)
def test_sizes_are_tcpdumps(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.text(max_size=5).filter(lambda text: not re.fullmatch(r"\s*\d+[kmgKMG]?\s*", text)))
def test_any_other_text_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="is no size") as caught:
        parse_size(text)
    assert caught.value.cause == f"-C {text}"


@pytest.mark.parametrize("suffix", ["pcapng", "pcap"])
def test_a_piece_ends_with_the_packet_that_makes_it_too_large(tmp_path: Path, suffix: str, backend: str) -> None:
    source = pcap(tmp_path / "in.pcap", [n / 10 for n in range(200)])
    done = etwcap("convert", source, "-w", tmp_path / f"out.{suffix}", "-C", "4k")
    assert done.returncode == 0, done.stderr
    names = sorted(written(tmp_path), key=lambda name: int(name.partition(suffix)[2] or 0))
    assert names == [f"out.{suffix}", *(f"out.{suffix}{n}" for n in range(1, len(names)))]
    assert len(names) > 4
    pieces = [numbers(tmp_path / name) for name in names]
    assert list(chain(*pieces)) == list(range(200))
    statistics = 200 if suffix == "pcapng" else 0
    record = 100 + (32 if suffix == "pcapng" else 16)
    for name in names[:-1]:
        size = (tmp_path / name).stat().st_size
        assert 4096 < size <= 4096 + record + statistics


def test_pieces_are_those_of_tcpdump(tmp_path: Path) -> None:
    tcpdump = tool_path("tcpdump")
    source = pcap(tmp_path / "in.pcap", [n / 10 for n in range(30_000)])
    for program, name in ((tcpdump, "theirs"), ("", "out")):
        if program:
            words = [program, "-Z", "root", "-r", str(source), "-w", str(tmp_path / name), "-C", "1"]
            subprocess.run(words, check=True, capture_output=True, timeout=60)
        else:
            assert etwcap("convert", source, "-w", tmp_path / name, "-C", "1", "--format", "pcap").returncode == 0
    for piece in ("", "1", "2", "3"):
        assert numbers(tmp_path / f"out{piece}") == numbers(tmp_path / f"theirs{piece}")
    assert not (tmp_path / "theirs4").exists()
    assert not (tmp_path / "out4").exists()


def test_every_piece_is_a_whole_capture(tmp_path: Path, capinfos: str) -> None:
    done = etwcap("convert", SAMPLE, "-w", tmp_path / "out.pcapng", "-C", "1k", "--json")
    told = json.loads(done.stdout)
    assert [Path(name).name for name in told["pieces"]] == ["out.pcapng"] + [
        f"out.pcapng{n}" for n in range(1, len(told["pieces"]))
    ]
    readings = [read(Path(name)) for name in told["pieces"]]
    assert all(reading.packets and not reading.damage for reading in readings)
    assert sum(len(reading.packets) for reading in readings) == told["packets_written"] == 43
    assert sum(Path(name).stat().st_size for name in told["pieces"]) == told["bytes_written"]
    times = list(chain(*(reading.column("time") for reading in readings)))
    assert (times, [told["first_time_ns"], told["last_time_ns"]]) == (sorted(times), [min(times), max(times)])
    for name in told["pieces"]:
        ran = subprocess.run([capinfos, "-M", name], capture_output=True, text=True, timeout=60, check=True)
        assert "etwcap" in ran.stdout
        assert ran.stderr.replace("root", "").count("rror") == 0


def test_a_period_is_of_the_packets_time(tmp_path: Path) -> None:
    source = pcap(tmp_path / "in.pcap", [0.5, 1.0, 9.75, 10.5, 35.0, 40.25, 40.5])
    done = etwcap("convert", source, "-w", tmp_path / "out-%H%M%S.pcapng", "-G", "10")
    assert done.returncode == 0, done.stderr
    names = written(tmp_path)
    assert names == ["out-212000.pcapng", "out-212010.pcapng", "out-212030.pcapng", "out-212040.pcapng"]
    assert [numbers(tmp_path / name) for name in names] == [[0, 1, 2], [3], [4, 5], [6]]


def test_size_and_period_together(tmp_path: Path) -> None:
    source = pcap(tmp_path / "in.pcap", [n / 10 for n in range(200)])
    assert etwcap("convert", source, "-w", tmp_path / "out-%S.pcapng", "-G", "10s", "-C", "8k").returncode == 0
    names = written(tmp_path)
    assert names == ["out-00.pcapng", "out-00.pcapng1", "out-10.pcapng", "out-10.pcapng1"]
    assert list(chain(*(numbers(tmp_path / name) for name in names))) == list(range(200))


def test_a_ring_keeps_the_last_files(tmp_path: Path) -> None:
    source = pcap(tmp_path / "in.pcap", [n / 10 for n in range(200)])
    done = etwcap("convert", source, "-w", tmp_path / "out.pcap", "-C", "4k", "-W", "3")
    assert done.returncode == 0, done.stderr
    assert written(tmp_path) == ["out.pcap0", "out.pcap1", "out.pcap2"]
    left = sorted(chain(*(numbers(tmp_path / name) for name in written(tmp_path))))
    assert left == list(range(200))[-len(left) :]
    assert "replaced by later ones" in done.stderr


def test_with_a_period_the_number_of_files_ends_the_writing(tmp_path: Path) -> None:
    source = pcap(tmp_path / "in.pcap", [0, 5, 10, 15, 20, 25])
    done = etwcap("convert", source, "-w", tmp_path / "out-%S.pcapng", "-G", "10", "-W", "2")
    assert (done.returncode, written(tmp_path)) == (0, ["out-00.pcapng", "out-10.pcapng"])
    assert [numbers(tmp_path / name) for name in written(tmp_path)] == [[0, 1], [2, 3]]
    assert "as many files as -W wanted" in done.stderr


def test_two_pieces_of_one_name_are_refused_and_the_first_stays(tmp_path: Path) -> None:
    source = pcap(tmp_path / "in.pcap", [0, 5, 10, 15])
    done = etwcap("convert", source, "-w", tmp_path / "out-%H.pcapng", "-G", "10")
    assert (done.returncode, written(tmp_path)) == (2, ["out-21.pcapng"])
    assert "%Y%m%d-%H%M%S" in done.stderr
    assert numbers(tmp_path / "out-21.pcapng") == [0, 1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-W", "3"), "-W needs -C or -G"),
        (("-W", "3", "-C", "1", "-G", "1"), "not with both"),
        (("-C", "0"), "'0' is no size"),
        (("-C", "1t"), "'1t' is no size"),
        (("-G", "0"), "'0' is no time"),
        (("-G", "soon"), "'soon' is no time"),
        (("-G", "10"), "every piece would replace the one before"),
        (("-W", "0", "-C", "1"), "0"),
        (("-C", "1", "-w", "-"), "pieces need files"),
    ],
)
def test_wrong_usage_writes_nothing(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    source = pcap(tmp_path / "in.pcap", [0])
    done = etwcap("convert", source, "-w", tmp_path / "out.pcapng", *options)
    assert (done.returncode, written(tmp_path)) == (2, [])
    assert says in done.stderr


def test_a_piece_that_was_not_named_is_never_replaced(tmp_path: Path) -> None:
    pcap(tmp_path / "in.pcap", [n / 10 for n in range(100)])
    (tmp_path / "in.pcapng1").write_bytes(b"precious")
    done = etwcap("convert", "in.pcap", "-C", "4k", cwd=tmp_path)
    assert (done.returncode, (tmp_path / "in.pcapng1").read_bytes()) == (1, b"precious")
    assert "in.pcapng1 exists" in done.stderr


def test_a_piece_never_replaces_an_input(tmp_path: Path) -> None:
    source = pcap(tmp_path / "out1", [n / 10 for n in range(100)])
    before = source.read_bytes()
    done = etwcap("convert", source, "-w", tmp_path / "out", "-C", "4k")
    assert (done.returncode, source.read_bytes()) == (1, before)
    assert "would replace an input" in done.stderr


def test_no_packet_leaves_no_piece(tmp_path: Path) -> None:
    done = etwcap("convert", pcap(tmp_path / "in.pcap", []), "-w", tmp_path / "out.pcapng", "-C", "1")
    assert (done.returncode, written(tmp_path)) == (3, [])
