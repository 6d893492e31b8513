"""A chunk: what a source hands to the stages and the stages to a sink."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from etwcap.packets.table import EventTable, PacketTable

END_OF_TIME = 2**63 - 1
"""``complete_to`` of the last chunk: nothing follows."""


@dataclass(slots=True)
class SideBlock:
    """A pcapng block that is neither packet nor interface (names, secrets ...), carried through unread.

    ``body`` is the block without type, length words and padding, little-endian where etwcap knows its fields.
    """

    block_type: int
    body: bytes


@dataclass(slots=True)
class Chunk:
    """Packets and events over one byte buffer, each table in time order.

    The buffer belongs to the chunk's source: stages may change packet bytes in place, and it is valid only until the
    next chunk is asked for. A stage that holds rows back copies their bytes (``etwcap.packets.held``).
    """

    buffer: NDArray[np.uint8]
    packets: PacketTable
    events: EventTable
    complete_to: int
    """ns since 1970 UTC: no later chunk holds anything earlier."""
    side_blocks: list[SideBlock] = field(default_factory=list)
