"""The address tables of this machine as rows of raw-socket records: whom a packet may have been sent to."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from etwcap.packets.addresses import MOST_ADDRESSES, AddressKind
from etwcap.providers.rawsocket_layout import ADDRESS_ROW
from etwcap.windows.adapters import Servers
from etwcap.windows.addresses import Rows
from etwcap.windows.winsock import AF_INET, AF_INET6

_NONE = Servers([], [])


class AddressTables(Protocol):
    """The tables that are read (``windows.iphlpapi.IpHelper``)."""

    def unicast(self) -> Rows:
        """ADDRESS rows: the machine's own."""
        ...

    def multicast(self) -> Rows:
        """ADDRESS rows: groups it listens to."""
        ...

    def anycast(self) -> Rows:
        """ADDRESS rows."""
        ...

    def neighbours(self) -> Rows:
        """ADDRESS rows: ARP and neighbour discovery."""
        ...

    def destinations(self) -> Rows:
        """ADDRESS rows: the destination cache."""
        ...

    def tcp(self, family: int) -> Rows:
        """ENDPOINT rows."""
        ...

    def udp(self, family: int) -> Rows:
        """ENDPOINT rows."""
        ...


def snapshot(helper: AddressTables, configured: Servers = _NONE) -> NDArray[Any]:
    """The addresses of all tables as ADDRESS_ROW, each (table, interface, address) once, sorted; at most 65,536, own
    addresses first. ``configured``: the gateways and DNS servers."""
    found = [
        _rows(AddressKind.UNICAST, helper.unicast()),
        _rows(AddressKind.MULTICAST, helper.multicast()),
        _rows(AddressKind.ANYCAST, helper.anycast()),
        _rows(AddressKind.NEIGHBOUR, helper.neighbours()),
        _rows(AddressKind.PATH, helper.destinations()),
    ]
    for family in (AF_INET, AF_INET6):
        tcp, udp = helper.tcp(family), helper.udp(family)
        found += [_ends(AddressKind.TCP_REMOTE, tcp, "remote_address")]
        found += [_ends(AddressKind.ENDPOINT, each, "local_address") for each in (tcp, udp)]
    found += [_texts(AddressKind.GATEWAY, configured.gateways), _texts(AddressKind.RESOLVER, configured.resolvers)]
    rows = np.concatenate(found)
    rows = rows[rows["address"].any(axis=1)]  # listeners on all addresses name none
    keys = np.zeros(len(rows), [("table", "u1"), ("family", "u1"), ("interface", ">u4"), ("address", "u1", (16,))])
    for name in keys.dtype.names or ():
        keys[name] = rows[name]
    _, first = np.unique(keys.view(f"V{keys.dtype.itemsize}"), return_index=True)
    picked: NDArray[Any] = rows[first][:MOST_ADDRESSES]
    return picked


def _rows(kind: AddressKind, table: Rows) -> NDArray[Any]:
    rows = np.zeros(len(table), ADDRESS_ROW)
    rows["family"], rows["table"] = table["family"], kind
    rows["interface"], rows["address"] = table["if_index"], table["address"]
    return rows


def _ends(kind: AddressKind, table: Rows, column: str) -> NDArray[Any]:
    rows = np.zeros(len(table), ADDRESS_ROW)
    rows["family"], rows["table"], rows["address"] = table["family"], kind, table[column]
    return rows


def _texts(kind: AddressKind, known: Sequence[tuple[int, str]]) -> NDArray[Any]:
    rows = np.zeros(len(known), ADDRESS_ROW)
    for row, (interface, text) in zip(rows, known, strict=True):
        address = ip_address(text)
        row["family"], row["table"], row["interface"] = address.version, kind, interface
        row["address"] = np.frombuffer(address.packed.ljust(16, b"\0"), np.uint8)
    return rows
