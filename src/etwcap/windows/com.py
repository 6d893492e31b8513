"""ole32.dll: COM objects by their tables of functions."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from ctypes import c_int32, c_size_t, c_uint32, c_void_p
from functools import lru_cache
from typing import Any
from uuid import UUID

from etwcap.errors import WindowsCallError
from etwcap.windows.dll import Library, callback_type
from etwcap.windows.text import wide_at

_IN_PROCESS = 1
"""CLSCTX_INPROC_SERVER"""
_APARTMENT = 2
"""COINIT_APARTMENTTHREADED"""
_CHANGED_MODE = 0x80010106
"""RPC_E_CHANGED_MODE: the thread is in an apartment of another kind, which serves as well"""
_QUERY_INTERFACE, _RELEASE = 0, 2


@lru_cache(maxsize=1)
def ole32() -> Library:
    """COM itself."""
    return Library("ole32.dll")


class ComObject:
    """One interface of an object, of which this holds one reference; a context manager that gives it back."""

    def __init__(self, address: int) -> None:
        self.address = address

    def __enter__(self) -> ComObject:
        return self

    def __exit__(self, *_: object) -> None:
        address, self.address = self.address, 0
        if address:
            self._function(address, _RELEASE, c_uint32)(address)

    def call(self, slot: int, *arguments: Any) -> int:
        """Call the function in that place of the table; its HRESULT, as an unsigned number.

        Arguments are instances of ctypes' types, None and ``byref`` stand for pointers.
        """
        types = [type(each) if isinstance(each, c_uint32 | c_int32) else c_void_p for each in arguments]
        return int(self._function(self.address, slot, c_int32, *types)(self.address, *arguments)) & 0xFFFFFFFF

    def made(self, slot: int, *arguments: Any) -> tuple[int, ComObject | None]:
        """Call a function whose last argument takes an object: its HRESULT, and the object where there is one."""
        room = c_void_p()
        result = self.call(slot, *arguments, ctypes.byref(room))
        return result, ComObject(room.value) if room.value and not failed(result) else None

    def query(self, interface: UUID) -> tuple[int, ComObject | None]:
        """Another interface of the object."""
        return self.made(_QUERY_INTERFACE, guid(interface))

    @staticmethod
    def _function(address: int, slot: int, result: Any, *types: Any) -> Any:
        table = c_size_t.from_address(address).value
        entry = c_size_t.from_address(table + slot * ctypes.sizeof(c_size_t)).value
        return callback_type(result, c_void_p, *types)(entry)


def failed(result: int) -> bool:
    """Whether an HRESULT is an error."""
    return bool(result & 0x80000000)


def guid(value: UUID) -> ctypes.Array[ctypes.c_char]:
    """A GUID in memory of its own."""
    return ctypes.create_string_buffer(value.bytes_le, 16)


@contextlib.contextmanager
def apartment(library: Library | None = None) -> Iterator[None]:
    """COM on this thread, for a block. Raises WindowsCallError."""
    dll = library or ole32()
    result = int(dll.function("CoInitializeEx", c_int32, c_void_p, c_uint32)(None, _APARTMENT)) & 0xFFFFFFFF
    if failed(result) and result != _CHANGED_MODE:
        raise WindowsCallError("CoInitializeEx", result, means=f"COM does not start (0x{result:08X})")
    try:
        yield
    finally:
        if not failed(result):
            dll.function("CoUninitialize", None)()


def create(kind: UUID, interface: UUID, library: Library | None = None) -> tuple[int, ComObject | None]:
    """CoCreateInstance in this process: the HRESULT, and the object where it was made."""
    dll = library or ole32()
    room = c_void_p()
    words = (c_void_p, c_void_p, c_uint32, c_void_p, c_void_p)
    call = dll.function("CoCreateInstance", c_int32, *words)
    result = int(call(guid(kind), None, _IN_PROCESS, guid(interface), ctypes.byref(room))) & 0xFFFFFFFF
    return result, ComObject(room.value) if room.value and not failed(result) else None


def taken_text(pointer: c_void_p, library: Library | None = None) -> str:
    """A text that a call allocated; its memory is given back."""
    try:
        return wide_at(pointer.value)
    finally:
        if pointer.value:
            (library or ole32()).function("CoTaskMemFree", None, c_void_p)(pointer)
