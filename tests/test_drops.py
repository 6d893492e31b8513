"""Drop reports find the frame they speak of, across layers and header changes."""

from __future__ import annotations

import numpy as np
import pytest

from etwcap.native.packetkeys import packet_keys
from etwcap.packets import Context, PacketTable
from etwcap.repair.drops import add_reports, comment_drops, group_reports, match_reports
from event_feed import comments
from frames import HOST, HOST6, RESOLVER, SERVER, SERVER6, TCP, UDP, ethernet, framed, ip, tcp, udp, wifi

MS = 1_000_000
DATAGRAM = ip(HOST, RESOLVER, UDP, udp(50000, 53, b"question"), 77)
SEGMENT = ip(HOST, SERVER, TCP, tcp(40000, 443, 1, 2, 16, b"data" * 50), 78)
SIX = ip(HOST6, SERVER6, UDP, udp(50000, 53, b"question six"))


def key(payload: bytes, link: int, original: int = 0) -> int:
    data = np.frombuffer(bytearray(payload), np.uint8)
    length = np.array([len(payload)], np.uint32)
    whole = np.array([original or len(payload)], np.uint32)
    return int(packet_keys(data, np.zeros(1, np.int64), length, whole, np.array([link], np.uint16))[0])


def rebuilt(packet: bytes) -> bytes:
    """The IP header as Windows writes it into drops of the transport layer."""
    if packet[0] >> 4 == 6:
        return b"\x60\0\0\0" + packet[4:7] + b"\1" + packet[8:]
    return packet[:1] + b"\0" + packet[2:4] + b"\0\0" + packet[6:8] + b"\1" + packet[9:10] + b"\0\0" + packet[12:]


@pytest.mark.parametrize("packet", [DATAGRAM, SEGMENT, SIX], ids=["udp", "tcp", "ipv6"])
def test_packet_has_one_key_at_every_layer(packet: bytes, backend: str) -> None:
    frame = framed(packet, sent=True).frame
    expected = key(frame, 1)
    assert expected
    tagged = frame[:12] + b"\x81\0\0\x05" + frame[12:]
    checked = bytearray(packet)
    checked[-len(packet) + (40 if packet[0] >> 4 == 6 else 20) + (16 if packet is SEGMENT else 6)] ^= 0xFF
    assert key(wifi(frame, sent=True), 105) == expected
    assert key(wifi(frame, sent=False, qos=False, protected=True), 105) == expected
    assert key(tagged, 1) == expected
    assert key(packet, 101) == expected
    assert key(rebuilt(packet), 101) == expected
    assert key(bytes(checked), 101) == expected
    assert key(frame + bytes(6), 1) == expected
    assert key(frame[:128], 1, len(frame)) == expected
    assert key(packet[:-1] + b"!", 101) != expected or len(packet) > 80


def test_other_packet_has_another_key(backend: str) -> None:
    others = [
        DATAGRAM,
        SEGMENT,
        SIX,
        ip(HOST, RESOLVER, UDP, udp(50001, 53, b"question"), 77),
        ip(RESOLVER, HOST, UDP, udp(50000, 53, b"question"), 77),
        ip(HOST, RESOLVER, UDP, udp(50000, 53, b"question?"), 77),
    ]
    assert len({key(packet, 101) for packet in others}) == len(others)


def test_frame_that_is_no_ip_has_one_key_on_both_media(backend: str) -> None:
    frame = ethernet(b"\x02Z\0\0\0\x10", b"\x02Z\0\0\0\xfe", 0x8300, b"a protocol that nobody takes")
    assert key(frame, 1) == key(wifi(frame, sent=True), 105) == key(wifi(frame, sent=False), 105) != 0
    assert key(frame, 1) != key(frame[:-1] + b"S", 1)


def test_bytes_that_tell_nothing_have_no_key(backend: str) -> None:
    for payload, link in ((b"", 1), (b"\x45", 101), (b"\x48\1" + bytes(22), 105), (b"GET /", 252), (bytes(40), 101)):
        assert key(payload, link) == 0


@pytest.mark.parametrize(
    ("frame_times", "report", "found"),
    [
        ([0], 1.6, 0),
        ([0], 5, 0),
        ([0], 5.1, -1),
        ([1.9], 0, 0),
        ([2.1], 0, -1),
        ([0, 1], 2, 1),
        ([0, 3], 2, 0),
        ([], 1, -1),
    ],
)
def test_report_finds_the_last_frame_before_it_or_the_next_after(
    frame_times: list[float], report: float, found: int
) -> None:
    times = np.array([int(time * MS) for time in frame_times], np.int64)
    keys = np.full(len(times), 9, np.uint64)
    matched = match_reports(keys, times, np.array([9, 0, 8], np.uint64), np.array([int(report * MS)] * 3))
    assert matched.tolist() == [found, -1, -1]


def test_reports_of_one_packet_are_one_group() -> None:
    key_of = np.array([5, 6, 5, 0, 0, 5], np.uint64)
    time = np.array([0, 1, 2, 3, 4, 50]) * MS
    assert group_reports(key_of, time).tolist() == [0, 1, 0, 3, 4, 5]


def test_first_report_names_the_reason_and_all_are_counted() -> None:
    context = Context()
    packets, reports = PacketTable(3), PacketTable(3)
    reports["drop_count"] = np.ones(3, np.uint32)
    reports["drop_reason"] = np.array([1206, 8, 902], np.uint32)
    reports["drop_location"] = np.array([0xE0001001, 2, 3], np.uint32)
    add_reports(packets, np.array([2, 0, 2]), reports)
    assert packets["drop_count"].tolist() == [1, 0, 2]
    comment_drops(context, packets)
    assert comments(context, packets) == [
        "dropped: Filtered at location 0x00000002",
        "",
        "dropped: INET_SessionState at NDIS_FAKE_FILTER_SEND, 2 reports",
    ]
