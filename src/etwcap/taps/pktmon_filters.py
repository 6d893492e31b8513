"""What PktMon is told of a filter: as words of pktmon.exe, as a structure of its API, or of its older exports.

A filter of PktMon holds where all of its conditions do; of several filters one must hold. Each form takes over what it
can say and leaves the rest out, so that what is told lets at least as much through as what was asked (``split`` has the
rest of that promise). Numbers are given to pktmon.exe in hexadecimal: read as decimal they are refused or mean "any",
while decimal ones read as hexadecimal would mean something else.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Final

from etwcap.filters.compiled import Filter
from etwcap.filters.names import ARP, IP, IP6, TCP, UDP
from etwcap.filters.split import ANYTHING, Constraint, Constraints, split
from etwcap.providers import pktmon_components
from etwcap.windows.layouts_pktmon import LEGACY_FILTER, PROTOCOL_CONSTRAINT
from etwcap.windows.pktmon_api import put_text
from etwcap.windows.pktmon_exe import WINDOWS_10_21H2
from etwcap.windows.version import WINDOWS_10_2004

_ETHER_TYPES: Final = {IP: "IPv4", IP6: "IPv6", ARP: "ARP"}
_PROTOCOLS: Final = {1: "ICMP", TCP: "TCP", UDP: "UDP", 58: "ICMPv6"}
_FLAGS: Final = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
"""From the lowest bit up."""


class Present(enum.IntFlag):
    """Bits of PROTOCOL_CONSTRAINT.IsPresent, as three published programs have them."""

    MAC1 = 1 << 0
    MAC2 = 1 << 1
    ETHER_TYPE = 1 << 3
    PROTOCOL = 1 << 5
    IP1 = 1 << 6
    IP2 = 1 << 7
    IPV6 = 1 << 8
    PREFIX1 = 1 << 9
    PREFIX2 = 1 << 10
    PORT1 = 1 << 11
    PORT2 = 1 << 12
    TCP_FLAGS = 1 << 13


def constraints_of(expression: str | None, form: Callable[[Constraint], Constraint]) -> Constraints:
    """What PktMon is told of a whole filter, in a form that takes over what it can; none: it is told nothing.

    Raises FilterError.
    """
    if not expression:
        return ()
    told = tuple(dict.fromkeys(form(each) for each in split(Filter(expression).tree, "pktmon").constraints))
    return () if ANYTHING in told else told


def as_words(build: int) -> Callable[[Constraint], Constraint]:
    """What the words of a build's pktmon.exe can say."""

    def form(constraint: Constraint) -> Constraint:
        constraint = one_family(constraint)
        if build < WINDOWS_10_21H2:
            constraint = replace(whole_addresses(constraint), flags=0)
        if build < WINDOWS_10_2004:
            constraint = replace(
                constraint, macs=constraint.macs[:1], nets=constraint.nets[:1], ports=constraint.ports[:1]
            )
        return constraint

    return form


def one_family(constraint: Constraint) -> Constraint:
    """Without addresses of a second family: no form can say both."""
    return replace(constraint, nets=tuple(each for each in constraint.nets if each[0] == constraint.nets[0][0]))


def whole_addresses(constraint: Constraint) -> Constraint:
    """Without networks: what forms can say of which it is not documented how they take prefixes."""
    constraint = one_family(constraint)
    return replace(constraint, nets=tuple(each for each in constraint.nets if each[2] == _width(each)))


def filter_words(constraint: Constraint) -> list[str]:
    """The conditions as words of ``pktmon filter add``, in the order of its help."""
    words: list[str] = []
    if constraint.macs:
        words += ["-m", *(mac.hex("-").upper() for mac in constraint.macs)]
    if constraint.ether_type is not None:
        words += ["-d", _ETHER_TYPES.get(constraint.ether_type, f"0x{constraint.ether_type:04X}")]
    if constraint.protocol is not None:
        words += ["-t", _PROTOCOLS.get(constraint.protocol, f"0x{constraint.protocol:02X}")]
        if constraint.flags and constraint.protocol == TCP:
            words += [name for bit, name in enumerate(_FLAGS) if constraint.flags >> bit & 1]
    if constraint.nets:
        words += ["-i", *(_net_text(each) for each in constraint.nets)]
    if constraint.ports:
        words += ["-p", *(str(port) for port in constraint.ports)]
    return words


def protocol_constraint(constraint: Constraint, name: str) -> PROTOCOL_CONSTRAINT:
    """The conditions as the API takes them."""
    made = PROTOCOL_CONSTRAINT()
    put_text(made.Name, name)
    _fill(made, constraint)
    present = Present(0)
    for bit, said in (
        (Present.MAC1, len(constraint.macs) > 0),
        (Present.MAC2, len(constraint.macs) > 1),
        (Present.ETHER_TYPE, constraint.ether_type is not None),
        (Present.PROTOCOL, constraint.protocol is not None),
        (Present.IP1, len(constraint.nets) > 0),
        (Present.IP2, len(constraint.nets) > 1),
        (Present.IPV6, bool(constraint.nets) and constraint.nets[0][0] == 6),
        (Present.PREFIX1, len(constraint.nets) > 0 and constraint.nets[0][2] < _width(constraint.nets[0])),
        (Present.PREFIX2, len(constraint.nets) > 1 and constraint.nets[1][2] < _width(constraint.nets[1])),
        (Present.PORT1, len(constraint.ports) > 0),
        (Present.PORT2, len(constraint.ports) > 1),
        (Present.TCP_FLAGS, constraint.flags != 0),
    ):
        present |= bit if said else Present(0)
    made.IsPresent = present
    return made


def legacy_filter(constraint: Constraint, name: str) -> LEGACY_FILTER:
    """The conditions as the older exports take them, of ``whole_addresses`` alone."""
    made = LEGACY_FILTER(Size=ctypes.sizeof(LEGACY_FILTER))
    put_text(made.Name, name)
    _fill(made, constraint)
    made.IsIpv6 = int(bool(constraint.nets) and constraint.nets[0][0] == 6)
    return made


def no_stricter(held: pktmon_components.Filter, asked: Constraint) -> bool:
    """Whether a filter, as the driver tells it, holds wherever what was asked of it does."""
    nets = {
        ip_address(address) if version == 4 else ip_address(address.to_bytes(16, "big"))
        for version, address, _ in asked.nets
    }
    return (
        {mac for mac in held.macs if any(mac)} <= set(asked.macs)
        and held.ether_type in (0, asked.ether_type)
        and held.vlan_id == 0
        and {each for each in held.addresses if int(each)} <= nets
        and held.transport_protocol in (0, asked.protocol)
        and {port for port in held.ports if port} <= set(asked.ports)
        and (held.tcp_flags == 0 or (asked.flags != 0 and held.tcp_flags & asked.flags == asked.flags))
    )


def _fill(made: PROTOCOL_CONSTRAINT | LEGACY_FILTER, constraint: Constraint) -> None:
    """The fields that both structures have."""
    for field, mac in zip(("Mac1", "Mac2"), constraint.macs, strict=False):
        getattr(made, field)[:] = mac
    made.EtherType = constraint.ether_type or 0
    made.TransportProtocol = constraint.protocol or 0
    for number, (version, address, length) in enumerate(constraint.nets[:2], 1):
        packed = address.to_bytes(4 if version == 4 else 16, "big")
        getattr(made, f"Ip{number}")[: len(packed)] = packed
        if length < _width((version, address, length)):
            setattr(made, f"PrefixLength{number}", length)
    made.Port1, made.Port2 = (*constraint.ports, 0, 0)[:2]
    made.TCPFlags = constraint.flags


def _width(net: Sequence[int]) -> int:
    return 32 if net[0] == 4 else 128


def _net_text(net: tuple[int, int, int]) -> str:
    _, address, length = net
    packed = ip_address(address.to_bytes(_width(net) // 8, "big"))
    return str(packed) if length == _width(net) else str(ip_network((packed, length)))
