"""Raw stamps to UTC: exact for every frequency, never wrapping."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etwcap.etl.time import (
    CPU_CYCLES,
    FILETIME_OF_1970,
    INT64_MAX,
    INT64_MIN,
    QPC,
    SYSTEM_TIME,
    Clock,
    filetime,
    unix_ns,
)

JUNE_2021 = 132_671_981_956_187_930
INT64 = st.integers(INT64_MIN, INT64_MAX)
FREQUENCY = st.one_of(st.integers(1, 2**63 - 1), st.sampled_from([1, 10_000_000, 3_579_545, 2**63 - 1, 2**64 // 10**7]))


def saturated(filetime_exact: Fraction) -> int:
    return max(INT64_MIN, min(INT64_MAX, (floor(filetime_exact) - FILETIME_OF_1970) * 100))


@given(FREQUENCY, INT64, INT64, st.lists(INT64, min_size=1, max_size=8))
@example(2**63 - 1, 0, INT64_MAX, [INT64_MIN, INT64_MAX, 0])
@example(1, INT64_MIN, INT64_MIN, [INT64_MAX, INT64_MIN])
@example(1, INT64_MAX, INT64_MAX, [INT64_MIN, INT64_MAX])
def test_qpc_times_equal_exact_rational_arithmetic(frequency: int, start: int, raw0: int, raws: list[int]) -> None:
    clock = Clock(QPC, frequency, 0, start, raw0)
    wanted = [saturated(start + Fraction((raw - raw0) * 10**7, frequency)) for raw in raws]
    assert [clock.to_unix_ns(raw) for raw in raws] == wanted
    assert clock.to_unix_ns_array(np.array(raws, np.int64)).tolist() == wanted


@given(
    FREQUENCY,
    st.integers(JUNE_2021, JUNE_2021 + 10**9),
    st.integers(0, 2**62),
    st.lists(st.integers(-(2**40), 2**48), min_size=1, max_size=50),
)
def test_times_near_the_start_equal_exact_rational_arithmetic(
    frequency: int, start: int, raw0: int, ticks: list[int]
) -> None:
    clock = Clock(QPC, frequency, 0, start, raw0)
    wanted = [saturated(start + Fraction(d * 10**7, frequency)) for d in ticks]
    assert clock.to_unix_ns_array(np.array(ticks, np.int64) + raw0).tolist() == wanted


@given(st.integers(1, 2**32 - 1), st.lists(INT64, min_size=1, max_size=8))
def test_cycle_times_count_megahertz(mhz: int, raws: list[int]) -> None:
    clock = Clock(CPU_CYCLES, 10**7, mhz, JUNE_2021, 5)
    wanted = [saturated(JUNE_2021 + Fraction((raw - 5) * 10, mhz)) for raw in raws]
    assert [clock.to_unix_ns(raw) for raw in raws] == wanted
    assert clock.to_unix_ns_array(np.array(raws, np.int64)).tolist() == wanted


@given(st.lists(INT64, min_size=1, max_size=8))
def test_system_time_stamps_are_filetimes_whatever_the_base_says(raws: list[int]) -> None:
    clock = Clock(SYSTEM_TIME, 3_000_000, 2400, 12345, 678)
    wanted = [unix_ns(raw) for raw in raws]
    assert [clock.to_unix_ns(raw) for raw in raws] == wanted
    assert clock.to_unix_ns_array(np.array(raws, np.int64)).tolist() == wanted


@pytest.mark.parametrize("clock_type", [0, 4, 7, CPU_CYCLES])
def test_a_clock_without_its_own_frequency_counts_as_qpc_where_perf_freq_says_anything(clock_type: int) -> None:
    assert Clock(clock_type, 1000, 0, JUNE_2021, 50).to_filetime(51) == JUNE_2021 + 10_000


@pytest.mark.parametrize("perf_freq", [0, -1, INT64_MIN])
@pytest.mark.parametrize("clock_type", [0, QPC, 5, CPU_CYCLES])
def test_a_clock_without_any_frequency_counts_as_system_time(clock_type: int, perf_freq: int) -> None:
    assert Clock(clock_type, perf_freq, 0, JUNE_2021, 50).to_filetime(JUNE_2021 + 7) == JUNE_2021 + 7


def test_a_trace_of_ten_weeks_keeps_every_tick() -> None:
    clock = Clock(QPC, 10**7, 0, JUNE_2021, 1_000_000_000_000)
    ten_weeks = 70 * 86400 * 10**7
    raw = np.arange(ten_weeks, ten_weeks + 5, dtype=np.int64) + 1_000_000_000_000
    assert np.diff(clock.to_unix_ns_array(raw)).tolist() == [100] * 4
    assert clock.to_unix_ns(int(raw[0])) == unix_ns(JUNE_2021 + ten_weeks)


def test_no_stamps_give_no_times() -> None:
    assert Clock(QPC, 10**7, 0, JUNE_2021, 0).to_unix_ns_array(np.zeros(0, np.int64)).tolist() == []


def test_stamps_are_left_as_they_were() -> None:
    raw = np.array([INT64_MIN, 0, INT64_MAX])
    Clock(QPC, 2**63 - 1, 0, JUNE_2021, 0).to_unix_ns_array(raw)
    assert raw.tolist() == [INT64_MIN, 0, INT64_MAX]


@given(st.integers(-(2**63 // 100), 2**63 // 100))
def test_filetime_and_unix_time_are_inverse(units: int) -> None:
    assert unix_ns(filetime(units * 100)) == units * 100


def test_filetime_of_a_known_moment() -> None:
    assert unix_ns(132_671_981_956_187_930) == 1_622_724_595_618_793_000
