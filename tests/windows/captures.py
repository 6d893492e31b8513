"""etwcap's command line in the Windows Python of the test bed, where parts of Windows are stood in for.

Wine has no SIO_RCVALL, and its netsh does nothing. So the raw tap opens a socket per protocol and goes without, what
netsh would change is written to the registry, and the journals lie in FOLDER. All else is etwcap as it stands.

usage: captures.py [--at POINT] [--event EVENT] [--without-rights COLLECTOR] FOLDER WORDS…
    --at POINT         say "at POINT" there, and wait to be killed
    --event EVENT      once packets came, call the handler of console events with this number, and end the process when
                       it returns, as Windows does; "real" has Windows send Ctrl-C
    --without-rights   capture through a collector, which is an ordinary process here, and say its pipe; COLLECTOR is
                       "stand-in", or "real": etwcap as it is
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import etwcap.taps.capturing as capturing
import etwcap.taps.cleaning as cleaning
import etwcap.taps.collecting as collecting
import etwcap.taps.opening as opening
import etwcap.windows.console as console
from etwcap.cli import main
from etwcap.packets import Chunk, Context
from etwcap.taps.cleanup import FirewallRules
from etwcap.taps.journal import FIREWALL_RULE, USER_KINDS, Journal
from etwcap.taps.journal_store import AdministratorsStore, FolderStore
from etwcap.taps.protocol import Changes, LiveTapSource, Tap, TapLosses, TapOptions
from etwcap.taps.raw import RawTap
from etwcap.taps.raw_sockets import SocketKinds
from etwcap.windows.elevation import ElevatedProcess
from etwcap.windows.firewall import Firewall
from etwcap.windows.processes import Processes
from etwcap.windows.tokens import Tokens
from etwcap.windows.version import WindowsVersion

RULES = r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules"
PER_PROTOCOL = SocketKinds((17, 6, 1), (17, 6), receive_all=False)
POINTS = (
    "before the journal",
    "journal beside its place",
    "before the rule",
    "rule added",
    "sockets open",
    "file noted",
    "packets written",
    "between two files",
    "before the final name",
    "rule removed",
)


class Points:
    """Where the process waits to be killed."""

    def __init__(self, wanted: str = "") -> None:
        assert wanted in ("", *POINTS), wanted
        self.wanted = wanted

    def reach(self, point: str) -> None:
        if point == self.wanted:
            print("at", point, flush=True)
            time.sleep(600)


class AdminStore(AdministratorsStore):
    """The administrators' journal; whoever runs this counts as one, since Wine keeps no owners."""

    def __init__(self, folder: Path, points: Points) -> None:
        super().__init__(folder / "etwcap" / "journal", {Tokens().user()})
        self.points = points

    def write(self, name: str, data: bytes) -> None:
        self.points.reach("before the journal")
        super().write(name, data)

    def _move(self, source: Path, target: Path) -> None:
        self.points.reach("journal beside its place")
        super()._move(source, target)


class UserStore(FolderStore):
    """The user's journal, of unfinished files."""

    def __init__(self, folder: Path, points: Points) -> None:
        super().__init__(folder / "user" / "journal")
        self.points = points

    def write(self, name: str, data: bytes) -> None:
        super().write(name, data)
        self.points.reach("file noted")

    def remove(self, name: str) -> None:
        super().remove(name)
        self.points.reach("between two files")


def registry_netsh(points: Points) -> Callable[[Sequence[str]], int]:
    """What netsh does, as far as the registry shows it."""

    def run(words: Sequence[str]) -> int:
        if sys.platform != "win32":
            return 1
        import winreg

        facts = dict(word.partition("=")[::2] for word in words)
        with winreg.CreateKeyEx(winreg.HKEY_LOCAL_MACHINE, RULES, 0, winreg.KEY_WRITE) as key:
            if "add" in words:
                points.reach("before the rule")
                rule = f"v2.31|Action=Allow|Active=TRUE|Dir=In|App={facts['program']}|Name={facts['name']}|"
                winreg.SetValueEx(key, facts["name"], 0, winreg.REG_SZ, rule)
                points.reach("rule added")
                return 0
            try:
                winreg.DeleteValue(key, facts["name"])
            except FileNotFoundError:
                return 1
        points.reach("rule removed")
        return 0

    return run


class Watched:
    """A tap's source that says when packets have been written."""

    def __init__(self, source: LiveTapSource, points: Points, came: threading.Event) -> None:
        self._source = source
        self._points = points
        self._came = came
        self.describe, self.progress = source.describe, source.progress
        self.losses: Callable[[], TapLosses] = source.losses
        self.stop, self.close = source.stop, source.close

    def chunks(self) -> Iterator[Chunk]:
        busy = 0
        for chunk in self._source.chunks():
            busy += len(chunk.packets) > 0
            yield chunk
            if busy == 3:
                self._came.set()
                self._points.reach("packets written")


class WineTap(RawTap):
    """The raw tap with a socket per protocol."""

    def __init__(self, points: Points) -> None:
        super().__init__(kinds=PER_PROTOCOL, version=lambda: WindowsVersion(10, 0, 22631, 1, "Windows 11 Pro", "23H2"))
        self.points = points
        self.came = threading.Event()

    def open(
        self, context: Context, interfaces: Sequence[str], options: TapOptions, changes: Changes | None = None
    ) -> LiveTapSource:
        source = super().open(context, interfaces, options, changes)
        self.points.reach("sockets open")
        return Watched(source, self.points, self.came)


class Ordinary(ElevatedProcess):
    """A collector that nobody was asked for."""

    def __init__(self, command: Sequence[str]) -> None:
        quiet = subprocess.DEVNULL
        self._child = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        self.pid = self._child.pid

    def running(self) -> bool:
        return self._child.poll() is None

    def close(self) -> None:
        self._child.returncode = 0  # it ends by itself


def ordinary_start(folder: str, *, real: bool) -> Callable[[str, Sequence[str]], ElevatedProcess]:
    """In the place of ``run_elevated``: the same program and words, but for the stand-ins of this script."""

    def start(program: str, words: Sequence[str]) -> ElevatedProcess:
        if not real:
            words = [__file__, folder, *words[list(words).index("collect") :]]
        process = Ordinary([program, *words])
        print("collector", words[list(words).index("--pipe") + 1], flush=True)
        return process

    return start


class EventSent(console.ConsoleEvents):
    """The handler of console events, which is called once packets have come."""

    kind: str
    came: threading.Event

    def __enter__(self) -> console.ConsoleEvents:
        entered = super().__enter__()
        threading.Thread(target=self._send, daemon=True).start()
        return entered

    def _send(self) -> None:
        if sys.platform != "win32":
            return
        self.came.wait(60)
        kernel = ctypes.WinDLL("kernel32")
        if self.kind == "real":
            kernel.FreeConsole()
            kernel.AllocConsole()
            assert kernel.GenerateConsoleCtrlEvent(0, 0)
            return
        self.handle(int(self.kind))
        if int(self.kind) not in console.INTERRUPTS:
            end_process()


def end_process() -> NoReturn:
    """On the spot, as Windows does it."""
    os.kill(os.getpid(), 9)
    raise AssertionError


def run() -> int:
    """Stand in, and be etwcap."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--at", default="")
    parser.add_argument("--event", default="")
    parser.add_argument("--without-rights", choices=["stand-in", "real"])
    parser.add_argument("folder")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    folder, points = Path(given.folder), Points(given.at)
    tap = WineTap(points)
    firewall = Firewall(registry_netsh(points))
    processes = Processes()
    admin, user = AdminStore(folder, points), UserStore(folder, points)

    def taps() -> dict[str, Tap]:
        return {"raw": tap}

    def machine() -> capturing.Machine:
        me = processes.this()
        start = ordinary_start(given.folder, real=given.without_rights == "real")
        return capturing.Machine(
            journal=lambda: Journal(admin, me, program=processes.own_image()),
            user_journal=lambda: Journal(user, me, program=processes.own_image(), kinds=USER_KINDS),
            firewall=lambda: firewall,
            identity=lambda: me,
            program=processes.own_image,
            drop_privileges=lambda: Tokens().drop_privileges(),
            elevated=lambda: not given.without_rights,
            start_collector=lambda wanted: collecting.start_collector(wanted, start=start),
        )

    replaced: list[tuple[Any, str, Any]] = [
        (opening, "all_taps", taps),
        (capturing, "all_taps", taps),
        (capturing, "this_machine", machine),
        (cleaning, "administrators_store", lambda: admin),
        (cleaning, "user_store", lambda: user),
        (cleaning, "undoers", lambda: {FIREWALL_RULE: FirewallRules(firewall)}),
    ]
    if given.event:
        EventSent.kind, EventSent.came = given.event, tap.came
        replaced.append((console, "ConsoleEvents", EventSent))
    for module, name, stand_in in replaced:
        assert hasattr(module, name), name
        setattr(module, name, stand_in)
    replace = os.replace

    def replacing(source: str, target: str) -> None:
        points.reach("before the final name")
        replace(source, target)

    os.replace = replacing  # type: ignore[assignment]
    return main(given.words)


if __name__ == "__main__":
    sys.exit(run())
