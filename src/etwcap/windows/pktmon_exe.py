"""pktmon.exe of System32: PktMon's own program, in the words of each build.

What it says is translated, so nothing of it is read: exit codes count, and what the driver's state says afterwards.
Sources: Microsoft's "Pktmon command formatting" for today's words, its edition of December 2020 for those of Windows
10 2004. Those of 1809 to 1909 stand in no page of Microsoft's any more; they are those that the press showed. Monthly
updates brought newer words to older builds, so more than one kind is tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, Literal

from etwcap.errors import EtwcapError, NotHereError, WindowsCallError
from etwcap.windows.dll import system_program
from etwcap.windows.failure import describe, failure
from etwcap.windows.programs import Ran, Run, run_program
from etwcap.windows.version import WINDOWS_10_2004

PROGRAM: Final = "PktMon.exe"
WINDOWS_10_21H2: Final = 19044
"""From here on today's words are documented; older builds of the same branch may have them by a monthly update."""
QUICK, PATIENT = 15.0, 60.0
"""Seconds that a command may take; stopping writes a log, which takes longer."""

Components = Literal["all", "nics"] | tuple[int, ...]
"""Which components report packets: all of them, the network adapters, or those of these ids."""
Syntax = Literal["1809", "2004", "today"]


def syntaxes(build: int) -> tuple[Syntax, ...]:
    """The words that a build may know, the likeliest first."""
    if build < WINDOWS_10_2004:
        return ("1809", "today")
    return ("2004", "today") if build < WINDOWS_10_21H2 else ("today", "2004")


def start_words(syntax: Syntax, components: Components, log: str) -> list[str]:
    """``pktmon start``: whole packets of flow and drops, logged in memory where the build can.

    ``log`` is the file that pktmon.exe writes at the end (or, before 2004, all the time); there is no way without one.
    """
    ids = [str(each) for each in components] if isinstance(components, tuple) else [components]
    if syntax == "today":
        logged = ["--log-mode", "memory", "--file-size", "1", "--file-name", log]
        return ["start", "--capture", "--comp", *ids, "--type", "all", "--pkt-size", "0", *logged]
    logged = ["-f", log, "-s", "1"]
    if syntax == "2004":
        logged += ["-l", "memory"]
    return ["start", "--etw", "-p", "0", "-c", *ids, *logged]


class PktMonExe:
    """pktmon.exe. For tests: ``run`` to run programs, ``path`` of the program, ``exists`` to look for it."""

    def __init__(
        self,
        build: int,
        *,
        run: Run | None = None,
        path: Callable[[], str] | None = None,
        exists: Callable[[str], bool] = os.path.isfile,
    ) -> None:
        self._syntaxes = syntaxes(build)
        self._run = run or run_program
        self._path = path or (lambda: system_program(PROGRAM))
        self._exists = exists

    def there(self) -> bool:
        """Whether this Windows has the program."""
        try:
            return self._exists(self._path())
        except NotHereError:
            return False

    def start(self, components: Components, log: str) -> None:
        """Start a capture of whole packets; ``log`` is a file in a folder that the caller removes.

        Raises WindowsCallError with the exit code where it refuses, as it does while anybody's capture runs.
        """
        tried: list[Ran] = []
        for syntax in self._syntaxes:
            tried.append(self._ran(start_words(syntax, components, log), QUICK))
            if tried[-1].code == 0:
                return
        raise refusal("the capture of PktMon cannot be started", tried[0])

    def stop(self) -> None:
        """End the capture, whose-ever it is; raises WindowsCallError."""
        self._checked(["stop"], "the capture of PktMon cannot be stopped", PATIENT)

    def add_filter(self, name: str, words: Sequence[str]) -> None:
        """``pktmon filter add``: one more filter, of which any must hold; raises WindowsCallError."""
        self._checked(["filter", "add", name, *words], "PktMon does not take the filter")

    def remove_filters(self) -> None:
        """``pktmon filter remove``: all of them; raises WindowsCallError."""
        self._checked(["filter", "remove"], "the filters of PktMon cannot be removed")

    def _checked(self, words: Sequence[str], what: str, limit: float = QUICK) -> None:
        ran = self._ran(words, limit)
        if ran.code != 0:
            raise refusal(what, ran)

    def _ran(self, words: Sequence[str], limit: float) -> Ran:
        return self._run([self._path(), *words], limit)


class RefusedError(WindowsCallError):
    """pktmon.exe ran and ended with a number."""


def refusal(what: str, ran: Ran) -> WindowsCallError:
    """The error of a command that ended with a number; HRESULTs that wrap a Win32 number count as that."""
    code = ran.code & 0xFFFFFFFF
    said = ran.line()
    if code == _ACCESS_DENIED:
        return failure(PROGRAM, code & 0xFFFF, what=what)
    code = code & 0xFFFF if code >> 16 == 0x8007 else code
    return RefusedError(
        PROGRAM, code, what=what, means=f"it ended with {describe(code)}" + (f": {said}" if said else "")
    )


def blocked(error: EtwcapError) -> bool:
    """Whether the program could not be run at all (a policy forbids it, it is not there), rather than refused."""
    if isinstance(error, RefusedError):
        return False
    return isinstance(error, NotHereError) or (isinstance(error, WindowsCallError) and error.code in _NOT_RUN)


_ACCESS_DENIED: Final = 0x80070005
_NOT_RUN: Final = {2, 193, 216, 577, 740, 786, 787, 1260}
"""Windows' numbers for: not found, another processor's program, a signature or policy (AppLocker, Software Restriction)
that forbids it."""
