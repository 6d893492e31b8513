"""Signals that end a program: a run that gets one cleans up first, as it does for Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from types import FrameType
from typing import NoReturn

ENDING = ("SIGTERM", "SIGHUP", "SIGBREAK")
"""Those that would end the process on the spot, on the systems that have them; Ctrl-C is Python's own affair."""


class Terminated(BaseException):
    """The process was asked to end. Not an Exception, so that nobody takes it for a failure to go on from."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.exit_code = 128 + number
        """as a shell tells it"""


def raise_on_signals() -> None:
    """From now on such a signal raises Terminated in the main thread. One that is ignored (nohup) stays ignored."""
    for name in ENDING:
        number = getattr(signal, name, None)
        with contextlib.suppress(ValueError, OSError):  # not the main thread: then the signals are somebody else's
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _raise)


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(number)
