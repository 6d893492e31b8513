from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture_files import chunk_of, context_of, convert, fields, read
from conftest import tool_path
from etwcap.errors import MixedLinkTypesError, NotATraceError
from etwcap.native import use_backend
from etwcap.packets import Context, Interface, Mark, PacketTable
from etwcap.sinks.output import Output
from etwcap.sinks.pcap import PcapSink
from pcapng_build import interface, packet, pcap, section

ORDERS = pytest.mark.parametrize("order", ["<", ">"])
FRAMES = [bytes(12) + b"\x88\xb5" + bytes([n]) * (46 + n) for n in range(20)]


@ORDERS
@pytest.mark.parametrize(("magic", "scale"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1), (0xA1B2CD34, 1000)])
def test_pcap_of_both_byte_orders_and_resolutions_is_read(
    tmp_path: Path, backend: str, order: str, magic: int, scale: int
) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(order, magic, 1, *((1_700_000_000, n + 5, frame, 900) for n, frame in enumerate(FRAMES))))
    got = read(path)
    assert got.column("data") == FRAMES
    assert got.column("time") == [1_700_000_000 * 10**9 + (n + 5) * scale for n in range(20)]
    assert got.column("original") == [900] * 20
    assert got.description.resolution == scale
    assert (got.context.interfaces[0].link_type, got.context.interfaces[0].snap_length) == (1, 65535)
    assert got.damage == []


def test_link_type_with_frame_check_sequence_keeps_its_length(tmp_path: Path, backend: str) -> None:
    source = tmp_path / "a.pcap"
    source.write_bytes(pcap("<", 0xA1B2C3D4, 1 | 1 << 26 | 2 << 28, (1, 0, FRAMES[0], 60)))
    face = read(source).context.interfaces[0]
    assert (face.link_type, face.options) == (1, struct.pack("<HHB3x", 13, 1, 32))
    convert(source, tmp_path / "b.pcapng")
    convert(tmp_path / "b.pcapng", tmp_path / "c.pcap")
    assert struct.unpack_from("<I", (tmp_path / "c.pcap").read_bytes(), 20)[0] == 1 | 1 << 26 | 2 << 28


def test_captured_above_original_is_marked(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap("<", 0xA1B2C3D4, 1, (1, 0, FRAMES[0], 7)))
    got = read(path)
    assert got.column("original") == [len(FRAMES[0])]
    assert got.column("flags") == [Mark.LENGTH_IMPLAUSIBLE]


def older(order: str, version: tuple[int, int], packets: list[tuple[bytes, int]]) -> bytes:
    """A pcap file as a version before 2.4 wrote it, or DG/UX: (data, original length), the original length first; in
    2.3 that of every second packet only."""
    out = struct.pack(order + "IHHiIII", 0xA1B2C3D4, *version, 0, 0, 65535, 1)
    for number, (data, original) in enumerate(packets):
        lengths = [original, len(data)] if version != (2, 3) or number % 2 else [len(data), original]
        out += struct.pack(order + "IIII", 1_700_000_000 + number, 7, *lengths) + data
    return out


OLDER = pytest.mark.parametrize("version", [(2, 0), (2, 2), (2, 3), (543, 0)])


@ORDERS
@OLDER
def test_older_versions_tell_the_lengths_in_another_order(
    tmp_path: Path, tshark: str, backend: str, order: str, version: tuple[int, int]
) -> None:
    path, written = tmp_path / "a.pcap", tmp_path / "b.pcapng"
    path.write_bytes(older(order, version, [(frame, 900 + n) for n, frame in enumerate(FRAMES)]))
    got = read(path)
    assert got.column("data") == FRAMES
    assert got.column("original") == list(range(900, 920))
    assert got.damage == []
    convert(path, written)
    told = ["frame.len", "frame.cap_len", "frame.time_epoch"]
    assert fields(tshark, written, *told) == fields(tshark, path, *told)


@ORDERS
@OLDER
def test_of_an_older_version_too_reading_goes_on_behind_damage(
    tmp_path: Path, backend: str, order: str, version: tuple[int, int]
) -> None:
    path = tmp_path / "a.pcap"
    frames = [frame * 20 for frame in FRAMES]
    data = bytearray(older(order, version, [(frame, 65000) for frame in frames]))
    broken = 24 + 16 + len(frames[0])
    data[broken + 8 : broken + 16] = bytes([0xFF]) * 8
    path.write_bytes(data)
    got = read(path)
    assert got.column("data") == [frames[0], *frames[2:]]
    assert [(each.offset, each.lost_bytes) for each in got.description.damage] == [(broken, 16 + len(frames[1]))]


def test_an_impossible_length_ends_the_reading_with_its_place(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "a.pcap"
    good = pcap("<", 0xA1B2C3D4, 1, (1, 0, FRAMES[0], 60))
    path.write_bytes(good + struct.pack("<IIII", 2, 0, 0x10000000, 60) + bytes(500))
    got = read(path)
    assert got.column("data") == FRAMES[:1]
    assert [(damage.offset, damage.lost_bytes) for damage in got.description.damage] == [(len(good), 516)]


@ORDERS
@pytest.mark.parametrize("wrong", [0, 1, 59, 61, 1000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_reading_goes_on_behind_a_record_of_a_wrong_length(
    tmp_path: Path, backend: str, order: str, wrong: int
) -> None:
    path = tmp_path / "a.pcap"
    frames = [bytes([n]) * 60 for n in range(1, 9)]
    data = bytearray(pcap(order, 0xA1B2C3D4, 1, *((1_700_000_000 + n, n, each, 60) for n, each in enumerate(frames))))
    place = 24 + 3 * 76
    struct.pack_into(order + "I", data, place + 8, wrong)
    path.write_bytes(data)
    got = read(path)
    assert [each for each in got.column("data") if each in frames] == frames[:3] + frames[4:]
    assert len(got.column("data")) <= len(frames)
    assert [place <= damage.offset < place + 76 for damage in got.description.damage] == [True]


LEGAL = {
    "empty packets": [(0, 0, b"", 0)] * 2,
    "nothing captured": [(0, 0, b"", 60)] * 2,
    "packets of a few bytes": [(0, 0, b"abc", 3)] * 2,
    "captured above original": [(0, 0, FRAMES[3], 7)] * 2,
    "times far back": [(-400_000_000, 0, FRAMES[3], 60)] * 2,
    "times of zero": [(-1_700_000_000, 0, FRAMES[3], 60)] * 2,
    "a fraction above a second": [(0, 2_000_000, FRAMES[3], 60)] * 2,
}
"""packets that some writers make and other readers take: (seconds to add, microseconds, bytes, original length)"""


def odd_capture(order: str, odd: list[tuple[int, int, bytes, int]]) -> tuple[bytes, list[bytes]]:
    """A pcap file with odd packets in its middle and at its end, and its packets."""
    rows = [(1_700_000_000 + n, n, frame, 900) for n, frame in enumerate(FRAMES)]
    odd = [(1_700_000_000 + step, fraction, data, original) for step, fraction, data, original in odd]
    rows = [*rows[:5], *odd, *rows[5:9], *odd[:1], *rows[9:], *odd]
    return pcap(order, 0xA1B2C3D4, 1, *rows), [data for _, _, data, _ in rows]


@ORDERS
@pytest.mark.parametrize("odd", LEGAL)
def test_what_is_odd_but_legal_is_no_damage(tmp_path: Path, backend: str, order: str, odd: str) -> None:
    path = tmp_path / "a.pcap"
    data, frames = odd_capture(order, LEGAL[odd])
    path.write_bytes(data)
    got = read(path)
    assert got.column("data") == frames
    assert got.description.damage_count == 0


@pytest.mark.parametrize("odd", LEGAL)
def test_tshark_takes_what_is_odd_but_legal_too(tmp_path: Path, tshark: str, odd: str) -> None:
    path = tmp_path / "a.pcap"
    data, frames = odd_capture("<", LEGAL[odd])
    path.write_bytes(data)
    shown = subprocess.run(
        [tshark, "-n", "-r", path, "-T", "fields", "-e", "frame.cap_len"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == [str(len(frame)) for frame in frames]


@ORDERS
@pytest.mark.parametrize("odd", ["empty packets", "nothing captured", "packets of a few bytes"])
def test_behind_damage_tiny_packets_are_found_too(tmp_path: Path, backend: str, order: str, odd: str) -> None:
    path = tmp_path / "a.pcap"
    content, frames = odd_capture(order, LEGAL[odd])
    data = bytearray(content)
    place = 24 + sum(16 + len(frame) for frame in frames[:4])  # the packet before the first odd one
    data[place : place + 16] = bytes([0xFF]) * 16
    path.write_bytes(data)
    got = read(path)
    assert got.column("data") == frames[:4] + frames[5:]
    assert [each.offset for each in got.description.damage] == [place]


@pytest.mark.parametrize("size", [16, 60, 64, 640])
def test_zeros_in_a_packet_are_not_taken_for_empty_packets(tmp_path: Path, backend: str, size: int) -> None:
    path = tmp_path / "a.pcap"
    frames = [bytes(size)] * 6
    data = bytearray(pcap("<", 0xA1B2C3D4, 1, *((1_700_000_000 + n, 0, frame, size) for n, frame in enumerate(frames))))
    struct.pack_into("<I", data, 24 + 2 * (16 + size) + 8, 0)
    path.write_bytes(data)
    got = read(path)
    assert [each for each in got.column("data") if each] == frames[:5]
    assert len(got.column("data")) <= 6
    assert got.description.damage_count == 1


@ORDERS
def test_a_pcap_cut_anywhere_gives_what_is_whole(tmp_path: Path, backend: str, order: str) -> None:
    path = tmp_path / "a.pcap"
    data = pcap(order, 0xA1B23C4D, 1, *((1_700_000_000, n, frame, 60) for n, frame in enumerate(FRAMES[:3])))
    ends = [24 + sum(16 + len(frame) for frame in FRAMES[:n]) for n in range(4)]
    for length in range(24, len(data) + 1):
        path.write_bytes(data[:length])
        got = read(path)
        assert got.column("data") == FRAMES[: sum(end <= length for end in ends) - 1]
        assert got.description.damage_count == (length not in ends)
    for length in range(24):
        path.write_bytes(data[:length])
        with pytest.raises(NotATraceError):
            read(path)


@pytest.mark.usefixtures("both_cores")
@given(content=st.binary(max_size=300), order=st.sampled_from("<>"))
@settings(max_examples=100, deadline=None)
def test_both_cores_read_hostile_pcap_alike(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, order: str
) -> None:
    path = tmp_path_factory.mktemp("hostile") / "a.pcap"
    path.write_bytes(pcap(order, 0xA1B2C3D4, 1, (1, 0, FRAMES[0], 60)) + content)
    results = []
    for name in ("native", "twin"):
        with use_backend(name):
            got = read(path)
            results.append((got.packets, got.description))
    assert results[0] == results[1]


def test_written_pcap_is_what_tshark_and_capinfos_read(tmp_path: Path, tshark: str, backend: str) -> None:
    source = tmp_path / "a.pcapng"
    parts = [packet("<", 0, 1_700_000_000_123_456_789 + n, frame, original=500) for n, frame in enumerate(FRAMES)]
    source.write_bytes(section("<") + interface("<", 1, (9, b"\x09")) + b"".join(parts))
    target = tmp_path / "b.pcap"
    context = convert(source, target)
    names = ("frame.time_epoch", "frame.len", "frame.cap_len", "eth.type", "data.data")
    assert fields(tshark, target, *names) == fields(tshark, source, *names)
    shown = subprocess.run([tool_path("capinfos"), str(target)], capture_output=True, text=True, check=True).stdout
    assert "nanoseconds (9)" in shown
    assert "Number of packets:   20" in shown
    assert context.receipt.packets_written == 20
    assert context.receipt.bytes_written == target.stat().st_size


def test_snap_length_covers_the_longest_packet(tmp_path: Path, backend: str) -> None:
    context = context_of(Interface(1))
    sink = PcapSink(Output(tmp_path / "a.pcap"), context)
    sink.write(chunk_of([b"short"]))
    sink.write(chunk_of([bytes(300_000)]))
    sink.finish()
    assert struct.unpack_from("<I", (tmp_path / "a.pcap").read_bytes(), 16)[0] == 300_000


def test_times_that_pcap_cannot_hold_are_clamped_and_counted(tmp_path: Path, backend: str) -> None:
    context = context_of(Interface(1))
    sink = PcapSink(Output(tmp_path / "a.pcap"), context)
    sink.write(chunk_of([b"a", b"b", b"c"], time=np.array([-5, 2**63 - 1, 7])))
    sink.finish()
    assert read(tmp_path / "a.pcap").column("time") == [0, (2**32 - 1) * 10**9 + 999_999_999, 7]
    assert context.receipt.notes["time-clamped"].count == 2


def test_a_second_link_type_is_refused_by_name(tmp_path: Path, backend: str) -> None:
    context = context_of(Interface(1, name="Ethernet 2"), Interface(1, name="idle"), Interface(105, name="Wi-Fi"))
    sink = PcapSink(Output(tmp_path / "a.pcap"), context)
    sink.write(chunk_of([b"a"]))
    with pytest.raises(MixedLinkTypesError) as raised:
        sink.write(chunk_of([b"a", b"b"], interface=np.array([0, 2])))
    sink.abort()
    assert raised.value.cause == "Ethernet 2: Ethernet, Wi-Fi: 802.11"
    assert "-i INTERFACE" in raised.value.hint
    assert "--ethernet" in raised.value.hint
    assert os.listdir(tmp_path) == []


def test_several_interfaces_of_one_link_type_fit_into_a_pcap(tmp_path: Path, backend: str) -> None:
    sink = PcapSink(Output(tmp_path / "a.pcap"), context_of(Interface(101), Interface(101)))
    sink.write(chunk_of([b"a", b"b"], interface=np.array([1, 0])))
    sink.finish()
    got = read(tmp_path / "a.pcap")
    assert (got.column("data"), got.context.interfaces[0].link_type) == ([b"a", b"b"], 101)


def test_a_pcap_without_packets_is_a_header(tmp_path: Path) -> None:
    sink = PcapSink(Output(tmp_path / "a.pcap"), Context())
    sink.write(chunk_of([]))
    sink.finish()
    assert read(tmp_path / "a.pcap").packets == []


@pytest.mark.parametrize("bad", [{"offset": -1}, {"offset": 2}, {"captured": 6}, {"interface": 1}, {"interface": -1}])
def test_a_row_outside_its_chunk_is_an_error(tmp_path: Path, backend: str, bad: dict[str, int]) -> None:
    chunk = chunk_of([b"12345"])
    columns = {"offset": 1, "captured": 4, "interface": 0, **bad}
    chunk.packets = PacketTable(1, **{name: np.array([value]) for name, value in columns.items()})
    sink = PcapSink(Output(tmp_path / "a.pcap"), context_of(Interface(1)))
    with pytest.raises(IndexError):
        sink.write(chunk)
    sink.abort()
