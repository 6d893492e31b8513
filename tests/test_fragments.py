"""Packets that lie in several events come out whole, in order, once; what is not whole is counted."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from etwcap.packets import Context, Mark, PacketTable
from etwcap.packets.annex import Annex
from etwcap.packets.backlog import Backlog
from etwcap.packets.chunk import END_OF_TIME
from etwcap.providers import fragments
from etwcap.providers import ndiscap_build as build
from etwcap.providers.base import TraceFacts
from etwcap.providers.ndiscap import NdisCapProvider
from etwcap.providers.ndiscap_layout import EventId, Keyword
from event_feed import START, Feed, chunk, facts, frames


def add_parts(
    feed: Feed,
    frame: bytes,
    sizes: list[int],
    *,
    time: int = 0,
    processor: int = 0,
    miniport: int = 8,
    sent: bool = True,
    first: bool = True,
    last: bool = True,
    truncated: bool = False,
) -> None:
    """The frame in parts of those sizes, 1 ns apart."""
    cuts = [0, *np.cumsum(sizes).tolist()]
    for number, (start, end) in enumerate(itertools.pairwise(cuts)):
        keyword = build.packet_keyword(
            sent=sent,
            start=first and number == 0,
            end=last and number == len(sizes) - 1,
            truncated=truncated and number == len(sizes) - 1,
        )
        payload = build.build_packet_event(frame[start:end], miniport=miniport, trailer=False)
        feed.add(EventId.PACKET_FRAGMENT, payload, time=time + number, keyword=keyword, processor=processor)


def run(provider: NdisCapProvider, known: TraceFacts, feed: Feed) -> tuple[NDArray[np.uint8], PacketTable]:
    """What the source does with one chunk."""
    buffer, records = feed.buffer, feed.records
    is_packet = provider.packet_rows(records)
    packets, index = provider.decode(buffer, records[is_packet])
    assert (np.diff(index) >= 0).all()
    laid = known.annex.lay_out(chunk(buffer, packets))
    return laid.buffer, laid.packets


def notes(context: Context) -> dict[str, int]:
    return {kind: note.count for kind, note in context.receipt.notes.items()}


def test_parts_become_one_packet_with_the_time_of_the_first(backend: str) -> None:
    feed, known, context = Feed(), facts(), Context()
    frame = bytes(range(200))
    add_parts(feed, frame, [14, 0, 86, 100], time=50)
    buffer, packets = run(NdisCapProvider(context, known), known, feed)
    assert frames(chunk(buffer, packets)) == [frame]
    assert packets["time"].tolist() == [START + 50]
    assert packets["original"].tolist() == [200]
    assert notes(context) == {"fragments": 1}
    assert context.interfaces[0].reports == 1


def test_parts_of_processors_and_adapters_do_not_mix(backend: str) -> None:
    feed, known, context = Feed(), facts(), Context()
    given_frames = [bytes([number]) * 40 for number in range(6)]
    pending = []
    for number, frame in enumerate(given_frames):
        mine = Feed()
        add_parts(mine, frame, [10, 10, 20], processor=number % 3, miniport=8 + number // 3)
        pending.append(mine)
    for part in range(3):
        for mine in pending:
            row = mine.rows[part]
            payload = bytes(mine.data[row[1] + row[11] : row[1] + row[10]])
            feed.add(EventId.PACKET_FRAGMENT, payload, time=len(feed.rows), keyword=row[3], processor=row[12])
    buffer, packets = run(NdisCapProvider(context, known), known, feed)
    assert frames(chunk(buffer, packets)) == given_frames
    assert packets["time"].tolist() == [START + number for number in range(6)]


def test_whole_packets_keep_their_place_among_joined_ones(backend: str) -> None:
    feed, known = Feed(), facts()
    add_parts(feed, b"a" * 60, [60], time=0)
    add_parts(feed, b"b" * 60, [20, 40], time=10, processor=1)
    add_parts(feed, b"c" * 60, [60], time=20)
    buffer, packets = run(NdisCapProvider(Context(), known), known, feed)
    assert [frame[:1] for frame in frames(chunk(buffer, packets))] == [b"a", b"b", b"c"]


def test_a_new_start_throws_the_unfinished_packet_away(backend: str) -> None:
    feed, known, context = Feed(), facts(), Context()
    add_parts(feed, b"a" * 60, [20, 40], last=False)
    add_parts(feed, b"b" * 60, [20, 40], time=10)
    buffer, packets = run(NdisCapProvider(context, known), known, feed)
    assert frames(chunk(buffer, packets)) == [b"b" * 60]
    assert notes(context) == {"fragments-unfinished": 1, "fragments": 1}


def test_parts_without_a_first_one_are_left_out(backend: str) -> None:
    feed, known, context = Feed(), facts(), Context()
    add_parts(feed, b"a" * 60, [20, 40], first=False)
    add_parts(feed, b"b" * 60, [20, 40], time=10)
    add_parts(feed, b"c" * 60, [20, 40], time=20, first=False)
    buffer, packets = run(NdisCapProvider(context, known), known, feed)
    assert frames(chunk(buffer, packets)) == [b"b" * 60]
    assert notes(context)["fragments-without-first"] == 4


def test_a_cut_last_part_marks_the_packet(backend: str) -> None:
    feed, known = Feed(), facts()
    add_parts(feed, b"a" * 60, [20, 40], truncated=True)
    _, packets = run(NdisCapProvider(Context(), known), known, feed)
    assert packets["flags"][0] & Mark.TRUNCATED


def test_a_packet_goes_on_in_later_chunks(backend: str) -> None:
    known, context = facts(), Context()
    provider, backlog = NdisCapProvider(context, known), Backlog()
    frame = random.Random(1).randbytes(90)
    got: list[bytes] = []
    times: list[int] = []
    pieces = Feed()
    add_parts(pieces, frame, [30, 30, 30], time=5)
    for number in range(3):
        feed = Feed()
        row = pieces.rows[number]
        payload = bytes(pieces.data[row[1] + row[11] : row[1] + row[10]])
        feed.add(EventId.PACKET_FRAGMENT, payload, time=5 + 10 * number, keyword=row[3])
        add_parts(feed, bytes([number]) * 60, [60], time=6 + 10 * number, processor=1)
        buffer, packets = run(provider, known, feed)
        passed = backlog.pass_on(chunk(buffer, packets, START + 6 + 10 * number), known.annex.since)
        assert passed.complete_to == (START + 5 if number < 2 else START + 26)
        got += frames(passed)
        times += passed.packets["time"].tolist()
    assert got == [frame, b"\0" * 60, b"\1" * 60, b"\2" * 60]
    assert times == sorted(times)
    assert known.annex.since == END_OF_TIME


def test_what_never_ends_is_given_up_after_a_second_and_holds_nothing_back(backend: str) -> None:
    known, context = facts(), Context()
    provider = NdisCapProvider(context, known)
    feed = Feed()
    add_parts(feed, b"a" * 60, [60], last=False)
    run(provider, known, feed)
    assert known.annex.since == START
    later = Feed()
    add_parts(later, b"b" * 60, [60], time=fragments.MOST_TIME + 1, processor=1)
    run(provider, known, later)
    assert known.annex.since == END_OF_TIME
    assert notes(context) == {"fragments-unfinished": 1}


def test_unfinished_packets_take_bounded_memory_and_the_oldest_go(
    monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr(fragments, "MOST_BYTES", 100)
    known, context = facts(), Context()
    provider = NdisCapProvider(context, known)
    feed = Feed()
    for processor in range(5):
        add_parts(feed, bytes([processor]) * 60, [40], time=processor, processor=processor, last=False)
    run(provider, known, feed)
    assert notes(context) == {"fragments-unfinished": 3}
    ends = Feed()
    for processor in range(5):
        add_parts(ends, b"e" * 20, [20], time=10 + processor, processor=processor, first=False)
    buffer, packets = run(provider, known, ends)
    assert frames(chunk(buffer, packets)) == [bytes([number]) * 40 + b"e" * 20 for number in (3, 4)]


def test_a_packet_longer_than_readers_take_is_cut_and_keeps_its_length(backend: str) -> None:
    feed, known, context = Feed(), facts(), Context()
    add_parts(feed, bytes(300_000), [60_000] * 5)
    _, packets = run(NdisCapProvider(context, known), known, feed)
    assert packets["captured"].tolist() == [262_144]
    assert packets["original"].tolist() == [300_000]
    assert notes(context) == {"fragments": 1, "fragments-cut": 1}


def test_what_is_unfinished_at_the_end_is_said(backend: str) -> None:
    known, context = facts(), Context()
    provider = NdisCapProvider(context, known)
    feed = Feed()
    add_parts(feed, b"a" * 60, [60], last=False)
    run(provider, known, feed)
    provider.finish()
    assert notes(context) == {"fragments-unfinished": 1}
    assert known.annex.since == END_OF_TIME


def test_backlog_lets_rows_pass_when_too_much_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etwcap.packets.backlog.MOST_ROWS", 3)
    backlog = Backlog()
    buffer = np.arange(10, dtype=np.uint8)
    packets = PacketTable(5, time=np.arange(5), offset=np.arange(5), captured=np.ones(5, np.uint32))
    assert len(backlog.pass_on(chunk(buffer, packets.take(slice(0, 3))), 0).packets) == 0
    assert frames(backlog.pass_on(chunk(buffer, packets.take(slice(3, 5))), 0)) == [bytes([n]) for n in range(5)]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, bool, bool, bytes]]:
    """Parts in time order: key, first, last, bytes."""
    return draw(
        st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.booleans(), st.binary(max_size=5)), max_size=30)
    )


@given(histories(), st.lists(st.integers(0, 30), max_size=4))
def test_parts_join_as_a_plain_state_machine_says(
    history: list[tuple[int, bool, bool, bytes]], cuts: list[int]
) -> None:
    context, annex = Context(), Annex()
    joiner = fragments.Fragments(context, annex, room=3)
    got: list[tuple[int, bytes]] = []
    edges = sorted({0, len(history), *(cut for cut in cuts if cut <= len(history))})
    for begin, end in itertools.pairwise(edges):
        part = history[begin:end]
        buffer = np.frombuffer(b"".join(item[3] for item in part), np.uint8)
        sizes = np.array([len(item[3]) for item in part], np.uint32)
        rows = PacketTable(len(part), time=np.arange(begin, end), captured=sizes)
        rows["offset"] = np.cumsum(sizes, dtype=np.int64) - sizes
        joined, _, _ = joiner.join(
            buffer,
            rows,
            np.array([item[0] for item in part], np.uint64),
            np.array([item[1] for item in part], np.bool_),
            np.array([item[2] for item in part], np.bool_),
            end,
        )
        laid = annex.lay_out(chunk(buffer, joined))
        got += zip(laid.packets["time"].tolist(), frames(laid), strict=True)
    joiner.give_up()

    wanted: list[tuple[int, bytes]] = []
    kept: dict[int, tuple[int, bytes]] = {}
    lone = unfinished = 0
    for time, (key, first, last, data) in enumerate(history):
        if first:
            unfinished += key in kept
            kept[key] = (time, b"")
        if key not in kept:
            lone += 1
            continue
        kept[key] = (kept[key][0], kept[key][1] + data)
        if last:
            wanted.append(kept.pop(key))
    unfinished += len(kept)
    assert sorted(got) == sorted(wanted)
    assert notes(context).get("fragments-without-first", 0) == lone
    assert notes(context).get("fragments-unfinished", 0) == unfinished


@given(
    st.lists(st.tuples(st.sampled_from([1001, 1002, 1003]), st.binary(max_size=90), st.integers(0, 2**34)), max_size=12)
)
def test_any_bytes_and_keywords_give_rows_inside_the_buffer(events: list[tuple[int, bytes, int]]) -> None:
    feed, known, context = Feed(), facts(), Context()
    for event, payload, keyword in events:
        feed.add(event, payload, keyword=keyword | Keyword.NATIVE_802_11)
    provider = NdisCapProvider(context, known)
    for _ in range(2):
        buffer, packets = run(provider, known, feed)
        assert (packets["offset"] >= 0).all()
        assert (packets["offset"] + packets["captured"] <= buffer.size).all()
        assert (packets["interface"] < max(1, len(context.interfaces))).all()
    provider.finish()
