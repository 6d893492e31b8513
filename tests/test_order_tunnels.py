"""Causal order inside tunnels: the packet that is carried decides, and who sent the one that carries it."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture_files import context_of
from etwcap.native.order_facts import TALK, TCP_ERROR
from etwcap.native.order_facts import TCP as SEGMENT
from etwcap.packets import Interface
from frames import (
    ACK,
    HOST,
    HOST_MAC,
    ICMP,
    ICMP6,
    IPV4,
    SERVER,
    TCP,
    dns_answer,
    dns_query,
    echo,
    framed,
    ip,
    ipv4,
    ipv6,
    tcp,
    udp,
    web_request,
)  # fmt: skip
from order_feed import US, Timed, of_machine, ordered, unchanged
from test_order_kernels import both_facts, facts_of
from tunnels import FAR_MAC, LABELS, TEREDO, TUNNELS, VXLAN, bridged, gre, over4, over_udp, pptp

T0 = 1_700_000_000_000_000_000
INSIDE, FAR = IPv4Address("10.9.0.1"), IPv4Address("10.9.0.2")
INSIDE6, FAR6 = IPv6Address("fd00::1"), IPv6Address("fd00::2")
MACHINE = [bytes(10) + b"\xff\xff" + HOST.packed, IPv6Address("2001:db8::10").packed]
CARRIERS = [(name, version) for name in TUNNELS for version in (4, 6)] + [(name, 6) for name in TEREDO]
ALL = TUNNELS | TEREDO
RAW = 101


def inner(version: int, *, sent: bool, seq: int, ack: int, size: int = 0) -> bytes:
    """A segment between the addresses inside."""
    near, far = (INSIDE, FAR) if version == 4 else (INSIDE6, FAR6)
    if sent:
        return ip(near, far, TCP, tcp(40000, 80, seq, ack, ACK, bytes(size)))
    return ip(far, near, TCP, tcp(80, 40000, seq, ack, ACK, bytes(size)))


def request(version: int) -> bytes:
    return inner(version, sent=False, seq=1, ack=1, size=100)


def answer(version: int) -> bytes:
    return inner(version, sent=True, seq=1, ack=101)


def order_of(first: bytes, second: bytes, own: IPv4Address = HOST) -> list[int]:
    """Numbers as they come out of two raw IP packets."""
    packets = [Timed(T0, first), Timed(T0 + 100 * US, second), Timed(T0 + 5000 * US, b"end")]
    context = of_machine(context_of(Interface(RAW)), [own, IPv6Address("2001:db8::10")])
    return [place.number for place in ordered(packets, context=context)]


@pytest.mark.parametrize(("name", "version"), CARRIERS)
def test_an_acknowledgement_moves_behind_its_data_inside_a_tunnel(name: str, version: int, backend: str) -> None:
    wrap = ALL[name]
    assert order_of(wrap(answer(version), True), wrap(request(version), False)) == [1, 0, 2]


@pytest.mark.usefixtures("both_cores")
@pytest.mark.parametrize(("name", "version"), CARRIERS)
def test_what_is_carried_has_the_facts_that_it_has_alone(name: str, version: int) -> None:
    for sent, packet in ((True, answer(version)), (False, request(version))):
        carried = both_facts([(RAW, ALL[name](packet, sent))], [2 if sent else 1])
        alone = both_facts([(RAW, packet)], [2 if sent else 1])
        assert carried["role"].tolist() == [SEGMENT]
        assert carried.tobytes() == alone.tobytes()


@pytest.mark.usefixtures("both_cores")
@pytest.mark.parametrize("name", ALL)
def test_a_tunnel_cut_anywhere_is_read_alike(name: str) -> None:
    packet = ALL[name](request(6), False)
    both_facts([(RAW, packet[:size]) for size in range(len(packet))])
    both_facts([(RAW, packet[:at] + b"\xff" + packet[at + 1 :]) for at in range(90)])


@pytest.mark.usefixtures("both_cores")
@given(st.integers(0, 2**32), st.integers(0, 6), st.binary(max_size=60))
def test_tunnels_in_tunnels_with_any_damage_are_read_alike(seed: int, depth: int, rest: bytes) -> None:
    source = random.Random(seed)
    packet = source.choice([request(4), answer(6), rest, inner(4, sent=True, seq=9, ack=9)[:20] + rest])
    for _ in range(depth):
        name = source.choice(list(ALL if packet[:1] and packet[0] >> 4 == 6 else TUNNELS))
        packet = ALL[name](packet or b"\0", source.random() < 0.5)
    damaged = bytearray(packet)
    for _ in range(source.choice((0, 0, 1, 3))):
        if damaged:
            damaged[source.randrange(min(len(damaged), 120))] = source.choice((0, 1, 0x45, 0x60, 0xFF))
    data = bytes(damaged)[: source.choice((len(damaged), source.randrange(len(damaged) + 1)))]
    both_facts([(RAW, data), (1, bridged(packet or b"\0", sent=True))], [source.randrange(4), 0])


HEADS = [
    over4(protocol, start, sent=False)[:20] + start
    for protocol, start in (
        (4, b"\x45"), (41, b"\x60"), (47, b"\0\0\x65\x58"), (47, b"\x30\x01\x88\x0b"), (47, b"\0\0\x88\x47"),
        (97, b"\x30\0"), (115, b"\0\0\0\1"), (137, b"\0\0\1\x40"), (17, b"\0\1\x12\xb5\0\0\0\0\x08"),
        (17, b"\0\1\x17\xc1\0\0\0\0\0\0\x65\x58"), (17, b"\x08\x68\x08\x68\0\0\0\0\x34\xff"),
        (17, b"\x0d\xd8\x0d\xd8\0\0\0\0\0\1"), (17, b"\x0d\xd8\x0d\xd8\0\0\0\0\x60"),
    )
]  # fmt: skip


@pytest.mark.usefixtures("both_cores")
@given(st.sampled_from(HEADS), st.binary(max_size=200))
def test_any_bytes_in_a_tunnel_are_read_alike(head: bytes, rest: bytes) -> None:
    packet = head + rest
    both_facts([(RAW, packet[:2] + struct.pack(">H", len(packet)) + packet[4:])])


@pytest.mark.usefixtures("both_cores")
@given(st.sampled_from([b"\x81\0", b"\x88\x64\x11\0", b"\x88\x47", b"\x88\x48\0\0\1\x40"]), st.binary(max_size=120))
def test_any_bytes_below_ip_are_read_alike(start: bytes, rest: bytes) -> None:
    both_facts([(1, HOST_MAC + FAR_MAC + start + rest)], [1])


@pytest.mark.parametrize(
    "head",
    [b"\x81\0\0\5\x08\0", b"\x88\xa8\0\5\x81\0\0\6\x08\0", b"\x88\x47" + LABELS, b"\x88\x64\x11\0\0\7\0\x8e\0\x21",
     b"\x81\0\0\5\x88\x64\x11\0\0\7\0\x8d\x21"],
    ids=["VLAN", "QinQ", "MPLS", "PPPoE", "PPPoE with a short protocol in a VLAN"],
)  # fmt: skip
def test_packets_stand_behind_tags_labels_and_ppp(head: bytes, backend: str) -> None:
    packet = inner(4, sent=True, seq=1, ack=1, size=100)
    found = facts_of([(1, HOST_MAC + FAR_MAC + head + packet)], [], [2])
    assert found.tobytes() == facts_of([(RAW, packet)], [], [2]).tobytes()


def nested(depth: int) -> bytes:
    packet = request(4)
    for _ in range(depth):
        packet = over4(4, packet, sent=False)
    return packet


def test_no_more_than_four_tunnels_are_opened(backend: str) -> None:
    found = facts_of([(RAW, nested(depth)) for depth in (0, 4, 5)], [], [1, 1, 1])
    assert found["role"].tolist() == [SEGMENT, SEGMENT, TALK]


def test_an_end_of_the_tunnel_sends_what_is_in_it(backend: str) -> None:
    wrap = TUNNELS["GRE"]
    found = facts_of([(RAW, wrap(answer(4), True)), (RAW, wrap(request(4), False))], MACHINE)
    assert found["side"].tolist() == [2, 1]


def test_who_is_no_end_of_the_tunnel_is_known_by_the_addresses_inside(backend: str) -> None:
    outside = IPv4Address("203.0.113.1")
    packets = [(RAW, ipv4(outside, SERVER, 47, gre(0, b"", IPV4, packet))) for packet in (answer(4), request(4))]
    inside = bytes(10) + b"\xff\xff" + INSIDE.packed
    assert facts_of(packets, [inside])["side"].tolist() == [2, 1]
    assert facts_of(packets, MACHINE)["role"].tolist() == [0, 0]


def test_between_two_ends_on_the_machine_the_addresses_inside_tell(backend: str) -> None:
    packet = ipv4(HOST, HOST, 4, answer(4))
    inside = bytes(10) + b"\xff\xff" + INSIDE.packed
    assert facts_of([(RAW, packet)], [*MACHINE, inside])["side"].tolist() == [2]
    assert facts_of([(RAW, packet)], MACHINE)["side"].tolist() == [3]


def test_questions_and_answers_inside_a_tunnel_are_matched(backend: str) -> None:
    wrap = TUNNELS["VXLAN"]
    asked = wrap(ip(INSIDE, FAR, 17, udp(50001, 53, dns_query(7, "www.example.com"))), True)
    told = wrap(ip(FAR, INSIDE, 17, udp(53, 50001, dns_answer(7, "www.example.com", SERVER))), False)
    assert order_of(told, asked) == [1, 0, 2]
    pinged, ponged = (
        TUNNELS["IP in IPv6"](ip(*ends, ICMP, echo(1, reply=reply)), not reply)
        for ends, reply in (((INSIDE, FAR), False), ((FAR, INSIDE), True))
    )
    assert order_of(ponged, pinged) == [1, 0, 2]


def test_an_error_that_quotes_a_packet_in_a_tunnel_stands_behind_it(backend: str) -> None:
    wrap = TUNNELS["GRE"]
    segment = wrap(inner(4, sent=True, seq=500, ack=1, size=100), True)
    before = wrap(inner(4, sent=True, seq=499, ack=1, size=1), True)
    error = ip(IPv4Address("203.0.113.1"), HOST, ICMP, b"\x0b" + bytes(7) + segment[:100])
    assert facts_of([(RAW, error)], MACHINE)["role"].tolist() == [TCP_ERROR]
    packets = [Timed(T0, before), Timed(T0 + 10 * US, error), Timed(T0 + 100 * US, segment)]
    context = of_machine(context_of(Interface(RAW)))
    assert [place.number for place in ordered(packets, context=context)] == [0, 2, 1]
    six = ip(IPv6Address("2001:db8::99"), IPv6Address("2001:db8::10"), ICMP6, b"\x03" + bytes(7) +
             TUNNELS["IP in IPv6"](inner(6, sent=True, seq=1, ack=1, size=9), True))  # fmt: skip
    assert facts_of([(RAW, six)], MACHINE)["role"].tolist() == [TCP_ERROR]


def fragment(packet: bytes, bits: int) -> bytes:
    return packet[:6] + struct.pack(">H", bits) + packet[8:]


def test_fragments_of_a_tunnel_are_not_opened(backend: str) -> None:
    packet = TUNNELS["GRE"](request(4), False)
    first, last = fragment(packet, 0x2000), fragment(packet, 0x00B9)
    extension = ipv6(
        IPv6Address("2001:db8::99"), IPv6Address("2001:db8::10"), 44, b"\x04\0\0\x01\0\0\0\x09" + request(4)
    )
    assert facts_of([(RAW, first), (RAW, last), (RAW, extension)], MACHINE)["role"].tolist() == [TALK, 0, TALK]


def test_a_fragment_inside_a_tunnel_stays_where_it_is(backend: str) -> None:
    wrap = TUNNELS["IP in IPv4"]
    late = fragment(request(4), 0x00B9)
    assert order_of(wrap(answer(4), True), wrap(late, False)) == [0, 1, 2]


UNCERTAIN = {
    "an unknown protocol": over4(47, gre(0, b"", 0x88BE, bytes(8) + request(4)), sent=False),
    "routing": over4(47, gre(0x4000, b"", IPV4, request(4)), sent=False),
    "another version": over4(47, gre(0x0002, b"", IPV4, request(4)), sent=False),
    "PPTP without a number": over4(47, pptp(request(4), flags=0x2001, numbers=b""), sent=False),
    "PPTP encrypted": over4(47, struct.pack(">HHHHI", 0x3001, 0x880B, 60, 7, 1) + b"\0\xfd" + bytes(60), sent=False),
    "EtherIP of another version": over4(97, b"\x20\0" + bridged(request(4), sent=False), sent=False),
    "L2TPv3 control": over4(115, bytes(4) + bridged(request(4), sent=False), sent=False),
    "L2TPv3 with a wrong checksum": over4(
        115, bytes(3) + b"\1" + bridged(request(4)[:8] + b"\7" + request(4)[9:], sent=False), sent=False
    ),
    "L2TPv3 with bytes behind the packet": over4(115, b"\0\0\0\1" + bridged(request(4), sent=False) + b"?", sent=False),
    "VXLAN without its flag": over_udp(50123, 4789, bytes(8) + bridged(request(4), sent=False), sent=False),
    "VXLAN, generic": over_udp(50123, 4789, b"\x0c" + VXLAN[1:] + bridged(request(4), sent=False), sent=False),
    "VXLAN on another port": over_udp(4789, 50123, VXLAN + bridged(request(4), sent=False), sent=False),
    "Geneve control": over_udp(50123, 6081, b"\0\x80\x08\0\0\0\0\0" + request(4), sent=False),
    "GTP-U echo": over_udp(2152, 2152, b"\x30\1\0\0\0\0\0\0" + request(4), sent=False),
    "GTP-U with an endless extension": over_udp(
        2152, 2152, b"\x34\xff\0\0\0\0\0\0\0\0\0\x85\0\0\0\x85" + request(4), sent=False
    ),
    "Teredo with IPv4": over_udp(3544, 3544, request(4), sent=False),
    "more bytes than there are": over4(4, request(4)[:2] + b"\xff\xff" + request(4)[4:], sent=False),
    "IPv6 announced as IPv4": over4(4, request(6), sent=False),
    "labels without an end": over4(137, b"\0\0\0\x40" * 3 + request(4), sent=False),
}


@pytest.mark.usefixtures("both_cores")
@pytest.mark.parametrize("name", UNCERTAIN)
def test_what_is_not_certain_is_not_opened(name: str) -> None:
    found = both_facts([(RAW, UNCERTAIN[name])], [1])
    assert found["role"].tolist() == [TALK]
    assert int(found["quote"][0]) != 0


def test_a_connection_seen_outside_and_inside_its_tunnel_stays_as_it_is(backend: str) -> None:
    """As adapters of a VPN and of the network show it: a packet goes out first as it is, then carried; it comes in the
    other way round."""
    packets, now = [], T0
    for frame, sent in web_request(host=INSIDE, server=FAR, body=20_000):
        plain, carried = frame[14:], TUNNELS["GRE"](frame[14:], sent)
        for packet in (plain, carried) if sent else (carried, plain):
            packets.append(Timed(now, framed(packet, sent=sent).frame))
            now += 3 * US
        now += 20 * US
    context = of_machine(context_of(Interface(1)), [HOST, INSIDE])
    assert ordered(packets, context=context) == unchanged(packets)


@pytest.mark.parametrize("name", ["IP in IPv6", "GRE with Ethernet", "VXLAN"])
def test_orderly_tunnels_stay_as_they_are_and_disorder_is_undone(name: str, backend: str) -> None:
    source = random.Random(7)
    seen = [
        (TUNNELS[name](frame[14:], sent), sent) for frame, sent in web_request(host=INSIDE, server=FAR, body=30_000)
    ]
    packets = [Timed(T0 + 40 * US * place, packet) for place, (packet, _) in enumerate(seen)]
    context = of_machine(context_of(Interface(RAW)))
    assert ordered(packets, context=context) == unchanged(packets)
    early = [
        Timed(time - (source.randrange(1, 200) * US if sent else 0), packet)
        for (time, packet), (_, sent) in zip(packets, seen, strict=True)
    ]
    early.sort(key=lambda packet: packet.time)
    assert [packet.data for packet in early] != [packet.data for packet in packets]
    context = of_machine(context_of(Interface(RAW)))
    out = ordered(early, context=context)
    facts = facts_of([(RAW, early[place.number].data) for place in out], MACHINE)
    known = 0
    for side, end, ack in zip(facts["side"].tolist(), facts["end"].tolist(), facts["ack"].tolist(), strict=True):
        if side == 1:
            known = max(known, end)
        else:
            assert ack <= known or ack == 0
