"""Recordings of raw sockets as a source: the order of receives, address tables, directions, damage."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from etwcap.errors import EtwcapError
from etwcap.packets import AddressBook, AddressKind, Context
from etwcap.packets.addresses import MOST_ADDRESSES, OWN, mapped
from etwcap.providers.rawsocket_layout import ADDRESS_ROW, RAW_RECORD
from etwcap.sources.capfile import CaptureFileSource
from etwcap.sources.opening import open_source
from etwcap.sources.recording import RecordingSource
from frames import HOST, HOST6, SERVER, SERVER6, UDP, ip, udp
from pcapng_build import interface, packet, section
from raw_recordings import HEADER, Record, Records, ends, given, recording, tables

TIME = 1_700_000_000_000_000_000
US = 1000


def six(number: int, *, stamp: int, source: IPv6Address = SERVER6, **told: object) -> tuple[int, Record]:
    """A record whose payload tells its number."""
    return TIME + stamp, Record(bytes([number]), source, number=number, **told)  # type: ignore[arg-type]


def test_the_layout_has_the_sizes_and_places_that_the_format_says() -> None:
    fields = RAW_RECORD.fields
    assert fields is not None
    assert (RAW_RECORD.itemsize, ADDRESS_ROW.itemsize) == (64, 24)
    places = {name: fields[name][1] for name in fields}
    assert places == {
        "magic": 0, "kind": 4, "family": 5, "present": 6, "number": 8, "socket": 16, "interface": 20, "hop_limit": 24,
        "traffic_class": 25, "zero": 26, "scope": 28, "source": 32, "destination": 48,
    }  # fmt: skip


@pytest.mark.parametrize("order", ["<", ">"])
def test_records_become_packets_of_raw_ip(tmp_path: Path, order: str, backend: str) -> None:
    four = ip(SERVER, HOST, UDP, udp(1, 2, b"four"))
    records: Records = [
        (TIME, tables((AddressKind.UNICAST, 6, HOST6), (AddressKind.UNICAST, 6, HOST))),
        (TIME + 1, Record(b"six", SERVER6, HOST6, 6, 255, 3, 0)),
        (TIME + 2, Record(four, SERVER, number=0, socket=1)),
        (TIME + 3, Record(b"sent", HOST6, number=1, original=900)),
    ]
    got, context, source = given(recording(tmp_path / "r.pcapng", records, order=order, faces=[("eth", 156)]))
    assert [(each.time - TIME, each.payload, each.original, each.direction) for each in got] == [
        (1, b"six", 3, 1), (2, four, len(four), 1), (3, b"sent", 900, 2)
    ]  # fmt: skip
    face = context.interfaces[0]
    assert (face.link_type, face.name, face.tap) == (101, "eth", "raw")
    assert face.description == "raw socket, IPv6 headers rebuilt"
    assert source.describe().inputs[0].kind == "recording"
    assert context.receipt.packets_read == 3


@examples(order=st.permutations(range(12)), per_stamp=st.integers(1, 12))
def test_within_a_stamp_packets_stand_as_their_receives_were_posted(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], per_stamp: int
) -> None:
    records = [six(number, stamp=place // per_stamp * 50 * US) for place, number in enumerate(order)]
    path = recording(tmp_path_factory.mktemp("r") / "r.pcapng", records)
    got = given(path)[0]
    wanted = [number for first in range(0, 12, per_stamp) for number in sorted(order[first : first + per_stamp])]
    assert [each.payload[0] for each in got] == wanted
    assert [each.time for each in got] == [time for time, _ in records], "stamps stay"


@examples(order=st.permutations(range(12)), per_stamp=st.integers(1, 12))
def test_stamps_that_contradict_the_numbers_become_those_of_the_later_receive(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], per_stamp: int
) -> None:
    stamps = [TIME + place // per_stamp * 50 * US for place in range(12)]
    records = [six(number, stamp=stamp - TIME) for number, stamp in zip(order, stamps, strict=True)]
    got, context, _ = given(recording(tmp_path_factory.mktemp("r") / "r.pcapng", records), restamp=True)
    assert [each.payload[0] for each in got] == list(range(12))
    stamp_of = dict(zip(order, stamps, strict=True))
    assert [each.time for each in got] == [min(stamp_of[later] for later in range(n, 12)) for n in range(12)]
    changed = sum(each.time != stamp_of[each.payload[0]] for each in got)
    assert (context.receipt.notes["restamped"].count if changed else 0) == changed


def test_sockets_are_put_in_order_each_for_itself(tmp_path: Path) -> None:
    mixed = [(0, 1), (1, 5), (0, 0), (1, 4), (2, None), (0, 2)]
    records = [(TIME, Record(bytes([s, n or 0]), SERVER6, number=n, socket=s)) for s, n in mixed]
    got = given(recording(tmp_path / "r.pcapng", records))[0]
    assert [tuple(each.payload) for each in got] == [(0, 0), (1, 4), (0, 1), (1, 5), (2, 0), (0, 2)]


def test_order_holds_across_the_windows_of_the_reader(tmp_path: Path, backend: str) -> None:
    """Two windows of 1 MiB, every pair of receives the wrong way round."""
    filling = bytes(1400)
    records = [
        (TIME + number // 2 * 20 * US, Record(struct.pack("<I", number ^ 1) + filling, SERVER6, number=number ^ 1))
        for number in range(2400)
    ]
    for restamp in (False, True):
        got, context, _ = given(recording(tmp_path / "r.pcapng", records), restamp=restamp)
        assert [struct.unpack("<I", each.payload[:4])[0] for each in got] == list(range(2400))
        assert context.receipt.notes["posted-order"].count == 2400
        assert "restamped" not in context.receipt.notes


def test_times_at_the_ends_of_all_time_stay(tmp_path: Path) -> None:
    offset = (14, struct.pack("<q", -(2**63)))
    blocks = [section("<"), interface("<", 156, (9, b"\x09")), interface("<", 156, (9, b"\x09"), offset)]
    blocks += [
        packet("<", face, 2**64 - 1 if face == 0 else 0, six(n, stamp=0)[1].data()) for face, n in ((1, 1), (0, 0))
    ]
    path = tmp_path / "r.pcapng"
    path.write_bytes(b"".join(blocks))
    got = given(path, restamp=True)[0]
    assert sorted(each.time for each in got) == [-(2**63), 2**63 - 1]


def test_receives_without_a_packet_are_counted(tmp_path: Path) -> None:
    source = given(recording(tmp_path / "r.pcapng", [six(n, stamp=n) for n in (3, 4, 6, 9)]))[2]
    (facts,) = source.facts.sockets.values()
    assert (facts.packets, facts.missing) == (4, 3)


def test_tables_anywhere_in_the_file_are_taken_in_and_unknown_ones_counted(tmp_path: Path) -> None:
    records: Records = [
        six(0, stamp=0),
        (TIME + 1, tables((1, 6, HOST6), (77, 6, SERVER6), (4, 6, IPv4Address("192.0.2.1")))),
        (TIME + 2, tables((1, 6, HOST6), (9, 0, SERVER6))),
        (TIME + 2, tables((1, 6, HOST6), (9, 0, SERVER6))),
    ]
    _, context, source = given(recording(tmp_path / "r.pcapng", records))
    four = bytes(10) + b"\xff\xff" + IPv4Address("192.0.2.1").packed
    assert list(context.addresses.entries) == [(1, 6, HOST6.packed), (4, 6, four), (9, 0, SERVER6.packed)]
    assert source.facts.snapshots == 3
    (damage,) = source.describe().damage
    assert (damage.severity, source.describe().damage_count) == ("unknown", 0)


BROKEN = {
    "another magic": b"EXS1" + bytes(70),
    "too short": b"ERS1\1\6" + bytes(50),
    "no family": b"ERS1\1\5" + bytes(70),
    "cut tables": b"ERS1\2\0" + bytes(58) + bytes(20),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_told_with_its_place_and_the_others_are_delivered(tmp_path: Path, name: str) -> None:
    records: Records = [six(0, stamp=0), (TIME, BROKEN[name]), six(1, stamp=0)]
    path = recording(tmp_path / "r.pcapng", records)
    got, _, source = given(path)
    assert [each.payload for each in got] == [b"\0", b"\1"]
    (damage,) = source.describe().damage
    place = list(ends(path))[2] + 28
    assert damage.offset == place + (HEADER if name == "cut tables" else 0)
    assert source.describe().damage_count == 1


def test_a_kind_that_is_not_known_is_passed_over_and_no_damage(tmp_path: Path) -> None:
    got, _, source = given(recording(tmp_path / "r.pcapng", [six(0, stamp=0), (TIME, b"ERS1\7\0" + bytes(90))]))
    assert len(got) == 1
    assert [each.severity for each in source.describe().damage] == ["unknown"]
    assert source.describe().damage_count == 0


def test_the_first_record_may_be_the_broken_one(tmp_path: Path) -> None:
    got, _, source = given(recording(tmp_path / "r.pcapng", [(TIME, b"\xff" * 90), six(0, stamp=1)]))
    assert (len(got), source.describe().damage_count) == (1, 1)


@pytest.mark.parametrize("value", [0, 1, 0xFFFFFFFF])
def test_behind_a_broken_section_header_it_is_still_known_for_a_recording(tmp_path: Path, value: int) -> None:
    path = recording(tmp_path / "r.pcapng", [six(0, stamp=0), six(1, stamp=1)])
    data = bytearray(path.read_bytes())
    data[24:28] = value.to_bytes(4, "little")  # the length behind the block
    path.write_bytes(data)
    got, _, source = given(path)
    assert [each.payload for each in got] == [b"\0", b"\1"]
    assert [each.offset for each in source.describe().damage] == [0]


def test_a_capture_of_that_link_type_with_other_bytes_stays_a_capture(tmp_path: Path) -> None:
    path = recording(tmp_path / "u.pcapng", [(TIME, b"something else" * 9)])
    source = open_source(path, Context())
    assert isinstance(source, CaptureFileSource)
    source.close()


def test_interfaces_are_named_after_their_sockets(tmp_path: Path) -> None:
    four = ip(SERVER, HOST, UDP, udp(1, 2, b"four"))
    records: Records = [
        (TIME, tables((1, 6, HOST6))), (TIME, Record(four, SERVER, HOST, 17)), (TIME, Record(b"six", SERVER6))
    ]  # fmt: skip
    _, context, _ = given(recording(tmp_path / "r.pcapng", records, faces=[("a", 156), ("b", 156)], on=[0, 0, 1]))
    assert [(face.name, face.description, face.if_index) for face in context.interfaces] == [
        ("a", "raw socket", 17), ("b", "raw socket, IPv6 headers rebuilt", 0)
    ]  # fmt: skip


def test_interfaces_of_other_link_types_pass_as_they_are(tmp_path: Path) -> None:
    context = Context()
    frame = bytes(60)
    records: Records = [six(1, stamp=0), (TIME, frame), six(0, stamp=0), (TIME + 1, frame)]
    path = recording(tmp_path / "r.pcapng", records, faces=[("raw", 156), ("eth", 1)], on=[0, 1, 0, 1])
    source = open_source(path, context)
    rows = []
    for chunk in source.chunks():
        for row in range(len(chunk.packets)):
            face = context.interfaces[int(chunk.packets["interface"][row])]
            at, size = int(chunk.packets["offset"][row]), int(chunk.packets["captured"][row])
            rows.append((face.link_type, chunk.buffer[at : at + size].tobytes()))
    source.close()
    assert rows == [(101, b"\0"), (1, frame), (101, b"\1"), (1, frame)]


@pytest.mark.skipif(sys.platform == "win32", reason="a FIFO")
def test_a_pipe_is_known_for_a_recording_though_its_packets_come_late(tmp_path: Path) -> None:
    path = recording(tmp_path / "r.pcapng", [six(n, stamp=n) for n in range(5)])
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    data = path.read_bytes()

    def write() -> None:
        with fifo.open("wb", buffering=0) as file:
            for first in range(0, len(data), 50):
                file.write(data[first : first + 50])

    writer = threading.Thread(target=write)
    writer.start()
    got, _, source = given(fifo)
    writer.join()
    assert [each.payload[0] for each in got] == list(range(5))
    assert not source.seekable


@examples(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=30),
    restamp=st.booleans(),
)
def test_any_bytes_give_packets_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], restamp: bool
) -> None:
    path = tmp_path_factory.mktemp("r") / "r.pcapng"
    records: Records = [(TIME, tables((1, 6, HOST6), (4, 6, SERVER6)))]
    records += [six(n ^ 1, stamp=n * US, destination=HOST6, hops=64) for n in range(20)]
    data = bytearray(recording(path, records).read_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    path.write_bytes(data)
    try:
        source = open_source(path, Context())
    except EtwcapError:
        return
    try:
        if isinstance(source, RecordingSource):
            source.restamp = restamp
        for chunk in source.chunks():
            packets = chunk.packets
            assert (packets["offset"] + packets["captured"] <= chunk.buffer.size).all()
            assert (packets["captured"] <= packets["original"]).all()
    except EtwcapError:
        pass
    finally:
        source.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells no peak of memory")
def test_memory_stays_bounded_while_numbers_are_sorted(tmp_path: Path) -> None:
    """All packets within the window, 80 MB of them: what is held passes on."""
    path = tmp_path / "r.pcapng"
    recording(path, [(TIME, Record(struct.pack("<I", n) + bytes(16_000), SERVER6, number=n)) for n in range(5000)])
    code = (
        "import sys; from etwcap.packets import Context; from etwcap.sources.opening import open_source\n"
        "s = open_source(sys.argv[1], Context()); s.restamp = True\n"
        "print(sum(len(c.packets) for c in s.chunks()))\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    packets, kibibytes = map(int, done.stdout.split())
    assert packets == 5000
    if "asan" not in os.environ.get("LD_PRELOAD", ""):  # AddressSanitizer has shadow memory, and frees late
        assert kibibytes < 150 << 10


def test_a_book_knows_each_address_once_and_has_an_end() -> None:
    book = AddressBook()
    for _ in range(2):
        book.add(AddressKind.UNICAST, 6, HOST6.packed)
        book.add(AddressKind.ANYCAST, 6, SERVER6.packed)
    assert (len(book), book.version) == (2, 2)
    rows = np.frombuffer(b"".join([HOST6.packed, bytes(16), SERVER6.packed[:15] + b"\0"]), np.uint8).reshape(-1, 16)
    assert book.holds(rows, OWN).tolist() == [True, False, False]
    assert book.holds(rows, {AddressKind.NEIGHBOUR}).tolist() == [False] * 3
    for number in range(MOST_ADDRESSES):
        book.add(AddressKind.NEIGHBOUR, 0, number.to_bytes(16, "big"))
    assert (len(book), book.left_out) == (MOST_ADDRESSES, 2)


def test_ipv4_addresses_are_mapped() -> None:
    rows = np.frombuffer(HOST.packed + bytes(12) + HOST6.packed, np.uint8).reshape(2, 16)
    four, whole = mapped(rows, np.array([4, 6], np.uint8))
    assert IPv6Address(four.tobytes()).ipv4_mapped == HOST
    assert whole.tobytes() == HOST6.packed


def test_addresses_that_the_user_named_count_in_every_recording(tmp_path: Path) -> None:
    context = Context()
    context.addresses.add(AddressKind.UNICAST, 0, HOST6.packed)
    source = open_source(recording(tmp_path / "r.pcapng", [six(0, stamp=0, source=HOST6)]), context)
    assert [chunk.packets["direction"].tolist() for chunk in source.chunks() if len(chunk.packets)] == [[2]]
    source.close()
