"""Several sources as one, in time order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from etwcap.native.ranges import pack_ranges
from etwcap.packets import Chunk, Description, EventTable, PacketTable, SideBlock
from etwcap.packets.chunk import END_OF_TIME
from etwcap.pipeline.protocols import Source

_ALL_TIME = -(2**63)


class _Lane:
    """One source in the merge: the chunk it gave last and how much of that was passed on."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.chunk: Chunk | None = None
        self.row = 0
        self.done = False
        self._chunks: Iterator[Chunk] | None = None
        session = source.describe().session
        self._start = session.start if session is not None else _ALL_TIME
        """no packet is earlier, as far as the session says; so a file of a long series need not be begun before its
        turn"""

    @property
    def known_to(self) -> int:
        """No row that comes after the present chunk is earlier than this."""
        if self.done:
            return END_OF_TIME
        if self.chunk is None:
            return self._start
        left = self.chunk.packets["time"][self.row :]
        # rows beyond complete_to (a file in disorder) are at hand: they must go before anything else can come
        return max(self.chunk.complete_to, int(left.max())) if len(left) else self.chunk.complete_to

    @property
    def used_up(self) -> bool:
        """Whether nothing of the present chunk is left."""
        return self.chunk is None or self.row == len(self.chunk.packets)

    def advance(self) -> None:
        if self._chunks is None:
            self._chunks = self.source.chunks()
        self.chunk = next(self._chunks, None)
        self.row = 0
        if self.chunk is None:
            self.done = True
            self.source.close()

    def take(self, limit: int) -> PacketTable:
        """The rows up to and including time ``limit``."""
        assert self.chunk is not None
        packets = self.chunk.packets
        time = packets["time"][self.row :]
        late = np.flatnonzero(time > limit)
        count = int(late[0]) if len(late) else len(time)
        rows = packets.take(slice(self.row, self.row + count))
        self.row += count
        return rows


class MergedSource:
    """Several sources in one time order; of equal times the earlier source comes first.

    The chunks carry no events: those belong to one source and its list of providers. Descriptions stay with the
    sources. With ``ticks``, for live sources, an empty chunk comes whenever a source gave something and nothing can be
    passed on.
    """

    def __init__(self, sources: Sequence[Source], *, ticks: bool = False) -> None:
        self._lanes = [_Lane(source) for source in sources]
        self._ticks = ticks

    def describe(self) -> Description:
        """The first source's description; each source has its own."""
        return self._lanes[0].source.describe()

    def progress(self) -> tuple[int, int]:
        """The sources' progress together; the whole is 0 where one does not know its size."""
        each = [lane.source.progress() for lane in self._lanes]
        known = all(size for _, size in each)
        return sum(at for at, _ in each), sum(size for _, size in each) if known else 0

    def close(self) -> None:
        """Close all sources."""
        for lane in self._lanes:
            lane.source.close()

    def chunks(self) -> Iterator[Chunk]:
        """The packets of all sources."""
        while not all(lane.done for lane in self._lanes):
            limit = min(lane.known_to for lane in self._lanes)
            ready = [lane for lane in self._lanes if lane.chunk is not None and not lane.used_up]
            parts = [(lane, rows) for lane in ready if len(rows := lane.take(limit))]
            side_blocks: list[SideBlock] = []
            for lane in self._lanes:
                if lane.chunk is not None and lane.chunk.side_blocks:
                    side_blocks += lane.chunk.side_blocks
                    lane.chunk.side_blocks = []
            if len(parts) == 1:
                lane, rows = parts[0]
                assert lane.chunk is not None
                yield Chunk(lane.chunk.buffer, rows, EventTable(0), limit, side_blocks)
            elif parts or side_blocks or self._ticks:
                yield _joined(parts, limit, side_blocks)
            for lane in self._lanes:
                if not lane.done and lane.used_up and lane.known_to <= limit:
                    lane.advance()


def _joined(parts: list[tuple[_Lane, PacketTable]], limit: int, side_blocks: list[SideBlock]) -> Chunk:
    """Rows of several chunks over one new buffer."""
    buffers, tables = [], []
    base = 0
    for lane, rows in parts:
        assert lane.chunk is not None
        for place, size in (("offset", "captured"), ("options_offset", "options_length")):
            if size not in rows:
                continue
            packed, placed = pack_ranges(lane.chunk.buffer, rows[place], rows[size])
            rows[place] = placed + base
            buffers.append(packed)
            base += len(packed)
        tables.append(rows)
    joined = PacketTable.concat(tables)
    joined = joined.take(np.argsort(joined["time"], kind="stable"))
    buffer = np.concatenate(buffers) if buffers else np.empty(0, np.uint8)
    return Chunk(buffer, joined, EventTable(0), limit, side_blocks)
