r"""The registry of HKEY_LOCAL_MACHINE, in its 64-bit view; keys are paths such as ``SYSTEM\CurrentControlSet``."""

from __future__ import annotations

import sys
from typing import Any

from etwcap.errors import NotHereError
from etwcap.windows.failure import failure


def _winreg() -> Any:
    if sys.platform != "win32":
        raise NotHereError("this needs Windows", cause="there is no registry here")
    import winreg

    return winreg


def value(key: str, name: str) -> int | str | bytes | list[str] | None:
    """A value; None where the key or the value is not there. Raises WindowsCallError where it may not be read."""
    winreg = _winreg()
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as opened:
            found: int | str | bytes | list[str] | None = winreg.QueryValueEx(opened, name)[0]
            return found
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure("RegQueryValueExW", getattr(error, "winerror", 0), what=f"HKLM\\{key} cannot be read") from error


def number(key: str, name: str) -> int | None:
    """A value that is a number; None where it is not there or no number."""
    found = value(key, name)
    return found if isinstance(found, int) else None


def words(key: str, name: str) -> str | None:
    """A value that is text; None where it is not there or no text."""
    found = value(key, name)
    return found if isinstance(found, str) else None


def subkeys(key: str) -> list[str]:
    """The names of the keys below a key; none where it is not there."""
    winreg = _winreg()
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as opened:
            return [winreg.EnumKey(opened, each) for each in range(winreg.QueryInfoKey(opened)[0])]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise failure("RegEnumKeyExW", getattr(error, "winerror", 0), what=f"HKLM\\{key} cannot be read") from error


def set_number(key: str, name: str, number: int) -> None:
    """Write a DWORD below HKEY_LOCAL_MACHINE; the key is made where it is not there."""
    winreg = _winreg()
    access = winreg.KEY_WRITE | winreg.KEY_WOW64_64KEY
    try:
        with winreg.CreateKeyEx(winreg.HKEY_LOCAL_MACHINE, key, 0, access) as opened:
            winreg.SetValueEx(opened, name, 0, winreg.REG_DWORD, number)
    except OSError as error:
        raise failure("RegSetValueExW", getattr(error, "winerror", 0), what=f"HKLM\\{key} cannot be written") from error


def remove_value(key: str, name: str) -> None:
    """Take a value below HKEY_LOCAL_MACHINE away; nothing happens where it is not there."""
    winreg = _winreg()
    access = winreg.KEY_SET_VALUE | winreg.KEY_WOW64_64KEY
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, access) as opened:
            winreg.DeleteValue(opened, name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise failure(
            "RegDeleteValueW", getattr(error, "winerror", 0), what=f"HKLM\\{key} cannot be written"
        ) from error


def all_words(key: str) -> list[str]:
    """All values of a key that are text; none where it is not there."""
    winreg = _winreg()
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as opened:
            found = [winreg.EnumValue(opened, each)[1] for each in range(winreg.QueryInfoKey(opened)[1])]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise failure("RegEnumValueW", getattr(error, "winerror", 0), what=f"HKLM\\{key} cannot be read") from error
    return [each for each in found if isinstance(each, str)]
