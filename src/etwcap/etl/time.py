"""Raw time stamps of a trace to UTC, in exact integer arithmetic.

A trace ties one raw stamp (that of its first record) to one FILETIME, StartTime of the logfile header; every other
stamp is ticks of the session's clock away from it (WNODE_HEADER and TRACE_LOGFILE_HEADER of the Windows SDK). Each
clock type is one and the same formula with its own frequency::

    t = StartTime + floor((raw - raw0) * 10^7 / frequency)            100 ns since 1601-01-01 UTC
    ns = (t - 116444736000000000) * 100                               ns since 1970-01-01 UTC

What does not fit a signed 64-bit count of ns (1677 to 2262) becomes the nearest that does: a hostile stamp cannot wrap.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

QPC, SYSTEM_TIME, CPU_CYCLES = 1, 2, 3
"""Clock types: ReservedFlags of TRACE_LOGFILE_HEADER, ClientContext of WNODE_HEADER."""

FILETIME_OF_1970 = 116_444_736_000_000_000
"""1970-01-01 as FILETIME."""
FILETIME_HZ = 10_000_000

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_FIRST_TICK = FILETIME_OF_1970 - 2**63 // 100
_LAST_TICK = FILETIME_OF_1970 + (2**63 - 1) // 100
"""FILETIMEs whose ns since 1970 fit int64."""


def unix_ns(filetime: int) -> int:
    """ns since 1970 UTC of a FILETIME; the nearest int64 where that does not fit."""
    return max(INT64_MIN, min(INT64_MAX, (filetime - FILETIME_OF_1970) * 100))


def filetime(ns: int) -> int:
    """FILETIME (100 ns since 1601 UTC, rounded down) of ns since 1970 UTC."""
    return ns // 100 + FILETIME_OF_1970


def _effective_frequency(clock_type: int, perf_freq: int, mhz: int) -> int:
    """Ticks per second of the stamps; 0 where the stamps are FILETIMEs themselves.

    A type that does not exist, or one whose frequency is missing, falls back to QPC where PerfFreq says anything, else
    to system time.
    """
    if clock_type == SYSTEM_TIME:
        return 0
    if clock_type == CPU_CYCLES and mhz > 0:
        return mhz * 1_000_000
    return max(perf_freq, 0)


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of one trace file."""

    type: int
    """as the logfile header has it: 1 QPC, 2 system time, 3 CPU cycles"""
    perf_freq: int
    """PerfFreq, ticks per second (i64)"""
    mhz: int
    """CpuSpeedInMHz"""
    start: int
    """StartTime, FILETIME (i64)"""
    raw0: int
    """TimeStamp of the file's first record (i64)"""

    frequency: int = field(init=False)
    """what one second is in ticks, whatever the type"""
    _start: int = field(init=False, repr=False)
    _raw0: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        frequency = _effective_frequency(self.type, self.perf_freq, self.mhz)
        set_field = object.__setattr__
        set_field(self, "frequency", frequency or FILETIME_HZ)
        set_field(self, "_start", self.start if frequency else 0)
        set_field(self, "_raw0", self.raw0 if frequency else 0)

    @property
    def origin(self) -> tuple[int, int]:
        """(FILETIME, raw stamp) of one moment, from which ``frequency`` counts; (0, 0): stamps are FILETIMEs."""
        return self._start, self._raw0

    def to_filetime(self, raw: int) -> int:
        """FILETIME of a raw stamp, of any size."""
        return self._start + (raw - self._raw0) * FILETIME_HZ // self.frequency

    def to_unix_ns(self, raw: int) -> int:
        """ns since 1970 UTC of a raw stamp; the nearest int64 where that does not fit."""
        return unix_ns(self.to_filetime(raw))

    def to_unix_ns_array(self, raw: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same for an array of int64 stamps, one int64 each."""
        low, high = self._exact_range()
        result = np.empty(len(raw), np.int64)
        if low > high:
            result[:] = INT64_MAX if high < INT64_MIN else INT64_MIN
            return result
        # From `low` on everything counts up from zero, and no more ticks than int64 ns can name.
        since = np.clip(raw, low, high).view(np.uint64) - np.uint64(low % 2**64)
        whole, rest = divmod((low - self._raw0) * FILETIME_HZ, self.frequency)
        ticks = _scale(since, rest, self.frequency).view(np.int64)
        ticks += np.int64(self._start + whole - FILETIME_OF_1970)
        np.multiply(ticks, 100, out=result)
        result[raw < low] = INT64_MIN
        result[raw > high] = INT64_MAX
        return result

    def _exact_range(self) -> tuple[int, int]:
        """First and last int64 stamp whose time fits; first > last where no int64 stamp has one."""
        low = -((self._start - _FIRST_TICK) * self.frequency // FILETIME_HZ) + self._raw0
        high = -(-(_LAST_TICK + 1 - self._start) * self.frequency // FILETIME_HZ) - 1 + self._raw0
        if high < INT64_MIN or low > INT64_MAX:
            return low, min(high, low - 1)
        return max(low, INT64_MIN), min(high, INT64_MAX)


def _scale(ticks: NDArray[np.uint64], rest: int, frequency: int) -> NDArray[np.uint64]:
    """floor((ticks * 10^7 + rest) / frequency), known to fit; 0 <= rest < frequency < 2^63."""
    unit = np.uint64(frequency)
    whole: NDArray[np.uint64] = ticks // unit
    part: NDArray[np.uint64] = ticks - whole * unit
    whole *= np.uint64(FILETIME_HZ)
    if frequency <= 2**64 // (FILETIME_HZ + 1):
        part *= np.uint64(FILETIME_HZ)
        part += np.uint64(rest)
        part //= unit
    else:
        part = _long_scale(part, rest, unit)
    whole += part
    return whole


def _long_scale(part: NDArray[np.uint64], rest: int, unit: np.uint64) -> NDArray[np.uint64]:
    """floor((part * 10^7 + rest) / unit) for part < unit < 2^63, bit by bit: the product does not fit 64 bits."""
    quotient = np.zeros_like(part)
    remainder = np.zeros_like(part)

    def carry() -> None:
        over = remainder >= unit
        quotient[over] += np.uint64(1)
        remainder[over] -= unit

    for bit in f"{FILETIME_HZ:b}":
        quotient <<= np.uint64(1)
        remainder <<= np.uint64(1)
        carry()
        if bit == "1":
            remainder += part
            carry()
    remainder += np.uint64(rest)
    carry()
    return quotient
