"""Structures of windows and their messages (winuser.h)."""

from __future__ import annotations

from ctypes import Structure, c_int32, c_int64, c_uint32, c_uint64, c_void_p

HEADERS = ("winsock2.h", "windows.h")
"""C headers that declare the structures of this module."""


class WNDCLASSW(Structure):
    """What windows of one class have in common."""

    _fields_ = [
        ("style", c_uint32),
        ("lpfnWndProc", c_void_p),
        ("cbClsExtra", c_int32),
        ("cbWndExtra", c_int32),
        ("hInstance", c_void_p),
        ("hIcon", c_void_p),
        ("hCursor", c_void_p),
        ("hbrBackground", c_void_p),
        ("lpszMenuName", c_void_p),
        ("lpszClassName", c_void_p),
    ]


class POINT(Structure):
    """A place on the screen."""

    _fields_ = [("x", c_int32), ("y", c_int32)]


class MSG(Structure):
    """A message to a window."""

    _fields_ = [
        ("hwnd", c_void_p),
        ("message", c_uint32),
        ("wParam", c_uint64),
        ("lParam", c_int64),
        ("time", c_uint32),
        ("pt", POINT),
    ]
