"""What ``info`` says of a recording of raw sockets."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from etwcap.packets import AddressKind
from etwcap.providers.rawsocket_layout import Present
from etwcap.sources.recording import RecordingSource

_PRESENT = {
    Present.DESTINATION: "destination",
    Present.INTERFACE: "interface",
    Present.HOP_LIMIT: "hop limit",
    Present.TRAFFIC_CLASS: "traffic class",
    Present.NUMBER: "number of the receive",
    Present.CUT: "cut short by its buffer",
}
_TABLES = {
    AddressKind.UNICAST: "own",
    AddressKind.MULTICAST: "groups joined",
    AddressKind.ANYCAST: "own anycast",
    AddressKind.NEIGHBOUR: "neighbours",
    AddressKind.PATH: "destination cache",
    AddressKind.TCP_REMOTE: "TCP peers",
    AddressKind.ENDPOINT: "local endpoints",
    AddressKind.GATEWAY: "gateways",
    AddressKind.RESOLVER: "DNS servers",
}


@dataclass(frozen=True, slots=True)
class SocketInfo:
    """One socket of a recording."""

    interface: str
    socket: int
    family: int
    """4 or 6"""
    packets: int
    missing: int
    """receives that gave no packet, by the numbers of those that did"""


@dataclass(frozen=True, slots=True)
class RecordingInfo:
    """What is in a recording."""

    sockets: list[SocketInfo]
    families: dict[str, int]
    """packets by "ipv4" and "ipv6" """
    told: dict[str, int]
    """packets of which the socket told this"""
    tables: dict[str, int]
    """entries of each address table that is not empty"""
    snapshots: int
    """records of tables"""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """(label, text) for people."""
        packets = sum(self.families.values())
        sockets = "; ".join(
            f"{each.interface or 'no name'} IPv{each.family}: {each.packets:,}"
            + (f" ({each.missing:,} receives without a packet)" if each.missing else "")
            for each in self.sockets
        )
        told = [f"{name} of {'all' if count == packets else format(count, ',')}" for name, count in self.told.items()]
        tables = ", ".join(f"{count:,} {name}" for name, count in self.tables.items())
        return [
            ("sockets", f"{len(self.sockets)}: {sockets}" if sockets else "none gave a packet"),
            ("told", ", ".join(told) or "nothing but source addresses"),
            ("tables", tables or "none: candidates for destinations are the sources alone"),
            ("convert", self._will()),
        ]

    def _will(self) -> str:
        """What ``convert`` makes of it."""
        six = self.families["ipv6"]
        told = self.told.get("destination", 0)
        parts = []
        if six:
            given = "as told" if told >= six + self.families["ipv4"] else "told or inferred" if told else "inferred"
            parts.append(f"rebuilds the IPv6 headers of {six:,} packets: protocol inferred, destination {given}")
        if self.families["ipv4"]:
            parts.append(f"leaves {self.families['ipv4']:,} IPv4 packets as they are")
        parts.append("puts answers behind their causes" if "own" in self.tables else
                     "leaves the order, as the machine's own addresses are not known")  # fmt: skip
        return "; ".join(parts)


def recording_info(source: RecordingSource) -> RecordingInfo:
    """What a recording had, after it was read."""
    facts, interfaces = source.facts, source.context.interfaces
    sockets = [
        SocketInfo(interfaces[number].name, socket, each.family, each.packets, each.missing)
        for (number, socket), each in sorted(facts.sockets.items())
    ]
    counted = Counter(kind for kind, _, _ in source.context.addresses.entries)
    return RecordingInfo(
        sockets,
        {f"ipv{family}": count for family, count in facts.families.items()},
        {text: facts.present[bit] for bit, text in _PRESENT.items() if bit in facts.present},
        {text: counted[kind] for kind, text in _TABLES.items() if counted[kind]},
        facts.snapshots,
    )
