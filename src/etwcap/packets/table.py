"""Tables as columns: one NumPy array per column, one row per packet or event.

A column that no source or stage has filled is absent and reads as its default; so a plain capture carries six arrays,
not thirty. Tables are cheap views: ``take`` and ``concat`` are the only operations that copy, and they copy columns,
never packet bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound="Table")

NO_PROCESS = 0xFFFFFFFF
"""``process`` and ``thread`` of a row whose owner is not known."""


class Column(NamedTuple):
    """A column's type, the value of a row in a table that lacks it, and its meaning."""

    dtype: type[np.generic]
    default: int
    meaning: str


class Table:
    """Columns of equal length; ``table["time"]`` is an array, filled or default."""

    SCHEMA: ClassVar[dict[str, Column]] = {}
    __slots__ = ("columns", "count")

    def __init__(self, count: int, **columns: NDArray[Any]) -> None:
        self.count = count
        self.columns: dict[str, NDArray[Any]] = {}
        for name, values in columns.items():
            self[name] = values

    def __len__(self) -> int:
        return self.count

    def __contains__(self, name: str) -> bool:
        """Whether the column is filled."""
        return name in self.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self.columns.get(name)
        if column is None:
            kind = self.SCHEMA[name]
            column = np.broadcast_to(np.array(kind.default, kind.dtype), (self.count,))
        return column

    def __setitem__(self, name: str, values: NDArray[Any]) -> None:
        kind = self.SCHEMA[name]
        array = np.asarray(values, kind.dtype)
        if array.shape != (self.count,):
            raise ValueError(f"column {name} has shape {array.shape}, the table has {self.count} rows")
        self.columns[name] = array

    def writable(self, name: str) -> NDArray[Any]:
        """The column as an array of its own that may be written in place (filled with the default if absent)."""
        column = self.columns.get(name)
        if column is None or not column.flags.writeable:
            column = self[name].copy()
            self.columns[name] = column
        return column

    def take(self: T, rows: NDArray[Any] | slice) -> T:
        """The rows picked by an index array, a boolean mask or a slice, in that order."""
        picked = {name: column[rows] for name, column in self.columns.items()}
        if picked:
            count = len(next(iter(picked.values())))
        elif isinstance(rows, slice):
            count = len(range(*rows.indices(self.count)))
        else:
            count = int(np.count_nonzero(rows)) if rows.dtype == np.bool_ else len(rows)
        table = type(self)(count)
        table.columns = picked
        return table

    @classmethod
    def concat(cls: type[T], tables: Sequence[T]) -> T:
        """The tables below each other; a column filled in one is filled in the result."""
        tables = [table for table in tables if table.count]
        if len(tables) == 1:
            return tables[0]
        joined = cls(sum(table.count for table in tables))
        for name in {name: None for table in tables for name in table.columns}:
            joined.columns[name] = np.concatenate([table[name] for table in tables])
        return joined


class PacketTable(Table):
    """One row per packet, or per sighting of a packet."""

    SCHEMA: ClassVar[dict[str, Column]] = {
        "time": Column(np.int64, 0, "ns since 1970 UTC"),
        "interface": Column(np.int32, 0, "index in Context.interfaces"),
        "direction": Column(np.uint8, 0, "0 not known, 1 received, 2 sent (the bits of epb_flags)"),
        "offset": Column(np.int64, 0, "first packet byte in Chunk.buffer"),
        "captured": Column(np.uint32, 0, "bytes at offset"),
        "original": Column(np.uint32, 0, "bytes of the packet where it was seen; at least captured"),
        "flags": Column(np.uint32, 0, "etwcap.packets.Mark bits: what was repaired or is special"),
        "process": Column(
            np.uint32, NO_PROCESS, "process id in the event header, not judged; see Mark.PROCESS_TRUSTED"
        ),
        "thread": Column(np.uint32, NO_PROCESS, "thread id in the event header"),
        "processor": Column(np.uint16, 0, "processor that wrote the event"),
        "packet_id": Column(np.uint64, 0, "id written as epb_packetid; 0 = none"),
        "identity": Column(np.uint64, 0, "equal for all sightings of one packet; 0 = the trace has no such id"),
        "appearance": Column(np.uint16, 0, "AppearanceCount as logged; 0 = none"),
        "stack": Column(np.int32, -1, "adapter stack (an interface index of Windows); -1 = not known"),
        "rank": Column(np.uint8, 255, "distance from the wire within the stack, 0 = at the wire; 255 = not known"),
        "point": Column(np.int32, -1, "index in Context.points: where the packet was seen"),
        "drop_count": Column(np.uint32, 0, "how many drop reports concern this packet"),
        "drop_reason": Column(np.uint32, 0, "DropReason of the first report"),
        "drop_location": Column(np.uint32, 0, "DropLocation of the first report"),
        "comment": Column(np.int32, -1, "index in Context.comments; -1 = none"),
        "flow": Column(np.uint64, 0, "flow handle of the Windows Filtering Platform; 0 = none"),
        "moved": Column(np.uint32, 0, "ns that the repair of the order added to the time"),
        "options_offset": Column(
            np.int64, 0, "pcapng options carried through: little-endian TLVs in Chunk.buffer, no end"
        ),
        "options_length": Column(np.uint32, 0, "their length, a multiple of 4"),
        "raw_record": Column(
            np.int64, 0, "64-byte header of a raw socket's record (rawsocket_layout) in Chunk.buffer; 0 = none"
        ),
    }


class EventTable(Table):
    """One row per event that is no packet."""

    SCHEMA: ClassVar[dict[str, Column]] = {
        "time": Column(np.int64, 0, "ns since 1970 UTC"),
        "provider": Column(np.int32, 0, "index in the source's list of providers; below 0: kernel group -1 - provider"),
        "id": Column(np.uint16, 0, "event id (manifest), opcode (classic), message number (WPP)"),
        "version": Column(np.uint8, 0, ""),
        "opcode": Column(np.uint8, 0, ""),
        "level": Column(np.uint8, 0, ""),
        "type": Column(np.uint8, 0, "record header type, as named in etwcap.etl.records; tells the pointer size too"),
        "keyword": Column(np.uint64, 0, ""),
        "process": Column(np.uint32, NO_PROCESS, ""),
        "thread": Column(np.uint32, NO_PROCESS, ""),
        "processor": Column(np.uint16, 0, ""),
        "record": Column(np.int64, 0, "first byte of the record in Chunk.buffer"),
        "offset": Column(np.int64, 0, "first payload byte in Chunk.buffer"),
        "length": Column(np.uint32, 0, "payload bytes"),
    }
