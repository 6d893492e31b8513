"""Only what the machine says to itself, of packets whose interface is not known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import EtwcapError
from etwcap.native.rows import gather_rows
from etwcap.packets import Chunk, Context
from etwcap.packets.addresses import MAPPED, AddressBook, AddressKind
from etwcap.windows.adapters import adapters

REFRESH: Final = 2.0
"""s after which the machine's addresses are read again"""
_IPV4 = np.dtype([("version", "u1"), ("skipped", "V11"), ("source", "u1", (4,)), ("destination", "u1", (4,))])
_IPV6 = np.dtype([("version", "u1"), ("skipped", "V7"), ("source", "u1", (16,)), ("destination", "u1", (16,))])
_OWN: Final = frozenset({AddressKind.UNICAST})
_LOOPBACK4: Final = 127
_ONE6: Final = np.frombuffer(bytes(15) + b"\x01", np.uint8)


def own_addresses() -> list[str]:
    """The addresses of this machine's adapters; none where Windows does not tell."""
    try:
        return [each.text for adapter in adapters() for each in adapter.addresses]
    except EtwcapError:
        return []


class LoopbackOnly:
    """Stage: keeps the raw IP packets of which both ends are this machine; multicasts are not among them.

    ``addresses`` gives the machine's own, ``now`` is for tests.
    """

    def __init__(
        self,
        context: Context,
        addresses: Callable[[], Iterable[str]] = own_addresses,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._addresses = addresses
        self._now = now
        self._book = AddressBook()
        self._read_at = -REFRESH

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk without packets of others."""
        packets = chunk.packets
        if not len(packets):
            return chunk
        self._refresh()
        keep = np.zeros(len(packets), np.bool_)
        offset, captured = packets["offset"], packets["captured"]
        version = np.zeros(len(packets), np.uint8)
        some = np.flatnonzero(captured > 0)
        version[some] = chunk.buffer[offset[some]] >> 4
        four = np.flatnonzero((version == 4) & (captured >= _IPV4.itemsize))
        six = np.flatnonzero((version == 6) & (captured >= _IPV6.itemsize))
        if len(four):
            ends = gather_rows(chunk.buffer, offset[four], _IPV4)
            keep[four] = self._both(_mapped(ends["source"]), _mapped(ends["destination"]))
        if len(six):
            ends = gather_rows(chunk.buffer, offset[six], _IPV6)
            keep[six] = self._both(ends["source"], ends["destination"])
        if not keep.all():
            chunk.packets = packets.take(keep)
        return chunk

    def finish(self) -> None:
        """Nothing is held."""

    def _both(self, source: NDArray[np.uint8], destination: NDArray[np.uint8]) -> NDArray[np.bool_]:
        both: NDArray[np.bool_] = self._mine(source) & self._mine(destination)
        return both

    def _mine(self, address: NDArray[np.uint8]) -> NDArray[np.bool_]:
        mine = self._book.holds(np.ascontiguousarray(address), _OWN)
        mine |= (address[:, :12] == np.frombuffer(MAPPED, np.uint8)).all(axis=1) & (address[:, 12] == _LOOPBACK4)
        mine |= (address == _ONE6).all(axis=1)
        return mine

    def _refresh(self) -> None:
        now = self._now()
        if now - self._read_at < REFRESH:
            return
        self._read_at = now
        for text in self._addresses():
            packed = ip_address(text).packed
            self._book.add(AddressKind.UNICAST, 0, packed if len(packed) == 16 else MAPPED + packed)


def _mapped(addresses: NDArray[np.uint8]) -> NDArray[np.uint8]:
    made = np.empty((len(addresses), 16), np.uint8)
    made[:, :12] = np.frombuffer(MAPPED, np.uint8)
    made[:, 12:] = addresses
    return made
