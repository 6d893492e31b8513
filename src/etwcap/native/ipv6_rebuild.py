"""IPv6 headers that raw sockets leave out: Next Header and destination from the bytes and from what was learnt."""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_ipv6_rebuild, twin_ipv6_state
from etwcap.native.loader import function, library, pointer

MOST_ADDRESSES: Final = 1 << 16
"""candidates that are kept; with more, a checksum would tell nothing"""
MOST_LEARNT: Final = 5 << 17
"""entries of what is learnt (flows, pairs of hosts, fragments, series ...): 16 MiB; when full, learning begins anew"""


class Role(enum.IntFlag):
    """What is known of a candidate address."""

    OWN = 1
    """a unicast address of the machine"""
    JOINED = 2
    """a group that the machine listens to"""
    LISTED = 4
    """stood in another table of the machine"""
    SOURCE = 8
    """a packet came from it"""
    WELL_KNOWN = 16
    """a group of a standard"""
    TOLD = 32
    """a socket told it, a message quotes it, or an earlier packet went to it"""


class Mode(enum.IntFlag):
    """What a call does besides learning."""

    WRITE = 1
    """write the headers"""
    INFER = 2
    """infer and learn; without it only what the record says is used"""
    JOIN = 4
    """add up the sums of fragments; in one pass over a recording only"""


class How(enum.IntEnum):
    """How the Next Header is known."""

    UNKNOWN = 0
    SHAPE = 1
    """the fields of its header, no checksum"""
    CHECKSUM = 2
    OFFLOADED = 3
    """the checksum field holds the sum of the pseudo-header"""
    OFFLOADED_LARGE = 4
    """the same without the length, as for large sends"""
    OWN_SUM = 5
    """a checksum that covers no pseudo-header"""
    FLOW = 6
    """belongs to others of its kind"""
    EMPTY = 7
    """nothing follows"""
    SERIES = 8
    """a series of numbers"""


class To(enum.IntEnum):
    """How the destination is known."""

    UNKNOWN = 0
    TOLD = 1
    """by the socket (IPV6_PKTINFO)"""
    FLOW_SUM = 2
    """by its flow; the checksum agrees"""
    KIND_SUM = 3
    """by the kind of message; the checksum agrees"""
    ONLY_SUM = 4
    """the only candidate with which the checksum is right"""
    CONTEXT_SUM = 5
    """of several such candidates the one that the context speaks for"""
    FLOW = 6
    """by its flow; no checksum to agree"""
    KIND = 7
    """by the kind of message; no checksum to agree"""
    JOINED = 8
    """the checksum of the whole packet, its fragments joined"""
    ANSWERED = 9
    """by packets of the other direction"""
    SOLE = 10
    """there is only one address at the other end"""
    SEVERAL = 11
    """not known: several candidates fit"""


class _State(ctypes.Structure):
    _fields_ = [
        ("address", ctypes.c_void_p),
        ("address_hash", ctypes.c_void_p),
        ("address_sum", ctypes.c_void_p),
        ("role", ctypes.c_void_p),
        ("next", ctypes.c_void_p),
        ("head", ctypes.c_void_p),
        ("slot", ctypes.c_void_p),
        ("address_slots", ctypes.c_uint64),
        ("capacity", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("key", ctypes.c_void_p),
        ("value", ctypes.c_void_p),
        ("slots", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("used", ctypes.c_uint64),
        ("port", ctypes.c_void_p),
        ("port_address", ctypes.c_void_p),
        ("ports", ctypes.c_uint64),
        ("sole", ctypes.c_uint64),
    ]


class Knowledge:
    """What is known of addresses and flows; grows with every call, within its limits. One core for all calls."""

    def __init__(
        self,
        services: Sequence[tuple[int, bytes]] = (),
        *,
        most_addresses: int = MOST_ADDRESSES,
        most_learnt: int = MOST_LEARNT,
    ) -> None:
        """``services``: UDP ports that talk to groups, and the group (16 bytes)."""
        services = sorted(services)
        self.sole = 0
        """who is the only one at the other end may be told from: 0 nothing, 1 the machine's own addresses, 2 all that
        was seen, since all has been"""
        self.twin: twin_ipv6_state.State | None = None
        if library() is None:
            self.twin = twin_ipv6_state.State(services, most_addresses, most_learnt)
            return
        slots = 1 << (most_learnt * 3 // 2).bit_length()
        places = 1 << (2 * most_addresses).bit_length()
        self.addresses = np.zeros((most_addresses, 16), np.uint8)
        self._arrays = {
            "address": self.addresses,
            "address_hash": np.zeros(most_addresses, np.uint64),
            "address_sum": np.zeros(most_addresses, np.uint16),
            "role": np.zeros(most_addresses, np.uint8),
            "next": np.zeros(most_addresses, np.int32),
            "head": np.full(65535, -1, np.int32),
            "slot": np.zeros(places, np.uint32),
            "key": np.zeros(slots, np.uint64),
            "value": np.zeros(slots, np.uint64),
            "port": np.array([port for port, _ in services], np.uint16),
            "port_address": np.frombuffer(b"".join(group for _, group in services) or bytes(16), np.uint8).copy(),
        }
        self.state = _State(**{name: pointer(array) for name, array in self._arrays.items()})
        self.state.address_slots, self.state.capacity = places, most_addresses
        self.state.slots, self.state.limit, self.state.ports = slots, most_learnt, len(services)

    def __len__(self) -> int:
        """Addresses known."""
        return len(self.twin.addresses) if self.twin is not None else int(self.state.count)

    def add(self, addresses: NDArray[np.uint8], role: int) -> None:
        """Take in candidates, 16 bytes a row; one that is known gets the role too. What is too many is left out."""
        rows = np.ascontiguousarray(addresses, np.uint8).reshape(-1, 16)
        if self.twin is not None:
            self.twin.add(rows, role)
            return
        call = function(
            _core(), "ec_ipv6_add", ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32
        )  # fmt: skip
        call(ctypes.addressof(self.state), pointer(rows), len(rows), int(role))

    def rebuild(
        self,
        buffer: NDArray[np.uint8],
        record: NDArray[np.int64],
        payload: NDArray[np.int64],
        captured: NDArray[np.uint32],
        original: NDArray[np.uint32],
        mode: Mode,
    ) -> NDArray[np.uint32]:
        """Learn from packets without IPv6 header, and write their headers into the 40 bytes before them.

        ``record``: where in the buffer the 64-byte header of a raw socket's record lies; ``payload``, ``captured``,
        ``original``: the packet behind its IPv6 header. Returns the evidence: Next Header, How << 8, To << 16. Raises
        IndexError when a row does not lie inside the buffer.
        """
        if self.twin is not None:
            self.twin.sole = self.sole
            return twin_ipv6_rebuild.rebuild(self.twin, buffer, record, payload, captured, original, int(mode))
        record = np.ascontiguousarray(record, np.int64)
        payload = np.ascontiguousarray(payload, np.int64)
        captured = np.ascontiguousarray(captured, np.uint32)
        original = np.ascontiguousarray(original, np.uint32)
        evidence = np.zeros(len(record), np.uint32)
        self.state.sole = self.sole
        call = function(
            _core(), "ec_ipv6_rebuild", ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32,
            ctypes.c_void_p,
        )  # fmt: skip
        got = call(
            ctypes.addressof(self.state), pointer(buffer), buffer.size, pointer(record), pointer(payload),
            pointer(captured), pointer(original), len(record), int(mode), pointer(evidence),
        )  # fmt: skip
        if got < 0:
            raise IndexError(f"packet {-got - 1} lies outside the buffer")
        return evidence


def _core() -> ctypes.CDLL:
    core = library()
    if core is None:
        raise RuntimeError("what the native core has learnt cannot go on in the twin")
    return core
