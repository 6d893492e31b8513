"""Which side of the traffic is the machine itself, and so which packets it sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from ipaddress import IPv6Address, ip_address

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import UsageError
from etwcap.synth.headers import Headers, ip_addresses, mac_addresses

_RECEIVED, _SENT = 1, 2
_MAPPED = bytes(10) + b"\xff\xff"


class Sides:
    """The machine's addresses: given, or guessed from the first packets of the capture.

    The guess is the IP address that talks with most others (of equals the one with most packets), and the MAC addresses
    it sends from; where there is no IP, the MAC address that talks with most others.
    """

    def __init__(self, local: Iterable[str] = ()) -> None:
        self._ips: set[bytes] = set()
        self._macs: set[bytes] = set()
        for text in (word.strip() for item in local for word in item.split(",")):
            if text:
                self._add(text)
        self._known = bool(self._ips or self._macs)
        self.guessed = ""
        """the address that was taken for the machine's, if it had to be guessed"""

    @property
    def addresses(self) -> Set[bytes]:
        """The machine's IP addresses, given or guessed, 16 bytes each (IPv4 as ::ffff:a.b.c.d); grows when guessed."""
        return self._ips

    def _add(self, text: str) -> None:
        octets = text.replace("-", ":").split(":")
        if len(octets) == 6 and all(len(each) == 2 for each in octets):
            try:
                self._macs.add(bytes.fromhex("".join(octets)))
            except ValueError as error:
                raise UsageError(
                    f"{text} is no address", hint="--local 192.0.2.1 or --local 02-00-5e-00-53-01"
                ) from error
            return
        try:
            address = ip_address(text)
        except ValueError as error:
            raise UsageError(f"{text} is no address", hint="--local 192.0.2.1 or --local 02-00-5e-00-53-01") from error
        self._ips.add(address.packed if isinstance(address, IPv6Address) else _MAPPED + address.packed)

    def directions(self, headers: Headers, known: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """1 received, 2 sent of each packet; what is ``known`` (not 0) stays."""
        open_rows = known == 0
        if not open_rows.any():
            return known
        ip_from, ip_to = ip_addresses(headers)
        mac_from, mac_to = mac_addresses(headers)
        if not self._known:
            self._guess(headers, ip_from, ip_to, mac_from, mac_to)
        from_here, to_here = _among(ip_from, self._ips), _among(ip_to, self._ips)
        self._learn_macs(headers, mac_from, from_here & ~to_here)
        by_mac = _among(mac_from, self._macs)
        sent = from_here | (~to_here & by_mac)
        return np.where(open_rows, np.where(sent, _SENT, _RECEIVED), known).astype(np.uint8)

    def _guess(
        self,
        headers: Headers,
        ip_from: NDArray[np.uint8],
        ip_to: NDArray[np.uint8],
        mac_from: NDArray[np.uint8],
        mac_to: NDArray[np.uint8],
    ) -> None:
        found = _most_talkative(ip_from, ip_to, headers.version > 0)
        if found is not None:
            self._ips.add(found)
            address = IPv6Address(found)
            self.guessed = str(address.ipv4_mapped or address)
        else:
            found = _most_talkative(mac_from, mac_to, np.asarray(mac_from.any(axis=1)))
            if found is not None:
                self._macs.add(found)
                self.guessed = found.hex(":")
        self._known = found is not None

    def _learn_macs(self, headers: Headers, mac_from: NDArray[np.uint8], sent: NDArray[np.bool_]) -> None:
        """Without a MAC address of its own, the machine's are those of the first packets it sends."""
        if self._macs or not sent.any():
            return
        own = {bytes(row) for row in np.unique(mac_from[sent], axis=0)}
        self._macs |= {mac for mac in own if any(mac)}


def _among(addresses: NDArray[np.uint8], wanted: set[bytes]) -> NDArray[np.bool_]:
    found = np.zeros(len(addresses), np.bool_)
    for each in wanted:
        found |= (addresses == np.frombuffer(each, np.uint8)).all(axis=1)
    return found


def _most_talkative(source: NDArray[np.uint8], target: NDArray[np.uint8], rows: NDArray[np.bool_]) -> bytes | None:
    """The address with most peers, then packets, then the lowest; one that never sends is none."""
    if not rows.any():
        return None
    width = source.shape[1]
    pairs, count = np.unique(np.hstack([source[rows], target[rows]]), axis=0, return_counts=True)
    senders: set[bytes] = set()
    peers: dict[bytes, set[bytes]] = {}
    packets: Counter[bytes] = Counter()
    for pair, number in zip(pairs, count.tolist(), strict=True):
        one, other = bytes(pair[:width]), bytes(pair[width:])
        senders.add(one)
        for each, peer in ((one, other), (other, one)):
            peers.setdefault(each, set()).add(peer)
            packets[each] += number
    candidates = [each for each in senders if any(each)]
    return min(candidates, key=lambda each: (-len(peers[each]), -packets[each], each)) if candidates else None
