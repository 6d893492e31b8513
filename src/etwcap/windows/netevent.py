"""NetEvent sessions (root\\StandardCimv2, MSFT_NetEventSession and its providers), by PowerShell's own module.

A machine has one at a time. Scripts are fixed texts: what comes from outside stands in them as numbers or in quotes.
They hold cmdlets and operators alone, which PowerShell's constrained language allows too. What PowerShell says to
people is translated and not read: read are exit codes, the error's identifier, and lines that the scripts write.
Sources: Microsoft's pages of the module NetEventPacketCapture (Windows 8.1 and Server 2012 R2 on), and
"about_Quoting_Rules".
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Final

from etwcap.errors import NotHereError, UsageError, WindowsCallError
from etwcap.windows.dll import system_folder
from etwcap.windows.failure import CODES, RIGHTS, failure
from etwcap.windows.programs import Ran, Run, run_program

FIRST_BUILD: Final = 9600
"""Windows 8.1 and Server 2012 R2 have the module first."""
REALTIME: Final = "RealtimeLocal"
"""CaptureMode: another program takes the events out of the trace session."""
WHOLE: Final = 65_535
"""TruncationLength: the most that it can say, and more than an event can hold; 128 where nothing is said."""

_PROGRAM: Final = "powershell.exe"
_SHELL = rf"WindowsPowerShell\v1.0\{_PROGRAM}"
_MODULE = r"WindowsPowerShell\v1.0\Modules\NetEventPacketCapture\NetEventPacketCapture.psd1"
_LIMIT: Final = 90.0
_TIMEOUT: Final = 1460
_FAILED, _ANOTHER = 3, 4
"""Exit codes of the scripts."""
_LONGEST_NAME = 1_000
_QUOTES = "'\u2018\u2019\u201a\u201b"
"""PowerShell takes each of them for the end of a text in single quotes, unless it is doubled."""
_HRESULT = re.compile(r"HRESULT 0x([0-9A-Fa-f]{8})")
_SYSTEM_ERROR = re.compile(r"Windows System Error (\d{1,10})")

Value = int | bool | str | Sequence[int] | Sequence[str]


@dataclass(frozen=True, slots=True)
class Cmdlet:
    """A cmdlet and its parameters, as it stands in a script."""

    name: str
    parameters: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [self.name, *(f"-{key} {_value(value)}" for key, value in self.parameters.items())]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class NetEventSession:
    """A session of the machine: its name, and Running, Stopped or Failed."""

    name: str
    status: str


class AnotherSessionError(WindowsCallError):
    """A NetEvent session is there already, and a machine has one at a time: ``sessions`` says which."""

    def __init__(self, sessions: Sequence[NetEventSession]) -> None:
        known = ", ".join(f"{each.name} ({each.status})" for each in sessions)
        super().__init__(
            "New-NetEventSession",
            183,
            what="another NetEvent session is there, and a machine has one at a time",
            means=known or "its name is not known",
            hint="pktmon captures beside it: --tap pktmon; or let its owner end it: Remove-NetEventSession",
        )
        self.sessions = tuple(sessions)


def nothing_made(error: BaseException) -> bool:
    """Whether ``NetEvent.start`` that raised this had made nothing yet."""
    if isinstance(error, NotHereError | UsageError | AnotherSessionError):
        return True
    if not isinstance(error, WindowsCallError):
        return False
    if error.function == _PROGRAM:  # it could not be started, or took too long: then nobody knows
        return error.code != _TIMEOUT
    return error.function in ("Import-Module", "Get-NetEventSession", "New-NetEventSession", "powershell")


def packet_capture(
    *,
    level: int,
    truncation: int = WHOLE,
    ether_types: Sequence[int] = (),
    protocols: Sequence[int] = (),
    addresses: Sequence[str] = (),
) -> Cmdlet:
    """NdisCap as a provider of a session: adapters, each packet at one layer; packets that pass all lists."""
    lists: dict[str, Sequence[int] | Sequence[str]] = {
        "EtherType": ether_types,
        "IpProtocols": protocols,
        "IpAddresses": addresses,
    }
    return Cmdlet(
        "Add-NetEventPacketCaptureProvider",
        {
            "Level": level,
            "CaptureType": "Physical",
            "MultiLayer": False,
            "TruncationLength": truncation,
            **{name: values for name, values in lists.items() if values},
        },
    )


class NetEvent:
    """NetEvent sessions of this machine.

    For tests: ``run`` (instead of PowerShell), ``system32`` and ``exists`` (whether a file is there).
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        system32: Callable[[], str] = system_folder,
        exists: Callable[[str], bool] = os.path.exists,
    ) -> None:
        self._run = run or run_program
        self._system32 = system32
        self._exists = exists

    def lacks(self) -> str:
        """What of the machine is missing for it (a path); "" where nothing is."""
        paths = (self._path(_SHELL), self._path(_MODULE))
        return next((path for path in paths if not self._exists(path)), "")

    def sessions(self) -> list[NetEventSession]:
        """The sessions that are there; needs elevation. Raises WindowsCallError."""
        ran = self._script(_LIST)
        if ran.code:
            raise _failed("Get-NetEventSession", ran, "NetEvent sessions cannot be listed")
        return _listed(ran)

    def start(
        self,
        name: str,
        providers: Sequence[Cmdlet],
        *,
        adapters: Sequence[str] = (),
        buffer_size: int = 512,
        buffers: int = 128,
    ) -> None:
        """Make a session and start it: events in real time, of the adapters of these names (none: of all).

        ``buffer_size`` KiB (1 to 1024), ``buffers`` at most (to 255). Raises AnotherSessionError where there is one
        already, WindowsCallError; what was made until then is for ``remove``.
        """
        session: dict[str, Value] = {
            "CaptureMode": REALTIME,
            "TraceBufferSize": buffer_size,
            "MaxNumberOfBuffers": buffers,
        }
        steps = [
            Cmdlet("New-NetEventSession", {"Name": name, **session}),
            *(Cmdlet(each.name, {"SessionName": name, **each.parameters}) for each in providers),
            *(Cmdlet("Add-NetEventNetworkAdapter", {"Name": adapter}) for adapter in adapters),
            Cmdlet("Start-NetEventSession", {"Name": name}),
        ]
        listing = f"{_LIST}if($there){{exit {_ANOTHER}}};"
        made = "".join(f"$step='{each.name}';{each}|Out-Null;" for each in steps)
        ran = self._script(listing + made)
        if ran.code == _ANOTHER:
            raise AnotherSessionError(_listed(ran))
        if ran.code:
            raise _failed("New-NetEventSession", ran, "the NetEvent session cannot be started")

    def remove(self, name: str) -> bool:
        """Stop a session and take it away; whether it was there. Raises WindowsCallError where it stays."""
        session = f"{_value(name)}"
        ran = self._script(
            f"{_LIST}$mine=$there|Where-Object Name -eq {session};"
            f"if($mine){{$step='Stop-NetEventSession';try{{Stop-NetEventSession -Name {session}|Out-Null}}catch{{}};"
            f"$step='Remove-NetEventSession';Remove-NetEventSession -Name {session}|Out-Null}};"
        )
        if ran.code:
            raise _failed("Remove-NetEventSession", ran, f"the NetEvent session {name} cannot be removed")
        return any(each.name == name for each in _listed(ran))

    def _script(self, text: str) -> Ran:
        """Run a script; ``lacks`` is asked before."""
        missing = self.lacks()
        if missing:
            raise NotHereError("this Windows has no NetEvent sessions", cause=f"there is no {missing}")
        words = (self._path(_SHELL), "-NoLogo", "-NoProfile", "-NonInteractive", "-Command")
        return self._run((*words, script(self._path(_MODULE), text)), _LIMIT)

    def _path(self, below: str) -> str:
        return str(PureWindowsPath(self._system32(), below))


_LIST = (
    "$step='Get-NetEventSession';$there=@(Get-NetEventSession);"
    "foreach($s in $there){'session {0} {1}' -f $s.SessionStatus,$s.Name};"
)


def script(module: str, text: str) -> str:
    """The whole of a script: stops at the first error, and tells where and which."""
    return (
        f"$ErrorActionPreference='Stop';$ProgressPreference='SilentlyContinue';$step='Import-Module';"
        f"try{{Import-Module -Name {quoted(module)};{text}exit 0}}"
        f"catch{{'error {{0}} {{1}}' -f $step,$_.FullyQualifiedErrorId;$_.Exception.Message;exit {_FAILED}}}"
    )


def quoted(text: str) -> str:
    """A text in single quotes, in which PowerShell expands nothing. Raises UsageError for control characters."""
    if len(text) > _LONGEST_NAME or any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in text):
        raise UsageError(f"{text[:60]!r} is no name that PowerShell can be given")
    return "'" + "".join(each * 2 if each in _QUOTES else each for each in text) + "'"


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "$true" if value else "$false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    return ",".join(_value(each) for each in value)


def _listed(ran: Ran) -> list[NetEventSession]:
    """The sessions in what a script wrote."""
    found = []
    for line in ran.said.splitlines():
        word, _, rest = line.partition(" ")
        status, _, name = rest.partition(" ")
        if word == "session" and name:
            found.append(NetEventSession(name.strip(), status))
    return found


def _failed(function: str, ran: Ran, what: str) -> WindowsCallError:
    """The error of a script that failed: by the number in the error's identifier, where there is one."""
    lines = [line for line in ran.said.splitlines() if line.strip()]
    at = next((index for index, line in enumerate(lines) if line.startswith("error ")), None)
    if at is None:
        said = ran.line() or "nothing was said"
        return WindowsCallError("powershell", ran.code, what=what, means=f"exit code {ran.code}: {said}")
    _, _, rest = lines[at].partition(" ")
    step, _, identifier = rest.partition(" ")
    code = error_number(identifier)
    if code in CODES and (code in RIGHTS or not lines[at + 1 :]):
        return failure(step or function, code, what=what)
    said = " ".join(" ".join(lines[at + 1 :]).split())[:300] or identifier
    return WindowsCallError(step or function, code, what=what, means=said)


def error_number(identifier: str) -> int:
    """The Win32 number or HRESULT in the identifier of a CIM error ("HRESULT 0x80070005,New-NetEventSession"); 0."""
    found = _SYSTEM_ERROR.search(identifier)
    if found:
        return int(found[1])
    found = _HRESULT.search(identifier)
    if not found:
        return 0
    number = int(found[1], 16)
    return number & 0xFFFF if number >> 16 == 0x8007 else number
