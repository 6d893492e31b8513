"""Whether the driver WfpCapture can load, told before it is tried, and explained when Windows refuses it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etwcap.errors import EtwcapError, NotHereError, RightsError, WindowsCallError
from etwcap.taps.protocol import Condition, State
from etwcap.taps.wfp_driver import ENABLE, OTHER_TAP, TRY, Driver, accepted, driver_conditions, look, start_failure
from etwcap.windows.drivers import DISABLED, DriverFile
from etwcap.windows.failure import failure
from etwcap.windows.services import ServiceState
from etwcap.windows.signature import Signature
from etwcap.windows.version import SigningPolicy, WindowsVersion
from wfp_machine import (
    BEFORE_1607,
    FILE,
    LOADS,
    NEW,
    NO_DRIVER,
    OLD,
    OPEN,
    REFUSED,
    RUNS,
    SECURE,
    UPGRADED,
    WINDOWS_10,
    WINDOWS_11,
)


@pytest.mark.parametrize(
    ("driver", "version", "good", "says"),
    [
        (RUNS, WINDOWS_11, True, "runs"),
        (REFUSED, BEFORE_1607, True, "before 10 1607"),
        (REFUSED, WINDOWS_10, False, "Secure Boot is on: .* (Microsoft Corporation) is of 18 August 2016"),
        (replace(REFUSED, signature=OLD), WINDOWS_10, True, "certificate of 4 June 2015"),
        (replace(REFUSED, policy=OPEN), WINDOWS_10, True, "Secure Boot is off"),
        (replace(REFUSED, policy=SigningPolicy(None, False)), WINDOWS_10, True, "Secure Boot is not there"),
        (replace(REFUSED, policy=UPGRADED), WINDOWS_10, True, "upgraded"),
        (replace(REFUSED, policy=SigningPolicy(True, False, test_signing=True)), WINDOWS_10, True, "test signing"),
        (replace(REFUSED, signature=replace(NEW, signer="Microsoft Windows Hardware Compatibility Publisher")),
         WINDOWS_10, True, "as Windows wants it"),
        (replace(REFUSED, signature=None), WINDOWS_10, None, "none in its file, maybe one in a catalog"),
        (replace(REFUSED, signature=None, unread={"signature": "access denied"}), WINDOWS_10, None, "access denied"),
        (replace(REFUSED, policy=None, unread={"policy": "no registry"}), WINDOWS_10, None, "no registry"),
    ],
)  # fmt: skip
def test_the_signing_rule_of_windows_decides(
    driver: Driver, version: WindowsVersion, good: bool | None, says: str
) -> None:
    found, why = accepted(driver, version)
    assert found is good
    begin, _, end = says.partition(".* ")
    assert begin in why
    assert end in why


def states(conditions: list[Condition]) -> dict[str, tuple[State, str]]:
    return {each.name: (each.state, each.mend) for each in conditions}


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (NO_DRIVER, {"driver": (State.MISSING, OTHER_TAP)}),
        (LOADS, {"driver": (State.MET, ""), "signature": (State.MET, "")}),
        (RUNS, {"driver": (State.MET, ""), "signature": (State.MET, "")}),
        (REFUSED, {"driver": (State.MET, ""), "signature": (State.MISSING, OTHER_TAP)}),
        (replace(LOADS, file=DriverFile(FILE.path, DISABLED)),
         {"driver": (State.MISSING, ENABLE), "signature": (State.MET, "")}),
        (replace(LOADS, file_there=False), {"driver": (State.MISSING, OTHER_TAP), "signature": (State.MET, "")}),
        (replace(LOADS, file=None, unread={"file": "?"}),
         {"driver": (State.UNKNOWN, "sc qc WfpCapture"), "signature": (State.MET, "")}),
        (replace(LOADS, policy=SigningPolicy(False, False, memory_integrity=True)),
         {"driver": (State.MET, ""), "signature": (State.MET, ""), "memory integrity": (State.UNKNOWN, TRY)}),
        (replace(RUNS, policy=SigningPolicy(True, False, memory_integrity=True)),
         {"driver": (State.MET, ""), "signature": (State.MET, "")}),
        (replace(REFUSED, signature=None), {"driver": (State.MET, ""), "signature": (State.UNKNOWN, TRY)}),
        (Driver(unread={"service": "?"}), {"driver": (State.UNKNOWN, "sc query WfpCapture")}),
    ],
)  # fmt: skip
def test_each_condition_says_what_mends_it(driver: Driver, expected: dict[str, tuple[State, str]]) -> None:
    found = driver_conditions(driver, WINDOWS_11)
    assert states(found) == expected
    for each in found:
        assert each.why
        assert "\n" not in each.why


def test_a_machine_without_the_driver_is_told_what_sees_the_loopback() -> None:
    (found,) = driver_conditions(NO_DRIVER, WINDOWS_11)
    assert "Message Analyzer" in found.why
    assert "loopback" in found.why
    assert found.mend == "etwcap capture --tap raw -i loopback"


class Machine:
    """What is asked of a machine, each with an error on demand."""

    def __init__(self, *, service: ServiceState | None = None, broken: str = "") -> None:
        self.service, self.broken, self.asked = service, broken, list[str]()

    def answer(self, name: str, value: object) -> object:
        self.asked.append(name)
        if self.broken == name:
            raise WindowsCallError("call", 5, what=f"{name} refused")
        return value

    def state(self, name: str) -> ServiceState | None:
        self.answer(name, None)
        return self.service

    def of(self, path: str) -> Signature | None:
        self.answer("signature", None)
        assert path == FILE.path
        return NEW

    def look(self, *, there: bool = True) -> Driver:
        return look(
            self,  # type: ignore[arg-type]
            find_file=lambda _name: self.answer("file", FILE),  # type: ignore[arg-type, return-value]
            signatures=self,  # type: ignore[arg-type]
            policy=lambda: self.answer("policy", SECURE),  # type: ignore[arg-type, return-value]
            is_file=lambda _path: there,
        )


STOPPED = ServiceState(1, 1, 0, 0)


def test_a_machine_is_asked_for_all_of_it() -> None:
    machine = Machine(service=STOPPED)
    assert machine.look() == Driver(STOPPED, FILE, True, NEW, SECURE)
    assert machine.asked == ["WfpCapture", "policy", "file", "signature"]


def test_a_file_that_is_not_there_is_not_opened() -> None:
    machine = Machine(service=STOPPED)
    assert machine.look(there=False) == Driver(STOPPED, FILE, False, None, SECURE)
    assert "signature" not in machine.asked


def test_without_the_service_nothing_else_of_the_driver_is_asked_for() -> None:
    assert Machine().look() == Driver(policy=SECURE)


@pytest.mark.parametrize("broken", ["policy", "file", "signature"])
def test_what_cannot_be_read_is_said_and_the_rest_is_told(broken: str) -> None:
    found = Machine(service=STOPPED, broken=broken).look()
    assert found.service == STOPPED
    assert list(found.unread) == [broken]
    for each in driver_conditions(found, WINDOWS_11):
        assert each.state is not State.MISSING


CASES = [
    (577, REFUSED, NotHereError, ["577", "Secure Boot is on", "18 August 2016", OTHER_TAP]),
    (577, LOADS, NotHereError, ["577", "Secure Boot is off", "refused all the same", OTHER_TAP]),
    (1275, LOADS, NotHereError, ["1275", "memory integrity", OTHER_TAP]),
    (1058, LOADS, NotHereError, ["disabled", ENABLE]),
    (1060, NO_DRIVER, NotHereError, ["no driver WfpCapture", "Message Analyzer", OTHER_TAP]),
    (2, LOADS, NotHereError, [FILE.path, OTHER_TAP]),
    (5, LOADS, RightsError, ["Run as administrator"]),
]


@pytest.mark.parametrize(("code", "driver", "kind", "says"), CASES, ids=lambda each: str(each)[:12])
def test_a_refusal_is_explained(code: int, driver: Driver, kind: type[EtwcapError], says: list[str]) -> None:
    error = start_failure(failure("StartServiceW", code, what="x"), driver, WINDOWS_11)
    assert isinstance(error, kind)
    text = " / ".join(error.lines())
    for each in says:
        assert each in text
