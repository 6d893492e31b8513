"""How NdisCap stands on this machine: bound or not, by whom it is used, and what binding it would interrupt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from etwcap.errors import EtwcapError, NotHereError, UsageError
from etwcap.taps.ndiscap_means import COMPONENT, Means
from etwcap.taps.protocol import LOOPBACK
from etwcap.taps.raw_sockets import choose_adapters
from etwcap.windows.adapters import ETHERNET, WIFI, Adapter
from etwcap.windows.filter_binding import FilterBinding

_MOBILE: Final = (237, 243, 244)
"""IfType of WiMAX, GSM and CDMA adapters"""
_FRAMES: Final = (ETHERNET, WIFI, *_MOBILE)
"""Adapters that NdisCap binds to; tunnels are seen at the adapter below them."""
_NETSH_SESSION: Final = "nettrace"
"""Part of the name, or of the file, of the trace session of netsh trace where nobody gave it another."""

PAUSE: Final = (
    "Windows binds its capture driver NdisCap to {} for this capture. The network there stops for a moment, now and"
    " again at the end, and connections may break."
)
REMOTE: Final = (
    " This is a session of Remote Desktop: it may be cut at once, and the machine stay out of reach for minutes."
)


@dataclass(frozen=True, slots=True)
class Bound:
    """What is known of the binding to the adapters that are wanted."""

    known: bool
    to: tuple[str, ...] = ()
    """names of adapters that it is bound to"""
    missing: tuple[str, ...] = ()
    """names of adapters that it would have to be bound to"""

    @property
    def complete(self) -> bool:
        """Whether nothing has to be bound."""
        return self.known and bool(self.to) and not self.missing


def wanted_adapters(known: Sequence[Adapter], interfaces: Sequence[str]) -> list[Adapter]:
    """The adapters of these names; of none, all that carry frames and are up. Raises UsageError for one that there is
    not, and for the loopback, which NdisCap never sees."""
    if any(each.casefold() == LOOPBACK for each in interfaces):
        raise UsageError(
            "the tap ndiscap does not see the loopback",
            cause=f"-i {LOOPBACK}",
            hint=f"--tap raw -i {LOOPBACK}, or both: --tap ndiscap,raw",
        )
    chosen = choose_adapters(known, interfaces)
    if interfaces:
        unseen = next((each.alias for each in chosen if each.loopback), "")
        if unseen:
            raise UsageError(f"the tap ndiscap does not see {unseen}", hint=f"--tap raw -i {LOOPBACK}")
        return chosen
    return [each for each in chosen if each.kind in _FRAMES]


def bound_to(means: Means, wanted: Sequence[Adapter]) -> Bound:
    """How the binding to these adapters stands; asks the registry, and INetCfg where that does not say."""
    binding = _binding(means)
    if binding is None:
        return Bound(False)
    if not wanted:
        return Bound(True, tuple(sorted(binding.bound)))
    to = tuple(each.alias for each in wanted if each.guid.upper() in binding.bound)
    missing = tuple(each.alias for each in wanted if each.guid.upper() not in binding.bound)
    return Bound(True, to, missing)


def _binding(means: Means) -> FilterBinding | None:
    try:
        return means.binding()
    except NotHereError:
        raise
    except EtwcapError:
        pass
    try:
        paths = [each for each in means.netcfg.paths(COMPONENT) if each.adapter]
    except EtwcapError:
        return None
    on = frozenset(each.adapter for each in paths if each.enabled)
    return FilterBinding(on, frozenset(each.adapter for each in paths) - on)


def warning(bound: Bound, wanted: Sequence[Adapter], remote: Callable[[], bool]) -> str:
    """What binding interrupts, for the user to agree to; "" where nothing has to be bound."""
    if bound.complete:
        return ""
    names = bound.missing or tuple(each.alias for each in wanted)
    text = PAUSE.format(", ".join(names) or "every adapter")
    return text + (REMOTE if _is_remote(remote) else "")


def _is_remote(remote: Callable[[], bool]) -> bool:
    try:
        return remote()
    except EtwcapError:
        return False


def netsh_traces(means: Means) -> list[str]:
    """Trace sessions that look like netsh's; none where they may not be asked for."""
    try:
        sessions = means.etw.sessions()
    except EtwcapError:
        return []
    return [
        each.name
        for each in sessions
        if _NETSH_SESSION in each.name.casefold() or _NETSH_SESSION in each.file.casefold()
    ]
