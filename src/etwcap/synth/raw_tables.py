"""The address tables of the made-up machine: what of the capture's addresses stands in them, and when they are told."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import AddressBook, AddressKind
from etwcap.packets.addresses import MAPPED
from etwcap.providers.rawsocket_build import address_rows
from etwcap.synth.disorder import chance
from etwcap.synth.headers import TCP, UDP, Headers, ip_addresses

_SENT = 2
_DNS = 53
_PAIR = np.dtype([("source", "V16"), ("target", "V16"), ("index", "<u4"), ("bits", "u1", 4)])


class Tables:
    """Fills the tables from the packets; ``share`` is all, half or none.

    Of each two addresses of the capture, in the order of their coming, ``half`` leaves one in the tables. The machine's
    own are those in ``own`` and those it sends from.
    """

    def __init__(self, share: str, seed: int, own: Set[bytes]) -> None:
        self._share = share
        self._seed = seed
        self._own = own
        self.book = AddressBook()
        self._chosen: dict[bytes, bool] = {}
        self._told = -1

    def take(self, headers: Headers, direction: NDArray[np.uint8], if_index: NDArray[np.uint32]) -> None:
        """Learn from packets, of which those without an IP header count for nothing."""
        if self._share == "none":
            return
        source, target = ip_addresses(headers)
        sent = direction == _SENT
        port = np.where(np.isin(headers.protocol, (TCP, UDP)) & ~headers.fragment, headers.protocol, 0)
        asked = sent & (port > 0) & (headers.bytes.u16(headers.transport + 2) == _DNS)
        rows = np.empty(
            len(sent), np.dtype([("source", "V16"), ("target", "V16"), ("index", "<u4"), ("bits", "u1", 4)])
        )
        rows["source"], rows["target"] = (each.view("V16").reshape(-1) for each in (source, target))
        rows["index"] = if_index
        rows["bits"] = np.stack([sent, port == TCP, port > 0, asked], axis=1)
        known = rows[headers.version > 0]
        plain = np.unique(known.view(np.dtype((np.void, known.dtype.itemsize))))
        for row in plain.view(rows.dtype):
            is_sent, is_tcp, has_ports, is_dns = map(bool, row["bits"])
            here, there = (bytes(row["source"]), bytes(row["target"]))
            self._pair(here, there, int(row["index"]), sent=is_sent, tcp=is_tcp, ports=has_ports, dns=is_dns)

    def _pair(self, source: bytes, target: bytes, index: int, *, sent: bool, tcp: bool, ports: bool, dns: bool) -> None:
        for address in (source, target):
            self._choose(address)
        grouped = _is_group(target)
        if sent and any(source):
            self._add(AddressKind.UNICAST, index, source)
            if ports:
                self._add(AddressKind.ENDPOINT, 0, source)
        if not sent and grouped:
            self._add(AddressKind.MULTICAST, index, target)
        elif not sent and target in self._own:
            self._add(AddressKind.UNICAST, index, target)
        others = (target,) if sent else (source,) if grouped else (source, target)
        for other in others:
            if (AddressKind.UNICAST, index, other) not in self.book.entries:
                near = _is_near(other) and not _is_group(other)
                self._add(AddressKind.NEIGHBOUR if near else AddressKind.PATH, index, other)
        if tcp:
            self._add(AddressKind.TCP_REMOTE, 0, target if sent else source)
        if dns:
            self._add(AddressKind.RESOLVER, index, target)

    def _add(self, kind: AddressKind, index: int, address: bytes) -> None:
        if self._chosen[address] and any(address):
            self.book.add(kind, index, address)

    def _choose(self, address: bytes) -> None:
        if address in self._chosen:
            return
        number = len(self._chosen)
        if self._share == "half":
            first = bool(chance(self._seed, np.array([number // 2], np.int64), 3)[0] < 0.5)
            self._chosen[address] = first == (number % 2 == 0)
        else:
            self._chosen[address] = True

    def changed(self) -> NDArray[Any]:
        """The tables as ADDRESS_ROW, where they have changed since they were asked for; else no row."""
        if self._told == self.book.version or not len(self.book):
            return address_rows(AddressBook())
        self._told = self.book.version
        return address_rows(self.book)

    def all(self) -> NDArray[Any]:
        """The tables as ADDRESS_ROW."""
        return address_rows(self.book)


def _is_group(address: bytes) -> bool:
    """Whether the address is multicast, or IPv4's limited broadcast."""
    if address.startswith(MAPPED):
        return 0xE0 <= address[12] < 0xF0 or address[12:] == b"\xff" * 4
    return address[0] == 0xFF


def _is_near(address: bytes) -> bool:
    """Whether the address is link-local."""
    if address.startswith(MAPPED):
        return address[12:14] == b"\xa9\xfe"
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80
