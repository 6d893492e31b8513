"""The wfp tap with a machine that stands in for Windows: what it starts, what it asks for, what is left behind."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import need_native_core
from etw_events import FakeEtw, wait_for
from etwcap.errors import EtwcapError, NotHereError, RightsError, UsageError, WindowsCallError
from etwcap.etl.build import event_record
from etwcap.packets import Context
from etwcap.packets.linktypes import RAW_IP
from etwcap.providers.wfp_build import build_ale, build_message, message_event_id, message_keyword
from etwcap.providers.wfp_layout import EventId, Keyword
from etwcap.taps.cleanup import cleanup
from etwcap.taps.etw_stage import Network
from etwcap.taps.journal import DRIVER, Journal
from etwcap.taps.journal_store import FolderStore
from etwcap.taps.protocol import Changes, LiveTapSource, State, TapOptions
from etwcap.taps.wfp import EVENTS, KEYWORDS, PROVIDER, WfpTap, enabled
from etwcap.taps.wfp_cleanup import WfpDriver
from etwcap.taps.wfp_driver import OTHER_TAP, SERVICE, Driver
from etwcap.windows.etw import STOP
from etwcap.windows.failure import failure
from etwcap.windows.netevent import AnotherSessionError, Cmdlet, NetEvent, NetEventSession
from etwcap.windows.processes import ProcessIdentity
from etwcap.windows.services import RUNNING, STOPPED, Services, ServiceState
from wfp_machine import LOADS, NO_DRIVER, REFUSED, RUNS, WINDOWS_11

ME = ProcessIdentity(4711, 133_500_000_000_000_000)
NAME = f"etwcap-{ME.pid}-{ME.created}-wfp"
UDP = struct.pack(">HHHH", 1000, 53, 8 + 10, 0) + b"0123456789"
OWN = ["192.0.2.10", "2001:db8::10", "127.0.0.1", "::1"]


class FakeServices(Services):
    """A service manager with one driver."""

    def __init__(self, etw: FakeEtw, state: int | None = STOPPED, *, refuses: int = 0) -> None:
        self.now, self.refuses, self.calls = state, refuses, list[str]()
        self.etw = etw

    def state(self, name: str) -> ServiceState | None:
        assert name == SERVICE
        return None if self.now is None else ServiceState(1, self.now, 0, 0)

    def start(self, name: str, *, wait: float = 10.0) -> bool:
        self.calls.append("start")
        if self.refuses:
            raise failure("StartServiceW", self.refuses, what=f"the service {name} cannot be started")
        before, self.now = self.now, RUNNING
        return before != RUNNING

    def stop(self, name: str, *, wait: float = 10.0) -> bool:
        self.calls.append("stop")
        before, self.now = self.now, STOPPED
        return before == RUNNING


class FixedClock:
    """Ticks are ns since 1970."""

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        return ticks.astype(np.int64)


class OneCounter:
    """A counter of 10 MHz, and no more."""

    def frequency(self) -> int:
        return 10_000_000

    def ticks(self) -> int:
        return 1 << 40


class FakeNetEvent(NetEvent):
    """NetEvent sessions: each becomes a trace session of its name."""

    def __init__(self, etw: FakeEtw, *, lacks: str = "", fails: EtwcapError | None = None, named: bool = True) -> None:
        self.etw, self.missing, self.fails, self.named = etw, lacks, fails, named
        self.made: dict[str, str] = {}
        self.removed: list[str] = []

    def lacks(self) -> str:
        return self.missing

    def start(self, name: str, providers: Sequence[Cmdlet], **_: Any) -> None:
        if self.fails is not None:
            raise self.fails
        self.made[name] = " ".join(map(str, providers))
        if self.named:
            self.etw.start(name)

    def remove(self, name: str) -> bool:
        self.removed.append(name)
        there = self.made.pop(name, None) is not None
        if there and self.named:
            self.etw.control(name, STOP)
        return there


class Bench:
    """A tap on a machine, with a journal in a folder."""

    def __init__(self, folder: Path, driver: Driver = LOADS, **machine: Any) -> None:
        self.etw = FakeEtw(denied=machine.pop("denied", False))
        state = driver.service.state if driver.service is not None else None
        self.services = FakeServices(self.etw, state, refuses=machine.pop("refuses", 0))
        self.net_event = FakeNetEvent(self.etw, **machine.pop("net_event", {}))
        self.store = FolderStore(folder)
        self.journal = Journal(self.store, ME)
        self.told: list[str] = []
        self.context = Context()
        self.tap = WfpTap(
            **{
                "version": lambda: WINDOWS_11,
                "elevated": lambda: True,
                "driver": lambda: replace(driver, service=self.services.state(SERVICE)),
                "services": self.services,
                "etw": self.etw,
                "net_event": self.net_event,
                "counter": OneCounter(),
                "clock": FixedClock,
                "network": lambda: Network({}, {}),
                "own": lambda: OWN,
                **machine,
            }
        )

    def open(self, interfaces: tuple[str, ...] = (), **options: Any) -> LiveTapSource:
        changes = Changes(lambda: self.journal, lambda: ME, self.told.append)
        return self.tap.open(self.context, interfaces, TapOptions(ring=1 << 20, **options), changes)

    @property
    def left(self) -> list[str]:
        """Sessions, and entries of the journal."""
        return [*self.etw.known, *self.net_event.made, *(entry.name for entry in self.journal.entries)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    need_native_core()
    return Bench(tmp_path)


@pytest.fixture
def benches(tmp_path: Path) -> Callable[..., Bench]:
    need_native_core()
    return lambda *driver, **machine: Bench(tmp_path, *driver, **machine)


def message(source: str, destination: str, *, sent: bool, ticks: int, body: bytes = UDP, clear: bool = False) -> bytes:
    ends: dict[str, Any] = {"source": ip_address(source), "destination": ip_address(destination)}
    payload = build_message(body, protocol=17, flow=9, **ends)
    event = message_event_id(ends["source"].version, True)
    return event_record(
        PROVIDER, int(event), payload, time=ticks, keyword=message_keyword(sent=sent, clear_ipsec=clear)
    )


def captured(bench: Bench, source: LiveTapSource, *records: bytes) -> list[tuple[int, bytes]]:
    """(time, bytes) of what comes out of records that the driver writes, and then of the end."""
    bench.etw.write(bench.etw.session(), *records)
    source.stop()
    found = []
    for chunk in source.chunks():
        rows = chunk.packets
        for time, offset, size in zip(*(rows[name].tolist() for name in ("time", "offset", "captured")), strict=True):
            found.append((time, chunk.buffer[offset : offset + size].tobytes()))
    source.close()
    return found


def test_packets_come_with_headers_and_leave_nothing_behind(bench: Bench) -> None:
    source = bench.open()
    assert bench.services.calls == ["start"]
    assert [entry.name for entry in bench.journal.entries] == [NAME, NAME]
    found = captured(
        bench,
        source,
        message("192.0.2.10", "198.51.100.1", sent=True, ticks=1000),
        message("2001:db8::99", "2001:db8::10", sent=False, ticks=2000),
    )
    assert [(time, data[0] >> 4, data[-len(UDP) :]) for time, data in found] == [(1000, 4, UDP), (2000, 6, UDP)]
    assert bench.context.interfaces[0].link_type == RAW_IP
    assert bench.left == []
    assert bench.services.calls == ["start", "stop"]
    assert any(SERVICE in line for line in bench.told)


def test_the_provider_is_asked_for_packets_and_for_no_ipsec(bench: Bench) -> None:
    source = bench.open()
    assert bench.etw.session().providers == {
        PROVIDER: {"level": 5, "any_keyword": KEYWORDS, "all_keyword": 0, "event_ids": EVENTS}
    }
    assert KEYWORDS & int(Keyword.CLEAR_IPSEC | Keyword.CLEAR_IKE) == 0
    assert set(map(int, EventId)) <= set(EVENTS)
    assert len(EVENTS) <= 64
    source.close()


def test_ipsec_in_clear_is_one_keyword_more() -> None:
    assert enabled(TapOptions(ipsec_clear=True)).any_keyword == KEYWORDS | 0x10000000


def test_a_driver_that_runs_already_is_left_running(benches: Callable[..., Bench]) -> None:
    bench = benches(RUNS)
    source = bench.open()
    assert [entry.kind for entry in bench.journal.entries] == ["trace session"]
    source.close()
    assert bench.services.calls == []
    assert bench.left == []


def test_a_driver_that_another_capture_uses_is_not_stopped(bench: Bench) -> None:
    source = bench.open()
    bench.etw.start("etwcap-1-2-wfp")
    source.close()
    assert bench.services.calls == ["start"]
    assert bench.left == ["etwcap-1-2-wfp"]


def test_loopback_seen_twice_comes_once_in_several_chunks(bench: Bench) -> None:
    source = bench.open()
    records = [
        message("127.0.0.1", "127.0.0.1", sent=sent, ticks=1000 * number + (not sent), body=UDP + bytes([number]))
        for number in range(50)
        for sent in (True, False)
    ]
    assert [time for time, _ in captured(bench, source, *records)] == [1000 * number for number in range(50)]


def test_loopback_alone_is_what_both_ends_of_are_this_machine(bench: Bench) -> None:
    source = bench.open(("loopback",))
    ends = [
        ("127.0.0.1", "127.0.0.1"), ("192.0.2.10", "192.0.2.10"), ("2001:db8::10", "::1"), ("127.0.0.9", "192.0.2.10"),
        ("192.0.2.10", "192.0.2.11"), ("2001:db8::1", "2001:db8::10"), ("192.0.2.10", "224.0.0.1"),
    ]  # fmt: skip
    records = [message(*pair, sent=True, ticks=number) for number, pair in enumerate(ends)]
    assert [time for time, _ in captured(bench, source, *records)] == [0, 1, 2, 3]


def test_records_alone_are_for_another_process(bench: Bench) -> None:
    source = bench.open(records=True)
    record = message("192.0.2.10", "198.51.100.1", sent=True, ticks=5)
    found = captured(bench, source, record)
    assert [data[8 + 80 :] for _, data in found] == [record[80:]]
    rest = bench.tap.stages(Context(), source.describe(), TapOptions(interfaces=("loopback",)))
    assert type(rest[-1]).__name__ == "LoopbackOnly"


def test_processes_of_flows_are_known(bench: Bench) -> None:
    source = bench.open()
    ale = build_ale(
        source=IPv4Address("192.0.2.10"), destination=IPv4Address("198.51.100.1"), source_port=1, destination_port=2,
        protocol=17, flow=9, process=77, path="a.exe",
    )  # fmt: skip
    begin = event_record(PROVIDER, int(EventId.ALE_V4), ale, time=1, keyword=int(Keyword.PII_PRESENT))
    found = captured(bench, source, begin, message("192.0.2.10", "198.51.100.1", sent=True, ticks=2))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("driver", "refuses", "kind", "says"),
    [
        (REFUSED, 577, NotHereError, "Secure Boot is on"),
        (NO_DRIVER, 1060, NotHereError, "Message Analyzer"),
        (LOADS, 1058, NotHereError, "sc config WfpCapture start= demand"),
        (LOADS, 5, RightsError, "access denied"),
    ],
)
def test_a_driver_that_does_not_start_is_explained_and_nothing_is_left(
    driver: Driver, refuses: int, kind: type[EtwcapError], says: str, benches: Callable[..., Bench]
) -> None:
    bench = benches(driver, refuses=refuses)
    with pytest.raises(kind) as caught:
        bench.open()
    assert says in " / ".join(caught.value.lines())
    assert bench.left == []


def test_a_session_that_does_not_start_stops_the_driver_again(benches: Callable[..., Bench]) -> None:
    bench = benches(denied=True)
    with pytest.raises(RightsError):
        bench.open()
    assert bench.services.calls == ["start", "stop"]
    assert bench.left == []


def test_a_provider_that_cannot_be_enabled_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise failure("EnableTraceEx2", 1450)

    monkeypatch.setattr(bench.etw, "enable", refuse)
    with pytest.raises(EtwcapError, match="too many"):
        bench.open()
    assert bench.services.calls == ["start", "stop"]
    assert bench.left == []


def test_adapters_cannot_be_chosen(bench: Bench) -> None:
    with pytest.raises(UsageError, match="adapters") as caught:
        bench.open(("Ethernet",))
    assert "pktmon" in caught.value.hint
    assert (bench.left, bench.services.calls) == ([], [])


def test_without_a_journal_nothing_is_changed(bench: Bench) -> None:
    with pytest.raises(ValueError, match="changes"):
        bench.tap.open(bench.context, (), TapOptions())
    assert bench.services.calls == []


def test_nothing_of_the_network_is_interrupted(bench: Bench) -> None:
    assert bench.tap.interrupts((), TapOptions()) == ""


def test_the_conditions_of_a_machine_that_can_are_met(bench: Bench) -> None:
    assert {each.name: each.state for each in bench.tap.available()} == dict.fromkeys(
        ("windows", "native core", "driver", "signature", "rights"), State.MET
    )


def test_without_windows_and_under_wine_one_condition_says_all() -> None:
    def elsewhere() -> Any:
        raise NotHereError("this needs Windows")

    for version in (elsewhere, lambda: replace(WINDOWS_11, wine="8.0")):
        (found,) = WfpTap(version=version).available()
        assert (found.name, found.state) == ("windows", State.MISSING)


def test_rights_are_missing_or_cannot_be_told(benches: Callable[..., Bench]) -> None:
    def refuse() -> bool:
        raise EtwcapError("no token")

    for elevated, state in ((lambda: False, State.MISSING), (refuse, State.UNKNOWN)):
        found = {each.name: each for each in benches(elevated=elevated).tap.available()}["rights"]
        assert (found.state, bool(found.mend)) == (state, True)


def test_what_a_killed_capture_leaves_is_undone(benches: Callable[..., Bench]) -> None:
    bench = benches()
    bench.journal.record(DRIVER, NAME, service=SERVICE)
    bench.services.now = RUNNING
    bench.etw.start(f"etwcap-{ME.pid}-{ME.created}-netevent")
    mine = WfpDriver(bench.services, bench.etw, booted=lambda: ME.created)
    report = cleanup(bench.store, {DRIVER: mine}, lambda _process: False)
    assert [(each.kind, each.outcome) for each in report.items] == [(DRIVER, "ended")]
    assert bench.services.now == STOPPED
    assert bench.store.names() == []


def test_a_driver_that_runs_since_windows_was_started_anew_is_not_ours(benches: Callable[..., Bench]) -> None:
    bench = benches(RUNS)
    bench.journal.record(DRIVER, NAME, service=SERVICE)
    later = WfpDriver(bench.services, bench.etw, booted=lambda: ME.created + 10**10)
    report = cleanup(bench.store, {DRIVER: later}, lambda _process: False)
    assert [(each.kind, each.outcome) for each in report.items] == [(DRIVER, "was gone already")]
    assert bench.services.now == RUNNING


def test_a_name_that_is_not_of_this_tap_is_left_alone(benches: Callable[..., Bench]) -> None:
    bench = benches(RUNS)
    known = WfpDriver(bench.services, bench.etw)
    assert known.owner("etwcap-1-2-pktmon") is None
    assert known.owner(NAME) == ME
    assert known.find() == []


def test_the_other_tap_is_named_where_the_driver_is_not_there(benches: Callable[..., Bench]) -> None:
    (found,) = (each for each in benches(NO_DRIVER).tap.available() if each.name == "driver")
    assert (found.state, found.mend) == (State.MISSING, OTHER_TAP)


def test_ipsec_in_clear_is_an_interface_of_its_own(bench: Bench) -> None:
    source = bench.open(ipsec_clear=True)
    captured(
        bench,
        source,
        message("192.0.2.10", "198.51.100.1", sent=True, ticks=1),
        message("192.0.2.10", "198.51.100.1", sent=True, ticks=2, clear=True),
    )
    assert [each.name for each in bench.context.interfaces] == ["WFP", "WFP (clear IPsec)"]


def test_packets_come_while_it_runs(bench: Bench) -> None:
    source = bench.open()
    bench.etw.write(bench.etw.session(), message("192.0.2.10", "198.51.100.1", sent=True, ticks=1))
    chunks = source.chunks()
    seen = [0]

    def some() -> bool:
        seen[0] += len(next(chunks).packets)
        return seen[0] == 1

    wait_for(some)
    source.close()


FILTERED = f"etwcap-{ME.pid}-{ME.created}-netevent"
CMDLET = f"Add-NetEventWFPCaptureProvider -Level 5 -MatchAnyKeyword {KEYWORDS} "


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("tcp port 443", "-TCPPorts 443"),
        ("udp port 53 and host 192.0.2.1", "-UDPPorts 53"),
        ("host 192.0.2.1", "-IPAddresses '192.0.2.1'"),
        ("host 2001:db8::1", "-IPAddresses '2001:db8::1'"),
        ("ip6 and tcp", "-CaptureLayerSet 'IPv6Inbound,IPv6Outbound'"),
        ("net 10.0.0.0/8", "-CaptureLayerSet 'IPv4Inbound,IPv4Outbound'"),
    ],
)
def test_the_driver_is_told_one_part_of_the_filter(expression: str, words: str, bench: Bench) -> None:
    source = bench.open(filter=expression)
    assert bench.net_event.made == {FILTERED: CMDLET + words}
    assert [each.kind for each in bench.journal.entries] == ["driver", "binding"]
    record = message("192.0.2.10", "198.51.100.1", sent=True, ticks=1)
    assert len(captured(bench, source, record)) == 1
    assert (bench.net_event.removed, bench.left) == ([FILTERED], [])
    assert f"stop {NAME}" not in bench.etw.calls


@pytest.mark.parametrize("expression", [None, "", "tcp or udp", "arp"])
def test_a_filter_of_which_nothing_can_be_told_needs_no_other_session(expression: str | None, bench: Bench) -> None:
    source = bench.open(filter=expression)
    assert list(bench.etw.known) == [NAME]
    assert bench.net_event.made == {}
    source.close()


def test_without_the_module_of_powershell_the_driver_is_told_nothing(benches: Callable[..., Bench]) -> None:
    bench = benches(net_event={"lacks": "powershell.exe"})
    source = bench.open(filter="tcp port 443")
    assert list(bench.etw.known) == [NAME]
    source.close()


@pytest.mark.parametrize(
    "how",
    [
        {"fails": AnotherSessionError([NetEventSession("theirs", "Running")])},
        {"fails": WindowsCallError("Start-NetEventSession", 31)},
        {"named": False},
    ],
    ids=["another session", "fails half-way", "no trace session of that name"],
)
def test_where_the_filter_cannot_be_handed_down_all_packets_come(
    how: dict[str, Any], benches: Callable[..., Bench]
) -> None:
    bench = benches(net_event=how)
    source = bench.open(filter="tcp port 443")
    assert [each.name for each in bench.journal.entries] == [NAME, NAME]
    assert any("filtered here" in line for line in bench.told)
    assert len(captured(bench, source, message("192.0.2.10", "198.51.100.1", sent=True, ticks=1))) == 1
    assert bench.left == []


def test_a_filtering_session_with_another_clock_is_not_used(bench: Bench) -> None:
    bench.etw.clock_type = 2
    source = bench.open(filter="tcp port 443")
    assert list(bench.etw.known) == [NAME]
    assert bench.net_event.removed == [FILTERED]
    source.close()
    assert bench.left == []


def test_a_driver_that_does_not_stop_is_told_and_the_capture_ends_well(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> bool:
        raise failure("ControlService", 1052)

    monkeypatch.setattr(bench.services, "stop", refuse)
    bench.open().close()
    assert bench.left == []
    assert "goes on running" in bench.told[-1]
