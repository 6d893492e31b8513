"""PktMon's driver: whether it captures for anybody, and the three ways to have it capture for us.

The driver has one capture, whoever started it: who stops it stops it for all, and filters are everybody's. pktmon.exe
comes first, since it alone is documented; the older exports of PktMonApi.dll do the same where a policy forbids the
program; the control codes of the driver's device are what both of them use in the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from etwcap.errors import EtwcapError, NotHereError
from etwcap.filters.split import Constraint
from etwcap.taps.pktmon_filters import as_words, filter_words, legacy_filter, protocol_constraint, whole_addresses
from etwcap.taps.trace_folders import TraceFolders
from etwcap.windows import pktmon_device as device
from etwcap.windows.drivers import driver_file
from etwcap.windows.etw import Etw
from etwcap.windows.pktmon_api import PktMonApi
from etwcap.windows.pktmon_device import Control, Device
from etwcap.windows.pktmon_exe import Components, PktMonExe, blocked
from etwcap.windows.pktmon_legacy import PktMonLegacy
from etwcap.windows.services import Services

SERVICE: Final = "PktMon"
SESSION: Final = "PktMon"
"""name of the trace session into which pktmon.exe has the driver write"""
LOG: Final = "PktMon.etl"


class NoListError(NotHereError):
    """This way to the driver does not know how single components are listed."""


class Driver(Protocol):
    """A way to the driver's one capture. Each call raises NotHereError where the way is closed, WindowsCallError."""

    title: str
    """for people"""
    documented: bool
    """how it takes filters is"""

    def there(self) -> bool:
        """Whether this machine has it."""
        ...

    def start(self, components: Components) -> None:
        """Start a capture of whole packets; raises NoListError where it can take no single components."""
        ...

    def stop(self) -> None:
        """End the capture."""
        ...

    def form(self, constraint: Constraint) -> Constraint:
        """What of a filter it can say."""
        ...

    def add_filter(self, name: str, constraint: Constraint) -> None:
        """One more filter, of which any must hold."""
        ...

    def remove_filters(self) -> None:
        """Take all filters away."""
        ...

    def close(self) -> None:
        """Remove what the way itself left; safe twice, and without anything before."""
        ...


@dataclass(slots=True)
class PktMonMeans:
    """The parts of Windows by which packets of PktMon are had; tests give others."""

    etw: Etw = field(default_factory=Etw)
    services: Services = field(default_factory=Services)
    exe: Callable[[int], PktMonExe] = PktMonExe
    """pktmon.exe of a build"""
    legacy: PktMonLegacy = field(default_factory=PktMonLegacy)
    open_device: Callable[[], Control] = Device
    api: PktMonApi = field(default_factory=PktMonApi)
    folders: TraceFolders = field(default_factory=TraceFolders)
    start_type: Callable[[str], int | None] = lambda service: driver_file(service).start
    """how a service is started; 4: not at all"""


class ExeDriver:
    """pktmon.exe, which keeps a log in memory; its file at the end lies in a folder that goes."""

    title = "pktmon.exe"
    documented = True

    def __init__(self, means: PktMonMeans, build: int, folder: str) -> None:
        self._exe = means.exe(build)
        self._folders = means.folders
        self._folder = folder
        self._form = as_words(build)

    def there(self) -> bool:
        """Whether System32 has it."""
        return self._exe.there()

    def start(self, components: Components) -> None:
        """``pktmon start``."""
        if not self._folders.there(self._folder):
            self._folders.make(self._folder)
        self._exe.start(components, os.path.join(self._folders.path(self._folder), LOG))

    def stop(self) -> None:
        """``pktmon stop``."""
        self._exe.stop()

    def form(self, constraint: Constraint) -> Constraint:
        """What the words of the build can say."""
        return self._form(constraint)

    def add_filter(self, name: str, constraint: Constraint) -> None:
        """``pktmon filter add``."""
        self._exe.add_filter(name, filter_words(constraint))

    def remove_filters(self) -> None:
        """``pktmon filter remove``."""
        self._exe.remove_filters()

    def close(self) -> None:
        """Remove the log's folder."""
        if self._folders.there(self._folder) and not self._folders.remove(self._folder):
            raise EtwcapError("the log that pktmon.exe wrote cannot be removed", cause=self._folders.path(self._folder))


class LegacyDriver:
    """The older exports of PktMonApi.dll."""

    title = "PktMonApi.dll's older exports"
    documented = False

    def __init__(self, means: PktMonMeans) -> None:
        self._legacy = means.legacy

    def there(self) -> bool:
        """Whether the DLL has them."""
        return self._legacy.there()

    def start(self, components: Components) -> None:
        """PktmonStart."""
        self._legacy.start(components)

    def stop(self) -> None:
        """PktmonStop."""
        self._legacy.stop()

    def form(self, constraint: Constraint) -> Constraint:
        """All but networks."""
        return whole_addresses(constraint)

    def add_filter(self, name: str, constraint: Constraint) -> None:
        """PktmonAddFilter."""
        self._legacy.add_filter(legacy_filter(constraint, name))

    def remove_filters(self) -> None:
        """PktmonRemoveAllFilters."""
        self._legacy.remove_filters()

    def close(self) -> None:
        """Nothing is left."""


class DeviceDriver:
    """The control codes of the driver's device, which is open for each of them alone: nobody else can open it then."""

    title = "the device of PktMon's driver"
    documented = False

    def __init__(self, means: PktMonMeans) -> None:
        self._open = means.open_device

    def there(self) -> bool:
        """Whether it can be opened."""
        try:
            self._open().close()
        except EtwcapError:
            return False
        return True

    def start(self, components: Components) -> None:
        """Start; raises NoListError for single components."""
        if isinstance(components, tuple):
            raise NoListError("PktMon's driver cannot be told single components here", cause=f"by {self.title}")
        selection = device.ADAPTERS if components == "nics" else device.ALL
        self._with(lambda opened: device.start(opened, selection))

    def stop(self) -> None:
        """Stop."""
        self._with(device.stop)

    def form(self, constraint: Constraint) -> Constraint:
        """All but networks."""
        return whole_addresses(constraint)

    def add_filter(self, name: str, constraint: Constraint) -> None:
        """Add a filter."""
        self._with(lambda opened: device.add_filter(opened, protocol_constraint(constraint, name)))

    def remove_filters(self) -> None:
        """Take all filters away."""
        self._with(device.remove_filters)

    def close(self) -> None:
        """Nothing is left."""

    def _with(self, call: Callable[[Control], object]) -> None:
        opened = self._open()
        try:
            call(opened)
        finally:
            opened.close()


def drivers(means: PktMonMeans, build: int, folder: str) -> list[Driver]:
    """The ways to the driver, the best first; ``folder`` is the name of the one for pktmon.exe's log."""
    return [ExeDriver(means, build, folder), LegacyDriver(means), DeviceDriver(means)]


def way_closed(error: EtwcapError) -> bool:
    """Whether a way to the driver cannot be gone at all here, so that another one may."""
    return isinstance(error, NotHereError) or blocked(error)


def capture_runs(means: PktMonMeans) -> bool | None:
    """Whether the driver captures or counts for anybody; None: it cannot be told, or not without rights.

    A driver that is not loaded captures for nobody. Else the older exports and the device are asked, and the trace
    session that pktmon.exe would have.
    """
    try:
        service = means.services.state(SERVICE)
        if service is None or not service.running:
            return False
    except EtwcapError:
        pass
    answers = [answer for answer in (_asked_exports(means), _asked_device(means)) if answer is not None]
    if any(answers) or _log_session(means) is not None:
        return True
    return False if answers else None


def others_log(means: PktMonMeans, folder: str) -> bool:
    """Whether pktmon.exe's log session, as far as it tells, is that of another capture than the one with our folder."""
    file = _log_session(means)
    return bool(file) and not str(file).casefold().startswith(means.folders.path(folder).casefold())


def _asked_exports(means: PktMonMeans) -> bool | None:
    try:
        return means.legacy.running() if means.legacy.there() else None
    except (EtwcapError, OSError):
        return None


def _asked_device(means: PktMonMeans) -> bool | None:
    try:
        opened = means.open_device()
        try:
            return device.running(opened)
        finally:
            opened.close()
    except (EtwcapError, OSError):
        return None


def _log_session(means: PktMonMeans) -> str | None:
    """The file of pktmon.exe's log session, "" where it tells none; None where there is no such session."""
    try:
        found = [each.file for each in means.etw.sessions() if each.name.casefold() == SESSION.casefold()]
    except EtwcapError:
        return None
    return found[0] if found else None
