"""A front end that means harm, in the Windows Python of the test bed: starts collectors, and sends each something else.

Prints a line of JSON for each: what it sent, the collector's exit code, the files that came to be in its folder, and
the interfaces that it told of.

usage: hostile.py FOLDER_OF_JOURNALS
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from etwcap.errors import EtwcapError
from etwcap.taps import wire
from etwcap.taps.wire import FrameKind
from etwcap.windows.pipes import PipeServer, pipe_name
from etwcap.windows.tokens import Tokens

PATHS = {
    "protocol": 1,
    "output": "evil.pcapng",
    "path": "evil.txt",
    "load": "evil.dll",
    "interface": "eth0",
    "tap": "x",
}
SENT = {
    "garbage": random.Random(7).randbytes(5000),
    "a capture of more": b"".join(wire.text_frame(kind, PATHS) for kind in (FrameKind.HELLO, FrameKind.INTERFACE)),
    "a length that nobody has": wire.HEADER.pack(0xFFFFFFFF, FrameKind.STOP, bytes(3)) + bytes(100),
    "nothing": b"",
}
REFUSED = {
    "the pipe of another process": (None, "4"),
    "a file": (r"Z:\tmp\evil.txt", None),
    "another pipe": (r"\\.\pipe\spoolss", None),
}


def collector(folder: str, journals: str, pipe: str, front: str) -> subprocess.Popen[bytes]:
    """As a front end starts it, by words that a person consented to."""
    script = str(Path(__file__).with_name("captures.py"))
    words = ["collect", "--pipe", pipe, "--front", front, "--tap", "raw", "-i", "loopback"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, script, journals, *words], cwd=folder, stdin=quiet, stdout=quiet, stderr=quiet
    )


def send(server: PipeServer, data: bytes) -> list[dict[str, Any]]:
    """Wait for records, send, and read to the end: the interfaces that were told."""
    told = []

    def read(most: int) -> bytes:
        return server.read(most, timeout=60)

    every = tuple(FrameKind)
    sent = False
    while (found := wire.read_frame(read, every)) is not None:
        kind, body = found
        if kind is FrameKind.INTERFACE:
            told.append(wire.read_text(body))
        if kind is FrameKind.BATCH and not sent and len(wire.read_batch(body).time):
            sent = True
            if not data:
                server.close()
                break
            server.write(data, timeout=60)
    return told


def attack(what: str, journals: str) -> None:
    """One collector, and what became of it."""
    with tempfile.TemporaryDirectory(dir=".") as folder, PipeServer(name := pipe_name(), Tokens().user()) as server:
        pipe, front = REFUSED.get(what, (None, None))
        child = collector(folder, journals, pipe or name, front or str(os.getpid()))
        told: list[dict[str, Any]] = []
        if what in SENT:
            server.accept(timeout=60)
            told = send(server, SENT[what])
        facts = {
            "sent": what,
            "refused": what in REFUSED,
            "code": child.wait(60),
            "files": os.listdir(folder),
            "interfaces": sorted({each["name"] for each in told}),
        }
    print(json.dumps(facts), flush=True)


def main() -> int:
    """All at once: each collector takes seconds to start."""
    failed: list[str] = []

    def run(what: str) -> None:
        try:
            attack(what, sys.argv[1])
        except (EtwcapError, OSError, ValueError, subprocess.TimeoutExpired) as error:
            failed.append(f"{what}: {error}")

    threads = [threading.Thread(target=run, args=(what,)) for what in (*SENT, *REFUSED)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    print("\n".join(failed), end="")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
