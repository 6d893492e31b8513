"""The pktmon tap: PktMon, which Windows has since 10 1809, without installing anything or interrupting the network.

Sees Ethernet (or 802.11) frames of every adapter, sent and received, and what Windows drops, with the reason. No
loopback. Packets come whole and with the counter's stamps through a trace session of our own; where that way is closed
or somebody else's capture runs, through PktMon's API, which cuts packets and stamps coarsely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from etwcap.errors import EtwcapError, NotHereError, RightsError, UsageError, WindowsCallError
from etwcap.filters.split import Constraints
from etwcap.native.loader import library
from etwcap.packets import Context, Description
from etwcap.pipeline.protocols import Stage
from etwcap.taps.conditions import description_of, not_windows
from etwcap.taps.etw_feed import SessionFeed
from etwcap.taps.etw_session import EtwSession
from etwcap.taps.etw_source import EtwRecordSource
from etwcap.taps.etw_stage import Network, etw_stages
from etwcap.taps.pktmon_capture import PACKETS, RUNDOWN, WORD, BusyError, DriverCapture, enabled
from etwcap.taps.pktmon_choice import NICS, appearances, check_choice, choose
from etwcap.taps.pktmon_conditions import conditions
from etwcap.taps.pktmon_driver import PktMonMeans
from etwcap.taps.pktmon_filters import constraints_of, one_family
from etwcap.taps.pktmon_stages import ApiInterfaces, NewAdapters
from etwcap.taps.pktmon_stream import (
    RESOLUTION,
    FileTimeClock,
    StreamFeed,
    choose_sources,
    file_time,
    has_wifi,
    rundown,
)
from etwcap.taps.protocol import Changes, Condition, LiveTapSource, TapOptions
from etwcap.taps.reader import TickClock
from etwcap.taps.several import LiveStaged
from etwcap.windows.adapters import Adapter, adapters
from etwcap.windows.clock import Clock, Counter
from etwcap.windows.failure import ELEVATE
from etwcap.windows.pktmon_api import DataSource, PktMonApi
from etwcap.windows.tokens import Tokens
from etwcap.windows.version import WINDOWS_10_1809, WindowsVersion, this_windows

COARSE: Final = 100_000
"""ns: stamps that lie further apart are the API's"""


class PktMonTap:
    """PktMon (protocol ``Tap``). The arguments are for tests: another Windows."""

    name = "pktmon"
    sees = "frames of every adapter, sent and received, and drops with their reasons; not the loopback"

    def __init__(
        self,
        *,
        version: Callable[[], WindowsVersion] = this_windows,
        elevated: Callable[[], bool] | None = None,
        means: PktMonMeans | None = None,
        list_adapters: Callable[[], list[Adapter]] | None = None,
        clock: Callable[[], TickClock] = Clock,
        counter: Counter | None = None,
        network: Callable[[], Network] | None = None,
    ) -> None:
        self._version = version
        self._elevated = elevated or (lambda: Tokens().elevated())
        self._means = means or PktMonMeans()
        self._list_adapters = list_adapters or (lambda: adapters(disconnected=True))
        self._clock = clock
        self._counter = counter or Counter()
        self._network = network

    def available(self) -> list[Condition]:
        """Windows, the native core, rights, the driver and a way to it, and what may be in the way."""
        try:
            version = self._version()
        except NotHereError as error:
            return not_windows(error)
        return conditions(version, self._means, self._elevated, core=library() is not None)

    def interrupts(self, interfaces: Sequence[str], options: TapOptions) -> str:
        """Nothing: PktMon is part of the network stack already."""
        return ""

    def open(
        self, context: Context, interfaces: Sequence[str], options: TapOptions, changes: Changes | None = None
    ) -> LiveTapSource:
        """Begin to capture; see ``Tap.open``."""
        if changes is None:
            raise ValueError("the tap pktmon starts a driver's capture and a trace session: it needs changes")
        check_choice(options.components, interfaces)
        version = self._version()
        self._check(version)
        if options.pktmon_api:
            return self._open_api(context, interfaces, options, changes, version)
        try:
            return self._open_driver(context, interfaces, options, changes, version)
        except (RightsError, UsageError):
            raise
        except (BusyError, NotHereError, WindowsCallError) as error:
            if self._means.api.there():
                changes.tell(f"{error}: capturing with PktMon's API instead, beside it and with coarser times")
                return self._open_api(context, interfaces, options, changes, version)
            if not isinstance(error, BusyError):
                raise
            changes.tell(f"{error}; it is left alone")
        return self._join(context, interfaces, options, changes, version)

    def stages(self, context: Context, description: Description, options: TapOptions) -> list[Stage]:
        """Records to packets, each once or, with components that were asked for, at each of them."""
        kept = appearances(options.components)
        made = etw_stages(context, description, options, tap=self.name, appearances=kept, cards=self._network)
        api = description.resolution >= COARSE
        # the events of components that come are seen before packets are chosen and held
        return [made[0], ApiInterfaces(context) if api else NewAdapters(context), *made[1:]]

    def _check(self, version: WindowsVersion) -> None:
        """Raise NotHereError or RightsError where nothing can come of it."""
        if version.wine or version.build < WINDOWS_10_1809:
            raise NotHereError(
                "this Windows has no PktMon", cause=str(version), hint="--tap raw works on every Windows since 7"
            )
        if not self._elevated():
            raise RightsError("PktMon is for administrators", hint=ELEVATE)

    def _open_driver(
        self,
        context: Context,
        interfaces: Sequence[str],
        options: TapOptions,
        changes: Changes,
        version: WindowsVersion,
    ) -> LiveTapSource:
        """The driver's capture, into a trace session of our own."""
        description = description_of(version, frequency=self._counter.frequency())
        with ExitStack() as undo:
            capture = DriverCapture(self._means, version.build, changes)
            undo.push(_ending(capture, changes))
            capture.begin()
            session, source = self._session(undo, context, description, options, changes)
            session.enable(enabled(RUNDOWN))
            tree = capture.prime(source)
            chosen = choose(tree, options.components, interfaces, self._list_adapters)
            capture.push(options.filter, tree, source, wifi=chosen.wifi)
            stages = [] if options.records else self.stages(context, description, options)
            session.enable(enabled(PACKETS))
            capture.start(chosen.components, otherwise=chosen.otherwise)
            source.at_stop(capture.stop)
            source.at_close(undo.pop_all().close)
        return LiveStaged(source, stages) if stages else source

    def _join(
        self,
        context: Context,
        interfaces: Sequence[str],
        options: TapOptions,
        changes: Changes,
        version: WindowsVersion,
    ) -> LiveTapSource:
        """Somebody else's capture, into a trace session of our own; nothing is said to the driver."""
        if interfaces or options.components != NICS:
            raise UsageError(
                "another capture of PktMon runs, which has chosen its components",
                cause=f"-i {', '.join(interfaces)}" if interfaces else f"--components {options.components}",
                hint="leave that out, or end the other capture: pktmon stop",
            )
        description = description_of(version, frequency=self._counter.frequency())
        with ExitStack() as undo:
            session, source = self._session(undo, context, description, options, changes)
            stages = [] if options.records else self.stages(context, description, options)
            session.enable(enabled(PACKETS))
            source.at_close(undo.pop_all().close)
        changes.tell(
            "filters, components and packet size of that capture hold here too, and when it ends, nothing more comes"
        )
        return LiveStaged(source, stages) if stages else source

    def _session(
        self, undo: ExitStack, context: Context, description: Description, options: TapOptions, changes: Changes
    ) -> tuple[EtwSession, EtwRecordSource]:
        """A trace session of our own, and what reads it; ``undo`` ends both."""
        etw = self._means.etw
        session = EtwSession.start(etw, WORD, changes)
        undo.callback(session.stop)
        feed = SessionFeed(session, etw, ring=options.ring, counter=self._counter.ticks)
        undo.callback(feed.close)
        source = EtwRecordSource(feed, self._clock(), context, description, tap=self.name, options=options)
        return session, source

    def _open_api(
        self,
        context: Context,
        interfaces: Sequence[str],
        options: TapOptions,
        changes: Changes,
        version: WindowsVersion,
    ) -> LiveTapSource:
        """A session of PktMon's API."""
        api = self._means.api
        if not api.there():
            raise NotHereError(
                "this Windows has no Packet Monitor API",
                cause=f"PktMonApi.dll of {version} does not export it",
                hint="leave --pktmon-api out",
            )
        known = self._list_adapters()
        description = replace(description_of(version, frequency=self._counter.frequency()), resolution=RESOLUTION)
        offered: list[DataSource] = []

        def wanted(api: PktMonApi, handle: int) -> list[DataSource]:
            offered.extend(api.data_sources(handle, hidden=True))
            shown = api.data_sources(handle, hidden=False)
            return choose_sources(shown or offered, options.components, interfaces, known)

        def constraints(sources: Sequence[DataSource]) -> Constraints:
            return () if has_wifi(sources, known) else constraints_of(options.filter, one_family)

        stages = [] if options.records else self.stages(context, description, options)
        with ExitStack() as undo:
            feed = StreamFeed(
                api,
                changes.identity(),
                wanted,
                ring=options.ring,
                constraints=constraints,
                note=lambda text: context.receipt.note("pktmon-stream", text),
            )
            undo.callback(feed.close)
            source = EtwRecordSource(feed, FileTimeClock(), context, description, tap=self.name, options=options)
            source.put_first(rundown(offered, known, file_time()))
            undo.pop_all()
        return LiveStaged(source, stages) if stages else source


def _ending(capture: DriverCapture, changes: Changes) -> Callable[..., bool]:
    """For an ExitStack: ends the capture; where something else has failed already, that counts."""

    def end(kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        try:
            capture.end()
        except EtwcapError as failure:
            if kind is None:
                raise
            changes.tell(f"not everything could be put back ({failure}); etwcap cleanup ends what is left")
        return False

    return end
