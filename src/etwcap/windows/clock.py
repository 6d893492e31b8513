"""One clock: QueryPerformanceCounter ticks to ns since 1970 UTC, by a mapping that is sampled every second.

``ClockMap`` is the mapping alone and runs everywhere; ``Clock`` feeds it from Windows (QueryPerformanceCounter around
GetSystemTimePreciseAsFileTime, which Windows keeps within 1 µs of its clock).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_int32, c_int64, c_void_p
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etwcap.windows.dll import Library
from etwcap.windows.handles import kernel32
from etwcap.windows.layouts_system import FILETIME

SECOND = 1_000_000_000
FILETIME_OF_1970 = 116_444_736_000_000_000
"""100 ns from 1601 to 1970."""

STEP = 100_000_000
"""ns: an error larger than this is a clock that was set, not one that drifts."""
SLEW = 500e-6
"""How much faster or slower than the counter the mapping runs to make up for an error: the rate of NTP."""
_FAR = 1 << 62
"""ticks, and ns from a sample, beyond which nothing is told apart"""
_KNOTS = 4096
"""Samples that are kept: more than an hour of them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of both clocks: counter ticks, ns since 1970 UTC, and how uncertain in ns the pair is."""

    ticks: int
    utc: int
    uncertainty: int = 0


@dataclass(frozen=True, slots=True)
class _Knots:
    """Where each piece begins: counter ticks, ns, and ns per tick from there on."""

    ticks: NDArray[np.int64]
    utc: NDArray[np.int64]
    rate: NDArray[np.float64]


class ClockMap:
    """Piecewise linear, and monotone: a later tick never gets an earlier time, whatever the clock of the system does.

    The drift between the clocks is learnt, and an error made up for by running up to 500 ppm faster or slower. A clock
    set forward by more than 100 ms is followed at once (``steps``); one set back is not, since times would repeat: from
    there on times go on as they were, and ``set_back`` says in ns how far they lie ahead of the clock.

    A sample leaves the times of earlier ticks as they were; later ticks may get others than they would have got before.
    So convert in the order of the ticks, or sample first and convert then.
    """

    def __init__(self, frequency: int, first: Sample) -> None:
        if frequency <= 0:
            raise ValueError(f"a counter of {frequency} Hz")
        self.frequency = frequency
        self.steps: list[tuple[int, int]] = []
        """(ns since 1970, ns forward) of each step that was followed"""
        self.set_back = 0
        self.uncertainty = first.uncertainty
        """ns: the largest of any sample"""
        self._nominal = SECOND / frequency
        self._drift = 0.0
        self._last = first
        self._knots = _Knots(
            np.array([first.ticks], np.int64), np.array([first.utc], np.int64), np.array([self._nominal])
        )

    def add(self, sample: Sample) -> None:
        """Take a new reading; one that is not later than the last is left out."""
        knots = self._knots
        if sample.ticks <= int(knots.ticks[-1]):
            return
        self.uncertainty = max(self.uncertainty, sample.uncertainty)
        here = int(self.to_ns(np.array([sample.ticks], np.int64))[0])
        error = sample.utc + self.set_back - here
        last, self._last = self._last, sample
        interval = (sample.ticks - last.ticks) * self._nominal
        slew = 0.0
        if error > STEP:
            forward = max(sample.utc - here, 0)  # a clock that had been set back, and now is put right, is no step
            self.set_back = max(here - sample.utc, 0)
            if forward:
                self.steps.append((here, forward))
                here = sample.utc
        elif error < -STEP:
            self.set_back -= error
        else:
            measured = (sample.utc - last.utc) / interval - 1
            self._drift = _within(self._drift + (measured - self._drift) / 8, SLEW)
            slew = _within(error / max(interval, SECOND), SLEW)  # made up for by the next sample
        rate = self._nominal * (1 + self._drift + slew)
        keep = slice(-(_KNOTS - 1), None)
        self._knots = _Knots(
            np.append(knots.ticks[keep], np.int64(sample.ticks)),
            np.append(knots.utc[keep], np.int64(here)),
            np.append(knots.rate[keep], rate),
        )

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """ns since 1970 UTC of each tick, in any order; before the first and after the last sample by extrapolation.

        A tick that cannot be of this counter (146 years away) gets the nearest time that such a tick can have.
        """
        knots = self._knots
        piece = np.maximum(np.searchsorted(knots.ticks, ticks, side="right") - 1, 0)
        near = np.clip(ticks, -_FAR, _FAR) - knots.ticks[piece]
        since = np.clip(near.astype(np.float64) * knots.rate[piece], -_FAR, _FAR)
        times: NDArray[np.int64] = knots.utc[piece] + since.astype(np.int64)
        # a piece ends where the next begins: rounding must not lead beyond
        following = np.minimum(piece + 1, len(knots.utc) - 1)
        return np.where(following > piece, np.minimum(times, knots.utc[following]), times)


def _within(value: float, most: float) -> float:
    return min(max(value, -most), most)


class Clock:
    """The mapping of this machine, read when asked: call ``refresh`` before converting, it samples once a second."""

    def __init__(
        self, frequency: int = 0, read: Callable[[], Sample] | None = None, *, library: Library | None = None
    ) -> None:
        if read is None:
            counter = Counter(library)
            read, frequency = counter.sample, counter.frequency()
        self._read = read
        first = read()
        self.map = ClockMap(frequency, first)
        self._sampled = first.ticks

    def refresh(self, ticks: int) -> bool:
        """Sample anew when the last sample lies a second or more before ``ticks``; whether that was so."""
        if ticks - self._sampled < self.map.frequency:
            return False
        sample = self._read()
        self.map.add(sample)
        self._sampled = sample.ticks
        return True

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """ns since 1970 UTC of each tick; samples first where that is due."""
        if len(ticks):
            self.refresh(int(ticks.max()))
        return self.map.to_ns(ticks)


class Counter:
    """QueryPerformanceCounter, and its pairs with the time of day."""

    def __init__(self, library: Library | None = None) -> None:
        self._dll = library or kernel32()

    def ticks(self) -> int:
        """The counter now."""
        value = c_int64()
        self._dll.function("QueryPerformanceCounter", c_int32, c_void_p)(ctypes.byref(value))
        return value.value

    def frequency(self) -> int:
        """Ticks per second."""
        value = c_int64()
        self._dll.function("QueryPerformanceFrequency", c_int32, c_void_p)(ctypes.byref(value))
        return value.value

    def utc(self) -> int:
        """ns since 1970 UTC, in steps of 100 ns."""
        time = FILETIME()
        self._dll.function("GetSystemTimePreciseAsFileTime", None, c_void_p)(ctypes.byref(time))
        since_1601: int = (time.dwHighDateTime << 32) | time.dwLowDateTime
        return (since_1601 - FILETIME_OF_1970) * 100

    def sample(self, tries: int = 5) -> Sample:
        """The tightest of a few pairs: the counter is read before and after the time of day."""
        frequency = self.frequency()
        best = (2**62, 0, 0)
        for _ in range(tries):
            before, utc, after = self.ticks(), self.utc(), self.ticks()
            best = min(best, (after - before, (before + after) // 2, utc))
        width, middle, utc = best
        return Sample(middle, utc, (width * SECOND // frequency + 1) // 2 + 100)
