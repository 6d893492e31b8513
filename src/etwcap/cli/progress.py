"""Progress of long work: one line on a terminal's stderr, gone at the end."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType

FIRST_AFTER = 0.5
"""s: work that is done by then shows nothing"""
EVERY = 0.1
"""s between two paints"""


class Progress:
    """A callable for (bytes done, bytes in all; 0 where that is not known), and a context that wipes its line."""

    def __init__(self, label: str = "", *, wanted: bool | None = None) -> None:
        """``wanted`` None: only where stderr is a terminal."""
        self._label = label
        self._on = sys.stderr.isatty() if wanted is None else wanted
        self._start = time.monotonic()
        self._next = self._start + FIRST_AFTER
        self._painted = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._painted:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def __call__(self, done: int, total: int) -> None:
        """Show how far the work is, unless it was shown a moment ago."""
        if not self._on:
            return
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        self._painted = True
        width = shutil.get_terminal_size().columns
        sys.stderr.write(f"\r{line(self._label, done, total, now - self._start)[: width - 1]}\x1b[K")
        sys.stderr.flush()


def line(label: str, done: int, total: int, seconds: float) -> str:
    """The text of the line: label, per cent, MB and MB/s (10^6 bytes), time left."""
    rate = done / seconds if seconds > 0 else 0.0
    parts = [label] if label else []
    if total > 0:
        parts.append(f"{min(100, done * 100 // total)} %")
    parts.append(f"{done / 1e6:,.0f} MB")
    parts.append(f"{rate / 1e6:,.0f} MB/s")
    if total > done and rate > 0:
        left = round((total - done) / rate)
        parts.append(f"{left // 60}:{left % 60:02d} left")
    return "  ".join(parts)
