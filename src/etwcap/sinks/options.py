"""Options and blocks of pcapng as bytes (draft-ietf-opsawg-pcapng 3.1, 3.5), little-endian."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from etwcap.words import safe_text

END = bytes(4)
"""opt_endofopt"""
LONGEST = 0xFFFF
COMMENT = 1


def option(code: int, value: bytes) -> bytes:
    """One option, padded to 32 bits; a value that is too long for it is cut."""
    value = value[:LONGEST]
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def text_option(code: int, text: str, lead: bytes = b"") -> bytes:
    """An option of UTF-8 text behind ``lead``, cut at a character where it is too long; nothing for an empty text.

    Names come from traces, and readers print them: what could steer a terminal is escaped; lines of a comment stay.
    """
    data = safe_text(text, "\n" if code == COMMENT else "").encode("utf-8", "replace")
    if len(lead) + len(data) > LONGEST:
        data = data[: LONGEST - len(lead)].decode("utf-8", "ignore").encode()
    return option(code, lead + data) if data else b""


def number_option(code: int, value: int) -> bytes:
    """An option of one unsigned 64-bit number."""
    return option(code, struct.pack("<Q", min(max(value, 0), 2**64 - 1)))


def time_option(code: int, time: int) -> bytes:
    """An option of one time stamp: its high half, then its low half."""
    return option(code, time_stamp(time))


def time_stamp(time: int) -> bytes:
    """ns since 1970 as the two words of a time stamp; what lies before becomes 0."""
    time = max(time, 0)
    return struct.pack("<II", time >> 32, time & 0xFFFFFFFF)


def joined(options: Iterable[bytes]) -> bytes:
    """The options section of a block: empty where there is none, else with opt_endofopt."""
    data = b"".join(options)
    return data + END if data else b""


def block(block_type: int, body: bytes) -> bytes:
    """A block around the body, which is padded to 32 bits."""
    body += bytes(-len(body) % 4)
    total = len(body) + 12
    return struct.pack("<II", block_type, total) + body + struct.pack("<I", total)
