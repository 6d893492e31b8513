"""A file or pipe read through one buffer that moves along: no mapping, no seeking, memory as large as the window."""

from __future__ import annotations

import os
import stat
from io import FileIO

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import InputError

WINDOW = 1 << 20
"""bytes; grown for one longer block, up to LIMIT"""
LIMIT = 32 << 20
"""the longest block or packet that is believed; Wireshark's own limit for most link types is 256 KiB a packet"""


class Window:
    """``view`` are the bytes that are there; ``base`` is the file offset of the first.

    ``head`` are bytes that the caller has read already; ``owns`` closes a descriptor at the end. Raises InputError
    where the input cannot be opened or read.
    """

    def __init__(
        self, source: str | os.PathLike[str] | int, name: str, head: bytes = b"", *, owns: bool = False
    ) -> None:
        self.name = name
        self._buffer: NDArray[np.uint8] = np.empty(max(WINDOW, len(head)), np.uint8)
        self._buffer[: len(head)] = np.frombuffer(head, np.uint8)
        self._fill = len(head)
        self.base = 0
        self.ended = False
        try:
            self._file = FileIO(source, closefd=owns or not isinstance(source, int))
            status = os.fstat(self._file.fileno())
        except OSError as error:
            raise InputError("the input cannot be opened", cause=f"{name}: {error.strerror or error}") from error
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        """of the whole input; 0 where that is not known"""

    @property
    def view(self) -> NDArray[np.uint8]:
        """The bytes in the window, writable; valid until ``slide``."""
        return self._buffer[: self._fill]

    def slide(self, start: int, need: int) -> None:
        """Let go of what lies before ``start`` and read on until ``need`` bytes from there, or the end.

        A regular file fills the whole window; a pipe is not waited for longer than ``need`` demands.
        """
        left = self._fill - start
        if need > self._buffer.size:
            grown = np.empty(2 * need, np.uint8)  # twice: sliding on to the next such block moves no more than it reads
            grown[:left] = self._buffer[start : self._fill]
            self._buffer = grown
        elif start:
            self._buffer[:left] = self._buffer[start : self._fill]
        self.base += start
        self._fill = left
        wanted = self._buffer.size if self.size else need
        space = self._buffer.data
        while not self.ended and self._fill < wanted:
            try:
                got = self._file.readinto(space[self._fill :])
            except OSError as error:
                where = f"{self.name}, offset {self.base + self._fill}: {error.strerror or error}"
                raise InputError("the input cannot be read", cause=where) from error
            self._fill += got or 0
            self.ended = not got

    def close(self) -> None:
        """Release the file; safe to call twice."""
        self._file.close()
