"""Event records by the thousand: heads as columns, payloads as byte ranges, copied into place at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etwcap.etl import layout, records
from etwcap.native.ranges import copy_ranges

HEAD = layout.EVENT_HEADER.itemsize
_ZEROS = np.zeros(layout.ALIGNMENT, np.uint8)


class Piece(NamedTuple):
    """One part of each event's payload: where it lies in the pool, and its length."""

    offset: NDArray[np.int64]
    length: NDArray[np.int64]


class Pool:
    """Byte arrays one after another, that pieces point into."""

    def __init__(self, buffer: NDArray[np.uint8]) -> None:
        self._parts = [buffer]
        self._size = buffer.size

    def add(self, data: NDArray[Any]) -> int:
        """The offset of the first byte of ``data``."""
        at = self._size
        flat = np.ascontiguousarray(data).view(np.uint8).reshape(-1)
        self._parts.append(flat)
        self._size += flat.size
        return at

    def rows(self, data: NDArray[Any]) -> Piece:
        """The items of a one-dimensional array, one a row."""
        width = data.dtype.itemsize
        at = self.add(data)
        return Piece(at + width * np.arange(len(data), dtype=np.int64), np.full(len(data), width, np.int64))

    def texts(self, data: list[bytes]) -> Piece:
        """Byte strings, one a row."""
        length = np.array([len(each) for each in data], np.int64)
        at = self.add(np.frombuffer(b"".join(data), np.uint8))
        return Piece(at + np.cumsum(length) - length, length)

    def same(self, data: bytes, rows: int) -> Piece:
        """The same bytes for every row."""
        at = self.add(np.frombuffer(data, np.uint8))
        return Piece(np.full(rows, at, np.int64), np.full(rows, len(data), np.int64))

    def array(self) -> NDArray[np.uint8]:
        """All of it."""
        return np.concatenate(self._parts)


class Events:
    """Events to be: the sighting that each belongs to, id, keyword, level, and the pieces of its payload."""

    def __init__(
        self,
        row: NDArray[np.intp],
        event_id: int | NDArray[Any],
        keyword: int | NDArray[Any],
        pieces: list[Piece],
        level: int = 4,
    ) -> None:
        self.row = row
        self.id = np.broadcast_to(np.asarray(event_id, np.uint16), row.shape)
        self.keyword = np.broadcast_to(np.asarray(keyword, np.uint64), row.shape)
        self.level = np.full(row.shape, level, np.uint8)
        self.pieces = pieces

    @classmethod
    def merged(cls, first: Events, second: Events) -> Events:
        """The events of both by sighting; of one sighting those of ``first`` come first."""
        both = np.concatenate([first.row, second.row])
        order = np.argsort(both, kind="stable")
        merged = cls(both[order], 0, 0, [])
        for name in ("id", "keyword", "level"):
            setattr(merged, name, np.concatenate([getattr(first, name), getattr(second, name)])[order])
        for number in range(max(len(first.pieces), len(second.pieces))):
            halves = [
                each.pieces[number] if number < len(each.pieces) else _none(len(each.row)) for each in (first, second)
            ]
            merged.pieces.append(
                Piece(*(np.concatenate([left, right])[order] for left, right in zip(*halves, strict=True)))
            )
        return merged

    def take(self, rows: NDArray[np.intp]) -> Events:
        """Some of the events, in that order."""
        picked = Events(self.row[rows], 0, 0, [Piece(each.offset[rows], each.length[rows]) for each in self.pieces])
        picked.id, picked.keyword, picked.level = self.id[rows], self.keyword[rows], self.level[rows]
        return picked


def _none(rows: int) -> Piece:
    return Piece(np.zeros(rows, np.int64), np.zeros(rows, np.int64))


def lay_out(heads: NDArray[np.void], pieces: list[Piece], pool: Pool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The records, each padded to 8, and where each of them ends; fills in the heads' size.

    ValueError where a record is longer than its size field can say.
    """
    size = np.full(len(heads), HEAD, np.int64)
    for piece in pieces:
        size += piece.length
    if len(size) and int(size.max()) > layout.MAXIMUM_RECORD:
        raise ValueError(f"a record of {int(size.max())} bytes")
    heads["size"] = size
    padding = -size % layout.ALIGNMENT
    whole = [pool.rows(heads), *pieces, Piece(np.full(len(heads), pool.add(_ZEROS), np.int64), padding)]
    offsets = np.stack([np.where(piece.length > 0, piece.offset, 0) for piece in whole], axis=1).reshape(-1)
    lengths = np.stack([piece.length for piece in whole], axis=1).reshape(-1)
    ends = np.cumsum(size + padding)
    out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    copy_ranges(pool.array(), offsets, lengths.astype(np.uint32), out)
    return out, ends


def event_heads(provider: bytes, events: Events, pointer_size: int) -> NDArray[np.void]:
    """EVENT_HEADER of each event, without time, process and thread."""
    heads = np.zeros(len(events.row), layout.EVENT_HEADER)
    heads["type"] = records.EVENT64 if pointer_size == 8 else records.EVENT32
    heads["marker"] = layout.MARKER_EVENT
    heads["provider"] = np.frombuffer(provider, layout.GUID)
    heads["id"] = events.id
    heads["level"] = events.level
    heads["keyword"] = events.keyword
    return heads
