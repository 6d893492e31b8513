"""What every tap can be asked: what it needs, and to become a source."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from etwcap.packets import Context, Description
from etwcap.pipeline.capture import LiveSource
from etwcap.pipeline.protocols import Stage
from etwcap.taps.journal import Journal
from etwcap.windows.processes import ProcessIdentity


class State(enum.Enum):
    """How a condition stands."""

    MET = "met"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """it cannot be told, or not without rights"""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a tap needs of this machine."""

    name: str
    state: State
    why: str
    """one line: what was found"""
    mend: str = ""
    """the exact command that mends it, or what to do where no command can"""
    needed: bool = True
    """False: the tap works without it, and ``why`` says what it then does not see"""


@dataclass(frozen=True, slots=True)
class TapLosses:
    """Packets that were lost on the way, by where."""

    ring: int = 0
    """found no room between receiver and reader"""
    ring_bytes: int = 0
    failed: int = 0
    """receives that failed"""
    cut: int = 0
    """packets longer than a buffer: their beginning was taken"""
    mechanism: int | None = None
    """what the mechanism itself counted; None: it does not count"""
    buffers: int = 0
    """whole buffers of a trace session that never came here, with nobody knows how many events each"""

    def __add__(self, other: TapLosses) -> TapLosses:
        counted = [each for each in (self.mechanism, other.mechanism) if each is not None]
        return TapLosses(
            self.ring + other.ring,
            self.ring_bytes + other.ring_bytes,
            self.failed + other.failed,
            self.cut + other.cut,
            sum(counted) if counted else None,
            self.buffers + other.buffers,
        )


@dataclass(frozen=True, slots=True)
class TapOptions:
    """How taps are opened; the defaults are those of the command line."""

    repairs: frozenset[str] = frozenset({"ipv6"})
    """names of ``--repair``; of these, taps do "ipv6" themselves, right behind their source"""
    comments: bool = False
    """say in packets' comments how they were repaired"""
    raw_recording: bool = False
    """raw: the records of the sockets as they are, link type 156"""
    records: bool = False
    """give the tap's records as they are, for somebody else to make packets of (``Tap.stages``)"""
    ring: int = 1 << 26
    """bytes between each receiver and its reader, a power of two"""
    receives: int = 32
    """raw: receive calls that each socket keeps outstanding"""
    receive_buffer: int = 16 << 20
    """raw: bytes that Windows may hold for each socket (SO_RCVBUF)"""
    filter: str | None = None
    """the whole filter: a tap hands down to its driver what it can of it (``filters.split``), and all of it runs again
    behind the source"""
    components: str = "nics"
    """pktmon: "nics" (adapters, each packet once), "all" (the path through the stack), or component ids "12,13" """
    pktmon_api: bool = False
    """pktmon: through PktMonApi.dll, though there is a better way"""
    ipsec_clear: bool = False
    """wfp: also what IPsec protects, in clear"""
    interfaces: tuple[str, ...] = ()
    """for ``Tap.stages``: what the tap was opened with"""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a tap that changes something of the machine needs for it."""

    journal: Callable[[], Journal]
    """of administrators: a change stands in it before it is made; raises RightsError"""
    identity: Callable[[], ProcessIdentity]
    """whose changes they are; names of objects carry it"""
    tell: Callable[[str], None] = lambda _line: None
    """lines for people"""
    consented: bool = False
    """the user agreed to what ``Tap.interrupts`` said"""


class LiveTapSource(LiveSource, Protocol):
    """A tap that captures: chunks come at least every 250 ms, empty ones too, each with its ``complete_to``."""

    def losses(self) -> TapLosses:
        """What was lost so far."""
        ...


class Tap(Protocol):
    """One way to capture."""

    @property
    def name(self) -> str:
        """As ``--tap`` takes it."""
        ...

    @property
    def sees(self) -> str:
        """One line: what it captures and what not."""
        ...

    def available(self) -> list[Condition]:
        """What it needs, and how that stands here; asks as much as can be without rights, and changes nothing."""
        ...

    def interrupts(self, interfaces: Sequence[str], options: TapOptions) -> str:
        """What capturing would interrupt on this machine as it stands, for the user to agree to; "": nothing."""
        ...

    def open(
        self, context: Context, interfaces: Sequence[str], options: TapOptions, changes: Changes | None = None
    ) -> LiveTapSource:
        """Begin to capture on the interfaces of these names (none: the tap's own choice).

        A tap that changes the machine needs ``changes`` (ValueError without). Raises RightsError, NotHereError,
        UsageError or another EtwcapError; then nothing is left behind.
        """
        ...

    def stages(self, context: Context, description: Description, options: TapOptions) -> list[Stage]:
        """What makes packets of the tap's records, as ``open`` has it behind its source unless ``options.records``."""
        ...


LOOPBACK: Final = "loopback"
"""the interface that every tap knows by this name, whether or not it sees it"""
RIGHTS: Final = "rights"
"""name of the condition that a capture mends itself, by asking for an administrator's consent"""


def usable_with_consent(conditions: Sequence[Condition]) -> bool | None:
    """Whether a tap can be used as its conditions stand once an administrator has consented; None: not known."""
    return usable([each for each in conditions if each.name != RIGHTS])


def usable(conditions: Sequence[Condition]) -> bool | None:
    """Whether a tap can be used as its conditions stand; None: not known."""
    needed = [each.state for each in conditions if each.needed]
    if State.MISSING in needed:
        return False
    return None if State.UNKNOWN in needed else True
