"""A Windows with PktMon, NdisCap and WfpCapture around the stand-in of its trace sessions, for etwcap under Wine.

Programs, services, bindings and the registry are Python; what they do to trace sessions and to PktMon's driver is done
in the stand-in. Everything that outlives a process lies in a folder: another process finds it as it was left.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from etw_play import NDISCAP, WFP
from etw_standin import StandIn

from etwcap.errors import WindowsCallError
from etwcap.taps.cleanup import FirewallRules, TraceSessions, Undoer
from etwcap.taps.driver_cleanup import Drivers
from etwcap.taps.etw_feed import SessionFeed
from etwcap.taps.etw_stage import Network
from etwcap.taps.journal import BINDING, DRIVER, FIREWALL_RULE, SESSION
from etwcap.taps.ndiscap import NdisCapTap
from etwcap.taps.ndiscap_cleanup import CaptureBindings
from etwcap.taps.ndiscap_means import Means
from etwcap.taps.pktmon import PktMonTap
from etwcap.taps.pktmon_cleanup import PktMonCaptures
from etwcap.taps.pktmon_driver import PktMonMeans
from etwcap.taps.protocol import Tap
from etwcap.taps.trace_folders import TraceFolders
from etwcap.taps.wfp import WfpTap
from etwcap.taps.wfp_cleanup import WfpDriver
from etwcap.taps.wfp_driver import Driver
from etwcap.windows.adapters import ETHERNET, Adapter
from etwcap.windows.clock import Clock, Counter
from etwcap.windows.drivers import DriverFile
from etwcap.windows.etw import NOT_RUNNING, STOP, Etw
from etwcap.windows.failure import fail
from etwcap.windows.filter_binding import FilterBinding
from etwcap.windows.firewall import Firewall
from etwcap.windows.netcfg import BindingPath, NetCfg
from etwcap.windows.netevent import NetEvent
from etwcap.windows.netsh_trace import NetshTrace
from etwcap.windows.pktmon_api import PktMonApi
from etwcap.windows.pktmon_device import Control
from etwcap.windows.pktmon_exe import PktMonExe
from etwcap.windows.pktmon_legacy import PktMonLegacy
from etwcap.windows.programs import Ran
from etwcap.windows.services import RUNNING, STOPPED, Services, ServiceState
from etwcap.windows.version import SigningPolicy, WindowsVersion

SYSTEM32 = r"C:\Windows\System32"
CARD = Adapter(
    "{00000007-0000-4000-8000-00000000CAFE}", "Ethernet", "Made-up adapter", 7, 7, 7, ETHERNET, 1, b"", 1500, 10**9,
    10**9,
)  # fmt: skip
SERVICES = ("PktMon", "NdisCap", "WfpCapture")
ALREADY = 0x800700B7
"""what pktmon.exe ends with while a capture runs"""

Reached = Callable[[str], None]
"""told where the machine is in a change"""


class Kept:
    """Values that outlive a process: a file for each, and one that lists the commands that were given."""

    def __init__(self, folder: Path, reached: Reached) -> None:
        self.folder = folder
        self.reached = reached
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> Any:
        try:
            return json.loads((self.folder / f"{name}.json").read_text())
        except FileNotFoundError:
            return None

    def set(self, name: str, value: Any) -> None:
        path = self.folder / f"{name}.json"
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(value))
        os.replace(beside, path)
        self.reached(name)

    def drop(self, name: str) -> None:
        (self.folder / f"{name}.json").unlink(missing_ok=True)
        self.reached(f"no {name}")

    def command(self, words: Sequence[str]) -> None:
        with (self.folder / "commands").open("a") as out:
            out.write(json.dumps(list(words)) + "\n")


class KeptServices(Services):
    """Three drivers."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def state(self, name: str) -> ServiceState | None:
        if name not in SERVICES:
            return None
        return ServiceState(1, RUNNING if self._kept.get(f"service-{name}") else STOPPED, 0, 0)

    def start(self, name: str, *, wait: float = 10.0) -> bool:
        if name not in SERVICES:
            fail("OpenServiceW", 1060, what=f"the service {name} cannot be started")
        was = bool(self._kept.get(f"service-{name}"))
        self._kept.set(f"service-{name}", True)
        return not was

    def stop(self, name: str, *, wait: float = 10.0) -> bool:
        was = bool(self._kept.get(f"service-{name}"))
        self._kept.drop(f"service-{name}")
        return was


class KeptNetCfg(NetCfg):
    """One adapter."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def paths(self, component: str) -> list[BindingPath]:
        return [BindingPath("ms_ndiscap->Ethernet", bool(self._kept.get("binding")), CARD.guid)]

    def switch(self, component: str, tokens: Collection[str], *, on: bool) -> bool:
        if on and tokens:
            self._kept.set("binding", True)
        elif tokens:
            self._kept.drop("binding")
        return False


class KeptRegistry:
    """Numbers."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def number(self, key: str, name: str) -> int | None:
        found = self._kept.get(f"registry-{name}")
        return None if found is None else int(found)

    def set_number(self, key: str, name: str, number: int) -> None:
        self._kept.set(f"registry-{name}", number)

    def remove_value(self, key: str, name: str) -> None:
        self._kept.drop(f"registry-{name}")


class Machine:
    """All of it. ``reached`` is told each change that was made; ``programs`` False: none of them can be run."""

    def __init__(self, standin: StandIn, folder: Path, build: int, reached: Reached, *, programs: bool = True) -> None:
        self.standin = standin
        self.build = build
        self.programs = programs
        self.kept = Kept(folder, reached)
        standin.folder(folder)
        self.logs = folder / "logs"
        self.logs.mkdir(exist_ok=True)
        self.etw = Etw(standin.library)
        self.services = KeptServices(self.kept)
        self.counter = Counter(standin.library)
        self.folders = TraceFolders(lambda: str(self.logs), _make_folder, patience=0)
        self.net_event = NetEvent(self.powershell, system32=lambda: SYSTEM32, exists=lambda _path: self.programs)

    def somebody_captures(self) -> None:
        """Somebody else has started PktMon's capture."""
        self.kept.set("service-PktMon", True)
        (self.kept.folder / "driver").touch()

    def version(self) -> WindowsVersion:
        return WindowsVersion(10, 0, self.build, 1, "Windows of the test", "")

    def clock(self) -> Clock:
        return Clock(library=self.standin.library)

    def network(self) -> Network:
        """What a trace from another machine tells of this one's adapters."""
        return Network({}, {})

    # ---- the taps ----

    def taps(self) -> dict[str, Tap]:
        pktmon = PktMonTap(
            version=self.version,
            elevated=lambda: True,
            means=self.pktmon(),
            list_adapters=lambda: [CARD],
            clock=self.clock,
            counter=self.counter,
            network=self.network,
        )
        feed = partial(SessionFeed, counter=self.counter.ticks)
        ndiscap = NdisCapTap(
            version=self.version,
            means=self.ndiscap(),
            list_adapters=lambda: [CARD],
            remote=lambda: False,
            counter=self.counter,
            clock=self.clock,
            feed=feed,
        )
        driver = DriverFile(rf"{SYSTEM32}\drivers\WfpCapture.sys", 3)
        wfp = WfpTap(
            version=self.version,
            elevated=lambda: True,
            driver=lambda: Driver(self.services.state("WfpCapture"), driver, True, None, SigningPolicy(False, False)),
            services=self.services,
            etw=self.etw,
            net_event=self.net_event,
            counter=self.counter,
            clock=self.clock,
            network=self.network,
            own=list,
        )
        return {"pktmon": pktmon, "ndiscap": ndiscap, "wfp": wfp}

    def undoers(self, firewall: Firewall) -> dict[str, Undoer]:
        pktmon = PktMonCaptures(self.pktmon(), build=lambda: self.build, booted=lambda: 0)
        wfp = WfpDriver(self.services, self.etw, booted=lambda: 0)
        return {
            FIREWALL_RULE: FirewallRules(firewall),
            SESSION: TraceSessions(self.etw),
            DRIVER: Drivers([pktmon, wfp]),
            BINDING: CaptureBindings(self.ndiscap()),
        }

    def pktmon(self) -> PktMonMeans:
        path = rf"{SYSTEM32}\PktMon.exe"

        def exe(build: int) -> PktMonExe:
            return PktMonExe(build, run=self.pktmon_exe, path=lambda: path, exists=lambda _path: self.programs)

        return PktMonMeans(
            etw=self.etw,
            services=self.services,
            exe=exe,
            legacy=PktMonLegacy(self.standin.library),
            open_device=no_device,
            api=PktMonApi(self.standin.library),
            folders=self.folders,
            start_type=lambda _service: 3,
        )

    def ndiscap(self) -> Means:
        return Means(
            etw=self.etw,
            services=self.services,
            netevent=self.net_event,
            netsh=NetshTrace(self.netsh, program=lambda: rf"{SYSTEM32}\netsh.exe"),
            netcfg=KeptNetCfg(self.kept),
            registry=KeptRegistry(self.kept),
            folders=self.folders,
            binding=self.binding,
            elevated=lambda: True,
        )

    def binding(self) -> FilterBinding:
        bound = frozenset([CARD.guid.upper()])
        return FilterBinding(bound) if self.kept.get("binding") else FilterBinding(unbound=bound)

    # ---- programs ----

    def pktmon_exe(self, words: Sequence[str], limit: float) -> Ran:
        """PktMon.exe: start, stop, filters."""
        words = list(words)
        self.kept.command(words)
        if words[1] == "start":
            if self.standin.driver_running():
                return Ran(ALREADY, "another one")
            code = self.standin.driver_start()
            if code == 0:
                self.standin.session("PktMon", next(each for each in words if each.endswith(".etl")))
                self.kept.reached("driver")
            return Ran(code)
        if words[1] == "stop":
            self.standin.session("PktMon", None)
            return Ran(self.standin.driver_stop())
        if words[1:3] == ["filter", "add"]:
            self.kept.set("filters", [*(self.kept.get("filters") or []), list(words[3:])])
        elif words[1:3] == ["filter", "remove"]:
            self.kept.drop("filters")
        return Ran(0)

    def netsh(self, words: Sequence[str], limit: float) -> Ran:
        """netsh trace start and stop."""
        words = list(words)
        self.kept.command(words)
        if not self.programs:
            return Ran(1, "forbidden")
        if words[1:3] == ["trace", "start"]:
            if self.kept.get("netsh"):
                return Ran(1, "another one")
            self.standin.session("NetTrace", next(each[10:] for each in words if each.startswith("tracefile=")))
            self.kept.set("netsh", True)
            self.kept.set("binding", True)
            return Ran(0)
        if not self.kept.get("netsh"):
            return Ran(1, "there is none")
        self.standin.session("NetTrace", None)
        self.kept.drop("netsh")
        self.kept.drop("binding")
        return Ran(0)

    def powershell(self, words: Sequence[str], limit: float) -> Ran:
        """The scripts of NetEvent sessions, step by step."""
        self.kept.command(words)
        text = words[-1]
        known: dict[str, Any] = self.kept.get("netevent") or {}
        there = "".join(f"session {each['status']} {name}\r\n" for name, each in known.items())
        steps = re.findall(r"\$step='([\w-]+)'", text)
        if "New-NetEventSession" in steps and known:
            return Ran(4, there)
        for step in steps:
            name = next(iter(re.findall(r"(?:New|Start|Remove)-NetEventSession -Name '([^']*)'", text)), "")
            if step == "New-NetEventSession":
                known[name] = {"status": "Stopped", "providers": []}
            elif step == "Add-NetEventPacketCaptureProvider":
                known[name]["providers"].append(str(NDISCAP))
            elif step == "Add-NetEventWFPCaptureProvider":
                known[name]["providers"].append(str(WFP))
            elif step == "Start-NetEventSession":
                known[name]["status"] = "Running"
                self.kept.set("netevent", known)
                try:
                    self._start(name, known[name]["providers"], text)
                except WindowsCallError as error:
                    return Ran(3, f"error {step} HRESULT 0x8007{error.code:04X},{step}\r\n")
            elif step == "Remove-NetEventSession" and known.pop(name, None):
                self.etw.control(name, STOP, NOT_RUNNING)
                self.kept.drop("netevent")
                self.kept.drop("binding")
        return Ran(0, there)

    def _start(self, name: str, providers: Sequence[str], text: str) -> None:
        if str(NDISCAP) in providers:
            self.kept.set("binding", True)
        level = int(next(iter(re.findall(r"-Level (\d+)", text)), "5"))
        handle, _ = self.etw.start(name, guid=uuid4(), buffer_size=64, buffers=(8, 128))
        for provider in (NDISCAP, WFP):
            if str(provider) in providers:
                self.etw.enable(handle, provider, level=level)


def no_device() -> Control:
    """The device of PktMon's driver, which is not there."""
    fail("CreateFileW", 2, what="the device cannot be opened")


def _make_folder(path: str) -> bool:
    with contextlib.suppress(FileExistsError):
        Path(path).mkdir()
        return True
    return False
