"""Captures in a real Windows Python under Wine, by the command line: whole, refused, interrupted, killed, and in two
processes. What is sent is sent by this system, so all of it is known; see ``captures`` for what is stood in for.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath

import pytest
from bed import PYTHON, WINE, lines, on_linux, run_windows, settings
from traffic import datagrams_in, send_all, steady, stream_in

import etwcap

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "captures.py"
LIVE = ("capture", "--tap", "raw", "-i", "loopback")
POINTS = re.findall(r'^    "([a-z ]+)",$', SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)


class Running:
    """A program of the test bed that runs, its output in files: a pipe's buffer would hold it up."""

    def __init__(self, folder: Path, *words: str | Path, cwd: Path | None = None) -> None:
        self.folder = cwd or folder
        folder.mkdir(parents=True, exist_ok=True)
        self._child = subprocess.Popen(
            [WINE, str(PYTHON), *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=settings(),
        )
        self.pid = self._child.pid
        self.said = b""
        assert self._child.stdout is not None
        os.set_blocking(self._child.stdout.fileno(), False)

    def read(self) -> bytes:
        """All that it has said so far."""
        assert self._child.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._child.stdout.fileno(), 1 << 16):
                self.said += lines(data)
        return self.said

    def until(self, words: bytes) -> None:
        """Wait until it says so."""
        end = time.monotonic() + 60
        while words not in self.read():
            assert self._child.poll() is None, self.said.decode()
            assert time.monotonic() < end, f"it does not say {words!r}: {self.said.decode()}"
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> int:
        """Wait until it has ended; its exit code."""
        end = time.monotonic() + 60
        while self._child.poll() is None:
            self.read()
            assert time.monotonic() < end, self.said.decode()
            time.sleep(0.02)
        self.read()
        return self._child.returncode

    def close(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    for each in starter.started:
        each.close()


class Starter:
    """Starts programs, each in a folder of its own; all have the same journals."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journals = folder / "journals"
        self.journals.mkdir()
        self.started: list[Running] = []

    def __call__(self, name: str, *words: str | Path, options: tuple[str, ...] = ()) -> Running:
        """etwcap with the stand-ins of ``captures``."""
        made = Running(self.folder / name, SCRIPT, *options, self.journals, *words)
        self.started.append(made)
        return made

    def plain(self, name: str, *words: str | Path) -> Running:
        """etwcap without stand-ins."""
        made = Running(self.folder / name, "-m", "etwcap", *words)
        self.started.append(made)
        return made

    def left(self) -> list[str]:
        """What stands in the journals."""
        return [each.name for each in self.journals.rglob("*") if each.is_file()]

    def rules(self) -> list[str]:
        """The firewall rules of etwcap that Wine's registry has."""
        code = "from etwcap.windows.firewall import Firewall; print([each.name for each in Firewall().rules()])"
        done = run_windows(PYTHON, "-c", code)
        assert done.returncode == 0, done.stderr
        names: list[str] = json.loads(done.stdout.replace(b"'", b'"'))
        return names


def packets_of(path: Path) -> list[bytes]:
    with etwcap.open(path) as trace:
        return [packet.data for packet in trace]


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_what_was_sent_is_captured_whole_until_ctrl_c(start: Starter) -> None:
    live = start("live", *LIVE, "-w", "x.pcapng", "--json")
    recording = start("recording", *LIVE, "-w", "x.pcapng", "--raw-recording")
    for each in (live, recording):
        each.until(b"capturing with raw: ")
    sent = send_all()
    time.sleep(1)
    for each in (live, recording):
        each.signal(signal.SIGINT)
    assert (live.end(), recording.end()) == (0, 0)
    assert on_linux("convert", "x.pcapng", "-w", "y.pcapng", cwd=recording.folder).returncode == 0
    assert (names_in(live.folder), start.left(), start.rules()) == (["x.pcapng"], [], [])
    for path in (live.folder / "x.pcapng", recording.folder / "y.pcapng"):
        packets = packets_of(path)
        assert sorted(set(datagrams_in(packets))) == sorted(sent.datagrams)
        for stream in sent.streams:
            assert stream_in(packets, stream) == stream.payload
        echoes = [data[20:] for data in packets if data[0] == 0x45 and data[9] == 1]
        assert [echoes.count(ping) for ping in sent.pings] == [1] * len(sent.pings)
    with etwcap.open(live.folder / "x.pcapng") as trace:
        times = [packet.time for packet in trace]
    assert times == sorted(times)


def test_without_sio_rcvall_each_command_says_so(start: Starter) -> None:
    windows_journals = Path(os.environ["WINEPREFIX"], "drive_c", "ProgramData", "etwcap", "journal")
    refused = start.plain("refused", "capture", "--tap", "raw", "-i", "loopback", "-w", "x.pcapng")
    unasked = start.plain("unasked", "capture", "-w", "x.pcapng")
    table = start.plain("table", "taps")
    facts = start.plain("facts", "taps", "--json")
    tested = start.plain("tested", "selftest")
    tried = start.plain("tried", "selftest", "--tap", "raw")
    assert [each.end() for each in (refused, unasked, table, facts, tested, tried)] == [6, 6, 6, 6, 6, 1]
    clean = start.plain("clean", "cleanup")  # while the others ran it would find what they change in use
    assert clean.end() == 0
    for each in (refused, unasked):
        assert names_in(each.folder) == []
    assert not windows_journals.exists() or list(windows_journals.iterdir()) == []
    assert b"a raw socket cannot be opened" in refused.said
    assert b"hint: " in refused.said
    assert b"Wine has no SIO_RCVALL" in unasked.said
    assert b": no tap can be used." in table.said
    assert b"Wine has no PktMon" in table.said
    taps = {each["tap"]: each for each in json.loads(facts.said)}
    names = ("pktmon", "ndiscap", "wfp", "raw")
    assert {name: tap["usable"] for name, tap in taps.items()} == dict.fromkeys(names, False)
    raw = taps["raw"]
    assert {each["name"]: each["state"] for each in raw["conditions"]} == {
        "windows": "missing", "native core": "met", "rights": "met", "addresses": "met", "firewall": "missing",
    }  # fmt: skip
    assert clean.said == b"nothing is left of earlier captures\n"
    assert b"no tap can be used here" in tested.said
    assert b"a raw socket cannot be opened" in tried.said


EVENTS = {"real": "Ctrl-C", "0": "Ctrl-C", "1": "Ctrl-Break", "2": "closed", "5": "logoff", "6": "shutdown"}


def test_every_event_of_a_console_ends_a_capture_whole(start: Starter) -> None:
    """After Ctrl-C and Ctrl-Break the program ends by itself, else Windows ends it when the handler returns."""
    running = {event: start(f"event-{event}", *LIVE, "-w", "x.pcapng", options=("--event", event)) for event in EVENTS}
    with steady():
        ended = {event: each.end() for event, each in running.items()}
    assert [ended[event] for event in ("real", "0", "1")] == [0, 0, 0], running["real"].said
    for event, each in running.items():
        assert names_in(each.folder) == ["x.pcapng"], (event, each.said)
        assert len(packets_of(each.folder / "x.pcapng")) > 3
    assert (start.left(), start.rules()) == ([], [])


def test_a_capture_killed_at_any_point_leaves_what_cleanup_ends_and_names(start: Starter) -> None:
    assert len(POINTS) >= 10
    running = {
        point: start(point.replace(" ", "-"), *LIVE, "-w", "x.pcapng", *ending(point), options=("--at", point))
        for point in POINTS
    }
    with steady():
        for point, each in running.items():
            each.until(b"at " + point.encode())
            each.signal(signal.SIGKILL)
            each.end()
    left = set(start.rules())
    assert len(left) >= 6
    unfinished = [each.folder / name for each in running.values() for name in names_in(each.folder) if ".part." in name]
    first = start("cleanup", "cleanup", "--json")
    assert first.end() == 0, first.said
    report = json.loads(first.said)
    ended = {item["name"] for item in report["items"] if item["outcome"] == "ended"}
    named = {
        PureWindowsPath(item["name"]).parent.name for item in report["items"] if item["outcome"] == "unfinished file"
    }
    assert (report["clean"], report["strange"]) == (True, [])
    assert ended == left
    assert named == {each.parent.name for each in unfinished}
    assert (start.left(), start.rules()) == ([], [])
    for part in unfinished:
        if part.stat().st_size:
            done = on_linux("convert", part.name, "-w", "again.pcapng", cwd=part.parent)
            assert done.returncode == 0, done.stderr
            assert len(packets_of(part.parent / "again.pcapng")) > 3
    second = start("cleanup", "cleanup")
    assert (second.end(), second.said) == (0, b"nothing is left of earlier captures\n")


def ending(point: str) -> tuple[str, ...]:
    """What brings a capture to the point."""
    if point in ("between two files", "second file noted"):
        return ("-C", "2k")
    return ("-c", "20") if POINTS.index(point) > POINTS.index("between two files") else ()


# ---- collector and front end ----


def pipe_of(front: Running) -> bytes:
    """The name of the pipe to a front end's collector."""
    found = re.search(rb"etwcap-[0-9a-f]{32}", front.read())
    assert found, front.said.decode()
    return found[0]


def collectors(pipe: bytes) -> list[int]:
    """The processes of this system that have a pipe's name among their words, but for zombies."""
    found = []
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if each.name.isdigit() and pipe in (each / "cmdline").read_bytes():
                found.append(int(each.name))
    return found


def until(state: Callable[[], bool]) -> None:
    end = time.monotonic() + 40
    while not state():
        assert time.monotonic() < end, "it does not come to be"
        time.sleep(0.05)


def test_what_a_collector_captures_comes_through_the_pipe_whole(start: Starter) -> None:
    front = start("front", *LIVE, "-w", "x.pcapng", options=("--without-rights=stand-in",))
    front.until(b"capturing with raw: ")
    pipe = pipe_of(front)
    assert collectors(pipe)
    sent = send_all(datagrams=10, stream=30_000)
    time.sleep(1)
    front.signal(signal.SIGINT)
    assert front.end() == 0, front.said
    assert b"Windows asks for an administrator's consent" in front.said
    assert b"a firewall rule lets packets in for " in front.said
    packets = packets_of(front.folder / "x.pcapng")
    assert sorted(set(datagrams_in(packets))) == sorted(sent.datagrams)
    for stream in sent.streams:
        assert stream_in(packets, stream) == stream.payload
    until(lambda: not collectors(pipe))
    assert (names_in(front.folder), start.left(), start.rules()) == (["x.pcapng"], [], [])


def test_when_one_of_the_two_is_killed_the_other_puts_things_in_order(start: Starter) -> None:
    killed = start("killed", *LIVE, "-w", "x.pcapng", options=("--without-rights=stand-in",))
    deserted = start("deserted", *LIVE, "-w", "x.pcapng", options=("--without-rights=stand-in",))
    with steady():
        for each in (killed, deserted):
            each.until(b"capturing with raw: ")
            part = each.folder / "x.part.pcapng"
            until(lambda part=part: part.exists() and part.stat().st_size > 5000)  # type: ignore[misc]
        killed.signal(signal.SIGKILL)
        killed.end()
        until(lambda: not collectors(pipe_of(killed)))
        assert len(start.rules()) == 1
        for process in collectors(pipe_of(deserted)):
            os.kill(process, signal.SIGKILL)
        assert deserted.end() == 1
    assert b"the collector went away" in deserted.said
    assert names_in(deserted.folder) == ["x.pcapng"]
    assert len(packets_of(deserted.folder / "x.pcapng")) > 10
    clean = start("clean", "cleanup")
    assert clean.end() == 0
    said = clean.said.decode()
    assert said.count("ended: firewall rule etwcap-") == 1
    assert re.search(r"^unfinished file: .*killed.x\.part\.pcapng", said, re.MULTILINE), said
    assert (start.left(), start.rules()) == ([], [])


def test_an_error_of_the_collector_is_told_as_if_it_were_here(start: Starter) -> None:
    """The collector is started with the very words that would go to Windows, beside modules that somebody planted."""
    for name in ("etwcap", "click", "numpy", "ctypes", "json"):
        (start.folder / "front").mkdir(exist_ok=True)
        (start.folder / "front" / f"{name}.py").write_text("raise SystemExit(97)")
    front = start("front", *LIVE, "-w", "x.pcapng", options=("--without-rights=real",))
    assert front.end() == 6, front.said
    assert b"a raw socket cannot be opened\nWSASocketW: " in front.said
    assert not (front.folder / "x.pcapng").exists()


def test_a_hostile_front_end_gets_what_was_asked_for_and_nothing_else(start: Starter) -> None:
    """See ``hostile``: what a collector is sent, the files it made, its exit code, and what it sent."""
    hostile = Running(start.folder / "front", HERE / "hostile.py", start.journals)
    start.started.append(hostile)
    with steady():
        assert hostile.end() == 0, hostile.said
    for line in hostile.said.decode().splitlines():
        facts = json.loads(line)
        if facts["refused"]:
            assert (facts["code"], facts["interfaces"]) == (2, []), facts
        else:
            assert (facts["code"], facts["interfaces"]) == (0, ["lo"]), facts
        assert facts["files"] == []
    assert len(hostile.said.splitlines()) == 7
    assert (names_in(start.folder / "front"), start.left(), start.rules()) == ([], [], [])
