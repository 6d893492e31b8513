"""``--anonymize``: other addresses in the packets, right checksums kept right, and nothing that names the machine.

What is mapped: MAC addresses of Ethernet, 802.11 and Linux cooked headers; IPv4 and IPv6 addresses, in options and
routing headers too, within tunnels (IP in IP, GRE) and in packets that ICMP quotes; ARP, Neighbor Discovery and
Multicast Listener Discovery; of DHCP for IPv4 the addresses. What an application sends is not touched.
"""

from __future__ import annotations

import dataclasses
import struct
from ipaddress import IPv4Interface, IPv6Interface

import numpy as np
from numpy.typing import NDArray

from etwcap.native.anonymize import read_addresses, write_addresses
from etwcap.native.headers import IPV4, IPV6, MAC, find_addresses
from etwcap.packets import Chunk, Context, Interface
from etwcap.packets.links import link_types
from etwcap.repair.address_map import AddressMap, map_distinct

_SIZES = {MAC: 6, IPV4: 4, IPV6: 16}
_FCS_LENGTH = 13
"""The carried interface option that says nothing of a machine (if_fcslen)."""


class AnonymizeStage:
    """Maps addresses by a key. It leaves out what a pcapng input said beside its packets (names, comments, secrets);
    packets of a link type that it does not know are emptied."""

    def __init__(self, context: Context, key: bytes) -> None:
        self._context = context
        self._map = AddressMap(key)

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with its packets changed in place."""
        note = self._context.receipt.note
        if chunk.side_blocks:
            text = "pcapng blocks beside the packets (names, secrets) were left out"
            note("anonymize-blocks", text, len(chunk.side_blocks))
            chunk = dataclasses.replace(chunk, side_blocks=[])
        packets = chunk.packets
        if not len(packets):
            return chunk
        if "options_length" in packets and packets["options_length"].any():
            text = "packets lost the options and comments that their input gave them"
            note("anonymize-options", text, int(np.count_nonzero(packets["options_length"])))
            packets.writable("options_length")[:] = 0
        links = link_types(self._context.interfaces)[packets["interface"]]
        kept, fields = find_addresses(chunk.buffer, packets["offset"], packets["captured"], links)
        unknown = (kept == 0) & (packets["captured"] > 0)
        if unknown.any():
            text = "packets of a link type whose addresses are not understood were emptied"
            note("anonymize-unknown", text, int(np.count_nonzero(unknown)))
            packets.writable("captured")[unknown] = 0
        fields = fields[_first_of_each(fields["position"])]
        found = read_addresses(chunk.buffer, fields)
        mapped = found.copy()
        for kind, size in _SIZES.items():
            rows = np.flatnonzero(fields["kind"] == kind)
            mapped[rows, :size] = map_distinct(self._map, kind, found[rows, :size])
        write_addresses(chunk.buffer, fields, mapped)
        note("anonymize", "addresses were mapped by the key", len(fields))
        return chunk

    def finish(self) -> None:
        """Nothing is held."""

    def shown(self, interface: Interface) -> Interface:
        """The interface as an output may describe it: its addresses mapped, its filter and carried options left out."""
        mac = interface.mac
        return dataclasses.replace(
            interface,
            mac=self._one(MAC, mac) if len(mac) == 6 else b"",
            ipv4=[IPv4Interface((self._one(IPV4, a.ip.packed), a.network.prefixlen)) for a in interface.ipv4],
            ipv6=[IPv6Interface((self._one(IPV6, a.ip.packed), a.network.prefixlen)) for a in interface.ipv6],
            filter="",
            options=_without_names(interface.options),
        )

    def _one(self, kind: int, address: bytes) -> bytes:
        return self._map(kind, np.frombuffer(address, np.uint8).reshape(1, -1)).tobytes()


def _first_of_each(positions: NDArray[np.int64]) -> NDArray[np.intp] | slice:
    """Which fields to take so that bytes which two rows share are mapped once."""
    if len(positions) < 2 or (np.diff(positions) > 0).all():
        return slice(None)
    first = np.unique(positions, return_index=True)[1]
    first.sort()
    return first


def _without_names(options: bytes) -> bytes:
    out, at = b"", 0
    while len(options) - at >= 4:
        code, length = struct.unpack_from("<HH", options, at)
        size = 4 + length + -length % 4
        if code == _FCS_LENGTH:
            out += options[at : at + size]
        at += size
    return out
