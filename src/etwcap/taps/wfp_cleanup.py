"""The driver WfpCapture as a capture leaves it: stopped again if the capture has started it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from etwcap.errors import EtwcapError
from etwcap.taps.journal import Entry
from etwcap.taps.ndiscap_cleanup import NETEVENT
from etwcap.taps.pktmon_cleanup import started_at
from etwcap.taps.wfp_driver import SERVICE
from etwcap.windows.etw import Etw
from etwcap.windows.processes import ProcessIdentity
from etwcap.windows.services import Services

WORD: Final = "wfp"
"""what names of this tap's objects end with"""
_STEP: Final = 60 * 10_000_000
"""100 ns: so much the clock may have been set since Windows was started"""
_NAME = re.compile(rf"etwcap-(\d{{1,10}})-(\d{{1,20}})-{WORD}")
_READER = re.compile(rf"etwcap-(\d{{1,10}})-(\d{{1,20}})-({WORD}|{NETEVENT})")
"""sessions of ours that the driver may write into"""


def owner_of(name: str) -> ProcessIdentity | None:
    """The process in the name of one of this tap's objects; None where it is none."""
    found = _NAME.fullmatch(name)
    return ProcessIdentity(int(found[1]), int(found[2])) if found else None


class WfpDriver:
    """Stops the driver that a process started (protocol ``Undoer``).

    It stays while another capture of ours reads from it: that one will not stop it, since it found it running. It stays
    too where Windows was started after that process (``booted``): then somebody else has started it.
    """

    def __init__(
        self,
        services: Services | None = None,
        etw: Etw | None = None,
        *,
        booted: Callable[[], int] = started_at,
    ) -> None:
        self._services = services or Services()
        self._etw = etw or Etw()
        self._booted = booted

    def owner(self, name: str) -> ProcessIdentity | None:
        """The process that started it."""
        return owner_of(name)

    def find(self) -> list[str]:
        """Nothing: a driver that runs does not say who started it."""
        return []

    def there(self, name: str) -> bool:
        """Whether it runs, for the process of that name alone."""
        state = self._services.state(SERVICE)
        owner = owner_of(name)
        if state is None or not state.running or owner is None or owner.created + _STEP < self._booted():
            return False
        return not self._in_use(name)

    def undo(self, entry: Entry) -> None:
        """Stop it, unless another capture uses it."""
        if self.there(entry.name):
            self._services.stop(SERVICE)

    def _in_use(self, name: str) -> bool:
        try:
            sessions = self._etw.sessions()
        except EtwcapError:
            return False
        readers = [found for each in sessions if (found := _READER.fullmatch(each.name))]
        return any(ProcessIdentity(int(each[1]), int(each[2])) != owner_of(name) for each in readers)
