"""What a made-up trace is to be like."""

from __future__ import annotations

from dataclasses import dataclass, fields

from etwcap.errors import UsageError
from etwcap.etl.time import CPU_CYCLES, SYSTEM_TIME
from etwcap.etl.writer import LogfileSettings
from etwcap.synth.machine import FIRST_PKTMON_BUILD, log_file

TAPS = ("ndiscap", "pktmon", "vmswitch", "wfp", "ras")
"""taps whose events make an ETL trace"""
RAW = "raw"
"""raw sockets, whose records make a recording"""
TABLES = ("all", "half", "none")
MOST_APPEARANCES = 16
MOST_PROCESSORS = 256
SMALLEST_BUFFER, LARGEST_BUFFER = 4096, 16 << 20
_FILETIME_SECOND = 10_000_000

_ONLY = {
    "fragments": ("ndiscap", "vmswitch"),
    "appearances": ("ndiscap", "pktmon"),
    "truncate": ("ndiscap", "pktmon", "vmswitch"),
    "drop_rate": ("pktmon",),
    "lso": ("ndiscap", "pktmon", "vmswitch"),
}
"""Options that not every tap has."""
_OF_RAW = frozenset({"tap", "local", "seed", "offload", "pktinfo", "tables", "disorder"})
"""Options of a recording; no others."""
_ONLY_RAW = ("pktinfo", "tables", "disorder")
_PLAIN = {"fragments": 1, "appearances": 1, "truncate": 0, "drop_rate": 0.0, "lso": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthOptions:
    """The options of ``synth``; a value that cannot be raises UsageError."""

    tap: str = "ndiscap"
    """ndiscap, pktmon, vmswitch, wfp, ras or raw"""
    processors: int = 1
    buffer_size: int = 0x10000
    """bytes of a session buffer: a multiple of 8"""
    compress: bool | None = None
    """None: as the tap's own tool leaves its file"""
    relogged: bool | None = None
    clock: int = 1
    """1 QPC, 2 system time, 3 processor cycles"""
    frequency: int = 10_000_000
    """ticks a second; for processor cycles whole MHz"""
    pointer_size: int = 8
    os_build: int = 26100
    appearances: int = 1
    """how many components (PktMon) or layers (NdisCap) see a packet"""
    fragments: int = 1
    """in how many events a packet lies (Windows 7 and 8)"""
    truncate: int = 0
    """bytes logged of a packet; 0: all"""
    lso: bool = False
    offload: bool = False
    drop_rate: float = 0.0
    """share of the received packets that are reported as dropped, too"""
    local: tuple[str, ...] = ()
    """IP and MAC addresses of the machine; none: guessed"""
    unclosed: bool = False
    cut: int = 0
    """bytes missing at the end of the file"""
    circular: int = 0
    """data buffers a circular file has room for; 0: not circular"""
    lose_buffers: int = 0
    seed: int = 0
    pktinfo: bool = True
    """the sockets tell destination, interface, hop limit and traffic class (raw)"""
    tables: str = "all"
    """which of the capture's addresses stand in the machine's tables: all, half or none (raw)"""
    disorder: bool = False
    """stamps of batches, answers before what they answer, neighbours shuffled, no numbers (raw)"""

    def __post_init__(self) -> None:
        if self.tap == RAW:
            self._check_raw()
            return
        if self.tap not in TAPS:
            raise UsageError(f"there is no tap {self.tap!r}", hint=f"--as {'|'.join((*TAPS, RAW))}")
        for name in _ONLY_RAW:
            if getattr(self, name) != _default(name):
                flag = "--no-pktinfo" if name == "pktinfo" else f"--{name}"
                raise UsageError(f"{self.tap} has no {flag}", hint=f"{flag} goes with --as {RAW}")
        for name, taps in _ONLY.items():
            if getattr(self, name) != _PLAIN[name] and self.tap not in taps:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{self.tap} has no {flag}", hint=f"{flag} goes with --as {'|'.join(taps)}")
        self._check_ranges()
        self._check_session()

    def _check_raw(self) -> None:
        for each in fields(self):
            if each.name not in _OF_RAW and getattr(self, each.name) != each.default:
                flag = "--" + each.name.replace("_", "-")
                raise UsageError(
                    f"{RAW} has no {flag}",
                    cause="raw sockets leave a recording, no ETL trace",
                    hint=f"with --as {RAW} go --no-pktinfo, --tables, --disorder, --offload, --local and --seed",
                )
        if self.tables not in TABLES:
            raise UsageError(f"--tables {self.tables} cannot be", hint=f"--tables {'|'.join(TABLES)}")

    def _check_ranges(self) -> None:
        for flag, value, low, high in (
            ("--processors", self.processors, 1, MOST_PROCESSORS),
            ("--buffer-size", self.buffer_size, SMALLEST_BUFFER, LARGEST_BUFFER),
            ("--appearances", self.appearances, 1, MOST_APPEARANCES),
            ("--fragments", self.fragments, 1, 64),
            ("--truncate", self.truncate, 0, 0xFFFF),
            ("--frequency", self.frequency, 1000, 10**11),
            ("--cut", self.cut, 0, 2**62),
            ("--circular", self.circular, 0, 2**31),
            ("--lose-buffers", self.lose_buffers, 0, 2**31),
            ("--os-build", self.os_build, 7600, 0xFFFF),
            ("--clock", self.clock, 1, 3),
        ):
            if not low <= value <= high:
                raise UsageError(f"{flag} {value} cannot be", hint=f"{flag} from {low} to {high}")
        if self.buffer_size % 8:
            raise UsageError(f"--buffer-size {self.buffer_size} cannot be", hint="a multiple of 8 bytes")
        if self.pointer_size not in (4, 8):
            raise UsageError(f"--pointer-size {self.pointer_size} cannot be", hint="--pointer-size 4 or 8")
        if not 0 <= self.drop_rate <= 1:
            raise UsageError(f"--drop-rate {self.drop_rate} cannot be", hint="a share, from 0 to 1")
        if self.clock == CPU_CYCLES and self.frequency % 1_000_000:
            raise UsageError("the cycles of a processor are counted in whole MHz", hint="--frequency 2400000000")
        if self.tap == "pktmon" and self.os_build < FIRST_PKTMON_BUILD:
            raise UsageError(f"Windows {self.os_build} has no PktMon", hint=f"--os-build {FIRST_PKTMON_BUILD} or later")

    def _check_session(self) -> None:
        if self.compress and self.relogged is False:
            raise UsageError("only relogged files are compressed", hint="leave out --no-relogged")
        if self.unclosed and (self.compress or self.relogged):
            raise UsageError("Windows relogs and compresses only a trace that was closed", hint="leave out --unclosed")
        if self.circular and self.compress:
            raise UsageError(
                "a circular file cannot be compressed",
                cause="its buffers would differ in size: none could overwrite another",
                hint="leave out --compress",
            )

    @property
    def is_compressed(self) -> bool:
        """Whether the buffers are compressed: if not told, as the files of ``pktmon stop`` are."""
        native = self.unclosed or self.circular or self.relogged is False
        return self.compress if self.compress is not None else self.tap == "pktmon" and not native

    @property
    def is_relogged(self) -> bool:
        """Whether the file is relogged: if not told, as those of ``pktmon stop`` and ``netsh trace stop`` are."""
        native = bool(self.unclosed or self.circular)
        return self.relogged if self.relogged is not None else self.is_compressed or not native

    def settings(self, start: int) -> LogfileSettings:
        """The container of a session that began at that FILETIME."""
        mhz = self.frequency // 1_000_000 if self.clock == CPU_CYCLES else 2400
        return LogfileSettings(
            processors=self.processors,
            buffer_size=self.buffer_size,
            relogged=self.is_relogged,
            compressed=self.is_compressed,
            circular_buffers=self.circular,
            closed=not self.unclosed,
            clock_type=self.clock,
            perf_freq=10_000_000 if self.clock in (CPU_CYCLES, SYSTEM_TIME) else self.frequency,
            cpu_mhz=mhz,
            start=start,
            boot_time=start - 3600 * _FILETIME_SECOND,
            pointer_size=self.pointer_size,
            os_version=(10, 0) if self.os_build >= 10240 else (6, 1 if self.os_build < 9200 else 2),
            build=self.os_build,
            logger_name=None if self.is_relogged else log_file(self.tap)[0],
            log_file_name=log_file(self.tap)[1],
        )


def _default(name: str) -> object:
    """The value of an option that was not given."""
    return next(each.default for each in fields(SynthOptions) if each.name == name)
