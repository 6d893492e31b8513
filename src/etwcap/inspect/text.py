"""Text for people: names made safe, times, tables."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from etwcap.etl.values import UtcTime


def utc(time: int) -> str:
    """``2021-06-03 13:49:55.6187930`` of ns since 1970 UTC."""
    return str(UtcTime(time))


def iso(time: int | None) -> str | None:
    """``2021-06-03T13:49:55.618793000Z``: all digits, for machines."""
    if time is None:
        return None
    seconds, ns = divmod(time, 1_000_000_000)
    return f"{str(UtcTime(seconds * 1_000_000_000))[:19].replace(' ', 'T')}.{ns:09d}Z"


def duration(ns: int) -> str:
    """``0.3 µs``, ``15.2 s``, ``3 min 20 s``, ``8 h 12 min``, ``12 d 3 h``."""
    if 0 < ns < 1_000_000:
        return f"{ns / 1000:.3g} µs"
    seconds = ns / 1e9
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for unit, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // smaller} {smaller_name}"
    raise AssertionError


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int], width: int) -> list[str]:
    """Aligned columns, those numbered in ``right`` to the right; the first gives way where the width is short."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    over = sum(widths) + 2 * len(widths) - width
    if over > 0:
        widths[0] = max(widths[0] - over, 12)
    lines = []
    for row in [head, *rows]:
        cells = [
            cell.rjust(size) if number in right else shorten(cell, size).ljust(size)
            for number, (cell, size) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def shorten(text: str, width: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"


def labelled(label: str, text: str, width: int) -> list[str]:
    """A label in a column of its own and the text beside it, wrapped."""
    wrapped = textwrap.wrap(text, max(width - 14, 20), break_long_words=False, break_on_hyphens=False) or [""]
    return [f"{label if number == 0 else '':<12}  {line}" for number, line in enumerate(wrapped)]
