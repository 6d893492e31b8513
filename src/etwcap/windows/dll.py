"""DLLs by their absolute path in System32, and their functions, looked up on first use."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import PureWindowsPath
from typing import Any

from etwcap.errors import NotHereError

_SEARCH_SYSTEM32 = 0x800  # LOAD_LIBRARY_SEARCH_SYSTEM32: for what the DLL itself loads
_PATH_ROOM = 32_768


class Library:
    """One DLL of System32, by its name there.

    ``stand_in`` is the path of another library with the same exports: for tests only, never from a setting. Nothing is
    loaded before the first function is asked for. Where there is no Windows, or no such DLL or export, that raises
    NotHereError.
    """

    def __init__(self, name: str, *, stand_in: str | None = None) -> None:
        self.name = name
        self._stand_in = stand_in
        self._loaded: ctypes.CDLL | None = None
        self._functions: dict[str, Any] = {}

    def function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """The export of that name with its C types; declared once, so every caller gives the same types.

        Raises NotHereError where this Windows has no such export.
        """
        declared = self._functions.get(name)
        if declared is None:
            try:
                declared = self._load()[name]
            except AttributeError as error:
                raise NotHereError(f"this Windows has no {name}", cause=f"not exported by {self.name}") from error
            declared.restype = result
            declared.argtypes = arguments
            self._functions[name] = declared
        found: Callable[..., Any] = declared
        return found

    def has(self, name: str) -> bool:
        """Whether the DLL is there and exports the name."""
        try:
            self._load()[name]
        except (AttributeError, NotHereError):
            return False
        return True

    def _load(self) -> ctypes.CDLL:
        if self._loaded is None:
            if self._stand_in is not None:
                self._loaded = _open(self._stand_in)
            elif sys.platform != "win32":
                raise NotHereError("this needs Windows", cause=f"{self.name} is part of Windows")
            else:
                try:
                    self._loaded = _open(str(PureWindowsPath(system_folder(), self.name)))
                except OSError as error:
                    raise NotHereError(f"this Windows has no {self.name}", cause=str(error)) from error
        return self._loaded


def _open(path: str) -> ctypes.CDLL:
    if sys.platform == "win32":
        return ctypes.WinDLL(path, use_last_error=True, winmode=_SEARCH_SYSTEM32)
    return ctypes.CDLL(path, use_errno=True)


def last_error() -> int:
    """GetLastError of the last call in this thread (WSAGetLastError is the same cell); 0 off Windows."""
    if sys.platform == "win32":
        return ctypes.get_last_error()
    return ctypes.get_errno()


def callback_type(result: Any, *arguments: Any) -> Any:
    """The type of a function that Windows calls (stdcall; on 64-bit processors there is one convention)."""
    if sys.platform == "win32":
        return ctypes.WINFUNCTYPE(result, *arguments)
    return ctypes.CFUNCTYPE(result, *arguments)


@lru_cache(maxsize=1)
def system_folder() -> str:
    r"""The absolute path of System32 as Windows says (GetSystemDirectoryW), for example ``C:\Windows\System32``."""
    if sys.platform != "win32":
        raise NotHereError("this needs Windows", cause="there is no System32 here")
    # kernel32 is loaded in every process, and is found in System32 alone
    kernel = ctypes.WinDLL("kernel32.dll", use_last_error=True, winmode=_SEARCH_SYSTEM32)
    room = ctypes.create_unicode_buffer(_PATH_ROOM)
    kernel.GetSystemDirectoryW.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    if not 0 < kernel.GetSystemDirectoryW(room, _PATH_ROOM) < _PATH_ROOM:
        raise NotHereError("Windows does not say where System32 is", cause="GetSystemDirectoryW failed")
    return room.value


def system_program(name: str) -> str:
    r"""The absolute path of a program of Windows, such as ``netsh.exe``; ``name`` may have folders below System32."""
    return str(PureWindowsPath(system_folder(), name))
