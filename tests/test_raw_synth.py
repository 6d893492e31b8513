"""``synth --as raw``: what raw sockets give of a capture's packets, what the tables hold, and disorder."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from command_line import etwcap
from etwcap.errors import NothingToWriteError, UsageError
from etwcap.packets import AddressKind
from etwcap.synth.options import SynthOptions
from etwcap.synth.run import synthesize
from frames import ACK, HOST, HOST6, SERVER, SERVER6, SYN, TCP, UDP, ethernet, ip, ipv4, ipv6, tcp, udp
from made_captures import START, capture
from pcapng_build import interface, packet, pcap, section
from raw_recordings import Given, chained, given, stripped

PLACE = ("203.0.113.9",)
MAC, OTHER_MAC = bytes.fromhex("025a00000001"), bytes.fromhex("025a00000002")
HEADERS = (0, 43, 51, 60, 135, 139, 140)


def write(path: Path, frames: list[bytes], *, link: int = 101, step: int = 1_000_000, originals: Any = None) -> Path:
    """A capture of those frames, ``step`` ns apart."""
    times = [START + step * number for number in range(len(frames))]
    rows = [
        (time // 10**9, time % 10**9, data, originals[number] if originals else len(data))
        for number, (time, data) in enumerate(zip(times, frames, strict=True))
    ]
    path.write_bytes(pcap("<", 0xA1B23C4D, link, *rows, snap=262144))
    return path


def recorded(folder: Path, frames: list[bytes], **options: Any) -> list[Given]:
    link = options.pop("link", 101)
    originals = options.pop("originals", None)
    path = write(folder / "in.pcap", frames, link=link, originals=originals)
    synthesize(path, folder / "raw.pcapng", SynthOptions(tap="raw", **options))
    return given(folder / "raw.pcapng")[0]


@settings(max_examples=60)
@examples(
    kinds=st.lists(st.sampled_from((*HEADERS, 44)), max_size=4),
    last=st.sampled_from((6, 17, 58, 59, 50, 89, 255)),
    data=st.binary(max_size=80),
    cut=st.integers(0, 200),
    stretch=st.integers(-60, 60),
)
def test_extension_headers_are_stripped_up_to_a_fragment_header_or_the_payload(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[int], last: int, data: bytes, cut: int, stretch: int
) -> None:
    first, body = chained(kinds, last, data)
    whole = ipv6(SERVER6, HOST6, first, body)
    length = max(len(body) + stretch, 1)
    whole = whole[:4] + struct.pack(">H", length) + whole[6:]
    captured = whole[: max(len(whole) - cut, 40)]
    (got,) = recorded(tmp_path_factory.mktemp("raw"), [captured], originals=[len(whole)])
    wanted = stripped(captured, 40 + length)
    assert got.payload == captured[wanted.start : 40 + length]
    assert got.original == wanted.original


def test_packets_are_cut_at_their_own_length_and_padding_is_left_out(tmp_path: Path) -> None:
    datagrams = [
        ipv6(SERVER6, HOST6, 59, b""),
        ip(SERVER6, HOST6, UDP, udp(1, 2, b"")),
        ip(SERVER, HOST, UDP, udp(1, 2, b"")),
    ]
    kinds = (0x86DD, 0x86DD, 0x0800)
    frames = [
        ethernet(MAC, OTHER_MAC, kind, one).ljust(60, b"\xee") for kind, one in zip(kinds, datagrams, strict=True)
    ]
    got = recorded(tmp_path, frames, link=1)
    assert [(each.payload, each.original) for each in got] == [
        (b"", 0), (datagrams[1][40:], 8), (datagrams[2], len(datagrams[2]))
    ]  # fmt: skip


def test_large_sends_and_jumbograms_have_the_length_that_they_have(tmp_path: Path) -> None:
    send = ipv6(HOST6, SERVER6, TCP, tcp(1, 2, 3, 4, ACK, bytes(3000)))
    send = send[:4] + b"\0\0" + send[6:]
    option = bytes([TCP, 0, 0xC2, 4]) + struct.pack(">I", 70_028)
    jumbo = ipv6(HOST6, SERVER6, 0, b"")[:40] + option + bytes(70_020)
    got = recorded(tmp_path, [send, jumbo])
    assert (got[0].payload, got[0].original) == (send[40:], 3020)
    assert (len(got[1].payload), got[1].original) == (65_535, 65_535)
    present = [struct.unpack_from("<H", each.record, 6)[0] & 32 for each in got]
    assert present == [0, 32], "the second was larger than the socket's buffer"


def _vlan(datagram: bytes) -> bytes:
    return MAC + OTHER_MAC + b"\x81\0\0\7\x88\xa8\0\1\x86\xdd" + datagram


SNAP6 = b"\xaa\xaa\3\0\0\0\x86\xdd"
RADIOTAP = b"\0\0\x08\0\0\0\0\0"
PAIR = MAC + OTHER_MAC
LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "ethernet": (1, lambda data: ethernet(MAC, OTHER_MAC, 0x86DD, data)),
    "two VLAN tags": (1, _vlan),
    "LLC with SNAP": (1, lambda data: PAIR + struct.pack(">H", len(data) + 8) + SNAP6 + data),
    "PPPoE": (1, lambda data: PAIR + b"\x88\x64\x11\0\0\1" + struct.pack(">H", len(data) + 2) + b"\0\x57" + data),
    "null": (0, lambda data: struct.pack("<I", 24) + data),
    "loop": (108, lambda data: struct.pack(">I", 30) + data),
    "raw": (101, bytes),
    "BSD raw": (12, bytes),
    "IPv6": (229, bytes),
    "cooked": (113, lambda data: bytes(14) + b"\x86\xdd" + data),
    "cooked with a VLAN tag": (113, lambda data: bytes(14) + b"\x81\0\0\7\x86\xdd" + data),
    "cooked 2": (276, lambda data: b"\x86\xdd" + bytes(18) + data),
    "PPP": (9, lambda data: b"\xff\3\0\x57" + data),
    "PPP, short": (9, lambda data: b"\x57" + data),
    "PPP with direction": (204, lambda data: b"\1\xff\3\0\x57" + data),
    "HDLC": (104, lambda data: b"\x0f\0\x86\xdd" + data),
    "frame relay": (107, lambda data: b"\x18\x41\3\x8e" + data),
    "frame relay with SNAP": (107, lambda data: b"\x18\x41\3\0\x80\0\0\0\x86\xdd" + data),
    "FDDI": (10, lambda data: bytes(13) + SNAP6 + data),
    "802.11": (105, lambda data: b"\x08\1\0\0" + bytes(20) + SNAP6 + data),
    "802.11 with QoS and radiotap": (127, lambda data: RADIOTAP + b"\x88\1" + bytes(24) + SNAP6 + data),
    "encapsulation": (109, lambda data: bytes(12) + data),
    "packet filter log": (117, lambda data: bytes([61]) + bytes(63) + data),
    "InfiniBand": (242, lambda data: b"\x86\xdd\0\0" + data),
}  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_packets_come_out_of_every_link_type(tmp_path: Path, name: str) -> None:
    link, frame = LINKS[name]
    datagram = ip(SERVER6, HOST6, UDP, udp(7, 9, b"payload"))
    (got,) = recorded(tmp_path, [frame(datagram)], link=link)
    assert got.payload == datagram[40:]


def test_the_sockets_tell_what_the_header_said(tmp_path: Path) -> None:
    near = IPv6Address("fe80::7")
    one = ipv6(near, HOST6, UDP, udp(1, 2, b"a"), hops=255)
    one = struct.pack(">I", 6 << 28 | 0xB9 << 20 | 0x12345) + one[4:]
    four = ipv4(SERVER, HOST, UDP, udp(1, 2, b"b"), ttl=9)
    six, v4 = recorded(tmp_path, [one, four])
    assert six.record == struct.pack(
        "<4sBBHQIIBBHI16s16s", b"ERS1", 1, 6, 1 | 2 | 4 | 8 | 16, 0, 0, 6, 255, 0xB9, 0, 6, near.packed, HOST6.packed
    )
    assert v4.payload == four
    assert v4.record == struct.pack(
        "<4sBBHQIIBBHI16s16s", b"ERS1", 1, 4, 1 | 2 | 16, 0, 1, 6, 0, 0, 0, 0, SERVER.packed, HOST.packed
    )


def test_without_packet_information_only_source_and_number_are_told(tmp_path: Path) -> None:
    packets = [ip(SERVER6, HOST6, UDP, udp(1, 2, bytes([n]))) for n in range(3)]
    got = recorded(tmp_path, packets, pktinfo=False)
    for number, each in enumerate(got):
        assert each.record == struct.pack("<4sBBHQ16x16s16x", b"ERS1", 1, 6, 16, number, SERVER6.packed)


def test_each_adapter_has_a_socket_for_each_family(tmp_path: Path) -> None:
    blocks = [section("<"), *(interface("<", 101, (2, name), (9, b"\x09")) for name in (b"eth0", b"eth1"))]
    datagrams = [ip(SERVER, HOST, UDP, udp(1, 2, b"")), ip(SERVER6, HOST6, UDP, udp(1, 2, b""))]
    for number, (face, datagram) in enumerate(itertools.product((0, 1), datagrams)):
        blocks.append(packet("<", face, START + number, datagram))
    path = tmp_path / "two.pcapng"
    path.write_bytes(b"".join(blocks))
    synthesize(path, tmp_path / "raw.pcapng", SynthOptions(tap="raw"))
    got, context, source = given(tmp_path / "raw.pcapng")
    assert [each.interface for each in got] == ["eth0", "eth0", "eth1", "eth1"]
    assert sorted(each.family for each in source.facts.sockets.values()) == [4, 4, 6, 6]
    assert {face.link_type for face in context.interfaces} == {101}


PEERS = [IPv6Address(f"2001:db8:9::{n:x}") for n in range(1, 41)]


def _talk() -> list[bytes]:
    return [
        packet
        for peer in PEERS
        for packet in (
            ip(HOST6, peer, TCP, tcp(40000, 443, 1, 0, SYN, b"")),
            ip(peer, HOST6, TCP, tcp(443, 40000, 9, 2, SYN | ACK, b"")),
        )
    ]


@pytest.mark.parametrize(("share", "count"), [("all", 41), ("half", 20), ("none", 0)])
def test_the_tables_hold_the_addresses_that_were_asked_for(tmp_path: Path, share: str, count: int) -> None:
    path = write(tmp_path / "in.pcap", _talk())
    for seed in (1, 2):
        synthesize(path, tmp_path / f"{seed}.pcapng", SynthOptions(tap="raw", tables=share, seed=seed))
    books = [given(tmp_path / f"{seed}.pcapng")[1].addresses for seed in (1, 2)]
    found = [{address for _, _, address in book.entries} for book in books]
    assert found[0] <= {each.packed for each in (HOST6, *PEERS)}
    assert [len(each) in (count, count + (share == "half")) for each in found] == [True, True]
    assert (found[0] != found[1]) == (share == "half")


def test_the_tables_tell_own_addresses_groups_and_peers(tmp_path: Path) -> None:
    group, peer = IPv6Address("ff02::fb"), IPv6Address("fe80::99")
    packets = [
        ip(HOST6, SERVER6, TCP, tcp(40000, 443, 1, 0, SYN, b"")),
        ip(peer, group, UDP, udp(5353, 5353, b"")),
        ip(HOST, IPv4Address("192.0.2.53"), UDP, udp(40000, 53, b"")),
    ]
    recorded(tmp_path, packets, local=(str(HOST6), str(HOST)))
    entries = given(tmp_path / "raw.pcapng")[1].addresses.entries
    mapped = bytes(10) + b"\xff\xff"
    kinds = {(AddressKind(kind), address.removeprefix(mapped)) for kind, _, address in entries}
    resolver = IPv4Address("192.0.2.53").packed
    assert kinds == {
        (AddressKind.UNICAST, HOST6.packed),
        (AddressKind.UNICAST, HOST.packed),
        (AddressKind.ENDPOINT, HOST6.packed),
        (AddressKind.ENDPOINT, HOST.packed),
        (AddressKind.PATH, SERVER6.packed),
        (AddressKind.TCP_REMOTE, SERVER6.packed),
        (AddressKind.MULTICAST, group.packed),
        (AddressKind.NEIGHBOUR, peer.packed),
        (AddressKind.PATH, resolver),
        (AddressKind.RESOLVER, resolver),
    }


def test_disorder_puts_answers_before_their_causes_and_stamps_batches(tmp_path: Path) -> None:
    packets, times = [], []
    for n in range(200):
        packets += [
            ip(SERVER6, HOST6, TCP, tcp(443, 40000 + n, 9, 0, SYN, b"")),
            ip(HOST6, SERVER6, TCP, tcp(40000 + n, 443, 1, 10, SYN | ACK, b"")),
        ]
        times += [START + n * 10_000_000, START + n * 10_000_000 + 50_000]
    rows = [(time // 10**9, time % 10**9, data, len(data)) for time, data in zip(times, packets, strict=True)]
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap("<", 0xA1B23C4D, 101, *rows))
    options = SynthOptions(tap="raw", disorder=True, seed=4, local=(str(HOST6),))
    for name in ("a", "b"):
        synthesize(path, tmp_path / f"{name}.pcapng", options)
    assert (tmp_path / "a.pcapng").read_bytes() == (tmp_path / "b.pcapng").read_bytes()
    got = given(tmp_path / "a.pcapng")[0]
    assert sorted(each.payload for each in got) == sorted(each[40:] for each in packets)
    stamps = [each.time for each in got]
    assert stamps == sorted(stamps)
    assert all(struct.unpack_from("<H", each.record, 6)[0] & 16 == 0 for each in got), "no numbers"
    seen = {each.payload: (place, each.time) for place, each in enumerate(got)}
    before = 0
    for cause, answer, time in zip(packets[::2], packets[1::2], times[::2], strict=True):
        assert time - 200_000 <= seen[answer[40:]][1] <= seen[cause[40:]][1] + 100_000
        before += seen[answer[40:]][0] < seen[cause[40:]][0]
    assert before > 150


def test_what_is_no_ip_is_left_out_and_counted(tmp_path: Path) -> None:
    frames = [
        ethernet(MAC, OTHER_MAC, 0x0806, bytes(46)),
        ethernet(MAC, OTHER_MAC, 0x86DD, ip(SERVER6, HOST6, UDP, udp(1, 2, b""))),
    ]
    outcome = synthesize(write(tmp_path / "in.pcap", frames, link=1), tmp_path / "raw.pcapng", SynthOptions(tap="raw"))
    assert outcome.packets == 1
    assert outcome.receipt.notes["not-ip"].count == 1
    with pytest.raises(NothingToWriteError, match="can hold none"):
        synthesize(write(tmp_path / "no.pcap", frames[:1], link=1), tmp_path / "no.pcapng", SynthOptions(tap="raw"))
    assert not (tmp_path / "no.pcapng").exists()


@pytest.mark.parametrize("number", range(12))
def test_made_captures_lose_nothing_but_what_is_no_ip(tmp_path: Path, number: int, backend: str) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(capture(number, 300))
    try:
        outcome = synthesize(path, tmp_path / "raw.pcapng", SynthOptions(tap="raw", seed=number))
    except NothingToWriteError:
        return
    got = given(tmp_path / "raw.pcapng")[0]
    left_out = [
        note.count for kind, note in outcome.receipt.notes.items() if kind == "not-ip" or kind.startswith("link-type")
    ]
    assert len(got) == outcome.packets == outcome.receipt.packets_read - sum(left_out)


def test_the_command_tells_what_it_did(tmp_path: Path) -> None:
    write(tmp_path / "in.pcap", _talk())
    done = etwcap("synth", "in.pcap", "-w", "raw.pcapng", "--as", "raw", "--no-pktinfo", "--disorder", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "80 packets in" in done.stderr
    assert "records of raw sockets" in done.stderr
    done = etwcap("synth", "in.pcap", "-w", "raw.pcapng", "--as", "raw", "--tables", "half", "--json", cwd=tmp_path)
    facts = json.loads(done.stdout)
    assert (facts["packets"], facts["options"]["tables"]) == (80, "half")
    refused = etwcap("synth", "in.pcap", "-w", "raw.pcapng", "--as", "raw", "--unclosed", cwd=tmp_path)
    assert (refused.returncode, "raw has no --unclosed" in refused.stderr) == (2, True)


def test_a_recording_is_no_capture_to_record_again(tmp_path: Path) -> None:
    recorded(tmp_path, _talk())
    with pytest.raises(UsageError, match="already"):
        synthesize(tmp_path / "raw.pcapng", tmp_path / "again.pcapng", SynthOptions(tap="raw"))
