"""Which of PktMon's components report packets, as ``--components`` and ``-i`` want it.

"nics" is the network adapters, and beside them every component that has no edges: such a one reports nothing but drops
(TCP/IP's interfaces do most of them), so each packet comes once and no drop is missed. PktMon's own "nics" is the
adapters alone; that is what remains where the components are not known one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from etwcap.errors import NotHereError, UsageError
from etwcap.providers.pktmon_components import Component, ComponentTree
from etwcap.providers.pktmon_layout import NDIS_MEDIUM_NATIVE_802_11, Property
from etwcap.taps.pktmon_stages import ADAPTERS
from etwcap.taps.protocol import LOOPBACK
from etwcap.taps.raw_sockets import choose_adapters
from etwcap.windows.adapters import Adapter
from etwcap.windows.pktmon_exe import Components

ALL: Final = "all"
NICS: Final = "nics"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the driver is asked for."""

    components: Components
    otherwise: Components | None = None
    """where it does not take those; None: then it cannot be done"""
    wifi: bool = False
    """frames of 802.11 are among what is reported"""


def check_choice(components: str, interfaces: Sequence[str]) -> None:
    """Raise UsageError for what this tap can never do."""
    _ids(components)
    if any(each.casefold() == LOOPBACK for each in interfaces):
        raise UsageError(
            "the tap pktmon does not see the loopback",
            cause="-i loopback",
            hint="--tap raw -i loopback, or --tap pktmon,raw for both",
        )
    if interfaces and components not in (ALL, NICS):
        raise UsageError(
            "adapters and components cannot be chosen both",
            cause=f"-i {interfaces[0]} and --components {components}",
            hint="leave one of them out: ids of components are those of single adapters",
        )


def appearances(components: str) -> str:
    """Which sightings of a packet are kept of what is reported: once "nearest the wire", or each that was asked for."""
    return "wire" if components == NICS else "all"


def choose(
    tree: ComponentTree, components: str, interfaces: Sequence[str], adapters: Callable[[], Sequence[Adapter]]
) -> Choice:
    """What to ask the driver for, by what it told of its components (an empty tree: nothing).

    Raises UsageError for adapters and ids that there are not, NotHereError where they are wanted and not known.
    """
    ids = _ids(components)
    if not tree.components:
        if interfaces or ids:
            raise NotHereError(
                "PktMon did not tell its components, so single ones cannot be chosen",
                cause=f"-i {', '.join(interfaces)}" if interfaces else f"--components {components}",
                hint="leave it out, and choose with a filter",
            )
        return Choice(ALL if components == ALL else NICS, wifi=True)
    if ids:
        unknown = [each for each in ids if each not in tree.components]
        if unknown:
            raise UsageError(
                f"PktMon has no component {unknown[0]}", cause=f"there are: {_listed(tree)}", hint="'pktmon list --all'"
            )
        return Choice(ids, wifi=_has_wifi(tree, ids))
    wanted = list(tree.components.values())
    if interfaces:
        named = choose_adapters(adapters(), interfaces)
        indexes = {index for each in named for index in (each.index, each.index6) if index}
        wanted = [each for each in wanted if each.adapter in indexes]
        if not any(each.type in ADAPTERS for each in wanted):
            raise UsageError(
                "PktMon does not see that interface",
                cause=f"-i {', '.join(interfaces)}; it sees: {_adapters(tree)}",
                hint="etwcap taps tells what other taps see",
            )
    if components == ALL:
        chosen = tuple(sorted(each.id for each in wanted))
        return Choice(chosen if interfaces else ALL, wifi=_has_wifi(tree, chosen))
    chosen = tuple(sorted(each.id for each in wanted if each.type in ADAPTERS or not each.edges))
    return Choice(chosen, None if interfaces else NICS, wifi=_has_wifi(tree, chosen))


def _ids(components: str) -> tuple[int, ...]:
    """The ids that ``--components`` names; none for "all" and "nics". Raises UsageError for anything else."""
    if components in (ALL, NICS):
        return ()
    words = components.split(",")
    if not all(each.isascii() and each.isdecimal() and int(each) < 1 << 16 for each in words):
        raise UsageError(
            "that names no components", cause=f"--components {components}", hint="nics, all, or ids: 12,13"
        )
    return tuple(sorted({int(each) for each in words}))


def _has_wifi(tree: ComponentTree, chosen: Sequence[int]) -> bool:
    medium = (tree.components[each].properties.get(Property.NDIS_MEDIUM) for each in chosen)
    return NDIS_MEDIUM_NATIVE_802_11 in medium


def _listed(tree: ComponentTree) -> str:
    return ", ".join(f"{each.id} ({_title(each)})" for _, each in sorted(tree.components.items())[:40])


def _adapters(tree: ComponentTree) -> str:
    found = [each for _, each in sorted(tree.components.items()) if each.type in ADAPTERS]
    return ", ".join(_title(each) for each in found) or "no adapter"


def _title(component: Component) -> str:
    return component.description or component.title
