"""Where the file of a driver is and when it is started, from the registry's key of its service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PureWindowsPath

from etwcap.windows import registry
from etwcap.windows.dll import system_folder

DISABLED = 4
"""Start of a service that may not be started"""
_SERVICES = r"SYSTEM\CurrentControlSet\Services"


@dataclass(frozen=True, slots=True)
class DriverFile:
    """A driver's file and its start type (3: on demand, 4: disabled; None: not told)."""

    path: str
    start: int | None


def driver_file(
    service: str,
    *,
    words: Callable[[str, str], str | None] = registry.words,
    number: Callable[[str, str], int | None] = registry.number,
    folder: Callable[[], str] = system_folder,
) -> DriverFile:
    """The file that the service control manager loads for a driver; raises WindowsCallError.

    ``words``, ``number`` and ``folder`` are for tests.
    """
    key = rf"{_SERVICES}\{service}"
    windows = PureWindowsPath(folder()).parent
    return DriverFile(driver_path(words(key, "ImagePath") or "", service, windows), number(key, "Start"))


def driver_path(image: str, service: str, windows: PureWindowsPath) -> str:
    r"""The absolute path of an ImagePath: ``\??\C:\…``, ``\SystemRoot\…``, or relative to Windows' folder; none at all
    means ``System32\drivers\SERVICE.sys`` (Microsoft: "HKLM\SYSTEM\CurrentControlSet\Services Registry Tree")."""
    image = image.strip().strip('"') or rf"System32\drivers\{service}.sys"
    if image.startswith("\\??\\"):
        image = image[4:]
    for begin in ("\\SystemRoot\\", "%SystemRoot%\\", "%windir%\\"):
        if image.casefold().startswith(begin.casefold()):
            image = image[len(begin) :]
    return str(windows / image)
