"""The published method of inferring Next Header and destination, plainly: the baseline of the measurements.

In this order: UDP if the length field matches and the checksum is good; TCP, then ICMPv6 if its checksum is good; UDP
if only the length field matches; IPv4, IPv6 by first nibble and header checksum or length; a Fragment header if it
begins with 17 and 0; else 255. A checksum is good if with some candidate as destination all sums to 0xFFFF. It knows no
checksum that is left to the adapter, and nothing of what other packets told.
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.accuracy.truth import data_sum, fold

UNKNOWN = bytes(16)
RESERVED = 255


class Published:
    """The method, with one set of candidates."""

    def __init__(self, candidates: Iterable[bytes]) -> None:
        self._by_sum: dict[int, bytes] = {}
        for address in candidates:
            self._by_sum.setdefault(_residue(data_sum(address)), address)

    def infer(self, source: bytes, payload: bytes, destination: bytes = UNKNOWN) -> tuple[int, bytes]:
        """Next Header and destination; a destination that is known (PKTINFO) is the only candidate."""
        rest = data_sum(source) + data_sum(payload) + (len(payload) >> 16) + (len(payload) & 0xFFFF)
        length = int.from_bytes(payload[4:6], "big") if len(payload) >= 8 else -1
        for protocol, fits in ((17, length == len(payload)), (6, len(payload) >= 20), (58, len(payload) >= 4)):
            if fits:
                found = self._match(rest + protocol, destination)
                if found is not None:
                    return protocol, found
        if length == len(payload):
            return 17, destination
        if len(payload) >= 20 and payload[0] >> 4 == 4 and fold(data_sum(payload[: (payload[0] & 15) * 4])) == 0xFFFF:
            return 4, destination
        if len(payload) >= 40 and payload[0] >> 4 == 6 and int.from_bytes(payload[4:6], "big") + 40 == len(payload):
            return 41, destination
        if len(payload) >= 8 and payload[0] == 17 and payload[1] == 0:
            return 44, destination
        return RESERVED, destination

    def _match(self, total: int, destination: bytes) -> bytes | None:
        if destination != UNKNOWN:
            return destination if fold(total + data_sum(destination)) in (0, 0xFFFF) else None
        return self._by_sum.get(_residue(-total))


def _residue(total: int) -> int:
    """Sums that fold alike give the same number: 0 and 0xFFFF are one."""
    return total % 0xFFFF
