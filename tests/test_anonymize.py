"""``--anonymize``: other addresses, the same prefixes, and not one complaint more."""

from __future__ import annotations

import itertools
import json
import struct
import subprocess
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import pcapng_build as build
from capture_files import chunk_of, fields, read
from command_line import etwcap
from etwcap.native import use_backend
from etwcap.native.headers import IPV4, IPV6, MAC
from etwcap.packets import Chunk, Context, Interface, SideBlock
from etwcap.repair.address_map import AddressMap, map_distinct
from etwcap.repair.anonymize import AnonymizeStage
from etwcap.repair.strip import StripStage
from frames import GATEWAY_MAC, HOST, HOST6, HOST_MAC, RESOLVER, SERVER, SERVER6, TCP, framed, ip, tcp
from header_frames import LINK_LOCAL, QUESTION, all_frames, ethernet_frames

SAMPLE = Path(__file__).parents[1] / "examples" / "sample-pktmon.etl"
MAPPING = AddressMap(b"a key")
CONTEXT = Context()


def rows(*addresses: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.frombuffer(b"".join(addresses), np.uint8).reshape(len(addresses), -1)


def image(kind: int, *addresses: bytes) -> list[bytes]:
    return [row.tobytes() for row in MAPPING(kind, rows(*addresses))]


def common_bits(one: bytes, other: bytes) -> int:
    different = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return 8 * len(one) - different.bit_length()


def near(size: int) -> st.SearchStrategy[tuple[bytes, bytes]]:
    """Two addresses with some bits in common."""
    return st.tuples(st.binary(min_size=size, max_size=size), st.integers(0, 8 * size), st.integers(0)).map(
        lambda drawn: (
            drawn[0],
            (int.from_bytes(drawn[0], "big") ^ (drawn[2] & ((1 << drawn[1]) - 1))).to_bytes(size, "big"),
        )
    )


@given(near(4))
def test_ipv4_addresses_share_as_many_bits_as_before(pair: tuple[bytes, bytes]) -> None:
    assert common_bits(*image(IPV4, *pair)) == common_bits(*pair)


@given(near(16).filter(lambda pair: not any(one.startswith(b"\xff") for one in pair)))
def test_ipv6_addresses_share_as_many_bits_as_before(pair: tuple[bytes, bytes]) -> None:
    assert common_bits(*image(IPV6, *pair)) == common_bits(*pair)


@given(near(6))
def test_different_macs_stay_different_and_keep_their_kind(pair: tuple[bytes, bytes]) -> None:
    one, other = image(MAC, *pair)
    assert (one == other) == (pair[0] == pair[1])
    assert [one[0] & 3, other[0] & 3] == [pair[0][0] & 3, pair[1][0] & 3]


def test_addresses_that_mean_something_stay() -> None:
    for text in (
        "0.0.0.0",
        "127.0.0.1",
        "127.255.1.2",
        "224.0.0.251",
        "239.255.255.250",
        "255.255.255.255",
        "240.1.2.3",
    ):
        assert image(IPV4, IPv4Address(text).packed) == [IPv4Address(text).packed]
    for text in ("::", "::1", "ff02::1", "ff02::fb", "ff05::1:3"):
        assert image(IPV6, IPv6Address(text).packed) == [IPv6Address(text).packed]
    for mac in (bytes(6), b"\xff" * 6, bytes.fromhex("01005e0000fb"), bytes.fromhex("333300000001")):
        assert image(MAC, mac) == [mac]


def test_link_local_addresses_stay_link_local_and_lose_their_host() -> None:
    (found,) = image(IPV6, LINK_LOCAL.packed)
    assert found[:8] == LINK_LOCAL.packed[:8]
    assert found != LINK_LOCAL.packed
    (found,) = image(IPV4, IPv4Address("169.254.77.8").packed)
    assert found[:2] == b"\xa9\xfe"
    assert found[2:] != b"\x4d\x08"


def test_nothing_else_is_mapped_into_a_range_that_stays() -> None:
    random = np.random.default_rng(1)
    addresses = random.integers(0, 256, (4000, 4), np.uint8)
    mapped = MAPPING.ipv4(addresses)
    for first, last in ((0, 0), (127, 127), (224, 255)):
        before, after = ((first <= a[:, 0]) & (a[:, 0] <= last) for a in (addresses, mapped))
        assert (before == after).all()
    assert (mapped != addresses).any(axis=1).mean() > 0.8


def test_a_solicited_node_group_agrees_with_its_mac_and_hides_the_host() -> None:
    (group,) = image(IPV6, IPv6Address("ff02::1:ff12:3456").packed)
    (mac,) = image(MAC, bytes.fromhex("3333ff123456"))
    assert group[:13] == IPv6Address("ff02::1:ff00:0").packed[:13]
    assert mac == b"\x33\x33\xff" + group[13:]
    assert group[13:] != bytes.fromhex("123456")


def test_the_same_key_maps_the_same_way_and_another_key_another_way() -> None:
    addresses = rows(*(IPv4Address(f"198.51.100.{n}").packed for n in range(50)))
    assert (AddressMap(b"a key").ipv4(addresses) == MAPPING.ipv4(addresses)).all()
    assert (AddressMap(b"a Key").ipv4(addresses) != MAPPING.ipv4(addresses)).any(axis=1).all()


def test_the_mapping_is_what_it_was_in_earlier_versions() -> None:
    assert IPv4Address(image(IPV4, SERVER.packed)[0]) == IPv4Address("194.166.50.49")
    assert IPv6Address(image(IPV6, SERVER6.packed)[0]) == IPv6Address("3807:365e:c77:799c:5fe4:ebbe:51af:4687")
    assert image(MAC, GATEWAY_MAC)[0].hex() == "0a40dbd4c11c"


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20))
def test_each_distinct_address_is_asked_for_once(addresses: list[bytes]) -> None:
    doubled = rows(*addresses, *addresses) if addresses else np.empty((0, 16), np.uint8)
    asked: list[int] = []

    class Counting(AddressMap):
        def __call__(self, kind: int, addresses: NDArray[np.uint8]) -> NDArray[np.uint8]:
            asked.append(len(addresses))
            inverse: NDArray[np.uint8] = np.bitwise_xor(addresses, np.uint8(255))
            return inverse

    assert (map_distinct(Counting.__new__(Counting), IPV6, doubled) == doubled ^ 255).all()
    assert sum(asked) == len(set(addresses))


def laid(frames: list[bytes], context: Context, link_type: int = 1) -> Chunk:
    number = context.interfaces.add(Interface(link_type, "Ethernet"))
    sizes = np.array([len(frame) for frame in frames], np.uint32)
    chunk = chunk_of(frames, interface=np.full(len(frames), number, np.int32), original=sizes + 9)
    chunk.buffer = chunk.buffer.copy()
    return chunk


def datas(chunk: Chunk) -> list[bytes]:
    packets = chunk.packets
    return [
        chunk.buffer[at : at + size].tobytes()
        for at, size in zip(packets["offset"].tolist(), packets["captured"].tolist(), strict=True)
    ]


def pcap(path: Path, frames: list[bytes], link_type: int = 1) -> Path:
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, link_type)
    body = b"".join(struct.pack("<IIII", 1000 + n, 0, len(f), len(f)) + f for n, f in enumerate(frames))
    path.write_bytes(head + body)
    return path


CHECKED = [
    "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
]  # fmt: skip
COMPLAINTS = [
    "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "icmp.checksum.status",
    "icmpv6.checksum.status",
    "tcp.analysis.flags", "_ws.malformed", "_ws.expert.severity", "_ws.expert.group",
]  # fmt: skip


def complaints(tshark: str, path: Path) -> list[str]:
    arguments = [tshark, "-r", str(path), "-n", *CHECKED, "-T", "fields", "-E", "separator=|"]
    for name in COMPLAINTS:
        arguments += ["-e", name]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()


def test_tshark_has_no_complaint_about_the_mapped_frames_that_it_had_not_before(tshark: str, tmp_path: Path) -> None:
    before = pcap(tmp_path / "in.pcap", ethernet_frames())
    after = tmp_path / "out.pcap"
    done = etwcap("convert", before, "-w", after, "--anonymize", "key")
    assert done.returncode == 0, done.stderr
    assert complaints(tshark, after) == complaints(tshark, before)
    old, new = (fields(tshark, path, "ip.src", "ipv6.src", "eth.src") for path in (before, after))
    assert all(one != other for one, other in zip(old, new, strict=True))


def test_the_samples_streams_stay_streams(tshark: str, tmp_path: Path) -> None:
    for name, options in (("plain", ()), ("mapped", ("--anonymize", "key"))):
        assert etwcap("convert", SAMPLE, "-w", tmp_path / f"{name}.pcapng", *options).returncode == 0
    plain, mapped = tmp_path / "plain.pcapng", tmp_path / "mapped.pcapng"
    assert complaints(tshark, plain) == complaints(tshark, mapped)
    same = ("frame.time_epoch", "frame.len", "tcp.stream", "tcp.seq", "udp.stream", "tcp.payload", "ip.ttl")
    assert fields(tshark, plain, *same) == fields(tshark, mapped, *same)


def test_offloaded_and_wrong_checksums_stay_what_they_are(backend: str) -> None:
    packet = ip(HOST, SERVER, TCP, tcp(50000, 80, 1, 0, 2, b"data"))
    partial = sum(struct.unpack(">4H", HOST.packed + SERVER.packed)) + TCP + len(packet) - 20
    partial = (partial & 0xFFFF) + (partial >> 16)
    stored = [partial, 0, int.from_bytes(packet[36:38], "big") ^ 0x0100]
    frames = [framed(packet[:36] + struct.pack(">H", value) + packet[38:], sent=True).frame for value in stored]
    frames.append(framed(packet[:10] + b"\0\0" + packet[12:], sent=True).frame)
    context = Context()
    out = datas(AnonymizeStage(context, b"key").process(laid(frames, context)))
    sums = [int.from_bytes(frame[50:52], "big") for frame in out]
    expected = sum(struct.unpack(">4H", out[0][26:34])) + TCP + len(packet) - 20
    expected = (expected & 0xFFFF) + (expected >> 16)
    assert sums[0] in (expected, (expected & 0xFFFF) + (expected >> 16))
    assert sums[1] == 0
    assert (sums[2] - sums[3]) % 0xFFFF == (stored[2] - int.from_bytes(packet[36:38], "big")) % 0xFFFF
    assert out[3][24:26] == b"\0\0"


@pytest.mark.parametrize("link_type", sorted({link for link, _ in all_frames()}))
def test_no_original_address_is_left_in_any_header(link_type: int, backend: str) -> None:
    frames = [frame for link, frame in all_frames() if link == link_type]
    context = Context()
    chunk = AnonymizeStage(context, b"key").process(laid(frames, context, link_type))
    chunk = StripStage(context).process(chunk)
    secrets = [HOST_MAC, GATEWAY_MAC, *(a.packed for a in (HOST, RESOLVER, SERVER, HOST6, SERVER6))]
    for data in datas(chunk):
        assert not any(secret in data for secret in secrets)
        assert HOST_MAC[3:] not in data


def test_dhcp_hides_its_addresses_without_stripping() -> None:
    frame = next(frame for frame in ethernet_frames() if frame[34:38] == b"\x00\x43\x00\x44")
    context = Context()
    (data,) = datas(AnonymizeStage(context, b"key").process(laid([frame], context)))
    assert not any(secret in data for secret in (HOST_MAC, HOST.packed, RESOLVER.packed, SERVER.packed))


@pytest.fixture(scope="module")
def stage() -> AnonymizeStage:
    return AnonymizeStage(CONTEXT, b"key")


@given(st.integers(0, len(QUESTION)))
def test_an_address_that_was_cut_is_mapped_as_far_as_it_goes(stage: AnonymizeStage, cut: int) -> None:
    context = CONTEXT
    (whole,) = datas(stage.process(laid([QUESTION], context)))
    (data,) = datas(stage.process(laid([QUESTION[:cut]], context)))
    assert data[:24] == whole[:24][:cut]
    assert data[26:34] == whole[26:34][: max(0, cut - 26)]


def test_packets_of_an_unknown_link_type_are_emptied() -> None:
    context = Context()
    out = AnonymizeStage(context, b"key").process(laid([QUESTION], context, 147))
    assert (out.packets["captured"].tolist(), out.packets["original"].tolist()) == ([0], [len(QUESTION) + 9])
    assert context.receipt.notes["anonymize-unknown"].count == 1


def test_bytes_that_two_rows_share_are_mapped_once() -> None:
    context = Context()
    stage = AnonymizeStage(context, b"key")
    expected = datas(stage.process(laid([QUESTION], context)))
    chunk = laid([QUESTION], context)
    chunk.packets = chunk.packets.take(np.array([0, 0, 0]))
    assert datas(stage.process(chunk)) == expected * 3


def test_names_comments_and_options_of_the_input_are_left_out(tmp_path: Path) -> None:
    secret = b"alice-laptop"
    order = "<"
    names = build.block(order, 4, struct.pack("<HH", 1, 4 + len(secret) + 1) + HOST.packed + secret + b"\0" + bytes(4))
    data = build.section(order, (1, secret), (4, secret)) + build.interface(
        order,
        1,
        (2, b"eth0"),
        (4, HOST.packed + b"\xff\xff\xff\0"),
        (6, HOST_MAC),
        (11, b"\0host " + secret),
        (14, secret * 2),
    )
    data += names + build.packet(order, 0, 10**9, QUESTION, (1, secret), (2989, secret))
    (tmp_path / "in.pcapng").write_bytes(data)
    done = etwcap("convert", tmp_path / "in.pcapng", "-w", tmp_path / "out.pcapng", "--anonymize", "key")
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "out.pcapng").read_bytes()
    for left in (secret, HOST_MAC, HOST.packed, b"in.pcapng"):
        assert left not in written
    assert b"eth0" in written
    assert "names, secrets" in done.stderr


def test_an_interface_shows_mapped_addresses_with_their_prefix() -> None:
    context = Context()
    stage = AnonymizeStage(context, b"key")
    known = Interface(1, "Ethernet", mac=HOST_MAC, filter="host a", options=b"\x0d\0\x01\0\x04\0\0\0")
    known.ipv4.append(IPv4Interface("192.0.2.10/24"))
    known.ipv6.append(IPv6Interface("2001:db8::10/64"))
    shown = stage.shown(known)
    (mapped,) = datas(stage.process(laid([QUESTION], context)))
    assert shown.ipv4[0].ip.packed == mapped[26:30]
    assert shown.mac == mapped[6:12]
    assert (shown.ipv4[0].network.prefixlen, shown.ipv6[0].network.prefixlen) == (24, 64)
    assert (shown.filter, shown.options, known.mac) == ("", b"\x0d\0\x01\0\x04\0\0\0", HOST_MAC)


def test_the_names_of_the_traced_machine_are_left_out(tmp_path: Path) -> None:
    etwcap("convert", SAMPLE, "-w", tmp_path / "plain.pcapng")
    etwcap("convert", SAMPLE, "-w", tmp_path / "mapped.pcapng", "--anonymize", "key", "--hash")
    plain, mapped = ((tmp_path / f"{name}.pcapng").read_bytes() for name in ("plain", "mapped"))
    for secret in (b"sample-pktmon", b"session:"):
        assert secret in plain
        assert secret not in mapped
    assert b"SHA-256" not in mapped


def test_side_blocks_go() -> None:
    context = Context()
    chunk = laid([QUESTION], context)
    chunk.side_blocks = [SideBlock(4, b"names"), SideBlock(10, b"secrets")]
    assert AnonymizeStage(context, b"key").process(chunk).side_blocks == []
    assert context.receipt.notes["anonymize-blocks"].count == 2


def test_the_key_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"secret\r\n")
    for name, key in (("one", "secret"), ("two", f"@{tmp_path / 'key'}"), ("three", "other")):
        done = etwcap("convert", SAMPLE, "-w", tmp_path / f"{name}.pcapng", "--anonymize", key, "--json")
        assert {"anonymize"} <= {note["kind"] for note in json.loads(done.stdout)["notes"]}
    one, two, three = ((tmp_path / f"{name}.pcapng").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


@pytest.mark.parametrize(("key", "says"), [("", "empty"), ("  ", "empty"), ("@nowhere", "cannot be read")])
def test_a_key_that_is_none_is_wrong_usage(tmp_path: Path, key: str, says: str) -> None:
    done = etwcap("convert", SAMPLE, "-w", tmp_path / "out.pcapng", "--anonymize", key)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert says in done.stderr


def test_both_cores_write_the_same_file(both_cores: None, tmp_path: Path) -> None:
    pcap(tmp_path / "in.pcap", ethernet_frames())
    for name in ("native", "twin"):
        with use_backend(name):
            etwcap("convert", tmp_path / "in.pcap", "-w", tmp_path / f"{name}.pcap", "--anonymize", "key")
    assert (tmp_path / "native.pcap").read_bytes() == (tmp_path / "twin.pcap").read_bytes()


def test_real_traces_get_no_new_complaint(corpus: Path, tshark: str, tmp_path: Path) -> None:
    for name, options in itertools.product(("pktmon-d", "pktmon-e", "ndiscap-a"), ((), ("--anonymize", "key"))):
        target = tmp_path / f"{name}{len(options)}.pcapng"
        assert etwcap("convert", corpus / f"{name}.etl", "-w", target, *options).returncode in (0, 4)
    for name in ("pktmon-d", "pktmon-e", "ndiscap-a"):
        assert complaints(tshark, tmp_path / f"{name}2.pcapng") == complaints(tshark, tmp_path / f"{name}0.pcapng")
        assert len(read(tmp_path / f"{name}2.pcapng").packets) == len(read(tmp_path / f"{name}0.pcapng").packets)
