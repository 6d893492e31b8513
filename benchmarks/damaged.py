"""Side by side on damaged files: ``python -m benchmarks.damaged [FILES [SEED]]``.

The same broken traces (1,000 unless told otherwise, the same ones for the same seed, made by ``synth``) through etwcap
and through the walk of dissect.etl, each in a child process with limits on time and memory. Prints a table: how each
ended, and how many of the records outside the damage it gave.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import random
import resource
import sys
import tempfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks.measure import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests"))

import damage_cases
from damage_cases import Case, Key, Trace
from damage_run import Finding, Tee, forked, make_files
from etwcap.cli.app import main as etwcap_main

SECONDS = 30
"""of processor time; a file here has 24 to 50 kB"""
MEMORY = 1 << 30


@dataclass(slots=True)
class Tally:
    """How one program ended, and what it gave."""

    outcomes: Counter[str] = field(default_factory=Counter)
    records: int = 0


def with_etwcap(trace: Trace, case: Case, broken: Path, output: Path) -> Finding:
    """``etwcap convert``; the outcome by its exit code."""
    told = io.StringIO()
    with Tee() as tee, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
        code = etwcap_main(["convert", str(broken), "-w", str(output), "--no-progress"])
    outcome = {0: "read, nothing said", 1: "one clear error", 3: "one clear error", 4: "read, the damage named"}[code]
    return _finding(outcome, trace, case, tee.events)


def with_dissect(trace: Trace, case: Case, broken: Path, output: Path) -> Finding:
    """The bare walk of dissect.etl; its own exceptions are clear errors, all others are not."""
    del output
    from dissect.etl import ETL, exceptions
    from dissect.etl.etl import Buffer

    found: Counter[Key] = Counter()
    read = Buffer.read_record

    def noting(buffer: Any, offset: int) -> Any:
        record = read(buffer, offset)
        data = bytes(buffer.data[offset : offset + record.size])
        found[0, zlib.crc32(data).to_bytes(4, "little")] += 1
        return record

    Buffer.read_record = noting
    own = tuple(each for each in vars(exceptions).values() if isinstance(each, type) and issubclass(each, Exception))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    outcome = "read, nothing said"
    try:
        with broken.open("rb") as file:
            for _ in ETL(file):
                pass
    except MemoryError:
        outcome = "memory above 1 GB"
    except own:
        outcome = "one clear error"
    except Exception:
        outcome = "raw exception"
    return _finding(outcome, trace, case, found)


def _finding(outcome: str, trace: Trace, case: Case, found: Counter[Key]) -> Finding:
    untouched = trace.expected_events(case)
    given = sum((untouched & found).values())
    return Finding([outcome], 0, records=given, records_expected=sum(untouched.values()))


def main(arguments: list[str]) -> int:
    """Run both programs on the same files and print the table."""
    if importlib.util.find_spec("dissect.etl") is None:
        print("dissect.etl is not installed: pip install '.[bench]'", file=sys.stderr)
        return 2
    import dissect.etl  # noqa: F401  (now, so that no child has to)

    words = [int(word) for word in arguments]
    count, seed = words[0] if words else 1000, words[1] if len(words) > 1 else 1
    tallies = {"etwcap": Tally(), "dissect.etl": Tally()}
    programs = {"etwcap": with_etwcap, "dissect.etl": with_dissect}
    untouched = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        traces = [damage_cases.look_at(path) for path in make_files(folder) if path.suffix == ".etl"]
        cases = [(trace, case) for trace in traces for case in damage_cases.cases(trace, seed)]
        broken, output = folder / "broken.etl", folder / "out.pcapng"
        for trace, case in random.Random(seed).sample(cases, count):
            broken.write_bytes(case.apply(trace.image, trace.bounds))
            for program, work in programs.items():
                found, died, _ = forked(lambda work=work, it=(trace, case): work(*it, broken, output), SECONDS)  # type: ignore[misc]
                tally = tallies[program]
                if found is None:
                    found = Finding([f"hang (above {SECONDS} s)" if "processor" in died else died], 0)
                elif found.code:
                    found.wrong = ["raw exception"]
                elif program == "etwcap":
                    untouched += found.records_expected
                tally.outcomes[found.wrong[0]] += 1
                tally.records += found.records
    print(_table(tallies, count, untouched))
    return 0


def _table(tallies: dict[str, Tally], count: int, untouched: int) -> str:
    rows = [["", *tallies], ["---", *("--:" for _ in tallies)]]
    outcomes = sorted({each for tally in tallies.values() for each in tally.outcomes})
    rows += [[each, *(f"{tally.outcomes[each]:,}" for tally in tallies.values())] for each in outcomes]
    shares = [f"{tally.records:,} ({tally.records / untouched:.1%})" for tally in tallies.values()]
    rows.append([f"records given, of {untouched:,} untouched ones", *shares])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"{count:,} damaged files", "", *lines])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
