"""Destinations that no checksum tells: who is at the other end of a machine's tunnels, associations, echoes."""

from __future__ import annotations

import struct
import zlib

import pytest

from etwcap.native.ipv6_rebuild import How, To
from ipv6_records import Rebuilt, Received, address, fold_sum, icmpv6, rebuild, tcp, udp, with_checksum

OWN, OTHER_OWN, PEER, GATEWAY = "2001:db8::a", "2001:db8::a2", "2001:db8:1::b", "2001:db8:2::c:5"
NEAR, FAR, THIRD = "fe80::1234", "fe80::99", "fe80::7"
own, other_own, peer, gateway = (address(each) for each in (OWN, OTHER_OWN, PEER, GATEWAY))
near, far, third = (address(each) for each in (NEAR, FAR, THIRD))

pytestmark = pytest.mark.usefixtures("backend")


def _esp(source: bytes, spi: int, number: int) -> Received:
    noise = b"".join(zlib.crc32(struct.pack(">II", spi, number + i)).to_bytes(4, "big") for i in range(12))
    return Received(source, struct.pack(">II", spi, number) + noise)


def _talk(*ends: bytes) -> list[Received]:
    """The machine talks to all of them over TCP, and they answer."""
    sent = []
    for port, end in enumerate(ends, 5000):
        sent += [Received(own, tcp(own, end, (port, 443), b"GET")), Received(end, tcp(end, own, (443, port), b"200"))]
    return sent


def _last(sent: list[Received], count: int, *, mine: tuple[str, ...] = (OWN,)) -> list[Rebuilt]:
    return rebuild(sent, [OWN, PEER, GATEWAY], two_passes=True, own=mine)[-count:]


def test_esp_of_a_busy_machine_goes_to_the_only_gateway_that_sends_esp() -> None:
    series = [_esp(end, spi, number) for number in range(1, 5) for end, spi in ((own, 0x1001), (gateway, 0x2002))]
    got = _last(_talk(peer, gateway) + series, len(series))
    assert [(each.protocol, each.to) for each in got] == [(50, GATEWAY), (50, OWN)] * 4


def test_esp_on_more_associations_than_come_back_is_not_guessed() -> None:
    series = [_esp(own, spi, number) for number in range(1, 5) for spi in (0x1001, 0x1003)]
    answers = [_esp(gateway, 0x2002, number) for number in range(1, 5)]
    got = _last(_talk(peer, gateway) + answers + series, len(series))
    assert {(each.protocol, each.to) for each in got} == {(50, "::")}


def test_keys_agreed_with_one_gateway_do_not_tell_of_another_ones_esp() -> None:
    keys = [
        Received(own, udp(own, gateway, (500, 500), bytes(64))),
        Received(gateway, udp(gateway, own, (500, 500), bytes(64))),
    ]
    series = [_esp(own, 0x1001, number) for number in range(1, 5)]
    others = [_esp(end, spi, number) for number in range(1, 5) for end, spi in ((gateway, 0x2002), (peer, 0x3003))]
    assert {each.to for each in _last(keys + series, 4)} == {GATEWAY}
    assert {each.to for each in _last(keys + others + series, 4)} == {"::"}


def test_packet_in_a_packet_of_a_stranger_is_not_taken_for_the_machines() -> None:
    inner = b"\x60\0\0\0\0\x08\x11\x40" + address("2001:db8:9::1") + address("2001:db8:9::2") + bytes(8)
    strange = Received(gateway, inner)
    got = _last([*_talk(peer), strange], 1)[0]
    assert (got.protocol, got.to) == (41, "::")
    got = _last([*_talk(peer, gateway), strange], 1)[0]
    assert (got.protocol, got.to, got.where) == (41, OWN, To.SOLE)


def test_keepalive_of_one_of_two_tunnels_is_not_given_to_the_other() -> None:
    inner = [
        b"\x60\0\0\0\0\x08\x11\x40" + address(f"2001:db8:9::{one}") + address(f"2001:db8:9::{two}") + bytes(8)
        for one, two in ((1, 2), (2, 1), (3, 4), (4, 3))
    ]
    head = b"\0\0\x86\xdd"
    tunnels = [Received(own, head + inner[0]), Received(peer, head + inner[1]), Received(gateway, head + inner[3])]
    keepalive = Received(own, bytes(4))
    got = _last([*_talk(peer, gateway), *tunnels, keepalive], 4)
    assert [(each.protocol, each.to) for each in got] == [(47, PEER), (47, OWN), (47, OWN), (47, "::")]
    got = _last([*_talk(peer, gateway), *tunnels[:2], keepalive], 1)
    assert [(each.protocol, each.to) for each in got] == [(47, PEER)]


def _eigrp(source: bytes, kind: int, flags: int, number: int, acknowledged: int) -> Received:
    data = struct.pack(">BBHIIIHH", 2, kind, 0, flags, number, acknowledged, 0, 100)
    return Received(source, data[:2] + (0xFFFF ^ fold_sum(data)).to_bytes(2, "big") + data[4:])


def test_routers_acknowledge_to_whom_they_heard() -> None:
    sent = [
        _eigrp(near, 1, 1, 70, 0),
        _eigrp(far, 5, 0, 0, 70),
        _eigrp(third, 1, 0, 90, 0),
    ]
    got = rebuild(sent, [NEAR, FAR, THIRD], two_passes=True, own=(NEAR,))
    assert [each.protocol for each in got] == [88] * 3
    assert [each.to for each in got] == [FAR, NEAR, "::"]
    assert got[1].where == To.ANSWERED


def _rsvp(source: bytes, kind: int, session: bytes, hop: bytes) -> Received:
    body = struct.pack(">BBHBBH", 0x10, kind, 0, 64, 0, 56)
    body += struct.pack(">HBB", 24, 1, 2) + session + struct.pack(">BBH", 17, 0, 5004)
    body += struct.pack(">HBB", 24, 3, 2) + hop + struct.pack(">I", 3)
    return Received(source, body[:2] + (0xFFFF ^ fold_sum(body)).to_bytes(2, "big") + body[4:])


def test_reservations_go_to_the_hop_that_the_path_names() -> None:
    path, reservation = _rsvp(peer, 1, own, gateway), _rsvp(own, 2, own, own)
    got = _last([*_talk(peer, gateway), path, reservation], 2)
    assert [(each.protocol, each.to) for each in got] == [(46, OWN), (46, GATEWAY)]
    assert got[1].where == To.ANSWERED


def test_cut_echoes_are_told_by_identifier_and_number() -> None:
    sent = [
        Received(own, icmpv6(own, peer, 128, struct.pack(">HH", 1, 6) + bytes(80))[:20], original=88),
        Received(own, icmpv6(own, gateway, 128, struct.pack(">HH", 1, 7) + bytes(80))[:20], original=88),
        Received(gateway, icmpv6(gateway, own, 129, struct.pack(">HH", 1, 7) + bytes(80))[:20], original=88),
    ]
    got = rebuild(sent, [OWN, PEER, GATEWAY], two_passes=True, own=(OWN,))
    assert [(each.protocol, each.to) for each in got] == [(58, "::"), (58, GATEWAY), (58, OWN)]


def test_cut_hellos_of_routers_go_to_their_groups() -> None:
    hello = struct.pack(">BBHIIHBB", 3, 1, 36, 0x0A000001, 0, 0, 0, 0) + bytes(20)
    ospf = with_checksum(near, address("ff02::5"), 89, hello, 12)
    pim = with_checksum(near, address("ff02::d"), 103, b"\x20\0\0\0\0\1\0\2\0\x69\0\x14\0\4\1\2\3\4", 2)
    sent = [Received(near, ospf[:24], original=len(ospf)), Received(near, pim[:16], original=len(pim))]
    got = rebuild(sent, [FAR], own=(NEAR,))
    assert [(each.protocol, each.to, each.where) for each in got] == [
        (89, "ff02::5", To.KIND),
        (103, "ff02::d", To.KIND),
    ]


def test_service_of_a_group_and_of_hosts_is_not_told_by_its_port() -> None:
    whole = udp(near, far, (6696, 6696), b"\x2a\2" + bytes(40))
    sent = [Received(near, whole), Received(near, whole), Received(near, whole[:30], original=len(whole))]
    got = rebuild(sent, [FAR], two_passes=True)
    assert [each.to for each in got] == [FAR, FAR, "::"]


def test_names_asked_of_a_group_and_cut_are_no_tcp() -> None:
    question = struct.pack(">HHHHHH", 0, 0, 1, 0, 2, 0) + b"\x05host0\x05local\0\0\x1c\0\1" + bytes(70)
    data = udp(own, address("ff02::fb"), (5353, 5353), question)
    got = rebuild([Received(own, data[:28], original=len(data))], [PEER], two_passes=True)[0]
    assert (got.protocol, got.to) == (17, "::")


@pytest.mark.parametrize(
    ("protocol", "data", "at"),
    [
        (58, b"\x80\0\0\0\0\1\0\5" + bytes(range(40)), 2),
        (136, struct.pack(">HHHH", 5000, 6000, 0, 0) + b"hello world", 6),
        (33, struct.pack(">HHBBHBBHI", 5000, 6000, 5, 0, 0, 1, 0, 1, 2) + b"code", 6),
    ],
)
def test_checksums_that_adapters_fill_in_tell_rarer_protocols(protocol: int, data: bytes, at: int) -> None:
    sent = with_checksum(own, peer, protocol, data, at, offload="left")
    got = rebuild([Received(own, sent)], [PEER, GATEWAY], own=(OWN,))[0]
    assert (got.protocol, got.to, got.how) == (protocol, PEER, How.OFFLOADED)


def _pieces(data: bytes) -> list[Received]:
    return [
        Received(peer, struct.pack(">BBHI", 17, 0, start | (start + 1232 < len(data)), 7) + data[start : start + 1232])
        for start in range(0, len(data), 1232)
    ]


def test_pieces_whose_sum_fits_nobody_are_not_given_to_the_only_host() -> None:
    data = udp(peer, address("2001:db8:77::77"), (53, 5000), bytes(range(256)) * 12)
    got = rebuild(_pieces(data), [OWN], two_passes=True)
    assert {(each.protocol, each.to) for each in got} == {(44, "::")}
    assert {each.to for each in rebuild(_pieces(data)[:-1], [OWN], two_passes=True)} == {OWN}


def test_pieces_of_an_answer_go_to_who_asked() -> None:
    asked = Received(other_own, udp(other_own, peer, (5000, 53), b"question"))
    data = udp(peer, other_own, (53, 5000), bytes(range(256)) * 12)
    got = rebuild([*_talk(peer), asked, *_pieces(data)[:-1]], [], two_passes=True, own=(OWN, OTHER_OWN))[-2:]
    assert {(each.protocol, each.to, each.where) for each in got} == {(44, OTHER_OWN, To.FLOW)}
