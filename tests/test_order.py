"""Causal order: what moves, by how much, and what stays."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from capture_files import chunk_of, context_of
from command_line import etwcap
from etwcap.errors import UsageError
from etwcap.packets import Interface, Mark
from etwcap.pipeline.ordering import parse_addresses, parse_order
from etwcap.repair.order import WINDOW, OrderStage
from frames import (
    ACK,
    FIN,
    GATEWAY_MAC,
    HOST,
    HOST6,
    HOST_MAC,
    ICMP,
    ICMP6,
    SERVER,
    SERVER6,
    SYN,
    TCP,
    UDP,
    address_question,
    ethernet,
    framed,
    ip,
    name_lookup,
    ping,
    traffic,
    udp,
)  # fmt: skip
from order_feed import US, Placed, Timed, chunks_of, disturbed, of_machine, ordered, sack, segment, unchanged
from pcapng_build import pcap

pytestmark = pytest.mark.usefixtures("backend")
T0 = 1_700_000_000_000_000_000


def at(micros: float, data: bytes) -> Timed:
    return Timed(T0 + int(micros * US), data)


def numbers(places: list[Placed]) -> list[int]:
    return [place.number for place in places]


def swapped(first: bytes, second: bytes, apart: float = 100) -> list[Placed]:
    """The answer ``second`` stands before ``first``."""
    return ordered([at(0, second), at(apart, first), at(5000, b"end")])


def test_an_acknowledgement_moves_right_behind_its_data_and_gets_its_time() -> None:
    data, answer = segment(sent=False, seq=1, ack=1, size=100), segment(sent=True, seq=1, ack=101)
    other = segment(sent=True, seq=7, ack=7, port=41000)
    out = ordered([at(0, answer), at(20, other), at(100, data), at(130, other)])
    assert out == [
        Placed(1, T0 + 20 * US, 0), Placed(2, T0 + 100 * US, 0), Placed(0, T0 + 100 * US, 100 * US),
        Placed(3, T0 + 130 * US, 0),
    ]  # fmt: skip


def test_a_received_acknowledgement_cannot_come_before_what_was_sent() -> None:
    data, answer = segment(sent=True, seq=1, ack=1, size=100), segment(sent=False, seq=1, ack=101)
    assert numbers(swapped(data, answer)) == [1, 0, 2]


def test_a_whole_handshake_is_put_in_order() -> None:
    packets = [
        at(0, segment(sent=True, seq=101, ack=501)),
        at(10, segment(sent=False, seq=500, ack=101, flags=SYN | ACK)),
        at(40, segment(sent=True, seq=100, ack=0, flags=SYN)),
        at(60, segment(sent=False, seq=501, ack=102, flags=FIN | ACK)),
        at(90, segment(sent=True, seq=101, ack=501, flags=FIN | ACK)),
    ]
    assert numbers(ordered(packets)) == [2, 1, 0, 4, 3]


def test_a_selective_acknowledgement_waits_for_the_block_that_it_names() -> None:
    packets = [
        at(0, segment(sent=False, seq=1, ack=1, size=10)),
        at(10, segment(sent=True, seq=1, ack=11, options=sack((111, 211)))),
        at(60, segment(sent=False, seq=111, ack=1, size=100)),
    ]
    assert numbers(ordered(packets)) == [0, 2, 1]


def test_sequence_numbers_wrap() -> None:
    data = segment(sent=False, seq=0xFFFFFFF0, ack=1, size=100)
    assert numbers(swapped(data, segment(sent=True, seq=1, ack=0xFFFFFFF0 + 100))) == [1, 0, 2]


def test_several_answers_stand_behind_their_causes_in_their_order() -> None:
    pieces = [segment(sent=True, seq=1 + 50 * n, ack=101, size=50) for n in range(4)]
    known, request = segment(sent=True, seq=0, ack=1, size=1), segment(sent=False, seq=1, ack=1, size=100)
    packets = [at(-9000, known), at(0, pieces[1]), at(5, pieces[0]), at(8, pieces[3]), at(30, request)]
    assert numbers(ordered([*packets, at(50, pieces[2])])) == [0, 4, 2, 1, 5, 3]


def test_what_was_sent_before_the_capture_began_is_not_taken_for_late() -> None:
    packets = [at(0, segment(sent=True, seq=901, ack=1, size=100)), at(9, segment(sent=True, seq=1, ack=1, size=100))]
    assert ordered(packets) == unchanged(packets)


def test_nothing_moves_farther_than_the_window() -> None:
    data, answer = segment(sent=False, seq=1, ack=1, size=100), segment(sent=True, seq=1, ack=101)
    near, far = WINDOW // US, WINDOW // US + 1
    assert numbers(ordered([at(0, answer), at(near, data)])) == [1, 0]
    assert ordered([at(0, answer), at(far, data)]) == unchanged([at(0, answer), at(far, data)])
    chain = [
        at(0, segment(sent=True, seq=1, ack=301)),
        at(1500, segment(sent=False, seq=101, ack=1, size=200)),
        at(3000, segment(sent=False, seq=1, ack=1, size=100)),
    ]
    moved = ordered(chain)
    assert max(place.moved for place in moved) <= WINDOW


def test_equal_stamps_change_places_and_keep_their_time() -> None:
    data, answer = segment(sent=False, seq=1, ack=1, size=100), segment(sent=True, seq=1, ack=101)
    assert ordered([at(7, answer), at(7, data)]) == [Placed(1, T0 + 7 * US, 0), Placed(0, T0 + 7 * US, 0)]


@pytest.mark.parametrize(
    "packets",
    [
        pytest.param(
            [(0, True, 1, 101, 0), (300, False, 101, 1, 100), (400, True, 1, 201, 0)], id="the data was never captured"
        ),
        pytest.param(
            [(0, False, 1, 1, 100), (30, True, 1, 101, 0), (500, False, 1, 1, 100), (520, True, 1, 101, 0)],
            id="an answer to the first copy stays before the second",
        ),
        pytest.param(
            [(0, False, 1, 1, 100), (30, True, 1, 101, 0), (900, False, 100, 1, 1), (910, True, 1, 101, 0)],
            id="a keep-alive repeats one byte",
        ),
        pytest.param(
            [(0, False, 1, 1, 100), (10, False, 201, 1, 100), (20, True, 1, 101, 0), (90, False, 101, 1, 100)],
            id="data that came late from the other side",
        ),
        pytest.param(
            [(0, True, 1, 1, 100), (10, False, 1, 101, 0), (20, False, 1, 101, 0), (30, False, 1, 101, 0),
             (40, True, 1, 1, 100)],
            id="repeated acknowledgements",
        ),
        pytest.param(
            [(0, False, 1, 1, 100), (1, True, 1, 101, 0), (900, False, 101, 1, 1), (901, True, 1, 101, 0),
             (1800, False, 101, 1, 1), (1801, True, 1, 102, 0)],
            id="probes of a closed window",
        ),
    ],
)  # fmt: skip
def test_what_is_late_lost_or_repeated_on_the_wire_stays(packets: list[tuple[int, bool, int, int, int]]) -> None:
    made = [at(t, segment(sent=s, seq=seq, ack=ack, size=size)) for t, s, seq, ack, size in packets]
    assert ordered(made) == unchanged(made)


def test_a_hole_that_the_receiver_reports_is_no_disorder() -> None:
    packets = [
        at(0, segment(sent=True, seq=1, ack=1, size=100)),
        at(5, segment(sent=True, seq=201, ack=1, size=100)),
        at(60, segment(sent=False, seq=1, ack=101, options=sack((201, 301)))),
        at(70, segment(sent=True, seq=101, ack=1, size=100)),
    ]
    assert ordered(packets) == unchanged(packets)
    told_later = [*packets[:2], at(20, packets[3].data), at(60, packets[2].data)]
    assert ordered(told_later) == unchanged(told_later)


def test_what_the_machine_sent_stands_in_its_sequence() -> None:
    pieces = [segment(sent=True, seq=1 + 100 * n, ack=1, size=100) for n in range(4)]
    packets = [at(-9000, pieces[0]), at(0, pieces[2]), at(10, pieces[1]), at(20, pieces[3])]
    assert numbers(ordered(packets)) == [0, 2, 1, 3]


def test_what_it_received_stands_in_sequence_only_within_one_stamp() -> None:
    pieces = [segment(sent=False, seq=1 + 100 * n, ack=1, size=100) for n in range(3)]
    assert numbers(ordered([at(-9000, pieces[0]), at(0, pieces[2]), at(0, pieces[1])])) == [0, 2, 1]
    late = [at(-9000, pieces[0]), at(0, pieces[2]), at(1, pieces[1])]
    assert ordered(late) == unchanged(late)


def test_what_it_received_out_of_order_stays_where_its_own_answer_says_so() -> None:
    pieces = [segment(sent=False, seq=1 + 100 * n, ack=1, size=100) for n in range(3)]
    packets = [at(-9000, pieces[0]), at(0, pieces[2]), at(0, pieces[1])]
    packets.append(at(44, segment(sent=True, seq=1, ack=101, options=sack((201, 301)))))
    assert ordered(packets) == unchanged(packets)


def test_a_new_connection_of_the_same_ports_does_not_answer_for_the_old_one() -> None:
    packets = [
        at(0, segment(sent=True, seq=100, ack=0, flags=SYN)),
        at(50, segment(sent=False, seq=500, ack=101, flags=SYN | ACK)),
        at(60, segment(sent=True, seq=101, ack=501)),
        at(70, segment(sent=True, seq=101, ack=501, flags=FIN | ACK)),
        at(120, segment(sent=False, seq=501, ack=102, flags=FIN | ACK)),
        at(130, segment(sent=True, seq=102, ack=502)),
        at(140, segment(sent=True, seq=90000, ack=0, flags=SYN)),
        at(190, segment(sent=False, seq=70000, ack=90001, flags=SYN | ACK)),
        at(195, segment(sent=True, seq=90001, ack=70001)),
    ]
    assert ordered(packets) == unchanged(packets)


def stamped(stamp: int, echo: int, *blocks: tuple[int, int]) -> bytes:
    """The time stamp option and that of selective acknowledgement."""
    body = b"\x01\x01\x08\x0a" + stamp.to_bytes(4, "big") + echo.to_bytes(4, "big")
    return body + (sack(*blocks) if blocks else b"")


def in_disorder() -> list[Timed]:
    """Eight answers before their causes: after them the order of packets proves little."""
    made = []
    for n in range(8):
        time = -200_000 + 1000 * n
        made.append(at(time, segment(sent=True, seq=1, ack=100, port=50000 + n)))
        made.append(at(time + 10, segment(sent=False, seq=1, ack=1, size=99, port=50000 + n)))
    return made


def after_disorder(packets: list[Timed]) -> list[int]:
    """The order in which these come out of a capture that is not to be trusted."""
    before = in_disorder()
    return [number - len(before) for number in numbers(ordered([*before, *packets])) if number >= len(before)]


def reports(*blocks: tuple[int, int], stamp: int = 5, ack: int = 101, window: bool = False) -> bytes:
    return segment(sent=window, seq=1, ack=ack, options=stamped(stamp, 5, *blocks))


DATA = segment(sent=True, seq=1, ack=1, size=2000)


def test_of_repeated_acknowledgements_with_one_stamp_the_one_with_more_blocks_came_later() -> None:
    none, one, more = reports(), reports((301, 401)), reports((301, 501))
    packets = [at(0, DATA), at(500, more), at(500, none), at(500, one)]
    assert after_disorder(packets) == [0, 2, 3, 1]
    assert numbers(ordered(packets)) == [0, 1, 2, 3]
    two_blocks = [at(0, DATA), at(500, reports((601, 701), (301, 401))), at(500, reports((301, 401)))]
    assert after_disorder(two_blocks) == [0, 2, 1]


def test_an_acknowledgement_that_came_late_on_the_wire_stays_in_its_batch() -> None:
    packets = [
        at(0, DATA), at(400, reports((501, 601))), at(500, reports((501, 701))), at(500, reports(ack=51)),
        at(900, reports((501, 901))), at(950, reports((501, 901), ack=201)), at(950, reports((501, 801))),
    ]  # fmt: skip
    assert after_disorder(packets) == list(range(7))


def test_an_echo_stands_behind_the_first_segment_with_that_time_stamp() -> None:
    def sends(stamp: int, echo: int) -> bytes:
        return segment(sent=True, seq=1, ack=51, size=100, options=stamped(stamp, echo))

    known = at(-5000, segment(sent=False, seq=1, ack=1, size=50, options=stamped(70, 10)))
    hears = [segment(sent=False, seq=51, ack=1, options=stamped(71, 10)) for _ in range(2)]
    assert after_disorder([known, at(0, sends(11, 71)), at(90, hears[0]), at(120, hears[1])]) == [0, 2, 1, 3]
    assert after_disorder([known, at(0, sends(11, 70)), at(90, hears[0]), at(120, hears[1])]) == [0, 1, 2, 3]
    orderly = [known, at(0, sends(11, 71)), at(90, hears[0]), at(120, hears[1])]
    assert ordered(orderly) == unchanged(orderly)


def test_a_report_of_a_doubled_segment_waits_for_one_copy_only() -> None:
    first, copy = (segment(sent=False, seq=1, ack=1, size=100, ident=ident) for ident in (1, 2))
    report = segment(sent=True, seq=1, ack=101, options=sack((1, 101)))
    early = [at(0, first), at(400, report), at(500, copy), at(1500, copy)]
    assert after_disorder(early) == [0, 2, 1, 3]
    orderly = [at(0, first), at(400, copy), at(410, report), at(1500, copy)]
    assert after_disorder(orderly) == [0, 1, 2, 3]


def test_a_repetition_stays_before_what_its_sender_sent_with_a_later_stamp() -> None:
    known = [at(-9000, segment(sent=True, seq=1 + 100 * n, ack=1, size=100)) for n in range(8)]
    again = segment(sent=True, seq=101, ack=1, size=100, ident=7)
    asks = [at(60 + n, segment(sent=False, seq=1, ack=101, options=sack((201, 301 + 100 * n)))) for n in range(3)]
    first = at(-8000, segment(sent=False, seq=1, ack=101))
    moved = [*known, first, at(0, again), *asks]
    assert after_disorder(moved) == [*range(9), 10, 11, 12, 9]
    goes_on = at(40, segment(sent=True, seq=801, ack=1, size=100))
    assert after_disorder([*known, first, at(0, again), goes_on, *asks]) == list(range(14))


def neighbors() -> tuple[bytes, bytes]:
    question = struct.pack(">BBHI", 135, 0, 0, 0) + HOST6.packed
    answer = struct.pack(">BBHI", 136, 0, 0, 0x60000000) + HOST6.packed
    router = IPv6Address("fe80::1")
    return tuple(
        framed(ip(one, other, ICMP6, body), sent=sent).frame
        for one, other, body, sent in ((router, HOST6, question, False), (HOST6, router, answer, True))
    )  # type: ignore[return-value]


def talk(port: int, question: bytes, answer: bytes, client_port: int = 50123) -> tuple[bytes, bytes]:
    return (
        framed(ip(HOST, SERVER, UDP, udp(client_port, port, question)), sent=True).frame,
        framed(ip(SERVER, HOST, UDP, udp(port, client_port, answer)), sent=False).frame,
    )


def unreachable(packet: bytes) -> bytes:
    return framed(ip(HOST, SERVER, ICMP, struct.pack(">BBHI", 3, 3, 0, 0) + packet[14:42]), sent=True).frame


TO_CLOSED_PORT = framed(ip(SERVER, HOST, UDP, udp(4000, 4001, b"hello"), 77), sent=False).frame
TO_HOST = segment(sent=False, seq=5, ack=5, size=9, ident=9)
NTP = bytes([0x23]) + bytes(39) + b"a moment"
DHCP = bytes(4) + b"trid" + bytes(20) + b"\x02\x5a\0\0\0\x10" + bytes(202) + b"\x63\x82\x53\x63\x35\x01"
SNMP = (
    bytes.fromhex("302602010104067075626c6963")
    + b"%c"
    + bytes.fromhex("19020412345678020100020100300b300906052b060102010500")
)
STUN = b"%c\x01\0\0\x21\x12\xa4\x42transaction!"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        pytest.param(*(seen.frame for seen in ping()), id="ping"),
        pytest.param(*(seen.frame for seen in address_question()), id="ARP"),
        pytest.param(*(seen.frame for seen in name_lookup()), id="DNS"),
        pytest.param(*neighbors(), id="neighbor discovery"),
        pytest.param(*talk(123, NTP, bytes([0x24]) + bytes(23) + b"a moment" + bytes(16)), id="NTP"),
        pytest.param(*talk(67, b"\1" + DHCP[1:] + b"\1\xff", b"\2" + DHCP[1:] + b"\2\xff", 68), id="DHCP"),
        pytest.param(*talk(161, SNMP % 0xA0, SNMP % 0xA2), id="SNMP"),
        pytest.param(*talk(1812, b"\1\7" + bytes(18), b"\2\7" + bytes(18)), id="RADIUS"),
        pytest.param(*talk(1069, b"\0\4\0\7", b"\0\3\0\x08data"), id="TFTP goes on"),
        pytest.param(*talk(3478, STUN % 0, STUN % 1), id="STUN"),
        pytest.param(*talk(2049, b"xid!" + bytes(8), b"xid!\0\0\0\1" + bytes(8)), id="RPC"),
        pytest.param(TO_CLOSED_PORT, unreachable(TO_CLOSED_PORT), id="ICMP error"),
        pytest.param(TO_HOST, unreachable(TO_HOST), id="ICMP error about TCP"),
    ],
)  # fmt: skip
def test_answers_of_other_protocols_come_after_their_questions(question: bytes, answer: bytes) -> None:
    assert numbers(swapped(question, answer)) == [1, 0, 2]
    orderly = [at(0, question), at(300, answer), at(700, question), at(1400, answer)]
    assert ordered(orderly) == unchanged(orderly)
    repeated = [at(0, question), at(300, answer), at(900, question)]
    assert ordered(repeated) == unchanged(repeated)


def test_the_first_answer_of_a_tftp_server_comes_from_a_port_of_its_own() -> None:
    opens = framed(ip(HOST, SERVER, UDP, udp(50123, 69, b"\0\1file\0octet\0")), sent=True).frame
    first = framed(ip(SERVER, HOST, UDP, udp(4069, 50123, b"\0\3\0\1data")), sent=False).frame
    assert numbers(swapped(opens, first)) == [1, 0, 2]


@pytest.mark.parametrize(
    ("link", "wrap"),
    [
        (101, lambda frame: frame[14:]),
        (113, lambda frame: bytes(14) + frame[12:]),
        (276, lambda frame: frame[12:14] + bytes(18) + frame[14:]),
        (0, lambda frame: b"\2\0\0\0" + frame[14:]),
        (1, lambda frame: frame[:12] + b"\x88\xa8\0\5\x81\0\0\7" + frame[12:]),
    ],
)
def test_every_kind_of_link_is_understood(link: int, wrap: object) -> None:
    assert callable(wrap)
    question, answer = (wrap(seen.frame) for seen in ping())
    assert numbers(ordered([at(0, answer), at(9, question)], link=link)) == [1, 0]


def test_ipv6_behind_extension_headers_is_understood() -> None:
    def behind(message: bytes, *, sent: bool) -> bytes:
        one, other = (HOST6, SERVER6) if sent else (SERVER6, HOST6)
        options = bytes([60, 0, 1, 4]) + bytes(4) + bytes([58, 0, 1, 4]) + bytes(4)
        head = struct.pack(">IHBB", 6 << 28, len(options + message), 0, 64) + one.packed + other.packed
        return ethernet(HOST_MAC, GATEWAY_MAC, 0x86DD, head + options + message)

    question = behind(struct.pack(">BBHHH", 128, 0, 0, 1, 2), sent=True)
    answer = behind(struct.pack(">BBHHH", 129, 0, 0, 1, 2), sent=False)
    assert numbers(swapped(question, answer)) == [1, 0, 2]


def test_packets_of_others_stay_where_they_are() -> None:
    context = of_machine(context_of(Interface(1)), [IPv4Address("203.0.113.9")])
    question, answer = (seen.frame for seen in ping())
    packets = [at(0, answer), at(9, question)]
    assert ordered(packets, context=context) == unchanged(packets)


def test_directions_tell_whose_packets_they_are() -> None:
    question, answer = (seen.frame for seen in ping())
    stage = OrderStage(context_of(Interface(1)))
    chunk = chunk_of(
        [answer, question],
        time=np.array([T0, T0 + 5], np.int64), original=np.array([len(answer), len(question)], np.uint32),
        direction=np.array([1, 2], np.uint8),
    )  # fmt: skip
    assert len(stage.process(chunk).packets) == 0
    rest = stage.finish()
    assert rest is not None
    assert rest.packets["direction"].tolist() == [2, 1]


def test_without_directions_and_addresses_nothing_moves_and_the_receipt_says_so() -> None:
    context = context_of(Interface(1))
    question, answer = (seen.frame for seen in ping())
    packets = [at(0, answer), at(9, question)]
    assert ordered(packets, context=context) == unchanged(packets)
    assert context.receipt.notes["order-unknown"].count == 2


def test_orderly_traffic_comes_out_as_it_went_in() -> None:
    made = [at(37 * n, seen.frame) for n, seen in enumerate(islice(traffic(), 400))]
    context = of_machine(context_of(Interface(1)))
    assert ordered(made, context=context, size=7) == unchanged(made)
    assert "order" not in context.receipt.notes


def conversations(frames: Iterable[bytes]) -> dict[frozenset[bytes], list[bytes]]:
    """TCP segments and datagrams in their order, by addresses and ports."""
    found: dict[frozenset[bytes], list[bytes]] = {}
    for frame in frames:
        width, at = (4, 26) if frame[12:14] == b"\x08\0" else (16, 22)
        protocol = frame[23] if width == 4 else frame[20]
        if frame[12:14] != b"\x08\x06" and protocol in (TCP, UDP):
            ends = (frame[at : at + width], frame[at + width : at + 2 * width])
            ports = (frame[at + 2 * width :][:2], frame[at + 2 * width + 2 :][:2])
            key = frozenset(end + port for end, port in zip(ends, ports, strict=True))
            found.setdefault(key, []).append(frame)
    return found


@pytest.mark.parametrize("size", [1, 5, 64, 10_000])
def test_disturbed_traffic_comes_out_in_order_however_it_is_cut_into_chunks(size: int) -> None:
    seen = list(islice(traffic(), 400))
    made = [at(37 * n, each.frame) for n, each in enumerate(seen)]
    disorder = disturbed(made, [each.sent for each in seen], seed=3)
    context = of_machine(context_of(Interface(1)))
    out = ordered(disorder, context=context, size=size)
    assert conversations(packet.data for packet in disorder) != conversations(packet.data for packet in made)
    assert conversations(disorder[each.number].data for each in out) == conversations(packet.data for packet in made)
    times = [each.time for each in out]
    assert times == sorted(times)
    note = context.receipt.notes["order"]
    assert note.count > 50
    assert "by up to" in note.text


def test_moved_packets_carry_a_mark_and_others_do_not() -> None:
    question, answer = (seen.frame for seen in ping())
    context = of_machine(context_of(Interface(1)))
    stage = OrderStage(context)
    for chunk in chunks_of([at(0, answer), at(9, question), at(20, b"other")]):
        stage.process(chunk)
    rest = stage.finish()
    assert rest is not None
    assert (rest.packets["flags"] & np.uint32(Mark.MOVED)).astype(bool).tolist() == [False, True, False]


def test_a_quiet_source_releases_what_is_held() -> None:
    stage = OrderStage(of_machine(context_of(Interface(1))))
    (chunk,) = chunks_of([at(0, b"one")])
    assert len(stage.process(chunk).packets) == 0
    idle = chunk_of([])
    idle.complete_to = T0 + WINDOW
    held = stage.process(idle)
    assert (len(held.packets), held.complete_to) == (0, T0)
    idle.complete_to = T0 + WINDOW + 1
    assert len(stage.process(idle).packets) == 1


def test_what_is_held_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etwcap.repair.order.MOST_BYTES", 1000)
    stage = OrderStage(of_machine(context_of(Interface(1))))
    (chunk,) = chunks_of([at(0, bytes(400)), at(1, bytes(400)), at(2, bytes(400))])
    assert len(stage.process(chunk).packets) == 3


@pytest.mark.parametrize(
    ("order", "given", "wanted"),
    [
        (None, {"wifi"}, {"wifi"}),
        ("causal", {"wifi", "recorded-order"}, {"wifi", "order", "recorded-order"}),
        ("none", {"order", "recorded-order", "wifi"}, {"wifi"}),
    ],
)
def test_the_short_form_adds_or_takes_the_repair(order: str | None, given: set[str], wanted: set[str]) -> None:
    assert parse_order(order, frozenset(given)) == wanted


def test_addresses_are_lists_of_ipv4_and_ipv6() -> None:
    assert parse_addresses(["192.0.2.1, 2001:db8::1", "fe80::1%12"]) == [
        bytes(10) + b"\xff\xff\xc0\0\2\1", IPv6Address("2001:db8::1").packed, IPv6Address("fe80::1").packed,
    ]  # fmt: skip
    for wrong in ("", "host", "192.0.2.1,", "192.0.2.0/24"):
        with pytest.raises(UsageError, match="is no address"):
            parse_addresses([wrong])
    with pytest.raises(UsageError, match="there is no order"):
        parse_order("any", frozenset())


def test_convert_moves_answers_and_keeps_their_time_as_evidence(tmp_path: Path) -> None:
    question, answer = (seen.frame for seen in ping())
    capture, out = tmp_path / "in.pcap", tmp_path / "out.pcapng"
    capture.write_bytes(pcap("<", 0xA1B2C3D4, 1, (9, 100, answer, len(answer)), (9, 250, question, len(question))))
    plain = etwcap("convert", capture, "-w", out, "--order", "causal")
    assert plain.returncode == 2
    assert "--local ADDRESS" in plain.stderr
    ran = etwcap(
        "convert", capture, "-w", out, "--order", "causal", "--local", f"{HOST},{HOST6}", "--evidence", "comments"
    )
    assert ran.returncode == 0, ran.stderr
    assert "by up to 150.0 µs: 1" in ran.stderr
    text = out.read_bytes()
    assert text.index(question) < text.index(answer)
    comment = "time was 1970-01-01 00:00:09.000100000 UTC, moved by 150.000 µs behind the packet that it answers"
    assert comment.encode() in text
    untouched = etwcap("convert", capture, "-w", out, "--local", str(HOST))
    assert untouched.returncode == 0
    assert out.read_bytes().index(answer) < out.read_bytes().index(question)
