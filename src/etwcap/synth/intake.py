"""Packets of a capture made ready for a tap: one of three link types, a direction, the adapter they were on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import Chunk, Context, PacketTable
from etwcap.packets.linktypes import ETHERNET, IEEE802_11, IEEE802_11_RADIOTAP, IPV4, IPV6, RAW_IP, title
from etwcap.synth.headers import Bytes, Headers, read_headers
from etwcap.synth.machine import MOST_ADAPTERS, Adapter, adapter_of
from etwcap.synth.sides import Sides

_NULL, _RAW_BSD, _RAW_OTHER, _LOOP, _SLL, _SLL2 = 0, 12, 14, 108, 113, 276
_BECOMES = {
    ETHERNET: ETHERNET, IEEE802_11: IEEE802_11, IEEE802_11_RADIOTAP: IEEE802_11, RAW_IP: RAW_IP, IPV4: RAW_IP,
    IPV6: RAW_IP, _RAW_BSD: RAW_IP, _RAW_OTHER: RAW_IP, _NULL: RAW_IP, _LOOP: RAW_IP, _SLL: RAW_IP, _SLL2: RAW_IP,
}  # fmt: skip
"""What the adapter of an interface is, by the link type of the capture."""
_STRIPPED = {_NULL: 4, _LOOP: 4, _SLL: 16, _SLL2: 20}
"""Bytes of the pseudo link headers of captures that are no adapter's."""
_UNSPECIFIED = -1


class Intake:
    """Turns chunks of a capture into packets that a Windows machine could have seen."""

    def __init__(self, context: Context, sides: Sides, link_types: frozenset[int], tap: str) -> None:
        self._context = context
        self._sides = sides
        self._link_types = link_types
        self._tap = tap
        self.adapters: list[Adapter] = []
        self._of_interface: dict[int, int] = {}

    def take(self, chunk: Chunk) -> PacketTable:
        """The packets of a chunk that the tap can hold; the others are counted.

        ``interface`` is now an index into ``adapters``; the radiotap header of an 802.11 frame stands in
        ``options_offset`` and ``options_length``.
        """
        packets = chunk.packets
        used = np.unique(packets["interface"]).tolist()
        capture_links = {number: self._context.interfaces[number].link_type for number in used}
        numbers = np.full(max(used, default=0) + 1, _UNSPECIFIED, np.int32)
        for number, link in capture_links.items():
            numbers[number] = self._adapter(number, link, int(np.count_nonzero(packets["interface"] == number)))
        adapter = numbers[packets["interface"]]
        table = _plain(packets, adapter)
        held = packets["options_length"] > 0
        self._note("options", "packets lose their comments or other options: a trace has none", held)
        captured_as = np.array([capture_links.get(number, 0) for number in range(len(numbers))])[packets["interface"]]
        table = self._strip(chunk.buffer, table, captured_as)
        for start, length in (("offset", "captured"), ("options_offset", "options_length")):
            table[start] = np.where(table[length] > 0, table[start], 0)  # nothing lies anywhere, also in another buffer
        headers = self.headers(chunk.buffer, table)
        table["direction"] = self._sides.directions(headers, table["direction"])
        return table

    def headers(self, buffer: NDArray[np.uint8], packets: PacketTable) -> Headers:
        """The headers of packets that this has taken in."""
        links = np.array([each.link_type for each in self.adapters] or [0], np.uint16)
        return read_headers(buffer, packets["offset"], packets["captured"], links[packets["interface"]])

    def _adapter(self, number: int, link: int, rows: int) -> int:
        """The adapter of an interface of the capture; -1 and a note where the tap has none for its link type."""
        becomes = _BECOMES.get(link)
        if becomes is None or becomes not in self._link_types:
            text = f"packets of link type {title(link)} cannot be held by {self._tap}: left out"
            self._context.receipt.note(f"link-type-{link}", text, rows)
            return _UNSPECIFIED
        if number not in self._of_interface and len(self.adapters) == MOST_ADAPTERS:
            text = f"packets are on more than {MOST_ADAPTERS:,} interfaces: left out"
            self._context.receipt.note("interfaces", text, rows)
            return _UNSPECIFIED
        if number not in self._of_interface:
            self._of_interface[number] = len(self.adapters)
            made = adapter_of(len(self.adapters), self._context.interfaces[number], becomes, self.adapters)
            self.adapters.append(made)
        return self._of_interface[number]

    def _strip(self, buffer: NDArray[np.uint8], table: PacketTable, captured_as: NDArray[np.int64]) -> PacketTable:
        """Without headers that are the capture's and no adapter's; rows of no adapter and of no IP packet go."""
        data = Bytes(buffer, table["offset"], table["captured"])
        start = table["offset"]
        skip = np.zeros(len(table), np.int64)
        for link, size in _STRIPPED.items():
            skip[captured_as == link] = size
        radio = captured_as == IEEE802_11_RADIOTAP
        if radio.any():
            skip = np.where(radio, data.u8(start + 2) | data.u8(start + 3) << 8, skip)
        keep = table["interface"] != _UNSPECIFIED
        whole = skip <= table["captured"]
        bare = np.isin(captured_as, [link for link, becomes in _BECOMES.items() if becomes == RAW_IP])
        nibble = data.u8(start + skip) >> 4
        is_ip = (nibble == 4) | (nibble == 6)
        proper = whole & (~bare | is_ip)
        self._note("not-ip", "packets are no IP, of a link that a Windows adapter carries only IP for: left out",
                   keep & ~proper)  # fmt: skip
        self._note("pseudo-headers", "packets lose the header that the capture, no adapter, put before them",
                   keep & proper & (skip > 0) & ~radio)  # fmt: skip
        if skip.any():
            table["options_offset"] = np.where(radio, start, 0)
            table["options_length"] = np.where(radio, skip, 0)
            table["offset"] = start + skip
            table["captured"] = np.where(whole, table["captured"] - skip, 0)
            table["original"] = np.maximum(table["original"].astype(np.int64) - skip, table["captured"])
        rows = keep & proper
        return table if rows.all() else table.take(rows)

    def _note(self, kind: str, text: str, rows: NDArray[np.bool_]) -> None:
        self._context.receipt.note(kind, text, int(np.count_nonzero(rows)))


def _plain(packets: PacketTable, adapter: NDArray[np.int32]) -> PacketTable:
    table = PacketTable(len(packets))
    table["time"] = packets["time"] // 100 * 100
    table["interface"] = adapter
    for name in ("direction", "offset", "captured"):
        table[name] = packets[name].copy()
    table["original"] = np.maximum(packets["original"], packets["captured"])
    for name in ("process", "thread"):
        table[name] = packets[name].copy()
    return table
