"""Twin of order_segment.h: what one TCP segment says of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from etwcap.native.twin_order_state import Fact, Row

FIN, SYN, RST, ACK = 1, 2, 4, 16
_NEAR: Final = 1 << 24
_WORD: Final = 0xFFFFFFFF


def beyond(a: int, b: int | None) -> bool:
    """Whether TCP number a lies behind b, and not so far that it could be another connection's."""
    return b is not None and a != b and (a - b) & _WORD <= _NEAR


def pure(fact: Fact) -> bool:
    """Twin of ``ec_segment_pure``."""
    return fact.seq == fact.end and not fact.flags & (SYN | FIN | RST)


def same(a: Fact, b: Fact) -> bool:
    """Twin of ``ec_segment_same``."""
    return (a.seq, a.end, a.ack, a.sign, a.flags, a.stamp, a.echo, a.sack) == (
        b.seq,
        b.end,
        b.ack,
        b.sign,
        b.flags,
        b.stamp,
        b.echo,
        b.sack,
    )


def blocks(fact: Fact) -> Iterator[tuple[int, int]]:
    """The selectively acknowledged blocks."""
    return ((fact.sack[2 * i], fact.sack[2 * i + 1]) for i in range(fact.sacks))


def names(fact: Fact, row: Row) -> bool:
    """Twin of ``ec_segment_names``."""
    return any(beyond(right, row.start) and beyond(row.fact.end, left) for left, right in blocks(fact))


def reports(fact: Fact) -> bool:
    """Twin of ``ec_segment_reports``."""
    left, right = fact.sack[:2]
    if not fact.sacks:
        return False
    if not beyond(right, fact.ack):
        return True
    return fact.sacks > 1 and not beyond(fact.sack[2], left) and not beyond(right, fact.sack[3])


def names_twice(fact: Fact, row: Row) -> bool:
    """Twin of ``ec_segment_names_twice``."""
    return fact.sack[0] == row.fact.seq != row.fact.end and reports(fact)


def names_more(more: Fact, less: Fact) -> bool:
    """Twin of ``ec_segment_names_more``."""
    equal = 0
    for left, right in blocks(less):
        around = [each for each in blocks(more) if not beyond(each[0], left) and not beyond(right, each[1])]
        if not around:
            return False
        equal += around[0] == (left, right)
    return equal < more.sacks


def says_more(late: Fact, early: Fact) -> bool:
    """Twin of ``says_more`` in order_tcp.c."""
    return pure(early) and pure(late) and late.ack == early.ack and late.seq == early.seq and names_more(late, early)


def tells_gap(fact: Fact, row: Row) -> bool:
    """Twin of ``ec_segment_tells_gap``."""
    if not fact.flags & ACK or beyond(fact.ack, row.start) or names(fact, row):
        return False
    return any(beyond(right, row.fact.end) and not beyond(row.fact.end, left) for left, right in blocks(fact))
