"""One clock: counter ticks to UTC, straight pieces, never backwards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.windows.clock import SECOND, STEP, Clock, ClockMap, Sample

FREQUENCY = 10_000_000
START = 1_700_000_000 * SECOND


def ns(mapping: ClockMap, tick: int) -> int:
    return int(mapping.to_ns(np.array([tick], np.int64))[0])


def clock_map(ticks: int = 0, utc: int = START) -> ClockMap:
    return ClockMap(FREQUENCY, Sample(ticks, utc))


def test_the_first_sample_and_the_frequency_suffice() -> None:
    mapping = clock_map(5 * FREQUENCY)
    ticks = np.array([5 * FREQUENCY, 6 * FREQUENCY, 4 * FREQUENCY, 5 * FREQUENCY + 1], np.int64)
    assert (mapping.to_ns(ticks) - START).tolist() == [0, SECOND, -SECOND, 100]


def test_a_clock_that_drifts_is_followed_within_a_microsecond() -> None:
    mapping = clock_map()
    drift = 80e-6  # the system's clock runs 80 ppm faster than the counter says
    for second in range(1, 121):
        mapping.add(Sample(second * FREQUENCY, START + round(second * SECOND * (1 + drift))))
    for tick in (1195 * FREQUENCY // 10, 120 * FREQUENCY, 1205 * FREQUENCY // 10):
        true = START + round(tick / FREQUENCY * SECOND * (1 + drift))
        assert abs(ns(mapping, tick) - true) < 1_000
    assert mapping.steps == []


def test_a_clock_set_forward_is_followed_at_once_and_said() -> None:
    mapping = clock_map()
    mapping.add(Sample(FREQUENCY, START + SECOND))
    mapping.add(Sample(2 * FREQUENCY, START + 3600 * SECOND))
    assert ns(mapping, 2 * FREQUENCY - 1) <= START + 2 * SECOND
    assert ns(mapping, 2 * FREQUENCY) == START + 3600 * SECOND
    assert mapping.steps == [(START + 2 * SECOND, 3598 * SECOND)]


def test_a_clock_set_back_leaves_times_going_on_and_says_by_how_much() -> None:
    mapping = clock_map()
    mapping.add(Sample(FREQUENCY, START - 3600 * SECOND))
    for second in range(2, 10):
        mapping.add(Sample(second * FREQUENCY, START - 3600 * SECOND + (second - 1) * SECOND))
    assert ns(mapping, 9 * FREQUENCY) == START + 9 * SECOND
    assert mapping.set_back == 3601 * SECOND
    assert mapping.steps == []


def test_a_clock_set_back_and_put_right_is_no_step() -> None:
    mapping = clock_map()
    mapping.add(Sample(FREQUENCY, START - 60 * SECOND))
    mapping.add(Sample(2 * FREQUENCY, START + 2 * SECOND))
    assert (mapping.steps, mapping.set_back) == ([], 0)
    assert ns(mapping, 2 * FREQUENCY) == START + 2 * SECOND


def test_samples_that_are_not_later_are_left_out() -> None:
    mapping = clock_map(FREQUENCY)
    mapping.add(Sample(FREQUENCY, START + 50 * SECOND))
    mapping.add(Sample(0, START))
    assert ns(mapping, FREQUENCY) == START


def test_times_of_earlier_ticks_stay_when_a_sample_comes() -> None:
    mapping = clock_map()
    ticks = np.arange(0, 3 * FREQUENCY, 12_345, dtype=np.int64)
    before = mapping.to_ns(ticks)
    mapping.add(Sample(3 * FREQUENCY, START + 3 * SECOND + 40_000))
    assert mapping.to_ns(ticks).tolist() == before.tolist()


def test_long_runs_keep_a_bounded_number_of_samples() -> None:
    mapping = clock_map()
    for second in range(1, 10_000):
        mapping.add(Sample(second * FREQUENCY, START + second * SECOND))
    assert len(mapping._knots.ticks) == 4096
    assert ns(mapping, 9_999 * FREQUENCY) == START + 9_999 * SECOND


@pytest.mark.parametrize("frequency", [0, -1])
def test_a_counter_that_does_not_count_is_refused(frequency: int) -> None:
    with pytest.raises(ValueError, match="Hz"):
        ClockMap(frequency, Sample(0, START))


@given(
    st.sampled_from([1_000, 2_441_406, 3_579_545, 10_000_000, 24_000_000, 3_000_000_000]),
    st.lists(st.tuples(st.integers(1, 10**11), st.integers(-(10**11), 10**11)), max_size=12),
    st.lists(st.integers(-(10**12), 10**12), max_size=20),
)
def test_a_later_tick_never_has_an_earlier_time(
    frequency: int, readings: list[tuple[int, int]], asked: list[int]
) -> None:
    mapping = ClockMap(frequency, Sample(0, START))
    at, utc = 0, START
    for after, wrong in readings:
        at += after
        utc += after * SECOND // frequency + wrong
        last = ns(mapping, at - 1)
        mapping.add(Sample(at, utc))
        assert ns(mapping, at) >= last
    ticks = np.sort(np.array([*asked, *range(at - 3, at + 3)], np.int64))
    assert (np.diff(mapping.to_ns(ticks)) >= 0).all()


@given(st.lists(st.integers(-(STEP // 2), STEP // 2), min_size=1, max_size=30))
def test_small_errors_are_made_up_for_without_a_step(errors: list[int]) -> None:
    mapping = clock_map()
    for second, error in enumerate(errors, 1):
        mapping.add(Sample(second * FREQUENCY, START + second * SECOND + error // len(errors)))
    assert (mapping.steps, mapping.set_back) == ([], 0)


def test_the_clock_is_sampled_once_a_second() -> None:
    now = [0]
    read: list[int] = []

    def sample() -> Sample:
        read.append(now[0])
        return Sample(now[0], START + now[0] * 100)

    clock = Clock(FREQUENCY, sample)
    for tenth in range(1, 31):
        now[0] = tenth * FREQUENCY // 10
        assert clock.to_ns(np.array([now[0]], np.int64)).tolist() == [START + tenth * SECOND // 10]
    assert read == [0, FREQUENCY, 2 * FREQUENCY, 3 * FREQUENCY]
    assert clock.to_ns(np.empty(0, np.int64)).tolist() == []


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8), st.integers(0, 2**62))
def test_ticks_of_another_counter_get_some_time_and_keep_their_order(ticks: list[int], now: int) -> None:
    mapping = clock_map(now)
    mapping.add(Sample(now + FREQUENCY, START + SECOND))
    times = mapping.to_ns(np.array(sorted([*ticks, -(2**63), 2**63 - 1]), np.int64))
    assert (times[1:] >= times[:-1]).all()
