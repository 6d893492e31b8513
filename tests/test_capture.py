"""The run of a capture, with sources that stand in for taps; on any system."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import etwcap
from etwcap.errors import EtwcapError, OutputError, UsageError
from etwcap.filters.compiled import Filter
from etwcap.packets import Chunk, Context, Description, EventTable, Interface, PacketTable, linktypes
from etwcap.pipeline.capture import CaptureOptions, CountingSink, Progress, capture
from etwcap.sinks.pieces import Rotation

SECOND = 1_000_000_000
START = 1_705_526_400 * SECOND


class FakeTap:
    """A source that gives one packet a chunk, one second of capture time apart, until it is stopped (or for ever)."""

    def __init__(self, context: Context, *, limit: int = 1 << 30, fails_at: int = -1) -> None:
        self._context = context
        self._number = context.interfaces.add(Interface(1, "Ethernet"))
        self._description = Description(capture_application="test")
        self._limit = limit
        self._fails_at = fails_at
        self.stopped = threading.Event()
        self.closed = False
        self.given = 0

    def describe(self) -> Description:
        return self._description

    def progress(self) -> tuple[int, int]:
        return 0, 0

    def stop(self) -> None:
        self.stopped.set()

    def close(self) -> None:
        self.closed = True

    def chunks(self) -> Iterator[Chunk]:
        while not self.stopped.is_set() and self.given < self._limit:
            if self.given == self._fails_at:
                raise EtwcapError("the tap is gone", cause="its adapter was removed")
            time = START + self.given * SECOND
            packets = PacketTable(
                1,
                time=np.array([time]),
                interface=np.array([self._number]),
                offset=np.array([0]),
                captured=np.array([60 + self.given]),
                original=np.array([60 + self.given]),
            )
            self.given += 1
            yield Chunk(np.zeros(2000, np.uint8), packets, EventTable(0), time)
        if self.stopped.is_set():
            yield Chunk(np.zeros(1, np.uint8), PacketTable(0), EventTable(0), START + self.given * SECOND)


def lengths(path: Path) -> list[int]:
    with etwcap.open(path) as trace:
        return [len(packet.data) for packet in trace]


@pytest.fixture
def context() -> Context:
    return Context()


@pytest.fixture
def tap(context: Context) -> FakeTap:
    return FakeTap(context)


@pytest.mark.parametrize("suffix", ["pcapng", "pcap"])
def test_a_count_ends_a_capture(context: Context, tap: FakeTap, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    outcome = capture(tap, context, path, CaptureOptions(count=3))
    assert (outcome.exit_code, outcome.output, outcome.format) == (0, path, suffix)
    assert lengths(path) == [60, 61, 62]
    assert tap.closed
    assert tap.stopped.is_set()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_was_done_names_the_interfaces(context: Context, tap: FakeTap, tmp_path: Path) -> None:
    context.interfaces.add(Interface(linktypes.ETW, "records that become packets", tap="pktmon"))
    facts = capture(tap, context, tmp_path / "x.pcapng", CaptureOptions(count=1)).as_dict()
    assert [(each["name"], each["link_type"]) for each in facts["interfaces"]] == [("Ethernet", 1)]


def test_a_packet_that_is_waited_for_ends_it(context: Context, tap: FakeTap, tmp_path: Path) -> None:
    capture(tap, context, tmp_path / "x.pcapng", CaptureOptions(stop_when="len == 65", filter="len >= 63"))
    assert lengths(tmp_path / "x.pcapng") == [63, 64, 65]


def test_a_stop_from_elsewhere_ends_it_with_all_that_was_taken(context: Context, tap: FakeTap, tmp_path: Path) -> None:
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if progress.packets == 5:
            tap.stop()

    outcome = capture(tap, context, tmp_path / "x.pcapng", watch=watch)
    assert outcome.exit_code == 0
    assert len(lengths(tmp_path / "x.pcapng")) == 5 == outcome.receipt.packets_written
    assert [each.packets for each in seen] == [1, 2, 3, 4, 5, 5]


def test_a_duration_ends_it(context: Context, tap: FakeTap, tmp_path: Path) -> None:
    outcome = capture(tap, context, tmp_path / "x.pcapng", CaptureOptions(duration=1))
    assert outcome.exit_code == 0
    assert 1 <= len(lengths(tmp_path / "x.pcapng")) == tap.given


def test_the_file_can_be_read_while_it_grows(context: Context, tap: FakeTap, tmp_path: Path) -> None:
    read: list[int] = []
    watch = lambda progress: read.append(len(lengths(tmp_path / "x.part.pcapng")))  # noqa: E731
    capture(tap, context, tmp_path / "x.pcapng", CaptureOptions(count=3), watch=watch)
    assert read == [1, 2, 3]


def test_what_was_captured_is_kept_when_the_tap_fails(context: Context, tmp_path: Path) -> None:
    tap = FakeTap(context, fails_at=2)
    with pytest.raises(EtwcapError, match="the tap is gone"):
        capture(tap, context, tmp_path / "x.pcapng")
    assert len(lengths(tmp_path / "x.pcapng")) == 2
    assert tap.closed


def test_what_was_captured_is_kept_when_the_output_fails(context: Context, tap: FakeTap, tmp_path: Path) -> None:
    template = str(tmp_path / "same-%M.pcapng")
    with pytest.raises((UsageError, OutputError)):
        capture(tap, context, template, CaptureOptions(rotation=Rotation(period=7 * SECOND)))
    assert len(lengths(tmp_path / "same-20.pcapng")) == 7


def test_an_interrupt_is_passed_on_with_the_file_whole(context: Context, tap: FakeTap, tmp_path: Path) -> None:
    def watch(progress: Progress) -> None:
        if progress.packets == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(tap, context, tmp_path / "x.pcapng", watch=watch)
    assert len(lengths(tmp_path / "x.pcapng")) == 4


def test_pieces_are_whole_one_after_the_other(context: Context, tap: FakeTap, tmp_path: Path) -> None:
    options = CaptureOptions(count=5, rotation=Rotation(period=2 * SECOND))
    outcome = capture(tap, context, str(tmp_path / "%S.pcapng"), options)
    assert [Path(name).name for name in outcome.pieces] == ["00.pcapng", "02.pcapng", "04.pcapng"]
    assert [len(lengths(Path(name))) for name in outcome.pieces] == [2, 2, 1]


def test_no_packet_leaves_no_file(context: Context, tmp_path: Path) -> None:
    outcome = capture(FakeTap(context, limit=0), context, tmp_path / "x.pcapng")
    assert (outcome.exit_code, outcome.output) == (3, None)
    assert list(tmp_path.iterdir()) == []


def test_packets_can_go_to_a_function(context: Context, tap: FakeTap) -> None:
    got: list[int] = []
    sink = CountingSink(lambda chunk: got.extend(chunk.packets["captured"].tolist()))
    capture(tap, context, sink, CaptureOptions(count=2))
    assert got == [60, 61]


@pytest.mark.parametrize(
    ("options", "output", "says"),
    [
        (CaptureOptions(count=0), "x.pcapng", "at least 1"),
        (CaptureOptions(duration=0), "x.pcapng", "longer than nothing"),
        (CaptureOptions(filter="tcp prot 1"), "x.pcapng", "prot"),
        (CaptureOptions(stop_when="nonsense("), "x.pcapng", "nonsense"),
        (CaptureOptions(rotation=Rotation(size=5)), "-", "pieces need files"),
        (CaptureOptions(rotation=Rotation(size=5)), None, "pieces need a name"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_opened(options: CaptureOptions, output: str | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        options.check(output)
    assert Filter("tcp").tree is not None


def test_each_temporary_name_is_noted_before_its_file_is_and_forgotten_after(
    context: Context, tap: FakeTap, tmp_path: Path
) -> None:
    told: list[tuple[str, str, bool]] = []

    def keep_note(name: str) -> Callable[[], None]:
        told.append(("made", Path(name).name, Path(name).exists()))
        return lambda: told.append(("gone", Path(name).name, Path(name).exists()))

    options = CaptureOptions(count=3, rotation=Rotation(period=2 * SECOND))
    capture(tap, context, str(tmp_path / "%S.pcapng"), options, keep_note=keep_note)
    assert told == [(what, f"{piece}.part.pcapng", False) for piece in ("00", "02") for what in ("made", "gone")]


def test_the_name_of_a_file_that_stays_unfinished_is_not_forgotten(
    context: Context, tap: FakeTap, tmp_path: Path
) -> None:
    told: list[str] = []

    def keep_note(name: str) -> Callable[[], None]:
        return lambda: told.append(name)

    def watch(progress: Progress) -> None:
        if progress.packets == 2:
            (tmp_path / "x.pcapng").mkdir(exist_ok=True)  # so that it cannot have its final name
            tap.stop()

    with pytest.raises(OutputError):
        capture(tap, context, tmp_path / "x.pcapng", watch=watch, keep_note=keep_note)
    assert told == []
    assert len(lengths(tmp_path / "x.part.pcapng")) == 2
