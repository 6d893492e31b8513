# ruff: noqa: E501, SIM117 - configurations of the daemons are long lines
"""Captures of real daemons in network namespaces: routing, neighbours, names, addresses, time, QUIC, SCTP, tunnels.

Needs Debian's packages frr, bird2, keepalived, radvd, dnsmasq-base, isc-dhcp-client, avahi-daemon, chrony, ndisc6,
iperf3, mtr-tiny, traceroute, libusrsctp-dev, and aioquic from PyPI.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.capture_sets.kernel import HERE, LAN, PORT, send
from benchmarks.measure import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests"))

from namespaces import Namespace, address, join, link_local, namespaces, tcpdump, wait_for

FRR = Path("/usr/lib/frr")
ROUTERS = 3


@contextlib.contextmanager
def routers(*, offload: bool = True, count: int = ROUTERS) -> Iterator[list[Namespace]]:
    """Routers on one LAN, each with a network of its own on a bridge without ports."""
    with namespaces(["es-lan", *(f"es-r{number}" for number in range(count))]) as (switch, *members):
        switch.run("ip", "link", "add", "lan", "type", "bridge", "mcast_snooping", "0")
        switch.run("ip", "link", "set", "lan", "up")
        for number, member in enumerate(members):
            join(member, "eth0", switch, f"port{number}")
            switch.run("ip", "link", "set", f"port{number}", "master", "lan")
            address(member, "eth0", f"{LAN}{number + 1}/64", f"192.0.2.{number + 1}/24")
            member.run("ip", "link", "add", "own0", "type", "bridge")
            member.run("ip", "link", "set", "own0", "up")
            address(member, "own0", f"2001:db8:f{number}::1/64")
            member.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
            if not offload:
                member.run("ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off")
        for member in members:
            link_local(member, "eth0")
        yield members


@contextlib.contextmanager
def work_folder() -> Iterator[Path]:
    """A short-lived folder for configurations and sockets."""
    folder = Path(tempfile.mkdtemp(prefix="es-"))
    try:
        folder.chmod(0o777)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


FRR_CONFIGURATIONS = {
    "ospf6d": "interface eth0\n ipv6 ospf6 area 0.0.0.0\n ipv6 ospf6 hello-interval 1\n ipv6 ospf6 dead-interval 4\n"
    "interface own0\n ipv6 ospf6 area 0.0.0.0\n ipv6 ospf6 passive\n"
    "router ospf6\n ospf6 router-id 10.0.0.{id}\n",
    "ripngd": "router ripng\n network eth0\n network own0\n timers basic 2 8 8\n",
    "babeld": "router babel\n network eth0\n redistribute ipv6 connected\ninterface eth0\n babel hello-interval 500\n",
    "bgpd": "router bgp 6500{id}\n bgp router-id 10.0.0.{id}\n no bgp ebgp-requires-policy\n timers bgp 1 4\n{neighbors}"
    " address-family ipv6 unicast\n  network 2001:db8:f{number}::/64\n{activate} exit-address-family\n",
    "bfdd": "bfd\n{bfd}",
}


def frr(member: Namespace, number: int, daemon: str, folder: Path) -> None:
    """Start zebra and one daemon of FRR as router ``number`` (from 0)."""
    others = [other for other in range(ROUTERS) if other != number]
    text = FRR_CONFIGURATIONS[daemon].format(
        id=number + 1,
        number=number,
        neighbors="".join(f" neighbor {LAN}{other + 1} remote-as 6500{other + 1}\n" for other in others),
        activate="".join(f"  neighbor {LAN}{other + 1} activate\n" for other in others),
        bfd="".join(
            f" peer {LAN}{other + 1} interface eth0\n  receive-interval 300\n  transmit-interval 300\n no shutdown\n"
            for other in others
        ),
    )
    for name, content in (("zebra", "ipv6 forwarding\n"), (daemon, text)):
        configuration = folder / f"{name}-{number}.conf"
        configuration.write_text(content)
        words = ["-f", configuration, "-i", folder / f"{name}-{number}.pid", "-z", folder / f"zserv-{number}"]
        words += ["--vty_socket", folder / f"vty-{number}", "-A", "127.0.0.1"]
        (folder / f"vty-{number}").mkdir(exist_ok=True)
        (folder / f"vty-{number}").chmod(0o777)
        member.start(str(FRR / name), *map(str, words), log=folder / f"{name}-{number}.log")
        time.sleep(0.4)


def frr_sets(folder: Path) -> None:
    """OSPFv3, RIPng, Babel, BGP and BFD of FRR."""
    for daemon in FRR_CONFIGURATIONS:
        for offload in (True, False):
            name = f"{daemon}-{'offload' if offload else 'plain'}"
            with routers(offload=offload) as members, work_folder() as work:
                with tcpdump(members[0], "eth0", folder / f"{name}.pcap", "ip6"):
                    for number, member in enumerate(members):
                        frr(member, number, daemon, work)
                    time.sleep(14)
                    members[2].stop()
                    time.sleep(3)


BIRD = """
log stderr all; router id 10.1.0.{id};
protocol device {{}}
protocol direct {{ ipv6; interface "own0"; }}
protocol kernel {{ ipv6 {{ export all; }}; }}
protocol ospf v3 {{ ipv6 {{ export all; }}; area 0 {{ interface "eth0" {{ hello 1; dead 4; wait 2; }}; interface "own0" {{ stub; }}; }}; }}
protocol rip ng {{ ipv6 {{ export all; }}; interface "eth0" {{ update time 3; timeout time 9; }}; }}
protocol babel {{ ipv6 {{ export all; }}; interface "eth0" {{ hello interval 1 s; }}; }}
protocol bfd {{ interface "eth0" {{ min rx interval 300 ms; min tx interval 300 ms; }}; }}
protocol radv {{ interface "eth0" {{ min ra interval 3; max ra interval 4; prefix {lan}/64 {{}}; }}; }}
{bgp}
"""


def bird_sets(folder: Path) -> None:
    """OSPFv3, RIPng, Babel, BGP with BFD and router advertisements of BIRD, all at once."""
    for offload in (True, False):
        with routers(offload=offload) as members, work_folder() as work:
            for seen in (0, 1):
                target = folder / f"bird-{'offload' if offload else 'plain'}-{seen}.pcap"
                with tcpdump(members[seen], "eth0", target, "ip6"):
                    for number, member in enumerate(members):
                        bgp = "".join(
                            f"protocol bgp b{other} {{ local as 6600{number}; neighbor {LAN}{other + 1} as 6600{other}; bfd on; "
                            f"ipv6 {{ import all; export all; }}; keepalive time 1; hold time 4; }}\n"
                            for other in range(ROUTERS)
                            if other != number
                        )
                        configuration = work / f"bird-{number}.conf"
                        configuration.write_text(BIRD.format(id=number + 1, lan=LAN, bgp=bgp))
                        member.start(
                            "bird",
                            "-f",
                            "-c",
                            str(configuration),
                            "-s",
                            str(work / f"bird-{number}.ctl"),
                            log=work / f"bird-{number}.log",
                        )
                    time.sleep(16)
                    for member in members:
                        member.stop()
                    time.sleep(1)


KEEPALIVED = """
global_defs {{ vrrp_version 3 }}
vrrp_instance one {{ interface eth0
 virtual_router_id 51
 priority {priority}
 advert_int 0.3
 virtual_ipaddress {{ fe80::51/64
 2001:db8:1::51/64 }} }}
"""


def vrrp_sets(folder: Path) -> None:
    """VRRPv3 of keepalived, with a change of the master."""
    with routers() as members, work_folder() as work:
        with tcpdump(members[2], "eth0", folder / "keepalived-listener.pcap", "ip6"):
            with tcpdump(members[0], "eth0", folder / "keepalived-router.pcap", "ip6"):
                for number in (0, 1):
                    configuration = work / f"keepalived-{number}.conf"
                    configuration.write_text(KEEPALIVED.format(priority=100 + number))
                    words = [
                        "-n",
                        "-l",
                        "-D",
                        "-f",
                        configuration,
                        "-p",
                        work / f"k{number}.pid",
                        "-r",
                        work / f"v{number}.pid",
                    ]
                    members[number].start("keepalived", *map(str, words), log=work / f"k{number}.log")
                time.sleep(6)
                members[2].run("ping", "-6", "-c", "5", "-i", "0.1", f"{LAN}51", allow_failure=True)
                members[1].stop()
                time.sleep(3)


def address_sets(folder: Path) -> None:
    """Router advertisements, DHCPv6 and DNS of dnsmasq with clients; radvd with rdisc6 and ndisc6."""
    with routers() as members, work_folder() as work:
        server, client, other = members
        for each in (client, other):
            each.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=0", "net.ipv6.conf.eth0.accept_ra=2")
        with (
            tcpdump(client, "eth0", folder / "dhcpv6-client.pcap", "ip6"),
            tcpdump(server, "eth0", folder / "dhcpv6-server.pcap", "ip6"),
        ):
            words = [
                "-k",
                "-C",
                "/dev/null",
                "-x",
                str(work / "dnsmasq.pid"),
                "--interface=eth0",
                "--enable-ra",
                "-u",
                "root",
            ]
            words += [
                f"--dhcp-range={LAN}1000,{LAN}1fff,64,2m",
                "--ra-param=eth0,4,60",
                "--host-record=www.test,2001:db8::80",
                f"--dhcp-leasefile={work / 'leases'}",
            ]
            server.start("dnsmasq", *words, log=work / "dnsmasq.log")
            time.sleep(1)
            for number, each in enumerate((client, other)):
                words = [
                    "-6",
                    "-1",
                    "-sf",
                    "/bin/true",
                    "-lf",
                    str(work / f"lease{number}"),
                    "-pf",
                    str(work / f"dhclient{number}.pid"),
                ]
                each.run("timeout", "8", "dhclient", *words, "eth0", allow_failure=True)
                each.run("timeout", "8", "dhclient", *words, "-r", "eth0", allow_failure=True)
            for number in range(20):
                script = f"import socket;s=socket.socket(10,2);s.settimeout(.3);s.sendto(bytes([0,{number},1,0,0,1,0,0,0,0,0,0,3])+b'www'+bytes([4])+b'test'+bytes([0,0,28,0,1]),('{LAN}1',53));s.recv(512)"
                client.run(sys.executable, "-c", script, allow_failure=True)
    with routers() as members, work_folder() as work:
        (work / "radvd.conf").write_text(
            f"interface eth0 {{ AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix {LAN}/64 {{}}; RDNSS {LAN}53 {{}}; route 2001:db8:f0::/48 {{}}; }};"
        )
        with tcpdump(members[1], "eth0", folder / "radvd.pcap", "ip6"):
            members[0].start(
                "radvd",
                "-n",
                "-C",
                str(work / "radvd.conf"),
                "-p",
                str(work / "radvd.pid"),
                "-u",
                "root",
                log=work / "radvd.log",
            )
            for _ in range(6):
                members[1].run("rdisc6", "-1", "-w", "300", "eth0", allow_failure=True)
                members[1].run("ndisc6", "-1", "-w", "300", f"{LAN}3", "eth0", allow_failure=True)
                members[1].run("ndisc6", "-w", "200", "-r", "1", f"{LAN}77", "eth0", allow_failure=True)
            time.sleep(6)


def name_sets(folder: Path) -> None:
    """mDNS of avahi, NTP of chrony."""
    with routers() as members, work_folder() as work:
        with tcpdump(members[0], "eth0", folder / "mdns.pcap", "ip6"):
            for number, member in enumerate(members):
                configuration = work / f"avahi-{number}.conf"
                configuration.write_text(
                    f"[server]\nhost-name=host{number}\nuse-ipv4=no\nuse-ipv6=yes\nenable-dbus=no\nallow-interfaces=eth0\n[publish]\npublish-workstation=yes\n"
                )
                # avahi keeps its process id in /run: one after the other, each in a mount namespace of its own
                member.start(
                    "unshare",
                    "-m",
                    "sh",
                    "-c",
                    f"mount -t tmpfs none /run && avahi-daemon --no-drop-root --no-chroot --no-rlimits -f {configuration}",
                    log=work / f"avahi{number}.log",
                )
            time.sleep(9)
        with tcpdump(members[0], "eth0", folder / "ntp.pcap", "ip6"):
            for number, member in enumerate(members):
                text = f"local stratum 8\nallow ::/0\nbindcmdaddress /nowhere{number}\ncmdport 0\n"
                text += "".join(
                    f"server {LAN}{other + 1} iburst minpoll 0 maxpoll 0 xleave\n"
                    for other in range(ROUTERS)
                    if other != number
                )
                (work / f"chrony-{number}.conf").write_text(text + f"pidfile {work}/chrony{number}.pid\n")
                member.start(
                    "chronyd",
                    "-d",
                    "-x",
                    "-u",
                    "root",
                    "-f",
                    str(work / f"chrony-{number}.conf"),
                    log=work / f"chrony{number}.log",
                )
            time.sleep(15)


def program_sets(folder: Path) -> None:
    """iperf3 over TCP and UDP, HTTP, mtr, traceroute of several kinds, sockets of socat."""
    for offload in (True, False):
        name = "offload" if offload else "plain"
        with routers(offload=offload) as members:
            members[1].start("iperf3", "-s")
            members[1].start(sys.executable, "-m", "http.server", "--bind", "::", "-d", str(CHECKOUT / "docs"), "8080")
            members[1].start(sys.executable, str(HERE / "traffic.py"), "serve", PORT)
            time.sleep(1)
            with tcpdump(members[0], "eth0", folder / f"iperf-tcp-{name}.pcap", "ip6"):
                members[0].run("iperf3", "-6", "-c", f"{LAN}2", "-n", "600K", "-P", "3", allow_failure=True)
                members[0].run("iperf3", "-6", "-c", f"{LAN}2", "-n", "300K", "-R", allow_failure=True)
            with tcpdump(members[0], "eth0", folder / f"iperf-udp-{name}.pcap", "ip6"):
                members[0].run(
                    "iperf3", "-6", "-c", f"{LAN}2", "-u", "-b", "1M", "-t", "1", "-l", "700", allow_failure=True
                )
                members[0].run(
                    "iperf3", "-6", "-c", f"{LAN}2", "-u", "-b", "4M", "-t", "1", "-l", "4000", allow_failure=True
                )
            with tcpdump(members[0], "eth0", folder / f"http-{name}.pcap", "ip6"):
                for page in ("", "index.md", "pcapng.md", "none", "exit-codes.md"):
                    script = f"import urllib.request as r;r.urlopen('http://[{LAN}2]:8080/{page}').read()"
                    members[0].run(sys.executable, "-c", script, allow_failure=True)
                    members[2].run(sys.executable, "-c", script, allow_failure=True)
            with tcpdump(members[0], "eth0", folder / f"paths-{name}.pcap", "ip6"):
                members[0].run("mtr", "-6", "-n", "-r", "-c", "3", "-i", "0.2", f"{LAN}2", allow_failure=True)
                members[0].run(
                    "mtr",
                    "-6",
                    "-n",
                    "-r",
                    "-c",
                    "2",
                    "-i",
                    "0.2",
                    "--tcp",
                    "-P",
                    "8080",
                    f"{LAN}2",
                    allow_failure=True,
                )
                for protocol in ("udplite", "dccp"):
                    members[0].run(
                        "traceroute",
                        "-6",
                        "-n",
                        "-q",
                        "1",
                        "-w",
                        "0.2",
                        "-m",
                        "3",
                        "-M",
                        protocol,
                        f"{LAN}3",
                        allow_failure=True,
                    )
                send(members[0], "refused", f"{LAN}2", 6000, 6)


def quic_sets(folder: Path) -> None:
    """QUIC and HTTP/3 of aioquic: several connections to two servers."""
    with routers() as members, work_folder() as work:
        script = work / "quic.py"
        script.write_text(QUIC)
        words = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            str(work / "key"),
            "-out",
            str(work / "cert"),
            "-days",
            "2",
            "-subj",
            "/CN=test",
        ]
        subprocess.run(["openssl", *words], check=True, capture_output=True)
        for server in (1, 2):
            members[server].start(sys.executable, str(script), "serve", str(work), log=work / f"quic{server}.log")
        time.sleep(2)
        for number in range(3):
            with tcpdump(members[0], "eth0", folder / f"quic-{number}.pcap", "ip6"):
                for server in (2, 3):
                    for size in (100, 3000, 60_000):
                        members[0].run(
                            sys.executable, str(script), f"{LAN}{server}", str(size * (number + 1)), allow_failure=True
                        )


QUIC = """
import asyncio, ssl, sys
from aioquic.asyncio import connect, serve
from aioquic.quic.configuration import QuicConfiguration

def echo(reader, writer):
    async def run():
        writer.write(await reader.read()); writer.write_eof()
    asyncio.ensure_future(run())

async def main():
    configuration = QuicConfiguration(alpn_protocols=["x"], is_client=sys.argv[1] != "serve", verify_mode=ssl.CERT_NONE)
    if sys.argv[1] == "serve":
        configuration.load_cert_chain(sys.argv[2] + "/cert", sys.argv[2] + "/key")
        await serve("::", 4433, configuration=configuration, stream_handler=echo)
        await asyncio.sleep(200)
    async with connect(sys.argv[1], 4433, configuration=configuration) as client:
        reader, writer = await client.create_stream()
        writer.write(bytes(int(sys.argv[2]))); writer.write_eof()
        await asyncio.wait_for(reader.read(), 8)

asyncio.run(main())
"""

TUNNELS = ("ipv4", "ipv6", "gre", "esp", "etherip", "l2tp")


def has_link(member: Namespace, name: str) -> bool:
    """Whether there is a link of that name."""
    return name in member.run("ip", "link", "show", name, allow_failure=True)


def tunnel_sets(folder: Path) -> None:
    """Real traffic through tunnels: in and between IP packets, GRE, ESP, EtherIP, L2TPv3."""
    for kind in TUNNELS:
        with routers() as members:
            inner = "10.9.0" if kind == "ipv4" else "2001:db8:9:"
            for number in (0, 1):
                own, peer = (f"{LAN}{each + 1}" for each in (number, 1 - number))
                members[number].start(sys.executable, str(HERE / "tunnel.py"), kind, own, peer, "tun0")
            for number in (0, 1):
                wait_for(partial(has_link, members[number], "tun0"))
                members[number].run("ip", "link", "set", "tun0", "mtu", "1300", "up")
                address(
                    members[number],
                    "tun0",
                    f"{inner}.{number + 1}/24" if kind == "ipv4" else f"{inner}:{number + 1}/64",
                )
            members[1].start(sys.executable, str(HERE / "traffic.py"), "serve", PORT)
            members[2].start(sys.executable, str(HERE / "traffic.py"), "serve", PORT)
            time.sleep(0.5)
            target = f"{inner}.2" if kind == "ipv4" else f"{inner}:2"
            with tcpdump(members[0], "eth0", folder / f"tunnel-{kind}.pcap", "ip6"):
                members[0].run("ping", "-c", "10", "-i", "0.02", target, allow_failure=True)
                for _ in range(2):
                    if kind != "ipv4":
                        send(members[0], "udp", target, PORT, 15, 800)
                        send(members[0], "tcp", target, PORT, 1, 20_000, 3000)
                    send(members[0], "tcp", f"{LAN}3", PORT, 2, 3000, 900)


MAKERS = {
    "frr": frr_sets,
    "bird": bird_sets,
    "keepalived": vrrp_sets,
    "addresses": address_sets,
    "names": name_sets,
    "programs": program_sets,
    "quic": quic_sets,
    "tunnels": tunnel_sets,
}
