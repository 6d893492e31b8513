"""Inbound rules of Windows' firewall for one program, by netsh of System32; judged by what the registry then says.

netsh's words are translated, so they are not read; its exit code alone is not believed either (a stub of it says 0).
Rules are listed from the registry, where the firewall service keeps them. The service itself is asked by netsh alone.
Every rule's name is ours: ``etwcap-PID-CREATED``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from etwcap.errors import NotHereError, UsageError
from etwcap.windows import registry
from etwcap.windows.dll import system_program
from etwcap.windows.failure import ELEVATE, CallNotHereError, CallRightsError, failure
from etwcap.windows.processes import ProcessIdentity
from etwcap.windows.tokens import Tokens

PREFIX = "etwcap"
_NAME = re.compile(rf"{PREFIX}-(\d{{1,10}})-(\d{{1,20}})")
_RULES = r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules"
_TIME_LIMIT = 30
_NO_WINDOW = 0x08000000


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of ours: its name, and the program that it lets packets in for."""

    name: str
    program: str


def rule_name(process: ProcessIdentity) -> str:
    """The name of a process's rule."""
    return f"{PREFIX}-{process.pid}-{process.created}"


def process_of(name: str) -> ProcessIdentity | None:
    """The process that made the rule of that name; None where the name is not ours."""
    found = _NAME.fullmatch(name)
    return ProcessIdentity(int(found[1]), int(found[2])) if found else None


class Firewall:
    """Rules of ours.

    For tests: ``run`` (netsh's words to its exit code), ``read`` (the rules' texts), ``elevated``, and ``patience``,
    the seconds that the registry may take to follow netsh.
    """

    def __init__(
        self,
        run: Callable[[Sequence[str]], int] | None = None,
        read: Callable[[], Sequence[str]] | None = None,
        *,
        elevated: Callable[[], bool] | None = None,
        patience: float = 1.0,
    ) -> None:
        self._run = run or _netsh
        self._read = read or _rules
        self._elevated = elevated or _elevated
        self._patience = patience

    def rules(self) -> list[Rule]:
        """The rules of ours that the machine has."""
        found = (_parsed(text) for text in self._read())
        return [each for each in found if each is not None and process_of(each.name)]

    def add(self, name: str, program: str) -> Rule:
        """Let packets in for a program, of all protocols and profiles; raises WindowsCallError, or RightsError.

        ``program`` is an absolute path. Afterwards the rule is looked for, so that success is one; where it is not
        found, netsh is told to take it away again.
        """
        _checked(name)
        if any(each in program for each in '"%|\r\n\0') or not re.match(r"[A-Za-z]:\\|\\\\", program):
            raise UsageError(f"a firewall rule needs the full path of a program: {program!r}")
        words = ("dir=in", "action=allow", "enable=yes", "profile=any", f"program={program}")
        code = self._run(("advfirewall", "firewall", "add", "rule", f"name={name}", *words))
        if not self._becomes(name, there=True, patience=self._patience if code == 0 else 0):
            self._delete(name)
            self._complain("the firewall rule cannot be added", code)
        return Rule(name, program)

    def remove(self, name: str) -> bool:
        """Take a rule of ours away; whether it was seen before. Raises as ``add`` does where it stays."""
        _checked(name)
        seen = self._has(name)
        code = self._delete(name)
        if not self._becomes(name, there=False, patience=self._patience if code == 0 else 0):
            self._complain("the firewall rule cannot be removed", code)
        return seen

    def _delete(self, name: str) -> int:
        return self._run(("advfirewall", "firewall", "delete", "rule", f"name={name}"))

    def _has(self, name: str) -> bool:
        return any(each.name == name for each in self.rules())

    def _becomes(self, name: str, *, there: bool, patience: float) -> bool:
        end = time.monotonic() + patience
        while self._has(name) != there:
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)
        return True

    def _complain(self, what: str, code: int) -> NoReturn:
        if code and not self._elevated():
            raise CallRightsError("netsh", code, what=what, means="it needs an administrator's rights", hint=ELEVATE)
        means = "it said that it was done, but it is not" if code == 0 else f"it failed (exit code {code})"
        hint = "is the firewall's service (mpssvc) running? Without a rule only outgoing packets are seen"
        raise CallNotHereError("netsh", code, what=what, means=means, hint=hint)


def _checked(name: str) -> None:
    if process_of(name) is None:
        raise UsageError(f"{name!r} is no name of a firewall rule of {PREFIX}")


def _parsed(text: str) -> Rule | None:
    """A rule from its text in the registry: ``v2.30|Action=Allow|Active=TRUE|Dir=In|App=…|Name=…|``."""
    fields = dict(part.partition("=")[::2] for part in text.split("|"))
    wanted = fields.get("Action") == "Allow" and fields.get("Dir") == "In" and fields.get("Active") == "TRUE"
    if not wanted or "Name" not in fields or "App" not in fields:
        return None
    return Rule(fields["Name"], fields["App"])


def _rules() -> list[str]:
    return registry.all_words(_RULES)


def _elevated() -> bool:
    return Tokens().elevated()


def _netsh(words: Sequence[str]) -> int:
    if sys.platform != "win32":
        raise NotHereError("this needs Windows", cause="there is no netsh here")
    command = [system_program("netsh.exe"), *words]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TIME_LIMIT,
            check=False,
            creationflags=_NO_WINDOW,
        )
    except subprocess.TimeoutExpired as error:
        raise failure("netsh", 1460, what="the firewall does not answer") from error
    except OSError as error:
        raise failure("netsh", getattr(error, "winerror", None) or 2, what="netsh cannot be run") from error
    return done.returncode
