"""Packets that lie in several events, put together.

The parts of a packet are told by two bits, first and last, and by a key that the parts share. Drivers write them one
after the other, but other processors' events lie between them, and the end of a chunk may. What is not whole yet is
kept, within bounds; a part without a first one, a first one whose end never comes, and what the bounds throw away are
counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.ranges import copy_ranges
from etwcap.packets import Context, Mark, PacketTable
from etwcap.packets.annex import Annex

MOST_TIME: Final = 1_000_000_000
"""ns: a packet whose last part has not come by then is given up. The parts are microseconds apart."""
MOST_PARTS: Final = 1 << 16
MOST_BYTES: Final = 16 << 20
"""What is kept of unfinished packets at most; then the oldest are given up."""
LONGEST: Final = 262_144
"""Bytes of a packet that Wireshark reads (WTAP_MAX_PACKET_SIZE_STANDARD): what is behind them is cut off."""


class Fragments:
    """Puts packets together, chunk by chunk.

    ``what`` names them in the receipt. ``room`` bytes stay free before each packet, for a header.
    """

    def __init__(self, context: Context, annex: Annex, what: str = "packets", room: int = 0) -> None:
        self._context = context
        self._annex = annex
        self._what = what
        self._room = room
        self.base = 0
        self.data = np.empty(0, np.uint8)
        self._open = PacketTable(0)
        self._open_key = np.empty(0, np.uint64)
        self._open_bytes = np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self._open)

    def join(
        self,
        buffer: NDArray[np.uint8],
        parts: PacketTable,
        key: NDArray[np.uint64],
        first: NDArray[np.bool_],
        last: NDArray[np.bool_],
        now: int,
    ) -> tuple[PacketTable, NDArray[np.intp], NDArray[np.uint64]]:
        """The packets that are whole now, each with the row of its first part (its length: that of all parts); the
        index of that part in ``parts``, -1 where it came with an earlier chunk; and the key.

        ``parts`` are packet rows in time order whose bytes lie in ``buffer``; the results are in time order too. The
        bytes of the packets lie in the annex: they are ``data``, which begins at the offset ``base``. ``now`` is the
        time (ns) that the trace has reached.
        """
        old = len(self._open)
        if not old and not len(parts):
            return PacketTable(0), np.empty(0, np.intp), key
        rows = PacketTable.concat([self._open, parts])
        keys = np.concatenate([self._open_key, key])
        starts = np.concatenate([self._first_of_open(), first])
        ends = np.concatenate([np.zeros(old, np.bool_), last])
        order = np.argsort(keys, kind="stable")
        group, whole, is_open, lone = _groups(keys[order], starts[order], ends[order])
        self._count("without-first", "parts without a first one were left out", int(np.count_nonzero(lone)))
        broken = np.unique(group[~whole & ~is_open & ~lone])
        self._count("unfinished", "whose end never came were left out", len(broken))
        joined, heads = self._joined(buffer, rows, order[whole], group[whole], old)
        self._keep(buffer, rows, np.sort(order[is_open]), keys, old, now)
        return joined, np.maximum(heads - old, -1), keys[heads]

    def give_up(self) -> None:
        """Leave out what is still unfinished: nothing more comes."""
        self._count("unfinished", "whose end never came were left out", int(np.count_nonzero(self._first_of_open())))
        self._hold(PacketTable(0), np.empty(0, np.uint64), np.empty(0, np.uint8))

    def _count(self, kind: str, text: str, count: int) -> None:
        joint = "" if kind == "without-first" else f"{self._what} in several events "
        self._context.receipt.note(f"fragments-{kind}", f"{joint}{text}", count)

    def _first_of_open(self) -> NDArray[np.bool_]:
        """Which of the kept parts are first ones: the first row of each key."""
        first = np.zeros(len(self._open_key), np.bool_)
        first[np.unique(self._open_key, return_index=True)[1]] = True
        return first

    def _joined(
        self, buffer: NDArray[np.uint8], rows: PacketTable, parts: NDArray[np.intp], group: NDArray[np.intp], old: int
    ) -> tuple[PacketTable, NDArray[np.intp]]:
        """The packets of ``rows[parts]``, where equal neighbours in ``group`` are one packet, and their first rows."""
        if not len(parts):
            return PacketTable(0), np.empty(0, np.intp)
        begins = np.flatnonzero(np.diff(group, prepend=-1))
        heads = parts[begins]
        lengths = rows["captured"].astype(np.int64)
        sizes = np.add.reduceat(lengths[parts], begins)
        in_time = np.lexsort((heads, rows["time"][heads]))
        options = rows["options_length"][heads].astype(np.int64)
        space = (options + self._room + sizes)[in_time]
        place = np.empty(len(heads), np.int64)
        place[in_time] = np.cumsum(space) - space
        start = place + options + self._room
        within = np.cumsum(lengths[parts]) - lengths[parts]
        number = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(parts))))
        targets = start[number] + within - within[begins][number]
        pieces = [("options_offset", "options_length", heads, place), ("offset", "captured", parts, targets)]
        self.data = self._laid(buffer, rows, old, pieces, place + options)
        base = self.base = self._annex.add(buffer, self.data)
        joined = rows.take(heads)
        joined["offset"] = base + start
        if options.any():
            joined["options_offset"] = base + place
        joined["captured"], joined["original"] = sizes.astype(np.uint32), sizes.astype(np.uint32)
        flags = np.bitwise_or.reduceat(rows["flags"][parts], begins)
        joined["flags"] = joined["flags"] | flags & np.uint32(Mark.TRUNCATED)
        return joined.take(in_time), heads[in_time]

    def _laid(
        self,
        buffer: NDArray[np.uint8],
        rows: PacketTable,
        old: int,
        pieces: Sequence[tuple[str, str, NDArray[np.intp], NDArray[np.int64]]],
        rooms: NDArray[np.int64],
    ) -> NDArray[np.uint8]:
        """The bytes that ``pieces`` name (columns, rows, where they go), with room at ``rooms``; together they tile the
        result. The first ``old`` rows lie in the bytes that were kept."""
        packed = [np.zeros(self._room, np.uint8)]
        offsets, lengths = [np.zeros(len(rooms), np.int64)], [np.full(len(rooms), self._room, np.uint32)]
        targets, base = [rooms], self._room
        for offset, length, picked, places in pieces:
            for source, mine in ((self._open_bytes, picked < old), (buffer, picked >= old)):
                mine &= rows[length][picked] > 0
                if not mine.any():
                    continue
                size = rows[length][picked[mine]]
                part = np.empty(int(size.sum(dtype=np.int64)), np.uint8)
                offsets.append(base + copy_ranges(source, rows[offset][picked[mine]], size, part))
                lengths.append(size)
                targets.append(places[mine])
                packed.append(part)
                base += part.size
        target, size = np.concatenate(targets), np.concatenate(lengths)
        full = np.flatnonzero(size)
        full = full[np.argsort(target[full])]
        out = np.empty(int(size.sum(dtype=np.int64)), np.uint8)
        copy_ranges(np.concatenate(packed), np.concatenate(offsets)[full], size[full], out)
        return out

    def _keep(
        self,
        buffer: NDArray[np.uint8],
        rows: PacketTable,
        kept: NDArray[np.intp],
        keys: NDArray[np.uint64],
        old: int,
        now: int,
    ) -> None:
        """Hold the rows of unfinished packets, but for those that are too old or too many."""
        _, back = np.unique(keys[kept], return_inverse=True)
        since = np.full(int(back.max(initial=-1)) + 1, np.iinfo(np.int64).max)
        np.minimum.at(since, back, rows["time"][kept])
        size = rows["captured"][kept].astype(np.int64) + rows["options_length"][kept]
        gone = since < now - MOST_TIME
        newest = np.argsort(-since, kind="stable")
        total = np.cumsum(np.bincount(back, weights=size, minlength=len(since))[newest])
        count = np.cumsum(np.bincount(back, minlength=len(since))[newest])
        gone[newest[(total > MOST_BYTES) | (count > MOST_PARTS)]] = True
        self._count("unfinished", "whose end never came were left out", int(np.count_nonzero(gone)))
        kept = kept[~gone[back]]
        table = rows.take(kept)
        lengths = table["captured"].astype(np.int64) + table["options_length"]
        place = np.cumsum(lengths) - lengths
        behind = place + table["captured"]
        pieces = [("offset", "captured", kept, place), ("options_offset", "options_length", kept, behind)]
        data = self._laid(buffer, rows, old, pieces, np.empty(0, np.int64))
        table["offset"] = place
        if "options_length" in table:
            table["options_offset"] = behind
        self._hold(table, keys[kept], data)

    def _hold(self, table: PacketTable, key: NDArray[np.uint64], data: NDArray[np.uint8]) -> None:
        self._open, self._open_key, self._open_bytes = table, key, data
        if len(table):
            self._annex.waiting[self] = int(table["time"].min())
        else:
            self._annex.waiting.pop(self, None)


def cut_long(context: Context, packets: PacketTable) -> None:
    """Cut the packets that are longer than any reader takes, in place; their original length stays."""
    long = packets["captured"] > LONGEST
    if long.any():
        packets["captured"] = np.minimum(packets["captured"], LONGEST)
        text = f"packets of several events were cut to the {LONGEST:,} bytes that Wireshark takes"
        context.receipt.note("fragments-cut", text, int(np.count_nonzero(long)))


def _groups(
    keys: NDArray[np.uint64], starts: NDArray[np.bool_], ends: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Of parts sorted by key: the number of the packet of each, and whether that packet is whole, may still become so,
    or the part has no first one before it."""
    count = len(keys)
    fresh = np.ones(count, np.bool_)
    fresh[1:] = keys[1:] != keys[:-1]
    group = np.cumsum(starts | fresh) - 1
    opens = np.flatnonzero(starts | fresh)
    ended: NDArray[np.intp] = np.cumsum(ends) - ends  # last parts before this one
    behind_end = ended - ended[opens][group] > 0
    has_end = np.zeros(len(opens), np.bool_)
    np.logical_or.at(has_end, group[ends], True)
    headless = ~starts[opens][group]
    lone = headless | behind_end
    last_of_key = np.ones(len(opens), np.bool_)
    last_of_key[:-1] = keys[opens[1:]] != keys[opens[:-1]]
    whole = has_end[group] & ~lone
    is_open = ~has_end[group] & ~lone & last_of_key[group]
    return group.astype(np.intp), whole, is_open, lone
