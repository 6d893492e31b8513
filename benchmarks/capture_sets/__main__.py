"""``python -m benchmarks.capture_sets FOLDER``: make or fetch the captures on which accuracy is measured."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks.accuracy.files import frames
from benchmarks.accuracy.truth import truth_of
from benchmarks.capture_sets import SCORING, TUNING


def _maker(origin: str) -> Callable[[Path], None]:
    for name in ("packages", "made", "made_hosts", "kernel", "daemons"):
        try:
            makers: dict[str, Callable[[Path], None]] = import_module(f"benchmarks.capture_sets.{name}").MAKERS
        except ImportError as error:
            if error.name and not error.name.startswith("scapy"):
                raise
            continue
        if origin in makers:
            return makers[origin]
    raise RuntimeError(f"{origin} cannot be made here: scapy is not installed")


def make(origin: str, folder: Path) -> tuple[int, int]:
    """Make one origin afresh; how many captures, and how many IPv6 packets in them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _maker(origin)(folder)
    for path in sorted(folder.glob("*.pcap")):
        subprocess.run(["editcap", "-F", "pcapng", path, path.with_suffix(".pcapng")], check=True, capture_output=True)
        path.unlink()
    counts = [sum(truth_of(frame) is not None for frame in frames(path)) for path in sorted(folder.iterdir())]
    return len(counts), sum(counts)


def main() -> int:
    """1 where an origin could not be made; the others are there."""
    parser = argparse.ArgumentParser(
        prog="scripts/capture-sets",
        description="Makes or fetches the captures on which the accuracy of raw-socket recordings is measured: "
        "FOLDER/tune and FOLDER/score. Needs Linux, root, tcpdump, tshark, and for each origin what its module says.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--origin", action="append", choices=(*TUNING, *SCORING), help="only this one; repeatable")
    arguments = parser.parse_args()
    failed = False
    for half, origins in (("tune", TUNING), ("score", SCORING)):
        for origin in origins:
            if arguments.origin and origin not in arguments.origin:
                continue
            try:
                captures, packets = make(origin, arguments.folder / half / origin)
                print(f"{half}/{origin}: {captures} captures, {packets:,} IPv6 packets", flush=True)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                print(f"{half}/{origin}: {error}", file=sys.stderr)
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
