"""The self-test judges a tap by what was sent; here the tap is AF_PACKET on the loopback, or one that lies."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conftest import missing
from etwcap.errors import RightsError
from etwcap.packets import Chunk, Context, Description, EventTable, Interface, PacketTable, linktypes
from etwcap.packets.chunk import END_OF_TIME
from etwcap.pipeline.protocols import Stage
from etwcap.taps.capturing import Live, LiveOptions, capture_live
from etwcap.taps.checking import places, try_taps
from etwcap.taps.listing import TapState
from etwcap.taps.protocol import Changes, Condition, State, TapLosses, TapOptions
from etwcap.taps.selftest import Report, TapReport, try_tap
from etwcap.taps.selftest_traffic import DATAGRAMS, SEGMENTS, Probe, network
from etwcap.windows.adapters import Adapter, LocalAddress
from test_taps_capturing import Bench

STATE = TapState("stand-in", "the loopback", ())


class Loopback:
    """What AF_PACKET sees on the loopback, with the Ethernet header (protocol ``LiveTapSource``); ``change`` is done to
    each packet's bytes, None loses it."""

    def __init__(self, context: Context, change: Callable[[bytes], bytes | None]) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind(("lo", 0))
        self.socket.settimeout(0.05)
        self.number = context.interfaces.add(Interface(1, "lo"))
        self.description = Description()
        self.change = change
        self.stopped = threading.Event()

    def describe(self) -> Description:
        return self.description

    def progress(self) -> tuple[int, int]:
        return 0, 0

    def losses(self) -> TapLosses:
        return TapLosses()

    def stop(self) -> None:
        self.stopped.set()

    def close(self) -> None:
        self.socket.close()

    def chunks(self) -> Iterator[Chunk]:
        while not self.stopped.is_set():
            try:
                data, place = self.socket.recvfrom(1 << 16)
            except TimeoutError:
                continue
            changed = self.change(data) if place[2] != socket.PACKET_OUTGOING else None
            if changed is None:
                continue
            rows = PacketTable(1, time=np.array([time.time_ns()]), offset=np.array([0]))
            rows["captured"] = rows["original"] = np.array([len(changed)])
            rows["interface"] = np.array([self.number])
            yield Chunk(np.frombuffer(bytearray(changed), np.uint8), rows, EventTable(0), time.time_ns())
        yield Chunk(np.zeros(1, np.uint8), PacketTable(0), EventTable(0), END_OF_TIME)


class Tap:
    name, sees = "stand-in", "the loopback"

    def __init__(self, change: Callable[[bytes], bytes | None]) -> None:
        self.change = change

    def available(self) -> list[Condition]:
        return []

    def stages(self, context: Context, description: Description, options: TapOptions) -> list[Stage]:
        return []

    def interrupts(self, interfaces: Sequence[str], options: TapOptions) -> str:
        return ""

    def open(
        self, context: Context, interfaces: Sequence[str], options: TapOptions, changes: Changes | None = None
    ) -> Loopback:
        return Loopback(context, self.change)


@pytest.fixture
def opener(tmp_path: Any) -> Callable[[Callable[[bytes], bytes | None]], Callable[..., Live]]:
    if sys.platform != "linux":
        pytest.skip("AF_PACKET is Linux' own")
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        missing("AF_PACKET needs root")
    bench = Bench(tmp_path)

    def open_with(change: Callable[[bytes], bytes | None]) -> Callable[..., Live]:
        def open_live(output: Callable[[Chunk, Context], None], options: LiveOptions, **more: Any) -> Live:
            return capture_live(output, options, machine=bench.machine, taps={"stand-in": Tap(change)}, **more)

        return open_live

    return open_with


Opener = Callable[[Callable[[bytes], bytes | None]], Callable[..., Live]]


def test_a_tap_that_sees_everything_is_good(opener: Opener) -> None:
    report = try_tap(STATE, ["127.0.0.1", "::1"], open_live=opener(lambda data: data))
    assert report.error == ""
    assert [(probe.protocol, probe.address) for probe in report.probes] == [
        ("UDP", "127.0.0.1"), ("TCP", "127.0.0.1"), ("UDP", "::1"), ("TCP", "::1"),
    ]  # fmt: skip
    assert [probe.sent for probe in report.probes] == [DATAGRAMS, SEGMENTS] * 2
    assert [probe.right for probe in report.probes] == [DATAGRAMS, SEGMENTS] * 2
    assert report.good


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda data: data.replace(bytes.fromhex("7f0000017f000001"), bytes.fromhex("7f0000017f000002")), "right"),
        (lambda data: data[:-1] + b"!", "bytes_differ"),
        (lambda data: None, "seen"),
    ],
)
def test_a_tap_that_is_wrong_is_told(opener: Opener, change: Callable[[bytes], bytes | None], field: str) -> None:
    report = try_tap(STATE, ["127.0.0.1"], open_live=opener(change), wait=0.3)
    probe = report.probes[0]
    assert getattr(probe, field) == (DATAGRAMS if field == "bytes_differ" else 0)
    assert report.good is (field == "bytes_differ")


def test_an_unknown_destination_is_counted_apart_from_a_wrong_one(opener: Opener) -> None:
    change = lambda data: data.replace(bytes.fromhex("7f0000017f000001"), bytes.fromhex("7f00000100000000"))  # noqa: E731
    report = try_tap(STATE, ["127.0.0.1"], open_live=opener(change), wait=0.3)
    assert (report.probes[0].right, report.probes[0].destination_unknown) == (0, DATAGRAMS)
    assert report.good


def test_what_cannot_be_sent_is_told(opener: Opener) -> None:
    report = try_tap(STATE, ["203.0.113.77"], open_live=opener(lambda data: data), wait=0.1)
    assert all(probe.error.startswith("cannot be sent") for probe in report.probes)
    assert not report.good


def test_an_error_of_the_tap_stands_in_the_report() -> None:
    def refuse(*_words: Any, **_more: Any) -> Live:
        raise RightsError("no rights", hint="elevate")

    report = try_tap(STATE, ["127.0.0.1"], open_live=refuse)
    assert report.error == "no rights; hint: elevate"
    assert not report.good


def test_the_report_is_lines_and_json(opener: Opener) -> None:
    report = try_tap(STATE, ["127.0.0.1"], open_live=opener(lambda data: data))
    whole = Report({"windows": "Windows 11", "wine": ""}, [report, TapReport("pktmon", {}, error="no driver")])
    lines = whole.lines()
    assert lines[0].endswith("self-test: windows Windows 11")
    assert lines[2] == "stand-in: good"
    text = (
        f"  UDP from 127.0.0.1 to 127.0.0.1: {DATAGRAMS} of {DATAGRAMS} seen, {DATAGRAMS} sightings, {DATAGRAMS} right;"
    )
    assert any(line.startswith(text) for line in lines)
    assert lines[-2:] == ["pktmon: see below", "  no driver"]
    facts = json.loads(json.dumps(whole.as_dict()))
    assert [each["good"] for each in facts["taps"]] == [True, False]
    assert facts["taps"][0]["losses"]["mechanism"] is None


def test_each_adapter_that_is_up_is_tried_with_an_address_of_each_family() -> None:
    def adapter(alias: str, *addresses: str, status: int = 1, kind: int = 6) -> Adapter:
        given = [LocalAddress(text, 24) for text in addresses]
        return Adapter("{}", alias, "", 1, 2, 2, kind, status, b"", 1500, None, None, given)

    found = [
        adapter("Ethernet", "fe80::1", "192.0.2.7", "2001:db8::7", "192.0.2.8"),
        adapter("down", "192.0.2.9", status=2),
        adapter("lo", "127.0.0.1", kind=24),
        adapter("link only", "fe80::2"),
    ]
    assert places(found) == (["loopback", "Ethernet"], ["192.0.2.7", "2001:db8::7"])


def test_what_a_tap_is_known_to_see_stands_in_its_report(opener: Opener) -> None:
    frames = replace(STATE, name="pktmon")
    report = try_tap(frames, ["127.0.0.1"], open_live=lambda *more, **named: opener(lambda data: None)(*more, **named))
    assert report.expects == {"loopback": False, "adapters": True}
    assert report.error == "there is no tap 'pktmon'; --tap; hint: there are: stand-in"


def probe_of(**facts: Any) -> Probe:
    return Probe("127.0.0.1", "UDP", "127.0.0.1", **facts)


def test_what_cannot_be_expected_is_neither_right_nor_wrong() -> None:
    seen = Probe("192.0.2.7", "UDP", "192.0.2.1", sent=3, seen=3, sightings=3, right=3)
    report = TapReport("pktmon", {}, probes=[probe_of(sent=5, expected=False), seen])
    assert report.good
    assert probe_of(sent=5, expected=False).line().endswith("5 sent, none seen, as is known of this tap")
    assert "5 of 5 seen" in probe_of(sent=5, seen=5, expected=False).line()
    nothing = TapReport("pktmon", {}, probes=[probe_of(sent=5, expected=False)])
    assert not nothing.good
    assert Report({}, [nothing]).lines()[-1] == "  nothing that it sees could be sent"


@pytest.mark.parametrize(
    ("link_type", "before"),
    [
        (linktypes.ETHERNET, bytes(12) + b"\x08\0"),
        (linktypes.ETHERNET, bytes(12) + b"\x81\0\0\x05\x08\0"),
        (linktypes.IEEE802_11, b"\x08\x01" + bytes(24) + b"\xaa\xaa\x03\0\0\0\x08\0"),
        (linktypes.IEEE802_11_RADIOTAP, b"\0\0\x0c\0" + bytes(34) + b"\xaa\xaa\x03\0\0\0\x08\0"),
        (linktypes.RAW_IP, b""),
    ],
)
def test_a_packet_is_recognised_behind_each_link_header(link_type: int, before: bytes) -> None:
    assert network(before + b"E packet", link_type) == b"E packet"


class Named(Tap):
    """A tap of a name that can be used, and may interrupt."""

    def __init__(self, name: str, warning: str = "", *, usable: bool = True) -> None:
        super().__init__(lambda data: data)
        self.name, self.warning, self.usable = name, warning, usable

    def available(self) -> list[Condition]:
        return [] if self.usable else [Condition("driver", State.MISSING, "no driver")]

    def interrupts(self, interfaces: Sequence[str], options: TapOptions) -> str:
        return self.warning


def tried(taps: list[Named], wanted: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
    """The interfaces that each tap is tried on, and why others are not tried."""
    asked: list[str] = []

    def try_one(state: TapState, *_: Any, interfaces: Sequence[str], **__: Any) -> TapReport:
        asked.append(f"{state.name} {','.join(interfaces)}".strip())
        return TapReport(state.name, {}, probes=[probe_of(sent=1, seen=1, sightings=1, right=1)])

    reports = try_taps({each.name: each for each in taps}, wanted, [], try_one=try_one)
    assert Report({}, reports).good is any(not each.skipped for each in reports)
    return asked, {each.tap: each.skipped for each in reports if each.skipped}


TAPS = [Named("pktmon"), Named("ndiscap", "adapters pause"), Named("wfp", usable=False), Named("raw")]


def test_a_tap_that_interrupts_is_tried_only_where_it_is_named() -> None:
    hint = "adapters pause; etwcap selftest --tap ndiscap tries it"
    assert tried(TAPS) == (["pktmon", "raw loopback"], {"ndiscap": hint})
    assert tried(TAPS, ["ndiscap"]) == (["ndiscap"], {})
    assert tried([TAPS[1]]) == ([], {"ndiscap": hint})


def test_consent_is_asked_through_the_capture(opener: Opener) -> None:
    given: list[Any] = []

    def open_live(*more: Any, **named: Any) -> Live:
        given.append(named["consent"])
        return opener(lambda data: data)(*more, **named)

    try_tap(STATE, ["127.0.0.1"], open_live=open_live, consent=bool)
    assert given == [bool]


def test_a_skipped_tap_is_no_failure_in_the_report() -> None:
    whole = Report({}, [TapReport("ndiscap", {}, skipped="adapters pause"), TapReport("raw", {}, error="no")])
    assert whole.lines()[2:4] == ["ndiscap: not tried", "  adapters pause"]
    assert not whole.good
