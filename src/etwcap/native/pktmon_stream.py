"""What PktMonApi.dll calls, as addresses: the packets of a realtime stream into a ring.

Each becomes the record of an ETL file that PktMon's driver would have written: event 160, or 170 for a drop, whose head
is the first 30 bytes of the stream's metadata (PACKETMONITOR_STREAM_METADATA). There is no twin: the callbacks run on a
thread of Windows that waits for no interpreter.
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import NamedTuple

from etwcap.errors import EtwcapError, NativeCoreError
from etwcap.native.loader import function, library
from etwcap.native.ring import Ring

SLOTS = 16
"""streams that one process can have at a time"""
NO_STAMP = -(2**63)
"""``newest`` before the first packet"""


class _Counts(ctypes.Structure):
    """struct ec_pktmon_counts of pktmon_stream.h."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("packets", "bytes", "malformed", "cut", "missed")),
        ("newest", ctypes.c_int64),
        *((name, ctypes.c_uint32) for name in ("started", "stopped", "warnings", "fatal", "reason", "truncation")),
    ]


class StreamCounts(NamedTuple):
    """What came so far."""

    packets: int = 0
    """given to the ring, which may have refused some of them"""
    bytes: int = 0
    malformed: int = 0
    """packets whose lengths contradict each other"""
    cut: int = 0
    """packets longer than what was delivered of them, or as long as that is at most"""
    missed: int = 0
    """that the stream says it missed, all reports added up"""
    newest: int = NO_STAMP
    """the latest stamp, FILETIME"""
    started: int = 0
    """how often the stream said that it started, and so on"""
    stopped: int = 0
    warnings: int = 0
    """packets that it could not deliver"""
    fatal: int = 0
    reason: int = 0
    """Win32 number of the last fatal error, else of the last warning"""
    truncation: int = 0
    """bytes of a packet at most, as the stream said when it started; 0 before"""


class StreamReceiver:
    """A slot for the packets of one stream into ``ring``, as its only producer (a context manager).

    ``context``, ``data_callback`` and ``event_callback`` are for PacketMonitorCreateRealtimeStream. A call that comes
    after ``close`` does nothing, however late it is. Raises NativeCoreError without the native core, EtwcapError where
    all slots are taken.
    """

    def __init__(self, ring: Ring) -> None:
        core = library()
        if core is None:
            raise NativeCoreError("streams of PktMon are read by the native core alone", cause="the twin runs")
        wide, address = ctypes.c_uint64, ctypes.c_void_p
        self._end = function(core, "ec_pktmon_end", None, wide)
        self._close = function(core, "ec_pktmon_close", None, wide)
        self._count = function(core, "ec_pktmon_count", ctypes.c_int32, wide, address)
        self._last = StreamCounts()
        self.context = int(function(core, "ec_pktmon_open", wide, address)(ring.address))
        self.data_callback = _address(core, "ec_pktmon_data")
        self.event_callback = _address(core, "ec_pktmon_event")
        if not self.context:
            raise EtwcapError("too many streams of PktMon are read at once", cause=f"{SLOTS} at most in one process")

    def counts(self) -> StreamCounts:
        """What came so far; after ``close``, what had come then."""
        counts = _Counts()
        if self._count(self.context, ctypes.addressof(counts)):
            self._last = StreamCounts(*(int(getattr(counts, name)) for name in StreamCounts._fields))
        return self._last

    def end(self) -> None:
        """Let nothing more into the ring, and have its reader come to the end. Safe twice, from any thread."""
        self._end(self.context)

    def close(self) -> None:
        """End, and give the slot back; the ring may be closed then. Safe twice."""
        self.counts()
        self._close(self.context)

    def __enter__(self) -> StreamReceiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def late_calls() -> int:
    """Calls in the life of this process that came after the end of what they were for."""
    core = library()
    return 0 if core is None else int(function(core, "ec_pktmon_late", ctypes.c_uint64)())


def _address(core: ctypes.CDLL, name: str) -> int:
    address = ctypes.cast(core[name], ctypes.c_void_p).value
    assert address is not None
    return address
