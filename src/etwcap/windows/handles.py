"""kernel32.dll: handles that are closed whatever happens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ctypes import c_int32, c_size_t
from functools import lru_cache

from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import fail


@lru_cache(maxsize=1)
def kernel32() -> Library:
    """The DLL that every process has."""
    return Library("kernel32.dll")


@lru_cache(maxsize=1)
def advapi32() -> Library:
    """Services, tokens, security descriptors, trace sessions."""
    return Library("advapi32.dll")


def close_handle(handle: int, *, library: Library | None = None) -> None:
    """CloseHandle."""
    if not (library or kernel32()).function("CloseHandle", c_int32, c_size_t)(handle):
        fail("CloseHandle", last_error())


@contextlib.contextmanager
def closing(handle: int) -> Iterator[int]:
    """The handle, for a block; closed at its end."""
    try:
        yield handle
    finally:
        close_handle(handle)
