"""Packets as NdisCap reports them (``netsh trace start capture=yes``)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import Chunk, Mark, PacketTable
from etwcap.packets.linktypes import ETHERNET, IEEE802_11, RAW_IP
from etwcap.providers import ndiscap_build as payloads
from etwcap.providers.ndiscap_layout import (
    FRAGMENT_HEADER,
    GFT_TRAILER_SIZE,
    GUID,
    RULE_TRUNCATE_BYTES,
    EventId,
    Keyword,
)
from etwcap.synth.headers import Headers
from etwcap.synth.machine import layer_title
from etwcap.synth.radiotap import Radio, read_radiotap
from etwcap.synth.records import Events, Piece, Pool
from etwcap.synth.taps import DELAY, UNLIMITED, SideEvent, Tap, expand, split

FIRST_BUILD_WITH_TRAILER = 18362
"""Builds 17134 and before have none, 18990 and later have one; where between it began is not known."""
_CONFIGURATION, _LAYER_KEYWORD = 0xC000000000, 0x8000000000
_DIRECTIVE_EQUAL = 3
_SOURCE_NDIS = 1
MEDIA = {ETHERNET: Keyword.ETHERNET, IEEE802_11: Keyword.NATIVE_802_11, RAW_IP: Keyword.WIRELESS_WAN}
NDIS_MEDIA = {ETHERNET: 0, IEEE802_11: 16, RAW_IP: 9}


class NdisCapTap(Tap):
    """Event 1001 for each packet and layer, 1002 before received 802.11 frames whose radio facts are known."""

    name = "ndiscap"
    guid = GUID
    overhead = FRAGMENT_HEADER.itemsize + GFT_TRAILER_SIZE

    @property
    def span(self) -> int:
        """The time from the lowest layer to the highest."""
        return self.options.appearances * DELAY

    def prepare(self, chunk: Chunk, headers: Headers) -> PacketTable:
        """Packets in one event are cut to its size; packets in several are not."""
        packets = self.cut(chunk.packets, self.largest if self.options.fragments == 1 else UNLIMITED)
        self.note_lengths(packets)
        radio = packets["options_length"] > 0
        self.note("radio-sent", "sent 802.11 frames lose their radiotap header: Windows tells nothing of them",
                  radio & (packets["direction"] == 2))  # fmt: skip
        self.note("radio", "received 802.11 frames keep frequency, rate and signal of their radiotap header",
                  radio & (packets["direction"] == 1))  # fmt: skip
        return packets

    def sightings(self, chunk: Chunk, headers: Headers) -> PacketTable:
        """One row for each layer; ``rank`` is its number from the wire."""
        steps = np.full(len(chunk.packets), self.options.appearances, np.int64)
        table, step = expand(chunk.packets, steps)
        table["rank"] = step
        return table

    def events(self, chunk: Chunk, pool: Pool) -> Events:
        """The events 1001 of the sightings, in fragments where they are asked for."""
        rows = chunk.packets
        parts = split(rows, self.options.fragments, self.largest)
        head = np.zeros(len(parts.row), FRAGMENT_HEADER)
        adapter = self.if_index(rows)[parts.row]
        head["miniport_if_index"] = adapter
        head["lower_if_index"] = adapter + rows["rank"][parts.row]
        head["fragment_size"] = parts.length
        pieces = [pool.rows(head), Piece(parts.offset, parts.length)]
        if self.options.os_build >= FIRST_BUILD_WITH_TRAILER:
            pieces.append(pool.same(bytes(GFT_TRAILER_SIZE), len(head)))
        keyword = packet_keywords(rows, self.link(rows))[parts.row]
        keyword = np.where(parts.first, keyword | np.uint64(Keyword.PACKET_START), keyword)
        keyword = np.where(parts.last, keyword | np.uint64(Keyword.PACKET_END), keyword)
        packets = Events(parts.row, EventId.PACKET_FRAGMENT, keyword, pieces)
        radio = np.flatnonzero((rows["options_length"] > 0) & (rows["direction"] == 1))
        return Events.merged(self._radio_events(chunk, radio, pool), packets) if len(radio) else packets

    def beginning(self) -> Iterator[SideEvent]:
        """The capture rules."""
        if self.options.truncate:
            value = self.options.truncate.to_bytes(4, "little")
            rule = payloads.build_capture_rule(RULE_TRUNCATE_BYTES, _DIRECTIVE_EQUAL, value)
            yield SideEvent(EventId.CAPTURE_RULE, rule, _CONFIGURATION)

    def rundown(self) -> Iterator[SideEvent]:
        """The layers and the names of the adapters."""
        for adapter in self.adapters:
            names = []
            for layer in range(self.options.appearances):
                lower = adapter.if_index + layer
                payload = payloads.build_layer(adapter.if_index, lower, NDIS_MEDIA[adapter.link_type])
                yield SideEvent(EventId.LAYER_ATTACHED, payload, _LAYER_KEYWORD, 5)
                if layer:
                    names.append((lower, layer_title(layer - 1)))
            yield SideEvent(
                EventId.SOURCE_INFO, payloads.build_source_info(adapter.if_index, adapter.alias, names, _SOURCE_NDIS)
            )

    def _radio_events(self, chunk: Chunk, rows: NDArray[np.intp], pool: Pool) -> Events:
        table = chunk.packets
        adapter, rank = self.if_index(table), table["rank"]
        built = []
        for row in rows.tolist():
            start = int(table["options_offset"][row])
            header = chunk.buffer[start : start + int(table["options_length"][row])].tobytes()
            radio = read_radiotap(header) or Radio()
            built.append(
                payloads.build_wifi_metadata(
                    miniport=int(adapter[row]), lower=int(adapter[row]) + int(rank[row]),
                    frequency=radio.frequency, rssi=radio.signal, data_rate=radio.rate,
                    pointer_size=self.options.pointer_size,
                )
            )  # fmt: skip
        return Events(rows, EventId.PACKET_METADATA, payloads.metadata_keyword(), [pool.texts(built)])


def packet_keywords(rows: PacketTable, link: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """The keyword of each packet's events, but for PacketStart and PacketEnd."""
    word = np.full(len(rows), np.uint64(Keyword.DIAGNOSTIC_CHANNEL | Keyword.PACKET | Keyword.PII_PRESENT), np.uint64)
    for each, medium in MEDIA.items():
        word |= np.where(link == each, np.uint64(medium), np.uint64(0))
    word |= np.where(rows["direction"] == 2, np.uint64(Keyword.SEND_PATH), np.uint64(Keyword.RECEIVE_PATH))
    cut = rows["flags"] & np.uint32(Mark.TRUNCATED) != 0
    word |= np.where(cut, np.uint64(Keyword.PACKET_TRUNCATED), np.uint64(0))
    return word
