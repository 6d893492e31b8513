"""``netsh trace``: Windows' own way to switch NdisCap on, which writes a file besides.

netsh's words are translated, so exit codes are all that is read. A machine has one such trace at a time.
Sources: Microsoft's "netsh trace" and "Netsh Commands for Network Trace in Windows Server 2008 R2 and Windows 7".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from etwcap.errors import UsageError, WindowsCallError
from etwcap.windows.dll import system_program
from etwcap.windows.failure import CallRightsError
from etwcap.windows.programs import Ran, Run, run_program

WINDOWS_10: Final = 10_240
"""Since this build report and correlation can be "disabled": then stopping takes seconds, not minutes."""
SIZE: Final = 16
"""MB of the file, which nobody reads: a ring"""
_START_LIMIT, _STOP_LIMIT = 90.0, 300.0


def start_words(build: int, file: str, *, pushed: Sequence[str] = (), adapter: str = "") -> list[str]:
    """netsh's words that start a trace with whole packets on a Windows of that build.

    ``file`` is an absolute path; ``pushed`` are capture filters in netsh's words; ``adapter`` is an adapter's GUID with
    its braces ("": all of them).
    """
    if any(each in file for each in '"\r\n\0'):
        raise UsageError(f"netsh cannot be given the file {file!r}")
    report = "disabled" if build >= WINDOWS_10 else "no"
    return [
        "trace",
        "start",
        "capture=yes",
        f"report={report}",
        f"correlation={report}",
        "persistent=no",
        f"tracefile={file}",
        "filemode=circular",
        f"maxsize={SIZE}",
        "overwrite=yes",
        *([f"CaptureInterface={adapter}"] if adapter else []),
        *pushed,
    ]


class NetshTrace:
    """netsh's trace of this machine. For tests: ``run`` instead of netsh, ``program`` for where it lies."""

    def __init__(self, run: Run | None = None, *, program: Callable[[], str] | None = None) -> None:
        self._run = run or run_program
        self._program = program or (lambda: system_program("netsh.exe"))

    def start(self, words: Sequence[str]) -> None:
        """Start a trace with the words of ``start_words``. Raises WindowsCallError; then none was started."""
        ran = self._run((self._program(), *words), _START_LIMIT)
        if ran.code:
            raise _failed("netsh trace start", ran, "netsh cannot start a trace")

    def stop(self) -> None:
        """Stop the machine's trace, whosever it is. Raises WindowsCallError where it fails or none runs."""
        ran = self._run((self._program(), "trace", "stop"), _STOP_LIMIT)
        if ran.code:
            raise _failed("netsh trace stop", ran, "netsh's trace cannot be stopped")


def _failed(function: str, ran: Ran, what: str) -> WindowsCallError:
    means = f"exit code {ran.code}" + (f": {ran.line()}" if ran.said.strip() else "")
    kind = CallRightsError if ran.code == 5 else WindowsCallError
    return kind(function, ran.code, what=what, means=means)
