"""Running a command as a whole process on one core, and comparing two commands in alternating pairs.

This process stays small on purpose: Linux counts the memory of the process that starts another into the peak of that
one.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]


class Run(NamedTuple):
    """What one process took: seconds, and bytes of memory at its peak."""

    wall: float
    cpu: float
    peak: int


class Comparison(NamedTuple):
    """Medians over the rounds; the ratios are medians of the ratios of each pair, ours to theirs."""

    ours: Run
    theirs: Run
    wall_ratio: float
    cpu_ratio: float


def environment() -> dict[str, str]:
    """This environment with the checkout's own package first, and bytecode kept as that of an installed package is."""
    path = [str(CHECKOUT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": os.pathsep.join(path)}


def one_core() -> list[str]:
    """The prefix that keeps a command on one core; empty where there is no taskset."""
    taskset = shutil.which("taskset")
    if taskset is None:
        return []
    return [taskset, "-c", str(max(os.sched_getaffinity(0)))]


def run(command: Sequence[str]) -> Run:
    """Run to the end; output goes nowhere. RuntimeError with the last lines of stderr if it fails."""
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*one_core(), *command], stdout=subprocess.DEVNULL, stderr=errors, env=environment(), cwd=CHECKOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            tail = errors.read().decode(errors="replace").strip().splitlines()[-5:]
            raise RuntimeError(f"{' '.join(command)} gave {process.returncode}: " + "\n".join(tail))
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def median(runs: Sequence[Run]) -> Run:
    """The median of each figure, but the highest peak."""
    return Run(
        statistics.median(each.wall for each in runs),
        statistics.median(each.cpu for each in runs),
        max(each.peak for each in runs),
    )


def repeat(command: Sequence[str], rounds: int, clean: Callable[[], None] = lambda: None) -> Run:
    """The median of several runs; ``clean`` is called before each."""
    runs = []
    for _ in range(rounds):
        clean()
        runs.append(run(command))
    return median(runs)


def compare(
    ours: Sequence[str], theirs: Sequence[str], rounds: int, clean: Callable[[], None] = lambda: None
) -> Comparison:
    """Both commands in turn, ``rounds`` times; ``clean`` is called before each of them."""
    pairs = []
    for _ in range(rounds):
        clean()
        mine = run(ours)
        clean()
        pairs.append((mine, run(theirs)))
    return Comparison(
        median([mine for mine, _ in pairs]),
        median([other for _, other in pairs]),
        statistics.median(mine.wall / other.wall for mine, other in pairs),
        statistics.median(mine.cpu / max(other.cpu, 1e-3) for mine, other in pairs),
    )
