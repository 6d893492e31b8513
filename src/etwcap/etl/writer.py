"""Writing ETL files of any kind: plain and compressed, native and relogged, one processor or many.

The bytes follow what Windows writes (WMI_BUFFER_HEADER of ntwmi.h, TRACE_LOGFILE_HEADER of evntrace.h, MS-XCA for
compressed buffers; flags and tails as seen on builds 9200 to 26200). Records come ready from :mod:`etwcap.etl.build`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from etwcap.etl import layout
from etwcap.etl.build import padded, record_time, system_record, wide
from etwcap.etl.build_facts import partition_info
from etwcap.etl.time import FILETIME_HZ, QPC, SYSTEM_TIME, Clock, filetime
from etwcap.native.xpress_encode import xpress_encode

_BUFFER = struct.Struct("<IIIiqqQHHIIHH16x")
assert _BUFFER.size == layout.BUFFER_HEADER_SIZE
_FLAG_AT = layout.BUFFER_HEADER.fields["buffer_flag"][1]  # type: ignore[index]

_SMALL_HEADER_UNIT = 512
"""The header buffer of a compressed file is its contents rounded up to this, seen on builds 9200 to 26200."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogfileSettings:
    """What kind of file to write, and what its first record says. Times are FILETIMEs, raw stamps ticks of the
    clock."""

    processors: int = 1
    buffer_size: int = 0x10000
    """bytes of a session buffer: a multiple of 8, up to 16 MiB on Windows"""

    relogged: bool = False
    """merged or relogged by Windows, as ``pktmon stop`` does; else as the session wrote it"""
    compressed: bool = False
    """one Xpress stream per buffer; only relogged files are ever compressed"""
    circular_buffers: int = 0
    """circular mode: data buffers the file has room for; later ones overwrite the oldest"""
    preallocated: int = 0
    """preallocate mode: bytes the file has from the start; closing cuts it to size"""
    one_stream: bool = False
    """no buffers per processor: whatever processor a record came from"""
    closed: bool = True
    """False: as a crash leaves it, without end time, buffer count and flush marker"""
    first_sequence: int = 1
    """sequence number of the first data buffer; above 1 in the later files of a newfile series"""
    mode: int = 0
    """further LogFileMode bits; the ones that follow from the fields above are added"""

    clock_type: int = QPC
    perf_freq: int = 10_000_000
    cpu_mhz: int = 2400
    start: int = 133_500_000_000_000_000
    """FILETIME of ``raw0``; for system time the two are one"""
    raw0: int = 1_000_000_000_000
    end: int | None = None
    """FILETIME; None: that of the last record"""
    boot_time: int = 133_499_000_000_000_000
    bias_minutes: int = 0
    time_zone_names: tuple[str, str] = ("@tzres.dll,-262", "@tzres.dll,-261")

    pointer_size: int = 8
    os_version: tuple[int, int] = (10, 0)
    build: int = 26100
    events_lost: int = 0
    buffers_lost: int = 0
    maximum_file_size: int = 512
    logger_name: str | None = None
    """None: ``Relogger`` in relogged files, else ``etwcap``"""
    log_file_name: str = "C:\\Traces\\trace.etl"
    header_records: tuple[bytes, ...] = ()
    """records of the header buffer after the first one and hook 0x0050"""

    def __post_init__(self) -> None:
        if self.compressed and not self.relogged:
            raise ValueError("only relogged files are compressed")
        if self.circular_buffers and self.compressed:
            raise ValueError("buffers of a compressed file differ in size: none can overwrite another")
        if self.buffer_size < 512 or self.buffer_size % layout.ALIGNMENT:
            raise ValueError("a buffer is a multiple of 8 bytes, and no less than 512")
        if self.pointer_size not in (4, 8):
            raise ValueError("pointers have 4 or 8 bytes")

    @property
    def clock(self) -> Clock:
        """The clock a reader will see."""
        return Clock(self.clock_type, self.perf_freq, self.cpu_mhz, self.start, self.first_stamp)

    @property
    def first_stamp(self) -> int:
        """The raw stamp of the first record."""
        return self.start if self.clock_type == SYSTEM_TIME else self.raw0

    @property
    def log_file_mode(self) -> int:
        """LogFileMode with all its bits."""
        bits = self.mode
        if self.relogged:
            bits |= layout.EVENT_TRACE_RELOG_MODE | layout.EVENT_TRACE_FILE_MODE_SEQUENTIAL
        if self.compressed:
            bits |= layout.EVENT_TRACE_COMPRESSED_MODE
        if self.circular_buffers:
            bits |= layout.EVENT_TRACE_FILE_MODE_CIRCULAR
        if self.preallocated:
            bits |= layout.EVENT_TRACE_FILE_MODE_PREALLOCATE
        if self.one_stream:
            bits |= layout.EVENT_TRACE_NO_PER_PROCESSOR_BUFFERING
        return bits

    def raw(self, unix_ns: int) -> int:
        """The first raw stamp that reads as that time, or as the 100 ns after it where the clock is coarser."""
        clock = self.clock
        start, raw0 = clock.origin
        return raw0 - (start - filetime(unix_ns)) * clock.frequency // FILETIME_HZ


class _Chain:
    """The open buffer of one processor."""

    __slots__ = ("buffer", "filled", "last_stamp", "processor")

    def __init__(self, processor: int, size: int, stamp: int) -> None:
        self.processor = processor
        self.buffer = np.empty(size, np.uint8)
        self.filled = layout.BUFFER_HEADER_SIZE
        self.last_stamp = stamp

    def put(self, records: NDArray[np.uint8], last: bytes) -> None:
        end = self.filled + len(records)
        self.buffer[self.filled : end] = records
        self.filled = end
        stamp = record_time(last)
        if stamp is not None:
            self.last_stamp = stamp


class EtlWriter:
    """Writes one ETL file::

        with EtlWriter(path, LogfileSettings(processors=4)) as trace:
            trace.add(0, event_record(PROVIDER, 1, b"payload", time=trace.settings.raw(now_ns)))

    Records of one processor must come in time order; buffers are numbered in the order in which they are written,
    which is when they are full, at :meth:`flush` and at the end. An exception inside the block removes the file.
    """

    def __init__(self, path: str | Path, settings: LogfileSettings | None = None) -> None:
        self.path = Path(path)
        self.settings = settings if settings is not None else LogfileSettings()
        self._chains: dict[int, _Chain] = {}
        self._data_buffers = 0
        self._last_buffer_at = -1
        self._last_buffer_flag = 0
        self._newest = self.settings.first_stamp
        self._file = self.path.open("wb")
        if self.settings.preallocated:
            self._file.truncate(self.settings.preallocated)
        self._file.write(self._header_buffer(0, 0))
        self._data_start = self._end = self._file.tell()

    def __enter__(self) -> EtlWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()
            self.path.unlink(missing_ok=True)

    def add(self, processor: int, record: bytes) -> None:
        """Append one record to the processor's buffer, padded to 8; ValueError if no buffer can hold it."""
        whole = np.frombuffer(padded(record), np.uint8)
        self.add_many(processor, whole, np.array([len(whole)], np.int64))

    def add_many(self, processor: int, records: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        """Append records that lie one after another, each padded to 8; ``ends`` are the offsets where they end."""
        chain = self._chain(processor)
        done = first = 0
        while first < len(ends):
            room = self.settings.buffer_size - chain.filled
            after = int(np.searchsorted(ends, done + room, "right"))
            if after > first:
                stop = int(ends[after - 1])
                last = int(ends[after - 2]) if after > 1 else 0
                chain.put(records[done:stop], records[last : min(stop, last + 64)].tobytes())
                done, first = stop, after
            elif chain.filled > layout.BUFFER_HEADER_SIZE:
                self._write_chain(chain)
            else:
                raise ValueError(
                    f"a record of {int(ends[first]) - done} bytes in a buffer of {self.settings.buffer_size}"
                )

    def flush(self, processor: int) -> None:
        """Write the processor's buffer now, if anything is in it."""
        chain = self._chain(processor)
        if chain.filled > layout.BUFFER_HEADER_SIZE:
            self._write_chain(chain)

    def close(self) -> None:
        """Write what is still open, and into the header what is known only now. Safe to call twice."""
        if self._file.closed:
            return
        for processor in sorted(self._chains):
            self.flush(processor)
        if self.settings.closed:
            if self._last_buffer_at >= 0:
                self._file.seek(self._last_buffer_at + _FLAG_AT)
                self._file.write(struct.pack("<H", self._last_buffer_flag | layout.BUFFER_FLAG_FLUSH_MARKER))
            end = self.settings.clock.to_filetime(self._newest) if self.settings.end is None else self.settings.end
            self._file.seek(0)
            self._file.write(self._header_buffer(end, self._data_buffers + 1))
            self._file.truncate(self._end)
        self._file.close()

    def _chain(self, processor: int) -> _Chain:
        if not 0 <= processor < self.settings.processors:
            raise ValueError(f"processor {processor} of {self.settings.processors}")
        if self.settings.one_stream:
            processor = 0
        chain = self._chains.get(processor)
        if chain is None:
            chain = _Chain(processor, self.settings.buffer_size, self.settings.first_stamp)
            self._chains[processor] = chain
        return chain

    def _write_chain(self, chain: _Chain) -> None:
        settings = self.settings
        start = layout.BUFFER_HEADER_SIZE
        flag = layout.BUFFER_FLAG_PROC_INDEX
        content: bytes | memoryview
        if settings.compressed:
            flag |= layout.BUFFER_FLAG_COMPRESSED
            content = xpress_encode(chain.buffer[start : chain.filled])
        else:
            chain.buffer[chain.filled :] = 0xFF
            content = chain.buffer[start:].data
        slot = self._data_buffers % settings.circular_buffers if settings.circular_buffers else self._data_buffers
        at = self._end if settings.compressed else self._data_start + slot * settings.buffer_size
        header = _BUFFER.pack(
            start + len(content), chain.filled, settings.buffer_size + chain.filled, 0,
            self._relogged_at() if settings.relogged else chain.last_stamp,
            settings.first_sequence + self._data_buffers, 0, chain.processor, 0 if settings.relogged else 24,
            layout.BUFFER_STATE_FLUSH, chain.filled, flag, layout.BUFFER_TYPE_GENERIC,
        )  # fmt: skip
        self._file.seek(at)
        self._file.write(header)
        self._file.write(content)
        self._end = max(self._end, self._file.tell())
        self._last_buffer_at, self._last_buffer_flag = at, flag
        self._data_buffers += 1
        self._newest = max(self._newest, chain.last_stamp)
        chain.filled = start

    def _relogged_at(self) -> int:
        return (self.settings.end or self.settings.start) + FILETIME_HZ

    def _header_buffer(self, end_time: int, buffers_written: int) -> bytes:
        settings = self.settings
        first = padded(self._first_record(end_time, buffers_written))
        partition = system_record(
            layout.HOOK_PARTITION_INFO, partition_info(), time=settings.first_stamp, pointer_size=settings.pointer_size
        )
        content = first + padded(partition) + b"".join(padded(record) for record in settings.header_records)
        filled = layout.BUFFER_HEADER_SIZE + len(content)
        size = filled + -filled % _SMALL_HEADER_UNIT if settings.compressed else settings.buffer_size
        if filled > size:
            raise ValueError(f"the header's {filled} bytes do not fit a buffer of {size}")
        state, logger, flag, saved = layout.BUFFER_STATE_FLUSH, 24, layout.BUFFER_FLAG_PROC_INDEX, filled
        if settings.relogged:
            state = layout.COMPRESSION_FORMAT_XPRESS if settings.compressed else layout.COMPRESSION_FORMAT_NONE
            logger, flag, saved = 0, 0, layout.BUFFER_HEADER_SIZE + len(first)
        header = _BUFFER.pack(
            size, saved, 0, 0, 0, 0, 0, 0, logger, state, filled, flag | layout.BUFFER_FLAG_FLUSH_MARKER,
            layout.BUFFER_TYPE_HEADER,
        )  # fmt: skip
        return (header + content).ljust(size, b"\xff")

    def _first_record(self, end_time: int, buffers_written: int) -> bytes:
        settings = self.settings
        kind = layout.LOGFILE_HEADER64 if settings.pointer_size == 8 else layout.LOGFILE_HEADER32
        row = np.zeros(1, kind)
        row["buffer_size"] = settings.buffer_size
        row["major_version"], row["minor_version"] = settings.os_version
        large = settings.compressed or settings.buffer_size > 1 << 20 or settings.processors > 256
        row["sub_version"], row["sub_minor_version"] = (2, 0) if large else (1, 5)
        row["provider_version"] = settings.build
        row["number_of_processors"] = 1 if settings.one_stream else settings.processors
        row["end_time"] = end_time
        row["timer_resolution"] = 156250
        row["maximum_file_size"] = settings.maximum_file_size
        row["log_file_mode"] = settings.log_file_mode
        row["buffers_written"] = buffers_written
        row["start_buffers"] = 1
        row["pointer_size"] = settings.pointer_size
        row["events_lost"], row["buffers_lost"] = settings.events_lost, settings.buffers_lost
        row["cpu_speed_in_mhz"] = settings.cpu_mhz
        row["time_zone"] = _time_zone(settings.bias_minutes, settings.time_zone_names)
        row["boot_time"] = settings.boot_time
        row["perf_freq"] = settings.perf_freq
        row["start_time"] = settings.start
        row["reserved_flags"] = settings.clock_type
        logger = settings.logger_name
        if logger is None:
            logger = "Relogger" if settings.relogged else "etwcap"
        payload = row.tobytes() + wide(logger) + wide(settings.log_file_name)
        return system_record(
            layout.HOOK_HEADER,
            payload,
            time=settings.first_stamp,
            process=4,
            thread=8,
            pointer_size=settings.pointer_size,
        )


def _time_zone(bias: int, names: Iterable[str]) -> NDArray[np.void]:
    zone = np.zeros(1, layout.TIME_ZONE_INFORMATION)
    zone["bias"] = bias
    for field, name in zip(("standard_name", "daylight_name"), names, strict=True):
        units = np.frombuffer(name.encode("utf-16-le"), "<u2")[:31]
        zone[field][0, : len(units)] = units
    zone["daylight_bias"] = -60
    return zone
