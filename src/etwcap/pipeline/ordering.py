"""``--order`` and ``--local``: whether packets are put into causal order, and whose packets they are."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address

from etwcap.errors import UsageError
from etwcap.packets import AddressKind, Context
from etwcap.packets.addresses import MAPPED
from etwcap.repair.names import ORDER, RECORDED_ORDER

HINT = "--local ADDRESS names an address of the machine that captured; repeatable"


def parse_order(order: str | None, repairs: frozenset[str]) -> frozenset[str]:
    """The repairs with or without that of the order. Raises UsageError for what is neither causal nor none."""
    if order is None:
        return repairs
    if order not in ("causal", "none"):
        raise UsageError(f"there is no order {order!r}", cause=f"--order {order}", hint="--order causal|none")
    return repairs | {ORDER} if order == "causal" else repairs - {ORDER, RECORDED_ORDER}


def parse_addresses(texts: Iterable[str]) -> list[bytes]:
    """Addresses as 16 bytes each (IPv4 as ::ffff:a.b.c.d); a text may hold several, separated by commas.

    Raises UsageError for one that is none.
    """
    found = []
    for word in (word.strip() for text in texts for word in text.split(",")):
        try:
            address = ip_address(word.partition("%")[0])
        except ValueError:
            hint = "an IPv4 or IPv6 address, or several separated by commas"
            raise UsageError(f"{word!r} is no address", cause=f"--local {word}", hint=hint) from None
        found.append(MAPPED + address.packed if isinstance(address, IPv4Address) else address.packed)
    return found


def add_own(context: Context, addresses: Iterable[bytes]) -> None:
    """Count these among the addresses of the machine that captured."""
    for address in addresses:
        context.addresses.add(AddressKind.UNICAST, 0, address)


def check_sides(context: Context) -> None:
    """Raise UsageError where nothing can tell what the machine sent: pcap files have no directions."""
    if len(context.addresses) or any(each.inputs[0].kind != "pcap" for each in context.descriptions):
        return
    name = context.descriptions[0].inputs[0].name
    raise UsageError(
        "the order of answers needs to know whose they are", cause=f"{name}: a pcap file has no directions", hint=HINT
    )
