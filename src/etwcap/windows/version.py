"""Which Windows this is: version, build, edition, Wine, and what its signing policy depends on.

A caller that decides by version takes a ``WindowsVersion`` as an argument, so that tests can hand it another.
"""

from __future__ import annotations

import ctypes
from ctypes import c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass

from etwcap.windows import registry
from etwcap.windows.dll import Library
from etwcap.windows.handles import kernel32
from etwcap.windows.layouts_system import RTL_OSVERSIONINFOW
from etwcap.windows.text import wide

_CURRENT = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion"

WINDOWS_10_1607, WINDOWS_10_1809, WINDOWS_10_2004 = 14393, 17763, 19041
SERVER_2022, WINDOWS_11 = 20348, 22000
"""Builds at which something changed."""


@dataclass(frozen=True, slots=True, order=True)
class WindowsVersion:
    """A Windows: ordered by version, build and revision."""

    major: int
    minor: int
    build: int
    revision: int = 0
    """UBR: the monthly update"""
    product: str = ""
    release: str = ""
    """"24H2", "22H2" …"""
    server: bool = False
    wine: str = ""
    """version of Wine; "" on Windows"""

    def __str__(self) -> str:
        number = f"{self.major}.{self.minor}.{self.build}" + (f".{self.revision}" if self.revision else "")
        name = " ".join(each for each in (self.product, self.release) if each)
        said = f"{name} ({number})" if name else f"Windows {number}"
        return f"{said} under Wine {self.wine}" if self.wine else said


def this_windows(*, ntdll: Library | None = None) -> WindowsVersion:
    """The Windows that runs; NotHereError elsewhere."""
    ntdll = ntdll or Library("ntdll.dll")
    room = RTL_OSVERSIONINFOW(dwOSVersionInfoSize=ctypes.sizeof(RTL_OSVERSIONINFOW))
    ntdll.function("RtlGetVersion", c_uint32, c_void_p)(ctypes.byref(room))
    product = registry.words(_CURRENT, "ProductName") or ""
    if room.dwBuildNumber >= WINDOWS_11:
        product = product.replace("Windows 10", "Windows 11")  # the registry still calls it Windows 10
    return WindowsVersion(
        room.dwMajorVersion,
        room.dwMinorVersion,
        room.dwBuildNumber,
        registry.number(_CURRENT, "UBR") or 0,
        product,
        registry.words(_CURRENT, "DisplayVersion") or registry.words(_CURRENT, "ReleaseId") or "",
        (registry.words(_CURRENT, "InstallationType") or "").startswith("Server"),
        _wine_version(ntdll),
    )


def _wine_version(ntdll: Library) -> str:
    """What ntdll's wine_get_version says; Windows has no such export."""
    if not ntdll.has("wine_get_version"):
        return ""
    return str(ntdll.function("wine_get_version", ctypes.c_char_p)().decode("ascii", "replace"))


@dataclass(frozen=True, slots=True)
class SigningPolicy:
    """What decides whether a driver without a signature of the Hardware Dev Center loads; None: not to be read."""

    secure_boot: bool | None
    upgraded: bool
    """upgraded from a Windows before 10 1607, which keeps the old rule"""
    test_signing: bool = False
    """started with test signing on, so that any signature will do"""
    memory_integrity: bool = False
    """memory integrity (HVCI) is switched on, which refuses some old drivers besides"""


def signing_policy() -> SigningPolicy:
    """What the registry says of Secure Boot, the history of this Windows, how it was started, and memory integrity.

    Sources: Microsoft's "Driver Signing", "The TESTSIGNING boot configuration option", and "Enable virtualization-based
    protection of code integrity".
    """
    control = "SYSTEM\\CurrentControlSet\\Control"
    state = registry.number(control + r"\SecureBoot\State", "UEFISecureBootEnabled")
    upgraded = any(
        registry.number(control + r"\CI\Policy", name) == 1 for name in ("UpgradedSystem", "BootUpgradedSystem")
    )
    started = (registry.words(control, "SystemStartOptions") or "").upper().split()
    integrity = registry.number(control + r"\DeviceGuard\Scenarios\HypervisorEnforcedCodeIntegrity", "Enabled")
    return SigningPolicy(None if state is None else state == 1, upgraded, "TESTSIGNING" in started, integrity == 1)


def remote_session() -> bool:
    """Whether this process runs in a session of Remote Desktop (GetSystemMetrics, SM_REMOTESESSION)."""
    return bool(Library("user32.dll").function("GetSystemMetrics", ctypes.c_int32, ctypes.c_int32)(0x1000))


def module_loaded(name: str) -> bool:
    """Whether a DLL of that name is in this process already."""
    return bool(kernel32().function("GetModuleHandleW", c_size_t, c_void_p)(wide(name)))


def since_start() -> float:
    """Seconds since Windows was started (GetTickCount64); a fast start after shutting down goes on counting."""
    return int(kernel32().function("GetTickCount64", c_uint64)()) / 1000
