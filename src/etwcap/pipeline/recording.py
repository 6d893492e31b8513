"""What the packets of raw sockets go through before anything else, from a recording or live."""

from __future__ import annotations

import os
from collections.abc import Iterator

from etwcap.packets import Chunk, Context, Description
from etwcap.pipeline.protocols import Stage
from etwcap.pipeline.run import Staged
from etwcap.repair.ipv6_header import Ipv6HeaderStage
from etwcap.repair.names import IPV6, ORDER, RECORDED_ORDER
from etwcap.repair.order import OrderStage
from etwcap.repair.own_direction import OwnDirectionStage
from etwcap.sources.opening import open_source
from etwcap.sources.recording import RecordingSource


class RecordsDone:
    """The last stage that knows of records: behind it, packets may be copied without their records' headers."""

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk without ``raw_record``."""
        chunk.packets.columns.pop("raw_record", None)
        return chunk

    def finish(self) -> None:
        """Nothing is held."""


def orders(repairs: frozenset[str]) -> bool:
    """Whether these repairs put what raw sockets gave into causal order."""
    return ORDER in repairs or RECORDED_ORDER in repairs


def raw_socket_stages(context: Context, repairs: frozenset[str], header: Ipv6HeaderStage | None = None) -> list[Stage]:
    """The stages for packets that ``RawSocketProvider`` made; ``context`` has the address book that it fills.

    ``header`` has learnt from a first pass, if there was one.
    """
    if header is None:
        header = Ipv6HeaderStage(context, infer=IPV6 in repairs)
    stages: list[Stage] = [header, OwnDirectionStage(context), RecordsDone()]
    return [*stages, OrderStage(context)] if orders(repairs) else stages


class RepairedRecording:
    """A recording with its IPv6 headers and its order restored, as ``repairs`` say (protocol ``Source``).

    A file is read twice: a first pass collects addresses and flows of the whole of it. From a pipe, what is known so
    far has to do.
    """

    def __init__(self, source: RecordingSource, repairs: frozenset[str], *, comments: bool = False) -> None:
        self._source = source
        self._repairs = repairs
        self._comments = comments

    def describe(self) -> Description:
        """What the recording says."""
        return self._source.describe()

    def progress(self) -> tuple[int, int]:
        """How far the (second) reading is."""
        return self._source.progress()

    def close(self) -> None:
        """Close the recording."""
        self._source.close()

    def chunks(self) -> Iterator[Chunk]:
        """The packets with headers."""
        source, infer = self._source, IPV6 in self._repairs
        header = Ipv6HeaderStage(source.context, infer=infer, comments=self._comments)
        if source.seekable:
            self._learn(header if infer else None)
        source.restamp = orders(self._repairs)
        yield from Staged(source, raw_socket_stages(source.context, self._repairs, header)).chunks()

    def _learn(self, header: Ipv6HeaderStage | None) -> None:
        """Read the whole file for its addresses, and what they and ``header`` learn from its packets."""
        again = open_source(os.fspath(self._source.describe().inputs[0].name), Context())
        try:
            if not isinstance(again, RecordingSource):
                return  # another file has taken its name
            again.context.addresses = self._source.context.addresses
            for chunk in again.chunks():
                if header is not None:
                    header.learn(chunk)
        finally:
            again.close()
