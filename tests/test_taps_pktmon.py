"""The pktmon tap on a made-up Windows: the driver's capture, whose-ever it is, and what is left of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import need_native_core
from etwcap.taps.protocol import LiveTapSource, TapOptions
from frames import traffic
from pktmon_windows import PktMonWindows

FRAMES = [each.frame for each, _ in zip(traffic(), range(20), strict=False)]


@pytest.fixture(autouse=True)
def _native() -> None:
    need_native_core()


@pytest.fixture
def windows(tmp_path: Path) -> PktMonWindows:
    return PktMonWindows(tmp_path)


def opened(windows: PktMonWindows, *interfaces: str, **options: Any) -> LiveTapSource:
    return windows.tap().open(windows.context, interfaces, TapOptions(ring=1 << 22, **options), windows.changes)


def captured(windows: PktMonWindows, source: LiveTapSource) -> list[tuple[str, bytes, int]]:
    """(interface, bytes, drop reports) of all packets until the end, which is asked for when nothing more comes."""
    found = []
    source.stop()
    for chunk in source.chunks():
        rows = chunk.packets
        for at, size, face, drops in zip(
            *(rows[name].tolist() for name in ("offset", "captured", "interface", "drop_count")), strict=True
        ):
            name = windows.context.interfaces[face].name
            found.append((name, chunk.buffer[at : at + size].tobytes(), drops))
    source.close()
    return found


def test_packets_come_each_once_under_the_names_of_their_adapters(windows: PktMonWindows) -> None:
    source = opened(windows)
    for frame in FRAMES:
        windows.packet(frame)
    found = captured(windows, source)
    assert found == [("Made-up Gigabit Adapter", frame, 0) for frame in FRAMES]
    assert windows.clean() == []
    assert not windows.loaded
