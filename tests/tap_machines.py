"""Whole machines as the taps ask them: versions, services, adapters, rights; for what ``etwcap taps`` says on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import doc_blocks
from etwcap.errors import NotHereError, RightsError
from etwcap.taps.listing import TapState, tap_lines, tap_states
from etwcap.taps.ndiscap import NdisCapTap
from etwcap.taps.ndiscap_means import Means
from etwcap.taps.pktmon import PktMonTap
from etwcap.taps.pktmon_driver import PktMonMeans
from etwcap.taps.protocol import Tap
from etwcap.taps.raw import RawTap
from etwcap.taps.wfp import WfpTap
from etwcap.taps.wfp_driver import Driver
from etwcap.windows.adapters import ETHERNET, LOOPBACK, WIFI, Adapter, LocalAddress
from etwcap.windows.drivers import DISABLED
from etwcap.windows.etw import Etw, SessionState
from etwcap.windows.failure import failure
from etwcap.windows.filter_binding import FilterBinding
from etwcap.windows.firewall import Firewall
from etwcap.windows.netevent import NetEvent
from etwcap.windows.pktmon_api import PktMonApi
from etwcap.windows.pktmon_exe import PktMonExe
from etwcap.windows.pktmon_legacy import PktMonLegacy
from etwcap.windows.services import RUNNING, STOPPED, Services, ServiceState
from etwcap.windows.version import SigningPolicy, WindowsVersion
from wfp_machine import LOADS, NO_DRIVER, OPEN, REFUSED, SERVER_2022, WINDOWS_10, WINDOWS_11

SYSTEM32 = r"C:\Windows\System32"


def adapter(alias: str, index: int, address: str, kind: int = ETHERNET) -> Adapter:
    guid = f"{{{index:08X}-0000-4000-8000-00000000CAFE}}"
    return Adapter(
        guid, alias, alias, index, index, index, kind, 1, b"", 1500, None, None, [LocalAddress(address, 24)]
    )  # fmt: skip


CARD, SECOND, WIRELESS = (
    adapter("Ethernet", 7, "192.0.2.7"), adapter("Ethernet 2", 9, "192.0.2.9"), adapter("Wi-Fi", 12, "192.0.2.12", WIFI)
)  # fmt: skip
LOOP = adapter("Loopback Pseudo-Interface 1", 1, "127.0.0.1", LOOPBACK)


class _Services(Services):
    def __init__(self, machine: TapMachine) -> None:
        self._machine = machine

    def state(self, name: str) -> ServiceState | None:
        found = self._machine.services.get(name)
        return None if found is None else ServiceState(1, RUNNING if found == "running" else STOPPED, 0, 0)


class _Etw(Etw):
    def __init__(self, machine: TapMachine) -> None:
        self._machine = machine

    def sessions(self) -> list[SessionState]:
        if not self._machine.elevated:
            raise failure("QueryAllTracesW", 5)
        return []


class _Legacy(PktMonLegacy):
    def __init__(self, machine: TapMachine) -> None:
        self._machine = machine

    def there(self) -> bool:
        return self._machine.exports

    def running(self) -> bool:
        return self._machine.services.get("PktMon") == "running"


class _Api(PktMonApi):
    def __init__(self, machine: TapMachine) -> None:
        self._machine = machine

    def there(self) -> bool:
        return self._machine.api


def _no_device() -> object:
    raise NotHereError("there is no such device")


@dataclass(slots=True)
class TapMachine:
    """What a machine is asked; the defaults are those of a desktop with everything in its place."""

    version: WindowsVersion = WINDOWS_11
    elevated: bool = True
    adapters: list[Adapter] = field(default_factory=lambda: [CARD, WIRELESS, LOOP])
    services: dict[str, str] = field(default_factory=lambda: {"PktMon": "stopped", "NdisCap": "stopped"})
    """names, and "running", "stopped" or "disabled" """
    exe: bool = True
    exports: bool = True
    api: bool = True
    netevent: bool = True
    """PowerShell's module is there"""
    bound: Sequence[Adapter] = ()
    """NdisCap is bound to them"""
    remote: bool = False
    driver: Driver = NO_DRIVER
    """WfpCapture"""
    firewall_readable: bool = True

    def taps(self) -> list[Tap]:
        """All taps, on this machine."""
        services, etw = _Services(self), _Etw(self)
        pktmon = PktMonMeans(
            etw=etw,
            services=services,
            exe=lambda build: PktMonExe(build, path=lambda: rf"{SYSTEM32}\PktMon.exe", exists=lambda _path: self.exe),
            legacy=_Legacy(self),
            open_device=_no_device,  # type: ignore[arg-type]
            api=_Api(self),
            start_type=lambda name: DISABLED if self.services[name] == "disabled" else 3,
        )
        on = frozenset(each.guid.upper() for each in self.bound)
        off = frozenset(each.guid.upper() for each in self.adapters) - on
        ndiscap = Means(
            etw=etw,
            services=services,
            netevent=NetEvent(system32=lambda: SYSTEM32, exists=lambda _path: self.netevent),
            binding=lambda: FilterBinding(on, off),
            elevated=lambda: self.elevated,
            start_type=pktmon.start_type,
        )
        return [
            PktMonTap(version=lambda: self.version, elevated=lambda: self.elevated, means=pktmon),
            NdisCapTap(
                version=lambda: self.version,
                means=ndiscap,
                list_adapters=lambda: self.adapters,
                remote=lambda: self.remote,
            ),
            WfpTap(
                version=lambda: self.version,
                elevated=lambda: self.elevated,
                driver=lambda: self.driver,
                services=services,
                etw=etw,
            ),
            RawTap(
                version=lambda: self.version,
                elevated=lambda: self.elevated,
                list_adapters=lambda: self.adapters,
                firewall=Firewall(run=lambda _words: 0, read=self._rules),
                program=lambda: r"C:\Program Files\Python311\python.exe",
            ),
        ]

    def states(self) -> list[TapState]:
        """How each tap stands."""
        return tap_states(self.taps())

    def _rules(self) -> list[str]:
        if not self.firewall_readable:
            raise RightsError("access denied")
        return []


COMMAND = "C:\\> etwcap taps\n"
"""what the blocks of docs/taps.md begin with"""


def said(machine: TapMachine) -> str:
    """What ``etwcap taps`` prints on a machine."""
    return "\n".join(tap_lines(machine.states(), machine=str(machine.version))) + "\n"


def shown(page: str) -> dict[str, doc_blocks.Block]:
    """The blocks of a page that show it, by the bold words above them."""
    found = [block for block in doc_blocks.blocks(page) if block.body.startswith(COMMAND)]
    return {page[: block.start].rsplit("**", 2)[1].rstrip("."): block for block in found}


def updated(page: str) -> str:
    """The page with what is said now."""
    for name, block in reversed(shown(page).items()):
        page = page[: block.start] + COMMAND + said(MACHINES[name]) + page[block.end :]
    return page


LOCKED = replace(REFUSED, policy=SigningPolicy(True, False, memory_integrity=True))

MACHINES = {
    "A desktop with Windows 10 22H2": TapMachine(WINDOWS_10, api=False),
    "A laptop with Windows 11 24H2, on which Message Analyzer was installed": TapMachine(driver=LOCKED),
    "A virtual machine with Server 2022, by Remote Desktop, on which NdisCap is bound already": TapMachine(
        SERVER_2022,
        adapters=[CARD, SECOND, LOOP],
        bound=[CARD, SECOND],
        remote=True,
        driver=replace(LOADS, policy=OPEN),
    ),
    "A locked-down machine: PktMon and NdisCap disabled, no PowerShell module, no reading of the firewall": TapMachine(
        replace(WINDOWS_11, product="Windows 11 Enterprise"),
        services={"PktMon": "disabled", "NdisCap": "disabled"},
        exe=False,
        netevent=False,
        driver=LOCKED,
        firewall_readable=False,
    ),
    "The laptop again, from a prompt without an administrator's rights": TapMachine(driver=LOCKED, elevated=False),
}
"""The machines of docs/taps.md, by the words that stand above what each says."""
