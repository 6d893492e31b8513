"""``etwcap convert`` as a person types it."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

import pytest

from command_line import etwcap, etwcap_process

SAMPLE = Path(__file__).parents[1] / "examples" / "sample-pktmon.etl"


def frame(number: int) -> bytes:
    """An Ethernet frame of an experimental type, each one another."""
    return bytes(6) + b"\x02\x00\x00\x00\x00\x01" + b"\x88\xb5" + struct.pack(">I", number) + bytes(42)


def pcap(times: list[int], link_type: int = 1) -> bytes:
    """A capture with nanoseconds; ``times`` in ns since 1970."""
    records = b""
    for number, time in enumerate(times):
        packet = frame(number)
        records += struct.pack("<IIII", time // 10**9, time % 10**9, len(packet), len(packet)) + packet
    return struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, link_type) + records


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "one.pcap").write_bytes(pcap([10**18 + 1, 10**18 + 3]))
    (tmp_path / "two.pcap").write_bytes(pcap([10**18 + 2]))
    (tmp_path / "empty.pcap").write_bytes(pcap([]))
    return tmp_path


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"one.pcap", "two.pcap", "empty.pcap"}


def test_without_an_output_the_stem_in_the_current_folder_is_written_and_told(here: Path) -> None:
    done = etwcap("convert", "one.pcap", cwd=here)
    assert (done.returncode, done.stdout, files(here)) == (0, "", {"one.pcapng"})
    assert done.stderr.startswith("one.pcapng: 2 packets, ")
    assert "2001-09-09 01:46:40.000000001 to 2001-09-09 01:46:40.000000003 UTC" in done.stderr


def test_an_output_that_was_not_named_is_never_replaced(here: Path) -> None:
    (here / "one.pcapng").write_bytes(b"precious")
    done = etwcap("convert", "one.pcap", cwd=here)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "etwcap: one.pcapng exists already",
        "an output that was not named is never replaced",
        "hint: -w one.pcapng replaces it",
    ]
    assert (here / "one.pcapng").read_bytes() == b"precious"


def test_a_named_output_is_replaced(here: Path) -> None:
    (here / "out.pcapng").write_bytes(b"old")
    assert etwcap("convert", "one.pcap", "-w", "out.pcapng", cwd=here).returncode == 0
    assert (here / "out.pcapng").read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    assert files(here) == {"out.pcapng"}


def test_the_suffix_names_the_format_and_the_option_wins(here: Path) -> None:
    etwcap("convert", "one.pcap", "a.pcap", cwd=here)
    etwcap("convert", "one.pcap", "-w", "b.pcap", "--format", "pcapng", cwd=here)
    assert (here / "a.pcap").read_bytes() == pcap([10**18 + 1, 10**18 + 3])
    assert (here / "b.pcap").read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"


def test_several_inputs_are_merged_in_time(here: Path) -> None:
    done = etwcap("convert", "one.pcap", "two.pcap", "-w", "out.pcap", "--format", "pcap", cwd=here)
    assert done.returncode == 0, done.stderr
    data = (here / "out.pcap").read_bytes()
    step = 16 + len(frame(0))
    assert [struct.unpack_from("<I", data, 24 + 4 + number * step)[0] for number in range(3)] == [1, 2, 3]


def test_the_same_input_gives_the_same_bytes_wherever_they_go(here: Path) -> None:
    etwcap("convert", "one.pcap", "-w", "out.pcapng", cwd=here)
    done = etwcap_process("convert", here / "one.pcap", "-w", "-")
    assert done.stderr.startswith(b"stdout: 2 packets, ")
    assert done.stdout == (here / "out.pcapng").read_bytes()


def test_standard_input_is_an_input(here: Path) -> None:
    with (here / "one.pcap").open("rb") as pipe:
        etwcap_process("convert", "-", "-w", here / "out.pcap", "-q", stdin=pipe.fileno())
    assert (here / "out.pcap").read_bytes() == (here / "one.pcap").read_bytes()


def test_a_filter_with_a_wrong_word_is_told_and_nothing_is_written(here: Path) -> None:
    done = etwcap("convert", "one.pcap", "out.pcapng", "tcp", "prot", "80", cwd=here)
    assert done.returncode == 2
    assert done.stderr == (
        "etwcap: filter: and, or or the end is expected here\ncolumn 5: tcp >>>prot<<< 80\n"
        "hint: did you mean proto or port?\n"
    )
    assert files(here) == set()


def test_an_input_without_packets_is_exit_code_3_and_leaves_no_output(here: Path) -> None:
    done = etwcap("convert", "empty.pcap", "-w", "out.pcapng", cwd=here)
    assert (done.returncode, done.stdout, files(here)) == (3, "", set())
    assert done.stderr.startswith("etwcap: no packets in empty.pcap\n")


def test_a_damaged_input_is_exit_code_4_and_what_is_intact_is_written(here: Path) -> None:
    (here / "one.pcap").write_bytes(pcap([1, 2])[:-1])
    done = etwcap("convert", "one.pcap", "-w", "out.pcapng", cwd=here)
    assert (done.returncode, files(here)) == (4, {"out.pcapng"})
    assert "out.pcapng: 1 packet" in done.stderr
    assert "\n  damaged: one.pcap at byte " in done.stderr


def test_something_else_is_no_trace(here: Path) -> None:
    (here / "text.etl").write_text("not a trace\n" * 100)
    done = etwcap("convert", "text.etl", cwd=here)
    assert (done.returncode, files(here)) == (1, {"text.etl"})
    assert len(done.stderr.splitlines()) <= 3
    assert done.stderr.startswith("etwcap: ")


def test_json_goes_to_stdout_and_beside_packets_to_stderr(here: Path) -> None:
    done = etwcap("convert", "one.pcap", "-w", "out.pcapng", "--json", cwd=here)
    told = json.loads(done.stdout)
    assert (told["packets_written"], told["output"], done.stderr) == (2, "out.pcapng", "")
    beside = etwcap_process("convert", here / "one.pcap", "-w", "-", "--json")
    assert json.loads(beside.stderr)["packets_written"] == 2


def test_the_receipt_is_a_file_of_the_same_facts(here: Path) -> None:
    done = etwcap("convert", "one.pcap", "-w", "out.pcapng", "--json", "--hash", "--receipt", "receipt.json", cwd=here)
    receipt = json.loads((here / "receipt.json").read_text())
    assert receipt == json.loads(done.stdout)
    assert receipt["inputs"][0]["inputs"][0]["sha256"] == hashlib.sha256((here / "one.pcap").read_bytes()).hexdigest()


@pytest.mark.parametrize("taken", ["one.pcap", "out.pcapng", "./out.pcapng"])
def test_the_receipt_never_lands_in_an_input_or_the_output(here: Path, taken: str) -> None:
    done = etwcap("convert", "one.pcap", "-w", "out.pcapng", "--receipt", taken, cwd=here)
    assert (done.returncode, files(here)) == (2, set())
    assert (here / "one.pcap").read_bytes() == pcap([10**18 + 1, 10**18 + 3])


def test_quiet_says_nothing(here: Path) -> None:
    done = etwcap("convert", "one.pcap", "-w", "out.pcapng", "-q", cwd=here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("repair", "says"),
    [
        ("length", "not there yet"),
        ("all,-duplicates", "not there yet"),
        ("magic", "no repair 'magic'"),
        ("wifi,none", "no repair 'none'"),
    ],
)
def test_an_unknown_repair_is_wrong_usage(here: Path, repair: str, says: str) -> None:
    done = etwcap("convert", "one.pcap", "--repair", repair, cwd=here)
    assert (done.returncode, files(here)) == (2, set())
    assert says in done.stderr


@pytest.mark.parametrize("repair", ["auto", "all", "none", "wifi", "-wifi", "all,-wifi", "none, wifi"])
def test_known_repairs_are_taken(here: Path, repair: str) -> None:
    assert etwcap("convert", "one.pcap", "-w", "out.pcapng", "--repair", repair, cwd=here).returncode == 0


def test_the_output_never_replaces_an_input(here: Path) -> None:
    done = etwcap("convert", "one.pcap", "-w", "one.pcap", cwd=here)
    assert done.returncode == 1
    assert "same file" in done.stderr
    assert (here / "one.pcap").read_bytes() == pcap([10**18 + 1, 10**18 + 3])


def test_a_missing_folder_is_told_in_three_lines(here: Path) -> None:
    done = etwcap("convert", "one.pcap", "-w", "nowhere/out.pcapng", cwd=here)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 3
    assert done.stderr.splitlines()[2].startswith("hint: ")


def test_a_reader_that_went_away_is_no_failure(here: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = etwcap_process("convert", here / "one.pcap", "-w", "-", stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, b"Traceback" in done.stderr, b"went away" in done.stderr) == (0, False, True)


def test_progress_can_be_asked_for(here: Path) -> None:
    done = etwcap("convert", "one.pcap", "-w", "out.pcapng", "--progress", cwd=here)
    assert done.returncode == 0


def test_the_sample_converts(tmp_path: Path) -> None:
    done = etwcap("convert", SAMPLE, "-w", "out.pcapng", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["packets_written"] > 10


def test_input_and_output_stand_side_by_side_as_users_of_etl2pcapng_type_them(tmp_path: Path) -> None:
    done = etwcap("convert", SAMPLE, "out.pcapng", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("out.pcapng: 43 packets ")
    etwcap("convert", SAMPLE, "-w", "named.pcapng", cwd=tmp_path)
    assert (tmp_path / "out.pcapng").read_bytes() == (tmp_path / "named.pcapng").read_bytes()


@pytest.mark.parametrize(
    ("interface", "packets"), [("wi-fi", 23), ("Wi-Fi (802.11)", 23), ("12", 23), ("Ethernet", 19)]
)
def test_an_adapter_is_chosen_by_its_name_whatever_its_link_type(interface: str, packets: int, tmp_path: Path) -> None:
    done = etwcap("convert", SAMPLE, "-w", "out.pcapng", "-i", interface, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["packets_written"] == packets
