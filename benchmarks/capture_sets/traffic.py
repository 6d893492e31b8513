"""Ordinary traffic of sockets: ``python traffic.py serve PORT`` and ``python traffic.py WHAT ADDRESS PORT …``.

Runs inside network namespaces; uses the standard library alone. Everything is bounded in count and in time.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable

LARGEST = 1 << 20


def serve(port: int) -> None:
    """TCP: eight bytes ask for so many bytes and send so many; UDP: everything comes back."""
    listener = socket.create_server(("::", port), family=socket.AF_INET6, backlog=64)
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.bind(("::", port))
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)

    def echo() -> None:
        while True:
            data, control, _, sender = datagrams.recvmsg(65536, 256)
            with contextlib.suppress(OSError):
                datagrams.sendmsg([data], [each for each in control if each[1] == socket.IPV6_PKTINFO], 0, sender)

    threading.Thread(target=echo, daemon=True).start()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        while True:
            wish = connection.recv(8, socket.MSG_WAITALL)
            if len(wish) < 8:
                return
            down, up = int.from_bytes(wish[:4], "big"), int.from_bytes(wish[4:], "big")
            left = min(up, LARGEST)
            while left and (part := connection.recv(min(left, 65536))):
                left -= len(part)
            connection.sendall(os.urandom(min(down, LARGEST)))


def connect(host: str, port: int, source: str = "", **options: int) -> socket.socket:
    """A TCP connection, from an address of our choice if one is given."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    stream = socket.socket(family[0], socket.SOCK_STREAM)
    stream.settimeout(8)
    if "segment" in options:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, options["segment"])
    if "window" in options:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["window"])
    if source:
        stream.bind((source, 0))
    stream.connect(family[4])
    return stream


def talk(stream: socket.socket, down: int, up: int, pause: float = 0.0) -> None:
    """Ask for ``down`` bytes and send ``up``; a pause before reading fills the window."""
    stream.sendall(down.to_bytes(4, "big") + up.to_bytes(4, "big") + os.urandom(up))
    time.sleep(pause)
    while down > 0 and (part := stream.recv(min(down, 65536))):
        down -= len(part)


def tcp(host: str, port: int, count: int, down: int, up: int, source: str = "", **options: int) -> None:
    """``count`` connections one after the other, of about these sizes; some end with a reset."""
    for number in range(count):
        with contextlib.suppress(OSError), connect(host, port, source, **options) as stream:
            for _ in range(random.randint(1, 3)):
                talk(stream, random.randint(0, down), random.randint(0, up), options.get("pause", 0) / 1000)
            if number % 5 == 4:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, sys.byteorder) + bytes(4))


def refused(host: str, port: int, count: int) -> None:
    """Connections and datagrams to ports where nobody listens."""
    for number in range(count):
        with contextlib.suppress(OSError), connect(host, port + 1 + number):
            pass
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(b"nobody", (host, port + 1 + number))


def udp(host: str, port: int, count: int, longest: int, source: str = "", no_checksum: bool = False) -> None:
    """``count`` datagrams of 0 to ``longest`` bytes, each waited for a moment."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagrams:
        if source:
            datagrams.bind((source, 0))
        if no_checksum:
            datagrams.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
            datagrams.setsockopt(socket.IPPROTO_UDP, 101, 1)  # UDP_NO_CHECK6_TX
        datagrams.settimeout(0.2)
        for _ in range(count):
            datagrams.sendto(os.urandom(random.randint(0, longest)), (host, port))
            with contextlib.suppress(OSError):
                datagrams.recv(65536)


def segments(host: str, port: int, count: int, size: int) -> None:
    """Datagrams handed over in one large send (UDP_SEGMENT)."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagrams:
        datagrams.setsockopt(socket.IPPROTO_UDP, 103, size)  # UDP_SEGMENT
        for _ in range(count):
            with contextlib.suppress(OSError):
                datagrams.sendto(os.urandom(size * 8), (host, port))
            time.sleep(0.01)


def lite(host: str, port: int, count: int, coverage: int) -> None:
    """UDP-Lite datagrams to ourselves or to nobody."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, 136) as datagrams:
        datagrams.setsockopt(136, 10, coverage)  # UDPLITE_SEND_CSCOV
        for _ in range(count):
            with contextlib.suppress(OSError):
                datagrams.sendto(os.urandom(random.randint(coverage, 600)), (host, port))
            time.sleep(0.002)


def raw(host: str, protocol: int, count: int, longest: int) -> None:
    """Packets of any protocol number with bytes of chance."""
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, protocol) as sender:
        for _ in range(count):
            with contextlib.suppress(OSError):
                sender.sendto(os.urandom(random.randint(8, longest)), (host, 0))
            time.sleep(0.001)


def main(words: list[str]) -> None:
    """The function named first, with the rest; numbers become numbers, NAME=NUMBER an option."""
    random.seed(os.environ.get("TRAFFIC_SEED", ""))
    plain = [int(word) if word.isdecimal() else word for word in words[1:] if "=" not in word]
    options = {name: int(value) for name, value in (word.split("=") for word in words[1:] if "=" in word)}
    kinds: tuple[Callable[..., None], ...] = (serve, tcp, refused, udp, segments, lite, raw)
    {each.__name__: each for each in kinds}[words[0]](*plain, **options)


if __name__ == "__main__":
    main(sys.argv[1:])
