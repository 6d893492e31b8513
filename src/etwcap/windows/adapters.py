"""The adapters of this machine: names, addresses, speeds (GetAdaptersAddresses, GetIfTable2)."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import string_at
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from etwcap.windows.iphlpapi import IpHelper
from etwcap.windows.layouts_iphlpapi import IP_ADAPTER_ADDRESSES, IP_ADAPTER_UNICAST_ADDRESS
from etwcap.windows.text import utf16, wide_at
from etwcap.windows.winsock import read_sockaddr

SKIP_ANYCAST, SKIP_MULTICAST, SKIP_DNS, INCLUDE_GATEWAYS, ALL_INTERFACES = 0x2, 0x4, 0x8, 0x80, 0x100
UP = 1
"""OperStatus of an adapter that carries packets"""
LOOPBACK, ETHERNET, WIFI, TUNNEL = 24, 6, 71, 131
"""IfType numbers"""
_UNKNOWN_SPEED = 2**64 - 1
_FILTER_LAYER = 0x02
_MOST = 65_536
"""links of a list that are followed"""


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of an adapter, and how many leading bits are its network's."""

    text: str
    """without scope"""
    prefix_length: int
    scope: int = 0
    in_use: bool = True


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter; indexes last until the next restart, GUID and LUID for good."""

    guid: str
    """``{…}``"""
    alias: str
    """what people call it, "Ethernet 2" """
    description: str
    luid: int
    index: int
    """IPv4's interface index; 0: no IPv4"""
    index6: int
    """IPv6's interface index; 0: no IPv6"""
    kind: int
    """IfType"""
    status: int
    """OperStatus, 1 is up"""
    mac: bytes
    mtu: int
    send_speed: int | None
    """bit/s"""
    receive_speed: int | None
    addresses: list[LocalAddress] = field(default_factory=list)

    @property
    def loopback(self) -> bool:
        """Whether it is the loopback interface."""
        return self.kind == LOOPBACK

    @property
    def up(self) -> bool:
        """Whether it carries packets."""
        return self.status == UP


def adapters(helper: IpHelper | None = None, *, disconnected: bool = False) -> list[Adapter]:
    """The adapters; with ``disconnected`` also those that IP is not bound to."""
    helper = helper or IpHelper()
    flags = SKIP_ANYCAST | SKIP_MULTICAST | SKIP_DNS | (ALL_INTERFACES if disconnected else 0)
    room, first = helper.adapters_buffer(flags)
    found = [_adapter(each) for each in _linked(first, IP_ADAPTER_ADDRESSES)]
    del room  # the pointers led into it until here
    return found


class Servers(NamedTuple):
    """What an adapter was configured with: (interface index of the family, address without scope) of each."""

    gateways: list[tuple[int, str]]
    resolvers: list[tuple[int, str]]


def servers(helper: IpHelper | None = None) -> Servers:
    """Default gateways and DNS servers of all adapters.

    IP_ADAPTER_GATEWAY_ADDRESS and IP_ADAPTER_DNS_SERVER_ADDRESS begin as IP_ADAPTER_UNICAST_ADDRESS does.
    """
    room, first = (helper or IpHelper()).adapters_buffer(SKIP_ANYCAST | SKIP_MULTICAST | INCLUDE_GATEWAYS)
    found = Servers([], [])
    for each in _linked(first, IP_ADAPTER_ADDRESSES):
        lists = ((each.FirstGatewayAddress, found.gateways), (each.FirstDnsServerAddress, found.resolvers))
        for pointer, known in lists:
            for item in _linked(pointer, IP_ADAPTER_UNICAST_ADDRESS):
                if item.Address.lpSockaddr:
                    text, _ = read_sockaddr(string_at(item.Address.lpSockaddr, item.Address.iSockaddrLength))
                    if text:
                        address = text.partition("%")[0]
                        known.append((each.Ipv6IfIndex if ":" in address else each.IfIndex, address))
    del room  # the pointers led into it until here
    return found


def filter_layers(helper: IpHelper | None = None) -> dict[int, str]:
    """Interface index and name of the layers that filter drivers add: no adapters, but events may name them."""
    rows = (helper or IpHelper()).interface_rows()
    layers = rows[(rows["InterfaceAndOperStatusFlags"] & _FILTER_LAYER) != 0]
    return {int(each["InterfaceIndex"]): utf16(each["Description"].tobytes()) for each in layers}


def _adapter(each: Any) -> Adapter:
    return Adapter(
        guid=string_at(each.AdapterName).decode("ascii", "replace") if each.AdapterName else "",
        alias=wide_at(each.FriendlyName),
        description=wide_at(each.Description),
        luid=each.Luid,
        index=each.IfIndex,
        index6=each.Ipv6IfIndex,
        kind=each.IfType,
        status=each.OperStatus,
        mac=bytes(each.PhysicalAddress)[: each.PhysicalAddressLength],
        mtu=each.Mtu,
        send_speed=_speed(each.TransmitLinkSpeed),
        receive_speed=_speed(each.ReceiveLinkSpeed),
        addresses=[
            found for item in _linked(each.FirstUnicastAddress, IP_ADAPTER_UNICAST_ADDRESS) for found in _local(item)
        ],
    )


def _local(item: Any) -> Iterator[LocalAddress]:
    if not item.Address.lpSockaddr:
        return
    text, _ = read_sockaddr(string_at(item.Address.lpSockaddr, item.Address.iSockaddrLength))
    if text:
        address, _, scope = text.partition("%")
        yield LocalAddress(address, item.OnLinkPrefixLength, int(scope or 0), item.DadState >= 3)


def _linked(pointer: int | None, structure: Any) -> Iterator[Any]:
    """The members of a linked list."""
    for _ in range(_MOST):
        if not pointer:
            return
        each = structure.from_address(pointer)
        yield each
        pointer = each.Next


def _speed(value: int) -> int | None:
    return None if value in (0, _UNKNOWN_SPEED) else value
