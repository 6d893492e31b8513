"""kernel32.dll: a named pipe between two processes of this machine, of which each knows who the other is.

The server makes the only instance of the pipe, refuses a name that is there already, and lets one user in, from this
machine. The client does not let the server act in its name, and can ask which process serves. Every wait has a limit.
"""

from __future__ import annotations

import ctypes
import secrets
import time
from collections.abc import Callable
from ctypes import c_int32, c_size_t, c_uint32, c_void_p
from typing import Any

from etwcap.windows.dll import last_error
from etwcap.windows.failure import fail, failure
from etwcap.windows.handles import close_handle, kernel32
from etwcap.windows.layouts_system import OVERLAPPED
from etwcap.windows.security import security_attributes
from etwcap.windows.text import wide

_INVALID_HANDLE = ctypes.c_size_t(-1).value
_DUPLEX, _FIRST_INSTANCE, _OVERLAPPED = 0x3, 0x00080000, 0x40000000
_REJECT_REMOTE = 0x8
_OPEN_EXISTING, _SQOS_IDENTIFICATION = 3, 0x00110000
_CLIENT_ACCESS = 0x0012019B
"""Read, write, attributes, wait; not FILE_CREATE_PIPE_INSTANCE, which GENERIC_WRITE would contain."""
_PENDING, _CONNECTED, _BUSY, _NOT_FOUND = 997, 535, 231, 2
_BROKEN, _CLOSING, _NOT_CONNECTED, _ABORTED, _TIMEOUT = 109, 232, 233, 995, 1460
_INFINITE = 0xFFFFFFFF
_BUFFER = 1 << 20


def pipe_name() -> str:
    r"""A name for a pipe that nobody can guess: ``\\.\pipe\etwcap-…``."""
    return rf"\\.\pipe\etwcap-{secrets.token_hex(16)}"


def access_for(user: str) -> str:
    """The security of a pipe that only the system, administrators and the user of that SID (``S-1-5-…``) may open."""
    if not user.startswith("S-1-") or not user.replace("-", "").isalnum():
        raise ValueError(f"{user!r} is no SID")
    return f"D:P(A;;GA;;;SY)(A;;0x{_CLIENT_ACCESS:X};;;BA)(A;;0x{_CLIENT_ACCESS:X};;;{user})"


class Pipe:
    """One end of a pipe: bytes in, bytes out; one thread may read while another writes. A context manager that closes
    it."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        create = kernel32().function("CreateEventW", c_size_t, c_void_p, c_int32, c_int32, c_void_p)
        self._events = [int(create(None, 1, 0, None)) for _ in range(2)]
        if not all(self._events):
            code = last_error()
            for each in (handle, *filter(None, self._events)):
                close_handle(each)
            fail("CreateEventW", code)

    def read(self, most: int, *, timeout: float | None = None) -> bytes:
        """Up to ``most`` bytes, as soon as there are some; b"" when the other end is closed.

        Raises WindowsCallError with 1460 when nothing came within ``timeout`` s.
        """
        room = ctypes.create_string_buffer(most)
        call = kernel32().function("ReadFile", c_int32, c_size_t, c_void_p, c_uint32, c_void_p, c_void_p)
        done = self._overlapped("ReadFile", lambda state: call(self.handle, room, most, None, state), timeout)
        return b"" if done is None else room.raw[:done]

    def write(self, data: bytes, *, timeout: float | None = None) -> bool:
        """All of the bytes; False when the other end is closed."""
        call = kernel32().function("WriteFile", c_int32, c_size_t, c_void_p, c_uint32, c_void_p, c_void_p)
        view = memoryview(data)
        while view:
            part = bytes(view[:_BUFFER])

            def start(state: Any, part: bytes = part) -> int:
                return int(call(self.handle, part, len(part), None, state))

            done = self._overlapped("WriteFile", start, timeout)
            if done is None:
                return False
            view = view[done:]
        return True

    def close(self) -> None:
        """Close this end; safe twice."""
        handle, self.handle = self.handle, 0
        if handle:
            for each in (handle, *self._events):
                close_handle(each)

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _overlapped(self, function: str, start: Callable[[Any], int], timeout: float | None) -> int | None:
        """Start a call and wait for its end: the bytes done; None when the other end is closed.

        ``start`` gives 0 where the call failed or is under way, -1 where it has nothing more to wait for.
        """
        event = self._events[function == "WriteFile"]
        state = OVERLAPPED(hEvent=event)
        started = start(ctypes.byref(state))
        if started < 0:
            return 0
        if not started:
            code = last_error()
            if code in (_BROKEN, _CLOSING, _NOT_CONNECTED):
                return None
            if code != _PENDING:
                fail(function, code)
        wait = kernel32().function("WaitForSingleObject", c_uint32, c_size_t, c_uint32)
        limit = _INFINITE if timeout is None else max(0, round(timeout * 1000))
        in_time = int(wait(event, limit)) == 0
        if not in_time:
            kernel32().function("CancelIoEx", c_int32, c_size_t, c_void_p)(self.handle, ctypes.byref(state))
        done = c_uint32()
        result = kernel32().function("GetOverlappedResult", c_int32, c_size_t, c_void_p, c_void_p, c_int32)
        # waits for the cancelled call too: Windows writes into ``state`` until then
        if result(self.handle, ctypes.byref(state), ctypes.byref(done), 1):
            return done.value
        code = last_error()
        if code in (_BROKEN, _CLOSING, _NOT_CONNECTED):
            return None
        raise failure(function, _TIMEOUT if code == _ABORTED and not in_time else code)


class PipeServer(Pipe):
    """The end that makes the pipe; ``user`` is the SID that may connect."""

    def __init__(self, name: str, user: str) -> None:
        self.name = name
        with security_attributes(access_for(user)) as attributes:
            words = (c_void_p, c_uint32, c_uint32, c_uint32, c_uint32, c_uint32, c_uint32, c_void_p)
            call = kernel32().function("CreateNamedPipeW", c_size_t, *words)
            flags = _DUPLEX | _FIRST_INSTANCE | _OVERLAPPED
            handle = int(call(wide(name), flags, _REJECT_REMOTE, 1, _BUFFER, _BUFFER, 0, ctypes.byref(attributes)))
            if handle == _INVALID_HANDLE:
                fail("CreateNamedPipeW", last_error(), what="the pipe cannot be made")
        super().__init__(handle)

    def __enter__(self) -> PipeServer:
        return self

    def accept(self, *, timeout: float) -> int:
        """Wait for the client; the number of its process. Raises WindowsCallError, with 1460 when nobody came."""
        call = kernel32().function("ConnectNamedPipe", c_int32, c_size_t, c_void_p)

        def start(state: Any) -> int:
            if call(self.handle, state):
                return 1
            return -1 if last_error() == _CONNECTED else 0  # a client that was faster than the call

        if self._overlapped("ConnectNamedPipe", start, timeout) is None:
            fail("ConnectNamedPipe", _BROKEN, what="the client of the pipe went away")
        return _peer(self.handle, "GetNamedPipeClientProcessId")


def connect(name: str, *, timeout: float) -> Pipe:
    """The client's end of a pipe, waiting up to ``timeout`` s until it is there and free."""
    words = (c_void_p, c_uint32, c_uint32, c_void_p, c_uint32, c_uint32, c_size_t)
    call = kernel32().function("CreateFileW", c_size_t, *words)
    end = time.monotonic() + timeout
    while True:
        flags = _OVERLAPPED | _SQOS_IDENTIFICATION
        handle = int(call(wide(name), _CLIENT_ACCESS, 0, None, _OPEN_EXISTING, flags, 0))
        if handle != _INVALID_HANDLE:
            return Pipe(handle)
        code = last_error()
        if code not in (_BUSY, _NOT_FOUND) or time.monotonic() >= end:
            fail("CreateFileW", code, what="the pipe cannot be opened")
        time.sleep(0.02)


def server_process(pipe: Pipe) -> int:
    """The number of the process that serves the pipe, for the client to check."""
    return _peer(pipe.handle, "GetNamedPipeServerProcessId")


def _peer(handle: int, function: str) -> int:
    number = c_uint32()
    if not kernel32().function(function, c_int32, c_size_t, c_void_p)(handle, ctypes.byref(number)):
        fail(function, last_error())
    return number.value
