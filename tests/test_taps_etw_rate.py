"""A stand-in of a trace session at a rate: every event comes in order, or is counted."""

from __future__ import annotations

import sys

import pytest

from conftest import missing, need_native_core

if sys.platform == "win32":
    pytest.skip("the stand-in session is made of POSIX threads", allow_module_level=True)

from benchmarks.receiver import measure
from benchmarks.ring_feed import compiler


@pytest.fixture(autouse=True)
def _harness() -> None:
    need_native_core()
    if compiler() is None:
        missing("a C compiler builds the stand-in session; there is none")


@pytest.mark.parametrize("mode", ["records", "stages"])
def test_with_room_every_event_comes_in_the_order_of_its_stamp(mode: str) -> None:
    found = measure(mode, rate=100_000, count=50_000, size=1 << 26, processors=5)
    assert (found["produced"], found["refused"], found["read"]) == (50_000, 0, 50_000)
    assert (found["out_of_order"], found["late_marks"]) == (0, 0)


@pytest.mark.parametrize("mode", ["records", "packets"])
def test_overfed_every_event_is_read_or_counted(mode: str) -> None:
    found = measure(mode, rate=0, count=200_000, size=1 << 16)
    assert found["refused"] > 0
    assert found["produced"] == 200_000 == found["read"] + found["refused"]
