"""What a radio told of received 802.11 frames (event 1002), put before them as radiotap headers.

The metadata belong to the next received 802.11 frame of their miniport; sent frames have none. Fields of the header:
radiotap.org, "Defined fields".
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.records import Records, pick
from etwcap.native.rows import gather_rows
from etwcap.packets import Context, PacketTable
from etwcap.providers.base import TraceFacts, payload_spans, report_malformed
from etwcap.providers.ndiscap_layout import (
    LEGACY_METADATA,
    METADATA_HEADER,
    NDIS_OBJECT_TYPE_DEFAULT,
    RECEIVE_CONTEXT,
    RECEIVE_CONTEXT_SIZE_32,
    Keyword,
    ReceiveFlag,
)

_RADIO: Final = np.dtype(
    [
        ("miniport", np.uint32),
        ("frequency", np.uint32),
        ("rssi", np.int32),
        ("rate", np.uint8),
        ("flags", np.uint32),
        ("timestamp", np.uint64),
    ]
)
"""MHz, dBm, 500 kbit/s, ReceiveFlag bits, microseconds."""

_TSFT, _FLAGS, _RATE, _CHANNEL, _SIGNAL = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 5
_BAD_FCS: Final = 0x40
_CCK, _OFDM, _GHZ2, _GHZ5 = 0x20, 0x40, 0x80, 0x100
_CCK_RATES: Final = (2, 4, 11, 22)
_OFDM_RATES: Final = (12, 18, 24, 36, 48, 72, 96, 108)


class Radio:
    """Pairs metadata with frames, over chunks, and writes the headers."""

    def __init__(self, context: Context, facts: TraceFacts, legacy: bool) -> None:
        self._context = context
        self._facts = facts
        self._legacy = legacy
        self._pending = np.empty(0, _RADIO)
        """at most one per miniport: the metadata of a frame that has not come yet"""

    @property
    def pending(self) -> bool:
        """Whether metadata wait for their frame."""
        return bool(len(self._pending))

    def match(
        self,
        buffer: NDArray[np.uint8],
        records: Records,
        metadata: NDArray[np.intp],
        frames: NDArray[np.intp],
        miniport: NDArray[np.uint32],
    ) -> tuple[NDArray[np.bool_], NDArray[np.void]]:
        """Which frames have metadata, and theirs.

        ``metadata`` are the records 1002, ``frames`` those of received 802.11 frames with their ``miniport``.
        """
        place, radio = self._decode(buffer, records, metadata)
        waiting = len(self._pending)
        radio = np.concatenate([self._pending, radio])
        place = np.concatenate([np.full(waiting, -1, np.intp), place])
        told = len(radio)
        stack = np.concatenate([radio["miniport"], miniport])
        order = np.lexsort((np.concatenate([place, frames]), stack))
        is_frame = order >= told
        same_as_next = stack[order[:-1]] == stack[order[1:]]
        follows = np.zeros(len(order), np.bool_)
        follows[1:] = same_as_next & ~is_frame[:-1] & is_frame[1:]
        superseded = same_as_next & ~is_frame[:-1] & ~is_frame[1:]
        self._count("metadata-unused", "Wi-Fi metadata without a frame of theirs", int(np.count_nonzero(superseded)))
        last = np.ones(len(order), np.bool_)
        last[:-1] = ~same_as_next
        self._pending = radio[np.sort(order[last & ~is_frame])]
        has = np.zeros(len(frames), np.bool_)
        paired = np.flatnonzero(follows)
        has[order[paired] - told] = True
        of_frame = np.zeros(len(frames), np.intp)
        of_frame[order[paired] - told] = order[paired - 1]
        return has, radio[of_frame[has]]

    def give_up(self) -> None:
        """Count what still waits: no frame comes any more."""
        self._count("metadata-unused", "Wi-Fi metadata without a frame of theirs", len(self._pending))
        self._pending = np.empty(0, _RADIO)

    def _count(self, kind: str, text: str, count: int) -> None:
        self._context.receipt.note(kind, text, count)

    def _decode(
        self, buffer: NDArray[np.uint8], records: Records, rows: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.void]]:
        """The metadata that fit, and their rows in ``records``."""
        wifi = records["keyword"][rows] & np.uint64(Keyword.NATIVE_802_11) != 0
        self._count("metadata-other", "metadata of other media than Wi-Fi were left out", int(np.count_nonzero(~wifi)))
        rows = rows[wifi]
        mine = pick(records, rows)
        starts, sizes = payload_spans(buffer, mine)
        radio = np.zeros(len(rows), _RADIO)
        fits = (
            self._read_legacy(buffer, starts, sizes, radio)
            if self._legacy
            else self._read(buffer, starts, sizes, radio)
        )
        if not fits.all():
            report_malformed(self._context, self._facts, mine[~fits], "Wi-Fi metadata that do not fit")
        return rows[fits], radio[fits]

    @staticmethod
    def _read(
        buffer: NDArray[np.uint8], starts: NDArray[np.int64], sizes: NDArray[np.int64], radio: NDArray[np.void]
    ) -> NDArray[np.bool_]:
        header = METADATA_HEADER.itemsize
        fits = sizes >= header + RECEIVE_CONTEXT_SIZE_32
        rows = np.flatnonzero(fits)
        head = gather_rows(buffer, starts[rows], METADATA_HEADER)
        context = gather_rows(buffer, starts[rows] + header, RECEIVE_CONTEXT)
        size = context["size"].astype(np.int64)
        right = (context["type"] == NDIS_OBJECT_TYPE_DEFAULT) & (size >= RECEIVE_CONTEXT_SIZE_32)
        right &= (size <= head["metadata_size"]) & (head["metadata_size"] <= sizes[rows] - header)
        fits[rows] = right
        rows, head, context, size = rows[right], head[right], context[right], size[right]
        radio["miniport"][rows] = head["miniport_if_index"]
        for name, field in (
            ("frequency", "center_frequency"),
            ("rssi", "rssi"),
            ("rate", "data_rate"),
            ("flags", "receive_flags"),
        ):
            radio[name][rows] = context[field]
        wide = np.where(size < RECEIVE_CONTEXT_SIZE_32 + 4, 4, 8)
        stamp = starts[rows] + header + RECEIVE_CONTEXT.itemsize + wide
        radio["timestamp"][rows] = gather_rows(buffer, stamp, np.dtype([("timestamp", "<u8")]))["timestamp"]
        return fits

    @staticmethod
    def _read_legacy(
        buffer: NDArray[np.uint8], starts: NDArray[np.int64], sizes: NDArray[np.int64], radio: NDArray[np.void]
    ) -> NDArray[np.bool_]:
        fits = sizes >= LEGACY_METADATA.itemsize
        told = gather_rows(buffer, starts[fits], LEGACY_METADATA)
        for name, field in (
            ("miniport", "miniport_if_index"),
            ("frequency", "center_frequency"),
            ("rssi", "rssi"),
            ("rate", "data_rate"),
            ("flags", "receive_flags"),
            ("timestamp", "timestamp"),
        ):
            radio[name][fits] = told[field]
        return fits


def put_radiotap(
    buffer: NDArray[np.uint8], packets: PacketTable, rows: NDArray[np.intp], radio: NDArray[np.void]
) -> None:
    """Write a radiotap header right before each of the rows' frames, and let the rows begin there.

    It takes up to 24 bytes, which the caller can spare: the frame's event lies there.
    """
    present = _present(radio)
    for kind in np.unique(present).tolist():
        picked = np.flatnonzero(present == kind)
        header = _headers(kind, radio[picked])
        size = header.dtype.itemsize
        mine = rows[picked]
        packets.writable("offset")[mine] -= size
        for name in ("captured", "original"):
            packets.writable(name)[mine] += np.uint32(size)
        buffer[packets["offset"][mine][:, None] + np.arange(size)] = header.view(np.uint8).reshape(len(mine), size)


def _present(radio: NDArray[np.void]) -> NDArray[np.uint32]:
    """The it_present word of each: what is known."""
    present = np.zeros(len(radio), np.uint32)
    known = (
        (_TSFT, radio["flags"] & ReceiveFlag.TIMESTAMP != 0),
        (_FLAGS, radio["flags"] & ReceiveFlag.FCS_FAILURE != 0),
        (_RATE, radio["rate"] > 0),
        (_CHANNEL, (radio["frequency"] > 0) & (radio["frequency"] <= 0xFFFF)),
        (_SIGNAL, (radio["rssi"] < 0) & (radio["rssi"] >= -128)),
    )
    for bit, where in known:
        present[where] |= np.uint32(bit)
    return present


def _headers(present: int, radio: NDArray[np.void]) -> NDArray[np.void]:
    fields = [("version", "u1"), ("pad", "u1"), ("length", "<u2"), ("present", "<u4")]
    fields += [("tsft", "<u8")] if present & _TSFT else []
    fields += [("flags", "u1")] if present & _FLAGS else []
    fields += [("rate", "u1")] if present & _RATE else []
    if present & _CHANNEL:
        odd = bool(present & _FLAGS) != bool(present & _RATE)  # the channel begins at an even byte
        fields += [("align", "u1")] if odd else []
        fields += [("frequency", "<u2"), ("channel_flags", "<u2")]
    fields += [("signal", "i1")] if present & _SIGNAL else []
    header = np.zeros(len(radio), np.dtype(fields))
    header["length"], header["present"] = header.dtype.itemsize, present
    if present & _TSFT:
        header["tsft"] = radio["timestamp"]
    if present & _FLAGS:
        header["flags"] = _BAD_FCS
    if present & _RATE:
        header["rate"] = radio["rate"]
    if present & _CHANNEL:
        header["frequency"] = radio["frequency"]
        header["channel_flags"] = _channel_flags(radio["frequency"], radio["rate"])
    if present & _SIGNAL:
        header["signal"] = radio["rssi"]
    return header


def _channel_flags(frequency: NDArray[np.uint32], rate: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """The band, and the modulation where the rate is one of 802.11a, b or g."""
    low = (frequency >= 2400) & (frequency < 2500)
    band = np.where(low, _GHZ2, np.where(frequency >= 4900, _GHZ5, 0))
    cck = np.where(np.isin(rate, _CCK_RATES) & low, _CCK, 0)
    ofdm = np.where(np.isin(rate, _OFDM_RATES), _OFDM, 0)
    return (band | cck | ofdm).astype(np.uint16)
