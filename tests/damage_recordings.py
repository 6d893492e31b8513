"""Damage done on purpose to recordings of raw sockets; see damage_cases.py."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import damage_captures
from damage_captures import Capture
from damage_cases import Case, Key
from etwcap.packets import Context
from etwcap.sources.capfile import CaptureFileSource
from etwcap.sources.opening import open_source
from etwcap.sources.recording import RecordingSource

SAMPLED = 60
RECORD = 28
"""where in an Enhanced Packet Block the record begins"""
PAYLOAD = RECORD + 64
ROW = 24
FIELDS = {"magic": (0, 4), "kind": (4, 1), "family": (5, 1), "present": (6, 2), "number": (8, 8), "socket": (16, 4),
          "interface": (20, 4), "hop limit": (24, 1), "traffic class": (25, 1), "zero": (26, 2),
          "scope": (28, 4)}  # fmt: skip
"""of a record: place and size"""
IPV6_HEADER = 40


@dataclass(slots=True)
class Recording(Capture):
    """An undamaged recording; the keys of its packets are time and what the socket gave."""

    tables: frozenset[int] = frozenset()
    """where blocks of address tables begin"""

    def expected(self, case: Case, *, times: bool) -> Counter[Key]:
        """The packets whose blocks the damage leaves as they were; broken tables cost no packet."""
        kept = Capture.expected(self, case, times=times)
        if kept or case.order is not None:
            return kept
        ranges = [(at, at + len(new)) for at, new in case.patches if new != self.image[at : at + len(new)]]
        needed = [(start, end) for start, end, key in self.blocks if key is None and start not in self.tables]
        if any(first < end and last > start for first, last in ranges for start, end in needed):
            return kept
        return Counter(
            key
            for start, end, key in self.blocks
            if key is not None and not any(first < end and last > start for first, last in ranges)
            and (case.size is None or end <= case.size)
        )  # fmt: skip


def is_recording(path: Path) -> bool:
    """Whether an undamaged file is one."""
    source = open_source(path, Context())
    source.close()
    return isinstance(source, RecordingSource)


def look_at_recording(path: Path) -> Recording:
    """What is in an undamaged recording, block by block."""
    whole = damage_captures.look_at_capture(path)
    blocks: list[tuple[int, int, Key | None]] = []
    tables = set()
    for start, end, key in whole.blocks:
        if key is not None and key[1][4] == 1:
            key = (key[0], key[1][64:])
        elif key is not None:
            tables.add(start)
            key = None
        blocks.append((start, end, key))
    return Recording(path, whole.image, blocks, whole.order, True, frozenset(tables))


def delivered(output: Path) -> Counter[Key]:
    """What the sockets gave, by an output that was written without repair: IPv6 packets lose the header that stands in
    for their own."""
    found: Counter[Key] = Counter()
    source = CaptureFileSource(output, Context())
    try:
        for chunk in source.chunks():
            packets = chunk.packets
            columns = (packets["time"].tolist(), packets["offset"].tolist(), packets["captured"].tolist())
            for time, at, size in zip(*columns, strict=True):
                data = chunk.buffer[at : at + size].tobytes()
                found[time, data[IPV6_HEADER:] if data[:1] and data[0] >> 4 == 6 else data] += 1
    finally:
        source.close()
    return found


def recording_cases(recording: Recording, seed: int) -> Iterator[Case]:
    """Every case of a file: those of any pcapng file, and the fields of sampled records and of all tables."""
    yield from damage_captures.capture_cases(recording, seed)
    rng = random.Random(seed)
    records = [start for start, _, key in recording.blocks if key is not None]
    for start in sorted(rng.sample(records, min(SAMPLED, len(records)))) + sorted(recording.tables):
        for name, (at, width) in FIELDS.items():
            yield from _values(recording, f"record at {start} {name}", start + RECORD + at, width)
        for bit in range(16):
            at = start + RECORD + 6 + bit // 8
            new = bytes([recording.image[at] ^ 1 << bit % 8])
            yield Case(f"record at {start} present bit {bit} flips", ((at, new),))
        yield Case(f"record at {start} header zeroed", ((start + RECORD, bytes(64)),))
    for start in sorted(recording.tables):
        captured = struct.unpack_from(recording.order + "I", recording.image, start + 20)[0]
        for row in range((captured - 64) // ROW):
            for name, at, width in (("family", 0, 1), ("table", 1, 1), ("interface", 4, 4)):
                place = start + PAYLOAD + row * ROW + at
                yield from _values(recording, f"row {row} of tables at {start} {name}", place, width)


def _values(recording: Recording, name: str, at: int, width: int) -> Iterator[Case]:
    held = int.from_bytes(recording.image[at : at + width], "little")
    top = (1 << 8 * width) - 1
    values: Iterable[int] = sorted({0, 1, 2, top, held + 1 & top, held - 1 & top} - {held})
    for value in values:
        yield Case(f"{name} = {value}", ((at, value.to_bytes(width, "little")),))
