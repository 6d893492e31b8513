"""Damage done on purpose to pcap and pcapng files; see damage_cases.py."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from damage_cases import FLIPS, Case, Key, read_packets
from etwcap.packets import Context
from etwcap.sources.capfile import CaptureFileSource

CUTS = 300
PACKET_BLOCKS = {2: 20, 6: 20, 3: 8}
"""by type: where in the block its first length lies (captured, or the original length of a Simple Packet Block)"""


@dataclass(slots=True)
class Capture:
    """An undamaged pcap or pcapng file: where its blocks lie, and the packets in them."""

    path: Path
    image: bytes
    blocks: list[tuple[int, int, Key | None]]
    """offset, end and, of a packet, time and bytes"""
    order: str
    pcapng: bool

    @property
    def whole(self) -> int:
        """How many packets there are."""
        return sum(key is not None for _, _, key in self.blocks)

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """Offset and end of each block."""
        return [(start, end) for start, end, _ in self.blocks]

    def expected(self, case: Case, *, times: bool) -> Counter[Key]:
        """The packets whose blocks the damage leaves as they were, unless it hit a header that they need."""
        del times
        if case.order is not None:
            return Counter(key for _, _, key in self.blocks if key is not None)
        ranges = [(at, at + len(new)) for at, new in case.patches if new != self.image[at : at + len(new)]]
        if case.size is not None:
            ranges.append((case.size, len(self.image)))
        kept: Counter[Key] = Counter()
        for start, end, key in self.blocks:
            if any(first < end and last > start for first, last in ranges):
                if key is None and case.size is None:
                    return Counter()  # a section or an interface: what follows cannot be understood without it
            elif key is not None:
                kept[key] += 1
        return kept


def look_at_capture(path: Path) -> Capture:
    """What is in an undamaged file, block by block."""
    image = path.read_bytes()
    pcapng = image[:4] == b"\x0a\x0d\x0d\x0a"
    source = CaptureFileSource(path, Context())
    try:
        keys = [key for chunk in source.chunks() for key in read_packets([chunk]).elements()]
    finally:
        source.close()
    order = "<" if image[8:12] == b"\x4d\x3c\x2b\x1a" or (not pcapng and image[0] != 0xA1) else ">"
    by_data: dict[bytes, list[Key]] = {}
    for key in keys:
        by_data.setdefault(key[1], []).append(key)
    for known in by_data.values():
        known.sort(reverse=True)  # the blocks lie in time order
    blocks: list[tuple[int, int, Key | None]] = []
    at = 0 if pcapng else 24
    if not pcapng:
        blocks.append((0, 24, None))
    while at < len(image):
        if pcapng:
            kind, total = struct.unpack_from(order + "II", image, at)
            held = PACKET_BLOCKS.get(kind)
            data = None
            if held:
                captured = struct.unpack_from(order + "I", image, at + held)[0]
                start = at + (12 if kind == 3 else 28)
                data = image[start : start + captured]
        else:
            captured = struct.unpack_from(order + "I", image, at + 8)[0]
            total, data = 16 + captured, image[at + 16 : at + 16 + captured]
        blocks.append((at, at + total, None if data is None else by_data[data].pop()))
        at += total
    return Capture(path, image, blocks, order, pcapng)


def capture_cases(capture: Capture, seed: int) -> Iterator[Case]:
    """Every case of a file; the same ones for the same seed."""
    rng = random.Random(seed)
    size = len(capture.image)
    ends = {end + step for _, end in capture.bounds for step in (-1, 0, 1)}
    for place in sorted(ends | {rng.randrange(size) for _ in range(CUTS)}):
        if 0 <= place < size:
            yield Case(f"cut at {place}", size=place)
    whole = tuple(range(len(capture.blocks)))
    for number, (start, end, key) in enumerate(capture.blocks):
        lengths = [4, end - start - 4] if capture.pcapng else []
        if key is not None:
            lengths += [20, 24] if capture.pcapng else [8, 12]
        for at in lengths:
            (held,) = struct.unpack_from(capture.order + "I", capture.image, start + at)
            for value in sorted({0, 1, 0xFFFFFFFF, held + 1 & 0xFFFFFFFF, held - 1 & 0xFFFFFFFF} - {held}):
                patch = (start + at, struct.pack(capture.order + "I", value))
                yield Case(f"block {number} length at {at} = {value}", (patch,))
        yield Case(f"block {number} zeroed", ((start, bytes(end - start)),))
        if key is not None:
            yield Case(f"block {number} doubled", order=(*whole[: number + 1], *whole[number:]))
    for number in range(FLIPS):
        at = rng.randrange(size)
        yield Case(f"bit flips {number}", ((at, bytes([capture.image[at] ^ 1 << rng.randrange(8)])),))
    for number in range(FLIPS // 8):
        at, length = rng.randrange(size), rng.choice((16, 64, 512, 4096))
        yield Case(f"random bytes {number} at {at}", ((at, rng.randbytes(min(length, size - at))),))
