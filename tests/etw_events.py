"""Trace sessions without Windows: EVENT_RECORDs made of the bytes of ETL records, and a stand-in of event tracing that
hands them to the callbacks as Windows does, by whole buffers, from a thread."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from etwcap.etl.decode import extended_items
from etwcap.windows.etw import FLUSH, NOT_RUNNING, QUERY, STOP, Etw, SessionState
from etwcap.windows.failure import check, fail
from etwcap.windows.layouts_etw import EVENT_HEADER_EXTENDED_DATA_ITEM, EVENT_RECORD, EVENT_TRACE_LOGFILEW
from etwcap.windows.text import utf16

HEADER = 80
RECORD_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
BUFFER_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)


class Event:
    """An EVENT_RECORD and all that it points to."""

    def __init__(
        self,
        header: bytes,
        payload: bytes = b"",
        items: Sequence[tuple[int, bytes]] = (),
        *,
        processor: int = 0,
        logger: int = 7,
        context: int = 0,
    ) -> None:
        self.record = EVENT_RECORD()
        ctypes.memmove(ctypes.addressof(self.record), header, HEADER)
        ctypes.memmove(ctypes.addressof(self.record) + HEADER, processor.to_bytes(2, "little"), 2)
        self.record.BufferContext.LoggerId = logger
        self._payload = ctypes.create_string_buffer(payload, len(payload)) if payload else None
        self.record.UserDataLength = len(payload)
        self.record.UserData = ctypes.addressof(self._payload) if self._payload is not None else None
        self._data = [ctypes.create_string_buffer(data, len(data)) if data else None for _, data in items]
        self._items = (EVENT_HEADER_EXTENDED_DATA_ITEM * len(items))()
        for item, (kind, data), room in zip(self._items, items, self._data, strict=True):
            item.ExtType, item.DataSize = kind, len(data)
            item.DataPtr = ctypes.addressof(room) if room is not None else 0
        self.record.ExtendedDataCount = len(items)
        self.record.ExtendedData = ctypes.addressof(self._items) if items else None
        self.record.UserContext = context

    @classmethod
    def of(cls, record: bytes, *, processor: int = 0, context: int = 0) -> Event:
        """The event whose bytes in a file are these; flag 0x200 says that its processor is an index."""
        items, start = extended_items(record)
        header = bytearray(record[:HEADER])
        header[0:4] = bytes(4)  # the size and type of a file are not those of a callback
        flags = int.from_bytes(header[4:6], "little") | 0x200 | (0x20 if record[2] == 0x12 else 0x40)
        header[4:6] = flags.to_bytes(2, "little")
        return cls(
            bytes(header),
            record[start:],
            [(item.type, item.data) for item in items],
            processor=processor,
            context=context,
        )

    @property
    def address(self) -> int:
        return ctypes.addressof(self.record)


@dataclass
class FakeSession:
    """A session as its stand-in has it."""

    name: str
    handle: int
    providers: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    filling: dict[int, list[bytes]] = field(default_factory=dict)
    """by processor: records that no flush has handed out"""
    ready: list[tuple[int, list[bytes]]] = field(default_factory=list)
    """buffers that the consumer has not got, the next one first"""
    written: int = 0
    counted: bool = True
    """Windows tells how many buffers were written"""
    lost: int = 0
    buffers_lost: int = 0
    running: bool = True
    closed: bool = False

    def state(self) -> SessionState:
        return SessionState(
            self.handle, self.name, 0x100, 256, 8, 4, self.written if self.counted else 0, self.lost,
            self.buffers_lost, 0,
        )  # fmt: skip


class FakeEtw(Etw):
    """Event tracing whose sessions a test writes into.

    ``write`` puts a record into a processor's buffer; a flush hands out the buffers, those of the highest processor
    first. ``hang``, when cleared, keeps ProcessTrace from returning; ``on_flush`` is called before each flush.
    """

    def __init__(self, *, denied: bool = False) -> None:
        self.known: dict[str, FakeSession] = {}
        self.denied = denied
        self.code = 0
        """what StartTraceW gives in any case"""
        self.stop_fails = False
        self.lingers = False
        """ProcessTrace goes on after the session has been stopped, until CloseTrace"""
        self.calls: list[str] = []
        self.hang = threading.Event()
        self.hang.set()
        self.on_flush: Callable[[FakeSession], None] = lambda _session: None
        self.clock_type = 1
        self._changed = threading.Condition()
        self._consumers: dict[int, tuple[FakeSession, int, Any, Any]] = {}
        self._kept: list[Any] = []
        self._handles = 0

    def session(self) -> FakeSession:
        """The only session."""
        (found,) = self.known.values()
        return found

    def write(self, session: FakeSession, *records: bytes, processor: int = 0) -> None:
        """Have a processor write records."""
        with self._changed:
            session.filling.setdefault(processor, []).extend(records)

    def hand_out(self, session: FakeSession) -> None:
        """What a flush does."""
        with self._changed:
            for processor in sorted(session.filling, reverse=True):
                session.ready.append((processor, session.filling.pop(processor)))
                session.written += 1
            self._changed.notify_all()

    # ---- the calls ----

    def start(self, name: str, **_sizes: Any) -> tuple[int, SessionState]:
        self.calls.append(f"start {name}")
        if self.code or self.denied:
            fail("StartTraceW", 5 if self.denied else self.code, what=f"the trace session {name} cannot be started")
        if name in self.known:
            fail("StartTraceW", 183, what=f"the trace session {name} cannot be started")
        self._handles += 1
        self.known[name] = FakeSession(name, self._handles)
        return self._handles, self.known[name].state()

    def control(self, session: int | str, code: int, *fine: int) -> SessionState:
        found = next((each for each in self.known.values() if session in (each.name, each.handle)), None)
        if found is None:
            check("ControlTraceW", NOT_RUNNING, *fine)
            return FakeSession("", 0).state()
        if code == FLUSH:
            self.on_flush(found)
            self.hand_out(found)
        elif code == STOP:
            if self.stop_fails:
                fail("ControlTraceW", 5)
            self.calls.append(f"stop {found.name}")
            self.hand_out(found)
            with self._changed:
                found.running = False
                del self.known[found.name]
                self._changed.notify_all()
        else:
            assert code == QUERY
        return found.state()

    def enable(self, session: int, provider: UUID, **what: Any) -> None:
        self.calls.append(f"enable {provider}")
        next(each for each in self.known.values() if each.handle == session).providers[provider] = what

    def disable(self, session: int, provider: UUID) -> None:
        self.calls.append(f"disable {provider}")
        next(each for each in self.known.values() if each.handle == session).providers.pop(provider)

    def sessions(self) -> list[SessionState]:
        return [each.state() for each in self.known.values()]

    def open(self, logfile: EVENT_TRACE_LOGFILEW) -> int:
        name = utf16(ctypes.string_at(logfile.LoggerName, 2 * 200))
        if name not in self.known:
            fail("OpenTraceW", NOT_RUNNING, what="the trace session cannot be read")
        logfile.LogfileHeader.ReservedFlags, logfile.LogfileHeader.PerfFreq = self.clock_type, 10_000_000
        self._handles += 1
        handle = 1 << 40 | self._handles
        callbacks = RECORD_CALLBACK(logfile.EventRecordCallback), BUFFER_CALLBACK(logfile.BufferCallback)
        self._consumers[handle] = (self.known[name], logfile.Context, *callbacks)
        return handle

    def process(self, handle: int) -> int:
        session, context, event_callback, buffer_callback = self._consumers[handle]
        logfile = EVENT_TRACE_LOGFILEW(Context=context)
        while True:
            with self._changed:
                while not session.ready and (session.running or self.lingers) and not session.closed:
                    self._changed.wait()
                if not session.ready:
                    break
                processor, records = session.ready.pop(0)
            for record in records:
                event = Event.of(record, processor=processor, context=context)
                event_callback(event.address)
            if not buffer_callback(ctypes.addressof(logfile)):
                return 1223
        self.hang.wait()
        return 0

    def close(self, handle: int) -> None:
        self.calls.append("close")
        session = self._consumers[handle][0]
        with self._changed:
            session.closed = True
            self._changed.notify_all()


def call_with(events: Iterable[Event], receiver: Any) -> None:
    """Hand events to a receiver's callback, then end the buffer."""
    call = RECORD_CALLBACK(receiver.record_callback)
    for event in events:
        event.record.UserContext = receiver.context
        call(event.address)
    end_buffer(receiver)


def end_buffer(receiver: Any) -> int:
    """Call a receiver's buffer callback; what it gives."""
    logfile = EVENT_TRACE_LOGFILEW(Context=receiver.context)
    return int(BUFFER_CALLBACK(receiver.buffer_callback)(ctypes.addressof(logfile)))


def wait_for(what: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds; an error where it does not in time."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.001)
