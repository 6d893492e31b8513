"""Packets as the RAS capture driver reports them: Ethernet frames inside a VPN or dial-up tunnel."""

from __future__ import annotations

import numpy as np

from etwcap.packets import Chunk, PacketTable
from etwcap.packets.linktypes import ETHERNET
from etwcap.providers.ras_build import build_packet_event
from etwcap.providers.ras_layout import GUID, EventId, Keyword
from etwcap.synth.headers import Headers
from etwcap.synth.records import Events, Piece, Pool
from etwcap.synth.taps import Tap

_ROOM_FOR_TEXTS = 512
_LEVEL = 5


class RasTap(Tap):
    """Event 5001 for each sent frame, 5002 for each received one; the adapter's name is the user's."""

    name = "ras"
    guid = GUID
    link_types = frozenset({ETHERNET})
    overhead = _ROOM_FOR_TEXTS

    def prepare(self, chunk: Chunk, headers: Headers) -> PacketTable:
        """Frames are cut to the size of an event; original lengths are lost."""
        packets = super().prepare(chunk, headers)
        self.note_lengths(packets)
        return packets

    def events(self, chunk: Chunk, pool: Pool) -> Events:
        """The events."""
        rows = chunk.packets
        texts = pool.texts([build_packet_event(b"", user=each.alias[:64])[:-4] for each in self.adapters])
        user = rows["interface"]
        pieces = [
            Piece(texts.offset[user], texts.length[user]),
            pool.rows(rows["captured"].astype("<u4")),
            Piece(rows["offset"], rows["captured"].astype(np.int64)),
        ]
        sent = rows["direction"] == 2
        event = np.where(sent, EventId.SENT, EventId.RECEIVED)
        keyword = np.where(sent, np.uint64(Keyword.SEND_PATH), np.uint64(Keyword.RECEIVE_PATH))
        return Events(np.arange(len(rows)), event, keyword, pieces, _LEVEL)
