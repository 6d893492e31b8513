"""Play files: the events of ETL files, which the stand-in of Windows plays as a machine's own (``standin/play.h``)."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from etwcap.etl.records import EVENT64
from etwcap.etl.time import unix_ns
from etwcap.packets import Context
from etwcap.sources.etl import EtlSource

PKTMON = UUID("4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac")
NDISCAP = UUID("2ed6006e-4729-4609-b423-3ee7bcd678ef")
WFP = UUID("c22d1b14-c242-49de-9f17-1d76b8b9c458")
PROVIDERS = (PKTMON, NDISCAP, WFP)

LAST_OF_RUNDOWN = 110
"""PktMon's events up to here are told when its driver stops."""
_MAGIC = 0x594C5045
_HEAD, _EVENT = "<IIqqqQ", "<IHHHHIq"
_MOST_TRACKS = 8
_FILETIME_SECOND = 10_000_000


class Played(NamedTuple):
    """What a play file has."""

    events: int
    """in order of their stamps"""
    last: int
    """told when the driver stops"""
    size: int
    """bytes of the records"""


class _Event(NamedTuple):
    stamp: int
    processor: int
    track: int
    payload_at: int
    last: bool
    record: bytes


def write_play(play: Path, *traces: Path) -> Played:
    """The events of the packet providers in these traces, one after the other by their stamps.

    The clock is that of the first trace; the others' stamps are rewritten for it.
    """
    tracks: list[UUID] = []
    events: list[_Event] = []
    clock = (0, 0, 0)
    for number, trace in enumerate(traces):
        source = EtlSource(str(trace), Context())
        try:
            start, raw0 = source.header.clock.origin
            own = (start, raw0, source.header.clock.frequency)
            clock = own if number == 0 else clock
            events += _events_of(source, own, clock, tracks)
        finally:
            source.close()
    events.sort(key=lambda each: each.stamp)
    used = [_track(each) for each in tracks] + [bytes(24)] * (_MOST_TRACKS - len(tracks))
    with play.open("wb") as out:
        out.write(struct.pack(_HEAD, _MAGIC, len(tracks), *clock, len(events)) + b"".join(used))
        for each in events:
            size = len(each.record)
            head = (size, each.processor, each.track, each.payload_at, each.last, 0, each.stamp)
            out.write(struct.pack(_EVENT, *head) + each.record + bytes(-size % 8))
    last = sum(each.last for each in events)
    return Played(len(events) - last, last, sum(len(each.record) for each in events))


def _track(provider: UUID) -> bytes:
    return provider.bytes_le + struct.pack("<II", provider == PKTMON, 0)


def _events_of(
    source: EtlSource, own: tuple[int, int, int], clock: tuple[int, int, int], tracks: list[UUID]
) -> Iterator[_Event]:
    engine = source._merge(source.buffers)
    try:
        while (records := engine.next()) is not None:
            guids = [UUID(bytes_le=each) for each in engine.guids()]
            for row in records:
                if row["type"] != EVENT64 or row["provider"] < 0:
                    continue
                provider = guids[int(row["provider"])]
                if provider not in PROVIDERS:
                    continue
                if provider not in tracks:
                    tracks.append(provider)
                at = int(row["offset"])
                record = engine.buffer[at : at + int(row["size"])].tobytes()
                last = provider == PKTMON and int(row["id"]) <= LAST_OF_RUNDOWN
                stamp = _on(clock, own, int(row["raw"]))
                yield _Event(stamp, int(row["processor"]), tracks.index(provider), int(row["payload"]), last, record)
    finally:
        engine.close()


def _on(clock: tuple[int, int, int], own: tuple[int, int, int], stamp: int) -> int:
    """A stamp of one clock on another: whole FILETIME, so exact between clocks of 10 MHz."""
    if clock == own:
        return stamp
    filetime = own[0] + (stamp - own[1]) * _FILETIME_SECOND // own[2]
    return clock[1] + (filetime - clock[0]) * clock[2] // _FILETIME_SECOND


class PlayedEvent(NamedTuple):
    """An event of a play file."""

    time: int
    """ns since 1970 UTC"""
    processor: int
    record: bytes
    """as in an ETL file"""


def read_play(play: Path) -> list[PlayedEvent]:
    """The events of a play file, without those that the driver tells when it stops."""
    data = play.read_bytes()
    _, _, start, ticks, frequency, count = struct.unpack_from(_HEAD, data)
    at = struct.calcsize(_HEAD) + 24 * _MOST_TRACKS
    found = []
    for _ in range(count):
        size, processor, _, _, last, _, stamp = struct.unpack_from(_EVENT, data, at)
        at += struct.calcsize(_EVENT)
        if not last:
            filetime = start + (stamp - ticks) * _FILETIME_SECOND // frequency
            found.append(PlayedEvent(unix_ns(filetime), processor, data[at : at + size]))
        at += size + -size % 8
    return found


def main() -> None:
    """``etw_play.py PLAY TRACE…``"""
    print(write_play(Path(sys.argv[1]), *map(Path, sys.argv[2:])))


if __name__ == "__main__":
    main()
