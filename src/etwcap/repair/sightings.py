"""Which sighting of a packet is kept.

PktMon reports a packet at every edge of the network stack it passes, NdisCap at every layer that captures. One of
them is kept: with ids that all sightings share, the one nearest the wire of each packet; without, the rows of the layer
nearest the wire that was captured of each adapter stack and direction. Drop reports mark the frame they speak of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.packetkeys import packet_keys
from etwcap.native.sightings import HOLD, KEEP, LEAVE_OUT, RecentIds, keep_best
from etwcap.packets import Chunk, Context, EventTable, Mark, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.packets.held import HeldRows
from etwcap.repair.drops import FRAME_AFTER, FRAME_BEFORE, add_reports, comment_drops, group_reports, match_reports
from etwcap.repair.layers import UNKNOWN_RANK, Layers

WAIT: Final = 100_000_000
"""ns: how long a packet with an id waits for a sighting nearer the wire."""
MOST_ROWS: Final = 1 << 16
MOST_BYTES: Final = 16 << 20
"""What is held at most, whatever the times say."""

_FIRST_TIME: Final = -(2**63)
_DROPPING_TAPS: Final = frozenset({"pktmon"})
"""Taps that report drops: only their packets wait for reports."""
_FRAME, _REPORT, _FOREIGN_REPORT = 0, 1, 2
"""Kinds of rows: a packet; a drop report not yet matched; one that may mark a frame but never become one."""


@dataclass(slots=True)
class _Judged:
    """Held and new rows in time order, with what has been found out about them."""

    packets: PacketTable
    from_held: NDArray[np.bool_]
    kind: NDArray[np.uint8]
    verdict: NDArray[np.uint8]

    def take(self, rows: NDArray[Any]) -> _Judged:
        return _Judged(self.packets.take(rows), self.from_held[rows], self.kind[rows], self.verdict[rows])


class SightingStage:
    """Keeps one sighting of each packet, or all of them with a comment that says where.

    ``appearances``: ``wire`` (nearest the wire), ``all``, ``first`` (the first by its id; nearest the wire where
    there are no ids), or the name or number of a component: of its sightings the nearest the wire. ``drops``:
    whether packets that exist only as drop reports become frames.
    """

    def __init__(self, context: Context, appearances: str = "wire", drops: bool = True) -> None:
        self._context = context
        self._appearances = appearances
        self._component = None if appearances in ("wire", "all", "first") else appearances.strip().casefold()
        self._drops = drops
        self._held = HeldRows()
        self._held_kind = np.empty(0, np.uint8)
        self._held_verdict = np.empty(0, np.uint8)
        self._layers = Layers()
        self._recent = RecentIds()
        self._ranks_known = False
        self._ids_seen = False
        self._point_comments: list[int] = []
        self._in_component: list[bool] = []

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk without the sightings that are left out; rows whose turn has not come are held."""
        if self._appearances == "all":
            return self._all(chunk)
        if self._component is None:
            kind = np.minimum(chunk.packets["drop_count"], 1).astype(np.uint8)
            return self._choose(chunk, kind)
        chunk.packets, kind = self._of_component(chunk.packets)
        return self._choose(chunk, kind)

    def finish(self) -> Chunk | None:
        """The rows still held."""
        if self._component is not None and not any(self._in_component):
            names = sorted({point.name for point in self._context.points})
            known = ", ".join(names[:40]) or "none"
            text = f"no packet was seen at component {self._appearances}; the points of this trace: {known}"
            self._context.receipt.note("component", text)
        if self._appearances == "first" and not self._ids_seen:
            text = (
                "the trace has no ids that tell which sighting is a packet's first: the one nearest the wire was kept"
            )
            self._context.receipt.note("first", text)
        if not len(self._held):
            return None
        empty = Chunk(np.empty(0, np.uint8), PacketTable(0), EventTable(0), END_OF_TIME)
        return self._choose(empty, np.empty(0, np.uint8))

    def _all(self, chunk: Chunk) -> Chunk:
        """Every sighting, with a comment that names its point."""
        packets = chunk.packets
        if not self._drops and "drop_count" in packets:
            packets = self._without(packets, packets["drop_count"] > 0)
        points = self._context.points
        for point in points[len(self._point_comments) :]:
            self._point_comments.append(self._context.comments.add(f"seen at {point.name}"))
        if "comment" in packets:
            for number in np.unique(packets["point"][packets["point"] >= 0]).tolist():
                text = self._context.comments.texts[self._point_comments[number]]
                self._context.add_comment(packets, packets["point"] == number, text)
        elif "point" in packets:
            packets["comment"] = np.array([*self._point_comments, -1], np.int32)[packets["point"]]
        if "drop_count" in packets:
            comment_drops(self._context, packets)
        chunk.packets = packets
        return chunk

    def _without(self, packets: PacketTable, dropped: NDArray[np.bool_]) -> PacketTable:
        """The packets but for those that exist only as drop reports."""
        count = int(np.count_nonzero(dropped))
        self._context.receipt.note("no-drops", "drop reports of packets not seen elsewhere were left out", count)
        return packets.take(~dropped) if count else packets

    def _of_component(self, packets: PacketTable) -> tuple[PacketTable, NDArray[np.uint8]]:
        """The rows of the wanted component and all drop reports (they may concern its packets), and the rows' kinds."""
        wanted = self._component or ""
        for point in self._context.points[len(self._in_component) :]:
            name = point.name.casefold()
            by_number = wanted.isdigit() and int(wanted) == point.component
            self._in_component.append(name == wanted or name.startswith(wanted + " ") or by_number)
        inside = np.array([*self._in_component, False], np.bool_)[packets["point"]]
        report = packets["drop_count"] > 0
        self._left_out(int(np.count_nonzero(~inside & ~report)))
        rows = inside | report
        kind = np.where(report, np.where(inside, _REPORT, _FOREIGN_REPORT), _FRAME)[rows].astype(np.uint8)
        return packets.take(rows), kind

    def _left_out(self, count: int) -> None:
        text = "other sightings of packets that are kept were left out (--appearances all keeps them)"
        self._context.receipt.note("sightings", text, count)

    def _choose(self, chunk: Chunk, kind: NDArray[np.uint8]) -> Chunk:
        """Judge the held and the new rows together and pass on those whose turn has come."""
        complete_to = chunk.complete_to
        rows = self._judge(chunk.packets, kind, complete_to)
        dropping = any(interface.tap in _DROPPING_TAPS for interface in self._context.interfaces)
        passed, settled_to = self._turn(rows, complete_to, dropping)
        overflow = self._overflow(rows, passed)
        if overflow is not None:
            self._layers.settle_all()
            rows.verdict[rows.packets["time"] <= overflow] = KEEP
            passed, settled_to = self._turn(rows, complete_to, dropping)
            passed = max(passed, int(np.searchsorted(rows.packets["time"], overflow, "right")))
            settled_to = max(settled_to, min(overflow + 1, END_OF_TIME))
        if rows.kind.any():
            rows, passed = self._resolve(chunk, rows, settled_to, passed)
        if not self._drops and "drop_count" in rows.packets:
            rows, passed = self._without_drop_frames(rows, passed)
        return self._release(chunk, rows, passed)

    def _judge(self, new: PacketTable, kind: NDArray[np.uint8], complete_to: int) -> _Judged:
        """The rows that may be kept, each with its verdict, in time order."""
        held = self._held.packets
        new_from = len(held)
        both = {name: _joined(held, new, name) for name in ("time", "stack", "direction", "rank")}
        decided = np.zeros(new_from + len(new), np.bool_)
        decided[:new_from] = self._held_verdict == KEEP
        kinds = np.concatenate([self._held_kind, kind]) if new_from else kind
        source = np.arange(len(kinds))
        time = both["time"]
        in_order = not bool((time[1:] < time[:-1]).any())
        if not in_order:
            source = np.argsort(time, kind="stable")
            both = {name: column[source] for name, column in both.items()}
            kinds, decided, time = kinds[source], decided[source], both["time"]
        rank, key = both["rank"], self._layers.keys(both["stack"], both["direction"])
        frame = kinds == _FRAME
        ranked = (key >= 0) & (rank != UNKNOWN_RANK) & frame
        fresh = ranked & (source >= new_from) if new_from else ranked
        some = slice(None) if fresh.all() else fresh
        self._layers.learn(key[some], rank[some], time[some])
        self._layers.settle(complete_to)
        self._ranks_known = self._ranks_known or bool(fresh.any())

        verdict = np.full(len(kinds), KEEP, np.uint8)
        by_layer = ranked & ~decided
        if "identity" in held or "identity" in new:
            identity = np.where(frame, _joined(held, new, "identity")[source], np.uint64(0))
            flags = _joined(held, new, "flags")[source]
            identity[(flags & np.uint32(Mark.DROP_ONLY)) != 0] = 0
            by_layer &= identity == 0
            appearance = _joined(held, new, "appearance")[source]
            score, decisive = self._score(key, rank, both["direction"], appearance, decided, ranked)
            deadline = _before(complete_to, WAIT)
            verdict, _ = keep_best(identity, score, decisive, time, deadline, self._recent)
            self._ids_seen = self._ids_seen or bool(identity.any())
            unplaced = frame & ~ranked & (identity == 0)
        else:
            unplaced = frame & ~ranked
        if by_layer.all():
            verdict = self._layers.verdicts(key, rank, time)
        elif by_layer.any():
            verdict[by_layer] = self._layers.verdicts(key[by_layer], rank[by_layer], time[by_layer])
        if unplaced.any():
            unplaced &= (source >= new_from) & (_joined(held, new, "point")[source] >= 0)
            text = "the trace tells neither ids nor layers of these: every sighting was kept"
            self._context.receipt.note("unplaced", text, int(np.count_nonzero(unplaced)))

        left_out = int(np.count_nonzero(verdict == LEAVE_OUT))
        self._left_out(left_out)
        if not new_from and not left_out and in_order:
            return _Judged(new, np.zeros(len(new), np.bool_), kinds, verdict)
        rows = np.flatnonzero(verdict != LEAVE_OUT)
        picked = source[rows]
        table = _pick(held, new, picked)
        return _Judged(table, picked < new_from, kinds[rows], verdict[rows])

    def _score(
        self,
        key: NDArray[np.int64],
        rank: NDArray[np.uint8],
        direction: NDArray[np.uint8],
        appearance: NDArray[np.uint16],
        decided: NDArray[np.bool_],
        ranked: NDArray[np.bool_],
    ) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """How far each sighting is from what is wanted (0 is best), and whether nothing better is to be expected.

        Where no component table tells ranks: the first sighting of a received packet is at the wire, the last of a
        sent one.
        """
        seen = appearance.astype(np.uint32)
        if self._appearances == "first":
            return seen, np.ones(len(seen), np.bool_)
        sent = direction == 2
        order = np.where(sent & (rank == UNKNOWN_RANK), np.uint32(0xFFFF) - seen, seen)
        score = rank.astype(np.uint32) << np.uint32(16) | order
        score[decided] = 0
        decisive = decided.copy()
        decisive |= ranked & self._layers.nearest(np.maximum(key, 0), rank)
        if not self._ranks_known:
            decisive |= (direction == 1) & (appearance == 1)
        return score, decisive

    def _turn(self, rows: _Judged, complete_to: int, dropping: bool) -> tuple[int, int]:
        """How many rows may pass, and the time (ns) before which everything is decided."""
        time = rows.packets["time"]
        waiting = np.flatnonzero(rows.verdict == HOLD)
        if complete_to == END_OF_TIME:
            return len(time), END_OF_TIME
        settled_to = min(complete_to, int(time[waiting[0]])) if len(waiting) else complete_to
        if dropping:
            return int(np.searchsorted(time, _before(settled_to, FRAME_AFTER + FRAME_BEFORE), "left")), settled_to
        return int(waiting[0]) if len(waiting) else len(time), settled_to

    @staticmethod
    def _overflow(rows: _Judged, passed: int) -> int | None:
        """The time up to which rows have to pass lest too much is held; None while it is not too much."""
        captured = rows.packets["captured"][passed:]
        if len(captured) <= MOST_ROWS and int(captured.sum(dtype=np.int64)) <= MOST_BYTES:
            return None
        behind = np.cumsum(captured[::-1], dtype=np.int64)
        fitting = min(int(np.searchsorted(behind, MOST_BYTES // 2, "right")), MOST_ROWS // 2)
        return int(rows.packets["time"][len(rows.packets) - 1 - fitting])

    def _resolve(self, chunk: Chunk, rows: _Judged, settled_to: int, passed: int) -> tuple[_Judged, int]:
        """Turn drop reports into marks of the frames they speak of, or into frames of their own."""
        time = rows.packets["time"]
        limit = _before(settled_to, FRAME_AFTER)
        ready = np.flatnonzero((rows.kind != _FRAME) & ((time < limit) | (np.arange(len(time)) < passed)))
        if not len(ready):
            return rows, passed
        frame = _near(np.flatnonzero((rows.kind == _FRAME) & (rows.verdict == KEEP)), ready, time)
        packets = rows.packets
        identity = packets["identity"]
        keys = self._keys(chunk, rows, np.concatenate([frame, ready]))
        frame_key, report_key = keys[: len(frame)], keys[len(frame) :]
        matched = match_reports(identity[frame], time[frame], identity[ready], time[ready])
        by_bytes = match_reports(frame_key, time[frame], report_key, time[ready])
        matched = np.where(matched >= 0, matched, by_bytes)
        hit = matched >= 0
        known_late = ~hit & self._was_passed_on(identity[ready])
        if hit.any():
            add_reports(packets, frame[matched[hit]], packets.take(ready[hit]))
        lone_frame = (packets["flags"][frame[matched[hit]]] & np.uint32(Mark.DROP_ONLY)) != 0
        self._note_reports(int(np.count_nonzero(~lone_frame)), int(np.count_nonzero(known_late)))

        gone = np.zeros(len(packets), np.bool_)
        gone[ready[hit | known_late | (rows.kind[ready] == _FOREIGN_REPORT)]] = True
        lone = np.flatnonzero(~gone[ready])
        if len(lone):
            group = group_reports(np.where(report_key != 0, report_key, identity[ready])[lone], time[ready[lone]])
            leads = group == np.arange(len(group))
            leaders, followers = ready[lone[leads]], ready[lone[~leads]]
            packets.writable("flags")[leaders] |= np.uint32(Mark.DROP_ONLY)
            rows.kind[leaders] = _FRAME
            if len(followers):
                add_reports(packets, ready[lone[group[~leads]]], packets.take(followers))
                gone[followers] = True
        stay = np.flatnonzero(~gone)
        return rows.take(stay), int(np.searchsorted(stay, passed, "left"))

    def _keys(self, chunk: Chunk, rows: _Judged, picked: NDArray[np.intp]) -> NDArray[np.uint64]:
        """What the bytes of the rows are recognised by."""
        links = np.array([interface.link_type for interface in self._context.interfaces], np.uint16)
        keys = np.zeros(len(picked), np.uint64)
        for held, buffer in ((False, chunk.buffer), (True, self._held.buffer)):
            at = np.flatnonzero(rows.from_held[picked] == held)
            if len(at):
                some = rows.packets.take(picked[at])
                link = links[some["interface"]]
                keys[at] = packet_keys(buffer, some["offset"], some["captured"], some["original"], link)
        return keys

    def _was_passed_on(self, identity: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether a packet with that id (0 is none) has already left this stage."""
        ids, back = np.unique(identity, return_inverse=True)
        zeros = np.zeros(len(ids), np.uint32)
        certain = np.ones(len(ids), np.bool_)
        verdict, _ = keep_best(ids, zeros, certain, np.zeros(len(ids), np.int64), 0, self._recent)
        passed_on: NDArray[np.bool_] = (verdict == LEAVE_OUT)[back.reshape(-1)]
        return passed_on

    def _note_reports(self, marked: int, late: int) -> None:
        note = self._context.receipt.note
        note("drops", "drop reports mark the frame of a packet that is kept", marked)
        note("late-drops", "drop reports came after their packet had been passed on and mark nothing", late)

    def _without_drop_frames(self, rows: _Judged, passed: int) -> tuple[_Judged, int]:
        """Leave out, of the rows that pass now, those that exist only as drop reports."""
        lone = (rows.packets["flags"] & np.uint32(Mark.DROP_ONLY)) != 0
        lone[passed:] = False
        count = int(np.count_nonzero(lone))
        if not count:
            return rows, passed
        text = "packets that exist only as drop reports were left out"
        self._context.receipt.note("no-drops", text, count)
        return rows.take(np.flatnonzero(~lone)), passed - count

    def _release(self, chunk: Chunk, rows: _Judged, passed: int) -> Chunk:
        """Pass on the first rows; hold the others."""
        packets = rows.packets
        complete_to = chunk.complete_to
        if passed < len(packets):
            complete_to = min(complete_to, int(packets["time"][passed]))
        out = self._held.release(chunk, packets, rows.from_held, passed, complete_to)
        self._held_kind, self._held_verdict = rows.kind[passed:].copy(), rows.verdict[passed:].copy()
        if "identity" in out.packets:
            self._recent.add(out.packets["identity"])
        if "drop_count" in out.packets:
            lone = np.count_nonzero(out.packets["flags"] & np.uint32(Mark.DROP_ONLY))
            self._context.receipt.note("drop-only", "packets that exist only as drop reports became frames", int(lone))
            comment_drops(self._context, out.packets)
        return out


def _before(time: int, span: int) -> int:
    """A time that much earlier; the end of time stays the end."""
    return time if time == END_OF_TIME else max(time - span, _FIRST_TIME)


def _joined(held: PacketTable, new: PacketTable, name: str) -> NDArray[Any]:
    """One column of the held rows and the new ones."""
    return np.concatenate([held[name], new[name]]) if len(held) else new[name]


def _pick(held: PacketTable, new: PacketTable, picked: NDArray[np.intp]) -> PacketTable:
    """The rows of both tables, one below the other, that are picked, in that order."""
    from_held = picked < len(held)
    if not from_held.any():
        return new.take(picked - len(held))
    kept, fresh = picked[from_held], picked[~from_held] - len(held)
    table = PacketTable.concat([held.take(kept), new.take(fresh)])
    place = np.empty(len(picked), np.intp)
    place[from_held] = np.arange(len(kept))
    place[~from_held] = len(kept) + np.arange(len(fresh))
    return table.take(place)


def _near(frame: NDArray[np.intp], report: NDArray[np.intp], time: NDArray[np.int64]) -> NDArray[np.intp]:
    """The frames so near in time to a report that it may speak of them; all in time order."""
    next_report = np.searchsorted(time[report], time[frame] - FRAME_AFTER, "left")
    inside = next_report < len(report)
    near = time[report[np.minimum(next_report, len(report) - 1)]] <= time[frame] + FRAME_BEFORE
    return frame[inside & near]
