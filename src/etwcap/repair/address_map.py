"""A keyed, prefix-preserving mapping of addresses.

Two addresses that share their first n bits share the first n bits of what they are mapped to, and no longer prefix: the
mapping of Xu, Fan, Ammar and Moon ("Prefix-Preserving IP Address Anonymization", ICNP 2002), with keyed BLAKE2s (RFC
7693) as its pseudo-random function. One digest of the bytes before gives the 255 bits that decide about the eight of
the next byte; so an address takes as many digests as it has bytes, and nothing is kept between two calls.

Some ranges stand for themselves, which is again prefix-preserving: the bits on the way to them are never flipped.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from etwcap.native.headers import IPV4, MAC

Addresses: TypeAlias = NDArray[np.uint8]
"""One address a row; 4, 6 or 16 columns."""

KEPT_IPV4: Final = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")))
KEPT_IPV6: Final = tuple(map(IPv6Network, ("::/127", "ff00::/8")))
"""Ranges that are mapped to themselves."""
INSIDE_IPV4: Final = (IPv4Network("169.254.0.0/16"),)
INSIDE_IPV6: Final = (IPv6Network("fe80::/64"),)
"""Ranges that are mapped into themselves."""

_ITERATIONS: Final = 200_000
_SOLICITED_NODE: Final = bytes.fromhex("ff0200000000000000000001ff")
_SOLICITED_MAC: Final = bytes.fromhex("3333ff")


class AddressMap:
    """Maps addresses by a key: the same key maps an address the same way in every capture.

    ``key`` may be a passphrase: it is stretched (PBKDF2, 200,000 rounds of HMAC-SHA-256) so that guessing takes time.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.pbkdf2_hmac("sha256", key, b"etwcap address mapping 1", _ITERATIONS)

    def __call__(self, kind: int, addresses: Addresses) -> Addresses:
        """The addresses of that kind (``MAC``, ``IPV4``, ``IPV6`` of ``etwcap.native.headers``) in its image."""
        if kind == MAC:
            return self.macs(addresses)
        return self.ipv4(addresses) if kind == IPV4 else self.ipv6(addresses)

    def ipv4(self, addresses: Addresses) -> Addresses:
        """Rows of 4 bytes. Unspecified, loopback, multicast, reserved and broadcast addresses stay; link-local ones
        stay link-local."""
        kept = [(net.network_address.packed, net.prefixlen, True) for net in KEPT_IPV4]
        inside = [(net.network_address.packed, net.prefixlen, False) for net in INSIDE_IPV4]
        return self._mapped(b"4", addresses, kept + inside)

    def ipv6(self, addresses: Addresses) -> Addresses:
        """Rows of 16 bytes. Unspecified, loopback and multicast addresses stay; link-local ones stay link-local.

        Of a solicited-node group (RFC 4291 2.7.1) the last 24 bits, which are those of a host, are mapped.
        """
        kept = [(net.network_address.packed, net.prefixlen, True) for net in KEPT_IPV6]
        inside = [(net.network_address.packed, net.prefixlen, False) for net in INSIDE_IPV6]
        out = self._mapped(b"6", addresses, kept + inside)
        groups = _starts_with(addresses, _SOLICITED_NODE)
        out[groups, 13:] = self._group_hosts(addresses[groups, 13:])
        return out

    def macs(self, addresses: Addresses) -> Addresses:
        """Rows of 6 bytes. Group addresses, broadcast and the zero address stay; whether an address is administered
        locally stays, too. The last 24 bits of 33:33:ff:… are mapped as those of the IPv6 group they stand for."""
        out = self._mapped(b"M", addresses, [])
        out[:, 0] = out[:, 0] & 0xFC | addresses[:, 0] & 0x03
        stays = (addresses[:, 0] & 1 == 1) | ~addresses.any(axis=1)
        out[stays] = addresses[stays]
        groups = _starts_with(addresses, _SOLICITED_MAC)
        out[groups, 3:] = self._group_hosts(addresses[groups, 3:])
        return out

    def _group_hosts(self, ends: Addresses) -> Addresses:
        return self._mapped(b"G", ends, [])

    def _mapped(self, kind: bytes, addresses: Addresses, special: list[tuple[bytes, int, bool]]) -> Addresses:
        out = np.empty_like(addresses)
        for place in range(addresses.shape[1]):
            prefixes, number = _distinct(np.ascontiguousarray(addresses[:, :place]))
            flips = self._flips(kind + bytes([place]), prefixes)
            for network, length, stays in special:
                rows = np.flatnonzero(_on_the_way(network, length, prefixes))
                if len(rows):
                    bits = np.unpackbits(flips[rows], axis=1)
                    _hold(bits, network, length, place, stays)
                    flips[rows] = np.packbits(bits, axis=1)
            out[:, place] = _flipped(addresses[:, place], flips, number)
        return out

    def _flips(self, kind: bytes, prefixes: Addresses) -> NDArray[np.uint8]:
        """A row of 32 bytes for each prefix: for each node of the tree of the next byte (the root is 1) a bit that
        says whether the bit of the address below it is flipped."""
        key, width = self._key, prefixes.shape[1]
        data = prefixes.tobytes()
        digests = [
            hashlib.blake2s(data[at * width : (at + 1) * width], key=key, person=kind).digest()
            for at in range(len(prefixes))
        ]
        return np.frombuffer(bytearray(b"".join(digests)), np.uint8).reshape(-1, 32)


def _hold(bits: NDArray[np.uint8], network: bytes, length: int, place: int, stays: bool) -> None:
    """Clear, in rows of the next byte's nodes, those on the way to a network; and those below it, where it stays."""
    left = length - 8 * place
    if left <= 0:
        if stays:
            bits[:] = 0
        return
    node = 1
    for depth in range(min(8, left)):
        bits[:, node] = 0
        node = node << 1 | network[place] >> (7 - depth) & 1
    if left < 8 and stays:
        for below in range(8 - left):
            bits[:, node << below : (node + 1) << below] = 0


def _on_the_way(network: bytes, length: int, prefixes: Addresses) -> NDArray[np.bool_]:
    """Which prefixes lead to the network, or lie in it."""
    whole, rest = divmod(min(length, 8 * prefixes.shape[1]), 8)
    leads = _starts_with(prefixes, network[:whole])
    if rest:
        leads &= (prefixes[:, whole] ^ network[whole]) >> (8 - rest) == 0
    return leads


def _flipped(values: NDArray[np.uint8], flips: NDArray[np.uint8], number: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Each byte with its bits flipped as the row ``number`` of ``flips`` says."""
    node = np.ones(len(values), np.intp)
    out = np.zeros(len(values), np.intp)
    for depth in range(8):
        bit = values.astype(np.intp) >> (7 - depth) & 1
        out = out << 1 | bit ^ (flips[number, node >> 3] >> (7 - (node & 7)).astype(np.uint8) & 1)
        node = node << 1 | bit
    return out.astype(np.uint8)


def _distinct(rows: Addresses) -> tuple[Addresses, NDArray[np.intp]]:
    """The distinct rows, and which of them each row is."""
    width = rows.shape[1]
    if width == 0:
        return rows[:1], np.zeros(len(rows), np.intp)
    first, number = _numbers(rows)
    return rows[first], number


def _numbers(rows: Addresses) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """A row of each distinct kind, and the number of each row's kind."""
    padded = np.zeros((len(rows), 16), np.uint8)
    padded[:, : rows.shape[1]] = rows
    high, low = padded.view(">u8").astype(np.uint64).T
    if rows.shape[1] <= 8:
        _, first, number = np.unique(high, return_index=True, return_inverse=True)
        return first, number.reshape(-1)
    _, above = np.unique(high, return_inverse=True)
    values, below = np.unique(low, return_inverse=True)
    _, first, number = np.unique(
        above.reshape(-1) * len(values) + below.reshape(-1), return_index=True, return_inverse=True
    )
    return first, number.reshape(-1)


def map_distinct(mapping: AddressMap, kind: int, addresses: Addresses) -> Addresses:
    """The image of each row, found once for each distinct one."""
    if not len(addresses):
        return addresses
    distinct, number = _distinct(addresses)
    return mapping(kind, distinct)[number]


def _starts_with(rows: Addresses, prefix: bytes) -> NDArray[np.bool_]:
    head: NDArray[np.bool_] = (rows[:, : len(prefix)] == np.frombuffer(prefix, np.uint8)).all(axis=1)
    return head
