"""Trace sessions as live sources, against a stand-in of event tracing: order, losses, stopping, and what is left."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import need_native_core
from etw_events import FakeEtw, FakeSession, wait_for
from etwcap.errors import EtwcapError, RightsError, UsageError, WindowsCallError
from etwcap.etl import build
from etwcap.native.ring import ETW_RECORD, Ring
from etwcap.packets import Chunk, Context, Description, Mark, linktypes
from etwcap.packets.chunk import END_OF_TIME
from etwcap.taps.etw_feed import SessionFeed
from etwcap.taps.etw_order import EVERYTHING, TickOrder
from etwcap.taps.etw_session import Enabled, EtwSession
from etwcap.taps.etw_source import EVENT_TRACE, LOST_EVENT, EtwRecordSource
from etwcap.taps.journal import SESSION, Journal
from etwcap.taps.protocol import Changes, TapLosses, TapOptions
from etwcap.windows.processes import ProcessIdentity

START = 1_700_000_000_000_000_000
PROVIDER = UUID("4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac")
OTHER = UUID("2ed6006e-4729-4609-b423-3ee7bcd678ef")
ME = ProcessIdentity(4711, 133_000_000_000_000_000)
NAME = "etwcap-4711-133000000000000000-pktmon"


@pytest.fixture(autouse=True)
def _native() -> None:
    need_native_core()


class Ticks:
    """A clock of 100 ns ticks that begins at START."""

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        return START + ticks * 100


class Memory:
    """A journal's store."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def names(self) -> list[str]:
        return list(self.files)

    def read(self, name: str, most: int) -> bytes:
        return self.files[name][:most]

    def write(self, name: str, data: bytes) -> None:
        self.files[name] = data

    def remove(self, name: str) -> None:
        self.files.pop(name, None)


class Bed:
    """A session of ours with a source behind it; time is the test's."""

    def __init__(self, *, options: TapOptions | None = None, own: bool = True, **feed: Any) -> None:
        self.etw = FakeEtw()
        self.told: list[str] = []
        self.journal = Journal(Memory(), ME)
        self.changes = Changes(lambda: self.journal, lambda: ME, self.told.append)
        self.context = Context()
        self.description = Description()
        self.ticks = 0
        if own:
            self.trace = EtwSession.start(self.etw, "pktmon", self.changes, alive=lambda _process: True)
        else:
            self.etw.start("theirs")
            self.trace = EtwSession.attach(self.etw, "theirs")
        self.session: FakeSession = self.etw.session()
        words = {"ring": 1 << 22, "flush_every": 0.0, "counter": lambda: self.ticks, **feed}
        self.feed = SessionFeed(self.trace, self.etw, **words)
        self.source = EtwRecordSource(
            self.feed, Ticks(), self.context, self.description, tap="pktmon", options=options or TapOptions(), latency=1
        )

    def write(self, *ticks: int, processor: int = 0, provider: UUID = PROVIDER, opcode: int = 0) -> None:
        """Events with these stamps, each with its stamp as its payload."""
        for each in ticks:
            payload = each.to_bytes(8, "little", signed=True)
            record = build.event_record(provider, 160, payload, time=each, opcode=opcode)
            self.etw.write(self.session, record, processor=processor)

    def deliver(self, *ticks: int) -> None:
        """Events with these stamps, which have come when this returns."""
        before = self.feed._receiver.counts().buffers
        self.write(*ticks)
        self.etw.hand_out(self.session)
        wait_for(lambda: self.feed._receiver.counts().buffers > before)

    def until(self, flow: Iterator[Chunk], what: Callable[[], bool]) -> list[tuple[int, bool]]:
        """Read until something holds; (stamp, late) of the rows."""
        found = []
        for chunk in flow:
            found += stamps(chunk)
            if what():
                break
        return found

    def __enter__(self) -> Bed:
        return self

    def __exit__(self, *_: object) -> None:
        self.etw.hang.set()
        self.source.close()


def stamps(chunk: Chunk) -> list[tuple[int, bool]]:
    """Stamp (by its payload) and mark ``late`` of each row, whose time, order and bytes are checked."""
    rows, found = chunk.packets, []
    assert (np.diff(rows["time"]) >= 0).all()
    for time, at, size, flags in zip(*(rows[name].tolist() for name in ("time", "offset", "captured", "flags")),
                                     strict=True):  # fmt: skip
        row = chunk.buffer[at : at + size].tobytes()
        stamp = int.from_bytes(row[-8:], "little", signed=True)
        assert time == START + 100 * stamp
        assert row[8 + 16 : 8 + 24] == row[-8:]
        found.append((stamp, bool(flags & Mark.LATE)))
    return found


def threads() -> int:
    return len([each for each in threading.enumerate() if each.name.startswith("etwcap")])


# ---- order ----


def test_events_of_all_processors_come_in_the_order_of_their_stamps() -> None:
    with Bed() as bed:
        for processor in range(4):
            bed.write(*range(processor, 4000, 4), processor=processor)
        bed.ticks = 10_000
        flow = bed.source.chunks()
        found = bed.until(flow, lambda: bed.source._complete == START + 1_000_000)
        assert found == [(each, False) for each in range(4000)]
        bed.source.stop()
        rest = list(flow)
        assert rest[-1].complete_to == END_OF_TIME
        assert all(stamps(each) == [] for each in rest)


def test_what_comes_after_a_flush_waits_for_the_next() -> None:
    with Bed() as bed:
        bed.write(10, 30)
        bed.ticks = 20  # the flush was at 20: an event of that time may still come from elsewhere
        flow = bed.source.chunks()
        found = bed.until(flow, lambda: bed.source._complete == START + 2000)
        assert found == [(10, False)]
        bed.write(25, processor=1)
        bed.ticks = 40
        found = bed.until(flow, lambda: bed.source._complete == START + 4000)
        assert found == [(25, False), (30, False)]


def test_old_stamps_at_the_start_stand_first() -> None:
    with Bed() as bed:
        bed.write(5000, 5001)
        bed.write(-70_000, -60_000, processor=3)
        bed.ticks = 6000
        found = bed.until(bed.source.chunks(), lambda: bed.source._complete == START + 600_000)
        assert [each for each, _ in found] == [-70_000, -60_000, 5000, 5001]


def test_an_event_that_comes_too_late_is_passed_on_at_once_with_its_own_time() -> None:
    with Bed() as bed:
        bed.write(10)
        bed.ticks = 100
        flow = bed.source.chunks()
        bed.until(flow, lambda: bed.source._complete == START + 10_000)
        bed.write(50, 150)
        seen: list[tuple[int, bool]] = []
        for chunk in flow:
            seen += stamps(chunk)
            if seen:
                break
        assert seen == [(50, True)]
        assert bed.context.receipt.notes["late"].count == 1
        bed.ticks = 200
        assert bed.until(flow, lambda: bed.source._complete == START + 20_000) == [(150, False)]


def test_after_events_that_came_too_late_more_is_waited_for() -> None:
    with Bed() as bed:
        flow = bed.source.chunks()
        bed.ticks = 2_000_000  # 0.2 s
        bed.until(flow, lambda: bed.source._complete == START + 200_000_000)
        bed.write(1_000_000)
        assert bed.until(flow, lambda: "late" in bed.context.receipt.notes) == [(1_000_000, True)]
        assert bed.source._lag == pytest.approx(0.2)
        bed.write(-(10**9))  # kept since long ago
        bed.until(flow, lambda: bed.context.receipt.notes["late"].count == 2)
        assert bed.source._lag == pytest.approx(0.2)
        bed.ticks = 4_000_000
        assert bed.until(flow, lambda: bed.source._complete == START + 400_000_000) == []


def test_a_quiet_session_says_how_far_the_time_has_gone() -> None:
    with Bed() as bed:
        flow = bed.source.chunks()
        for ticks in (50, 90):
            bed.ticks = ticks
            assert bed.until(flow, lambda ticks=ticks: bed.source._complete == START + 100 * ticks) == []  # type: ignore[misc]


def test_buffers_that_never_come_are_waited_for_a_while_and_then_reckoned_with() -> None:
    now = itertools.count()
    with Bed(now=lambda: next(now) / 100, patience=0.5) as bed:
        bed.session.written = 3  # counted by Windows, and nobody's
        bed.deliver(10)
        bed.ticks = 20
        flow = bed.source.chunks()
        assert bed.until(flow, lambda: bed.source._complete >= START + 2000) == [(10, False)]
        bed.ticks = 40
        bed.deliver(30)
        begun = next(now)
        assert bed.until(flow, lambda: bed.source._complete >= START + 4000) == [(30, False)]
        assert next(now) - begun < 50, "from then on without waiting"


def test_a_session_that_does_not_count_its_buffers_goes_by_time() -> None:
    now = itertools.count()
    with Bed(now=lambda: next(now) / 100, patience=0.5) as bed:
        bed.session.counted = False
        bed.deliver(1)
        flow, found = bed.source.chunks(), list[tuple[int, bool]]()
        for ticks in range(100, 100_000, 100):
            bed.ticks = ticks + 50
            bed.deliver(ticks)
            found += stamps(next(flow))
            if len(found) > 20:
                break
        assert found == [(1, False), *((100 * each, False) for each in range(1, len(found)))]


def test_a_busy_session_whose_buffers_cannot_be_counted_goes_by_its_newest_stamp() -> None:
    now = itertools.count()
    with Bed(now=lambda: next(now) / 100, patience=0.5) as bed:
        bed.session.written = 1000
        flow = bed.source.chunks()
        found: list[tuple[int, bool]] = []
        for ticks in range(100, 100_000, 100):
            bed.ticks = ticks + 50
            bed.deliver(ticks)
            found += stamps(next(flow))
            if len(found) > 20:
                break
        assert found[:20] == [(100 * each, False) for each in range(1, 21)]


def test_more_waiting_than_there_is_memory_for_goes_on_by_halves() -> None:
    order = TickOrder(most=1000)
    sent: list[tuple[int, bool]] = []
    for start in range(0, 1000, 100):
        ticks = np.arange(start, start + 100)
        order.add(np.zeros(400, np.uint8), ticks, np.zeros(100, np.int64), np.full(100, 4, np.uint32))
        order.settle(None)
        while (rows := order.following()) is not None:
            sent += zip(rows.ticks.tolist(), rows.late.tolist(), strict=True)
        assert order.held <= 1400
    assert order.forced > 0
    order.add(np.zeros(4, np.uint8), np.array([1]), np.zeros(1, np.int64), np.array([4], np.uint32))
    order.settle(EVERYTHING)
    rows = order.following()
    assert rows is not None
    sent += zip(rows.ticks.tolist(), rows.late.tolist(), strict=True)
    assert sent[: sent.index((1, True))] == [(each, False) for each in range(sent.index((1, True)))]
    assert sorted(sent) == sorted([(each, False) for each in range(1000)] + [(1, True)])
    assert order.held == 0


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 50), max_size=12), st.one_of(st.none(), st.integers(0, 60))), max_size=8)
)
def test_rows_go_out_once_with_their_bytes_sorted_between_promises(
    steps: list[tuple[list[int], int | None]],
) -> None:
    order = TickOrder()
    given_rows: list[tuple[int, bytes]] = []
    sent: list[tuple[int, bytes]] = []
    promised = -1
    for ticks, promise in [*steps, ([], EVERYTHING)]:
        data = [bytes([each, len(given_rows) + n]) * (1 + each % 3) for n, each in enumerate(ticks)]
        length = np.array([len(each) for each in data], np.uint32)
        buffer = np.frombuffer(b"".join(data), np.uint8)
        order.add(buffer, np.array(ticks, np.int64), np.cumsum(length, dtype=np.int64) - length, length)
        given_rows += zip(ticks, data, strict=True)
        order.settle(promise)
        before, promised = promised, max(promised, -1 if promise is None else promise)
        out: list[tuple[int, bytes]] = []
        while (rows := order.following()) is not None:
            for tick, at, size, late in zip(rows.ticks.tolist(), rows.offset.tolist(), rows.length.tolist(),
                                            rows.late.tolist(), strict=True):  # fmt: skip
                assert late == (tick < before)
                assert tick < promised
                out.append((tick, rows.buffer[at : at + size].tobytes()))
        assert [tick for tick, _ in out] == sorted(tick for tick, _ in out)
        sent += out
    assert sorted(sent) == sorted(given_rows)
    assert order.held == 0


def test_rows_of_equal_stamps_stay_in_the_order_in_which_they_came() -> None:
    order = TickOrder()
    for number in range(3):
        buffer = np.array([2 * number, 2 * number + 1], np.uint8)
        order.add(buffer, np.array([7, 7]), np.array([0, 1]), np.ones(2, np.uint32))
    order.settle(EVERYTHING)
    rows = order.following()
    assert rows is not None
    assert [rows.buffer[at] for at in rows.offset.tolist()] == list(range(6))


# ---- losses ----


def test_losses_are_counted_by_where_they_were() -> None:
    with Bed(ring=1 << 12) as bed:
        bed.write(*range(100))
        wait_for(lambda: bed.feed.tend() is not None and not bed.session.ready)
        bed.session.lost, bed.session.buffers_lost = 7, 2
        found = list(itertools.chain.from_iterable(map(stamps, take(bed.source, lambda: True))))
        losses = bed.source.losses()
        assert losses.ring > 0
        assert len(found) + losses.ring == 100
        assert (losses.mechanism, losses.buffers) == (7, 2)
        described = bed.source.describe().losses
        assert (described.events, described.buffers) == (losses.ring + 7, 2)
    assert bed.source.losses() == losses, "which stay known"


def take(source: EtwRecordSource, when: Callable[[], bool]) -> list[Chunk]:
    """All chunks, copied; the source is stopped at the first one for which ``when`` holds."""
    found = []
    for chunk in source.chunks():
        found.append(Chunk(chunk.buffer.copy(), chunk.packets, chunk.events, chunk.complete_to))
        if when():
            source.stop()
    return found


def test_what_a_session_had_lost_before_we_came_is_not_ours() -> None:
    with Bed(own=False) as bed:
        assert bed.source.losses() == TapLosses(mechanism=0)
    etw = FakeEtw()
    etw.start("theirs")
    etw.session().lost = 50
    feed = SessionFeed(EtwSession.attach(etw, "theirs"), etw, ring=1 << 16, counter=lambda: 0, flush_every=0.0)
    etw.session().lost = 53
    feed.tend()
    assert feed.losses().mechanism == 3
    feed.close()


def test_marks_of_lost_events_are_counted_and_no_event() -> None:
    with Bed() as bed:
        bed.write(10)
        bed.write(11, provider=LOST_EVENT, opcode=32)
        bed.write(12, provider=LOST_EVENT, opcode=33)
        bed.write(1, provider=EVENT_TRACE, opcode=0)
        found = list(itertools.chain.from_iterable(map(stamps, take(bed.source, lambda: True))))
        assert found == [(10, False)]
        note = bed.context.receipt.notes["lost-marks"]
        assert note.count == 2
        assert str(START + 1100) in note.text


# ---- the end ----


def test_what_was_written_before_the_stop_comes_and_the_session_is_gone() -> None:
    with Bed() as bed:
        bed.trace.enable(Enabled(PROVIDER, any_keyword=0x12, event_ids=(160,)))
        bed.write(*range(500))
        found = take(bed.source, lambda: True)
        assert [stamp for each in found for stamp, _ in stamps(each)] == list(range(500))
        assert bed.etw.known == {}
        assert bed.journal.entries == ()
        assert bed.etw.calls == [f"start {NAME}", f"enable {PROVIDER}", f"disable {PROVIDER}", f"stop {NAME}", "close"]
        assert "session-ended" not in bed.context.receipt.notes


def test_a_reading_that_lingers_after_the_stop_is_closed_when_all_was_read() -> None:
    with Bed(join=300.0) as bed:  # of which half would pass where it is not noticed
        bed.etw.lingers = True
        bed.write(*range(50))
        found = take(bed.source, lambda: True)
        assert [stamp for each in found for stamp, _ in stamps(each)] == list(range(50))
        assert "receiver-hangs" not in bed.context.receipt.notes


def test_stopping_in_the_middle_of_traffic_ends_and_keeps_what_came() -> None:
    with Bed() as bed:
        done = threading.Event()

        def traffic() -> None:
            for number in itertools.count():
                if done.is_set() or not bed.session.running:
                    return
                bed.ticks = number
                bed.write(number)

        thread = threading.Thread(target=traffic)
        thread.start()
        read = itertools.count()
        found = take(bed.source, lambda: next(read) > 20)
        done.set()
        thread.join()
        got = [stamp for each in found for stamp, _ in stamps(each)]
        assert got == list(range(len(got)))
        assert len(got) > 0
        assert found[-1].complete_to == END_OF_TIME


def test_what_is_done_at_the_stop_comes_before_the_end_and_its_events_are_read() -> None:
    done: list[str] = []
    with Bed() as bed:
        bed.source.at_stop(lambda: done.append("components told") or bed.write(900))  # type: ignore[func-returns-value]
        bed.source.at_stop(lambda: done.append("driver stopped"))
        bed.source.at_close(lambda: done.append("first change undone"))
        bed.source.at_close(lambda: done.append("second change undone"))
        found = [stamp for each in take(bed.source, lambda: True) for stamp, _ in stamps(each)]
        assert found == [900]
        assert done == ["driver stopped", "components told"]
        bed.source.close()
        bed.source.close()
    assert done[2:] == ["second change undone", "first change undone"]


def test_closing_without_reading_puts_everything_back() -> None:
    done: list[str] = []
    with Bed() as bed:
        bed.source.at_close(lambda: done.append("undone"))
        bed.source.at_stop(lambda: done.append("stopped"))
    assert done == ["stopped", "undone"]
    assert bed.etw.known == {}
    assert bed.journal.entries == ()
    assert threads() == 0


def test_what_cannot_be_undone_is_said_and_keeps_nothing_else_from_being_undone() -> None:
    done: list[str] = []

    def fails() -> None:
        raise EtwcapError("the driver does not stop")

    with Bed() as bed:
        bed.source.at_close(lambda: done.append("undone"))
        bed.source.at_close(fails)
        bed.source.at_stop(fails)
        take(bed.source, lambda: True)
    assert done == ["undone"]
    assert bed.context.receipt.notes["not-put-back"].count == 2
    assert bed.etw.known == {}


def test_a_reading_that_does_not_end_is_left_to_itself_and_said() -> None:
    with Bed(join=0.05) as bed:
        bed.etw.hang.clear()
        bed.write(1, 2)
        found = take(bed.source, lambda: True)
        assert [stamp for each in found for stamp, _ in stamps(each)] == [1, 2]
        assert "receiver-hangs" in bed.context.receipt.notes
        bed.source.close()
        assert bed.etw.known == {}
        assert bed.journal.entries == ()
        bed.etw.hang.set()
    wait_for(lambda: threads() == 0)


def test_a_session_that_somebody_else_ends_ends_the_capture() -> None:
    with Bed() as bed:
        bed.write(1)
        bed.etw.control(NAME, 1)
        found = [stamp for each in bed.source.chunks() for stamp, _ in stamps(each)]
        assert found == [1]
        assert "session-ended" in bed.context.receipt.notes
    assert bed.journal.entries == ()


def test_somebody_elses_session_is_read_and_left_as_it_was() -> None:
    with Bed(own=False) as bed:
        with pytest.raises(ValueError, match="somebody else's"):
            bed.trace.enable(Enabled(PROVIDER))
        bed.write(1, 2, 3)
        found = [stamp for each in take(bed.source, lambda: True) for stamp, _ in stamps(each)]
        assert found == [1, 2, 3]
    assert list(bed.etw.known) == ["theirs"]
    assert bed.etw.calls == ["start theirs", "close"]


def test_many_starts_and_stops_leave_nothing() -> None:
    for _ in range(150):
        with Bed() as bed:
            bed.write(1)
            assert len(take(bed.source, lambda: True)) >= 1
    assert threads() == 0


# ---- what comes before ----


def test_reading_ahead_gives_a_providers_events_and_leaves_them_in_the_stream() -> None:
    with Bed() as bed:
        bed.write(1, 3)
        bed.write(2, provider=OTHER)
        found = bed.source.read_ahead(5, PROVIDER)
        assert found == [(160, (1).to_bytes(8, "little")), (160, (3).to_bytes(8, "little"))]
        assert [stamp for each in take(bed.source, lambda: True) for stamp, _ in stamps(each)] == [1, 2, 3]


def test_reading_ahead_ends_when_its_time_is_over() -> None:
    with Bed() as bed:
        bed.write(2, provider=OTHER)
        assert bed.source.read_ahead(0.05, PROVIDER) == []


def test_what_is_put_first_stands_before_everything() -> None:
    with Bed() as bed:
        bed.source.put_first(
            [build.event_record(PROVIDER, 20, b"component", time=0), build.event_record(PROVIDER, 30, b"", time=5)]
        )
        bed.write(1)
        flow = bed.source.chunks()
        first = next(flow)
        rows = first.packets
        made = [first.buffer[at : at + size].tobytes() for at, size in
                zip(rows["offset"].tolist(), rows["captured"].tolist(), strict=True)]  # fmt: skip
        assert made == [bytes(8) + build.event_record(PROVIDER, 20, b"component", time=0),
                        bytes(8) + build.event_record(PROVIDER, 30, b"", time=5)]  # fmt: skip
        assert rows["time"].tolist() == [0, START + 500]
        bed.source.stop()
        assert [stamp for each in flow for stamp, _ in stamps(each)] == [1]


def test_records_for_a_pipe_are_on_an_interface_of_their_own() -> None:
    with Bed(options=TapOptions(records=True)) as bed:
        (interface,) = bed.context.interfaces
        assert (interface.link_type, interface.tap) == (linktypes.ETW, "pktmon")
    with Bed() as bed:
        assert len(bed.context.interfaces) == 0


def test_other_kinds_of_records_and_short_ones_are_passed_over() -> None:
    class Other:
        ring = Ring(1 << 16)

        def tend(self) -> int | None:
            return None

        def stop(self) -> bool:
            self.ring.end()
            return True

        def losses(self) -> TapLosses:
            return TapLosses()

        def close(self) -> None:
            self.ring.close()

    feed = Other()
    source = EtwRecordSource(feed, Ticks(), Context(), Description(), tap="x", options=TapOptions(), latency=1)
    whole = bytes(8) + build.event_record(PROVIDER, 1, (3).to_bytes(8, "little"), time=3)
    feed.ring.put(9, 1, whole)
    feed.ring.put(ETW_RECORD, 2, whole[:87])
    feed.ring.put(ETW_RECORD, 3, whole)
    assert [stamp for each in take(source, lambda: True) for stamp, _ in stamps(each)] == [3]
    source.close()


# ---- sessions ----


def changes(journal: Journal, told: list[str] | None = None) -> Changes:
    return Changes(lambda: journal, lambda: ME, (told if told is not None else []).append)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (5, RightsError, "access denied"),
        (183, WindowsCallError, "it exists already"),
        (1450, WindowsCallError, "too many trace sessions"),
    ],
)
def test_a_session_that_cannot_be_started_says_why_and_leaves_no_entry(
    code: int, kind: type[EtwcapError], says: str
) -> None:
    etw, journal = FakeEtw(), Journal(Memory(), ME)
    etw.code = code
    with pytest.raises(kind, match=says) as error:
        EtwSession.start(etw, "pktmon", changes(journal), alive=lambda _process: True)
    assert error.value.hint
    assert journal.entries == ()


def test_a_session_stands_in_the_journal_before_it_is_there() -> None:
    store = Memory()
    journal = Journal(store, ME)

    class Looking(FakeEtw):
        def start(self, name: str, **sizes: Any) -> Any:
            assert [(each.kind, each.name) for each in journal.entries] == [(SESSION, name)]
            assert store.files
            return super().start(name, **sizes)

    etw = Looking()
    session = EtwSession.start(etw, "pktmon", changes(journal), alive=lambda _process: True)
    session.stop()
    session.stop()
    assert journal.entries == ()
    assert etw.known == {}


def test_sessions_that_a_crash_left_are_ended_and_told_and_no_others() -> None:
    etw, told = FakeEtw(), list[str]()
    for name in ("etwcap-1-1-pktmon", "etwcap-2-2", "NT Kernel Logger", "etwcap-x"):
        etw.start(name)
    alive = {2}
    session = EtwSession.start(
        etw, "wfp", changes(Journal(Memory(), ME), told), alive=lambda process: process.pid in alive
    )
    assert list(etw.known) == ["etwcap-2-2", "NT Kernel Logger", "etwcap-x", session.name]
    assert len(told) == 1
    assert "etwcap-1-1-pktmon" in told[0]


def test_a_session_that_cannot_be_stopped_stays_in_the_journal_until_it_can() -> None:
    etw, journal = FakeEtw(), Journal(Memory(), ME)
    session = EtwSession.start(etw, "pktmon", changes(journal), alive=lambda _process: True)
    etw.stop_fails = True
    with pytest.raises(RightsError):
        session.stop()
    assert [each.name for each in journal.entries] == [session.name]
    etw.stop_fails = False
    session.stop()
    assert journal.entries == ()
    assert etw.known == {}


def test_a_session_that_is_not_there_cannot_be_read() -> None:
    with pytest.raises(WindowsCallError, match="no such trace session"):
        EtwSession.attach(FakeEtw(), "theirs")


def test_a_session_that_cannot_be_opened_leaves_no_thread_and_can_still_be_stopped() -> None:
    class Closed(FakeEtw):
        def open(self, logfile: Any) -> int:
            raise RightsError("no")

    etw, journal = Closed(), Journal(Memory(), ME)
    session = EtwSession.start(etw, "pktmon", changes(journal), alive=lambda _process: True)
    with pytest.raises(RightsError):
        SessionFeed(session, etw, ring=1 << 16, counter=lambda: 0)
    assert threads() == 0
    session.stop()
    assert etw.known == {}


def test_a_ring_that_cannot_be_is_refused() -> None:
    etw = FakeEtw()
    etw.start("theirs")
    with pytest.raises((ValueError, UsageError)):
        SessionFeed(EtwSession.attach(etw, "theirs"), etw, ring=1000, counter=lambda: 0)


def test_a_fault_of_ours_at_the_stop_is_raised_and_everything_is_put_back_all_the_same() -> None:
    def faulty() -> None:
        raise ZeroDivisionError

    with Bed() as bed:
        bed.source.at_stop(faulty)
        with pytest.raises(ZeroDivisionError):
            take(bed.source, lambda: True)
    assert bed.etw.known == {}
    assert bed.journal.entries == ()
    assert threads() == 0
