"""Whether Windows lets the driver WfpCapture load, before it is asked to, and why it did not when it refused.

The driver is old: it came with Message Analyzer, which Microsoft withdrew in 2019. Since Windows 10 1607 a driver that
was not signed through the Hardware Dev Center loads only where Secure Boot is off, where Windows was upgraded from an
earlier one, or where its certificate was issued before 29 July 2015 (Microsoft: "Driver Signing").
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Final, TypeVar

from etwcap.errors import EtwcapError, NotHereError, WindowsCallError
from etwcap.taps.protocol import Condition, State
from etwcap.windows.drivers import DISABLED, DriverFile, driver_file
from etwcap.windows.services import NO_SUCH_SERVICE, Services, ServiceState
from etwcap.windows.signature import Signature, Signatures
from etwcap.windows.version import WINDOWS_10_1607, SigningPolicy, WindowsVersion, signing_policy

SERVICE: Final = "WfpCapture"
OTHER_TAP: Final = "etwcap capture --tap raw -i loopback"
"""what sees the loopback without a driver"""
ENABLE: Final = f"sc config {SERVICE} start= demand"
TRY: Final = f"sc start {SERVICE}"

_RULE_BEGINS: Final = datetime(2015, 7, 29, tzinfo=timezone.utc)
_OF_WINDOWS: Final = ("microsoft windows",)
"""how the names begin of those who sign for Windows itself and for the Hardware Dev Center"""
_T = TypeVar("_T")
_INVALID_HASH, _BLOCKED, _DISABLED, _NO_FILE = 577, 1275, 1058, 2


@dataclass(frozen=True, slots=True)
class Driver:
    """What can be known of the driver without loading it; ``unread`` says what could not be read, and why."""

    service: ServiceState | None = None
    """None: there is none (or ``unread`` has "service")"""
    file: DriverFile | None = None
    file_there: bool = False
    signature: Signature | None = None
    """None: the file has none in it (or ``unread`` has "signature")"""
    policy: SigningPolicy | None = None
    unread: dict[str, str] = field(default_factory=dict)


def look(
    services: Services | None = None,
    *,
    find_file: Callable[[str], DriverFile] = driver_file,
    signatures: Signatures | None = None,
    policy: Callable[[], SigningPolicy] = signing_policy,
    is_file: Callable[[str], bool] = os.path.isfile,
) -> Driver:
    """Ask the machine, which changes nothing; the arguments are for tests."""
    unread: dict[str, str] = {}
    service = _read("service", unread, lambda: (services or Services()).state(SERVICE))
    rules = _read("policy", unread, policy)
    if service is None:
        return Driver(policy=rules, unread=unread)
    file = _read("file", unread, lambda: find_file(SERVICE))
    there = file is not None and is_file(file.path)
    path = file.path if file is not None else ""
    signature = _read("signature", unread, lambda: (signatures or Signatures()).of(path)) if there else None
    return Driver(service, file, there, signature, rules, unread)


def _read(name: str, unread: dict[str, str], ask: Callable[[], _T]) -> _T | None:
    try:
        return ask()
    except (OSError, EtwcapError) as error:
        unread[name] = str(error)
        return None


def accepted(driver: Driver, version: WindowsVersion) -> tuple[bool | None, str]:
    """Whether Windows accepts the driver's signature (None: not known), and why, in one line."""
    policy, signature = driver.policy, driver.signature
    signed = f"signed by {signature.signer}" if signature is not None and signature.signer else "signed"
    if driver.service is not None and driver.service.running:
        return True, "the driver runs, so Windows has accepted it"
    if version.build < WINDOWS_10_1607:
        return True, "this Windows, from before 10 1607, takes drivers with any signature that it can check"
    if signature is not None and signature.signer.casefold().startswith(_OF_WINDOWS):
        return True, f"{signed}, as Windows wants it"
    if policy is None:
        return None, f"the signing policy cannot be read: {driver.unread.get('policy', '')}"
    if policy.test_signing:
        return True, "Windows was started with test signing on, so any signature will do"
    if not policy.secure_boot:
        return (
            True,
            f"Secure Boot is {'off' if policy.secure_boot is False else 'not there'}, so an old signature will do",
        )
    if policy.upgraded:
        return True, "Secure Boot is on, but this Windows was upgraded from one before 10 1607, and keeps its old rule"
    rule = "Secure Boot is on: an old driver needs a certificate from before 29 July 2015"
    if signature is None:
        unread = driver.unread.get("signature")
        why = f"its own cannot be read ({unread})" if unread else "it has none in its file, maybe one in a catalog"
        return None, f"{rule}; {why}"
    issued = f"{signature.issued:%d %B %Y}".lstrip("0")
    if signature.issued < _RULE_BEGINS:
        return True, f"{signed}, with a certificate of {issued}, old enough for Secure Boot"
    return False, f"{rule}; its own ({signature.signer or 'no name'}) is of {issued}"


def driver_conditions(driver: Driver, version: WindowsVersion) -> list[Condition]:
    """The driver is there, Windows accepts its signature, and memory integrity does not stand in the way."""
    if "service" in driver.unread:
        why = f"the service manager does not tell: {driver.unread['service']}"
        return [Condition("driver", State.UNKNOWN, why, f"sc query {SERVICE}")]
    if driver.service is None:
        why = f"this Windows has no driver {SERVICE}, which came with Message Analyzer; raw sees the loopback too"
        return [Condition("driver", State.MISSING, why, OTHER_TAP)]
    found = [_file(driver)]
    good, why = accepted(driver, version)
    state = {True: State.MET, False: State.MISSING, None: State.UNKNOWN}[good]
    found.append(Condition("signature", state, why, {True: "", False: OTHER_TAP, None: TRY}[good]))
    if driver.policy is not None and driver.policy.memory_integrity and not driver.service.running:
        why = "it is on, and refuses some old drivers whatever their signature"
        found.append(Condition("memory integrity", State.UNKNOWN, why, TRY, needed=good is not False))
    return found


def _file(driver: Driver) -> Condition:
    assert driver.service is not None
    if driver.service.running:
        return Condition("driver", State.MET, f"{SERVICE} is there, and runs")
    if driver.file is None:
        why = f"{SERVICE} is there; where its file is cannot be read: {driver.unread.get('file', '')}"
        return Condition("driver", State.UNKNOWN, why, f"sc qc {SERVICE}")
    if driver.file.start == DISABLED:
        return Condition("driver", State.MISSING, f"{SERVICE} is there, and disabled", ENABLE)
    if not driver.file_there:
        why = f"the service {SERVICE} is there, its file {driver.file.path} is not. The tap raw sees the loopback too"
        return Condition("driver", State.MISSING, why, OTHER_TAP)
    return Condition("driver", State.MET, f"{driver.file.path}; a capture starts it, and stops it at its end")


def start_failure(error: WindowsCallError, driver: Driver, version: WindowsVersion) -> EtwcapError:
    """What to tell where the driver could not be started: the rule that it met, and what sees the same."""
    also = f"{OTHER_TAP} sees the loopback without a driver"
    what = f"the driver {SERVICE} cannot be started"
    if error.code == _INVALID_HASH:
        good, why = accepted(driver, version)
        if good is not False:
            why = f"{why}; it refused all the same"
        return NotHereError(f"{what}: Windows does not accept its signature (577)", cause=why, hint=also)
    if error.code == _BLOCKED:
        why = "memory integrity or the list of vulnerable drivers keeps it from loading"
        return NotHereError(f"{what}: Windows blocks it (1275)", cause=why, hint=also)
    if error.code == NO_SUCH_SERVICE:
        why = "it came with Message Analyzer, which Microsoft withdrew in 2019, and with few builds of Windows"
        return NotHereError(f"this Windows has no driver {SERVICE}", cause=why, hint=also)
    if error.code == _DISABLED:
        return NotHereError(f"{what}: it is disabled (1058)", cause=str(error), hint=f"{ENABLE}, or: {also}")
    if error.code == _NO_FILE:
        path = driver.file.path if driver.file is not None else "its file"
        return NotHereError(f"{what}: {path} is not there", cause=str(error), hint=also)
    return error
