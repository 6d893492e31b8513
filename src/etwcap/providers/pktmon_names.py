"""Names of PktMon's drop reasons and drop locations.

The tables are Microsoft's published PKTMON_DROP_REASON and PKTMON_DROP_LOCATION, with newer reasons from
PktmonAnalyzer; number and meaning of nearly all reasons agree with the DropReason map inside traces of builds 19042
to 26200.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from typing import Final

LAST_BUILD_WITH_OLD_REASONS: Final = 17763
"""Windows 10 1809, whose parsers number the NDIS reasons 101 to 104 and NetVsc's 201 to 204."""

_OLD_REASONS: Final = {101: 201, 102: 202, 103: 203, 104: 204, 201: 401, 202: 402, 203: 403, 204: 404}


def _table(name: str) -> dict[int, str]:
    text = resources.files("etwcap.providers").joinpath(name).read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line)
    return {int(number, 0): label for number, label in rows}


@functools.cache
def drop_reasons() -> Mapping[int, str]:
    """All known drop reasons by number."""
    return _table("pktmon_drop_reasons.tsv")


@functools.cache
def drop_locations() -> Mapping[int, str]:
    """All known drop locations by number."""
    return _table("pktmon_drop_locations.tsv")


def reason_name(number: int, texts: Mapping[int, str] | None = None, build: int = 0) -> str:
    """The name of a DropReason, e.g. ``INET_SessionState``.

    ``texts`` is the trace's own DropReason map, asked only for a number that the table lacks; ``build`` is the
    Windows build of the trace (0: not known), since builds up to 17763 numbered some reasons differently. A number
    nobody knows reads ``reason 4711``.
    """
    if 0 < build <= LAST_BUILD_WITH_OLD_REASONS:
        number = _OLD_REASONS.get(number, number)
    name = drop_reasons().get(number) or (texts or {}).get(number, "").strip()
    return name or f"reason {number}"


def location_name(number: int) -> str:
    """The name of a DropLocation; values below 0x80000000 belong to other vendors' drivers and read ``location
    0x...``."""
    return drop_locations().get(number) or f"location 0x{number:08X}"
