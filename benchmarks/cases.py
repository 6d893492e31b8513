"""What is measured, and what is to be reached."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import CHECKOUT, Comparison, Run, compare, environment, one_core, repeat

ETWCAP = [sys.executable, "-m", "etwcap"]
MIB = 1 << 20
PEAK_GOAL = 150 * MIB
DISSECT_GOAL = 40
"""Times the rate of dissect.etl; only where cp of the same file is that fast."""
GROWTH_GOAL = 16 * MIB
"""More than this from one size of input to ten times that size counts as growing."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure, and whether it is what was wanted."""

    text: str
    reached: bool


@dataclass(slots=True)
class Result:
    """One line of the table."""

    name: str
    ours: Run
    items: int = 0
    """packet events in the input; 0 where they do not matter"""
    input_size: int = 0
    output_size: int = 0
    rivals: dict[str, Comparison] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Packet events a second."""
        return self.items / self.ours.wall


class Bench:
    """Makes traces in a folder, measures, and removes them again."""

    def __init__(self, folder: Path, *, rounds: int, scale: float, say: Callable[[str], None]) -> None:
        self.folder, self.rounds, self.scale, self.say = folder, rounds, scale, say
        self.output, self.copy = folder / "out.pcapng", folder / "copy"
        self.walk_rates: dict[str, float] = {}

    def sized(self, count: int) -> int:
        """A count for the scale of this run."""
        return max(1000, int(count * self.scale))

    def make(self, name: str, kind: str, **numbers: int) -> tuple[Path, int]:
        """The trace and how many packet events are in it."""
        path = self.folder / f"{name}.etl"
        self.say(f"making {path.name}")
        words = [f"{key}={value}" for key, value in numbers.items()]
        command = [sys.executable, "-m", "benchmarks.make", kind, str(path), *words]
        made = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(), cwd=CHECKOUT)
        return path, int(made.stdout)

    def convert(self, path: Path, *options: str, to: str = "") -> list[str]:
        """The command that is measured."""
        return [*ETWCAP, "convert", str(path), "-w", to or str(self.output), "-q", *options]

    def clean(self) -> None:
        """Remove what the runs wrote, so that each one starts alike."""
        self.output.unlink(missing_ok=True)
        self.copy.unlink(missing_ok=True)

    def throughput(self, name: str, path: Path, items: int, *options: str, sample: Path | None = None) -> Result:
        """Conversion against cp of the input, editcap over the output, and dissect.etl walking ``sample``."""
        self.say(f"measuring {name}")
        ours = self.convert(path, *options)
        against_cp = compare(ours, ["cp", str(path), str(self.copy)], self.rounds, self.clean)
        result = Result(name, against_cp.ours, items, path.stat().st_size)
        result.rivals["cp"] = against_cp
        self._against_editcap(ours, result)
        if sample is not None:
            self._against_dissect(sample, result)
        self.clean()
        return result

    def _against_editcap(self, ours: list[str], result: Result) -> None:
        editcap = shutil.which("editcap")
        if editcap is None:
            result.notes.append("editcap is not installed")
            return
        finished = self.folder / "finished.pcapng"
        self.clean()
        subprocess.run(ours, check=True, capture_output=True, env=environment(), cwd=CHECKOUT)
        self.output.rename(finished)
        result.output_size = finished.stat().st_size
        result.rivals["editcap"] = compare(ours, [editcap, str(finished), str(self.copy)], self.rounds, self.clean)
        finished.unlink()

    def _against_dissect(self, sample: Path, result: Result) -> None:
        if importlib.util.find_spec("dissect.etl") is None:
            result.notes.append("dissect.etl is not installed (extra bench)")
            return
        if sample.name not in self.walk_rates:
            command = [*one_core(), sys.executable, "-m", "benchmarks.walk", str(sample)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(), cwd=CHECKOUT)
            records, seconds = done.stdout.split()
            self.walk_rates[sample.name] = int(records) / float(seconds)
        walk_rate = self.walk_rates[sample.name]
        factor = result.rate / walk_rate
        copying = result.items / result.rivals["cp"].theirs.wall / walk_rate
        text = f"{factor:.0f} x the bare walk of dissect.etl"
        if copying < DISSECT_GOAL:
            result.notes.append(f"{text} (cp itself is at {copying:.0f} x)")
        else:
            result.goals.append(Goal(f"{text} (wanted: {DISSECT_GOAL})", factor >= DISSECT_GOAL))


def full_frames(bench: Bench) -> list[Result]:
    """2 GB of full-size frames."""
    sample, _ = bench.make("full-sample", "ndiscap", frame=1514, packets=100_000)
    path, items = bench.make("full", "ndiscap", frame=1514, packets=bench.sized(1_240_000))
    result = bench.throughput("ndiscap, 1514-byte frames, plain", path, items, sample=sample)
    ratio = result.rivals["cp"].wall_ratio
    result.goals.insert(0, Goal(f"{ratio:.2f} x the time of cp (wanted: at most 2)", ratio <= 2))
    _remove(path, sample)
    return [result]


def small_frames(bench: Bench) -> list[Result]:
    """10 million small frames."""
    sample, _ = bench.make("small-sample", "ndiscap", frame=100, packets=200_000)
    path, items = bench.make("small", "ndiscap", frame=100, packets=bench.sized(10_000_000))
    result = bench.throughput("ndiscap, 100-byte frames, plain", path, items, sample=sample)
    result.goals.insert(0, _rate_goal(result, 3.0))
    _remove(path, sample)
    return [result]


def pktmon(bench: Bench) -> list[Result]:
    """2.5 million compressed packet events, each build's ids, every appearance and those nearest the wire."""
    results = []
    for build in (19042, 26100):
        sample, _ = bench.make(f"pktmon-{build}-sample", "pktmon", build=build, events=150_000)
        path, items = bench.make(f"pktmon-{build}", "pktmon", build=build, events=bench.sized(2_500_000))
        for appearances, wanted in (("all", 2.5), ("wire", 2.0)):
            name = f"PktMon {build}, compressed, {appearances}"
            result = bench.throughput(name, path, items, "--appearances", appearances, sample=sample)
            result.goals.insert(0, _rate_goal(result, wanted))
            results.append(result)
        _remove(path, sample)
    return results


def small_file(bench: Bench) -> list[Result]:
    """A file of 25 KB: what starting costs."""
    path, items = bench.make("25kb", "small")
    bench.say("measuring a 25 KB trace")
    run = repeat(bench.convert(path), max(bench.rounds, 7), bench.clean)
    result = Result("a trace of 25 KB", run, items, path.stat().st_size)
    result.goals.append(Goal(f"{run.wall:.3f} s (wanted: at most 0.25)", run.wall <= 0.25))
    _remove(path)
    return [result]


TEN_TERMS = (
    "host 10.1.2.3 or host 10.1.2.4 or port 53 or port 443 or udp portrange 6000-6010 or arp or icmp or "
    "net 172.16.0.0/12 or tcp[tcpflags] & tcp-rst != 0 or ip6 host 2001:db8::99"
)


def filters(bench: Bench) -> list[Result]:
    """5 million small packets of a pcap file through a filter, beside tcpdump."""
    path, items = bench.make("filter", "mixed", count=bench.sized(5_000_000))
    results = []
    for expression, name, wanted in (("tcp port 443", "tcp port 443", 3.0), (TEN_TERMS, "ten terms", 1.5)):
        bench.say(f"measuring the filter: {name}")
        ours = bench.convert(path, "--filter", expression, to=str(bench.folder / "out.pcap"))
        tcpdump = shutil.which("tcpdump")
        if tcpdump is None:
            result = Result(f"filter: {name}", repeat(ours, bench.rounds), items, path.stat().st_size)
            result.notes.append("tcpdump is not installed")
        else:
            theirs = [tcpdump, "-r", str(path), "-w", str(bench.copy), expression]
            against = compare(ours, theirs, bench.rounds, bench.clean)
            result = Result(f"filter: {name}", against.ours, items, path.stat().st_size)
            result.notes.append(f"tcpdump -w: {against.theirs.wall:.3f} s ({against.wall_ratio:.2f} x its time)")
        result.goals.append(_rate_goal(result, wanted))
        results.append(result)
    _remove(path)
    return results


def headers(bench: Bench) -> list[Result]:
    """IPv6 headers of raw sockets rebuilt with 1,000 candidates, beside the plain published method (in Python)."""
    bench.say("measuring the rebuilding of IPv6 headers")
    items = bench.sized(10_000_000)
    command = [*one_core(), sys.executable, "-m", "benchmarks.rebuild", str(items)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(), cwd=CHECKOUT)
    rate, plain, size, right = map(float, done.stdout.split())
    result = Result(f"IPv6 headers, {size:.0f} bytes a packet", Run(items / rate, items / rate, 0), items)
    result.goals.append(Goal(f"{rate / 1e6:.2f} M packets/s (wanted: at least 2)", rate >= 2e6))
    result.notes.append(
        f"kernel alone, CPU time; {right:.2%} of the protocols right; plain method {plain:,.0f} packets/s"
    )
    return [result]


def ordering(bench: Bench) -> list[Result]:
    """TCP of several downloads put into causal order, the acknowledgements up to 0.2 ms early."""
    bench.say("measuring causal order")
    items = bench.sized(2_000_000)
    command = [*one_core(), sys.executable, "-m", "benchmarks.ordering", str(items)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(), cwd=CHECKOUT)
    orderly, rate, moved = map(float, done.stdout.split())
    result = Result("causal order of TCP, answers early", Run(items / rate, items / rate, 0), items)
    result.goals.append(Goal(f"{rate / 1e6:.2f} M packets/s (wanted: at least 1.5)", rate >= 1.5e6))
    result.notes.append(
        f"kernel alone, CPU time; {moved:.0%} moved; an orderly capture: {orderly / 1e6:.2f} M packets/s"
    )
    return [result]


def starting(bench: Bench) -> list[Result]:
    """Help against a Python that does nothing."""
    bench.say("measuring etwcap --help")
    against = compare([*ETWCAP, "--help"], [sys.executable, "-c", "pass"], max(bench.rounds, 7))
    result = Result("etwcap --help", against.ours)
    over = against.ours.wall - against.theirs.wall
    result.rivals["python -c pass"] = against
    result.goals.append(Goal(f"{over:.3f} s over bare Python (wanted: at most 0.15)", over <= 0.15))
    return [result]


def ring(bench: Bench) -> list[Result]:
    """A live capture: 1 million records of 100 bytes a second for 30 s, and as many as the producer can make."""
    results = []
    for name, rate, seconds, size in (
        ("live, 1 M packets/s of 100 bytes", 1_000_000, 30.0, 1 << 26),
        ("live, overfed", 0, 10.0, 1 << 20),
    ):
        bench.say(f"measuring {name}")
        count = bench.sized(int(seconds * 1_000_000))
        words = [str(bench.output), "--rate", str(rate), "--count", str(count), "--ring", str(size)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.ring", *words],
            check=True,
            capture_output=True,
            text=True,
            env=environment(),
            cwd=CHECKOUT,
        )
        found = json.loads(done.stdout)
        run = Run(found["wall"], found["cpu"], found["peak"])
        result = Result(name, run, found["written"], 0, found["output_bytes"])
        exact = found["produced"] == found["written"] + found["refused"]
        result.goals.append(Goal(f"produced {found['produced']:,} = written + {found['refused']:,} counted", exact))
        if rate:
            result.goals.insert(0, Goal(f"{found['refused']:,} lost (wanted: none)", found["refused"] == 0))
            result.notes.append(f"the producer was late by {found['late_ms']:.1f} ms at most")
        result.notes.append("producer and reader on two cores")
        results.append(result)
        bench.clean()
    return results


def memory(bench: Bench, *, big_plain: bool) -> list[Result]:
    """Peak memory with buffers of 16 MiB on 16 and 64 processors, one of them nearly idle, at one size and ten times
    that."""
    results = []
    for processors in (16, 64):
        for compressed in (1, 0):
            peaks: list[int] = []
            for megabytes in (2000, 20_000):
                if megabytes > 2000 and not compressed and not big_plain:
                    continue
                kind = "compressed" if compressed else "plain"
                name = f"{processors} processors x 16 MiB, {kind}, {megabytes / 1000 * bench.scale:g} GB"
                size = max(20, int(megabytes * bench.scale))
                path, items = bench.make(
                    "memory", "many_processors", processors=processors, megabytes=size, compressed=compressed
                )
                bench.say(f"measuring {name}")
                run = repeat(bench.convert(path, to="-"), 1)
                result = Result(name, run, items, path.stat().st_size)
                result.goals.append(Goal(f"peak {run.peak / MIB:.0f} MiB (wanted: at most 150)", run.peak <= PEAK_GOAL))
                if peaks:
                    more = run.peak - peaks[0]
                    result.goals.append(
                        Goal(f"{more / MIB:+.0f} MiB for ten times the input (wanted: no growth)", more <= GROWTH_GOAL)
                    )
                peaks.append(run.peak)
                results.append(result)
                _remove(path)
    return results


def _rate_goal(result: Result, wanted: float) -> Goal:
    text = f"{result.rate / 1e6:.2f} M packet events/s (wanted: {wanted:g})"
    return Goal(text, result.rate >= wanted * 1e6)


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
