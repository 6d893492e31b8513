"""IPv6 headers that raw sockets leave out, rebuilt over the records' own bytes.

The Next Header and the destination are inferred by what speaks for them, in bits: how well the bytes fit a protocol's
header (``native/ipv6_shape.c``), whether with one of the candidate addresses its checksum is right or its checksum
field holds the pseudo-header's sum (offload), what earlier packets of the flow were. Candidates lie in a table indexed
by their sum, so that each protocol costs one look-up.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.ipv6_rebuild import How, Knowledge, Mode, Role, To
from etwcap.native.rows import gather_rows
from etwcap.packets import Chunk, Context, Mark, PacketTable
from etwcap.packets.addresses import MAPPED, OWN, AddressKind
from etwcap.providers.rawsocket_layout import RAW_RECORD, Present
from etwcap.repair.ipv6_groups import GROUPS, SERVICES
from etwcap.repair.ipv6_words import comment, rules

HEADER: Final = 40

_LISTED: Final = frozenset(AddressKind) - OWN - {AddressKind.MULTICAST, AddressKind.ENDPOINT}
_NOT_KNOWN: Final = (To.UNKNOWN, To.SEVERAL)


class Ipv6HeaderStage:
    """Writes the IPv6 header before each packet that came without one (rows whose ``raw_record`` is not 0 and whose
    record says family 6).

    The candidates are the addresses in ``context.addresses`` and every source address seen. With a file, call
    :meth:`learn` with every chunk of a first pass, then :meth:`process` with every chunk of a second one; with a pipe
    or a live tap, :meth:`process` alone uses what is known so far.
    """

    def __init__(self, context: Context, *, infer: bool = True, comments: bool = False) -> None:
        """``infer=False`` writes only what is known for certain (``--repair none``): no Next Header (255), no
        destination but that of IPV6_PKTINFO. ``comments`` says of every header in words how it was inferred."""
        self._context = context
        self._infer = infer
        self._comments = comments
        self._knowledge = Knowledge(SERVICES)
        self._knowledge.add(GROUPS, Role.WELL_KNOWN)
        self._version = -1
        self._learnt = False

    def learn(self, chunk: Chunk) -> None:
        """Take in addresses and flows of a first pass; the chunk stays as it is."""
        rows = self._rows(chunk)
        if self._infer and len(rows):
            self._run(chunk, rows, Mode.INFER | Mode.JOIN)
        self._learnt = True

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with a header before each packet: offset -= 40, captured and original += 40."""
        rows = self._rows(chunk)
        if not len(rows):
            return chunk
        mode = Mode.WRITE | (Mode.INFER if self._infer else Mode(0)) | (Mode(0) if self._learnt else Mode.JOIN)
        present = gather_rows(chunk.buffer, chunk.packets["raw_record"][rows], RAW_RECORD)["present"]
        evidence = self._run(chunk, rows, mode)
        packets = chunk.packets.take(slice(None))
        for name, step in (("offset", -HEADER), ("captured", HEADER), ("original", HEADER)):
            column = packets[name].astype(np.int64)
            column[rows] += step
            packets[name] = column
        self._mark(packets, rows, evidence)
        self._note(evidence)
        if self._comments and self._infer:
            self._say(packets, rows, evidence, present)
        return dataclasses.replace(chunk, packets=packets)

    def finish(self) -> None:
        """No packet is held."""

    @staticmethod
    def _rows(chunk: Chunk) -> NDArray[np.intp]:
        """The packets that came without their IPv6 header."""
        if "raw_record" not in chunk.packets:
            return np.empty(0, np.intp)
        rows = np.flatnonzero(chunk.packets["raw_record"] > 0)
        family = gather_rows(chunk.buffer, chunk.packets["raw_record"][rows], RAW_RECORD)["family"]
        six: NDArray[np.intp] = rows[family == 6]
        return six

    def _run(self, chunk: Chunk, rows: NDArray[np.intp], mode: Mode) -> NDArray[np.uint32]:
        packets, book = chunk.packets, self._context.addresses
        if book.version != self._version:
            self._version = book.version
            for kinds, role in (
                (OWN, Role.OWN), ({AddressKind.MULTICAST}, Role.JOINED), (_LISTED, Role.LISTED),
                ({AddressKind.ENDPOINT}, Role.LISTED),
            ):  # fmt: skip
                addresses = book.of(kinds)
                mapped = (addresses[:, :12] == np.frombuffer(MAPPED, np.uint8)).all(axis=1)
                self._knowledge.add(addresses[~mapped], role)
        self._knowledge.sole = 2 if self._learnt else 1 if len(book.of(OWN)) else 0
        return self._knowledge.rebuild(
            chunk.buffer,
            packets["raw_record"][rows],
            packets["offset"][rows],
            packets["captured"][rows],
            packets["original"][rows],
            mode,
        )

    @staticmethod
    def _mark(packets: PacketTable, rows: NDArray[np.intp], evidence: NDArray[np.uint32]) -> None:
        how, to = evidence >> 8 & 255, evidence >> 16 & 255
        marks = np.full(len(rows), int(Mark.IPV6_REBUILT), np.uint32)
        marks |= np.where(how == How.UNKNOWN, int(Mark.NEXT_HEADER_UNKNOWN), int(Mark.NEXT_HEADER_INFERRED)).astype(
            np.uint32
        )
        unknown = np.isin(to, _NOT_KNOWN)
        marks[unknown] |= int(Mark.DESTINATION_UNKNOWN)
        marks[~unknown & (to != To.TOLD)] |= int(Mark.DESTINATION_INFERRED)
        packets.writable("flags")[rows] |= marks

    def _note(self, evidence: NDArray[np.uint32]) -> None:
        receipt = self._context.receipt
        receipt.note("ipv6-header", "IPv6 headers were rebuilt that raw sockets leave out", len(evidence))
        if not self._infer:
            return
        for kind, text, count in rules(evidence):
            receipt.note(kind, text, count)
        lost = int(np.count_nonzero(evidence >> 8 & 255 == How.UNKNOWN))
        receipt.note("ipv6-protocol-unknown", "rebuilt IPv6 headers whose Next Header is not known (255)", lost)
        lost = int(np.count_nonzero(np.isin(evidence >> 16 & 255, _NOT_KNOWN)))
        receipt.note("ipv6-destination-unknown", "rebuilt IPv6 headers whose destination is not known (::)", lost)

    def _say(
        self,
        packets: PacketTable,
        rows: NDArray[np.intp],
        evidence: NDArray[np.uint32],
        present: NDArray[np.uint16],
    ) -> None:
        """A comment for each row."""
        told = present & (Present.HOP_LIMIT | Present.TRAFFIC_CLASS)
        code = evidence.astype(np.uint64) | told.astype(np.uint64) << np.uint64(32)
        for value in np.unique(code):
            text = comment(int(value) & 0xFFFFFFFF, len(self._knowledge), Present(int(value) >> 32))
            self._context.add_comment(packets, rows[code == value], text)
