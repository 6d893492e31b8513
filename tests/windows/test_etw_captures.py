"""Captures of the taps pktmon, ndiscap and wfp in a real Windows Python under Wine, by the command line, on a stand-in
of Windows that plays traces: see ``etw_captures``. What comes is compared with what ``convert`` makes of the traces.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import pytest
from etw_traces import BUILDS, Traces, make
from pcapng_blocks import Packet, read
from test_captures import Running
from traffic import datagrams_in, send_all

from etwcap.cli import main

SCRIPT = Path(__file__).resolve().parent / "etw_captures.py"
PKTMON = [f"pktmon-{build}" for build in BUILDS]
PRIMED = {"starts": 2}
"""PktMon's driver gives packets from its second start on: the first one is for its components"""
OUT = ("-w", "x.pcapng")


def windows_path(path: Path) -> str:
    return str(PureWindowsPath("Z:", path))


class Done(NamedTuple):
    """What became of a job."""

    code: int
    said: str
    counts: dict[str, int]
    folder: Path

    @property
    def packets(self) -> list[Packet]:
        return read(self.folder / "x.pcapng")

    def left(self) -> list[str]:
        """What is left on the machine and in the journals, but for the list of commands."""
        return left_in(self.folder)

    def commands(self) -> list[list[str]]:
        """The command lines of Windows' programs."""
        return [json.loads(line) for line in (self.folder / "machine" / "commands").read_text().splitlines()]


def left_in(folder: Path) -> list[str]:
    places = [folder / name for name in ("machine", "etwcap", "user")]
    found = [each for place in places for each in place.rglob("*") if each.is_file() and each.name != "commands"]
    return sorted(str(each.relative_to(folder)) for each in found)


class Jobs:
    """Jobs of ``etw_captures``; several run in one process after the other."""

    def __init__(self, folder: Path, traces: Traces) -> None:
        self.folder = folder
        self.traces = traces
        self.jobs: list[dict[str, Any]] = []

    def add(self, name: str, *words: str, play: str = "", folder: Path | None = None, **how: Any) -> None:
        place = folder or self.folder / name
        place.mkdir(parents=True, exist_ok=True)
        out = [windows_path(place / word) if word.endswith(".pcapng") else word for word in words]
        job = {"name": name, "words": out, "folder": windows_path(place), **how}
        if play:
            job["play"] = windows_path(self.traces.play(play))
        self.jobs.append(job)

    def start(self, name: str) -> Running:
        """A process that runs the jobs added so far."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(self.jobs))
        self.jobs = []
        return Running(self.folder / f"{name}-run", SCRIPT, self.traces.standin, path)

    def run(self, name: str) -> dict[str, Done]:
        """What became of the jobs added so far."""
        wanted = {each["name"]: Path(each["folder"].removeprefix("Z:").replace("\\", "/")) for each in self.jobs}
        running = self.start(name)
        try:
            code = running.end()
        finally:
            running.close()
        found = dict(done_in(running.said.decode(errors="replace"), wanted))
        assert (code, set(found)) == (0, set(wanted)), running.said
        return found


def done_in(said: str, folders: dict[str, Path]) -> Iterator[tuple[str, Done]]:
    lines: list[str] = []
    for line in said.splitlines():
        word, _, rest = line.partition(" ")
        if word == "begin":
            lines = []
        elif word == "end":
            facts = json.loads(rest)
            yield facts["job"], Done(facts["code"], "\n".join(lines), facts["counts"], folders[facts["job"]])
        else:
            lines.append(line)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    return make(tmp_path_factory.mktemp("traces"))


@pytest.fixture
def jobs(tmp_path: Path, traces: Traces) -> Jobs:
    return Jobs(tmp_path, traces)


def converted(traces: Traces, *names: str, words: Sequence[str] = ()) -> list[Packet]:
    """The packets that ``convert`` makes of the traces."""
    out = traces.folder / f"{len(list(traces.folder.iterdir()))}.pcapng"
    assert main(["convert", *[str(traces.etl(name)) for name in names], *words, "-q", "-w", str(out)]) == 0
    return read(out)


def facts(packets: list[Packet]) -> list[tuple[Any, ...]]:
    """Of each packet all that a capture and its conversion must have in common: interfaces have the machine's names."""
    return [(each.time, each.data, each.original, each.face.link_type, each.options) for each in packets]


def ties_sorted(packets: list[Packet]) -> list[tuple[Any, ...]]:
    """The facts of packets; of two with one stamp, from different processors, nobody knows which was first."""
    return sorted(facts(packets))


def test_a_trace_played_live_gives_the_packets_of_its_conversion(jobs: Jobs, traces: Traces) -> None:
    for name in PKTMON:
        build = int(name.partition("-")[2])
        jobs.add(name, "capture", "--tap", "pktmon", *OUT, play=name, options=PRIMED, build=build)
        jobs.add(f"{name} all", "capture", "--tap", "pktmon", "--components", "all", *OUT, play=name, options=PRIMED)
    jobs.add("ndiscap", "capture", "--tap", "ndiscap", "--yes", *OUT, play="ndiscap", options={"reverse": 1})
    jobs.add("wfp", "capture", "--tap", "wfp", *OUT, play="wfp")
    for name, done in jobs.run("all").items():
        trace, _, appearances = name.partition(" ")
        expected = converted(traces, trace, words=["--appearances", "all"] if appearances else [])
        assert done.code == 0, done.said
        assert [each.time for each in done.packets] == [each.time for each in expected], name
        assert ties_sorted(done.packets) == ties_sorted(expected), name
        assert len(expected) > 1500
        assert (done.left(), done.counts["sessions"], done.counts["driver"]) == ([], 0, 0)


def test_two_taps_at_once_give_one_timeline(jobs: Jobs, traces: Traces) -> None:
    jobs.add("both", "capture", "--tap", "pktmon,ndiscap", "--yes", *OUT, play="both", options=PRIMED)
    done = jobs.run("both")["both"]
    assert done.code == 0, done.said
    times = [each.time for each in done.packets]
    assert times == sorted(times)
    expected = facts(converted(traces, "pktmon")) + facts(converted(traces, "ndiscap"))
    assert sorted(facts(done.packets)) == sorted(expected)
    assert done.left() == []


def test_raw_sockets_and_pktmon_share_a_file(jobs: Jobs, traces: Traces) -> None:
    words = ("capture", "--tap", "pktmon,raw", "-v", *OUT)
    jobs.add("raw", *words, play="pktmon", options={**PRIMED, "rate": 800})
    running = jobs.start("raw")
    try:
        running.until(b"capturing with pktmon and raw")
        sent = send_all(datagrams=10, stream=30_000)
        assert running.end() == 0, running.said
    finally:
        running.close()
    packets = read(jobs.folder / "raw" / "x.pcapng")
    played = facts(converted(traces, "pktmon"))
    times = {each[0] for each in played}
    assert facts([each for each in packets if each.time in times]) == played
    others = [each.data for each in packets if each.time not in times]
    assert sorted(set(datagrams_in(others))) == sorted(sent.datagrams)


def test_what_came_before_ctrl_c_is_whole(jobs: Jobs, traces: Traces) -> None:
    for tap in ("pktmon", "ndiscap", "wfp"):
        how = {"rate": 1000, "starts": 2}
        jobs.add(tap, "capture", "--tap", tap, "--yes", *OUT, play=tap, options=how, end=200)
    for tap, done in jobs.run("stopped").items():
        expected = facts(converted(traces, tap))
        came = facts(done.packets)
        assert done.code == 0, done.said
        assert 100 < len(came) < len(expected)
        assert came == expected[: len(came)]
        assert done.left() == []


def test_losses_are_told_and_add_up(jobs: Jobs, traces: Traces) -> None:
    how = {"lossless": 0, "buffers": 6, "buffer_bytes": 8192, "delay": 2000, "repeat": 3}
    jobs.add("lossy", "capture", "--tap", "wfp", "--json", *OUT, play="wfp", options=how)
    done = jobs.run("lossy")["lossy"]
    assert done.counts["lost"] > 1000
    assert done.counts["played"] == done.counts["delivered"] + done.counts["lost"]
    print(done.said)
    assert str(done.counts["lost"]) in done.said
    assert len(done.packets) <= done.counts["delivered"]


REFUSALS = {
    "StartTraceW=5": (5, "access denied"),
    "StartTraceW=183": (1, "it exists already"),
    "StartTraceW=1450": (1, "too many trace sessions"),
    "EnableTraceEx2 on=1450": (1, "cannot be switched on"),
    "OpenTraceW=5": (5, "access denied"),
}


def test_each_refusal_of_windows_is_told_and_leaves_nothing(jobs: Jobs) -> None:
    for each in REFUSALS:
        function, _, number = each.partition("=")
        for tap in ("wfp", "ndiscap"):
            jobs.add(f"{tap} {each}", "capture", "--tap", tap, "--yes", *OUT, play="wfp", fails={function: int(number)})
    closed = {"driver_start": 87, "PacketMonitorInitialize": 87}
    jobs.add("pktmon driver_start=87", "capture", "--tap", "pktmon", *OUT, play="wfp", fails=closed)
    for name, done in jobs.run("refused").items():
        what = name.partition(" ")[2]
        code, words = REFUSALS.get(what, (1, "a parameter is wrong"))
        assert done.code == code, (name, done.said)
        assert words in done.said, (name, done.said)
        assert "hint:" in done.said or what == "driver_start=87"
        assert done.left() == [], name
        assert not (done.folder / "x.pcapng").exists()


def test_the_api_gives_the_same_packets_with_coarser_times(jobs: Jobs, traces: Traces) -> None:
    tick = 10_000
    jobs.add("api", "capture", "--tap", "pktmon", "--pktmon-api", *OUT, play="pktmon", options={"tick": tick})
    jobs.add("busy", "capture", "--tap", "pktmon", *OUT, play="pktmon", options={"tick": tick}, others=True)
    expected = converted(traces, "pktmon")
    for name, done in jobs.run("api").items():
        assert done.code == 0, done.said
        assert sorted(each.data for each in done.packets) == sorted(each.data for each in expected)
        shift = 100 * done.counts["api_shift"]
        coarse = sorted((each.time + shift) // (100 * tick) for each in expected)
        assert [each.time // (100 * tick) for each in done.packets] == coarse
        assert done.counts["api_handles"] == 0
        assert done.left() == ([] if name == "api" else ["machine/driver", "machine/service-PktMon.json"])


def test_where_programs_are_forbidden_there_are_other_ways(jobs: Jobs, traces: Traces) -> None:
    jobs.add("pktmon", "capture", "--tap", "pktmon", *OUT, play="pktmon", options=PRIMED, programs=False)
    jobs.add(
        "ndiscap", "capture", "--tap", "ndiscap", "--yes", *OUT, play="ndiscap", options={"hold": 1000}, programs=False
    )
    for name, done in jobs.run("forbidden").items():
        assert done.code == 0, done.said
        assert facts(done.packets) == facts(converted(traces, name))
        assert done.left() == []


def test_a_filter_goes_to_the_driver_and_holds(jobs: Jobs, traces: Traces) -> None:
    expression = "udp and port 53"
    jobs.add("pktmon", "capture", "--tap", "pktmon", *OUT, expression, play="pktmon", options=PRIMED)
    jobs.add("ndiscap", "capture", "--tap", "ndiscap", "--yes", *OUT, expression, play="ndiscap")
    for name, done in jobs.run("filtered").items():
        assert done.code == 0, done.said
        assert facts(done.packets) == facts(converted(traces, name, words=[expression]))
        assert len(done.packets) > 10
        assert done.left() == []


POINTS = {
    "pktmon": ("service-PktMon", "driver", "filters", "packets"),
    "ndiscap": ("netevent", "binding", "packets"),
    "ndiscap netsh": ("netsh", "packets"),
    "wfp": ("service-WfpCapture", "packets"),
}


def test_a_capture_killed_at_any_point_leaves_what_cleanup_ends(jobs: Jobs) -> None:
    running: dict[str, Running] = {}
    folders: dict[str, Path] = {}
    for which, points in POINTS.items():
        tap, _, way = which.partition(" ")
        for point in points:
            name = f"{which} {point}".replace(" ", "-")
            options = {**PRIMED, "rate": 2000}
            build = 9200 if way else 26100  # before NetEvent there was netsh
            words = ("capture", "--tap", tap, "--yes", *OUT, "tcp", "or", "udp")
            jobs.add(
                name, *words, play="both" if tap != "wfp" else "wfp", options=options, at=point, end=200, build=build
            )
            folders[name] = jobs.folder / name
            running[name] = jobs.start(name)
    try:
        for each in running.values():
            each.until(b"\nat ")
            each.signal(signal.SIGKILL)
            each.end()
    finally:
        for each in running.values():
            each.close()
    for name, folder in folders.items():
        assert left_in(folder) != [], name
        jobs.add(f"clean {name}", "cleanup", folder=folder)
        jobs.add(f"again {name}", "cleanup", folder=folder)
    for name, done in jobs.run("clean").items():
        assert done.code == 0, (name, done.said)
        assert done.left() == [], (name, done.said)
        assert ("nothing is left" in done.said) == name.startswith("again"), (name, done.said)
