"""``etwcap info`` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import etwcap
from etwcap.cli.info import worst

SAMPLE = Path(__file__).parents[1] / "examples" / "sample-pktmon.etl"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.etl"
    path.write_text("not a trace\n" * 100)
    return path


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    path = tmp_path / "cut.etl"
    path.write_bytes(SAMPLE.read_bytes()[:-100])
    return path


def test_a_trace_is_described() -> None:
    done = etwcap("info", SAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "sample-pktmon.etl" in done.stdout
    assert "Microsoft-Windows-PktMon" in done.stdout


def test_no_line_is_wider_than_a_piped_page() -> None:
    assert max(map(len, etwcap("info", SAMPLE).stdout.splitlines())) <= 100


def test_json_of_one_trace_is_an_object_and_of_several_an_array(text: Path) -> None:
    one = json.loads(etwcap("info", "--json", SAMPLE).stdout)
    done = etwcap("info", "--json", SAMPLE, text)
    several = json.loads(done.stdout)
    assert done.returncode == 1
    assert several[0] == one
    assert several[1]["path"] == str(text)
    assert several[1]["error"]["exit_code"] == 1
    assert done.stderr.startswith("etwcap: ")


def test_something_else_is_told_in_three_lines_at_most(text: Path) -> None:
    done = etwcap("info", text)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) <= 3


def test_a_missing_file_does_not_keep_the_others_from_being_described(tmp_path: Path) -> None:
    done = etwcap("info", tmp_path / "nope.etl", SAMPLE)
    assert done.returncode == 1
    assert "nope.etl" in done.stderr
    assert "Microsoft-Windows-PktMon" in done.stdout


def test_a_cut_trace_is_described_with_exit_code_4(cut: Path) -> None:
    done = etwcap("info", cut)
    assert (done.returncode, done.stderr) == (4, "")
    assert "Microsoft-Windows-PktMon" in done.stdout


@pytest.mark.parametrize(("codes", "code"), [([0], 0), ([0, 4], 4), ([4, 1, 0], 1), ([1, 4], 1), ([0, 0], 0)])
def test_of_several_files_the_worst_exit_code_counts(codes: list[int], code: int) -> None:
    assert worst(codes) == code
