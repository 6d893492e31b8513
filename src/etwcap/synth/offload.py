"""What network adapters do for Windows, undone: packets as they look above an adapter that computes and segments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import Chunk, Context
from etwcap.synth.headers import TCP, UDP, Headers, ip_addresses

_LARGEST_SEND = 60_000
"""bytes of one large send at most: the record has to hold it"""
_MERGED_WITHIN = 10_000_000
"""ns between two segments of one large send at most"""
_CHECKSUM = {TCP: 16, UDP: 6}


def leave_checksums_open(chunk: Chunk, headers: Headers, context: Context) -> None:
    """Sent packets as before the adapter fills in their checksums: IPv4's is 0, TCP's and UDP's that of the pseudo
    header alone (NDIS TCP/IP checksum offload). Changes ``chunk.buffer``."""
    buffer = chunk.buffer
    sent = chunk.packets["direction"] == 2
    end = headers.bytes.end
    four = np.flatnonzero(sent & (headers.version == 4))
    for byte in (10, 11):
        buffer[headers.ip[four] + byte] = 0
    source, target = ip_addresses(headers)
    done = np.zeros(len(sent), np.bool_)
    done[four] = True
    for protocol, place in _CHECKSUM.items():
        at = headers.transport + place
        rows = np.flatnonzero(
            sent & (headers.version > 0) & (headers.protocol == protocol) & ~headers.fragment & (at + 2 <= end)
            & (headers.transport < headers.ip_end)
        )  # fmt: skip
        length = (headers.ip_end - headers.transport)[rows]
        value = _pseudo_header_sum(source[rows], target[rows], headers.version[rows], protocol, length)
        buffer[at[rows]], buffer[at[rows] + 1] = value >> 8, value & 0xFF
        done[rows] = True
    context.receipt.note("offload", "sent packets have checksums that are not filled in", int(np.count_nonzero(done)))


def _pseudo_header_sum(
    source: NDArray[np.uint8],
    target: NDArray[np.uint8],
    version: NDArray[np.int64],
    protocol: int,
    length: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The ones' complement sum of the pseudo header, not inverted (RFC 768, RFC 8200 section 8.1)."""
    words = np.hstack([source, target]).view(">u2").astype(np.int64)
    mapped = version == 4
    words[mapped, :6] = words[mapped, 8:14] = 0
    total: NDArray[np.int64] = words.sum(axis=1) + protocol + (length & 0xFFFF) + (length >> 16)
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    return total


def merge_segments(chunk: Chunk, headers: Headers, context: Context) -> Chunk:
    """Sent TCP segments that follow each other become large sends, whose IP header tells length 0 (LSO version 2)."""
    packets = chunk.packets
    runs = _runs(chunk, headers)
    if not runs:
        return chunk
    parts, gone = [], np.zeros(len(packets), np.bool_)
    table = packets.take(slice(None))
    offset, captured, original = (table.writable(name) for name in ("offset", "captured", "original"))
    at = chunk.buffer.size
    for run in runs:
        first = run[0]
        head_end = int(_payload_start(headers, first))
        pieces = [chunk.buffer[int(packets["offset"][first]) : int(headers.ip_end[first])]]
        pieces += [chunk.buffer[int(_payload_start(headers, row)) : int(headers.ip_end[row])] for row in run[1:]]
        merged = np.concatenate(pieces)
        base = int(packets["offset"][first])
        ip = int(headers.ip[first]) - base
        zero = (2, 3, 10, 11) if headers.version[first] == 4 else (4, 5)
        merged[[ip + each for each in zero]] = 0
        flags = int(headers.transport[first]) - base + 13
        merged[flags] = int(chunk.buffer[int(headers.transport[run[-1]]) + 13])
        assert head_end - base <= len(merged)
        parts.append(merged)
        offset[first], captured[first], original[first] = at, len(merged), len(merged)
        at += len(merged)
        gone[run[1:]] = True
    context.receipt.note(
        "lso", "sent TCP segments became part of a large send before them", int(np.count_nonzero(gone))
    )
    context.receipt.note("large-sends", "large sends have IP length 0", len(runs))
    buffer = np.concatenate([chunk.buffer, *parts])
    return Chunk(buffer, table.take(~gone), chunk.events, chunk.complete_to)


def _payload_start(headers: Headers, row: int) -> int:
    at = int(headers.transport[row])
    return at + (int(headers.bytes.buffer[at + 12]) >> 4) * 4


def _runs(chunk: Chunk, headers: Headers) -> list[list[int]]:
    """Rows of segments that make one large send each, in the order of their first."""
    packets, buffer = chunk.packets, chunk.buffer
    whole = (packets["captured"] == packets["original"]) & (headers.transport + 20 <= headers.ip_end)
    wanted = np.flatnonzero(
        (packets["direction"] == 2) & whole & (headers.protocol == TCP) & (headers.version > 0) & ~headers.fragment
    )
    open_runs: dict[bytes, tuple[list[int], int, int]] = {}
    found: list[list[int]] = []
    time = packets["time"]
    for row in wanted.tolist():
        ip, at, end = int(headers.ip[row]), int(headers.transport[row]), int(headers.ip_end[row])
        head = buffer[at : at + 14].tobytes()
        start = _payload_start(headers, row)
        source_to_end = 12 if headers.version[row] == 4 else 8
        key = buffer[ip + source_to_end : ip + (20 if source_to_end == 12 else 40)].tobytes() + head[:4]
        sequence = int.from_bytes(head[4:8], "big")
        size = end - start
        plain = size > 0 and head[13] & 0x27 == 0 and head[13] & 0x10
        kept = open_runs.pop(key, None)
        if size > 0 and kept is not None and head[13] & 0x27 == 0:
            run, following, total = kept
            close = int(time[row]) - int(time[run[0]]) <= _MERGED_WITHIN
            same = int(headers.transport[run[0]]) + 8, at + 8
            acknowledges = buffer[same[0] : same[0] + 4].tobytes() == buffer[same[1] : same[1] + 4].tobytes()
            if following == sequence and close and acknowledges and total + size <= _LARGEST_SEND:
                run.append(row)
                if len(run) == 2:
                    found.append(run)
                if not head[13] & 0x08:
                    open_runs[key] = run, (sequence + size) & 0xFFFFFFFF, total + size
                continue
        if plain and not head[13] & 0x08:
            open_runs[key] = [row], (sequence + size) & 0xFFFFFFFF, end - ip
    return found
