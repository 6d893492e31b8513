"""Damage done on purpose: what a file looks like, how it is broken, and which of its packets that leaves untouched."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from etwcap.etl import layout
from etwcap.etl.records import EVENT32, EVENT64, FULL32, FULL64
from etwcap.native.xpress import decode
from etwcap.packets import Chunk, Context, PacketTable
from etwcap.sources.etl import EtlSource

HEADER = layout.BUFFER_HEADER_SIZE
CUTS = 1000
RECORDS = 200
FLIPS = 400

Key = tuple[int, bytes]


class Packet(NamedTuple):
    """A packet event of the undamaged file and the record it lies in."""

    key: Key
    """its time (ns since 1970 UTC) and its bytes"""
    buffer: int
    position: int
    """of its record in the unpacked buffer"""
    end: int


@dataclass(frozen=True, slots=True)
class Case:
    """One way to break a file."""

    name: str
    patches: tuple[tuple[int, bytes], ...] = ()
    """(offset, new bytes)"""
    size: int | None = None
    """where the file is cut"""
    order: tuple[int, ...] | None = None
    """the buffers of the new file, in this order"""

    def apply(self, image: bytes, bounds: list[tuple[int, int]]) -> bytes:
        """The broken file; ``bounds`` are offset and end of each buffer."""
        if self.order is not None:
            return b"".join(image[bounds[number][0] : bounds[number][1]] for number in self.order)
        broken = bytearray(image[: self.size])
        for at, new in self.patches:
            if at < len(broken):
                broken[at : at + len(new)] = new[: len(broken) - at]
        return bytes(broken)


@dataclass(slots=True)
class Trace:
    """An undamaged ETL file: its buffers in the order of the file, its records and its packets."""

    path: Path
    image: bytes
    bounds: list[tuple[int, int]]
    filled: list[int]
    compressed: list[bool]
    records: list[tuple[int, int, int, int]]
    """(buffer, position, size, type) of each"""
    packets: list[Packet]
    events: list[Packet]
    """all records, packets or not; a key is 0 and the record's bytes in short"""
    whole: int
    """packets in all, those that lie in several records counted too"""
    cut_at: dict[int, int] = field(default_factory=dict)

    def expected_events(self, case: Case) -> Counter[Key]:
        """The records that the damage leaves as they were."""
        return self._untouched(case, self.events, times=False)

    def expected(self, case: Case, *, times: bool) -> Counter[Key]:
        """The packets whose records the damage leaves as they were; without ``times`` their times are 0."""
        return self._untouched(case, self.packets, times=times)

    def _untouched(self, case: Case, rows: list[Packet], *, times: bool) -> Counter[Key]:
        hit: dict[int, int] = {}
        for start, end in self._damaged(case):
            for number, (first, last) in enumerate(self.bounds):
                if start < last and end > first:
                    hit[number] = 1
        kept: Counter[Key] = Counter()
        ranges = self._damaged(case)
        headers = {
            n
            for n in hit
            if any(start < self.bounds[n][0] + HEADER and end > self.bounds[n][0] for start, end in ranges)
        }
        unplaced = {n for n in headers if self.compressed[n] and n - 1 in headers}  # no header says where it begins
        intact_to = {number: self._unpacked_to(number, ranges) for number in hit if self.compressed[number]}
        for packet in rows:
            number = packet.buffer
            if number in unplaced:
                continue
            if number in intact_to:
                if packet.end > intact_to[number]:
                    continue
            elif number in hit:
                base = self.bounds[number][0]
                if any(start < base + packet.end and end > base + packet.position for start, end in ranges):
                    continue
            kept[packet.key if times else (0, packet.key[1])] += 1
        return kept

    def _damaged(self, case: Case) -> list[tuple[int, int]]:
        size = len(self.image)
        ranges = []
        for at, new in case.patches:
            if new != self.image[at : at + len(new)]:
                differ = [i for i, byte in enumerate(new) if self.image[at + i : at + i + 1] != bytes([byte])]
                ranges.append((at + differ[0], at + differ[-1] + 1))
        if case.size is not None:
            ranges.append((case.size, size))
        return ranges

    def _unpacked_to(self, number: int, ranges: list[tuple[int, int]]) -> int:
        """How far (in the unpacked buffer) the stream says the same as before."""
        start, end = self.bounds[number]
        first = min([max(a, start + HEADER) for a, b in ranges if a < end and b > start + HEADER] or [end])
        if first == end:
            return 1 << 40
        return HEADER + len(decode(self.image[start + HEADER : first], self.filled[number] - HEADER)[0])


class _Listening(EtlSource):
    """A source that notes which record each of its packets came from."""

    def __init__(self, path: Path) -> None:
        self.found: list[Packet] = []
        super().__init__(path, Context())
        for provider in self.providers:
            self._listen(provider)

    def _listen(self, provider: Any) -> None:
        decode_rows = provider.decode

        def noted(buffer: Any, records: Any) -> Any:
            table, index = decode_rows(buffer, records)
            for row, record in zip(rows_of(buffer, table), index.tolist(), strict=True):
                if row is not None:
                    one = records[record]
                    position = int(one["position"])
                    end = position + int(one["size"])
                    self.found.append(Packet(row, int(one["buffer"]), position, end))
            return table, index

        provider.decode = noted


def rows_of(buffer: Any, table: PacketTable) -> Iterator[Key | None]:
    """Time and bytes of each packet; None for one that does not lie in the buffer."""
    columns = (table["time"].tolist(), table["offset"].tolist(), table["captured"].tolist())
    for time, at, size in zip(*columns, strict=True):
        yield (time, buffer[at : at + size].tobytes()) if at >= 0 and at + size <= buffer.size else None


def look_at(path: Path) -> Trace:
    """What is in an undamaged ETL file."""
    source = _Listening(path)
    try:
        whole = sum(len(chunk.packets) for chunk in source.chunks())
        rows = source.buffers.buffers
        order = np.argsort(rows["offset"])
        place = np.argsort(order)
        engine = source._merge(source.buffers)
        records, events = [], []
        while (found := engine.next()) is not None:
            for one, key in zip(found, records_of(engine.buffer, found), strict=True):
                number, position, size = int(place[int(one["buffer"])]), int(one["position"]), int(one["size"])
                records.append((number, position, size, int(one["type"])))
                events.append(Packet(key, number, position, position + size))
        engine.close()
    finally:
        source.close()
    rows = rows[order]
    bounds = [(int(row["offset"]), int(row["offset"]) + int(row["size"])) for row in rows]
    packets = [each._replace(buffer=int(place[each.buffer])) for each in source.found]
    return Trace(
        path, path.read_bytes(), bounds, rows["filled"].tolist(),
        [bool(flags & layout.BUFFER_FLAG_COMPRESSED) for flags in rows["flags"]], records, packets, events, whole,
    )  # fmt: skip


def records_of(buffer: Any, records: Any) -> Iterator[Key]:
    """The bytes of each record, in short."""
    data = buffer.data
    for at, size in zip(records["offset"].tolist(), records["size"].tolist(), strict=True):
        yield 0, zlib.crc32(data[at : at + size]).to_bytes(4, "little")


def read_packets(chunks: Iterable[Chunk]) -> Counter[Key]:
    """The packets of some chunks, each with how often it came."""
    found: Counter[Key] = Counter()
    for chunk in chunks:
        found.update(row for row in rows_of(chunk.buffer, chunk.packets) if row is not None)
    return found


def cases(trace: Trace, seed: int) -> Iterator[Case]:
    """Every case of a file; the same ones for the same seed."""
    rng = random.Random(seed)
    yield from _cuts(trace, rng)
    yield from _header_fields(trace)
    yield from _buffer_fields(trace)
    yield from _record_sizes(trace, rng)
    yield from _whole_buffers(trace)
    yield from _flips(trace, rng)


def _cuts(trace: Trace, rng: random.Random) -> Iterator[Case]:
    size = len(trace.image)
    places = {end + step for _, end in trace.bounds for step in (-1, 0, 1)}
    places |= {rng.randrange(size) for _ in range(CUTS)}
    for place in sorted(places):
        if 0 <= place < size:
            yield Case(f"cut at {place}", size=place)


def _lengths(value: int, width: int) -> list[int]:
    top = (1 << 8 * width) - 1
    return sorted({0, 1, top, (value + 1) & top, (value - 1) & top} - {value})


def _patch(trace: Trace, name: str, at: int, width: int, values: Iterable[int]) -> Iterator[Case]:
    for value in values:
        new = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
        if new != trace.image[at : at + width]:
            yield Case(f"{name} = {value}", ((at, new),))


def _header_fields(trace: Trace) -> Iterator[Case]:
    """The fields of TRACE_LOGFILE_HEADER: lengths, clock and times."""
    wide = trace.image[HEADER + 2] == 2
    dtype = layout.LOGFILE_HEADER64 if wide else layout.LOGFILE_HEADER32
    base = HEADER + layout.SYSTEM_HEADER.itemsize
    fields = dtype.fields
    assert fields is not None
    for name, values in (
        ("buffer_size", None),
        ("buffers_written", None),
        ("pointer_size", None),
        ("number_of_processors", None),
        ("perf_freq", (0, -1, -(2**63), 1, 2**63 - 1)),
        ("start_time", (0, -1, 2**63 - 1)),
        ("end_time", (0, -1, 2**63 - 1)),
        ("boot_time", (0, -1, 2**63 - 1)),
        ("reserved_flags", (0, 3, 99)),
        ("log_file_mode", (0, 0xFFFFFFFF)),
    ):
        kind, at = fields[name][:2]
        width = kind.itemsize
        held = int.from_bytes(trace.image[base + at : base + at + width], "little")
        yield from _patch(trace, f"logfile {name}", base + at, width, values or _lengths(held, width))
    yield from _patch(trace, "first record time", HEADER + 16, 8, (0, -1, 2**63 - 1))
    size = int.from_bytes(trace.image[HEADER + 4 : HEADER + 6], "little")
    yield from _patch(trace, "first record size", HEADER + 4, 2, _lengths(size, 2))
    yield from _patch(trace, "compression format", 0x2C, 4, (0, 1, 2, 4, 0xFFFFFFFF))


def _buffer_fields(trace: Trace) -> Iterator[Case]:
    for number, (start, _) in enumerate(trace.bounds):
        for name, at in (("BufferSize", 0), ("SavedOffset", 4), ("CurrentOffset", 8), ("FilledBytes", 0x30)):
            held = int.from_bytes(trace.image[start + at : start + at + 4], "little")
            yield from _patch(trace, f"buffer {number} {name}", start + at, 4, _lengths(held, 4))
        yield from _patch(trace, f"buffer {number} TimeStamp", start + 0x10, 8, (0, -1, 2**63 - 1))
        yield from _patch(trace, f"buffer {number} SequenceNumber", start + 0x18, 8, (0, -1, 2**63 - 1))
        yield from _patch(trace, f"buffer {number} ProcessorIndex", start + 0x28, 2, (0xFFFF,))


def _record_sizes(trace: Trace, rng: random.Random) -> Iterator[Case]:
    """Sizes and times of sampled records; in a compressed buffer they cannot be reached."""
    plain = [record for record in trace.records if not trace.compressed[record[0]]]
    for number, position, size, kind in rng.sample(plain, min(RECORDS, len(plain))):
        at = trace.bounds[number][0] + position
        if kind not in (EVENT32, EVENT64, FULL32, FULL64):
            at += 4
        yield from _patch(trace, f"record at {number}/{position} size", at, 2, _lengths(size, 2))
    for number, position, _, kind in rng.sample(plain, min(10, len(plain))):
        if kind in (EVENT32, EVENT64, FULL32, FULL64):
            at = trace.bounds[number][0] + position + 16
            yield from _patch(trace, f"record at {number}/{position} time", at, 8, (0, -1, 2**63 - 1))


def _whole_buffers(trace: Trace) -> Iterator[Case]:
    count = len(trace.bounds)
    everyone = tuple(range(count))
    for number in range(1, count):
        start, end = trace.bounds[number]
        yield Case(f"buffer {number} zeroed", ((start, bytes(end - start)),))
        yield Case(f"buffer {number} header zeroed", ((start, bytes(HEADER)),))
        yield Case(f"buffer {number} doubled", order=everyone[: number + 1] + everyone[number:])
        if number + 1 < count:
            order = (*everyone[:number], number + 1, number, *everyone[number + 2 :])
            yield Case(f"buffers {number} and {number + 1} swapped", order=order)
    yield Case("first buffer header zeroed", ((0, bytes(HEADER)),))
    yield Case("first buffer zeroed", ((0, bytes(trace.bounds[0][1])),))


def _flips(trace: Trace, rng: random.Random) -> Iterator[Case]:
    for number in range(FLIPS):
        patches = []
        for _ in range(rng.choice((1, 1, 1, 2, 8))):
            at = rng.randrange(len(trace.image))
            patches.append((at, bytes([trace.image[at] ^ 1 << rng.randrange(8)])))
        yield Case(f"bit flips {number}", tuple(patches))
    for number in range(FLIPS // 8):
        at, size = rng.randrange(len(trace.image)), rng.choice((16, 64, 512, 4096))
        yield Case(f"random bytes {number} at {at}", ((at, rng.randbytes(min(size, len(trace.image) - at))),))
