"""Windows' text: UTF-16 in arrays and behind pointers, without ``c_wchar``, which has other units off Windows."""

from __future__ import annotations

import ctypes
from typing import Any

_MOST = 65_536


def utf16(room: Any) -> str:
    """The text of an array of UTF-16 units (or its bytes), up to the first zero; what is no text is replaced."""
    return bytes(room).decode("utf-16-le", "replace").partition("\0")[0]


def wide(text: str) -> ctypes.Array[ctypes.c_char]:
    """The text as Windows wants it: UTF-16 with a zero at its end, in memory of its own. No zero may be inside."""
    if "\0" in text:
        raise ValueError("a text for Windows has a zero inside")
    packed = text.encode("utf-16-le", "surrogatepass") + b"\0\0"
    return ctypes.create_string_buffer(packed, len(packed))


def wide_at(pointer: int | None) -> str:
    """The text at an address; "" for no address."""
    if not pointer:
        return ""
    units: list[bytes] = []
    while len(units) < _MOST:
        unit = ctypes.string_at(pointer + 2 * len(units), 2)
        if unit == b"\0\0":
            break
        units.append(unit)
    return b"".join(units).decode("utf-16-le", "replace")
