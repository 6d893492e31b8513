"""The journal: what a process is about to change on the machine stands on the disk before it changes it.

One file per process, named after its number and creation time, since a number alone is used again. An entry is data
with a fixed vocabulary: a kind, the name of the object, a few facts. It is written before the change and taken out
after the change was undone; a file without entries is removed. So whatever moment a process is killed at, its file
names at least what it left behind, and ``taps.cleanup`` can end it.

The journal of administrators lies where only they can write: what stands there is undone with their rights. The journal
of a user names that user's unfinished files and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from etwcap.errors import EtwcapError
from etwcap.windows.processes import ProcessIdentity

FIREWALL_RULE = "firewall rule"
SESSION = "trace session"
DRIVER = "driver"
BINDING = "binding"
PART_FILE = "unfinished file"
KINDS = frozenset({FIREWALL_RULE, SESSION, DRIVER, BINDING, PART_FILE})
"""All that an entry can be."""
USER_KINDS = frozenset({PART_FILE})
"""What the journal of a user can name: nothing of it is undone."""

FORMAT, VERSION = "etwcap journal", 1
SUFFIX, UNFINISHED = ".journal", ".new"
_FILE_NAME = re.compile(r"(\d{1,10})-(\d{1,20})\.journal")
_LONGEST = 1 << 20
_MOST_FACTS = 32


@dataclass(frozen=True, slots=True)
class Entry:
    """One change: its kind, the name of the object, and facts that undoing needs (state before, for instance)."""

    kind: str
    name: str
    facts: dict[str, str | int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Record:
    """What one process left in a journal."""

    process: ProcessIdentity
    program: str
    entries: tuple[Entry, ...]


class Store(Protocol):
    """Where the files of a journal are. Names are file names without folder."""

    def names(self) -> list[str]:
        """The names of all files."""

    def read(self, name: str, most: int) -> bytes:
        """Up to ``most`` bytes of a file; raises OSError or EtwcapError where it is not there or not to be trusted."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole, replacing what had its name; it is on the disk when this returns."""

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where it is not there."""


class JournalError(EtwcapError):
    """A file of a journal is none of ours, or damaged."""


class Journal:
    """The journal of this process: ``record``, then change; undo, then ``forget``. Safe for several threads."""

    def __init__(
        self, store: Store, process: ProcessIdentity, *, program: str = "", kinds: frozenset[str] = KINDS
    ) -> None:
        self._store = store
        self._process = process
        self._program = program
        self._kinds = kinds
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What stands in it now, oldest first."""
        return tuple(self._entries)

    def record(self, kind: str, name: str, **facts: str | int) -> Entry:
        """Write down a change that is about to be made; when this returns, it is on the disk."""
        if kind not in self._kinds:
            raise ValueError(f"this journal has no entries of the kind {kind!r}")
        entry = Entry(kind, name, facts)
        with self._lock:
            self._write([*self._entries, entry])
            self._entries.append(entry)
        return entry

    def forget(self, entry: Entry) -> None:
        """Take out a change that is undone."""
        with self._lock:
            rest = [each for each in self._entries if each is not entry]
            self._write(rest)
            self._entries = rest

    @contextlib.contextmanager
    def change(self, kind: str, name: str, **facts: str | int) -> Iterator[Entry]:
        """Around a change and its undoing: forgotten when the block ends well, kept when undoing failed."""
        entry = self.record(kind, name, **facts)
        yield entry
        self.forget(entry)

    def _write(self, entries: list[Entry]) -> None:
        name = file_name(self._process)
        if entries:
            self._store.write(name, packed(Record(self._process, self._program, tuple(entries))))
        else:
            self._store.remove(name)


def file_name(process: ProcessIdentity) -> str:
    """The name of a process's file."""
    return f"{process.pid}-{process.created}{SUFFIX}"


def process_of_file(name: str) -> ProcessIdentity | None:
    """The process whose file has that name; None where it is no name of ours."""
    found = _FILE_NAME.fullmatch(name)
    return ProcessIdentity(int(found[1]), int(found[2])) if found else None


def packed(record: Record) -> bytes:
    """A record as the bytes of its file: JSON."""
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "pid": record.process.pid,
        "created": record.process.created,
        "program": record.program,
        "entries": [{"kind": each.kind, "name": each.name, "facts": each.facts} for each in record.entries],
    }
    return json.dumps(whole, indent=1).encode("ascii")


def unpacked(data: bytes, process: ProcessIdentity, kinds: frozenset[str] = KINDS) -> Record:
    """The record of a file named after ``process``; raises JournalError unless every part of it is as we write it."""
    if len(data) > _LONGEST:
        raise JournalError("a file of the journal is too long", cause=f"more than {_LONGEST:,} bytes")
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise JournalError("a file of the journal is damaged", cause="it is no JSON") from error
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise JournalError("a file is none of the journal", cause="it does not say so")
    if whole.get("version") != VERSION:
        raise JournalError(
            "a file of the journal is of another version",
            cause=f"version {whole.get('version')!r}",
            hint="run the newer etwcap's cleanup",
        )
    if (whole.get("pid"), whole.get("created")) != (process.pid, process.created):
        raise JournalError("a file of the journal is damaged", cause="its name is that of another process")
    program, entries = whole.get("program"), whole.get("entries")
    if not isinstance(program, str) or not isinstance(entries, list):
        raise JournalError("a file of the journal is damaged", cause="program or entries are missing")
    return Record(process, program, tuple(_entry(each, kinds) for each in entries))


def _entry(given: object, kinds: frozenset[str]) -> Entry:
    if not isinstance(given, dict):
        raise JournalError("a file of the journal is damaged", cause="an entry is none")
    kind, name, facts = given.get("kind"), given.get("name"), given.get("facts")
    if not isinstance(kind, str) or kind not in kinds:
        raise JournalError("a file of the journal is damaged", cause=f"an entry of the kind {kind!r:.60}")
    if not isinstance(name, str) or not isinstance(facts, dict) or len(facts) > _MOST_FACTS:
        raise JournalError("a file of the journal is damaged", cause="an entry without name or facts")
    if not all(isinstance(key, str) and type(each) in (str, int) for key, each in facts.items()):
        raise JournalError("a file of the journal is damaged", cause="facts that are no texts or numbers")
    return Entry(kind, name, facts)


def read_all(store: Store, kinds: frozenset[str] = KINDS) -> tuple[list[Record], list[tuple[str, str]]]:
    """The records of a journal, and the name of each file that is none, with what is wrong with it."""
    records: list[Record] = []
    strange: list[tuple[str, str]] = []
    for name in sorted(store.names()):
        process = process_of_file(name.removesuffix(UNFINISHED))
        if process is None:
            strange.append((name, "no file of the journal"))
        elif not name.endswith(UNFINISHED):
            try:
                records.append(unpacked(store.read(name, _LONGEST + 1), process, kinds))
            except FileNotFoundError:
                pass  # its process ended well in between
            except (OSError, EtwcapError) as error:
                strange.append((name, str(error)))
    return records, strange
