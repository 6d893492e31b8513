"""Drop reports and the packets they speak of: which frame a report marks, and how the mark reads.

A report of a packet that was seen elsewhere comes up to a few milliseconds after that sighting (at most 1.6 ms on
build 26100), of one sent and looped back before it. Several reports may concern one packet: one for each socket
that refused it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import Context, PacketTable
from etwcap.providers.pktmon_names import location_name, reason_name

FRAME_BEFORE: Final = 5_000_000
"""ns: how much earlier than a report its packet may have been seen."""
FRAME_AFTER: Final = 2_000_000
"""ns: how much later."""


def match_reports(
    frame_key: NDArray[np.uint64],
    frame_time: NDArray[np.int64],
    report_key: NDArray[np.uint64],
    report_time: NDArray[np.int64],
) -> NDArray[np.intp]:
    """For each report the index of its frame, -1 where there is none: the last one of the same key (0 matches
    nothing) up to 5 ms before the report, else the first one up to 2 ms after it."""
    frames = len(frame_key)
    key = np.concatenate([frame_key, report_key])
    time = np.concatenate([frame_time, report_time])
    is_report = np.arange(len(key)) >= frames
    order = np.lexsort((is_report, time, key))
    key, time, is_report = key[order], time[order], is_report[order]
    at = np.arange(len(key))
    before = np.maximum.accumulate(np.where(is_report, -1, at))
    after = np.minimum.accumulate(np.where(is_report, len(key), at)[::-1])[::-1]
    has_before = (before >= 0) & (key[before] == key) & (time - time[before] <= FRAME_BEFORE)
    after = np.minimum(after, len(key) - 1)
    has_after = ~is_report[after] & (key[after] == key) & (time[after] - time <= FRAME_AFTER)
    found = np.where(has_before, order[before], np.where(has_after, order[after], -1))
    matched = np.full(len(report_key), -1, np.intp)
    known = is_report & (key != 0)
    matched[order[known] - frames] = found[known]
    return matched


def group_reports(key: NDArray[np.uint64], time: NDArray[np.int64]) -> NDArray[np.intp]:
    """For each report the index of the first report of the same packet: same key (0 is none) and at most 5 ms apart."""
    order = np.lexsort((time, key))
    sorted_key, sorted_time = key[order], time[order]
    new = np.ones(len(key), np.bool_)
    new[1:] = (
        (sorted_key[1:] != sorted_key[:-1])
        | (sorted_key[1:] == 0)
        | (sorted_time[1:] - sorted_time[:-1] > FRAME_BEFORE)
    )
    leader = np.empty(len(key), np.intp)
    leader[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(key)), 0))]
    return leader


def add_reports(packets: PacketTable, frame: NDArray[np.intp], reports: PacketTable) -> None:
    """Mark ``packets[frame[i]]`` by ``reports[i]`` (in time order).

    The first report of a frame gives reason and location, all are counted.
    """
    count = packets.writable("drop_count")
    reason, location = packets.writable("drop_reason"), packets.writable("drop_location")
    first_frame, first = np.unique(frame, return_index=True)
    unmarked = count[first_frame] == 0
    reason[first_frame[unmarked]] = reports["drop_reason"][first[unmarked]]
    location[first_frame[unmarked]] = reports["drop_location"][first[unmarked]]
    np.add.at(count, frame, reports["drop_count"])


def drop_text(reason: int, location: int, count: int, texts: Mapping[int, str], build: int = 0) -> str:
    """The mark for people: "dropped: INET_SessionState at INET_... , 2 reports"."""
    shown = f"dropped: {reason_name(reason, texts, build)} at {location_name(location)}"
    return f"{shown}, {count} reports" if count > 1 else shown


def comment_drops(context: Context, packets: PacketTable) -> None:
    """Give every packet that a drop report concerns a comment that says so."""
    rows = np.flatnonzero(packets["drop_count"])
    if not len(rows):
        return
    kinds, back = np.unique(
        np.stack([packets[name][rows] for name in ("drop_reason", "drop_location", "drop_count")], 1),
        axis=0,
        return_inverse=True,
    )
    back = back.reshape(-1)
    build = _build(context)
    for number, (reason, location, count) in enumerate(kinds.tolist()):
        text = drop_text(reason, location, count, context.drop_reason_texts, build)
        context.add_comment(packets, rows[back == number], text)


def _build(context: Context) -> int:
    """The Windows build of the trace; 0 where it is not known."""
    versions = [description.machine.os_version.split(".") for description in context.descriptions]
    return next((int(parts[2]) for parts in versions if len(parts) > 2 and parts[2].isdigit()), 0)
