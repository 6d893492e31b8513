"""Groups that IPv6 hosts and routers talk to, and the UDP services that do (IANA: "IPv6 Multicast Address Space
Registry", "Service Name and Transport Protocol Port Number Registry")."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SERVICES: Final = {
    5353: ("ff02::fb",),
    5355: ("ff02::1:3",),
    547: ("ff02::1:2", "ff05::1:3"),
    1900: ("ff02::c", "ff05::c", "ff08::c", "ff0e::c"),
    3702: ("ff02::c",),
    521: ("ff02::9",),
    123: ("ff02::101", "ff05::101", "ff0e::101"),
    5683: ("ff02::fd", "ff05::fd", "ff02::1"),
    6696: ("ff02::1:6",),
    698: ("ff02::6d",),
    269: ("ff02::6d",),
    646: ("ff02::2",),
    319: ("ff02::6b", "ff0e::181", "ff02::181"),
    320: ("ff02::6b", "ff0e::181", "ff02::181"),
    2029: ("ff02::66",),
    3222: ("ff02::66",),
    427: ("ff02::116", "ff05::116"),
    9875: ("ff0e::2:7ffe",),
    6771: ("ff15::efc0:988f",),
    5678: ("ff02::1",),
    5351: ("ff02::1",),
    3503: ("ff02::2",),
}

_OTHERS: Final = (
    "ff01::1", "ff01::2", "ff02::1", "ff02::2", "ff02::5", "ff02::6", "ff02::a", "ff02::d", "ff02::12", "ff02::16",
    "ff02::1a", "ff02::6a", "ff05::1", "ff05::2", "ff03::1", "ff03::2", "ff03::fc", "ff02::1:1",
)  # fmt: skip

SERVICES: Final = tuple(
    (port, IPv6Address(group).packed) for port, groups in sorted(_SERVICES.items()) for group in groups
)
"""(UDP port, group of 16 bytes)"""


def _rows() -> NDArray[np.uint8]:
    named = {IPv6Address(group) for group in _OTHERS} | {IPv6Address(group) for _, group in SERVICES}
    return np.frombuffer(b"".join(address.packed for address in sorted(named)), np.uint8).reshape(-1, 16)


GROUPS: Final = _rows()
"""All of them, 16 bytes a row."""
