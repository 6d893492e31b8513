"""What the tap ndiscap does with its records before packets are made of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.rows import gather_rows
from etwcap.packets import Chunk, Context
from etwcap.providers.ndiscap_layout import GUID, EventId

QUIET: Final = 2.0
"""s without any packet after which that is told"""
NOT_BOUND: Final = "no packet came: NdisCap may not be bound, or nothing passes these adapters"

_RECORD_AT: Final = 8
_EXTENDED: Final = 0x1
"""EVENT_HEADER_FLAG_EXTENDED_INFO: items stand between header and payload"""
_HEAD: Final = np.dtype(
    {
        "names": ["flags", "provider", "id"],
        "formats": ["<u2", "V16", "<u2"],
        "offsets": [_RECORD_AT + 4, _RECORD_AT + 24, _RECORD_AT + 40],
        "itemsize": _RECORD_AT + 80,
    }
)
"""Of a row: processor and logger, then EVENT_HEADER (evntcons.h)."""
_INDEX: Final = np.dtype([("miniport", "<u4")])
"""The payload of 1001, 1002 and 1003 begins with MiniportIfIndex."""
_OF_ADAPTERS: Final = (EventId.PACKET_FRAGMENT, EventId.PACKET_METADATA, EventId.VMSWITCH_PACKET_FRAGMENT)


def frames(chunk: Chunk) -> NDArray[np.intp]:
    """The rows of a chunk of records that are frames, or belong to one, of an adapter that their payload names."""
    rows = chunk.packets
    whole = np.flatnonzero(rows["captured"] >= _HEAD.itemsize + _INDEX.itemsize)
    heads = gather_rows(chunk.buffer, rows["offset"][whole].astype(np.int64), _HEAD)
    found = np.isin(heads["id"], _OF_ADAPTERS) & (heads["provider"] == np.void(GUID))
    found &= heads["flags"] & _EXTENDED == 0
    picked: NDArray[np.intp] = whole[found]
    return picked


class AdapterRecords:
    """Lets the frames of some adapters through, by their interface indexes, and every other event."""

    def __init__(self, indexes: Collection[int]) -> None:
        self._indexes = np.array(sorted(set(indexes)), np.uint32)

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk without frames of other adapters."""
        rows = chunk.packets
        at = frames(chunk)
        if not len(at):
            return chunk
        index = gather_rows(chunk.buffer, rows["offset"][at].astype(np.int64) + _HEAD.itemsize, _INDEX)["miniport"]
        keep = np.ones(len(rows), np.bool_)
        keep[at] = np.isin(index, self._indexes)
        return chunk if keep.all() else dataclasses.replace(chunk, packets=rows.take(keep))

    def finish(self) -> None:
        """Nothing is held."""


class SilenceWatch:
    """Says once that nothing comes, and notes in the receipt where nothing came at all."""

    def __init__(
        self, context: Context, tell: Callable[[str], None], *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._receipt = context.receipt
        self._tell = tell
        self._now = now
        self._since = now()
        self._heard = self._told = False

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk as it is."""
        if not self._heard:
            self._heard = len(frames(chunk)) > 0
            if not self._heard and not self._told and self._now() - self._since >= QUIET:
                self._told = True
                self._tell(NOT_BOUND)
        return chunk

    def finish(self) -> None:
        """Note a capture in which nothing came."""
        if not self._heard:
            self._receipt.note("ndiscap-silent", NOT_BOUND)
