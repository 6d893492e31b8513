"""Made-up traces: faults and losses as asked for, facts of the machine, the guess which side is local, the command."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from capture_files import fields
from command_line import etwcap
from conftest import CHECKOUT
from etwcap.errors import NothingToWriteError, OutputError, UsageError
from etwcap.etl import layout
from etwcap.etl.build import guid_bytes
from etwcap.etl.decode import decode_record
from etwcap.etl.records import EVENT32, EVENT64
from etwcap.etl.schemas import Schemas
from etwcap.inspect.info import describe_trace
from etwcap.pipeline.convert import ConvertOptions, convert
from etwcap.synth.options import TAPS, SynthOptions
from etwcap.synth.radiotap import Radio, read_radiotap
from etwcap.synth.run import synthesize
from frames import ACK, HOST, HOST_MAC, PSH, SERVER, TCP, Seen, framed, ip, tcp, traffic
from made_captures import START, capture
from pcapng_build import interface, packet, pcap, section
from roundtrip import packets_of, trip

LOCAL = ("192.0.2.10", "2001:db8::10")


def write(path: Path, frames: list[bytes], step: int = 10_000, link: int = 1) -> Path:
    """A capture of those packets, ``step`` ns apart."""
    times = [START + step * number for number in range(len(frames))]
    rows = [(time // 10**9, time % 10**9, data, len(data)) for time, data in zip(times, frames, strict=True)]
    path.write_bytes(pcap("<", 0xA1B23C4D, link, *rows))
    return path


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A host's traffic, 600 packets."""
    some = traffic()
    return write(tmp_path / "web.pcap", [next(some).frame for _ in range(600)])


def test_the_same_options_give_the_same_bytes(web: Path, tmp_path: Path) -> None:
    options = SynthOptions(tap="pktmon", processors=4, appearances=3, drop_rate=0.2, seed=5)
    traces = []
    for number, each in enumerate((options, options, SynthOptions(**{**_plain(options), "seed": 6}))):
        target = tmp_path / f"{number}.etl"
        synthesize(web, target, each)
        traces.append(target.read_bytes())
    assert traces[0] == traces[1]
    assert traces[0] != traces[2]


def _plain(options: SynthOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in SynthOptions.__slots__}


@pytest.mark.parametrize("build", [19042, 20348, 26100])
def test_drop_reports_mark_packets_and_add_none(web: Path, tmp_path: Path, build: int) -> None:
    options = SynthOptions(tap="pktmon", os_build=build, appearances=4, drop_rate=0.3, processors=3, local=LOCAL)
    done = trip(web, tmp_path, options)
    assert len(done.back) == 600
    assert done.notes["drops"] == done.said["drops"] > 20
    assert "drop-only" not in done.said
    reported = describe_trace(tmp_path / "trace.etl").drops
    assert {each.reason for each in reported} == {204, 902, 1204}
    assert sum(each.count for each in reported) == done.notes["drops"]


def segments() -> list[Seen]:
    """A sent stream in five segments with one ACK between, and a received one."""
    flags = [ACK] * 4 + [ACK | PSH]
    stream = [tcp(40000, 80, 1000 + 100 * n, 7, flags[n], bytes([n]) * 100) for n in range(5)]
    sent = [framed(ip(HOST, SERVER, TCP, each), sent=True) for each in stream]
    answer = framed(ip(SERVER, HOST, TCP, tcp(80, 40000, 7, 1500, ACK)), sent=False)
    back = [
        framed(ip(SERVER, HOST, TCP, tcp(80, 40000, 7 + 50 * n, 1500, ACK, b"r" * 50)), sent=False) for n in range(2)
    ]
    return [*sent[:3], answer, *sent[3:], *back]


def test_large_sends_hold_the_bytes_of_their_segments_and_length_zero(tmp_path: Path, tshark: str) -> None:
    path = write(tmp_path / "stream.pcap", [each.frame for each in segments()])
    done = trip(path, tmp_path, SynthOptions(tap="ndiscap", lso=True, local=LOCAL))
    large = done.back[0].data
    assert len(done.back) == 4
    assert large[16:18] == b"\0\0"
    assert large[54:] == b"".join(bytes([n]) * 100 for n in range(5))
    assert large[47] & PSH
    assert done.notes["lso"] == 4
    assert done.notes["large-sends"] == 1
    assert [row[0] for row in fields(tshark, tmp_path / "back.pcapng", "tcp.len")] == ["500", "0", "50", "50"]


def test_checksums_of_sent_packets_are_left_open_and_no_others(tmp_path: Path) -> None:
    seen = segments()
    path = write(tmp_path / "stream.pcap", [each.frame for each in seen])
    done = trip(path, tmp_path, SynthOptions(tap="ndiscap", offload=True, local=LOCAL))
    for each, back in zip(seen, done.back, strict=True):
        if not each.sent:
            assert back.data == each.frame
            continue
        length = len(each.frame) - 34
        words = struct.unpack(">4H", HOST.packed + SERVER.packed)
        total = sum(words) + TCP + length
        total = (total & 0xFFFF) + (total >> 16)
        assert back.data[24:26] == b"\0\0"
        assert back.data[50:52] == struct.pack(">H", total)
        assert back.data[:24] + back.data[26:50] + back.data[52:] == (
            each.frame[:24] + each.frame[26:50] + each.frame[52:]
        )


def in_order(some: list[Any], all_of_them: list[Any]) -> bool:
    """Whether the one is the other with items left out."""
    rest = iter(all_of_them)
    return all(each in rest for each in some)


def test_lost_buffers_leave_gaps_and_all_other_packets(web: Path, tmp_path: Path) -> None:
    whole = trip(web, tmp_path, SynthOptions(tap="ndiscap", processors=3, buffer_size=8192)).back
    options = SynthOptions(tap="ndiscap", processors=3, buffer_size=8192, lose_buffers=4)
    done = trip(web, tmp_path, options)
    losses = describe_trace(tmp_path / "trace.etl").description.losses
    assert done.outcome is not None
    assert done.outcome.lost_buffers == losses.sequence_gaps == losses.buffers == 4
    assert 0 < len(done.back) < len(whole)
    assert in_order(done.back, whole)


@pytest.mark.parametrize("compress", [True, False])
def test_a_cut_trace_gives_what_was_written_before_the_cut(web: Path, tmp_path: Path, compress: bool) -> None:
    options: dict[str, Any] = {"tap": "pktmon", "buffer_size": 8192, "os_build": 20348, "compress": compress}
    whole = trip(web, tmp_path, SynthOptions(**options)).back
    size = (tmp_path / "trace.etl").stat().st_size
    done = trip(web, tmp_path, SynthOptions(**options, cut=size // 2 + 100))
    assert (tmp_path / "trace.etl").stat().st_size == size - size // 2 - 100
    assert done.exit_code == 4
    assert 0 < len(done.back) < len(whole)
    assert [each.data for each in done.back] == [each.data for each in whole[: len(done.back)]]


def test_a_circular_trace_keeps_the_newest_packets(web: Path, tmp_path: Path) -> None:
    whole = trip(web, tmp_path, SynthOptions(tap="ndiscap", buffer_size=8192)).back
    done = trip(web, tmp_path, SynthOptions(tap="ndiscap", buffer_size=8192, circular=6))
    assert describe_trace(tmp_path / "trace.etl").description.losses.partial_first
    assert 0 < len(done.back) < len(whole)
    assert done.back == whole[-len(done.back) :]


def test_an_unclosed_trace_says_so(web: Path, tmp_path: Path) -> None:
    done = trip(web, tmp_path, SynthOptions(tap="ndiscap", unclosed=True))
    assert len(done.back) == 600
    assert "unclosed" in done.notes
    assert describe_trace(tmp_path / "trace.etl").description.losses.unclosed


def test_traffic_over_loopback_is_logged_twice_by_wfp_and_comes_back_once(tmp_path: Path) -> None:
    own = IPv4Address("127.0.0.1")
    packets = [ip(own, own, TCP, tcp(5000 + n, 80, n, 0, ACK, b"x" * 20)) for n in range(5)]
    path = write(tmp_path / "lo.pcap", packets, link=101, step=1_000_000)
    done = trip(path, tmp_path, SynthOptions(tap="wfp"))
    assert done.notes["loopback"] == 5
    assert len(done.back) == 5
    everything = tmp_path / "all.pcapng"
    convert([tmp_path / "trace.etl"], everything, ConvertOptions(appearances="all"))
    assert sorted(each.direction for each in packets_of(everything)) == [1] * 5 + [2] * 5


def test_messages_longer_than_an_event_come_back_whole(tmp_path: Path) -> None:
    packet = ip(HOST, SERVER, TCP, tcp(1, 2, 3, 4, ACK, bytes(range(256)) * 60))
    path = write(tmp_path / "long.pcap", [packet], link=101)
    done = trip(path, tmp_path, SynthOptions(tap="wfp", buffer_size=4096))
    assert done.notes["parts"] == 1
    assert done.back[0].data[20:] == packet[20:]


def test_the_radio_facts_of_received_frames_come_back_as_radiotap(tmp_path: Path, tshark: str) -> None:
    header = struct.pack("<BBHI", 0, 0, 16, 0x2C) + struct.pack("<BxHHbx", 12, 2412, 0xC0, -60)
    frame = b"\x08\x02\0\0" + HOST_MAC + bytes(14) + b"\xaa\xaa\x03\0\0\0\x88\xb5" + bytes(20)
    path = write(tmp_path / "radio.pcap", [header + frame] * 3, link=127)
    synthesize(path, tmp_path / "radio.etl", SynthOptions(tap="ndiscap", local=("02-00-00-00-00-99",)))
    back = tmp_path / "back.pcapng"
    convert([tmp_path / "radio.etl"], back, ConvertOptions(repair="none"))
    assert {each.link for each in packets_of(back)} == {127}
    shown = fields(tshark, back, "radiotap.channel.freq", "radiotap.dbm_antsignal", "radiotap.datarate")
    assert shown == [["2412", "-60", "6"]] * 3


@pytest.mark.parametrize("size", range(16))
def test_a_cut_radiotap_header_tells_nothing(size: int) -> None:
    header = struct.pack("<BBHI", 0, 0, 16, 0x2C) + struct.pack("<BxHHbx", 12, 2412, 0xC0, -60)
    assert read_radiotap(header) == Radio(2412, 12, -60, 0)
    assert size == 15 or read_radiotap(header[:size]) is None


def test_the_address_with_most_peers_is_taken_for_the_machines(web: Path, tmp_path: Path) -> None:
    outcome = synthesize(web, tmp_path / "t.etl", SynthOptions())
    assert outcome.local == "192.0.2.10"
    given = synthesize(web, tmp_path / "t.etl", SynthOptions(local=("192.0.2.10",)))
    assert given.local == ""
    assert (given.sent, given.received) == (outcome.sent, outcome.received)
    other = synthesize(web, tmp_path / "t.etl", SynthOptions(local=(",".join(["198.51.100.80", "192.0.2.53"]),)))
    assert other.sent > 0
    assert other.sent + other.received == 600
    assert other.sent != given.sent


def test_without_ip_the_mac_address_with_most_peers_is_taken(tmp_path: Path) -> None:
    macs = [bytes([2, 0, 0, 0, 0, number]) for number in range(4)]
    path = write(tmp_path / "lldp.pcap", [macs[each] + macs[0] + b"\x88\xcc" + bytes(40) for each in (1, 2, 3)])
    outcome = synthesize(path, tmp_path / "t.etl", SynthOptions(tap="vmswitch"))
    assert outcome.local == "02:00:00:00:00:00"
    assert outcome.sent == 3


def filled(value: Any, path: str = "") -> set[str]:
    """The fields of a nested dictionary that say something; items of a list count as one."""
    if isinstance(value, dict):
        return {each for name, item in value.items() for each in filled(item, f"{path}.{name}")}
    if isinstance(value, list):
        return {each for item in value for each in filled(item, f"{path}[]")}
    return {path} if value not in (None, "", 0, False) else set()


def test_info_of_a_made_up_trace_says_all_that_it_says_of_the_sample(web: Path, tmp_path: Path) -> None:
    options = SynthOptions(tap="pktmon", processors=4, appearances=5, drop_rate=0.2, local=LOCAL)
    synthesize(web, tmp_path / "t.etl", options)
    made = filled(describe_trace(tmp_path / "t.etl").as_dict())
    sample = filled(describe_trace(CHECKOUT / "examples" / "sample-pktmon.etl").as_dict())
    own = (".packets.drop_only", ".interfaces[].addresses", ".notes", ".packets.sightings.by_link_type",
           ".packets.sightings.marks", ".interfaces[].drop_only")  # fmt: skip
    assert {each for each in sample - made if not each.startswith(own)} == set()


@pytest.mark.parametrize(("name", "tap"), [("pktmon-e.etl", "pktmon"), ("ndiscap-a.etl", "ndiscap")])
def test_info_of_a_made_up_trace_is_as_rich_as_that_of_a_real_one(
    corpus: Path, web: Path, tmp_path: Path, name: str, tap: str
) -> None:
    synthesize(web, tmp_path / "t.etl", SynthOptions(tap=tap, os_build=19042, processors=4, local=LOCAL))
    made = filled(describe_trace(tmp_path / "t.etl").as_dict())
    real = filled(describe_trace(corpus / name).as_dict())
    concerned = (".session", ".machine", ".span", ".interfaces", ".providers", ".network_cards")
    lacking = {each for each in real - made if each.startswith(concerned)}
    assert lacking <= MAY_LACK


MAY_LACK = {".session.mode", ".machine.bias_minutes", ".interfaces[].addresses[]"}
"""The traced machine's time zone, and addresses that the capture does not tell."""


def test_another_reader_walks_as_many_records(web: Path, tmp_path: Path) -> None:
    other = pytest.importorskip("dissect.etl")
    for tap in TAPS:
        outcome = synthesize(web, tmp_path / "t.etl", SynthOptions(tap=tap, processors=3, compress=False))
        info = describe_trace(tmp_path / "t.etl")
        with (tmp_path / "t.etl").open("rb") as file:
            walked = sum(1 for _ in other.ETL(file))
        assert walked == info.events
        assert outcome.records == sum(each.count.packets for each in info.interfaces)


@pytest.mark.parametrize(
    "options",
    [
        {"tap": "npcap"},
        {"tap": "raw", "processors": 2},
        {"tap": "raw", "tables": "some"},
        {"tap": "wfp", "disorder": True},
        {"tap": "ndiscap", "pktinfo": False},
        {"tap": "wfp", "fragments": 2},
        {"tap": "ras", "appearances": 2},
        {"tap": "ndiscap", "drop_rate": 0.5},
        {"tap": "pktmon", "drop_rate": 1.5},
        {"tap": "pktmon", "os_build": 9200},
        {"processors": 0},
        {"buffer_size": 100},
        {"buffer_size": 65537},
        {"pointer_size": 5},
        {"clock": 3},
        {"compress": True, "relogged": False},
        {"compress": True, "circular": 5},
        {"unclosed": True, "relogged": True},
    ],
)
def test_options_that_cannot_be_are_refused_with_a_hint(options: dict[str, Any]) -> None:
    if options == {"clock": 3}:
        options = {"clock": 3, "frequency": 2_400_000_001}
    with pytest.raises(UsageError) as raised:
        SynthOptions(**options)
    assert raised.value.hint


def test_an_address_that_is_none_is_refused(web: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no address"):
        synthesize(web, tmp_path / "t.etl", SynthOptions(local=("192.0.2",)))


def test_a_tap_that_can_hold_no_packet_says_which_it_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "arp.pcap", [bytes(12) + b"\x08\x06" + bytes(46)])
    with pytest.raises(NothingToWriteError) as raised:
        synthesize(path, tmp_path / "t.etl", SynthOptions(tap="wfp"))
    assert "no IP" in raised.value.cause
    assert sorted(each.name for each in tmp_path.iterdir()) == ["arp.pcap"]


def test_a_failed_run_leaves_the_old_output_and_nothing_else(web: Path, tmp_path: Path) -> None:
    target = tmp_path / "t.etl"
    target.write_bytes(b"old")
    with pytest.raises(UsageError, match="leaves no trace"):
        synthesize(web, target, SynthOptions(cut=10**9))
    assert target.read_bytes() == b"old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["t.etl", "web.pcap"]
    with pytest.raises(OutputError):
        synthesize(web, web, SynthOptions())
    with pytest.raises(OutputError):
        synthesize(web, tmp_path / "none" / "t.etl", SynthOptions())


def test_a_damaged_capture_gives_what_is_intact_and_exit_code_4(web: Path, tmp_path: Path) -> None:
    web.write_bytes(web.read_bytes()[:-10])
    outcome = synthesize(web, tmp_path / "t.etl", SynthOptions())
    assert outcome.exit_code == 4
    assert outcome.packets == 599


def test_the_command_tells_what_it_made_and_what_was_lost(tmp_path: Path) -> None:
    (tmp_path / "c.pcap").write_bytes(capture(4))
    done = etwcap("synth", "c.pcap", "-w", "t.etl", "--as", "wfp", cwd=tmp_path)
    assert done.returncode == 0
    assert "packets in " in done.stderr
    assert "lose their link header" in done.stderr
    told = etwcap("synth", "c.pcap", "-w", "t.etl", "--as", "ndiscap", "--json", "-q", "--truncate", "50", cwd=tmp_path)
    facts = json.loads(told.stdout)
    assert facts["options"]["truncate"] == 50
    assert facts["size"] == (tmp_path / "t.etl").stat().st_size
    assert {note["kind"] for note in facts["notes"]} >= {"truncated"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["synth", "c.pcap", "-w", "t.etl", "--as", "wfp", "--fragments", "2"], 2),
        (["synth", "c.pcap", "-w", "-", "--as", "wfp"], 2),
        (["synth", "none.pcap", "-w", "t.etl", "--as", "wfp"], 1),
        (["synth", "text", "-w", "t.etl", "--as", "wfp"], 1),
        (["synth", "sample.etl", "-w", "t.etl", "--as", "wfp"], 2),
        (["synth", "c.pcap", "-w", "t.etl"], 2),
    ],
)
def test_exit_codes_and_hints(tmp_path: Path, words: list[str], code: int) -> None:
    (tmp_path / "c.pcap").write_bytes(capture(25))
    (tmp_path / "text").write_text("no capture")
    (tmp_path / "sample.etl").write_bytes((CHECKOUT / "examples" / "sample-pktmon.etl").read_bytes())
    done = etwcap(*words, cwd=tmp_path)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) <= 4
    assert not (tmp_path / "t.etl").exists()


def test_packets_without_a_byte_come_back_among_others(tmp_path: Path) -> None:
    path = write(tmp_path / "empty.pcap", [b"", b"", *(bytes(60) for _ in range(5)), b""], step=400_000_000)
    for tap in ("ndiscap", "pktmon", "vmswitch", "ras"):
        done = trip(path, tmp_path, SynthOptions(tap=tap, processors=2))
        assert [len(each.data) for each in done.back] == [0, 0, 60, 60, 60, 60, 60, 0]


@pytest.mark.parametrize("tap", TAPS)
@pytest.mark.parametrize("pointer_size", [4, 8])
def test_every_event_of_the_tap_is_decoded_by_its_schema_to_the_last_byte(
    web: Path, tmp_path: Path, tap: str, pointer_size: int
) -> None:
    options = SynthOptions(
        tap=tap, pointer_size=pointer_size, relogged=False, truncate=500 if tap == "ndiscap" else 0,
        drop_rate=0.2 if tap == "pktmon" else 0.0, appearances=4 if tap in ("ndiscap", "pktmon") else 1,
    )  # fmt: skip
    synthesize(web, tmp_path / "t.etl", options)
    schemas, events = Schemas(), []
    for record in plain_records((tmp_path / "t.etl").read_bytes(), options.buffer_size):
        if record[2] in (EVENT32, EVENT64):
            events.append(record)
        elif record[24:40] == guid_bytes(layout.EVENT_METADATA):
            schemas.add(record[4], record[48:])
    assert len(events) >= 590
    assert schemas.malformed == 0
    for record in events:
        decoded = decode_record(record, schemas)
        assert decoded.described, record[40:42]
        assert (decoded.rest, decoded.problem) == (0, "")


def plain_records(data: bytes, buffer_size: int) -> Iterator[bytes]:
    """The records of an uncompressed trace, but for those of its header buffer."""
    for start in range(buffer_size, len(data), buffer_size):
        at, end = start + 72, start + int.from_bytes(data[start + 48 : start + 52], "little")
        while at < end:
            long_header = data[at + 3] == layout.MARKER_EVENT and data[at + 2] in (1, 2)
            size = int.from_bytes(data[at + 4 : at + 6] if long_header else data[at : at + 2], "little")
            yield data[at : at + size]
            at += size + -size % 8


@pytest.mark.parametrize("tap", TAPS)
def test_names_of_any_length_and_kind_fit_the_smallest_buffers(tap: str, tmp_path: Path) -> None:
    frame = framed(ip(HOST, SERVER, TCP, tcp(1, 2, 3, 4, ACK)), sent=True).frame
    names = [("x" * 3000).encode(), b"a\0b", "\U0001f980".encode() * 200, b"", b"\xff\xfe"]
    blocks = [interface("<", 1, (2, name), (3, name)) for name in names]
    rows = [packet("<", number, START // 1000 + number, frame) for number in range(len(names))]
    path = tmp_path / "names.pcapng"
    path.write_bytes(b"".join([section("<"), *blocks, *rows]))
    layers = 16 if tap in ("ndiscap", "pktmon") else 1
    done = trip(path, tmp_path, SynthOptions(tap=tap, buffer_size=4096, appearances=layers))
    assert len(done.back) == len(names)
    assert (done.exit_code, done.outcome is not None and done.outcome.exit_code) == (0, 0)


def test_a_capture_of_too_many_interfaces_loses_the_packets_of_the_last(tmp_path: Path) -> None:
    faces = 1003
    rows = [packet("<", number, START // 1000 + number, bytes(60)) for number in range(faces)]
    path = tmp_path / "many.pcapng"
    path.write_bytes(b"".join([section("<"), *[interface("<", 1)] * faces, *rows]))
    done = trip(path, tmp_path, SynthOptions(tap="ndiscap"))
    assert done.notes["interfaces"] == 3
    assert len(done.back) == 1000
