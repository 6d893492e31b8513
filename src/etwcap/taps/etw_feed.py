"""A trace session's events into a ring: ProcessTrace on a thread, flushes, and the promise that makes an order.

Windows hands out whole buffers, each of one processor, one after the other; so an event may come after later ones of
other processors. What was written before a flush is in buffers that the flush hands out: once as many buffers were read
as had been written then, no event from before the flush is still to come.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final, NamedTuple

from etwcap.errors import EtwcapError, WindowsCallError
from etwcap.native.etw_receiver import EtwReceiver, ReceiverCounts
from etwcap.native.ring import Ring
from etwcap.taps.etw_session import EtwSession
from etwcap.taps.protocol import TapLosses
from etwcap.windows.clock import Counter
from etwcap.windows.etw import Etw, SessionState, real_time_logfile
from etwcap.windows.text import wide

FLUSH_EVERY: Final = 0.2
"""s between two flushes"""
BUSY: Final = 16 << 20
"""bytes of events after which a flush comes before its time, so that no more has to wait for one"""
BUSY_EVERY: Final = 0.02
"""s between two flushes at least"""
PATIENCE: Final = 1.0
"""s after a flush for which buffers that do not come are waited for"""
REST: Final = 0.05
"""s without a further buffer after which a session that was stopped has been read to its end"""
JOIN: Final = 5.0
"""s that ProcessTrace has to return in"""
_MOST_FLUSHES: Final = 256
_WORD: Final = 1 << 32


class _Flush(NamedTuple):
    """A flush whose buffers have not all been read."""

    ticks: int
    """the counter before it"""
    target: int | None
    """buffers written by then; None: not known"""
    records: int
    """that had come by then"""
    at: float


class SessionFeed:
    """The events of a session in a ring (protocol ``RecordFeed``).

    Begins to read at once. ``ring``: its bytes, a power of two; ``counter`` (the session's clock in ticks) is for
    tests. Raises what OpenTraceW does; then nothing is left open, the session neither stopped nor changed.
    """

    def __init__(
        self,
        session: EtwSession,
        etw: Etw,
        *,
        ring: int,
        counter: Callable[[], int] | None = None,
        now: Callable[[], float] = time.monotonic,
        flush_every: float = FLUSH_EVERY,
        patience: float = PATIENCE,
        join: float = JOIN,
    ) -> None:
        self._session = session
        self._etw = etw
        self._counter = counter or Counter().ticks
        self._now = now
        self._flush_every, self._patience, self._join = flush_every, patience, join
        self._lock = threading.Lock()
        self._flushes: deque[_Flush] = deque()
        self._flushed_at = now() - flush_every
        self._flushed_bytes = 0
        self._stopping = False
        self._closed = False
        with ExitStack() as undo:
            first = session.state()
            self._baseline = 0 if session.own else first.buffers_written
            self._before = None if session.own else first
            self._state: SessionState = first
            self.ring = Ring(ring)
            undo.callback(self.ring.close)
            self._receiver = undo.enter_context(EtwReceiver(self.ring))
            self._name = wide(session.name)
            self._logfile = real_time_logfile(
                ctypes.addressof(self._name),
                self._receiver.record_callback,
                self._receiver.context,
                self._receiver.buffer_callback,
            )
            self._handle: int | None = etw.open(self._logfile)
            undo.callback(etw.close, self._handle)
            self.clock_type = int(self._logfile.LogfileHeader.ReservedFlags)
            """1: the performance counter; 2: system time, FILETIME; 3: cycles; 0: Windows does not say"""
            words: dict[str, Any] = {"args": (self._handle,), "name": f"etwcap {session.name}", "daemon": True}
            self._thread = threading.Thread(target=self._process, **words)
            self._thread.start()
            undo.pop_all()

    @property
    def by_counter(self) -> bool:
        """Whether its stamps are those of the performance counter, as far as Windows says."""
        return self.clock_type in (0, 1)

    def tend(self) -> int | None:
        """Flush and query where that is due; ticks such that no later record is earlier, or None where that is not new.

        Everything earlier is in the ring when this returns.
        """
        with self._lock:
            if self._closed:
                return None
            counts, now = self._receiver.counts(), self._now()
            since = now - self._flushed_at
            busy = since >= BUSY_EVERY and counts.bytes - self._flushed_bytes >= BUSY
            if (busy or since >= self._flush_every) and not self._stopping:
                self._flush(counts)
                counts = self._receiver.counts()
            return self._promise(counts)

    def _flush(self, counts: ReceiverCounts) -> None:
        ticks = self._counter()
        target = None
        try:
            self._session.flush()
            self._state = self._session.state()
            target = self._target(counts)
        except WindowsCallError:
            pass  # the session is gone, and its thread ends; or nothing but the time limit is left
        self._flushed_at, self._flushed_bytes = self._now(), counts.bytes
        self._flushes.append(_Flush(ticks, target, counts.records, self._flushed_at))
        if len(self._flushes) > _MOST_FLUSHES:
            self._flushes.popleft()

    def _target(self, counts: ReceiverCounts) -> int | None:
        """Buffers that have to be read until everything written by now has been; None where nobody counts them."""
        if counts.buffers and not self._state.buffers_written:
            return None
        target = (self._state.buffers_written - self._baseline) % _WORD
        surplus = (counts.buffers - target) % _WORD
        if 0 < surplus < _WORD // 2:  # more was read than was written: some of it before we looked
            self._shift(-surplus)
            target = counts.buffers % _WORD
        return target

    def _promise(self, counts: ReceiverCounts) -> int | None:
        promise = None
        while self._flushes and self._kept(self._flushes[0], counts):
            promise = self._flushes.popleft().ticks
        return promise

    def _kept(self, flush: _Flush, counts: ReceiverCounts) -> bool:
        """Whether nothing from before the flush is still to come."""
        if flush.target is not None and (counts.buffers - flush.target) % _WORD < _WORD // 2:
            return True
        if self._now() - flush.at < self._patience:
            return False
        if counts.records == flush.records:
            if flush.target is not None:  # buffers that were counted and never come
                self._shift((flush.target - counts.buffers) % _WORD)
            return True
        return counts.newest >= flush.ticks

    def _shift(self, buffers: int) -> None:
        """Count anew: so many buffers more than was thought were none of ours."""
        self._baseline += buffers
        self._flushes = deque(
            each if each.target is None else each._replace(target=(each.target - buffers) % _WORD)
            for each in self._flushes
        )

    def stop(self) -> bool:
        """End the session if it is ours, and the reading of it; whether ProcessTrace returned in time.

        What was written before still comes into the ring, which is at its end afterwards in any case. Raises what
        stopping the session raises, when the reading has ended.
        """
        with self._lock:
            self._stopping = True
        with ExitStack() as after:
            after.callback(self._receiver.end)
            after.callback(self._end_reading, self._join / 2)
            with suppress(WindowsCallError):  # it is gone already
                self._session.flush()
            self._session.stop()
            with suppress(WindowsCallError):
                self._state = self._session.state()
            self._await_rest(self._join / 2)
        return not self._thread.is_alive()

    def losses(self) -> TapLosses:
        """What the session and the receiver lost."""
        counts, state, before = self._receiver.counts(), self._state, self._before
        lost, buffers = state.events_lost, state.real_time_buffers_lost
        if before is not None:
            lost, buffers = (lost - before.events_lost) % _WORD, (buffers - before.real_time_buffers_lost) % _WORD
        return TapLosses(failed=counts.too_long + counts.malformed, mechanism=lost, buffers=buffers)

    def close(self) -> None:
        """Stop where that was not done, and free the ring. Safe to call twice."""
        if self._closed:
            return
        try:
            self.stop()
        finally:
            with self._lock:
                self._closed = True
                self._receiver.close()  # from here on no callback, however late, reaches the ring
                self.ring.close()

    def _process(self, handle: int) -> None:
        """The thread: all of the session's life."""
        with suppress(EtwcapError):
            self._etw.process(handle)
        self._receiver.end()

    def _await_rest(self, seconds: float) -> None:
        """Wait until what was written has been read: ProcessTrace may return seconds later, and need not be waited
        for."""
        target = self._target(self._receiver.counts())
        end, last, since = time.monotonic() + seconds, -1, 0.0
        while self._thread.is_alive() and (now := time.monotonic()) < end:
            buffers = self._receiver.counts().buffers
            if buffers != last:
                last, since = buffers, now
            reached = target is not None and (buffers - target) % _WORD < _WORD // 2
            if reached and (now - since >= REST or not self._session.own):
                return
            self._thread.join(0.01)

    def _end_reading(self, seconds: float) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(WindowsCallError):  # a handle that ended with ProcessTrace
                self._etw.close(handle)
        self._thread.join(seconds)
