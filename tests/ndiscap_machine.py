"""A Windows whose capture driver NdisCap can be bound: NetEvent sessions, netsh's trace, INetCfg, services, registry.

Every step that changes it goes through ``step``, which notes what stood in the journal at that moment, and can "kill"
the process there: from then on nothing that the process does has any effect.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from etw_events import FakeEtw, FakeSession
from etwcap.errors import EtwcapError
from etwcap.taps.etw_feed import SessionFeed
from etwcap.taps.etw_session import EtwSession
from etwcap.taps.journal import Journal
from etwcap.taps.journal_store import FolderStore
from etwcap.taps.ndiscap import NdisCapTap
from etwcap.taps.ndiscap_means import CAPTURE_MODE, PARAMETERS, REF_COUNT, Means
from etwcap.taps.protocol import Changes
from etwcap.taps.trace_folders import TraceFolders
from etwcap.windows.adapters import ETHERNET, LOOPBACK, WIFI, Adapter
from etwcap.windows.clock import Counter
from etwcap.windows.etw import Etw, SessionState
from etwcap.windows.failure import fail
from etwcap.windows.filter_binding import FilterBinding
from etwcap.windows.layouts_etw import EVENT_TRACE_LOGFILEW
from etwcap.windows.netcfg import BindingPath, NetCfg
from etwcap.windows.netevent import NetEvent
from etwcap.windows.netsh_trace import NetshTrace
from etwcap.windows.processes import ProcessIdentity
from etwcap.windows.programs import Ran
from etwcap.windows.services import RUNNING, STOPPED, Services, ServiceState
from etwcap.windows.version import WindowsVersion

ME = ProcessIdentity(4711, 133_500_000_000_000_000)
DEAD = ProcessIdentity(815, 133_400_000_000_000_000)
SYSTEM32 = r"C:\Windows\System32"
WINDOWS_10 = WindowsVersion(10, 0, 19045, 4651, "Windows 10 Pro", "22H2")


def adapter(alias: str, index: int, kind: int = ETHERNET, *, up: bool = True) -> Adapter:
    guid = f"{{{index:08X}-0000-4000-8000-00000000CAFE}}"
    return Adapter(
        guid, alias, f"{alias} of the test", index, index, index, kind, 1 if up else 2, b"", 1500, 10**9, 10**9
    )


ETHERNET_CARD = adapter("Ethernet", 7)
SECOND_CARD = adapter("Ethernet 2", 9)
WIFI_CARD = adapter("Wi-Fi", 12, WIFI)
LOOPBACK_CARD = adapter("Loopback Pseudo-Interface 1", 1, LOOPBACK)
TUNNEL = adapter("isatap", 20, 131)


class Killed(BaseException):
    """The process was ended from outside."""


class Machine:
    """The whole of it; ``means`` and ``tap`` are what a capture uses of it."""

    def __init__(
        self,
        path: Path,
        *,
        adapters: Sequence[Adapter] = (ETHERNET_CARD, SECOND_CARD, LOOPBACK_CARD, TUNNEL),
        bound: Sequence[Adapter] = (),
        version: WindowsVersion = WINDOWS_10,
        remote: bool = False,
    ) -> None:
        self.adapters = list(adapters)
        self.version = version
        self.remote = remote
        self.elevated = True
        self.module_there = True
        self.start_type = 3
        self.paths = {
            f"ms_ndiscap->{each.alias}": BindingPath(f"ms_ndiscap->{each.alias}", each in bound, each.guid)
            for each in self.adapters
            if each.kind in (ETHERNET, WIFI)
        }
        self.numbers: dict[tuple[str, str], int] = {}
        self.running = False
        """the driver"""
        self.netevents: dict[str, str] = {}
        self.same_name = True
        """the trace session of a NetEvent session has its name"""
        self.trace: str | None = None
        """the file of netsh's trace"""
        self.commands: list[tuple[str, ...]] = []
        self.fails: dict[str, BaseException | Ran] = {}
        """by step: what happens instead"""
        self.steps: list[str] = []
        self.journalled: list[tuple[str, tuple[str, ...]]] = []
        """each step, with the names that stood in the journal"""
        self.kill_at: int | None = None
        self.dead = False
        self.told: list[str] = []
        self.folder = path / "data"
        self.folder.mkdir(exist_ok=True)
        self.store = Store(self, path / "journal")
        self.etw = MachineEtw(self)
        self.journal = Journal(self.store, ME, program="test")
        self.means = self.made_means()

    def step(self, name: str) -> None:
        """A change is about to be made."""
        if self.dead:
            raise Killed
        self.journalled.append((name, tuple(each.name for each in self.journal.entries)))
        self.steps.append(name)
        if self.kill_at is not None and len(self.steps) > self.kill_at:
            self.dead = True
            raise Killed
        wrong = self.fails.get(name)
        if isinstance(wrong, BaseException):
            raise wrong

    def made_means(self) -> Means:
        return Means(
            etw=self.etw,
            services=MachineServices(self),
            netevent=NetEvent(self.powershell, system32=lambda: SYSTEM32, exists=lambda _path: self.module_there),
            netsh=NetshTrace(self.netsh, program=lambda: rf"{SYSTEM32}\netsh.exe"),
            netcfg=MachineNetCfg(self),
            registry=MachineRegistry(self),
            folders=TraceFolders(lambda: str(self.folder), self.make_folder, patience=0),
            binding=self.binding,
            elevated=lambda: self.elevated,
            start_type=lambda _service: self.start_type,
            alive=lambda process: process != DEAD and not self.dead,
            patience=0.2,
        )

    def changes(self, *, consented: bool = True) -> Changes:
        return Changes(lambda: self.journal, lambda: ME, self.told.append, consented)

    def tap(self) -> NdisCapTap:
        return NdisCapTap(
            version=lambda: self.version,
            means=self.means,
            list_adapters=lambda: self.adapters,
            remote=lambda: self.remote,
            counter=MachineCounter(),
            clock=TenMegahertz,
            feed=self.feed,
        )

    def feed(self, session: EtwSession, etw: Etw, *, ring: int) -> SessionFeed:
        return SessionFeed(session, etw, ring=1 << 20, counter=lambda: self.ticks, flush_every=0.01, patience=0.1)

    ticks = 1 << 60
    """of the counter: later than every event"""

    def binding(self) -> FilterBinding | None:
        on = {each.adapter.upper() for each in self.paths.values() if each.enabled}
        return FilterBinding(frozenset(on), frozenset(each.guid.upper() for each in self.adapters) - on)

    def state(self) -> object:
        """All that a capture could have changed."""
        return (
            {token: each.enabled for token, each in self.paths.items()},
            dict(self.numbers),
            self.running,
            dict(self.netevents),
            self.trace,
            sorted(each.name for each in self.folder.iterdir()),
            sorted(self.etw.known),
        )

    def make_folder(self, path: str) -> bool:
        self.step("folder")
        Path(path).mkdir()
        return True

    # ---- PowerShell ----

    def powershell(self, words: Sequence[str], limit: float) -> Ran:
        assert limit > 0
        assert words[0] == rf"{SYSTEM32}\WindowsPowerShell\v1.0\powershell.exe"
        self.commands.append(tuple(words))
        text = words[-1]
        there = "".join(f"session {status} {name}\r\n" for name, status in self.netevents.items())
        for step in re.findall(r"\$step='([\w-]+)'", text):
            if step.startswith(("New-", "Add-", "Start-")):
                if self.netevents and step == "New-NetEventSession":
                    return Ran(4, there)
                self.step(step)
            elif step == "Remove-NetEventSession":
                self.step(step)
            wrong = self.fails.get(step)
            if isinstance(wrong, Ran):
                return wrong
            if isinstance(wrong, BaseException):
                raise wrong
            name = (re.findall(r"(?:New|Start|Remove)-NetEventSession -Name '([^']*)'", text) or [""])[0]
            if step == "New-NetEventSession":
                self.netevents[name] = "Stopped"
            elif step == "Start-NetEventSession":
                self.netevents[name] = "Running"
                self.etw.open_for_others(name if self.same_name else "another name")
                self.bind(True)
            elif step == "Remove-NetEventSession" and self.netevents.pop(name, None):
                self.etw.known.pop(name, None)
                self.etw.known.pop("another name", None)
                self.bind(False)
        return Ran(0, there)

    def bind(self, on: bool) -> None:
        self.paths = {token: replace(each, enabled=on) for token, each in self.paths.items()}

    # ---- netsh ----

    def netsh(self, words: Sequence[str], limit: float) -> Ran:
        assert limit > 0
        assert words[0] == rf"{SYSTEM32}\netsh.exe"
        self.commands.append(tuple(words))
        step = f"netsh {words[2]}"
        self.step(step)
        wrong = self.fails.get(step)
        if isinstance(wrong, Ran):
            return wrong
        if words[2] == "start":
            if self.trace is not None:
                return Ran(1, "schon eine")
            self.trace = next(each.partition("=")[2] for each in words if each.startswith("tracefile="))
            Path(self.trace).write_bytes(b"a trace")
            self.bind(True)
        else:
            if self.trace is None:
                return Ran(1, "keine")
            self.trace = None
            self.bind(False)
        return Ran(0, "ok")


class Store(FolderStore):
    """A journal's folder; a process that was killed writes no more into it."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        super().__init__(folder)
        self._machine = machine

    def write(self, name: str, data: bytes) -> None:
        if self._machine.dead:
            raise Killed
        super().write(name, data)

    def remove(self, name: str) -> None:
        if self._machine.dead:
            raise Killed
        super().remove(name)


class MachineEtw(FakeEtw):
    """Sessions of the machine, with netsh's among them."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine
        self.on_flush = self._play
        self.events: list[bytes] = []
        """what the driver writes at the next flush into each session that listens"""

    def open_for_others(self, name: str) -> None:
        """Windows starts a session by itself."""
        self._handles += 1
        self.known[name] = FakeSession(name, self._handles)

    def _play(self, session: FakeSession) -> None:
        if self.events and any(each.enabled for each in self._machine.paths.values()):
            events, self.events = self.events, []
            self.write(session, *events)

    def start(self, name: str, **sizes: object) -> tuple[int, SessionState]:
        self._machine.step("StartTraceW")
        return super().start(name, **sizes)

    def open(self, logfile: EVENT_TRACE_LOGFILEW) -> int:
        self._machine.step("OpenTraceW")
        return super().open(logfile)

    def enable(self, session: int, provider: object, **what: object) -> None:
        self._machine.step("EnableTraceEx2")
        super().enable(session, provider, **what)  # type: ignore[arg-type]

    def control(self, session: int | str, code: int, *fine: int) -> SessionState:
        if self._machine.dead:
            raise Killed
        return super().control(session, code, *fine)

    def sessions(self) -> list[SessionState]:
        found = super().sessions()
        if self._machine.trace is not None:
            one = FakeSession("-NetTrace-HOST-user", 99).state()
            found.append(replace(one, file=self._machine.trace))
        return found


class MachineServices(Services):
    """The driver's service."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.there = True

    def state(self, name: str) -> ServiceState | None:
        assert name == "NdisCap"
        return ServiceState(1, RUNNING if self._machine.running else STOPPED, 0, 0) if self.there else None

    def start(self, name: str, *, wait: float = 10.0) -> bool:
        self._machine.step("StartServiceW")
        if not self.there:
            fail("OpenServiceW", 1060, what=f"the service {name} cannot be started")
        was, self._machine.running = self._machine.running, True
        return not was

    def stop(self, name: str, *, wait: float = 10.0) -> bool:
        self._machine.step("ControlService")
        was, self._machine.running = self._machine.running, False
        return was


class MachineNetCfg(NetCfg):
    """INetCfg of the machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def paths(self, component: str) -> list[BindingPath]:
        assert component == "ms_ndiscap"
        if isinstance(wrong := self._machine.fails.get("paths"), EtwcapError):
            raise wrong
        return list(self._machine.paths.values())

    def switch(self, component: str, tokens: Collection[str], *, on: bool) -> bool:
        self._machine.step("bind" if on else "unbind")
        known = self._machine.paths
        self._machine.paths = {
            token: replace(each, enabled=on) if token in tokens else each for token, each in known.items()
        }
        return False


class MachineRegistry:
    """Numbers in the registry."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def number(self, key: str, name: str) -> int | None:
        return self._machine.numbers.get((key, name))

    def set_number(self, key: str, name: str, number: int) -> None:
        self._machine.step(f"{name} = {number}")
        self._machine.numbers[key, name] = number

    def remove_value(self, key: str, name: str) -> None:
        self._machine.step(f"no {name}")
        self._machine.numbers.pop((key, name), None)


class MachineCounter(Counter):
    """The performance counter."""

    def __init__(self) -> None:
        pass

    def frequency(self) -> int:
        return 10_000_000


class TenMegahertz:
    """Ticks of 100 ns since 1970."""

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        return ticks * 100


REF = (PARAMETERS, REF_COUNT)
MODE = (PARAMETERS, CAPTURE_MODE)
