"""What the pktmon tap says of a machine before anything is done, and what cleanup makes of what a capture left."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import need_native_core
from etwcap.errors import EtwcapError, NotHereError, RightsError
from etwcap.taps.driver_cleanup import Drivers
from etwcap.taps.journal import DRIVER, Entry
from etwcap.taps.pktmon import PktMonTap
from etwcap.taps.pktmon_cleanup import PktMonCaptures, started_at
from etwcap.taps.protocol import State, TapOptions, usable
from etwcap.windows.processes import ProcessIdentity
from etwcap.windows.version import WindowsVersion
from pktmon_windows import ME, PktMonWindows
from test_taps_pktmon import NAME, opened

FILTERS = NAME + "filters"


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PktMonWindows:
    need_native_core()
    monkeypatch.setattr("etwcap.taps.etw_source._QUIET", 0.01)
    return PktMonWindows(tmp_path)


def said(windows: PktMonWindows) -> dict[str, tuple[State, str]]:
    return {each.name: (each.state, each.mend) for each in windows.tap().available()}


def test_a_usual_machine_can_use_it(windows: PktMonWindows) -> None:
    conditions = windows.tap().available()
    assert usable(conditions) is True
    assert [each.name for each in conditions] == [
        "windows", "native core", "driver", "rights", "control", "others", "api", "loopback",
    ]  # fmt: skip
    found = said(windows)
    assert found["loopback"] == (State.MISSING, "etwcap capture --tap pktmon,raw")
    assert found["api"][0] is State.MISSING
    assert found["others"][0] is State.MET
    assert windows.steps == []


@pytest.mark.parametrize(
    ("lack", "name", "state", "mend"),
    [
        ("driver", "driver", State.MISSING, "etwcap capture --tap raw"),
        ("disabled", "driver", State.MISSING, "sc config PktMon start= demand"),
        ("rights", "rights", State.MISSING, 'powershell -Command "Start-Process cmd -Verb RunAs"'),
        ("ways", "control", State.UNKNOWN, "sfc /scannow"),
    ],
)
def test_what_is_missing_is_named_and_mended(
    windows: PktMonWindows, lack: str, name: str, state: State, mend: str
) -> None:
    windows.has_driver = lack != "driver"
    windows.elevated = lack != "rights"
    windows.has_exe = lack != "ways"
    windows.means.start_type = lambda _service: 4 if lack == "disabled" else 3
    assert said(windows)[name] == (state, mend)
    assert usable(windows.tap().available()) is not True


def test_somebody_elses_capture_is_told_and_hinders_nothing(windows: PktMonWindows) -> None:
    windows.loaded = True
    windows.begin("somebody", "all")
    assert said(windows)["others"] == (State.MISSING, "pktmon stop")
    assert usable(windows.tap().available()) is True


def test_without_rights_it_is_not_known_whether_somebody_captures(windows: PktMonWindows) -> None:
    windows.loaded, windows.has_device = True, False
    assert said(windows)["others"][0] is State.UNKNOWN


@pytest.mark.parametrize(
    ("version", "why"),
    [
        (WindowsVersion(10, 0, 14393), "PktMon came with Windows 10 1809"),
        (WindowsVersion(6, 1, 7601), "PktMon came with Windows 10 1809"),
        (WindowsVersion(10, 0, 19045, wine="8.0"), "Wine has no PktMon"),
    ],
)
def test_an_older_windows_and_wine_have_no_pktmon(windows: PktMonWindows, version: WindowsVersion, why: str) -> None:
    tap = PktMonTap(version=lambda: version, elevated=lambda: True, means=windows.means)
    (only,) = tap.available()
    assert only.state is State.MISSING
    assert why in only.why
    with pytest.raises(NotHereError):
        tap.open(windows.context, [], TapOptions(), windows.changes)
    assert windows.steps == []


def test_off_windows_it_is_said(windows: PktMonWindows) -> None:
    def nowhere() -> WindowsVersion:
        raise NotHereError("this needs Windows")

    (only,) = PktMonTap(version=nowhere, means=windows.means).available()
    assert only.state is State.MISSING


def test_without_rights_nothing_is_begun(windows: PktMonWindows) -> None:
    windows.elevated = False
    with pytest.raises(RightsError):
        opened(windows)
    assert windows.steps == []


def test_capturing_needs_changes_and_interrupts_nothing(windows: PktMonWindows) -> None:
    with pytest.raises(ValueError, match="needs changes"):
        windows.tap().open(windows.context, [], TapOptions())
    assert windows.tap().interrupts([], TapOptions()) == ""


# ---- cleanup ----


def undoer(windows: PktMonWindows, *, booted: int = 0) -> PktMonCaptures:
    return PktMonCaptures(windows.means, build=lambda: windows.build, booted=lambda: booted)


def entry(*, started: int = 0, name: str = NAME) -> Entry:
    return Entry(DRIVER, name, {"service": "PktMon", "started": started})


def test_a_capture_of_before_the_last_start_of_windows_is_not_looked_for(windows: PktMonWindows) -> None:
    windows.loaded = True
    windows.begin("somebody", "all")
    later = undoer(windows, booted=ME.created + 3600 * 10_000_000)
    assert not later.there(NAME)
    later.undo(entry(started=1))
    assert windows.capture == ("somebody", "all")
    assert windows.loaded
    undoer(windows, booted=ME.created - 3600 * 10_000_000).undo(entry(started=1))
    assert windows.capture is None
    assert not windows.loaded


def test_a_capture_whose_log_lies_elsewhere_is_left_alone(windows: PktMonWindows) -> None:
    windows.loaded = True
    windows.begin("somebody", "all")
    windows.etw.other("PktMon", r"C:\Users\somebody\PktMon.etl")
    undoer(windows).undo(entry(started=1))
    assert windows.capture == ("somebody", "all")
    assert windows.loaded


def test_a_capture_whose_log_lies_in_our_folder_is_ended(windows: PktMonWindows) -> None:
    windows.loaded = True
    windows.begin("etwcap", "all")
    folder = windows.logs / NAME
    folder.mkdir()
    (folder / "PktMon.etl").write_bytes(b"log")
    windows.etw.other("PktMon", str(folder / "PktMon.etl"))
    found = undoer(windows)
    assert found.find() == [NAME]
    found.undo(entry())
    assert windows.capture is None
    assert windows.loaded  # it was before
    assert not folder.exists()
    assert not found.there(NAME)


def test_filters_go_and_a_driver_that_was_unloaded_has_none(windows: PktMonWindows) -> None:
    windows.loaded = True
    windows.add_filter("etwcap", transport_protocol=6)
    found = undoer(windows)
    assert found.there(FILTERS)
    found.undo(entry(name=FILTERS))
    assert windows.filters == {}
    assert not found.there(FILTERS)
    windows.loaded = False
    windows.steps.clear()
    undoer(windows).undo(entry(name=FILTERS))
    assert windows.steps == []


def test_a_driver_that_does_not_stop_stays_in_the_journal(windows: PktMonWindows) -> None:
    windows.loaded = True
    windows.begin("etwcap", "all")
    windows.knows_syntax = lambda words: words[0] != "stop"
    with pytest.raises(EtwcapError, match="cannot be stopped"):
        undoer(windows).undo(entry())


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        (NAME, ME),
        (FILTERS, ME),
        (f"etwcap-{ME.pid}-{ME.created}", None),
        (f"etwcap-{ME.pid}-{ME.created}-wfp", None),
        ("PktMon", None),
        ("etwcap-99999999999-1-pktmon", None),
    ],
)
def test_names_of_ours_carry_their_process(windows: PktMonWindows, name: str, owner: ProcessIdentity | None) -> None:
    assert undoer(windows).owner(name) == owner
    assert Drivers([undoer(windows)]).owner(name) == owner


def test_a_driver_that_no_tap_knows_is_left_alone(windows: PktMonWindows) -> None:
    both = Drivers([undoer(windows)])
    with pytest.raises(EtwcapError, match="no tap of this version"):
        both.undo(entry(name="etwcap-1-2-else"))
    assert both.find() == []


def test_the_start_of_windows_is_reckoned_from_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etwcap.taps.pktmon_cleanup.since_start", lambda: 100.0)
    monkeypatch.setattr("etwcap.taps.pktmon_cleanup.time.time", lambda: 1_705_526_500.0)
    assert started_at() == 116_444_736_000_000_000 + 1_705_526_400 * 10_000_000
