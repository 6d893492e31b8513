"""A collector and its front end as two processes of Windows: starting one from the other, and the pipe between them."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from etwcap.errors import EtwcapError, NotHereError, UsageError, WindowsCallError
from etwcap.packets import Context
from etwcap.taps.collector import collect, tell_failure, tell_note
from etwcap.taps.opening import KEEPS_PRIVILEGES, open_taps
from etwcap.taps.protocol import Changes, LiveTapSource, Tap, TapOptions
from etwcap.taps.rule import open_firewall
from etwcap.windows.console import ConsoleEvents
from etwcap.windows.elevation import ElevatedProcess, run_elevated
from etwcap.windows.pipes import Pipe, PipeServer, connect, pipe_name, server_process
from etwcap.windows.processes import Processes
from etwcap.windows.tokens import Tokens

POLL: Final = 0.2
"""s that a read of the front end waits at most"""
CONNECTING: Final = 30.0
"""s that a collector has, once consent was given, to connect"""
_TIMEOUT: Final = 1460
_PIPE_NAME: Final = re.compile(r"\\\\\.\\pipe\\etwcap-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collector is asked for: the words of its command line, and nothing else."""

    taps: tuple[str, ...]
    interfaces: tuple[str, ...] = ()
    firewall_rule: bool = True
    recording: bool = False
    filter: str | None = None
    """for the taps to hand down to their drivers"""
    components: str = "nics"
    pktmon_api: bool = False
    ipsec_clear: bool = False
    consented: bool = False
    """the user agreed to what the taps interrupt"""

    def words(self) -> list[str]:
        """As words of ``etwcap collect``."""
        words = ["--tap", ",".join(self.taps)]
        for name in self.interfaces:
            words += ["-i", name]
        if not self.firewall_rule:
            words.append("--no-firewall-rule")
        if self.recording:
            words.append("--raw-recording")
        if self.filter is not None:
            words += ["--filter", self.filter]
        if self.components != "nics":
            words += ["--components", self.components]
        switches = (("--pktmon-api", self.pktmon_api), ("--ipsec-clear", self.ipsec_clear), ("--yes", self.consented))
        return words + [word for word, chosen in switches if chosen]

    def tap_options(self) -> TapOptions:
        """For taps that give records."""
        return TapOptions(
            raw_recording=self.recording,
            records=True,
            filter=self.filter,
            components=self.components,
            pktmon_api=self.pktmon_api,
            ipsec_clear=self.ipsec_clear,
        )


class FrontPipe:
    """The front end's end of the pipe (protocol ``TimedDuplex``), and the collector behind it."""

    def __init__(self, pipe: Pipe, process: ElevatedProcess | None = None) -> None:
        self._pipe = pipe
        self._process = process

    def read(self, most: int) -> bytes | None:
        """See ``TimedDuplex``."""
        try:
            return self._pipe.read(most, timeout=POLL)
        except WindowsCallError as error:
            if error.code == _TIMEOUT:
                return None
            raise

    def write(self, data: bytes) -> bool:
        """See ``TimedDuplex``."""
        return self._pipe.write(data, timeout=CONNECTING)

    def close(self) -> None:
        """See ``TimedDuplex``."""
        self._pipe.close()
        if self._process is not None:
            self._process.close()


class CollectorPipe:
    """The collector's end of the pipe (protocol ``Duplex``)."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def read(self, most: int) -> bytes:
        """See ``Duplex``."""
        return self._pipe.read(most)

    def write(self, data: bytes) -> bool:
        """See ``Duplex``."""
        return self._pipe.write(data)


def start_collector(
    wanted: Collection, *, start: Callable[[str, Sequence[str]], ElevatedProcess] = run_elevated
) -> FrontPipe:
    """Start a collector with rights, after consent, and wait until it has connected.

    Whoever connects must be the process that was started (or the Python that its launcher started).
    """
    name = pipe_name()
    with ExitStack() as stack:
        server = stack.enter_context(PipeServer(name, Tokens().user()))
        program, first = command()
        words = [*first, "collect", "--pipe", name, "--front", str(os.getpid()), *wanted.words()]
        process = start(program, words)
        stack.callback(process.close)
        peer = _accept(server, process)
        processes = Processes()
        if process.pid not in (peer, processes.parent(peer)):
            raise EtwcapError("somebody else answered in the collector's place", cause=f"process {peer}")
        stack.pop_all()
        return FrontPipe(server, process)


def _accept(server: PipeServer, process: ElevatedProcess) -> int:
    end = time.monotonic() + CONNECTING
    while True:
        try:
            return server.accept(timeout=1.0)
        except WindowsCallError as error:
            if error.code != _TIMEOUT:
                raise
        if time.monotonic() >= end or not process.running():
            raise NotHereError(
                "the collector did not start",
                cause="it ended, or did not connect in time",
                hint="start etwcap from an elevated terminal: then no second process is needed",
            )


def command() -> tuple[str, list[str]]:
    """The program of this process, and the words that make it etwcap.

    A Python runs isolated (-I): no variable of the environment and no folder of the user changes what it loads.
    """
    stem = os.path.basename(sys.executable).casefold()
    return sys.executable, ["-I", "-m", "etwcap"] if stem.startswith(("python", "pypy")) else []


def run_collector(
    pipe_named: str,
    front: int,
    wanted: Collection,
    *,
    taps: dict[str, Tap] | None = None,
) -> int:
    """Be the collector of the process ``front``, through the pipe that it made; the exit code.

    Raises UsageError where the pipe is not named as one of ours, or another process serves it.
    """
    from etwcap.taps.capturing import this_machine

    if not _PIPE_NAME.fullmatch(pipe_named):
        raise UsageError("that is no pipe of etwcap", cause=f"--pipe {pipe_named}")
    with connect(pipe_named, timeout=CONNECTING) as end:
        if server_process(end) != front:
            raise UsageError("the pipe is another process's", cause=f"process {server_process(end)} serves it")
        pipe, context, machine = CollectorPipe(end), Context(), this_machine()
        ending = _Ending()
        with ConsoleEvents(ending.ask), ExitStack() as stack:  # logoff and shutdown wait until all is put back
            try:
                if "raw" in wanted.taps and wanted.firewall_rule:
                    open_firewall(
                        stack,
                        lambda line: tell_note(pipe, line),
                        machine.journal(),
                        machine.firewall(),
                        machine.identity(),
                        machine.program(),
                    )
                changes = Changes(
                    machine.journal, machine.identity, lambda line: tell_note(pipe, line), wanted.consented
                )
                options = wanted.tap_options()
                source = open_taps(wanted.taps, wanted.interfaces, options, context=context, taps=taps, changes=changes)
                stack.callback(source.close)
                if KEEPS_PRIVILEGES.isdisjoint(wanted.taps):
                    machine.drop_privileges()
            except EtwcapError as error:
                tell_failure(pipe, error)
                return error.exit_code
            ending.concerns(source)
            collect(source, context, pipe)
    return 0


class _Ending:
    """The wish to end, which may come before there is a source."""

    def __init__(self) -> None:
        self._asked = False
        self._source: LiveTapSource | None = None

    def ask(self, _event: object) -> None:
        """End it; from any thread."""
        self._asked = True
        if self._source is not None:
            self._source.stop()

    def concerns(self, source: LiveTapSource) -> None:
        """This is what is to end."""
        self._source = source
        if self._asked:
            source.stop()
