"""Undoing what a capture with PktMon's driver left: the driver's capture, filters, the log's folder, the service.

The driver's capture says nothing of who started it. So it is left alone where Windows was started anew since (then it
cannot be ours), and where the log of pktmon.exe that runs lies elsewhere than ours did.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from typing import Final

from etwcap.errors import EtwcapError, WindowsCallError
from etwcap.taps.journal import Entry
from etwcap.taps.pktmon_capture import FILTERS, WORD
from etwcap.taps.pktmon_driver import SERVICE, Driver, PktMonMeans, capture_runs, drivers, others_log, way_closed
from etwcap.windows.clock import FILETIME_OF_1970
from etwcap.windows.processes import ProcessIdentity
from etwcap.windows.version import since_start, this_windows

_NAME = re.compile(rf"etwcap-(\d{{1,10}})-(\d{{1,20}})-({WORD}|{FILTERS})")
_STEP: Final = 600 * 10_000_000
"""100 ns: so much the clock may have been set between the start of Windows and now"""


def started_at() -> int:
    """When Windows was started, FILETIME; as exact as the clock was not set since."""
    return FILETIME_OF_1970 + int((time.time() - since_start()) * 10_000_000)


class PktMonCaptures:
    """Ends captures that processes of ours started in PktMon's driver (protocol ``Undoer``).

    For tests: ``means``, ``build``, and ``booted``, when Windows was started.
    """

    def __init__(
        self,
        means: PktMonMeans | None = None,
        *,
        build: Callable[[], int] = lambda: this_windows().build,
        booted: Callable[[], int] = started_at,
    ) -> None:
        self._means = means or PktMonMeans()
        self._build = build
        self._booted = booted
        self._undone: set[str] = set()

    def owner(self, name: str) -> ProcessIdentity | None:
        """The process in a change's name."""
        found = _NAME.fullmatch(name)
        return ProcessIdentity(int(found[1]), int(found[2])) if found else None

    def find(self) -> list[str]:
        """Folders of logs that carry our names: a capture and filters carry none."""
        return [name for name in self._means.folders.names() if self.owner(name)]

    def there(self, name: str) -> bool:
        """Whether the change is in force, or may be."""
        if self._means.folders.there(name):
            return True
        if name in self._undone or self._gone(name):
            return False
        return name.endswith(FILTERS) or capture_runs(self._means) is not False

    def undo(self, entry: Entry) -> None:
        """Take filters away, or end the capture; raises EtwcapError where that fails."""
        filters = entry.name.endswith(FILTERS)
        if not self._gone(entry.name):
            if filters:
                self._by_a_way(entry.name, lambda driver: driver.remove_filters())
            elif not others_log(self._means, entry.name):
                self._end(entry)
        if not filters:
            drivers(self._means, self._build(), entry.name)[0].close()
        self._undone.add(entry.name)

    def _end(self, entry: Entry) -> None:
        """End the driver's capture, and unload a driver that was not loaded before."""
        if capture_runs(self._means) is not False:
            try:
                self._by_a_way(entry.name, lambda driver: driver.stop())
            except WindowsCallError:
                if capture_runs(self._means):
                    raise  # else nothing ran: it was killed before it had started anything
        if entry.facts.get("started") == 1:
            with contextlib.suppress(WindowsCallError):  # a driver that idles does no harm
                self._means.services.stop(SERVICE)

    def _gone(self, name: str) -> bool:
        """Whether nothing in the driver can be left of it: Windows was started after its process, or the driver was
        unloaded."""
        owner = self.owner(name)
        service = self._means.services.state(SERVICE)
        unloaded = service is None or not service.running
        return unloaded or (owner is not None and owner.created + _STEP < self._booted())

    def _by_a_way(self, name: str, call: Callable[[Driver], object]) -> None:
        """By the first way to the driver that is open here."""
        failure: EtwcapError | None = None
        for driver in drivers(self._means, self._build(), name):
            if not driver.there():
                continue
            try:
                call(driver)
                return
            except EtwcapError as error:
                failure = failure or error
                if not way_closed(error):
                    break
        if failure is not None:
            raise failure
