"""A real-time trace session: one of ours from start to stop, or somebody else's to listen to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from etwcap.errors import EtwcapError, WindowsCallError
from etwcap.taps.cleanup import TraceSessions
from etwcap.taps.journal import SESSION, Entry, Journal
from etwcap.taps.protocol import Changes
from etwcap.windows.etw import FLUSH, MORE_DATA, NOT_RUNNING, QUERY, STOP, Etw, SessionState
from etwcap.windows.processes import Processes, ProcessIdentity

BUFFER_SIZE: Final = 256
"""KiB of a buffer: the largest event, 64 KiB, fits into it several times"""
SPARE_BUFFERS: Final = 128
"""Buffers beyond the smallest number: 32 MiB for the time in which nobody reads"""
_ALREADY_EXISTS: Final = 183


@dataclass(frozen=True, slots=True)
class Enabled:
    """A provider that writes into a session, and what of it."""

    provider: UUID
    level: int = 5
    any_keyword: int = 0
    """0: every keyword"""
    all_keyword: int = 0
    event_ids: tuple[int, ...] | None = None
    """these events alone, 64 at most; None: all"""


class EtwSession:
    """A session by its name; ``start`` or ``attach`` make one."""

    def __init__(self, etw: Etw, name: str, *, handle: int = 0, forget: Callable[[], None] | None = None) -> None:
        self.name = name
        self.own = forget is not None
        """it was started here, and is ended here"""
        self._etw = etw
        self._handle = handle
        self._forget = forget
        self._providers: list[UUID] = []
        self._last: SessionState | None = None

    @classmethod
    def start(
        cls,
        etw: Etw,
        tap: str,
        changes: Changes,
        *,
        buffer_size: int = BUFFER_SIZE,
        buffers: tuple[int, int] | None = None,
        flush_timer: int = 1,
        mode: int = 0,
        alive: Callable[[ProcessIdentity], bool] | None = None,
    ) -> EtwSession:
        """Start ``etwcap-PID-CREATED-TAP``, by the clock of the performance counter.

        It stands in the journal before it is there. Sessions of ours whose process no longer runs are ended first, and
        told. ``buffer_size`` in KiB, ``buffers`` smallest and largest number, ``flush_timer`` in s; ``alive`` is for
        tests. Raises RightsError, and WindowsCallError where the name is taken or there are too many sessions.
        """
        _end_left_behind(etw, changes, alive or _alive)
        identity = changes.identity()
        name = f"etwcap-{identity.pid}-{identity.created}-{tap}"
        journal = changes.journal()
        entry = journal.record(SESSION, name)
        least = 2 * (os.cpu_count() or 1) + 2
        sizes = buffers or (least, least + SPARE_BUFFERS)
        try:
            handle, _ = etw.start(
                name, guid=uuid4(), buffer_size=buffer_size, buffers=sizes, flush_timer=flush_timer, mode=mode
            )
        except WindowsCallError as error:
            journal.forget(entry)
            if error.code == _ALREADY_EXISTS:
                error.hint = "this process captures with that tap already, or did and could not end it: etwcap cleanup"
            raise
        except BaseException:
            journal.forget(entry)
            raise
        return cls(etw, name, handle=handle, forget=_forgetting(journal, entry))

    @classmethod
    def attach(cls, etw: Etw, name: str) -> EtwSession:
        """Somebody else's session: it is read, and otherwise left alone. Raises WindowsCallError where it is not
        there."""
        session = cls(etw, name)
        session.state()
        return session

    def enable(self, enabled: Enabled) -> None:
        """Have a provider write into the session; what was set for it before is replaced."""
        if not self.own:
            raise ValueError("the providers of somebody else's session are not changed")
        self._etw.enable(
            self._handle,
            enabled.provider,
            level=enabled.level,
            any_keyword=enabled.any_keyword,
            all_keyword=enabled.all_keyword,
            event_ids=enabled.event_ids,
        )
        if enabled.provider not in self._providers:
            self._providers.append(enabled.provider)

    def disable(self, provider: UUID) -> None:
        """The provider no longer writes into the session."""
        if provider in self._providers:
            self._providers.remove(provider)
            self._etw.disable(self._handle, provider)

    def flush(self) -> None:
        """Hand out the buffers that are not full."""
        self._etw.control(self.name, FLUSH)

    def state(self) -> SessionState:
        """What Windows says of it now; once it was stopped, what it said last."""
        if self.own and not self._handle and self._last is not None:
            return self._last
        self._last = self._etw.control(self.name, QUERY)
        return self._last

    def stop(self) -> None:
        """End a session of ours: providers off, stopped, out of the journal. Nothing happens to somebody else's, or the
        second time. Where stopping fails, the journal keeps it.
        """
        handle, self._handle = self._handle, 0
        if not self.own or not handle:
            return
        for provider in self._providers:
            with contextlib.suppress(WindowsCallError):
                self._etw.disable(handle, provider)
        self._providers.clear()
        with contextlib.suppress(WindowsCallError):
            self._last = self._etw.control(self.name, QUERY)
        try:
            stopped = self._etw.control(self.name, STOP, NOT_RUNNING, MORE_DATA)
        except EtwcapError:
            self._handle = handle
            raise
        if stopped.buffers_written or self._last is None:
            self._last = stopped
        assert self._forget is not None
        self._forget()


def _forgetting(journal: Journal, entry: Entry) -> Callable[[], None]:
    return lambda: journal.forget(entry)


def _alive(process: ProcessIdentity) -> bool:
    return Processes().alive(process)


def _end_left_behind(etw: Etw, changes: Changes, alive: Callable[[ProcessIdentity], bool]) -> None:
    """End sessions of ours whose process no longer runs; one that cannot be ended is told and stays."""
    sessions = TraceSessions(etw)
    try:
        names = sessions.find()
    except EtwcapError:
        return  # starting ours will say what is wrong
    for name in names:
        owner = sessions.owner(name)
        try:
            if owner is None or alive(owner):
                continue
            sessions.undo(Entry(SESSION, name))
            changes.tell(f"the trace session {name}, left by a process that no longer runs, was ended")
        except EtwcapError as error:
            changes.tell(f"the trace session {name}, left by a process that no longer runs, stays: {error}")
