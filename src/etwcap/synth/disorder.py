"""What raw sockets do to the order of packets: answers before their causes, stamps of batches, shuffled neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import PacketTable
from etwcap.synth.headers import FRAGMENT_HEADER, TCP, UDP, Headers, ip_addresses

EARLY = 200_000
"""ns: how far before the packet that it answers an answer may stand"""
ANSWERS_WITHIN = 50_000_000
"""ns from a received packet to what the machine sends next to its sender, if that is taken for the answer"""
BATCH = 100_000
"""ns that one batch of receives spans at most"""
MOST_IN_BATCH = 32
REACH = 2.5
"""places by which a packet moves among those of its batch at most, about"""
_SENT, _RECEIVED = 2, 1
_MOST_FLOWS = 1 << 16


def chance(seed: int, numbers: NDArray[np.int64], purpose: int) -> NDArray[np.float64]:
    """A number from 0 to 1 for each of these ordinals; it depends on seed, ordinal and purpose alone (splitmix64)."""
    salt = (seed * 0x9E3779B97F4A7C15 + purpose * 0xD1342543DE82EF95 + 0x2545F4914F6CDD1D) & (1 << 64) - 1
    word = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ word >> np.uint64(shift)) * np.uint64(factor)
    word ^= word >> np.uint64(31)
    share: NDArray[np.float64] = (word >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    return share


class EarlyAnswers:
    """Gives the machine's answers times before those of the packets they answer."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._flows: dict[bytes, tuple[int, int, int]] = {}
        """by flow: direction and time of its last packet, time that the last sent one got"""
        self._number = 0
        self.moved = 0

    def move(self, packets: PacketTable, headers: Headers) -> None:
        """Change ``time`` of packets in time order: what the machine sends right after a packet of the same flow was
        received now stands up to ``EARLY`` before that; what it sends keeps its order within the flow."""
        count = len(packets)
        forth, back = flow_keys(headers)
        early = (chance(self._seed, self._number + np.arange(count), 1) * EARLY).astype(np.int64) + 1
        time, direction = packets["time"], packets["direction"]
        moved = time.copy()
        flows = self._flows
        rows = np.flatnonzero(headers.version > 0)
        for row in rows.tolist():
            one, other = bytes(forth[row]), bytes(back[row])
            key = min(one, other)
            now, way = int(time[row]), int(direction[row])
            last_way, last, gone = flows.get(key, (0, 0, -(2**62)))
            if way == _SENT:
                if last_way == _RECEIVED and now - last <= ANSWERS_WITHIN:
                    moved[row] = max(last - int(early[row]), gone)
                    self.moved += 1
                gone = max(int(moved[row]), gone)
            elif len(flows) >= _MOST_FLOWS and key not in flows:
                flows.clear()
            flows[key] = way, now, gone
        self._number += count
        packets["time"] = moved


class Batches:
    """Stamps packets in the order of their delivery, batch by batch, and shuffles near neighbours within each."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._number = 0

    def stamp(self, packets: PacketTable) -> PacketTable:
        """The packets in the order in which they complete, each with the time of its batch, which is that of its last
        packet. A batch does not go on in the next chunk."""
        count = len(packets)
        time = packets["time"]
        batch = np.zeros(count, np.int64)
        begun, size, number = 0, 0, -1
        for row, now in enumerate(time.tolist()):
            if number < 0 or now - begun > BATCH or size == MOST_IN_BATCH:
                number, begun, size = number + 1, now, 0
            size += 1
            batch[row] = number
        order = np.arange(count) + chance(self._seed, self._number + np.arange(count), 2) * REACH
        self._number += count
        last = np.flatnonzero(np.concatenate([batch[1:] != batch[:-1], [True]])) if count else np.empty(0, np.intp)
        stamped = packets.take(slice(None))
        stamped["time"] = time[last][batch]
        return stamped.take(np.lexsort((order, batch)))


def flow_keys(headers: Headers) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """What a packet has in common with others of its flow, and with those of the other direction: protocol, addresses,
    ports of TCP and UDP."""
    source, target = ip_addresses(headers)
    ports = (np.isin(headers.protocol, (TCP, UDP)) & ~headers.fragment & (headers.transport >= 0))[:, None]
    one = np.where(ports, headers.bytes.fields(headers.transport, 2), 0).astype(np.uint8)
    other = np.where(ports, headers.bytes.fields(headers.transport + 2, 2), 0).astype(np.uint8)
    protocol = np.where(headers.protocol == FRAGMENT_HEADER, 0, headers.protocol).astype(np.uint8)[:, None]
    return tuple(
        np.ascontiguousarray(np.hstack([protocol, *parts])).view("V37").reshape(-1)
        for parts in ((source, one, target, other), (target, other, source, one))
    )  # type: ignore[return-value]
