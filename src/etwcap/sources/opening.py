"""Opening an input whatever it is: ETL, pcap, pcapng or a recording of raw sockets, a file or a pipe."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TypeAlias

from etwcap.errors import InputError
from etwcap.etl.logfile import looks_like_etl
from etwcap.etl.recover import read_logfile_header
from etwcap.packets import Context
from etwcap.sources.capfile import STANDARD_INPUT, CaptureFileSource, compression, sniff
from etwcap.sources.etl import EtlSource
from etwcap.sources.recording import RecordingSource

FileSource: TypeAlias = EtlSource | CaptureFileSource | RecordingSource

_HEAD = 80
"""Bytes that tell the kinds apart."""
_SEARCHED = 64 << 20
"""Bytes of a pipe without a trace's beginning that are kept to look for a trace's buffers in."""


def open_source(path: str | os.PathLike[str], context: Context, *, count_events: bool = False) -> FileSource:
    """The source for an input; "-" is standard input.

    An ETL trace that comes through a pipe is spooled to a temporary file: its names stand at its end, and its
    processors' buffers are read side by side. Captures are read as they come.

    Raises InputError where it cannot be opened or read, NotATraceError where it is nothing that etwcap reads.
    """
    name = os.fspath(path)
    descriptor, shown = _open(name)
    try:
        head = _read_head(descriptor, shown)
        seekable = _rewind(descriptor)
        if sniff(head) is not None or compression(head) is not None:
            owned = os.dup(descriptor)
            source = CaptureFileSource(owned, context, name=shown, head=b"" if seekable else head, owns=True)
            return RecordingSource(source, context) if source.is_recording else source
        owned = os.dup(descriptor) if seekable else _spool(descriptor, head, shown)
        return EtlSource(owned, context, name=shown, count_events=count_events)
    finally:
        if name != "-":
            os.close(descriptor)


def _open(name: str) -> tuple[int, str]:
    if name == "-":
        return 0, STANDARD_INPUT
    if Path(name).is_dir():
        raise InputError(f"cannot read {name}", cause="it is a folder", hint="name the trace file inside it")
    try:
        return os.open(name, os.O_RDONLY | getattr(os, "O_BINARY", 0)), name
    except OSError as error:
        raise InputError(f"cannot open {name}", cause=error.strerror or str(error), hint=_hint(error)) from error


def _hint(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "check the path"
    if isinstance(error, PermissionError):
        return "a running session keeps its file locked: stop it first (pktmon stop, netsh trace stop)"
    return ""


def _read_head(descriptor: int, shown: str) -> bytes:
    head = b""
    try:
        while len(head) < _HEAD and (more := os.read(descriptor, _HEAD - len(head))):
            head += more
    except OSError as error:
        raise InputError(f"cannot read {shown}", cause=error.strerror or str(error)) from error
    return head


def _rewind(descriptor: int) -> bool:
    """Back to the start; False for a pipe."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        return False
    return True


def _spool(descriptor: int, head: bytes, shown: str) -> int:
    """A descriptor of a temporary file, already without a name, that holds the whole of a pipe.

    A trace whose beginning is broken may yet be known by its buffers. Raises NotATraceError where a long pipe begins
    without any, so that one that never ends fills no disk.
    """
    known, size = looks_like_etl(head), len(head)
    with tempfile.TemporaryFile() as copy:
        copy.write(head)
        while data := os.read(descriptor, 1 << 20):
            copy.write(data)
            size += len(data)
            if not known and size >= _SEARCHED:
                copy.flush()
                read_logfile_header(copy.fileno(), size, shown)
                copy.seek(size)
                known = True
        copy.flush()
        return os.dup(copy.fileno())
