"""What ``etwcap taps`` says on whole machines; the same texts stand in docs/taps.md."""

from __future__ import annotations

import json

import pytest

from conftest import need_native_core
from doc_blocks import ROOT
from etwcap.taps.opening import all_taps
from tap_machines import COMMAND, MACHINES, said, shown

PAGE = (ROOT / "docs" / "taps.md").read_text(encoding="utf-8")
SHOWN = {name: block.body.removeprefix(COMMAND) for name, block in shown(PAGE).items()}


@pytest.fixture(autouse=True)
def _native() -> None:
    need_native_core()


def test_the_page_shows_every_machine() -> None:
    assert list(SHOWN) == list(MACHINES)


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_said_of_a_machine_is_what_the_page_shows(name: str) -> None:
    assert said(MACHINES[name]) == SHOWN[name], "scripts/update-docs mends docs/taps.md"


@pytest.mark.parametrize("name", MACHINES)
def test_no_line_is_longer_than_the_width_but_for_commands(name: str) -> None:
    for line in said(MACHINES[name]).splitlines():
        assert len(line) <= 100 or "etwcap " in line or line.strip().startswith(">")


@pytest.mark.parametrize("name", MACHINES)
def test_json_has_every_condition_with_its_mend(name: str) -> None:
    facts = json.loads(json.dumps([state.as_dict() for state in MACHINES[name].states()]))
    assert [each["tap"] for each in facts] == list(all_taps()) == ["pktmon", "ndiscap", "wfp", "raw"]
    for tap in facts:
        assert tap["sees"]
        names = [each["name"] for each in tap["conditions"]]
        assert len(set(names)) == len(names)
        for each in tap["conditions"]:
            assert each["why"]
            if each["needed"] and each["state"] != "met":
                assert each["mend"], f"{tap['tap']}: {each['name']}"


def test_what_can_be_used_is_said_first_and_with_the_command() -> None:
    for machine in MACHINES.values():
        first = said(machine).partition("\n\n")[0]
        assert "etwcap capture --tap " in first
        for state in machine.states():
            assert (state.name in first) is (state.usable is not False or state.lacks_only_rights)


def test_rights_are_asked_for_once() -> None:
    (unelevated,) = (machine for machine in MACHINES.values() if not machine.elevated)
    assert said(unelevated).count("RunAs") == 1
