"""Records of live trace sessions to packets: the decoding that files have, and the stages behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import EtwcapError
from etwcap.etl.records import EVENT32, EVENT64, RECORD, Records
from etwcap.native.etl import GUID_CAPACITY
from etwcap.native.etw_receiver import LEAD as BEFORE
from etwcap.native.rows import gather_rows
from etwcap.packets import Chunk, Context, Description
from etwcap.packets.chunk import END_OF_TIME
from etwcap.pipeline.convert import etl_stages
from etwcap.pipeline.protocols import Stage
from etwcap.providers.base import NetworkCard, TraceFacts
from etwcap.sources.decoding import RecordDecoder
from etwcap.taps.protocol import TapOptions
from etwcap.windows.adapters import adapters, filter_layers

_EXTENDED: Final = 0x1
_MARKER: Final = 0xC0
_HEAD: Final = np.dtype(
    [
        ("processor", "<u2"), ("logger", "<u2"), ("zero", "<u4"),
        ("size", "<u2"), ("type", "u1"), ("marker", "u1"), ("flags", "<u2"), ("property", "<u2"),
        ("thread", "<u4"), ("process", "<u4"), ("raw", "<i8"), ("guid", "<u8", 2),
        ("id", "<u2"), ("version", "u1"), ("channel", "u1"), ("level", "u1"), ("opcode", "u1"), ("task", "<u2"),
        ("keyword", "<u8"), ("rest", "<u8", 3),
    ]
)  # fmt: skip
"""A row up to its payload: the words before the record, then EVENT_HEADER (evntcons.h)."""


_SAME: Final = (
    "raw", "keyword", "process", "thread", "id", "size", "processor", "type", "version", "opcode", "level",
)  # fmt: skip
"""Columns that a row of RECORD has as the header has them."""


class Network(NamedTuple):
    """What the machine says of its adapters, as a trace would."""

    cards: dict[int, NetworkCard]
    addresses: dict[int, list[str]]


class EtwToPackets:
    """Stage: records of a trace session (``EtwRecordSource``) to the packets and events that a file of them gives."""

    def __init__(self, context: Context, description: Description, network: Network) -> None:
        facts = TraceFacts(description, description.machine)
        facts.cards, facts.addresses = network
        self._context = context
        self._decoder = RecordDecoder(context, facts)
        self._index = RecordIndex(self._decoder.seed)

    def process(self, chunk: Chunk) -> Chunk:
        """Packets, and events that are none."""
        rows = chunk.packets
        records, bad = self._index.rows(chunk.buffer, rows["offset"], rows["captured"], rows["time"])
        if bad:
            self._context.receipt.note(
                "malformed", "events whose payload does not fit their layout were passed over", bad
            )
        made = self._decoder.chunk(chunk.buffer, records, chunk.complete_to)
        if made.complete_to != END_OF_TIME:
            self._decoder.promised(made.complete_to)
        return made

    def finish(self) -> Chunk:
        """Packets that waited for their end."""
        return self._decoder.last(np.zeros(0, np.uint8))


class RecordIndex:
    """Index rows (RECORD) of records that come from a ring; the ordinals of providers go on from chunk to chunk."""

    def __init__(self, seed: list[bytes]) -> None:
        self.guids = list(seed)
        """by ordinal"""
        self._known = [_words(guid) for guid in seed]

    def rows(
        self, buffer: NDArray[np.uint8], offset: NDArray[np.int64], length: NDArray[np.uint32], time: NDArray[np.int64]
    ) -> tuple[Records, int]:
        """The index rows, and how many rows were left out because they hold no whole record."""
        fits = length >= _HEAD.itemsize
        rows = np.flatnonzero(fits) if not fits.all() else slice(None)
        head = gather_rows(buffer, offset[rows], _HEAD)
        whole = (head["size"] == length[rows] - BEFORE) & (head["marker"] == _MARKER)
        whole &= (head["type"] == EVENT64) | (head["type"] == EVENT32)
        offset, time = offset[rows], time[rows]
        if not whole.all():
            head, offset, time = head[whole], offset[whole], time[whole]
        records = np.zeros(len(head), RECORD)
        records["time"], records["offset"] = time, offset + BEFORE
        for name in _SAME:
            records[name] = head[name]
        records["provider"] = self._ordinals(head["guid"])
        records["payload"] = _payloads(buffer, head, offset + BEFORE)
        return records, len(length) - len(records)

    def _ordinals(self, guid: NDArray[np.uint64]) -> NDArray[np.int32]:
        low, high = guid[:, 0], guid[:, 1]
        found = np.full(len(guid), GUID_CAPACITY - 1, np.int32)
        left = np.ones(len(guid), np.bool_)
        for ordinal, (first, second) in enumerate(self._known):
            mine = (low == first) & (high == second)
            found[mine] = ordinal
            left &= ~mine
            if not left.any():
                return found
        for first, second in np.unique(guid[left], axis=0).tolist():
            if len(self._known) < GUID_CAPACITY - 1:
                mine = (low == first) & (high == second)
                found[mine] = len(self._known)
                self._known.append((first, second))
                self.guids.append(first.to_bytes(8, "little") + second.to_bytes(8, "little"))
        return found


def _words(guid: bytes) -> tuple[int, int]:
    return int.from_bytes(guid[:8], "little"), int.from_bytes(guid[8:], "little")


def _payloads(buffer: NDArray[np.uint8], head: NDArray[Any], offset: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Where each payload begins in its record: behind the header and its extended items, as far as they fit."""
    at = np.full(len(head), 80, np.int64)
    open_rows = np.flatnonzero(head["flags"] & _EXTENDED)
    size = head["size"].astype(np.int64)
    while len(open_rows):
        open_rows = open_rows[size[open_rows] - at[open_rows] >= 8]
        item = gather_rows(buffer, offset[open_rows] + at[open_rows], np.dtype("<u2, <u2, <u2, <u2"))
        stride = item["f0"].astype(np.int64)
        fits = (stride >= 8) & (stride <= size[open_rows] - at[open_rows])
        at[open_rows[fits]] += stride[fits]
        open_rows = open_rows[fits & (item["f2"] & 1 != 0)]
    return at.astype(np.uint16)


def etw_stages(
    context: Context,
    description: Description,
    options: TapOptions,
    *,
    tap: str,
    appearances: str = "wire",
    cards: Callable[[], Network] | None = None,
) -> list[Stage]:
    """What makes packets of a session's records: the decoding, then what an ETL file's packets go through.

    ``appearances`` as ``--appearances``; ``cards`` tells the adapters' names and addresses, by default this machine's.
    """
    try:
        network = (cards or this_network)()
    except EtwcapError as error:
        network = Network({}, {})
        context.receipt.note(f"{tap}-adapters", f"the adapters' names and addresses are not known: {error}")
    first: list[Stage] = [EtwToPackets(context, description, network)]
    return first + etl_stages(context, appearances, drops=True, ethernet=False, repairs=options.repairs)


def this_network() -> Network:
    """The adapters of this machine, and the layers above them, from the IP Helper. Raises NotHereError off Windows."""
    cards: dict[int, NetworkCard] = {}
    addresses: dict[int, list[str]] = {}
    for index, name in filter_layers().items():
        cards[index] = NetworkCard(index, description=name, is_filter=True)
    for each in adapters(disconnected=True):
        for index in {each.index, each.index6} - {0}:
            cards[index] = NetworkCard(
                index,
                alias=each.alias,
                description=each.description,
                mac=each.mac,
                luid=each.luid,
                guid=each.guid,
                mtu=each.mtu,
                type=each.kind,
                oper_status=each.status,
                transmit_speed=each.send_speed or 0,
                receive_speed=each.receive_speed or 0,
            )
            addresses[index] = [address.text for address in each.addresses]
    return Network(cards, addresses)
