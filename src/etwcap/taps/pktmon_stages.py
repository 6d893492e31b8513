"""What is said of packets of PktMon besides what their records say."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from etwcap.packets import Chunk, Context, linktypes
from etwcap.providers.pktmon_layout import ComponentType
from etwcap.windows.pktmon_api import MOST_BYTES

LIMITS: Final = f"PktMon's API: at most {MOST_BYTES:,} bytes of each packet, stamped by the system's tick"
REGISTERED: Final = 270
"""the event of a component that came while PktMon captured: u16 id, u16 type, name, description"""
ADAPTERS: Final = (ComponentType.MINIPORT, ComponentType.NETCX, ComponentType.NETVSC)


class ApiInterfaces:
    """Says of the interfaces how much of each packet there is, and how coarse its time (protocol ``Stage``)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk as it is."""
        self._describe()
        return chunk

    def finish(self) -> None:
        """Nothing was held."""
        self._describe()

    def _describe(self) -> None:
        for each in self._context.interfaces:
            if each.tap == "pktmon" and each.link_type != linktypes.ETW and not each.description.endswith(LIMITS):
                each.description = f"{each.description}; {LIMITS}" if each.description else LIMITS
                each.snap_length = MOST_BYTES


class NewAdapters:
    """Notes adapters that came while PktMon captured: components were chosen when it began (protocol ``Stage``)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk as it is."""
        events = chunk.events
        for row in np.flatnonzero(events["id"] == REGISTERED).tolist() if len(events) else ():
            at, length = int(events["offset"][row]), int(events["length"][row])
            if length >= 4 and struct.unpack_from("<H", chunk.buffer[at : at + 4].tobytes(), 2)[0] in ADAPTERS:
                text = "adapters came while PktMon captured: start anew to have their packets"
                self._context.receipt.note("pktmon-new-adapters", text, 1)
        return chunk

    def finish(self) -> None:
        """Nothing was held."""
