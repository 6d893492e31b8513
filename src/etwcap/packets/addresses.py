"""Addresses of the machine that was captured, and of those it knew, as a tap read them from its tables."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

WIDTH: Final = 16
"""bytes of an address; IPv4 as ::ffff:a.b.c.d"""
MOST_ADDRESSES: Final = 1 << 16
"""entries that a book keeps"""
MAPPED: Final = bytes(10) + b"\xff\xff"
"""what stands before an IPv4 address"""


class AddressKind(enum.IntEnum):
    """Which table of the machine an address was in."""

    UNICAST = 1
    """an address of the machine itself"""
    MULTICAST = 2
    """a group the machine has joined"""
    ANYCAST = 3
    NEIGHBOUR = 4
    PATH = 5
    """the destination cache"""
    TCP_REMOTE = 6
    ENDPOINT = 7
    """local address of a TCP or UDP endpoint"""
    GATEWAY = 8
    """next hop of a route"""
    RESOLVER = 9
    """a DNS server"""


OWN: Final = frozenset({AddressKind.UNICAST, AddressKind.ANYCAST})
"""A packet from such an address was sent, one to it received."""
LOCAL: Final = OWN | {AddressKind.MULTICAST}
"""Destinations that the machine listens to."""


class AddressBook:
    """All distinct (table, interface, address) of a run; it grows while a source is read and forgets nothing.

    ``version`` changes whenever an entry was added. What comes after ``MOST_ADDRESSES`` is counted in ``left_out``.
    """

    def __init__(self) -> None:
        self.entries: dict[tuple[int, int, bytes], None] = {}
        """(AddressKind, interface index of Windows, 16 bytes), in the order of their coming"""
        self.version = 0
        self.left_out = 0
        self._cached: dict[frozenset[int], tuple[int, NDArray[np.uint8]]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, kind: int, interface: int, address: bytes) -> None:
        """Put an address of 16 bytes into a table; one that is there already changes nothing."""
        key = kind, interface, address
        if key in self.entries:
            return
        if len(self.entries) >= MOST_ADDRESSES:
            self.left_out += 1
            return
        self.entries[key] = None
        self.version += 1

    def of(self, kinds: Iterable[int]) -> NDArray[np.uint8]:
        """The distinct addresses of these tables in ascending order, 16 bytes a row."""
        wanted = frozenset(kinds)
        version, rows = self._cached.get(wanted, (-1, np.empty((0, WIDTH), np.uint8)))
        if version != self.version:
            found = sorted({address for kind, _, address in self.entries if kind in wanted})
            rows = np.frombuffer(b"".join(found), np.uint8).reshape(-1, WIDTH)
            self._cached[wanted] = self.version, rows
        return rows

    def holds(self, addresses: NDArray[np.uint8], kinds: Iterable[int]) -> NDArray[np.bool_]:
        """Which of the addresses (16 bytes a row) stand in one of these tables."""
        known = self.of(kinds)
        if not len(known) or not len(addresses):
            return np.zeros(len(addresses), np.bool_)
        table, asked = _keys(known), _keys(addresses)
        place = np.minimum(np.searchsorted(table, asked), len(table) - 1)
        found: NDArray[np.bool_] = table[place] == asked
        return found


def mapped(addresses: NDArray[np.uint8], family: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Addresses of 16 bytes a row, of which IPv4 ones (``family`` 4) fill the first four, with those as
    ::ffff:a.b.c.d."""
    out: NDArray[np.uint8] = addresses.copy()
    four = np.flatnonzero(family == 4)
    if len(four) == len(family):
        out[:, 12:] = addresses[:, :4]
        out[:, :12] = np.frombuffer(MAPPED, np.uint8)
    elif len(four):
        out[four, 12:] = addresses[four, :4]
        out[four, :12] = np.frombuffer(MAPPED, np.uint8)
    return out


def _keys(addresses: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """Sixteen bytes as one value that NumPy sorts and compares as a whole (zeros at its end count for nothing, which
    changes neither order nor equality of values of one length)."""
    return np.ascontiguousarray(addresses).view(f"S{WIDTH}").reshape(-1)
