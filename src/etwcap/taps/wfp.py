"""The wfp tap: the driver WfpCapture of Message Analyzer, which logs what the Windows Filtering Platform sees.

Sees IP packets from the transport header on, sent and received, the loopback too, and what IPsec protects in clear. No
link layer, no ARP, and the IP header is made from what the event tells. The driver is not part of most Windows, and
many of those that have it do not let it load (``wfp_driver``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final
from uuid import UUID

from etwcap.errors import EtwcapError, NotHereError, UsageError, WindowsCallError
from etwcap.filters.split import Split
from etwcap.native.loader import library
from etwcap.packets import Context, Description
from etwcap.pipeline.protocols import Stage
from etwcap.providers.wfp_layout import GUID, EventId, Keyword
from etwcap.taps.conditions import description_of, native_core, not_windows, rights
from etwcap.taps.etw_feed import SessionFeed
from etwcap.taps.etw_session import Enabled, EtwSession
from etwcap.taps.etw_source import EtwRecordSource
from etwcap.taps.etw_stage import Network, etw_stages, this_network
from etwcap.taps.journal import DRIVER
from etwcap.taps.protocol import LOOPBACK, Changes, Condition, LiveTapSource, State, TapOptions
from etwcap.taps.reader import TickClock
from etwcap.taps.several import LiveStaged
from etwcap.taps.wfp_cleanup import WORD, WfpDriver
from etwcap.taps.wfp_driver import SERVICE, Driver, driver_conditions, look, start_failure
from etwcap.taps.wfp_filter import provider, start_filtered, told
from etwcap.taps.wfp_loopback import LoopbackOnly, own_addresses
from etwcap.windows.clock import Clock, Counter
from etwcap.windows.etw import Etw
from etwcap.windows.netevent import NetEvent
from etwcap.windows.services import Services
from etwcap.windows.tokens import Tokens
from etwcap.windows.version import WindowsVersion, this_windows

PROVIDER: Final = UUID(bytes_le=GUID)
KEYWORDS: Final = int(
    Keyword.PACKET_START
    | Keyword.PACKET_END
    | Keyword.SEND_PATH
    | Keyword.RECEIVE_PATH
    | Keyword.GLOBAL
    | Keyword.DROPPED
    | Keyword.PII_PRESENT
    | Keyword.PACKET
)
"""All but the two that ask for what IPsec and IKE protect"""
DRIVER_EVENTS: Final = (10001, 10002, 10003, 10004, 10005, 10006, 20001, 20002, 20003, 20004, 20005)
"""the driver, its callouts and filters: loaded, registered, failed"""
EVENTS: Final = (*map(int, EventId), *DRIVER_EVENTS)


class WfpTap:
    """The Windows Filtering Platform by WfpCapture (protocol ``Tap``). The arguments are for tests: another Windows."""

    name = "wfp"
    sees = "IP packets from the transport header up, the loopback too; no link layer, no ARP"

    def __init__(
        self,
        *,
        version: Callable[[], WindowsVersion] = this_windows,
        elevated: Callable[[], bool] | None = None,
        driver: Callable[[], Driver] | None = None,
        services: Services | None = None,
        etw: Etw | None = None,
        net_event: NetEvent | None = None,
        counter: Counter | None = None,
        clock: Callable[[], TickClock] = Clock,
        network: Callable[[], Network] = this_network,
        own: Callable[[], Iterable[str]] = own_addresses,
    ) -> None:
        self._version = version
        self._elevated = elevated or (lambda: Tokens().elevated())
        self._services = services or Services()
        self._look = driver or (lambda: look(self._services))
        self._etw = etw or Etw()
        self._net_event = net_event or NetEvent()
        self._counter = counter or Counter()
        self._clock = clock
        self._network = network
        self._own = own

    def available(self) -> list[Condition]:
        """Windows, the native core, the driver and whether Windows lets it load, rights."""
        try:
            version = self._version()
        except NotHereError as error:
            return not_windows(error)
        if version.wine:
            why = f"{version}: Wine has no trace sessions and no drivers"
            return [Condition("windows", State.MISSING, why, "capture on Windows")]
        return [
            Condition("windows", State.MET, str(version)),
            native_core(library() is not None),
            *driver_conditions(self._look(), version),
            rights(self._elevated, "drivers and trace sessions are"),
        ]

    def interrupts(self, interfaces: Sequence[str], options: TapOptions) -> str:
        """Nothing: callouts of the filtering platform do not pause the network."""
        return ""

    def open(
        self, context: Context, interfaces: Sequence[str], options: TapOptions, changes: Changes | None = None
    ) -> LiveTapSource:
        """Begin to capture; see ``Tap.open``."""
        if changes is None:
            raise ValueError("the tap wfp starts a driver and a trace session: it needs changes")
        _check(interfaces)
        version = self._version()
        description = description_of(version, frequency=self._counter.frequency())
        chosen = replace(options, interfaces=tuple(interfaces))
        stages = [] if options.records else self.stages(context, description, chosen)
        with ExitStack() as undo:
            self._start_driver(undo, changes, version)
            feed, at_stop = self._feed(undo, changes, options)
            source = EtwRecordSource(feed, self._clock(), context, description, tap=self.name, options=options)
            source.at_stop(at_stop.close)
            source.at_close(undo.pop_all().close)
        return LiveStaged(source, stages) if stages else source

    def stages(self, context: Context, description: Description, options: TapOptions) -> list[Stage]:
        """Records to packets, each packet of the loopback once; with ``-i loopback`` these alone."""
        made = etw_stages(context, description, options, tap=self.name, cards=self._network)
        return [*made, LoopbackOnly(context, self._own)] if options.interfaces else made

    def _feed(self, undo: ExitStack, changes: Changes, options: TapOptions) -> tuple[SessionFeed, ExitStack]:
        """The driver's events, and what ends them before the session: a filter's session or nothing."""
        wanted = told(options.filter)
        if wanted is not None and not self._net_event.lacks():
            try:
                with ExitStack() as stack:
                    found = self._filtered(stack, changes, options, wanted)
                    undo.push(stack.pop_all())
                    return found
            except EtwcapError as error:
                changes.tell(
                    f"the driver is not told of the filter, and gives all packets to be filtered here: {error}"
                )
        session = EtwSession.start(self._etw, WORD, changes)
        undo.callback(session.stop)
        feed = self._read(session, options)
        undo.callback(feed.close)
        session.enable(enabled(options))
        return feed, ExitStack()

    def _filtered(
        self, stack: ExitStack, changes: Changes, options: TapOptions, wanted: Split
    ) -> tuple[SessionFeed, ExitStack]:
        """The events of a NetEvent session, which has the driver filter. Raises EtwcapError where it cannot be read."""
        what = enabled(options)
        cmdlet = provider(wanted, level=what.level, keywords=what.any_keyword)
        ending = stack.enter_context(ExitStack())
        name = start_filtered(self._net_event, changes, ending, cmdlet)
        feed = self._read(EtwSession.attach(self._etw, name), options)
        stack.callback(feed.close)
        if not feed.by_counter:
            raise EtwcapError("the session that filters has another clock")
        return feed, ending

    def _read(self, session: EtwSession, options: TapOptions) -> SessionFeed:
        return SessionFeed(session, self._etw, ring=options.ring, counter=self._counter.ticks)

    def _start_driver(self, undo: ExitStack, changes: Changes, version: WindowsVersion) -> None:
        """Start the driver unless it runs; stopped at the end if it was started here, and journalled before."""
        driver = self._look()
        if driver.service is not None and driver.service.running:
            return
        journal, identity = changes.journal(), changes.identity()
        entry = journal.record(DRIVER, f"etwcap-{identity.pid}-{identity.created}-{WORD}", service=SERVICE)
        try:
            started = self._services.start(SERVICE)
        except BaseException as error:
            journal.forget(entry)
            if isinstance(error, WindowsCallError):
                raise start_failure(error, driver, version) from error
            raise
        if not started:
            journal.forget(entry)
            return
        changes.tell(f"the driver {SERVICE} was started; it is stopped at the end")

        def stop() -> None:
            try:
                WfpDriver(self._services, self._etw, booted=lambda: 0).undo(entry)
            except WindowsCallError as error:  # it idles, which does no harm
                changes.tell(f"the driver {SERVICE} goes on running: {error}")
            journal.forget(entry)

        undo.callback(stop)


def enabled(options: TapOptions) -> Enabled:
    """What of the provider is wanted."""
    clear = int(Keyword.CLEAR_IPSEC) if options.ipsec_clear else 0
    return Enabled(PROVIDER, level=5, any_keyword=KEYWORDS | clear, event_ids=EVENTS)


def _check(interfaces: Sequence[str]) -> None:
    """Raise UsageError for adapters: the events do not say which one a packet went through."""
    named = [each for each in interfaces if each.casefold() != LOOPBACK]
    if named:
        raise UsageError(
            "the tap wfp does not tell adapters apart",
            cause=f"-i {named[0]}",
            hint="leave -i out and filter by addresses, for example: host 192.0.2.1; or take --tap pktmon",
        )
