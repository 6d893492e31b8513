"""The tap ndiscap on a Windows of the tests' own: its ways, what they change, and that all of it is undone."""

from __future__ import annotations

import contextlib
import json
import struct
import threading
from pathlib import Path

import pytest

import etwcap
from conftest import need_native_core
from etwcap.errors import EtwcapError, NotHereError, RightsError, UsageError, WindowsCallError
from etwcap.etl.build import event_record
from etwcap.packets import Context
from etwcap.pipeline.capture import CaptureOptions
from etwcap.providers.ndiscap_build import build_packet_event, build_source_info, packet_keyword
from etwcap.taps.capturing import LiveOptions, capture_live
from etwcap.taps.capturing import Machine as CaptureMachine
from etwcap.taps.cleanup import ENDED, TraceSessions, Undoer, cleanup
from etwcap.taps.journal import BINDING, SESSION, file_name
from etwcap.taps.ndiscap import EVENTS, PROVIDER
from etwcap.taps.ndiscap_cleanup import CaptureBindings
from etwcap.taps.ndiscap_stages import NOT_BOUND
from etwcap.taps.protocol import LiveTapSource, State, TapOptions
from etwcap.windows.etw import SessionState
from etwcap.windows.failure import fail
from etwcap.windows.programs import Ran
from etwcap.windows.version import WindowsVersion
from ndiscap_machine import (
    DEAD,
    ETHERNET_CARD,
    ME,
    MODE,
    REF,
    SECOND_CARD,
    Killed,
    Machine,
)

OURS = f"etwcap-{ME.pid}-{ME.created}-"
FRAMES = [bytes([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]) + struct.pack("<I", i) * 20 for i in range(6)]


@pytest.fixture(autouse=True)
def _native() -> None:
    need_native_core()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def frame_event(frame: bytes, ticks: int, *, index: int = 7) -> bytes:
    payload = build_packet_event(frame, miniport=index)
    return event_record(PROVIDER, 1001, payload, time=ticks, keyword=packet_keyword(sent=ticks % 2 == 0))


EVENTS_OF_FRAMES = [frame_event(frame, 1000 + i) for i, frame in enumerate(FRAMES)]


def packets_of(source: LiveTapSource, *, wanted: int) -> list[bytes]:
    """The frames that come until there are that many, and the source is stopped; it is closed."""
    found: list[bytes] = []
    stop = threading.Timer(60, source.stop)
    stop.start()
    for chunk in source.chunks():
        rows = chunk.packets
        found += [
            chunk.buffer[at : at + size].tobytes()
            for at, size in zip(rows["offset"].tolist(), rows["captured"].tolist(), strict=True)
        ]
        if len(found) >= wanted:
            source.stop()
    stop.cancel()
    source.close()
    return found


def captured(machine: Machine, interfaces: tuple[str, ...] = (), options: TapOptions | None = None) -> list[bytes]:
    machine.etw.events = list(EVENTS_OF_FRAMES)
    source = machine.tap().open(Context(), interfaces, options or TapOptions(), machine.changes())
    return packets_of(source, wanted=len(FRAMES))


def test_a_netevent_session_gives_every_frame_and_leaves_nothing(machine: Machine) -> None:
    before = machine.state()
    assert captured(machine) == FRAMES
    assert machine.state() == before
    assert machine.journal.entries == ()
    assert [name for name in machine.steps if "Net" in name] == [
        "New-NetEventSession",
        "Add-NetEventPacketCaptureProvider",
        "Start-NetEventSession",
        "Remove-NetEventSession",
    ]
    assert not any(call.startswith(("start", "enable")) for call in machine.etw.calls), "Windows' session is read"


def test_the_driver_writes_into_a_session_of_ours_where_windows_own_has_another_name(machine: Machine) -> None:
    before = machine.state()
    machine.same_name = False
    assert captured(machine) == FRAMES
    assert f"start {OURS}ndiscap" in machine.etw.calls
    assert machine.state() == before


def test_a_session_with_another_clock_is_not_read(machine: Machine) -> None:
    before = machine.state()
    machine.etw.clock_type = 2
    source = machine.tap().open(Context(), (), TapOptions(), machine.changes())
    machine.etw.events = list(EVENTS_OF_FRAMES)
    assert packets_of(source, wanted=6) == FRAMES
    assert f"start {OURS}ndiscap" in machine.etw.calls
    assert machine.state() == before


def test_without_the_module_netsh_switches_it_on(machine: Machine) -> None:
    before = machine.state()
    machine.module_there = False
    assert captured(machine) == FRAMES
    assert [words[1:3] for words in machine.commands] == [("trace", "start"), ("trace", "stop")]
    assert machine.state() == before
    assert machine.journal.entries == ()


def test_before_windows_8_1_netsh_is_the_first_way(tmp_path: Path) -> None:
    machine = Machine(tmp_path, version=WindowsVersion(6, 1, 7601))
    assert captured(machine) == FRAMES
    assert "report=no" in machine.commands[0]


def test_where_neither_works_the_driver_is_bound_here(machine: Machine) -> None:
    machine.module_there = False
    machine.fails["netsh start"] = Ran(1, "nicht erlaubt")
    before = machine.state()
    machine.etw.events = list(EVENTS_OF_FRAMES)
    source = machine.tap().open(Context(), (), TapOptions(), machine.changes())
    assert machine.numbers == {REF: 1, MODE: 0}
    assert machine.running
    assert packets_of(source, wanted=6) == FRAMES
    assert machine.state() == before
    assert any("nicht erlaubt" in line for line in machine.told), "why the better ways did not work"


def test_values_that_were_there_are_put_back_as_they_were(machine: Machine) -> None:
    machine.module_there = False
    machine.fails["netsh start"] = Ran(1)
    machine.numbers = {REF: 0, MODE: 3}
    machine.running = True
    before = machine.state()
    assert captured(machine) == FRAMES
    assert machine.state() == before


def test_only_paths_that_were_not_enabled_are_disabled(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[SECOND_CARD])
    machine.module_there = False
    machine.fails["netsh start"] = Ran(1)
    before = machine.state()
    assert captured(machine) == FRAMES
    assert machine.state() == before


def test_only_the_adapters_that_are_named_are_bound(machine: Machine) -> None:
    machine.module_there = False
    machine.fails["netsh start"] = Ran(1)
    machine.etw.events = list(EVENTS_OF_FRAMES)
    source = machine.tap().open(Context(), ("ethernet",), TapOptions(), machine.changes())
    assert [each.enabled for each in machine.paths.values()] == [True, False]
    packets_of(source, wanted=6)


def test_a_binding_that_was_there_stays_and_nothing_is_interrupted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])
    before = machine.state()
    tap = machine.tap()
    assert tap.interrupts((), TapOptions()) == ""
    machine.etw.events = list(EVENTS_OF_FRAMES)
    source = tap.open(Context(), (), TapOptions(), machine.changes(consented=False))
    assert machine.numbers == {REF: 1}, "who bound it does not unbind it meanwhile"
    assert packets_of(source, wanted=6) == FRAMES
    assert machine.state() == before
    assert machine.commands == []
    assert not {"bind", "unbind"} & set(machine.steps)


def test_a_session_of_ours_asks_for_the_events_that_are_needed(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])
    source = machine.tap().open(Context(), (), TapOptions(), machine.changes())
    (session,) = machine.etw.known.values()
    assert session.providers == {
        PROVIDER: {"level": 4, "any_keyword": 2**64 - 1, "all_keyword": 0, "event_ids": EVENTS}
    }
    source.close()


def whole_capture(machine: Machine, output: Path, *, agrees: bool) -> tuple[list[str], bool]:
    """A capture as the command line has it; what the user was asked, and whether privileges were given up."""
    dropped: list[bool] = []

    def drop() -> list[str]:
        dropped.append(True)
        return []

    bench = CaptureMachine(
        lambda: machine.journal, lambda: None, lambda: pytest.fail("a firewall"), lambda: ME, lambda: "", drop
    )
    asked: list[str] = []
    machine.etw.events = list(EVENTS_OF_FRAMES)
    options = LiveOptions(("ndiscap",), capture=CaptureOptions(count=len(FRAMES)))

    def consent(text: str) -> bool:
        asked.append(text)
        return agrees

    with capture_live(output, options, machine=bench, taps={"ndiscap": machine.tap()}, consent=consent) as live:
        live.run()
    return asked, bool(dropped)


def test_a_capture_asks_and_then_writes_every_frame(machine: Machine, tmp_path: Path) -> None:
    before = machine.state()
    asked, dropped = whole_capture(machine, tmp_path / "x.pcapng", agrees=True)
    assert len(asked) == 1
    assert not dropped, "unbinding at the end may take privileges"
    with etwcap.open(tmp_path / "x.pcapng") as trace:
        assert [bytes(packet.data) for packet in trace] == FRAMES
    assert machine.state() == before


def test_a_capture_that_is_not_agreed_to_does_nothing(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would be interrupted"):
        whole_capture(machine, tmp_path / "x.pcapng", agrees=False)
    assert machine.steps == []


def test_without_consent_nothing_is_touched(machine: Machine) -> None:
    before = machine.state()
    text = machine.tap().interrupts((), TapOptions())
    assert "Ethernet, Ethernet 2" in text
    with pytest.raises(UsageError, match="interrupted") as caught:
        machine.tap().open(Context(), (), TapOptions(), machine.changes(consented=False))
    assert (caught.value.cause, caught.value.exit_code) == (text, 2)
    assert "--tap pktmon" in caught.value.hint
    assert (machine.state(), machine.steps, machine.journal.entries) == (before, [], ())


def test_a_remote_session_is_warned(tmp_path: Path) -> None:
    machine = Machine(tmp_path, remote=True)
    assert "Remote Desktop" in machine.tap().interrupts((), TapOptions())
    assert "Remote Desktop" not in Machine(tmp_path).tap().interrupts((), TapOptions())
    assert "remote session" in [each.name for each in machine.tap().available()]


def test_what_is_not_bound_is_what_is_interrupted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD])
    tap = machine.tap()
    assert tap.interrupts(("Ethernet",), TapOptions()) == ""
    assert "to Ethernet 2 for" in tap.interrupts((), TapOptions())
    assert "to Ethernet 2 for" in tap.interrupts(("9",), TapOptions())


def test_every_adapter_may_be_interrupted_where_nothing_can_be_read(machine: Machine) -> None:
    def unreadable() -> None:
        raise WindowsCallError("RegQueryValueExW", 31)

    machine.means.binding = unreadable
    machine.fails["paths"] = WindowsCallError("CoCreateInstance", 31)
    assert "Ethernet, Ethernet 2" in machine.tap().interrupts((), TapOptions())


def test_inetcfg_tells_the_binding_where_the_registry_cannot_be_read(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])

    def unreadable() -> None:
        raise WindowsCallError("RegQueryValueExW", 31)

    machine.means.binding = unreadable
    assert machine.tap().interrupts((), TapOptions()) == ""


@pytest.mark.parametrize("name", ["loopback", "Loopback Pseudo-Interface 1", "1"])
def test_the_loopback_is_for_another_tap(machine: Machine, name: str) -> None:
    with pytest.raises(UsageError, match="does not see") as caught:
        machine.tap().open(Context(), (name,), TapOptions(), machine.changes())
    assert "--tap raw" in caught.value.hint


def test_an_interface_that_there_is_not_is_named_before_anything_is_changed(machine: Machine) -> None:
    with pytest.raises(UsageError, match="no interface 'eth0'"):
        machine.tap().open(Context(), ("eth0",), TapOptions(), machine.changes())
    assert machine.steps == []


def test_frames_of_adapters_that_were_not_named_do_not_come(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])
    machine.etw.events = [
        event_record(PROVIDER, 5101, build_source_info(9, "Ethernet 2"), time=900),
        *(frame_event(frame, 1000 + i, index=7 if i % 2 else 9) for i, frame in enumerate(FRAMES)),
    ]
    source = machine.tap().open(Context(), ("Ethernet 2",), TapOptions(), machine.changes())
    assert packets_of(source, wanted=3) == FRAMES[::2]


def test_records_for_a_front_end_are_of_the_named_adapters_too(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])
    machine.etw.events = [frame_event(frame, 1000 + i, index=7 if i % 2 else 9) for i, frame in enumerate(FRAMES)]
    source = machine.tap().open(Context(), ("Ethernet",), TapOptions(records=True), machine.changes())
    assert [each[8 + 80 + 12 :][: len(FRAMES[0])] for each in packets_of(source, wanted=3)] == FRAMES[1::2]


def test_somebody_elses_netevent_session_is_left_alone(machine: Machine) -> None:
    machine.netevents["Müllers Sitzung"] = "Running"
    before = machine.state()
    with pytest.raises(EtwcapError, match="another NetEvent session") as caught:
        machine.tap().open(Context(), (), TapOptions(), machine.changes())
    assert "Müllers Sitzung (Running)" in caught.value.cause
    assert "--tap pktmon" in caught.value.hint
    assert (machine.state(), machine.journal.entries) == (before, ())


def test_somebody_elses_netsh_trace_is_left_alone(machine: Machine) -> None:
    machine.trace = "C:\\x\\NetTrace.etl"
    before = machine.state()
    with pytest.raises(EtwcapError, match="a trace of netsh runs") as caught:
        machine.tap().open(Context(), (), TapOptions(), machine.changes())
    assert "NetTrace" in caught.value.cause
    assert "--tap pktmon" in caught.value.hint
    assert (machine.state(), machine.steps) == (before, [])


def test_beside_somebody_elses_netsh_trace_its_binding_serves(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])
    machine.trace = "C:\\x\\NetTrace.etl"
    before = machine.state()
    assert captured(machine) == FRAMES
    assert any("its filters and packet length hold here too" in line for line in machine.told)
    assert machine.state() == before


def test_a_netevent_session_of_a_process_that_crashed_is_removed(machine: Machine) -> None:
    old = f"etwcap-{DEAD.pid}-{DEAD.created}-netevent"
    machine.netevents[old] = "Running"
    assert captured(machine) == FRAMES
    assert machine.netevents == {}
    assert any(old in line for line in machine.told)


def test_one_of_a_process_that_runs_is_not(machine: Machine) -> None:
    other = f"etwcap-{ME.pid + 1}-{ME.created}-netevent"
    machine.netevents[other] = "Running"
    with pytest.raises(EtwcapError, match="another NetEvent session"):
        machine.tap().open(Context(), (), TapOptions(), machine.changes())
    assert machine.netevents == {other: "Running"}


def test_missing_rights_end_the_attempt(machine: Machine) -> None:
    machine.fails["New-NetEventSession"] = Ran(
        3, "error New-NetEventSession HRESULT 0x80070005,New-NetEventSession\r\nNein"
    )
    before = machine.state()
    with pytest.raises(RightsError, match="cannot be started"):
        machine.tap().open(Context(), (), TapOptions(), machine.changes())
    assert (machine.state(), machine.journal.entries) == (before, ())


STEPS = [
    "New-NetEventSession",
    "Add-NetEventPacketCaptureProvider",
    "Start-NetEventSession",
    "folder",
    "netsh start",
    "StartTraceW",
    "EnableTraceEx2",
    "OpenTraceW",
    "StartServiceW",
    "RefCount = 1",
    "CaptureMode = 0",
    "bind",
]


@pytest.mark.parametrize("way", ["netevent", "netsh", "binding", "join"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_nothing_behind(tmp_path: Path, way: str, step: str) -> None:
    """The next way may then work; where none does, all failures are told."""
    machine = prepared(tmp_path, way)
    machine.fails[step] = WindowsCallError("a call", 31, what=f"{step} does not work")
    before = machine.state()
    failure: EtwcapError | None = None
    try:
        machine.tap().open(Context(), (), TapOptions(), machine.changes()).close()
    except EtwcapError as error:
        failure = error
    assert failure is None or step in machine.steps
    assert step not in machine.steps or f"{step} does not work" in f"{failure}{machine.told}"
    assert machine.state() == before
    assert machine.journal.entries == ()
    assert machine.store.names() == []


def prepared(path: Path, way: str) -> Machine:
    """A machine on which that way is the one."""
    machine = Machine(path, bound=[ETHERNET_CARD, SECOND_CARD] if way == "join" else [])
    machine.module_there = way == "netevent"
    if way == "binding":
        machine.fails["netsh start"] = Ran(1, "no")
    return machine


@pytest.mark.parametrize("way", ["netevent", "netsh", "binding", "join"])
def test_every_change_stands_in_the_journal_before_it_is_made(tmp_path: Path, way: str) -> None:
    machine = prepared(tmp_path, way)
    word = {"join": "bound"}.get(way, way)
    captured(machine)
    for step, names in machine.journalled:
        if step in ("StartTraceW", "EnableTraceEx2"):
            assert OURS + "ndiscap" in names
        elif step != "netsh start" or way == "netsh":
            assert any(name.startswith(OURS) and name.endswith(("netsh", word)) for name in names), step


@pytest.mark.parametrize("way", ["netevent", "netsh", "binding", "join"])
def test_killed_anywhere_it_leaves_what_cleanup_ends_exactly(tmp_path: Path, way: str) -> None:
    at = 0
    while True:
        folder = tmp_path / str(at)
        folder.mkdir()
        machine = prepared(folder, way)
        before = machine.state()
        machine.kill_at = at
        with contextlib.suppress(Killed):
            captured(machine)
        if not machine.dead:
            break
        assert machine.store.names() in ([], [file_name(ME)])
        revived(machine)
        undoers: dict[str, Undoer] = {SESSION: TraceSessions(machine.etw), BINDING: CaptureBindings(machine.means)}
        report = cleanup(machine.store, undoers, lambda _process: False)
        assert [each.why for each in report.items if each.why] == []
        assert machine.state() == before, f"killed at {machine.steps[-1]}"
        assert machine.store.names() == []
        at += 1
    assert at >= 4, "it was killed at each step"


def revived(machine: Machine) -> None:
    """The machine without the process: its other parts work again."""
    machine.dead, machine.kill_at = False, None
    for session in machine.etw.known.values():
        session.closed = True
    machine.fails.clear()
    machine.means = machine.made_means()


def test_cleanup_without_a_journal_finds_what_carries_our_names(machine: Machine) -> None:
    machine.module_there = True
    machine.netevents[OURS + "netevent"] = "Stopped"
    (machine.folder / (OURS + "netsh")).mkdir()
    (machine.folder / "somebody else's").mkdir()
    report = cleanup(machine.store, {BINDING: CaptureBindings(machine.means)}, lambda _process: False)
    assert sorted((each.name, each.outcome) for each in report.items) == [
        (OURS + "netevent", ENDED),
        (OURS + "netsh", ENDED),
    ]
    assert machine.netevents == {}
    assert [each.name for each in machine.folder.iterdir()] == ["somebody else's"]


def test_cleanup_does_not_stop_a_trace_that_is_not_ours(machine: Machine) -> None:
    """Killed before netsh began; since then somebody else has started a trace."""
    machine.module_there = False
    machine.kill_at = ["StartTraceW", "EnableTraceEx2", "folder", "netsh start"].index("netsh start")
    with pytest.raises(Killed):
        captured(machine)
    revived(machine)
    machine.trace = "C:\\x\\NetTrace.etl"
    undoers: dict[str, Undoer] = {SESSION: TraceSessions(machine.etw), BINDING: CaptureBindings(machine.means)}
    cleanup(machine.store, undoers, lambda _process: False)
    assert machine.trace == "C:\\x\\NetTrace.etl"
    assert machine.store.names() == []
    assert list(machine.folder.iterdir()) == []


def test_a_binding_that_another_program_uses_now_stays_until_it_has_ended(machine: Machine) -> None:
    machine.module_there = False
    machine.fails["netsh start"] = Ran(1)
    before = machine.state()
    source = machine.tap().open(Context(), (), TapOptions(), machine.changes())
    machine.numbers[REF] += 1  # another program counts itself
    source.close()
    assert all(each.enabled for each in machine.paths.values())
    assert any("another program uses it" in line and "etwcap cleanup" in line for line in machine.told)
    (entry,) = machine.journal.entries
    assert entry.kind == BINDING
    machine.numbers[REF] -= 1
    undoers = {BINDING: CaptureBindings(machine.means)}
    assert [each.outcome for each in cleanup(machine.store, undoers, lambda _process: False).items] == [ENDED]
    assert machine.state() == before


def test_it_is_told_when_who_bound_it_has_ended(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])
    machine.numbers[REF] = 1
    source = machine.tap().open(Context(), (), TapOptions(), machine.changes())
    assert machine.numbers[REF] == 2
    machine.numbers[REF] -= 1  # the other one ends, and leaves it bound since somebody else uses it
    source.close()
    assert any("stays bound" in line and "Disable-NetAdapterBinding" in line for line in machine.told)


def test_nothing_is_told_where_who_bound_it_still_uses_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])
    machine.numbers[REF] = 1
    before = machine.state()
    machine.tap().open(Context(), (), TapOptions(), machine.changes()).close()
    assert (machine.told, machine.state()) == ([], before)


def test_a_driver_that_says_invalid_function_is_asked_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])
    start, calls = machine.means.services.start, []

    def at_first(name: str) -> bool:
        calls.append(name)
        return start(name) if len(calls) > 1 else fail("StartServiceW", 1)

    monkeypatch.setattr(machine.means.services, "start", at_first)
    machine.tap().open(Context(), (), TapOptions(), machine.changes()).close()
    assert calls == ["NdisCap", "NdisCap"]


def test_a_trace_session_that_appears_late_is_waited_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.means.patience = 5
    asked: list[int] = []
    sessions = machine.etw.sessions

    def late() -> list[SessionState]:
        asked.append(1)
        return sessions() if len(asked) > 3 else []

    monkeypatch.setattr(machine.etw, "sessions", late)
    assert captured(machine) == FRAMES
    assert not any(call.startswith("start") for call in machine.etw.calls)


def test_the_journal_says_what_was_there_before(machine: Machine) -> None:
    machine.module_there = False
    machine.fails["netsh start"] = Ran(1)
    machine.numbers[REF] = 2
    source = machine.tap().open(Context(), (), TapOptions(), machine.changes())
    written = json.loads(machine.store.read(file_name(ME), 1 << 20))
    (entry,) = [each for each in written["entries"] if each["kind"] == BINDING]
    assert entry["name"] == OURS + "binding"
    assert entry["facts"] == {
        "ref_count": 2,
        "capture_mode": -1,
        "started": 1,
        "paths": "ms_ndiscap->Ethernet\nms_ndiscap->Ethernet 2",
    }
    source.close()


def test_what_cannot_be_undone_is_told_and_stays_in_the_journal(machine: Machine) -> None:
    source = machine.tap().open(Context(), (), TapOptions(), machine.changes())
    machine.fails["Remove-NetEventSession"] = Ran(3, "error Remove-NetEventSession x\r\nes geht nicht")
    source.close()
    assert any("es geht nicht" in line and "etwcap cleanup" in line for line in machine.told)
    assert [each.name for each in machine.journal.entries] == [OURS + "netevent"]
    machine.fails.clear()
    cleanup(machine.store, {BINDING: CaptureBindings(machine.means)}, lambda _process: False)
    assert machine.netevents == {}


def test_silence_is_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])
    machine.etw.events = [event_record(PROVIDER, 5101, build_source_info(9, "Ethernet 2"), time=900)]
    context = Context()
    source = machine.tap().open(context, (), TapOptions(), machine.changes())
    stop = threading.Timer(60, source.stop)
    stop.start()
    for _ in source.chunks():
        if machine.told:
            source.stop()
    stop.cancel()
    source.close()
    assert machine.told.count(NOT_BOUND) == 1
    assert context.receipt.notes["ndiscap-silent"].text == NOT_BOUND


def test_a_capture_with_packets_says_nothing_of_silence(machine: Machine) -> None:
    machine.etw.events = list(EVENTS_OF_FRAMES)
    context = Context()
    packets_of(machine.tap().open(context, (), TapOptions(), machine.changes()), wanted=6)
    assert NOT_BOUND not in machine.told
    assert "ndiscap-silent" not in context.receipt.notes


def test_off_windows_it_says_so_and_interrupts_nothing() -> None:
    from etwcap.taps.ndiscap import NdisCapTap

    def no_windows() -> WindowsVersion:
        raise NotHereError("this needs Windows")

    tap = NdisCapTap(version=no_windows)
    (condition,) = tap.available()
    assert (condition.name, condition.state) == ("windows", State.MISSING)
    assert tap.interrupts((), TapOptions()) == ""


def test_a_tap_that_changes_the_machine_wants_changes(machine: Machine) -> None:
    with pytest.raises(ValueError, match="needs changes"):
        machine.tap().open(Context(), (), TapOptions())
