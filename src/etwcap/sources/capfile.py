"""pcap and pcapng files, or pipes, as a source."""

from __future__ import annotations

import os
from collections.abc import Iterator

from etwcap.errors import NotATraceError
from etwcap.native.capfile import PacketIndex
from etwcap.packets import Chunk, Context, Description, InputFacts, Mark
from etwcap.sources.capfile_pcap import PcapReader
from etwcap.sources.capfile_pcapng import PcapngReader
from etwcap.sources.capfile_window import LIMIT, Window

ROWS = 1 << 15
"""packets in a chunk at most"""
STANDARD_INPUT = "standard input"
"""the name of an input that has none"""

_PCAP = {0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34}
_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip -k {}"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", "zstd -d {}"),
    b"\x04\x22\x4d\x18": ("LZ4", "lz4 -d {}"),
    b"\xfd7zXZ\x00": ("xz", "unxz -k {}"),
    b"BZh": ("bzip2", "bunzip2 -k {}"),
    b"PK\3\4": ("a zip archive", "unzip {}"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "7z x {}"),
    b"MSCF\0\0\0\0": ("a cabinet", "cabextract {}, on Windows: expand -F:* {} ."),
}
"""by their first bytes: what compressed files are, and what undoes it; ``netsh trace stop`` leaves a cabinet, too"""


def sniff(first: bytes) -> str | None:
    """``pcap`` or ``pcapng`` by the first 12 bytes of a file, None where it is neither."""
    if first[:4] == b"\x0a\x0d\x0d\x0a" and first[8:12] in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
        return "pcapng"
    if len(first) >= 4 and (int.from_bytes(first[:4], "little") in _PCAP or int.from_bytes(first[:4], "big") in _PCAP):
        return "pcap"
    return None


def compression(first: bytes) -> tuple[str, str] | None:
    """What a file that begins so is compressed with, and the command that undoes it (``{}``: the file); else None."""
    return next((known for magic, known in _PACKED.items() if first.startswith(magic)), None)


class CaptureFileSource:
    """The packets of a pcap or pcapng file (protocol ``Source``).

    ``source`` is a path or an open file descriptor (which stays open unless ``owns``), also of a pipe; ``head`` are
    bytes that were read from it before. Reads through one window of 1 MiB. Raises InputError, and NotATraceError
    where it is no capture file.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | int,
        context: Context,
        *,
        name: str = "",
        head: bytes = b"",
        owns: bool = False,
    ) -> None:
        name = name or (STANDARD_INPUT if source == 0 else str(source))
        self._context = context
        self._description = Description()
        self._window = Window(source, name, head, owns=owns)
        try:
            self._reader = self._open(name)
        except BaseException:
            self._window.close()
            raise

    def _open(self, name: str) -> PcapReader | PcapngReader:
        self._window.slide(0, 12)
        first = self._window.view[:12].tobytes()
        kind = sniff(first)
        if kind is None:
            if packed := compression(first):
                raise NotATraceError(
                    "the file is compressed", cause=f"{name}: {packed[0]}", hint=packed[1].replace("{}", name)
                )
            cause = f"{name} is empty" if not first else f"{name} begins with {first[:4].hex(' ')}"
            raise NotATraceError("not a pcap or pcapng file", cause=cause)
        self._description.inputs.append(InputFacts(name, self._window.size, kind))
        marks = (Mark.LATE, Mark.TIME_CLAMPED, Mark.LENGTH_IMPLAUSIBLE, Mark.PROCESS_TRUSTED)
        index = PacketIndex(ROWS, LIMIT, (int(marks[0]), int(marks[1]), int(marks[2]), int(marks[3])))
        reader = PcapReader if kind == "pcap" else PcapngReader
        return reader(self._window, index, self._context, self._description)

    def describe(self) -> Description:
        """What the header blocks say; damage, interfaces and statistics are added while the packets are read."""
        return self._description

    def chunks(self) -> Iterator[Chunk]:
        """The packets in the file's order, once.

        ``complete_to`` is the highest time so far. A packet whose time lies before it all the same has ``Mark.LATE``
        and keeps its place: a file need not be in order, and no window could promise to mend it. Simple Packet Blocks
        have no time and get the highest so far. Side blocks stand in the chunk of the packets that follow them.
        """
        receipt = self._context.receipt
        for chunk in self._reader.chunks():
            receipt.packets_read += len(chunk.packets)
            yield chunk
        index = self._reader.index
        receipt.note("late", "packets stand after a later one in the input", index.late)
        receipt.note("time-clamped", "times do not fit into 64 bits of ns and were set to the nearest", index.clamped)
        receipt.note("no-time", "packets have no time in the input and got that of the packet before", index.untimed)

    @property
    def is_recording(self) -> bool:
        """Whether records of raw sockets stand at the input's beginning."""
        return isinstance(self._reader, PcapngReader) and self._reader.names_socket_records()

    def place(self, offset: int) -> int:
        """Where in the input a byte of the present chunk's buffer stands."""
        return self._window.base + offset

    def progress(self) -> tuple[int, int]:
        """(bytes of the input done, bytes in all; 0 where that is not known)."""
        return self._window.base + self._reader.index.at, self._window.size

    def close(self) -> None:
        """Release the input. Safe to call twice."""
        self._window.close()
