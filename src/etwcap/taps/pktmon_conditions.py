"""What PktMon needs of this machine, and how that stands here."""

from __future__ import annotations

from collections.abc import Callable

from etwcap.errors import EtwcapError
from etwcap.taps.conditions import disabled, native_core, rights, service_state
from etwcap.taps.pktmon_driver import SERVICE, PktMonMeans, capture_runs
from etwcap.taps.protocol import Condition, State
from etwcap.windows.services import ServiceState
from etwcap.windows.version import WINDOWS_10_1809, WindowsVersion


def conditions(
    version: WindowsVersion, means: PktMonMeans, elevated: Callable[[], bool], *, core: bool
) -> list[Condition]:
    """All of it; asks as much as can be without rights, and changes nothing."""
    windows = _windows(version)
    if windows.state is State.MISSING:
        return [windows]
    return [
        windows,
        native_core(core),
        _driver(means),
        rights(elevated, "PktMon is"),
        _way(version, means),
        _others(means),
        _api(means),
        Condition(
            "loopback",
            State.MISSING,
            "PktMon does not see what the machine says to itself",
            "etwcap capture --tap pktmon,raw",
            needed=False,
        ),
    ]


def _windows(version: WindowsVersion) -> Condition:
    if version.wine:
        why = f"{version}: Wine has no PktMon and no trace sessions"
        return Condition("windows", State.MISSING, why, "capture on Windows")
    if version.build < WINDOWS_10_1809:
        why = f"{version}: PktMon came with Windows 10 1809 and Server 2019"
        return Condition("windows", State.MISSING, why, "etwcap capture --tap raw")
    return Condition("windows", State.MET, str(version))


def _driver(means: PktMonMeans) -> Condition:
    try:
        service, is_disabled = service_state(means.services, means.start_type, SERVICE)
    except EtwcapError as error:
        return Condition("driver", State.UNKNOWN, f"it cannot be told whether the driver is there: {error}")
    if service is None:
        why = f"there is no service {SERVICE}: this Windows comes without PktMon"
        return Condition("driver", State.MISSING, why, "etwcap capture --tap raw")
    if is_disabled:
        return disabled(SERVICE)
    return Condition("driver", State.MET, _driver_text(service))


def _driver_text(service: ServiceState) -> str:
    if service.running:
        return "PktMon's driver runs"
    return "PktMon's driver is there; a capture starts it, and stops it at the end"


def _way(version: WindowsVersion, means: PktMonMeans) -> Condition:
    """pktmon.exe, or exports that do the same; whether a policy forbids the program shows when it is run."""
    if means.exe(version.build).there():
        return Condition("control", State.MET, "pktmon.exe starts and stops the capture")
    if means.legacy.there():
        return Condition("control", State.MET, "PktMonApi.dll starts and stops the capture; there is no pktmon.exe")
    if means.api.there():
        return Condition("control", State.MET, "by PktMon's API alone: at most 9,000 bytes of a packet, coarse times")
    return Condition(
        "control",
        State.UNKNOWN,
        "there is neither pktmon.exe nor PktMonApi.dll; the driver's device may do",
        "sfc /scannow",
    )


def _others(means: PktMonMeans) -> Condition:
    runs = capture_runs(means)
    if runs is None:
        why = "whether somebody else's capture of PktMon runs cannot be told without rights"
        return Condition("others", State.UNKNOWN, why, needed=False)
    if not runs:
        return Condition("others", State.MET, "nobody else captures with PktMon", needed=False)
    beside = "packets come by PktMon's API beside it" if means.api.there() else "its packets are seen, as it has chosen"
    return Condition(
        "others",
        State.MISSING,
        f"somebody else's capture of PktMon runs; it is left alone, and {beside}",
        "pktmon stop",
        needed=False,
    )


def _api(means: PktMonMeans) -> Condition:
    if means.api.there():
        why = "the Packet Monitor API is there, for when somebody else captures, and for --pktmon-api"
        return Condition("api", State.MET, why, needed=False)
    why = "the Packet Monitor API is not there; it is needed only beside somebody else's capture"
    return Condition("api", State.MISSING, why, "install Windows' updates", needed=False)
