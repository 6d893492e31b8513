"""Traces of the rarer taps from the file to the output: every kind of container, both pointer sizes, many chunks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import etwcap
from command_line import etwcap as run
from etwcap.etl.build import event_record
from etwcap.etl.writer import EtlWriter, LogfileSettings
from etwcap.native import etl, twin_etl
from etwcap.providers import (
    ndiscap_build,
    ndiscap_layout,
    pefndis_layout,
    ras_build,
    ras_layout,
    vmswitch_build,
    wfp_build,
    wfp_layout,
)
from frames import HOST, HOST6, SERVER, SERVER6, UDP, Seen, ip, ipv4, ipv6, wifi
from traces import START_NS, STEP_NS, packets

CONTAINERS = {
    "native": LogfileSettings(processors=3, buffer_size=8192),
    "compressed": LogfileSettings(processors=3, buffer_size=1 << 24, relogged=True, compressed=True),
    "32 bit": LogfileSettings(processors=3, buffer_size=8192, pointer_size=4),
}


class Told(NamedTuple):
    """A packet that was written."""

    time: int
    data: bytes
    sent: bool
    interface: str


def read(path: Path, **options: bool | str) -> list[Told]:
    with etwcap.open(path, **options) as trace:  # type: ignore[arg-type]
        return [Told(packet.time, packet.data, packet.direction == "out", packet.interface.name) for packet in trace]


class Writer:
    """Events of one provider, in turn on the processors."""

    def __init__(self, path: Path, settings: LogfileSettings, guid: bytes) -> None:
        self.path, self.settings, self.guid = path, settings, guid
        self.trace = EtlWriter(path, settings)

    def add(self, event: int, payload: bytes, time: int, keyword: int = 0, processor: int = 0, thread: int = 8) -> None:
        record = event_record(
            self.guid, event, payload, time=self.settings.raw(time), keyword=keyword, thread=thread,
            pointer_size=self.settings.pointer_size,
        )  # fmt: skip
        self.trace.add(processor, record)


@pytest.fixture(params=CONTAINERS)
def settings(request: pytest.FixtureRequest) -> LogfileSettings:
    return CONTAINERS[request.param]


def timed(count: int) -> Iterator[tuple[int, int, Seen]]:
    """Number, time and packet."""
    for number, seen in enumerate(packets(count)):
        yield number, START_NS + (number + 1) * STEP_NS, seen


def fragmented_trace(path: Path, settings: LogfileSettings, count: int, parts: int) -> list[Told]:
    """Each frame in parts 100 ns apart, those of three frames at a time interleaved on three processors."""
    chosen = random.Random(3)
    events = []
    wanted = []
    for number, seen in enumerate(packets(count)):
        time = START_NS + number // 3 * STEP_NS + number % 3 * 100
        cuts = [0, *sorted(chosen.randrange(len(seen.frame) + 1) for _ in range(parts - 1)), len(seen.frame)]
        for part in range(parts):
            keyword = ndiscap_build.packet_keyword(sent=seen.sent, start=part == 0, end=part == parts - 1)
            body = seen.frame[cuts[part] : cuts[part + 1]]
            payload = ndiscap_build.build_packet_event(body, miniport=6, trailer=False)
            events.append((time + part * 1000, payload, keyword, number % 3))
        wanted.append(Told(time, seen.frame, seen.sent, "Interface 6"))
    writer = Writer(path, settings, ndiscap_layout.GUID)
    for time, payload, keyword, processor in sorted(events):
        writer.add(1001, payload, time, keyword, processor)
    writer.trace.close()
    return wanted


def test_packets_in_several_events_come_back(settings: LogfileSettings, backend: str, tmp_path: Path) -> None:
    wanted = fragmented_trace(tmp_path / "t.etl", settings, 90, 4)
    assert read(tmp_path / "t.etl") == wanted


def test_packets_in_several_events_come_back_in_order_over_many_chunks(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etl.Merge, "ROWS", 7)
    monkeypatch.setattr(twin_etl.TwinMerge, "ROWS", 7)
    wanted = fragmented_trace(tmp_path / "t.etl", CONTAINERS["native"], 90, 3)
    with etwcap.open(tmp_path / "t.etl") as trace:
        got = [Told(each.time, each.data, each.direction == "out", each.interface.name) for each in trace]
        assert got == wanted
        assert not any(each.marks & etwcap.Mark.LATE for each in trace)


def test_radio_metadata_become_radiotap_headers(settings: LogfileSettings, backend: str, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "t.etl", settings, ndiscap_layout.GUID)
    wanted = []
    for number, time, seen in timed(60):
        frame = wifi(seen.frame, sent=seen.sent, protected=not seen.sent)
        if not seen.sent:
            told = ndiscap_build.build_wifi_metadata(
                miniport=6, frequency=2437, rssi=-50, data_rate=108, pointer_size=settings.pointer_size
            )
            writer.add(1002, told, time - 100, ndiscap_build.metadata_keyword(), number % 3)
        keyword = ndiscap_build.packet_keyword(sent=seen.sent, medium=ndiscap_layout.Keyword.NATIVE_802_11)
        writer.add(1001, ndiscap_build.build_packet_event(frame, miniport=6), time, keyword, number % 3)
        clear = wifi(seen.frame, sent=seen.sent, protected=False)
        header = b"" if seen.sent else bytes.fromhex("0000 0f00 2c000000 6c00 8509 c000 ce")
        name = "Interface 6 (802.11)" if seen.sent else "Interface 6 (802.11 with radiotap)"
        wanted.append(Told(time, header + clear, seen.sent, name))
    writer.trace.close()
    assert read(tmp_path / "t.etl") == wanted
    plain = [
        told._replace(data=told.data[0 if told.sent else 15 :], interface="Interface 6 (802.11)") for told in wanted
    ]
    assert read(tmp_path / "t.etl", radiotap=False) == plain
    with etwcap.open(tmp_path / "t.etl", ethernet=True) as trace:
        converted = list(trace)
    assert [packet.data for packet in converted] == [seen.frame for seen in packets(60)]
    assert [packet.original_length for packet in converted] == [len(seen.frame) for seen in packets(60)]


def test_switch_packets_come_back_with_their_tags(settings: LogfileSettings, backend: str, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "t.etl", settings, ndiscap_layout.GUID)
    port = vmswitch_build.SwitchPort(7, "port", "VM1", "Synthetic")
    wanted = []
    for number, time, seen in timed(60):
        payload = vmswitch_build.build_switch_event(
            seen.frame, miniport=9, source=port, vlan=number % 3, pointer_size=settings.pointer_size, rss_hash=number,
            destinations=[port] * (number % 4),
        )  # fmt: skip
        writer.add(1003, payload, time, vmswitch_build.switch_keyword(sent=seen.sent), number % 3)
        tag = b"\x81\0\0" + bytes([number % 3]) if number % 3 else b""
        wanted.append(Told(time, seen.frame[:12] + tag + seen.frame[12:], seen.sent, "vSwitch: VM1 (port 7)"))
    writer.trace.close()
    assert read(tmp_path / "t.etl") == wanted


def test_wfp_messages_come_back_as_ip_packets(settings: LogfileSettings, backend: str, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "t.etl", settings, wfp_layout.GUID)
    wanted = []
    for number, time, _ in timed(60):
        body = random.Random(number).randbytes(20 + number)
        source, target = (HOST, SERVER) if number % 2 else (HOST6, SERVER6)
        segment = ip(source, target, UDP, bytes(8) + body)[20 if number % 2 else 40 :]
        flow = number if number % 3 == 0 else None
        payload = wfp_build.build_message(segment, source=source, destination=target, protocol=UDP, flow=flow)
        event = wfp_build.message_event_id(source.version, flow is not None)
        keyword = wfp_build.message_keyword(sent=True)
        if number % 5 == 4:
            for part, (piece, bits) in enumerate(
                wfp_build.build_fragments(payload, event=event, group=number, size=30)
            ):
                writer.add(wfp_layout.EventId.FRAGMENT, piece, time + part * 100, keyword | bits, number % 3)
        else:
            writer.add(event, payload, time, keyword, number % 3)
        packet = ipv4(HOST, SERVER, UDP, segment) if number % 2 else ipv6(HOST6, SERVER6, UDP, segment)
        wanted.append(Told(time, packet, True, "WFP"))
    writer.trace.close()
    got = read(tmp_path / "t.etl")
    # the header made here has the don't-fragment bit that the event does not tell
    assert [told._replace(data=without_fragment_word(told.data)) for told in got] == [
        told._replace(data=without_fragment_word(told.data)) for told in wanted
    ]


def without_fragment_word(packet: bytes) -> bytes:
    return packet[:6] + packet[8:10] + packet[12:] if packet[0] >> 4 == 4 else packet


def test_ras_packets_come_back(settings: LogfileSettings, backend: str, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "t.etl", settings, ras_layout.GUID)
    wanted = []
    for number, time, seen in timed(60):
        payload = ras_build.build_packet_event(seen.frame, user=f"user {number % 2}")
        keyword = ras_build.packet_keyword(sent=seen.sent)
        writer.add(ras_build.packet_event_id(sent=seen.sent), payload, time, keyword, number % 3)
        wanted.append(Told(time, seen.frame, seen.sent, f"RAS: user {number % 2}"))
    writer.trace.close()
    assert read(tmp_path / "t.etl") == wanted


def test_older_provider_comes_back(settings: LogfileSettings, backend: str, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "t.etl", settings, pefndis_layout.GUID)
    wanted = []
    for number, time, seen in timed(30):
        payload = ndiscap_build.build_packet_event(seen.frame, miniport=6, trailer=False)
        writer.add(1001, payload, time, ndiscap_build.packet_keyword(sent=seen.sent), number % 3)
        wanted.append(Told(time, seen.frame, seen.sent, "Interface 6"))
    writer.trace.close()
    assert read(tmp_path / "t.etl") == wanted


def loopback_trace(path: Path) -> None:
    writer = Writer(path, CONTAINERS["native"], wfp_layout.GUID)
    for number, time, _ in timed(20):
        payload = wfp_build.build_message(
            bytes([0, 1, 0, 2, 0, 9, 0, 0, number]), source=HOST, destination=HOST, protocol=UDP
        )
        event = wfp_build.message_event_id(4, False)
        for late, sent in ((0, True), (5000, False)):
            writer.add(event, payload, time + late, wfp_build.message_keyword(sent=sent), number % 3)
    writer.add(wfp_layout.EventId.DISCARD, wfp_build.build_discard(0, 7), START_NS)
    writer.trace.close()


def test_convert_and_info_agree_on_loopback_and_say_what_was_done(tmp_path: Path) -> None:
    loopback_trace(tmp_path / "t.etl")
    done = run("convert", "t.etl", cwd=tmp_path)
    assert done.returncode == 0
    assert "20 packets of 40 sightings" in done.stderr
    assert "second sightings of packets that the machine sent to itself were left out" in done.stderr
    assert "discarded by Windows, network: no route: 1" in done.stderr
    everything = run("convert", "t.etl", "-w", "all.pcapng", "--appearances", "all", cwd=tmp_path)
    assert "40 packets" in everything.stderr
    told = run("info", "t.etl", cwd=tmp_path)
    assert "packets       20 (20 sent)" in told.stdout
    assert "40 by wfp" in told.stdout
    assert "Message Analyzer" in told.stdout


def test_pcap_takes_wifi_frames_without_radiotap_and_the_flag_does_the_same_for_pcapng(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "t.etl", CONTAINERS["native"], ndiscap_layout.GUID)
    for _, time, seen in timed(10):
        if not seen.sent:
            told = ndiscap_build.build_wifi_metadata(miniport=6, frequency=2437)
            writer.add(1002, told, time - 100, ndiscap_build.metadata_keyword())
        keyword = ndiscap_build.packet_keyword(sent=seen.sent, medium=ndiscap_layout.Keyword.NATIVE_802_11)
        payload = ndiscap_build.build_packet_event(wifi(seen.frame, sent=seen.sent), miniport=6)
        writer.add(1001, payload, time, keyword)
    writer.trace.close()
    for name, words in (("a.pcap", ()), ("b.pcapng", ("--no-radiotap",)), ("c.pcapng", ())):
        assert run("convert", "t.etl", "-w", name, *words, cwd=tmp_path).returncode == 0
    links = {}
    for name in ("a.pcap", "b.pcapng", "c.pcapng"):
        with etwcap.open(tmp_path / name) as capture:
            links[name] = {packet.interface.link_type for packet in capture}
    assert links == {"a.pcap": {105}, "b.pcapng": {105}, "c.pcapng": {105, 127}}
