"""Which word of a command line is what."""

from __future__ import annotations

from pathlib import Path

import pytest

from etwcap.cli.words import default_output, sort_words
from etwcap.errors import InputError, OutputError, UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.etl", "b.etl", "old.pcapng"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder").mkdir()
    return tmp_path


def test_leading_files_are_inputs_and_one_further_word_with_a_known_suffix_is_the_output(here: Path) -> None:
    assert sort_words(["a.etl", "b.etl", "new.pcapng"], None) == (["a.etl", "b.etl"], "new.pcapng", [])
    assert sort_words(["a.etl", "new.PCAP"], None) == (["a.etl"], "new.PCAP", [])


def test_a_capture_is_an_input_too(here: Path) -> None:
    assert sort_words(["old.pcapng"], None) == (["old.pcapng"], None, [])
    assert sort_words(["a.etl", "old.pcapng"], "new.pcapng") == (["a.etl", "old.pcapng"], "new.pcapng", [])


def test_what_is_neither_input_nor_output_is_the_filter(here: Path) -> None:
    assert sort_words(["a.etl", "tcp", "port", "80"], None).filter == ["tcp", "port", "80"]
    assert sort_words(["a.etl", "new.pcap", "udp or", "arp"], None) == (["a.etl"], "new.pcap", ["udp or", "arp"])


def test_a_file_behind_another_that_could_be_the_output_is_not_replaced_by_guess(here: Path) -> None:
    with pytest.raises(UsageError, match=r"old\.pcapng an input or the output") as caught:
        sort_words(["a.etl", "old.pcapng"], None)
    assert "etwcap convert a.etl -w old.pcapng" in caught.value.hint


def test_two_outputs_are_refused(here: Path) -> None:
    with pytest.raises(UsageError, match="only one output"):
        sort_words(["a.etl", "x.pcapng", "y.pcap"], None)


@pytest.mark.parametrize("words", [["nope.etl"], ["nope.etl", "new.pcapng"], ["a.etl", "nope.etl"], ["tcp"]])
def test_an_input_that_is_not_there_is_named(here: Path, words: list[str]) -> None:
    with pytest.raises(InputError, match=r"nope.etl|tcp"):
        sort_words(words, None)


def test_a_folder_is_no_input(here: Path) -> None:
    with pytest.raises(InputError, match="folder is a folder"):
        sort_words(["folder"], None)


def test_no_word_at_all_is_wrong_usage(here: Path) -> None:
    with pytest.raises(UsageError):
        sort_words([], None)


def test_without_a_name_the_output_is_the_stem_of_the_first_input_in_the_current_folder(here: Path) -> None:
    assert default_output(["somewhere/trace.etl", "b.etl"], None) == "trace.pcapng"
    assert default_output(["somewhere/trace.etl"], "pcap") == "trace.pcap"


def test_an_output_that_was_not_named_is_never_replaced(here: Path) -> None:
    with pytest.raises(OutputError, match="exists already") as caught:
        default_output(["somewhere/old.etl"], None)
    assert caught.value.hint.startswith("-w old.pcapng")


def test_standard_input_needs_a_named_output(here: Path) -> None:
    assert sort_words(["-"], "new.pcapng") == (["-"], "new.pcapng", [])
    with pytest.raises(UsageError, match="no name"):
        default_output(["-"], None)
