"""``etwcap info --json``: everything that is known, in types that JSON has."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from etwcap.inspect.text import iso
from etwcap.packets.linktypes import title
from etwcap.packets.marks import Mark

if TYPE_CHECKING:
    from etwcap.inspect.info import InterfaceInfo, TraceInfo
    from etwcap.packets import Description
    from etwcap.providers.base import NetworkCard


def trace_info_dict(info: TraceInfo) -> dict[str, Any]:
    """See :meth:`etwcap.inspect.info.TraceInfo.as_dict`."""
    description = info.description
    return {
        "path": info.path,
        "kind": info.kind,
        "size": info.size,
        "session": _session(description),
        "maker": info.maker,
        "machine": _machine(description),
        "application": description.capture_application,
        "comments": description.comments,
        "span": _span(info),
        "losses": asdict(description.losses),
        "damage": {
            "count": description.damage_count,
            "places": [asdict(each) for each in description.damage],
        },
        "packets": _packets(info),
        "interfaces": [_interface(each) for each in info.interfaces],
        "drops": [asdict(each) for each in info.drops],
        "events": info.events,
        "providers": [asdict(each) for each in info.providers],
        "network_cards": [_card(each) for each in info.cards],
        "services": info.services,
        "notes": [asdict(each) for each in info.notes],
        "no_packets": info.no_packets.as_dict() if info.no_packets else None,
        "recording": info.recording.as_dict() if info.recording else None,
        "backend": info.backend,
        "exit_code": info.exit_code,
    }


def _session(description: Description) -> dict[str, Any] | None:
    session = description.session
    if session is None:
        return None
    return asdict(session) | {"start": iso(session.start), "end": iso(session.end)}


def _machine(description: Description) -> dict[str, Any]:
    machine = description.machine
    return asdict(machine) | {"boot_time": iso(machine.boot_time or None)}


def _span(info: TraceInfo) -> dict[str, Any]:
    first, last = info.census.first, info.census.last
    seconds = (last - first) / 1e9 if first is not None and last is not None else None
    return {"first": iso(first), "last": iso(last), "seconds": seconds}


def _packets(info: TraceInfo) -> dict[str, Any]:
    census = info.census
    kept = census.kept
    return {
        "count": kept.packets,
        "received": kept.received,
        "sent": kept.sent,
        "drop_only": kept.drop_only,
        "first": iso(census.first_packet),
        "last": iso(census.last_packet),
        "sightings": {
            "count": census.packets,
            "cut": census.cut,
            "octets": sum(each.count.octets for each in info.interfaces),
            "by_tap": info.by_tap(),
            "by_link_type": info.by_link_type(),
            "by_direction": info.by_direction(),
            "marks": {str(Mark(mark).name).lower(): count for mark, count in sorted(census.marks.items())},
        },
    }


def _interface(each: InterfaceInfo) -> dict[str, Any]:
    interface, count = each.interface, each.count
    return {
        "name": interface.name,
        "description": interface.description,
        "tap": interface.tap,
        "link_type": interface.link_type,
        "link_type_name": title(interface.link_type),
        "if_index": interface.if_index,
        "mac": interface.mac.hex(":"),
        "addresses": [str(address) for address in (*interface.ipv4, *interface.ipv6)],
        "speed": interface.speed,
        "filter": interface.filter,
        "packets": count.packets,
        **asdict(count),
    }


def _card(card: NetworkCard) -> dict[str, Any]:
    return asdict(card) | {"mac": card.mac.hex(":"), "permanent_mac": card.permanent_mac.hex(":")}
