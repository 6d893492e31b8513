"""The first record of an ETL file: TRACE_LOGFILE_HEADER (evntrace.h), which says who wrote the trace and how its
clock runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etwcap.errors import NotATraceError
from etwcap.etl import layout
from etwcap.etl.records import SYSTEM32, SYSTEM64
from etwcap.etl.time import Clock

_RECORD = layout.BUFFER_HEADER_SIZE
_PAYLOAD = _RECORD + layout.SYSTEM_HEADER.itemsize

NEEDED = _PAYLOAD + layout.LOGFILE_HEADER64.itemsize
"""Bytes at the start of a file that hold all of the header but its two names."""

LONGEST = 0x10000 + _RECORD
"""Bytes that hold the whole record."""


@dataclass(frozen=True, slots=True)
class LogfileHeader:
    """TRACE_LOGFILE_HEADER as it lies in the file; FILETIMEs count 100 ns since 1601 UTC."""

    clock: Clock
    buffer_size: int
    os_major: int
    os_minor: int
    build: int
    processors: int
    end_time: int
    """FILETIME, 0: the session was never closed"""
    mode: int
    buffers_written: int
    pointer_size: int
    events_lost: int
    buffers_lost: int
    cpu_mhz: int
    bias_minutes: int
    boot_time: int
    logger_name: str
    log_file_name: str
    compression: int
    """COMPRESSION_FORMAT_ of the file's buffers; 0 where the mode bit says there is none"""

    @property
    def compressed(self) -> bool:
        """Whether buffers may be compressed."""
        return bool(self.mode & layout.EVENT_TRACE_COMPRESSED_MODE)

    @property
    def relogged(self) -> bool:
        """Whether another trace, or several, were merged into this one."""
        return bool(self.mode & layout.EVENT_TRACE_RELOG_MODE)


def looks_like_etl(start: bytes) -> bool:
    """Whether a file beginning so (80 bytes are enough) is an ETL file: there is no magic, so three fields decide."""
    if len(start) < _RECORD + 8:
        return False
    kind = int.from_bytes(start[_RECORD : _RECORD + 4], "little") >> 16
    hook = int.from_bytes(start[_RECORD + 6 : _RECORD + 8], "little")
    return start[0x36:0x38] == b"\x04\x00" and kind in (0xC000 | SYSTEM32, 0xC000 | SYSTEM64) and hook == 0


def parse_logfile_header(start: bytes, file: str) -> LogfileHeader:
    """The header in the first bytes of a file (``LONGEST`` of them, or all there are).

    Raises NotATraceError where they are no ETL file, or too few of it for a single event.
    """
    if not looks_like_etl(start):
        raise NotATraceError(
            f"{file} is not an ETL trace",
            cause=f"offset 0: {_what_it_is(start)}",
            hint="etwcap reads ETL files (pktmon, netsh trace, wpr, logman ...), pcap and pcapng",
        )
    wide = start[_RECORD + 2] == SYSTEM64
    dtype = layout.LOGFILE_HEADER64 if wide else layout.LOGFILE_HEADER32
    needed = _PAYLOAD + dtype.itemsize
    if len(start) < needed:
        raise NotATraceError(
            f"{file} ends inside its own header",
            cause=f"offset {len(start)}: the header needs {needed} bytes, the file has {len(start)}",
            hint="the file was cut: copy it again, or capture again",
        )
    raw0 = int.from_bytes(start[_RECORD + 16 : _RECORD + 24], "little", signed=True)
    fields = np.frombuffer(start, dtype, 1, _PAYLOAD)[0]
    size = int.from_bytes(start[_RECORD + 4 : _RECORD + 6], "little")
    names = _names(start[_PAYLOAD + dtype.itemsize : _RECORD + size])
    mode = int(fields["log_file_mode"])
    state = int.from_bytes(start[0x2C:0x2E], "little")
    return LogfileHeader(
        clock=Clock(
            type=int(fields["reserved_flags"]),
            perf_freq=int(fields["perf_freq"]),
            mhz=int(fields["cpu_speed_in_mhz"]),
            start=int(fields["start_time"]),
            raw0=raw0,
        ),
        buffer_size=int(fields["buffer_size"]),
        os_major=int(fields["major_version"]),
        os_minor=int(fields["minor_version"]),
        build=int(fields["provider_version"]),
        processors=int(fields["number_of_processors"]),
        end_time=int(fields["end_time"]),
        mode=mode,
        buffers_written=int(fields["buffers_written"]),
        pointer_size=int(fields["pointer_size"]),
        events_lost=int(fields["events_lost"]),
        buffers_lost=int(fields["buffers_lost"]),
        cpu_mhz=int(fields["cpu_speed_in_mhz"]),
        bias_minutes=int(fields["time_zone"]["bias"]),
        boot_time=int(fields["boot_time"]),
        logger_name=names[0],
        log_file_name=names[1],
        compression=state if mode & layout.EVENT_TRACE_COMPRESSED_MODE else layout.COMPRESSION_FORMAT_NONE,
    )


def _names(data: bytes) -> tuple[str, str]:
    text = data[: len(data) & ~1].decode("utf-16-le", "replace")
    parts = text.split("\0")
    return parts[0], parts[1] if len(parts) > 1 else ""


def _what_it_is(start: bytes) -> str:
    if not start:
        return "the file is empty"
    if not start.strip(b"\0"):
        return "only zeros"
    if all(byte in b"\t\n\r\f\x1b" or 32 <= byte < 127 or byte >= 128 for byte in start[:64]):
        return "it begins like a text file"
    if len(start) < _RECORD + 8:
        return f"{len(start)} bytes are too few for one buffer"
    return "no buffer of type 4 (header) with a logfile header record begins here"
