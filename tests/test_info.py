"""What ``info`` says of a trace: every file gets an answer, and one without packets a reason and a command."""

from __future__ import annotations

import json
import struct
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from etwcap.errors import InputError, NotATraceError
from etwcap.etl.build import event_record, full_header_record, message_record, perfinfo_record
from etwcap.etl.build_schema import event_schema, provider_traits, tracelogging_schema
from etwcap.etl.layout import EVENT_METADATA
from etwcap.etl.writer import EtlWriter, LogfileSettings
from etwcap.inspect.info import TraceInfo, describe_trace
from etwcap.inspect.text import duration, iso, labelled, shorten, table
from etwcap.providers import pktmon_build
from etwcap.providers.names import CLR_PROVIDERS, PACKET_PROVIDERS, PKTMON
from etwcap.words import octets, plural, safe_text
from traces import START_NS, header_only_trace, kernel_trace, ndiscap_trace, pktmon_trace

MADE_UP = uuid.UUID("12345678-9abc-def0-1122-334455667788")
WFP = next(guid for guid, name in PACKET_PROVIDERS.items() if "WFP" in name)
CLR = next(iter(CLR_PROVIDERS))


def told(path: Path) -> tuple[TraceInfo, str]:
    """The facts and the text; checks that the text is safe and that JSON takes all of it."""
    info = describe_trace(path)
    text = info.render(100)
    assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(json.dumps(info.as_dict()))["path"] == str(path)
    return info, text


def trace_of(path: Path, *records: bytes, settings: LogfileSettings | None = None) -> Path:
    settings = settings or LogfileSettings()
    with EtlWriter(path, settings) as trace:
        for record in records:
            trace.add(0, record)
    return path


def stamp(number: int = 0) -> int:
    return LogfileSettings().raw(START_NS + number * 1_000_000)


# ---- traces with packets ----


def test_a_pktmon_trace_is_counted_by_interface_link_type_and_direction(tmp_path: Path) -> None:
    written = pktmon_trace(tmp_path / "t.etl")
    info, text = told(written.path)
    packets = info.as_dict()["packets"]
    assert packets["sightings"]["count"] == written.sightings + written.drops
    assert packets["sightings"]["by_tap"] == {"pktmon": written.sightings + written.drops}
    assert set(packets["sightings"]["by_link_type"]) == {"Ethernet", "802.11", "raw IP"}
    assert packets["count"] == len(written.packets) + packets["drop_only"]
    assert packets["sent"] == sum(packet.sent for packet in written.packets)
    assert info.no_packets is None
    assert info.exit_code == 0
    assert "Microsoft-Windows-PktMon" in text
    assert f"etwcap convert {written.path}" in text


def test_drops_are_listed_by_reason_and_place(tmp_path: Path) -> None:
    written = pktmon_trace(tmp_path / "t.etl", 60)
    info, text = told(written.path)
    assert sum(drop.count for drop in info.drops) == written.drops
    assert info.drops[0].reason == 902
    assert info.drops[0].name in text
    assert info.drops[0].location_name in text
    assert {drop.location for drop in info.drops} == {0xE0004138, 0xE0004500}


def test_an_ndiscap_trace_counts_each_packet_once_and_each_layer(tmp_path: Path) -> None:
    written = ndiscap_trace(tmp_path / "t.etl", 30, layers=3)
    packets = told(written.path)[0].as_dict()["packets"]
    assert (packets["count"], packets["sightings"]["count"]) == (30, 90)


def test_the_twin_tells_the_same(tmp_path: Path, backend: str) -> None:
    written = pktmon_trace(tmp_path / "t.etl")
    info = describe_trace(written.path)
    assert info.backend == backend
    assert info.census.packets == written.sightings + written.drops


def test_packet_times_span_the_packets_and_not_the_rundown(tmp_path: Path) -> None:
    written = pktmon_trace(tmp_path / "t.etl", drops=False)
    census = describe_trace(written.path).census
    assert census.first_packet is not None
    assert census.last_packet is not None
    assert census.first_packet <= min(packet.time for packet in written.packets)
    assert census.last_packet >= max(packet.time for packet in written.packets)
    assert census.last is not None
    assert census.last > census.last_packet


# ---- traces without: why, and what to do ----


def reason_of(path: Path) -> tuple[str, str, list[str]]:
    info, text = told(path)
    assert info.no_packets is not None
    assert info.exit_code in (0, 4)
    for command in info.no_packets.commands:
        assert command.start in text
    assert "To capture packets" in text
    return info.no_packets.category, info.no_packets.text, [command.tool for command in info.no_packets.commands]


def test_a_header_alone_says_that_nothing_was_ever_written(tmp_path: Path) -> None:
    category, text, tools = reason_of(header_only_trace(tmp_path / "t.etl").path)
    assert category == "header-only"
    assert "never stopped" in text
    assert tools == ["pktmon", "netsh trace"]


def test_a_kernel_trace_is_called_one(tmp_path: Path) -> None:
    category, text, _ = reason_of(kernel_trace(tmp_path / "t.etl").path)
    assert category == "no-packet-provider"
    assert "kernel trace: 100 events" in text


def test_a_rundown_with_zero_counters_says_that_no_packet_passed(tmp_path: Path) -> None:
    category, text, tools = reason_of(pktmon_trace(tmp_path / "t.etl", 0, drops=False).path)
    assert category == "rundown-only"
    assert "counters are all zero" in text
    assert tools == ["pktmon"]


def test_a_rundown_with_counters_says_that_packets_were_counted_and_not_logged(tmp_path: Path) -> None:
    rundown = [
        (20, pktmon_build.build_component(2, 2, "made-up.sys", "Made-up")),
        (90, pktmon_build.build_flow_counters(2, 1, "Upper", packets_in=7, packets_out=5)),
    ]
    records = [event_record(PKTMON, identity, payload, time=stamp(n)) for n, (identity, payload) in enumerate(rundown)]
    category, text, _ = reason_of(trace_of(tmp_path / "t.etl", *records))
    assert category == "rundown-only"
    assert "12 packets at the busiest point" in text
    assert "counted, but not logged" in text


def test_a_capture_without_a_whole_packet_names_its_provider(tmp_path: Path) -> None:
    path = trace_of(tmp_path / "t.etl", *(event_record(WFP, 60001, bytes(40), time=stamp(n)) for n in range(3)))
    category, text, _ = reason_of(path)
    assert category == "empty-capture"
    assert "3 events of Microsoft-Pef-WFP-MessageProvider" in text


def test_a_trace_of_one_program_is_named_by_its_traits(tmp_path: Path) -> None:
    items = [(0x0C, provider_traits("Made-Up-Program")), (0x0B, tracelogging_schema("Started", [("n", 4)]))]
    path = trace_of(tmp_path / "t.etl", event_record(MADE_UP, 0, b"\x01", time=stamp(), extended=items))
    category, text, _ = reason_of(path)
    assert category == "no-packet-provider"
    assert "a trace of Made-Up-Program (1 event)" in text


def test_a_trace_of_messages_is_called_a_software_trace(tmp_path: Path) -> None:
    path = trace_of(tmp_path / "t.etl", *(message_record(10, bytes(4), guid=MADE_UP, time=stamp(n)) for n in range(4)))
    _, text, _ = reason_of(path)
    assert "software trace (WPP): 4 messages" in text


def test_a_runtime_trace_is_called_a_performance_trace(tmp_path: Path) -> None:
    path = trace_of(
        tmp_path / "t.etl",
        *(event_record(CLR, 80, bytes(4), time=stamp(n)) for n in range(5)),
        perfinfo_record(0x060A, bytes(40), time=stamp(6)),
    )
    _, text, _ = reason_of(path)
    assert "5 events of the .NET runtime and 1 event of the kernel" in text
    assert "1 event in it tell of connections" in text


def test_old_windows_gets_the_command_it_has(tmp_path: Path) -> None:
    settings = LogfileSettings(build=9200, os_version=(6, 2))
    assert reason_of(header_only_trace(tmp_path / "t.etl", settings).path)[2] == ["netsh trace"]


def test_a_damaged_trace_without_packets_says_that_some_may_be_lost(tmp_path: Path) -> None:
    path = kernel_trace(tmp_path / "t.etl", settings=LogfileSettings(processors=2, buffer_size=4096)).path
    path.write_bytes(path.read_bytes()[: 2 * 4096 + 500])
    _, text, _ = reason_of(path)
    assert "packets may have been there" in text


# ---- names, damage, losses ----


def test_events_are_named_by_the_schemas_in_the_trace(tmp_path: Path) -> None:
    schema = event_schema(MADE_UP, 7, [], provider_name="Made-Up-Provider", task_name="Working")
    path = trace_of(
        tmp_path / "t.etl",
        full_header_record(EVENT_METADATA, 32, schema, time=stamp()),
        event_record(MADE_UP, 7, time=stamp(1)),
        event_record(MADE_UP, 7, time=stamp(2)),
        event_record(MADE_UP, 8, time=stamp(3)),
    )
    info, _ = told(path)
    provider = next(each for each in info.providers if each.guid == f"{{{MADE_UP}}}")
    assert (provider.name, provider.events) == ("Made-Up-Provider", 3)
    assert [(kind.id, kind.name, kind.count) for kind in provider.kinds] == [(7, "Working", 2), (8, "", 1)]
    assert info.events == sum(each.events for each in info.providers)


def test_names_from_the_trace_cannot_steer_the_terminal(tmp_path: Path) -> None:
    settings = LogfileSettings(logger_name="evil\x1b[2J\x07\u202e", log_file_name="C:\\a\nb")
    items = [(0x0C, provider_traits("red\x1b[31m"))]
    path = trace_of(tmp_path / "t.etl", event_record(MADE_UP, 1, time=settings.raw(START_NS), extended=items),
                    settings=settings)  # fmt: skip
    _, text = told(path)
    assert "evil\\x1b[2J\\x07\\u202e" in text
    assert "red\\x1b[31m" in text


def test_damage_is_told_with_its_offset_and_sets_the_exit_code(tmp_path: Path) -> None:
    path = ndiscap_trace(tmp_path / "t.etl", 400, settings=LogfileSettings(buffer_size=4096)).path
    data = bytearray(path.read_bytes())
    data[2 * 4096 : 2 * 4096 + 72] = bytes(range(72))
    path.write_bytes(bytes(data))
    info, text = told(path)
    assert info.exit_code == 4
    assert info.as_dict()["damage"]["count"] == info.description.damage_count > 0
    assert "offset 8,192" in text


def test_losses_of_the_session_are_told(tmp_path: Path) -> None:
    path = trace_of(tmp_path / "t.etl", settings=LogfileSettings(events_lost=41, buffers_lost=2))
    info, text = told(path)
    assert info.as_dict()["losses"]["events"] == 41
    assert "41 events; 2 buffers" in text


# ---- other inputs ----


def pcap(path: Path, packets: list[bytes]) -> Path:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    rows = (
        struct.pack("<IIII", 1_700_000_000 + n, 5, len(data), len(data) + 9) + data for n, data in enumerate(packets)
    )
    path.write_bytes(head + b"".join(rows))
    return path


def test_a_capture_file_is_described_too(tmp_path: Path) -> None:
    info, text = told(pcap(tmp_path / "t.pcap", [bytes(60), bytes(70)]))
    assert (info.kind, info.census.packets, info.census.cut, info.events) == ("pcap", 2, 2, 0)
    assert "2: 2 Ethernet; 2 unknown; 2 cut short" in text
    assert "lost" not in text


def test_a_capture_file_without_packets_says_so(tmp_path: Path) -> None:
    info, text = told(pcap(tmp_path / "t.pcap", []))
    assert "none: the file is a capture without packets" in text
    assert info.exit_code == 0


def test_a_text_file_is_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "t.etl"
    path.write_text("just text\n" * 40)
    with pytest.raises(NotATraceError, match="not an ETL trace"):
        describe_trace(path)


def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        describe_trace(tmp_path / "nothing.etl")


def test_progress_is_told_up_to_the_whole(tmp_path: Path) -> None:
    written = ndiscap_trace(tmp_path / "t.etl")
    seen: list[tuple[int, int]] = []
    describe_trace(written.path, progress=lambda done, whole: seen.append((done, whole)))
    assert seen[-1][1] == written.path.stat().st_size
    assert seen[-1][0] > 0


# ---- text ----


def test_safe_text_leaves_names_and_escapes_controls() -> None:
    assert safe_text("Großes WLAN – 无线") == "Großes WLAN – 无线"
    assert safe_text("a\tb\x9b\ud800") == "a\\tb\\x9b\\ud800"


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 s"), (300, "0.3 µs"), (82_000_000, "0.082 s"),
     (15_200_000_000, "15.2 s"), (200_000_000_000, "3 min 20 s"), (29_520_000_000_000, "8 h 12 min"),
     (1_047_600_000_000_000, "12 d 3 h")],
)  # fmt: skip
def test_durations_have_two_units(ns: int, text: str) -> None:
    assert duration(ns) == text


def test_numbers_and_times_read_well() -> None:
    assert (plural(1, "packet"), plural(2705, "packet")) == ("1 packet", "2,705 packets")
    assert (octets(1), octets(999), octets(97_592), octets(999_960), octets(20 * 10**12)) == (
        "1 byte", "999 bytes", "97.6 kB", "1.0 MB", "20.0 TB",
    )  # fmt: skip
    assert iso(1_622_728_195_618_793_000) == "2021-06-03T13:49:55.618793000Z"
    assert iso(-1) == "1969-12-31T23:59:59.999999999Z"
    assert iso(None) is None


def test_tables_keep_to_the_width_by_shortening_their_first_column() -> None:
    lines = table(["name", "count"], [["a" * 50, "1"], ["b", "22"]], [1], 40)
    assert [len(line) for line in lines] == [40, 40, 40]
    assert lines[1].split() == ["a" * 30 + "…", "1"]
    assert shorten("abc", 3) == "abc"


def test_long_lines_are_wrapped_beside_their_label() -> None:
    lines = labelled("system", "word " * 30, 60)
    assert len(lines) > 1
    assert all(len(line) <= 60 and line[:6] in ("system", "      ") for line in lines)


# ---- the real traces ----


class Facts(NamedTuple):
    """What the corpus' own table says of a file."""

    file: str
    system: str
    processors: int
    clock: int
    buffers: int
    compressed: int
    events: int
    lost: int
    sightings: int
    packets: int
    received: int
    category: str


NONE = "no-packet-provider"
CORPUS = [
    Facts("pktmon-d.etl", "10.0.20348.2461", 8, 1, 3, 2, 467, 0, 114, 38, 19, ""),
    Facts("pktmon-e.etl", "10.0.19042.985", 4, 1, 5, 4, 3748, 0, 2705, 260, 158, ""),
    Facts("ndiscap-a.etl", "10.0.19044.1645", 16, 1, 3, 0, 102, 0, 1, 1, 0, ""),
    Facts("wpr-a.etl", "10.0.29559.1000", 16, 1, 9, 0, 112, 0, 0, 0, 0, NONE),
    Facts("amsi-a.etl", "10.0.18362", 8, 1, 6, 0, 21, 3, 0, 0, 0, NONE),
    Facts("kernel-a.etl", "10.0.18362", 2, 1, 49, 0, 17078, 0, 0, 0, 0, NONE),
    Facts("lxcore-a.etl", "10.0.19041", 6, 1, 3, 0, 4, 0, 0, 0, 0, NONE),
    Facts("tlg-a.etl", "10.0.22621", 8, 1, 2, 0, 3, 0, 0, 0, 0, NONE),
    Facts("tlg-b.etl", "10.0.22000.613", 12, 1, 3, 2, 23, 0, 0, 0, 0, NONE),
    Facts("tlg-c.etl", "10.0.19043", 8, 1, 2, 0, 7, 0, 0, 0, 0, NONE),
    Facts("clr-a.etl", "10.0.19045", 8, 1, 5, 0, 71, 0, 0, 0, 0, NONE),
    Facts("clr-b.etl", "10.0.19045", 8, 1, 2, 0, 112, 0, 0, 0, 0, NONE),
    Facts("merge-64.etl", "6.2.9200", 8, 1, 360, 359, 179474, 0, 0, 0, 0, NONE),
    Facts("merge-32.etl", "6.2.9200", 8, 1, 276, 275, 168298, 0, 0, 0, 0, NONE),
    Facts("diag-kernel.etl", "10.0.19041.450", 4, 1, 59, 0, 16335, 0, 0, 0, 0, NONE),
    Facts("diag-injected.etl", "10.0.19041", 4, 1, 2, 0, 4, 0, 0, 0, 0, NONE),
    Facts("sih.etl", "10.0.22621", 1, 1, 2, 0, 12, 0, 0, 0, 0, NONE),
    Facts("winupdate.etl", "10.0.22631", 1, 1, 7, 0, 82, 41, 0, 0, 0, NONE),
    Facts("waasmedic.etl", "10.0.22631", 1, 1, 2, 0, 21, 0, 0, 0, 0, NONE),
    Facts("wpp-0.etl", "10.0.26100", 1, 2, 2, 0, 17, 0, 0, 0, 0, NONE),
    Facts("wpp-1.etl", "10.0.26100", 1, 2, 2, 0, 7, 0, 0, 0, 0, NONE),
    Facts("wpp-2.etl", "10.0.26100", 1, 2, 1, 0, 2, 0, 0, 0, 0, "header-only"),
    Facts("powershell.etl", "10.0.22623", 32, 1, 26, 0, 114, 0, 0, 0, 0, NONE),
]


@pytest.mark.parametrize("facts", CORPUS, ids=lambda facts: str(facts.file))
def test_every_real_trace_gets_a_right_answer(corpus: Path, facts: Facts) -> None:
    info, _ = told(corpus / facts.file)
    found: dict[str, Any] = info.as_dict()
    session, machine, packets = found["session"], found["machine"], found["packets"]
    assert facts == Facts(
        facts.file, machine["os_version"], machine["processors"], session["clock_type"], session["buffers"],
        session["compressed_buffers"], found["events"], found["losses"]["events"], packets["sightings"]["count"],
        packets["count"], packets["received"], found["no_packets"]["category"] if found["no_packets"] else "",
    )  # fmt: skip
    assert found["damage"]["count"] == 0
    assert info.exit_code == 0


def test_the_real_file_that_is_no_trace_is_refused(corpus: Path) -> None:
    with pytest.raises(NotATraceError):
        describe_trace(corpus / "not-etl.etl")


def test_a_session_never_stopped_says_so(corpus: Path) -> None:
    info, text = told(corpus / "wpp-2.etl")
    assert info.as_dict()["session"]["end"] is None
    assert "never stopped" in text


def test_first_and_last_packet_of_a_real_trace_have_their_times(corpus: Path) -> None:
    packets = describe_trace(corpus / "pktmon-d.etl").as_dict()["packets"]
    assert packets["first"] == "2024-06-10T20:18:35.489172100Z"
    assert packets["last"] == "2024-06-10T20:18:53.907418500Z"
