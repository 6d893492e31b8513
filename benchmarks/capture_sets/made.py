# mypy: ignore-errors
# ruff: noqa: E731
"""Captures of packets made by scapy: every protocol that stands over IPv6, with each kind of checksum.

Where scapy knows no layout (DCCP, HIP, UDP-Lite, EtherIP, L2TPv3, MPLS in IP) the bytes are laid out here, from the
RFCs.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from scapy.all import (  # type: ignore[attr-defined]
    AH,
    DNS,
    DNSQR,
    DNSRR,
    DUID_LL,
    ESP,
    GRE,
    ICMP,
    IP,
    MIP6MH_BA,
    MIP6MH_BU,
    NTP,
    SCTP,
    TCP,
    UDP,
    DHCP6_Advertise,
    DHCP6_Reply,
    DHCP6_Request,
    DHCP6_Solicit,
    DHCP6OptClientId,
    Ether,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLDMultAddrRec,
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLQuery2,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Pad1,
    PadN,
    Raw,
    RouterAlert,
    SCTPChunkCookieAck,
    SCTPChunkCookieEcho,
    SCTPChunkData,
    SCTPChunkHeartbeatReq,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkParamHeartbeatInfo,
    SCTPChunkParamStateCookie,
    SCTPChunkSACK,
    SCTPChunkShutdown,
    SCTPChunkShutdownAck,
    VRRPv3,
    fragment6,
    in6_getnsma,
    inet_ntop,
    inet_pton,
    wrpcap,
)
from scapy.contrib.eigrp import EIGRP, EIGRPParam, EIGRPSwVer, EIGRPv6IntRoute
from scapy.contrib.mpls import MPLS
from scapy.contrib.ospf import (
    OSPFv3_DBDesc,
    OSPFv3_Hdr,
    OSPFv3_Hello,
    OSPFv3_LSA_Hdr,
    OSPFv3_LSAck,
    OSPFv3_LSReq,
    OSPFv3_LSUpd,
    OSPFv3_Router_LSA,
)
from scapy.contrib.pim import PIMv2Hdr, PIMv2Hello, PIMv2HelloGenerationID, PIMv2HelloHoldtime
from scapy.contrib.ripng import RIPng, RIPngEntry
from scapy.contrib.rsvp import RSVP, RSVP_Object

AF_INET6 = 10
Packet = Any
CHECKSUM_AT = {6: 16, 17: 6, 58: 2, 136: 6, 33: 6}


class World:
    """Hosts, routers and a clock; all chance from one seed."""

    def __init__(self, seed: int, hosts: int) -> None:
        self.chance = random.Random(seed)
        prefixes = [f"2001:db8:{self.chance.randrange(65536):x}:{self.chance.randrange(65536):x}" for _ in range(3)]
        self.hosts = [f"{self.chance.choice(prefixes)}:{self._tail()}" for _ in range(hosts)]
        self.local = [f"fe80::{self._tail()}" for _ in range(hosts)]
        self.machine = self.hosts[0]
        self.own = [self.machine]
        self.now = 1_700_000_000.0

    def _tail(self) -> str:
        if self.chance.random() < 0.3:
            return f"0:0:0:{self.chance.randrange(1, 0x200):x}"
        return ":".join(f"{self.chance.randrange(1, 65536):x}" for _ in range(4))

    def pair(self) -> tuple[str, str]:
        """The machine and one of the others, in either order."""
        other = self.chance.choice(self.hosts[1:])
        return (self.machine, other) if self.chance.random() < 0.5 else (other, self.machine)

    def port(self) -> int:
        return self.chance.randrange(1024, 65536)

    def bytes(self, longest: int) -> bytes:
        """A text or bytes of chance."""
        length = self.chance.randrange(longest + 1)
        if self.chance.random() < 0.5:
            return (b"GET /index.html HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n" * 40)[:length]
        return self.chance.randbytes(length)


def pseudo_sum(source: str, destination: str, length: int, protocol: int) -> int:
    """The folded, uncomplemented sum of the pseudo-header: what offload leaves in the field."""
    words = inet_pton(AF_INET6, source) + inet_pton(AF_INET6, destination) + struct.pack(">IHH", length, 0, protocol)
    total = sum(struct.unpack(f">{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def complete(source: str, destination: str, protocol: int, data: bytes, covered: int | None = None) -> bytes:
    """``data`` with its checksum filled in, where ``CHECKSUM_AT`` says."""
    at = CHECKSUM_AT[protocol]
    part = data if covered is None else data[:covered]
    padded = part[:at] + bytes(2) + part[at + 2 :] + bytes(len(part) % 2)
    total = pseudo_sum(source, destination, len(data), protocol) + sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:at] + struct.pack(">H", ~total & 0xFFFF or 0xFFFF) + data[at + 2 :]


def with_checksum(kind: str, packet: Packet, chance: random.Random) -> Packet:
    """The packet with its checksum good, offloaded, offloaded without length, zero or bad."""
    if kind == "good":
        return packet
    whole = bytes(packet)
    protocol = whole[6]
    if protocol not in CHECKSUM_AT:
        return packet
    source, destination = (inet_ntop(AF_INET6, whole[at : at + 16]) for at in (8, 24))
    at = 40 + CHECKSUM_AT[protocol]
    field = {
        "offloaded": pseudo_sum(source, destination, len(whole) - 40, protocol),
        "large-send": pseudo_sum(source, destination, 0, protocol),
        "zero": 0,
        "bad": chance.randrange(65536),
    }[kind]
    return IPv6(whole[:at] + struct.pack(">H", field) + whole[at + 2 :])


def over(protocol: int, source: str, destination: str, data: bytes, **fields: int) -> Packet:
    """IPv6 with these bytes after it."""
    return IPv6(src=source, dst=destination, nh=protocol, **fields) / Raw(data)


def tcp(world: World, most: int = 12) -> Iterable[Packet]:
    """A whole TCP connection."""
    one, other = world.pair()
    sport, dport = world.port(), world.chance.choice([80, 443, 22, 25, 8080, world.port()])
    a, b = world.chance.randrange(1 << 32), world.chance.randrange(1 << 32)
    window = world.chance.randrange(500, 65536)
    stamps = [("NOP", None), ("NOP", None), ("Timestamp", (world.chance.randrange(1 << 32), 0))]
    options = [("MSS", 1440), ("SAckOK", b""), ("Timestamp", (a, 0)), ("NOP", None), ("WScale", 7)]
    there = lambda flags, **more: (
        IPv6(src=one, dst=other) / TCP(sport=sport, dport=dport, flags=flags, window=window, **more)
    )
    back = lambda flags, **more: (
        IPv6(src=other, dst=one) / TCP(sport=dport, dport=sport, flags=flags, window=window, **more)
    )
    yield there("S", seq=a, options=options)
    yield back("SA", seq=b, ack=(a + 1) % (1 << 32), options=options)
    a, b = (a + 1) % (1 << 32), (b + 1) % (1 << 32)
    yield there("A", seq=a, ack=b, options=stamps)
    for _ in range(world.chance.randrange(most)):
        data = world.bytes(1400)
        yield there("PA", seq=a, ack=b, options=stamps) / Raw(data)
        a = (a + len(data)) % (1 << 32)
        answer = world.bytes(1400)
        yield back("PA", seq=b, ack=a, options=stamps) / Raw(answer)
        b = (b + len(answer)) % (1 << 32)
    yield there("FA", seq=a, ack=b, options=stamps)
    yield back("FA", seq=b, ack=(a + 1) % (1 << 32))
    yield there(world.chance.choice(["A", "R"]), seq=(a + 1) % (1 << 32), ack=(b + 1) % (1 << 32))


def udp(world: World) -> Iterable[Packet]:
    """Requests and answers of several protocols over UDP, to one machine and to groups."""
    one, other = world.pair()
    port, number = world.port(), world.chance.randrange(65536)
    query = DNSQR(qname=f"host{number}.example.org", qtype="AAAA")
    yield IPv6(src=one, dst=other) / UDP(sport=port, dport=53) / DNS(id=number, rd=1, qd=query)
    answer = DNSRR(rrname=f"host{number}.example.org", type="AAAA", rdata="2001:db8::7")
    yield IPv6(src=other, dst=one) / UDP(sport=53, dport=port) / DNS(id=number, qr=1, qd=query, an=answer)
    yield IPv6(src=one, dst=other) / UDP(sport=123, dport=123) / NTP()
    yield IPv6(src=other, dst=one) / UDP(sport=123, dport=123) / NTP(mode=4)
    index = world.chance.randrange(len(world.local))
    local = world.local[index]
    yield (
        IPv6(src=local, dst="ff02::fb", hlim=255)
        / UDP(sport=5353, dport=5353)
        / DNS(qd=DNSQR(qname="_ipp._tcp.local", qtype="PTR"))
    )
    yield (
        IPv6(src=local, dst="ff02::1:3", hlim=1) / UDP(sport=port, dport=5355) / DNS(id=number, qd=DNSQR(qname="wpad"))
    )
    client = DHCP6OptClientId(duid=DUID_LL(lladdr="02:00:00:00:00:%02x" % (index % 256)))
    transaction = world.chance.randrange(1 << 24)
    server = world.local[0]
    if local != server:
        yield (
            IPv6(src=local, dst="ff02::1:2", hlim=1)
            / UDP(sport=546, dport=547)
            / DHCP6_Solicit(trid=transaction)
            / client
        )
        yield IPv6(src=server, dst=local) / UDP(sport=547, dport=546) / DHCP6_Advertise(trid=transaction) / client
        yield (
            IPv6(src=local, dst="ff02::1:2", hlim=1)
            / UDP(sport=546, dport=547)
            / DHCP6_Request(trid=transaction)
            / client
        )
        yield IPv6(src=server, dst=local) / UDP(sport=547, dport=546) / DHCP6_Reply(trid=transaction) / client
    yield (
        IPv6(src=local, dst="ff02::9", hlim=255)
        / UDP(sport=521, dport=521)
        / RIPng(cmd=2)
        / RIPngEntry(prefix_or_nh="2001:db8::")
    )
    notify = b'M-SEARCH * HTTP/1.1\r\nHOST: [FF02::C]:1900\r\nMAN: "ssdp:discover"\r\nST: ssdp:all\r\n\r\n'
    yield IPv6(src=local, dst="ff02::c", hlim=2) / UDP(sport=port, dport=1900) / Raw(notify)
    for _ in range(world.chance.randrange(6)):
        yield IPv6(src=one, dst=other) / UDP(sport=port, dport=world.port()) / Raw(world.bytes(1200))


def icmp(world: World) -> Iterable[Packet]:
    """Echo, errors that quote packets, ND, MLD."""
    one, other = world.pair()
    identifier = world.chance.randrange(65536)
    for number in range(3):
        data = world.bytes(200)
        yield IPv6(src=one, dst=other) / ICMPv6EchoRequest(id=identifier, seq=number, data=data)
        yield IPv6(src=other, dst=one) / ICMPv6EchoReply(id=identifier, seq=number, data=data)
    quoted = bytes(IPv6(src=one, dst=other) / UDP(sport=world.port(), dport=world.port()) / Raw(world.bytes(100)))
    router = world.chance.choice(world.hosts)
    for error in (
        ICMPv6DestUnreach(code=4),
        ICMPv6PacketTooBig(mtu=1280),
        ICMPv6TimeExceeded(),
        ICMPv6ParamProblem(ptr=6),
    ):
        yield IPv6(src=router if router != one else other, dst=one) / error / Raw(quoted)
    local, neighbour = world.chance.sample(world.local, 2)
    mac = ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:01")
    group = inet_ntop(AF_INET6, in6_getnsma(inet_pton(AF_INET6, neighbour)))
    yield IPv6(src=local, dst=group, hlim=255) / ICMPv6ND_NS(tgt=neighbour) / mac
    yield (
        IPv6(src=neighbour, dst=local, hlim=255)
        / ICMPv6ND_NA(tgt=neighbour, R=0, S=1)
        / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:02")
    )
    yield IPv6(src=neighbour, dst=local, hlim=255) / ICMPv6ND_NS(tgt=local) / mac
    yield IPv6(src=local, dst=neighbour, hlim=255) / ICMPv6ND_NA(tgt=local, R=0, S=1)
    yield (
        IPv6(src=local, dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(tgt=local, R=0, S=0, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:03")
    )
    group = inet_ntop(AF_INET6, in6_getnsma(inet_pton(AF_INET6, local)))
    yield IPv6(src="::", dst=group, hlim=255) / ICMPv6ND_NS(tgt=local)
    yield IPv6(src=local, dst="ff02::2", hlim=255) / ICMPv6ND_RS() / mac
    options = (
        mac / ICMPv6NDOptMTU() / ICMPv6NDOptPrefixInfo(prefix="2001:db8:5::") / ICMPv6NDOptRDNSS(dns=["2001:db8:5::53"])
    )
    yield IPv6(src=world.local[0], dst="ff02::1", hlim=255) / ICMPv6ND_RA() / options
    yield IPv6(src=world.local[0], dst=world.machine, hlim=255) / ICMPv6ND_Redirect(tgt=neighbour, dst=other)
    alert = IPv6ExtHdrHopByHop(options=[RouterAlert(), PadN(optdata=b"")])
    yield IPv6(src=world.local[0], dst="ff02::1", hlim=1) / alert / ICMPv6MLQuery()
    yield IPv6(src=world.local[0], dst="ff02::1", hlim=1) / alert / ICMPv6MLQuery2()
    yield IPv6(src=local, dst=group, hlim=1) / alert / ICMPv6MLReport(mladdr=group)
    yield IPv6(src=local, dst="ff02::2", hlim=1) / alert / ICMPv6MLDone(mladdr=group)
    yield (
        IPv6(src=local, dst="ff02::16", hlim=1)
        / alert
        / ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(rtype=4, dst=group)])
    )


def routing(world: World) -> Iterable[Packet]:
    """OSPFv3, EIGRP, PIM, VRRP, RSVP."""
    one, other = world.chance.sample(world.local, 2)
    ospf = lambda kind, body, destination="ff02::5", source=one: (
        IPv6(src=source, dst=destination, hlim=1, tc=0xC0)
        / OSPFv3_Hdr(type=kind, src="10.0.0.1", area="0.0.0.0")
        / body
    )
    for _ in range(3):
        yield ospf(1, OSPFv3_Hello(router="10.0.0.1", backup="10.0.0.2", neighbors=["10.0.0.2"]))
        yield ospf(1, OSPFv3_Hello(router="10.0.0.1", backup="10.0.0.2", neighbors=["10.0.0.1"]), "ff02::5", other)
    header = OSPFv3_LSA_Hdr(
        type=0x2001, id="0.0.0.0", adrouter="10.0.0.1", seq=0x80000001 + world.chance.randrange(99), len=24
    )
    yield ospf(2, OSPFv3_DBDesc(ddseq=world.chance.randrange(1 << 31), lsaheaders=[header]), other)
    yield ospf(2, OSPFv3_DBDesc(ddseq=world.chance.randrange(1 << 31)), one, other)
    yield ospf(3, OSPFv3_LSReq(), other)
    yield ospf(4, OSPFv3_LSUpd(lsalist=[OSPFv3_Router_LSA(adrouter="10.0.0.1")]), "ff02::6")
    yield ospf(5, OSPFv3_LSAck(lsaheaders=[header]), other)
    yield IPv6(src=one, dst="ff02::a", hlim=2, nh=88) / EIGRP(opcode=5, asn=100, tlvlist=[EIGRPParam(), EIGRPSwVer()])
    yield IPv6(src=other, dst=one, hlim=2, nh=88) / EIGRP(opcode=1, asn=100, seq=7, tlvlist=[EIGRPv6IntRoute()])
    yield IPv6(src=one, dst=other, hlim=2, nh=88) / EIGRP(opcode=5, asn=100, ack=7)
    yield (
        IPv6(src=one, dst="ff02::d", hlim=1)
        / PIMv2Hdr(type=0)
        / PIMv2Hello(
            option=[PIMv2HelloHoldtime(), PIMv2HelloGenerationID(generation_id=world.chance.randrange(1 << 32))]
        )
    )
    yield (
        IPv6(src=other, dst="ff02::d", hlim=1) / PIMv2Hdr(type=0) / PIMv2Hello(option=[PIMv2HelloHoldtime(holdtime=0)])
    )
    yield IPv6(src=one, dst="ff02::12", hlim=255) / VRRPv3(
        vrid=world.chance.randrange(1, 255), ipcount=1, addrlist=["fe80::1"]
    )
    body = bytes(RSVP(Class=1, TTL=64) / RSVP_Object(Class=1, C_Type=2, Length=24)) + world.chance.randbytes(20)
    yield over(46, *world.pair(), body[:6] + struct.pack(">H", len(body)) + body[8:])


def sctp(world: World) -> Iterable[Packet]:
    """An SCTP association."""
    one, other = world.pair()
    ports = {"sport": world.port(), "dport": world.chance.choice([2905, 3868, 36412, world.port()])}
    back_ports = {"sport": ports["dport"], "dport": ports["sport"]}
    mine, yours = world.chance.randrange(1, 1 << 32), world.chance.randrange(1, 1 << 32)
    there = lambda chunk, tag=yours: IPv6(src=one, dst=other) / SCTP(tag=tag, **ports) / chunk
    back = lambda chunk: IPv6(src=other, dst=one) / SCTP(tag=mine, **back_ports) / chunk
    cookie = world.chance.randbytes(48)
    yield there(SCTPChunkInit(init_tag=mine, n_out_streams=10, n_in_streams=10, init_tsn=mine), 0)
    yield back(
        SCTPChunkInitAck(
            init_tag=yours,
            n_out_streams=10,
            n_in_streams=10,
            init_tsn=yours,
            params=[SCTPChunkParamStateCookie(cookie=cookie)],
        )
    )
    yield there(SCTPChunkCookieEcho(cookie=cookie))
    yield back(SCTPChunkCookieAck())
    for number in range(world.chance.randrange(8)):
        yield there(
            SCTPChunkData(
                tsn=(mine + number) % (1 << 32),
                stream_seq=number,
                beginning=1,
                ending=1,
                proto_id=46,
                data=world.bytes(600),
            )
        )
        yield back(SCTPChunkSACK(cumul_tsn_ack=(mine + number) % (1 << 32), a_rwnd=60000))
    yield there(SCTPChunkHeartbeatReq(params=[SCTPChunkParamHeartbeatInfo(data=world.chance.randbytes(12))]))
    yield there(SCTPChunkShutdown())
    yield back(SCTPChunkShutdownAck())


def security(world: World) -> Iterable[Packet]:
    """ESP in both directions; AH before several protocols."""
    one, other = world.pair()
    mine, yours = world.chance.randrange(256, 1 << 32), world.chance.randrange(256, 1 << 32)
    for number in range(1, world.chance.randrange(4, 20)):
        yield IPv6(src=one, dst=other) / ESP(
            spi=mine, seq=number, data=world.chance.randbytes(4 * world.chance.randrange(8, 350))
        )
        if world.chance.random() < 0.7:
            yield IPv6(src=other, dst=one) / ESP(
                spi=yours, seq=number, data=world.chance.randbytes(4 * world.chance.randrange(8, 350))
            )
    head = lambda protocol: AH(nh=protocol, spi=mine, seq=1, icv=world.chance.randbytes(12), payloadlen=4)
    yield (
        IPv6(src=one, dst=other)
        / head(6)
        / TCP(sport=world.port(), dport=179, flags="S", seq=world.chance.randrange(1 << 32))
    )
    yield IPv6(src=one, dst=other) / head(58) / ICMPv6EchoRequest(id=1, seq=1, data=world.bytes(64))
    yield IPv6(src=one, dst="ff02::5") / head(89) / OSPFv3_Hdr(type=1, src="10.0.0.1") / OSPFv3_Hello()


def tunnels(world: World) -> Iterable[Packet]:
    """IPv4, IPv6, GRE, EtherIP, L2TPv3 and MPLS inside of IPv6."""
    one, other = world.pair()
    inner = (
        IP(src="10.1.0.1", dst="10.2.0.9", id=world.chance.randrange(65536))
        / UDP(sport=world.port(), dport=53)
        / Raw(world.bytes(300))
    )
    inner6 = (
        IPv6(src="2001:db8:aa::1", dst="2001:db8:bb::9")
        / TCP(sport=world.port(), dport=443, flags="PA", seq=1)
        / Raw(world.bytes(300))
    )
    echo = IP(src="10.1.0.1", dst="10.2.0.9") / ICMP() / Raw(world.bytes(60))
    frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / inner
    yield IPv6(src=one, dst=other) / inner
    yield IPv6(src=other, dst=one) / echo
    yield IPv6(src=one, dst=other) / inner6
    yield IPv6(src=one, dst=other) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\4")]) / inner6
    yield IPv6(src=one, dst=other) / GRE() / inner
    yield IPv6(src=other, dst=one) / GRE(key_present=1, key=world.chance.randrange(1 << 32)) / inner6
    yield IPv6(src=one, dst=other) / GRE(proto=0x6558, key_present=1, key=7, seqnum_present=1, seqence_number=9) / frame
    yield IPv6(src=one, dst=other) / GRE(chksum_present=1) / inner
    yield over(97, one, other, b"\x30\x00" + bytes(frame))
    yield over(115, one, other, struct.pack(">I", 0x1234) + bytes(4) + bytes(frame))
    yield over(137, one, other, bytes(MPLS(label=1000, s=1, ttl=64)) + bytes(inner))
    yield IPv6(src=one, dst=other) / UDP(sport=world.port(), dport=4789) / Raw(b"\x08\0\0\0\0\0\x2a\0" + bytes(frame))


def rarer(world: World) -> Iterable[Packet]:
    """DCCP, UDP-Lite, HIP, Mobility, Shim6, nothing at all, and numbers that nobody has."""
    one, other = world.pair()
    sport, dport, number = world.port(), world.port(), world.chance.randrange(1 << 48)
    for kind, more in ((0, struct.pack(">I", 42)), (1, struct.pack(">QI", number, 42)), (2, b"")):
        start = struct.pack(">HHBBHBBH", sport, dport, (16 + len(more)) // 4, 0, 0, kind << 1 | 1, 0, number >> 32)
        head = start + struct.pack(">I", number & 0xFFFFFFFF) + more
        if kind == 2:
            head = head[:4] + b"\x04" + head[5:]
            head += world.bytes(100)
        yield over(33, one, other, complete(one, other, 33, head))
    body = world.bytes(200) + bytes(20)
    for coverage in (0, 8, 20):
        head = struct.pack(">HHHH", sport, dport, coverage, 0) + body
        yield over(136, one, other, complete(one, other, 136, head, coverage or None))
    yield IPv6(src=one, dst=other, nh=59)
    yield IPv6(src=one, dst=other) / MIP6MH_BU(seq=1, mhtime=60)
    yield IPv6(src=other, dst=one) / MIP6MH_BA(seq=1)
    hip = struct.pack(">BBBBHH", 59, 4, 1, 0x21, 0, 0) + world.chance.randbytes(32)
    yield over(139, one, other, hip)
    yield over(140, one, other, struct.pack(">BBHHH", 59, 0, 0x8001, 0, 7))
    yield over(world.chance.choice([253, 254, 200]), one, other, world.chance.randbytes(40))


def headers(world: World) -> Iterable[Packet]:
    """Extension headers before ordinary packets."""
    one, other = world.pair()
    segment = TCP(sport=world.port(), dport=443, flags="PA", seq=world.chance.randrange(1 << 32), ack=5) / Raw(
        world.bytes(500)
    )
    datagram = UDP(sport=world.port(), dport=world.port()) / Raw(world.bytes(500))
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    hops = IPv6ExtHdrHopByHop(options=[Pad1(), PadN(optdata=bytes(3))])
    for upper in (segment, datagram, ICMPv6EchoRequest(id=3, seq=4, data=b"x" * 32)):
        yield IPv6(src=one, dst=other) / options / upper.copy()
        yield IPv6(src=one, dst=other) / hops / options / upper.copy()
        yield IPv6(src=one, dst=other) / IPv6ExtHdrRouting(addresses=[world.hosts[0]], segleft=0) / upper.copy()
        yield IPv6(src=one, dst=other) / IPv6ExtHdrFragment(id=world.chance.randrange(1 << 32)) / upper.copy()


def fragments(world: World, *, kind: str) -> Iterable[Packet]:
    """Fragmented packets: all pieces, in disorder, or one missing."""
    one, other = world.pair()
    for upper in (
        UDP(sport=world.port(), dport=world.port()) / Raw(world.chance.randbytes(3000)),
        ICMPv6EchoRequest(id=9, seq=1, data=world.chance.randbytes(4000)),
        TCP(sport=world.port(), dport=80, flags="PA", seq=77, ack=1) / Raw(world.chance.randbytes(2500)),
    ):
        whole = IPv6(src=one, dst=other) / IPv6ExtHdrFragment(id=world.chance.randrange(1 << 32)) / upper
        pieces = fragment6(whole, 1280)
        if kind == "disorder":
            world.chance.shuffle(pieces)
        elif kind == "missing":
            del pieces[world.chance.randrange(len(pieces))]
        yield from pieces


def jumbo(world: World) -> Iterable[Packet]:
    """Jumbograms of UDP and TCP (RFC 2675)."""
    one, other = world.pair()
    body = world.chance.randbytes(66_000)
    for protocol in (17, 6):
        if protocol == 17:
            upper = struct.pack(">HHHH", world.port(), world.port(), 0, 0) + body
        else:
            upper = struct.pack(">HHIIBBHHH", world.port(), 80, 1, 2, 0x50, 0x18, 9000, 0, 0) + body
        upper = complete(one, other, protocol, upper)
        option = struct.pack(">BBBBI", protocol, 0, 0xC2, 4, len(upper) + 8)
        start = struct.pack(">IHBB", 0x60000000, 0, 0, 64) + inet_pton(AF_INET6, one) + inet_pton(AF_INET6, other)
        yield Raw(start + option + upper)


Maker = Callable[[World], Iterable[Packet]]
KINDS: dict[str, Maker] = {
    "tcp": tcp,
    "udp": udp,
    "icmp": icmp,
    "routing": routing,
    "sctp": sctp,
    "security": security,
    "tunnels": tunnels,
    "rarer": rarer,
    "headers": headers,
    "fragments": lambda world: fragments(world, kind="whole"),
    "fragments-disorder": lambda world: fragments(world, kind="disorder"),
    "fragments-missing": lambda world: fragments(world, kind="missing"),
}
CHECKSUMS = ("good", "offloaded", "large-send", "zero", "bad")


def write(path: Path, packets: Iterable[Packet], world: World) -> None:
    """An Ethernet capture; what the machine and the others send is told apart by the MAC address."""
    frames = []
    for packet in packets:
        data = bytes(packet)
        own = inet_ntop(AF_INET6, data[8:24]) in (*world.own, world.local[0])
        frame = Ether(
            src="02:00:00:00:aa:01" if own else "02:00:00:00:bb:02",
            dst="02:00:00:00:bb:02" if own else "02:00:00:00:aa:01",
            type=0x86DD,
        ) / Raw(data)
        world.now += world.chance.random() * 0.01
        frame.time = world.now
        frames.append(frame)
    wrpcap(str(path), frames)


def each_protocol(folder: Path, seed: int = 1000, rounds: int = 6) -> None:
    """One capture for each protocol and number of hosts; of TCP, UDP and ICMPv6 one for each kind of checksum too."""
    for index, (name, maker) in enumerate(KINDS.items()):
        for hosts in (2, 9, 60):
            world = World(seed + 10 * index + hosts, hosts)
            packets = [packet for _ in range(rounds) for packet in maker(world)]
            write(folder / f"{name}-{hosts}-hosts.pcap", packets, world)
        if name in ("tcp", "udp", "icmp"):
            for kind in CHECKSUMS[1:]:
                world = World(seed + 500 + index, 9)
                made = [packet for _ in range(rounds) for packet in maker(world)]
                packets = [
                    with_checksum(kind, packet, world.chance) if world.chance.random() < 0.5 else packet
                    for packet in made
                ]
                write(folder / f"{name}-{kind}.pcap", packets, world)
    world = World(seed + 999, 5)
    write(folder / "jumbograms.pcap", [packet for _ in range(2) for packet in jumbo(world)], world)


MAKERS = {"made-protocols": each_protocol}
