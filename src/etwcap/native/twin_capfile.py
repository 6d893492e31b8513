"""Twin of capfile.c: one block at a time, with Python's own integers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from etwcap.native.twin_pcap_find import regular

if TYPE_CHECKING:
    from etwcap.native.capfile import PacketIndex

MORE, FULL, BLOCK, BROKEN, MISFIT, DOUBT = range(6)
CHECK_ALL = 2
SHB, PB, SPB, EPB = 0x0A0D0D0A, 2, 3, 6
KNOWN = frozenset({1, 2, 3, 4, 5, 6, 9, 10, 0xBAD, 0x40000BAD, SHB})
END, FLAGS, DROPCOUNT, PACKETID, QUEUE, VERDICT, PROCESS = 0, 2, 4, 5, 6, 7, 8
NOT_COPIED = (19372, 19373)
SEEN_INTERFACE, SEEN_DIRECTION, SEEN_FLAGS, SEEN_PACKET_ID, SEEN_PROCESS, SEEN_OPTIONS = 1, 2, 4, 8, 16, 32
LOWEST, HIGHEST = -(2**63), 2**63 - 1
NANO = 10**9

_NUMBERS = {(FLAGS, 4): "I", (QUEUE, 4): "I", (DROPCOUNT, 8): "Q", (PACKETID, 8): "Q", (PROCESS, 8): "II"}
"""(code, length) of options that are numbers"""


def ticks_to_ns(ticks: int, resolution: int, offset: int, extra: int) -> tuple[int, bool]:
    """Twin of ec_ticks_to_ns."""
    units = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    exact = ticks * NANO // units + offset * NANO + extra
    kept = min(max(exact, LOWEST), HIGHEST)
    return kept, kept != exact


def _put_row(
    index: PacketIndex, time: int, offset: int, captured: int, original: int, interface: int, *, clamped: bool = False
) -> None:
    marks = index.clamped_mark if clamped else 0
    if time < index.latest:
        marks |= index.late_mark
        index.late += 1
    index.latest = max(index.latest, time)
    if original < captured:
        marks |= index.length_mark
    index.seen |= (SEEN_FLAGS if marks else 0) | (SEEN_INTERFACE if interface else 0)
    row = {
        "time": time,
        "interface": interface,
        "direction": 0,
        "offset": offset,
        "captured": captured,
        "original": max(original, captured),
        "flags": marks,
        "packet_id": 0,
        "process": 0xFFFFFFFF,
        "thread": 0xFFFFFFFF,
        "options_offset": 0,
        "options_length": 0,
    }
    for name, value in row.items():
        index.arrays[name][index.row] = value


def pcap_index(index: PacketIndex, window: NDArray[np.uint8]) -> int:
    """Twin of ec_pcap_index."""
    form = index.form
    while index.row < index.rows:
        left = window.size - index.at
        index.need = index.header
        if left < index.header:
            return MORE
        seconds, fraction, captured, original = form.head(window, index.at)
        if captured > index.limit:
            return BROKEN
        index.need = index.header + captured
        if index.need > left:
            return MORE
        if index.checks and index.at >= index.sure:
            if left - index.need >= 16:
                if not regular(form, window, index.at + index.need, seconds):
                    return DOUBT
            elif index.checks == CHECK_ALL:
                index.need += 16
                return MORE
        _put_row(index, seconds * NANO + fraction * index.scale, index.at + index.header, captured, original, 0)
        index.row += 1
        index.at += index.need
    return FULL


def _little_endian(code: int, value: bytes) -> bytes:
    """The value of a big-endian section's option with its numbers turned around."""
    if form := _NUMBERS.get((code, len(value))):
        return struct.pack("<" + form, *struct.unpack(">" + form, value))
    if code == VERDICT and len(value) == 9 and value[0] in (1, 2):
        return value[:1] + value[:0:-1]
    if code in (2988, 2989, *NOT_COPIED) and len(value) >= 4:
        return value[3::-1] + value[4:]
    return value


def _take_options(index: PacketIndex, window: NDArray[np.uint8], at: int, end: int, block: int, order: str) -> None:
    row, start, kept = index.row, at, bytearray()
    arrays = index.arrays
    while end - at >= 4:
        code, length = struct.unpack_from(order + "HH", window.data, at)
        stop = at + 4 + length + -length % 4
        if code == END:
            break
        if stop > end:
            if index.odd == 0:
                index.odd_at = block
            index.odd += 1
            break
        value = window[at + 4 : at + 4 + length].tobytes()
        padding = window[at + 4 + length : stop].tobytes()
        at = stop
        if order == ">":
            value = _little_endian(code, value)
        if code == FLAGS and length == 4:
            (word,) = struct.unpack("<I", value)
            arrays["direction"][row] = 0 if word & 3 == 3 else word & 3
            index.seen |= SEEN_DIRECTION if arrays["direction"][row] else 0
            if word <= 3 and word & ~3 == 0:
                continue
        elif code == PACKETID and length == 8:
            arrays["packet_id"][row] = struct.unpack("<Q", value)[0]
            index.seen |= SEEN_PACKET_ID
            continue
        elif code == PROCESS and length == 8:
            arrays["process"][row], arrays["thread"][row] = struct.unpack("<II", value)
            arrays["flags"][row] |= index.process_mark
            index.seen |= SEEN_PROCESS | SEEN_FLAGS
            continue
        elif code in NOT_COPIED:
            continue
        kept += struct.pack("<HH", code, length) + value + padding
    if kept:
        window[start : start + len(kept)] = np.frombuffer(kept, np.uint8)
        arrays["options_offset"][row], arrays["options_length"][row] = start, len(kept)
        index.seen |= SEEN_OPTIONS


def _take_packet(index: PacketIndex, window: NDArray[np.uint8], kind: int, total: int, order: str) -> bool:
    if total < 32:
        return False
    number, high, low, captured, original = struct.unpack_from(order + "IIIII", window.data, index.at + 8)
    if kind == PB:
        (number,) = struct.unpack_from(order + "H", window.data, index.at + 8)
    room, filled = total - 32, captured + -captured % 4
    if number >= len(index.table) or filled > room:
        return False
    face = index.table[number]
    time, clamped = ticks_to_ns(high << 32 | low, int(face["resolution"]), int(face["offset"]), int(face["nanos"]))
    index.clamped += clamped
    data = index.at + 28
    _put_row(index, time, data, captured, original, int(face["interface"]), clamped=clamped)
    if room > filled:
        _take_options(index, window, data + filled, index.at + total - 4, index.at, order)
    return True


def _take_simple(index: PacketIndex, window: NDArray[np.uint8], total: int, order: str) -> bool:
    if total < 16 or not len(index.table):
        return False
    face = index.table[0]
    (original,) = struct.unpack_from(order + "I", window.data, index.at + 8)
    captured = min(original, total - 16, int(face["snap"]) or original)
    if index.latest == LOWEST:
        index.latest = 0
    index.untimed += 1
    _put_row(index, index.latest, index.at + 12, captured, original, int(face["interface"]))
    return True


def pcapng_index(index: PacketIndex, window: NDArray[np.uint8]) -> int:
    """Twin of ec_pcapng_index."""
    order = ">" if index.swapped else "<"
    while index.row < index.rows:
        left = window.size - index.at
        index.need = 12
        if left < 12:
            return MORE
        kind, total = struct.unpack_from(order + "II", window.data, index.at)
        if kind == SHB:
            return BLOCK
        if total < 12 or total % 4 or total > index.limit:
            return BROKEN
        index.need = total
        if total > left:
            return MORE
        if struct.unpack_from(order + "I", window.data, index.at + total - 4)[0] != total:
            return BROKEN
        if kind in (EPB, PB):
            fits = _take_packet(index, window, kind, total, order)
        elif kind == SPB:
            fits = _take_simple(index, window, total, order)
        else:
            return BLOCK
        if not fits:
            return MISFIT
        index.row += 1
        index.at += total
    return FULL


def _plausible(window: NDArray[np.uint8], at: int, limit: int, order: str) -> bool:
    kind, total = struct.unpack_from(order + "II", window.data, at)
    return kind in KNOWN and total >= 12 and total % 4 == 0 and (total <= limit or kind == SHB)


def find_block(
    window: NDArray[np.uint8], start: int, until: int, limit: int, *, swapped: bool, ends: bool
) -> int | None:
    """Twin of :func:`etwcap.native.capfile.find_block`."""
    order = ">" if swapped else "<"
    for at in range(start, min(until, window.size - 11)):
        if not _plausible(window, at, limit, order):
            continue
        other = order
        kind, magic = struct.unpack_from(order + "I4xI", window.data, at)
        if kind == SHB:
            if magic == 0x4D3C2B1A:
                other = "<" if swapped else ">"
            elif magic != 0x1A2B3C4D:
                continue
        (total,) = struct.unpack_from(other + "I", window.data, at + 4)
        following = at + total
        if total < 12 or total % 4 or total > limit or following > window.size:
            continue
        if struct.unpack_from(other + "I", window.data, following - 4)[0] != total:
            continue
        if (
            _plausible(window, following, limit, other)
            if window.size - following >= 8
            else (ends and following == window.size)
        ):
            return at
    return None
