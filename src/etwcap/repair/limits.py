"""``--start``, ``--end`` and ``-c``: which part of a capture is wanted, and when enough of it has been read."""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime, timedelta, timezone
from typing import Final

import numpy as np

from etwcap.errors import UsageError
from etwcap.packets import Chunk, Context

SECOND: Final = 1_000_000_000
_UNITS: Final = {
    "d": 86400 * SECOND,
    "h": 3600 * SECOND,
    "m": 60 * SECOND,
    "min": 60 * SECOND,
    "s": SECOND,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_PART: Final = r"(\d+)(?:\.(\d+))?(d|h|min|ms|us|ns|m|s)"
_DURATION: Final = re.compile(rf"(?:{_PART})+")
_INSTANT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*(Z|[+-]\d\d:?\d\d)?)?", re.IGNORECASE
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EARLIEST: Final = -(2**63)


@dataclasses.dataclass(frozen=True, slots=True)
class When:
    """A point in time as a person gives it."""

    time: int
    """ns: since 1970 UTC, after the first packet, or (below 0) before the last one"""
    after: str = ""
    """"first", "last"; empty: absolute"""


def parse_duration(text: str) -> int:
    """ "10s", "5m", "1h30m", "250ms" as ns. Raises ValueError."""
    if not _DURATION.fullmatch(text.strip()):
        raise ValueError(text)
    total = 0
    for whole, fraction, unit in re.findall(_PART, text):
        total += int(whole) * _UNITS[unit] + int(fraction or 0) * _UNITS[unit] // 10 ** len(fraction)
    return total


def parse_seconds(text: str) -> int:
    """As :func:`parse_duration`; a bare number is seconds."""
    return int(text) * SECOND if text.isascii() and text.isdigit() else parse_duration(text)


def parse_when(text: str, option: str) -> When:
    """A time as ISO 8601 (UTC where it names no zone), "+30s" after the first packet or "-10m" before the last.

    Raises UsageError that names ``option``.
    """
    bare = text.strip()
    try:
        if bare.startswith("-"):
            return When(-parse_duration(bare[1:]), "last")
        if bare.startswith("+") or _DURATION.fullmatch(bare):
            return When(parse_duration(bare.removeprefix("+")), "first")
        return When(_instant(bare))
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is no time",
            cause=f"{option} {text}",
            hint="2024-01-17T21:20:00.5, 2024-01-17T21:20+01:00, 2024-01-17, +30s (after the first packet) or -10m "
            "(before the last)",
        ) from error


def _instant(text: str) -> int:
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise ValueError(text)
    day, minute, second, fraction, zone = found.groups()
    if zone and zone not in "Zz" and ":" not in zone:
        zone = f"{zone[:3]}:{zone[3:]}"
    zone = "+00:00" if zone is None or zone in "Zz" else zone
    moment = datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}{zone}")
    whole = (moment - _EPOCH) // timedelta(seconds=1)
    time = whole * SECOND + int((fraction or "").ljust(9, "0"))
    if not -(2**63) <= time < 2**63:
        raise OverflowError(text)
    return time


class TimeRange:
    """Lets packets from ``start`` on and before ``end`` through (ns since 1970 UTC, or after the first packet)."""

    def __init__(self, context: Context, start: When | None, end: When | None) -> None:
        self._context = context
        self._start, self._end = start, end
        self._from, self._to = _EARLIEST, 2**63 - 1
        self._begun = False
        self.left_out = 0
        """packets outside the range"""
        self.enough = False
        """no later packet can lie in the range"""

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with the packets in the range."""
        time = chunk.packets["time"]
        if len(time) and not self._begun:
            self._begin(int(time.min()))
        if self._begun and chunk.complete_to > self._to:
            self.enough = True
        keep = (time >= self._from) & (time < self._to)
        left_out = len(keep) - int(np.count_nonzero(keep))
        self.left_out += left_out
        self._context.receipt.note("outside", "packets before --start or from --end on were left out", left_out)
        return dataclasses.replace(chunk, packets=chunk.packets.take(keep)) if left_out else chunk

    def finish(self) -> None:
        """Nothing is held."""

    def _begin(self, first: int) -> None:
        self._begun = True
        if self._start is not None:
            self._from = max(_EARLIEST, min(self._start.time + (first if self._start.after else 0), 2**63 - 1))
        if self._end is not None:
            self._to = max(_EARLIEST, min(self._end.time + (first if self._end.after else 0), 2**63 - 1))


class CountLimit:
    """Lets the first ``count`` packets through."""

    def __init__(self, context: Context, count: int) -> None:
        self._context = context
        self._left = count

    @property
    def enough(self) -> bool:
        """All that are wanted were passed on."""
        return self._left == 0

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with the packets that are still wanted."""
        rows = len(chunk.packets)
        if rows >= self._left:
            if self._left:
                self._context.receipt.note("enough", "reading ended after as many packets as -c wanted", 1)
            if rows > self._left:
                chunk = dataclasses.replace(chunk, packets=chunk.packets.take(slice(0, self._left)))
            rows = self._left
        self._left -= rows
        return chunk

    def finish(self) -> None:
        """Nothing is held."""
