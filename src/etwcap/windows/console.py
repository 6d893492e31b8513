"""kernel32.dll: the five events of a console, with time to put things in order before Windows ends the process.

Windows calls a handler on a thread of its own. After Ctrl-C and Ctrl-Break the process goes on. After the console was
closed, at logoff and at shutdown it is ended as soon as the handler returns, or when about five seconds are over: so
the handler waits until the program says that everything is released. Python's own handler, which raises
KeyboardInterrupt, was registered before ours and is asked after it: the first Ctrl-C is ours, a second one Python's.

A process that has loaded user32.dll, as ctypes does through ole32.dll, is told of logoff and shutdown by messages to a
window only (Microsoft: "SetConsoleCtrlHandler"): ``session_end`` has such a window, and hands them to the same handler.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from ctypes import c_int32, c_uint32
from typing import Any

from etwcap.windows.dll import Library, callback_type, last_error
from etwcap.windows.failure import fail
from etwcap.windows.handles import kernel32
from etwcap.windows.session_end import SessionEndWindow


class ConsoleEvent(enum.IntEnum):
    """What a console tells the processes in it."""

    CTRL_C = 0
    CTRL_BREAK = 1
    CLOSE = 2
    LOGOFF = 5
    SHUTDOWN = 6


INTERRUPTS = (ConsoleEvent.CTRL_C, ConsoleEvent.CTRL_BREAK)
PATIENCE = 4.5
"""s: Windows ends a process whose console is closed after five seconds."""


class ConsoleEvents:
    """Calls ``stop`` with the first event; a context manager whose end says that everything is released.

    ``stop`` runs on Windows' thread and must only signal (set an Event). The main thread must not be blocked in a call
    for long: it waits with time limits.
    """

    def __init__(
        self, stop: Callable[[ConsoleEvent], None], *, patience: float = PATIENCE, library: Library | None = None
    ) -> None:
        self._stop = stop
        self._patience = patience
        self._dll = library or kernel32()
        self._windowed = library is None
        self._window: SessionEndWindow | None = None
        self._released = threading.Event()
        self._lock = threading.Lock()
        self.event: ConsoleEvent | None = None
        """the first event that came"""
        self._type = callback_type(c_int32, c_uint32)
        self._routine = self._type(self.handle)

    def handle(self, kind: int) -> bool:
        """Take an event as Windows gives it; True where nobody else is to be asked."""
        try:
            event = ConsoleEvent(kind)
        except ValueError:
            return False
        with self._lock:
            first = self.event is None
            if first:
                self.event = event
        if first:
            self._stop(event)
        if event in INTERRUPTS:
            return first  # a second one is for whoever registered before: Python raises KeyboardInterrupt
        self._released.wait(self._patience)
        return True

    def release(self) -> None:
        """Everything is released: whoever waits in a handler may return, and Windows may end the process."""
        self._released.set()

    def __enter__(self) -> ConsoleEvents:
        if not self._set(1):
            fail("SetConsoleCtrlHandler", last_error())
        if self._windowed:
            self._window = SessionEndWindow(self.handle)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        if self._window is not None:
            self._window.close()
        self._set(0)

    def _set(self, add: int) -> Any:
        return self._dll.function("SetConsoleCtrlHandler", c_int32, self._type, c_int32)(self._routine, add)
