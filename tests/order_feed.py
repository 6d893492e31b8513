"""Packets through the order stage, by number; and what raw sockets do to their order."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

import numpy as np

from capture_files import chunk_of, context_of
from etwcap.packets import AddressKind, Chunk, Context, Interface
from etwcap.packets.addresses import MAPPED
from etwcap.packets.chunk import END_OF_TIME
from etwcap.repair.order import OrderStage
from frames import HOST, HOST6, SERVER, TCP, Address, framed, ip, tcp

US = 1_000
EARLY, BATCH, REACH = 200 * US, 100 * US, 2.5


class Timed(NamedTuple):
    """A packet with its time in ns."""

    time: int
    data: bytes


class Placed(NamedTuple):
    """Where a packet came out: its number in the input, its time, how far it was moved."""

    number: int
    time: int
    moved: int


def of_machine(context: Context, addresses: Iterable[Address] = (HOST, HOST6)) -> Context:
    """The context, knowing these addresses as the machine's."""
    for address in addresses:
        packed = MAPPED + address.packed if isinstance(address, IPv4Address) else address.packed
        context.addresses.add(AddressKind.UNICAST, 0, packed)
    return context


def chunks_of(packets: Sequence[Timed], size: int = 1 << 30, **columns: int) -> Iterable[Chunk]:
    """The packets in chunks; each is complete up to the latest time so far."""
    latest = 0
    for start in range(0, len(packets), size):
        part = packets[start : start + size]
        lengths = np.array([len(packet.data) for packet in part], np.uint32)
        chunk = chunk_of(
            [packet.data for packet in part],
            time=np.array([packet.time for packet in part], np.int64),
            original=lengths,
            packet_id=np.arange(start + 1, start + 1 + len(part), dtype=np.uint64),
            **{name: np.full(len(part), value) for name, value in columns.items()},
        )
        latest = max([latest, *(packet.time for packet in part)])
        chunk.complete_to = latest
        yield chunk


def ordered(
    packets: Sequence[Timed], *, context: Context | None = None, link: int = 1, size: int = 1 << 30
) -> list[Placed]:
    """What the stage makes of the packets; checks that every one comes out once with its own bytes."""
    if context is None:
        context = of_machine(context_of(Interface(link)))
    stage = OrderStage(context)
    out: list[Placed] = []
    passed: list[Chunk] = []
    for chunk in chunks_of(packets, size):
        passed.append(stage.process(chunk))
        out += _placed(passed[-1], packets)
    rest = stage.finish()
    if rest is not None:
        out += _placed(rest, packets)
        assert rest.complete_to == END_OF_TIME
    assert sorted(place.number for place in out) == list(range(len(packets)))
    return out


def _placed(chunk: Chunk, packets: Sequence[Timed]) -> list[Placed]:
    table = chunk.packets
    found = []
    for row in range(len(table)):
        number = int(table["packet_id"][row]) - 1
        at = int(table["offset"][row])
        assert chunk.buffer[at : at + int(table["captured"][row])].tobytes() == packets[number].data
        found.append(Placed(number, int(table["time"][row]), int(table["moved"][row])))
        assert found[-1].time == packets[number].time + found[-1].moved
    return found


def unchanged(packets: Sequence[Timed]) -> list[Placed]:
    """What an orderly capture comes out as."""
    return [Placed(number, packet.time, 0) for number, packet in enumerate(packets)]


def segment(
    *, sent: bool, seq: int, ack: int, flags: int = 0x10, size: int = 0, options: bytes = b"", port: int = 40000,
    ident: int = 0,
) -> bytes:  # fmt: skip
    """An Ethernet frame of a TCP segment between HOST and SERVER."""
    ports = (port, 80) if sent else (80, port)
    ends = (HOST, SERVER) if sent else (SERVER, HOST)
    message = tcp(*ports, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, bytes(size), options)
    return framed(ip(*ends, TCP, message, ident), sent=sent).frame


def sack(*blocks: tuple[int, int]) -> bytes:
    """The option, padded."""
    body = b"".join((edge & 0xFFFFFFFF).to_bytes(4, "big") for block in blocks for edge in block)
    return b"\x01\x01\x05" + bytes([2 + len(body)]) + body


def disturbed(packets: Sequence[Timed], sent: Sequence[bool], seed: int) -> list[Timed]:
    """As raw sockets may give it: what is sent right after something was received stands up to 0.2 ms before that,
    stamps are those of batches, and near neighbours of a batch are shuffled."""
    source = random.Random(seed)
    early: list[Timed] = []
    last, gone = None, 0
    for packet, mine in zip(packets, sent, strict=True):
        time = packet.time
        if mine and last is not None:
            time = max(last - source.randrange(1, EARLY), gone)
        if mine:
            gone = max(gone, time)
        else:
            last = packet.time
        early.append(Timed(time, packet.data))
    early.sort(key=lambda packet: packet.time)
    out: list[Timed] = []
    batch: list[Timed] = []

    def complete() -> None:
        places = sorted((place + source.random() * REACH, place) for place in range(len(batch)))
        out.extend(Timed(batch[-1].time, batch[place].data) for _, place in places)
        batch.clear()

    for packet in early:
        if batch and packet.time - batch[0].time > BATCH:
            complete()
        batch.append(packet)
    complete()
    return out
