"""The records of several taps that come through one pipe, as a source for each tap."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import Chunk, Context, Description, EventTable
from etwcap.taps.protocol import LiveTapSource, TapLosses


class PerTap:
    """Splits a live source by the taps of its rows' interfaces.

    ``sources`` has one for each name, in their order; they are read in turns (``LiveMerge`` does), and a chunk of the
    whole gives each of them one, so none is ever far ahead. The whole gives each chunk a buffer of its own, as
    ``RemoteSource`` does. Losses are the whole's, and the first one tells them.
    """

    def __init__(self, whole: LiveTapSource, context: Context, names: Sequence[str]) -> None:
        self._whole = whole
        self._context = context
        self._names = list(names)
        self._chunks: Iterator[Chunk] | None = None
        self._waiting: list[deque[Chunk]] = [deque() for _ in names]
        self.sources = [_OneTap(self, whole, number) for number in range(len(names))]

    def following(self, number: int) -> Chunk | None:
        """The next chunk of a tap; None at the end."""
        if self._chunks is None:
            self._chunks = self._whole.chunks()
        if not self._waiting[number]:
            chunk = next(self._chunks, None)
            if chunk is None:
                return None
            self._give_out(chunk)
        return self._waiting[number].popleft()

    def _give_out(self, chunk: Chunk) -> None:
        of_row = self._tap_of_interface()[chunk.packets["interface"]]
        for number, waiting in enumerate(self._waiting):
            rows = chunk.packets.take(np.flatnonzero(of_row == number))
            # one buffer for all: each tap's stages write into packets, but only into their own
            waiting.append(Chunk(chunk.buffer, rows, EventTable(0), chunk.complete_to))

    def _tap_of_interface(self) -> NDArray[np.intp]:
        """The number of each interface's tap; the first tap's where the name is none of them."""
        numbers = {name: number for number, name in enumerate(self._names)}
        return np.array([numbers.get(each.tap, 0) for each in self._context.interfaces] or [0], np.intp)


class _OneTap:
    """One tap's part (protocol ``LiveTapSource``); stopping or closing one does it to all."""

    def __init__(self, parts: PerTap, whole: LiveTapSource, number: int) -> None:
        self._parts = parts
        self._whole = whole
        self._number = number

    def describe(self) -> Description:
        """The whole's."""
        return self._whole.describe()

    def chunks(self) -> Iterator[Chunk]:
        """This tap's rows."""
        while (chunk := self._parts.following(self._number)) is not None:
            yield chunk

    def progress(self) -> tuple[int, int]:
        """(bytes of all taps' records so far, 0); 0 for all but the first."""
        return self._whole.progress() if self._number == 0 else (0, 0)

    def losses(self) -> TapLosses:
        """The whole's, told by the first."""
        return self._whole.losses() if self._number == 0 else TapLosses()

    def stop(self) -> None:
        """Stop the whole."""
        self._whole.stop()

    def close(self) -> None:
        """Close the whole, once all of it was given out or it is no longer wanted."""
        self._whole.close()
