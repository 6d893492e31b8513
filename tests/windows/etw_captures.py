"""etwcap's command line in the Windows Python of the test bed, on a stand-in of Windows that plays a trace.

The taps are etwcap's own; see ``etw_windows`` for what is around them. The raw tap is that of ``captures``.

usage: etw_captures.py STANDIN JOBS    JOBS is a file of JSON: a list of ``Job``, which run one after the other
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captures import AdminStore, Points, UserStore, WineTap, registry_netsh
from etw_standin import StandIn
from etw_windows import Machine

import etwcap.taps.capturing as capturing
import etwcap.taps.cleaning as cleaning
import etwcap.taps.opening as opening
import etwcap.windows.console as console
from etwcap.cli import main
from etwcap.taps.journal import USER_KINDS, Journal
from etwcap.taps.protocol import Tap
from etwcap.windows.firewall import Firewall
from etwcap.windows.handles import kernel32
from etwcap.windows.processes import Processes

COUNTS = (
    "played",
    "delivered",
    "lost",
    "sessions",
    "consumers",
    "driver",
    "starts",
    "api_packets",
    "api_handles",
    "api_shift",
)


@dataclass(frozen=True)
class Job:
    """A command line, and the Windows it finds."""

    name: str
    words: list[str]
    folder: str
    """where everything lies that outlives a process"""
    play: str | None = None
    options: dict[str, int] = field(default_factory=dict)
    """of the stand-in (``machine.h``)"""
    fails: dict[str, int] = field(default_factory=dict)
    """the error of each call of a function"""
    build: int = 26100
    programs: bool = True
    """those of Windows can be run"""
    others: bool = False
    """somebody else's capture of PktMon runs"""
    at: str = ""
    """say "at POINT" when the machine was changed so, or "at packets" once they came, and wait to be killed"""
    end: int = 0
    """end, as by Ctrl-C, once so many events were delivered; 0: all that are played"""


class Ending(console.ConsoleEvents):
    """The handler of console events, which is called once enough was played."""

    standin: StandIn
    job: Job

    def __init__(self, stop: Callable[[console.ConsoleEvent], None]) -> None:
        super().__init__(stop, library=kernel32())  # without a window: Wine's desktop would begin, and stay

    def __enter__(self) -> console.ConsoleEvents:
        entered = super().__enter__()
        self._over = threading.Event()
        threading.Thread(target=self._wait, daemon=True).start()
        return entered

    def __exit__(self, *error: Any) -> None:
        self._over.set()
        super().__exit__(*error)

    def _wait(self) -> None:
        limit = time.monotonic() + 60
        while not self._enough() and time.monotonic() < limit:
            if self._over.wait(0.01):
                return
        if self.job.at == "packets":
            stay("packets")
        self.handle(0)

    def _enough(self) -> bool:
        if self.job.end:
            return self.standin.count("delivered") + self.standin.count("api_packets") >= self.job.end
        return bool(self.standin.count("ended"))


def stay(point: str) -> None:
    """Say where this is, and wait to be killed."""
    print("at", point, flush=True)
    time.sleep(600)


def run(job: Job, standin: StandIn) -> int:
    """Stand in, and be etwcap."""
    folder = Path(job.folder)

    def reached(point: str) -> None:
        if point == job.at:
            stay(point)

    standin.load(job.play, **job.options)
    windows = Machine(standin, folder / "machine", job.build, reached, programs=job.programs)
    for function, code in job.fails.items():
        standin.fail(function, code, times=1000)
    if job.others:
        windows.somebody_captures()
    points = Points()
    firewall = Firewall(registry_netsh(points))
    processes = Processes()
    admin, user = AdminStore(folder, points), UserStore(folder, points)
    known: dict[str, Tap] = {**windows.taps(), "raw": WineTap(points)}
    me = processes.this()
    journal = Journal(admin, me, program=processes.own_image())

    def machine() -> capturing.Machine:
        return capturing.Machine(
            journal=lambda: journal,
            user_journal=lambda: Journal(user, me, program=processes.own_image(), kinds=USER_KINDS),
            firewall=lambda: firewall,
            identity=lambda: me,
            program=processes.own_image,
            drop_privileges=no_privileges,
        )

    Ending.standin, Ending.job = standin, job
    replaced: list[tuple[Any, str, Any]] = [
        (opening, "all_taps", lambda: known),
        (capturing, "all_taps", lambda: known),
        (capturing, "this_machine", machine),
        (cleaning, "administrators_store", lambda: admin),
        (cleaning, "user_store", lambda: user),
        (cleaning, "undoers", lambda: windows.undoers(firewall)),
        (console, "ConsoleEvents", Ending),
    ]
    for module, name, put in replaced:
        assert hasattr(module, name), name
        setattr(module, name, put)
    return main(job.words)


def no_privileges() -> Sequence[str]:
    """Nothing is given up: what is stood in for needs none."""
    return ()


def run_all(standin: StandIn, jobs: list[Job]) -> None:
    """Run the jobs; says what each began with, and a line of JSON at its end."""
    for job in jobs:
        print("begin", job.name, flush=True)
        began = time.perf_counter()
        code = run(job, standin)
        seconds = round(time.perf_counter() - began, 2)
        counts = {name: standin.count(name) for name in COUNTS}
        print("end", json.dumps({"job": job.name, "code": code, "counts": counts, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    run_all(StandIn(sys.argv[1]), [Job(**each) for each in json.loads(Path(sys.argv[2]).read_text())])
