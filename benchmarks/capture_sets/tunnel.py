"""Tunnels in user space: ``python tunnel.py KIND OWN PEER DEVICE`` carries a TUN or TAP device over raw IPv6 sockets.

Kinds: ipv4 (4), ipv6 (41), gre (47), esp (50), etherip (97), l2tp (115). What ESP carries is not encrypted but made
unreadable; sequence numbers, lengths and padding are as RFC 4303 has them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys
from collections.abc import Callable

TUNSETIFF, IFF_TUN, IFF_TAP, IFF_NO_PI = 0x400454CA, 1, 2, 0x1000
PROTOCOLS = {"ipv4": 4, "ipv6": 41, "gre": 47, "esp": 50, "etherip": 97, "l2tp": 115}
SPI, SESSION = 0xC0DE1234, 0x00004711


class Esp:
    """Sequence numbers and padding."""

    def __init__(self) -> None:
        self.sequence = 0

    def wrap(self, packet: bytes) -> bytes:
        self.sequence += 1
        padding = -(len(packet) + 2) % 4
        inner = packet + bytes(range(1, padding + 1)) + bytes([padding, 41])
        mask = os.urandom(16)
        hidden = bytes(byte ^ mask[at % 16] ^ (at * 37 & 0xFF) for at, byte in enumerate(inner))
        return struct.pack(">II", SPI, self.sequence) + mask + hidden + mask[:12]

    @staticmethod
    def unwrap(data: bytes) -> bytes:
        mask, hidden = data[8:24], data[24:-12]
        inner = bytes(byte ^ mask[at % 16] ^ (at * 37 & 0xFF) for at, byte in enumerate(hidden))
        return inner[: -2 - inner[-2]]


def forms(kind: str) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """How a packet goes into the tunnel, and how it comes out."""
    if kind == "esp":
        state = Esp()
        return state.wrap, state.unwrap
    if kind == "gre":
        return lambda packet: b"\0\0\x86\xdd" + packet, lambda data: data[4:]
    if kind == "etherip":
        return lambda packet: b"\x30\x00" + packet, lambda data: data[2:]
    if kind == "l2tp":
        head = struct.pack(">I", SESSION)
        return lambda packet: head + packet, lambda data: data[4:]
    return lambda packet: packet, lambda data: data


def carry(kind: str, own: str, peer: str, device: str) -> None:
    """Carry packets until killed."""
    tun = os.open("/dev/net/tun", os.O_RDWR)
    mode = IFF_TAP if kind in ("etherip", "l2tp") else IFF_TUN
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", device.encode(), mode | IFF_NO_PI))
    outer = socket.socket(socket.AF_INET6, socket.SOCK_RAW, PROTOCOLS[kind])
    outer.bind((own, 0))
    wrap, unwrap = forms(kind)
    while True:
        for ready in select.select([tun, outer.fileno()], [], [])[0]:
            if ready == outer.fileno():
                data, sender = outer.recvfrom(65536)
                if sender[0] == peer:
                    with contextlib.suppress(OSError):  # the device is still down
                        os.write(tun, unwrap(data))
            else:
                outer.sendto(wrap(os.read(tun, 65536)), (peer, 0))


if __name__ == "__main__":
    carry(*sys.argv[1:5])
