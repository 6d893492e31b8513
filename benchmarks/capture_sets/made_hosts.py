# mypy: ignore-errors
"""Captures made by scapy as one machine sees its own traffic: it is one end of every conversation, both directions are
there in their order, and what is multicast on its links is heard.

Each machine has one link-local and one or two global addresses, 2 to 400 peers, and a few of the trades below besides
what every host does. What the machine sends over TCP, UDP and SCTP is left to the adapter in half of the captures.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scapy.all import (  # type: ignore[attr-defined]
    ARP,
    DNS,
    DNSQR,
    DNSRR,
    ESP,
    GRE,
    ICMP,
    IP,
    NTP,
    SCTP,
    TCP,
    UDP,
    DHCP6_Advertise,
    DHCP6_Reply,
    DHCP6_Request,
    DHCP6_Solicit,
    Ether,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLDMultAddrRec,
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
    Raw,
    RouterAlert,
    SCTPChunkCookieAck,
    SCTPChunkCookieEcho,
    SCTPChunkData,
    SCTPChunkHeartbeatAck,
    SCTPChunkHeartbeatReq,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkParamHeartbeatInfo,
    SCTPChunkParamStateCookie,
    SCTPChunkSACK,
    SCTPChunkShutdown,
    SCTPChunkShutdownAck,
    SCTPChunkShutdownComplete,
    VRRPv3,
    fragment6,
    in6_getnsma,
    inet_ntop,
    inet_pton,
)
from scapy.contrib.eigrp import EIGRP, EIGRPParam, EIGRPSwVer, EIGRPv6IntRoute
from scapy.contrib.mpls import MPLS
from scapy.contrib.ospf import OSPFv3_DBDesc, OSPFv3_Hdr, OSPFv3_Hello, OSPFv3_LSA_Hdr, OSPFv3_LSAck, OSPFv3_LSUpd
from scapy.contrib.ospf import OSPFv3_Router_LSA as RouterLsa
from scapy.contrib.pim import PIMv2Hdr, PIMv2Hello, PIMv2HelloGenerationID, PIMv2HelloHoldtime
from scapy.contrib.rsvp import RSVP, RSVP_Object

from benchmarks.capture_sets import made
from benchmarks.capture_sets.made import World, complete, over, with_checksum, write

AF_INET6 = 10
WORD = 1 << 32
Packet = Any
Flow = Iterator[Packet]


class Host(World):
    """A machine, its peers far away, its neighbours on the link."""

    def __init__(self, seed: int, peers: int) -> None:
        super().__init__(seed, peers + 1)
        self.own = [self.machine]
        if self.chance.random() < 0.5:
            prefix = ":".join(self.machine.split(":")[:4])
            self.own.append(f"{prefix}:{':'.join(f'{self.chance.randrange(1, 65536):x}' for _ in range(4))}")
        self.link = self.local[0]
        self.neighbours = self.local[1:6]
        self.router = self.neighbours[0]
        self.peers = self.hosts[1:]
        self.often = self.chance.sample(self.peers, min(len(self.peers), 6))

    def talk(self, peer: str | None = None) -> Talk:
        """A conversation with a peer, rather with one of those that are talked to often; either may begin it."""
        some = self.often if self.chance.random() < 0.5 else self.peers
        return Talk(self, self.chance.choice(self.own), peer or self.chance.choice(some))


class Talk:
    """Two ends: the machine's address and the other one's."""

    def __init__(self, host: Host, own: str, other: str) -> None:
        self.host, self.own, self.other, self.chance = host, own, other, host.chance

    def turned(self) -> Talk:
        """The other one begins."""
        turned = Talk(self.host, self.own, self.other)
        turned.own, turned.other = self.other, self.own
        return turned

    def there(self, **fields: int) -> Packet:
        return IPv6(src=self.own, dst=self.other, **fields)

    def back(self, **fields: int) -> Packet:
        return IPv6(src=self.other, dst=self.own, **fields)

    def either(self, protocol: int, there: bytes, back: bytes) -> Flow:
        """A packet of bytes each way."""
        yield over(protocol, self.own, self.other, there)
        yield over(protocol, self.other, self.own, back)


def some_way(host: Host, peer: str | None = None) -> Talk:
    """A conversation that the machine begins two times in three."""
    talk = host.talk(peer)
    return talk if host.chance.random() < 0.66 else talk.turned()


# ------------------------------------------------------------------------------------------- what every host does ----


def tcp(host: Host) -> Flow:
    """A connection with several requests, a segment sent again now and then, a keepalive, an end or a reset."""
    talk, chance = some_way(host), host.chance
    sport, dport = chance.randrange(32768, 61000), chance.choice([443, 443, 80, 22, 25, 3389, 445, 8080])
    a, b = chance.randrange(WORD), chance.randrange(WORD)
    stamp = chance.randrange(WORD)
    options = [("MSS", 1440), ("NOP", None), ("WScale", 8), ("NOP", None), ("NOP", None), ("SAckOK", b"")]
    stamps = [("NOP", None), ("NOP", None), ("Timestamp", (stamp, stamp ^ 0x5555))] if chance.random() < 0.5 else []

    def there(flags: str, data: bytes = b"", **more: Any) -> Packet:
        head = {"seq": a, "ack": b if "A" in flags else 0, "window": 1026, "options": stamps, **more}
        return talk.there() / TCP(sport=sport, dport=dport, flags=flags, **head) / Raw(data)

    def back(flags: str, data: bytes = b"", **more: Any) -> Packet:
        head = {"seq": b, "ack": a, "window": 501, "options": stamps, **more}
        return talk.back() / TCP(sport=dport, dport=sport, flags=flags, **head) / Raw(data)

    yield there("S", options=options)
    a = (a + 1) % WORD
    if chance.random() < 0.05:
        yield back("RA", seq=0)
        return
    yield back("SA", options=options)
    b = (b + 1) % WORD
    yield there("A")
    for _ in range(chance.randrange(1, 6)):
        data = host.bytes(700) + b"x"
        yield there("PA", data)
        if chance.random() < 0.03:
            yield there("PA", data)
        a = (a + len(data)) % WORD
        for _ in range(chance.randrange(1, 4)):
            data = host.bytes(1400) + b"y"
            yield back(chance.choice(["A", "PA"]), data)
            b = (b + len(data)) % WORD
        yield there("A")
    if chance.random() < 0.2:
        yield there("A", b"\0", seq=(a - 1) % WORD)
        yield back("A")
    if chance.random() < 0.15:
        yield there("RA")
        return
    yield there("FA")
    a = (a + 1) % WORD
    yield back("FA")
    b = (b + 1) % WORD
    yield there("A")


def datagrams(host: Host) -> Flow:
    """DNS, NTP, and a stream of datagrams as of QUIC or telephony."""
    chance, talk = host.chance, host.talk(host.often[0])
    port, number = host.port(), chance.randrange(65536)
    query = DNSQR(qname=f"host{number}.example.org", qtype="AAAA")
    yield talk.there() / UDP(sport=port, dport=53) / DNS(id=number, rd=1, qd=query)
    answer = DNSRR(rrname=f"host{number}.example.org", type="AAAA", rdata="2001:db8::7")
    yield talk.back() / UDP(sport=53, dport=port) / DNS(id=number, qr=1, qd=query, an=answer)
    talk = host.talk()
    yield talk.there() / UDP(sport=123, dport=123) / NTP()
    yield talk.back() / UDP(sport=123, dport=123) / NTP(mode=4)
    talk, port, to = some_way(host), host.port(), chance.choice([443, 5060, host.port()])
    for _ in range(chance.randrange(2, 12)):
        yield talk.there() / UDP(sport=port, dport=to) / Raw(chance.randbytes(chance.randrange(20, 1200)))
        if chance.random() < 0.8:
            yield talk.back() / UDP(sport=to, dport=port) / Raw(chance.randbytes(chance.randrange(20, 1200)))


def link(host: Host) -> Flow:
    """Neighbours, routers, groups, names on the link."""
    chance, own, other = host.chance, host.link, host.chance.choice(host.neighbours)
    mac = ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:01")
    group_of = lambda address: inet_ntop(AF_INET6, in6_getnsma(inet_pton(AF_INET6, address)))  # noqa: E731
    alert = IPv6ExtHdrHopByHop(options=[RouterAlert(), PadN(optdata=b"")])
    joined = ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(rtype=4, dst=group_of(own))])
    yield IPv6(src="::", dst=group_of(own), hlim=255) / ICMPv6ND_NS(tgt=own)
    yield IPv6(src=own, dst="ff02::16", hlim=1) / alert / joined
    yield IPv6(src=own, dst="ff02::2", hlim=255) / ICMPv6ND_RS() / mac
    yield (
        IPv6(src=host.router, dst="ff02::1", hlim=255)
        / ICMPv6ND_RA()
        / mac
        / ICMPv6NDOptPrefixInfo(prefix="2001:db8:5::")
    )
    yield IPv6(src=own, dst=group_of(other), hlim=255) / ICMPv6ND_NS(tgt=other) / mac
    yield IPv6(src=other, dst=own, hlim=255) / ICMPv6ND_NA(tgt=other, R=0, S=1)
    yield IPv6(src=other, dst=own, hlim=255) / ICMPv6ND_NS(tgt=own) / mac
    yield IPv6(src=own, dst=other, hlim=255) / ICMPv6ND_NA(tgt=own, R=0, S=1)
    if chance.random() < 0.5:
        yield IPv6(src=host.router, dst="ff02::1", hlim=1) / alert / ICMPv6MLQuery()
        yield IPv6(src=other, dst="ff02::2", hlim=1) / alert / ICMPv6MLDone(mladdr="ff02::fb")
    if chance.random() < 0.3:
        yield (
            IPv6(src=host.router, dst=host.machine, hlim=255)
            / ICMPv6ND_Redirect(tgt=other, dst=chance.choice(host.peers))
        )
    asked = DNSQR(qname="_ipp._tcp.local", qtype="PTR")
    for each in (own, other):
        yield IPv6(src=each, dst="ff02::fb", hlim=255) / UDP(sport=5353, dport=5353) / DNS(rd=0, qd=asked)
    yield IPv6(src=own, dst="ff02::1:3", hlim=1) / UDP(sport=host.port(), dport=5355) / DNS(qd=DNSQR(qname="wpad"))
    search = b'M-SEARCH * HTTP/1.1\r\nHOST: [FF02::C]:1900\r\nMAN: "ssdp:discover"\r\nST: ssdp:all\r\n\r\n'
    yield IPv6(src=own, dst="ff02::c", hlim=2) / UDP(sport=host.port(), dport=1900) / Raw(search)
    number = chance.randrange(1 << 24)
    for ask, answer in ((DHCP6_Solicit, DHCP6_Advertise), (DHCP6_Request, DHCP6_Reply)):
        yield IPv6(src=own, dst="ff02::1:2", hlim=1) / UDP(sport=546, dport=547) / ask(trid=number)
        yield IPv6(src=host.router, dst=own) / UDP(sport=547, dport=546) / answer(trid=number)


def echoes(host: Host) -> Flow:
    """ping, traceroute, and errors that quote what the machine or a peer sent."""
    chance, talk, number = host.chance, some_way(host), host.chance.randrange(65536)
    for sequence in range(chance.randrange(1, 6)):
        data = host.bytes(120)
        yield talk.there() / ICMPv6EchoRequest(id=number, seq=sequence, data=data)
        if chance.random() < 0.9:
            yield talk.back() / ICMPv6EchoReply(id=number, seq=sequence, data=data)
    talk = host.talk()
    for hop in range(1, chance.randrange(2, 5)):
        probe = talk.there(hlim=hop) / UDP(sport=host.port(), dport=33433 + hop) / Raw(b"@ABCDEFGHIJKLMNOPQRS")
        yield probe
        yield IPv6(src=f"2001:db8:ffff::{hop:x}", dst=talk.own) / ICMPv6TimeExceeded() / Raw(bytes(probe))
    yield talk.back() / ICMPv6DestUnreach(code=4) / Raw(bytes(probe))
    large = talk.there() / TCP(sport=host.port(), dport=443, flags="A", seq=1, ack=9) / Raw(chance.randbytes(1400))
    yield large
    yield IPv6(src="2001:db8:ffff::1", dst=talk.own) / ICMPv6PacketTooBig(mtu=1280) / Raw(bytes(large)[:1200])
    stray = host.talk().back() / UDP(sport=host.port(), dport=host.port()) / Raw(host.bytes(90))
    yield stray
    yield IPv6(src=stray.dst, dst=stray.src) / ICMPv6DestUnreach(code=4) / Raw(bytes(stray))


# ----------------------------------------------------------------------------------------------------- trades ----


def keys(talk: Talk) -> Flow:
    """An exchange of keys (IKEv2) before ESP."""
    one, two = talk.chance.randbytes(8), talk.chance.randbytes(8)
    for number, kind in ((0, 34), (1, 35)):
        for answer in (False, True):
            body = talk.chance.randbytes(talk.chance.randrange(100, 500))
            head = one + (two if number or answer else bytes(8))
            head += struct.pack(">BBBBII", 33 if not number else 46, 0x20, kind, 0x20 if answer else 8, number, 28)
            yield (talk.back() if answer else talk.there()) / UDP(sport=500, dport=500) / Raw(head + body)


def esp(host: Host) -> Flow:
    """ESP with one to three gateways: a security association each way, its numbers rising; its keys were exchanged
    while it was captured, or before."""
    some = host.chance.sample(host.peers, min(len(host.peers), host.chance.choice([1, 1, 1, 2, 3])))
    talks = [Talk(host, host.machine, peer) for peer in some]
    if host.chance.random() < 0.5:
        for talk in talks:
            yield from keys(talk)
    series = [[host.chance.randrange(256, WORD), host.chance.randrange(1, 3000)] for _ in range(2 * len(talks))]
    for _ in range(host.chance.randrange(12, 40)):
        which = host.chance.randrange(len(series))
        spi, number = series[which]
        series[which][1] += 1
        head = talks[which // 2].there() if which % 2 else talks[which // 2].back()
        yield head / ESP(spi=spi, seq=number, data=host.chance.randbytes(4 * host.chance.randrange(12, 350)))


def inside(host: Host, four: bool) -> Flow:
    """What goes through a tunnel: pairs of packets there and back."""
    chance = host.chance
    near, far = ("10.1.0.7", "10.2.0.9") if four else ("2001:db8:a::7", "2001:db8:b::9")
    ip = IP if four else IPv6
    sport, a, b = host.port(), chance.randrange(WORD), chance.randrange(WORD)
    for number in range(chance.randrange(4, 14)):
        data, answer = host.bytes(300) + b"x", host.bytes(900) + b"y"
        if number % 3 == 0 and four:
            yield IP(src=near, dst=far) / ICMP(id=7, seq=number) / Raw(data)
            yield IP(src=far, dst=near) / ICMP(type=0, id=7, seq=number) / Raw(data)
            continue
        yield ip(src=near, dst=far) / TCP(sport=sport, dport=443, flags="PA", seq=a, ack=b) / Raw(data)
        a = (a + len(data)) % WORD
        yield ip(src=far, dst=near) / TCP(sport=443, dport=sport, flags="PA", seq=b, ack=a) / Raw(answer)
        b = (b + len(answer)) % WORD


def tunnels(host: Host) -> Flow:
    """One tunnel of IP in IP, GRE, MPLS, EtherIP or L2TPv3 that is kept alive from both ends."""
    chance = host.chance
    talk, kind = Talk(host, host.machine, chance.choice(host.peers)), chance.choice("46gggmelt")
    four, key = chance.random() < 0.6, chance.randrange(WORD)
    with_key = {"key_present": 1, "key": key} if chance.random() < 0.5 else {}
    macs = [f"02:00:00:00:{chance.randrange(256):02x}:{end:02x}" for end in (1, 2)]
    sessions = [chance.randrange(1, WORD), chance.randrange(1, WORD)]
    count = [0, 0]
    for number, packet in enumerate(inside(host, four if kind not in "46" else kind == "4")):
        way = number % 2
        head, back = (talk.back(), talk.there()) if way else (talk.there(), talk.back())
        frame = bytes(Ether(src=macs[way], dst=macs[1 - way]) / packet)
        if kind in "46":
            yield head / packet
        elif kind == "g":
            yield head / GRE(**with_key) / packet
            if number % 8 == 0:
                yield back / GRE(proto=0, **with_key)  # what a keepalive comes back as
                yield head / GRE(proto=0, **with_key)
        elif kind == "m":
            yield over(137, head.src, head.dst, bytes(MPLS(label=1000 + way, s=1, ttl=64)) + bytes(packet))
        elif kind == "e":
            if number == 0:
                asked = Ether(src=macs[0], dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="10.1.0.7", pdst="10.2.0.9")
                yield over(97, head.src, head.dst, b"\x30\x00" + bytes(asked))
            yield over(97, head.src, head.dst, b"\x30\x00" + frame)
        else:
            cookie = struct.pack(">I", key) if kind == "t" else b""
            if number % 8 == 0:  # HELLO and its acknowledgement, on the control connection
                for end, message in ((way, b"\x80\x08\0\0\0\0\0\x06"), (1 - way, b"")):
                    lead = struct.pack(">HHIHH", 0xC803, 12 + len(message), sessions[end], count[end], count[1 - end])
                    count[end] += bool(message)
                    to = head if end == way else back
                    yield over(115, to.src, to.dst, bytes(4) + lead + message)
            yield over(115, head.src, head.dst, struct.pack(">I", sessions[way]) + cookie + bytes(4) + frame)


def sctp(host: Host) -> Flow:
    """An association: its beginning, data both ways, heartbeats, its end."""
    chance, talk = host.chance, some_way(host)
    sport, dport = host.port(), chance.choice([2905, 3868, 36412, 38412])
    mine, yours = chance.randrange(1, WORD), chance.randrange(1, WORD)
    there = lambda chunk, tag=yours: talk.there() / SCTP(sport=sport, dport=dport, tag=tag) / chunk  # noqa: E731
    back = lambda chunk: talk.back() / SCTP(sport=dport, dport=sport, tag=mine) / chunk  # noqa: E731
    streams = {"n_out_streams": 10, "n_in_streams": 10}
    cookie = SCTPChunkParamStateCookie(cookie=chance.randbytes(48))
    if chance.random() < 0.8:
        yield there(SCTPChunkInit(init_tag=mine, init_tsn=mine, **streams), 0)
        yield back(SCTPChunkInitAck(init_tag=yours, init_tsn=yours, params=[cookie], **streams))
        yield there(SCTPChunkCookieEcho(cookie=cookie.cookie))
        yield back(SCTPChunkCookieAck())
    info = SCTPChunkParamHeartbeatInfo(data=chance.randbytes(12))
    for number in range(chance.randrange(1, 8)):
        for send, answer, first in ((there, back, mine), (back, there, yours)):
            tsn = (first + number) % WORD
            whole = {"beginning": 1, "ending": 1, "proto_id": 46}
            yield send(SCTPChunkData(tsn=tsn, stream_seq=number, data=host.bytes(400) + b"z", **whole))
            yield answer(SCTPChunkSACK(cumul_tsn_ack=tsn, a_rwnd=60000))
    yield back(SCTPChunkHeartbeatReq(params=[info]))
    yield there(SCTPChunkHeartbeatAck(params=[info]))
    yield there(SCTPChunkShutdown())
    yield back(SCTPChunkShutdownAck())
    yield there(SCTPChunkShutdownComplete())


def fragments(host: Host) -> Flow:
    """Large answers of DNS, large pings both ways; one in six loses a piece, some come in disorder."""
    chance, talk, number = host.chance, host.talk(), host.chance.randrange(65536)
    port = host.port()
    query = DNSQR(qname="large.example.org", qtype="TXT")
    yield talk.there() / UDP(sport=port, dport=53) / DNS(id=number, rd=1, qd=query)
    data = chance.randbytes(chance.randrange(1600, 5000))
    for head, upper in (
        (talk.back(), UDP(sport=53, dport=port) / Raw(bytes(DNS(id=number, qr=1, qd=query)) + data)),
        (talk.there(), ICMPv6EchoRequest(id=number, seq=1, data=data)),
        (talk.back(), ICMPv6EchoReply(id=number, seq=1, data=data)),
    ):
        pieces = fragment6(head / IPv6ExtHdrFragment(id=chance.randrange(WORD)) / upper, 1280)
        if chance.random() < 0.15:
            chance.shuffle(pieces)
        if chance.random() < 0.16:
            del pieces[chance.randrange(len(pieces))]
        yield from pieces


def ospf(host: Host) -> Flow:
    """OSPFv3 with two neighbours: hellos, an exchange of databases, floods and acknowledgements."""
    routers = [host.link, *host.neighbours[:2]]
    names = [f"10.0.0.{number}" for number in range(1, len(routers) + 1)]

    def say(which: int, kind: int, body: Packet, to: str = "ff02::5") -> Packet:
        head = OSPFv3_Hdr(type=kind, src=names[which], area="0.0.0.0")
        return IPv6(src=routers[which], dst=to, hlim=1, tc=0xC0) / head / body

    hello = OSPFv3_Hello(router=names[0], backup=names[1], neighbors=names[1:])
    for which in range(len(routers)):
        yield say(which, 1, hello)
    number = host.chance.randrange(1 << 31)
    header = OSPFv3_LSA_Hdr(type=0x2001, id="0.0.0.0", adrouter=names[0], seq=0x80000001, len=24)
    for step in range(3):
        yield say(0, 2, OSPFv3_DBDesc(ddseq=number + step, lsaheaders=[header]), routers[1])
        yield say(1, 2, OSPFv3_DBDesc(ddseq=number + step), routers[0])
    yield say(1, 4, OSPFv3_LSUpd(lsalist=[RouterLsa(adrouter=names[1])]))
    yield say(0, 5, OSPFv3_LSAck(lsaheaders=[header]))
    for which in range(len(routers)):
        yield say(which, 1, hello)


def eigrp(host: Host) -> Flow:
    """EIGRP: hellos to all, updates to one router, acknowledged."""
    own, other = host.link, host.neighbours[0]
    for each in (own, other):
        yield IPv6(src=each, dst="ff02::a", hlim=2, nh=88) / EIGRP(opcode=5, tlvlist=[EIGRPParam(), EIGRPSwVer()])
    for number, (one, two) in enumerate([(own, other), (other, own)], 7):
        yield IPv6(src=one, dst=two, hlim=2, nh=88) / EIGRP(opcode=1, seq=number, flags=1 if number < 8 else 0)
        yield IPv6(src=two, dst=one, hlim=2, nh=88) / EIGRP(opcode=5, ack=number)
        yield IPv6(src=one, dst=two, hlim=2, nh=88) / EIGRP(opcode=1, seq=number + 9, tlvlist=[EIGRPv6IntRoute()])
        yield IPv6(src=two, dst=one, hlim=2, nh=88) / EIGRP(opcode=5, ack=number + 9)


def groups(host: Host) -> Flow:
    """PIM hellos, a register sent to the rendezvous point and its answer; VRRP of the machine or of a neighbour."""
    for each in (host.link, *host.neighbours[:2]):
        options = [PIMv2HelloHoldtime(), PIMv2HelloGenerationID(generation_id=host.chance.randrange(WORD))]
        yield IPv6(src=each, dst="ff02::d", hlim=1) / PIMv2Hdr(type=0) / PIMv2Hello(option=options)
    talk = host.talk()
    data = bytes(IPv6(src=host.machine, dst="ff0e::1:2") / UDP(sport=5000, dport=5000) / Raw(host.bytes(200)))
    summed = made.pseudo_sum(talk.own, talk.other, 8, 103) + 0x2100
    head = b"\x21\0" + struct.pack(">HI", ~((summed & 0xFFFF) + (summed >> 16)) & 0xFFFF, 0)
    yield over(103, talk.own, talk.other, head + data)
    who = host.chance.choice([host.link, host.router])
    for _ in range(host.chance.randrange(2, 6)):
        yield IPv6(src=who, dst="ff02::12", hlim=255) / VRRPv3(vrid=7, ipcount=1, addrlist=["fe80::1"])


def rsvp(host: Host) -> Flow:
    """Paths and reservations between the machine and another router, refreshed."""
    talk = host.talk()
    for _ in range(host.chance.randrange(2, 5)):
        for kind in (1, 2):
            session = bytes(RSVP_Object(Class=1, C_Type=2, Length=24)) + inet_pton(AF_INET6, talk.other)
            hop = inet_pton(AF_INET6, talk.own if kind == 1 else talk.other)
            body = bytes(RSVP(Class=kind, TTL=64)) + session + struct.pack(">BBH", 17, 0, 5004)
            body += bytes(RSVP_Object(Class=3, C_Type=2, Length=24)) + hop + struct.pack(">I", 3)
            body += bytes(RSVP_Object(Class=5, C_Type=1, Length=8)) + struct.pack(">I", 30_000)
            body = body[:2] + bytes(2) + body[4:6] + struct.pack(">H", len(body)) + body[8:]
            total = made.pseudo_sum("::", "::", 0, 0) + sum(struct.unpack(f">{len(body) // 2}H", body))
            while total >> 16:
                total = (total & 0xFFFF) + (total >> 16)
            body = body[:2] + struct.pack(">H", ~total & 0xFFFF) + body[4:]
            one, two = (talk.own, talk.other) if kind == 1 else (talk.other, talk.own)
            yield over(46, one, two, body)


def lite(host: Host) -> Flow:
    """UDP-Lite both ways, all or part of it covered; a DCCP connection."""
    chance, talk = host.chance, some_way(host)
    ports = host.port(), host.port()
    coverage = chance.choice([0, 8, 20])
    for _ in range(chance.randrange(2, 6)):
        for one, two, (sport, dport) in ((talk.own, talk.other, ports), (talk.other, talk.own, ports[::-1])):
            data = struct.pack(">HHHH", sport, dport, coverage, 0) + host.bytes(300) + bytes(20)
            yield over(136, one, two, complete(one, two, 136, data, coverage or None))
    talk, ports = some_way(host), (host.port(), host.port())
    numbers = [chance.randrange(1 << 47), chance.randrange(1 << 47)]
    for kind, way in ((0, 0), (1, 1), (3, 0), (4, 1), (4, 0), (3, 1), (4, 1), (4, 0), (6, 0), (7, 1)):
        one, two = (talk.own, talk.other) if way == 0 else (talk.other, talk.own)
        sport, dport = ports if way == 0 else ports[::-1]
        number, acknowledged = numbers[way], numbers[1 - way]
        numbers[way] += 1
        known = struct.pack(">HHI", 0, acknowledged >> 32, acknowledged & 0xFFFFFFFF)
        more = {0: bytes(4), 1: known + bytes(4), 6: known + bytes(4), 7: known + bytes(4)}.get(kind, known)
        offset = (16 + len(more)) // 4
        head = struct.pack(">HHBBHBBH", sport, dport, offset, 0, 0, kind << 1 | 1, 0, number >> 32)
        data = head + struct.pack(">I", number & 0xFFFFFFFF) + more + (host.bytes(300) if kind == 4 else b"")
        yield over(33, one, two, complete(one, two, 33, data))


def odd(host: Host) -> Flow:
    """Options before ordinary packets, packets with nothing in them, a number that nobody has."""
    talk = some_way(host)
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    sport, dport = host.port(), host.port()
    yield talk.there() / options / UDP(sport=sport, dport=dport) / Raw(host.bytes(300))
    yield talk.back() / options / UDP(sport=dport, dport=sport) / Raw(host.bytes(300))
    if host.chance.random() < 0.3:
        yield talk.there(nh=59)
        yield over(host.chance.choice([253, 254, 200]), talk.own, talk.other, host.chance.randbytes(40))


TRADES: tuple[Callable[[Host], Flow], ...] = (
    esp, tunnels, sctp, fragments, ospf, eigrp, groups, rsvp, lite, odd, tunnels, esp, fragments, sctp
)  # fmt: skip
PEERS = (2, 4, 8, 15, 30, 60, 120, 400)


def filled(host: Host, packet: Packet, offload: bool) -> Packet:
    """What the machine sends over TCP, UDP, SCTP is left to the adapter; a few packets of all have bad checksums."""
    data = bytes(packet)
    own = inet_ntop(AF_INET6, data[8:24]) in (*host.own, host.link)
    if offload and own and data[6] in (6, 17):
        return with_checksum("offloaded", packet, host.chance)
    if offload and own and data[6] == 132:
        return IPv6(data[:48] + bytes(4) + data[52:])
    if host.chance.random() < 0.006:
        return with_checksum(host.chance.choice(["zero", "bad", "bad"]), packet, host.chance)
    return packet


def hosts(folder: Path, seed: int = 77_000, count: int = 28) -> None:
    """Captures of one machine each."""
    for number in range(count):
        host = Host(seed + number, PEERS[number % len(PEERS)])
        trades = host.chance.sample(TRADES, 4)
        flows = [maker(host) for maker in (tcp, tcp, tcp, datagrams, link, echoes, *trades)]
        packets = []
        while flows:
            which = host.chance.randrange(len(flows))
            for _ in range(host.chance.randrange(1, 4)):
                packet = next(flows[which], None)
                if packet is None:
                    del flows[which]
                    break
                packets.append(filled(host, packet, bool(number % 2)))
        write(folder / f"host-{number:02}-{len(host.peers)}-peers.pcap", packets, host)


MAKERS = {"made-hosts": hosts}
