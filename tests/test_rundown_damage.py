"""Damage in a trace's rundown, which is read twice, is told once and with its place."""

from __future__ import annotations

from pathlib import Path

import etwcap
from etwcap.etl.build import event_record
from etwcap.etl.writer import EtlWriter, LogfileSettings
from etwcap.providers import pktmon_layout


def test_a_broken_rundown_event_is_told_once_with_the_offset_of_its_buffer(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "trace.etl"
    kind = LogfileSettings(buffer_size=4096)
    with EtlWriter(path, kind) as trace:
        for number in range(40):
            trace.add(0, event_record(bytes(15) + b"\1", 7, bytes(200), time=kind.raw0 + number))
        trace.add(0, event_record(pktmon_layout.GUID, 20, b"\1", time=kind.raw0 + 50))
    with etwcap.open(path) as trace_file:
        assert list(trace_file) == []
        places = [damage.offset for damage in trace_file.damage]
        last = 4096 * (path.stat().st_size // 4096 - 1)
        assert places == [last]
        assert trace_file.description.damage_count == 1
        assert [note.count for note in trace_file.receipt.notes.values()] == [1]
