"""Captures of Linux's own TCP, UDP, ICMPv6, ND, MLD and fragments, made in network namespaces.

The machine is ``host``; it stands on a LAN with ``friend`` and ``router``; ``far`` is behind the router.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests"))

from namespaces import Namespace, address, join, link_local, namespaces, tcpdump

HERE = Path(__file__).parent
PORT = "5000"
LAN, FAR = "2001:db8:1::", "2001:db8:2::"
PEERS = 12
OFFLOADS = ("tx", "tso", "gso", "gro")


@dataclass
class Lan:
    """The machines of the set-up."""

    host: Namespace
    friend: Namespace
    router: Namespace
    far: Namespace
    wire: Namespace
    """Between the host and the LAN, when the wire has faults."""


@contextlib.contextmanager
def lan(*, offload: bool, faults: tuple[int, int, int] | None = None, far_mtu: int = 1500) -> Iterator[Lan]:
    """The set-up; ``faults`` are loss and reordering per mille and delay in µs of the host's wire."""
    names = ("es-host", "es-friend", "es-router", "es-far", "es-wire")
    with namespaces(names) as (host, friend, router, far, wire):
        router.run("ip", "link", "add", "lan", "type", "bridge")
        router.run("ip", "link", "set", "lan", "up")
        if faults is None:
            join(host, "eth0", router, "port0")
        else:
            join(host, "eth0", wire, "w0")
            join(wire, "w1", router, "port0")
        join(friend, "eth0", router, "port1")
        for port in ("port0", "port1"):
            router.run("ip", "link", "set", port, "master", "lan")
        join(router, "far0", far, "eth0", mtu=far_mtu)
        address(host, "eth0", f"{LAN}10/64", f"{LAN}a:b:c:d/64", "fd00:1::10/64")
        address(friend, "eth0", f"{LAN}20/64", f"{LAN}feed/64", "fd00:1::20/64")
        address(router, "lan", f"{LAN}1/64")
        address(router, "far0", f"{FAR}1/64")
        address(far, "eth0", *(f"{FAR}{0x100 + 77 * number:x}/64" for number in range(PEERS)))
        router.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        for space in (host, friend):
            space.run("ip", "-6", "route", "add", "default", "via", f"{LAN}1")
        far.run("ip", "-6", "route", "add", "default", "via", f"{FAR}1")
        if faults is not None:
            for space, link in ((host, "eth0"), (wire, "w0"), (wire, "w1"), (router, "port0"), (friend, "eth0")):
                space.run("ethtool", "-K", link, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
            for space, link in ((far, "eth0"), (router, "far0")):
                space.run("ethtool", "-K", link, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
            wire.start(sys.executable, str(HERE / "wire.py"), "w0", "w1", *map(str, faults), "7")
        elif not offload:
            for space, link in ((host, "eth0"), (friend, "eth0"), (far, "eth0"), (router, "port0"), (router, "far0")):
                space.run("ethtool", "-K", link, *(word for name in OFFLOADS for word in (name, "off")))
        for space in (friend, far, host):
            space.start(sys.executable, str(HERE / "traffic.py"), "serve", PORT)
        for space in (host, friend):
            link_local(space, "eth0")
        yield Lan(host, friend, router, far, wire)


def send(space: Namespace, what: str, *words: object) -> None:
    """Run one kind of traffic in a namespace, to its end."""
    space.run(sys.executable, str(HERE / "traffic.py"), what, *map(str, words), allow_failure=True, seconds=120)


def peers(count: int) -> list[str]:
    """Addresses of the far machine."""
    return [f"{FAR}{0x100 + 77 * number:x}" for number in range(count)]


def tcp_sets(folder: Path) -> None:
    """TCP with and without offload, large sends, several peers and own addresses, both directions."""
    for offload in (True, False):
        name = "offload" if offload else "plain"
        with lan(offload=offload) as net:
            with tcpdump(net.host, "eth0", folder / f"tcp-small-{name}.pcap", "ip6"):
                for peer in peers(6):
                    send(net.host, "tcp", peer, PORT, 6, 3000, 800)
            with tcpdump(net.host, "eth0", folder / f"tcp-large-{name}.pcap", "ip6"):
                for peer in peers(3):
                    send(net.host, "tcp", peer, PORT, 2, 200_000, 200_000)
            with tcpdump(net.host, "eth0", folder / f"tcp-served-{name}.pcap", "ip6"):
                send(net.friend, "tcp", f"{LAN}10", PORT, 5, 9000, 9000)
                send(net.far, "tcp", f"{LAN}a:b:c:d", PORT, 5, 9000, 9000, peers(4)[3])
                send(net.friend, "tcp", f"{link_local(net.host, 'eth0')}%eth0", PORT, 5, 900, 900)
            with tcpdump(net.host, "eth0", folder / f"tcp-segments-{name}.pcap", "ip6"):
                for segment in (100, 536, 1200):
                    send(net.host, "tcp", peers(2)[1], PORT, 3, 20_000, 20_000, f"segment={segment}")
                send(net.host, "tcp", peers(2)[0], PORT, 2, 100_000, 10, "window=4096", "pause=300")
            with tcpdump(net.host, "eth0", folder / f"tcp-refused-{name}.pcap", "ip6"):
                send(net.host, "refused", peers(1)[0], PORT, 20)
                send(net.host, "refused", f"{LAN}20", PORT, 20)
                send(net.host, "refused", f"{LAN}99", PORT, 1)


def lossy_sets(folder: Path) -> None:
    """TCP over a wire that loses and reorders: retransmissions, SACK, duplicate acknowledgements."""
    for number, faults in enumerate(
        [(0, 0, 300), (10, 0, 200), (30, 0, 100), (0, 30, 200), (10, 50, 400), (50, 50, 50)]
    ):
        target = folder / f"tcp-lossy-{number}.pcap"
        with lan(offload=False, faults=faults) as net, tcpdump(net.host, "eth0", target, "ip6"):
            for peer in peers(2):
                send(net.host, "tcp", peer, PORT, 2, 150_000, 150_000)
            send(net.friend, "tcp", f"{LAN}10", PORT, 3, 50_000, 50_000)
            send(net.host, "udp", f"{LAN}20", PORT, 30, 900)


def datagram_sets(folder: Path) -> None:
    """UDP: echoes, fragments, large sends, no checksums; UDP-Lite."""
    for offload in (True, False):
        name = "offload" if offload else "plain"
        with lan(offload=offload) as net:
            with tcpdump(net.host, "eth0", folder / f"udp-{name}.pcap", "ip6"):
                for peer in peers(PEERS):
                    send(net.host, "udp", peer, PORT, 25, 1200)
                send(net.friend, "udp", f"{LAN}10", PORT, 40, 300)
                send(net.friend, "udp", f"{LAN}a:b:c:d", PORT, 40, 300, f"{LAN}feed")
            with tcpdump(net.host, "eth0", folder / f"udp-fragments-{name}.pcap", "ip6"):
                for peer in peers(4):
                    send(net.host, "udp", peer, PORT, 12, 9000)
            with tcpdump(net.host, "eth0", folder / f"udp-large-sends-{name}.pcap", "ip6"):
                send(net.host, "segments", peers(1)[0], PORT, 20, 1000)
                send(net.host, "segments", f"{LAN}20", PORT, 20, 400)
            with tcpdump(net.host, "eth0", folder / f"udp-no-checksum-{name}.pcap", "ip6"):
                send(net.host, "udp", peers(2)[1], PORT, 20, 200, f"{LAN}10", 1)
            with tcpdump(net.host, "eth0", folder / f"udplite-{name}.pcap", "ip6"):
                send(net.host, "lite", f"{LAN}20", PORT, 20, 8)
                send(net.host, "lite", f"{LAN}20", PORT, 20, 20)


def control_sets(folder: Path) -> None:
    """ICMPv6: echo of many sizes, errors, path MTU, traceroute; ND, DAD, MLD; fragments of echo."""
    for offload in (True, False):
        name = "offload" if offload else "plain"
        with lan(offload=offload, far_mtu=1400) as net:
            with tcpdump(net.host, "eth0", folder / f"ping-{name}.pcap", "ip6"):
                for size in (0, 8, 56, 500, 1300):
                    for target in (peers(3)[2], f"{LAN}20", f"{link_local(net.friend, 'eth0')}%eth0"):
                        net.host.run(
                            "ping", "-6", "-c", "8", "-i", "0.005", "-s", str(size), target, allow_failure=True
                        )
                net.host.run("ping", "-6", "-c", "3", "-i", "0.1", "ff02::1%eth0", allow_failure=True)
                net.friend.run("ping", "-6", "-c", "20", "-i", "0.005", f"{LAN}a:b:c:d", allow_failure=True)
            with tcpdump(net.host, "eth0", folder / f"ping-fragments-{name}.pcap", "ip6"):
                for size in (1500, 3000, 8000, 20000):
                    net.host.run(
                        "ping", "-6", "-c", "3", "-i", "0.01", "-s", str(size), peers(1)[0], allow_failure=True
                    )
                    net.friend.run(
                        "ping", "-6", "-c", "3", "-i", "0.01", "-s", str(size), f"{LAN}10", allow_failure=True
                    )
            with tcpdump(net.host, "eth0", folder / f"path-mtu-{name}.pcap", "ip6"):
                send(net.host, "tcp", peers(4)[3], PORT, 2, 50_000, 50_000)
                net.host.run(
                    "ping", "-6", "-M", "do", "-c", "3", "-i", "0.1", "-s", "1452", peers(5)[4], allow_failure=True
                )
            with tcpdump(net.host, "eth0", folder / f"traceroute-{name}.pcap", "ip6"):
                for mode in ("-I", "-U", "-T"):
                    net.host.run(
                        "traceroute",
                        "-6",
                        "-n",
                        mode,
                        "-q",
                        "2",
                        "-w",
                        "0.3",
                        "-m",
                        "4",
                        peers(1)[0],
                        allow_failure=True,
                    )
                net.host.run("traceroute", "-6", "-n", "-w", "0.3", "-m", "3", "2001:db8:dead::1", allow_failure=True)
        with lan(offload=offload) as net, tcpdump(net.host, "eth0", folder / f"neighbours-{name}.pcap", "ip6"):
            for number in range(12):
                net.host.run("ip", "addr", "add", f"{LAN}{0xC00 + number:x}/64", "dev", "eth0")
                net.host.run("ping", "-6", "-c", "1", "-W", "1", "-I", f"{LAN}10", f"{LAN}20", allow_failure=True)
                net.host.run("ip", "-6", "neigh", "flush", "dev", "eth0", allow_failure=True)
            net.host.run("ip", "link", "set", "eth0", "down")
            net.host.run("ip", "link", "set", "eth0", "up")
            link_local(net.host, "eth0")


MAKERS = {
    "kernel-tcp": tcp_sets,
    "kernel-lossy": lossy_sets,
    "kernel-datagrams": datagram_sets,
    "kernel-control": control_sets,
}
