"""kernel32.dll: completion ports, on which calls that are under way report their end."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_size_t, c_uint32, c_void_p
from typing import NamedTuple

from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import fail
from etwcap.windows.handles import close_handle, kernel32
from etwcap.windows.layouts_system import OVERLAPPED_ENTRY

_INVALID_HANDLE = ctypes.c_size_t(-1).value
_TIMEOUT = 258
_ABANDONED = 735


class Completion(NamedTuple):
    """One call that ended: the key of its socket, the address of its OVERLAPPED, the bytes done."""

    key: int
    overlapped: int
    size: int


class CompletionPort:
    """A completion port; a context manager that closes it."""

    def __init__(self, threads: int = 1, *, library: Library | None = None) -> None:
        self._dll = library or kernel32()
        self.handle = self._create(_INVALID_HANDLE, 0, 0, threads)

    def _create(self, file: int, port: int, key: int, threads: int) -> int:
        call = self._dll.function("CreateIoCompletionPort", c_size_t, c_size_t, c_size_t, c_size_t, c_uint32)
        made = int(call(file, port, key, threads))
        if not made:
            fail("CreateIoCompletionPort", last_error())
        return made

    def add(self, handle: int, key: int) -> None:
        """Have the calls on the handle or socket report here, under the key."""
        self._create(handle, self.handle, key, 0)

    def post(self, key: int, *, size: int = 0) -> None:
        """Put a completion of one's own into the queue, to wake the reader."""
        call = self._dll.function("PostQueuedCompletionStatus", c_int32, c_size_t, c_uint32, c_size_t, c_void_p)
        if not call(self.handle, size, key, None):
            fail("PostQueuedCompletionStatus", last_error())

    def wait(self, most: int, milliseconds: int) -> list[Completion]:
        """Up to ``most`` completions; none when nothing came in time."""
        entries, taken = (OVERLAPPED_ENTRY * most)(), c_uint32()
        words = (c_size_t, c_void_p, c_uint32, c_void_p, c_uint32, c_int32)
        call = self._dll.function("GetQueuedCompletionStatusEx", c_int32, *words)
        if not call(self.handle, ctypes.byref(entries), most, ctypes.byref(taken), milliseconds, 0):
            code = last_error()
            if code in (_TIMEOUT, _ABANDONED):
                return []
            fail("GetQueuedCompletionStatusEx", code)
        return [
            Completion(each.lpCompletionKey, each.lpOverlapped or 0, each.dwNumberOfBytesTransferred)
            for each in entries[: taken.value]
        ]

    def cancel(self, handle: int) -> None:
        """CancelIoEx: end all calls under way on the handle; they complete as cancelled."""
        if not self._dll.function("CancelIoEx", c_int32, c_size_t, c_void_p)(handle, None) and last_error() != 1168:
            fail("CancelIoEx", last_error())

    def close(self) -> None:
        """Close the port; safe twice."""
        handle, self.handle = self.handle, 0
        if handle:
            close_handle(handle, library=self._dll)

    def __enter__(self) -> CompletionPort:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
