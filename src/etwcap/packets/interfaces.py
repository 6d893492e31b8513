"""Interfaces: what a pcapng interface block says, in the order of first use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface


@dataclass(slots=True)
class Interface:
    """One real interface with one link type."""

    link_type: int
    """``LINKTYPE_`` value: 1 Ethernet, 101 raw IP, 105 802.11 ..."""
    name: str = ""
    description: str = ""
    mac: bytes = b""
    ipv4: list[IPv4Interface] = field(default_factory=list)
    ipv6: list[IPv6Interface] = field(default_factory=list)
    speed: int = 0
    """bit/s; 0 = not known"""
    os: str = ""
    hardware: str = ""
    filter: str = ""
    snap_length: int = 0
    """0 = no limit"""
    if_index: int = 0
    """Windows' interface index; 0 = none"""
    options: bytes = b""
    """options carried through from a pcapng input, little-endian TLVs without opt_endofopt"""
    tap: str = ""
    """ndiscap, pktmon, wfp, raw ...; empty for a capture file"""
    reports: int = 0
    """packet events seen on it, before any was left out"""
    drops: int = 0
    """drop reports on it"""


class Interfaces:
    """The interfaces of a run; a row's ``interface`` is an index here. Sources add, nobody removes."""

    def __init__(self) -> None:
        self._all: list[Interface] = []
        self._known: dict[object, int] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: int) -> Interface:
        return self._all[index]

    def __iter__(self) -> Iterator[Interface]:
        return iter(self._all)

    def add(self, interface: Interface, key: object = None) -> int:
        """The index of the interface known by that key; a new one for a key not seen before (None is always new)."""
        if key is not None and key in self._known:
            return self._known[key]
        self._all.append(interface)
        index = len(self._all) - 1
        if key is not None:
            self._known[key] = index
        return index

    def find(self, key: object) -> int | None:
        """The index of the interface added with that key."""
        return self._known.get(key)
