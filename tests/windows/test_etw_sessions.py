"""Trace sessions in a real Windows Python under Wine, against a stand-in that plays traces: see ``etw_checks``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bed import PYTHON, run_windows
from etw_traces import Traces, made_once

SCRIPT = Path(__file__).resolve().parent / "etw_checks.py"
NOTHING_LOST = {"ring": 0, "ring_bytes": 0, "failed": 0, "cut": 0, "mechanism": 0, "buffers": 0}


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    return made_once(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def facts(traces: Traces) -> dict[str, dict[str, Any]]:
    """What each check found, all of them in one process."""
    done = run_windows(PYTHON, SCRIPT, traces.standin, traces.folder)
    found = {}
    for line in done.stdout.decode().splitlines():
        each = json.loads(line)
        found[each["check"]] = each
    assert done.returncode == 0, done.stderr.decode()
    return found


def found_by(facts: dict[str, dict[str, Any]], check: str) -> dict[str, Any]:
    assert "failed" not in facts[check], facts[check]["failed"]
    return facts[check]


@pytest.mark.parametrize("name", ["pktmon", "ndiscap", "wfp"])
def test_every_event_comes_in_order_at_the_time_of_the_file(
    facts: dict[str, dict[str, Any]], traces: Traces, name: str
) -> None:
    found = found_by(facts, f"{name}_whole")
    assert found["came"] == traces.played[name].events > 1500
    assert (found["times equal"], found["records equal"], found["in order"]) == (True, True, True)
    assert found["last words"] == traces.played[name].last
    assert (found["late"], found["losses"], found["notes"], found["left"]) == (0, NOTHING_LOST, {}, [])


@pytest.mark.parametrize("check", ["in_real_time", "name_taken", "session_of_somebody_else"])
def test_nothing_is_missing_or_changed(facts: dict[str, dict[str, Any]], check: str) -> None:
    found = found_by(facts, check)
    assert found["came"] == found["expected"] > 30
    assert (found["times equal"], found["records equal"], found["in order"]) == (True, True, True)
    assert found["losses"] == NOTHING_LOST


def test_two_sessions_are_read_at_once(facts: dict[str, dict[str, Any]], traces: Traces) -> None:
    found = found_by(facts, "two_sessions_at_once")
    for name in ("pktmon", "ndiscap"):
        assert found[name]["came"] == traces.played[name].events
        assert (found[name]["times equal"], found[name]["records equal"]) == (True, True)
    assert (found["losses"], found["left"]) == (NOTHING_LOST, [])


@pytest.mark.parametrize(("check", "note"), [("stopped_in_traffic", None), ("ended_by_somebody_else", "session-ended")])
def test_what_came_before_the_end_is_whole(facts: dict[str, dict[str, Any]], check: str, note: str | None) -> None:
    found = found_by(facts, check)
    assert 100 < found["came"] == found["played"] < 1900
    assert (found["times equal"], found["records equal"], found["in order"]) == (True, True, True)
    assert (found["losses"], found["left"]) == (NOTHING_LOST, [])
    assert list(found["notes"]) == ([note] if note else [])


def test_what_is_not_delivered_is_counted_exactly(facts: dict[str, dict[str, Any]]) -> None:
    small = found_by(facts, "session_too_small")
    assert 0 < small["came"] == small["delivered"]
    assert small["played"] == small["came"] + small["losses"]["mechanism"]
    ring = found_by(facts, "ring_too_small")
    assert ring["losses"]["ring"] > 0
    assert ring["played"] == ring["came"] + ring["losses"]["ring"]
    single = found_by(facts, "events_lost")
    assert single["played"] == single["came"] + single["losses"]["mechanism"]
    assert single["losses"]["mechanism"] == single["lost"] == single["notes"]["lost-marks"] > 100
    buffer = found_by(facts, "buffer_lost")
    assert buffer["losses"]["buffers"] == buffer["notes"]["lost-marks"] == 1
    assert buffer["played"] == buffer["came"] + buffer["in_lost_buffers"]
    assert [each["left"] for each in (small, ring, single, buffer)] == [[]] * 4


def test_old_events_come_first_with_their_own_times(facts: dict[str, dict[str, Any]]) -> None:
    found = found_by(facts, "old_stamps_first")
    assert found["came"] == found["expected"]
    assert (found["times equal"], found["records equal"]) == (True, True)
    assert found["late"] <= 300


def test_each_refusal_of_windows_is_an_error_that_says_it_and_leaves_nothing(facts: dict[str, dict[str, Any]]) -> None:
    found = found_by(facts, "refused")
    assert found["left"] == []
    kinds = {name: said[:2] for name, said in found.items() if isinstance(said, list) and name != "left"}
    rights = ["CallRightsError", 5]
    assert kinds == {
        "StartTraceW 5": rights,
        "StartTraceW 183": ["WindowsCallError", 183],
        "StartTraceW 1450": ["WindowsCallError", 1450],
        "EnableTraceEx2 on 1450": ["WindowsCallError", 1450],
        "EnableTraceEx2 on 5": rights,
        "OpenTraceW 5": rights,
        "ControlTraceW QUERY 5": rights,
    }
    assert all(said[3] for name, said in found.items() if name in kinds), "each has a hint"
    taken = found_by(facts, "name_taken")
    assert taken["said"][0] == 183
    assert "etwcap-4242-77-check" in taken["said"][1]


def test_a_session_of_somebody_else_goes_on(facts: dict[str, dict[str, Any]]) -> None:
    found = found_by(facts, "session_of_somebody_else")
    assert (found["still"], found["left"]) == (["NetTrace"], ["sessions"])


def test_callbacks_after_the_end_do_nothing(facts: dict[str, dict[str, Any]]) -> None:
    found = found_by(facts, "callbacks_after_the_end")
    assert found["came"] == found["expected"]
    assert (found["late calls"], found["in the next session"]) == (2200, 0)


def test_a_thread_that_does_not_end_is_left_and_told(facts: dict[str, dict[str, Any]]) -> None:
    found = found_by(facts, "process_trace_hangs")
    assert (found["came"], found["in time"], found["notes"]) == (found["expected"], True, {"receiver-hangs": 1})


def test_a_thousand_captures_leave_nothing(facts: dict[str, dict[str, Any]]) -> None:
    """Four times 250: nothing grows from the second hundreds on."""
    found = found_by(facts, "cycles")
    first, *others = found["measured"]
    assert found["left"] == []
    assert first["handles"] > 10
    for each in others:
        assert each["handles"] <= first["handles"] + 2
        assert each["threads"] <= first["threads"]
        assert each["memory"] <= first["memory"] + (2 << 20)


def test_many_events_flat_out_all_come(facts: dict[str, dict[str, Any]], traces: Traces) -> None:
    found = found_by(facts, "speed")
    print(f"{found['per second']} events/s under Wine")
    assert found["came"] == found["played"] == 100 * traces.played["ndiscap"].events
