"""Programs of Windows that are run for us: by their absolute path, in a clean environment, with what they said.

What they say is translated: it is shown to people, never read. Judged are exit codes, and what the machine then says.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath

from etwcap.errors import NotHereError
from etwcap.windows.dll import system_folder
from etwcap.windows.failure import failure

_NO_WINDOW = 0x08000000
_MOST = 4_000


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a program: its exit code, and what it said on both streams (a few thousand characters)."""

    code: int
    said: str = ""

    def line(self) -> str:
        """What it said, as one line for people."""
        return " ".join(self.said.split())[:300]


Run = Callable[[Sequence[str], float], Ran]
"""Runs a program (its full path and words; a limit in seconds). Raises NotHereError, WindowsCallError."""


def run_program(words: Sequence[str], limit: float) -> Ran:
    """Run a program without window and input, for ``limit`` s at most.

    Its environment holds Windows' own folders and nothing of the caller's, so that no variable decides what it loads.
    Raises NotHereError where there is no Windows or no such program, WindowsCallError where it takes too long.
    """
    if sys.platform != "win32":
        raise NotHereError("this needs Windows", cause=f"there is no {PureWindowsPath(words[0]).name} here")
    name = PureWindowsPath(words[0]).name
    try:
        done = subprocess.run(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit,
            check=False,
            creationflags=_NO_WINDOW,
            cwd=system_folder(),
            env=clean_environment(system_folder()),
        )
    except subprocess.TimeoutExpired as error:
        raise failure(name, 1460, what=f"{name} takes longer than {limit:.0f} s") from error
    except FileNotFoundError as error:
        raise NotHereError(f"this Windows has no {name}", cause=words[0]) from error
    except OSError as error:
        raise failure(name, getattr(error, "winerror", None) or 2, what=f"{name} cannot be run") from error
    return Ran(done.returncode, done.stdout.decode("oem", "replace")[:_MOST])


def clean_environment(system32: str) -> dict[str, str]:
    """The environment of programs that are run: Windows' own folders, as the path of System32 says where they are."""
    windows = str(PureWindowsPath(system32).parent)
    return {
        "SystemRoot": windows,
        "windir": windows,
        "SystemDrive": PureWindowsPath(system32).drive,
        "ComSpec": rf"{system32}\cmd.exe",
        "PATH": rf"{system32};{windows};{system32}\Wbem;{system32}\WindowsPowerShell\v1.0",
        "PATHEXT": ".COM;.EXE",
        "PSModulePath": rf"{system32}\WindowsPowerShell\v1.0\Modules",
        "TEMP": rf"{windows}\Temp",
        "TMP": rf"{windows}\Temp",
    }
