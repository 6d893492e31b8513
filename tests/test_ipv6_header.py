"""What the rebuilder tells of each kind of packet, and what it leaves unknown."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from etwcap.native.ipv6_rebuild import How, Knowledge, Mode, Role, To
from etwcap.packets import AddressKind, Context, Mark
from etwcap.providers.rawsocket_layout import RAW_RECORD, Present
from etwcap.repair.ipv6_header import Ipv6HeaderStage
from ipv6_records import Received, Recording, address, fold_sum, icmpv6, pseudo, rebuild, tcp, udp, with_checksum

A, B, C = "2001:db8::a", "2001:db8::b", "2001:db8::c:5"
NEAR, FAR = "fe80::1234", "fe80::99"
a, b, c, near = address(A), address(B), address(C), address(NEAR)

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("offload", ["left", "large"])
@pytest.mark.parametrize("make", [udp, tcp])
def test_checksums_left_to_the_hardware_tell_protocol_and_destination(make: type, offload: str) -> None:
    data = make(a, b, (50000, 443), bytes(2000), offload=offload)
    got = rebuild([Received(a, data)], [B, C])[0]
    assert (got.protocol, got.to) == (17 if make is udp else 6, B)
    assert got.how == (How.OFFLOADED if offload == "left" else How.OFFLOADED_LARGE)


def test_destination_that_is_no_candidate_stays_unknown() -> None:
    got = rebuild([Received(a, udp(a, b, (5000, 53), b"question"))], [C])[0]
    assert (got.protocol, got.to, got.where) == (17, "::", To.UNKNOWN)


def test_candidates_with_the_same_sum_are_not_guessed_between() -> None:
    twin = "2001:db8::1:a"  # the sum of B, in other words
    assert fold_sum(address(twin)) == fold_sum(b)
    got = rebuild([Received(a, udp(a, b, (5000, 53), b"question"))], [B, twin])[0]
    assert (got.protocol, got.to, got.where) == (17, "::", To.SEVERAL)


def test_pair_of_hosts_known_before_settles_a_collision() -> None:
    twin = "2001:db8::1:a"
    told = Received(a, udp(a, b, (7000, 7001), b"x"), destination=b)
    got = rebuild([told, Received(a, udp(a, b, (5000, 53), b"question"))], [B, twin])[1]
    assert (got.to, got.where) == (B, To.CONTEXT_SUM)


def test_flow_tells_the_destination_of_cut_packets() -> None:
    whole = [Received(a, tcp(a, b, (5000, 80), b"GET /")), Received(b, tcp(b, a, (80, 5000), b"200"))]
    cut = Received(a, tcp(a, b, (5000, 80), bytes(1000), sequence=1005)[:24], original=1020)
    got = rebuild([*whole, cut], [B, C])[2]
    assert (got.protocol, got.to, got.where) == (6, B, To.FLOW)
    assert got.header[4:6] == (1020).to_bytes(2, "big")


def test_acknowledgements_tell_who_is_at_the_other_end_of_cut_packets() -> None:
    there = Received(a, tcp(a, b, (5000, 80), bytes(500), sequence=1000, acknowledged=77)[:20], original=520)
    back = Received(b, tcp(b, a, (80, 5000), bytes(9), sequence=77, acknowledged=1500)[:20], original=29)
    got = rebuild([there, back], [C, "2001:db8::77"], two_passes=True)
    assert [each.to for each in got] == [B, A]
    assert {each.where for each in got} <= {To.ANSWERED, To.FLOW}


def test_sockets_word_is_taken_and_the_rest_written() -> None:
    given = Received(a, udp(a, b, (5000, 53), b"q"), destination=c, hop_limit=17, traffic_class=0xB8)
    got = rebuild([given], [B])[0]
    assert (got.to, got.where) == (C, To.TOLD)
    assert got.header[:4] == bytes((0x6B, 0x80, 0, 0))
    assert got.header[7] == 17
    assert got.header[8:24] == a


def test_neighbour_discovery_goes_where_its_kind_goes() -> None:
    target = address(FAR)
    asked = address("ff02::1:ff00:99")
    solicitation = icmpv6(near, asked, 135, bytes(4) + target + b"\1\1" + bytes(6))
    router = icmpv6(near, address("ff02::2"), 133, bytes(4))
    report = icmpv6(near, address("ff02::16"), 143, bytes((0, 0, 0, 1, 4, 0, 0, 0)) + address("ff02::fb"))
    advertised = icmpv6(near, target, 136, b"\x60\0\0\0" + near + b"\2\1" + bytes(6))
    got = rebuild([Received(near, data) for data in (solicitation, router, report, advertised)], [FAR])
    assert [each.to for each in got] == ["ff02::1:ff00:99", "ff02::2", "ff02::16", FAR]
    assert {each.protocol for each in got} == {58}
    assert [each.header[7] for each in got] == [255, 255, 1, 255]


def test_message_that_quotes_a_packet_teaches_its_flow() -> None:
    lost = tcp(a, b, (5000, 80), b"GET /")
    quoted = b"\x60\0\0\0" + len(lost).to_bytes(2, "big") + bytes((6, 64)) + a + b + lost
    unreachable = Received(c, icmpv6(c, a, 1, bytes(4) + quoted, code=4))
    again = Received(a, tcp(a, b, (5000, 80), bytes(900))[:22], original=920)
    got = rebuild([unreachable, again], [A])
    assert (got[0].protocol, got[0].to, got[0].where) == (58, A, To.KIND_SUM)
    assert (got[1].protocol, got[1].to, got[1].where) == (6, B, To.FLOW)


def _fragments(source: bytes, data: bytes, protocol: int, sizes: int, identification: int) -> list[Received]:
    pieces = []
    for start in range(0, len(data), sizes):
        part = data[start : start + sizes]
        place = start | (start + len(part) < len(data))
        pieces.append(Received(source, struct.pack(">BBHI", protocol, 0, place, identification) + part))
    return pieces


@pytest.mark.parametrize("swapped", [False, True])
def test_fragments_are_summed_together(swapped: bool) -> None:
    pieces = _fragments(a, udp(a, b, (5000, 6000), bytes(range(256)) * 12), 17, 1232, 0xABCD1234)
    assert len(pieces) == 3
    if swapped:
        pieces.reverse()
    got = rebuild(pieces, [B, C], two_passes=True)
    assert [(each.protocol, each.to, each.where) for each in got] == [(44, B, To.JOINED)] * 3


def test_fragments_of_which_one_is_missing_are_not_guessed() -> None:
    pieces = _fragments(a, udp(a, b, (5000, 6000), bytes(range(256)) * 12), 17, 1232, 0xABCD1234)
    got = rebuild(pieces[:2], [B, C], two_passes=True)
    assert [(each.protocol, each.to) for each in got] == [(44, "::")] * 2


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _sctp(ports: tuple[int, int], tag: int, chunks: bytes) -> bytes:
    blank = struct.pack(">HHII", *ports, tag, 0) + chunks
    return blank[:8] + _crc32c(blank).to_bytes(4, "little") + chunks


def test_sctp_associations_are_told_by_their_tags() -> None:
    init = struct.pack(">BBHIIHHI", 1, 0, 20, 0x1111, 65536, 5, 5, 9)
    answer = struct.pack(">BBHIIHHI", 2, 0, 20, 0x2222, 65536, 5, 5, 7)
    beat = struct.pack(">BBHHH", 4, 0, 8, 1, 4)
    sent = [
        Received(a, _sctp((3000, 4000), 0, init)),
        Received(b, _sctp((4000, 3000), 0x1111, answer)),
        Received(a, _sctp((3000, 4000), 0x2222, beat)),
        Received(c, _sctp((9, 9), 5, beat)),
    ]
    got = rebuild(sent, ["2001:db8::77"], two_passes=True)
    assert [each.protocol for each in got] == [132] * 4
    assert [each.to for each in got[:3]] == [B, A, B]
    assert got[0].how == How.OWN_SUM


def test_series_of_numbers_tell_esp() -> None:
    noise = bytes(zlib.crc32(bytes((i,))) & 255 for i in range(64))
    sent = [Received(a, struct.pack(">II", 0xC0DE1234, number) + noise) for number in range(70001, 70009)]
    got = rebuild(sent, [B, C], two_passes=True)
    assert {each.protocol for each in got} == {50}
    assert {each.how for each in got} == {How.SERIES}
    assert {each.to for each in got} == {"::"}


def _routing() -> dict[str, tuple[int, bytes, str]]:
    def sums(protocol: int, to: str, data: bytes, at: int) -> tuple[int, bytes, str]:
        return protocol, with_checksum(near, address(to), protocol, data, at), to

    hello = struct.pack(">BBHIIHBB", 3, 1, 36, 0x0A000001, 0, 0, 0, 0) + bytes(20)
    update = struct.pack(">BBHIIIHH", 2, 5, 0, 0, 0, 0, 0, 100) + struct.pack(">HHBBBBBBH", 1, 12, 1, 0, 1, 0, 0, 0, 15)
    return {
        "ospf": sums(89, "ff02::5", hello, 12),
        "pim": sums(103, "ff02::d", b"\x20\0\0\0\0\1\0\2\0\x69\0\x14\0\4\1\2\3\4", 2),
        "vrrp": sums(112, "ff02::12", b"\x31\x05\x64\x01\0\x64\0\0" + address("fe80::5"), 6),
        "dccp": sums(33, B, struct.pack(">HHBBHBBHI4sI", 5000, 6000, 5, 0, 0, 1, 0, 1, 2, b"code", 0)[:24], 6),
        "udp-lite": sums(136, B, struct.pack(">HHHH", 5000, 6000, 0, 0) + b"hello world", 6),
        "eigrp": (88, update[:2] + (0xFFFF ^ fold_sum(update)).to_bytes(2, "big") + update[4:], "ff02::a"),
    }


@pytest.mark.parametrize("name", ["ospf", "pim", "vrrp", "eigrp", "dccp", "udp-lite"])
def test_rarer_protocols(name: str) -> None:
    protocol, data, to = _routing()[name]
    got = rebuild([Received(near, data)], [B, C])[0]
    assert (got.protocol, got.to) == (protocol, to)


_IPV4 = struct.pack(">BBHHHBBHII", 0x45, 0, 28, 1, 0, 64, 17, 0, 0x0A000001, 0x0A000002) + struct.pack(
    ">HHHH", 1, 2, 8, 0
)
_IPV4 = _IPV4[:10] + (0xFFFF ^ fold_sum(_IPV4[:20])).to_bytes(2, "big") + _IPV4[12:]
_IPV6 = b"\x60\0\0\0\0\x08\x11\x40" + a + b + struct.pack(">HHHH", 1, 2, 8, 0)
_FRAME = bytes(12) + b"\x08\0" + _IPV4


@pytest.mark.parametrize(
    ("protocol", "data"),
    [
        (4, _IPV4),
        (41, _IPV6),
        (47, b"\0\0\x08\0" + _IPV4),
        (47, b"\x20\0\x86\xdd\0\0\0\7" + _IPV6),
        (97, b"\x30\0" + _FRAME),
        (115, b"\0\0\x12\x34" + _FRAME),
        (137, b"\0\x01\x01\x40" + _IPV4),
        (143, _FRAME),
        (59, b""),
    ],
)
def test_tunnels_go_to_the_only_other_host(protocol: int, data: bytes) -> None:
    got = rebuild([Received(a, data)], [B], two_passes=True)[0]
    assert (got.protocol, got.to, got.where) == (protocol, B, To.SOLE)
    several = rebuild([Received(a, data)], [B, C], two_passes=True)[0]
    assert (several.protocol, several.to) == (protocol, "::")


def test_bytes_like_nothing_known_are_255() -> None:
    noise = bytes(zlib.crc32(bytes((i, 3))) & 255 for i in range(61))
    got = rebuild([Received(a, noise)], [B, C])[0]
    assert (got.protocol, got.how, got.to) == (255, How.UNKNOWN, "::")


def test_jumbograms_have_payload_length_0() -> None:
    head = struct.pack(">HHHH", 5000, 6000, 0, 0)
    data = with_checksum(a, b, 17, head + bytes(70000), 6)
    got = rebuild([Received(a, data)], [B])[0]
    assert (got.protocol, got.to, got.header[4:6]) == (17, B, b"\0\0")


def test_what_is_learnt_and_the_addresses_are_bounded() -> None:
    knowledge = Knowledge(most_addresses=50, most_learnt=64)
    for base in range(0, 400, 100):
        sources = [address(f"2001:db8::{i:x}") for i in range(base + 1, base + 101)]
        Recording([Received(each, udp(each, b, (5000, 53), b"q")) for each in sources]).run(knowledge)
    assert len(knowledge) == 50
    before = Recording([Received(a, udp(a, address("2001:db8::1"), (5000, 53), b"q"))])
    before.run(knowledge)
    assert before.header(0)[24:] == address("2001:db8::1")


def test_rows_outside_the_buffer_are_refused() -> None:
    recording = Recording([Received(a, udp(a, b, (1, 2), b"x"))])
    recording.captured[0] += 1
    with pytest.raises(IndexError, match="packet 0"):
        recording.run(Knowledge())
    recording = Recording([Received(a, b"")])
    recording.record[0] = len(recording.buffer) - RAW_RECORD.itemsize + 1
    with pytest.raises(IndexError, match="packet 0"):
        recording.run(Knowledge())


def _stage(received: list[Received], *, infer: bool = True, comments: bool = False) -> tuple[Context, Recording, Mark]:
    context = Context()
    context.addresses.add(AddressKind.NEIGHBOUR, 1, b)
    recording = Recording(received)
    out = Ipv6HeaderStage(context, infer=infer, comments=comments).process(recording.chunk())
    assert (out.packets["offset"] == recording.payload - 40).all()
    assert (out.packets["captured"] == recording.captured + 40).all()
    assert (out.packets["original"] == recording.original + 40).all()
    if comments:
        context.comments.texts[:] = [context.comments.texts[i] for i in out.packets["comment"].tolist()]
    return context, recording, Mark(int(out.packets["flags"][0]))


def test_stage_marks_and_counts_what_it_inferred() -> None:
    context, _, mark = _stage([Received(a, udp(a, b, (5000, 53), b"q"))])
    assert mark == Mark.IPV6_REBUILT | Mark.NEXT_HEADER_INFERRED | Mark.DESTINATION_INFERRED
    assert context.receipt.notes["ipv6-header"].count == 1
    assert "ipv6-destination-unknown" not in context.receipt.notes
    context, _, mark = _stage([Received(a, b"\xff\xfe\xfd")])
    assert mark == Mark.IPV6_REBUILT | Mark.NEXT_HEADER_UNKNOWN | Mark.DESTINATION_UNKNOWN
    assert context.receipt.notes["ipv6-destination-unknown"].count == 1


def test_without_repair_only_what_was_told_is_written() -> None:
    sent = Received(a, udp(a, b, (5000, 53), b"q"), destination=b, hop_limit=9)
    _, recording, mark = _stage([sent], infer=False)
    assert recording.header(0) == b"\x60\0\0\0\0\x09\xff\x09" + a + b
    assert mark == Mark.IPV6_REBUILT | Mark.NEXT_HEADER_UNKNOWN
    _, recording, mark = _stage([Received(a, sent.data)], infer=False)
    assert recording.header(0)[24:] == bytes(16)


def test_comments_say_what_speaks_for_a_header() -> None:
    sent = [
        Received(a, tcp(a, b, (5000, 80), b"GET", offload="left")),
        Received(a, udp(a, b, (5000, 53), b"q"), destination=b, hop_limit=64, traffic_class=0),
        Received(a, b"\xff\xfe\xfd"),
    ]
    context, _, _ = _stage(sent, comments=True)
    first, second, third = context.comments.texts
    assert first.startswith("IPv6 header rebuilt: TCP by checksum (offloaded), destination by checksum among ")
    assert first.endswith("; hop limit and traffic class not known")
    assert second == "IPv6 header rebuilt: UDP by checksum, destination told by the socket"
    assert third.startswith("IPv6 header rebuilt: protocol not known, destination not known")


def test_candidates_among_a_thousand_are_told_apart() -> None:
    others = [f"2001:db8:{i:x}::{i * 7 + 1:x}" for i in range(1, 1000)]
    sent = [Received(a, udp(a, b, (5000 + i, 53), bytes((i, 5)) * 9)) for i in range(200)]
    got = rebuild(sent, [*others, B])
    assert sum(each.to == B for each in got) >= 190
    assert all(each.to in (B, "::") for each in got)


def test_own_addresses_receive() -> None:
    twin = "2001:db8::1:a"
    knowledge = Knowledge()
    knowledge.add(np.frombuffer(b, np.uint8).reshape(1, 16), Role.OWN)
    knowledge.add(np.frombuffer(address(twin), np.uint8).reshape(1, 16), Role.LISTED)
    recording = Recording([Received(a, udp(a, b, (5000, 53), b"question"))])
    evidence = recording.run(knowledge, Mode.WRITE | Mode.INFER)
    assert (recording.header(0)[24:], int(evidence[0]) >> 16) == (b, To.CONTEXT_SUM)


def test_machine_talks_to_itself_without_checksums() -> None:
    others = b"".join(address(f"fe80::77:{i:x}") for i in range(1, 40))
    knowledge = Knowledge()
    knowledge.add(np.frombuffer(near, np.uint8).reshape(1, 16), Role.OWN)
    knowledge.add(np.frombuffer(others, np.uint8).reshape(-1, 16), Role.LISTED)
    recording = Recording([Received(near, tcp(near, near, (5000, 80), flags=2, acknowledged=0, offload="left"))])
    recording.run(knowledge, Mode.WRITE | Mode.INFER)
    assert (recording.header(0)[6], recording.header(0)[24:]) == (6, near)


def test_layout_constants_of_the_core_are_those_of_the_record() -> None:
    names = ("family", "present", "hop_limit", "traffic_class", "source", "destination")
    assert [RAW_RECORD.fields[name][1] for name in names] == [5, 6, 24, 25, 32, 48]  # type: ignore[index]
    assert RAW_RECORD.itemsize == 64
    assert (Present.DESTINATION, Present.HOP_LIMIT, Present.TRAFFIC_CLASS, Present.CUT) == (1, 4, 8, 32)
    assert len(pseudo(a, b, 6, 20)) == 40
