"""What PktMonApi.dll calls, as addresses: the packets of a realtime stream into a ring.

Each becomes the record of an ETL file that PktMon's driver would have written: event 160, or 170 for a drop, whose head
is the first 30 bytes of the stream's metadata (PACKETMONITOR_STREAM_METADATA).
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from etwcap.native.ring import Ring
from etwcap.native.slot import NO_STAMP, Slot

SLOTS = 16
"""streams that one process can have at a time"""


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


class StreamReceiver(Slot):
    """A slot for the packets of one stream into a ring; see ``Slot``.

    ``context``, ``data_callback`` and ``event_callback`` are for PacketMonitorCreateRealtimeStream.
    """

    PREFIX, WHAT, MOST, LAYOUT = "ec_pktmon", "streams of PktMon", SLOTS, _Counts

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring)
        self.data_callback = self._callback("data")
        self.event_callback = self._callback("event")

    def counts(self) -> StreamCounts:
        """What came so far; after ``close``, what had come then."""
        return StreamCounts(**self._counted())
