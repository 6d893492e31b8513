"""Completion: the scripts, and what they are answered."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from command_line import etwcap
from etwcap.cli.completion import SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script_that_asks_etwcap(shell: str) -> None:
    done = etwcap("completion", shell)
    assert done.returncode == 0
    assert f"{shell}_complete" in done.stdout
    assert "_ETWCAP_COMPLETE" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_has_no_syntax_error(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([program, "-n"], input=etwcap("completion", shell).stdout, text=True, check=True)


@pytest.mark.parametrize(
    ("line", "word", "expected"),
    [
        ("etwcap ", "", {"completion", "convert", "info"}),
        ("etwcap con", "con", {"convert"}),
        ("etwcap convert --no", "--no", {"--no-drops", "--no-progress", "--no-radiotap"}),
        ("etwcap completion po", "po", {"powershell"}),
        ("etwcap convert C:\\Users\\me\\trace.etl --form", "--form", {"--format"}),
    ],
)
def test_powershell_is_answered_with_kind_value_and_help(line: str, word: str, expected: set[str]) -> None:
    done = etwcap(_ETWCAP_COMPLETE="powershell_complete", COMP_WORDS=line, COMP_WORD=word)
    rows = [row.split("\t") for row in done.stdout.splitlines()]
    assert {value for _, value, _ in rows} == expected
    assert {kind for kind, _, _ in rows} == {"plain"}
    assert all(text for _, _, text in rows)


def test_inputs_complete_as_files() -> None:
    done = etwcap(_ETWCAP_COMPLETE="powershell_complete", COMP_WORDS="etwcap info tr", COMP_WORD="tr")
    assert done.stdout.split("\t")[0] == "file"
    bash = etwcap(_ETWCAP_COMPLETE="bash_complete", COMP_WORDS="etwcap convert tr", COMP_CWORD="2")
    assert bash.stdout.split(",")[0] == "file"


def test_an_unknown_shell_fails(tmp_path: Path) -> None:
    assert etwcap(_ETWCAP_COMPLETE="cmd_source", cwd=tmp_path).returncode == 1
