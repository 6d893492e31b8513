"""What the tap ndiscap uses of Windows, in one place, so that tests give another Windows."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from etwcap.errors import EtwcapError
from etwcap.windows import files, registry
from etwcap.windows.drivers import driver_file
from etwcap.windows.etw import Etw
from etwcap.windows.filter_binding import FilterBinding, filter_binding
from etwcap.windows.netcfg import NetCfg
from etwcap.windows.netevent import NetEvent
from etwcap.windows.netsh_trace import NetshTrace
from etwcap.windows.processes import Processes, ProcessIdentity
from etwcap.windows.services import Services
from etwcap.windows.tokens import Tokens

SERVICE: Final = "NdisCap"
COMPONENT: Final = "ms_ndiscap"
PARAMETERS: Final = r"SYSTEM\CurrentControlSet\Services\NdisCap\Parameters"
REF_COUNT: Final = "RefCount"
"""How many use the capture driver: who ends as the last one unbinds it"""
CAPTURE_MODE: Final = "CaptureMode"
"""0 while packets are captured"""
_FOR_ADMINISTRATORS_ALONE = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
"""packets lie in it: nobody else reads them"""


class Registry(Protocol):
    """What of ``windows.registry`` is used."""

    def number(self, key: str, name: str) -> int | None:
        """A number, or None."""

    def set_number(self, key: str, name: str, number: int) -> None:
        """Write a number."""

    def remove_value(self, key: str, name: str) -> None:
        """Take a value away."""


class TraceFolders:
    """Folders for traces that nobody reads, which netsh must write somewhere: one for each name, administrators' alone.

    For tests: ``base`` is where they lie, ``make`` makes one (False where its name is taken), ``patience`` in s.
    """

    def __init__(
        self,
        base: Callable[[], str] | None = None,
        make: Callable[[str], bool] | None = None,
        *,
        patience: float = 1.0,
    ) -> None:
        self._base = base or (lambda: str(Path(files.known_folder(files.PROGRAM_DATA), "etwcap")))
        self._make = make or (lambda path: files.make_folder(path, _FOR_ADMINISTRATORS_ALONE))
        self._patience = patience

    def path(self, name: str) -> str:
        """Where the folder of that name is or would be."""
        return os.path.join(self._base(), name)

    def names(self) -> list[str]:
        """The names in the place where the folders lie."""
        try:
            return sorted(os.listdir(self._base()))
        except OSError:
            return []

    def make(self, name: str) -> str:
        """Make it; its path. Raises EtwcapError where something has the name."""
        path = self.path(name)
        if not self._make(path):
            raise EtwcapError("a folder for netsh's trace cannot be made", cause=f"{path} is there already")
        return path

    def there(self, name: str) -> bool:
        """Whether it is there."""
        return os.path.lexists(self.path(name))

    def remove(self, name: str) -> bool:
        """Remove it and what is in it; False where one of them stays in use."""
        end = time.monotonic() + self._patience  # who looks at new files for viruses holds them for a moment
        while not _removed(self.path(name)):
            if time.monotonic() >= end:
                return False
            time.sleep(0.1)
        return True


def _removed(path: str) -> bool:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return not os.path.lexists(path)


@dataclass(slots=True)
class Means:
    """The parts of Windows by which packets of NdisCap are had."""

    etw: Etw = field(default_factory=Etw)
    services: Services = field(default_factory=Services)
    netevent: NetEvent = field(default_factory=NetEvent)
    netsh: NetshTrace = field(default_factory=NetshTrace)
    netcfg: NetCfg = field(default_factory=NetCfg)
    registry: Registry = registry
    folders: TraceFolders = field(default_factory=TraceFolders)
    binding: Callable[[], FilterBinding | None] = lambda: filter_binding(COMPONENT)
    """adapters that NdisCap is bound to, as the registry has it"""
    elevated: Callable[[], bool] = lambda: Tokens().elevated()
    start_type: Callable[[str], int | None] = lambda service: driver_file(service).start
    """how a service is started; 4: not at all"""
    alive: Callable[[ProcessIdentity], bool] = lambda process: Processes().alive(process)
    patience: float = 2.0
    """s in which the trace session of a NetEvent session that was started must be there"""
