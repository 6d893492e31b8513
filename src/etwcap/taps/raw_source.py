"""Records of raw sockets out of a ring, as a live source of records or of packets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from etwcap.native.ring import Ring
from etwcap.native.rows import gather_rows
from etwcap.packets import Chunk, Context, Description, EventTable, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.providers.rawsocket import RawSocketProvider
from etwcap.providers.rawsocket_build import address_records
from etwcap.providers.rawsocket_layout import RAW_RECORD
from etwcap.providers.rawsocket_order import PostedOrder
from etwcap.taps.protocol import TapLosses
from etwcap.taps.reader import LATENCY, RingReader, TickClock
from etwcap.taps.ring_source import RingSource

_SOCKET_AT = RAW_RECORD.fields["socket"][1] if RAW_RECORD.fields is not None else 16


class Feeder(Protocol):
    """What fills the ring, as its reader sees it."""

    @property
    def ring(self) -> Ring:
        """The ring, which is freed by ``close``."""
        ...

    @property
    def interface_of(self) -> NDArray[np.int32]:
        """The run's interface of each socket number; grows."""
        ...

    def tend(self) -> NDArray[Any] | None:
        """Called between readings, a few times a second: looks after the sockets, and gives the address tables
        (ADDRESS_ROW) where they have changed."""
        ...

    def tables(self) -> NDArray[Any] | None:
        """The address tables as they are at the end."""
        ...

    def stop(self) -> bool:
        """Have the producer end the ring; False where it does not end in time."""
        ...

    def losses(self) -> TapLosses:
        """Losses other than the ring's."""
        ...

    def close(self) -> None:
        """Release everything; safe twice, and after ``stop`` alone leaves nothing behind."""
        ...


class RawRecordSource(RingSource):
    """The records of raw sockets (kind RAW_RECORD of a ring) as they are (protocol ``LiveTapSource``).

    Each row is a record: 64 bytes of header, then the payload. Address tables are records at the start of a chunk; they
    have the time up to which packets had been given before.
    """

    def __init__(
        self,
        feeder: Feeder,
        clock: TickClock,
        context: Context,
        description: Description,
        *,
        start: int,
        latency: int = LATENCY,
    ) -> None:
        super().__init__(feeder, description)
        self._feeder = feeder
        self._context = context
        self._reader = RingReader(feeder.ring, clock, start=start)
        self._complete = start
        self._latency = latency
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End at the next chunk; from any thread and from signal handlers."""
        self._stopping.set()

    def chunks(self) -> Iterator[Chunk]:
        """Chunks of records until ``stop``, at least every 250 ms; the last one says that nothing follows."""
        receipt = self._context.receipt
        ending = False
        while True:
            if self._stopping.is_set() and not ending:
                ending = True
                if not self._feeder.stop():
                    receipt.note("receiver-hangs", "the receiver did not end in time; its memory was left to it")
                    yield self._chunk(final=True)
                    return
            chunk = self._chunk()
            yield chunk
            if chunk.complete_to == END_OF_TIME:
                return

    def close(self) -> None:
        """Release sockets, thread and memory. Safe to call twice."""
        if not self._closed:
            self.losses()
            self._closed = True
            self._feeder.close()

    def _chunk(self, *, final: bool = False) -> Chunk:
        before = self._complete
        records = self._reader.read(self._latency)
        ended = records.ended or final
        self._complete = END_OF_TIME if ended else records.complete_to
        buffer = records.buffer
        rows = PacketTable(len(records.time))
        rows["time"], rows["offset"] = records.time, records.offset
        rows["captured"] = rows["original"] = records.length
        if len(rows):
            rows["interface"] = self._interfaces(buffer, records.offset)
        tables = self._feeder.tables() if ended else self._feeder.tend()
        if tables is not None:
            at = int(records.time[-1]) if ended and len(rows) else before
            buffer, rows = self._with_tables(buffer, rows, tables, at, at_end=ended)
        self._bytes += int(records.length.sum(dtype=np.int64))
        self._context.receipt.packets_read += len(records.time)
        self._description.losses.events = self._feeder.ring.counts().refused
        return Chunk(buffer, rows, EventTable(0), self._complete)

    def _interfaces(self, buffer: NDArray[np.uint8], offset: NDArray[np.int64]) -> NDArray[np.int32]:
        sockets = gather_rows(buffer, offset + _SOCKET_AT, np.dtype("<u4"))
        known = self._feeder.interface_of
        found: NDArray[np.int32] = known[np.minimum(sockets, len(known) - 1)]
        return found

    def _with_tables(
        self, buffer: NDArray[np.uint8], rows: PacketTable, tables: NDArray[Any], time: int, *, at_end: bool
    ) -> tuple[NDArray[np.uint8], PacketTable]:
        """The chunk with a snapshot of the address tables before its records, or behind them at the end."""
        made = address_records(tables)
        size = np.array([len(each) for each in made], np.uint32)
        joined = np.concatenate([buffer, np.frombuffer(b"".join(made), np.uint8)])
        heads = PacketTable(len(made))
        heads["time"] = np.full(len(made), time)
        heads["offset"] = len(buffer) + np.cumsum(size, dtype=np.int64) - size
        heads["captured"] = heads["original"] = size
        heads["interface"] = np.full(len(made), self._feeder.interface_of[0])
        return joined, PacketTable.concat([rows, heads] if at_end else [heads, rows])


class RecordsToPackets:
    """Stage: records of raw sockets to packets, each socket's in the order in which its receives were posted."""

    def __init__(self, context: Context, description: Description) -> None:
        self._context = context
        self._order = PostedOrder(context, restamp=False)
        self._provider = RawSocketProvider(context, description, place=lambda _offset: 0)

    def process(self, chunk: Chunk) -> Chunk:
        """Packets without what the sockets leave out; address tables are taken in."""
        kept = self._provider.sort_out(chunk.buffer, chunk.packets)
        if not kept.all():
            chunk.packets = chunk.packets.take(kept)
        chunk = self._order.take(chunk, np.ones(len(self._context.interfaces), np.bool_))
        chunk.packets = self._provider.decode_packets(chunk.buffer, chunk.packets)
        return chunk

    def finish(self) -> None:
        """The last chunk says that nothing follows, so nothing is held."""
        self._order.account()
