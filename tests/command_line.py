"""Running the command line: in this process, which is fast, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from etwcap.cli import main


class Done(NamedTuple):
    """How a run ended."""

    returncode: int
    stdout: str
    stderr: str


def etwcap(*words: str | Path, cwd: Path | None = None, **settings: str) -> Done:
    """Run the command line here, without a terminal; ``settings`` are environment variables."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="\n") for _ in range(2))
    before = Path.cwd()
    try:
        os.chdir(cwd or before)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch.dict(os.environ, settings):
            code = main([str(word) for word in words])
    finally:
        os.chdir(before)
    return Done(code, *(shown(stream) for stream in (out, err)))


def shown(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def etwcap_process(
    *words: str | Path, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE, **settings: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m etwcap`` on this very package; ``settings`` are environment variables."""
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path if folder)
    return subprocess.run(
        [sys.executable, "-m", "etwcap", *map(str, words)],
        env={**os.environ, "PYTHONPATH": path, **settings},
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
