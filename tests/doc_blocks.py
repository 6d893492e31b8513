"""What a page of docs/ lets its reader type: its fenced blocks and inline commands, and how they are run."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "examples" / "sample-pktmon.etl"

SHELLS = {"sh": ["bash", "-euo", "pipefail", "-c"], "zsh": ["zsh", "-ec"], "fish": ["fish", "-c"]}
"""How blocks in the language of a shell are run: a ``sh`` block stops at the first command that fails."""

RUN = ("console", "python", *SHELLS)
"""Kinds of blocks that are run; blocks of any other kind (powershell, text, ini ...) are only shown."""

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<kind>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)(?P=fence) *$", re.M | re.S
)


class Block(NamedTuple):
    """A fenced block."""

    line: int
    kind: str
    body: str
    start: int
    """Where the body begins in the page's text."""
    end: int
    indent: str
    """What stands before every line of it, and is not in ``body``."""


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page."""
    return [
        Block(
            line=text.count("\n", 0, found.start()) + 1,
            kind=found["kind"],
            body=textwrap.dedent(found["body"]),
            start=found.start("body"),
            end=found.end("body"),
            indent=found["indent"],
        )
        for found in _FENCE.finditer(text)
    ]


def inline_commands(text: str) -> list[str]:
    """The commands in running text and tables: `` `etwcap convert trace.etl` ``.

    One word behind ``etwcap`` only names a command; an ellipsis or a word in capitals makes a form to be filled in.
    """
    spans = re.findall(r"(?<!`)`(etwcap [^`\n]+)`(?!`)", _FENCE.sub("", text))
    form = re.compile(r"…|\b[A-Z]{2,}\b|^etwcap \w+$")
    return sorted({span.replace("\\|", "|") for span in spans if not form.search(span)})


def prepare(folder: Path) -> dict[str, str]:
    """Lay the files that the pages name into a folder; the environment to run their commands in.

    trace.etl, one.etl and two.etl are the sample; capture.pcapng, web.pcapng and capture.pcap are what it becomes;
    raw.pcapng is web.pcapng as raw sockets record it.
    ``etwcap`` is this very package.
    """
    programs = folder / "bin"
    programs.mkdir()
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    shim = programs / "etwcap"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m etwcap "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment = inherited | {
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": path,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "NO_COLOR": "1",
        "HOME": str(folder),
    }
    room = folder / "room"
    room.mkdir()
    for name in ("trace.etl", "one.etl", "two.etl", SAMPLE.name):
        shutil.copy(SAMPLE, room / name)
    for name, more in (("capture.pcapng", ()), ("capture.pcap", ("--ethernet", "-i", "Wi-Fi", "--no-drops"))):
        convert = [shim, "convert", "-q", "trace.etl", "-w", name, *more]
        subprocess.run(convert, cwd=room, env=environment, check=True, timeout=60)
    shutil.copy(room / "capture.pcapng", room / "web.pcapng")
    record: list[str | Path] = [shim, "synth", "-q", "web.pcapng", "-w", "raw.pcapng", "--as", "raw"]
    subprocess.run(record, cwd=room, env=environment, check=True, timeout=60)
    shutil.copytree(ROOT / "examples", room / "examples")
    return environment


def run_shell(
    script: str, folder: Path, environment: dict[str, str], *, kind: str = "sh"
) -> subprocess.CompletedProcess[str]:
    """Run a block in the language of a shell."""
    return _run([*SHELLS[kind], script], folder, environment)


def run_python(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a ``python`` block in a process of its own."""
    return _run([sys.executable, "-W", "error", "-c", script], folder, environment)


@contextlib.contextmanager
def left_as_found(folder: Path) -> Iterator[None]:
    """Takes out what was added to a folder."""
    before = set(folder.iterdir())
    try:
        yield
    finally:
        for left in set(folder.iterdir()) - before:
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()


class Step(NamedTuple):
    """A command of a ``console`` block, and the output that stands below it."""

    command: str
    shown: str


def steps(body: str) -> list[Step]:
    """The steps of a ``console`` block: lines that begin with ``$ ``, each with what follows."""
    parts = re.split(r"^\$ (.+)\n", body, flags=re.M)
    if parts[0].strip():
        raise ValueError(f"a console block begins with a command, not with {parts[0]!r}")
    return [Step(command, shown.rstrip("\n")) for command, shown in zip(parts[1::2], parts[2::2], strict=True)]


def run_console(body: str, folder: Path, environment: dict[str, str]) -> list[tuple[int, str]]:
    """Run a ``console`` block: the exit code and the output (stdout and stderr) of each command.

    Each command has a shell of its own, whose ``$?`` is the exit code of the command before.
    """
    results: list[tuple[int, str]] = []
    code = 0
    for step in steps(body):
        done = _run(["bash", "-c", f"(exit {code})\n{step.command}"], folder, environment)
        code = done.returncode
        results.append((code, done.stdout.rstrip("\n")))
    return results


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
