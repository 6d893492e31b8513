"""shell32.dll: starting a program with an administrator's rights, after Windows has asked for consent."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from ctypes import c_int32, c_size_t, c_uint32, c_void_p

from etwcap.errors import RightsError
from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import fail
from etwcap.windows.handles import close_handle, kernel32
from etwcap.windows.layouts_shell32 import SHELLEXECUTEINFOW
from etwcap.windows.text import wide

_KEEP_PROCESS, _WAIT_FOR_START, _NO_DIALOG = 0x40, 0x100, 0x400
_HIDDEN = 0
_REFUSED = 1223
"""ERROR_CANCELLED: the person at the screen said no"""


class ElevatedProcess:
    """A program that was started; ``close`` lets go of it, and does not end it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.pid = int(kernel32().function("GetProcessId", c_uint32, c_size_t)(handle))

    def running(self) -> bool:
        """Whether it has not ended."""
        wait = kernel32().function("WaitForSingleObject", c_uint32, c_size_t, c_uint32)
        return bool(self._handle) and int(wait(self._handle, 0)) != 0

    def close(self) -> None:
        """Safe to call twice."""
        handle, self._handle = self._handle, 0
        if handle:
            close_handle(handle)


def run_elevated(program: str, words: Sequence[str], *, library: Library | None = None) -> ElevatedProcess:
    """Start a program, of which ``program`` is the full path, elevated and without a window of its own.

    Raises RightsError where consent is refused, WindowsCallError.
    """
    texts = [wide("runas"), wide(program), wide(subprocess.list2cmdline(words))]
    verb, file, parameters = (ctypes.addressof(text) for text in texts)
    how = SHELLEXECUTEINFOW(
        cbSize=ctypes.sizeof(SHELLEXECUTEINFOW),
        fMask=_KEEP_PROCESS | _WAIT_FOR_START | _NO_DIALOG,
        lpVerb=verb,
        lpFile=file,
        lpParameters=parameters,
        nShow=_HIDDEN,
    )
    shell = library or Library("shell32.dll")
    if not shell.function("ShellExecuteExW", c_int32, c_void_p)(ctypes.byref(how)):
        code = last_error()
        if code == _REFUSED:
            raise RightsError(
                "an administrator's consent was refused",
                cause="capturing needs an administrator's rights",
                hint="say yes when Windows asks, or start etwcap from an elevated terminal",
            )
        fail("ShellExecuteExW", code, what="the part that needs rights cannot be started")
    return ElevatedProcess(int(how.hProcess or 0))
