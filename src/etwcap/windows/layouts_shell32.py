"""Structures of the shell (shellapi.h)."""

from __future__ import annotations

from ctypes import Structure, c_int32, c_uint32, c_void_p

HEADERS = ("winsock2.h", "windows.h", "shellapi.h")
"""C headers that declare the structures of this module."""


class SHELLEXECUTEINFOW(Structure):
    """How a program is to be started."""

    _fields_ = [
        ("cbSize", c_uint32),
        ("fMask", c_uint32),
        ("hwnd", c_void_p),
        ("lpVerb", c_void_p),
        ("lpFile", c_void_p),
        ("lpParameters", c_void_p),
        ("lpDirectory", c_void_p),
        ("nShow", c_int32),
        ("hInstApp", c_void_p),
        ("lpIDList", c_void_p),
        ("lpClass", c_void_p),
        ("hkeyClass", c_void_p),
        ("dwHotKey", c_uint32),
        ("hIcon", c_void_p),
        ("hProcess", c_void_p),
    ]
