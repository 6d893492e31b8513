"""kernel32.dll and shell32.dll: folders and files that only administrators write, and writing that reaches the disk."""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import c_int32, c_size_t, c_uint32, c_void_p
from uuid import UUID

from etwcap.errors import NotHereError
from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import check, fail
from etwcap.windows.handles import kernel32
from etwcap.windows.security import security_attributes
from etwcap.windows.text import wide, wide_at

PROGRAM_DATA = UUID("62ab5d82-fdc1-4dc3-a9dd-070d1d495d97")
"""FOLDERID_ProgramData: of all users."""
LOCAL_APP_DATA = UUID("f1b32785-6fba-4fcf-9d55-7b8e7f157091")
"""FOLDERID_LocalAppData: of this user, on this machine."""

_ALREADY_EXISTS = 183
_GENERIC_WRITE = 0x40000000
_CREATE_NEW = 1
_WRITE_THROUGH, _OPEN_REPARSE_POINT = 0x80000000, 0x00200000
_REPLACE_EXISTING, _MOVE_WRITE_THROUGH = 0x1, 0x8
_REPARSE_POINT, _DIRECTORY, _NO_ATTRIBUTES = 0x400, 0x10, 0xFFFFFFFF
_INVALID_HANDLE = ctypes.c_size_t(-1).value


def known_folder(folder: UUID) -> str:
    """The path of one of Windows' own folders, as the shell knows it (no environment variable has a say)."""
    found = c_void_p()
    guid = ctypes.create_string_buffer(folder.bytes_le, 16)
    call = Library("shell32.dll").function("SHGetKnownFolderPath", c_int32, c_void_p, c_uint32, c_size_t, c_void_p)
    check("SHGetKnownFolderPath", call(guid, 0, 0, ctypes.byref(found)))
    try:
        return wide_at(found.value)
    finally:
        Library("ole32.dll").function("CoTaskMemFree", None, c_void_p)(found)


def make_folder(path: str, sddl: str) -> bool:
    """Make a folder with the security of the text; False where something of that name is there already."""
    with security_attributes(sddl) as attributes:
        call = kernel32().function("CreateDirectoryW", c_int32, c_void_p, c_void_p)
        if call(wide(path), ctypes.byref(attributes)):
            return True
        code = last_error()
    if code != _ALREADY_EXISTS:
        fail("CreateDirectoryW", code, what=f"the folder {path} cannot be made")
    return False


def plain_folder(path: str) -> bool:
    """Whether it is a folder, and no junction or link that leads elsewhere."""
    found = int(kernel32().function("GetFileAttributesW", c_uint32, c_void_p)(wide(path)))
    return found != _NO_ATTRIBUTES and bool(found & _DIRECTORY) and not found & _REPARSE_POINT


def create_for_writing(path: str, sddl: str) -> int:
    """A new file with the security of the text, written through to the disk; a file descriptor for os.write."""
    if sys.platform != "win32":
        raise NotHereError("this needs Windows", cause="CreateFileW is part of Windows")
    import msvcrt

    with security_attributes(sddl) as attributes:
        words = (c_void_p, c_uint32, c_uint32, c_void_p, c_uint32, c_uint32, c_size_t)
        call = kernel32().function("CreateFileW", c_size_t, *words)
        flags = _WRITE_THROUGH | _OPEN_REPARSE_POINT
        handle = int(call(wide(path), _GENERIC_WRITE, 0, ctypes.byref(attributes), _CREATE_NEW, flags, 0))
        if handle == _INVALID_HANDLE:
            fail("CreateFileW", last_error(), what=f"{path} cannot be made")
    return msvcrt.open_osfhandle(handle, os.O_WRONLY | os.O_BINARY)


def replace(source: str, target: str) -> None:
    """Give a file its final name, replacing what has it, and return when that is on the disk (MoveFileExW)."""
    call = kernel32().function("MoveFileExW", c_int32, c_void_p, c_void_p, c_uint32)
    if not call(wide(source), wide(target), _REPLACE_EXISTING | _MOVE_WRITE_THROUGH):
        fail("MoveFileExW", last_error(), what=f"{target} cannot be written")
