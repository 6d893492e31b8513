"""What ProcessTrace calls, as addresses: the events of one trace session into a ring.

There is no twin: the callbacks run on a thread of Windows that waits for no interpreter.
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import NamedTuple

from etwcap.errors import EtwcapError, NativeCoreError
from etwcap.native.loader import function, library
from etwcap.native.ring import Ring

LEAD = 8
"""bytes before each record: u16 processor, u16 logger, u32 0"""
SLOTS = 64
"""sessions that one process can read at a time"""
LONGEST = LEAD + 65_535
"""bytes of a row at most"""
NO_STAMP = -(2**63)
"""``newest`` before the first event"""


class _Counts(ctypes.Structure):
    """struct ec_etw_counts of etw_receiver.h."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("records", "bytes", "buffers", "too_long", "malformed")),
        ("newest", ctypes.c_int64),
    ]


class ReceiverCounts(NamedTuple):
    """What came so far."""

    records: int = 0
    """given to the ring, which may have refused some of them"""
    bytes: int = 0
    buffers: int = 0
    """buffers of the session that were read to their end; their records are in the ring"""
    too_long: int = 0
    """events that no record can hold"""
    malformed: int = 0
    """events whose lengths and pointers contradict each other"""
    newest: int = NO_STAMP
    """the latest stamp, in ticks"""


class EtwReceiver:
    """A slot for the events of one session into ``ring``, as its only producer (a context manager).

    ``context`` is for OpenTraceW's Context, ``record_callback`` and ``buffer_callback`` for its callbacks. A call that
    comes after ``close`` does nothing, however late it is. Raises NativeCoreError without the native core, EtwcapError
    where all slots are taken.
    """

    def __init__(self, ring: Ring) -> None:
        core = library()
        if core is None:
            raise NativeCoreError("trace sessions are read by the native core alone", cause="the twin runs")
        wide, address = ctypes.c_uint64, ctypes.c_void_p
        self._end = function(core, "ec_etw_end", None, wide)
        self._close = function(core, "ec_etw_close", None, wide)
        self._count = function(core, "ec_etw_count", ctypes.c_int32, wide, address)
        self._last = ReceiverCounts()
        self.context = int(function(core, "ec_etw_open", wide, address)(ring.address))
        self.record_callback = _address(core, "ec_etw_record")
        self.buffer_callback = _address(core, "ec_etw_buffer")
        if not self.context:
            raise EtwcapError("too many trace sessions are read at once", cause=f"{SLOTS} at most in one process")

    def counts(self) -> ReceiverCounts:
        """What came so far; after ``close``, what had come then."""
        counts = _Counts()
        if self._count(self.context, ctypes.addressof(counts)):
            self._last = ReceiverCounts(*(int(getattr(counts, name)) for name in ReceiverCounts._fields))
        return self._last

    def end(self) -> None:
        """Let nothing more into the ring, and have its reader come to the end. Safe twice, from any thread."""
        self._end(self.context)

    def close(self) -> None:
        """End, and give the slot back; the ring may be closed then. Safe twice."""
        self.end()
        self.counts()
        self._close(self.context)

    def __enter__(self) -> EtwReceiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def late_calls() -> int:
    """Calls in the life of this process that came after the end of what they were for."""
    core = library()
    return 0 if core is None else int(function(core, "ec_etw_late", ctypes.c_uint64)())


def _address(core: ctypes.CDLL, name: str) -> int:
    address = ctypes.cast(core[name], ctypes.c_void_p).value
    assert address is not None
    return address
