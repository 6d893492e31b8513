"""What the bytes of a PktMon packet are: 802.11 or Ethernet, a rebuilt IP header, a bare upper-layer message."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.rows import gather_rows
from etwcap.packets import Mark, PacketTable
from etwcap.providers.pktmon_layout import PacketType

_LLC_SNAP: Final = np.frombuffer(b"\xaa\xaa\x03\x00\x00\x00", np.uint8)
_DATA, _QOS_DATA, _NULL, _QOS_NULL = 0x08, 0x88, 0x48, 0xC8
"""First byte of the frame control word of 802.11 data frames (IEEE 802.11-2020, 9.2.4.1)."""
_NEEDED: Final = 32
"""Bytes that tell a data frame: the longer header of 26 bytes and LLC/SNAP."""

_DISSECTORS: Final = {
    PacketType.HTTP: b"http",
    PacketType.TCP: b"tcp",
    PacketType.UDP: b"udp",
    PacketType.ARP: b"arp",
    PacketType.ICMP: b"icmp",
    PacketType.ESP: b"esp",
    PacketType.AH: b"ah",
}
_PREFIX_SIZE: Final = 12


def _leading_bytes(
    buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32], width: int
) -> NDArray[np.uint8]:
    """The first ``width`` bytes of each packet as a matrix; zeros after the end of a shorter one."""
    whole = captured >= width
    lead = np.zeros((len(offset), width), np.uint8)
    lead[whole] = gather_rows(buffer, offset[whole], np.dtype((np.void, width))).view(np.uint8).reshape(-1, width)
    for row in np.flatnonzero(~whole).tolist():
        start, size = int(offset[row]), int(captured[row])
        lead[row, :size] = buffer[start : start + size]
    return lead


def is_wifi_frame(
    buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32], original: NDArray[np.uint32]
) -> NDArray[np.bool_]:
    """Whether packets tagged WiFi are 802.11 frames by their bytes; the others are Ethernet.

    A data frame has LLC/SNAP behind a header of 24 or 26 bytes, a null-data frame is its header alone (seen on
    builds 19042 to 26200). One that was cut before the bytes that tell is taken for what its tag says.
    """
    lead = _leading_bytes(buffer, offset, captured, _NEEDED)
    control = lead[:, 0]
    data = (control == _DATA) | (control == _QOS_DATA)
    snap = (lead[:, 24:30] == _LLC_SNAP).all(1) | (lead[:, 26:32] == _LLC_SNAP).all(1)
    cut = (captured < _NEEDED) & (captured < original)
    null = (control == _NULL) & (original == 24) | (control == _QOS_NULL) & (original == 26)
    found: NDArray[np.bool_] = data & (snap | cut) | null
    return found


def mark_rebuilt_headers(buffer: NDArray[np.uint8], packets: PacketTable, rows: NDArray[np.bool_]) -> None:
    """Mark the drops whose IP header Windows rebuilt; ``rows`` are the drops that begin with an IP header.

    They come from the transport layer (locations 0xE00045xx to 0xE00047xx of tcpip, and 0xE0004134), and their header
    has none of the values that a sender sets: IPv4 has TOS 0, id 0, TTL 1 and checksum 0, IPv6 traffic class and flow
    label 0 and hop limit 1 (seen on builds 26100 and 26200).
    """
    location = packets["drop_location"]
    module = location >> 8
    picked = np.flatnonzero(rows & ((module >= 0xE00045) & (module <= 0xE00047) | (location == 0xE0004134)))
    if not len(picked):
        return
    lead = _leading_bytes(buffer, packets["offset"][picked], packets["captured"][picked], 20)
    ipv4 = (lead[:, 0] >> 4 == 4) & (lead[:, 8] == 1) & ~lead[:, [1, 4, 5, 10, 11]].any(1)
    ipv6 = (lead[:, 0] == 0x60) & (lead[:, 7] == 1) & ~lead[:, 1:4].any(1)
    packets.writable("flags")[picked[ipv4 | ipv6]] |= np.uint32(Mark.HEADER_REBUILT)


def write_pdu_prefix(
    buffer: NDArray[np.uint8], rows: NDArray[np.intp], packet_type: NDArray[np.uint16], offset: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Write Wireshark's exported-PDU tags (dissector name, end) over the bytes before the payload of those rows.

    The event's fixed part, already read, lies there and is longer. Returns for every packet by how much it grew.
    """
    moved = np.zeros(len(packet_type), np.int64)
    for kind in np.unique(packet_type[rows]).tolist():
        name = _DISSECTORS.get(kind, b"data")
        prefix = b"\0\x0c\0\x04" + name.ljust(4, b"\0") + b"\0\0\0\0"
        picked = rows[packet_type[rows] == kind]
        buffer[(offset[picked] - _PREFIX_SIZE)[:, None] + np.arange(_PREFIX_SIZE)] = np.frombuffer(prefix, np.uint8)
        moved[picked] = _PREFIX_SIZE
    return moved
