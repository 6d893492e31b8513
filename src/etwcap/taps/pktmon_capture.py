"""A capture of PktMon's driver as we run it: begun, asked for its components, told filters, ended.

Each change stands in the journal before it is made, and is undone by ``end``. What somebody else has of the driver is
not touched: no capture that runs is stopped, and filters that were there stay.
"""

from __future__ import annotations

from typing import Final, Protocol
from uuid import UUID

from etwcap.errors import EtwcapError, NotHereError, RightsError, WindowsCallError
from etwcap.filters.split import Constraints
from etwcap.providers.pktmon_components import ComponentTree
from etwcap.providers.pktmon_layout import GUID, EventId
from etwcap.taps.etw_session import Enabled
from etwcap.taps.journal import DRIVER, Entry
from etwcap.taps.pktmon_driver import (
    SERVICE,
    Driver,
    NoListError,
    PktMonMeans,
    capture_runs,
    drivers,
    others_log,
    way_closed,
)
from etwcap.taps.pktmon_filters import constraints_of, no_stricter
from etwcap.taps.protocol import Changes
from etwcap.windows.pktmon_exe import Components
from etwcap.windows.processes import ProcessIdentity
from etwcap.words import plural

PROVIDER: Final = UUID(bytes_le=GUID)
KEYWORDS: Final = 0x12
"""rundown, packets: pktmon.exe's own choice"""
RUNDOWN: Final = (10, 20, 30, 40, 50, 60, 65, 66, 70, 73, 75, 80, 90, 100, 110)
PACKETS: Final = (*RUNDOWN, EventId.FLOW_PAYLOAD, EventId.DROP_PAYLOAD, 270, 280)
"""270 and 280: components that come and go"""
PATIENCE: Final = 2.0
"""s for the rundown to come"""
WORD: Final = "pktmon"
FILTERS: Final = "pktmonfilters"
_TIMEOUT: Final = 1460


class BusyError(EtwcapError):
    """Somebody else's capture runs in the driver."""


class Reading(Protocol):
    """What is needed of the source that reads the session."""

    def read_ahead(self, seconds: float, provider: UUID) -> list[tuple[int, bytes]]:
        """(event id, payload) of a provider's events so far."""
        ...


def change_name(process: ProcessIdentity, word: str) -> str:
    """The name of a process's change."""
    return f"etwcap-{process.pid}-{process.created}-{word}"


def enabled(events: tuple[int, ...]) -> Enabled:
    """PktMon's provider, with these events."""
    return Enabled(PROVIDER, level=5, any_keyword=KEYWORDS, event_ids=tuple(map(int, events)))


class DriverCapture:
    """One capture in the driver of a Windows of that build."""

    def __init__(self, means: PktMonMeans, build: int, changes: Changes) -> None:
        self._means = means
        self._changes = changes
        self._identity = changes.identity()
        self._folder = change_name(self._identity, WORD)
        self._ways = drivers(means, build, self._folder)
        self._driver: Driver | None = None
        self._runs: bool | None = None
        """whether anybody's capture ran when this began"""
        self._started = False
        self._service_started = False
        self._entry: Entry | None = None
        self._filters: Entry | None = None

    def begin(self) -> None:
        """Load the driver where that was not done; raises BusyError where somebody else's capture is seen to run.

        Raises NotHereError where Windows has no such driver, WindowsCallError.
        """
        service = self._means.services.state(SERVICE)
        if service is None:
            raise NotHereError("this Windows has no PktMon", cause=f"there is no service {SERVICE}")
        self._runs = capture_runs(self._means)
        if self._runs:
            raise BusyError("another capture of PktMon runs")
        journal = self._changes.journal()
        self._entry = journal.record(DRIVER, self._folder, service=SERVICE, started=int(not service.running))
        if not service.running:
            self._service_started = self._means.services.start(SERVICE)

    def start(self, components: Components, *, otherwise: Components | None = None) -> None:
        """Have the driver capture; ``otherwise`` where it does not take those components.

        Raises BusyError where the reason may be somebody else's capture, else what the ways to the driver raise.
        """
        if self._driver is not None:
            self._start_by(self._driver, components, otherwise)
            return
        failures: list[EtwcapError] = []
        for driver in self._ways:
            if not driver.there():
                continue
            try:
                self._start_by(driver, components, otherwise)
            except RightsError:
                raise
            except EtwcapError as error:
                failures.append(error)
                if not way_closed(error) and self._runs is None:
                    raise BusyError("another capture of PktMon seems to run", cause=str(error)) from error
                self._close(driver)
                continue
            self._driver = driver
            return
        if not failures:
            raise NotHereError(
                "PktMon cannot be started here",
                cause="neither pktmon.exe nor another way to its driver is there",
                hint="etwcap taps tells what is missing",
            )
        raise failures[0]

    def stop(self) -> None:
        """End the capture where it runs and is ours; its rundown comes then. Raises WindowsCallError."""
        if not self._started or self._driver is None:
            return
        if others_log(self._means, self._folder):
            self._started = False
            self._changes.tell("PktMon's capture is somebody else's by now: it was left running")
            return
        try:
            self._driver.stop()
        except WindowsCallError:
            if capture_runs(self._means) is not False:
                raise
        self._started = False

    def prime(self, source: Reading) -> ComponentTree:
        """Start and stop once, which makes the driver tell its components and filters; an empty tree where it does
        not."""
        self.start("all")
        self.stop()
        tree = ComponentTree()
        for event, payload in source.read_ahead(PATIENCE, PROVIDER):
            tree.learn(event, payload)
        return tree

    def push(self, expression: str | None, tree: ComponentTree, source: Reading, *, wifi: bool) -> None:
        """Tell the driver what it can take of the filter; afterwards ``end`` takes it away.

        Nothing is told where filters of somebody else are in force (they stay, and hold), where that is not known, or
        where frames are 802.11 ones, of which it is not documented how the driver's filters read them.
        """
        tell = self._changes.tell
        if tree.filters:
            tell(f"filters that somebody set in PktMon hold: only packets that fit them are seen: {tree.filter_text()}")
            tell("'pktmon filter remove' takes them away")
            return
        assert self._driver is not None
        constraints = constraints_of(expression, self._driver.form)
        if not constraints or not tree.components or wifi:
            return
        self._add(constraints)
        if self._filters is not None and not self._driver.documented and not self._as_told(constraints, source):
            self._remove_filters()
            tell("PktMon's driver understood the filter differently: it was taken back, and every packet comes here")

    def end(self) -> None:
        """Put everything back; what fails stays in the journal. Safe twice. Raises the first failure."""
        failures: list[EtwcapError] = []
        for step in (self._remove_filters, self._end_capture):
            try:
                step()
            except EtwcapError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _start_by(self, driver: Driver, components: Components, otherwise: Components | None) -> None:
        try:
            self._start_once(driver, components)
        except (WindowsCallError, NoListError) as error:
            if otherwise is None or (way_closed(error) and not isinstance(error, NoListError)):
                raise
            self._start_once(driver, otherwise)
            self._changes.tell(
                "PktMon did not take the components one by one: drops are reported by the network adapters alone"
            )

    def _start_once(self, driver: Driver, components: Components) -> None:
        try:
            driver.start(components)
        except WindowsCallError as error:
            if error.code == _TIMEOUT and self._runs is False:
                self._started, self._driver = True, driver  # it may run: then it is ours
            raise
        self._started = True

    def _add(self, constraints: Constraints) -> None:
        """Add the filters, all or none."""
        assert self._driver is not None
        journal = self._changes.journal()
        self._filters = journal.record(DRIVER, change_name(self._identity, FILTERS), service=SERVICE)
        try:
            for number, constraint in enumerate(constraints, 1):
                self._driver.add_filter(change_name(self._identity, str(number)), constraint)
        except EtwcapError as error:
            self._remove_filters()
            self._changes.tell(f"PktMon does not take the filter, so every packet comes here: {error}")
            return
        told = plural(len(constraints), "filter", "filters")
        self._changes.tell(f"PktMon was given {told}, so that fewer packets come here")

    def _as_told(self, constraints: Constraints, source: Reading) -> bool:
        """Whether the filters that the driver tells let at least as much through as those that it was told."""
        held = {each.name: each for each in self.prime(source).filters.values()}
        names = [change_name(self._identity, str(number)) for number in range(1, len(constraints) + 1)]
        return all(
            name in held and no_stricter(held[name], each) for name, each in zip(names, constraints, strict=True)
        )

    def _remove_filters(self) -> None:
        if self._filters is not None and self._driver is not None:
            self._driver.remove_filters()
            self._changes.journal().forget(self._filters)
            self._filters = None

    def _end_capture(self) -> None:
        if self._entry is None:
            return
        self.stop()
        if self._driver is not None:
            self._driver.close()
        if self._service_started:
            self._means.services.stop(SERVICE)
            self._service_started = False
        self._changes.journal().forget(self._entry)
        self._entry = None

    def _close(self, driver: Driver) -> None:
        """Remove what a way left that could not be gone."""
        try:
            driver.close()
        except EtwcapError as error:
            self._changes.tell(str(error))
