"""user32.dll: logoff and shutdown, as a window that nobody sees is told of them.

Console handlers are not called for these two in a process that has loaded user32.dll, which every Python with ctypes
has. Source: Microsoft's "SetConsoleCtrlHandler" (remarks) and "WM_ENDSESSION".
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

from etwcap.errors import NotHereError
from etwcap.windows.dll import Library, callback_type
from etwcap.windows.handles import kernel32
from etwcap.windows.layouts_user32 import MSG, WNDCLASSW
from etwcap.windows.text import wide

LOGOFF, SHUTDOWN = 5, 6
"""As the console's events are numbered."""

WM_CLOSE, WM_DESTROY, WM_QUERYENDSESSION, WM_ENDSESSION = 0x10, 0x02, 0x11, 0x16
_ENDSESSION_LOGOFF = 0x80000000
_START_TIME = 5.0
MESSAGE_ONLY = ctypes.c_size_t(-3).value
"""HWND_MESSAGE as the parent: a window that works without a desktop, and that Windows tells nothing of; for tests."""


class SessionEndWindow:
    """A hidden window on a thread of its own, which calls ``ended`` with LOGOFF or SHUTDOWN.

    Windows ends the process when ``ended`` returns, or after about five seconds. ``handle`` is 0 where no window can be
    made (a service, a machine without a desktop): then nobody is told, which is no error.
    """

    def __init__(self, ended: Callable[[int], object], *, parent: int = 0) -> None:
        self._ended = ended
        self._parent = parent
        self._user32 = Library("user32.dll")
        self._ready = threading.Event()
        self.handle = 0
        self._thread = threading.Thread(target=self._run, name="etwcap session end", daemon=True)
        self._thread.start()
        self._ready.wait(_START_TIME)

    def close(self) -> None:
        """Take the window away; safe twice."""
        handle, self.handle = self.handle, 0
        if handle:
            words = (c_void_p, c_uint32, c_uint64, c_int64)
            self._user32.function("PostMessageW", c_int32, *words)(handle, WM_CLOSE, 0, 0)
            self._thread.join(_START_TIME)

    def take(self, message: int, parameter: int, detail: int) -> int | None:
        """What the window answers to a message; None: what windows do by themselves."""
        if message == WM_QUERYENDSESSION:
            return 1  # we do not object
        if message == WM_ENDSESSION:
            if parameter:
                self._ended(LOGOFF if detail & _ENDSESSION_LOGOFF else SHUTDOWN)
            return 0
        return None

    def _run(self) -> None:
        try:
            self._make_and_listen()
        except NotHereError:
            pass
        finally:
            self._ready.set()

    def _make_and_listen(self) -> None:
        function = self._user32.function
        by_itself = function("DefWindowProcW", c_int64, c_void_p, c_uint32, c_uint64, c_int64)
        quit_loop = function("PostQuitMessage", None, c_int32)

        def procedure(window: int, message: int, parameter: int, detail: int) -> int:
            if message == WM_DESTROY:
                quit_loop(0)
                return 0
            answer = self.take(message, parameter, detail)
            return int(by_itself(window, message, parameter, detail)) if answer is None else answer

        kept = callback_type(c_int64, c_void_p, c_uint32, c_uint64, c_int64)(procedure)
        name = wide(f"etwcap session end {threading.get_ident()}")
        instance = int(kernel32().function("GetModuleHandleW", c_size_t, c_void_p)(None))
        kind = WNDCLASSW(
            lpfnWndProc=ctypes.cast(kept, c_void_p), hInstance=instance, lpszClassName=ctypes.addressof(name)
        )
        if not function("RegisterClassW", ctypes.c_uint16, c_void_p)(ctypes.byref(kind)):
            return
        words = (c_uint32, c_void_p, c_void_p, c_uint32, *[c_int32] * 4, c_size_t, c_size_t, c_size_t, c_void_p)
        create = function("CreateWindowExW", c_size_t, *words)
        self.handle = int(create(0, name, name, 0, 0, 0, 0, 0, self._parent, 0, instance, None))
        self._ready.set()
        if self.handle:
            message = MSG()
            listen = function("GetMessageW", c_int32, c_void_p, c_void_p, c_uint32, c_uint32)
            dispatch = function("DispatchMessageW", c_int64, c_void_p)
            while listen(ctypes.byref(message), None, 0, 0) > 0:
                dispatch(ctypes.byref(message))
        function("UnregisterClassW", c_int32, c_void_p, c_size_t)(name, instance)
