"""The pktmon tap by PktMon's API: its packets, its interfaces, its losses, and what is left of it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import need_native_core
from etwcap.errors import NotHereError, UsageError, WindowsCallError
from etwcap.packets import Chunk, Context, Description, Mark
from etwcap.packets.chunk import END_OF_TIME
from etwcap.taps.pktmon_stages import LIMITS
from etwcap.taps.pktmon_stream import RESOLUTION, SETTLE, FileTimeClock, StreamFeed, adapters_of
from etwcap.taps.protocol import LiveTapSource, TapOptions
from etwcap.windows.layouts_pktmon import STREAM_DATA_DESCRIPTOR, STREAM_EVENT_FATAL_ERROR, STREAM_METADATA
from etwcap.windows.pktmon_api import DataSource
from pktmon_machine import WIFI, WIRED, interface_guid
from pktmon_windows import ME, PktMonWindows
from test_taps_pktmon import FRAMES, captured

NOON = 133_500_000_000_000_000
UNIX_NOON = (NOON - 116_444_736_000_000_000) * 100


@pytest.fixture
def windows(tmp_path: Path) -> PktMonWindows:
    need_native_core()
    made = PktMonWindows(tmp_path)
    made.has_api = True
    return made


def opened(windows: PktMonWindows, *interfaces: str, **options: Any) -> LiveTapSource:
    chosen = TapOptions(ring=1 << 22, pktmon_api=True, **options)
    return windows.tap().open(windows.context, interfaces, chosen, windows.changes)


def chunks(source: LiveTapSource) -> list[Chunk]:
    source.stop()
    found = list(source.chunks())
    source.close()
    return found


def test_packets_have_the_stamps_of_the_api_and_the_names_of_adapters(windows: PktMonWindows) -> None:
    source = opened(windows)
    for number, frame in enumerate(FRAMES):
        windows.api.play(frame, NOON + number * 156_250)
    times: list[int] = []
    frames: list[bytes] = []
    for chunk in chunks(source):
        times += chunk.packets["time"].tolist()
        for at, size in zip(chunk.packets["offset"].tolist(), chunk.packets["captured"].tolist(), strict=True):
            frames.append(chunk.buffer[at : at + size].tobytes())
    assert frames == FRAMES
    assert times == [UNIX_NOON + number * RESOLUTION for number in range(len(FRAMES))]
    (interface,) = windows.context.interfaces
    assert interface.name == WIRED.description
    assert interface.description == f"{WIRED.description}; {LIMITS}"
    assert (interface.if_index, interface.mac, interface.snap_length) == (WIRED.index, WIRED.mac, 9000)
    assert windows.clean() == []


def test_the_session_says_that_times_are_coarse(windows: PktMonWindows) -> None:
    tap = windows.tap()
    source = tap.open(windows.context, [], TapOptions(ring=1 << 20, pktmon_api=True), windows.changes)
    assert source.describe().resolution == RESOLUTION
    chunks(source)


def test_adapters_and_what_reports_only_drops_are_captured(windows: PktMonWindows) -> None:
    source = opened(windows)
    windows.api.play(FRAMES[0][14:], NOON, component=41, reason=902)
    assert windows.api.added == [30, 41]
    ((name, _, drops),) = captured(windows, source)
    assert (name, drops) == (f"{WIRED.description} (raw IP)", 1)


@pytest.mark.parametrize(
    ("interfaces", "components", "ids"),
    [([], "all", [30, 31, 41]), ([], "31", [31]), (["Ethernet"], "nics", [30]), (["6"], "all", [30, 31, 41])],
)
def test_components_and_adapters_are_chosen(
    windows: PktMonWindows, interfaces: list[str], components: str, ids: list[int]
) -> None:
    chunks(opened(windows, *interfaces, components=components))
    assert windows.api.added == ids


@pytest.mark.parametrize(
    ("interfaces", "components", "message"),
    [(["Wi-Fi"], "nics", "PktMon does not see that interface"), ([], "7", "PktMon has no component 7")],
)
def test_what_there_is_not_is_said(
    windows: PktMonWindows, interfaces: list[str], components: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        opened(windows, *interfaces, components=components)
    assert windows.clean() == []


def test_without_the_api_it_is_said(windows: PktMonWindows) -> None:
    windows.has_api = False
    with pytest.raises(NotHereError, match="no Packet Monitor API"):
        opened(windows)


@pytest.mark.parametrize(
    "step",
    ["initialize", "create_session", "data_sources", "add_source", "add_constraint", "create_stream", "attach",
     "set_active"],
)  # fmt: skip
def test_a_call_that_fails_leaves_nothing_open(windows: PktMonWindows, step: str) -> None:
    windows.api.fails = step
    with pytest.raises(WindowsCallError):
        opened(windows, filter="tcp port 443")
    assert windows.api.open == []
    assert not windows.api.active
    assert windows.clean() == []


def test_a_component_that_is_refused_is_no_loss_while_an_adapter_is_left(windows: PktMonWindows) -> None:
    windows.api.refuses = {41}
    captured(windows, opened(windows))
    assert windows.api.added == [30]
    assert "PktMon refused components" in str(windows.context.receipt.notes["pktmon-stream"])
    windows.api.refuses = {30, 41}
    with pytest.raises(WindowsCallError):
        opened(windows)
    with pytest.raises(WindowsCallError):
        opened(windows, components="41")
    assert windows.clean() == []


def test_an_api_without_adapters_is_said(windows: PktMonWindows) -> None:
    windows.api.sources = windows.api.sources[1:]
    with pytest.raises(NotHereError, match="lists no network adapter"):
        opened(windows)
    assert windows.clean() == []


def test_with_a_wifi_the_api_is_told_no_filter(windows: PktMonWindows) -> None:
    guid = interface_guid(WIFI.index).bytes_le
    windows.api.sources.append(DataSource(1, 10, "madewifi.sys", WIFI.description, guid=guid))
    chunks(opened(windows, filter="tcp port 443"))
    assert windows.api.constraints == []


def test_losses_are_counted_by_where(windows: PktMonWindows) -> None:
    source = opened(windows)
    windows.api.play(bytes(9000), NOON)
    metadata = bytes(STREAM_METADATA(TimeStamp=NOON))
    data = ctypes.create_string_buffer(metadata, 40)
    for given in (
        STREAM_DATA_DESCRIPTOR(Data=ctypes.addressof(data), DataSize=40, PacketOffset=40, MissedPacketReadCount=3),
        STREAM_DATA_DESCRIPTOR(Data=ctypes.addressof(data), DataSize=39, PacketOffset=39, MissedPacketWriteCount=4),
    ):
        windows.api._data(windows.api._context, ctypes.addressof(given))
    losses = source.losses()
    assert (losses.cut, losses.failed, losses.mechanism) == (1, 1, 7)
    chunks(source)


def test_a_stream_that_fails_ends_the_capture_and_says_why(windows: PktMonWindows) -> None:
    source = opened(windows)
    windows.api.play(FRAMES[0], NOON)
    windows.api.event(2, STREAM_EVENT_FATAL_ERROR(IsFatal=1, Reason=122))
    found = list(source.chunks())
    assert sum(len(each.packets) for each in found) == 1
    assert found[-1].complete_to == END_OF_TIME
    source.close()
    assert "the stream of PktMon failed" in str(windows.context.receipt.notes["pktmon-stream"])
    assert windows.clean() == []


def test_records_for_a_collector_become_packets_elsewhere(windows: PktMonWindows) -> None:
    source = opened(windows, records=True)
    windows.api.play(FRAMES[0], NOON)
    records = chunks(source)
    there = Context()
    stages = windows.tap().stages(there, Description(resolution=RESOLUTION), TapOptions())
    kept = []
    for chunk in records:
        for stage in stages:
            chunk = stage.process(chunk)
        kept += [chunk.buffer[at : at + 14].tobytes() for at in chunk.packets["offset"].tolist()]
    assert kept == [FRAMES[0][:14]]
    assert there.interfaces[0].description.endswith(LIMITS)


def test_stamps_are_filetime() -> None:
    assert FileTimeClock().to_ns(np.array([NOON], np.int64)).tolist() == [UNIX_NOON]


def test_a_packet_that_comes_later_than_a_second_is_marked_late(windows: PktMonWindows) -> None:
    now = NOON
    feed = StreamFeed(windows.api, ME, lambda api, handle: api.data_sources(handle), ring=1 << 16, now=lambda: now)
    assert feed.tend() == NOON - SETTLE
    feed.close()
    source = opened(windows)
    flow = source.chunks()
    windows.api.play(FRAMES[0], NOON)  # long ago by the machine's clock
    flags: list[int] = []
    while not flags:
        flags = next(flow).packets["flags"].tolist()
    windows.api.play(FRAMES[1], NOON - 10 * SETTLE)
    late: list[int] = []
    while not late:
        late = next(flow).packets["flags"].tolist()
    assert late[0] & Mark.LATE
    source.stop()
    source.close()


def test_adapters_are_known_by_guid_then_mac_then_description(windows: PktMonWindows) -> None:
    known = windows.adapters()
    guid, mac = interface_guid(WIRED.index).bytes_le, WIFI.mac
    sources = [
        DataSource(1, 1, "", WIFI.description, guid=guid),
        DataSource(1, 2, "", WIRED.description, mac=mac),
        DataSource(1, 3, "", WIRED.description),
        DataSource(1, 4, "", "another"),
        DataSource(2, 5, "", WIRED.description),
    ]
    found = {number: each.index for number, each in adapters_of(sources, known).items()}
    assert found == {1: WIRED.index, 2: WIFI.index, 3: WIRED.index}


def test_an_adapter_of_two_components_is_one_stack(windows: PktMonWindows) -> None:
    guid = interface_guid(WIRED.index).bytes_le
    windows.api.sources[:1] = [
        DataSource(1, 30, "netadaptercx.sys", WIRED.description, guid=guid),
        DataSource(1, 35, "madegig.sys", WIRED.description, guid=guid),
    ]
    source = opened(windows)
    windows.api.play(FRAMES[0], NOON, component=35)
    windows.api.play(FRAMES[0], NOON, component=30)
    assert [frame for _, frame, _ in captured(windows, source)] == [FRAMES[0]]


def test_closing_twice_and_stopping_after_closing_harm_nothing(windows: PktMonWindows) -> None:
    source = opened(windows)
    source.close()
    source.close()
    source.stop()
    assert windows.clean() == []


def test_a_thousand_streams_leave_nothing(windows: PktMonWindows) -> None:
    for _ in range(1000):
        feed = StreamFeed(windows.api, ME, lambda api, handle: api.data_sources(handle), ring=1 << 12)
        feed.stop()
        feed.close()
    assert windows.api.open == []


def test_a_stop_that_fails_still_releases_everything(windows: PktMonWindows) -> None:
    source = opened(windows)
    windows.api.fails = "set_active"
    source.stop()
    list(source.chunks())
    source.close()
    assert windows.api.open == []
    assert any("not-put-back" in key for key in windows.context.receipt.notes) or windows.told
