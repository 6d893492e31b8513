"""Ending what processes left behind that no longer run: by their journal, and by the names that our objects carry.

Nothing of a process that still runs is touched, and nothing whose name is not ours. An entry leaves the journal only
when its object is seen to be gone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from etwcap.errors import EtwcapError
from etwcap.taps.journal import (
    BINDING,
    DRIVER,
    FIREWALL_RULE,
    KINDS,
    PART_FILE,
    SESSION,
    UNFINISHED,
    Entry,
    Record,
    Store,
    file_name,
    packed,
    process_of_file,
    read_all,
)
from etwcap.windows.etw import MORE_DATA, NOT_RUNNING, STOP, Etw
from etwcap.windows.firewall import Firewall, process_of
from etwcap.windows.processes import ProcessIdentity

ENDED = "ended"
GONE = "was gone already"
IN_USE = "in use"
FAILED = "left"
UNFINISHED_FILE = "unfinished file"

_PART = re.compile(r".*\.part\.(pcapng|pcap)", re.DOTALL)
_SESSION_NAME = re.compile(r"etwcap-(\d{1,10})-(\d{1,20})(-[a-z0-9]{1,40})?")


class Undoer(Protocol):
    """How objects of one kind are found and ended. All of it may be called twice."""

    def owner(self, name: str) -> ProcessIdentity | None:
        """The process that an object's name says it is of; None where the name is not ours."""

    def find(self) -> list[str]:
        """The names of all objects of ours on the machine."""

    def there(self, name: str) -> bool:
        """Whether the object is there."""

    def undo(self, entry: Entry) -> None:
        """End it; nothing happens where it is not there."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object, and what became of it: ENDED, GONE, IN_USE, FAILED (``why`` says so) or UNFINISHED_FILE."""

    kind: str
    name: str
    process: ProcessIdentity
    program: str
    outcome: str
    why: str = ""


@dataclass(slots=True)
class CleanupReport:
    """What ``cleanup`` found and did."""

    items: list[Item] = field(default_factory=list)
    strange: list[tuple[str, str]] = field(default_factory=list)
    """files in the journal's folder that are none of the journal, and why"""

    @property
    def clean(self) -> bool:
        """Whether nothing is left of any process that no longer runs."""
        return not self.strange and not any(each.outcome == FAILED for each in self.items)


def cleanup(
    store: Store,
    undoers: Mapping[str, Undoer],
    alive: Callable[[ProcessIdentity], bool],
    *,
    kinds: frozenset[str] = KINDS,
) -> CleanupReport:
    """Undo what stands in a journal of dead processes, and what else carries the name of a dead process.

    One object that cannot be ended does not keep the others from being ended.
    """
    report = CleanupReport()
    try:
        _read(store, undoers, alive, kinds, report)
    except (OSError, EtwcapError) as error:
        report.strange.append(("the journal", str(error)))
    _find(undoers, alive, report)
    return report


def _read(
    store: Store,
    undoers: Mapping[str, Undoer],
    alive: Callable[[ProcessIdentity], bool],
    kinds: frozenset[str],
    report: CleanupReport,
) -> None:
    """Undo what stands in the journal."""
    records, report.strange = read_all(store, kinds)
    for record in records:
        if alive(record.process):
            report.items += [_item(record, each, IN_USE) for each in record.entries]
        else:
            _end(record, store, undoers, report)
    for name in store.names():
        process = process_of_file(name.removesuffix(UNFINISHED))
        if name.endswith(UNFINISHED) and process is not None and not alive(process):
            store.remove(name)  # written, and never in force: its change was not made


def _end(record: Record, store: Store, undoers: Mapping[str, Undoer], report: CleanupReport) -> None:
    """Undo the entries of a dead process, the last one first; each that is gone leaves its file."""
    left = list(record.entries)
    for entry in reversed(record.entries):
        item = _undone(record, entry, undoers)
        report.items.append(item)
        if item.outcome == FAILED:
            continue
        left.remove(entry)
        try:
            if left:
                store.write(file_name(record.process), packed(Record(record.process, record.program, tuple(left))))
            else:
                store.remove(file_name(record.process))
        except (OSError, EtwcapError) as error:
            report.strange.append((file_name(record.process), f"cannot be changed: {error}"))
            return


def _undone(record: Record, entry: Entry, undoers: Mapping[str, Undoer]) -> Item:
    if entry.kind == PART_FILE:
        return _item(record, entry, UNFINISHED_FILE if _unfinished(entry.name) else GONE)
    undoer = undoers.get(entry.kind)
    if undoer is None:
        return _item(record, entry, FAILED, f"this version cannot end a {entry.kind}")
    if undoer.owner(entry.name) != record.process:
        return _item(record, entry, FAILED, "its name is not that of the process that wrote it down")
    try:
        was_there = undoer.there(entry.name)
        undoer.undo(entry)
        if undoer.there(entry.name):
            return _item(record, entry, FAILED, "it is still there")
    except (OSError, EtwcapError) as error:
        return _item(record, entry, FAILED, str(error))
    return _item(record, entry, ENDED if was_there else GONE)


def _find(undoers: Mapping[str, Undoer], alive: Callable[[ProcessIdentity], bool], report: CleanupReport) -> None:
    """End objects that carry our name and stand in no journal (its folder was removed, for instance)."""
    known = {(each.kind, each.name) for each in report.items}
    for kind, undoer in undoers.items():
        try:
            names = undoer.find()
        except (OSError, EtwcapError) as error:
            report.strange.append((f"{kind}s", f"cannot be listed: {error}"))
            continue
        for name in names:
            process = undoer.owner(name)
            if process is None or (kind, name) in known:
                continue
            record, entry = Record(process, "", ()), Entry(kind, name)
            found = _item(record, entry, IN_USE) if alive(process) else _undone(record, entry, undoers)
            report.items.append(found)


def _item(record: Record, entry: Entry, outcome: str, why: str = "") -> Item:
    return Item(entry.kind, entry.name, record.process, record.program, outcome, why)


def _unfinished(path: str) -> bool:
    """Whether a file that was being written is there; one on another machine is named without asking that machine."""
    if not _PART.fullmatch(path):
        return False
    return path.startswith(("\\\\", "//")) or os.path.isfile(path)


class FirewallRules:
    """Ends firewall rules of ours."""

    def __init__(self, firewall: Firewall | None = None) -> None:
        self._firewall = firewall or Firewall()

    def owner(self, name: str) -> ProcessIdentity | None:
        """The process in a rule's name."""
        return process_of(name)

    def find(self) -> list[str]:
        """The names of our rules."""
        return [each.name for each in self._firewall.rules()]

    def there(self, name: str) -> bool:
        """Whether a rule has the name."""
        return name in self.find()

    def undo(self, entry: Entry) -> None:
        """Remove the rule."""
        self._firewall.remove(entry.name)


class TraceSessions:
    """Ends trace sessions of ours: ``etwcap-PID-CREATED`` and perhaps a word after it."""

    def __init__(self, etw: Etw | None = None) -> None:
        self._etw = etw or Etw()

    def owner(self, name: str) -> ProcessIdentity | None:
        """The process in a session's name."""
        found = _SESSION_NAME.fullmatch(name)
        return ProcessIdentity(int(found[1]), int(found[2])) if found else None

    def find(self) -> list[str]:
        """The names of our sessions."""
        return [each.name for each in self._etw.sessions() if self.owner(each.name)]

    def there(self, name: str) -> bool:
        """Whether a session has the name."""
        return name in self.find()

    def undo(self, entry: Entry) -> None:
        """Stop the session."""
        self._etw.control(entry.name, STOP, NOT_RUNNING, MORE_DATA)


def left_behind(store: Store, alive: Callable[[ProcessIdentity], bool]) -> bool:
    """Whether a journal has anything of a process that no longer runs."""
    records, strange = read_all(store)
    return bool(strange) or any(not alive(each.process) for each in records)


def undoers() -> dict[str, Undoer]:
    """How each kind of change is undone on this machine."""
    from etwcap.taps.driver_cleanup import Drivers
    from etwcap.taps.ndiscap_cleanup import CaptureBindings
    from etwcap.taps.pktmon_cleanup import PktMonCaptures
    from etwcap.taps.wfp_cleanup import WfpDriver

    drivers = Drivers([PktMonCaptures(), WfpDriver()])
    return {FIREWALL_RULE: FirewallRules(), SESSION: TraceSessions(), DRIVER: drivers, BINDING: CaptureBindings()}
