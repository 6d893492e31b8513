"""The ETL engine: buffer headers, and the merge of all processors' records into one time order."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_etl
from etwcap.native.loader import function, library, pointer
from etwcap.native.twin_etl import BUFFER, ISSUE, RECORD

__all__ = [
    "BUFFER",
    "ISSUE",
    "RECORD",
    "ClockRule",
    "Engine",
    "Merge",
    "find_header",
    "open_merge",
    "records_end",
    "records_resume",
    "scan",
]

GUID_CAPACITY = 4096
"""Providers told apart in one trace; the last ordinal stands for "none" and for what found no place."""

_UNIT = 16 << 10
_LONGEST_RUN = 80 << 10
"""A record of 65,535 bytes, its padding and the 8 KiB of history before it."""

_SCAN_ROWS = 16384


@dataclass(frozen=True)
class ClockRule:
    """How raw time stamps become time: FILETIME = start + (raw - raw0) * scale / frequency; type 2: raw is a
    FILETIME."""

    type: int
    start: int
    raw0: int
    scale: int
    frequency: int


class _Clock(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("type", "start", "raw0", "scale", "frequency")]


class _Options(ctypes.Structure):
    _fields_ = [
        ("handle", ctypes.c_ssize_t),
        ("arena", ctypes.c_void_p),
        ("arena_size", ctypes.c_size_t),
        ("input", ctypes.c_void_p),
        ("input_size", ctypes.c_size_t),
        ("history", ctypes.c_void_p),
        ("window", ctypes.c_size_t),
        ("chunk_budget", ctypes.c_size_t),
        ("guids", ctypes.c_void_p),
        ("guid_capacity", ctypes.c_uint32),
        ("guid_count", ctypes.c_uint32),
        ("issues", ctypes.c_void_p),
        ("issue_capacity", ctypes.c_uint32),
        ("chains", ctypes.c_uint32),
        ("chain_starts", ctypes.c_void_p),
        ("buffers", ctypes.c_void_p),
        ("clock", _Clock),
    ]


def os_handle(descriptor: int) -> int:
    """What the core's positioned reads want: the descriptor itself, on Windows the HANDLE behind it."""
    if sys.platform == "win32":
        import msvcrt

        return msvcrt.get_osfhandle(descriptor)
    return descriptor


MOST_ROWS: Final = 1 << 62
"""no limit"""


def scan(
    descriptor: int, offset: int, file_size: int, max_filled: int, plain_size: int, most: int = MOST_ROWS
) -> tuple[NDArray[Any], int, bool]:
    """Buffer headers from ``offset`` on, as rows of BUFFER, ``most`` of them at most.

    Returns (rows, offset reached, whether an implausible or unreadable header stopped the walk). A last buffer that
    the file's end cuts has its size cut too. ``max_filled`` and ``plain_size`` (0 = not known) bound what is plausible.
    """
    core = library()
    if core is None:
        return twin_etl.scan(descriptor, offset, file_size, max_filled, plain_size, most)
    call = function(
        core, "ec_etl_scan", ctypes.c_int64, ctypes.c_ssize_t, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint32,
        ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
    )  # fmt: skip
    parts: list[NDArray[Any]] = []
    stopped, reason = ctypes.c_int64(offset), ctypes.c_int32(1)
    while reason.value == 1 and most > 0:
        part = np.empty(min(_SCAN_ROWS, most), BUFFER)
        rows = call(
            os_handle(descriptor), stopped.value, file_size, max_filled, plain_size, pointer(part), len(part),
            ctypes.addressof(stopped), ctypes.addressof(reason),
        )  # fmt: skip
        parts.append(part[:rows].copy() if rows < len(part) else part)
        most -= rows
    joined = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, BUFFER)])
    return joined, stopped.value, reason.value in (2, 3)


def find_header(descriptor: int, start: int, end: int, file_size: int, max_filled: int, plain_size: int) -> int | None:
    """The first offset in [start, end) where a buffer header certainly lies, or None."""
    core = library()
    if core is None:
        return twin_etl.find_header(descriptor, start, end, file_size, max_filled, plain_size)
    call = function(
        core, "ec_etl_find_header", ctypes.c_int64, ctypes.c_ssize_t, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
        ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t,
    )  # fmt: skip
    work = np.empty(1 << 18, np.uint8)
    found = call(os_handle(descriptor), start, end, file_size, max_filled, plain_size, pointer(work), work.size)
    return None if found < 0 else int(found)


def records_end(data: bytes) -> int:
    """Where the chain of whole records of known types ends that begins with ``data``: its end, or where none is."""
    core = library()
    if core is None:
        return twin_etl.records_end(data)
    call = function(core, "ec_etl_records_end", ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
    return int(call(data, len(data)))


def records_resume(data: bytes) -> int | None:
    """Where in a buffer's payload, whose beginning is broken, a chain of records begins that certainly leads to its
    end; None where there is none.
    """
    core = library()
    if core is None:
        return twin_etl.resume(data, 0, -(2**63))
    call = function(core, "ec_etl_records_resume", ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t)
    found = call(data, len(data))
    return None if found == 2**32 - 1 else int(found)


class Engine(Protocol):
    """What a merge offers, native or twin."""

    buffer: NDArray[np.uint8]
    """bytes that the records of the last call lie in"""
    complete_to: int
    """ns since 1970 UTC: no later record is earlier"""
    bytes_read: int

    @property
    def guid_count(self) -> int:
        """GUIDs met so far."""
        ...

    def next(self) -> NDArray[Any] | None:
        """The next records (rows of RECORD), or None at the end. What came before is no longer valid."""
        ...

    def guids(self) -> list[bytes]:
        """The GUIDs met so far, by ordinal."""
        ...

    def issues(self) -> tuple[NDArray[Any], int]:
        """What could not be read (rows of ISSUE, the first few thousand) and how many in all."""
        ...

    def close(self) -> None:
        """Release the engine; safe to call twice."""
        ...


class Merge:
    """The native merge. See :class:`Engine`."""

    ROWS = 32768
    ISSUES = 4096

    def __init__(
        self,
        core: ctypes.CDLL,
        descriptor: int,
        buffers: NDArray[Any],
        chain_starts: NDArray[np.uint32],
        clock: ClockRule,
        guids: list[bytes],
    ) -> None:
        chains = len(chain_starts) - 1
        compressed = bool((buffers["flags"] & 0x40).any())
        window, budget, input_window = _window_sizes(chains)
        arena = 2 * chains * max(window, _LONGEST_RUN) + 2 * budget + (4 << 20)
        self.buffer: NDArray[np.uint8] = np.empty(arena, np.uint8)  # touched only as far as it is used
        self.complete_to = -(2**63)
        self.bytes_read = 0
        self.guid_count = len(guids)
        self._core = core
        self._guids = np.zeros((GUID_CAPACITY, 16), np.uint8)
        for ordinal, guid in enumerate(guids):
            self._guids[ordinal] = np.frombuffer(guid, np.uint8)
        self._issues = np.zeros(self.ISSUES, ISSUE)
        self._records = np.empty(self.ROWS, RECORD)
        self._counters = np.zeros(4, np.uint64)
        self._counters[1] = len(guids)
        self._buffers = np.ascontiguousarray(buffers)
        self._starts = np.ascontiguousarray(chain_starts, np.uint32)
        self._input = np.empty(chains * input_window if compressed else 1, np.uint8)
        self._history = np.empty(chains * 8192 if compressed else 1, np.uint8)
        options = _Options(
            handle=os_handle(descriptor), arena=pointer(self.buffer), arena_size=arena, input=pointer(self._input),
            input_size=input_window, history=pointer(self._history), window=window, chunk_budget=budget,
            guids=pointer(self._guids), guid_capacity=GUID_CAPACITY, guid_count=len(guids),
            issues=pointer(self._issues), issue_capacity=self.ISSUES, chains=chains,
            chain_starts=pointer(self._starts), buffers=pointer(self._buffers),
            clock=_Clock(clock.type, clock.start, clock.raw0, clock.scale, clock.frequency),
        )  # fmt: skip
        opened = function(core, "ec_etl_open", ctypes.c_void_p, ctypes.c_void_p)
        self._engine: int | None = opened(ctypes.addressof(options))
        if not self._engine:
            raise MemoryError("the ETL engine could not be opened")
        self._next = function(
            core, "ec_etl_next", ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
            ctypes.c_void_p,
        )  # fmt: skip

    def next(self) -> NDArray[Any] | None:
        """The next records, or None at the end."""
        complete_to = ctypes.c_int64()
        rows = self._next(
            self._engine, pointer(self._records), len(self._records), ctypes.addressof(complete_to),
            pointer(self._counters),
        )  # fmt: skip
        if rows < 0:
            raise MemoryError("the ETL engine's arena is too small for one record")
        self.complete_to = complete_to.value
        self.bytes_read = int(self._counters[2])
        self.guid_count = int(self._counters[1])
        return self._records[:rows] if rows else None

    def guids(self) -> list[bytes]:
        """The GUIDs met so far, by ordinal."""
        return [self._guids[ordinal].tobytes() for ordinal in range(self.guid_count)]

    def issues(self) -> tuple[NDArray[Any], int]:
        """The issues kept and their number in all."""
        count = int(self._counters[0])
        return self._issues[: min(count, self.ISSUES)], count

    def close(self) -> None:
        """Release the engine."""
        engine, self._engine = self._engine, None
        if engine:
            function(self._core, "ec_etl_close", None, ctypes.c_void_p)(engine)


def _window_sizes(chains: int) -> tuple[int, int, int]:
    """(bytes a chain reads at a time, new bytes in a chunk, compressed bytes a chain holds); all together below 48
    MiB."""
    if chains <= 16:
        return 128 << 10, 3 << 20, 64 << 10
    if chains <= 64:
        return 128 << 10, 8 << 20, 64 << 10
    if chains <= 256:
        return 64 << 10, 12 << 20, 32 << 10
    if chains <= 1024:
        return 16 << 10, 12 << 20, 8 << 10
    return _UNIT, 12 << 20, 4 << 10


def open_merge(
    descriptor: int, buffers: NDArray[Any], chain_starts: NDArray[np.uint32], clock: ClockRule, guids: list[bytes]
) -> Engine:
    """Merge the chains of a file: chain i is ``buffers[chain_starts[i]:chain_starts[i + 1]]``.

    ``guids`` seeds the ordinals (each GUID once, at most GUID_CAPACITY - 2).
    """
    core = library()
    if core is None:
        return twin_etl.TwinMerge(descriptor, buffers, chain_starts, clock, guids, GUID_CAPACITY)
    return Merge(core, descriptor, buffers, chain_starts, clock, guids)
