"""The ndiscap tap: Windows' driver NdisCap between each adapter and the stack above it, read in real time.

Sees every frame of the link layer, whole; no loopback. Binding the driver to an adapter stops its traffic for a moment,
so that is done with the user's consent alone, and not where it is bound already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final
from uuid import UUID

from etwcap.errors import EtwcapError, NotHereError, RightsError, UsageError
from etwcap.native.loader import library
from etwcap.packets import Context, Description
from etwcap.pipeline.protocols import Stage
from etwcap.providers.ndiscap_layout import GUID
from etwcap.taps.conditions import description_of, not_windows
from etwcap.taps.etw_feed import SessionFeed
from etwcap.taps.etw_session import Enabled, EtwSession
from etwcap.taps.etw_source import EtwRecordSource
from etwcap.taps.etw_stage import etw_stages
from etwcap.taps.ndiscap_conditions import conditions
from etwcap.taps.ndiscap_means import Means
from etwcap.taps.ndiscap_stages import AdapterRecords, SilenceWatch
from etwcap.taps.ndiscap_state import bound_to, netsh_traces, wanted_adapters, warning
from etwcap.taps.ndiscap_ways import LEVEL, Wanted, by_binding, by_netevent, by_netsh, join, what_to_tell
from etwcap.taps.protocol import Changes, Condition, LiveTapSource, TapOptions
from etwcap.taps.reader import TickClock
from etwcap.taps.several import LiveStaged
from etwcap.windows.adapters import Adapter, adapters
from etwcap.windows.clock import Clock, Counter
from etwcap.windows.netevent import FIRST_BUILD, AnotherSessionError
from etwcap.windows.version import WindowsVersion, remote_session, this_windows

PROVIDER: Final = UUID(bytes_le=GUID)
EVENTS: Final = (1001, 1002, 1003, 1011, 1014, 1015, 1016, 2001, 2002, 2003, 5100, 5101)
"""Packets, and what tells of interfaces, layers, rules and failures."""
EVERY_KEYWORD: Final = 2**64 - 1
PKTMON: Final = "PktMon captures beside it: --tap pktmon"


class NdisCapTap:
    """NdisCap through trace sessions (protocol ``Tap``). The arguments are for tests: another Windows."""

    name = "ndiscap"
    sees = "every frame of each adapter, whole; no loopback; adapters pause for a moment while it is bound"

    def __init__(
        self,
        *,
        version: Callable[[], WindowsVersion] = this_windows,
        means: Means | None = None,
        list_adapters: Callable[[], list[Adapter]] = adapters,
        remote: Callable[[], bool] = remote_session,
        counter: Counter | None = None,
        clock: Callable[[], TickClock] = Clock,
        feed: Callable[..., SessionFeed] = SessionFeed,
    ) -> None:
        self._version = version
        self._means = means or Means()
        self._list_adapters = list_adapters
        self._remote = remote
        self._counter = counter or Counter()
        self._clock = clock
        self._feed = feed

    def available(self) -> list[Condition]:
        """Windows, the native core, the driver, rights, what switches it on; and what that does to the network."""
        try:
            version = self._version()
        except NotHereError as error:
            return not_windows(error)
        return conditions(version, self._means, self._list_adapters, self._remote, native=library() is not None)

    def interrupts(self, interfaces: Sequence[str], options: TapOptions) -> str:
        """Which adapters stop for a moment, where NdisCap is not bound to them; raises UsageError for a wrong name."""
        try:
            self._version()
            wanted = wanted_adapters(self._list_adapters(), interfaces)
            return warning(bound_to(self._means, wanted), wanted, self._remote)
        except NotHereError:
            return ""  # and opening says why it cannot be

    def open(
        self, context: Context, interfaces: Sequence[str], options: TapOptions, changes: Changes | None = None
    ) -> LiveTapSource:
        """Begin to capture; see ``Tap.open``. UsageError where the network would be interrupted without consent."""
        if changes is None:
            raise ValueError("the tap ndiscap changes the machine: it needs changes")
        version = self._version()
        known = self._list_adapters()
        chosen = wanted_adapters(known, interfaces)
        bound = bound_to(self._means, chosen)
        text = warning(bound, chosen, self._remote)
        if text and not changes.consented:
            raise UsageError("the network would be interrupted", cause=text, hint=f"--yes agrees to it; {PKTMON}")
        description = description_of(version, frequency=self._counter.frequency())
        wanted = Wanted(
            tuple(chosen) if interfaces else (),
            version.build,
            what_to_tell(options.filter, chosen if interfaces else known),
        )
        stages = [] if options.records else self.stages(context, description, options)
        with ExitStack() as undo:
            session = self._joined(changes, undo) if bound.complete else self._switched_on(changes, undo, wanted)
            feed = self._read(session, changes, undo, options)
            source = EtwRecordSource(feed, self._clock(), context, description, tap=self.name, options=options)
            source.at_close(undo.pop_all().close)
        before: list[Stage] = []
        if bound.complete or not wanted.told.pushed:  # else the driver may have nothing to say
            before.append(SilenceWatch(context, changes.tell))
        if interfaces:
            before.append(AdapterRecords([index for each in chosen for index in (each.index, each.index6) if index]))
        return LiveStaged(source, [*before, *stages])

    def stages(self, context: Context, description: Description, options: TapOptions) -> list[Stage]:
        """Records to packets, each packet once."""
        return etw_stages(context, description, options, tap=self.name)

    def _joined(self, changes: Changes, undo: ExitStack) -> EtwSession:
        """NdisCap is bound already: a session beside whoever bound it."""
        others = netsh_traces(self._means)
        if others:
            changes.tell(
                f"a trace of netsh runs ({', '.join(others)}): its filters and packet length hold here too,"
                " and packets may end with it"
            )
        session = self._own_session(changes, undo)
        join(self._means, changes, undo)
        return session

    def _switched_on(self, changes: Changes, undo: ExitStack, wanted: Wanted) -> EtwSession:
        """Have NdisCap bound, in the first way that works here."""
        others = netsh_traces(self._means)
        if others:
            raise EtwcapError(
                "a trace of netsh runs, and a machine has one at a time",
                cause=f"trace session {', '.join(others)}",
                hint=f"{PKTMON}; or let its owner end it: netsh trace stop",
            )
        ways: list[tuple[str, Callable[[ExitStack], EtwSession]]] = [
            ("a NetEvent session", lambda stack: self._netevent(changes, stack, wanted)),
            ("netsh trace", lambda stack: self._netsh(changes, stack, wanted)),
            ("binding it here", lambda stack: self._bound(changes, stack, wanted)),
        ]
        if wanted.build < FIRST_BUILD:
            del ways[0]
        failures: list[str] = []
        for title, way in ways:
            try:
                with ExitStack() as stack:
                    session = way(stack)
                    undo.push(stack.pop_all())
                    return session
            except (RightsError, UsageError, AnotherSessionError):
                raise
            except EtwcapError as error:
                failures.append(f"{title}: {error}")
                changes.tell(f"NdisCap is not switched on by {title}: {error}")
        raise EtwcapError("NdisCap cannot be switched on", cause=" · ".join(failures), hint=PKTMON)

    def _netevent(self, changes: Changes, stack: ExitStack, wanted: Wanted) -> EtwSession:
        name = by_netevent(self._means, changes, stack, wanted)
        end = time.monotonic() + self._means.patience
        while True:
            if any(each.name.casefold() == name.casefold() for each in self._means.etw.sessions()):
                return EtwSession.attach(self._means.etw, name)
            if time.monotonic() >= end:
                break
            time.sleep(0.1)
        return self._own_session(changes, stack)  # its trace session has another name: the driver writes into ours too

    def _netsh(self, changes: Changes, stack: ExitStack, wanted: Wanted) -> EtwSession:
        session = self._own_session(changes, stack)
        by_netsh(self._means, changes, stack, wanted)
        return session

    def _bound(self, changes: Changes, stack: ExitStack, wanted: Wanted) -> EtwSession:
        session = self._own_session(changes, stack)
        by_binding(self._means, changes, stack, wanted)
        return session

    def _read(self, session: EtwSession, changes: Changes, undo: ExitStack, options: TapOptions) -> SessionFeed:
        """The session's events; those of a session of ours where Windows' own one has another clock than all taps."""
        feed = self._feed(session, self._means.etw, ring=options.ring)
        if not session.own and not feed.by_counter:
            feed.close()
            feed = self._feed(self._own_session(changes, undo), self._means.etw, ring=options.ring)
        undo.callback(feed.close)
        return feed

    def _own_session(self, changes: Changes, stack: ExitStack) -> EtwSession:
        session = EtwSession.start(self._means.etw, self.name, changes, alive=self._means.alive)
        stack.callback(session.stop)
        session.enable(Enabled(PROVIDER, level=LEVEL, any_keyword=EVERY_KEYWORD, event_ids=EVENTS))
        return session
