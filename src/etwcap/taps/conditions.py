"""Conditions that several taps have, and what all of them say of this Windows."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Final

from etwcap.errors import EtwcapError
from etwcap.packets import Description, Machine
from etwcap.taps.protocol import RIGHTS, Condition, State
from etwcap.windows.drivers import DISABLED
from etwcap.windows.services import Services, ServiceState
from etwcap.windows.version import WindowsVersion

ELEVATE: Final = 'powershell -Command "Start-Process cmd -Verb RunAs"'
REINSTALL: Final = "pip install --force-reinstall --only-binary :all: etwcap"


def not_windows(error: EtwcapError) -> list[Condition]:
    """All that there is to say where this is no Windows."""
    mend = "capture on Windows; here, convert reads what it recorded"
    return [Condition("windows", State.MISSING, str(error), mend)]


def native_core(there: bool) -> Condition:
    """Whether the core is loaded."""
    if there:
        return Condition("native core", State.MET, "loaded")
    return Condition("native core", State.MISSING, "the native core, which has the receiver, is not loaded", REINSTALL)


def service_state(
    services: Services, start_type: Callable[[str], int | None], name: str
) -> tuple[ServiceState | None, bool]:
    """The state of a driver's service (None: this Windows has none of that name), and whether it is disabled.

    Raises EtwcapError where it cannot be asked for.
    """
    state = services.state(name)
    return state, state is not None and not state.running and start_type(name) == DISABLED


def disabled(name: str) -> Condition:
    """A driver whose service is disabled."""
    return Condition("driver", State.MISSING, f"the service {name} is disabled", f"sc config {name} start= demand")


def rights(elevated: Callable[[], bool], what: str) -> Condition:
    """Whether the process has an administrator's rights, which ``what`` are for."""
    try:
        is_elevated = elevated()
    except EtwcapError as error:
        why = f"it cannot be told whether this process is elevated: {error}"
        return Condition(RIGHTS, State.UNKNOWN, why, ELEVATE)
    if is_elevated:
        return Condition(RIGHTS, State.MET, "the process is elevated")
    return Condition(RIGHTS, State.MISSING, f"{what} for administrators", ELEVATE)


def description_of(version: WindowsVersion, *, frequency: int) -> Description:
    """A live source on this Windows whose stamps are ticks of a counter of ``frequency`` Hz."""
    return Description(
        machine=Machine(
            os_name=version.product or "Windows",
            os_version=f"{version.major}.{version.minor}.{version.build}.{version.revision}",
            computer_name=platform.node(),
        ),
        resolution=max(1, 1_000_000_000 // frequency),
    )
