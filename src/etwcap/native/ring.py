"""The ring between a receiver thread and its reader.

There is no twin: the producers are threads of the native core, which wait for no interpreter.
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import NativeCoreError
from etwcap.native.loader import function, library, pointer

SLOT = 16
"""bytes of a slot's header; a slot is rounded up to a multiple of that"""
SMALLEST, LARGEST = 1 << 12, 1 << 32
"""bytes of a ring, a power of two"""
RAW_RECORD, ETW_RECORD = 1, 2
"""kinds of records; 0 is the ring's own"""
NOTHING_KNOWN = -(2**63)
"""``complete_to`` before the producer has promised anything"""


class _Columns(ctypes.Structure):
    """struct ec_ring_columns of ring.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("time", "offset", "length", "kind")]


class _Drained(ctypes.Structure):
    """struct ec_ring_drained of ring.h."""

    _fields_ = [
        ("rows", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("complete_to", ctypes.c_int64),
        ("more", ctypes.c_uint32),
        ("ended", ctypes.c_uint32),
    ]


class _Counts(ctypes.Structure):
    """struct ec_ring_counts of ring.h."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("taken", "taken_bytes", "refused", "refused_bytes", "delivered", "delivered_bytes", "wakes")
    ]


class RingCounts(NamedTuple):
    """Records and their bytes; exact once the ring has ended, before that each a moment's."""

    taken: int
    taken_bytes: int
    refused: int
    """left out because there was no room"""
    refused_bytes: int
    delivered: int
    delivered_bytes: int
    wakes: int
    """system calls that the producer made to wake the reader"""


class Drained(NamedTuple):
    """What one call of ``Ring.drain`` gave; each column has one row per record."""

    time: NDArray[np.int64]
    """ticks of the producer's clock"""
    offset: NDArray[np.int64]
    """first byte in the buffer that was given"""
    length: NDArray[np.uint32]
    kind: NDArray[np.uint16]
    bytes: int
    """bytes of the buffer that are used"""
    complete_to: int
    """ticks: no later call gives anything earlier; NOTHING_KNOWN before the first promise"""
    more: bool
    """records are left for want of room or rows"""
    ended: bool
    """the producer is done, and so is the reader"""


class Ring:
    """A ring of ``size`` bytes (a power of two); one thread produces, one reads.

    Raises NativeCoreError without the native core, MemoryError where there is no memory for it. ``address`` is what a
    native producer is given. ``put``, ``publish`` and ``end`` are the producer's side for producers in Python, which
    tests have. The ring is freed by ``close``, when no producer runs any more.
    """

    def __init__(self, size: int) -> None:
        core = library()
        if core is None:
            raise NativeCoreError(
                "live capture needs the native core",
                cause="the twin runs, which has no receivers",
                hint="install a wheel of this platform, and leave ETWCAP_NATIVE unset",
            )
        if not SMALLEST <= size <= LARGEST or size & (size - 1):
            raise ValueError(f"a ring has a power of two of bytes from {SMALLEST} to {LARGEST}, not {size}")
        address = ctypes.c_void_p
        self._core = core
        self._destroy = function(core, "ec_ring_destroy", None, address)
        self._wait = function(core, "ec_ring_wait", ctypes.c_int32, address, ctypes.c_uint64, ctypes.c_uint32)
        self._drain = function(
            core, "ec_ring_drain", ctypes.c_int32, address, address, ctypes.c_uint64, ctypes.c_uint64, address, address
        )
        self._put = function(
            core, "ec_ring_put", ctypes.c_int32, address, ctypes.c_uint16, ctypes.c_int64, ctypes.c_char_p,
            ctypes.c_uint64,
        )  # fmt: skip
        self._publish = function(core, "ec_ring_publish", None, address, ctypes.c_int64)
        self._end = function(core, "ec_ring_close", None, address)
        self._count = function(core, "ec_ring_count", None, address, address)
        made = function(core, "ec_ring_create", address, ctypes.c_uint64)(size)
        if made is None:
            raise MemoryError(f"no memory for a ring of {size} bytes")
        self.size = size
        self._address: int | None = int(made)
        self.longest = int(function(core, "ec_ring_longest", ctypes.c_uint32, address)(made))
        """bytes of the longest record that it takes"""

    @property
    def address(self) -> int:
        """The ring for a native producer; ValueError once it is closed."""
        if self._address is None:
            raise ValueError("the ring is closed")
        return self._address

    def wait(self, fill: int, milliseconds: int) -> bool:
        """Sleep until ``fill`` bytes (slot headers counted) wait, the producer is done, or the time is over.

        True: there is something to do. May come back early with False.
        """
        return bool(self._wait(self.address, fill, milliseconds))

    def drain(self, out: NDArray[np.uint8], rows: int) -> Drained:
        """Whole records, at most ``rows``, copied to ``out``; never waits.

        Raises ValueError where ``out`` is too small for the next record: ``longest`` bytes always do.
        """
        if not out.flags.c_contiguous or not out.flags.writeable or out.dtype != np.uint8:
            raise ValueError("the buffer must be contiguous writable bytes")
        time, offset = np.empty(rows, np.int64), np.empty(rows, np.int64)
        length, kind = np.empty(rows, np.uint32), np.empty(rows, np.uint16)
        columns = _Columns(pointer(time), pointer(offset), pointer(length), pointer(kind))
        got = _Drained()
        result = self._drain(
            self.address, pointer(out), out.size, rows, ctypes.addressof(columns), ctypes.addressof(got)
        )
        if result == -1:
            raise ValueError(f"a record does not fit into {out.size} bytes")
        if result < 0:
            raise NativeCoreError("the ring of a receiver is damaged", cause="a slot does not lie in the ring")
        count = int(got.rows)
        return Drained(
            time[:count],
            offset[:count],
            length[:count],
            kind[:count],
            int(got.bytes),
            int(got.complete_to),
            bool(got.more),
            bool(got.ended),
        )

    def counts(self) -> RingCounts:
        """How many records the ring took, refused and gave."""
        counts = _Counts()
        self._count(self.address, ctypes.addressof(counts))
        return RingCounts(*(int(getattr(counts, name)) for name in RingCounts._fields))

    def producer(self) -> dict[str, int]:
        """The addresses of the producer's functions, for a native producer outside of the core."""
        names = ("put", "publish", "close")
        return {name: _address_of(self._core[f"ec_ring_{name}"]) for name in names}

    def put(self, kind: int, time: int, record: bytes) -> bool:
        """Producer: add a record; False where there is no room for it, which is counted."""
        if not 0 < kind < 1 << 16:
            raise ValueError(f"no kind of record: {kind}")
        return bool(self._put(self.address, kind, time, record, len(record)))

    def publish(self, complete_to: int) -> None:
        """Producer: make what was put visible, and promise that nothing earlier than ``complete_to`` follows."""
        self._publish(self.address, complete_to)

    def end(self) -> None:
        """Producer: publish, and nothing follows."""
        self._end(self.address)

    def close(self) -> None:
        """Free the ring; no producer may run any more. Safe to call twice."""
        address, self._address = self._address, None
        if address is not None:
            self._destroy(address)

    def __enter__(self) -> Ring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _address_of(exported: Any) -> int:
    address = ctypes.cast(exported, ctypes.c_void_p).value
    assert address is not None
    return address
