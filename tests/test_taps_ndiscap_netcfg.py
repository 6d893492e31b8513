"""Bindings by INetCfg, against a library of the tests with INetCfg's tables of functions, and against netcfgx.h."""

from __future__ import annotations

import ctypes
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from conftest import missing, tool_path
from etwcap.errors import NotHereError, RightsError, WindowsCallError
from etwcap.windows import netcfg
from etwcap.windows.dll import Library
from etwcap.windows.netcfg import BindingPath, NetCfg

SOURCE = Path(__file__).with_name("inetcfg.c")
if sys.platform == "win32":
    pytest.skip("the library of the tests is built on Linux", allow_module_level=True)


def guid(index: int) -> str:
    return "{" + str(UUID(bytes_le=bytes(0x10 * (index + 1) + i for i in range(16)))).upper() + "}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inetcfg") / "ole32.so"
    words = ["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(path), str(SOURCE)]
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        missing("there is no C compiler (cc)")
    return path


SETTINGS = ("not_registered", "not_installed", "held", "upwards", "apply_gives", "enable_gives", "adapters_unknown")
COUNTS = ("objects", "apartments", "initialised", "locked", "applied", "cancelled", "released")


class Machine:
    """The library's variables by name."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        for name in (*SETTINGS, *COUNTS):
            self.set(name, 0)
        self.enable(False, False)

    def set(self, name: str, value: int) -> None:
        ctypes.c_int32.in_dll(self._library, name).value = value

    def number(self, name: str) -> int:
        return ctypes.c_int32.in_dll(self._library, name).value

    def enable(self, *on: bool) -> None:
        (ctypes.c_int32 * 2).in_dll(self._library, "enabled")[:] = list(map(int, on))

    @property
    def enabled(self) -> list[bool]:
        return list(map(bool, (ctypes.c_int32 * 2).in_dll(self._library, "enabled")))

    def text(self, name: str) -> str:
        return bytes((ctypes.c_uint16 * 64).in_dll(self._library, name)).decode("utf-16-le").partition("\0")[0]


@pytest.fixture
def machine(built: Path) -> Iterator[Machine]:
    """The library, which afterwards has every object, lock and apartment back."""
    made = Machine(built)
    yield made
    assert [made.number(name) for name in COUNTS[:4]] == [0, 0, 0, 0]


@pytest.fixture
def bindings(built: Path) -> NetCfg:
    return NetCfg(Library("ole32.dll", stand_in=str(built)))


FIRST, SECOND = "ms_ndiscap->first", "ms_ndiscap->second"


def test_the_paths_of_a_driver_are_told_without_the_lock(machine: Machine, bindings: NetCfg) -> None:
    machine.enable(False, True)
    assert bindings.paths("ms_ndiscap") == [BindingPath(FIRST, False, guid(0)), BindingPath(SECOND, True, guid(1))]
    assert machine.text("asked_for") == "ms_ndiscap"
    assert machine.number("released") == 0


def test_paths_upwards_serve_where_there_are_none_downwards(machine: Machine, bindings: NetCfg) -> None:
    machine.set("upwards", 1)
    assert [each.token for each in bindings.paths("ms_ndiscap")] == [FIRST, SECOND]


def test_an_adapter_that_does_not_say_who_it_is_has_no_guid(machine: Machine, bindings: NetCfg) -> None:
    machine.set("adapters_unknown", 1)
    assert [each.adapter for each in bindings.paths("ms_ndiscap")] == ["", ""]


def test_only_the_paths_that_are_meant_are_switched(machine: Machine, bindings: NetCfg) -> None:
    assert bindings.switch("ms_ndiscap", [SECOND, "ms_ndiscap->gone"], on=True) is False
    assert machine.enabled == [False, True]
    assert machine.text("locked_by") == "etwcap"
    machine.enable(True, True)
    bindings.switch("ms_ndiscap", [SECOND], on=False)
    assert machine.enabled == [True, False]
    assert (machine.number("applied"), machine.number("released"), machine.number("cancelled")) == (2, 2, 0)


def test_windows_may_want_a_restart(machine: Machine, bindings: NetCfg) -> None:
    machine.set("apply_gives", 0x0004A020)
    assert bindings.switch("ms_ndiscap", [FIRST], on=True) is True


def test_who_holds_the_lock_is_told(machine: Machine, bindings: NetCfg) -> None:
    machine.set("held", 1)
    with pytest.raises(WindowsCallError, match="another program is changing") as caught:
        bindings.switch("ms_ndiscap", [FIRST], on=True)
    assert "Some Setup" in caught.value.cause
    assert caught.value.code == 0x8004A024
    assert caught.value.hint


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0x8004A022, "in use"),
        (0x8004A025, "restarted"),
        (0x8004A026, "dial-up or VPN"),
        (0x8004A029, "as many filter drivers"),
        (0x8004A02A, "virtual switch"),
        (0x80004005, "it failed (0x80004005)"),
    ],
)
@pytest.mark.parametrize("where", ["apply_gives", "enable_gives"])
def test_a_change_that_fails_is_cancelled_and_said_in_words(
    machine: Machine, bindings: NetCfg, code: int, said: str, where: str
) -> None:
    machine.set(where, code - (1 << 32))
    with pytest.raises(WindowsCallError) as caught:
        bindings.switch("ms_ndiscap", [FIRST], on=True)
    assert said in caught.value.cause
    assert (machine.enabled, machine.number("cancelled")) == ([False, False], 1)


def test_missing_rights_are_an_error_of_rights(machine: Machine, bindings: NetCfg) -> None:
    machine.set("apply_gives", 0x80070005 - (1 << 32))
    with pytest.raises(RightsError):
        bindings.switch("ms_ndiscap", [FIRST], on=True)


def test_a_windows_without_the_driver_or_without_inetcfg_cannot(machine: Machine, bindings: NetCfg) -> None:
    machine.set("not_installed", 1)
    with pytest.raises(NotHereError, match="no ms_ndiscap"):
        bindings.paths("ms_ndiscap")
    machine.set("not_registered", 1)
    with pytest.raises(NotHereError) as caught:
        bindings.paths("ms_ndiscap")
    assert "bitness" in caught.value.cause


PLACES = {
    "INetCfg": {
        "Initialize": netcfg._INITIALIZE, "Uninitialize": netcfg._UNINITIALIZE, "Apply": netcfg._APPLY,
        "Cancel": netcfg._CANCEL, "FindComponent": netcfg._FIND_COMPONENT,
    },
    "INetCfgLock": {"AcquireWriteLock": netcfg._ACQUIRE, "ReleaseWriteLock": netcfg._RELEASE_LOCK},
    "INetCfgComponent": {"GetInstanceGuid": netcfg._INSTANCE_GUID},
    "INetCfgComponentBindings": {"EnumBindingPaths": netcfg._ENUM_PATHS},
    "IEnumNetCfgBindingPath": {"Next": netcfg._NEXT},
    "IEnumNetCfgBindingInterface": {"Next": netcfg._NEXT},
    "INetCfgBindingPath": {
        "IsEnabled": netcfg._IS_ENABLED, "Enable": netcfg._ENABLE, "GetPathToken": netcfg._PATH_TOKEN,
        "EnumBindingInterfaces": netcfg._ENUM_INTERFACES,
    },
    "INetCfgBindingInterface": {"GetLowerComponent": netcfg._LOWER_COMPONENT},
}  # fmt: skip
"""Functions by interface, with their places in its table."""


def test_functions_have_the_places_that_the_header_gives_them(tmp_path: Path) -> None:
    lines = ["#define CINTERFACE", "#include <windows.h>", "#include <netcfgx.h>", "#include <stddef.h>"]
    for interface, functions in PLACES.items():
        for name, place in functions.items():
            lines.append(f'_Static_assert(offsetof({interface}Vtbl, {name}) == {place} * sizeof(void *), "{name}");')
    lines += [f'_Static_assert(EBP_BELOW == {netcfg._BELOW} && EBP_ABOVE == {netcfg._ABOVE}, "flags");']
    lines += [f'_Static_assert(NETCFG_S_REBOOT == {netcfg._RESTART}, "restart");']
    ids = {"IID_INetCfg": netcfg.IID_INETCFG, "IID_INetCfgLock": netcfg.IID_LOCK, "CLSID_CNetCfg": netcfg.CLSID_CNETCFG}
    ids["IID_INetCfgComponentBindings"] = netcfg.IID_BINDINGS
    source = tmp_path / "places.c"
    source.write_text("\n".join(lines) + "\n", encoding="ascii")
    subprocess.run([tool_path("x86_64-w64-mingw32-gcc"), "-std=c11", "-fsyntax-only", str(source)], check=True)
    shown = subprocess.run(
        [tool_path("x86_64-w64-mingw32-gcc"), "-E", "-DINITGUID", str(source)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name, value in ids.items():
        numbers = [int(each, 16) for each in re.findall(r"0x[0-9a-fA-F]+", shown.partition(f" {name} =")[2])[:11]]
        assert struct.pack("<IHH8B", *numbers) == value.bytes_le, name
