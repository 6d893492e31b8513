from __future__ import annotations

import os
import struct
import subprocess
import threading
from contextlib import closing
from fractions import Fraction
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture_files import convert, fields, read
from conftest import tool_path
from etwcap.errors import InputError, NotATraceError
from etwcap.native import use_backend
from etwcap.native.capfile import ticks_to_ns
from etwcap.packets import Context, Mark, SideBlock
from etwcap.packets.chunk import END_OF_TIME
from etwcap.sources import capfile, capfile_pcapng, capfile_window
from etwcap.sources.capfile import CaptureFileSource, sniff
from pcapng_build import block, interface, old_packet, option, packet, section, simple_packet

ORDERS = pytest.mark.parametrize("order", ["<", ">"])
MICROSECONDS = 1_700_000_000_123_456
FRAME = bytes(range(61))


def stored(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


@ORDERS
def test_packets_of_every_block_kind_are_read(tmp_path: Path, backend: str, order: str) -> None:
    path = stored(
        tmp_path / "a.pcapng",
        section(order),
        interface(order, 1, snap=40),
        packet(order, 0, MICROSECONDS, FRAME, original=1500),
        old_packet(order, 0, MICROSECONDS + 1, FRAME[:7]),
        simple_packet(order, FRAME[:40], 61),
    )
    got = read(path)
    assert got.column("data") == [FRAME, FRAME[:7], FRAME[:40]]
    assert got.column("time") == [MICROSECONDS * 1000, MICROSECONDS * 1000 + 1000, MICROSECONDS * 1000 + 1000]
    assert got.column("original") == [1500, 7, 61]
    assert got.context.receipt.notes["no-time"].count == 1
    assert got.damage == []


@ORDERS
def test_packet_options_become_columns_and_the_rest_is_carried_little_endian(
    tmp_path: Path, backend: str, order: str
) -> None:
    def number(form: str, *values: int) -> bytes:
        return struct.pack(order + form, *values)

    path = stored(
        tmp_path / "a.pcapng",
        section(order),
        interface(order, 1),
        packet(order, 0, 1, FRAME, (2, number("I", 2))),
        packet(order, 0, 2, FRAME, (1, b"one"), (2, number("I", 0x201)), (1, b"two"), (5, number("Q", 77))),
        packet(order, 0, 3, FRAME, (8, number("II", 1234, 5)), (4, number("Q", 9)), (6, number("I", 3))),
        packet(order, 0, 4, FRAME, (7, b"\2" + number("Q", 2)), (2989, number("I", 32473) + b"xyz")),
        packet(order, 0, 5, FRAME, (19373, number("I", 32473) + b"not to be copied"), (3, b"\2abcd")),
    )
    got = read(path)
    assert got.column("direction") == [2, 1, 0, 0, 0]
    assert got.column("packet_id") == [0, 77, 0, 0, 0]
    assert got.column("process") == [0xFFFFFFFF, 0xFFFFFFFF, 1234, 0xFFFFFFFF, 0xFFFFFFFF]
    assert got.column("thread")[2] == 5
    assert got.column("flags") == [0, 0, Mark.PROCESS_TRUSTED, 0, 0]
    assert got.column("options") == [
        b"",
        option("<", 1, b"one") + option("<", 2, struct.pack("<I", 0x201)) + option("<", 1, b"two"),
        option("<", 4, struct.pack("<Q", 9)) + option("<", 6, struct.pack("<I", 3)),
        option("<", 7, b"\2" + struct.pack("<Q", 2)) + option("<", 2989, struct.pack("<I", 32473) + b"xyz"),
        option("<", 3, b"\2abcd"),
    ]


@ORDERS
def test_interface_options_are_read(tmp_path: Path, backend: str, order: str) -> None:
    path = stored(
        tmp_path / "a.pcapng",
        section(order, (2, b"a machine"), (3, b"Windows 11"), (4, b"dumpcap"), (1, b"first"), (1, "zweiö".encode())),
        interface(
            order,
            1,
            (2, b"Ethernet\0"),
            (3, b"the card"),
            (4, bytes([192, 0, 2, 1, 255, 255, 255, 0])),
            (4, bytes([192, 0, 2, 2, 255, 0, 255, 0])),
            (5, bytes(15) + b"\1" + b"\x40"),
            (6, b"\2\0\0\0\0\1"),
            (8, struct.pack(order + "Q", 10**9)),
            (9, b"\x09"),
            (11, b"\0tcp port 80"),
            (12, b"Windows"),
            (13, b"\x20"),
            (15, b"NIC 7"),
            (16, struct.pack(order + "Q", 5)),
            snap=128,
        ),
    )
    got = read(path)
    face = got.context.interfaces[0]
    assert (face.name, face.description, face.os, face.hardware) == ("Ethernet", "the card", "Windows", "NIC 7")
    assert face.ipv4 == [IPv4Interface("192.0.2.1/24")]
    assert face.ipv6 == [IPv6Interface("::1/64")]
    assert (face.mac, face.speed, face.filter, face.snap_length) == (b"\2\0\0\0\0\1", 10**9, "tcp port 80", 128)
    odd_mask = option("<", 4, bytes([192, 0, 2, 2, 255, 0, 255, 0]))
    assert face.options == odd_mask + option("<", 13, b"\x20") + option("<", 16, struct.pack("<Q", 5))
    assert got.description.comments == ["first", "zweiö"]
    assert got.description.machine.hardware == "a machine"
    assert got.description.machine.os_name == "Windows 11"
    assert got.description.capture_application == "dumpcap"
    assert got.description.resolution == 1


@pytest.mark.usefixtures("both_cores")
@given(
    ticks=st.integers(0, 2**64 - 1),
    resolution=st.integers(0, 255),
    offset=st.one_of(st.just(0), st.integers(-(2**63), 2**63 - 1), st.integers(-(10**11), 10**11)),
    extra=st.integers(0, 10**9 - 1),
)
@settings(max_examples=400, deadline=None)
def test_time_is_exact_for_every_resolution(ticks: int, resolution: int, offset: int, extra: int) -> None:
    unit = Fraction(1, (2 if resolution & 0x80 else 10) ** (resolution & 0x7F))
    exact = int(ticks * unit * 10**9 // 1) + offset * 10**9 + extra
    wanted = min(max(exact, -(2**63)), 2**63 - 1)
    for name in ("native", "twin"):
        with use_backend(name):
            assert ticks_to_ns(ticks, resolution, offset, extra) == (wanted, wanted != exact)


@pytest.mark.parametrize("ticks", [0, 1, 999_999_999, 2**32 - 1, 2**63, 2**64 - 1])
def test_time_is_exact_at_every_resolution_byte(backend: str, ticks: int) -> None:
    for resolution in range(256):
        unit = Fraction(1, (2 if resolution & 0x80 else 10) ** (resolution & 0x7F))
        exact = int(ticks * unit * 10**9 // 1)
        assert ticks_to_ns(ticks, resolution, 0)[0] == min(exact, 2**63 - 1)


@ORDERS
def test_interface_time_offsets_are_added(tmp_path: Path, backend: str, order: str) -> None:
    path = stored(
        tmp_path / "a.pcapng",
        section(order),
        interface(order, 1, (9, b"\x83"), (14, struct.pack(order + "q", -2)), (19, struct.pack(order + "i", -5))),
        packet(order, 0, 25, FRAME),
    )
    assert read(path).column("time") == [3_125_000_000 - 2 * 10**9 - 5]


def test_a_time_that_does_not_fit_is_clamped_marked_and_counted(tmp_path: Path, backend: str) -> None:
    path = stored(tmp_path / "a.pcapng", section("<"), interface("<", 1, (9, b"\x00")), packet("<", 0, 2**40, FRAME))
    got = read(path)
    assert got.column("time") == [2**63 - 1]
    assert got.column("flags") == [Mark.TIME_CLAMPED]
    assert got.context.receipt.notes["time-clamped"].count == 1


def test_a_packet_before_an_earlier_one_is_late_and_keeps_its_place(tmp_path: Path, backend: str) -> None:
    times = [5, 9, 3, 9, 8, 10]
    path = stored(
        tmp_path / "a.pcapng", section("<"), interface("<", 1), *(packet("<", 0, time, FRAME) for time in times)
    )
    got = read(path)
    assert got.column("time") == [time * 1000 for time in times]
    assert [flags & Mark.LATE for flags in got.column("flags")] == [0, 0, Mark.LATE, 0, Mark.LATE, 0]
    assert got.context.receipt.notes["late"].count == 2


def test_complete_to_is_the_highest_time_so_far_and_the_end_at_last(tmp_path: Path, backend: str) -> None:
    side = block("<", 10, struct.pack("<II", 1, 0))
    path = stored(
        tmp_path / "a.pcapng",
        section("<"),
        interface("<", 1),
        packet("<", 0, 7, FRAME),
        packet("<", 0, 4, FRAME),
        side,
        packet("<", 0, 8, FRAME),
    )
    with closing(CaptureFileSource(path, Context())) as source:
        chunks = [(len(chunk.packets), chunk.complete_to) for chunk in source.chunks()]
    assert chunks == [(2, 7000), (1, 8000), (0, END_OF_TIME)]


def test_sections_have_their_own_byte_order_and_interfaces(tmp_path: Path, backend: str) -> None:
    first = [section("<"), interface("<", 1, (2, b"a")), interface("<", 101, (2, b"b")), packet("<", 1, 1, FRAME)]
    second = [section(">"), interface(">", 105, (2, b"c")), packet(">", 0, 2, FRAME[:3])]
    again = [section("<"), interface("<", 1, (2, b"a")), packet("<", 0, 3, FRAME)]
    got = read(stored(tmp_path / "a.pcapng", *first, *second, *again))
    assert [face.name for face in got.context.interfaces] == ["a", "b", "c"]
    assert got.column("interface") == [1, 2, 0]
    assert got.column("data") == [FRAME, FRAME[:3], FRAME]


@ORDERS
def test_side_blocks_stand_before_the_packets_that_follow_them(tmp_path: Path, backend: str, order: str) -> None:
    name = struct.pack(order + "HH", 1, 9) + bytes([192, 0, 2, 1]) + b"host\0\0\0\0" + bytes(4)
    secrets = struct.pack(order + "II", 0x544C534B, 5) + b"a key" + bytes(3) + option(order, 1, b"from lsass")
    path = stored(
        tmp_path / "a.pcapng",
        section(order),
        block(order, 4, name),
        interface(order, 1),
        packet(order, 0, 1, FRAME),
        block(order, 10, secrets),
        packet(order, 0, 2, FRAME),
        block(order, 0xBAD, struct.pack(order + "I", 32473) + b"mine"),
        block(order, 0x40000BAD, struct.pack(order + "I", 32473) + b"not to be copied"),
    )
    got = read(path)
    little_name = struct.pack("<HH", 1, 9) + bytes([192, 0, 2, 1]) + b"host\0\0\0\0" + bytes(4)
    little_secrets = struct.pack("<II", 0x544C534B, 5) + b"a key" + bytes(3) + option("<", 1, b"from lsass")
    ending = b"" if order == "<" else bytes(4)
    assert got.side == [
        (0, SideBlock(4, little_name)),
        (1, SideBlock(10, little_secrets + ending)),
        (2, SideBlock(0xBAD, struct.pack("<I", 32473) + b"mine")),
    ]
    assert got.context.receipt.notes["left-out"].count == 1


def test_an_unknown_block_is_carried_or_where_it_cannot_be_named(tmp_path: Path, backend: str) -> None:
    little = read(stored(tmp_path / "a.pcapng", section("<"), block("<", 0x80000001, b"1234")))
    assert little.side == [(0, SideBlock(0x80000001, b"1234"))]
    big = read(stored(tmp_path / "b.pcapng", section(">"), block(">", 0x80000001, b"1234")))
    assert big.side == []
    assert [damage.severity for damage in big.description.damage] == ["unknown"]
    assert big.description.damage_count == 0


@ORDERS
def test_statistics_count_once_per_interface(tmp_path: Path, backend: str, order: str) -> None:
    def statistics(received: int, dropped: int, lost: int) -> bytes:
        pairs = ((4, received), (5, dropped), (7, lost))
        values = b"".join(option(order, code, struct.pack(order + "Q", number)) for code, number in pairs)
        return block(order, 5, struct.pack(order + "III", 0, 0, 0) + values)

    got = read(
        stored(tmp_path / "a.pcapng", section(order), interface(order, 1), statistics(5, 1, 2), statistics(9, 3, 4))
    )
    face = got.context.interfaces[0]
    assert (face.reports, face.drops, got.description.losses.events) == (9, 3, 4)


def test_a_broken_packet_block_is_passed_over(tmp_path: Path, backend: str) -> None:
    start = [section("<"), interface("<", 1), packet("<", 0, 1, FRAME)]
    wrong_interface = packet("<", 7, 2, FRAME)
    too_long = bytearray(packet("<", 0, 2, FRAME))
    too_long[20:24] = struct.pack("<I", 4000)
    path = stored(tmp_path / "a.pcapng", *start, wrong_interface, bytes(too_long), packet("<", 0, 3, FRAME))
    got = read(path)
    assert got.column("time") == [1000, 3000]
    offsets = [damage.offset for damage in got.description.damage]
    assert offsets == [sum(map(len, start)), sum(map(len, start)) + len(wrong_interface)]


@ORDERS
def test_what_is_odd_but_legal_is_no_damage(tmp_path: Path, backend: str, order: str) -> None:
    path = tmp_path / "a.pcapng"
    comment = (1, b"a comment of some length")
    blocks = [
        section(order),
        interface(order, 1),
        packet(order, 0, 5, b""),
        packet(order, 0, 4, b"", original=60),
        packet(order, 0, 0, b"abc", comment),
        packet(order, 0, 3, b"abcd", original=2),
        simple_packet(order, b"", 0),
        simple_packet(order, b"abcde", 5),
    ]
    path.write_bytes(b"".join(blocks))
    got = read(path)
    assert got.column("data") == [b"", b"", b"abc", b"abcd", b"", b"abcde"]
    assert got.description.damage_count == 0


def test_a_simple_packet_without_an_interface_is_damage(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "a.pcapng"
    path.write_bytes(
        section("<") + simple_packet("<", b"abcd", 4) + interface("<", 1) + packet("<", 0, 1, b"abcd")
    )  # fmt: skip
    got = read(path)
    assert got.column("data") == [b"abcd"]
    assert [each.offset for each in got.description.damage] == [28]


def test_options_that_run_past_their_block_do_not_cost_the_packet(tmp_path: Path, backend: str) -> None:
    broken = bytearray(packet("<", 0, 1, FRAME, (1, b"good"), (1, b"long")))
    at = broken.rindex(b"long")
    broken[at - 2 : at] = struct.pack("<H", 500)
    got = read(stored(tmp_path / "a.pcapng", section("<"), interface("<", 1), bytes(broken)))
    assert got.column("data") == [FRAME]
    assert got.column("options") == [option("<", 1, b"good")]
    assert "options" in got.damage[0]


@ORDERS
def test_reading_goes_on_after_damage_at_the_next_certain_block(tmp_path: Path, backend: str, order: str) -> None:
    packets = [packet(order, 0, time, os.urandom(50)) for time in range(1, 40)]
    before = section(order) + interface(order, 1) + b"".join(packets[:10])
    path = stored(tmp_path / "a.pcapng", before, b"\xee" * 333, *packets[12:])
    got = read(path)
    assert got.column("time") == [time * 1000 for time in range(1, 40) if time not in (11, 12)]
    assert [(damage.offset, damage.lost_bytes) for damage in got.description.damage] == [(len(before), 333)]


@ORDERS
def test_a_capture_inside_a_broken_packet_is_not_taken_for_blocks_of_the_file(
    tmp_path: Path, backend: str, order: str
) -> None:
    inner = b"".join(packet(order, 0, n, bytes([n]) * 8) for n in range(1, 5))
    carrier = bytearray(packet(order, 0, 5, inner))
    carrier[-4:] = bytes(4)  # its second length is broken
    after = [packet(order, 0, 6, b"after"), packet(order, 0, 7, b"the end")]
    path = stored(tmp_path / "a.pcapng", section(order), interface(order, 1), bytes(carrier), *after)
    got = read(path)
    assert got.column("data") == [b"after", b"the end"]
    assert got.description.damage_count == 1


def test_damage_longer_than_the_window_is_passed_over(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capfile_window, "WINDOW", 4096)
    monkeypatch.setattr(capfile_pcapng, "LONGEST_FOUND", 1024)
    packets = [packet("<", 0, time, bytes(100)) for time in range(1, 5)]
    path = stored(tmp_path / "a.pcapng", section("<"), interface("<", 1), *packets[:2], b"\x77" * 20_001, *packets[2:])
    got = read(path)
    assert got.column("time") == [1000, 2000, 3000, 4000]
    assert [damage.lost_bytes for damage in got.description.damage] == [20_001]


def test_a_block_larger_than_the_window_is_read(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capfile_window, "WINDOW", 512)
    large = os.urandom(100_000)
    datas = [FRAME, large, FRAME, bytes(700), FRAME[:1]]
    path = stored(
        tmp_path / "a.pcapng",
        section("<"),
        interface("<", 1),
        *(packet("<", 0, time, data, (1, b"note")) for time, data in enumerate(datas)),
    )
    got = read(path)
    assert got.column("data") == datas
    assert set(got.column("options")) == {option("<", 1, b"note")}


def whole_file(order: str) -> bytes:
    return b"".join(
        [
            section(order, (1, b"a comment")),
            interface(order, 1, (2, b"eth0")),
            packet(order, 0, 1, FRAME, (1, b"hello"), (2, struct.pack(order + "I", 1))),
            block(order, 4, bytes(4)),
            simple_packet(order, FRAME, 61),
            packet(order, 0, 2, FRAME[:10]),
            block(order, 5, struct.pack(order + "III", 0, 0, 0)),
        ]
    )


@ORDERS
def test_a_file_cut_anywhere_gives_what_is_whole(tmp_path: Path, backend: str, order: str) -> None:
    data = whole_file(order)
    path = tmp_path / "cut.pcapng"
    whole = len(read(stored(path, data)).packets)
    header = len(section(order, (1, b"a comment")))
    for length in range(header, len(data)):
        got = read(stored(path, data[:length]))
        assert got.column("data") == [FRAME, FRAME, FRAME[:10]][: len(got.packets)]
        ends = struct.unpack_from(order + "I", data, length - 4)[0] if length >= 4 else 0
        clean = 12 <= ends <= length and data[length - ends + 4 : length - ends + 8] == data[length - 4 : length]
        assert clean or got.description.damage_count == 1, length
    assert whole == 3
    for length in range(28):
        with pytest.raises(NotATraceError):
            read(stored(path, data[:length]))
    for length in range(28, header):
        assert read(stored(path, data[:length])).description.damage_count == 1


@ORDERS
def test_a_broken_section_header_costs_only_itself(tmp_path: Path, backend: str, order: str) -> None:
    header = bytearray(section(order))
    header[4:8] = b"\x99\x99\x99\x99"
    got = read(
        stored(tmp_path / "a.pcapng", bytes(header), whole_file(order)[len(section(order, (1, b"a comment"))) :])
    )
    assert len(got.packets) == 3
    assert [(damage.offset, damage.lost_bytes) for damage in got.description.damage] == [(0, len(header))]


@pytest.mark.usefixtures("both_cores")
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_hostile_bytes_never_crash_and_both_cores_agree(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(whole_file("<") + whole_file(">"))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 4))
        content[at : at + 4] = data.draw(
            st.one_of(st.binary(min_size=4, max_size=4), st.sampled_from([b"\xff" * 4, bytes(4), b"\x0c\0\0\0"]))
        )
    path = tmp_path_factory.mktemp("hostile") / "a.pcapng"
    path.write_bytes(content)
    results = []
    for name in ("native", "twin"):
        with use_backend(name):
            try:
                got = read(path)
                results.append((got.packets, got.side, got.description, list(got.context.interfaces)))
            except NotATraceError as error:
                results.append(str(error))  # type: ignore[arg-type]
    assert results[0] == results[1]


def test_a_pipe_is_read(tmp_path: Path, backend: str) -> None:
    data = section("<") + interface("<", 1) + b"".join(packet("<", 0, time, os.urandom(999)) for time in range(500))
    wanted = read(stored(tmp_path / "a.pcapng", data)).packets
    out, into = os.pipe()

    def feed() -> None:
        with os.fdopen(into, "wb") as pipe:
            pipe.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    head = os.read(out, 16)
    source = CaptureFileSource(out, Context(), name="a pipe", head=head)
    got = []
    for chunk in source.chunks():
        for start, length in zip(chunk.packets["offset"], chunk.packets["captured"], strict=True):
            got.append(chunk.buffer[start : start + length].tobytes())
    feeder.join()
    source.close()
    os.close(out)
    assert got == [packet["data"] for packet in wanted]
    assert source.progress() == (len(data), 0)


def test_progress_ends_at_the_size_of_the_file(tmp_path: Path, backend: str) -> None:
    path = stored(tmp_path / "a.pcapng", whole_file("<"))
    source = CaptureFileSource(path, Context())
    assert sum(len(chunk.packets) for chunk in source.chunks()) == 3
    source.close()
    assert source.progress() == (path.stat().st_size, path.stat().st_size)


def test_memory_stays_within_the_window(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    some = b"".join(packet("<", 0, time, bytes(1400)) for time in range(1000))
    with path.open("wb") as file:
        file.write(section("<") + interface("<", 1))
        for _ in range(20):
            file.write(some)
    with closing(CaptureFileSource(path, Context())) as source:
        sizes = {len(chunk.buffer) for chunk in source.chunks()}
    assert max(sizes) <= capfile_window.WINDOW


def test_what_is_no_capture_file_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(NotATraceError, match="empty"):
        read(stored(tmp_path / "empty", b""))
    with pytest.raises(NotATraceError, match="begins with 4d 5a 90 00"):
        read(stored(tmp_path / "exe", b"MZ\x90\0" * 9))
    for magic, what, command in (
        (b"\x1f\x8b\x08", "gzip", "gunzip -k "),
        (b"PK\3\4\x14\0", "zip", "unzip "),
        (b"MSCF" + bytes(4), "cabinet", "cabextract "),
    ):
        packed = stored(tmp_path / "a.packed", magic + bytes(30))
        with pytest.raises(NotATraceError) as raised:
            read(packed)
        assert what in raised.value.cause
        assert raised.value.hint.startswith(command + str(packed))
    wrong = bytearray(section("<"))
    wrong[12:14] = b"\2\0"
    version = stored(tmp_path / "version", bytes(wrong))
    with pytest.raises(NotATraceError, match=r"2\.0"):
        read(version)
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "absent")


def test_sniffing_tells_the_format_by_its_magic() -> None:
    assert sniff(section("<")[:12]) == "pcapng"
    assert sniff(section(">")[:12]) == "pcapng"
    assert sniff(bytes.fromhex("d4c3b2a1")) == sniff(bytes.fromhex("a1b23c4d")) == "pcap"
    assert sniff(b"\x0a\x0d\x0d\x0a\x1c\0\0\0abcd") is None
    assert sniff(b"") is None


def test_a_round_trip_keeps_packets_times_comments_names_and_secrets(tmp_path: Path, tshark: str, backend: str) -> None:
    frames = [bytes(12) + b"\x08\x00" + bytes([n]) * (n + 20) for n in range(9)]
    name = struct.pack("<HH", 1, 9) + bytes([192, 0, 2, 1]) + b"host\0\0\0\0" + bytes(4)
    source = stored(
        tmp_path / "in.pcapng",
        section("<", (1, b"kept elsewhere")),
        interface("<", 1, (2, b"eth0"), (3, b"a card"), (9, b"\x09"), (13, b"\x20"), (11, b"\0tcp")),
        block("<", 4, name),
        *(
            packet(
                "<", 0, 1_700_000_000_000_000_001 + n, frame, (1, b"c%d" % n), (1, b"second"),
                (2, struct.pack("<I", 1 + n % 2 + 0x20)), (5, struct.pack("<Q", n + 1)), original=200 + n,
            )
            for n, frame in enumerate(frames)
        ),
    )  # fmt: skip
    target = tmp_path / "out.pcapng"
    convert(source, target)
    before, after = read(source), read(target)
    for column in ("data", "time", "original", "direction", "packet_id", "options", "interface"):
        assert before.column(column) == after.column(column), column
    assert before.side == after.side
    kept, face = before.context.interfaces[0], after.context.interfaces[0]
    assert (kept.name, kept.description, kept.filter, kept.options) == (
        face.name, face.description, face.filter, face.options,
    )  # fmt: skip
    names = ("frame.time_epoch", "frame.len", "frame.cap_len", "frame.comment", "frame.interface_name")
    shown = fields(tshark, target, *names)
    assert shown == fields(tshark, source, *names)
    assert shown[0][3] == "c0,second"


def test_files_made_by_editcap_are_read(tmp_path: Path, tshark: str, backend: str) -> None:
    editcap = tool_path("editcap")
    frames = [bytes(12) + b"\x88\xb5" + os.urandom(40 + n) for n in range(30)]
    first = stored(
        tmp_path / "in.pcapng",
        section("<"),
        interface("<", 1, (9, b"\x09")),
        *(packet("<", 0, 1_700_000_000_123_456_789 + n, frame) for n, frame in enumerate(frames)),
    )
    for kind in ("pcapng", "pcap", "nsecpcap", "modpcap"):
        made = tmp_path / f"made.{kind}"
        subprocess.run([editcap, "-F", kind, "-s", "60", str(first), str(made)], check=True, timeout=60)
        got = read(made)
        assert got.column("data") == [frame[:60] for frame in frames]
        assert got.column("original") == [len(frame) for frame in frames]
        step = 1000 if kind in ("pcap", "modpcap") else 1
        assert got.column("time") == [(1_700_000_000_123_456_789 + n) // step * step for n in range(30)]
        assert got.damage == []


def test_rows_beyond_one_chunk_come_in_the_next(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capfile, "ROWS", 7)
    path = stored(
        tmp_path / "a.pcapng", section("<"), interface("<", 1), *(packet("<", 0, n, FRAME) for n in range(20))
    )
    with closing(CaptureFileSource(path, Context())) as source:
        sizes = [len(chunk.packets) for chunk in source.chunks()]
    assert sizes == [7, 7, 6, 0]
    assert np.array_equal(read(path).column("time"), np.arange(20) * 1000)


def test_side_blocks_without_packets_do_not_gather_in_memory(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capfile_pcapng, "SIDE_BYTES", 1000)
    path = stored(tmp_path / "a.pcapng", section("<"), *(block("<", 0xBAD, bytes(400)) for _ in range(10)))
    with closing(CaptureFileSource(path, Context())) as source:
        sizes = [len(chunk.side_blocks) for chunk in source.chunks()]
    assert sum(sizes) == 10
    assert max(sizes) <= 4


def test_more_interfaces_than_any_machine_has_are_damage(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capfile_pcapng, "MOST_INTERFACES", 20)
    path = stored(tmp_path / "a.pcapng", section("<"), *[interface("<", 1)] * 21, packet("<", 19, 1, FRAME))
    got = read(path)
    assert got.column("interface") == [19]
    assert len(got.context.interfaces) == 20
    assert "more than 20 interfaces" in got.damage[0]


def test_a_big_endian_file_comes_out_as_tshark_sees_it(tmp_path: Path, tshark: str, backend: str) -> None:
    names = struct.pack(">HH", 1, 9) + bytes([192, 0, 2, 1]) + b"host\0\0\0\0" + bytes(4)
    frames = [bytes(12) + b"\x88\xb5" + bytes([n]) * (46 + n) for n in range(12)]
    source = stored(
        tmp_path / "in.pcapng",
        section(">", (1, b"big")),
        interface(">", 1, (2, b"eth0"), (9, b"\x8c"), (14, struct.pack(">q", 1_700_000_000))),
        block(">", 4, names),
        *(
            packet(">", 0, n << 12 | n, frame, (1, b"note %d" % n), (2, struct.pack(">I", 1 + n % 2)))
            for n, frame in enumerate(frames)
        ),
    )
    target = tmp_path / "out.pcapng"
    convert(source, target)
    shown = (
        "frame.time_epoch",
        "frame.len",
        "frame.comment",
        "frame.packet_flags",
        "frame.interface_name",
        "data.data",
    )
    assert fields(tshark, target, *shown) == fields(tshark, source, *shown)
    times = [Fraction(1_700_000_000) + Fraction(n << 12 | n, 1 << 12) for n in range(12)]
    assert read(target).column("time") == [int(time * 10**9) for time in times]
