"""The self-test of this machine: which taps, and which addresses of it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from ipaddress import ip_address

from etwcap.native.loader import backend
from etwcap.taps.capturing import none_usable
from etwcap.taps.listing import tap_states
from etwcap.taps.protocol import Tap, TapOptions
from etwcap.taps.selftest import Report, TapReport, try_tap
from etwcap.windows.adapters import Adapter, adapters
from etwcap.windows.version import this_windows

LOOPBACK = ("127.0.0.1", "::1")
NAMED = ("raw",)
"""taps that listen to the loopback where it is named; the others have all that they see by themselves"""


def check_taps(
    taps: Mapping[str, Tap],
    wanted: Sequence[str] = (),
    *,
    firewall_rule: bool = True,
    consent: Callable[[str], bool] | None = None,
    try_one: Callable[..., TapReport] = try_tap,
) -> Report:
    """Try each wanted tap (none named: every one that is not known to be unusable, and would interrupt nothing) on the
    loopback and on every adapter that is up. ``consent`` is asked before the network is interrupted; ``try_one`` is for
    tests.

    Raises RightsError or NotHereError where none is named and none can be used, and what asking the machine raises;
    what a tap raises stands in the report.
    """
    version = this_windows()
    machine = {"windows": str(version), "python": ctypes.sizeof(ctypes.c_void_p) * 8, "core": backend()}
    found = adapters()
    reports = try_taps(taps, wanted, found, firewall_rule=firewall_rule, consent=consent, try_one=try_one)
    return Report({**machine, "adapters": len(found), **_flags(asdict(version))}, reports)


def try_taps(
    taps: Mapping[str, Tap],
    wanted: Sequence[str],
    found: Sequence[Adapter],
    *,
    firewall_rule: bool = True,
    consent: Callable[[str], bool] | None = None,
    try_one: Callable[..., TapReport] = try_tap,
) -> list[TapReport]:
    """``check_taps`` on a machine with these adapters."""
    states = tap_states(taps.values())
    if not wanted and all(state.usable is False for state in states):
        raise none_usable({state.name: state.conditions for state in states})
    names, addresses = places(found)
    reports = []
    for state in states:
        if state.name not in wanted and (wanted or state.usable is False):
            continue
        interfaces = names if state.name in NAMED else []
        warning = "" if state.name in wanted else taps[state.name].interrupts(interfaces, TapOptions())
        if warning:
            skipped = f"{warning}; etwcap selftest --tap {state.name} tries it"
            reports.append(TapReport(state.name, state.as_dict(), skipped=skipped))
            continue
        reports.append(
            try_one(state, LOOPBACK, addresses, interfaces=interfaces, firewall_rule=firewall_rule, consent=consent)
        )
    return reports


def places(found: Sequence[Adapter]) -> tuple[list[str], list[str]]:
    """The interfaces to capture on, the loopback first, and of each adapter that is up one address of each family that
    reaches beyond its link."""
    names, addresses = ["loopback"], list[str]()
    for adapter in found:
        if adapter.loopback or not adapter.up:
            continue
        own = [ip_address(each.text) for each in adapter.addresses]
        chosen = [next((str(each) for each in own if each.version == v and not each.is_link_local), "") for v in (4, 6)]
        if any(chosen):
            names.append(adapter.alias)
            addresses += filter(None, chosen)
    return names, addresses


def _flags(version: dict[str, object]) -> dict[str, object]:
    return {"wine": version["wine"]} if version.get("wine") else {}
