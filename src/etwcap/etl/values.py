"""Typed values out of an event's payload.

Type numbers are the TDH_INTYPE_ and TDH_OUTTYPE_ values of tdh.h. Values lie unaligned, little-endian, one after the
other. Nothing is trusted: what does not fit the payload raises :class:`PayloadError`.
"""

from __future__ import annotations

import struct
import uuid
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeAlias

from etwcap.etl.time import unix_ns

Value: TypeAlias = Any
"""int, float, bool, str, bytes, UtcTime, MappedValue, UUID, IPv4Address, IPv6Address, None; a list or dict of them."""

UNICODE_STRING, ANSI_STRING = 1, 2
UINT8, UINT16, UINT32 = 4, 6, 8
BOOLEAN, BINARY, GUID, POINTER, FILETIME, SYSTEMTIME, SID = 13, 14, 15, 16, 17, 18, 19
MANIFEST_COUNTED_STRING, MANIFEST_COUNTED_ANSI_STRING, STRUCT, MANIFEST_COUNTED_BINARY = 22, 23, 24, 25
COUNTED_STRING, COUNTED_ANSI_STRING, REVERSED_COUNTED_STRING, REVERSED_COUNTED_ANSI_STRING = 300, 301, 302, 303
UNTERMINATED_STRING, UNTERMINATED_ANSI_STRING, UNICODE_CHAR, ANSI_CHAR, SIZET, HEX_DUMP, WBEM_SID = range(304, 311)

OUT_STRING, OUT_BOOLEAN, OUT_PORT, OUT_IPV4, OUT_IPV6, OUT_SOCKET_ADDRESS = 1, 13, 22, 23, 24, 25

_NUMBERS = {
    number: struct.Struct("<" + code) for number, code in zip((*range(3, 13), 20, 21), "bBhHiIqQfdIQ", strict=True)
}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class PayloadError(ValueError):
    """The payload does not hold what its schema says."""


class UtcTime(int):
    """A moment: ns since 1970-01-01 UTC."""

    def __str__(self) -> str:
        seconds, ns = divmod(int(self), 1_000_000_000)
        try:
            moment = _EPOCH + timedelta(seconds=seconds)
        except OverflowError:
            return f"{int(self)} ns since 1970"
        return f"{moment:%Y-%m-%d %H:%M:%S}.{ns // 100:07d}"


class MappedValue(int):
    """A number with the text that the event's value map has for it."""

    text: str

    def __new__(cls, number: int, text: str) -> MappedValue:
        """The number with its text."""
        value = super().__new__(cls, number)
        value.text = text
        return value

    def __str__(self) -> str:
        return self.text


class Cursor:
    """A place in a payload that moves on with every value read."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        """The next bytes; PayloadError where there are fewer."""
        if count > self.left:
            raise PayloadError(f"{count} bytes wanted at {self.at}, {self.left} are left")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def unsigned(self, size: int) -> int:
        """A little-endian number of that many bytes."""
        return int.from_bytes(self.take(size), "little")

    def utf16(self) -> str:
        """UTF-16 up to a NUL (which is passed over) or the end."""
        end = self.at
        while True:
            end = self.data.find(b"\0\0", end)
            if end < 0:
                return utf16_text(self.take(self.left))
            if (end - self.at) % 2 == 0:
                break
            end += 1
        text = utf16_text(self.take(end - self.at))
        self.at += 2
        return text

    def ansi(self) -> str:
        """8-bit text up to a NUL (which is passed over) or the end."""
        end = self.data.find(b"\0", self.at)
        if end < 0:
            return ansi_text(self.take(self.left))
        text = ansi_text(self.take(end - self.at))
        self.at += 1
        return text


def utf16_text(data: bytes) -> str:
    """UTF-16 of a fixed length, up to its first NUL."""
    return data[: len(data) & ~1].decode("utf-16-le", "replace").partition("\0")[0]


def ansi_text(data: bytes) -> str:
    """8-bit text of a fixed length, up to its first NUL: UTF-8, or Windows-1252 where it is none."""
    data = data.partition(b"\0")[0]
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def guid_text(guid: bytes) -> str:
    """``{4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac}`` of the 16 bytes that lie in a record."""
    return f"{{{uuid.UUID(bytes_le=guid)}}}"


def guid_bytes(text: str) -> bytes:
    """The 16 bytes, as they lie in a record, of a GUID in text with or without braces; ValueError where it is none."""
    return uuid.UUID(text).bytes_le


def read_value(cursor: Cursor, in_type: int, out_type: int, pointer_size: int, length: int | None) -> Value:
    """One value; ``length`` (characters of a text, bytes of a binary) where the schema gives one."""
    number = _NUMBERS.get(in_type)
    if number is not None:
        return _shown(number.unpack(cursor.take(number.size))[0], in_type, out_type, number.size)
    if in_type in (UNICODE_STRING, UNTERMINATED_STRING):
        if length is not None:
            return utf16_text(cursor.take(2 * length))
        return cursor.utf16() if in_type == UNICODE_STRING else utf16_text(cursor.take(cursor.left))
    if in_type in (ANSI_STRING, UNTERMINATED_ANSI_STRING):
        if length is not None:
            return ansi_text(cursor.take(length))
        return cursor.ansi() if in_type == ANSI_STRING else ansi_text(cursor.take(cursor.left))
    if in_type in (MANIFEST_COUNTED_STRING, COUNTED_STRING):
        return utf16_text(cursor.take(cursor.unsigned(2)))
    if in_type in (MANIFEST_COUNTED_ANSI_STRING, COUNTED_ANSI_STRING):
        return ansi_text(cursor.take(cursor.unsigned(2)))
    if in_type == REVERSED_COUNTED_STRING:
        return utf16_text(cursor.take(int.from_bytes(cursor.take(2), "big")))
    if in_type == REVERSED_COUNTED_ANSI_STRING:
        return ansi_text(cursor.take(int.from_bytes(cursor.take(2), "big")))
    if in_type == BOOLEAN:
        return cursor.unsigned(4) != 0
    if in_type == BINARY:
        return _binary(cursor.take(_binary_length(cursor, out_type, length)), out_type)
    if in_type == MANIFEST_COUNTED_BINARY:
        return _binary(cursor.take(cursor.unsigned(2)), out_type)
    if in_type == HEX_DUMP:
        return cursor.take(cursor.unsigned(4))
    if in_type == GUID:
        return uuid.UUID(bytes_le=cursor.take(16))
    if in_type in (POINTER, SIZET):
        return cursor.unsigned(pointer_size)
    if in_type == FILETIME:
        return UtcTime(unix_ns(int.from_bytes(cursor.take(8), "little", signed=True)))
    if in_type == SYSTEMTIME:
        return _systemtime(cursor.take(16))
    if in_type == SID:
        return _sid(cursor)
    if in_type == WBEM_SID:
        cursor.take(2 * pointer_size)
        return _sid(cursor)
    if in_type == UNICODE_CHAR:
        return utf16_text(cursor.take(2))
    if in_type == ANSI_CHAR:
        return ansi_text(cursor.take(1))
    raise PayloadError(f"values of type {in_type} are not known")


def _shown(value: Value, in_type: int, out_type: int, size: int) -> Value:
    if out_type == OUT_BOOLEAN and isinstance(value, int):
        return value != 0
    if out_type == OUT_IPV4 and in_type == UINT32:
        return IPv4Address(value.to_bytes(4, "little"))
    if out_type == OUT_PORT and in_type == UINT16:
        return int.from_bytes(value.to_bytes(2, "little"), "big")
    if out_type == OUT_STRING and isinstance(value, int):
        data = (value % (1 << 8 * size)).to_bytes(size, "little")
        return utf16_text(data) if size == 2 else ansi_text(data)
    return value


def _binary_length(cursor: Cursor, out_type: int, length: int | None) -> int:
    """A binary without a length is an IPv6 address where it is shown as one, else the rest of the payload."""
    if length is not None:
        return length
    return 16 if out_type == OUT_IPV6 else cursor.left


def _binary(data: bytes, out_type: int) -> Value:
    if out_type == OUT_IPV6 and len(data) == 16:
        return IPv6Address(data)
    if out_type == OUT_SOCKET_ADDRESS:
        return socket_address(data) or data
    return data


def socket_address(data: bytes) -> str:
    """``192.0.2.1:53`` or ``[2001:db8::1]:53`` of a SOCKADDR_IN or SOCKADDR_IN6; empty where it is neither."""
    family = int.from_bytes(data[:2], "little")
    port = int.from_bytes(data[2:4], "big")
    if family == 2 and len(data) >= 8:
        return f"{IPv4Address(data[4:8])}:{port}"
    if family == 23 and len(data) >= 24:
        return f"[{IPv6Address(data[8:24])}]:{port}"
    return ""


def _systemtime(data: bytes) -> UtcTime | None:
    """A SYSTEMTIME taken as UTC; None where its fields are no date."""
    year, month, _, day, hour, minute, second, milli = struct.unpack("<8H", data)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc) - _EPOCH
    except ValueError:
        return None
    return UtcTime((moment.days * 86400 + moment.seconds) * 1_000_000_000 + milli * 1_000_000)


def _sid(cursor: Cursor) -> str:
    revision, count = cursor.take(2)
    authority = int.from_bytes(cursor.take(6), "big")
    parts = struct.unpack(f"<{count}I", cursor.take(4 * count))
    return "-".join(["S", str(revision), str(authority), *map(str, parts)])
