"""Twin of order.c: what waits, and what is passed on."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from etwcap.native import twin_order_tcp as tcp
from etwcap.native.twin_order_state import ANSWER, CANCELLED, LATEST, RING, WAITING, Fact, Order, Row, before

_TCP, _TALK, _ERROR, _TCP_ERROR = 1, 2, 3, 4


def _release_waiting(order: Order, key: int, row: Row, window: int) -> bool:
    known, serial = order.waiting.get(key & (WAITING - 1), (0, 0))
    effect = order.pending(serial) if known == key else None
    if effect is None or effect is row:
        return False
    order.waiting[key & (WAITING - 1)] = (0, serial)
    blockers = effect.blockers
    order.tie(row, effect, ANSWER, window)
    return effect.blockers != blockers


def _take_talk(order: Order, row: Row, window: int) -> None:
    fact = row.fact
    if fact.quote:
        _release_waiting(order, fact.quote, row, window)
        order.seen.add(fact.quote, row.serial)
    if fact.answer:
        if order.asked.find(fact.answer):
            order.asked.remove(fact.answer)
        else:
            order.waiting[fact.answer & (WAITING - 1)] = (fact.answer, row.serial)
    if fact.key and not _release_waiting(order, fact.key, row, window):
        order.asked.add(fact.key, row.serial)


def take(order: Order, facts: NDArray[Any], times: list[int], window: int) -> None:
    """Twin of ``ec_order_take``."""
    blocks = facts["sack"].tolist()
    for values, sack, time in zip(facts.tolist(), blocks, times, strict=True):
        order.next += 1
        fact = Fact(*values[:16])._replace(sack=sack)
        row = Row(fact, order.next, time, time, time)
        order.ring[order.next & (RING - 1)] = row
        if fact.role == _TCP:
            tcp.segment(order, row, window)
        elif fact.role == _TALK:
            _take_talk(order, row, window)
        elif fact.role == _ERROR:
            if fact.answer and not order.seen.find(fact.answer):
                order.waiting[fact.answer & (WAITING - 1)] = (fact.answer, row.serial)
        elif fact.role == _TCP_ERROR:
            tcp.quoting(order, row)


def _pass_on(order: Order, first: Row, out: list[tuple[int, int, int]]) -> None:
    stack = [first]
    while stack:
        row = stack.pop()
        row.done = True
        if not row.skipped:
            row.final = row.time
        out.append((row.serial - 1, row.final, row.reason if row.skipped else 0))
        freed = []
        for edge in reversed(row.edges):
            effect = edge.effect
            if edge.kind != CANCELLED and not effect.done:
                effect.blockers -= 1
                effect.reason = edge.kind
                effect.final = max(effect.final, row.final)
                if effect.blockers == 0 and effect.skipped:
                    freed.append(effect)
        order.edges -= len(row.edges)
        row.edges.clear()
        if row.fact.role == _TCP:
            tcp.gone(order, row)
        stack += reversed(freed)


def give(order: Order, complete_to: int, window: int, most: int) -> list[tuple[int, int, int]]:
    """Twin of ``ec_order_give``: number, time and reason of each packet whose turn has come."""
    out: list[tuple[int, int, int]] = []
    limit = before(complete_to, window)
    while order.cursor < order.next:
        row = order.ring[(order.cursor + 1) & (RING - 1)]
        if row.time >= limit and complete_to != LATEST and order.next - order.oldest <= most:
            break
        order.cursor += 1
        if row.blockers:
            row.skipped = True
        else:
            _pass_on(order, row, out)
        while order.oldest < order.cursor:
            row = order.ring[(order.oldest + 1) & (RING - 1)]
            if not row.done:
                if order.next - order.oldest <= most:
                    break
                _pass_on(order, row, out)
            order.oldest += 1
    return out
