"""Twin of order_tcp.c: what TCP says of the order of its segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from etwcap.native.twin_order_state import ANSWER, CANCELLED, EARLIEST, LATEST, SEQUENCE, WAYS, Fact, Order, Row

_BUCKETS: Final = 1 << 13
_HOLES: Final = 12
_FARTHEST: Final = 1024
_OPENING: Final = 1 << 16
_THRESHOLD: Final = 3
_NEXT_IDENTS: Final = 256
_NEAR: Final = 1 << 24
_WORD: Final = 0xFFFFFFFF
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
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


def _beyond(a: int, b: int | None) -> bool:
    return b is not None and a != b and (a - b) & _WORD <= _NEAR


def _above(mark: int | None, value: int) -> bool:
    return mark is not None and _beyond(mark, value)


def _raised(mark: int | None, value: int) -> int:
    if mark is None or _beyond(value, mark) or (value - mark + _NEAR) & _WORD > 2 * _NEAR:
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
        if not _beyond(end, start) or not _beyond(stop, seq):
            at += 1
            continue
        first = seq if _beyond(seq, start) else start
        if found is None or _beyond(found, first):
            found = first
        if _beyond(seq, start):
            way.holes[at] = start, seq
            if _beyond(stop, end):
                _add_hole(way, end, stop)
            else:
                at += 1
        elif _beyond(stop, end):
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
        return (end - seq) & _WORD > 1 or bool(fact.flags & _FIN)
    if _beyond(seq, way.next):
        _add_hole(way, way.next, seq)
        way.next = end
        row.start = seq
        return True
    if seq != way.next and not _beyond(way.next, seq):
        way.holes.clear()
        way.next = end
        return False
    first = _fill_holes(way, seq, end)
    if first is not None:
        row.start = first
    if _beyond(end, way.next):
        if first is None:
            row.start = way.next
        way.next = end
        return True
    return first is not None


def _take_opening(connection: Connection, fact: Fact, row: Row) -> bool:
    me, other = connection.ways[fact.way], connection.ways[1 - fact.way]
    if me.isn == fact.seq:
        return False
    if not fact.flags & _ACK and other.ack != (fact.seq + 1) & _WORD:
        connection.renew(1 - fact.way)
    if me.seq is None or (me.seq - fact.seq - 1) & _WORD >= _OPENING:
        me = connection.renew(fact.way)
        me.next = fact.end
    elif me.next is None:
        me.next = 0
    me.isn = row.start = fact.seq
    return True


def _pure(fact: Fact) -> bool:
    return fact.seq == fact.end and not fact.flags & (_SYN | _FIN | _RST)


def _blocks(fact: Fact) -> Iterator[tuple[int, int]]:
    return ((fact.sack[2 * i], fact.sack[2 * i + 1]) for i in range(fact.sacks))


def _names_twice(fact: Fact, row: Row) -> bool:
    """Whether the segment reports the row as received twice."""
    left, right = fact.sack[:2]
    if not fact.sacks or row.fact.seq == row.fact.end or left != row.fact.seq:
        return False
    if not _beyond(right, fact.ack):
        return True
    return fact.sacks > 1 and not _beyond(fact.sack[2], left) and not _beyond(right, fact.sack[3])


def _tells_gap(fact: Fact, row: Row) -> bool:
    if not fact.flags & _ACK or _beyond(fact.ack, row.start) or _names_bytes(fact, row):
        return False
    return any(_beyond(right, row.fact.end) and not _beyond(row.fact.end, left) for left, right in _blocks(fact))


def _names_bytes(fact: Fact, row: Row) -> bool:
    return any(_beyond(right, row.start) and _beyond(row.fact.end, left) for left, right in _blocks(fact))


def _back(order: Order, serial: int, time: int, window: int) -> Iterator[Row]:
    """The connection's rows from that one on back, while they are near enough to count."""
    far = max(time - 2 * window, EARLIEST)
    row = order.row(serial)
    for _ in range(_FARTHEST):
        if row is None or row.time < far:
            return
        yield row
        row = order.row(row.before)


def _hear(order: Order, connection: Connection, row: Row, window: int) -> tuple[bool, bool]:
    """Whether the segment has been seen on another interface, and whether its receiver says that later bytes came
    first."""
    copy = gap = False
    mine = row.fact
    repeated: Fact | None = None
    for other in _back(order, connection.last, row.time, window):
        fact = other.fact
        if fact.way == mine.way:
            copy |= (fact.seq, fact.end, fact.ack, fact.sign, fact.flags) == (
                mine.seq,
                mine.end,
                mine.ack,
                mine.sign,
                mine.flags,
            )
            continue
        gap |= _tells_gap(fact, row)
        if _pure(fact) and fact.sacks == 0 and fact.ack == row.start:
            if repeated is not None:
                gap |= repeated.seq == fact.seq and repeated.sign >> 16 == fact.sign >> 16
            repeated = fact
    return copy, gap


def _answers(order: Order, other: Row, row: Row, way: Way) -> bool:
    fact = other.fact
    if not fact.flags & _ACK:
        return False
    if not row.fresh:
        return order.distrusted and _names_twice(fact, row)
    if row.fact.flags & _SYN:
        return (fact.ack - row.fact.seq - 1) & _WORD < _OPENING
    if _beyond(fact.ack, row.start) and not _above(way.gone_ack, row.start):
        return True
    return bool(fact.sacks) and _names_bytes(fact, row) and not _above(way.gone_sack, row.start)


def _follows(other: Row, row: Row, way: Way, *, gap: bool) -> bool:
    late, mine = other.fact, row.fact
    both, same = bool(late.flags & mine.flags & _ACK), other.time == row.time
    if not mine.side & _SENT and not same:
        return False
    if row.fresh and (other.fresh or _pure(late)) and not gap and not (both and _beyond(mine.ack, late.ack)):
        if mine.flags & _SYN:
            return (late.seq - mine.seq - 1) & _WORD < _OPENING
        if _beyond(late.seq, row.start) and not _above(way.gone_seq, row.start):
            return True
    if not both or (late.flags | mine.flags) & (_SYN | _RST):
        return False
    if (
        _beyond(late.ack, mine.ack)
        and not _above(way.gone_ack, mine.ack)
        and not (row.fresh and _beyond(mine.seq, late.seq))
    ):
        return True
    if not same or not _pure(mine) or late.ack != mine.ack:
        return False
    if other.fresh:
        return late.seq == mine.seq or _beyond(late.seq, mine.seq)
    ahead = (late.sign - mine.sign) & 0xFFFF
    return _pure(late) and late.seq == mine.seq and bool(mine.sign & 0xFFFF) and 1 <= ahead <= _NEXT_IDENTS


def _tie_all(order: Order, connection: Connection, row: Row, window: int) -> None:
    copy, gap = _hear(order, connection, row, window)
    me, others = connection.ways[row.fact.way], connection.ways[1 - row.fact.way]
    for other in _back(order, connection.last, row.time, window):
        if other.done:
            continue
        if other.fact.way != row.fact.way:
            if _answers(order, other, row, others):
                order.tie(row, other, ANSWER, window)
        elif not copy and _follows(other, row, me, gap=gap):
            order.tie(row, other, SEQUENCE, window)
            connection.loose_until = min(row.time + window, LATEST)


def _loosen(order: Order, connection: Connection, teller: Row, window: int) -> None:
    for row in _back(order, connection.last, teller.time, window):
        if row.fact.way == teller.fact.way or not row.edges or not row.fresh or not _tells_gap(teller.fact, row):
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
    for other in _back(order, connection.last, row.time, window):
        fact = other.fact
        again = not other.fresh and fact.seq != fact.end and fact.seq == row.fact.ack
        mine = fact.way != row.fact.way and fact.side & _SENT
        if again and mine and not other.done and other.time >= row.time - window // 4:
            order.tie(row, other, SEQUENCE, window)


def _is_tangled(order: Order, row: Row, before: Row | None, me: Way, other: Way) -> bool:
    """Whether the connection's rows have to be looked through; ``before`` is the one before this."""
    fact = row.fact
    if before is None:
        return False
    if row.fresh and (
        fact.flags & _SYN or _above(other.ack, row.start) or _above(other.sack, row.start) or _above(me.seq, row.start)
    ):
        return True
    if not row.fresh and fact.seq != fact.end and other.sack is not None and order.distrusted:
        return True
    if fact.flags & _ACK and _above(me.ack, fact.ack):
        return True
    known = me.next is not None and me.ack is not None and before.time == row.time
    return _pure(fact) and known and (me.ack == fact.ack or _above(me.next, fact.seq))


def segment(order: Order, row: Row, window: int) -> None:
    """Twin of ``ec_order_segment``."""
    fact = row.fact
    connection, row.slot = _find(order, fact.key, row.serial)
    row.start = fact.seq
    if fact.flags & _SYN:
        row.fresh = _take_opening(connection, fact, row)
    elif fact.seq != fact.end:
        row.fresh = _take_bytes(connection.ways[fact.way], fact, row)
    elif connection.ways[fact.way].next is None:
        connection.ways[fact.way].next = fact.seq
    me, other = connection.ways[fact.way], connection.ways[1 - fact.way]
    before = next(_back(order, connection.last, row.time, window), None)
    if _is_tangled(order, row, before, me, other):
        _tie_all(order, connection, row, window)
    error = order.pending(connection.error)
    if error is not None and error.fact.way == fact.way and error.fact.seq == fact.seq:
        order.tie(row, error, ANSWER, window)
        connection.error = 0
    me.seq = _raised(me.seq, fact.seq)
    if fact.flags & _ACK:
        if me.ack != fact.ack:
            me.repeats = 0
        elif _pure(fact):
            me.repeats += 1
            if me.repeats <= _THRESHOLD and order.distrusted:
                _tie_repeated(order, connection, row, window)
        me.ack = _raised(me.ack, fact.ack)
        for _, right in _blocks(fact):
            me.sack = _raised(me.sack, right)
        if fact.sacks and row.time <= connection.loose_until:
            _loosen(order, connection, row, window)
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
    if not fact.flags & _ACK:
        return
    way.gone_ack = _raised(way.gone_ack, fact.ack)
    for _, right in _blocks(fact):
        way.gone_sack = _raised(way.gone_sack, right)
