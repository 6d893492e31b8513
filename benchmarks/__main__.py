"""``python -m benchmarks``: make the traces, measure, print the table."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import cases
from benchmarks.table import report

QUICK = 1 / 50
CASES = ("full", "small", "pktmon", "filter", "ipv6", "order", "file", "help", "ring", "memory")
RESULTS = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def _default_folder() -> Path:
    tmpfs = Path("/dev/shm")
    return tmpfs if tmpfs.is_dir() else Path(tempfile.gettempdir())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Speed and memory of etwcap, against rivals."
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"which ones (default: all): {', '.join(CASES)}")
    parser.add_argument(
        "--dir", type=Path, default=_default_folder(), help="where traces are put while measured (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="alternating pairs (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the size, one pair: to see that it runs")
    parser.add_argument("--big", action="store_true", help="also 20 GB of plain buffers: --dir must have room for them")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name} too")
    arguments = parser.parse_args()
    for name in arguments.cases:
        if name not in CASES:
            parser.error(f"no case {name!r}; there are {', '.join(CASES)}")
    return arguments


def main() -> int:
    """Exit code 1 if a goal was missed in a run of full size."""
    arguments = _arguments()
    chosen = arguments.cases or CASES
    rounds, scale = (1, QUICK) if arguments.quick else (arguments.rounds, 1.0)
    arguments.dir.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="etwcap-bench-", dir=arguments.dir))
    bench = cases.Bench(folder, rounds=rounds, scale=scale, say=lambda text: print(text, file=sys.stderr))
    results: list[cases.Result] = []
    try:
        for name, measure in (
            ("full", cases.full_frames),
            ("small", cases.small_frames),
            ("pktmon", cases.pktmon),
            ("filter", cases.filters),
            ("ipv6", cases.headers),
            ("order", cases.ordering),
            ("file", cases.small_file),
            ("help", cases.starting),
            ("ring", cases.ring),
        ):
            if name in chosen:
                results += measure(bench)
        if "memory" in chosen:
            results += cases.memory(bench, big_plain=arguments.big)
    finally:
        shutil.rmtree(folder)
    page = report(results, rounds=rounds, scale=scale, folder=arguments.dir)
    print(page)
    if arguments.save:
        RESULTS.write_text(page)
    missed = any(not goal.reached for result in results for goal in result.goals)
    return int(missed and not arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
