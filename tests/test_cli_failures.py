"""How failures are told: three lines, an exit code, no traceback."""

from __future__ import annotations

import errno
import io
import os
import sys

import click
import pytest

from command_line import etwcap, etwcap_process
from etwcap.cli import app, failures, progress
from etwcap.errors import EtwcapError, NothingToWriteError, RightsError


def told(capsys: pytest.CaptureFixture[str], error: BaseException) -> tuple[list[str], int]:
    code = failures.tell(error)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines(), code


def test_an_error_is_what_cause_and_hint_on_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    error = NothingToWriteError("t.etl has no packets", cause="no packet provider", hint="pktmon start --capture")
    assert told(capsys, error) == (
        ["etwcap: t.etl has no packets", "no packet provider", "hint: pktmon start --capture"],
        3,
    )
    assert told(capsys, RightsError("no rights")) == (["etwcap: no rights"], 5)


def test_an_error_of_the_system_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/out.pcapng")
    assert told(capsys, error) == ([f"etwcap: /full/out.pcapng: {os.strerror(errno.ENOSPC)}"], 1)
    assert told(capsys, OSError("odd"))[0] == ["etwcap: odd"]


def test_out_of_memory_and_interruption_have_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, MemoryError()) == (["etwcap: out of memory"], 1)
    assert told(capsys, KeyboardInterrupt()) == (["etwcap: interrupted"], 130)


def test_wrong_usage_points_to_the_help_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    context = click.Context(click.Command("convert"), info_name="etwcap convert")
    lines, code = told(capsys, click.UsageError("no such option: --x", context))
    assert (lines[-1], code) == ("hint: etwcap convert --help", 2)


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lines, _ = told(capsys, EtwcapError("bad \x1b[2J\n\u202ename\udc80", cause="ü stays"))
    assert lines == ["etwcap: bad \\x1b[2J\\n\\u202ename\\udc80", "ü stays"]


def test_an_error_nobody_foresaw_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        failures.tell(ZeroDivisionError())


@pytest.mark.parametrize("words", [["conver"], ["convert", "--nope"], ["info"], ["convert"], ["completion", "cmd"]])
def test_wrong_usage_is_exit_code_2_with_a_hint(words: list[str]) -> None:
    done = etwcap(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("etwcap: ")
    assert "\nhint: " in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_a_reader_of_stdout_that_went_away_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = etwcap_process("--help", stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_lists_commands_and_exit_codes() -> None:
    done = etwcap("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("convert", "info", "completion", "Exit codes:", "130"):
        assert word in done.stdout
    assert etwcap().stdout == done.stdout


@pytest.mark.parametrize("command", sorted(app.COMMANDS))
def test_every_command_has_help(command: str) -> None:
    done = etwcap(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: etwcap {command} ")


def test_version_tells_which_core_runs() -> None:
    assert b"plain Python, no native core" in etwcap_process("--version", ETWCAP_NATIVE="0").stdout
    native = etwcap_process("--version", ETWCAP_NATIVE="1")
    assert b"(native core; " in native.stdout or native.stderr.startswith(b"etwcap: the native core")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_on_a_terminal_and_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_AFTER", 0.0)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress.Progress("converting") as show:
        show(30_000_000, 100_000_000)
    assert "converting  30 %  30 MB" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize(("stream", "wanted"), [(io.StringIO, None), (Terminal, False)])
def test_progress_is_silent_without_a_terminal_or_when_not_wanted(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], wanted: bool | None
) -> None:
    monkeypatch.setattr(progress, "FIRST_AFTER", 0.0)
    monkeypatch.setattr(sys, "stderr", terminal := stream())
    with progress.Progress(wanted=wanted) as show:
        show(1, 2)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (50_000_000, 200_000_000, 0.5, "25 %  50 MB  100 MB/s  0:02 left"),
        (7_000_000, 0, 1.0, "7 MB  7 MB/s"),
        (0, 10, 0.0, "0 %  0 MB  0 MB/s"),
        (11, 10, 1.0, "100 %  0 MB  0 MB/s"),
    ],
)
def test_progress_tells_share_rate_and_time_left(done: int, total: int, seconds: float, text: str) -> None:
    assert progress.line("", done, total, seconds) == text
