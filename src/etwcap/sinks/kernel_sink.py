"""What the file formats share whose packets a kernel writes: rows go into one buffer, full buffers to the output."""

from __future__ import annotations

from abc import ABC, abstractmethod

from etwcap.native.blocks import PacketWriter, Written, prepared
from etwcap.packets import Chunk, Context
from etwcap.sinks.output import Output

BUFFER = 2 << 20
"""bytes gathered for one write"""


class KernelSink(ABC):
    """Packets of a run into one file (protocol ``Sink``); what each format adds are its headers.

    Methods raise OutputError and ReaderGone, ``write`` also IndexError for a row whose bytes, interface or comment
    are not there. At the end the receipt gets packets, bytes and times.
    """

    CLAMPED: str
    """What the receipt says of times that the format cannot hold."""

    def __init__(self, output: Output, context: Context, writer: PacketWriter) -> None:
        self._output = output
        self._context = context
        self._writer = writer

    @abstractmethod
    def write(self, chunk: Chunk) -> None:
        """Append the chunk."""

    @abstractmethod
    def finish(self) -> None:
        """Write what stands at the end and give the output its final name."""

    @property
    def packets(self) -> int:
        """Packets written so far."""
        return int(self._writer.tallies["packets"].sum())

    @property
    def size(self) -> int:
        """Bytes of the output so far, those not yet handed on among them."""
        return self._output.written + self._writer.used

    def flush(self) -> None:
        """Hand what was gathered to the output."""
        writer = self._writer
        if writer.used:
            self._output.write(writer.out.data[: writer.used])
            writer.used = 0

    def abort(self) -> None:
        """Leave nothing behind under the final name."""
        self._output.abort()

    @abstractmethod
    def _introduce(self, index: int, chunk: Chunk) -> None:
        """Give the interface its number in ``writer.numbers``: the next packet is its first one."""

    def _write_rows(self, chunk: Chunk) -> None:
        """Append the chunk's packets, in one call of the kernel where they fit and their interfaces are known."""
        packets, writer = chunk.packets, self._writer
        rows = len(packets)
        columns = prepared({**packets.columns, "offset": packets["offset"], "captured": packets["captured"]})
        writer.reserve(len(self._context.interfaces))
        row = 0
        while (result := writer.write(chunk.buffer, columns, rows, row)) is not Written.DONE:
            row = writer.row
            if result is Written.FULL:
                self.flush()
                writer.grow(writer.need)
            elif result is Written.UNMAPPED:
                self._introduce(int(packets["interface"][row]), chunk)
            else:
                raise IndexError(f"packet {row} of a chunk names bytes, an interface or a comment that is not there")

    def _commit(self) -> None:
        """Hand on the rest, give the output its final name, and tell the receipt."""
        self.flush()
        self._output.commit()
        receipt, writer = self._context.receipt, self._writer
        used = writer.tallies[writer.tallies["packets"] > 0]
        receipt.bytes_written = self._output.written
        receipt.packets_written = int(used["packets"].sum())
        if len(used):
            receipt.first_time, receipt.last_time = int(used["first"].min()), int(used["last"].max())
        receipt.note("time-clamped", self.CLAMPED, writer.clamped)
