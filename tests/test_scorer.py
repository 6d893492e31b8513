"""The scorer of raw-socket recordings: what it takes for the truth, what it counts, what it does not hide."""

from __future__ import annotations

import json
import random
import socket
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from benchmarks.accuracy.__main__ import captures_in, main
from benchmarks.accuracy.files import Frame, frames
from benchmarks.accuracy.headers import HeaderScore, compare, published
from benchmarks.accuracy.order import Flags, OrderScore, count, differing
from benchmarks.accuracy.published import RESERVED, Published
from benchmarks.accuracy.report import Results, goals, page, percent
from benchmarks.accuracy.truth import Truth, fold, pseudo_sum, truth_of

from conftest import CHECKOUT
from pcapng_build import interface, packet, pcap, section

ONE, OTHER = (socket.inet_pton(socket.AF_INET6, text) for text in ("2001:db8::1", "2001:db8::2"))
UNKNOWN = bytes(16)
RECORD = struct.Struct("<IBBHQIIBBHI16s16s")


def six(
    protocol: int, payload: bytes, *, length: int | None = None, source: bytes = ONE, target: bytes = OTHER
) -> bytes:
    size = len(payload) if length is None else length
    return struct.pack(">IHBB", 0x60000000, size, protocol, 64) + source + target + payload


def frame(data: bytes, *, link: int = 101, original: int | None = None, time: int = 0) -> Frame:
    return Frame(link, time, data, len(data) if original is None else original)


def truth(data: bytes, link: int = 101) -> Truth:
    found = truth_of(frame(data, link=link))
    assert found is not None
    return found


def summed(protocol: int, payload: bytes, at: int) -> bytes:
    """The payload with its checksum good."""
    words = struct.unpack(f">{(len(payload) + 1) // 2}H", payload + bytes(len(payload) % 2))
    total = fold(sum(words) + pseudo_sum(ONE, OTHER, len(payload), protocol))
    return payload[:at] + struct.pack(">H", ~total & 0xFFFF) + payload[at + 2 :]


def udp(data: bytes) -> bytes:
    return summed(17, struct.pack(">HHHH", 1000, 53, 8 + len(data), 0) + data, 6)


def tcp(data: bytes) -> bytes:
    return summed(6, struct.pack(">HHIIBBHHH", 1000, 443, 7, 9, 0x50, 0x18, 500, 0, 0) + data, 16)


@pytest.mark.parametrize("kind", [0, 43, 60, 135, 139, 140])
def test_a_stripped_header_gives_way_to_its_next_header(kind: int) -> None:
    header = bytes([17, 1, *bytes(14)])
    assert (truth(six(kind, header + b"data")).protocol, truth(six(kind, header + b"data")).payload) == (17, b"data")


def test_authentication_counts_its_length_in_words_of_four_bytes() -> None:
    assert truth(six(51, bytes([6, 4, *bytes(22)]) + b"data")).payload == b"data"


def test_a_fragment_header_stays() -> None:
    found = truth(six(0, bytes([44, 0, *bytes(6)]) + bytes([17, 0, 0, 1, 0, 0, 0, 9]) + b"data"))
    assert (found.protocol, len(found.payload)) == (44, 12)


def test_a_chain_that_ends_outside_of_the_packet_is_not_followed() -> None:
    assert truth(six(60, bytes([17, 200]) + bytes(6))).protocol == 60


def test_padding_of_the_frame_is_no_payload_and_vlan_tags_are_passed() -> None:
    tagged = bytes(12) + b"\x81\x00\x00\x05\x86\xdd" + six(59, b"") + bytes(2)
    assert truth(tagged, link=1).payload == b""


def test_a_large_send_without_length_reaches_to_the_end_of_the_frame() -> None:
    assert truth(six(6, tcp(b"x" * 50), length=0)).payload == tcp(b"x" * 50)


def test_what_was_not_captured_is_no_whole_packet() -> None:
    found = truth_of(frame(six(17, udp(b"x" * 50))[:60], original=98))
    assert found is not None
    assert (found.whole, found.checksum) == (False, "in part")


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("offloaded", fold(pseudo_sum(ONE, OTHER, 25, 6))),
        ("large-send", fold(pseudo_sum(ONE, OTHER, 0, 6))),
        ("zero", 0),
    ],
)
def test_kinds_of_checksums_are_told_apart(kind: str, field: int) -> None:
    good = tcp(b"hello")
    assert truth(six(6, good)).checksum == "good"
    assert truth(six(6, good[:16] + struct.pack(">H", field) + good[18:])).checksum == kind
    assert truth(six(6, good[:-1] + b"?")).checksum == "bad"


def test_the_published_method_finds_good_checksums_and_nothing_else() -> None:
    method = Published([ONE, OTHER])
    assert method.infer(ONE, udp(b"query")) == (17, OTHER)
    assert method.infer(ONE, tcp(b"GET /")) == (6, OTHER)
    assert method.infer(ONE, tcp(b"GET /")[:-1] + b"!") == (RESERVED, UNKNOWN)
    assert method.infer(ONE, udp(b"query")[:6] + b"\x12\x34query") == (17, UNKNOWN)
    assert method.infer(ONE, bytes([17, 0, 0, 1, 0, 0, 0, 9]) + b"part") == (44, UNKNOWN)
    assert method.infer(ONE, six(59, b"")) == (41, UNKNOWN)
    assert Published([]).infer(ONE, tcp(b"GET /"), OTHER) == (6, OTHER)


def test_candidates_are_sources_and_tables_of_the_recording() -> None:
    def record(kind: int, source: bytes, payload: bytes) -> Frame:
        return frame(RECORD.pack(0x31535245, kind, 6, 0, 0, 0, 0, 0, 0, 0, 0, source, UNKNOWN) + payload, link=156)

    row = struct.pack("<BBHI16s", 6, 4, 0, 1, OTHER)
    assert published([record(2, UNKNOWN, row)]).infer(ONE, udp(b"x")) == (17, OTHER)
    assert published([record(1, OTHER, b"")]).infer(ONE, udp(b"x")) == (17, OTHER)
    assert published([record(1, ONE, b"")]).infer(ONE, udp(b"x")) == (17, UNKNOWN)


def test_right_unknown_and_wrong_are_counted_apart() -> None:
    packets = [udp(bytes([number])) for number in range(4)]
    truths = [truth(six(17, each)) for each in packets]
    given = [(17, OTHER), (17, UNKNOWN), (6, ONE), (17, OTHER)]
    rebuilt = [frame(six(kind, each, target=target)) for each, (kind, target) in zip(packets, given, strict=True)]
    result = HeaderScore("o", "c", "all")
    compare(result, truths, [], rebuilt)
    total = result.total
    assert (total.packets, total.protocol_right) == (4, 3)
    assert (total.destination_right, total.destination_unknown, total.destination_wrong) == (2, 1, 1)
    assert [(each.number, each.given, each.destination) for each in result.failures] == [
        (2, 17, "unknown"),
        (3, 6, "wrong"),
    ]
    assert not result.faults


def test_a_packet_that_did_not_come_back_is_a_fault_and_no_success() -> None:
    truths = [truth(six(17, udp(b"one"))), truth(six(17, udp(b"two")))]
    result = HeaderScore("o", "c", "all")
    compare(result, truths, [], [frame(six(17, udp(b"two"))), frame(six(17, udp(b"one"), source=OTHER))])
    assert (result.total.packets, len(result.faults)) == (1, 1)


def test_flags_that_disorder_added_that_are_left_and_that_were_lost() -> None:
    one: tuple[str, ...] = ("a",) * 9
    other: tuple[str, ...] = ("b",) * 9
    original: Flags = Counter({(one, "duplicate_ack"): 2, (other, "out_of_order"): 1})
    disturbed: Flags = Counter({(one, "duplicate_ack"): 3, (other, "lost_segment"): 4, (other, "out_of_order"): 1})
    repaired: Flags = Counter({(one, "duplicate_ack"): 1, (other, "lost_segment"): 1, (other, "out_of_order"): 1})
    result = OrderScore("o", "c", 1)
    count(result, original, disturbed, repaired)
    assert (result.original, result.added, result.left, result.lost) == (3, 5, 1, 1)
    assert result.by_flag == {"duplicate_ack": [2, 1, 0, 1], "lost_segment": [0, 4, 1, 0], "out_of_order": [1, 0, 0, 0]}
    assert len(result.differences) == 2


def test_a_packet_more_or_less_is_a_difference() -> None:
    assert [differing("abc", "abc"), differing("abc", "abd"), differing("abc", "ab")] == [0, 1, 1]


def test_a_miss_never_looks_like_none() -> None:
    assert [percent(0, 5), percent(5, 5), percent(99_999, 100_000), percent(1, 100_000), percent(0, 0)] == [
        *("0.00", "100.00", "99.99", "0.01", "–"),
    ]  # fmt: skip


def test_a_goal_is_reached_only_by_what_was_measured() -> None:
    assert goals(Results("", "")) == []
    score = HeaderScore("o", "c", "all")
    compare(score, [truth(six(17, udp(b"x")))], [], [frame(six(17, udp(b"x"), target=ONE))])
    reached = {title: ok for title, _, _, ok in goals(Results("", "", [score]))}
    assert list(reached.values()) == [True, False, False]
    assert "missed" in page(Results("", "", [score]))


@pytest.mark.parametrize("order", ["<", ">"])
def test_files_of_both_kinds_and_byte_orders_are_read(order: str, tmp_path: Path) -> None:
    data = six(59, b"")
    (tmp_path / "a.pcapng").write_bytes(
        section(order)
        + interface(order, 101, (9, b"\x09"))
        + packet(order, 0, 5_000_000_001, data, (1, b"why"), original=77)
    )
    (tmp_path / "b.pcap").write_bytes(pcap(order, 0xA1B2C3D4, 101, (5, 3, data, 77)))
    assert [*frames(tmp_path / "a.pcapng")] == [Frame(101, 5_000_000_001, data, 77, "why")]
    assert [*frames(tmp_path / "b.pcap")] == [Frame(101, 5_000_003_000, data, 77)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two origins: ordinary datagrams, and one that no method can know."""
    chance = random.Random(3)
    ordinary = [six(17, udp(chance.randbytes(30))) for _ in range(40)]
    hopeless = [six(253, chance.randbytes(33)) for _ in range(3)]
    for origin, packets in (("plain", ordinary), ("hopeless", hopeless)):
        (tmp_path / origin).mkdir()
        content = pcap("<", 0xA1B2C3D4, 101, *((9, number, each, len(each)) for number, each in enumerate(packets)))
        (tmp_path / origin / "x.pcap").write_bytes(content)
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="the scorer measures where captures are made: on Linux")
def test_one_command_measures_a_folder_and_tells_in_json(folder: Path) -> None:
    told = folder / "told.json"
    command = [sys.executable, "-m", "benchmarks.accuracy", "--captures", folder, "--part", "headers", "--jobs", "1"]
    words = [str(word) for word in (*command, "--json", told, "--manner", "all")]
    ran = subprocess.run(words, capture_output=True, text=True, cwd=CHECKOUT, timeout=120, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "| UDP | 40 | 100.00 |" in ran.stdout
    scores = {each["origin"]: each["total"] for each in json.loads(told.read_text())["headers"]}
    assert {origin: total["packets"] for origin, total in scores.items()} == {"plain": 40, "hopeless": 3}
    assert scores["hopeless"]["protocol_right"] == 0


def test_check_ends_with_7_where_a_goal_was_missed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--captures", str(folder), "--part", "headers", "--jobs", "1", "--manner", "all", "--check"]
    assert main([*words, "--origin", "hopeless"]) == 7
    assert main([*words[:-1], "--origin", "hopeless"]) == 0
    assert main(["--captures", str(folder / "nothing")]) == 2
    assert "missed" in capsys.readouterr().out


def test_captures_belong_to_the_folder_they_lie_in(folder: Path) -> None:
    assert {origin for origin, _ in captures_in([folder])} == {"plain", "hopeless"}
    assert [origin for origin, _ in captures_in([folder], ["plain"])] == ["plain"]
