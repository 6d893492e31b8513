"""Wi-Fi metadata (event 1002) stand before the next received 802.11 frame of their adapter as a radiotap header."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.packets import Context, Mark, PacketTable
from etwcap.providers import ndiscap_build as build
from etwcap.providers.ndiscap import NdisCapProvider
from etwcap.providers.ndiscap_layout import EventId, Keyword, ReceiveFlag
from etwcap.providers.pefndis import PefNdisProvider
from etwcap.repair.wifi import WifiStage
from etwcap.sinks.output import Output
from etwcap.sinks.pcapng import PcapngSink, Section
from event_feed import Feed, chunk, decode, facts, frames

FRAME = bytes.fromhex("8802 0000 020000000001 020000000002 020000000003 0000 0000") + bytes.fromhex("aaaa030000000800")
FRAME += bytes(range(30))


def add_metadata(feed: Feed, *, miniport: int = 8, keyword: int | None = None, **told: int) -> None:
    payload = build.build_wifi_metadata(miniport=miniport, **told)
    feed.add(EventId.PACKET_METADATA, payload, keyword=build.metadata_keyword() if keyword is None else keyword)


def add_frame(
    feed: Feed, frame: bytes = FRAME, *, miniport: int = 8, sent: bool = False, medium: int = Keyword.NATIVE_802_11
) -> None:
    payload = build.build_packet_event(frame, miniport=miniport)
    feed.add(EventId.PACKET_FRAGMENT, payload, keyword=build.packet_keyword(sent=sent, medium=medium))


def links(context: Context, packets: PacketTable) -> list[int]:
    return [context.interfaces[number].link_type for number in packets["interface"].tolist()]


def notes(context: Context) -> dict[str, int]:
    return {kind: note.count for kind, note in context.receipt.notes.items()}


@pytest.mark.parametrize("pointer_size", [8, 4])
def test_header_holds_time_rate_channel_and_signal(pointer_size: int, backend: str) -> None:
    feed, context = Feed(), Context()
    add_metadata(
        feed, frequency=2437, rssi=-61, data_rate=108, receive_flags=ReceiveFlag.TIMESTAMP, timestamp=0x1122334455,
        pointer_size=pointer_size,
    )  # fmt: skip
    add_frame(feed)
    buffer, packets = decode(NdisCapProvider(context, facts()), feed)
    present = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 5
    header = struct.pack("<BBHIQBxHHb", 0, 0, 23, present, 0x1122334455, 108, 2437, 0x80 | 0x40, -61)
    assert frames(chunk(buffer, packets)) == [header + FRAME]
    assert packets["original"].tolist() == [len(header + FRAME)]
    assert links(context, packets) == [127]
    assert context.interfaces[0].name == "Interface 8 (802.11 with radiotap)"


def test_what_is_not_known_is_not_in_the_header(backend: str) -> None:
    feed, context = Feed(), Context()
    add_metadata(feed, frequency=0, rssi=0, data_rate=0)
    add_frame(feed)
    add_metadata(feed, frequency=5500, rssi=-200, receive_flags=ReceiveFlag.FCS_FAILURE)
    add_frame(feed)
    buffer, packets = decode(NdisCapProvider(context, facts()), feed)
    bare = struct.pack("<BBHI", 0, 0, 8, 0)
    failed = struct.pack("<BBHIBxHH", 0, 0, 14, 1 << 1 | 1 << 3, 0x40, 5500, 0x100)
    assert frames(chunk(buffer, packets)) == [bare + FRAME, failed + FRAME]


def test_metadata_go_to_the_next_received_802_11_frame_of_their_adapter(backend: str) -> None:
    feed, context = Feed(), Context()
    add_metadata(feed, frequency=2412)
    add_frame(feed, sent=True)
    add_frame(feed, miniport=9)
    add_frame(feed, medium=Keyword.ETHERNET)
    add_frame(feed)
    add_frame(feed)
    _, packets = decode(NdisCapProvider(context, facts()), feed)
    assert links(context, packets) == [105, 105, 1, 127, 105]


def test_metadata_wait_for_a_frame_of_a_later_chunk(backend: str) -> None:
    context = Context()
    provider = NdisCapProvider(context, facts())
    first, second = Feed(), Feed()
    add_metadata(first, frequency=2412)
    add_frame(second)
    add_frame(second)
    decode(provider, first)
    _, packets = decode(provider, second)
    assert links(context, packets) == [127, 105]


def test_metadata_without_a_frame_are_counted(backend: str) -> None:
    feed, context = Feed(), Context()
    for frequency in (2412, 2417):
        add_metadata(feed, frequency=frequency)
    add_frame(feed)
    add_metadata(feed)
    provider = NdisCapProvider(context, facts())
    buffer, packets = decode(provider, feed)
    provider.finish()
    assert notes(context) == {"metadata-unused": 2}
    assert frames(chunk(buffer, packets))[0][8:10] == struct.pack("<H", 2417)


def test_metadata_that_do_not_fit_are_damage(backend: str) -> None:
    good = build.build_wifi_metadata(miniport=8, frequency=2412)
    bad = [good[:-1], good[:20], good[:12] + b"\x81" + good[13:], good[:14] + b"\x2b\0" + good[16:], b""]
    feed, context, known = Feed(), Context(), facts()
    for payload in bad:
        feed.add(EventId.PACKET_METADATA, payload, keyword=build.metadata_keyword())
    feed.add(EventId.PACKET_METADATA, good, keyword=build.packet_keyword(sent=False))
    add_frame(feed)
    _, packets = decode(NdisCapProvider(context, known), feed)
    assert links(context, packets) == [105]
    assert notes(context) == {"malformed": len(bad), "metadata-other": 1}
    assert known.description.damage_count == len(bad)


def test_without_radiotap_the_frame_is_plain(backend: str) -> None:
    feed, context = Feed(), Context()
    context.radiotap = False
    add_metadata(feed, frequency=2412)
    add_frame(feed)
    buffer, packets = decode(NdisCapProvider(context, facts()), feed)
    assert frames(chunk(buffer, packets)) == [FRAME]
    assert links(context, packets) == [105]


def test_first_part_of_a_frame_in_several_events_carries_the_header(backend: str) -> None:
    feed, context, known = Feed(), Context(), facts()
    add_metadata(feed, frequency=2412)
    for part, start, end in ((FRAME[:26], True, False), (FRAME[26:], False, True)):
        keyword = build.packet_keyword(sent=False, medium=Keyword.NATIVE_802_11, start=start, end=end)
        payload = build.build_packet_event(part, miniport=8, trailer=False)
        feed.add(EventId.PACKET_FRAGMENT, payload, keyword=keyword)
    buffer, packets = decode(NdisCapProvider(context, known), feed)
    laid = known.annex.lay_out(chunk(buffer, packets))
    assert frames(laid) == [struct.pack("<BBHIHH", 0, 0, 12, 1 << 3, 2412, 0x80) + FRAME]
    assert links(context, laid.packets) == [127]


def test_older_provider_has_metadata_without_a_size(backend: str) -> None:
    feed, context = Feed(), Context()
    payload = build.build_legacy_wifi_metadata(miniport=8, frequency=2462, rssi=-40, data_rate=22)
    feed.add(EventId.PACKET_METADATA, payload, keyword=build.metadata_keyword())
    add_frame(feed)
    add_frame(feed, b"\x60" + bytes(39), medium=Keyword.TUNNEL)
    buffer, packets = decode(PefNdisProvider(context, facts()), feed)
    header = struct.pack("<BBHIBxHHb", 0, 0, 15, 1 << 2 | 1 << 3 | 1 << 5, 22, 2462, 0x80 | 0x20, -40)
    assert frames(chunk(buffer, packets))[0] == header + FRAME
    assert links(context, packets) == [127, 101]


def test_protected_bit_is_cleared_behind_the_radiotap_header(backend: str) -> None:
    feed, context = Feed(), Context()
    protected = FRAME[:1] + bytes([FRAME[1] | 0x40]) + FRAME[2:]
    add_metadata(feed, frequency=2412)
    add_frame(feed, protected)
    buffer, packets = decode(NdisCapProvider(context, facts()), feed)
    cleared = WifiStage(context).process(chunk(buffer, packets))
    assert frames(cleared)[0].endswith(FRAME)
    assert cleared.packets["flags"][0] & Mark.PROTECTED_CLEARED


def test_tshark_reads_the_radio(tmp_path: Path, tshark: str) -> None:
    feed, context = Feed(), Context()
    add_metadata(feed, frequency=5180, rssi=-55, data_rate=48, receive_flags=ReceiveFlag.TIMESTAMP, timestamp=7)
    add_frame(feed)
    buffer, packets = decode(NdisCapProvider(context, facts()), feed)
    sink = PcapngSink(Output(str(tmp_path / "t.pcapng")), context, section=Section("", "", "", []))
    sink.write(chunk(buffer, packets))
    sink.finish()
    names = ("channel.freq", "dbm_antsignal", "datarate", "mactime")
    fields = [word for name in names for word in ("-e", f"radiotap.{name}")]
    command = [tshark, "-r", str(tmp_path / "t.pcapng"), "-T", "fields", *fields, "-e", "_ws.malformed"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.rstrip("\n").split("\t")[:4] == ["5180", "-55", "24", "7"]
    assert not done.stdout.rstrip("\n").split("\t")[4:] or not done.stdout.rstrip("\n").split("\t")[4]


@given(st.lists(st.tuples(st.booleans(), st.integers(8, 9)), max_size=20), st.integers(0, 20))
def test_pairs_are_those_of_a_single_pending_record(history: list[tuple[bool, int]], cut: int) -> None:
    context = Context()
    provider = NdisCapProvider(context, facts())
    got: list[int] = []
    for part in (history[:cut], history[cut:]):
        if not part:
            continue
        feed = Feed()
        for number, (is_frame, miniport) in enumerate(part):
            if is_frame:
                add_frame(feed, miniport=miniport)
            else:
                add_metadata(feed, miniport=miniport, frequency=2400 + number)
        _, packets = decode(provider, feed)
        got += links(context, packets)
    waiting: set[int] = set()
    wanted = []
    for is_frame, miniport in history:
        if is_frame:
            wanted.append(127 if miniport in waiting else 105)
            waiting.discard(miniport)
        else:
            waiting.add(miniport)
    assert got == wanted


def test_headers_of_many_frames_are_written_each_before_its_own(backend: str) -> None:
    feed, context = Feed(), Context()
    for number in range(300):
        add_metadata(feed, frequency=2412 + number % 3 * 5, rssi=-(number % 100))
        add_frame(feed, FRAME + bytes([number % 256]))
    buffer, packets = decode(NdisCapProvider(context, facts()), feed)
    got = frames(chunk(buffer, packets))
    assert [frame[frame[2] :] for frame in got] == [FRAME + bytes([number % 256]) for number in range(300)]
    assert np.unique(packets["interface"]).tolist() == [0]
