"""The Windows Python of the test bed, run under Wine by tests on this system.

``scripts/windows-test --bed`` sets ETWCAP_WINDOWS_BED; elsewhere there is no Wine to ask, and the tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = os.environ.get("ETWCAP_WINDOWS_BED", "")
"""``WINE:BED``: the loader's path, and the folder that scripts/windows-testbed made"""

if not SETTINGS:
    pytest.skip("scripts/windows-test --bed runs these under Wine", allow_module_level=True)

WINE, BED = SETTINGS.split(":")
PYTHON = Path(BED, "python", "python.exe")


def settings() -> dict[str, str]:
    """The environment of a Windows program: without the settings of this Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run_windows(program: Path, *words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """A Windows program, with a standard input and pipes."""
    return subprocess.run(
        [WINE, str(program), *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=cwd,
        env=settings(),
        timeout=120,
        check=False,
    )


def on_windows(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """``python -m etwcap`` of the test bed."""
    return run_windows(PYTHON, "-m", "etwcap", *words, cwd=cwd)


def on_linux(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """``python -m etwcap`` of this Python."""
    return subprocess.run([sys.executable, "-m", "etwcap", *map(str, words)], capture_output=True, cwd=cwd, check=False)


def lines(data: bytes) -> bytes:
    """Text of Windows with the line ends of this system."""
    return data.replace(b"\r\n", b"\n")
