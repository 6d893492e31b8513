"""What the tap ndiscap asks of a running Windows (Wine in CI): the registry, programs, INetCfg."""

from __future__ import annotations

import sys
from pathlib import PureWindowsPath

import pytest

from etwcap.errors import EtwcapError, NotHereError, WindowsCallError
from etwcap.taps.ndiscap import NdisCapTap
from etwcap.taps.ndiscap_cleanup import CaptureBindings
from etwcap.taps.protocol import State
from etwcap.windows import registry
from etwcap.windows.com import apartment, create, failed
from etwcap.windows.dll import system_folder, system_program
from etwcap.windows.filter_binding import filter_binding
from etwcap.windows.netcfg import CLSID_CNETCFG, IID_INETCFG, IID_LOCK, NetCfg
from etwcap.windows.programs import run_program
from etwcap.windows.version import this_windows

if sys.platform != "win32":
    pytest.skip("Windows: scripts/windows-test runs these under Wine", allow_module_level=True)

KEY = r"SOFTWARE\etwcap test"


def test_a_number_in_the_registry_comes_and_goes() -> None:
    registry.set_number(KEY, "RefCount", 2**32 - 1)
    assert registry.number(KEY, "RefCount") == 2**32 - 1
    registry.remove_value(KEY, "RefCount")
    assert registry.number(KEY, "RefCount") is None
    registry.remove_value(KEY, "RefCount")
    registry.remove_value(KEY + r"\there is none", "RefCount")


def test_a_filter_that_no_windows_has_is_not_installed() -> None:
    assert filter_binding("etwcap_no_such_filter") is None


def test_a_program_runs_in_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETWCAP_TEST", "inherited")
    ran = run_program((system_program("cmd.exe"), "/c", "echo [%ETWCAP_TEST%] %windir% & exit 7"), 30)
    assert ran.code == 7
    assert "inherited" not in ran.said
    assert str(PureWindowsPath(system_folder()).parent).casefold() in ran.said.casefold()


def test_a_program_that_is_not_there_or_takes_too_long_is_an_error() -> None:
    with pytest.raises(NotHereError, match="no etwcap-none"):
        run_program((system_program("etwcap-none.exe"),), 5)
    with pytest.raises(WindowsCallError, match="takes longer") as caught:
        run_program((system_program("ping.exe"), "-n", "20", "127.0.0.1"), 0.2)
    assert caught.value.code == 1460


def test_inetcfg_is_reached_by_its_table_of_functions() -> None:
    with apartment():
        result, config = create(CLSID_CNETCFG, IID_INETCFG)
        assert not failed(result), hex(result)
        assert config is not None
        with config:
            result, lock = config.query(IID_LOCK)
            assert (lock is None) is failed(result)
            if lock is not None:
                with lock:
                    assert lock.address != 0


def test_a_driver_that_no_windows_has_is_an_error_in_words() -> None:
    with pytest.raises(EtwcapError) as caught:
        NetCfg().paths("etwcap_no_such_driver")
    assert caught.value.cause


def test_the_tap_says_what_this_windows_lacks_and_changes_nothing() -> None:
    if not this_windows().wine:
        pytest.skip("on Windows it depends on the machine")
    (condition,) = NdisCapTap().available()
    assert (condition.name, condition.state) == ("windows", State.MISSING)
    assert CaptureBindings().find() == []
