"""Facts about an input that are no packets: the session, the machine, what was lost, what is damaged."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class InputFacts:
    """An input as it was opened."""

    name: str
    size: int
    kind: str
    """etl, pcap, pcapng or recording"""
    sha256: str = ""


@dataclass(slots=True)
class Session:
    """The trace session that wrote an ETL file."""

    name: str = ""
    log_file: str = ""
    start: int = 0
    """ns since 1970 UTC"""
    end: int | None = None
    """ns since 1970 UTC; None: the session was never closed"""
    clock_type: int = 1
    """1 QPC, 2 system time, 3 CPU cycles"""
    frequency: int = 0
    mode: int = 0
    """LogFileMode bits"""
    buffer_size: int = 0
    buffers: int = 0
    compressed_buffers: int = 0
    pointer_size: int = 8


@dataclass(slots=True)
class Machine:
    """The machine that was traced; empty or 0 where the trace does not say."""

    os_name: str = ""
    """product, e.g. "Windows 10 Home" """
    os_version: str = ""
    """e.g. "10.0.19042.985" """
    build_lab: str = ""
    computer_name: str = ""
    domain: str = ""
    processors: int = 0
    cpu_mhz: int = 0
    architecture: str = ""
    """x64, x86, arm64; from the build lab"""
    boot_time: int = 0
    """ns since 1970 UTC"""
    bias_minutes: int = 0
    """UTC = local + bias"""
    hardware: str = ""
    """manufacturer and model"""
    family: str = ""
    """desktop, server ..."""


@dataclass(slots=True)
class Damage:
    """A place where the input is broken or not understood."""

    file: str
    offset: int
    """in the file"""
    what: str
    lost_bytes: int = 0
    """bytes passed over, as far as known"""
    severity: str = "damage"
    """``damage`` (exit code 4) or ``unknown`` (a kind of record or block that etwcap does not know; a note)"""


@dataclass(slots=True)
class Losses:
    """What never reached the file."""

    events: int = 0
    """EventsLost of the session"""
    buffers: int = 0
    """BuffersLost of the session"""
    sequence_gaps: int = 0
    """buffers missing by their sequence numbers"""
    report_gaps: int = 0
    """packet reports missing by their ids (PktMon)"""
    unclosed: bool = False
    """the session was never closed: no end time, maybe no rundown"""
    missing_end: bool = False
    """the last buffer of the file is missing"""
    partial_first: bool = False
    """a circular file whose oldest events were overwritten"""

    def any(self) -> bool:
        """Whether anything at all is known to be lost."""
        return bool(self.events or self.buffers or self.sequence_gaps or self.report_gaps or self.missing_end)


@dataclass(slots=True)
class Description:
    """What a source says of itself before its first chunk; ``losses`` and ``damage`` grow while it is read."""

    inputs: list[InputFacts] = field(default_factory=list)
    session: Session | None = None
    machine: Machine = field(default_factory=Machine)
    losses: Losses = field(default_factory=Losses)
    damage: list[Damage] = field(default_factory=list)
    damage_count: int = 0
    """all of them; ``damage`` keeps the first few hundred"""
    comments: list[str] = field(default_factory=list)
    """section comments of a pcapng input"""
    resolution: int = 100
    """ns: how fine the clock of the input is"""
    capture_application: str = ""

    def add_damage(self, damage: Damage, limit: int = 256) -> None:
        """Count a damage and keep it unless there are too many."""
        if damage.severity == "damage":
            self.damage_count += 1
        if len(self.damage) < limit:
            self.damage.append(damage)
