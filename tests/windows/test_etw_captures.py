"""Captures of the taps pktmon, ndiscap and wfp in a real Windows Python under Wine, by the command line, on a stand-in
of Windows that plays traces: see ``etw_captures``. What comes is compared with what ``convert`` makes of the traces.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import pytest
from etw_traces import BUILDS, Traces, made_once
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
    seconds: float
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
    """Jobs of ``etw_captures``, which run in one process one after the other."""

    def __init__(self, folder: Path, traces: Traces) -> None:
        self.folder = folder
        self.traces = traces
        self.jobs: list[dict[str, Any]] = []

    def add(self, name: str, *words: str, play: str = "", folder: Path | None = None, **how: Any) -> None:
        place = folder or self.folder / name.replace(" ", "-").replace("=", "-")
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
        print(*(f"{each.seconds:6.2f} s  {job}" for job, each in found.items()), sep="\n")
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
            yield (
                facts["job"],
                Done(facts["code"], "\n".join(lines), facts["counts"], facts["seconds"], folders[facts["job"]]),
            )
        else:
            lines.append(line)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    return made_once(tmp_path_factory.getbasetemp())


@pytest.fixture
def jobs(tmp_path: Path, traces: Traces) -> Jobs:
    return Jobs(tmp_path, traces)


LOSSY = {"lossless": 0, "buffers": 6, "buffer_bytes": 8192, "delay": 2000, "repeat": 3}
TICK = 10_000
"""100 ns between the stamps that PktMonApi gives"""
EXPRESSION = "udp and port 53"
REFUSALS = {
    "StartTraceW=5": (5, "access denied"),
    "StartTraceW=183": (1, "it exists already"),
    "StartTraceW=1450": (1, "too many trace sessions"),
    "EnableTraceEx2 on=1450": (1, "cannot be switched on"),
    "OpenTraceW=5": (5, "access denied"),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, traces: Traces) -> dict[str, Done]:
    """What became of all captures that run to their end, one after the other in one process."""
    jobs = Jobs(tmp_path_factory.mktemp("captures"), traces)
    pktmon, ndiscap, wfp = (("capture", "--tap", tap, "--yes", *OUT) for tap in ("pktmon", "ndiscap", "wfp"))
    for name in PKTMON:
        jobs.add(name, *pktmon, play=name, options=PRIMED, build=int(name.partition("-")[2]))
        jobs.add(f"{name} all", *pktmon, "--components", "all", play=name, options=PRIMED)
    jobs.add("ndiscap", *ndiscap, play="ndiscap", options={"reverse": 1})
    jobs.add("wfp", *wfp, play="wfp")
    jobs.add("both", "capture", "--tap", "pktmon,ndiscap", "--yes", *OUT, play="both", options=PRIMED)
    for tap, words in (("pktmon", pktmon), ("ndiscap", ndiscap), ("wfp", wfp)):
        jobs.add(f"stopped {tap}", *words, play=tap, options={"rate": 1000, **PRIMED}, end=200)
    jobs.add("lossy", *wfp, "--json", play="wfp", options=LOSSY)
    for each in REFUSALS:
        function, _, number = each.partition("=")
        for tap, words in (("ndiscap", ndiscap), ("wfp", wfp)):
            jobs.add(f"refused {tap} {each}", *words, play="wfp", fails={function: int(number)})
    closed = {"driver_start": 87, "PacketMonitorInitialize": 87}
    jobs.add("refused pktmon driver_start=87", *pktmon, play="wfp", fails=closed)
    jobs.add("api asked for", *pktmon, "--pktmon-api", play="pktmon", options={"tick": TICK})
    jobs.add("api beside another", *pktmon, play="pktmon", options={"tick": TICK}, others=True)
    jobs.add("forbidden pktmon", *pktmon, play="pktmon", options=PRIMED, programs=False)
    # the hold: what is tried first has a session for a moment, which is to miss nothing
    jobs.add("forbidden ndiscap", *ndiscap, play="ndiscap", options={"hold": 1000}, programs=False)
    jobs.add("filtered pktmon", *pktmon, EXPRESSION, play="pktmon", options=PRIMED)
    jobs.add("filtered ndiscap", *ndiscap, EXPRESSION, play="ndiscap")
    return jobs.run("all")


def of(done: dict[str, Done], group: str) -> dict[str, Done]:
    """The jobs of a group, by the rest of their names."""
    found = {name.partition(" ")[2]: each for name, each in done.items() if name.startswith(f"{group} ")}
    assert found
    return found


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


@pytest.mark.parametrize("name", [*PKTMON, *[f"{name} all" for name in PKTMON], "ndiscap", "wfp"])
def test_a_trace_played_live_gives_the_packets_of_its_conversion(
    done: dict[str, Done], traces: Traces, name: str
) -> None:
    trace, _, appearances = name.partition(" ")
    expected = converted(traces, trace, words=["--appearances", "all"] if appearances else [])
    live = done[name]
    assert live.code == 0, live.said
    assert [each.time for each in live.packets] == [each.time for each in expected]
    assert ties_sorted(live.packets) == ties_sorted(expected)
    assert len(expected) > 1500
    assert (live.left(), live.counts["sessions"], live.counts["driver"]) == ([], 0, 0)


def test_two_taps_at_once_give_one_timeline(done: dict[str, Done], traces: Traces) -> None:
    both = done["both"]
    assert both.code == 0, both.said
    times = [each.time for each in both.packets]
    assert times == sorted(times)
    expected = [*converted(traces, "pktmon"), *converted(traces, "ndiscap")]
    assert ties_sorted(both.packets) == ties_sorted(expected)
    assert both.left() == []


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
    played = converted(traces, "pktmon")
    times = {each.time for each in played}
    assert ties_sorted([each for each in packets if each.time in times]) == ties_sorted(played)
    others = [each.data for each in packets if each.time not in times]
    assert sorted(set(datagrams_in(others))) == sorted(sent.datagrams)


@pytest.mark.parametrize("tap", ["pktmon", "ndiscap", "wfp"])
def test_what_came_before_ctrl_c_is_whole(done: dict[str, Done], traces: Traces, tap: str) -> None:
    stopped = of(done, "stopped")[tap]
    expected, came = converted(traces, tap), stopped.packets
    assert stopped.code == 0, stopped.said
    assert 100 < len(came) < len(expected)
    assert [each.time for each in came] == [each.time for each in expected[: len(came)]]
    last = came[-1].time  # of packets with the last stamp, some may have come after the end
    assert ties_sorted([each for each in came if each.time < last]) == ties_sorted(
        [each for each in expected if each.time < last]
    )
    assert stopped.left() == []


def test_losses_are_told_and_add_up(done: dict[str, Done]) -> None:
    lossy = done["lossy"]
    lost = lossy.counts["lost"]
    assert lost > 1000
    assert lossy.counts["played"] == lossy.counts["delivered"] + lost
    assert re.search(rf"\b{lost}\b", lossy.said)
    assert 0 < len(lossy.packets) <= lossy.counts["delivered"]


def test_each_refusal_of_windows_is_told_and_leaves_nothing(done: dict[str, Done]) -> None:
    refused = of(done, "refused")
    assert len(refused) == 2 * len(REFUSALS) + 1
    for name, each in refused.items():
        code, words = REFUSALS.get(name.partition(" ")[2], (1, "a parameter is wrong"))
        assert each.code == code, (name, each.said)
        assert words in each.said, (name, each.said)
        assert each.left() == [], name
        assert not (each.folder / "x.pcapng").exists()


def test_the_api_gives_the_same_packets_with_coarser_times(done: dict[str, Done], traces: Traces) -> None:
    expected = converted(traces, "pktmon")
    for name, each in of(done, "api").items():
        assert each.code == 0, each.said
        assert sorted(packet.data for packet in each.packets) == sorted(packet.data for packet in expected)
        shift = 100 * each.counts["api_shift"]
        coarse = sorted((packet.time + shift) // (100 * TICK) for packet in expected)
        assert [packet.time // (100 * TICK) for packet in each.packets] == coarse
        assert each.counts["api_handles"] == 0
        others = ["machine/driver", "machine/service-PktMon.json"]
        assert each.left() == ([] if name == "asked for" else others)


def test_where_programs_are_forbidden_there_are_other_ways(done: dict[str, Done], traces: Traces) -> None:
    for name, each in of(done, "forbidden").items():
        assert each.code == 0, each.said
        assert ties_sorted(each.packets) == ties_sorted(converted(traces, name))
        assert each.left() == []


def test_a_filter_goes_to_the_driver_and_holds(done: dict[str, Done], traces: Traces) -> None:
    filtered = of(done, "filtered")
    for name, each in filtered.items():
        assert each.code == 0, each.said
        assert ties_sorted(each.packets) == ties_sorted(converted(traces, name, words=[EXPRESSION]))
        assert len(each.packets) > 10
        assert each.left() == []
    assert [words[1:3] for words in filtered["pktmon"].commands()].count(["filter", "add"]) > 0
    assert "-IpProtocols 17" in filtered["ndiscap"].commands()[0][-1]


POINTS = {
    "pktmon": ("filters", "packets"),
    "ndiscap": ("binding", "packets"),
    "ndiscap netsh": ("packets",),
    "wfp": ("packets",),
}
"""where captures are killed: in the middle of beginning, and with everything in place"""


def test_a_capture_killed_at_any_point_leaves_what_cleanup_ends(jobs: Jobs) -> None:
    folders: dict[str, Path] = {}
    for which, points in POINTS.items():
        tap, _, way = which.partition(" ")
        for point in points:
            name = f"{which} {point}".replace(" ", "-")
            build = 9200 if way else 26100  # before NetEvent there was netsh
            words = ("capture", "--tap", tap, "--yes", *OUT, "tcp", "or", "udp")
            jobs.add(name, *words, play=tap, options={**PRIMED, "rate": 2000}, at=point, end=200, build=build)
            folders[name] = jobs.folder / name
            process = jobs.start(name)
            try:
                process.until(b"\nat ")
                process.signal(signal.SIGKILL)
                process.end()
            finally:
                process.close()
    for name, folder in folders.items():
        assert left_in(folder) != [], name
        jobs.add(f"clean {name}", "cleanup", folder=folder)
        jobs.add(f"again {name}", "cleanup", folder=folder)
    for name, each in jobs.run("clean").items():
        assert each.code == 0, (name, each.said)
        assert each.left() == [], (name, each.said)
        assert ("nothing is left" in each.said) == name.startswith("again"), (name, each.said)
