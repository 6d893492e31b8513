"""A Windows with PktMon: its driver with one capture for all, the three ways to it, the API, and its trace sessions.

What changes the machine goes through ``step``, which can fail there, or "kill" the process: from then on nothing that
the process does has any effect.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from etw_events import FakeEtw
from etwcap.errors import WindowsCallError
from etwcap.etl.build import event_record
from etwcap.packets import Context
from etwcap.providers import pktmon_build as payloads
from etwcap.providers.pktmon_layout import GUID, EventId
from etwcap.taps.etw_stage import Network
from etwcap.taps.journal import Journal
from etwcap.taps.journal_store import FolderStore
from etwcap.taps.pktmon import PktMonTap
from etwcap.taps.pktmon_driver import PktMonMeans
from etwcap.taps.protocol import Changes
from etwcap.taps.trace_folders import TraceFolders
from etwcap.windows import pktmon_device as device
from etwcap.windows.adapters import ETHERNET, WIFI, Adapter
from etwcap.windows.clock import Counter
from etwcap.windows.etw import STOP, SessionState
from etwcap.windows.failure import fail
from etwcap.windows.layouts_pktmon import (
    DEVICE_START,
    LEGACY_FILTER,
    PROTOCOL_CONSTRAINT,
    STREAM_DATA_DESCRIPTOR,
    STREAM_EVENT_STARTED,
    STREAM_METADATA,
)
from etwcap.windows.pktmon_api import NETWORK_INTERFACE, PROTOCOL, DataSource, PktMonApi
from etwcap.windows.pktmon_exe import Components, PktMonExe
from etwcap.windows.pktmon_legacy import PktMonLegacy
from etwcap.windows.processes import ProcessIdentity
from etwcap.windows.programs import Ran
from etwcap.windows.services import RUNNING, STOPPED, Services, ServiceState
from etwcap.windows.text import utf16
from etwcap.windows.version import WindowsVersion
from pktmon_machine import STACKS, WIRED, components, interface_guid

ME = ProcessIdentity(4711, 133_500_000_000_000_000)
EXE = r"C:\Windows\System32\PktMon.exe"
PROVIDER = UUID(bytes_le=GUID)
ALREADY = 0x800700B7
"""what pktmon.exe ends with while a capture runs"""


class Killed(BaseException):
    """The process was ended from outside."""


class Ticks:
    """100 ns ticks that begin in 2024."""

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        return 1_705_526_400_000_000_000 + ticks * 100


class TickCounter(Counter):
    """A counter that goes on by one with each look."""

    def __init__(self) -> None:
        self.now = 10_000

    def ticks(self) -> int:
        self.now += 1
        return self.now

    def frequency(self) -> int:
        return 10_000_000


class FakeServices(Services):
    """The service PktMon."""

    def __init__(self, windows: PktMonWindows) -> None:
        self._windows = windows

    def state(self, name: str) -> ServiceState | None:
        assert name == "PktMon"
        if not self._windows.has_driver:
            return None
        return ServiceState(1, RUNNING if self._windows.loaded else STOPPED, 0, 0)

    def start(self, name: str, *, wait: float = 10.0) -> bool:
        self._windows.step("service start")
        was, self._windows.loaded = self._windows.loaded, True
        return not was

    def stop(self, name: str, *, wait: float = 10.0) -> bool:
        self._windows.step("service stop")
        self._windows.loaded = False
        self._windows.filters.clear()
        return True


class FakeLegacy(PktMonLegacy):
    """The older exports."""

    def __init__(self, windows: PktMonWindows) -> None:
        self._windows = windows

    def there(self) -> bool:
        return self._windows.has_legacy

    def running(self) -> bool:
        return self._windows.capture is not None

    def start(self, components: Components) -> None:
        self._windows.step(f"PktmonStart {components}")
        if not self._windows.begin("etwcap", components):
            fail("PktmonStart", 183)

    def stop(self) -> None:
        self._windows.step("PktmonStop")
        self._windows.end()

    def add_filter(self, given: LEGACY_FILTER) -> None:
        name = utf16(given.Name)
        self._windows.step(f"PktmonAddFilter {name}")
        ports = [given.Port1, given.Port2]
        self._windows.add_filter(
            name, ether_type=given.EtherType, transport_protocol=given.TransportProtocol, port1=ports[0], port2=ports[1]
        )

    def remove_filters(self) -> None:
        self._windows.step("PktmonRemoveAllFilters")
        self._windows.filters.clear()


class FakeDevice:
    """The open device."""

    def __init__(self, windows: PktMonWindows) -> None:
        self._windows = windows
        if not windows.has_device:
            fail("CreateFileW", 5)
        if not windows.loaded:
            fail("CreateFileW", 2)

    def call(self, code: int, given: bytes = b"", room: int = 0) -> bytes:
        windows = self._windows
        if code == device.STATE:
            return bytes([0, 0, 0, 0, windows.capture is not None]) + bytes(15)
        windows.step(f"ioctl {code:06x}")
        if code == device.START:
            how = DEVICE_START.from_buffer_copy(given)
            if not windows.begin("etwcap", "nics" if how.Selection == device.ADAPTERS else "all"):
                fail("DeviceIoControl", 170)
        elif code == device.STOP:
            windows.end()
        elif code == device.ADD_FILTER:
            made = PROTOCOL_CONSTRAINT.from_buffer_copy(given)
            windows.add_filter(utf16(made.Name), transport_protocol=made.TransportProtocol, port1=made.Port1)
        elif code == device.REMOVE_FILTERS:
            windows.filters.clear()
        return b""

    def close(self) -> None:
        """Nothing to let go of."""


class FakeApi(PktMonApi):
    """The documented API, with one stream that tests play packets into."""

    def __init__(self, windows: PktMonWindows) -> None:
        self._windows = windows
        self.open: list[str] = []
        self.added: list[int] = []
        self.constraints: list[PROTOCOL_CONSTRAINT] = []
        self.active = False
        self.fails: str = ""
        self.refuses: set[int] = set()
        self.sources = [
            DataSource(NETWORK_INTERFACE, 30, "madegig.sys", WIRED.description, mac=WIRED.mac,
                       guid=interface_guid(WIRED.index).bytes_le),
            DataSource(2, 31, "wfplwfs.sys", "WFP 802.3 MAC Layer LightWeight Filter", parent_id=30),
            DataSource(PROTOCOL, 41, "tcpip.sys", "TCP/IPv4 - L3/L4", parent_id=30),
        ]  # fmt: skip
        self._kept: list[object] = []

    def there(self) -> bool:
        return self._windows.has_api

    def _call(self, name: str) -> None:
        self._windows.step(name)
        if self.fails == name:
            fail(name, 1359)

    def initialize(self) -> int:
        self._call("initialize")
        self.open.append("api")
        return 1

    def uninitialize(self, handle: int) -> None:
        self.open.remove("api")

    def data_sources(self, handle: int, kind: int = 0, *, hidden: bool = True) -> list[DataSource]:
        self._call("data_sources")
        return list(self.sources)

    def create_session(self, handle: int, name: str) -> int:
        self._call("create_session")
        assert name == f"etwcap-{ME.pid}-{ME.created}-pktmon"
        self.open.append("session")
        return 2

    def close_session(self, session: int) -> None:
        self.open.remove("session")

    def add_source(self, session: int, source: DataSource) -> None:
        self._call("add_source")
        if source.id in self.refuses:
            fail("add_source", 87)
        self.added.append(source.id)

    def add_constraint(self, session: int, constraint: PROTOCOL_CONSTRAINT) -> None:
        self._call("add_constraint")
        self.constraints.append(constraint)

    def create_stream(
        self, handle: int, *, context: int, event: int, data: int, buffers: int = 10, most: int = 9000
    ) -> int:
        self._call("create_stream")
        self.open.append("stream")
        self._context = context
        self._data = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(data)
        self._event = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)(event)
        assert (buffers, most) == (10, 9000)
        return 3

    def close_stream(self, stream: int) -> None:
        self.open.remove("stream")

    def attach(self, session: int, stream: int) -> None:
        self._call("attach")

    def set_active(self, session: int, active: bool) -> None:
        self._call("set_active")
        self.active = active
        if active:
            self.event(0, STREAM_EVENT_STARTED(BufferSize=10 << 18, TruncationSize=9000))

    def event(self, kind: int, info: ctypes.Structure | None = None) -> None:
        self._event(self._context, None if info is None else ctypes.addressof(info), kind)

    def play(self, frame: bytes, stamp: int, *, component: int = 30, edge: int = 1, reason: int = 0) -> None:
        """One packet from the driver."""
        metadata = STREAM_METADATA(
            PktGroupId=1, PktCount=1, DirectionName=3, PacketType=3 if reason else 1, ComponentId=component,
            EdgeId=0 if reason else edge, DropReason=reason, TimeStamp=stamp,
        )  # fmt: skip
        data = ctypes.create_string_buffer(bytes(metadata) + frame, 40 + len(frame))
        given = STREAM_DATA_DESCRIPTOR(
            Data=ctypes.addressof(data), DataSize=40 + len(frame), PacketOffset=40, PacketLength=len(frame)
        )
        self._data(self._context, ctypes.addressof(given))


class PktMonWindows:
    """The machine; ``tap`` and ``changes`` are what a capture has of it."""

    def __init__(self, folder: Path, *, build: int = 22621) -> None:
        self.build = build
        self.has_driver = self.has_exe = self.has_device = True
        self.has_legacy = self.has_api = False
        self.blocked = 0
        """Windows' number for why pktmon.exe may not be run"""
        self.loaded = False
        self.capture: tuple[str, Components] | None = None
        """whose, and of which components"""
        self.filters: dict[str, bytes] = {}
        """payload of the rundown by name"""
        self.knows_syntax: Callable[[Sequence[str]], bool] = lambda _words: True
        self.wifi = True
        self.rundown_comes = True
        self.misunderstands = False
        """the driver takes filters for others than they are"""
        self.steps: list[str] = []
        self.fail_at = self.kill_at = -1
        self.killed = False
        self.at_step: Callable[[str], None] = lambda _name: None
        self.etw = Sessions(self)
        self.counter = TickCounter()
        self.told: list[str] = []
        self.store = Store(folder / "journal", self)
        self.journal = Journal(self.store, ME)
        self.changes = Changes(lambda: self.journal, lambda: ME, self.told.append)
        self.api = FakeApi(self)
        self.logs = folder / "logs"
        self.logs.mkdir(exist_ok=True)
        self.context = Context()
        self.means = PktMonMeans(
            etw=self.etw,
            services=FakeServices(self),
            exe=lambda build: PktMonExe(build, run=self.run, path=lambda: EXE, exists=lambda _path: self.has_exe),
            legacy=FakeLegacy(self),
            open_device=lambda: FakeDevice(self),
            api=self.api,
            folders=Folders(self, self.logs),
            start_type=lambda _service: 3,
        )
        self.elevated = True

    def tap(self) -> PktMonTap:
        return PktMonTap(
            version=lambda: WindowsVersion(10, 0, self.build, 1, "Windows 11 Pro", "23H2"),
            elevated=lambda: self.elevated,
            means=self.means,
            list_adapters=self.adapters,
            clock=Ticks,
            counter=self.counter,
            network=lambda: Network({}, {}),
        )

    def adapters(self) -> list[Adapter]:
        return [
            Adapter(f"{{{interface_guid(each.index)}}}", each.alias, each.description, each.index, each.index,
                    each.index, WIFI if each.is_wifi else ETHERNET, 1, each.mac, 1500, None, None)
            for each in STACKS
        ] + [Adapter("{0}", "Loopback", "Loopback", 1, 1, 1, 24, 1, b"", 1500, None, None)]  # fmt: skip

    def step(self, name: str) -> None:
        """What is about to happen; raises where the test wants it to fail, or the process to be killed."""
        if self.killed:
            raise Killed
        number = len(self.steps)
        self.steps.append(name)
        self.at_step(name)
        if number == self.kill_at:
            self.killed = True
            raise Killed
        if number == self.fail_at:
            raise WindowsCallError(name, 31, means="a device attached to the system is not functioning")

    # ---- pktmon.exe ----

    def run(self, words: Sequence[str], limit: float) -> Ran:
        assert words[0] == EXE
        assert limit > 1
        if self.blocked:
            fail("PktMon.exe", self.blocked)
        self.step(" ".join(words[1:]))
        if not self.knows_syntax(words[1:]):
            return Ran(1, "Unbekannter Parameter")
        command = tuple(words[1:3])
        if words[1] == "start":
            chosen = words[words.index("--comp" if "--comp" in words else "-c") + 1 :]
            picked: Components = _leading(chosen)
            if chosen[0] in ("all", "nics"):
                picked = "all" if chosen[0] == "all" else "nics"
            if not self.begin("pktmon.exe", picked):
                return Ran(ALREADY - (1 << 32), "Packet Monitor wird bereits ausgeführt.")
            self.log = Path(words[words.index("--file-name" if "--file-name" in words else "-f") + 1])
            assert self.log.parent.is_dir()
        elif words[1] == "stop":
            if self.capture is None:
                return Ran(1, "nicht aktiv")
            self.end()
            if hasattr(self, "log") and self.log.parent.is_dir():
                self.log.write_bytes(b"log")
        elif command == ("filter", "add"):
            self.add_filter(words[3])
        elif command == ("filter", "remove"):
            self.filters.clear()
        return Ran(0)

    # ---- the driver ----

    def begin(self, whose: str, components: Components) -> bool:
        """Start the driver's capture; False while one runs."""
        if self.capture is not None:
            return False
        self.loaded = True
        self.capture = (whose, components)
        return True

    def end(self) -> None:
        """Stop it: the components are told to every session that listens."""
        self.capture = None
        if self.rundown_comes:
            for event, payload in self.rundown():
                self.write(event, payload)

    def rundown(self) -> list[tuple[int, bytes]]:
        told: list[tuple[int, bytes]] = []
        for each in components(self.build):
            if not self.wifi and each.id in (10, 11, 12, 13, 14, 21, 22, 40):
                continue
            told.append(
                (EventId.COMPONENT, payloads.build_component(each.id, each.kind, each.driver, each.description))
            )
            told += each.properties
            told.append((EventId.DROP_COUNTERS, payloads.build_drop_counters(each.id)))
            told += [
                (EventId.FLOW_COUNTERS, payloads.build_flow_counters(each.id, edge, name))
                for edge, name in each.edges.items()
            ]
        return told + [(EventId.FILTER_IPV4, each) for each in self.filters.values()]

    def add_filter(self, name: str, **fields: int) -> None:
        fields |= {"vlan_id": 7} if self.misunderstands else {}
        self.filters[name] = payloads.build_filter(len(self.filters) + 1, name, **fields)  # type: ignore[arg-type]

    def write(self, event: int, payload: bytes, *, ticks: int = 0) -> None:
        """An event of the provider, to the sessions that have enabled it."""
        record = event_record(
            GUID, event, payload, time=ticks or self.counter.ticks(), keyword=0x10 if event >= 120 else 2
        )
        for session in list(self.etw.known.values()):
            what = session.providers.get(PROVIDER)
            if what is not None and event in what["event_ids"]:
                self.etw.write(session, record)

    def packet(self, frame: bytes, *, component: int = 30, edge: int = 1, reason: int = 0, **more: int) -> None:
        """A packet that the driver reports, if it captures there."""
        if self.capture is None:
            return
        chosen = self.capture[1]
        if isinstance(chosen, tuple) and component not in chosen:
            return
        if chosen == "nics" and component not in (10, 30):
            return
        payload = payloads.build_packet_event(
            frame, group=more.get("group", 1), component_id=component, edge_id=0 if reason else edge,
            drop_reason=reason, packet_type=more.get("packet_type", 1),
        )  # fmt: skip
        self.write(EventId.DROP_PAYLOAD if reason else EventId.FLOW_PAYLOAD, payload)

    def clean(self) -> list[str]:
        """What is left of a capture, each in a word; nothing where the machine is as it was."""
        left = [f"session {name}" for name in self.etw.known if name.startswith("etwcap")]
        left += [f"folder {each.name}" for each in self.logs.iterdir()]
        left += [f"filter {name}" for name in self.filters if name.startswith("etwcap")]
        left += [f"journal {each}" for each in self.store.names()]
        left += ["capture"] if self.capture is not None else []
        left += self.api.open
        return left


class Store(FolderStore):
    """The journal's folder."""

    def __init__(self, folder: Path, windows: PktMonWindows) -> None:
        super().__init__(folder)
        self._windows = windows

    def write(self, name: str, data: bytes) -> None:
        self._windows.step("journal")
        super().write(name, data)

    def remove(self, name: str) -> None:
        self._windows.step("journal")
        super().remove(name)


class Folders(TraceFolders):
    """Folders of logs."""

    def __init__(self, windows: PktMonWindows, base: Path) -> None:
        super().__init__(lambda: str(base), self._made, patience=0)
        self._windows = windows

    def _made(self, path: str) -> bool:
        self._windows.step("folder")
        Path(path).mkdir()
        return True

    def remove(self, name: str) -> bool:
        self._windows.step("folder remove")
        return super().remove(name)


def _leading(words: Sequence[str]) -> tuple[int, ...]:
    """The numbers that a list of words begins with."""
    found = []
    for each in words:
        if not each.isdecimal():
            break
        found.append(int(each))
    return tuple(found)


class Sessions(FakeEtw):
    """Trace sessions whose changes are steps."""

    def __init__(self, windows: PktMonWindows) -> None:
        super().__init__()
        self._windows = windows
        self.others: list[SessionState] = []
        """sessions of others"""

    def other(self, name: str, file: str = "") -> None:
        """Somebody else's session runs."""
        self.others.append(SessionState(99, name, 0, 64, 2, 2, 0, 0, 0, 0, file))

    def sessions(self) -> list[SessionState]:
        return [*super().sessions(), *self.others]

    def control(self, session: int | str, code: int, *fine: int) -> SessionState:
        if code == STOP:
            self._windows.step("session stop")
        return super().control(session, code, *fine)

    def start(self, name: str, **sizes: Any) -> tuple[int, SessionState]:
        self._windows.step("session start")
        return super().start(name, **sizes)

    def enable(self, session: int, provider: UUID, **what: Any) -> None:
        self._windows.step(f"enable {'packets' if 160 in what['event_ids'] else 'rundown'}")
        super().enable(session, provider, **what)
