from __future__ import annotations

import struct
import subprocess
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture_files import chunk_of, context_of, fields, read, write_pcapng
from etwcap.native import use_backend
from etwcap.native.blocks import DTYPES, Written, epb_writer, pcap_writer, prepared
from etwcap.packets import Context, Description, Interface, Mark, PacketTable, Session, SideBlock
from etwcap.packets.table import NO_PROCESS
from etwcap.sinks.output import Output
from etwcap.sinks.pcapng import PcapngSink, Section
from pcapng_build import option

TIME = 1_700_000_000_123_456_700
FRAMES = [bytes(12) + b"\x88\xb5" + bytes([n]) * (46 + n) for n in range(8)]


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """(type, body) of each block; checks both lengths and that nothing is left over."""
    found, at = [], 0
    while at < len(data):
        kind, total = struct.unpack_from("<II", data, at)
        assert total % 4 == 0
        assert struct.unpack_from("<I", data, at + total - 4)[0] == total
        found.append((kind, data[at + 8 : at + total - 4]))
        at += total
    assert at == len(data)
    return found


def options(data: bytes) -> list[tuple[int, bytes]]:
    """(code, value) of an options section, which ends with opt_endofopt or is not there at all."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        code, length = struct.unpack_from("<HH", data, at)
        value = data[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4
        if code == 0:
            assert (length, at) == (0, len(data))
            return found
        found.append((code, value))
    assert not data
    return found


def packet_options(data: bytes) -> list[list[tuple[int, bytes]]]:
    """Of each Enhanced Packet Block."""
    found = []
    for kind, body in blocks(data):
        if kind == 6:
            captured = struct.unpack_from("<I", body, 12)[0]
            found.append(options(body[20 + captured + -captured % 4 :]))
    return found


def test_a_section_says_machine_system_and_application(tmp_path: Path, capinfos: str, backend: str) -> None:
    section = Section("a machine", "Windows 11 (build 26100)", "etwcap 0.1", ["session Réseau", "two lines\nhere"])
    path = tmp_path / "a.pcapng"
    data = write_pcapng(path, [chunk_of(FRAMES)], context_of(Interface(1, name="Ethernet")), section)
    kind, body = blocks(data)[0]
    assert (kind, struct.unpack_from("<IHHq", body)) == (0x0A0D0D0A, (0x1A2B3C4D, 1, 0, -1))
    assert options(body[16:]) == [
        (2, b"a machine"),
        (3, b"Windows 11 (build 26100)"),
        (4, b"etwcap 0.1"),
        (1, "session Réseau".encode()),
        (1, b"two lines\nhere"),
    ]
    shown = subprocess.run([capinfos, str(path)], capture_output=True, text=True, check=True).stdout
    for line in ("a machine", "Windows 11 (build 26100)", "etwcap 0.1", "Name = Ethernet", "Time resolution = 0x09"):
        assert line in shown


def test_an_interface_block_says_everything_that_is_known(tmp_path: Path, backend: str) -> None:
    interface = Interface(
        105,
        name="WLAN",
        description="Intel Wi-Fi",
        mac=b"\2\0\0\0\0\1",
        ipv4=[IPv4Interface("192.0.2.1/24"), IPv4Interface("198.51.100.7")],
        ipv6=[IPv6Interface("2001:db8::1/64")],
        speed=866_700_000,
        os="Windows 10",
        hardware="rev 2",
        filter="port 53",
        snap_length=128,
        options=option("<", 13, b"\x20"),
    )
    kind, body = blocks(write_pcapng(tmp_path / "a", [chunk_of(FRAMES)], context_of(interface)))[1]
    assert (kind, struct.unpack_from("<HHI", body)) == (1, (105, 0, 128))
    assert options(body[8:]) == [
        (2, b"WLAN"),
        (3, b"Intel Wi-Fi"),
        (4, bytes([192, 0, 2, 1, 255, 255, 255, 0])),
        (4, bytes([198, 51, 100, 7, 255, 255, 255, 255])),
        (5, IPv6Interface("2001:db8::1/64").ip.packed + b"\x40"),
        (6, b"\2\0\0\0\0\1"),
        (8, struct.pack("<Q", 866_700_000)),
        (9, b"\x09"),
        (11, b"\0port 53"),
        (12, b"Windows 10"),
        (15, b"rev 2"),
        (13, b"\x20"),
    ]


def test_tshark_shows_what_went_in(tmp_path: Path, tshark: str, backend: str) -> None:
    context = context_of(Interface(1, name="unused"), Interface(1, name="Ethernet"), Interface(1, name="Ethernet 2"))
    chunk = chunk_of(
        FRAMES,
        time=np.arange(8) * 100 + TIME,
        interface=np.array([2, 1] * 4),
        direction=np.array([0, 1, 2] * 2 + [0, 1]),
        original=np.arange(8) + 1000,
        packet_id=np.arange(8),
        drop_count=np.array([0, 1] * 4),
        drop_reason=np.full(8, 601),
        drop_location=np.full(8, 0xE0004143),
        flags=np.full(8, Mark.PROCESS_TRUSTED),
        process=np.array([4, NO_PROCESS] * 4),
        thread=np.full(8, 8),
    )
    context.add_comment(chunk.packets, np.array([3]), "dropped: Réason")
    context.add_comment(chunk.packets, np.array([3]), "second line")
    path = tmp_path / "a.pcapng"
    write_pcapng(path, [chunk], context)
    names = ("frame.time_epoch", "frame.len", "frame.cap_len", "frame.interface_name", "frame.packet_flags_direction")
    shown = fields(tshark, path, *names)
    for n, row in enumerate(shown[:3]):
        assert row[0] == f"1700000000.123456{7 + n}00"
        assert row[1:4] == [str(1000 + n), str(len(FRAMES[n])), ("Ethernet 2", "Ethernet")[n % 2]]
    directions = [int(row[4], 16) if row[4] else 0 for row in shown]
    assert directions == [0, 1, 2, 0, 1, 2, 0, 1]
    comment = subprocess.run(
        [tshark, "-r", str(path), "-Y", "frame.number==4", "-T", "json", "-e", "frame.comment"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "dropped: R" in comment
    assert "second line" in comment


def test_packet_options_stand_where_there_is_something_to_say(tmp_path: Path, backend: str) -> None:
    context = context_of(Interface(1))
    chunk = chunk_of(
        FRAMES[:5],
        direction=np.array([0, 2, 0, 0, 0]),
        packet_id=np.array([0, 0, 7, 0, 0]),
        drop_count=np.array([0, 0, 0, 2, 0]),
        drop_reason=np.array([9, 9, 9, 601, 9]),
        drop_location=np.array([8, 8, 8, 0xE0004143, 8]),
        flags=np.array([0, 0, 0, 0, Mark.PROCESS_TRUSTED]),
        process=np.array([1, 2, 3, 4, 5]),
    )
    context.add_comment(chunk.packets, np.array([4]), "why")
    assert packet_options(write_pcapng(tmp_path / "a", [chunk], context)) == [
        [],
        [(2, struct.pack("<I", 2))],
        [(5, struct.pack("<Q", 7))],
        [(7, struct.pack("<BII", 0, 601, 0xE0004143))],
        [(8, struct.pack("<II", 5, 0)), (1, b"why")],
    ]


def test_carried_options_are_not_written_twice(tmp_path: Path, backend: str) -> None:
    carried = option("<", 1, b"theirs") + option("<", 2, struct.pack("<I", 0x201)) + option("<", 5, bytes(8))
    chunk = chunk_of([b"data", carried])
    chunk.packets = PacketTable(
        1,
        offset=np.array([0]),
        captured=np.array([4]),
        direction=np.array([2]),
        packet_id=np.array([7]),
        options_offset=np.array([4]),
        options_length=np.array([len(carried)]),
    )
    context = context_of(Interface(1))
    context.add_comment(chunk.packets, np.array([0]), "ours")
    assert packet_options(write_pcapng(tmp_path / "a", [chunk], context)) == [
        [(1, b"theirs"), (2, struct.pack("<I", 0x202)), (5, bytes(8)), (1, b"ours")]
    ]


def test_an_interface_block_stands_before_its_first_packet_and_only_if_there_is_one(
    tmp_path: Path, backend: str
) -> None:
    context = context_of(*(Interface(n, name=f"if{n}") for n in range(4)))
    chunk = chunk_of(FRAMES[:4], interface=np.array([3, 3, 1, 3]))
    found = blocks(write_pcapng(tmp_path / "a", [chunk], context))
    assert [kind for kind, _ in found] == [0x0A0D0D0A, 1, 6, 6, 1, 6, 6, 5, 5]
    numbers = [struct.unpack_from("<I", body)[0] for kind, body in found if kind == 6]
    assert numbers == [0, 0, 1, 0]
    assert [struct.unpack_from("<H", body)[0] for kind, body in found if kind == 1] == [3, 1]


def test_an_interface_that_comes_later_gets_its_block(tmp_path: Path, backend: str) -> None:
    context = context_of(Interface(1, name="a"))
    sink = PcapngSink(Output(tmp_path / "a.pcapng"), context)
    sink.write(chunk_of(FRAMES[:1]))
    context.interfaces.add(Interface(101, name="b"))
    sink.write(chunk_of(FRAMES[1:3], interface=np.array([1, 0])))
    sink.finish()
    got = read(tmp_path / "a.pcapng")
    assert [got.context.interfaces[number].name for number in got.column("interface")] == ["a", "b", "a"]


def test_statistics_tell_what_was_received_dropped_and_lost(tmp_path: Path, backend: str) -> None:
    context = context_of(Interface(1, reports=50, drops=3), Interface(1))
    description = Description(session=Session(start=TIME - 10, end=TIME + 10_000))
    description.losses.events = 12
    context.descriptions.append(description)
    sink = PcapngSink(Output(tmp_path / "a.pcapng"), context)
    sink.write(chunk_of(FRAMES[:3], interface=np.array([0, 1, 0]), time=np.array([TIME, TIME + 1, TIME + 2])))
    context.interfaces[1].description = "told late"
    sink.finish()
    first, second = (body for kind, body in blocks((tmp_path / "a.pcapng").read_bytes()) if kind == 5)
    high, low = divmod(TIME + 10_000, 2**32)
    assert struct.unpack_from("<III", first) == (0, high, low)
    assert options(first[12:]) == [
        (2, struct.pack("<II", *divmod(TIME - 10, 2**32))),
        (3, struct.pack("<II", high, low)),
        (4, struct.pack("<Q", 50)),
        (5, struct.pack("<Q", 3)),
        (7, struct.pack("<Q", 12)),
        (8, struct.pack("<Q", 2)),
        (1, b"isb_osdrop counts the events lost on all interfaces together"),
    ]
    assert options(second[12:])[2:] == [
        (4, struct.pack("<Q", 1)),
        (8, struct.pack("<Q", 1)),
        (1, b"learnt after the interface's block was written: description: told late"),
    ]
    assert context.receipt.packets_written == 3
    assert (context.receipt.first_time, context.receipt.last_time) == (TIME, TIME + 2)
    assert context.receipt.bytes_written == (tmp_path / "a.pcapng").stat().st_size


def test_side_blocks_go_through_before_the_packets_of_their_chunk(tmp_path: Path, backend: str) -> None:
    context = context_of(Interface(1))
    empty, full = chunk_of([]), chunk_of(FRAMES[:1])
    empty.side_blocks = [SideBlock(4, bytes(4))]
    full.side_blocks = [SideBlock(0xBAD, b"12345")]
    last = chunk_of([])
    last.side_blocks = [SideBlock(10, bytes(8))]
    found = blocks(write_pcapng(tmp_path / "a", [empty, full, last], context))
    assert [kind for kind, _ in found] == [0x0A0D0D0A, 4, 0xBAD, 1, 6, 10, 5]
    assert found[2][1] == b"12345\0\0\0"


def test_nothing_is_written_before_a_packet(tmp_path: Path) -> None:
    output = Output(tmp_path / "a.pcapng")
    sink = PcapngSink(output, context_of(Interface(1)))
    sink.write(chunk_of([]))
    sink.flush()
    assert output.written == 0
    sink.abort()
    assert list(tmp_path.iterdir()) == []


def test_times_before_1970_are_clamped_and_counted(tmp_path: Path, backend: str) -> None:
    context = context_of(Interface(1))
    write_pcapng(tmp_path / "a", [chunk_of(FRAMES[:2], time=np.array([-1, 2**63 - 1]))], context)
    assert read(tmp_path / "a").column("time") == [0, 2**63 - 1]
    assert context.receipt.notes["time-clamped"].count == 1


def test_a_comment_too_long_for_an_option_is_cut_at_a_character(tmp_path: Path, backend: str) -> None:
    context = context_of(Interface(1))
    chunk = chunk_of(FRAMES[:1])
    context.add_comment(chunk.packets, np.array([0]), "x" + "ö" * 40_000)
    ((_, comment),) = packet_options(write_pcapng(tmp_path / "a", [chunk], context))[0]
    assert comment == ("x" + "ö" * 32_767).encode()


def test_text_that_is_no_unicode_does_not_stop_the_writing(tmp_path: Path, backend: str) -> None:
    context = context_of(Interface(1, name="lone \ud800 surrogate"))
    chunk = chunk_of(FRAMES[:1])
    context.add_comment(chunk.packets, np.array([0]), "\udfff")
    write_pcapng(tmp_path / "a", [chunk], context)
    assert read(tmp_path / "a").context.interfaces[0].name == "lone \\ud800 surrogate"


def test_a_packet_larger_than_the_output_buffer_is_written(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etwcap.sinks.pcapng.BUFFER", 100)
    datas = [b"1", bytes(5000), b"2", bytes(90)]
    write_pcapng(tmp_path / "a", [chunk_of(datas, direction=np.array([1, 2, 1, 2]))], context_of(Interface(1)))
    assert read(tmp_path / "a").column("data") == datas


@pytest.mark.parametrize(
    "bad",
    [
        {"offset": -1},
        {"offset": 4},
        {"captured": 2**32 - 1},
        {"offset": 2**63 - 1},
        {"interface": 1},
        {"interface": -1},
        {"comment": 0},
        {"options_length": 8, "options_offset": 1},
        {"options_length": 8, "options_offset": -4},
        {"options_length": 3},
    ],
)
def test_a_row_outside_its_chunk_is_an_error(tmp_path: Path, backend: str, bad: dict[str, int]) -> None:
    chunk = chunk_of([b"12345678"])
    columns = {"offset": 1, "captured": 5, **bad}
    chunk.packets = PacketTable(1, **{name: np.array([value]) for name, value in columns.items()})
    sink = PcapngSink(Output(tmp_path / "a.pcapng"), context_of(Interface(1)))
    with pytest.raises(IndexError):
        sink.write(chunk)
    sink.abort()


def test_writing_many_chunks_equals_writing_one(tmp_path: Path, backend: str) -> None:
    whole = chunk_of(FRAMES, time=np.arange(8), direction=np.full(8, 1))
    parts = [chunk_of(FRAMES, time=np.arange(8), direction=np.full(8, 1)) for _ in range(3)]
    for part, rows in zip(parts, (slice(0, 3), slice(3, 3), slice(3, 8)), strict=True):
        part.packets = part.packets.take(rows)
    one = write_pcapng(tmp_path / "one", [whole], context_of(Interface(1)))
    many = write_pcapng(tmp_path / "many", parts, context_of(Interface(1)))
    assert one == many


def edge(kind: type[np.generic]) -> st.SearchStrategy[int]:
    low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)  # type: ignore[type-var]
    return st.one_of(st.integers(-1 if low else 0, 20), st.sampled_from([low, high, high - 1, min(high, 2**31)]))


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, dict[str, Any], int]:
    rows = draw(st.integers(1, 5))
    names = draw(st.sets(st.sampled_from(sorted(DTYPES)))) | {"offset", "captured"}
    columns = {}
    for name in sorted(names):
        values = draw(st.lists(edge(DTYPES[name]), min_size=rows, max_size=rows))
        columns[name] = np.array(values, DTYPES[name])
    head = draw(st.binary(min_size=8, max_size=40))
    carried = draw(st.sampled_from([b"", option("<", 2, b"\1\2\3\4"), option("<", 5, bytes(8)), b"\1\0\xff\xff"]))
    return head[:8] + carried + head, columns, rows


@pytest.mark.usefixtures("both_cores")
@given(table=tables(), room=st.integers(0, 300), kind=st.sampled_from([epb_writer, pcap_writer]))
@settings(max_examples=400, deadline=None)
def test_both_cores_write_the_same_bytes(table: tuple[bytes, dict[str, Any], int], room: int, kind: Any) -> None:
    data, columns, rows = table
    buffer = np.frombuffer(data, np.uint8)
    results = []
    for name in ("native", "twin"):
        with use_backend(name):
            writer = kind(room, 32) if kind is epb_writer else kind(room)
            writer.reserve(15)
            writer.numbers[::2] = np.arange(8)
            writer.texts.append("")
            writer.texts.append("päckchen")
            columns_now, out, start, steps = prepared(columns), b"", 0, []
            while (result := writer.write(buffer, columns_now, rows, start)) is Written.FULL:
                steps.append((writer.row, writer.need))
                out += writer.out[: writer.used].tobytes()
                writer.used, start = 0, writer.row
                writer.grow(writer.need)
            out += writer.out[: writer.used].tobytes()
            used = writer.tallies[writer.tallies["packets"] > 0].tolist()
            results.append((result, writer.row, out, steps, used, writer.clamped, writer.longest))
    assert results[0] == results[1]


def test_an_empty_context_makes_a_valid_empty_file(tmp_path: Path, tshark: str) -> None:
    write_pcapng(tmp_path / "a.pcapng", [], Context())
    assert fields(tshark, tmp_path / "a.pcapng", "frame.number") == []
