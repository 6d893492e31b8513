"""Records of a trace session out of a ring, as a live source of records in the order of their stamps."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import EtwcapError
from etwcap.etl.decode import extended_items
from etwcap.native.etw_receiver import LEAD as BEFORE
from etwcap.native.ring import ETW_RECORD, Drained, Ring
from etwcap.native.rows import gather_rows
from etwcap.packets import Chunk, Context, Description, EventTable, Interface, Mark, PacketTable, linktypes
from etwcap.packets.chunk import END_OF_TIME
from etwcap.taps.etw_order import EVERYTHING, MOST_HELD, NOTHING, ROOM, ROWS, Ordered, TickOrder
from etwcap.taps.protocol import TapLosses, TapOptions
from etwcap.taps.reader import LEAD, TickClock
from etwcap.taps.ring_source import RingSource

LOST_EVENT: Final = UUID("6a399ae0-4bc6-4de9-870b-3657f8947e7e")
"""RT_LostEvent: its records stand where events (opcode 32), buffers (33) or the backing file (34) were lost"""
EVENT_TRACE: Final = UUID("68fdd900-4a3e-11d1-84f4-0000f80464e3")
"""EventTraceEvent, whose opcode 0 is the header of the session"""
LATENCY: Final = 50
"""ms that records wait at most until they are taken from the ring"""
FILL: Final = 1 << 20
"""bytes in the ring at which the reader is woken before its time"""
MOST_LAG: Final = 1.0
"""s that promises are waited with at most"""
_DRAINS: Final = 8
_LOST: Final = (32, 33, 34)
_QUIET: Final = 0.3
"""s without an event after which ``read_ahead`` has seen what it asked for"""
_MOST_SEEN: Final = 1 << 16

_HEAD: Final = np.dtype(
    {
        "names": ["guid", "rest", "id", "opcode"],
        "formats": ["<u8", "<u8", "<u2", "u1"],
        "offsets": [BEFORE + 24, BEFORE + 32, BEFORE + 40, BEFORE + 45],
        "itemsize": BEFORE + 80,
    }
)
"""What is read of a row here; all of the header has to be there."""


class RecordFeed(Protocol):
    """What fills the ring, as its reader sees it."""

    @property
    def ring(self) -> Ring:
        """The ring, which is freed by ``close``."""
        ...

    def tend(self) -> int | None:
        """Called between readings, several times a second: looks after things. Gives ticks such that no later record is
        earlier, where that is new; what is earlier is in the ring by then."""
        ...

    def stop(self) -> bool:
        """Have the producer end the ring; False where it does not end in time (the ring is at its end all the
        same). The ring is read meanwhile, from another thread."""
        ...

    def losses(self) -> TapLosses:
        """Losses other than the ring's."""
        ...

    def close(self) -> None:
        """Release everything; safe twice, and without ``stop``."""
        ...


class EtwRecordSource(RingSource):
    """The records of a trace session as they are (protocol ``LiveTapSource``).

    Each row is a record: 8 bytes (u16 processor, u16 logger, u32 0), then the record as it lies in an ETL file. Rows
    come in the order of their stamps; one that comes too late for that is passed on at once, marked ``late``. Times are
    the stamps by ``clock``, never changed.
    """

    def __init__(
        self,
        feed: RecordFeed,
        clock: TickClock,
        context: Context,
        description: Description,
        *,
        tap: str,
        options: TapOptions,
        latency: int = LATENCY,
    ) -> None:
        super().__init__(feed, description)
        self._feed = feed
        self._clock = clock
        self._context = context
        self._latency = latency
        self._order = TickOrder()
        self._room = self._order.room()
        self._read = 0
        self._more = self._ended = False
        self._promises: deque[tuple[int, int, float]] = deque()
        """(ticks, rows that must have been read before they hold, s of the monotonic clock when they were made)"""
        self._lag = 0.0
        """s that promises are waited with, since events came later than they allowed"""
        self._complete = NOTHING
        self._first: list[bytes] = []
        self._watched = b""
        self._seen: list[tuple[int, tuple[int, bytes]]] = []
        self._at_stop: list[Callable[[], object]] = []
        self._at_close: list[Callable[[], object]] = []
        self._stop_wanted = threading.Event()
        self._stopping: threading.Thread | None = None
        self._in_time = True
        self._failure: BaseException | None = None
        self._interface = 0
        if options.records:
            self._interface = context.interfaces.add(Interface(linktypes.ETW, name=tap, tap=tap))

    def at_stop(self, call: Callable[[], object]) -> None:
        """Have this called once when capturing is to end, before the feed is stopped; the last that came first.

        It runs on a thread of its own, while what it causes to be written is still read.
        """
        self._at_stop.append(call)

    def at_close(self, call: Callable[[], object]) -> None:
        """Have this called once by ``close``, after the feed has ended; the last that came first."""
        self._at_close.append(call)

    def stop(self) -> None:
        """End soon; what was written before still comes. From any thread and from signal handlers."""
        self._stop_wanted.set()

    def put_first(self, records: Sequence[bytes]) -> None:
        """Put records (bytes of an ETL file) before everything else; before ``chunks``."""
        self._first += records

    def read_ahead(self, seconds: float, provider: UUID) -> list[tuple[int, bytes]]:
        """(event id, payload) of a provider's events so far, until no more of them come or the time is over.

        They stay in the stream. Before ``chunks``. Of very many, the last ones.
        """
        now = time.monotonic()
        end, last = now + seconds, now
        self._watched, seen = provider.bytes_le, 0
        while now < end and not self._ended and (not seen or now - last < _QUIET) and self._order.held < MOST_HELD:
            before = len(self._seen)
            self._tend()
            self._take(min(self._latency, max(1, int((end - now) * 1000))))
            now = time.monotonic()
            if len(self._seen) != before:
                seen, last = len(self._seen), now
        self._watched = b""
        found, self._seen = self._seen, []
        return [event for _, event in sorted(found, key=lambda each: each[0])]

    def chunks(self) -> Iterator[Chunk]:
        """Chunks of records until ``stop``, at least every 250 ms; the last one says that nothing follows."""
        if self._first:
            yield self._first_chunk()
        while self._order.promised != EVERYTHING:
            if self._stop_wanted.is_set() and self._stopping is None:
                self._stopping = threading.Thread(target=self._end, name="etwcap-stop", daemon=True)
                self._stopping.start()
            self._tend()
            self._take(self._latency)
            self._order.settle(EVERYTHING if self._ended else self._due_promise())
            yield self._chunk(self._order.following())
            while (rows := self._order.following()) is not None:
                yield self._chunk(rows)
                if self._order.held < MOST_HELD:  # so that the ring does not fill while these go their way
                    self._take(0)
        self._tell_end()
        yield Chunk(np.zeros(LEAD, np.uint8), PacketTable(0), EventTable(0), END_OF_TIME)

    def close(self) -> None:
        """Stop where that was not done, undo what was changed, release thread and memory. Safe to call twice.

        What cannot be undone is said in the receipt; the journal has it still.
        """
        if self._closed:
            return
        if self._stopping is not None:
            self._stopping.join()
        self._call(self._at_stop)
        self._at_close.append(self._release)
        self._call(self._at_close)

    # ---- the end ----

    def _end(self) -> None:
        """Stop what produces; on a thread of its own."""
        try:
            self._call(self._at_stop)
            self._in_time = self._feed.stop()
        except EtwcapError as error:
            self._note_failure(error)
        except BaseException as error:
            self._failure = error

    def _release(self) -> None:
        try:
            self._feed.stop()
        finally:
            self.losses()
            self._closed = True
            self._feed.close()

    def _call(self, calls: list[Callable[[], object]]) -> None:
        """Call each once, the last one first; one that fails does not keep the others from being called."""
        failure: BaseException | None = None
        while calls:
            try:
                calls.pop()()
            except EtwcapError as error:
                self._note_failure(error)
            except BaseException as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _note_failure(self, error: EtwcapError) -> None:
        text = f"not everything could be put back ({error}); etwcap cleanup ends what is left"
        self._context.receipt.note("not-put-back", text)

    def _tell_end(self) -> None:
        receipt = self._context.receipt
        if self._stopping is None:
            receipt.note("session-ended", "somebody else ended the trace session, and with it the capture")
        else:
            self._stopping.join()
        if not self._in_time:
            text = "the reading of the trace session did not end in time and was left to itself"
            receipt.note("receiver-hangs", text)
        if self._failure is not None:
            raise self._failure
        if self._order.forced:
            text = "more events waited for their order than there is memory for: some may stand behind later ones"
            receipt.note("order-given-up", text, self._order.forced)
        self._account()

    # ---- reading ----

    def _tend(self) -> None:
        promise = self._feed.tend()
        if promise is not None:
            self._promises.append((promise, self._feed.ring.counts().taken, time.monotonic()))

    def _due_promise(self) -> int | None:
        """The last promise before which everything has been read."""
        promise: int | None = None
        before = time.monotonic() - self._lag
        while self._promises and self._promises[0][1] <= self._read and self._promises[0][2] <= before:
            promise = self._promises.popleft()[0]
        return promise

    def _take(self, milliseconds: int) -> None:
        """What is in the ring; waits for it up to that long."""
        ring = self._feed.ring
        stopped = self._stopping is not None and not self._stopping.is_alive()
        if not self._more:
            ring.wait(FILL, milliseconds)
        for _ in range(_DRAINS):
            drained = ring.drain(self._room, ROWS)
            self._read += len(drained.time)
            self._more, self._ended = drained.more, drained.ended
            wanted = np.flatnonzero((drained.kind == ETW_RECORD) & (drained.length >= _HEAD.itemsize))
            if len(wanted):
                self._keep(drained, wanted)
            if not drained.more:
                break
        # a feed that did not end in time has ended its ring; should it not, nobody waits for it
        self._ended = self._ended or (stopped and not self._more)

    def _keep(self, drained: Drained, rows: NDArray[np.intp]) -> None:
        """Have rows of the room wait; the room goes along where much of it is used."""
        head = gather_rows(self._room, drained.offset[rows], _HEAD)
        if self._watched:
            self._watch(head, drained, rows)
        rows = rows[self._is_event(head, drained.time[rows])]
        buffer = self._room
        if drained.bytes > ROOM // 2:
            self._room = self._order.room()
        else:
            buffer = buffer[: drained.bytes].copy()
        self._order.add(buffer, drained.time[rows], drained.offset[rows], drained.length[rows])

    def _is_event(self, head: NDArray[Any], ticks: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows are events of providers; what the session says of itself is taken in here."""
        header = _of(head, EVENT_TRACE) & (head["opcode"] == 0)
        lost = _of(head, LOST_EVENT) & np.isin(head["opcode"], _LOST)
        if lost.any():
            first = int(self._clock.to_ns(ticks[lost][:1])[0])
            text = f"the session says that it lost events, buffers or its file; first at {first} ns since 1970 UTC"
            self._context.receipt.note("lost-marks", text, int(np.count_nonzero(lost)))
        events: NDArray[np.bool_] = ~(header | lost)
        return events

    def _watch(self, head: NDArray[Any], drained: Drained, rows: NDArray[np.intp]) -> None:
        """Note the events that ``read_ahead`` waits for."""
        mine = rows[_of(head, UUID(bytes_le=self._watched))][-_MOST_SEEN:]
        for ticks, at, size in zip(
            drained.time[mine].tolist(), drained.offset[mine].tolist(), drained.length[mine].tolist(), strict=True
        ):
            record = self._room[at + BEFORE : at + size].tobytes()
            self._seen.append((ticks, (int.from_bytes(record[40:42], "little"), record[extended_items(record)[1] :])))
        del self._seen[:-_MOST_SEEN]

    # ---- giving ----

    def _first_chunk(self) -> Chunk:
        """What was put first; a record without a stamp is from 1970."""
        size = np.array([BEFORE + len(each) for each in self._first], np.uint32)
        data = b"".join(bytes(BEFORE) + each for each in self._first)
        stamps = np.array([int.from_bytes(each[16:24], "little", signed=True) for each in self._first], np.int64)
        rows = PacketTable(len(size))
        rows["time"] = np.where(stamps == 0, 0, self._clock.to_ns(stamps))
        rows["offset"] = LEAD + np.cumsum(size, dtype=np.int64) - size
        rows["captured"] = rows["original"] = size
        rows["interface"] = np.full(len(size), self._interface)
        self._first.clear()
        return Chunk(np.frombuffer(bytearray(LEAD) + data, np.uint8), rows, EventTable(0), self._complete)

    def _chunk(self, ordered: Ordered | None) -> Chunk:
        self._account()
        upto = self._order.next_ticks
        if upto not in (NOTHING, EVERYTHING):
            self._complete = max(self._complete, int(self._clock.to_ns(np.array([upto], np.int64))[0]))
        if ordered is None:
            return Chunk(np.zeros(LEAD, np.uint8), PacketTable(0), EventTable(0), self._complete)
        rows = PacketTable(len(ordered.ticks))
        rows["time"] = self._clock.to_ns(ordered.ticks)
        rows["offset"] = ordered.offset
        rows["captured"] = rows["original"] = ordered.length
        rows["interface"] = np.full(len(rows), self._interface)
        late = int(np.count_nonzero(ordered.late))
        if late:
            rows["flags"] = np.where(ordered.late, np.uint32(Mark.LATE), np.uint32(0))
            self._context.receipt.note("late", "events came after later ones had been passed on; they are marked", late)
            self._wait_longer(self._complete - int(rows["time"][0]))
        self._bytes += int(ordered.length.sum(dtype=np.int64))
        return Chunk(ordered.buffer, rows, EventTable(0), self._complete)

    def _wait_longer(self, lateness: int) -> None:
        """Events came ``lateness`` ns later than had been promised: from now on, that much is waited for.

        What is older than any delay, as the events that a session kept for its first reader, changes nothing.
        """
        if lateness <= MOST_LAG * 1e9:
            self._lag = min(MOST_LAG, max(self._lag, 2e-9 * lateness))

    def _account(self) -> None:
        """Bring the description's losses up to date."""
        losses = self.losses()
        self._description.losses.events = losses.ring + (losses.mechanism or 0)
        self._description.losses.buffers = losses.buffers


def _of(head: NDArray[Any], provider: UUID) -> NDArray[np.bool_]:
    """Which rows are of the provider."""
    whole = np.frombuffer(provider.bytes_le, "<u8")
    mine: NDArray[np.bool_] = (head["guid"] == whole[0]) & (head["rest"] == whole[1])
    return mine
