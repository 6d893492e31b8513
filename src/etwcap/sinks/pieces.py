"""An output in pieces, each a whole capture file: a new one by size (``-C``), by time (``-G``), or both; and how many
there may be (``-W``). Names and meanings are those of tcpdump.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import UsageError
from etwcap.packets import Chunk, Context

_UNITS: Final = {"": 1_000_000, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LARGEST_HEAD: Final = 128
"""bytes that a packet's record has at most beside its bytes, its comment and its carried options"""


@dataclasses.dataclass(frozen=True, slots=True)
class Rotation:
    """When a new piece begins, and how many there may be."""

    size: int = 0
    """bytes; a piece that is larger is followed by another. 0: whatever size"""
    period: int = 0
    """ns of the packets' times, counted from the first packet. 0: whatever time"""
    count: int = 0
    """With ``size``: a ring of so many files. With ``period``: writing ends after so many. 0: any number"""

    def __bool__(self) -> bool:
        """Whether there is to be more than one piece."""
        return bool(self.size or self.period)

    def name(self, template: str, period_start: int, number: int) -> str:
        """The name of a piece: strftime codes of ``template`` (UTC) where a period is given, then its number, if any.

        Raises UsageError for a code that this system does not know.
        """
        name = template
        if self.period:
            try:
                name = (_EPOCH + timedelta(microseconds=period_start // 1000)).strftime(template)
            except (ValueError, OverflowError, UnicodeError) as error:
                raise UsageError("the output's name holds no time", cause=f"-w {template}: {error}") from error
        if not self.size:
            return name
        if not self.count:
            return name if number == 0 else f"{name}{number}"
        digits = len(str(self.count - 1)) if self.count > 1 else 0
        return f"{name}{number % self.count:0{digits}d}" if digits else name


def parse_size(text: str) -> int:
    """A size as ``-C`` takes it: millions of bytes; with k, m or g KiB, MiB or GiB. Raises UsageError."""
    found = re.fullmatch(r"(\d+)([kKmMgG]?)", text.strip())
    size = int(found[1]) * _UNITS[found[2].lower()] if found else 0
    if size <= 0:
        raise UsageError(f"{text!r} is no size", cause=f"-C {text}", hint="-C 100 is 100 MB, -C 512k, -C 64m, -C 2g")
    return size


def check_rotation(rotation: Rotation, template: str, stdout: bool) -> None:
    """Raise UsageError for a rotation that cannot be, or whose pieces would replace each other."""
    if rotation.count and not (rotation.size or rotation.period):
        raise UsageError("-W needs -C or -G", hint="-C 100 -W 10 keeps the last ten files of 100 MB")
    if rotation.count and rotation.size and rotation.period:
        raise UsageError("-W goes with -C or with -G, not with both", hint="leave one of them out")
    if not (rotation.size or rotation.period):
        return
    if stdout:
        raise UsageError("pieces need files", cause="-w - is standard output", hint="name a file with -w")
    if rotation.period and "%" not in template.replace("%%", ""):
        raise UsageError(
            "every piece would replace the one before",
            cause=f"-G writes files for each period, and {template} is the same name for all",
            hint="put the time into the name: -w trace-%Y%m%d-%H%M%S.pcapng",
        )


class PieceWriter(Protocol):
    """The sink of one piece."""

    @property
    def packets(self) -> int:
        """Packets written so far."""
        ...

    @property
    def size(self) -> int:
        """Bytes so far."""
        ...

    def write(self, chunk: Chunk) -> None:
        """Take the packets of a chunk."""
        ...

    def flush(self) -> None:
        """Hand what was gathered to the file."""
        ...

    def finish(self) -> None:
        """Give the piece its final name and put its counts into the receipt."""
        ...

    def abort(self) -> None:
        """Leave nothing of the piece behind."""
        ...


class PieceSink:
    """Writes packets into one piece after another (protocol ``Sink``).

    ``create`` makes the sink of a piece by its name. Side blocks go to the piece that is under way when they come.
    Raises what the sinks raise, and UsageError where a second piece would get the name of an earlier one.
    """

    def __init__(
        self, create: Callable[[str], PieceWriter], template: str, rotation: Rotation, context: Context
    ) -> None:
        self._create = create
        self._template = template
        self._rotation = rotation
        self._context = context
        self._piece: PieceWriter | None = None
        self._name = ""
        self._number = 0
        self._start = 0
        self._begun = False
        self._packets = self._bytes = 0
        self._times: tuple[int, int] | None = None
        self._known: set[str] = set()
        self.names: list[str] = []
        """of the pieces, in the order of their begin; a ring's files once"""
        self.enough = False
        """as many pieces as wanted are written"""

    @property
    def packets(self) -> int:
        """Packets written so far."""
        return self._packets + (self._piece.packets if self._piece is not None else 0)

    def write(self, chunk: Chunk) -> None:
        """Append the chunk's packets to the pieces they belong to."""
        rows, row = len(chunk.packets), 0
        if rows == 0:
            if self._piece is not None:
                self._piece.write(chunk)
                if self._rotation.period and chunk.complete_to >= self._start + self._rotation.period:
                    self._close()  # nothing that belongs into it can come: a live capture has its file in time
            return
        time, most = chunk.packets["time"], self._most(chunk)
        while row < rows and not self.enough:
            piece = self._piece_for(int(time[row]))
            if piece is None:
                return
            stop = min(self._end_of_period(time, row), self._end_of_size(most, row, piece))
            part = dataclasses.replace(chunk, packets=chunk.packets.take(slice(row, stop)))
            part.side_blocks, chunk = chunk.side_blocks, dataclasses.replace(chunk, side_blocks=[])
            piece.write(part)
            row = stop

    @property
    def size(self) -> int:
        """Bytes of all pieces so far."""
        return self._bytes + (self._piece.size if self._piece is not None else 0)

    def flush(self) -> None:
        """Hand what was gathered to the file of the piece under way."""
        if self._piece is not None:
            self._piece.flush()

    def finish(self) -> None:
        """Finish the last piece; the receipt then tells of all."""
        self._close()
        receipt = self._context.receipt
        receipt.packets_written, receipt.bytes_written = self._packets, self._bytes
        if self._times is not None:
            receipt.first_time, receipt.last_time = self._times
        receipt.note("pieces", "files were written", len(self.names))

    def abort(self) -> None:
        """Leave nothing of the piece under way behind; those before it are whole and stay."""
        if self._piece is not None:
            self._piece.abort()

    def _most(self, chunk: Chunk) -> NDArray[np.int64]:
        """How large the record of each packet can be at most, summed up."""
        packets = chunk.packets
        most = packets["captured"].astype(np.int64) + packets["options_length"] + _LARGEST_HEAD
        if "comment" in packets:
            texts = self._context.comments.texts
            for number in np.unique(packets["comment"]).tolist():
                if number >= 0:
                    most[packets["comment"] == number] += 4 * len(texts[number]) + 8
        summed: NDArray[np.int64] = np.cumsum(most)
        return summed

    def _piece_for(self, time: int) -> PieceWriter | None:
        """The piece that a packet of that time goes to; None where there may be no further one."""
        rotation = self._rotation
        if not self._begun:
            self._begun, self._start = True, time
        elif rotation.period and time >= self._start + rotation.period:
            self._start += (time - self._start) // rotation.period * rotation.period
            self._close()
            if not rotation.size:
                self._number += 1
                if rotation.count and self._number >= rotation.count:
                    self.enough = True
                    text = "writing ended after as many files as -W wanted"
                    self._context.receipt.note("enough-files", text, 1)
                    return None
            else:
                self._number = 0
        elif rotation.size and self._piece is not None and self._piece.size > rotation.size and self._piece.packets:
            self._close()
            self._number += 1
        if self._piece is None:
            self._open()
        return self._piece

    def _open(self) -> None:
        ring = self._rotation.count and self._rotation.size
        name = self._rotation.name(self._template, self._start, self._number)
        if name in self._known:
            if not ring:
                raise UsageError(
                    "a piece would replace an earlier one",
                    cause=f"two pieces are named {name}",
                    hint="put more of the time into the name: %Y%m%d-%H%M%S",
                )
            self._context.receipt.note("ring", "files of the ring were replaced by later ones", 1)
        else:
            self.names.append(name)
            self._known.add(name)
        self._piece = self._create(name)

    def _close(self) -> None:
        piece, self._piece = self._piece, None
        if piece is None:
            return
        try:
            piece.finish()
        except BaseException:
            piece.abort()
            raise
        receipt = self._context.receipt
        self._packets += receipt.packets_written
        self._bytes += receipt.bytes_written
        if receipt.first_time is not None and receipt.last_time is not None:
            first, last = self._times or (receipt.first_time, receipt.last_time)
            self._times = (min(first, receipt.first_time), max(last, receipt.last_time))

    def _end_of_period(self, time: NDArray[np.int64], row: int) -> int:
        """The first row from ``row`` on that belongs to a later period."""
        if not self._rotation.period:
            return len(time)
        later = np.flatnonzero(time[row:] >= self._start + self._rotation.period)
        return row + int(later[0]) if len(later) else len(time)

    def _end_of_size(self, most: NDArray[np.int64], row: int, piece: PieceWriter) -> int:
        """How far rows surely do not make the piece larger than wanted; one row at least."""
        if not self._rotation.size:
            return len(most)
        before = int(most[row - 1]) if row else 0
        room = self._rotation.size - piece.size
        return max(row + 1, int(np.searchsorted(most, before + room, "right")))
