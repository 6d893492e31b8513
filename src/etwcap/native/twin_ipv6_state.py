"""Twin of ipv6_state.c: what the rebuilder knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NONE: Final = 0
LOOPBACK: Final = 1
LINK: Final = 2
GROUP: Final = 3
GLOBAL: Final = 4
"""kinds of addresses"""

OWN: Final = 1
JOINED: Final = 2
SOURCE: Final = 8
WELL_KNOWN: Final = 16
TOLD: Final = 32
"""roles of candidates"""


def kind_of(address: bytes) -> int:
    """What an address is."""
    if address[0] == 0xFF:
        return GROUP
    if address[0] == 0xFE and address[1] & 0xC0 == 0x80:
        return LINK
    if not any(address[:15]) and address[15] <= 1:
        return LOOPBACK if address[15] else NONE
    return GLOBAL


def sum_of(data: bytes) -> int:
    """The sum of the 16-bit words, modulo 65535 (an odd byte is a high one): 2**16 is 1 modulo 65535."""
    return int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 65535


@dataclass(slots=True)
class Vote:
    """An address, how often it was voted for, whether there were others."""

    index: int
    hits: int
    several: bool


class State:
    """Addresses by sum, and one map of everything learnt, emptied when it is full."""

    def __init__(self, services: Sequence[tuple[int, bytes]], most_addresses: int, most_learnt: int) -> None:
        self.services = list(services)
        self.ports = {port for port, _ in services}
        self.capacity = most_addresses
        self.limit = most_learnt
        self.addresses: list[bytes] = []
        self.roles: list[int] = []
        self.sums: list[int] = []
        self.index: dict[bytes, int] = {}
        self.by_sum: defaultdict[int, list[int]] = defaultdict(list)
        self.learnt: dict[tuple[Any, ...], Any] = {}
        self.sole = 0

    def intern(self, address: bytes, role: int) -> int:
        """The index of an address; -1 where there is no room for it, or it is ::."""
        known = self.index.get(address)
        if known is not None:
            self.roles[known] |= role
            return known
        if len(self.addresses) >= self.capacity or kind_of(address) == NONE:
            return -1
        index = self.index[address] = len(self.addresses)
        self.addresses.append(address)
        self.roles.append(role)
        self.sums.append(sum_of(address))
        self.by_sum[self.sums[index]].insert(0, index)
        return index

    def add(self, rows: NDArray[np.uint8], role: int) -> None:
        """Add addresses, 16 bytes a row."""
        for row in rows:
            self.intern(row.tobytes(), int(role))

    def put(self, key: tuple[Any, ...], value: Any) -> None:
        """Learn something."""
        if key not in self.learnt and len(self.learnt) >= self.limit:
            self.learnt.clear()
        self.learnt[key] = value

    def vote(self, key: tuple[Any, ...], index: int) -> None:
        """One more packet says that the address under the key is this one."""
        known = self.learnt.get(key)
        vote = Vote(index, 0, False) if known is None else Vote(known.index, known.hits, known.several)
        if vote.index == index:
            vote.hits = min(vote.hits + 1, 255)
        else:
            vote.several = True
            if vote.hits <= 1:
                vote.index, vote.hits = index, 1
            else:
                vote.hits -= 1
        self.put(key, vote)
