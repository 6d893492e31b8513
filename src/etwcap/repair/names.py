"""The names of repairs, and which of them a ``--repair`` value asks for."""

from __future__ import annotations

from typing import Final

from etwcap.errors import UsageError

WIFI: Final = "wifi"
"""the Protected bit on clear 802.11 frames"""
IPV6: Final = "ipv6"
"""the IPv6 headers that raw sockets leave out"""
ORDER: Final = "order"
"""causal order"""
RECORDED_ORDER: Final = "recorded-order"
"""causal order of what raw sockets gave, and of nothing else: what ``auto`` means by order"""
REPAIRS: Final = (WIFI, IPV6, ORDER)
"""Names that ``--repair`` knows."""
AUTO: Final = frozenset({WIFI, IPV6, RECORDED_ORDER})


def parse_repairs(text: str) -> frozenset[str]:
    """The repairs that a ``--repair`` value asks for. Raises UsageError for a name that does not exist."""
    chosen: set[str] = set()
    for position, word in enumerate(name.strip() for name in text.split(",")):
        bare = word.removeprefix("-")
        if position == 0 and word in ("auto", "all", "none"):
            chosen = set() if word == "none" else set(AUTO if word == "auto" else REPAIRS)
        elif bare not in REPAIRS:
            raise UsageError(
                f"there is no repair {word!r}", cause=f"repair {text}", hint=f"there is: {', '.join(REPAIRS)}"
            )
        elif word.startswith("-"):
            chosen = (set(AUTO) if position == 0 else chosen) - {bare}
            if bare == ORDER:
                chosen.discard(RECORDED_ORDER)
        else:
            chosen.add(bare)
    return frozenset(chosen)
