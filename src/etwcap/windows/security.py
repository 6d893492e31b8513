"""advapi32.dll: security descriptors as text (SDDL), and who owns a file.

Source of the language: Microsoft's "Security Descriptor String Format".
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from ctypes import c_int32, c_size_t, c_uint32, c_void_p

from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import check, fail
from etwcap.windows.handles import advapi32, kernel32
from etwcap.windows.layouts_system import SECURITY_ATTRIBUTES
from etwcap.windows.text import wide, wide_at

ADMINISTRATORS = "S-1-5-32-544"
LOCAL_SYSTEM = "S-1-5-18"
TRUSTED_INSTALLER = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"

FOR_ADMINISTRATORS = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FRFX;;;BU)"
"""A folder or file of Administrators: they and the system write, users read, nothing is inherited from above."""

_SDDL_REVISION = 1
_FILE_OBJECT = 1
_OWNER, _DACL, _PROTECTED_DACL = 0x1, 0x4, 0x80000000


@contextlib.contextmanager
def security_attributes(sddl: str) -> Iterator[SECURITY_ATTRIBUTES]:
    """What a call that makes an object wants, for the block; child processes do not inherit the handle."""
    with _descriptor(sddl) as descriptor:
        yield SECURITY_ATTRIBUTES(ctypes.sizeof(SECURITY_ATTRIBUTES), descriptor, 0)


@contextlib.contextmanager
def _descriptor(sddl: str) -> Iterator[int]:
    found = c_void_p()
    name = "ConvertStringSecurityDescriptorToSecurityDescriptorW"
    call = advapi32().function(name, c_int32, c_void_p, c_uint32, c_void_p, c_void_p)
    if not call(wide(sddl), _SDDL_REVISION, ctypes.byref(found), None):
        fail(name, last_error())
    assert found.value is not None
    try:
        yield found.value
    finally:
        local_free(found.value)


def local_free(pointer: int) -> None:
    """LocalFree, for what advapi32 allocated."""
    kernel32().function("LocalFree", c_size_t, c_void_p)(pointer)


def sid_text(sid: int, *, library: Library | None = None) -> str:
    """The SID at an address as text, ``S-1-5-…``."""
    found = c_void_p()
    call = (library or advapi32()).function("ConvertSidToStringSidW", c_int32, c_void_p, c_void_p)
    if not call(sid, ctypes.byref(found)):
        fail("ConvertSidToStringSidW", last_error())
    assert found.value is not None
    try:
        return wide_at(found.value)
    finally:
        local_free(found.value)


def owner(path: str) -> str:
    """The SID of a file's or folder's owner."""
    sid, descriptor = c_void_p(), c_void_p()
    words = (c_void_p, c_int32, c_uint32, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)
    call = advapi32().function("GetNamedSecurityInfoW", c_uint32, *words)
    out = ctypes.byref
    code = call(wide(path), _FILE_OBJECT, _OWNER, out(sid), None, None, None, out(descriptor))
    check("GetNamedSecurityInfoW", code, what=f"the owner of {path} cannot be read")
    try:
        return sid_text(sid.value) if sid.value else ""
    finally:
        if descriptor.value:
            local_free(descriptor.value)


def protect(path: str, sddl: str) -> None:
    """Give a file or folder the access list of the text, and none from above."""
    present, dacl, defaulted = c_int32(), c_void_p(), c_int32()
    with _descriptor(sddl) as descriptor:
        get = advapi32().function("GetSecurityDescriptorDacl", c_int32, c_void_p, c_void_p, c_void_p, c_void_p)
        if not get(descriptor, ctypes.byref(present), ctypes.byref(dacl), ctypes.byref(defaulted)):
            fail("GetSecurityDescriptorDacl", last_error())
        words = (c_void_p, c_int32, c_uint32, c_void_p, c_void_p, c_void_p, c_void_p)
        call = advapi32().function("SetNamedSecurityInfoW", c_uint32, *words)
        code = call(wide(path), _FILE_OBJECT, _DACL | _PROTECTED_DACL, None, None, dacl, None)
        check("SetNamedSecurityInfoW", code, what=f"the access list of {path} cannot be set")
