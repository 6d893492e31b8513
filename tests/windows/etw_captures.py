"""etwcap's command line in the Windows Python of the test bed, on a stand-in of Windows that plays a trace.

The taps are etwcap's own; see ``etw_windows`` for what is around them. The raw tap is that of ``captures``. What is
left on the machine lies in FOLDER, the journals too.

usage: etw_captures.py [--play PLAY] [--set NAME=NUMBER]… [--fail FUNCTION=CODE]… [--build N] [--no-programs]
                       [--at POINT] [--end NUMBER] STANDIN FOLDER WORDS…
    --at POINT      say "at POINT" when the machine was changed so, or "at packets" once they came; wait to be killed
    --end NUMBER    end, as by Ctrl-C, once so many events were delivered; 0: all that are played
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
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


class Ending(console.ConsoleEvents):
    """The handler of console events, which is called once enough was played."""

    standin: StandIn
    end: int
    at: str

    def __enter__(self) -> console.ConsoleEvents:
        entered = super().__enter__()
        threading.Thread(target=self._wait, daemon=True).start()
        return entered

    def _wait(self) -> None:
        limit = time.monotonic() + 60
        while not self._enough() and time.monotonic() < limit:
            time.sleep(0.01)
        if self.at == "packets":
            stay("packets")
        self.handle(0)

    def _enough(self) -> bool:
        if self.end:
            return self.standin.count("delivered") + self.standin.count("api_packets") >= self.end
        return bool(self.standin.count("ended"))


def stay(point: str) -> None:
    """Say where this is, and wait to be killed."""
    print("at", point, flush=True)
    time.sleep(600)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--play")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--fail", action="append", default=[])
    parser.add_argument("--build", type=int, default=26100)
    parser.add_argument("--no-programs", action="store_true")
    parser.add_argument("--at", default="")
    parser.add_argument("--end", type=int, default=0)
    parser.add_argument("standin")
    parser.add_argument("folder")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    return parser.parse_args()


def stand_in(given: argparse.Namespace) -> StandIn:
    """The machine's trace sessions, as they are wanted."""
    made = StandIn(given.standin)
    made.load(given.play, **{name: int(number) for name, _, number in (each.partition("=") for each in given.set)})
    for each in given.fail:
        function, _, code = each.partition("=")
        made.fail(function, int(code), times=1000)
    return made


def run() -> int:
    """Stand in, and be etwcap."""
    given = arguments()
    standin, folder = stand_in(given), Path(given.folder)

    def reached(point: str) -> None:
        if point == given.at:
            stay(point)

    windows = Machine(standin, folder / "machine", given.build, reached, programs=not given.no_programs)
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

    Ending.standin, Ending.end, Ending.at = standin, given.end, given.at
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
    code = main(given.words)
    counts = {name: standin.count(name) for name in COUNTS}
    print(json.dumps({"counts": counts, "code": code}), flush=True)
    return code


def no_privileges() -> Sequence[str]:
    """Nothing is given up: what is stood in for needs none."""
    return ()


if __name__ == "__main__":
    code = run()
    sys.stdout.flush()
    os._exit(code)
