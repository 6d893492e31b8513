"""Errors of Windows calls: what they are, and what they tell a person."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from etwcap.errors import EtwcapError, NotHereError, RightsError, UsageError, WindowsCallError
from etwcap.windows.dll import Library, system_folder
from etwcap.windows.failure import CODES, NOT_HERE, RIGHTS, check, describe, failure
from etwcap.windows.firewall import Firewall, process_of, rule_name
from etwcap.windows.pipes import access_for, pipe_name
from etwcap.windows.processes import ProcessIdentity

ME = ProcessIdentity(42, 133_500_000_000_000_000)


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [
        (5, RightsError, 5),
        (1314, RightsError, 5),
        (10013, RightsError, 5),
        (10045, NotHereError, 6),
        (1060, NotHereError, 6),
        (577, NotHereError, 6),
        (183, WindowsCallError, 1),
        (31, WindowsCallError, 1),
    ],
)
def test_a_number_decides_the_kind_of_error_and_the_exit_code(
    code: int, kind: type[EtwcapError], exit_code: int
) -> None:
    error = failure("SomeCall", code)
    assert isinstance(error, kind)
    assert isinstance(error, WindowsCallError)
    assert (error.exit_code, error.function, error.code) == (exit_code, "SomeCall", code)
    assert not isinstance(error, RightsError) or "administrator" in error.hint


def test_an_error_says_what_was_wanted_what_failed_and_what_to_do() -> None:
    error = failure("WSASocketW", 10013, what="a raw socket cannot be opened")
    assert error.lines() == [
        "a raw socket cannot be opened",
        "WSASocketW: raw sockets are for administrators (WSAEACCES, 10013)",
        "hint: run it from a terminal that was started with 'Run as administrator'",
    ]
    assert failure("X", 31).lines() == ["X: error 31"]
    assert failure("X", -2147467263).lines() == ["X: error 0x80004001"]


def test_numbers_are_written_as_they_are_looked_up() -> None:
    assert [describe(each) for each in (0, 10013, 0x80004001, -1073741790)] == [
        "0",
        "10013",
        "0x80004001",
        "0xC0000022",
    ]


def test_every_number_that_decides_is_explained() -> None:
    assert CODES.keys() >= RIGHTS | NOT_HERE
    assert set() == RIGHTS & NOT_HERE
    assert all(each.name.isupper() and each.means for each in CODES.values())


def test_check_lets_success_and_what_is_fine_pass() -> None:
    assert check("ControlTraceW", 0) == 0
    assert check("ControlTraceW", 4201, 4201, 234) == 4201
    with pytest.raises(WindowsCallError, match="no such trace session"):
        check("ControlTraceW", 4201, 234)


@pytest.mark.skipif(sys.platform == "win32", reason="there is a Windows")
def test_elsewhere_every_call_says_that_it_needs_windows() -> None:
    with pytest.raises(NotHereError, match="needs Windows") as caught:
        Library("ws2_32.dll").function("socket", None)
    assert caught.value.exit_code == 6
    assert not Library("ws2_32.dll").has("socket")
    with pytest.raises(NotHereError, match="needs Windows"):
        system_folder()
    with pytest.raises(NotHereError, match="needs Windows"):
        Firewall().rules()


def test_a_stand_in_that_is_no_library_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.dll").write_bytes(b"no library")
    with pytest.raises(OSError, match=r"x\.dll|193"):
        Library("x.dll", stand_in=str(tmp_path / "x.dll")).function("f", None)


class Netsh:
    """A firewall in memory: ``obeys`` False plays a netsh that says 0 and does nothing."""

    def __init__(self, code: int = 0, obeys: bool = True) -> None:
        self.code = code
        self.obeys = obeys
        self.elevated = False
        self.asked: list[str] = []
        self.texts = ["v2.31|Action=Allow|Active=TRUE|Dir=In|App=C:\\x.exe|Name=Remote Desktop|", "", "no rule", "|=|"]

    def run(self, words: Sequence[str]) -> int:
        given = dict(each.split("=", 1) for each in words if "=" in each)
        self.asked.append(words[2])
        if self.obeys and "add" in words:
            text = "v2.31|Action=Allow|Active=TRUE|Dir=In|Profile=Public|App={program}|Name={name}|"
            self.texts.append(text.format_map(given))
        elif self.obeys:
            self.texts = [each for each in self.texts if f"Name={given['name']}|" not in each]
        return self.code

    def firewall(self) -> Firewall:
        return Firewall(self.run, lambda: self.texts, elevated=lambda: self.elevated, patience=0)


def test_a_rule_is_added_seen_and_removed() -> None:
    netsh = Netsh()
    firewall = netsh.firewall()
    rule = firewall.add(rule_name(ME), r"C:\Program Files\Python 3.11\python.exe")
    assert firewall.rules() == [rule]
    assert process_of(rule.name) == ME
    assert firewall.remove(rule.name)
    assert not firewall.remove(rule.name)
    assert (firewall.rules(), len(netsh.texts)) == ([], 4)


def test_success_that_left_no_rule_is_a_failure() -> None:
    netsh = Netsh(obeys=False)
    with pytest.raises(NotHereError, match="said that it was done") as caught:
        netsh.firewall().add(rule_name(ME), r"C:\python.exe")
    assert "mpssvc" in caught.value.hint
    assert netsh.asked == ["add", "delete"]  # a rule that cannot be seen is not left either


def test_a_rule_that_stays_is_a_failure() -> None:
    netsh = Netsh()
    netsh.firewall().add(rule_name(ME), r"C:\python.exe")
    netsh.obeys, netsh.code = False, 1
    with pytest.raises(RightsError, match="cannot be removed"):
        netsh.firewall().remove(rule_name(ME))
    netsh.elevated = True
    with pytest.raises(NotHereError, match="exit code 1"):
        netsh.firewall().remove(rule_name(ME))


def test_the_registry_may_follow_netsh_a_little_later() -> None:
    netsh = Netsh()
    reads: list[int] = []

    def late() -> list[str]:
        reads.append(1)
        return netsh.texts if len(reads) > 3 else []

    rule = Firewall(netsh.run, late, patience=30).add(rule_name(ME), r"C:\python.exe")
    assert Firewall(netsh.run, late).rules() == [rule]


@pytest.mark.parametrize("name", ["all", "Remote Desktop", "etwcap", "etwcap-1", "etwcap-1-2 dir=out", ""])
def test_only_rules_of_ours_can_be_touched(name: str) -> None:
    netsh = Netsh()
    with pytest.raises(UsageError, match="no name"):
        netsh.firewall().remove(name)
    with pytest.raises(UsageError, match="no name"):
        netsh.firewall().add(name, r"C:\python.exe")
    assert len(netsh.texts) == 4


@pytest.mark.parametrize("program", ["python.exe", "", r"C:\a|b.exe", r"%TEMP%\x.exe", 'C:\\a"b.exe', "any", "C:x.exe"])
def test_a_rule_names_one_program_by_its_full_path(program: str) -> None:
    with pytest.raises(UsageError, match="full path"):
        Netsh().firewall().add(rule_name(ME), program)


def test_a_pipe_lets_in_one_user_and_administrators_who_cannot_make_another_instance() -> None:
    text = access_for("S-1-5-21-1-2-3-1001")
    assert text == "D:P(A;;GA;;;SY)(A;;0x12019B;;;BA)(A;;0x12019B;;;S-1-5-21-1-2-3-1001)"
    assert not 0x12019B & 0x4  # FILE_CREATE_PIPE_INSTANCE


@pytest.mark.parametrize("user", ["", "WD", "S-1-1-0)(A;;GA;;;WD", "S-1-5-21-1;"])
def test_what_is_no_user_gets_no_pipe(user: str) -> None:
    with pytest.raises(ValueError, match="no SID"):
        access_for(user)


def test_names_of_pipes_cannot_be_guessed() -> None:
    names = {pipe_name() for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch(r"\\\\\.\\pipe\\etwcap-[0-9a-f]{32}", each) for each in names)
