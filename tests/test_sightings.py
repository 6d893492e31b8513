"""One sighting of each packet is kept, the one that was asked for; nothing is lost, order and bytes stay."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from etwcap.packets import Chunk, Context, Interface, Mark, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.packets.receipt import Point
from etwcap.providers import ndiscap_build
from etwcap.providers import pktmon_build as build
from etwcap.providers.ndiscap import NdisCapProvider
from etwcap.providers.ndiscap_layout import EventId as NdisEventId
from etwcap.providers.pktmon import PktMonProvider
from etwcap.providers.pktmon_layout import Direction, EventId, PacketType
from etwcap.repair import sightings
from etwcap.repair.sightings import SightingStage
from event_feed import (
    HIGH_FILTER,
    IP_INTERFACE,
    LOW_FILTER,
    LOWER,
    MINIPORT,
    NWIFI,
    PROTOCOL,
    UPPER,
    Feed,
    chunk,
    comments,
    decode,
    facts,
    frames,
    learn_wifi_stack,
)
from frames import HOST, RESOLVER, UDP, framed, ip, udp, wifi

MS = 1_000_000
PATH = ((MINIPORT, 1), (LOW_FILTER, LOWER), (LOW_FILTER, UPPER), (NWIFI, LOWER), (NWIFI, UPPER),
        (HIGH_FILTER, LOWER), (HIGH_FILTER, UPPER), (PROTOCOL, 1))  # fmt: skip
"""The edges that a received packet passes."""


def packet(number: int) -> bytes:
    """An IP packet that says its number."""
    return ip(HOST, RESOLVER, UDP, udp(50000, 53, b"packet %06d" % number), number)


@dataclass
class Machine:
    """Logs packets as a Windows build does: ``ids`` as those up to 20348, which give all sightings of a packet one
    id."""

    ids: bool
    rundown: bool = True
    feed: Feed = field(default_factory=Feed)
    time: int = 0
    counter: int = 0

    def __post_init__(self) -> None:
        if self.rundown:
            learn_wifi_stack(self.feed, new_build=not self.ids)

    def passes(self, number: int, *, sent: bool = False, edges: tuple[tuple[int, int], ...] = PATH) -> None:
        """A packet passes the edges, a microsecond apart."""
        self.time += MS
        if self.ids:
            self.counter += 1
        for at, (component, edge) in enumerate(reversed(edges) if sent else edges):
            self.counter += not self.ids
            frame = framed(packet(number), sent=sent).frame
            in_air = PATH.index((component, edge)) < 4
            self.log(
                EventId.FLOW_PAYLOAD, wifi(frame, sent=sent) if in_air else frame, at * 1000, component, edge,
                packet_type=PacketType.WIFI if in_air else PacketType.ETHERNET, appearance=(at + 1) * self.ids,
                direction=Direction.TX if sent else Direction.RX,
            )  # fmt: skip

    def drops(self, number: int, *, after: int = 20_000, appearance: int = 20, group: int | None = None) -> None:
        """TCP/IP refuses a packet, some ns after it came."""
        payload = packet(number)
        payload = (
            payload[:1]
            + b"\0"
            + payload[2:4]
            + b"\0\0"
            + payload[6:8]
            + b"\x01"
            + payload[9:10]
            + b"\0\0"
            + payload[12:]
        )
        if not self.ids or group is not None:
            self.counter += 1
        self.log(
            EventId.DROP_PAYLOAD, payload, after, IP_INTERFACE, 0, packet_type=PacketType.IP,
            appearance=appearance * self.ids, drop_reason=1207, drop_location=0xE0004600,
        )  # fmt: skip

    def log(self, event: int, payload: bytes, after: int, component: int, edge: int, **fields: int) -> None:
        event_payload = build.build_packet_event(
            payload, group=self.counter, component_id=component, edge_id=edge, **fields
        )
        self.feed.add(event, event_payload, self.time + after)


@dataclass
class Result:
    context: Context
    frames: list[bytes]
    packets: PacketTable
    comments: list[str]
    most_held: int = 0

    def count(self, kind: str) -> int:
        note = self.context.receipt.notes.get(kind)
        return note.count if note else 0


def run(feed: Feed, appearances: str = "wire", *, drops: bool = True, size: int = 10**9, tap: str = "pktmon") -> Result:
    """Decode, and give the stage ``size`` rows at a time; each chunk's buffer is ruined once the next is asked for."""
    context = Context()
    provider = PktMonProvider(context, facts()) if tap == "pktmon" else NdisCapProvider(context, facts())
    buffer, packets = decode(provider, feed)
    order = np.argsort(packets["time"], kind="stable")
    packets = packets.take(order)
    stage = SightingStage(context, appearances, drops)
    found = Result(context, [], PacketTable(0), [])
    kept: list[PacketTable] = []
    promised = 0

    def take(out: Chunk) -> None:
        nonlocal promised
        time = out.packets["time"]
        assert (np.diff(time) >= 0).all()
        assert not len(time) or time[0] >= promised
        promised = out.complete_to
        found.frames += frames(out)
        found.comments += comments(context, out.packets)
        kept.append(out.packets)

    for start in range(0, len(packets), size):
        rows = packets.take(slice(start, start + size))
        last = start + size >= len(packets)
        own = buffer.copy()
        take(stage.process(chunk(own, rows, END_OF_TIME if last and size > 10**6 else int(rows["time"][-1]))))
        found.most_held = max(found.most_held, len(stage._held))
        own[:] = 0xEE
    rest = stage.finish()
    if rest is not None:
        take(rest)
    found.packets = PacketTable.concat(kept)
    return found


def traffic(ids: bool, rundown: bool = True) -> Machine:
    machine = Machine(ids, rundown)
    for number in range(60):
        machine.passes(number, sent=number % 3 == 0)
        if number % 5 == 0:
            machine.drops(number)
            machine.drops(number, after=40_000, appearance=21)
        if number % 7 == 0:
            machine.time += 20 * MS
            machine.drops(1000 + number, group=1)
            machine.drops(1000 + number, after=60_000, group=1)
    return machine


def in_air(numbers: range) -> list[bytes]:
    return [wifi(framed(packet(n), sent=n % 3 == 0).frame, sent=n % 3 == 0) for n in numbers]


@pytest.mark.parametrize("size", [10**9, 1, 7, 64])
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])
def test_every_packet_is_kept_once_and_nearest_the_wire(ids: bool, size: int, backend: str) -> None:
    found = run(traffic(ids).feed, size=size)
    drop_only = (found.packets["flags"] & np.uint32(Mark.DROP_ONLY)) != 0
    seen = [frame for frame, lone in zip(found.frames, drop_only, strict=True) if not lone]
    assert seen == in_air(range(60))
    assert int(drop_only.sum()) == len(range(0, 60, 7))
    assert found.count("sightings") == 60 * 7


@pytest.mark.parametrize("size", [10**9, 1, 13])
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])
def test_drop_reports_mark_the_frame_they_speak_of(ids: bool, size: int, backend: str) -> None:
    found = run(traffic(ids).feed, size=size)
    drop_only = (found.packets["flags"] & np.uint32(Mark.DROP_ONLY)) != 0
    marked = (found.packets["drop_count"] > 0) & ~drop_only
    assert np.flatnonzero(marked[~drop_only]).tolist() == list(range(0, 60, 5))
    assert set(found.packets["drop_count"][marked].tolist()) == {2}
    assert set(found.packets["drop_count"][drop_only].tolist()) == {2}
    assert {*found.comments} == {"", "dropped: INET_ReceiveInspection at TCPIP_TL_RCV_UDP_INSPECT, 2 reports"}
    assert found.count("drops") == 2 * len(range(0, 60, 5))


def test_no_drops_leaves_out_only_what_exists_as_a_drop_alone() -> None:
    with_drops, without = run(traffic(False).feed), run(traffic(False).feed, drops=False)
    alone = (with_drops.packets["flags"] & np.uint32(Mark.DROP_ONLY)) != 0
    expected = [frame for frame, lone in zip(with_drops.frames, alone, strict=True) if not lone]
    assert without.frames == expected
    assert without.packets["drop_count"].sum() == 2 * len(range(0, 60, 5))
    assert without.count("no-drops") == len(range(0, 60, 7))


@pytest.mark.parametrize("size", [10**9, 5])
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])
def test_stack_without_its_wire_edge_keeps_the_nearest_that_was_captured(ids: bool, size: int) -> None:
    machine = Machine(ids)
    for number in range(40):
        machine.passes(number, sent=number % 2 == 0, edges=PATH[4:])
    found = run(machine.feed, size=size)
    assert found.frames == [framed(packet(n), sent=n % 2 == 0).frame for n in range(40)]
    assert [found.context.points[number].name for number in set(found.packets["point"].tolist())] == ["nwifi.sys Upper"]


def test_ids_keep_a_packet_that_never_came_to_the_wire() -> None:
    machine = Machine(ids=True)
    machine.passes(1)
    machine.passes(2, sent=True, edges=PATH[5:])
    machine.passes(3)
    found = run(machine.feed, size=3)
    assert [b"packet 00000%d" % n in frame for n, frame in zip((1, 2, 3), found.frames, strict=True)] == [True] * 3


def test_better_layer_that_appears_late_is_taken_for_good() -> None:
    machine = Machine(ids=False)
    for number in range(5):
        machine.passes(number, edges=PATH[4:])
    machine.time += 2000 * MS
    for number in range(5, 10):
        machine.passes(number, edges=PATH[4:])
    for number in range(10, 15):
        machine.passes(number)
    found = run(machine.feed, size=6)
    assert [int(frame[-6:]) for frame in found.frames] == list(range(15))
    assert found.packets["rank"].tolist() == [4] * 10 + [0] * 5


@pytest.mark.parametrize("size", [10**9, 4])
def test_without_rundown_ids_choose_the_first_of_received_and_the_last_of_sent(size: int) -> None:
    found = run(traffic(True, rundown=False).feed, size=size, drops=False)
    assert found.frames == in_air(range(60))


def test_without_rundown_and_ids_every_sighting_stays_and_that_is_said() -> None:
    machine = Machine(ids=False, rundown=False)
    machine.passes(1)
    machine.passes(2, sent=True)
    found = run(machine.feed)
    assert len(found.frames) == 16
    assert found.count("unplaced") == 16


def test_all_keeps_everything_and_names_the_place() -> None:
    found = run(traffic(False).feed, "all", size=50)
    assert len(found.frames) == 60 * 8 + 2 * 12 + 2 * 9
    assert found.comments[0] == "seen at tcpip.sys Lower"
    report = found.packets["drop_count"].tolist().index(1)
    place, drop = found.comments[report].split("\n")
    assert place == "seen at tcpip.sys"
    assert drop.startswith("dropped: INET_ReceiveInspection at ")


@pytest.mark.parametrize("wanted", ["tcpip.sys", "TCPIP.SYS lower", str(PROTOCOL)])
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])
def test_component_is_chosen_by_name_or_number(ids: bool, wanted: str) -> None:
    found = run(traffic(ids).feed, wanted, drops=False)
    assert found.frames == [framed(packet(n), sent=n % 3 == 0).frame for n in range(60)]


def test_component_with_two_edges_gives_each_packet_once() -> None:
    found = run(traffic(False).feed, "nwifi.sys", drops=False, size=9)
    assert found.frames == in_air(range(60))


def test_component_that_is_not_there_is_said() -> None:
    found = run(traffic(False).feed, "nothing.sys", drops=False)
    assert found.frames == []
    assert "npcap.sys Lower" in found.context.receipt.notes["component"].text


@pytest.mark.parametrize("size", [10**9, 11])
def test_first_is_the_first_by_id(size: int) -> None:
    found = run(traffic(True).feed, "first", drops=False, size=size)
    frames_of = {True: lambda n: framed(packet(n), sent=True).frame, False: lambda n: in_air(range(n, n + 1))[0]}
    assert found.frames == [frames_of[n % 3 == 0](n) for n in range(60)]


def test_first_without_ids_is_nearest_the_wire_and_that_is_said() -> None:
    found = run(traffic(False).feed, "first", drops=False)
    assert found.frames == in_air(range(60))
    assert found.count("first") == 1


def test_layers_of_ndiscap_give_each_packet_once() -> None:
    feed = Feed()
    for number in range(30):
        sent = number % 2 == 0
        for at, lower in enumerate((22, 21, 8) if sent else (8, 21, 22)):
            payload = ndiscap_build.build_packet_event(b"%d" % number, miniport=8, lower=lower)
            keyword = ndiscap_build.packet_keyword(sent=sent)
            feed.add(NdisEventId.PACKET_FRAGMENT, payload, number * MS + at * 1000, keyword)
    for size in (10**9, 2):
        found = run(feed, size=size, tap="ndiscap")
        assert found.frames == [b"%d" % number for number in range(30)]


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sightings, "MOST_ROWS", 40)
    machine = Machine(ids=False)
    for number in range(200):
        machine.time -= MS - 20_000
        machine.passes(number, edges=PATH[4:])
    found = run(machine.feed, size=16)
    assert sorted({int(frame[-6:]) for frame in found.frames}) == list(range(200))
    assert found.most_held <= 40


def test_layer_of_ndiscap_is_chosen_by_its_index() -> None:
    feed = Feed()
    for lower in (8, 21):
        payload = ndiscap_build.build_packet_event(b"%d" % lower, miniport=8, lower=lower)
        feed.add(NdisEventId.PACKET_FRAGMENT, payload, lower, ndiscap_build.packet_keyword(sent=False))
    assert run(feed, "21", tap="ndiscap").frames == [b"21"]


def test_chunk_without_rows_releases_what_is_held() -> None:
    machine = Machine(ids=False)
    machine.passes(1, edges=PATH[4:])
    context = Context()
    buffer, packets = decode(PktMonProvider(context, facts()), machine.feed)
    stage = SightingStage(context)
    last = int(packets["time"][-1])
    assert not len(stage.process(chunk(buffer, packets, last)).packets)
    for later, released in ((500 * MS, 0), (1100 * MS, 1), (1200 * MS, 0)):
        out = stage.process(chunk(np.empty(0, np.uint8), PacketTable(0), last + later))
        assert len(out.packets) == released
        assert out.complete_to <= last + later
    assert stage.finish() is None


@pytest.mark.parametrize("time", [-(2**63), 2**63 - 1, 0])
@pytest.mark.parametrize("ids", [True, False])
def test_times_at_the_ends_of_the_scale_do_no_harm(ids: bool, time: int, backend: str) -> None:
    machine = Machine(ids)
    machine.passes(1)
    machine.drops(1)
    context = Context()
    buffer, packets = decode(PktMonProvider(context, facts()), machine.feed)
    packets["time"] = np.full(len(packets), time)
    stage = SightingStage(context)
    outputs = [stage.process(chunk(buffer, packets, time)), stage.finish()]
    flags = [flag for out in outputs if out is not None for flag in out.packets["flags"].tolist()]
    assert len([flag for flag in flags if not flag & Mark.DROP_ONLY]) == 1


def test_late_row_is_passed_on_in_order_with_what_is_held() -> None:
    context = Context()
    context.interfaces.add(Interface(1, tap="pktmon"))
    stage = SightingStage(context)
    times: list[int] = []
    for values in ([100, 200], [150, 300]):
        packets = PacketTable(2)
        packets["time"] = np.array(values) * MS
        packets["captured"] = np.array([4, 4], np.uint32)
        packets["original"] = packets["captured"]
        out = stage.process(chunk(np.arange(8, dtype=np.uint8), packets, 201 * MS if values[0] == 100 else END_OF_TIME))
        times += (out.packets["time"] // MS).tolist()
    assert times == [100, 150, 200, 300]


def test_points_keep_their_comment_beside_one_that_was_there() -> None:
    context = Context()
    context.interfaces.add(Interface(1))
    point = context.add_point(Point(1, 1, "tcpip.sys Lower"))
    packets = PacketTable(1)
    packets["point"] = np.array([point])
    packets["comment"] = np.array([context.comments.add("from before")])
    out = SightingStage(context, "all").process(chunk(np.empty(0, np.uint8), packets))
    assert comments(context, out.packets) == ["from before\nseen at tcpip.sys Lower"]
