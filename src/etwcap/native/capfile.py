"""Packets of a pcap or pcapng file as columns."""

from __future__ import annotations

import ctypes
import enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_capfile
from etwcap.native.loader import function, library, pointer
from etwcap.native.twin_pcap_find import Form

COLUMNS: dict[str, type[np.generic]] = {
    "time": np.int64,
    "interface": np.int32,
    "direction": np.uint8,
    "offset": np.int64,
    "captured": np.uint32,
    "original": np.uint32,
    "flags": np.uint32,
    "packet_id": np.uint64,
    "process": np.uint32,
    "thread": np.uint32,
    "options_offset": np.int64,
    "options_length": np.uint32,
}
"""The columns an index fills, with the types of ``etwcap.packets.table``."""

ALWAYS = ("time", "offset", "captured", "original")
EARLIEST = -(2**63)


class Seen(enum.IntFlag):
    """Columns that hold something in at least one row."""

    INTERFACE = 1
    DIRECTION = 2
    FLAGS = 4
    PACKET_ID = 8
    PROCESS = 16
    OPTIONS = 32


_SHOWN_BY = {
    "interface": Seen.INTERFACE,
    "direction": Seen.DIRECTION,
    "flags": Seen.FLAGS,
    "packet_id": Seen.PACKET_ID,
    "process": Seen.PROCESS,
    "thread": Seen.PROCESS,
    "options_offset": Seen.OPTIONS,
    "options_length": Seen.OPTIONS,
}


class Stop(enum.IntEnum):
    """Why an index came back; ``PacketIndex.at`` is the block or record that was not taken."""

    MORE = 0
    """the data end inside it; at least ``need`` bytes from ``at`` are wanted"""
    FULL = 1
    """every row is used"""
    BLOCK = 2
    """a whole block that is no packet, ``need`` bytes; or a section header, of which nothing was checked"""
    BROKEN = 3
    """no block can be that: its lengths contradict each other or exceed ``limit``"""
    MISFIT = 4
    """a packet block, ``need`` bytes, whose content does not fit in it or whose interface is unknown"""
    DOUBT = 5
    """pcap: a record of ``need`` bytes behind which no regular one begins: is its length right?"""


class Check(enum.IntEnum):
    """How far a pcap record's length is held against the record behind it."""

    NONE = 0
    HERE = 1
    """where its header lies in the window"""
    ALL = 2
    """a record is not taken before that is so"""


INTERFACE = np.dtype(
    [
        ("offset", "<i8"),
        ("snap", "<u4"),
        ("interface", "<i4"),
        ("resolution", "u1"),
        ("reserved", "u1", (3,)),
        ("nanos", "<u4"),
    ]
)
"""An interface of the current section (struct ec_capture_interface): if_tsoffset in s, snap length, the value for the
``interface`` column, if_tsresol, if_tsoffset_ns (0 to 999,999,999)."""


class _Job(ctypes.Structure):
    """struct ec_index of capfile.h."""

    _fields_ = [
        ("buffer", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("at", ctypes.c_size_t),
        ("need", ctypes.c_size_t),
        ("limit", ctypes.c_size_t),
        ("rows", ctypes.c_size_t),
        ("row", ctypes.c_size_t),
        ("latest", ctypes.c_int64),
        ("late", ctypes.c_uint64),
        ("clamped", ctypes.c_uint64),
        ("untimed", ctypes.c_uint64),
        ("odd", ctypes.c_uint64),
        ("odd_at", ctypes.c_size_t),
        ("seen", ctypes.c_uint32),
        ("swapped", ctypes.c_uint32),
        ("scale", ctypes.c_uint32),
        ("header", ctypes.c_uint32),
        ("checks", ctypes.c_uint32),
        ("either", ctypes.c_uint32),
        ("sure", ctypes.c_size_t),
        ("late_mark", ctypes.c_uint32),
        ("clamped_mark", ctypes.c_uint32),
        ("length_mark", ctypes.c_uint32),
        ("process_mark", ctypes.c_uint32),
        ("table", ctypes.c_void_p),
        ("interfaces", ctypes.c_size_t),
        *((name, ctypes.c_void_p) for name in COLUMNS),
    ]


class PacketIndex:
    """Columns that are filled window by window, and where the reading stands.

    ``latest`` is the highest time so far, ``late``, ``clamped``, ``untimed`` and ``odd`` count rows with a time
    before an earlier row's, times that no int64 of ns holds, packets without a time (they get ``latest``) and packets
    whose options are broken (``odd_at``: the first of them since ``odd`` was set to 0).
    """

    def __init__(self, rows: int, limit: int, marks: tuple[int, int, int, int]) -> None:
        self.arrays: dict[str, NDArray[Any]] = {name: np.empty(rows, kind) for name, kind in COLUMNS.items()}
        self.rows = rows
        self.limit = limit
        self.late_mark, self.clamped_mark, self.length_mark, self.process_mark = marks
        self.row = self.at = self.need = 0
        self.latest = EARLIEST
        self.late = self.clamped = self.untimed = self.odd = self.odd_at = 0
        self.seen = 0
        self.swapped = False
        self.scale = 1000
        self.header = 16
        self.checks = Check.NONE
        self.either = False
        """pcap: the two lengths of a record stand in either order, the smaller one is the captured length"""
        self.sure = 0
        """pcap: records before this place are not checked"""
        self.table: NDArray[Any] = np.empty(0, INTERFACE)

    @property
    def form(self) -> Form:
        """How the records of a pcap file are written."""
        return Form(self.swapped, self.scale, self.header, self.limit, self.either)

    def take(self) -> dict[str, NDArray[Any]]:
        """The rows so far as columns of their own; those that say nothing are left out. Starts again at row 0."""
        names = [name for name in COLUMNS if name in ALWAYS or self.seen & _SHOWN_BY[name]]
        taken = {name: self.arrays[name][: self.row].copy() for name in names}
        self.row = self.seen = 0
        return taken

    def pcap(self, window: NDArray[np.uint8]) -> Stop:
        """Index pcap records of ``window`` from ``at`` on; fractions are ``scale`` ns, record headers ``header``
        bytes.
        """
        return self._run("pcap_index", window)

    def pcapng(self, window: NDArray[np.uint8]) -> Stop:
        """Index the packet blocks of ``window`` from ``at`` on; ``table`` holds the section's interfaces.

        Options are rewritten in the window: little-endian TLVs without opt_endofopt, without what has a column.
        """
        return self._run("pcapng_index", window)

    def _run(self, kernel: str, window: NDArray[np.uint8]) -> Stop:
        core = library()
        if core is None:
            return Stop(getattr(twin_capfile, kernel)(self, window))
        state = (
            "at", "limit", "rows", "row", "latest", "late", "clamped", "untimed", "odd", "odd_at", "seen", "swapped",
            "scale", "header", "checks", "either", "sure", "late_mark", "clamped_mark", "length_mark", "process_mark",
        )  # fmt: skip
        job = _Job(
            buffer=pointer(window),
            size=window.size,
            table=pointer(self.table),
            interfaces=len(self.table),
            **{name: getattr(self, name) for name in state},
            **{name: pointer(column) for name, column in self.arrays.items()},
        )
        result = Stop(function(core, "ec_" + kernel, ctypes.c_int32, ctypes.POINTER(_Job))(ctypes.byref(job)))
        for name in ("at", "need", "row", "latest", "late", "clamped", "untimed", "odd", "odd_at", "seen"):
            setattr(self, name, getattr(job, name))
        return result


def find_block(
    window: NDArray[np.uint8], start: int, until: int, limit: int, *, swapped: bool, ends: bool
) -> int | None:
    """Where in ``window[start:until]`` the next pcapng block of a known type stands, None if nowhere.

    Its two lengths must agree and be at most ``limit``, and another such header (or, where ``ends``, the end) follow.
    """
    core = library()
    if core is None:
        return twin_capfile.find_block(window, start, until, limit, swapped=swapped, ends=ends)
    size = ctypes.c_size_t
    call = function(
        core, "ec_pcapng_find", size, ctypes.c_void_p, size, size, size, size, ctypes.c_uint32, ctypes.c_uint32
    )
    found = call(pointer(window), window.size, start, until, limit, swapped, ends)
    return None if found >= window.size else int(found)


def ticks_to_ns(ticks: int, resolution: int, offset: int, extra: int = 0) -> tuple[int, bool]:
    """Ticks of if_tsresol since 1970, plus ``offset`` s and ``extra`` ns (below 10^9), as ns, rounded down.

    The second value is whether that had to be set to the nearest int64.
    """
    core = library()
    if core is None:
        return twin_capfile.ticks_to_ns(ticks, resolution, offset, extra)
    clamped = ctypes.c_int32()
    call = function(
        core, "ec_ticks_to_ns", ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint8, ctypes.c_int64, ctypes.c_uint32,
        ctypes.POINTER(ctypes.c_int32),
    )  # fmt: skip
    return int(call(ticks, resolution, offset, extra, ctypes.byref(clamped))), bool(clamped.value)
