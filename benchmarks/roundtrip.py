"""The great test in full: ``python -m benchmarks.roundtrip [FOLDER]``.

Every capture goes through synth and convert with every tap and a pairwise-covering set of the options that lose
nothing, on both cores; what comes back must be what went in. Captures: made-up ones of every kind, traffic between two
network namespaces where the system allows them (Linux, root, iproute2, tcpdump), and the files named with
``--captures``. Results are kept in FOLDER line by line, so that a run that was ended goes on where it stopped; another
FOLDER starts afresh.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests"))

from etwcap.native import use_backend
from etwcap.synth.options import SynthOptions
from made_captures import capture
from roundtrip import fitting, longest, loss_free, lossless, named

MADE = 300
NAMESPACES = ("etwcap-a", "etwcap-b")
SUFFIXES = {".pcap", ".pcapng", ".cap", ".ntar"}
SECONDS = 60
FETCH = "import urllib.request as r,sys; r.urlopen(sys.argv[1]).read()"
DATAGRAMS = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
for _ in range(4):
    socket.socket(family, socket.SOCK_DGRAM).sendto(bytes(int(sys.argv[2])), (sys.argv[1], 9))
"""


def traffic_of_namespaces(folder: Path) -> Iterator[Path]:
    """Captures of real traffic between two network namespaces; none where they cannot be made."""
    if os.name != "posix" or not all(shutil.which(tool) for tool in ("ip", "tcpdump")) or os.geteuid():
        return
    one, other = NAMESPACES
    ran = subprocess.run(["ip", "netns", "add", one], capture_output=True, check=False)
    if ran.returncode:
        return
    try:
        _run("ip", "netns", "add", other)
        _run("ip", "link", "add", "va", "netns", one, "type", "veth", "peer", "name", "vb", "netns", other)
        for space, face, number in ((one, "va", 1), (other, "vb", 2)):
            _run("ip", "-n", space, "addr", "add", f"192.0.2.{number}/24", "dev", face)
            _run("ip", "-n", space, "addr", "add", f"2001:db8::{number}/64", "dev", face, "nodad")
            for each in ("lo", face):
                _run("ip", "-n", space, "link", "set", each, "up")
        for name, nano in (("us", []), ("ns", ["--time-stamp-precision=nano"])):
            target = folder / f"namespaces-{name}.pcap"
            if not target.exists():
                _record(target, nano)
            yield target
    finally:
        for space in NAMESPACES:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


def _run(*words: str) -> None:
    subprocess.run(words, capture_output=True, check=True, timeout=SECONDS)


def _try(*words: str) -> None:
    subprocess.run(words, capture_output=True, check=False, timeout=SECONDS)


def _record(target: Path, options: list[str]) -> None:
    """Datagrams of several sizes (long ones in fragments, refused by ICMP) and downloads, over IPv4 and IPv6."""
    one, other = (["ip", "netns", "exec", space] for space in NAMESPACES)
    with contextlib.ExitStack() as stack:
        server = subprocess.Popen(
            [*other, sys.executable, "-m", "http.server", "8000", "--bind", "::"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=CHECKOUT / "src",
        )  # fmt: skip
        stack.callback(server.wait)
        stack.callback(server.terminate)
        part = target.with_suffix(".part")
        dump = subprocess.Popen(
            [*one, "tcpdump", "-i", "va", "-U", "-w", str(part), *options], stderr=subprocess.DEVNULL
        )
        time.sleep(1.5)
        for address in ("192.0.2.2", "2001:db8::2"):
            for size in ("8", "1400", "4000"):
                subprocess.run(
                    [*one, "ping", "-c", "3", "-i", "0.2", "-s", size, address], capture_output=True, check=False
                )
            host = f"[{address}]" if ":" in address else address
            for path in ("", "etwcap/", "etwcap/native/etl.c"):
                _try(*one, sys.executable, "-c", FETCH, f"http://{host}:8000/{path}")
        time.sleep(1)
        dump.terminate()
        dump.wait()
        part.rename(target)


def captures(folder: Path, made: int, given: list[Path]) -> Iterator[tuple[str, Path]]:
    """(name, file) of every capture."""
    for number in range(made):
        path = folder / "made.capture"
        path.write_bytes(capture(number))
        yield f"made-{number}", path
    for path in traffic_of_namespaces(folder):
        yield path.name, path
    for root in given:
        files = [root] if root.is_file() else sorted(each for each in root.rglob("*") if each.suffix in SUFFIXES)
        for path in files:
            yield str(path.resolve()), path


def check(path: Path, options: SynthOptions, backend: str) -> str:
    """What a round trip gets wrong, in a line."""
    with tempfile.TemporaryDirectory(prefix="roundtrip-") as folder, use_backend(backend):
        try:
            return lossless(path, Path(folder), options)
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def main() -> int:
    """Run, print a summary; exit code 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("roundtrip-results"))
    parser.add_argument("--made", type=int, default=MADE, help="how many made-up captures")
    parser.add_argument("--captures", type=Path, action="append", default=[], help="a capture, or a folder of them")
    parser.add_argument("--twin-every", type=int, default=10, help="the twin runs on every n-th round trip, too")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    results = arguments.folder / "results.jsonl"
    done = {}
    if results.exists():
        for line in results.read_text("utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # the last line of a run that was ended
                row = json.loads(line)
                done[row["capture"], row["options"], row["backend"]] = row["wrong"]
    rows = loss_free()
    number, began, seen = 0, time.monotonic(), set()
    with results.open("a", encoding="utf-8") as log:
        for name, path in captures(arguments.folder, arguments.made, arguments.captures):
            seen.add(name)
            largest = longest(path)
            for options in rows:
                options = fitting(options, largest)
                number += 1
                for backend in ("native", "twin") if number % arguments.twin_every == 0 else ("native",):
                    key = name, named(options), backend
                    if key in done:
                        continue
                    done[key] = wrong = check(path, options, backend)
                    log.write(
                        json.dumps(dict(zip(("capture", "options", "backend"), key, strict=True), wrong=wrong)) + "\n"
                    )
                    log.flush()
                    if wrong:
                        print(" | ".join((*key, wrong)), flush=True)
            if len(seen) % 50 == 0:
                print(f"{len(seen)} captures, {len(done):,} round trips, {time.monotonic() - began:.0f} s", flush=True)
    bad = sum(bool(wrong) for wrong in done.values())
    print(f"{len(seen)} captures, {len(rows)} sets of options, {len(done):,} round trips: {bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
