"""How a failure is told: up to three lines on stderr and an exit code, never a traceback for what was foreseen."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence

import click

from etwcap.cli.signals import Terminated
from etwcap.errors import EtwcapError, UsageError
from etwcap.words import safe_text

INTERRUPTED = 130
"""The exit code of a run that Ctrl-C ended: 128 + SIGINT."""


def unknown_command(word: str, commands: Sequence[str]) -> UsageError:
    """The error for a first word that is no command; a file in its place gets the command that reads it."""
    hint = f"etwcap info {word}" if os.path.isfile(word) else "etwcap --help"
    return UsageError(f"there is no command {word!r}", cause=f"the commands are {', '.join(commands)}", hint=hint)


def lines_of(error: BaseException) -> tuple[list[str], int] | None:
    """What to tell of an error and the exit code; None for an error that nobody foresaw."""
    if isinstance(error, EtwcapError):
        return error.lines(), error.exit_code
    if isinstance(error, click.ClickException):
        asked = getattr(error, "ctx", None)
        command = asked.command_path if asked is not None else "etwcap"
        return [error.format_message().replace("\n", " "), f"hint: {command} --help"], UsageError.exit_code
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return ["interrupted"], INTERRUPTED
    if isinstance(error, Terminated):
        return [str(error)], error.exit_code
    if isinstance(error, MemoryError):
        return ["out of memory"], 1
    if isinstance(error, OSError):
        names = " -> ".join(
            os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))
        )
        reason = error.strerror or str(error) or type(error).__name__
        return [f"{names}: {reason}" if names else reason], 1
    return None


def tell(error: BaseException) -> int:
    """Write the error on stderr and give its exit code; an error that nobody foresaw is raised again."""
    told = lines_of(error)
    if told is None:
        raise error
    lines, code = told
    first, *rest = (safe_text(line) for line in lines)
    with contextlib.suppress(OSError):
        print("\n".join([f"etwcap: {first}", *rest]), file=sys.stderr, flush=True)
    return code


def as_dict(error: BaseException) -> dict[str, str | int]:
    """The error for ``--json``: what, cause, hint and the exit code."""
    told = lines_of(error)
    if told is None:
        raise error
    lines, code = told
    cause = getattr(error, "cause", "")
    hint = getattr(error, "hint", "")
    return {"what": lines[0], "cause": cause, "hint": hint, "exit_code": code}


def report(error: BaseException) -> int:
    """End a run with the error: told on stderr, but for a reader of stdout that went away, which is no failure."""
    if isinstance(error, BrokenPipeError) or _is_windows_broken_pipe(error):
        _silence_stdout()
        return 0
    return tell(error)


def _is_windows_broken_pipe(error: BaseException) -> bool:
    """Whether a pipe's reader is gone as Windows tells it: its C runtime makes EINVAL of ERROR_NO_DATA."""
    return (
        sys.platform == "win32"
        and isinstance(error, OSError)
        and error.errno == errno.EINVAL
        and error.filename is None
    )


def _silence_stdout() -> None:
    """Let the interpreter's last flush of stdout go nowhere instead of failing again."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
