"""The ways to have NdisCap deliver packets, each undone as it was done.

* ``join``: it is bound already. Nothing of the network changes; the driver is started where it is not, and a user more
  is counted, so that who bound it does not unbind it meanwhile.
* ``by_netevent``: Windows' own session for it, by PowerShell's module (8.1 and later).
* ``by_netsh``: ``netsh trace``, which also writes a small file that nobody reads.
* ``by_binding``: the driver is started and bound by us.

A change stands in the journal before it is made; ``stack`` takes it back. What fails leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from etwcap.errors import EtwcapError, WindowsCallError
from etwcap.filters.parser import parse
from etwcap.filters.split import ANYTHING, Split, split
from etwcap.taps.journal import BINDING
from etwcap.taps.ndiscap_cleanup import (
    BINDING_WAY,
    BOUND,
    NETEVENT,
    NETSH,
    NONE,
    CaptureBindings,
    change_name,
)
from etwcap.taps.ndiscap_means import CAPTURE_MODE, COMPONENT, PARAMETERS, REF_COUNT, SERVICE, Means
from etwcap.taps.protocol import Changes
from etwcap.windows.adapters import WIFI, Adapter
from etwcap.windows.netevent import AnotherSessionError, nothing_made, packet_capture
from etwcap.windows.netsh_trace import start_words

LEVEL: Final = 4
"""All events that packets and their interfaces need. Level 5 adds two events around each packet."""
_TRACE_FILE = "packets.etl"
_ERROR_INVALID_FUNCTION = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be captured."""

    adapters: tuple[Adapter, ...]
    """those that were named; none: all"""
    build: int
    """of this Windows"""
    told: Split
    """the filter as NdisCap can be told it"""

    @property
    def ether_types(self) -> list[int]:
        """EtherTypes of which a packet has one; none: any."""
        return _values([each.ether_type for each in self.told.constraints])

    @property
    def protocols(self) -> list[int]:
        """IP protocols of which a packet has one; none: any."""
        return _values([each.protocol for each in self.told.constraints])

    @property
    def addresses(self) -> list[str]:
        """IP addresses of which a packet has one; none: any."""
        words = " ".join(self.told.pushed).split()
        return [word.partition("=")[2] for word in words if word.startswith(("IPv4.Address=", "IPv6.Address="))]


def what_to_tell(expression: str | None, adapters: Sequence[Adapter]) -> Split:
    """What of a filter goes to the driver: nothing where one of the adapters is a Wi-Fi, of whose frames it is not
    documented how the driver's rules read them."""
    if expression is None or any(each.kind == WIFI for each in adapters):
        return Split("ndiscap", (ANYTHING,), ())
    return split(parse(expression), "ndiscap")


def _values(found: Sequence[int | None]) -> list[int]:
    """Each value once; none where one of them is open."""
    return [] if None in found else list(dict.fromkeys(each for each in found if each is not None))


def join(means: Means, changes: Changes, stack: ExitStack) -> None:
    """Use the driver as it is bound. Where who bound it ends meanwhile, it stays bound, and that is told."""
    users = means.registry.number(PARAMETERS, REF_COUNT) or 0
    _with_driver(means, changes, stack, BOUND, [])

    def tell() -> None:
        if users and means.registry.number(PARAMETERS, REF_COUNT) == 1:
            changes.tell(
                "NdisCap stays bound: the program that bound it has ended meanwhile; to unbind it:"
                f" Disable-NetAdapterBinding -Name * -AllBindings -ComponentID {COMPONENT}"
            )

    stack.callback(tell)


def by_netevent(means: Means, changes: Changes, stack: ExitStack, wanted: Wanted) -> str:
    """Start a NetEvent session; its name. A session of ours whose process no longer runs is removed first, and told.

    Raises AnotherSessionError where somebody else has one.
    """
    name = change_name(changes.identity(), NETEVENT)
    provider = packet_capture(
        level=LEVEL, ether_types=wanted.ether_types, protocols=wanted.protocols, addresses=wanted.addresses
    )

    def start() -> None:
        means.netevent.start(name, [provider], adapters=[each.alias for each in wanted.adapters])

    def start_after_cleaning() -> None:
        try:
            start()
        except AnotherSessionError as error:
            if not _remove_left_behind(means, changes, error):
                raise
            start()

    _change(means, changes, stack, name, {}, start_after_cleaning, nothing_made)
    return name


def _remove_left_behind(means: Means, changes: Changes, error: AnotherSessionError) -> bool:
    """Whether all sessions that are in the way were ours, of processes that no longer run, and are gone now."""
    known = CaptureBindings(means)
    for each in error.sessions:
        owner = known.owner(each.name)
        if owner is None or means.alive(owner):
            return False
    for each in error.sessions:
        means.netevent.remove(each.name)
        changes.tell(f"the NetEvent session {each.name}, left by a process that no longer runs, was removed")
    return bool(error.sessions)


def by_netsh(means: Means, changes: Changes, stack: ExitStack, wanted: Wanted) -> None:
    """Start netsh's trace."""
    name = change_name(changes.identity(), NETSH)
    adapter = wanted.adapters[0].guid if len(wanted.adapters) == 1 else ""

    def start() -> None:
        folder = means.folders.make(name)
        words = " ".join(wanted.told.pushed).split()
        file = os.path.join(folder, _TRACE_FILE)
        means.netsh.start(start_words(wanted.build, file, pushed=words, adapter=adapter))

    _change(means, changes, stack, name, {}, start)


def by_binding(means: Means, changes: Changes, stack: ExitStack, wanted: Wanted) -> None:
    """Start the driver and bind it, to the adapters that were named or to all."""
    chosen = {each.guid.upper() for each in wanted.adapters}
    paths = [each for each in means.netcfg.paths(COMPONENT) if not chosen or not each.adapter or each.adapter in chosen]
    if not paths:
        raise EtwcapError("NdisCap cannot be bound", cause="Windows knows no path from it to an adapter")
    _with_driver(means, changes, stack, BINDING_WAY, [each.token for each in paths if not each.enabled])


def _with_driver(means: Means, changes: Changes, stack: ExitStack, way: str, tokens: Sequence[str]) -> None:
    """Start the driver, count a user more, and enable the binding paths of these tokens."""
    registry = means.registry
    users, mode = registry.number(PARAMETERS, REF_COUNT), registry.number(PARAMETERS, CAPTURE_MODE)
    state = means.services.state(SERVICE)
    facts: dict[str, str | int] = {
        "ref_count": NONE if users is None else users,
        "capture_mode": NONE if mode is None else mode,
        "started": int(state is not None and not state.running),
        "paths": "\n".join(tokens),
    }

    def start() -> None:
        _start_driver(means)
        registry.set_number(PARAMETERS, REF_COUNT, (users or 0) + 1)
        if tokens:
            registry.set_number(PARAMETERS, CAPTURE_MODE, 0)
            if means.netcfg.switch(COMPONENT, tokens, on=True):
                changes.tell("Windows says that it must be restarted before NdisCap is bound everywhere")

    _change(means, changes, stack, change_name(changes.identity(), way), facts, start)


def _start_driver(means: Means) -> None:
    try:
        means.services.start(SERVICE)
    except WindowsCallError as error:
        if error.code != _ERROR_INVALID_FUNCTION:  # the driver says so at times, and starts when asked again
            raise
        means.services.start(SERVICE)


def _change(
    means: Means,
    changes: Changes,
    stack: ExitStack,
    name: str,
    facts: dict[str, str | int],
    do: Callable[[], None],
    nothing_done: Callable[[BaseException], bool] = lambda _error: False,
) -> None:
    """Make a change that stands in the journal first. What cannot be taken back is told, and stays in the journal.

    ``nothing_done`` says of what ``do`` raises that nothing has to be taken back.
    """
    journal = changes.journal()
    entry = journal.record(BINDING, name, **facts)

    def take_back() -> None:
        try:
            CaptureBindings(means).undo(entry)
        except EtwcapError as error:
            changes.tell(f"{error}; 'etwcap cleanup' tries again")
            return
        journal.forget(entry)

    try:
        do()
    except BaseException as error:
        if nothing_done(error):
            journal.forget(entry)
        else:
            take_back()
        raise
    stack.callback(take_back)
