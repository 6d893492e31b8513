"""Taps without Windows: a stand-in fills the ring, and everything behind it is what a capture has."""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import need_native_core
from etwcap.errors import NotHereError, RightsError, UsageError
from etwcap.native.ring import RAW_RECORD as KIND
from etwcap.native.ring import Ring
from etwcap.packets import Chunk, Context, Description, Interface
from etwcap.packets.addresses import AddressKind
from etwcap.packets.chunk import END_OF_TIME
from etwcap.pipeline.capture import capture
from etwcap.pipeline.protocols import Stage
from etwcap.providers.rawsocket_build import record_heads
from etwcap.providers.rawsocket_layout import ADDRESS_ROW, LINK_TYPE, RAW_RECORD, Kind, Present
from etwcap.sources.opening import open_source
from etwcap.taps.address_tables import snapshot
from etwcap.taps.opening import all_taps, open_taps, share_interfaces
from etwcap.taps.protocol import Changes, Condition, LiveTapSource, State, TapLosses, TapOptions, usable
from etwcap.taps.raw import RawTap
from etwcap.taps.raw_sockets import Place, SocketKinds, choose_adapters, places
from etwcap.taps.raw_source import RawRecordSource, RecordsToPackets
from etwcap.taps.several import LiveMerge, LiveStaged
from etwcap.windows.adapters import ETHERNET, LOOPBACK, Adapter, LocalAddress, Servers
from etwcap.windows.addresses import ADDRESS, ENDPOINT
from etwcap.windows.firewall import Firewall
from etwcap.windows.version import WindowsVersion

START = 1_700_000_000_000_000_000
OWN = bytes([10, 0, 0, 1])


@pytest.fixture(autouse=True)
def _native() -> None:
    need_native_core()


class Ticks:
    """A clock of 100 ns ticks that begins at START."""

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        return START + ticks * 100


def udp4(number: int, size: int = 0) -> bytes:
    length = 28 + size
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, length, number, 0, 64, 17, 0, OWN, bytes([10, 0, 0, 2]))
    return head + struct.pack(">HHHH", 1000, 2000, 8 + size, 0) + bytes([number & 255]) * size


def record(number: int, payload: bytes, *, socket: int = 0) -> bytes:
    head = record_heads(1)
    head["family"], head["present"], head["number"], head["socket"] = 4, int(Present.NUMBER), number, socket
    return head.tobytes() + payload


def own_addresses() -> NDArray[Any]:
    rows = np.zeros(1, ADDRESS_ROW)
    rows["family"], rows["table"] = 4, AddressKind.UNICAST
    rows["address"][0, :4] = list(OWN)
    return rows


class StandIn:
    """A feeder whose records the test puts into the ring."""

    def __init__(self, interfaces: Sequence[int] = (0,), size: int = 1 << 20) -> None:
        self.ring = Ring(size)
        self.interface_of = np.array(interfaces, np.int32)
        self.fresh: list[NDArray[Any]] = []
        self.last: NDArray[Any] | None = None
        self.hangs = False
        self.closed = 0

    def tend(self) -> NDArray[Any] | None:
        return self.fresh.pop() if self.fresh else None

    def tables(self) -> NDArray[Any] | None:
        return self.last

    def stop(self) -> bool:
        if not self.hangs:
            self.ring.end()
        return not self.hangs

    def losses(self) -> TapLosses:
        return TapLosses(failed=2, cut=1)

    def close(self) -> None:
        self.closed += 1
        self.ring.close()


def raw_source(feeder: StandIn, context: Context) -> RawRecordSource:
    return RawRecordSource(feeder, Ticks(), context, Description(), start=START, latency=1)


def context_with(*link_types: int) -> Context:
    context = Context()
    for number, link_type in enumerate(link_types):
        context.interfaces.add(Interface(link_type, name=f"if{number}"))
    return context


def seen(chunks: Sequence[Chunk]) -> list[tuple[int, int, bytes]]:
    found = []
    for chunk in chunks:
        rows = chunk.packets
        for time, interface, at, size in zip(
            rows["time"].tolist(), rows["interface"].tolist(), rows["offset"].tolist(), rows["captured"].tolist(),
            strict=True,
        ):  # fmt: skip
            found.append((time - START, interface, chunk.buffer[at : at + size].tobytes()))
    return found


def test_records_come_as_chunks_with_their_times_and_sockets() -> None:
    context = context_with(LINK_TYPE, LINK_TYPE)
    feeder = StandIn([1, 0])
    source = raw_source(feeder, context)
    records = [record(n, udp4(n), socket=n % 2) for n in range(4)]
    for number, each in enumerate(records):
        feeder.ring.put(KIND, number, each)
    feeder.ring.publish(7)
    flow = source.chunks()
    first = next(flow)
    assert seen([first]) == [(100 * n, 1 - n % 2, each) for n, each in enumerate(records)]
    assert first.complete_to == START + 700
    source.stop()
    rest = list(flow)
    assert seen(rest) == []
    assert rest[-1].complete_to == END_OF_TIME
    source.close()


def test_an_idle_tap_says_how_far_the_time_has_gone() -> None:
    context = context_with(LINK_TYPE)
    feeder = StandIn()
    source = raw_source(feeder, context)
    flow = source.chunks()
    assert next(flow).complete_to == START
    feeder.ring.publish(10)
    assert next(flow).complete_to == START + 1000
    assert next(flow).complete_to == START + 1000
    source.close()


def test_stopping_gives_what_was_taken_and_ends() -> None:
    context = context_with(LINK_TYPE)
    feeder = StandIn()
    source = raw_source(feeder, context)
    flow = source.chunks()
    next(flow)
    feeder.ring.put(KIND, 5, record(0, udp4(0)))
    source.stop()
    assert seen(list(flow)) == [(500, 0, record(0, udp4(0)))]
    source.close()
    source.close()
    assert feeder.closed == 1


def test_a_receiver_that_does_not_end_does_not_hold_the_capture() -> None:
    context = context_with(LINK_TYPE)
    feeder = StandIn()
    feeder.hangs = True
    source = raw_source(feeder, context)
    feeder.ring.put(KIND, 5, record(0, udp4(0)))
    feeder.ring.publish(5)
    source.stop()
    chunks = list(source.chunks())
    assert len(seen(chunks)) == 1
    assert chunks[-1].complete_to == END_OF_TIME
    assert "receiver-hangs" in context.receipt.notes
    source.close()


def test_address_tables_stand_before_what_came_after_them_and_at_the_end() -> None:
    context = context_with(LINK_TYPE)
    feeder = StandIn()
    feeder.fresh, feeder.last = [own_addresses()], own_addresses()
    feeder.ring.put(KIND, 5, record(0, udp4(0)))
    feeder.ring.publish(5)
    source = raw_source(feeder, context)
    flow = source.chunks()
    chunks = [next(flow)]
    source.stop()
    rows = seen(chunks + list(flow))
    kinds = [np.frombuffer(data[:64], RAW_RECORD)["kind"][0] for _, _, data in rows]
    assert kinds == [Kind.ADDRESSES, Kind.PACKET, Kind.ADDRESSES]
    assert rows[0][2][64:] == own_addresses().tobytes()
    assert [time for time, _, _ in rows] == sorted(time for time, _, _ in rows)
    source.close()


def test_what_the_ring_refuses_is_a_loss() -> None:
    context = context_with(LINK_TYPE)
    feeder = StandIn(size=1 << 12)
    source = raw_source(feeder, context)
    for number in range(100):
        feeder.ring.put(KIND, number, record(number, udp4(number, 100)))
    feeder.ring.publish(100)
    given_rows = len(seen([next(source.chunks())]))
    size = 64 + len(udp4(0, 100))
    lost = TapLosses(100 - given_rows, (100 - given_rows) * size, 2, 1, None)
    assert 0 < given_rows < 100
    assert source.losses() == lost
    assert source.describe().losses.events == lost.ring
    source.close()
    assert source.losses() == lost


def test_packets_of_a_live_tap_have_no_record_header_a_direction_and_the_order_of_their_receives() -> None:
    context = context_with(101)
    feeder = StandIn()
    feeder.fresh = [own_addresses()]
    source = raw_source(feeder, context)
    live = LiveStaged(source, [RecordsToPackets(context, source.describe())])
    for number in (1, 0, 3, 2):  # completed out of order, in one batch
        feeder.ring.put(KIND, 5, record(number, udp4(number)))
    feeder.ring.publish(6)
    flow = live.chunks()
    chunk = next(flow)
    assert [data for _, _, data in seen([chunk])] == [udp4(n) for n in range(4)]
    assert chunk.packets["direction"].tolist() == [2] * 4
    assert (chunk.packets["raw_record"] > 0).all()
    live.stop()
    assert seen(list(flow)) == []
    live.close()


def test_the_last_packets_do_not_wait_for_others() -> None:
    context = context_with(101)
    feeder = StandIn()
    source = raw_source(feeder, context)
    live = LiveStaged(source, [RecordsToPackets(context, source.describe())])
    flow = live.chunks()
    feeder.ring.put(KIND, 5, record(0, udp4(0)))
    feeder.ring.publish(5)
    found = seen([next(flow)])
    feeder.ring.publish(6)
    found += seen([next(flow)])
    assert [data for _, _, data in found] == [udp4(0)]
    live.close()


class StandInTap:
    """A tap that gives a prepared source."""

    sees = "what the test gives it"

    def __init__(self, name: str, source: LiveTapSource | Exception) -> None:
        self.name = name
        self.source = source
        self.asked: tuple[Sequence[str], TapOptions] | None = None

    def available(self) -> list[Condition]:
        return []

    def interrupts(self, interfaces: Sequence[str], options: TapOptions) -> str:
        return ""

    def open(
        self, context: Context, interfaces: Sequence[str], options: TapOptions, changes: Changes | None = None
    ) -> LiveTapSource:
        self.asked = interfaces, options
        if isinstance(self.source, Exception):
            raise self.source
        return self.source

    def stages(self, context: Context, description: Description, options: TapOptions) -> list[Stage]:
        return []


def two_taps(context: Context) -> tuple[list[StandIn], dict[str, StandInTap]]:
    feeders = [StandIn([0]), StandIn([1])]
    names = ("one", "two")
    return feeders, {
        name: StandInTap(name, raw_source(feeder, context)) for name, feeder in zip(names, feeders, strict=True)
    }


def test_two_taps_are_one_timeline() -> None:
    context = context_with(LINK_TYPE, LINK_TYPE)
    feeders, taps = two_taps(context)
    source = open_taps(["one", "two"], context=context, taps=taps)
    rng = np.random.default_rng(5)
    times = [np.sort(rng.integers(0, 100_000, 3000)).tolist() for _ in feeders]

    def produce(feeder: StandIn, stamps: list[int]) -> None:
        for number, stamp in enumerate(stamps):
            feeder.ring.put(KIND, stamp, record(number, udp4(number)))
            if number % 50 == 0:
                feeder.ring.publish(stamp)
        feeder.ring.publish(200_000)

    threads = [threading.Thread(target=produce, args=each) for each in zip(feeders, times, strict=True)]
    for each in threads:
        each.start()
    found: list[tuple[int, int, bytes]] = []
    complete = -(2**63)
    for chunk in source.chunks():
        rows = seen([chunk])
        assert all(time + START >= complete for time, _, _ in rows)
        complete = chunk.complete_to
        found += rows
        if len(found) == 6000:
            source.stop()
    for each in threads:
        each.join()
    assert [time for time, _, _ in found] == sorted(100 * t for each in times for t in each)
    for number in (0, 1):
        mine = [data for _, interface, data in found if interface == number]
        assert mine == [record(n, udp4(n)) for n in range(3000)]
    source.close()
    assert [each.closed for each in feeders] == [1, 1]


def test_one_idle_tap_holds_the_other_only_until_it_says_how_far_it_is() -> None:
    context = context_with(LINK_TYPE, LINK_TYPE)
    feeders, taps = two_taps(context)
    source = open_taps(["one", "two"], context=context, taps=taps)
    feeders[0].ring.put(KIND, 50, record(0, udp4(0)))
    feeders[0].ring.publish(60)
    feeders[1].ring.publish(40)
    flow = source.chunks()
    assert seen([next(flow) for _ in range(5)]) == []
    feeders[1].ring.publish(70)
    found: list[tuple[int, int, bytes]] = []
    while not found:
        found = seen([next(flow)])
    assert found[0][0] == 5000
    source.stop()
    list(flow)
    source.close()


def test_losses_of_several_taps_are_added() -> None:
    context = context_with(LINK_TYPE, LINK_TYPE)
    _, taps = two_taps(context)
    source = open_taps(["one", "two"], context=context, taps=taps)
    assert isinstance(source, LiveMerge)
    assert source.losses() == TapLosses(failed=4, cut=2)
    assert TapLosses(mechanism=3) + TapLosses() == TapLosses(mechanism=3)
    assert len(context.descriptions) == 2
    source.close()


def test_a_tap_that_cannot_be_opened_leaves_no_other_open() -> None:
    context = context_with(LINK_TYPE, LINK_TYPE)
    feeders, taps = two_taps(context)
    taps["two"].source = RightsError("no rights")
    with pytest.raises(RightsError):
        open_taps(["one", "two"], context=context, taps=taps)
    assert feeders[0].closed == 1
    feeders[1].close()


@pytest.mark.parametrize(
    ("names", "said"), [([], "no tap"), (["ras"], "no tap 'ras'"), (["raw", "raw"], "named twice")]
)
def test_names_that_are_no_taps_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_taps(names, context=Context())


def test_a_live_raw_tap_becomes_a_pcapng_and_a_recording_that_converts(tmp_path: Path) -> None:
    context = context_with(LINK_TYPE)
    feeder = StandIn()
    feeder.fresh, feeder.last = [own_addresses()], own_addresses()
    source = raw_source(feeder, context)
    for number in range(500):
        feeder.ring.put(KIND, number, record(number, udp4(number, number)))
    feeder.ring.publish(500)
    path = tmp_path / "recording.pcapng"
    outcome = capture(source, context, path, watch=lambda _progress: source.stop())
    assert (outcome.exit_code, outcome.receipt.packets_written) == (0, 502)
    again = Context()
    reader = open_source(path, again)
    assert [data for _, _, data in seen([*reader.chunks()])] == [udp4(n, n) for n in range(500)]
    reader.close()


def adapter(alias: str, kind: int, *addresses: tuple[str, int], index: int = 3, up: bool = True) -> Adapter:
    found = [LocalAddress(text, 64, scope) for text, scope in addresses]
    guid = f"{{{alias}-guid}}"
    return Adapter(guid, alias, alias, index, index, index + 1, kind, 1 if up else 2, b"", 1500, None, None, found)


LAN = adapter("Ethernet 2", ETHERNET, ("2001:db8::7", 0), ("fe80::1", 4), ("169.254.1.1", 0), ("10.0.0.1", 0))
LO = adapter("Loopback Pseudo-Interface 1", LOOPBACK, ("127.0.0.1", 0), ("::1", 0), index=1)
DOWN = adapter("Wi-Fi", 71, ("10.9.9.9", 0), index=9, up=False)
ALL = [LAN, LO, DOWN]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([], [LAN]),
        (["loopback"], [LO]),
        (["ethernet 2", "LOOPBACK"], [LAN, LO]),
        (["4"], [LAN]),
        (["{Ethernet 2-guid}", "3"], [LAN]),
        (["Wi-Fi"], [DOWN]),
    ],
)
def test_adapters_are_chosen_by_name_index_or_guid(names: list[str], chosen: list[Adapter]) -> None:
    assert choose_adapters(ALL, names) == chosen


def test_an_adapter_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(UsageError, match="no interface 'eth7'") as raised:
        choose_adapters(ALL, ["eth7"])
    assert "'Ethernet 2', 'Wi-Fi', and loopback" in raised.value.cause


def test_there_is_one_socket_per_adapter_and_family() -> None:
    assert places([LAN, LO], SocketKinds()) == [
        Place(3, 4, 0, "10.0.0.1", 0),
        Place(4, 6, 41, "fe80::1", 4),
        Place(1, 4, 0, "127.0.0.1", 0),
        Place(2, 6, 41, "::1", 0),
    ]


class Tables:
    """Address tables of a machine with little in them."""

    def _rows(self, *given_rows: tuple[int, int, bytes]) -> Any:
        rows = np.zeros(len(given_rows), ADDRESS)
        for row, (family, index, address) in zip(rows, given_rows, strict=True):
            row["family"], row["if_index"], row["address"] = (
                family,
                index,
                np.frombuffer(address.ljust(16, b"\0"), "u1"),
            )
        return rows

    def unicast(self) -> Any:
        return self._rows((6, 4, b"\xfe\x80" + bytes(13) + b"\x01"), (4, 3, OWN), (4, 3, OWN))

    def multicast(self) -> Any:
        return self._rows((6, 4, b"\xff\x02" + bytes(13) + b"\x01"))

    def anycast(self) -> Any:
        return self._rows()

    def neighbours(self) -> Any:
        return self._rows((4, 3, bytes([10, 0, 0, 9])))

    def destinations(self) -> Any:
        return self._rows()

    def tcp(self, family: int) -> Any:
        rows = np.zeros(2, ENDPOINT)
        rows["family"] = 4 if family == 2 else 6
        rows["local_address"][1, 0] = rows["remote_address"][1, 0] = family  # the first one listens on all
        return rows

    def udp(self, family: int) -> Any:
        return np.zeros(0, ENDPOINT)


def test_a_snapshot_has_each_address_of_each_table_once_own_ones_first() -> None:
    rows = snapshot(Tables(), Servers([(3, "10.0.0.254")], [(4, "2001:db8::53")]))
    found = [(int(row["table"]), int(row["family"]), int(row["interface"]), int(row["address"][0])) for row in rows]
    assert found == [
        (1, 4, 3, 10), (1, 6, 4, 0xFE), (2, 6, 4, 0xFF), (4, 4, 3, 10), (6, 4, 0, 2), (6, 6, 0, 23), (7, 4, 0, 2),
        (7, 6, 0, 23), (8, 4, 3, 10), (9, 6, 4, 0x20),
    ]  # fmt: skip


def windows_11() -> WindowsVersion:
    return WindowsVersion(10, 0, 22631, 1, "Windows 11 Pro", "23H2")


def tap(**changes: Any) -> RawTap:
    def nothing() -> list[str]:
        return []

    usual: dict[str, Any] = {
        "version": windows_11,
        "elevated": lambda: True,
        "list_adapters": lambda: ALL,
        "firewall": Firewall(run=lambda _words: 0, read=nothing),
        "program": lambda: r"C:\Python\python.exe",
    }
    return RawTap(**{**usual, **changes})


def states(conditions: Sequence[Condition]) -> dict[str, State]:
    return {each.name: each.state for each in conditions}


def test_a_machine_that_has_everything_can_use_the_raw_tap() -> None:
    conditions = tap().available()
    assert usable(conditions)
    assert states(conditions) == {
        "windows": State.MET,
        "native core": State.MET,
        "rights": State.MET,
        "addresses": State.MET,
        "firewall": State.MISSING,
    }
    assert all(each.mend for each in conditions if each.state is State.MISSING)
    (firewall,) = (each for each in conditions if each.name == "firewall")
    assert r'program="C:\Python\python.exe"' in firewall.mend
    assert "only sent packets" in firewall.why


def vista() -> WindowsVersion:
    return WindowsVersion(6, 0, 6002)


def wine() -> WindowsVersion:
    return WindowsVersion(10, 0, 19045, wine="8.0")


def refuse() -> Any:
    raise NotHereError("cannot be asked")


@pytest.mark.parametrize(
    ("changes", "name", "state", "can"),
    [
        ({"elevated": lambda: False}, "rights", State.MISSING, False),
        ({"elevated": refuse}, "rights", State.UNKNOWN, None),
        ({"version": vista}, "windows", State.MISSING, False),
        ({"version": wine}, "windows", State.MISSING, False),
        ({"version": refuse}, "windows", State.MISSING, False),
        ({"list_adapters": lambda: [LO, DOWN]}, "addresses", State.MISSING, True),
        ({"list_adapters": refuse}, "addresses", State.UNKNOWN, None),
        ({"program": refuse}, "firewall", State.UNKNOWN, True),
    ],
)
def test_each_condition_says_what_is_missing(
    changes: dict[str, Any], name: str, state: State, can: bool | None
) -> None:
    conditions = tap(**changes).available()
    assert states(conditions)[name] is state
    assert usable(conditions) is can


def test_there_is_a_raw_tap_and_it_needs_windows() -> None:
    assert "raw" in all_taps()
    with pytest.raises(NotHereError) as raised:
        open_taps(["raw"], context=Context(), taps={"raw": tap(version=refuse)})
    assert "etwcap taps" in raised.value.hint


@pytest.mark.parametrize(
    ("names", "interfaces", "shared"),
    [
        (["raw"], ["Ethernet"], {"raw": ("Ethernet",)}),
        (["pktmon", "raw"], [], {"pktmon": (), "raw": ("loopback",)}),
        (["pktmon", "raw"], ["Ethernet", "Loopback"], {"pktmon": ("Ethernet",), "raw": ("loopback",)}),
        (["wfp", "raw"], ["loopback"], {"wfp": ("loopback",), "raw": ("loopback",)}),
        (["pktmon", "ndiscap"], ["7"], {"pktmon": ("7",), "ndiscap": ("7",)}),
    ],
)
def test_beside_a_tap_of_the_adapters_raw_sockets_listen_to_the_loopback_alone(
    names: list[str], interfaces: list[str], shared: dict[str, tuple[str, ...]]
) -> None:
    assert share_interfaces(names, interfaces) == shared
