"""An output that gets its final name only when it is whole.

A regular file is written under a temporary name beside its target and renamed at the end, so a reader never meets
half a file and a failed run leaves the old one as it was. What cannot be renamed (standard output, a FIFO, a device)
is written in place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from etwcap.errors import OutputError

_GONE = {errno.EPIPE, errno.ECONNRESET} | ({errno.EINVAL} if sys.platform == "win32" else set())
_FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
STDOUT = {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}
"""names of standard output"""
_BINARY = getattr(os, "O_BINARY", 0)


class ReaderGone(Exception):  # noqa: N818 - not an error: the reader of a pipe has seen enough
    """Whoever read the output has closed it; nothing more can be written and nothing is wrong."""


class Output:
    """The bytes of one output: ``write`` …, then ``commit`` or ``abort``.

    ``target`` is a path, or "-" for standard output; it must not be one of ``inputs``. Raises OutputError where it
    cannot be opened or written, ReaderGone where a pipe's reader went away.

    ``live``: the temporary name is NAME.part.SUFFIX, for others to read while it grows; ``abort`` then leaves what was
    written under that name, since it cannot be captured again. ``keep_note`` is told that name before the file is
    made, and gives what is to be called once it is gone.
    """

    def __init__(
        self,
        target: str | Path,
        *,
        inputs: Iterable[str | Path] = (),
        live: bool = False,
        keep_note: Callable[[str], Callable[[], None]] | None = None,
    ) -> None:
        self.name = str(target)
        """for people"""
        self.path: Path | None = None
        """the final name; None for standard output"""
        self.written = 0
        """bytes so far"""
        self._part: str | None = None
        self._live = live
        self._forget: Callable[[], None] | None = None
        self._fd = -1
        self._owned = True
        if self.name in STDOUT:
            self._open_stdout()
            return
        self.path = Path(target)
        real = os.path.realpath(target)
        _refuse_inputs(self.name, real, inputs)
        if _in_place(self.name, real):
            self._open(real, os.O_WRONLY)
            return
        self._real = real
        folder, name = os.path.split(real)
        hidden = os.path.join(folder, f".{name[:80]}.{secrets.token_hex(4)}.part")
        self._part = live_name(real) if live else hidden
        if keep_note is not None and not os.path.lexists(self._part):
            self._forget = keep_note(self._part)
        self._open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def _open_stdout(self) -> None:
        self.name = "standard output"
        if os.isatty(1):
            raise OutputError(
                "a capture is not written to a terminal",
                cause="standard output is a terminal",
                hint="name a file with -w FILE, or pipe it: -w - | tshark -r -",
            )
        if sys.platform == "win32":
            import msvcrt

            msvcrt.setmode(1, os.O_BINARY)
        self._fd, self._owned = 1, False

    def _open(self, path: str, how: int) -> None:
        try:
            self._fd = os.open(path, how | _BINARY, 0o666)
        except OSError as error:
            self._part = None
            raise self._failure(error, "cannot be created") from error

    @property
    def part(self) -> str | None:
        """The temporary name, while there is one."""
        return self._part

    @property
    def in_place(self) -> bool:
        """Whether bytes go straight to their target (a pipe, a device)."""
        return self._part is None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of the bytes. Where that fails, a live output keeps none of them: what is in it stays whole."""
        rest = memoryview(data).cast("B")
        before = self.written
        while rest:
            try:
                done = os.write(self._fd, rest[: 1 << 30])
            except BlockingIOError:
                select.select([], [self._fd], [])
                continue
            except OSError as error:
                if self.in_place and error.errno in _GONE:
                    raise ReaderGone(self.name) from error
                failure = self._failure(error, "cannot be written")
                if self._live and not self.in_place:
                    with contextlib.suppress(OSError):
                        os.ftruncate(self._fd, before)
                        self.written = before
                raise failure from error
            self.written += done
            rest = rest[done:]

    def rewrite(self, offset: int, data: bytes) -> bool:
        """Replace bytes that were written before; False where the output cannot go back."""
        if self.in_place:
            return False
        try:
            os.lseek(self._fd, offset, os.SEEK_SET)
            os.write(self._fd, data)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise self._failure(error, "cannot be written") from error
        return True

    def commit(self) -> None:
        """Close it and give it its final name."""
        try:
            self._close()
            if self._part is not None:
                with contextlib.suppress(OSError):
                    os.chmod(self._part, stat.S_IMODE(os.stat(self._real).st_mode))
                os.replace(self._part, self._real)
                self._gone()
        except OSError as error:
            self.abort()
            raise self._failure(error, "cannot be finished") from error

    def abort(self) -> None:
        """Close it and leave nothing behind (but for what a live one has written); safe at any time, and twice."""
        with contextlib.suppress(OSError):
            self._close()
        if self._part is not None and not (self._live and self.written):
            with contextlib.suppress(OSError):
                os.unlink(self._part)
            self._gone()

    def _gone(self) -> None:
        """The temporary name is not there any more."""
        self._part = None
        if self._forget is not None:
            self._forget()
            self._forget = None

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._owned:
            os.close(fd)

    def _failure(self, error: OSError, what: str) -> OutputError:
        folder = os.path.dirname(os.path.realpath(self.name)) if self.path is not None else ""
        cause = f"{self.name}: {error.strerror or error}"
        hint = ""
        if error.errno in _FULL:
            cause += f" after {self.written:,} bytes"
            hint = "free some space, or write to another disk with -w FILE"
        elif error.errno == errno.EEXIST and self._live:
            cause = f"{live_name(self.name)} exists: another capture writes it, or one that crashed left it"
            hint = "etwcap cleanup tells which; or name another file with -w FILE"
        elif error.errno == errno.ENOENT and folder and not os.path.isdir(folder):
            cause = f"{self.name}: there is no folder {folder}"
            hint = "create the folder first, or name another file with -w FILE"
        elif error.errno == errno.EFBIG:
            hint = "the file system or a limit (ulimit -f) allows no larger file; choose another with -w FILE"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "name a file in a folder you may write to with -w FILE"
            if sys.platform == "win32":
                hint += "; or close the program that has the file open"
        elif error.errno == errno.EISDIR:
            hint = "name a file, not a folder, with -w FILE"
        return OutputError(f"the output {what}", cause=cause, hint=hint)


def live_name(name: str) -> str:
    """What a file is named while a capture writes it: ``x.part.pcapng`` of ``x.pcapng``."""
    stem, suffix = os.path.splitext(name)
    return f"{stem}.part{suffix}"


def _refuse_inputs(name: str, real: str, inputs: Iterable[str | Path]) -> None:
    for source in inputs:
        with contextlib.suppress(OSError):
            if os.path.samefile(real, source) and stat.S_ISREG(os.stat(real).st_mode):
                raise OutputError(
                    "the output would replace an input",
                    cause=f"{name} and {source} are the same file",
                    hint="name another file with -w FILE",
                )


def _in_place(name: str, real: str) -> bool:
    """Whether the target exists and is no regular file, or is another name of an open file."""
    if name.startswith(("/dev/fd/", "/proc/")):
        return True
    try:
        mode = os.stat(real).st_mode
    except OSError:
        return False
    if stat.S_ISDIR(mode):
        raise OutputError(
            "the output cannot be created", cause=f"{name} is a folder", hint="name a file in it with -w FILE"
        )
    return not stat.S_ISREG(mode)
