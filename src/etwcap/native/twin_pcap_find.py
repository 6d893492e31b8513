"""Twin of pcap_find.c: candidates by NumPy, the chain between them record by record."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CERTAIN = 524288
STEP = 604800
LEAST = 10
NOT_KNOWN = 0xFFFFFFFF
"""seconds of a record before that are not known; a packet of that very second (in 2106) counts as such, too"""


class Form(NamedTuple):
    """How a pcap file writes its records (struct ec_pcap_form)."""

    swapped: bool
    """the file is big-endian"""
    scale: int
    """ns per unit of the fraction"""
    header: int
    """bytes of a record header"""
    limit: int
    """longest packet"""
    either: bool
    """its two lengths stand in either order: the smaller one is the captured length"""

    def head(self, window: NDArray[np.uint8], at: int) -> tuple[int, int, int, int]:
        """Seconds, fraction, captured and original length in the record header at ``at`` (16 bytes)."""
        order = ">IIII" if self.swapped else "<IIII"
        seconds, fraction, captured, original = struct.unpack_from(order, window.data, at)
        if self.either and captured > original:
            captured, original = original, captured
        return seconds, fraction, captured, original


def regular(form: Form, window: NDArray[np.uint8], at: int, before: int) -> bool:
    """Whether a record header as every writer makes it stands at ``at``, ``before`` being the seconds before it."""
    seconds, fraction, captured, original = form.head(window, at)
    return (
        (original > 0 or seconds > 0)
        and abs(seconds - before) <= STEP
        and captured <= min(form.limit, original)
        and fraction * form.scale < 10**9
    )


def find(
    form: Form, window: NDArray[np.uint8], start: int, until: int, *, ends: bool, before: int | None
) -> int | None:
    """Twin of :func:`etwcap.native.pcap_find.find`."""
    data = window[start:]
    end = len(data)
    if end < form.header:
        return None
    places = end - form.header + 1
    columns = [_numbers(data, field, places, form.swapped) for field in (0, 4, 8, 12)]
    seconds, fraction, captured, original = columns
    if form.either:
        captured, original = np.minimum(captured, original), np.maximum(captured, original)
    fits = (captured <= np.minimum(original, form.limit)) & (fraction * form.scale < 10**9)
    fits &= (captured >= LEAST) | (seconds > 0)
    known = before is not None and before != NOT_KNOWN
    reach: dict[int, int] = {}
    found = None
    for at in np.flatnonzero(fits)[::-1].tolist():
        following = at + form.header + int(captured[at])
        if following > end:
            continue
        reach[at] = following
        if following in reach and abs(int(seconds[following]) - int(seconds[at])) <= STEP and end - following >= 16:
            reach[at] = reach[following]
        close = before is not None and known and abs(int(seconds[at]) - before) <= STEP
        if captured[at] < LEAST and not close:
            continue
        certain = (ends and (close or not known) and reach[at] == end) or reach[at] - at >= CERTAIN
        if certain and start + at < until:
            found = start + at
    return found


def _numbers(data: NDArray[np.uint8], field: int, count: int, swapped: bool) -> NDArray[np.int64]:
    """The u32 at ``field`` behind each byte."""
    shifts = (24, 16, 8, 0) if swapped else (0, 8, 16, 24)
    parts = [data[field + i : field + i + count].astype(np.int64) << shift for i, shift in enumerate(shifts)]
    return parts[0] | parts[1] | parts[2] | parts[3]
