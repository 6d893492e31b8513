"""What goes wrong with a trace after it was written: buffers that never reached the file, an end that is missing."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from etwcap.errors import UsageError
from etwcap.etl import layout
from etwcap.etl.buffers import BufferTable, read_buffers
from etwcap.etl.logfile import parse_logfile_header
from etwcap.packets import Description

_COPIED = 1 << 20


def lose_buffers(path: Path, count: int, seed: int) -> int:
    """Take ``count`` data buffers out of the file, none of them the last of its processor; gives the number of buffers
    that were lost, which is less where there are not so many."""
    rows = _buffers(path).buffers
    data = np.flatnonzero(rows["type"] != layout.BUFFER_TYPE_HEADER)
    last = np.ones(len(data), np.bool_)
    last[:-1] = rows["processor"][data][1:] != rows["processor"][data][:-1]
    picked = np.random.default_rng(seed).permutation(data[~last])[:count]
    lost = {int(rows["offset"][row]): int(rows["size"][row]) for row in picked}
    if lost:
        _copy_without(path, lost)
        _count_lost(path, len(lost))
    return len(lost)


def cut_end(path: Path, size: int) -> None:
    """Take so many bytes off the end; UsageError where no more than the file's first bytes would be left."""
    whole = path.stat().st_size
    if whole - size < layout.BUFFER_HEADER_SIZE * 2:
        raise UsageError(f"--cut {size} leaves no trace", cause=f"it has {whole} bytes")
    os.truncate(path, whole - size)


def _buffers(path: Path) -> BufferTable:
    with path.open("rb") as file:
        header = parse_logfile_header(file.read(4096), str(path))
        return read_buffers(file.fileno(), path.stat().st_size, header, str(path), Description())


def _copy_without(path: Path, lost: dict[int, int]) -> None:
    """Close the gaps of the buffers at those offsets, in place."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        target = min(lost)
        at = target
        while at < end:
            if at in lost:
                at += lost[at]
                continue
            following = min((each for each in lost if each > at), default=end)
            while at < following:
                file.seek(at)
                data = file.read(min(_COPIED, following - at))
                file.seek(target)
                file.write(data)
                at += len(data)
                target += len(data)
        file.truncate(target)


def _count_lost(path: Path, count: int) -> None:
    """Set BuffersLost in the file's header."""
    with path.open("r+b") as file:
        header = parse_logfile_header(file.read(4096), str(path))
        kind = layout.LOGFILE_HEADER64 if header.pointer_size == 8 else layout.LOGFILE_HEADER32
        offset = layout.BUFFER_HEADER_SIZE + layout.SYSTEM_HEADER.itemsize
        file.seek(offset + kind.fields["buffers_lost"][1])  # type: ignore[index]
        file.write(struct.pack("<I", count))
