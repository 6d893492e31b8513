"""Twin of blocks.c: one row at a time, as the draft describes the block."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from etwcap.native.blocks import PacketWriter

DONE, FULL, UNMAPPED, OUTSIDE = range(4)
COMMENT, FLAGS, PACKETID, VERDICT, PROCESS = 1, 2, 5, 7, 8
NO_PROCESS = 0xFFFFFFFF
NANO = 10**9

Columns = Mapping[str, NDArray[Any]]


class _OutsideError(Exception):
    """A row names bytes, an interface or a text that is not there."""


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _carried(options: bytes) -> Iterator[tuple[int, int, int]]:
    """(offset, code, length) of each option; the last one may be broken off."""
    at = 0
    while len(options) - at >= 4:
        code, length = struct.unpack_from("<HH", options, at)
        yield at, code, length
        at += 4 + length + -length % 4
        if at > len(options):
            return


def _slice(data: NDArray[np.uint8], offset: int, length: int) -> bytes:
    if offset < 0 or offset + length > data.size:
        raise _OutsideError
    return data[offset : offset + length].tobytes()


def _options(writer: PacketWriter, buffer: NDArray[np.uint8], columns: Columns, row: int) -> bytes:
    """All options of a row, opt_endofopt included; empty where there is none."""

    def cell(name: str, default: int = 0) -> int:
        return int(columns[name][row]) if name in columns else default

    direction = cell("direction") & 3
    carried = b""
    codes = set()
    if length := cell("options_length"):
        if length % 4:
            raise _OutsideError
        carried = _slice(buffer, cell("options_offset"), length)
        codes = {code for _, code, _ in _carried(carried)}
    parts = [carried]
    if direction and FLAGS in codes:
        changed = bytearray(carried)
        for at, code, length in _carried(carried):
            if code == FLAGS and length == 4 and at + 8 <= len(carried):
                changed[at + 4] = changed[at + 4] & 0xFC | direction
        parts = [bytes(changed)]
    elif direction:
        parts.append(_option(FLAGS, struct.pack("<I", direction)))
    if (packet_id := cell("packet_id")) and PACKETID not in codes:
        parts.append(_option(PACKETID, struct.pack("<Q", packet_id)))
    if cell("drop_count"):
        verdict = struct.pack("<BII", 0, cell("drop_reason"), cell("drop_location"))
        parts.append(_option(VERDICT, verdict))
    process, thread = cell("process", NO_PROCESS), cell("thread", NO_PROCESS)
    if process != NO_PROCESS and cell("flags") & writer.trusted and PROCESS not in codes:
        parts.append(_option(PROCESS, struct.pack("<II", process, 0 if thread == NO_PROCESS else thread)))
    if (comment := cell("comment", -1)) >= 0:
        if comment >= len(writer.texts):
            raise _OutsideError
        start, end = writer.texts.offsets[comment : comment + 2]
        parts.append(_option(COMMENT, bytes(writer.texts.bytes[start:end])))
    joined = b"".join(parts)
    return joined + bytes(4) if joined else b""


def _append(writer: PacketWriter, block: bytes) -> bool:
    if len(block) > writer.out.size - writer.used:
        writer.need = len(block)
        return False
    writer.out[writer.used : writer.used + len(block)] = np.frombuffer(block, np.uint8)
    writer.used += len(block)
    return True


def _write(writer: PacketWriter, buffer: NDArray[np.uint8], columns: Columns, rows: int, start: int, kind: str) -> int:
    for row in range(start, rows):
        writer.row = row
        captured = int(columns["captured"][row])
        interface = int(columns["interface"][row]) if "interface" in columns else 0
        time = stamp = int(columns["time"][row]) if "time" in columns else 0
        original = max(captured, int(columns["original"][row]) if "original" in columns else 0)
        try:
            data = _slice(buffer, int(columns["offset"][row]), captured)
            if not 0 <= interface < len(writer.numbers):
                return OUTSIDE
            number = int(writer.numbers[interface])
            if number < 0:
                return UNMAPPED
            if kind == "epb":
                time = max(time, 0)
                body = struct.pack("<IIIII", number, time >> 32, time & 0xFFFFFFFF, captured, original)
                body += data + bytes(-captured % 4) + _options(writer, buffer, columns, row)
                total = len(body) + 12
                block = struct.pack("<II", 6, total) + body + struct.pack("<I", total)
            else:
                time = min(max(time, 0), 2**32 * NANO - 1)
                block = struct.pack("<IIII", time // NANO, time % NANO, captured, original) + data
        except _OutsideError:
            return OUTSIDE
        if not _append(writer, block):
            return FULL
        writer.clamped += time != stamp
        writer.longest = max(writer.longest, captured)
        tally = writer.tallies[interface]
        first, last = (time, time) if not tally["packets"] else (int(tally["first"]), int(tally["last"]))
        writer.tallies[interface] = (int(tally["packets"]) + 1, min(first, time), max(last, time))
    writer.row = rows
    return DONE


def epb_write(writer: PacketWriter, buffer: NDArray[np.uint8], columns: Columns, rows: int, start: int) -> int:
    """Twin of ec_epb_write."""
    return _write(writer, buffer, columns, rows, start, "epb")


def pcap_write(writer: PacketWriter, buffer: NDArray[np.uint8], columns: Columns, rows: int, start: int) -> int:
    """Twin of ec_pcap_write."""
    return _write(writer, buffer, columns, rows, start, "pcap")
