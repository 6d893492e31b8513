"""The stage that lets only packets through that match a filter."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from etwcap.filters.compiled import Filter
from etwcap.filters.generate import DROPPED, FIRST_INTERFACE_BIT, OWNED, RECEIVED, SENT
from etwcap.native.filter import filter_run
from etwcap.packets import Chunk, Context, Interface, Mark, PacketTable, linktypes
from etwcap.packets.table import NO_PROCESS

_DIRECTION_FACTS = np.array([0, RECEIVED, SENT], np.uint32)


class FilterStage:
    """Lets packets through that match; it belongs right before the sink, where a packet is as it will be written."""

    def __init__(self, context: Context, chosen: Filter) -> None:
        self._context = context
        self._filter = chosen
        self._entry = np.empty(0, np.uint32)
        self._named = np.empty(0, np.uint32)
        self.left_out = 0
        """packets that did not match"""

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with the packets that match."""
        packets = chunk.packets
        if not len(packets) or self._filter.tree is None:
            return chunk
        keep = self.matches(chunk)
        kept = int(np.count_nonzero(keep))
        self.left_out += len(keep) - kept
        if kept == len(keep):
            return chunk
        self._tell_refused(packets["interface"][~keep])
        self._context.receipt.note("filter", "packets that the filter does not want were left out", len(keep) - kept)
        return dataclasses.replace(chunk, packets=packets.take(keep))

    def matches(self, chunk: Chunk) -> NDArray[np.bool_]:
        """Whether the filter wants each packet of the chunk."""
        packets = chunk.packets
        if self._filter.tree is None:
            return np.ones(len(packets), np.bool_)
        self._learn()
        return filter_run(
            self._filter.code if len(self._filter.code) else _NO_MATCH,
            self._entry,
            chunk.buffer,
            packets["offset"],
            packets["captured"],
            packets["original"],
            packets["interface"],
            self._facts(packets) if self._filter.needs_facts else None,
            packets["process"] if self._filter.needs_process else None,
        )

    def finish(self) -> None:
        """Nothing is held."""

    def _learn(self) -> None:
        """The programs for interfaces that are new."""
        interfaces = self._context.interfaces
        new = [interfaces[number] for number in range(len(self._entry), len(interfaces))]
        if new:
            entries = np.array([self._filter.entry(interface.link_type) for interface in new], np.uint32)
            self._entry = np.concatenate([self._entry, entries])
            self._named = np.concatenate([self._named, np.array([self._names(each) for each in new], np.uint32)])

    def _names(self, interface: Interface) -> int:
        known = {interface.name.casefold(), interface.description.casefold()}
        if interface.if_index:
            known.add(str(interface.if_index))
        bits = 0
        for number, name in enumerate(self._filter.interfaces):
            bits |= (name.casefold() in known) << (FIRST_INTERFACE_BIT + number)
        return bits

    def _facts(self, packets: PacketTable) -> NDArray[np.uint32]:
        """What is known of each packet beside its bytes, as bits."""
        direction = np.minimum(packets["direction"], 3)
        facts = np.append(_DIRECTION_FACTS, np.uint32(0))[direction] | self._named[packets["interface"]]
        flags = packets["flags"]
        dropped = (packets["drop_count"] > 0) | ((flags & Mark.DROP_ONLY) != 0)
        facts |= np.where(dropped, np.uint32(DROPPED), np.uint32(0))
        owned = ((flags & Mark.PROCESS_TRUSTED) != 0) & (packets["process"] != NO_PROCESS)
        facts |= np.where(owned, np.uint32(OWNED), np.uint32(0))
        return np.asarray(facts, np.uint32)

    def _tell_refused(self, interfaces: NDArray[np.int32]) -> None:
        if not self._filter.refused or not len(interfaces):
            return
        for number, count in enumerate(np.bincount(interfaces).tolist()):
            link_type = self._context.interfaces[number].link_type
            if count and link_type in self._filter.refused:
                name = linktypes.title(link_type)
                text = f"no {name} packet matches the filter: {self._filter.refused[link_type]}"
                self._context.receipt.note(f"filter-{link_type}", text, count)


_NO_MATCH = Filter("len < 0").program(linktypes.ETHERNET)
"""A sound program for a run in which no link type has one of its own."""
