"""What the packet events of NdisCap have in common: the columns that come from the event header and its keyword."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.records import Records
from etwcap.packets import Mark, PacketTable
from etwcap.providers.ndiscap_layout import Keyword

WHOLE: Final = np.uint64(Keyword.PACKET_START | Keyword.PACKET_END)
_NO_SENDERS: Final = (0, 4, 0xFFFFFFFF)
"""Idle, System and a header without a process."""


def packet_columns(
    records: Records, offset: NDArray[np.int64], size: NDArray[np.uint32], *, trusted: bool
) -> PacketTable:
    """One row per record, its packet bytes at ``offset``; ``trusted``: the process of a send may be its sender."""
    keyword = records["keyword"]
    sent = keyword & np.uint64(Keyword.SEND_PATH) != 0
    received = keyword & np.uint64(Keyword.RECEIVE_PATH) != 0
    process = records["process"].copy()
    flags = np.where(keyword & np.uint64(Keyword.PACKET_TRUNCATED) != 0, np.uint32(Mark.TRUNCATED), np.uint32(0))
    if trusted and sent.any():
        sender = sent & ~received & ~np.isin(process, _NO_SENDERS)
        flags |= np.where(sender, np.uint32(Mark.PROCESS_TRUSTED), np.uint32(0))
    packets = PacketTable(len(records))
    packets["time"] = records["time"].copy()
    packets["direction"] = np.where(sent, 2, np.where(received, 1, 0))
    packets["offset"] = offset
    packets["captured"] = size
    packets["original"] = size.copy()  # stages change either of them in place
    packets["flags"] = flags
    packets["process"] = process
    packets["thread"] = records["thread"].copy()
    packets["processor"] = records["processor"].copy()
    return packets


def part_keys(records: Records, miniport: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Equal for the parts of one packet: event id, MiniportIfIndex, processor and thread, as in Microsoft's Message
    Analyzer."""
    key = miniport.astype(np.uint64) << np.uint64(32) | records["thread"].astype(np.uint64)
    other = records["processor"].astype(np.uint64) << np.uint64(16) | records["id"].astype(np.uint64)
    mixed: NDArray[np.uint64] = key * np.uint64(0x9E3779B97F4A7C15) ^ other * np.uint64(0xC2B2AE3D27D4EB4F)
    return mixed
