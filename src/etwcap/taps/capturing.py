"""A whole live capture: choose the taps, change what they need of the machine, run, and put everything back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from etwcap.errors import EtwcapError, NotHereError, RightsError, UsageError
from etwcap.native.loader import library
from etwcap.packets import Chunk, Context, linktypes
from etwcap.pipeline.capture import CaptureOptions, CountingSink, LiveSink, Progress
from etwcap.pipeline.capture import capture as run_capture
from etwcap.pipeline.convert import Outcome
from etwcap.pipeline.protocols import Stage
from etwcap.repair.names import ORDER, RECORDED_ORDER, parse_repairs
from etwcap.repair.order import OrderStage
from etwcap.taps.collecting import Collection, start_collector
from etwcap.taps.journal import PART_FILE, Journal
from etwcap.taps.opening import KEEPS_PRIVILEGES, all_taps, check_names, open_taps, share_interfaces
from etwcap.taps.per_tap import PerTap
from etwcap.taps.protocol import RIGHTS, Changes, Condition, LiveTapSource, State, Tap, TapOptions, usable_with_consent
from etwcap.taps.remote import RemoteSource, TimedDuplex
from etwcap.taps.rule import open_firewall
from etwcap.taps.several import LiveMerge, LiveStaged
from etwcap.windows.firewall import Firewall
from etwcap.windows.processes import ProcessIdentity
from etwcap.words import plural

BY_ITSELF: Final = ("pktmon", "raw")
"""Taps that are taken where none is named, the better first. Never one that interrupts the network."""
COARSE: Final = 100_000
"""ns: from this resolution on, times do not tell what came first, and the order is put right"""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What is captured, and how."""

    taps: tuple[str, ...] = ()
    """names; empty: the best that can be used"""
    interfaces: tuple[str, ...] = ()
    """names, indexes, "loopback"; empty: the taps' own choice"""
    raw_recording: bool = False
    """raw: the records of the sockets as they are"""
    firewall_rule: bool = True
    """raw: let packets in for this program while it captures"""
    components: str = "nics"
    """pktmon: "nics", "all", or component ids "12,13" """
    pktmon_api: bool = False
    """pktmon: through PktMonApi.dll"""
    ipsec_clear: bool = False
    """wfp: also what IPsec protects, in clear"""
    capture: CaptureOptions = field(default_factory=CaptureOptions)


@dataclass(slots=True)
class Machine:
    """What a capture changes on the machine, and asks of it; tests give another."""

    journal: Callable[[], Journal]
    """of administrators; raises RightsError"""
    user_journal: Callable[[], Journal | None]
    firewall: Callable[[], Firewall]
    identity: Callable[[], ProcessIdentity]
    program: Callable[[], str]
    drop_privileges: Callable[[], Sequence[str]]
    elevated: Callable[[], bool] = lambda: True
    start_collector: Callable[[Collection], TimedDuplex] = start_collector


def this_machine() -> Machine:
    """The Windows machine this runs on."""
    from etwcap.taps.journal_store import administrators_journal, user_journal
    from etwcap.windows.processes import Processes
    from etwcap.windows.tokens import Tokens

    processes = Processes()
    return Machine(
        administrators_journal,
        user_journal,
        Firewall,
        processes.this,
        processes.own_image,
        lambda: Tokens().drop_privileges(),
        lambda: Tokens().elevated(),
    )


class Live:
    """A capture that is open: ``run`` it, ``stop`` it from elsewhere; a context manager that puts everything back."""

    def __init__(
        self,
        output: str | os.PathLike[str] | Callable[[Chunk, Context], None],
        options: LiveOptions,
        tell: Callable[[str], None],
        machine: Machine,
        taps: dict[str, Tap],
        consent: Callable[[str], bool],
    ) -> None:
        self._consent = consent
        self._consented = False
        self._output = output
        self._options = options
        self._tell = tell
        self._machine = machine
        self._taps = taps
        self._context = Context()
        self._stack = ExitStack()
        self._source: LiveTapSource | None = None
        self._stopped = False
        self._chosen: list[str] = []

    def __enter__(self) -> Live:
        with ExitStack() as stack:
            chosen = self._chosen = choose_taps(self._taps, self._options.taps)
            self._ask()
            source = self._open_here(stack) if self._machine.elevated() else self._open_there()
            stack.callback(source.close)
            self._source = source
            self._tell(f"capturing with {' and '.join(chosen)}: {self._places()}")
            self._stack = stack.pop_all()
        if self._stopped:
            self._source.stop()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stop(self) -> None:
        """End it; from any thread, and a signal handler."""
        self._stopped = True
        if self._source is not None:
            self._source.stop()

    def lost(self) -> int:
        """Packets that are known to be lost so far."""
        if self._source is None:
            return 0
        losses = self._source.losses()
        return losses.ring + losses.failed + (losses.mechanism or 0)

    def losses(self) -> dict[str, int | None]:
        """What is known to be lost, by where; None: the tap does not count it."""
        return asdict(self._source.losses()) if self._source is not None else {}

    def run(self, watch: Callable[[Progress], None] | None = None) -> Outcome:
        """Capture until it ends. Raises what the taps and the output raise."""
        assert self._source is not None
        context = self._context
        sink: str | os.PathLike[str] | LiveSink
        if callable(self._output):
            show = self._output
            sink = CountingSink(lambda chunk: show(chunk, context))
        else:
            sink = self._output
        outcome = run_capture(
            self._source,
            context,
            sink,
            self._options.capture,
            stages=self._stages(),
            watch=watch,
            keep_note=self._note_files(),
        )
        self._account()
        return outcome

    def _ask(self) -> None:
        """Have the user agree to what would be interrupted. Raises UsageError where not."""
        shared = share_interfaces(self._chosen, self._options.interfaces)
        options = self._tap_options()
        for name in self._chosen:
            warning = self._taps[name].interrupts(shared[name], options)
            if not warning:
                continue
            if not self._consent(warning):
                raise UsageError(
                    "nothing was captured, for the network would be interrupted",
                    cause=warning,
                    hint="--yes goes on without asking; --tap pktmon interrupts nothing",
                )
            self._consented = True

    def _tap_options(self) -> TapOptions:
        chosen, options = self._options.capture, self._options
        return TapOptions(
            repairs=parse_repairs(chosen.repair),
            comments="comments" in chosen.evidence,
            raw_recording=options.raw_recording,
            filter=chosen.filter,
            components=options.components,
            pktmon_api=options.pktmon_api,
            ipsec_clear=options.ipsec_clear,
        )

    def _open_here(self, stack: ExitStack) -> LiveTapSource:
        """The taps in this process, which has the rights, and gives up what it needs no longer."""
        machine = self._machine
        if "raw" in self._chosen and self._options.firewall_rule:
            open_firewall(
                stack, self._tell, machine.journal(), machine.firewall(), machine.identity(), machine.program()
            )
        changes = Changes(machine.journal, machine.identity, self._tell, consented=self._consented)
        source = open_taps(
            self._chosen,
            self._options.interfaces,
            self._tap_options(),
            context=self._context,
            taps=self._taps,
            changes=changes,
        )
        stack.callback(source.close)
        if KEEPS_PRIVILEGES.isdisjoint(self._chosen):
            self._drop_privileges()
        return source

    def _open_there(self) -> LiveTapSource:
        """The taps in a collector, which gets the rights by consent; here their records become packets."""
        options = self._options
        wanted = Collection(
            tuple(self._chosen),
            options.interfaces,
            options.firewall_rule,
            options.raw_recording,
            filter=options.capture.filter,
            components=options.components,
            pktmon_api=options.pktmon_api,
            ipsec_clear=options.ipsec_clear,
            consented=self._consented,
        )
        self._tell("Windows asks for an administrator's consent: a second process captures, this one writes")
        pipe = self._machine.start_collector(wanted)
        try:
            remote = RemoteSource(pipe, self._context, tell=self._tell)
        except BaseException:
            pipe.close()
            raise
        if len(self._chosen) == 1:
            return self._packets_of(self._chosen[0], remote)
        parts = PerTap(remote, self._context, self._chosen)
        return LiveMerge([self._packets_of(*pair) for pair in zip(self._chosen, parts.sources, strict=True)])

    def _packets_of(self, name: str, records: LiveTapSource) -> LiveTapSource:
        """A tap's records with its stages behind them."""
        shared = share_interfaces(self._chosen, self._options.interfaces)
        options = replace(self._tap_options(), interfaces=shared[name])
        stages = self._taps[name].stages(self._context, records.describe(), options)
        return LiveStaged(records, stages) if stages else records

    def _stages(self) -> list[Stage]:
        """What concerns the packets of all taps together."""
        repairs = parse_repairs(self._options.capture.repair)
        late = "raw" in self._chosen or any(each.resolution >= COARSE for each in self._context.descriptions)
        causal = (ORDER in repairs or (RECORDED_ORDER in repairs and late)) and not self._options.raw_recording
        return [OrderStage(self._context)] if causal else []

    def _places(self) -> str:
        known = [each for each in self._context.interfaces if each.link_type != linktypes.ETW]
        names = dict.fromkeys(interface.name for interface in known if interface.name)
        return ", ".join(names or self._options.interfaces) or "all interfaces"  # a collector tells names later

    def _account(self) -> None:
        """Losses into the receipt, each kind by itself."""
        assert self._source is not None
        losses, receipt = self._source.losses(), self._context.receipt
        receipt.note("lost-ring", "packets found no room between the receiver and etwcap", losses.ring)
        receipt.note("lost-failed", "receive calls failed", losses.failed)
        receipt.note("cut", "packets were longer than a receive buffer and cut", losses.cut)
        receipt.note("lost-buffers", "buffers of a trace session were lost before they came here", losses.buffers)
        if losses.mechanism:
            receipt.note("lost-mechanism", "packets were lost by Windows before they came here", losses.mechanism)

    def _drop_privileges(self) -> None:
        try:
            dropped = self._machine.drop_privileges()
        except EtwcapError as error:
            self._tell(f"privileges could not be given up: {error}")
            return
        if dropped:
            number = plural(len(dropped), "privilege that is", "privileges that are")
            self._tell(f"{number} no longer needed {'was' if len(dropped) == 1 else 'were'} given up")

    def _note_files(self) -> Callable[[str], Callable[[], None]] | None:
        """What puts unfinished files into the user's journal, for ``cleanup`` to name after a crash."""
        journal = self._machine.user_journal()
        if journal is None:
            return None

        def note(name: str) -> Callable[[], None]:
            entry = journal.record(PART_FILE, name)
            return lambda: journal.forget(entry)

        return note


def capture(
    output: str | os.PathLike[str] | Callable[[Chunk, Context], None],
    options: LiveOptions | None = None,
    *,
    watch: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Capture on this Windows machine until one of the options ends it; for a capture that is ended from elsewhere, see
    :func:`capture_live`.

    ``output`` is a file, "-" (standard output), or a function that is given each chunk. Raises an EtwcapError:
    NotHereError off Windows, RightsError, UsageError, OutputError.
    """
    with capture_live(output, options) as live:
        return live.run(watch)


def capture_live(
    output: str | os.PathLike[str] | Callable[[Chunk, Context], None],
    options: LiveOptions | None = None,
    *,
    tell: Callable[[str], None] | None = None,
    machine: Machine | None = None,
    taps: dict[str, Tap] | None = None,
    consent: Callable[[str], bool] | None = None,
) -> Live:
    """A capture into a file, "-" (standard output), or a function that is given each chunk; not begun yet.

    ``with capture_live("x.pcapng") as live: live.run()``. ``tell`` is given lines for people. ``consent`` is asked,
    with a text for people, before something interrupts the network; without it nothing does. Raises NotHereError off
    Windows, UsageError; entering the context raises RightsError, NotHereError and what the taps raise.
    """
    options = options or LiveOptions()
    options.capture.check(output if isinstance(output, (str, os.PathLike)) else None)
    known = all_taps() if taps is None else taps
    check_names(options.taps, known)
    check_components(options.components)
    share_interfaces(options.taps, options.interfaces)
    if options.raw_recording and options.taps not in ((), ("raw",)):
        raise UsageError("only the tap raw makes recordings", hint="--tap raw --raw-recording")
    if machine is None:
        if sys.platform != "win32":
            raise NotHereError("capturing needs Windows", cause=f"this is {sys.platform}")
        machine = this_machine()
    if options.raw_recording and not options.taps:
        options = replace(options, taps=("raw",))
    if taps is None and library() is None:
        raise NotHereError(
            "capturing needs the native core", hint="install a wheel of this platform; ETWCAP_NATIVE=0 must not be set"
        )
    return Live(output, options, tell or (lambda _line: None), machine, known, consent or (lambda _warning: False))


def check_components(text: str) -> None:
    """Raise UsageError unless it is "nics", "all", or component ids."""
    numbers = text.split(",")
    if text not in ("nics", "all") and not all(
        each.isascii() and each.isdecimal() and len(each) < 6 for each in numbers
    ):
        raise UsageError("that names no components", cause=f"--components {text}", hint="nics, all, or ids: 12,13")


def choose_taps(taps: dict[str, Tap], wanted: Sequence[str]) -> list[str]:
    """The taps that are wanted, or the first of BY_ITSELF that is not known to be unusable here.

    Rights are no reason against one: without them a collector is started, after consent. Raises NotHereError with what
    is missing.
    """
    if wanted:
        return list(dict.fromkeys(wanted))
    found: dict[str, Sequence[Condition]] = {name: taps[name].available() for name in BY_ITSELF if name in taps}
    for name, conditions in found.items():
        if usable_with_consent(conditions) is not False:
            return [name]
    raise none_usable(found)


def none_usable(found: Mapping[str, Sequence[Condition]]) -> EtwcapError:
    """The error that says why no tap can be used: RightsError where rights are all that one of them lacks."""
    reasons: list[str] = []
    rights = False
    for name, conditions in found.items():
        missing = [each for each in conditions if each.needed and each.state is State.MISSING]
        rights = rights or all(each.name == RIGHTS for each in missing)
        reasons.append(f"{name}: {'; '.join(each.why for each in missing)}")
    kind = RightsError if rights and found else NotHereError
    return kind("no tap can be used here", cause=" · ".join(reasons), hint="etwcap taps tells how to mend it")
