"""802.11 frames of Windows taps: the Protected bit of clear frames, and their conversion to Ethernet.

Windows hands frames to its filters decrypted, without IV and MIC, but drivers may leave the Protected bit set (seen
on builds 19042 and 26200); a reader then takes the clear bytes for ciphertext. The conversion gives the very
Ethernet frame that the stack sees above nwifi.sys.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from etwcap.native.rows import gather_rows
from etwcap.native.wifi import CONVERTED, UNSUPPORTED, clear_protected, to_ethernet
from etwcap.packets import Chunk, Context, Mark, PacketTable
from etwcap.packets.linktypes import ETHERNET, IEEE802_11, IEEE802_11_RADIOTAP

_SUFFIX = " (802.11)"
_RADIOTAP_LENGTH = np.dtype([("version", "u1"), ("pad", "u1"), ("length", "<u2")])


class WifiStage:
    """Clears the Protected bit of clear frames (``clear_protected``) and turns data frames into Ethernet
    (``ethernet``).

    Frames that no Ethernet frame corresponds to (null data, management) and those whose form is not handled (four
    addresses, HT control, A-MSDU) stay on their 802.11 interface and are counted.
    """

    def __init__(self, context: Context, ethernet: bool = False, clear_protected: bool = True) -> None:
        self._context = context
        self._ethernet = ethernet
        self._clear = clear_protected
        self._twins: dict[int, int] = {}

    def process(self, chunk: Chunk) -> Chunk:
        """The same chunk, its 802.11 frames changed in place."""
        links = np.array([interface.link_type for interface in self._context.interfaces], np.uint16)
        if not len(chunk.packets) or not (links == IEEE802_11).any() | (links == IEEE802_11_RADIOTAP).any():
            return chunk
        if self._clear:
            self._clear_behind_radiotap(chunk, np.flatnonzero(links[chunk.packets["interface"]] == IEEE802_11_RADIOTAP))
        rows = np.flatnonzero(links[chunk.packets["interface"]] == IEEE802_11)
        if len(rows):
            if self._clear:
                self._clear_protected(chunk, rows)
            if self._ethernet:
                self._to_ethernet(chunk, rows)
        return chunk

    def finish(self) -> Chunk | None:
        """Nothing is ever held."""
        return None

    def _clear_behind_radiotap(self, chunk: Chunk, rows: NDArray[np.intp]) -> None:
        packets = chunk.packets
        rows = rows[packets["captured"][rows] >= _RADIOTAP_LENGTH.itemsize]
        length = gather_rows(chunk.buffer, packets["offset"][rows], _RADIOTAP_LENGTH)["length"].astype(np.uint32)
        behind = length <= packets["captured"][rows]
        if behind.any():
            self._clear_protected(chunk, rows[behind], length[behind])

    def _clear_protected(self, chunk: Chunk, rows: NDArray[np.intp], skipped: NDArray[np.uint32] | None = None) -> None:
        """``skipped``: bytes before each frame."""
        packets = chunk.packets
        offset, captured = packets["offset"][rows], packets["captured"][rows]
        if skipped is not None:
            offset, captured = offset + skipped, captured - skipped
        changed = clear_protected(chunk.buffer, offset, captured)
        if changed.any():
            packets.writable("flags")[rows[changed]] |= np.uint32(Mark.PROTECTED_CLEARED)
            text = "802.11 frames in the clear had the Protected bit set; it was cleared"
            self._context.receipt.note("wifi", text, int(np.count_nonzero(changed)))

    def _to_ethernet(self, chunk: Chunk, rows: NDArray[np.intp]) -> None:
        packets = chunk.packets
        captured = packets["captured"][rows]
        offset, shorter, state = to_ethernet(chunk.buffer, packets["offset"][rows], captured)
        done = state == CONVERTED
        note = self._context.receipt.note
        note("ethernet", "802.11 data frames were turned into Ethernet frames", int(np.count_nonzero(done)))
        unsupported = int(np.count_nonzero(state == UNSUPPORTED))
        note("ethernet-unsupported", "802.11 frames with four addresses, HT control or A-MSDU were left", unsupported)
        note("ethernet-none", "802.11 frames without clear data were left", len(rows) - unsupported - int(done.sum()))
        if not done.any():
            return
        moved = rows[done]
        packets.writable("offset")[moved] = offset[done]
        packets.writable("captured")[moved] = shorter[done]
        packets.writable("original")[moved] -= (captured - shorter)[done]
        packets.writable("flags")[moved] |= np.uint32(Mark.FROM_WIFI)
        self._move_to_ethernet_interface(packets, moved)

    def _move_to_ethernet_interface(self, packets: PacketTable, rows: NDArray[np.intp]) -> None:
        interface = packets.writable("interface")
        for number in np.unique(interface[rows]).tolist():
            if number not in self._twins:
                self._twins[number] = self._ethernet_twin(number)
        target = np.arange(len(self._context.interfaces), dtype=np.int32)
        for number, twin in self._twins.items():
            target[number] = twin
        for number, count in enumerate(np.bincount(interface[rows]).tolist()):
            seen = min(count, self._context.interfaces[number].reports)
            self._context.interfaces[number].reports -= seen
            self._context.interfaces[int(target[number])].reports += seen
        interface[rows] = target[interface[rows]]

    def _ethernet_twin(self, number: int) -> int:
        """The Ethernet interface of the same adapter, known by the key that the providers use too."""
        wifi = self._context.interfaces[number]
        adapter = wifi.name.removesuffix(_SUFFIX)
        plain = adapter not in (wifi.name, "PktMon")
        twin = dataclasses.replace(
            wifi,
            link_type=ETHERNET,
            name=adapter if plain else f"{adapter} (Ethernet)",
            ipv4=list(wifi.ipv4),
            ipv6=list(wifi.ipv6),
            reports=0,
            drops=0,
        )
        key = (wifi.tap, wifi.if_index or -1, ETHERNET) if wifi.tap else ("ethernet of", number)
        return self._context.interfaces.add(twin, key)
