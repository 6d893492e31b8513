"""INetCfg: which drivers are bound to which adapters, and changing it.

Reading changes nothing and takes no lock. Changing needs elevation and the machine's one write lock; an adapter whose
bindings change stops for a moment. A path runs from a filter driver to an adapter below it.
Sources: Microsoft's pages of INetCfg and its relatives; order of functions and numbers as in netcfgx.h.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Collection, Iterator
from ctypes import c_int32, c_uint32, c_void_p
from dataclasses import dataclass
from typing import Final, NoReturn
from uuid import UUID

from etwcap.errors import NotHereError, WindowsCallError
from etwcap.windows.com import ComObject, apartment, create, failed, guid, ole32, taken_text
from etwcap.windows.dll import Library
from etwcap.windows.failure import ELEVATE, CallNotHereError, CallRightsError
from etwcap.windows.text import wide

CLSID_CNETCFG: Final = UUID("5b035261-40f9-11d1-aaec-00805fc1270e")
IID_INETCFG: Final = UUID("c0e8ae93-306e-11d1-aacf-00805fc1270e")
IID_LOCK: Final = UUID("c0e8ae9f-306e-11d1-aacf-00805fc1270e")
IID_BINDINGS: Final = UUID("c0e8ae9e-306e-11d1-aacf-00805fc1270e")

_INITIALIZE, _UNINITIALIZE, _APPLY, _CANCEL, _FIND_COMPONENT = 3, 4, 5, 6, 8
_ACQUIRE, _RELEASE_LOCK = 3, 4
_INSTANCE_GUID = 8
_ENUM_PATHS = 8
_NEXT = 3
_IS_ENABLED, _ENABLE, _PATH_TOKEN, _ENUM_INTERFACES = 5, 6, 7, 10
_LOWER_COMPONENT = 5
_BELOW, _ABOVE = 2, 1
_RESTART = 0x0004A020
"""NETCFG_S_REBOOT"""
_MOST = 10_000
_WAIT_MS = 5_000
_ACCESS_DENIED, _NOT_REGISTERED, _NO_LOCK = 0x80070005, 0x80040154, 0x8004A024

ERRORS: Final = {
    0x8004A020: "it is initialised already",
    0x8004A021: "it is not initialised",
    0x8004A022: "the network component is in use",
    _NO_LOCK: "another program is changing the network's configuration",
    0x8004A025: "Windows must be restarted first",
    0x8004A026: "a dial-up or VPN connection is active",
    0x8004A027: "the adapter was not found",
    0x8004A028: "a component waits for a restart to be removed",
    0x8004A029: "the adapter has as many filter drivers as Windows allows",
    0x8004A02A: "a virtual switch stands over the adapter",
    0x8004A02B: "an instance's number is there twice",
    _ACCESS_DENIED: "access denied",
    _NOT_REGISTERED: "INetCfg is not registered (a process of other bitness than Windows cannot use it)",
}
"""What the numbers mean (netcfgx.h)."""


@dataclass(frozen=True, slots=True)
class BindingPath:
    """One way from a driver down to an adapter."""

    token: str
    """names it for good"""
    enabled: bool
    adapter: str
    """``{GUID}`` of the adapter, upper case; "" where it cannot be told"""


class NetCfg:
    """Bindings of this machine. For tests: ``library`` instead of ole32.dll."""

    def __init__(self, library: Library | None = None) -> None:
        self._dll = library or ole32()

    def paths(self, component: str) -> list[BindingPath]:
        """The paths of a driver ("ms_ndiscap") to adapters. Raises NotHereError where there is no such driver."""
        with self._configuration() as config, self._paths(config, component) as found:
            return [self._path(each) for each in found]

    def switch(self, component: str, tokens: Collection[str], *, on: bool) -> bool:
        """Enable or disable the paths of these tokens, and no others, at once; paths that are gone are left out.

        True where Windows wants a restart before it holds. Raises CallRightsError, WindowsCallError (with the name of
        the program that holds the lock); then nothing was changed.
        """
        restart = False
        with self._configuration(lock=True) as config:
            try:
                with self._paths(config, component) as found:
                    for path in found:
                        if self._token(path) in tokens and self._enabled(path) != on:
                            restart |= self._good("INetCfgBindingPath::Enable", path.call(_ENABLE, c_int32(on)))
                restart |= self._good("INetCfg::Apply", config.call(_APPLY))
            except BaseException:
                config.call(_CANCEL)
                raise
        return restart

    @contextlib.contextmanager
    def _configuration(self, *, lock: bool = False) -> Iterator[ComObject]:
        """INetCfg, initialised; with the write lock where asked for."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(apartment(self._dll))
            result, config = create(CLSID_CNETCFG, IID_INETCFG, self._dll)
            if config is None:
                self._fail("CoCreateInstance", result)
            stack.enter_context(config)
            if lock:
                self._lock(config, stack)
            self._good("INetCfg::Initialize", config.call(_INITIALIZE, None))
            stack.callback(config.call, _UNINITIALIZE)
            yield config

    def _lock(self, config: ComObject, stack: contextlib.ExitStack) -> None:
        result, lock = config.query(IID_LOCK)
        if lock is None:
            self._fail("INetCfg::QueryInterface", result)
        stack.enter_context(lock)
        holder, name = c_void_p(), wide("etwcap")
        result = lock.call(_ACQUIRE, c_uint32(_WAIT_MS), name, ctypes.byref(holder))
        who = taken_text(holder, self._dll)
        if result:  # S_FALSE: another program holds it
            self._fail("INetCfgLock::AcquireWriteLock", result if failed(result) else _NO_LOCK, who)
        stack.callback(lock.call, _RELEASE_LOCK)

    @contextlib.contextmanager
    def _paths(self, config: ComObject, component: str) -> Iterator[list[ComObject]]:
        """The paths of a component; downwards, or upwards where there are none."""
        with contextlib.ExitStack() as stack:
            result, driver = config.made(_FIND_COMPONENT, wide(component))
            if failed(result):
                self._fail("INetCfg::FindComponent", result)
            if driver is None:
                raise NotHereError(f"this Windows has no {component}", cause="the network component is not installed")
            stack.enter_context(driver)
            result, bindings = driver.query(IID_BINDINGS)
            if bindings is None:
                self._fail("INetCfgComponent::QueryInterface", result)
            stack.enter_context(bindings)
            for way in (_BELOW, _ABOVE):
                result, listing = bindings.made(_ENUM_PATHS, c_uint32(way))
                if failed(result):
                    self._fail("INetCfgComponentBindings::EnumBindingPaths", result)
                found = [] if listing is None else self._all(stack.enter_context(listing), stack)
                if found:
                    break
            yield found

    def _all(self, listing: ComObject, stack: contextlib.ExitStack) -> list[ComObject]:
        """What an enumerator gives."""
        found: list[ComObject] = []
        while len(found) < _MOST:
            room, count = c_void_p(), c_uint32()
            result = listing.call(_NEXT, c_uint32(1), ctypes.byref(room), ctypes.byref(count))
            if failed(result):
                self._fail("IEnumNetCfgBindingPath::Next", result)
            if result or not room.value:
                break
            found.append(stack.enter_context(ComObject(room.value)))
        return found

    def _path(self, path: ComObject) -> BindingPath:
        return BindingPath(self._token(path), self._enabled(path), self._adapter(path))

    def _token(self, path: ComObject) -> str:
        room = c_void_p()
        result = path.call(_PATH_TOKEN, ctypes.byref(room))
        if failed(result):
            self._fail("INetCfgBindingPath::GetPathToken", result)
        return taken_text(room, self._dll)

    def _enabled(self, path: ComObject) -> bool:
        result = path.call(_IS_ENABLED)
        if failed(result):
            self._fail("INetCfgBindingPath::IsEnabled", result)
        return result == 0

    def _adapter(self, path: ComObject) -> str:
        """The adapter at the lower end of a path."""
        with contextlib.ExitStack() as stack:
            _, listing = path.made(_ENUM_INTERFACES)
            if listing is None:
                return ""
            links = self._all(stack.enter_context(listing), stack)
            if not links:
                return ""
            _, lower = links[-1].made(_LOWER_COMPONENT)
            if lower is None:
                return ""
            stack.enter_context(lower)
            room = guid(UUID(int=0))
            if failed(lower.call(_INSTANCE_GUID, room)):
                return ""
            return "{" + str(UUID(bytes_le=room.raw)).upper() + "}"

    def _good(self, function: str, result: int) -> bool:
        """Whether a call that went well wants a restart."""
        if failed(result):
            self._fail(function, result)
        return result == _RESTART

    def _fail(self, function: str, result: int, holder: str = "") -> NoReturn:
        means = ERRORS.get(result, "it failed") + (f": {holder}" if holder else "") + f" (0x{result:08X})"
        what = "the binding of the capture driver cannot be read or changed"
        if result == _ACCESS_DENIED:
            raise CallRightsError(function, result, what=what, means=means, hint=ELEVATE)
        if result == _NOT_REGISTERED:
            raise CallNotHereError(function, result, what=what, means=means)
        hint = "close the adapter's window of properties, or wait until an installation is done" if holder else ""
        raise WindowsCallError(function, result, what=what, means=means, hint=hint)
