"""Payload bytes of event 1003 (Hyper-V switch): the reverse of ``vmswitch``."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from etwcap.providers.ndiscap_build import packet_keyword
from etwcap.providers.ndiscap_layout import Keyword
from etwcap.providers.vmswitch_layout import OOB_SLOTS, OobSlot, pack_8021q


class SwitchPort(NamedTuple):
    """A port of a virtual switch and what is plugged into it."""

    port: int
    name: str = ""
    """of the port"""
    nic: str = ""
    """of the network adapter: machine and adapter, as Hyper-V shows them"""
    nic_type: str = ""


def _wstr(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"


def _port(port: SwitchPort) -> bytes:
    return struct.pack("<I", port.port) + _wstr(port.name) + _wstr(port.nic) + _wstr(port.nic_type)


def build_oob(slots: Mapping[int, int], *, pointer_size: int = 8, count: int = OOB_SLOTS) -> bytes:
    """The out-of-band data: ``count`` pointer-sized values, zero but for ``slots`` (by ``OobSlot``)."""
    values = [slots.get(number, 0) for number in range(count)]
    return struct.pack(f"<{count}{'Q' if pointer_size == 8 else 'I'}", *values)


def build_switch_event(
    fragment: bytes,
    *,
    miniport: int,
    source: SwitchPort,
    lower: int | None = None,
    destinations: Sequence[SwitchPort] = (),
    vlan: int = 0,
    priority: int = 0,
    dei: int = 0,
    rss_hash: int = 0,
    slots: Mapping[int, int] | None = None,
    pointer_size: int = 8,
    oob: bool = True,
) -> bytes:
    """Event 1003.

    ``fragment`` is the frame without its VLAN tag, which goes into the out-of-band data (``vlan``, ``priority``,
    ``dei``); ``slots`` are further values there; ``oob`` false: no such data at all.
    """
    held = {OobSlot.IEEE8021Q: pack_8021q(vlan, priority, dei), OobSlot.HASH_VALUE: rss_hash, **(slots or {})}
    data = build_oob(held, pointer_size=pointer_size) if oob else b""
    return b"".join(
        (
            struct.pack("<II", miniport, miniport if lower is None else lower),
            _port(source),
            struct.pack("<I", len(destinations)),
            *(_port(each) for each in destinations),
            struct.pack("<I", len(fragment)),
            fragment,
            struct.pack("<I", len(data)),
            data,
        )
    )


def switch_keyword(*, sent: bool, start: bool = True, end: bool = True, truncated: bool = False) -> int:
    """The keyword of a switch event; ``sent`` is towards the wire."""
    return packet_keyword(
        sent=sent, medium=Keyword.ETHERNET | Keyword.VM_SWITCH, start=start, end=end, truncated=truncated
    )
