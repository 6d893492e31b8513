"""What the tap ndiscap uses of Windows, in one place, so that tests give another Windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from etwcap.taps.trace_folders import TraceFolders
from etwcap.windows import registry
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


class Registry(Protocol):
    """What of ``windows.registry`` is used."""

    def number(self, key: str, name: str) -> int | None:
        """A number, or None."""

    def set_number(self, key: str, name: str, number: int) -> None:
        """Write a number."""

    def remove_value(self, key: str, name: str) -> None:
        """Take a value away."""


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
