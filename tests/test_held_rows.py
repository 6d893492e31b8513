"""Rows held past their chunk keep their bytes, and events that pass with them keep theirs."""

from __future__ import annotations

import numpy as np

from etwcap.packets import Chunk, EventTable, PacketTable
from etwcap.packets.held import HeldRows


def table(offsets: list[int], size: int, options: list[int]) -> PacketTable:
    packets = PacketTable(len(offsets))
    packets["offset"] = np.array(offsets)
    packets["captured"] = np.full(len(offsets), size, np.uint32)
    packets["options_offset"] = np.array(options)
    packets["options_length"] = np.full(len(offsets), 4, np.uint32)
    return packets


def spans(chunk: Chunk, offset: str, length: str) -> list[bytes]:
    rows = zip(chunk.packets[offset].tolist(), chunk.packets[length].tolist(), strict=True)
    return [chunk.buffer[at : at + size].tobytes() for at, size in rows]


def event(record: int, offset: int, length: int) -> EventTable:
    events = EventTable(1)
    events["record"], events["offset"] = np.array([record]), np.array([offset])
    events["length"] = np.array([length], np.uint32)
    return events


def test_bytes_options_and_events_come_through(backend: str) -> None:
    held = HeldRows()
    first = np.frombuffer(bytearray(b"aaabbboptAoptB"), np.uint8)
    packets = table([0, 3], 3, [6, 10])
    out = held.release(Chunk(first, packets, EventTable(0), 10), packets, np.zeros(2, np.bool_), 1, 5)
    assert out.buffer is first
    assert spans(out, "offset", "captured") == [b"aaa"]
    first[:] = 0
    second = np.frombuffer(bytearray(b"cccoptC headPAYLOAD"), np.uint8)
    new = table([0], 3, [3])
    both = PacketTable.concat([held.packets, new])
    chunk = Chunk(second, new, event(8, 12, 7), 20)
    out = held.release(chunk, both, np.array([True, False]), 2, 20)
    second[:] = 0
    assert spans(out, "offset", "captured") == [b"bbb", b"ccc"]
    assert spans(out, "options_offset", "options_length") == [b"optB", b"optC"]
    record, at = int(out.events["record"][0]), int(out.events["offset"][0])
    assert out.buffer[record : at + 7].tobytes() == b"headPAYLOAD"
    assert len(held) == 0
