"""``-i``: only the packets of some interfaces."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from etwcap.packets import Chunk, Context, Interface
from etwcap.packets.linktypes import title


class InterfaceSelection:
    """Lets packets of the named interfaces through: by name (case does not matter), description or Windows' index.

    A name without the link type, "Wi-Fi" for "Wi-Fi (802.11)", stands for all link types of its adapter.
    """

    def __init__(self, context: Context, names: Sequence[str]) -> None:
        self._context = context
        self._names = [name.casefold() for name in names]
        self._wanted = np.empty(0, np.bool_)
        self.left_out = 0
        """packets of other interfaces"""

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with the chosen packets."""
        interfaces = self._context.interfaces
        if len(self._wanted) < len(interfaces):
            self._wanted = np.array([self._matches(interface) for interface in interfaces], np.bool_)
        if not len(chunk.packets):
            return chunk
        keep = self._wanted[chunk.packets["interface"]]
        self.left_out += len(keep) - int(np.count_nonzero(keep))
        return chunk if keep.all() else dataclasses.replace(chunk, packets=chunk.packets.take(keep))

    def finish(self) -> None:
        """Nothing is held."""

    def _matches(self, interface: Interface) -> bool:
        adapter = interface.name.removesuffix(f" ({title(interface.link_type)})")
        known = {name.casefold() for name in (interface.name, adapter, interface.description)}
        if interface.if_index:
            known.add(str(interface.if_index))
        return not known.isdisjoint(self._names)
