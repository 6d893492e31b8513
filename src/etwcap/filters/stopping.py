"""``--stop-when``: the first packet that matches is the last one."""

from __future__ import annotations

import dataclasses

import numpy as np

from etwcap.filters.compiled import Filter
from etwcap.filters.stage import FilterStage
from etwcap.packets import Chunk, Context


class StopWhen:
    """Lets packets through up to and including the first that matches; then ``enough`` is true."""

    def __init__(self, context: Context, chosen: Filter) -> None:
        self._context = context
        self._stage = FilterStage(context, chosen)
        self.enough = False

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk up to the packet that ends the run."""
        rows = len(chunk.packets)
        if self.enough:
            return dataclasses.replace(chunk, packets=chunk.packets.take(slice(0, 0)))
        found = np.flatnonzero(self._stage.matches(chunk)) if rows else np.empty(0, np.intp)
        if not len(found):
            return chunk
        self.enough = True
        self._context.receipt.note("stop-when", "the packet that --stop-when waited for came")
        return dataclasses.replace(chunk, packets=chunk.packets.take(slice(0, int(found[0]) + 1)))

    def finish(self) -> None:
        """Nothing is held."""
