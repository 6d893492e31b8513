"""Twin of order_tcp.c: what TCP says of the order of its segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from etwcap.native.twin_order_segment import (
    ACK,
    FIN,
    RST,
    SYN,
    beyond,
    blocks,
    names,
    names_twice,
    pure,
    reports,
    same,
    says_more,
    tells_gap,
)
from etwcap.native.twin_order_state import ANSWER, CANCELLED, EARLIEST, LATEST, SEQUENCE, WAYS, Fact, Order, Row

_BUCKETS: Final = 1 << 13
_HOLES: Final = 12
_FARTHEST: Final = 1024
_OPENING: Final = 1 << 16
_THRESHOLD: Final = 3
_NEXT_IDENTS: Final = 256
_NEAR: Final = 1 << 24
_WORD: Final = 0xFFFFFFFF
_SENT = 2


@dataclass(slots=True)
class Way:
    """One way of a connection; None: not known."""

    next: int | None = None
    seq: int | None = None
    ack: int | None = None
    sack: int | None = None
    isn: int | None = None
    gone_seq: int | None = None
    gone_ack: int | None = None
    gone_sack: int | None = None
    stamp: int | None = None
    echo: int | None = None
    repeats: int = 0
    holes: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Connection:
    """Both ways, and where to go back from."""

    key: int = 0
    used: int = 0
    last: int = 0
    error: int = 0
    loose_until: int = 0
    ways: tuple[Way, Way] = field(default_factory=lambda: (Way(), Way()))

    def renew(self, number: int) -> Way:
        """Forget what is known of one way."""
        fresh = Way()
        self.ways = (fresh, self.ways[1]) if number == 0 else (self.ways[0], fresh)
        return fresh


def _above(mark: int | None, value: int) -> bool:
    return mark is not None and beyond(mark, value)


def _raised(mark: int | None, value: int) -> int:
    if mark is None or beyond(value, mark) or (value - mark + _NEAR) & _WORD > 2 * _NEAR:
        return value
    return mark


def _find(order: Order, key: int, serial: int) -> tuple[Connection, tuple[int, int]]:
    number = key & (_BUCKETS - 1)
    bucket: list[Connection] = order.connections.setdefault(number, [Connection() for _ in range(WAYS)])
    for place, known in enumerate(bucket):
        if known.key == key:
            known.used = serial
            return known, (number, place)
    place = min(range(WAYS), key=lambda at: (bucket[at].used, at))
    bucket[place] = Connection(key, serial)
    return bucket[place], (number, place)


def _add_hole(way: Way, start: int, end: int) -> None:
    if len(way.holes) == _HOLES:
        del way.holes[0]
    way.holes.append((start, end))


def _fill_holes(way: Way, seq: int, end: int) -> int | None:
    """Take the bytes out of the holes; the first that lay in one."""
    found: int | None = None
    at = 0
    while at < len(way.holes):
        start, stop = way.holes[at]
        if not beyond(end, start) or not beyond(stop, seq):
            at += 1
            continue
        first = seq if beyond(seq, start) else start
        if found is None or beyond(found, first):
            found = first
        if beyond(seq, start):
            way.holes[at] = start, seq
            if beyond(stop, end):
                _add_hole(way, end, stop)
            else:
                at += 1
        elif beyond(stop, end):
            way.holes[at] = end, stop
            at += 1
        else:
            del way.holes[at]
    return found


def _take_bytes(way: Way, fact: Fact, row: Row) -> bool:
    seq, end = fact.seq, fact.end
    if way.next is None:
        way.next = end
        row.start = seq
        return (end - seq) & _WORD > 1 or bool(fact.flags & FIN)
    if beyond(seq, way.next):
        _add_hole(way, way.next, seq)
        way.next = end
        row.start = seq
        return True
    if seq != way.next and not beyond(way.next, seq):
        way.holes.clear()
        way.next = end
        return False
    first = _fill_holes(way, seq, end)
    if first is not None:
        row.start = first
    if beyond(end, way.next):
        if first is None:
            row.start = way.next
        way.next = end
        return True
    return first is not None


def _take_opening(connection: Connection, fact: Fact, row: Row) -> bool:
    me, other = connection.ways[fact.way], connection.ways[1 - fact.way]
    if me.isn == fact.seq:
        return False
    if not fact.flags & ACK and other.ack != (fact.seq + 1) & _WORD:
        connection.renew(1 - fact.way)
    if me.seq is None or (me.seq - fact.seq - 1) & _WORD >= _OPENING:
        me = connection.renew(fact.way)
        me.next = fact.end
    elif me.next is None:
        me.next = 0
    me.isn = row.start = fact.seq
    return True


def _back(order: Order, serial: int, time: int, window: int) -> Iterator[Row]:
    """The connection's rows from that one on back, while they are near enough to count."""
    far = max(time - 2 * window, EARLIEST)
    row = order.row(serial)
    for _ in range(_FARTHEST):
        if row is None or row.time < far:
            return
        yield row
        row = order.row(row.before)


class _Witness(NamedTuple):
    """Whether the segment has been seen on another interface; whether its receiver says that later bytes came first;
    whether it was received with a later stamp than what its sender sent after it."""

    copy: bool
    gap: bool
    late: bool


def _hear(order: Order, connection: Connection, row: Row, window: int) -> _Witness:
    copy = gap = late = False
    mine = row.fact
    repeated: Fact | None = None
    for other in _back(order, connection.last, row.time, window):
        fact = other.fact
        if fact.way == mine.way:
            copy |= same(fact, mine)
            if other.time < row.time and not mine.side & _SENT and fact.flags & mine.flags & ACK:
                late |= beyond(fact.ack, mine.ack) or says_more(fact, mine)
            continue
        gap |= tells_gap(fact, row)
        if pure(fact) and fact.sacks == 0 and fact.ack == row.start:
            if repeated is not None:
                gap |= repeated.seq == fact.seq and repeated.sign >> 16 == fact.sign >> 16
            repeated = fact
    return _Witness(copy, gap, late)


def _answers(order: Order, other: Row, row: Row, way: Way) -> bool:
    fact = other.fact
    if not fact.flags & ACK:
        return False
    if row.ticks and fact.stamped and fact.echo == row.fact.stamp and order.distrusted:
        return True
    if not row.fresh:
        return False
    if row.fact.flags & SYN:
        return (fact.ack - row.fact.seq - 1) & _WORD < _OPENING
    if beyond(fact.ack, row.start) and not _above(way.gone_ack, row.start):
        return True
    return bool(fact.sacks) and names(fact, row) and not _above(way.gone_sack, row.start)


def _follows(order: Order, other: Row, row: Row, way: Way, heard: _Witness) -> bool:
    late, mine = other.fact, row.fact
    both, at_once = bool(late.flags & mine.flags & ACK), other.time == row.time
    if heard.late or (not mine.side & _SENT and not at_once):
        return False
    if row.fresh and (other.fresh or pure(late)) and not heard.gap and not (both and beyond(mine.ack, late.ack)):
        if mine.flags & SYN:
            return (late.seq - mine.seq - 1) & _WORD < _OPENING
        if beyond(late.seq, row.start) and not _above(way.gone_seq, row.start):
            return True
    if not both or (late.flags | mine.flags) & (SYN | RST):
        return False
    if (
        beyond(late.ack, mine.ack)
        and not _above(way.gone_ack, mine.ack)
        and not (row.fresh and beyond(mine.seq, late.seq))
    ):
        return True
    if not at_once or not pure(mine) or late.ack != mine.ack:
        return False
    if other.fresh:
        return late.seq == mine.seq or beyond(late.seq, mine.seq)
    if order.distrusted and says_more(late, mine):
        return True
    ahead = (late.sign - mine.sign) & 0xFFFF
    return pure(late) and late.seq == mine.seq and bool(mine.sign & 0xFFFF) and 1 <= ahead <= _NEXT_IDENTS


def _tie_report(order: Order, connection: Connection, copy: Row, window: int) -> None:
    report: Row | None = None
    for other in _back(order, connection.last, copy.time, window):
        fact = other.fact
        free = fact.way != copy.fact.way and fact.flags & ACK and not other.done and not other.paired
        if free and names_twice(fact, copy):
            report = other
    if report is not None:
        copy.paired = report.paired = True
        order.tie(copy, report, ANSWER, window)


def _pair_report(order: Order, connection: Connection, report: Row, window: int) -> None:
    for other in _back(order, connection.last, report.time, window):
        free = other.fact.way != report.fact.way and not other.fresh and not other.paired
        if free and names_twice(report.fact, other):
            other.paired = report.paired = True
            return


def _tie_all(order: Order, connection: Connection, row: Row, window: int) -> None:
    heard = _hear(order, connection, row, window)
    if not row.fresh and order.distrusted:
        _tie_report(order, connection, row, window)
    me, others = connection.ways[row.fact.way], connection.ways[1 - row.fact.way]
    for other in _back(order, connection.last, row.time, window):
        if other.done:
            continue
        if other.fact.way != row.fact.way:
            if _answers(order, other, row, others):
                order.tie(row, other, ANSWER, window)
        elif not heard.copy and _follows(order, other, row, me, heard):
            order.tie(row, other, SEQUENCE, window)
            connection.loose_until = min(row.time + window, LATEST)


def _loosen(order: Order, connection: Connection, teller: Row, window: int) -> None:
    for row in _back(order, connection.last, teller.time, window):
        if row.fact.way == teller.fact.way or not row.edges or not row.fresh or not tells_gap(teller.fact, row):
            continue
        for edge in row.edges:
            effect = edge.effect
            if edge.kind != SEQUENCE or effect.done or effect.skipped:
                continue
            newest = not row.fact.side & _SENT and teller.fact.sack[0] == effect.fact.seq
            if teller.time <= row.time or effect.time != row.time or newest:
                edge.kind = CANCELLED
                effect.blockers -= 1


def _tie_repeated(order: Order, connection: Connection, row: Row, window: int) -> None:
    reach = row.time - 3 * (window // 20) if row.time >= EARLIEST + window else EARLIEST
    latest = EARLIEST
    for other in _back(order, connection.last, row.time, window):
        fact = other.fact
        if fact.way == row.fact.way or fact.seq == fact.end:
            continue
        if other.time < latest or other.time < reach:
            return
        latest = other.time
        if fact.side & _SENT and not other.fresh and fact.seq == row.fact.ack and not other.done:
            order.tie(row, other, SEQUENCE, window)


def _is_tangled(order: Order, row: Row, before: Row | None, me: Way, other: Way) -> bool:
    """Whether the connection's rows have to be looked through; ``before`` is the one before this."""
    fact = row.fact
    if before is None:
        return False
    if row.fresh and (
        fact.flags & SYN or _above(other.ack, row.start) or _above(other.sack, row.start) or _above(me.seq, row.start)
    ):
        return True
    if not row.fresh and fact.seq != fact.end and other.sack is not None and order.distrusted:
        return True
    if fact.flags & ACK and _above(me.ack, fact.ack):
        return True
    if row.ticks and other.echo is not None and not beyond(fact.stamp, other.echo) and order.distrusted:
        return True
    known = me.next is not None and me.ack is not None and before.time == row.time
    return pure(fact) and known and (me.ack == fact.ack or _above(me.next, fact.seq))


def segment(order: Order, row: Row, window: int) -> None:
    """Twin of ``ec_order_segment``."""
    fact = row.fact
    connection, row.slot = _find(order, fact.key, row.serial)
    row.start = fact.seq
    if fact.flags & SYN:
        row.fresh = _take_opening(connection, fact, row)
    elif fact.seq != fact.end:
        row.fresh = _take_bytes(connection.ways[fact.way], fact, row)
    elif connection.ways[fact.way].next is None:
        connection.ways[fact.way].next = fact.seq
    me, other = connection.ways[fact.way], connection.ways[1 - fact.way]
    row.ticks = bool(fact.stamped) and beyond(fact.stamp, me.stamp)
    before = next(_back(order, connection.last, row.time, window), None)
    if _is_tangled(order, row, before, me, other):
        _tie_all(order, connection, row, window)
    error = order.pending(connection.error)
    if error is not None and error.fact.way == fact.way and error.fact.seq == fact.seq:
        order.tie(row, error, ANSWER, window)
        connection.error = 0
    me.seq = _raised(me.seq, fact.seq)
    if fact.stamped:
        me.stamp, me.echo = _raised(me.stamp, fact.stamp), _raised(me.echo, fact.echo)
    if fact.flags & ACK:
        if me.ack != fact.ack:
            me.repeats = 0
        elif pure(fact):
            me.repeats += 1
            if me.repeats <= _THRESHOLD and order.distrusted:
                _tie_repeated(order, connection, row, window)
        me.ack = _raised(me.ack, fact.ack)
        for _, right in blocks(fact):
            me.sack = _raised(me.sack, right)
        if fact.sacks and row.time <= connection.loose_until:
            _loosen(order, connection, row, window)
        if reports(fact) and order.distrusted:
            _pair_report(order, connection, row, window)
    row.before = connection.last
    connection.last = row.serial


def quoting(order: Order, row: Row) -> None:
    """Twin of ``ec_order_quoting``."""
    connection, _ = _find(order, row.fact.key, row.serial)
    if not _above(connection.ways[row.fact.way].next, row.fact.seq):
        connection.error = row.serial


def gone(order: Order, row: Row) -> None:
    """Twin of ``ec_order_gone``."""
    fact = row.fact
    number, place = row.slot
    connection: Connection = order.connections[number][place]
    if connection.key != fact.key:
        return
    way = connection.ways[fact.way]
    way.gone_seq = _raised(way.gone_seq, fact.seq)
    if not fact.flags & ACK:
        return
    way.gone_ack = _raised(way.gone_ack, fact.ack)
    for _, right in blocks(fact):
        way.gone_sack = _raised(way.gone_sack, right)
