"""``convert`` and ``info`` of recordings: what was taken away comes back, as far as it can be known."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

import etwcap
from capture_files import fields, read
from command_line import etwcap as run
from etwcap.inspect.info import describe_trace
from etwcap.packets import AddressKind, Mark
from etwcap.pipeline.convert import ConvertOptions, convert
from etwcap.synth.options import SynthOptions
from etwcap.synth.run import synthesize
from frames import ACK, HOST, HOST6, ICMP6, PSH, SERVER, SERVER6, SYN, TCP, UDP, ethernet, ip, ipv6, tcp, udp
from made_captures import START, capture
from pcapng_build import pcap
from raw_recordings import Record, Records, chained, extension, recording, stripped, tables

MAC, OTHER_MAC = bytes.fromhex("025a00000001"), bytes.fromhex("025a00000002")
NONE = ConvertOptions(repair="none")


def write(path: Path, frames: list[bytes], *, link: int = 101, originals: list[int] | None = None) -> Path:
    rows = [
        (
            (START + n * 1000_000) // 10**9,
            (START + n * 1000_000) % 10**9,
            data,
            originals[n] if originals else len(data),
        )
        for n, data in enumerate(frames)
    ]
    path.write_bytes(pcap("<", 0xA1B23C4D, link, *rows, snap=262144))
    return path


def through(folder: Path, frames: list[bytes], options: ConvertOptions, **synth: Any) -> list[dict[str, Any]]:
    """The packets after ``synth --as raw`` and ``convert``."""
    link, originals = synth.pop("link", 101), synth.pop("originals", None)
    path = write(folder / "in.pcap", frames, link=link, originals=originals)
    synthesize(path, folder / "raw.pcapng", SynthOptions(tap="raw", **synth))
    convert([folder / "raw.pcapng"], folder / "out.pcapng", options)
    return read(folder / "out.pcapng").packets


@settings(max_examples=50)
@examples(
    kinds=st.lists(st.sampled_from((0, 43, 51, 60, 135, 44)), max_size=3),
    last=st.sampled_from((6, 17, 58, 59, 50, 255)),
    data=st.binary(max_size=60),
    cut=st.integers(0, 100),
    pktinfo=st.booleans(),
    hops=st.integers(0, 255),
    traffic_class=st.integers(0, 255),
)
def test_without_repair_the_payload_is_that_of_the_capture_and_nothing_is_guessed(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[int], last: int, data: bytes, cut: int, pktinfo: bool,
    hops: int, traffic_class: int,
) -> None:  # fmt: skip
    first, body = chained(kinds, last, data)
    whole = ipv6(SERVER6, HOST6, first, body, hops)
    whole = struct.pack(">I", 6 << 28 | traffic_class << 20 | 0xABCDE) + whole[4:]
    captured = whole[: max(len(whole) - cut, 40)]
    (got,) = through(
        tmp_path_factory.mktemp("c"), [captured], NONE, originals=[len(whole)], pktinfo=pktinfo, local=(str(HOST6),)
    )
    wanted = stripped(captured, len(whole))
    told = (hops, HOST6, traffic_class) if pktinfo else (64, IPv6Address("::"), 0)
    head = struct.pack(">IHBB", 6 << 28 | told[2] << 20, wanted.original, 255, told[0])
    assert got["data"] == head + SERVER6.packed + told[1].packed + captured[wanted.start :]
    assert got["original"] == 40 + wanted.original
    assert got["time"] == START


def web() -> list[bytes]:
    """A connection, a question and an answer, and a ping, all right."""
    host, server = HOST6, SERVER6
    return [
        ip(host, server, TCP, tcp(40000, 443, 100, 0, SYN, b"")),
        ip(server, host, TCP, tcp(443, 40000, 900, 101, SYN | ACK, b"")),
        ip(host, server, TCP, tcp(40000, 443, 101, 901, ACK, b"")),
        ip(host, server, TCP, tcp(40000, 443, 101, 901, ACK | PSH, b"question")),
        ip(server, host, TCP, tcp(443, 40000, 901, 109, ACK | PSH, b"answer" * 50)),
        ip(host, server, UDP, udp(40001, 53, b"\1\2\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1")),
        ip(host, server, ICMP6, b"\x80\0\0\0\0\1\0\1abcdefgh"),
        ip(server, host, ICMP6, b"\x81\0\0\0\0\1\0\1abcdefgh"),
        ip(HOST, SERVER, UDP, udp(5, 7, b"an IPv4 packet")),
    ]


@pytest.mark.parametrize("pktinfo", [True, False])
def test_protocol_and_destination_come_back(tmp_path: Path, pktinfo: bool, backend: str) -> None:
    packets = web()
    got = through(tmp_path, packets, ConvertOptions(), pktinfo=pktinfo, local=(f"{HOST6},{HOST}",))
    for one, wanted in zip(got, packets, strict=True):
        assert one["data"][6:7] + one["data"][8:] == wanted[6:7] + wanted[8:]
        assert one["original"] == len(wanted)
    assert [one["direction"] for one in got] == [2, 1, 2, 2, 1, 2, 2, 1, 2]


@pytest.mark.parametrize("tables_", ["all", "half", "none"])
def test_with_packet_information_destinations_are_right_always(tmp_path: Path, tables_: str) -> None:
    for number in range(6):
        path = tmp_path / "in.pcap"
        path.write_bytes(capture(number, 200))
        synthesize(path, tmp_path / "raw.pcapng", SynthOptions(tap="raw", tables=tables_, local=(str(HOST6),)))
        convert([tmp_path / "raw.pcapng"], tmp_path / "out.pcapng", ConvertOptions(repair="ipv6"))
        got = [one["data"][:40] for one in read(tmp_path / "out.pcapng").packets]
        raw = [one["data"] for one in read(tmp_path / "raw.pcapng").packets if one["data"][4] == 1]
        assert len(got) == len(raw)
        for header, record in zip(got, raw, strict=True):
            if record[5] == 6:
                assert header[8:40] == record[32:64]


def test_an_address_that_only_the_end_of_the_file_tells_is_found(tmp_path: Path) -> None:
    peer = IPv6Address("2001:db8:7::7")
    packet = ip(HOST6, peer, UDP, udp(40001, 9999, b"to whom?"))
    start = 1_700_000_000_000_000_000
    path = recording(
        tmp_path / "raw.pcapng",
        [
            (start, tables((AddressKind.UNICAST, 6, HOST6))),
            (start + 1, Record(packet[40:], HOST6)),
            (start + 2, tables((AddressKind.UNICAST, 6, HOST6), (AddressKind.NEIGHBOUR, 6, peer))),
        ],
    )
    convert([path], tmp_path / "out.pcapng")
    (got,) = read(tmp_path / "out.pcapng").packets
    assert got["data"] == packet


@pytest.mark.skipif(sys.platform == "win32", reason="cat")
def test_a_recording_comes_through_a_pipe(tmp_path: Path) -> None:
    write(tmp_path / "in.pcap", web())
    synthesize(tmp_path / "in.pcap", tmp_path / "raw.pcapng", SynthOptions(tap="raw", local=(f"{HOST6},{HOST}",)))
    convert([tmp_path / "raw.pcapng"], tmp_path / "file.pcapng")
    with subprocess.Popen(["cat", tmp_path / "raw.pcapng"], stdout=subprocess.PIPE) as cat:
        command = [sys.executable, "-m", "etwcap", "convert", "-", "-w", "pipe.pcapng"]
        done = subprocess.run(command, stdin=cat.stdout, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file, pipe = (read(tmp_path / f"{name}.pcapng").packets for name in ("file", "pipe"))
    assert [one["data"] for one in file] == [one["data"] for one in pipe]
    with (tmp_path / "raw.pcapng").open("rb") as redirected:
        done = subprocess.run(command, stdin=redirected, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [one["data"] for one in read(tmp_path / "pipe.pcapng").packets] == [one["data"] for one in file]


def test_two_machines_do_not_share_their_addresses(tmp_path: Path) -> None:
    """What one sends, the other receives."""
    packet = ip(HOST6, SERVER6, UDP, udp(40001, 9999, b"hello"))
    start = 1_700_000_000_000_000_000
    for name, own, time in (("one", HOST6, start), ("two", SERVER6, start + 5000)):
        records: Records = [(time, tables((AddressKind.UNICAST, 6, own))), (time, Record(packet[40:], HOST6, SERVER6))]
        recording(tmp_path / f"{name}.pcapng", records, faces=[(name, 156)])
    convert([tmp_path / "one.pcapng", tmp_path / "two.pcapng"], tmp_path / "out.pcapng")
    got = read(tmp_path / "out.pcapng")
    assert [(one["data"], one["direction"]) for one in got.packets] == [(packet, 2), (packet, 1)]
    assert [face.name for face in got.context.interfaces] == ["one", "two"]


def test_what_comes_behind_sees_rebuilt_packets(tmp_path: Path) -> None:
    write(tmp_path / "in.pcap", web())
    done = run("synth", "in.pcap", "-w", "raw.pcapng", "--as", "raw", "--local", str(HOST6), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    wanted = {
        ("tcp", "port", "443"): 5, ("-i", "Cellular", "ip6"): 8, ("-c", "3"): 3, ("icmp6",): 2, ("udp",): 2,
        ("dst", "host", str(SERVER6)): 5,
    }  # fmt: skip
    for words, count in wanted.items():
        done = run("convert", "raw.pcapng", "-w", "out.pcapng", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(read(tmp_path / "out.pcapng").packets) == count, words
    done = run(
        "convert", "raw.pcapng", "-w", "o.pcapng", "-s", "50", "--anonymize", "key", "--strip-payload", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    for one in read(tmp_path / "o.pcapng").packets:
        assert len(one["data"]) <= 50
        assert SERVER6.packed not in one["data"]
    done = run("convert", "raw.pcapng", "-w", "p.pcapng", "-C", "1k", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pieces = sorted(path.name for path in tmp_path.glob("p.pcapng*"))
    assert sum(len(read(tmp_path / name).packets) for name in pieces) == 9
    done = run("convert", "raw.pcapng", "-w", "out.pcap", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_evidence_and_receipt_tell_how_headers_were_rebuilt(tmp_path: Path) -> None:
    write(tmp_path / "in.pcap", web()[:5])
    run("synth", "in.pcap", "-w", "raw.pcapng", "--as", "raw", "--no-pktinfo", cwd=tmp_path)
    done = run("convert", "raw.pcapng", "-w", "out.pcapng", "--evidence", "comments", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    notes = {note["kind"]: note["count"] for note in json.loads(done.stdout)["notes"]}
    assert notes["ipv6-header"] == 5
    for part in ("protocol", "destination"):
        rules = {kind: count for kind, count in notes.items() if kind.startswith(f"ipv6-{part}")}
        assert sum(rules.values()) == 5, rules
    with etwcap.open(tmp_path / "raw.pcapng") as trace:
        marks = [packet.marks for packet in trace]
    assert all(Mark.IPV6_REBUILT in each and Mark.DESTINATION_INFERRED in each for each in marks)
    for one in read(tmp_path / "out.pcapng").packets:
        assert b"IPv6 header rebuilt" in one["options"]


def test_a_stamp_that_was_set_back_is_evident(tmp_path: Path) -> None:
    start = 1_700_000_000_000_000_000
    packets = [ip(SERVER6, HOST6, UDP, udp(7, 9, bytes([n]))) for n in range(3)]
    stamps = ((1, 0), (0, 70_000), (2, 90_000))
    records: Records = [(start + t, Record(packets[n][40:], SERVER6, HOST6, number=n)) for n, t in stamps]
    recording(tmp_path / "raw.pcapng", records)
    done = run("convert", "raw.pcapng", "-w", "out.pcapng", "--evidence", "comments", cwd=tmp_path)
    assert "times were set back to that of a later receive of their socket, by up to 70.0 us: 1" in done.stderr
    got = read(tmp_path / "out.pcapng").packets
    assert [one["data"] for one in got] == packets
    assert [one["time"] - start for one in got] == [0, 0, 90_000]
    assert [b"time set back" in one["options"] for one in got] == [True, False, False]
    convert([tmp_path / "raw.pcapng"], tmp_path / "out.pcapng", ConvertOptions(repair="ipv6"))
    assert [one["time"] - start for one in read(tmp_path / "out.pcapng").packets] == [0, 70_000, 90_000]


def test_no_reader_complains(tmp_path: Path, tshark: str) -> None:
    for number in range(4):
        (tmp_path / "in.pcap").write_bytes(capture(number, 200))
        synthesize(tmp_path / "in.pcap", tmp_path / "raw.pcapng", SynthOptions(tap="raw", disorder=True, seed=number))
        for repair in ("none", "auto"):
            convert([tmp_path / "raw.pcapng"], tmp_path / "out.pcapng", ConvertOptions(repair=repair))
            for name in ("raw.pcapng", "out.pcapng"):
                assert fields(tshark, tmp_path / name, "frame.number")


def test_info_tells_what_is_in_a_recording(tmp_path: Path) -> None:
    write(tmp_path / "in.pcap", web())
    synthesize(tmp_path / "in.pcap", tmp_path / "raw.pcapng", SynthOptions(tap="raw", local=(f"{HOST6},{HOST}",)))
    info = describe_trace(tmp_path / "raw.pcapng")
    assert info.kind == "recording"
    facts = info.as_dict()["recording"]
    assert [(each["family"], each["packets"], each["missing"]) for each in facts["sockets"]] == [(6, 8, 0), (4, 1, 0)]
    assert facts["families"] == {"ipv4": 1, "ipv6": 8}
    assert facts["told"] == {
        "destination": 9, "interface": 9, "hop limit": 8, "traffic class": 8, "number of the receive": 9
    }  # fmt: skip
    assert facts["tables"]["own"] == 2
    text = info.render()
    assert "recording of raw sockets" in text
    assert "rebuilds the IPv6 headers of 8 packets" in text
    counted = describe_trace(tmp_path / "raw.pcapng", filter="tcp")
    assert counted.census.packets == 5
    synthesize(tmp_path / "in.pcap", tmp_path / "raw.pcapng", SynthOptions(tap="raw", tables="none", pktinfo=False))
    text = describe_trace(tmp_path / "raw.pcapng").render()
    assert "none: candidates for destinations are the sources alone" in text


def test_damage_in_a_recording_is_exit_code_4(tmp_path: Path) -> None:
    start = 1_700_000_000_000_000_000
    records: Records = [(start, Record(web()[0][40:], HOST6, SERVER6)), (start, b"\0" * 90)]
    recording(tmp_path / "raw.pcapng", records)
    done = run("convert", "raw.pcapng", "-w", "out.pcapng", cwd=tmp_path)
    assert done.returncode == 4
    assert "no record of a raw socket" in done.stderr
    assert run("info", "raw.pcapng", cwd=tmp_path).returncode == 4


def test_a_recording_of_tables_alone_has_no_packets(tmp_path: Path) -> None:
    recording(tmp_path / "raw.pcapng", [(1_700_000_000_000_000_000, tables((AddressKind.UNICAST, 6, HOST6)))])
    done = run("convert", "raw.pcapng", "-w", "out.pcapng", cwd=tmp_path)
    assert done.returncode == 3
    assert "no packets" in done.stderr


def test_a_capture_without_disorder_comes_back_orderly(tmp_path: Path) -> None:
    packets = web()
    for repair in ("auto", "none"):
        through(tmp_path, packets, ConvertOptions(repair=repair), local=(f"{HOST6},{HOST}",))
        os.replace(tmp_path / "out.pcapng", tmp_path / f"{repair}.pcapng")
    auto, none = (read(tmp_path / f"{repair}.pcapng").packets for repair in ("auto", "none"))
    assert [one["time"] for one in auto] == [one["time"] for one in none]
    assert [one["data"][40:] for one in auto] == [one["data"][40:] for one in none]


def test_ethernet_frames_and_fragments_come_back_as_packets(tmp_path: Path) -> None:
    body = ip(SERVER6, HOST6, UDP, udp(9, 10, bytes(3000)))[40:]
    parts = [extension(44, UDP)[:2] + struct.pack(">HI", 1, 7) + body[:1448]]
    parts.append(extension(44, UDP)[:2] + struct.pack(">HI", 1448, 7) + body[1448:])
    frames = [ethernet(MAC, OTHER_MAC, 0x86DD, ipv6(SERVER6, HOST6, 44, part)) for part in parts]
    got = through(tmp_path, frames, ConvertOptions(), link=1, local=(str(HOST6),))
    assert [one["data"][6] for one in got] == [44, 44]
    assert [one["data"][40:] for one in got] == parts
