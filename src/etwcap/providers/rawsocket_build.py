"""Raw-socket records as bytes: the reverse of ``rawsocket``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.native.ranges import pack_ranges
from etwcap.packets.addresses import MAPPED, AddressBook
from etwcap.providers.rawsocket_layout import ADDRESS_ROW, MAGIC, RAW_RECORD, Kind

LARGEST_PAYLOAD = 65_535
"""bytes that a receive buffer holds"""
ROWS_IN_RECORD = LARGEST_PAYLOAD // ADDRESS_ROW.itemsize


def record_heads(count: int, kind: Kind = Kind.PACKET) -> NDArray[Any]:
    """So many RAW_RECORD headers of which only magic and kind are filled."""
    heads = np.zeros(count, RAW_RECORD)
    heads["magic"] = MAGIC
    heads["kind"] = kind
    return heads


def build_records(
    heads: NDArray[Any], buffer: NDArray[np.uint8], offset: NDArray[np.int64], length: NDArray[np.uint32]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Each header before its payload of ``length`` bytes at ``offset``, in a new buffer; and where each record begins
    there. Raises IndexError when a payload does not lie inside the buffer."""
    size = RAW_RECORD.itemsize
    both = np.concatenate([heads.view(np.uint8), buffer])
    count = len(heads)
    places, lengths = np.empty(2 * count, np.int64), np.empty(2 * count, np.uint32)
    places[0::2], lengths[0::2] = np.arange(count) * size, size
    places[1::2], lengths[1::2] = offset + count * size, length
    out, begin = pack_ranges(both, places, lengths)
    return out, begin[0::2]


def build_record(head: NDArray[Any], payload: bytes) -> bytes:
    """One record: a RAW_RECORD of one row and its payload."""
    return head.tobytes() + payload


def address_rows(book: AddressBook) -> NDArray[Any]:
    """The entries of the book as ADDRESS_ROW."""
    rows = np.zeros(len(book), ADDRESS_ROW)
    for row, (kind, interface, address) in zip(rows, book.entries, strict=True):
        four = address.startswith(MAPPED)
        packed = address[12:].ljust(16, b"\0") if four else address
        row["family"], row["table"], row["interface"] = 4 if four else 6, kind, interface
        row["address"] = np.frombuffer(packed, np.uint8)
    return rows


def address_records(rows: NDArray[Any], socket: int = 0) -> list[bytes]:
    """A snapshot of address tables (ADDRESS_ROW) as records, each no longer than one of a packet."""
    records = []
    for first in range(0, len(rows), ROWS_IN_RECORD):
        head = record_heads(1, Kind.ADDRESSES)
        head["socket"] = socket
        records.append(build_record(head, rows[first : first + ROWS_IN_RECORD].tobytes()))
    return records
