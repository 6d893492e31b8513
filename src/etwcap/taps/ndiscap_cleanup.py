"""Undoing what made NdisCap deliver packets: at the end of a capture, and after a crash.

A change is known by the last word of its name: "netevent" (a NetEvent session), "netsh" (netsh's trace), "binding"
(paths that were enabled), "bound" (the driver's count of users alone). What others use meanwhile stays.
"""

from __future__ import annotations

import contextlib
import re
from typing import Final

from etwcap.errors import EtwcapError, WindowsCallError
from etwcap.taps.journal import Entry
from etwcap.taps.ndiscap_means import CAPTURE_MODE, COMPONENT, PARAMETERS, REF_COUNT, SERVICE, Means
from etwcap.windows.processes import ProcessIdentity

NETEVENT: Final = "netevent"
NETSH: Final = "netsh"
BINDING_WAY: Final = "binding"
BOUND: Final = "bound"

NONE: Final = -1
"""In facts: the value was not there."""
_NAME = re.compile(rf"etwcap-(\d{{1,10}})-(\d{{1,20}})-({NETEVENT}|{NETSH}|{BINDING_WAY}|{BOUND})")


def change_name(process: ProcessIdentity, way: str) -> str:
    """The name of a process's change."""
    return f"etwcap-{process.pid}-{process.created}-{way}"


class CaptureBindings:
    """Ends what switched NdisCap on (protocol ``Undoer``)."""

    def __init__(self, means: Means | None = None) -> None:
        self._means = means or Means()
        self._done: set[str] = set()

    def owner(self, name: str) -> ProcessIdentity | None:
        """The process in a change's name."""
        found = _NAME.fullmatch(name)
        return ProcessIdentity(int(found[1]), int(found[2])) if found else None

    def find(self) -> list[str]:
        """NetEvent sessions and folders of traces that carry our names; a binding carries none."""
        names = [name for name in self._means.folders.names() if _way(name) == NETSH]
        if self._means.elevated() and not self._means.netevent.lacks():
            names += [each.name for each in self._means.netevent.sessions() if _way(each.name) == NETEVENT]
        return names

    def there(self, name: str) -> bool:
        """Whether the change is in force; of a binding, whether this has not undone it."""
        way = _way(name)
        if way == NETEVENT:
            return any(each.name == name for each in self._means.netevent.sessions())
        if way == NETSH:
            return self._means.folders.there(name)
        return name not in self._done

    def undo(self, entry: Entry) -> None:
        """Undo it. Raises EtwcapError where something of it stays."""
        way = _way(entry.name)
        if way == NETEVENT:
            self._means.netevent.remove(entry.name)
        elif way == NETSH:
            self._end_trace(entry.name)
        elif way:
            self._unbind(entry)
            self._done.add(entry.name)

    def _end_trace(self, name: str) -> None:
        """Stop netsh's trace where it is ours, and remove its folder."""
        folders = self._means.folders
        if not folders.there(name):
            return
        if self._writes_into(folders.path(name)) or not folders.remove(name):
            self._means.netsh.stop()
            if not folders.remove(name):
                raise EtwcapError("the trace that netsh wrote cannot be removed", cause=folders.path(name))

    def _writes_into(self, folder: str) -> bool:
        """Whether a trace session writes into the folder: then the machine's trace of netsh is ours."""
        try:
            sessions = self._means.etw.sessions()
        except EtwcapError:
            return False  # a file that is written to cannot be removed: that tells it too
        wanted = folder.casefold()
        return any(each.file.casefold().startswith(wanted) for each in sessions)

    def _unbind(self, entry: Entry) -> None:
        """Take back a use of the driver: its count, the paths that were enabled for it, and what was set."""
        before, mode = _number(entry, "ref_count"), _number(entry, "capture_mode")
        tokens = [each for each in str(entry.facts.get("paths", "")).split("\n") if each]
        registry = self._means.registry
        users = registry.number(PARAMETERS, REF_COUNT) or 0
        counted = users > max(before, 0)  # else it was killed before it counted itself
        others = users - counted > max(before, 0)
        if others and tokens:
            raise EtwcapError(
                "NdisCap stays bound", cause="another program uses it", hint="'etwcap cleanup' unbinds it later"
            )
        self._disable(tokens)
        if counted:
            if users == 1 and before == NONE:
                registry.remove_value(PARAMETERS, REF_COUNT)
            else:
                registry.set_number(PARAMETERS, REF_COUNT, users - 1)
        if tokens and registry.number(PARAMETERS, CAPTURE_MODE) == 0 and mode != 0:
            if mode == NONE:
                registry.remove_value(PARAMETERS, CAPTURE_MODE)
            else:
                registry.set_number(PARAMETERS, CAPTURE_MODE, mode)
        if _number(entry, "started") == 1 and not others:
            with contextlib.suppress(WindowsCallError):  # a driver need not accept it; one that idles does no harm
                self._means.services.stop(SERVICE)

    def _disable(self, tokens: list[str]) -> None:
        netcfg = self._means.netcfg
        if not tokens:
            return
        enabled = {each.token for each in netcfg.paths(COMPONENT) if each.enabled}
        if enabled.isdisjoint(tokens):
            return
        netcfg.switch(COMPONENT, tokens, on=False)
        left = [each.token for each in netcfg.paths(COMPONENT) if each.enabled and each.token in tokens]
        if left:
            raise EtwcapError("NdisCap is still bound", cause=f"{len(left)} of the paths that were to be disabled")


def _way(name: str) -> str:
    found = _NAME.fullmatch(name)
    return found[3] if found else ""


def _number(entry: Entry, name: str) -> int:
    found = entry.facts.get(name, NONE)
    return found if isinstance(found, int) and 0 <= found <= 0xFFFFFFFF else NONE
