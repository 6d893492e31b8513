"""State of the twin of order.c: packets that wait, connections, questions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

_EDGES: Final = 1 << 15
_KEYS: Final = 1 << 15
WAITING: Final = 1 << 12
WAYS: Final = 4
RING: Final = 1 << 15
ANSWER: Final = 1
SEQUENCE: Final = 2
CANCELLED: Final = 0
EARLIEST: Final = -(2**63)
LATEST: Final = 2**63 - 1


class Fact(NamedTuple):
    """A row of FACT."""

    key: int
    answer: int
    quote: int
    seq: int
    end: int
    ack: int
    sign: int
    stamp: int
    echo: int
    sack: list[int]
    role: int
    side: int
    way: int
    flags: int
    sacks: int
    stamped: int


@dataclass(slots=True, eq=False)
class Edge:
    """``effect`` waits for the row that holds the edge."""

    effect: Row
    kind: int


@dataclass(slots=True, eq=False)
class Row:
    """A packet that has come."""

    fact: Fact
    serial: int
    time: int
    final: int
    oldest: int
    before: int = 0
    edges: list[Edge] = field(default_factory=list)
    """the last one first to be looked at"""
    blockers: int = 0
    skipped: bool = False
    done: bool = False
    reason: int = 0
    start: int = 0
    """first byte that nobody has seen before"""
    fresh: bool = False
    ticks: bool = False
    """its sender's time stamp goes on with it"""
    paired: bool = False
    """a report of a doubled segment, or the copy that it reports"""
    slot: tuple[int, int] = (0, 0)
    """of its connection"""


class Keys:
    """A set in buckets of four; where one is full, a place is taken in turn."""

    def __init__(self) -> None:
        self._buckets: dict[int, list[int]] = {}

    def find(self, key: int) -> bool:
        """Whether the key is in the set."""
        return key in self._buckets.get(key & (_KEYS - 1), ())

    def remove(self, key: int) -> None:
        """Take out a key that is in the set."""
        bucket = self._buckets[key & (_KEYS - 1)]
        bucket[bucket.index(key)] = 0

    def add(self, key: int, serial: int) -> None:
        """Put in a key."""
        bucket = self._buckets.setdefault(key & (_KEYS - 1), [0] * WAYS)
        if key not in bucket:
            bucket[bucket.index(0) if 0 in bucket else serial % WAYS] = key


class Order:
    """The state of ``struct ec_order``."""

    def __init__(self) -> None:
        self.next = 0
        self.cursor = 0
        self.oldest = 0
        self.edges = 0
        self.proofs = 0
        self.ring: dict[int, Row] = {}
        self.connections: dict[int, list[Any]] = {}
        self.asked = Keys()
        self.seen = Keys()
        self.waiting: dict[int, tuple[int, int]] = {}

    def row(self, serial: int) -> Row | None:
        """The row of that serial while the ring has it."""
        found = self.ring.get(serial & (RING - 1))
        return found if found is not None and serial and found.serial == serial else None

    def pending(self, serial: int) -> Row | None:
        """The row of that serial while it waits."""
        row = self.row(serial)
        return row if row is not None and not row.done else None

    @property
    def distrusted(self) -> bool:
        """Whether so many packets stood where they cannot have been that the order of the others proves little."""
        return self.proofs >= 8 and self.proofs >= self.next // 1024

    def tie(self, cause: Row, effect: Row, kind: int, window: int) -> None:
        """Make effect wait for cause, unless that would move something by more than the window."""
        if effect.oldest < before(cause.time, window) or cause.time < before(effect.time, window):
            return
        if self.edges >= _EDGES:
            return
        self.edges += 1
        cause.edges.append(Edge(effect, kind))
        effect.blockers += 1
        self.proofs += kind == ANSWER
        cause.oldest = min(cause.oldest, effect.oldest)


def before(time: int, span: int) -> int:
    """A time that much earlier."""
    return max(time - span, EARLIEST)
