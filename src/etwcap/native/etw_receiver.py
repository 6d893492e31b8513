"""What ProcessTrace calls, as addresses: the events of one trace session into a ring."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from etwcap.native.ring import Ring
from etwcap.native.slot import NO_STAMP, Slot

LEAD = 8
"""bytes before each record: u16 processor, u16 logger, u32 0"""
SLOTS = 64
"""sessions that one process can read at a time"""
LONGEST = LEAD + 65_535
"""bytes of a row at most"""


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


class EtwReceiver(Slot):
    """A slot for the events of one session into a ring; see ``Slot``.

    ``context`` is for OpenTraceW's Context, ``record_callback`` and ``buffer_callback`` for its callbacks.
    """

    PREFIX, WHAT, MOST, LAYOUT = "ec_etw", "trace sessions", SLOTS, _Counts

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring)
        self.record_callback = self._callback("record")
        self.buffer_callback = self._callback("buffer")

    def counts(self) -> ReceiverCounts:
        """What came so far; after ``close``, what had come then."""
        return ReceiverCounts(**self._counted())
