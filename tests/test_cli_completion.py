"""Completion: the scripts, and what they are answered."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import etwcap
from conftest import tool_path
from etwcap.cli.app import COMMANDS
from etwcap.cli.completion import SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script_that_asks_etwcap(shell: str) -> None:
    done = etwcap("completion", shell)
    assert done.returncode == 0
    assert f"{shell}_complete" in done.stdout
    assert "_ETWCAP_COMPLETE" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_has_no_syntax_error(shell: str) -> None:
    subprocess.run([tool_path(shell), "-n"], input=etwcap("completion", shell).stdout, text=True, check=True)


@pytest.mark.parametrize(
    ("line", "word", "expected"),
    [
        ("etwcap ", "", set(COMMANDS)),
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


INTERACTIVE = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(etwcap completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit && compinit -u && eval "$(etwcap completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "etwcap completion fish | source"),
}
"""How a shell is started without anybody's settings, and the line that its user writes into them."""


@pytest.mark.parametrize("shell", INTERACTIVE)
def test_tab_completes_the_command_and_then_the_file(shell: str, tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("there are no pseudo-terminals")
    tool_path(shell)
    (tmp_path / "trace.etl").touch()
    (tmp_path / "bin").mkdir()
    told = tmp_path / "told"
    program = tmp_path / "bin" / "etwcap"
    # As etwcap, but `convert` only tells its words.
    program.write_text(
        f"""#!/bin/sh
if [ "$1" = convert ] && [ -z "$_ETWCAP_COMPLETE" ]; then echo "$@" >{shlex.quote(str(told))}; exit; fi
exec {shlex.quote(sys.executable)} -m etwcap "$@"
""",
        encoding="utf-8",
    )
    program.chmod(0o755)
    command, setup = INTERACTIVE[shell]
    type_into(command, f"{setup}\n", "etwcap conv\ttr\t\n", tmp_path, told)
    assert told.read_text(encoding="utf-8").split() == ["convert", "trace.etl"]


ON_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal on stdin that of a new session, and becomes the shell."""


def type_into(command: list[str], setup: str, line: str, folder: Path, told: Path) -> None:
    """Type into a shell on a terminal until the file ``told`` has a line."""
    import pty

    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    environment = os.environ | {
        "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
        "PYTHONPATH": path,
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_DATA_HOME": str(folder / "data"),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }
    screen, keyboard = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", ON_ITS_TERMINAL, *command],
        stdin=keyboard,
        stdout=keyboard,
        stderr=keyboard,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    os.close(keyboard)
    os.set_blocking(screen, False)
    shown = b""
    ready = folder / "ready"
    try:
        os.write(screen, f"{setup}echo yes >ready\n".encode())
        typed = False
        limit = time.monotonic() + 60
        while not (told.exists() and told.stat().st_size) and time.monotonic() < limit and child.poll() is None:
            if not typed and ready.exists():
                os.write(screen, line.encode())
                typed = True
            try:
                shown += os.read(screen, 65536)
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # the shell has closed its terminal
                break
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        os.close(screen)
    assert told.exists(), shown.decode(errors="replace")
