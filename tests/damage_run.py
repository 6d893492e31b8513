"""The promise of docs/reliability.md, checked on files that were broken on purpose.

    python tests/damage_run.py [FILE...] [--sample N] [--seed S] [--every N] [--core native|twin] [--tshark N]

Without files: traces, captures and recordings made here. One warm process forks for each case, so that start-up does
not count; the child reads one broken file with ``etwcap convert`` and ``etwcap info`` and tells what is wrong. Prints a
line per file, and one for each broken promise; ends with 1 if there is any.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import damage_captures
import damage_cases
import damage_recordings
from damage_captures import Capture
from damage_cases import Case, Key, Trace
from damage_recordings import Recording
from etwcap.cli.app import main as etwcap_main
from etwcap.etl.logfile import NEEDED
from etwcap.native import use_backend
from etwcap.packets import Context
from etwcap.pipeline.convert import convert  # noqa: F401  (imported now, so that no child has to)
from etwcap.sources.capfile import CaptureFileSource
from etwcap.sources.decoding import RecordDecoder
from etwcap.sources.etl import EtlSource
from etwcap.synth.options import SynthOptions
from etwcap.synth.run import synthesize
from frames import traffic
from pcapng_build import interface, packet, pcap, section

MEMORY = 200 << 20 if "asan" not in os.environ.get("LD_PRELOAD", "") else 1 << 30
CPU_SECONDS = {"native": (10, 2e-6), "twin": (20, 2e-4)}
"""a hang guard: seconds, and seconds per byte of the file"""
Target = Trace | Capture
START = 1_705_526_400_000_000_000


@dataclass(slots=True)
class Report:
    """What the cases of one file gave."""

    name: str
    cases: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    memory: int = 0
    seconds: float = 0.0
    delivered: int = 0
    expected: int = 0
    records: int = 0
    records_expected: int = 0
    opened: int = 0
    """outputs that tshark was given"""
    broken: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for people."""
        codes = ", ".join(f"exit {code}: {count:,}" for code, count in sorted(self.codes.items()))
        return (
            f"{self.name}: {self.cases:,} cases, {len(self.broken)} promises broken; {codes}; "
            f"untouched packets {self.delivered:,} of {self.expected:,}, records {self.records:,} of "
            f"{self.records_expected:,}; "
            f"at most {self.memory / 1e6:.0f} MB, {self.seconds:.1f} s"
            + (f"; tshark opened {self.opened:,} outputs" if self.opened else "")
        )


# ---- the files ----


def make_files(folder: Path, packets: int = 90) -> list[Path]:
    """Small traces of three taps and captures of both formats, the same ones each time."""
    seen = [each.frame for each in itertools.islice(traffic(), packets)]
    times = [START + number * 1_000_000 for number in range(len(seen))]
    source = folder / "made.pcapng"
    faces = section("<") + interface("<", 1, (9, b"\x09"), (2, b"eth0"))
    source.write_bytes(faces + b"".join(packet("<", 0, time, data) for time, data in zip(times, seen, strict=True)))
    big = folder / "big-endian.pcap"
    rows = [(time // 10**9, time % 10**9 // 1000, data, len(data)) for time, data in zip(times, seen, strict=True)]
    big.write_bytes(pcap(">", 0xA1B2C3D4, 1, *rows))
    made = [source, big]
    for name, options in (
        ("ndiscap", SynthOptions(tap="ndiscap", processors=2, buffer_size=0x2000, appearances=2)),
        ("unclosed", SynthOptions(tap="ndiscap", processors=1, buffer_size=0x4000, unclosed=True, relogged=False)),
        ("pktmon", SynthOptions(tap="pktmon", processors=2, buffer_size=0x4000, appearances=3)),
        ("wfp", SynthOptions(tap="wfp", processors=2, buffer_size=0x2000)),
    ):
        path = folder / f"{name}.etl"
        synthesize(source, path, options)
        made.append(path)
    for name, options in (
        ("sockets", SynthOptions(tap="raw", disorder=True)),
        ("sockets-bare", SynthOptions(tap="raw", pktinfo=False, tables="half")),
    ):
        path = folder / f"{name}.pcapng"
        synthesize(source, path, options)
        made.append(path)
    return made


def look_at(path: Path) -> Target:
    """The undamaged file."""
    if path.suffix == ".etl":
        return damage_cases.look_at(path)
    if damage_recordings.is_recording(path):
        return damage_recordings.look_at_recording(path)
    return damage_captures.look_at_capture(path)


def cases_of(target: Target, seed: int) -> Iterator[Case]:
    """All cases of a file."""
    if isinstance(target, Trace):
        return damage_cases.cases(target, seed)
    if isinstance(target, Recording):
        return damage_recordings.recording_cases(target, seed)
    return damage_captures.capture_cases(target, seed)


# ---- one case, in a child ----


@dataclass(slots=True)
class Finding:
    """What a child found: what is wrong, and figures."""

    wrong: list[str]
    code: int
    delivered: int = 0
    expected: int = 0
    records: int = 0
    records_expected: int = 0


class Tee:
    """Notes the packets and the records that sources give, on their way."""

    def __init__(self) -> None:
        self.found: Counter[Key] = Counter()
        self.events: Counter[Key] = Counter()

    def __enter__(self) -> Tee:
        sources: tuple[Any, ...] = (EtlSource, CaptureFileSource)
        self._kept = [(kind, kind.chunks) for kind in sources]
        for kind, chunks in self._kept:
            kind.chunks = self._noting(chunks)
        decode = self._decode = RecordDecoder.decode

        def noting(decoder: RecordDecoder, buffer: Any, records: Any) -> Any:
            self.events.update(damage_cases.records_of(buffer, records))
            return decode(decoder, buffer, records)

        listening: Any = RecordDecoder
        listening.decode = noting
        return self

    def __exit__(self, *_: object) -> None:
        for kind, chunks in self._kept:
            kind.chunks = chunks
        listening: Any = RecordDecoder
        listening.decode = self._decode

    def _noting(self, chunks: Any) -> Any:
        def noting(source: Any) -> Iterator[Any]:
            for chunk in chunks(source):
                self.found.update(damage_cases.read_packets([chunk]))
                yield chunk

        return noting


def examine(target: Target, case: Case, broken: Path, output: Path) -> Finding:
    """Convert a broken file and hold what comes out against the promise."""
    times = isinstance(target, Capture) or case.order is not None or _clock_kept(target, case)
    expected = target.expected(case, times=times)
    shown, told = io.StringIO(), io.StringIO()
    wrong: list[str] = []
    words = ["convert", str(broken), "-w", str(output), "--json", "--no-progress"]
    if isinstance(target, Recording):
        words += ["--repair", "none"]
    with Tee() as tee, contextlib.redirect_stdout(shown), contextlib.redirect_stderr(told):
        code = etwcap_main(words)
    if isinstance(target, Recording):
        noted = damage_recordings.delivered(output) if output.exists() else Counter()
        repaired = _code_of("convert", str(broken), "-w", str(output), "--json", "--no-progress")
        if repaired != code:
            wrong.append(f"exit code {code} without repair, {repaired} with it")
    else:
        noted = tee.found
    found = noted if times else _without_times(noted)
    missing = sum((expected - found).values())
    if missing:
        wrong.append(f"{missing} of {sum(expected.values())} untouched packets are missing")
    untouched = target.expected_events(case) if isinstance(target, Trace) else Counter()
    lost = sum((untouched - tee.events).values())
    if lost:
        wrong.append(f"{lost} of {sum(untouched.values())} untouched records are missing")
    if code not in (0, 1, 3, 4):
        wrong.append(f"exit code {code}")
    if "Traceback" in told.getvalue():
        wrong.append("a traceback")
    result = json.loads(shown.getvalue()) if code in (0, 4) and shown.getvalue() else {}
    if code in (0, 4) and not result:
        wrong.append("no result in JSON")
    wrong += _judge(target, case, code, result, sum(found.values()), sum(expected.values()), told.getvalue())
    wrong += _info(broken, code, result)
    if output.exists():
        written = result.get("packets_written")
        again = _count(output)
        if again != written:
            wrong.append(f"the output has {again} packets, the receipt {written}")
    elif code in (0,):
        wrong.append("no output")
    intact, records = sum(expected.values()), sum(untouched.values())
    return Finding(wrong, code, intact - missing, intact, records - lost, records)


def _code_of(*words: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return etwcap_main(list(words))


def _info(broken: Path, code: int, result: dict[str, Any]) -> Iterator[str]:
    """What ``info`` says of the file, held against how ``convert`` ended."""
    shown, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(told):
        ended = etwcap_main(["info", str(broken), "--json"])
    if ended != (0 if code == 3 else code):
        yield f"info ended with {ended}, convert with {code}"
    if "Traceback" in told.getvalue():
        yield "a traceback of info"
    if ended not in (0, 4):
        return
    damage = json.loads(shown.getvalue())["damage"]
    places = [(each["offset"], each["what"]) for each in damage["places"]]
    named = [(each["offset"], each["what"]) for one in result.get("inputs", []) for each in one["damage"]]
    if named and places[: len(named)] != named:
        yield f"info names {places[:3]} as damaged, convert {named[:3]}"


def _clock_kept(target: Trace, case: Case) -> bool:
    """Whether the damage leaves the first buffer, which holds the clock, as it was."""
    return all(at >= target.bounds[0][1] for at, _ in case.patches)


def _without_times(found: Counter[Key]) -> Counter[Key]:
    bare: Counter[Key] = Counter()
    for (_, data), count in found.items():
        bare[0, data] += count
    return bare


def _judge(
    target: Target, case: Case, code: int, result: dict[str, Any], found: int, expected: int, told: str
) -> Iterator[str]:
    """What the exit code and the receipt have to say, by what was delivered."""
    if code in (1, 3):
        lines = told.strip().splitlines()
        if not 1 <= len(lines) <= 3:
            yield f"{len(lines)} lines of error"
    if code == 1:
        if "offset" not in told and "bytes" not in told and "empty" not in told and "begins with" not in told:
            yield f"an error without a place: {told.strip()!r}"
        if expected and (case.size is None or case.size > NEEDED):
            yield "not taken for a trace, though packets are there"
    whole = target.whole
    quiet = "flip" in case.name or "random" in case.name  # a packet that became another one looks like any
    at_bound = isinstance(target, Capture) and case.size in {end for _, end in target.bounds}
    said = _is_note(result) or (code == 3 and "never stopped" in told)  # an unclosed trace that ends with its header
    if found < whole and not (quiet and found >= expected) and not at_bound and code in (0, 3) and not said:
        yield f"{whole - found} packets are lost, and it ended with {code}"
    if case.order is not None and found > whole and isinstance(target, Trace):
        yield f"{found - whole} packets came twice"
    damage = [each for each in result.get("inputs", []) if each.get("damage_count")]
    if code == 4 and not damage:
        yield "exit code 4 without a damage in the result"


def _is_note(result: dict[str, Any]) -> bool:
    """Whether the losses are told as such: the end of a trace that was never closed may be missing unseen, and a
    record of a kind that is not known may be one of a later version."""
    return any(
        each["losses"]["unclosed"] or each["losses"]["sequence_gaps"] or each["damage"]
        for each in result.get("inputs", [])
    )


def _count(output: Path) -> int:
    source = CaptureFileSource(output, Context())
    try:
        return sum(len(chunk.packets) for chunk in source.chunks())
    finally:
        source.close()


# ---- the fork server ----


def forked(work: Callable[[], Finding], seconds: int) -> tuple[Finding | None, str, resource.struct_rusage]:
    """Run ``work`` in a child of this process; gives what it found, how it died, and what it used."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            try:
                found = work()
            except BaseException as error:
                text = "".join(traceback.format_exception(error)[-3:])
                found = Finding([f"{type(error).__name__}: {error}\n{text}"], -1)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(found, pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status, used = os.wait4(child, 0)
    died = ""
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        died = f"longer than {seconds} s of processor time" if name == "SIGXCPU" else f"crashed: {name}"
    elif status:
        died = f"ended with status {status}"
    return (pickle.loads(data) if data and not died else None), died, used


def judged_by_tshark(output: Path) -> list[str]:
    """What tshark has to say against an output."""
    ran = subprocess.run(["tshark", "-n", "-r", output], capture_output=True, text=True, check=False, timeout=60)
    lines = [line for line in ran.stderr.splitlines() if not line.startswith("Running as user")]
    return [f"tshark ended with {ran.returncode}: {' '.join(lines)[:200]}"] if ran.returncode or lines else []


def run_file(
    path: Path, core: str, picked: Callable[[list[Case]], list[Case]], seed: int, folder: Path, tshark: int = 0
) -> Report:
    """All picked cases of one file, each in a child; the outputs of ``tshark`` of them are opened by tshark."""
    report = Report(path.name)
    target = look_at(path)
    broken, output = folder / path.name, folder / "out.pcapng"
    base, per_byte = CPU_SECONDS[core]
    chosen = picked(list(cases_of(target, seed)))
    shown = set(random.Random(seed).sample(range(len(chosen)), min(tshark, len(chosen))))
    for number, case in enumerate(chosen):
        image = case.apply(target.image, target.bounds)
        broken.write_bytes(image)
        output.unlink(missing_ok=True)
        limit = int(base + per_byte * len(image)) + 1
        found, died, used = forked(lambda case=case: examine(target, case, broken, output), limit)  # type: ignore[misc]
        report.cases += 1
        memory = used.ru_maxrss * 1024
        report.memory = max(report.memory, memory)
        report.seconds = max(report.seconds, used.ru_utime + used.ru_stime)
        wrong = [died] if died else []
        if found is not None:
            wrong += found.wrong
            report.codes[found.code] += 1
            report.delivered += found.delivered
            report.expected += found.expected
            report.records += found.records
            report.records_expected += found.records_expected
        if memory > MEMORY:
            wrong.append(f"{memory / 1e6:.0f} MB of memory")
        if number in shown and output.exists():
            report.opened += 1
            wrong += judged_by_tshark(output)
        report.broken += [f"{path.name}: {case.name}: {each}" for each in wrong]
    return report


def picker(sample: int, every: int, seed: int) -> Callable[[list[Case]], list[Case]]:
    """Which cases of a file are run: all, every n-th, or so many at random."""

    def picked(all_cases: list[Case]) -> list[Case]:
        chosen = all_cases[::every]
        if sample and sample < len(chosen):
            chosen = random.Random(seed).sample(chosen, sample)
        return chosen

    return picked


def main(arguments: list[str]) -> int:
    """Run the cases of the files named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--sample", type=int, default=0, help="so many cases of each file, at random")
    parser.add_argument("--every", type=int, default=1, help="every so manieth case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--small", action="store_true", help="the four smallest of the files made here, a third as large"
    )
    parser.add_argument(
        "--tshark", type=int, default=0, help="let tshark open the outputs of so many cases of each file"
    )
    parser.add_argument("--core", choices=["native", "twin"], default="native")
    options = parser.parse_args(arguments)
    failed = 0
    with tempfile.TemporaryDirectory() as name, use_backend(options.core):
        folder = Path(name)
        (folder / "broken").mkdir()
        files = options.files or make_files(folder, 30 if options.small else 90)
        for path in sorted(files, key=lambda file: file.stat().st_size)[:4] if options.small else files:
            picked = picker(options.sample, options.every, options.seed)
            report = run_file(path, options.core, picked, options.seed, folder / "broken", options.tshark)
            print(report.line(), flush=True)
            for each in report.broken:
                print(f"  {each}", flush=True)
            failed += len(report.broken)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
