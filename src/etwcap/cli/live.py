"""What a person sees of a capture under way: a status line, or a line per packet; and how it is ended."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from etwcap.cli.signals import ENDING
from etwcap.words import octets, plural, safe_text

if TYPE_CHECKING:
    from etwcap.pipeline.capture import Progress

EVERY = 0.2
"""s between two paints"""
RATE_OVER = 1.0
"""s over which the rate is taken"""


class StatusLine:
    """A callable for ``watch`` of a capture that paints one line on stderr, and a context that wipes it."""

    def __init__(self, file: str, lost: Callable[[], int], *, wanted: bool | None = None) -> None:
        """``lost`` tells how many packets are known to be lost so far; ``wanted`` None: only where stderr is a
        terminal."""
        self._file = file
        self._lost = lost
        self._on = sys.stderr.isatty() if wanted is None else wanted
        self._next = 0.0
        self._painted = False
        self._rate = 0.0
        self._measured: tuple[float, int] = (0.0, 0)

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._painted:
            with contextlib.suppress(OSError):
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()

    def __call__(self, progress: Progress) -> None:
        """Show where the capture is, unless it was shown a moment ago."""
        if not self._on:
            return
        since, before = self._measured
        if progress.seconds - since >= RATE_OVER:
            self._rate = (progress.packets - before) / (progress.seconds - since)
            self._measured = (progress.seconds, progress.packets)
        now = time.monotonic()
        if now < self._next and not progress.stopping:
            return
        self._next = now + EVERY
        self._painted = True
        width = shutil.get_terminal_size().columns
        with contextlib.suppress(OSError):
            sys.stderr.write(f"\r{status_text(progress, self._rate, self._lost(), self._file)[: width - 1]}\x1b[K")
            sys.stderr.flush()


def status_text(progress: Progress, rate: float, lost: int, file: str) -> str:
    """``1,234 packets  120/s  1.2 MB  lost 0  0:12  x.pcapng``."""
    seconds = int(progress.seconds)
    hours, minutes = divmod(seconds // 60, 60)
    clock = f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"
    parts = [
        plural(progress.packets, "packet"),
        f"{rate:,.0f}/s",
        octets(progress.bytes),
        f"lost {lost:,}",
        clock,
        safe_text(file),
    ]
    return "  ".join([*parts, "ending …"] if progress.stopping else parts)


@contextlib.contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, and what else asks the process to end, calls ``stop`` once; a second Ctrl-C raises KeyboardInterrupt.

    On Windows the console's own events (closing it, logoff, shutdown) are taken too, and held back until the end of
    the context: everything is released by then.
    """
    asked = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    before = []
    with contextlib.ExitStack() as stack:
        if sys.platform == "win32":
            from etwcap.windows.console import ConsoleEvents

            def told(_event: object) -> None:  # the first Ctrl-C comes here, and the second one to Python
                nonlocal asked
                asked = True
                stop()

            stack.enter_context(ConsoleEvents(told))
        for name in ("SIGINT", *ENDING):
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) is signal.SIG_IGN:
                continue
            with contextlib.suppress(ValueError, OSError):  # not the main thread
                before.append((number, signal.signal(number, handle)))
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)
