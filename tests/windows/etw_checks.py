"""Trace sessions read in the Windows Python of the test bed, where the sessions themselves are stood in for.

usage: etw_checks.py STANDIN FOLDER    FOLDER has the play files; says one line of JSON for each check
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import numpy as np
from etw_play import NDISCAP, PKTMON, WFP, read_play
from etw_standin import StandIn

from etwcap.errors import WindowsCallError
from etwcap.native.etw_receiver import EtwReceiver
from etwcap.packets import Context, Description, Mark
from etwcap.taps.etw_feed import SessionFeed
from etwcap.taps.etw_session import Enabled, EtwSession
from etwcap.taps.etw_source import EtwRecordSource
from etwcap.taps.journal import Journal
from etwcap.taps.protocol import Changes, TapOptions
from etwcap.windows.clock import Clock, Counter
from etwcap.windows.etw import Etw
from etwcap.windows.processes import ProcessIdentity

ME = ProcessIdentity(4242, 77)
PROVIDERS = {"pktmon": PKTMON, "ndiscap": NDISCAP, "wfp": WFP}
RECORDS = TapOptions(records=True)
RING = 1 << 24
_PROCESSES = 5  # SystemProcessInformation

CHECKS: dict[str, Callable[[], dict[str, Any]]] = {}


def check(call: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    CHECKS[call.__name__] = call
    return call


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


class Row(NamedTuple):
    """A record that came: its time, its processor, and its bytes without the stamp."""

    time: int
    processor: int
    record: bytes


class Live:
    """A session of ours on the stand-in, and the source that reads it."""

    def __init__(self, provider: UUID, *, ring: int = RING, join: float = 5.0, attach: str = "") -> None:
        self.store = Memory()
        self.told: list[str] = []
        self.context = Context()
        self.etw = Etw(machine.library)
        journal = Journal(self.store, ME)
        self.changes = Changes(lambda: journal, lambda: ME, self.told.append)
        if attach:
            self.session = EtwSession.attach(self.etw, attach)
        else:
            self.session = EtwSession.start(self.etw, "check", self.changes, alive=lambda _each: True)
        self.closing: list[Callable[[], object]] = [self.session.stop]
        try:
            counter = Counter(machine.library)
            feed = SessionFeed(self.session, self.etw, ring=ring, counter=counter.ticks, join=join)
            clock = Clock(library=machine.library)
            self.source = EtwRecordSource(feed, clock, self.context, Description(), tap="check", options=RECORDS)
            self.closing.append(self.source.close)
            if not attach:
                self.session.enable(Enabled(provider))
            if provider == PKTMON:
                machine.driver_start()
                self.source.at_stop(machine.driver_stop)
        except BaseException:
            self._close()
            raise

    def rows(self, until: Callable[[int], bool]) -> tuple[list[Row], int]:
        """Everything that comes; stops once ``until`` (given the rows so far) says so. The rows, and how many late."""
        rows: list[Row] = []
        late = 0
        for chunk in self.source.chunks():
            packets = chunk.packets
            for at, size, stamp in zip(
                packets["offset"].tolist(), packets["captured"].tolist(), packets["time"].tolist(), strict=True
            ):
                data = chunk.buffer[at : at + size].tobytes()
                processor = int.from_bytes(data[:2], "little")
                rows.append(Row(stamp, processor, without_stamp(data[8:])))
            late += int(np.count_nonzero(packets["flags"] & np.uint32(Mark.LATE)))
            if until(len(rows)):
                self.source.stop()
        return rows, late

    def close(self) -> dict[str, Any]:
        """Close all; what is left of it, and what was lost."""
        losses = self.source.losses()
        self._close()
        notes = {name: note.count for name, note in self.context.receipt.notes.items()}
        return {"losses": asdict(losses), "notes": notes, "left": [*self.store.files, *left_on_machine()]}

    def _close(self) -> None:
        while self.closing:
            self.closing.pop()()


def left_on_machine() -> list[str]:
    return [name for name in ("sessions", "consumers", "driver") if machine.count(name)]


def without_stamp(record: bytes) -> bytes:
    """A record without its stamp; the header type is that of a file."""
    return record[:16] + bytes(8) + record[24:]


def played(name: str) -> list[Row]:
    """What a play file has, by time as of the file."""
    return [Row(each.time, each.processor, without_stamp(each.record)) for each in read_play(folder / f"{name}.play")]


def ended(_rows: int = 0) -> bool:
    """Everything has been played."""
    return bool(machine.count("ended"))


def by_processor(rows: list[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for each in rows:
        found.setdefault(each.processor, []).append(each)
    return found


def compared(rows: list[Row], expected: list[Row]) -> dict[str, Any]:
    """How what came compares with what was played."""
    return {
        "came": len(rows),
        "expected": len(expected),
        "times equal": [each.time for each in rows] == [each.time for each in expected],
        "records equal": by_processor(rows) == by_processor(expected),
        "in order": all(one.time <= other.time for one, other in pairwise(rows)),
    }


def whole(name: str, **options: int) -> dict[str, Any]:
    machine.load(folder / f"{name}.play", **options)
    live = Live(PROVIDERS[name.partition("-")[0]])
    rows, late = live.rows(ended)
    expected = played(name)
    words = len(rows) - len(expected)  # of the driver at its stop
    return {
        **compared(rows[: len(expected)], expected),
        "last words": words,
        "late": late,
        **live.close(),
    }


@check
def pktmon_whole() -> dict[str, Any]:
    return whole("pktmon", buffer_bytes=8192)


@check
def ndiscap_whole() -> dict[str, Any]:
    return whole("ndiscap", buffer_bytes=8192, reverse=1)


@check
def wfp_whole() -> dict[str, Any]:
    return whole("wfp")


@check
def in_real_time() -> dict[str, Any]:
    return whole("ndiscap-short", pace=100)


@check
def stopped_in_traffic() -> dict[str, Any]:
    machine.load(folder / "ndiscap.play", rate=3000, buffer_bytes=8192)
    live = Live(NDISCAP)
    rows, late = live.rows(lambda count: count > 300)
    return {
        **compared(rows, played("ndiscap")[: len(rows)]),
        "all": len(played("ndiscap")),
        "played": machine.count("played"),
        "delivered": machine.count("delivered"),
        "late": late,
        **live.close(),
    }


@check
def session_too_small() -> dict[str, Any]:
    """The consumer is slower than the producer: the session loses events, and counts them."""
    machine.load(folder / "ndiscap.play", repeat=5, lossless=0, buffers=6, buffer_bytes=8192, delay=1000)
    live = Live(NDISCAP)
    rows, _ = live.rows(ended)
    counts = {name: machine.count(name) for name in ("played", "lost", "delivered")}
    return {"came": len(rows), **counts, **live.close()}


@check
def ring_too_small() -> dict[str, Any]:
    """The reader is slower than the receiver: the ring refuses records, and counts them."""
    machine.load(folder / "ndiscap.play", repeat=5)
    live = Live(NDISCAP, ring=1 << 18)
    until(ended)
    until(lambda: machine.count("delivered") > 0)
    rows, _ = live.rows(ended)
    return {"came": len(rows), "played": machine.count("played"), **live.close()}


@check
def buffer_lost() -> dict[str, Any]:
    machine.load(folder / "ndiscap.play", buffer_bytes=8192, lose_buffer=3)
    live = Live(NDISCAP)
    rows, _ = live.rows(ended)
    counts = {name: machine.count(name) for name in ("played", "in_lost_buffers", "lost_buffers")}
    return {"came": len(rows), **counts, **live.close()}


@check
def events_lost() -> dict[str, Any]:
    machine.load(folder / "ndiscap.play", lose_every=10)
    live = Live(NDISCAP)
    rows, _ = live.rows(ended)
    return {"came": len(rows), "played": machine.count("played"), "lost": machine.count("lost"), **live.close()}


@check
def old_stamps_first() -> dict[str, Any]:
    return whole("ndiscap", old=300)


@check
def refused() -> dict[str, Any]:
    """What each error of Windows becomes; nothing is left behind."""
    found: dict[str, Any] = {}
    for function, code in (
        ("StartTraceW", 5),
        ("StartTraceW", 183),
        ("StartTraceW", 1450),
        ("EnableTraceEx2 on", 1450),
        ("EnableTraceEx2 on", 5),
        ("OpenTraceW", 5),
        ("ControlTraceW QUERY", 5),
    ):
        machine.load(folder / "ndiscap-short.play")
        machine.fail(function, code)
        try:
            Live(NDISCAP).close()
        except WindowsCallError as error:
            found[f"{function} {code}"] = [type(error).__name__, error.code, str(error), error.hint]
        else:
            found[f"{function} {code}"] = []
        until(lambda: not machine.count("consumers"))
        found.setdefault("left", []).extend(left_on_machine())
    return found


@check
def name_taken() -> dict[str, Any]:
    machine.load(folder / "ndiscap-short.play")
    first = Live(NDISCAP)
    said: list[Any] = []
    try:
        Live(NDISCAP)
    except WindowsCallError as error:
        said = [error.code, str(error), error.hint]
    rows, _ = first.rows(ended)
    return {"said": said, **compared(rows, played("ndiscap-short")), **first.close()}


@check
def callbacks_after_the_end() -> dict[str, Any]:
    machine.load(folder / "ndiscap-short.play", late_calls=2000)
    before = EtwReceiver.late_calls()
    live = Live(NDISCAP)
    rows, _ = live.rows(ended)
    live.close()
    machine.set(late_calls=0)
    next_rows, _ = Live(NDISCAP).rows(lambda _rows: machine.count("late") == 2000)
    return {
        "came": len(rows),
        "expected": len(played("ndiscap-short")),
        "late calls": EtwReceiver.late_calls() - before,
        "in the next session": len(next_rows),
    }


@check
def process_trace_hangs() -> dict[str, Any]:
    machine.load(folder / "ndiscap-short.play", hang=1500)
    live = Live(NDISCAP, join=0.4)
    began = time.monotonic()
    rows, _ = live.rows(ended)
    closed = live.close()
    took = time.monotonic() - began
    closed.pop("left")
    until(lambda: not machine.count("consumers"))
    return {"came": len(rows), "expected": len(played("ndiscap-short")), "in time": took < 10, **closed}


@check
def ended_by_somebody_else() -> dict[str, Any]:
    machine.load(folder / "ndiscap.play", rate=3000)
    live = Live(NDISCAP)

    def end(count: int) -> bool:
        if count > 100 and machine.count("sessions"):
            live.etw.control(live.session.name, 1, 4201)
        return False

    rows, _ = live.rows(end)
    return {**compared(rows, played("ndiscap")[: len(rows)]), "played": machine.count("played"), **live.close()}


@check
def session_of_somebody_else() -> dict[str, Any]:
    """It is read, and goes on afterwards."""
    machine.load(folder / "ndiscap.play", hold=300, buffer_bytes=8192)
    etw = Etw(machine.library)
    handle, _ = etw.start("NetTrace", guid=uuid4(), buffer_size=64, buffers=(8, 32))
    etw.enable(handle, NDISCAP)
    live = Live(NDISCAP, attach="nettrace")
    rows, _ = live.rows(ended)
    closed = live.close()
    still = [each.name for each in etw.sessions()]
    etw.control("NetTrace", 1)
    return {**compared(rows, played("ndiscap")), **closed, "still": still}


@check
def two_sessions_at_once() -> dict[str, Any]:
    machine.load(folder / "both.play", buffer_bytes=16384)
    expected = {name: played(name) for name in ("pktmon", "ndiscap")}
    etw_of = {"pktmon": PKTMON, "ndiscap": NDISCAP}
    found: dict[str, Any] = {}
    lives: dict[str, Live] = {}
    global ME
    for number, name in enumerate(etw_of):
        ME = ProcessIdentity(4242, 78 + number)
        lives[name] = Live(etw_of[name])
    results: dict[str, list[Row]] = {}
    threads = [
        threading.Thread(target=lambda each=name: results.__setitem__(each, lives[each].rows(ended)[0]))
        for name in lives
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for name in lives:
        rows = results[name]
        found[name] = compared(rows[: len(expected[name])], expected[name])
    for live in lives.values():
        found |= live.close()
    return found


@check
def cycles() -> dict[str, Any]:
    """Starting and stopping again and again: what the process has afterwards, and had in the middle."""
    machine.load(None, header=1)
    measured = []
    for _ in range(4):
        for _ in range(250):
            Live(NDISCAP, ring=1 << 16).close()
        gc.collect()
        measured.append(resources())
    return {"measured": measured, "left": left_on_machine()}


def resources() -> dict[str, int]:
    """Handles, threads and bytes of memory of this process, as NtQuerySystemInformation tells them."""
    if sys.platform != "win32":
        return {}
    ntdll = ctypes.WinDLL("ntdll")
    room = ctypes.create_string_buffer(1 << 22)
    assert ntdll.NtQuerySystemInformation(_PROCESSES, room, len(room), None) == 0
    at = 0
    while struct.unpack_from("<Q", room, at + 80)[0] != os.getpid():  # UniqueProcessId
        step = struct.unpack_from("<I", room, at)[0]
        assert step, "this process is not listed"
        at += step
    threads, handles = struct.unpack_from("<I", room, at + 4)[0], struct.unpack_from("<I", room, at + 96)[0]
    return {"handles": handles, "threads": threads, "memory": struct.unpack_from("<Q", room, at + 144)[0]}


@check
def speed() -> dict[str, Any]:
    """Events per second, from the stand-in to chunks of records."""
    machine.load(folder / "ndiscap.play", repeat=100, hold=300)
    live = Live(NDISCAP, ring=1 << 26)
    came, began = 0, 0.0
    for chunk in live.source.chunks():
        if not came and len(chunk.packets):
            began = time.perf_counter()
        came += len(chunk.packets)
        if ended():
            live.source.stop()
    took = time.perf_counter() - began
    counts = {name: machine.count(name) for name in ("played", "delivered", "callback_ns")}
    return {"came": came, "per second": round(came / took), **counts, **live.close()}


def until(state: Callable[..., bool]) -> None:
    end = time.monotonic() + 20
    while not state():
        assert time.monotonic() < end, "it does not come to be"
        time.sleep(0.005)


@contextlib.contextmanager
def no_session_left() -> Iterator[None]:
    """A check that failed must not fail the next ones."""
    yield
    etw = Etw(machine.library)
    for each in etw.sessions():
        etw.control(each.name, 1, 4201, 234)


def main(names: list[str]) -> None:
    for name in names or CHECKS:
        began = time.perf_counter()
        with no_session_left():
            try:
                facts = CHECKS[name]()
            except Exception:
                facts = {"failed": traceback.format_exc()}
        facts["seconds"] = round(time.perf_counter() - began, 2)
        print(json.dumps({"check": name, **facts}), flush=True)


if __name__ == "__main__":
    machine = StandIn(sys.argv[1])
    folder = Path(sys.argv[2])
    main(sys.argv[3:])
