"""Reading and writing capture files in tests: bytes to packets, packets to bytes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import Chunk, Context, Description, EventTable, Interface, PacketTable, SideBlock
from etwcap.sinks.output import Output
from etwcap.sinks.pcap import PcapSink
from etwcap.sinks.pcapng import PcapngSink, Section
from etwcap.sources.capfile import CaptureFileSource


@dataclass
class Reading:
    """Everything that a capture file gave."""

    context: Context
    description: Description
    packets: list[dict[str, Any]] = field(default_factory=list)
    side: list[tuple[int, SideBlock]] = field(default_factory=list)
    """with the number of packets before it"""

    def column(self, name: str) -> list[Any]:
        return [packet[name] for packet in self.packets]

    @property
    def damage(self) -> list[str]:
        return [damage.what for damage in self.description.damage]


def read(path: Path) -> Reading:
    context = Context()
    source = CaptureFileSource(path, context)
    reading = Reading(context, source.describe())
    for chunk in source.chunks():
        reading.side += [(len(reading.packets), side) for side in chunk.side_blocks]
        table = chunk.packets
        columns = {name: table[name].tolist() for name in PacketTable.SCHEMA}
        for row in range(len(table)):
            packet = {name: values[row] for name, values in columns.items()}
            start, length = packet["offset"], packet["captured"]
            packet["data"] = chunk.buffer[start : start + length].tobytes()
            carried, size = packet["options_offset"], packet["options_length"]
            packet["options"] = chunk.buffer[carried : carried + size].tobytes()
            reading.packets.append(packet)
    source.close()
    source.close()
    return reading


def convert(source: Path, target: Path) -> Context:
    """What the pipeline does, without stages."""
    context = Context()
    reader = CaptureFileSource(source, context)
    context.descriptions.append(reader.describe())
    output = Output(target, inputs=[source])
    sink = PcapSink(output, context) if target.suffix == ".pcap" else PcapngSink(output, context)
    try:
        for chunk in reader.chunks():
            sink.write(chunk)
        sink.finish()
    finally:
        sink.abort()
        reader.close()
    return context


def chunk_of(datas: list[bytes], **columns: Any) -> Chunk:
    """A chunk of those packets, one after another in the buffer."""
    lengths = np.array([len(data) for data in datas], np.int64)
    offsets = np.cumsum(lengths) - lengths
    buffer: NDArray[np.uint8] = np.frombuffer(b"".join(datas), np.uint8)
    table = PacketTable(len(datas), offset=offsets, captured=lengths.astype(np.uint32), **columns)
    return Chunk(buffer, table, EventTable(0), 0)


def write_pcapng(path: Path, chunks: list[Chunk], context: Context, section: Section | None = None) -> bytes:
    sink = PcapngSink(Output(path), context, section=section)
    for chunk in chunks:
        sink.write(chunk)
    sink.finish()
    return path.read_bytes()


def context_of(*interfaces: Interface) -> Context:
    context = Context()
    for interface in interfaces:
        context.interfaces.add(interface)
    return context


def fields(tshark: str, path: Path, *names: str) -> list[list[str]]:
    """What tshark shows of each packet; fails on any complaint but that of running as root."""
    arguments = [tshark, "-r", str(path), "-n", "-T", "fields", "-E", "separator=|"]
    for name in names:
        arguments += ["-e", name]
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    complaints = [line for line in ran.stderr.splitlines() if "root" not in line and line.strip()]
    assert complaints == []
    return [line.split("|") for line in ran.stdout.splitlines()]
