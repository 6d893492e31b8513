"""The journal of changes, and cleaning up after processes that ended without doing so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.errors import EtwcapError, OutputError, WindowsCallError
from etwcap.taps import cleanup as cleaning
from etwcap.taps.cleanup import CleanupReport, FirewallRules, TraceSessions, cleanup, left_behind
from etwcap.taps.journal import (
    BINDING,
    FIREWALL_RULE,
    KINDS,
    PART_FILE,
    SESSION,
    USER_KINDS,
    Entry,
    Journal,
    JournalError,
    Record,
    file_name,
    packed,
    process_of_file,
    unpacked,
)
from etwcap.taps.journal_store import FolderStore, patiently
from etwcap.windows.firewall import Firewall, process_of, rule_name
from etwcap.windows.processes import ProcessIdentity

DEAD = ProcessIdentity(4711, 133_500_000_000_000_000)
LIVING = ProcessIdentity(4712, 133_500_000_000_000_000)


def alive(process: ProcessIdentity) -> bool:
    return process == LIVING


class Folder:
    """A machine whose firewall rules are files in a folder: they outlive the process, as the real ones do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)

    def owner(self, name: str) -> ProcessIdentity | None:
        return process_of(name)

    def find(self) -> list[str]:
        return sorted(each.name for each in self.path.iterdir())

    def there(self, name: str) -> bool:
        return name in self.find()

    def undo(self, entry: Entry) -> None:
        (self.path / entry.name).unlink(missing_ok=True)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "journal")


@pytest.fixture
def machine(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "rules")


def outcomes(report: CleanupReport) -> list[tuple[str, str, str]]:
    return [(each.kind, each.name, each.outcome) for each in report.items]


def test_an_entry_is_on_the_disk_before_the_change_and_gone_after_it_was_undone(store: FolderStore) -> None:
    journal = Journal(store, DEAD, program=r"C:\python.exe")
    with journal.change(FIREWALL_RULE, "etwcap-1-2", program="x") as entry:
        record = unpacked(store.read(file_name(DEAD), 10_000), DEAD)
        assert record == Record(DEAD, r"C:\python.exe", (entry,))
        second = journal.record(PART_FILE, "x.part.pcapng")
        assert journal.entries == (entry, second)
    assert [each.kind for each in unpacked(store.read(file_name(DEAD), 10_000), DEAD).entries] == [PART_FILE]
    journal.forget(second)
    assert store.names() == []


def test_an_entry_stays_when_undoing_fails(store: FolderStore) -> None:
    journal = Journal(store, DEAD)
    with pytest.raises(KeyError), journal.change(FIREWALL_RULE, "etwcap-1-2"):
        raise KeyError
    assert len(journal.entries) == 1
    assert store.names() == [file_name(DEAD)]


def test_what_was_not_written_down_is_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"a file where the folder should be")
    journal = Journal(FolderStore(tmp_path / "journal"), DEAD)
    with pytest.raises(OutputError, match="journal cannot be written"):
        journal.record(FIREWALL_RULE, "etwcap-1-2")
    assert journal.entries == ()


def test_a_journal_takes_only_kinds_that_it_may_have(store: FolderStore) -> None:
    with pytest.raises(ValueError, match="kind"):
        Journal(store, DEAD).record("registry key", "x")
    with pytest.raises(ValueError, match="kind"):
        Journal(store, DEAD, kinds=USER_KINDS).record(FIREWALL_RULE, "etwcap-1-2")


def test_what_dead_processes_left_is_ended_and_what_living_ones_use_is_not(store: FolderStore, machine: Folder) -> None:
    for process in (DEAD, LIVING):
        Journal(store, process).record(FIREWALL_RULE, rule_name(process))
        (machine.path / rule_name(process)).touch()
    report = cleanup(store, {FIREWALL_RULE: machine}, alive)
    assert outcomes(report) == [
        (FIREWALL_RULE, rule_name(DEAD), cleaning.ENDED),
        (FIREWALL_RULE, rule_name(LIVING), cleaning.IN_USE),
    ]
    assert report.clean
    assert machine.find() == [rule_name(LIVING)]
    assert store.names() == [file_name(LIVING)]


def test_what_living_processes_use_is_not_left_behind(store: FolderStore) -> None:
    assert not left_behind(store, alive)
    Journal(store, LIVING).record(FIREWALL_RULE, rule_name(LIVING))
    assert not left_behind(store, alive)
    Journal(store, DEAD).record(FIREWALL_RULE, rule_name(DEAD))
    assert left_behind(store, alive)


def test_a_number_that_another_process_has_now_is_a_dead_process(store: FolderStore, machine: Folder) -> None:
    before = ProcessIdentity(LIVING.pid, LIVING.created - 1)
    Journal(store, before).record(FIREWALL_RULE, rule_name(before))
    (machine.path / rule_name(before)).touch()
    assert outcomes(cleanup(store, {FIREWALL_RULE: machine}, alive))[0][2] == cleaning.ENDED


def test_what_carries_our_name_is_ended_without_a_journal(store: FolderStore, machine: Folder) -> None:
    for name in (rule_name(DEAD), rule_name(LIVING), "Remote Desktop", "etwcap-like"):
        (machine.path / name).touch()
    report = cleanup(store, {FIREWALL_RULE: machine}, alive)
    assert [each[1:] for each in outcomes(report)] == [
        (rule_name(DEAD), cleaning.ENDED),
        (rule_name(LIVING), cleaning.IN_USE),
    ]
    assert machine.find() == sorted(["Remote Desktop", "etwcap-like", rule_name(LIVING)])


@pytest.mark.parametrize("name", ["Remote Desktop", "all", "", "etwcap-", "etwcap-1-2 dir=out", rule_name(LIVING)])
def test_an_entry_cannot_name_what_its_process_did_not_make(store: FolderStore, machine: Folder, name: str) -> None:
    """A planted entry does no harm: the object's name must be that of the entry's own process."""
    store.write(file_name(DEAD), packed(Record(DEAD, "", (Entry(FIREWALL_RULE, name),))))
    if name:
        (machine.path / name).touch()
    report = cleanup(store, {FIREWALL_RULE: machine}, alive)
    assert report.items[0].outcome == cleaning.FAILED
    assert not report.clean
    assert not name or machine.there(name)


def test_one_failure_does_not_keep_the_rest_from_being_ended(store: FolderStore, machine: Folder) -> None:
    class Stubborn(Folder):
        def undo(self, entry: Entry) -> None:
            raise WindowsCallError("ControlTraceW", 5)

    journal = Journal(store, DEAD)
    journal.record(SESSION, rule_name(DEAD))
    journal.record(FIREWALL_RULE, rule_name(DEAD))
    journal.record(BINDING, "ms_ndiscap")
    (machine.path / rule_name(DEAD)).touch()
    stubborn = Stubborn(machine.path.with_name("sessions"))
    report = cleanup(store, {FIREWALL_RULE: machine, SESSION: stubborn}, alive)
    assert [each.outcome for each in report.items] == [cleaning.FAILED, cleaning.ENDED, cleaning.FAILED]
    assert "cannot end a binding" in report.items[0].why
    assert "ControlTraceW" in report.items[2].why
    left = unpacked(store.read(file_name(DEAD), 10_000), DEAD)
    assert [each.kind for each in left.entries] == [SESSION, BINDING]


def test_an_object_that_stays_is_not_forgotten(store: FolderStore, machine: Folder) -> None:
    class Silent(Folder):
        def undo(self, entry: Entry) -> None:
            """Says nothing and does nothing, as a stub of a program does."""

    silent = Silent(machine.path)
    (machine.path / rule_name(DEAD)).touch()
    Journal(store, DEAD).record(FIREWALL_RULE, rule_name(DEAD))
    report = cleanup(store, {FIREWALL_RULE: silent}, alive)
    assert [(each.outcome, each.why) for each in report.items] == [(cleaning.FAILED, "it is still there")]
    assert store.names() == [file_name(DEAD)]


def test_unfinished_files_are_named_once_and_kept(store: FolderStore, tmp_path: Path) -> None:
    part = tmp_path / "x.part.pcapng"
    part.write_bytes(b"packets")
    journal = Journal(store, DEAD, kinds=USER_KINDS)
    for path in (part, tmp_path / "gone.part.pcapng", tmp_path / "passwd"):
        journal.record(PART_FILE, str(path))
    report = cleanup(store, {}, alive, kinds=USER_KINDS)
    assert [(Path(each.name).name, each.outcome) for each in report.items] == [
        ("passwd", cleaning.GONE),
        ("gone.part.pcapng", cleaning.GONE),
        ("x.part.pcapng", cleaning.UNFINISHED_FILE),
    ]
    assert part.read_bytes() == b"packets"
    assert store.names() == []


def test_a_file_on_another_machine_is_named_without_asking_that_machine(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal(store, DEAD).record(PART_FILE, r"\\server\share\x.part.pcapng")
    monkeypatch.setattr(os.path, "isfile", lambda _path: pytest.fail("it was asked"))
    assert cleanup(store, {}, alive).items[0].outcome == cleaning.UNFINISHED_FILE


@pytest.mark.parametrize("error", [PermissionError(13, "in use"), WindowsCallError("MoveFileExW", 32)])
def test_a_file_that_somebody_reads_at_the_moment_is_changed_a_little_later(error: Exception) -> None:
    tries: list[int] = []

    def busy_at_first() -> None:
        tries.append(1)
        if len(tries) < 4:
            raise error

    patiently(busy_at_first, pause=0)
    assert len(tries) == 4


def test_a_file_that_stays_in_use_is_an_error() -> None:
    def busy() -> None:
        raise PermissionError(13, "in use")

    def other() -> None:
        tries.append(1)
        raise WindowsCallError("MoveFileExW", 112)

    tries: list[int] = []
    with pytest.raises(PermissionError):
        patiently(busy, pause=0)
    with pytest.raises(WindowsCallError, match="112"):
        patiently(other, pause=0)
    assert len(tries) == 1


BAD = {
    "no JSON": b"{",
    "nested without end": b"[" * 200_000,
    "of nobody": b"{}",
    "a list": b"[]",
    "another version": b'{"format": "etwcap journal", "version": 2}',
    "too long": b" " * ((1 << 20) + 1),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_no_journal_is_said_and_left(store: FolderStore, machine: Folder, data: bytes) -> None:
    store.write(file_name(DEAD), data)
    report = cleanup(store, {FIREWALL_RULE: machine}, alive)
    assert (report.items, report.clean) == ([], False)
    assert [name for name, _ in report.strange] == [file_name(DEAD)]
    assert store.read(file_name(DEAD), len(data)) == data


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pid", 1),
        ("created", "133500000000000000"),
        ("program", 5),
        ("entries", {}),
        ("entries", [1]),
        ("entries", [{"kind": "registry key", "name": "x", "facts": {}}]),
        ("entries", [{"kind": [], "name": "x", "facts": {}}]),
        ("entries", [{"kind": FIREWALL_RULE, "name": 1, "facts": {}}]),
        ("entries", [{"kind": FIREWALL_RULE, "name": "x", "facts": {"a": [1]}}]),
        ("entries", [{"kind": FIREWALL_RULE, "name": "x", "facts": {"a": True}}]),
        ("entries", [{"kind": FIREWALL_RULE, "name": "x", "facts": {str(each): each for each in range(33)}}]),
    ],
)
def test_a_record_is_taken_only_as_it_was_written(field: str, value: object) -> None:
    whole = json.loads(packed(Record(DEAD, "", (Entry(FIREWALL_RULE, "x"),))))
    assert len(unpacked(json.dumps(whole).encode(), DEAD).entries) == 1
    whole[field] = value
    with pytest.raises(JournalError):
        unpacked(json.dumps(whole).encode(), DEAD)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_bytes_are_a_record_or_refused(data: bytes | str) -> None:
    with pytest.raises(JournalError):
        unpacked(data if isinstance(data, bytes) else data.encode(), DEAD)


entries = st.builds(
    Entry,
    st.sampled_from(sorted(KINDS)),
    st.text(),
    st.dictionaries(st.text(max_size=9), st.text() | st.integers(), max_size=5),
)


@given(st.text(), st.lists(entries, max_size=5))
def test_a_record_survives_being_written(program: str, written: list[Entry]) -> None:
    record = Record(DEAD, program, tuple(written))
    assert unpacked(packed(record), DEAD) == record


@pytest.mark.parametrize(
    "name", ["../4711-1.journal", "4711-1.journal.bak", "a-1.journal", "4711.journal", "-1-1.journal"]
)
def test_only_names_of_ours_are_files_of_the_journal(store: FolderStore, machine: Folder, name: str) -> None:
    assert process_of_file(name) is None
    if "/" not in name:
        store.write(name, packed(Record(DEAD, "", (Entry(FIREWALL_RULE, rule_name(DEAD)),))))
        report = cleanup(store, {FIREWALL_RULE: machine}, alive)
        assert [each for each, _ in report.strange] == [name]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_in_the_folder_is_not_followed(store: FolderStore, tmp_path: Path, machine: Folder) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(packed(Record(DEAD, "", (Entry(FIREWALL_RULE, rule_name(DEAD)),))))
    store.folder.mkdir()
    (store.folder / file_name(DEAD)).symlink_to(target)
    report = cleanup(store, {FIREWALL_RULE: machine}, alive)
    assert (report.items, len(report.strange)) == ([], 1)


def test_a_folder_that_cannot_be_trusted_is_said_and_names_are_ended_all_the_same(machine: Folder) -> None:
    class Foreign(FolderStore):
        def names(self) -> list[str]:
            raise EtwcapError("the journal's folder is not of administrators", cause="owned by S-1-5-21-1")

    (machine.path / rule_name(DEAD)).touch()
    report = cleanup(Foreign("nowhere"), {FIREWALL_RULE: machine}, alive)
    assert not report.clean
    assert "administrators" in report.strange[0][1]
    assert machine.find() == []


KILLED = """
import os, pathlib, signal, sys
steps = int(sys.argv[2])

def mortal(call):
    def run(*arguments, **named):
        global steps
        steps -= 1
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return run

for name in ("open", "write", "fsync", "replace", "close", "unlink"):
    setattr(os, name, mortal(getattr(os, name)))
from etwcap.taps.journal import Journal, FIREWALL_RULE, PART_FILE
from etwcap.taps.journal_store import FolderStore, patiently
from etwcap.windows.firewall import rule_name
from etwcap.windows.processes import ProcessIdentity

home, me = sys.argv[1], ProcessIdentity(4711, 133_500_000_000_000_000)
rule = os.path.join(home, "rules", rule_name(me))
journal = Journal(FolderStore(os.path.join(home, "journal")), me)
part = journal.record(PART_FILE, os.path.join(home, "x.part.pcapng"))
with journal.change(FIREWALL_RULE, rule_name(me)):
    os.close(os.open(rule, os.O_CREAT | os.O_WRONLY))
    os.unlink(rule)
journal.forget(part)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the process ends itself by a signal")
def test_a_process_killed_at_any_step_leaves_nothing_after_cleanup(tmp_path: Path) -> None:
    """The process is killed before its first, second, third … system call that changes anything."""
    left_rules = left_entries = 0
    for step in range(1, 60):
        home = tmp_path / str(step)
        home.mkdir()
        machine, store = Folder(home / "rules"), FolderStore(home / "journal")
        done = subprocess.run([sys.executable, "-c", KILLED, str(home), str(step)], check=False, env=_environment())
        left_rules += bool(machine.find())
        left_entries += bool(store.names())
        report = cleanup(store, {FIREWALL_RULE: machine}, alive)
        assert (report.clean, report.strange) == (True, []), step
        assert (machine.find(), store.names()) == ([], []), step
        if done.returncode == 0:
            break
        assert done.returncode == -9
    assert step >= 25
    assert left_rules >= 2
    assert left_entries >= 20


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}


class Answers:
    """Stands in for netsh and for the registry's list of rules."""

    def __init__(self) -> None:
        self.rules: dict[str, str] = {"{1}": "v2.31|Action=Allow|Active=TRUE|Dir=In|App=C:\\x.exe|Name=Remote Desktop|"}
        self.asked: list[tuple[str, ...]] = []

    def run(self, words: Sequence[str]) -> int:
        self.asked.append(tuple(words))
        given = dict(each.split("=", 1) for each in words if "=" in each)
        if "add" in words:
            self.rules[given["name"]] = (
                f"v2.31|Action=Allow|Active=TRUE|Dir=In|App={given['program']}|Name={given['name']}|"
            )
        return 0 if "add" in words or self.rules.pop(given["name"], "") else 1


def test_rules_are_found_in_the_registry_and_removed_by_netsh(store: FolderStore) -> None:
    answers = Answers()
    firewall = Firewall(answers.run, lambda: list(answers.rules.values()))
    firewall.add(rule_name(DEAD), r"C:\Program Files\Python\python.exe")
    Journal(store, DEAD).record(FIREWALL_RULE, rule_name(DEAD))
    report = cleanup(store, {FIREWALL_RULE: FirewallRules(firewall)}, alive)
    assert outcomes(report) == [(FIREWALL_RULE, rule_name(DEAD), cleaning.ENDED)]
    assert list(answers.rules) == ["{1}"]
    assert answers.asked[-1] == ("advfirewall", "firewall", "delete", "rule", f"name={rule_name(DEAD)}")


@pytest.mark.parametrize("name", [rule_name(DEAD), f"{rule_name(DEAD)}-pktmon"])
def test_sessions_of_ours_are_known_by_their_name(name: str) -> None:
    assert TraceSessions().owner(name) == DEAD


@pytest.mark.parametrize(
    "name", ["NT Kernel Logger", "etwcap", "etwcap-1", f"x{rule_name(DEAD)}", f"{rule_name(DEAD)}-X"]
)
def test_sessions_of_others_are_not(name: str) -> None:
    assert TraceSessions().owner(name) is None
