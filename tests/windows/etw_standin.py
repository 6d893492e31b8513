"""The stand-in of Windows' trace sessions (``standin/``): building it, here, and steering it, under Wine."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from ctypes import c_char_p, c_int, c_int64, c_uint32, c_wchar_p
from pathlib import Path
from typing import Any

from etwcap.windows.dll import Library

SOURCES = Path(__file__).resolve().parent / "standin"
COMPILER = "x86_64-w64-mingw32-gcc"
_FLAGS = ("-std=gnu11", "-O2", "-D_WIN32_WINNT=0x0A00", "-DINITGUID", "-Wall", "-Wextra", "-Werror", "-shared")


def build(folder: Path) -> Path:
    """The DLL, compiled into the folder."""
    made = folder / "standin.dll"
    files = [*sorted(map(str, SOURCES.glob("*.c"))), str(SOURCES / "standin.def")]
    subprocess.run([COMPILER, *_FLAGS, "-static-libgcc", "-o", str(made), *files], check=True)
    return made


class StandIn:
    """The DLL, loaded: one machine for the process. ``library`` goes to etwcap in the place of Windows' own."""

    def __init__(self, path: str | Path) -> None:
        self.library = Library("standin.dll", stand_in=str(path))
        self._dll = _load(path)
        for name, result, *arguments in (
            ("load", c_int, c_wchar_p),
            ("option", c_int, c_char_p, c_int64),
            ("count", c_int64, c_char_p),
            ("fail", None, c_char_p, c_uint32, c_int64, c_int64),
            ("folder", None, c_wchar_p),
            ("session", None, c_wchar_p, c_wchar_p),
            ("driver_start", c_uint32),
            ("driver_stop", c_uint32),
            ("driver_running", c_int),
        ):
            call = getattr(self._dll, f"standin_{name}")
            call.restype, call.argtypes = result, arguments

    def load(self, play: str | Path | None, **options: int) -> None:
        """Begin anew with a play file (None: nothing happens, and the clock is Windows' own)."""
        assert self._dll.standin_load(None if play is None else str(play)), f"{play} is no play file"
        self.set(**options)

    def set(self, **options: int) -> None:
        """Set options (ALL_OPTIONS of ``machine.h`` says what there is)."""
        for name, value in options.items():
            assert self._dll.standin_option(name.encode(), value), f"there is no option {name}"

    def count(self, name: str) -> int:
        """A count (ALL_COUNTS of ``machine.h``)."""
        value: int = self._dll.standin_count(name.encode())
        assert value >= 0, name
        return value

    def fail(self, function: str, code: int, *, after: int = 0, times: int = 1) -> None:
        """Have the next calls of a function give that error, once it has been called ``after`` times."""
        self._dll.standin_fail(function.encode(), code, after, times)

    def folder(self, path: str | Path) -> None:
        """Where sessions and the driver's state are kept, for other processes to see."""
        self._dll.standin_folder(str(path))

    def session(self, name: str, file: str | None) -> None:
        """A trace session of a program of Windows, which writes into a file; None: it has ended."""
        self._dll.standin_session(name, file)

    def driver_start(self) -> int:
        """The driver of PktMon runs; the error where it was told to fail."""
        return int(self._dll.standin_driver_start())

    def driver_stop(self) -> int:
        """The driver stops, and tells its last events."""
        return int(self._dll.standin_driver_stop())

    def driver_running(self) -> bool:
        """Whether it runs, whoever started it."""
        return bool(self._dll.standin_driver_running())


def _load(path: str | Path) -> Any:
    if sys.platform != "win32":
        raise OSError(f"{path} is a DLL of Windows")
    return ctypes.WinDLL(str(path))
