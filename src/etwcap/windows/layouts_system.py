"""Structures of the base system: time, overlapped calls, security, services, versions.

Names, fields and order as in the Windows SDK (minwinbase.h, winnt.h, winsvc.h). Integers have explicit sizes, since
``ctypes.wintypes`` has other sizes off Windows; pointers are ``c_void_p``.
"""

# ruff: noqa: N801 - the names of the Windows SDK
from __future__ import annotations

from ctypes import Structure, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_void_p

HEADERS = ("winsock2.h", "windows.h", "winsvc.h", "tlhelp32.h")
"""C headers that declare the structures of this module."""


class FILETIME(Structure):
    """100 ns since 1601-01-01 UTC, in two halves."""

    _fields_ = [("dwLowDateTime", c_uint32), ("dwHighDateTime", c_uint32)]


class SYSTEMTIME(Structure):
    """A date and time of day in fields."""

    _fields_ = [
        ("wYear", c_uint16),
        ("wMonth", c_uint16),
        ("wDayOfWeek", c_uint16),
        ("wDay", c_uint16),
        ("wHour", c_uint16),
        ("wMinute", c_uint16),
        ("wSecond", c_uint16),
        ("wMilliseconds", c_uint16),
    ]


class TIME_ZONE_INFORMATION(Structure):
    """The machine's time zone; biases in minutes, UTC = local time + bias."""

    _fields_ = [
        ("Bias", c_int32),
        ("StandardName", c_uint16 * 32),
        ("StandardDate", SYSTEMTIME),
        ("StandardBias", c_int32),
        ("DaylightName", c_uint16 * 32),
        ("DaylightDate", SYSTEMTIME),
        ("DaylightBias", c_int32),
    ]


class GUID(Structure):
    """A GUID as Windows holds it: three little-endian numbers, then eight bytes (``UUID.bytes_le``)."""

    _fields_ = [("Data1", c_uint32), ("Data2", c_uint16), ("Data3", c_uint16), ("Data4", c_uint8 * 8)]


class OVERLAPPED(Structure):
    """State of a call under way; Internal is its NTSTATUS, InternalHigh the bytes done."""

    _fields_ = [
        ("Internal", c_size_t),
        ("InternalHigh", c_size_t),
        ("Offset", c_uint32),
        ("OffsetHigh", c_uint32),
        ("hEvent", c_void_p),
    ]


class OVERLAPPED_ENTRY(Structure):
    """One completion from GetQueuedCompletionStatusEx; Internal is reserved."""

    _fields_ = [
        ("lpCompletionKey", c_size_t),
        ("lpOverlapped", c_void_p),
        ("Internal", c_size_t),
        ("dwNumberOfBytesTransferred", c_uint32),
    ]


class SECURITY_ATTRIBUTES(Structure):
    """What a new object gets as its security descriptor, and whether child processes inherit its handle."""

    _fields_ = [("nLength", c_uint32), ("lpSecurityDescriptor", c_void_p), ("bInheritHandle", c_int32)]


class LUID(Structure):
    """A number that is unique until the next start of Windows; names a privilege."""

    _fields_ = [("LowPart", c_uint32), ("HighPart", c_int32)]


class LUID_AND_ATTRIBUTES(Structure):
    """A privilege and its state (1 on by default, 2 on, 4 removed)."""

    _fields_ = [("Luid", LUID), ("Attributes", c_uint32)]


class TOKEN_PRIVILEGES(Structure):
    """The privileges of a token; PrivilegeCount entries follow, of which the first is declared."""

    _fields_ = [("PrivilegeCount", c_uint32), ("Privileges", LUID_AND_ATTRIBUTES * 1)]


class TOKEN_ELEVATION(Structure):
    """Whether the token is elevated."""

    _fields_ = [("TokenIsElevated", c_uint32)]


class SID_AND_ATTRIBUTES(Structure):
    """A pointer to a SID, and attributes."""

    _fields_ = [("Sid", c_void_p), ("Attributes", c_uint32)]


class TOKEN_GROUPS(Structure):
    """The groups of a token; GroupCount entries follow, of which the first is declared."""

    _fields_ = [("GroupCount", c_uint32), ("Groups", SID_AND_ATTRIBUTES * 1)]


class TOKEN_USER(Structure):
    """The user of a token."""

    _fields_ = [("User", SID_AND_ATTRIBUTES)]


class TOKEN_MANDATORY_LABEL(Structure):
    """The integrity level of a token: the last number of the label's SID."""

    _fields_ = [("Label", SID_AND_ATTRIBUTES)]


class SERVICE_STATUS_PROCESS(Structure):
    """The state of a service or driver."""

    _fields_ = [
        ("dwServiceType", c_uint32),
        ("dwCurrentState", c_uint32),
        ("dwControlsAccepted", c_uint32),
        ("dwWin32ExitCode", c_uint32),
        ("dwServiceSpecificExitCode", c_uint32),
        ("dwCheckPoint", c_uint32),
        ("dwWaitHint", c_uint32),
        ("dwProcessId", c_uint32),
        ("dwServiceFlags", c_uint32),
    ]


class SERVICE_STATUS(Structure):
    """The state of a service as ControlService gives it."""

    _fields_ = [
        ("dwServiceType", c_uint32),
        ("dwCurrentState", c_uint32),
        ("dwControlsAccepted", c_uint32),
        ("dwWin32ExitCode", c_uint32),
        ("dwServiceSpecificExitCode", c_uint32),
        ("dwCheckPoint", c_uint32),
        ("dwWaitHint", c_uint32),
    ]


class RTL_OSVERSIONINFOW(Structure):
    """The version of Windows that RtlGetVersion gives."""

    _fields_ = [
        ("dwOSVersionInfoSize", c_uint32),
        ("dwMajorVersion", c_uint32),
        ("dwMinorVersion", c_uint32),
        ("dwBuildNumber", c_uint32),
        ("dwPlatformId", c_uint32),
        ("szCSDVersion", c_uint16 * 128),
    ]


class PROCESSENTRY32W(Structure):
    """One process of a snapshot (tlhelp32.h)."""

    _fields_ = [
        ("dwSize", c_uint32),
        ("cntUsage", c_uint32),
        ("th32ProcessID", c_uint32),
        ("th32DefaultHeapID", c_size_t),
        ("th32ModuleID", c_uint32),
        ("cntThreads", c_uint32),
        ("th32ParentProcessID", c_uint32),
        ("pcPriClassBase", c_int32),
        ("dwFlags", c_uint32),
        ("szExeFile", c_uint16 * 260),
    ]


class LARGE_INTEGER(Structure):
    """A signed 64-bit number where C has a union of it with its halves."""

    _fields_ = [("QuadPart", c_int64)]
