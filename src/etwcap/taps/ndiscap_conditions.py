"""What the tap ndiscap needs of a machine, and how that stands there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from etwcap.errors import EtwcapError, NotHereError
from etwcap.taps.conditions import disabled, native_core, rights, service_state
from etwcap.taps.ndiscap_means import SERVICE, Means
from etwcap.taps.ndiscap_state import bound_to, netsh_traces, wanted_adapters
from etwcap.taps.protocol import Condition, State
from etwcap.windows.adapters import Adapter
from etwcap.windows.netevent import FIRST_BUILD
from etwcap.windows.version import WindowsVersion

FIRST_WINDOWS: Final = (6, 1)
"""Windows 7 has NdisCap first"""


def conditions(
    version: WindowsVersion,
    means: Means,
    list_adapters: Callable[[], list[Adapter]],
    remote: Callable[[], bool],
    *,
    native: bool,
) -> list[Condition]:
    """Each condition; asks as much as can be without rights, and changes nothing."""
    if version.wine:
        why = f"{version}: Wine has no trace sessions and no NdisCap"
        return [Condition("windows", State.MISSING, why, "capture on Windows")]
    if (version.major, version.minor) < FIRST_WINDOWS:
        return [Condition("windows", State.MISSING, f"{version}: before Windows 7 there is no NdisCap", "--tap raw")]
    binding = _binding(means, list_adapters)
    found = [
        Condition("windows", State.MET, str(version)),
        native_core(native),
        _driver(means),
        rights(means.elevated, "trace sessions and bindings are"),
        _switch(version, means),
        binding,
    ]
    if _is(remote) and binding.state is not State.MET:
        why = "this is a session of Remote Desktop: binding may cut it, for minutes"
        found.append(Condition("remote session", State.MISSING, why, "--tap pktmon", needed=False))
    others = netsh_traces(means)
    if others:
        why = f"a trace of netsh runs ({', '.join(others)}): there is one at a time"
        found.append(
            Condition(
                "other traces", State.MISSING, why, "netsh trace stop", needed=not _complete(means, list_adapters)
            )
        )
    return found


def _driver(means: Means) -> Condition:
    try:
        state, is_disabled = service_state(means.services, means.start_type, SERVICE)
    except EtwcapError as error:
        return Condition("driver", State.UNKNOWN, f"the service {SERVICE} cannot be asked for: {error}")
    if state is None:
        why = f"this Windows has no service {SERVICE}"
        return Condition("driver", State.MISSING, why, "--tap pktmon, on Windows 10 1809 and later")
    if is_disabled:
        return disabled(SERVICE)
    return Condition("driver", State.MET, f"{SERVICE} is there" + (" and runs" if state.running else ""))


def _switch(version: WindowsVersion, means: Means) -> Condition:
    """What switches it on. There is always a way, so nothing of it is needed."""
    if version.build < FIRST_BUILD:
        return Condition("switched on by", State.MET, "netsh trace", needed=False)
    try:
        missing = means.netevent.lacks()
    except NotHereError as error:
        missing = str(error)
    if missing:
        why = f"no NetEvent sessions, for there is no {missing}: netsh trace serves"
        return Condition("switched on by", State.MET, why, needed=False)
    return Condition("switched on by", State.MET, "a NetEvent session, by PowerShell", needed=False)


def _binding(means: Means, list_adapters: Callable[[], list[Adapter]]) -> Condition:
    try:
        bound = bound_to(means, wanted_adapters(list_adapters(), ()))
    except EtwcapError as error:
        return Condition("binding", State.UNKNOWN, f"bindings cannot be read: {error}", needed=False)
    if not bound.known:
        why = "it cannot be told to which adapters it is bound; a capture asks before it binds"
        return Condition("binding", State.UNKNOWN, why, needed=False)
    if bound.complete:
        why = f"bound already to {', '.join(bound.to)}: a capture interrupts nothing"
        return Condition("binding", State.MET, why, needed=False)
    names = ", ".join(bound.missing) or "any adapter"
    why = f"not bound to {names}: a capture binds it, after asking; the network there stops for a moment"
    return Condition("binding", State.MISSING, why, needed=False)


def _complete(means: Means, list_adapters: Callable[[], list[Adapter]]) -> bool:
    try:
        return bound_to(means, wanted_adapters(list_adapters(), ())).complete
    except EtwcapError:
        return False


def _is(remote: Callable[[], bool]) -> bool:
    try:
        return remote()
    except EtwcapError:
        return False
