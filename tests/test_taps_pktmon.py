"""The pktmon tap on a made-up Windows: the driver's capture, whose-ever it is, and what is left of ours."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import need_native_core
from etwcap.errors import EtwcapError, NotHereError, UsageError, WindowsCallError
from etwcap.native.etw_receiver import EtwReceiver
from etwcap.native.ring import Ring
from etwcap.providers.pktmon_build import build_component
from etwcap.providers.pktmon_layout import ComponentType
from etwcap.taps.cleanup import CleanupReport, TraceSessions, Undoer, cleanup
from etwcap.taps.driver_cleanup import Drivers
from etwcap.taps.journal import DRIVER, SESSION
from etwcap.taps.pktmon_cleanup import PktMonCaptures
from etwcap.taps.pktmon_stream import RESOLUTION
from etwcap.taps.protocol import LiveTapSource, TapOptions
from frames import traffic
from pktmon_windows import ME, Killed, PktMonWindows

NAME = f"etwcap-{ME.pid}-{ME.created}-pktmon"
NOON = 133_500_000_000_000_000

FRAMES = [each.frame for each, _ in zip(traffic(), range(20), strict=False)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up machine answers at once: nothing has to be waited for."""
    need_native_core()
    monkeypatch.setattr("etwcap.taps.etw_source._QUIET", 0.01)
    monkeypatch.setattr("etwcap.taps.pktmon_capture.PATIENCE", 0.5)


@pytest.fixture
def windows(tmp_path: Path) -> PktMonWindows:
    return PktMonWindows(tmp_path)


def opened(windows: PktMonWindows, *interfaces: str, **options: Any) -> LiveTapSource:
    return windows.tap().open(windows.context, interfaces, TapOptions(ring=1 << 22, **options), windows.changes)


def undoer(windows: PktMonWindows, *, booted: int = 0) -> PktMonCaptures:
    return PktMonCaptures(windows.means, build=lambda: windows.build, booted=lambda: booted)


def captured(windows: PktMonWindows, source: LiveTapSource) -> list[tuple[str, bytes, int]]:
    """(interface, bytes, drop reports) of all packets until the end, which is asked for when nothing more comes."""
    found = []
    source.stop()
    for chunk in source.chunks():
        rows = chunk.packets
        for at, size, face, drops in zip(
            *(rows[name].tolist() for name in ("offset", "captured", "interface", "drop_count")), strict=True
        ):
            name = windows.context.interfaces[face].name
            found.append((name, chunk.buffer[at : at + size].tobytes(), drops))
    source.close()
    return found


def test_packets_come_each_once_under_the_names_of_their_adapters(windows: PktMonWindows) -> None:
    source = opened(windows)
    for frame in FRAMES:
        windows.packet(frame)
    found = captured(windows, source)
    assert found == [("Made-up Gigabit Adapter", frame, 0) for frame in FRAMES]
    assert windows.clean() == []
    assert not windows.loaded


def commands(windows: PktMonWindows) -> list[str]:
    """The command lines of pktmon.exe, with its log's folder and the names of filters in short."""
    found = [each for each in windows.steps if each.split()[0] in ("start", "stop", "filter")]
    short = str(windows.logs / NAME)
    found = [each.replace(short + os.sep, "LOGS/") for each in found]
    return [each.replace(f"etwcap-{ME.pid}-{ME.created}", "ETWCAP") for each in found]


TODAY = "start --capture --comp {} --type all --pkt-size 0 --log-mode memory --file-size 1 --file-name LOGS/PktMon.etl"
OF_2004 = "start --etw -p 0 -c {} -f LOGS/PktMon.etl -s 1 -l memory"
OF_1809 = "start --etw -p 0 -c {} -f LOGS/PktMon.etl -s 1"


@pytest.mark.parametrize(
    ("build", "words", "ids"),
    [
        (17763, OF_1809, "10 30"),
        (18363, OF_1809, "10 30"),
        (19041, OF_2004, "10 30"),
        (19044, TODAY, "10 30 40 41 42"),
        (20348, TODAY, "10 30 40 41 42"),
        (22000, TODAY, "10 30 40 41 42"),
        (22621, TODAY, "10 30 40 41 42"),
        (26100, TODAY, "10 30 40 41 42"),
    ],
)
def test_each_build_is_spoken_to_in_its_own_words(tmp_path: Path, build: int, words: str, ids: str) -> None:
    windows = PktMonWindows(tmp_path, build=build)
    captured(windows, opened(windows))
    assert commands(windows) == [words.format("all"), "stop", words.format(ids), "stop"]
    assert windows.clean() == []


@pytest.mark.parametrize(("build", "first", "second"), [(19042, OF_2004, TODAY), (19045, TODAY, OF_2004)])
def test_a_build_of_the_branch_between_may_know_either_words(
    tmp_path: Path, build: int, first: str, second: str
) -> None:
    windows = PktMonWindows(tmp_path, build=build)
    windows.knows_syntax = lambda words: words[0] != "start" or ("--capture" in words) == (second == TODAY)
    captured(windows, opened(windows))
    assert commands(windows)[:3] == [first.format("all"), second.format("all"), "stop"]
    assert windows.clean() == []


def test_ids_that_are_refused_leave_the_adapters(windows: PktMonWindows) -> None:
    windows.knows_syntax = lambda words: words[0] != "start" or "41" not in words
    source = opened(windows)
    windows.packet(FRAMES[0])
    assert len(captured(windows, source)) == 1
    assert commands(windows)[-2:] == [TODAY.format("nics"), "stop"]
    assert "drops are reported by the network adapters alone" in windows.told[-1]


def test_a_driver_that_tells_no_components_is_asked_for_its_adapters(windows: PktMonWindows) -> None:
    windows.rundown_comes = False
    source = opened(windows)
    windows.packet(FRAMES[0])
    ((name, frame, _),) = captured(windows, source)
    assert (name, frame) == ("PktMon (Ethernet)", FRAMES[0])
    assert commands(windows)[2] == TODAY.format("nics")


def test_drops_come_from_components_that_report_nothing_else(windows: PktMonWindows) -> None:
    source = opened(windows)
    windows.packet(FRAMES[0][14:], component=41, reason=1204, packet_type=3)
    windows.packet(FRAMES[1], component=33)
    ((name, _, drops),) = captured(windows, source)
    assert (name, drops) == ("Made-up Gigabit Adapter (raw IP)", 1)


def test_all_components_show_a_packet_at_each_of_them(windows: PktMonWindows) -> None:
    source = opened(windows, components="all")
    for component, edge in ((30, 1), (31, 2), (31, 1), (33, 1)):
        windows.packet(FRAMES[0], component=component, edge=edge)
    assert [frame for _, frame, _ in captured(windows, source)] == [FRAMES[0]] * 4
    assert commands(windows)[2] == TODAY.format("all")


def test_components_are_chosen_by_their_ids(windows: PktMonWindows) -> None:
    captured(windows, opened(windows, components="33,31"))
    assert commands(windows)[2] == TODAY.format("31 33")


@pytest.mark.parametrize("name", ["Ethernet", "6", "ethernet"])
def test_an_adapter_is_chosen_by_its_name_or_index(windows: PktMonWindows, name: str) -> None:
    captured(windows, opened(windows, name))
    assert commands(windows)[2] == TODAY.format("30 41")


def test_all_components_of_one_adapter(windows: PktMonWindows) -> None:
    captured(windows, opened(windows, "Ethernet", components="all"))
    assert commands(windows)[2] == TODAY.format("30 31 32 33 34 41")


@pytest.mark.parametrize(
    ("interfaces", "components", "message"),
    [
        (["loopback"], "nics", "does not see the loopback"),
        (["Ethernet"], "12", "cannot be chosen both"),
        (["Ethernet 7"], "nics", "there is no interface 'Ethernet 7'"),
        (["1"], "nics", "PktMon does not see that interface"),
        ([], "99", "PktMon has no component 99"),
        ([], "nic", "that names no components"),
        ([], "1,70000", "that names no components"),
    ],
)
def test_what_there_is_not_is_said_and_nothing_is_left(
    windows: PktMonWindows, interfaces: list[str], components: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        opened(windows, *interfaces, components=components)
    assert windows.clean() == []
    assert not windows.loaded


def test_single_components_cannot_be_chosen_where_they_are_not_told(windows: PktMonWindows) -> None:
    windows.rundown_comes = False
    for words in ({"components": "30"}, {}):
        with pytest.raises(NotHereError, match="did not tell its components"):
            opened(windows, *([] if words else ["Ethernet"]), **words)
        assert windows.clean() == []


@pytest.mark.parametrize(("kind", "notes"), [(ComponentType.MINIPORT, 1), (ComponentType.FILTER, 0)])
def test_an_adapter_that_comes_later_is_told(windows: PktMonWindows, kind: ComponentType, notes: int) -> None:
    source = opened(windows)
    windows.write(270, build_component(77, kind, "vpn.sys", "Made-up VPN"))
    windows.write(270, b"\x4d")
    captured(windows, source)
    assert [key for key in windows.context.receipt.notes if key == "pktmon-new-adapters"] == [
        "pktmon-new-adapters"
    ] * notes


def test_a_driver_that_ran_before_runs_afterwards(windows: PktMonWindows) -> None:
    windows.loaded = True
    captured(windows, opened(windows))
    assert windows.loaded
    assert "service stop" not in windows.steps


# ---- somebody else's capture ----


def test_a_capture_that_runs_is_left_alone_and_the_api_used_beside_it(windows: PktMonWindows) -> None:
    windows.loaded, windows.has_api = True, True
    assert windows.begin("somebody", "all")
    source = opened(windows)
    windows.api.play(FRAMES[0], NOON)
    ((name, frame, _),) = captured(windows, source)
    assert (name, frame) == ("Ethernet", FRAMES[0]) or name == "Made-up Gigabit Adapter"
    assert windows.capture == ("somebody", "all")
    assert commands(windows) == []
    assert "with PktMon's API instead" in windows.told[0]
    assert windows.api.open == []


def test_a_capture_that_runs_is_joined_where_there_is_no_api(windows: PktMonWindows) -> None:
    windows.loaded = True
    assert windows.begin("somebody", "all")
    source = opened(windows)
    windows.packet(FRAMES[0])
    assert [frame for _, frame, _ in captured(windows, source)] == [FRAMES[0]]
    assert windows.capture == ("somebody", "all")
    assert commands(windows) == []
    assert "it is left alone" in windows.told[-2]
    assert "when it ends, nothing more comes" in windows.told[-1]
    windows.capture = None
    assert windows.clean() == []


@pytest.mark.parametrize(("interfaces", "options"), [(["Ethernet"], {}), ([], {"components": "all"})])
def test_somebody_elses_components_cannot_be_chosen(
    windows: PktMonWindows, interfaces: list[str], options: dict[str, str]
) -> None:
    windows.loaded = True
    windows.begin("somebody", "all")
    with pytest.raises(UsageError, match="another capture of PktMon runs"):
        opened(windows, *interfaces, **options)
    assert [each for each in windows.clean() if each != "capture"] == []


def test_where_the_state_cannot_be_known_a_refusal_means_somebody_elses_capture(windows: PktMonWindows) -> None:
    windows.loaded, windows.has_device = True, False
    windows.begin("somebody", "all")
    captured(windows, opened(windows))
    assert windows.capture == ("somebody", "all")
    assert [each for each in commands(windows) if not each.startswith("start")] == []
    assert "it is left alone" in windows.told[-2]
    assert "when it ends, nothing more comes" in windows.told[-1]
    assert windows.loaded


def test_pktmon_exes_own_session_tells_that_it_captures(windows: PktMonWindows) -> None:
    windows.loaded, windows.has_device = True, False
    windows.begin("somebody", "all")
    windows.etw.other("PktMon")
    captured(windows, opened(windows))
    assert commands(windows) == []


def test_a_capture_that_became_somebody_elses_is_not_stopped(windows: PktMonWindows) -> None:
    source = opened(windows)
    windows.capture = ("somebody", "all")  # pktmon stop, pktmon start
    windows.etw.other("PktMon", "C:\\Users\\else\\PktMon.etl")
    captured(windows, source)
    assert windows.capture == ("somebody", "all")
    assert "somebody else's by now" in windows.told[-1]


def test_a_capture_that_somebody_stopped_is_no_failure(windows: PktMonWindows) -> None:
    source = opened(windows)
    windows.capture = None
    captured(windows, source)
    assert windows.clean() == []
    assert "not-put-back" not in windows.context.receipt.notes


# ---- other ways to the driver ----


@pytest.mark.parametrize("why", ["not there", "a policy"])
def test_without_the_program_the_older_exports_do(windows: PktMonWindows, why: str) -> None:
    windows.has_legacy = True
    if why == "not there":
        windows.has_exe = False
    else:
        windows.blocked = 1260
    source = opened(windows)
    windows.packet(FRAMES[0])
    assert len(captured(windows, source)) == 1
    ids = (10, 30, 40, 41, 42)
    found = [each for each in windows.steps if each.startswith("Pktmon")]
    assert found == ["PktmonStart all", "PktmonStop", f"PktmonStart {ids}", "PktmonStop"]
    assert windows.clean() == []


def test_without_program_and_dll_the_device_does(windows: PktMonWindows) -> None:
    windows.has_exe = False
    source = opened(windows)
    windows.packet(FRAMES[0])
    assert len(captured(windows, source)) == 1
    assert [each for each in windows.steps if each.startswith("ioctl")] == [
        "ioctl 220404", "ioctl 220408", "ioctl 220404", "ioctl 220408",
    ]  # fmt: skip
    assert windows.clean() == []


def test_the_device_takes_no_single_components(windows: PktMonWindows) -> None:
    windows.has_exe = False
    with pytest.raises(NotHereError, match="cannot be told single components"):
        opened(windows, "Ethernet")
    assert windows.clean() == []


def test_without_any_way_it_is_said(windows: PktMonWindows) -> None:
    windows.has_exe = windows.has_device = False
    with pytest.raises(NotHereError, match="PktMon cannot be started here"):
        opened(windows)
    assert windows.clean() == []


def test_without_any_way_the_api_is_used(windows: PktMonWindows) -> None:
    windows.has_exe = windows.has_device = False
    windows.has_api = True
    tap = windows.tap()
    source = tap.open(windows.context, [], TapOptions(ring=1 << 20), windows.changes)
    assert source.describe().resolution == RESOLUTION
    captured(windows, source)
    assert windows.clean() == []


def test_too_many_sessions_leave_the_api(windows: PktMonWindows) -> None:
    windows.etw.code = 1450
    with pytest.raises(WindowsCallError, match="cannot be started"):
        opened(windows)
    windows.has_api = True
    captured(windows, opened(windows))
    assert windows.clean() == []


# ---- what is left behind ----


def steps_of(tmp_path: Path, **options: Any) -> int:
    windows = PktMonWindows(tmp_path / "rehearsal")
    windows.wifi = False
    captured(windows, opened(windows, **options))
    return len(windows.steps)


def clean_up(windows: PktMonWindows) -> CleanupReport:
    known: dict[str, Undoer] = {SESSION: TraceSessions(windows.etw), DRIVER: Drivers([undoer(windows)])}
    return cleanup(windows.store, known, lambda _process: False)


def test_a_failure_at_any_step_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "rehearsal").mkdir()
    undoing = {"stop", "filter remove", "session stop", "service stop", "folder remove"}
    for number in range(steps_of(tmp_path, filter="tcp port 443")):
        folder = tmp_path / str(number)
        folder.mkdir()
        windows = PktMonWindows(folder)
        windows.wifi, windows.fail_at = False, number
        with contextlib.suppress(EtwcapError):
            captured(windows, opened(windows, filter="tcp port 443"))
        failed = windows.steps[number]
        if failed not in undoing and failed != "journal":
            assert windows.clean() == [], failed
        if windows.clean():
            said = [*windows.told, *map(str, windows.context.receipt.notes.values())]
            assert any("etwcap cleanup" in each for each in said), (failed, said)
            assert any(each.startswith("journal") for each in windows.clean()), failed
        assert clean_up(windows).clean, failed
        assert windows.clean() == [], failed


@pytest.fixture
def gone_with_the_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Receivers of processes that are killed are this process's here."""
    made: list[EtwReceiver] = []

    def receiver(ring: Ring) -> EtwReceiver:
        made.append(EtwReceiver(ring))
        return made[-1]

    monkeypatch.setattr("etwcap.taps.etw_feed.EtwReceiver", receiver)
    yield
    for each in made:
        each.close()


@pytest.mark.usefixtures("gone_with_the_process")
def test_a_process_killed_at_any_step_is_cleaned_up_after(tmp_path: Path) -> None:
    (tmp_path / "rehearsal").mkdir()
    for number in range(steps_of(tmp_path, filter="tcp port 443")):
        folder = tmp_path / str(number)
        folder.mkdir()
        windows = PktMonWindows(folder)
        windows.wifi, windows.kill_at = False, number
        with pytest.raises(Killed):
            captured(windows, opened(windows, filter="tcp port 443"))
        windows.killed = False
        report = clean_up(windows)
        assert report.clean, (windows.steps[number], report.items)
        assert windows.clean() == [], windows.steps[number]
        assert not windows.loaded, windows.steps[number]
