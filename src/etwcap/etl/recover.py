"""What is known of a trace whose beginning is broken: its logfile header, its clock.

There is one logfile header in a file. Where it is gone, the buffers behind it still say what they hold; what no buffer
says is assumed, and told.
"""

from __future__ import annotations

from dataclasses import replace

from etwcap.errors import NotATraceError
from etwcap.etl import layout
from etwcap.etl.logfile import LONGEST, LogfileHeader, looks_like_etl, parse_logfile_header
from etwcap.etl.salvage import Sizes, salvage
from etwcap.etl.time import CPU_CYCLES, FILETIME_HZ, FILETIME_OF_1970, QPC, SYSTEM_TIME, Clock
from etwcap.native.etl import find_header
from etwcap.native.twin_etl import LARGEST, Parsed, parse, read_at, read_header
from etwcap.native.xpress import decode
from etwcap.packets import Damage

_FIRST_DATE, _LAST_DATE = 119_600_064_000_000_000, 160_000_000_000_000_000
"""FILETIMEs of 1980 and 2108: what lies outside is no time of a trace."""
_HEADER = layout.BUFFER_HEADER_SIZE
_USUAL_FREQUENCY = 10_000_000
"""PerfFreq of Windows 10 and later on nearly all machines."""


def read_logfile_header(descriptor: int, size: int, file: str) -> tuple[LogfileHeader, list[Damage]]:
    """The logfile header of a file of ``size`` bytes, or what the buffers say instead of it, and what is broken in it.

    Raises NotATraceError where the file is no ETL trace: neither a logfile header nor a buffer can be found.
    """
    start = read_at(descriptor, LONGEST, 0)
    damage: list[Damage] = []
    if looks_like_etl(start):
        header = parse_logfile_header(start, file)
    elif _record_is_whole(start):
        damage.append(Damage(file, 0, "the header of the first buffer is broken"))
        header = parse_logfile_header(_HEAD + start[len(_HEAD) :], file)
        if header.mode & layout.EVENT_TRACE_COMPRESSED_MODE:
            header = replace(header, compression=layout.COMPRESSION_FORMAT_XPRESS)
    else:
        found = _from_buffers(descriptor, size)
        if found is None:
            header = parse_logfile_header(start, file)  # says what it is instead
            raise NotATraceError(f"{file} is not an ETL trace")
        what = "the logfile header is gone: the clock, the system and the losses are not known, times are estimates"
        return found, [Damage(file, 0, what, min(size, _HEADER + layout.LOGFILE_HEADER64.itemsize))]
    clock, problems = believable_clock(header)
    place = _HEADER + layout.SYSTEM_HEADER.itemsize
    damage += [Damage(file, place, what) for what in problems]
    return replace(header, clock=clock), damage


_HEAD = bytes(0x36) + b"\x04\x00"
"""A buffer header as far as it is needed to know the first buffer of a file by."""


def _record_is_whole(start: bytes) -> bool:
    """Whether a logfile header stands in its place, whatever the buffer header before it says."""
    if len(start) < LONGEST and len(start) < _HEADER + 0x150:
        return False
    if not looks_like_etl(_HEAD + start[len(_HEAD) :]):
        return False
    header = parse_logfile_header(_HEAD + start[len(_HEAD) :], "")
    return header.pointer_size in (4, 8) and 5 <= header.os_major <= 20 and 1 <= header.processors <= 2048


def _is_date(filetime: int) -> bool:
    return _FIRST_DATE <= filetime <= _LAST_DATE


def believable_clock(header: LogfileHeader) -> tuple[Clock, list[str]]:
    """The clock of a trace with what cannot be replaced by the likeliest, and what was replaced."""
    clock = header.clock
    problems: list[str] = []
    if clock.type in (SYSTEM_TIME, CPU_CYCLES) or _is_date(clock.raw0):
        return clock, problems
    if clock.perf_freq <= 0:
        problems.append(f"a clock of {clock.perf_freq} ticks a second cannot be; {_USUAL_FREQUENCY:,} are assumed")
        clock = replace(clock, type=QPC, perf_freq=_USUAL_FREQUENCY)
    if not _is_date(clock.start):
        boot = header.boot_time
        start, told = FILETIME_OF_1970, "1970"
        if _is_date(boot) and 0 <= clock.raw0 < _LAST_DATE:  # the counter starts with the machine
            start, told = boot + clock.raw0 * FILETIME_HZ // clock.perf_freq, "the boot of the machine"
        problems.append(f"the start of the trace, {clock.start}, is no time; times count from {told}")
        clock = replace(clock, start=start)
    return clock, problems


def _from_buffers(descriptor: int, size: int) -> LogfileHeader | None:
    """A header that says what the first certain buffer tells; None where there is none within the longest buffer."""
    end = min(size, layout.MAXIMUM_BUFFER + _HEADER)
    at = find_header(descriptor, 0, end, size, layout.MAXIMUM_BUFFER, 0)
    if at is None:
        return None
    row = read_header(read_at(descriptor, _HEADER, at), at)
    stop = min(at + min(row[3], LARGEST), size)
    found = salvage(descriptor, at, stop, Sizes(layout.MAXIMUM_BUFFER, 0), compressed=True)
    if found is None or int(found["filled"][0]) != row[4]:
        return None
    packed = bool(row[8] & layout.BUFFER_FLAG_COMPRESSED)
    body = read_at(descriptor, row[3] - _HEADER, at + _HEADER)
    if packed:
        body, _ = decode(body, row[4] - _HEADER)
    first = parse(body[:65544], 0)
    raw = first.values["raw"] if isinstance(first, Parsed) else 0
    start = row[2] if _is_date(row[2]) and not _is_date(raw) else FILETIME_OF_1970
    return LogfileHeader(
        clock=Clock(SYSTEM_TIME if _is_date(raw) else QPC, _USUAL_FREQUENCY, 0, start, raw),
        buffer_size=layout.MAXIMUM_BUFFER if packed else row[3],
        os_major=0,
        os_minor=0,
        build=0,
        processors=0,
        end_time=0,
        mode=layout.EVENT_TRACE_COMPRESSED_MODE if packed else 0,
        buffers_written=0,
        pointer_size=8,
        events_lost=0,
        buffers_lost=0,
        cpu_mhz=0,
        bias_minutes=0,
        boot_time=0,
        logger_name="",
        log_file_name="",
        compression=layout.COMPRESSION_FORMAT_XPRESS if packed else layout.COMPRESSION_FORMAT_NONE,
    )
