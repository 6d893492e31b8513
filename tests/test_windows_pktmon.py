"""The bindings of PktMon: what is handed to Windows, and what is made of its answers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import addressof, c_size_t, c_uint32, c_void_p, string_at
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.errors import NotHereError, RightsError, WindowsCallError
from etwcap.windows import pktmon_device as device
from etwcap.windows.dll import Library, callback_type
from etwcap.windows.layouts_pktmon import (
    DATA_SOURCE_SPECIFICATION,
    DEVICE_START,
    LEGACY_FILTER,
    LEGACY_START,
    PROTOCOL_CONSTRAINT,
    REALTIME_STREAM_CONFIGURATION,
)
from etwcap.windows.pktmon_api import DataSource, PktMonApi, data_source, put_text, specification
from etwcap.windows.pktmon_exe import PktMonExe, RefusedError, blocked
from etwcap.windows.pktmon_legacy import STATUS_ROOM, PktMonLegacy
from etwcap.windows.programs import Ran
from etwcap.windows.text import utf16

MAC = bytes.fromhex("025a00000011")
GUID = UUID("01234567-89ab-cdef-0123-456789abcdef")


class StandIn(Library):
    """A DLL whose exports are Python functions, called as C functions are."""

    def __init__(self, **exports: Callable[..., int | None]) -> None:
        super().__init__("stand-in")
        self._exports = exports
        self._kept: list[Any] = []

    def function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        if name not in self._exports:
            raise NotHereError(f"this Windows has no {name}")
        made = callback_type(result, *arguments)(self._exports[name])
        self._kept.append(made)
        return made  # type: ignore[no-any-return]

    def has(self, name: str) -> bool:
        return name in self._exports


# ---- pktmon.exe ----


def exe(*codes: int, build: int = 22621, said: str = "") -> tuple[PktMonExe, list[Sequence[str]]]:
    ran: list[Sequence[str]] = []

    def run(words: Sequence[str], limit: float) -> Ran:
        ran.append(words)
        return Ran(codes[min(len(ran), len(codes)) - 1], said)

    return PktMonExe(build, run=run, path=lambda: r"C:\Windows\System32\PktMon.exe", exists=lambda _path: True), ran


def test_the_program_is_run_by_its_full_path() -> None:
    made, ran = exe(0)
    made.stop()
    made.add_filter("name", ["-t", "TCP"])
    made.remove_filters()
    assert {words[0] for words in ran} == {r"C:\Windows\System32\PktMon.exe"}
    assert [list(words[1:]) for words in ran] == [
        ["stop"],
        ["filter", "add", "name", "-t", "TCP"],
        ["filter", "remove"],
    ]


@pytest.mark.parametrize(("build", "tries"), [(17763, 2), (19041, 2), (19045, 2), (26100, 2)])
def test_a_refusal_tells_what_the_program_said_and_nothing_is_made_of_it(build: int, tries: int) -> None:
    made, ran = exe(2, build=build, said="Das System kann die angegebene Datei nicht finden.\r\n")
    with pytest.raises(
        RefusedError, match=r"it ended with 2: Das System kann die angegebene Datei nicht finden\."
    ) as it:
        made.start("nics", r"C:\x\PktMon.etl")
    assert len(ran) == tries
    assert not blocked(it.value)
    assert not isinstance(it.value, NotHereError)


@pytest.mark.parametrize("code", [0x80070005, 0x80070005 - (1 << 32)])
def test_a_refusal_for_want_of_rights_is_one(code: int) -> None:
    made, _ = exe(code)
    with pytest.raises(RightsError):
        made.stop()


@pytest.mark.parametrize(("code", "closed"), [(1260, True), (2, True), (193, True), (1460, False), (5, False)])
def test_a_program_that_may_not_be_run_is_told_from_one_that_refuses(code: int, closed: bool) -> None:
    assert blocked(WindowsCallError("PktMon.exe", code)) == closed


def test_a_program_that_is_not_there_is_not_there() -> None:
    path = r"C:\Windows\System32\PktMon.exe"
    assert not PktMonExe(22621, path=lambda: path, exists=lambda _path: False).there()
    assert PktMonExe(22621, path=lambda: path, exists=lambda each: each == path).there()


# ---- the older exports ----


def test_the_older_exports_get_what_they_want() -> None:
    given: list[tuple[int, int, int, list[int]]] = []
    filters: list[tuple[int, str, int]] = []

    def start(how: int, nothing: int | None) -> int:
        block = LEGACY_START.from_address(how)
        ids = list((ctypes.c_uint16 * block.ComponentCount).from_address(block.Components)) if block.Components else []
        given.append((block.CaptureType, block.ComponentMode, block.ComponentCount, ids))
        assert nothing is None
        return 0

    def add(made: int) -> int:
        one = LEGACY_FILTER.from_address(made)
        filters.append((one.Size, utf16(one.Name), one.Port1))
        return 0

    def status(room: int) -> int:
        ctypes.memset(room, 0, STATUS_ROOM)
        ctypes.memset(room, 1, 1)
        return 0

    made = PktMonLegacy(
        StandIn(PktmonStart=start, PktmonAddFilter=add, PktmonGetStatus=status, PktmonStop=lambda _room: 0,
                PktmonRemoveAllFilters=lambda: 0)
    )  # fmt: skip
    assert made.there()
    for components in ("all", "nics", (12, 300)):
        made.start(components)
    assert given == [(1, 1, 0, []), (1, 2, 0, []), (1, 3, 2, [12, 300])]
    one = LEGACY_FILTER(Port1=443)
    put_text(one.Name, "etwcap")
    made.add_filter(one)
    assert filters == [(200, "etwcap", 443)]
    assert made.running()
    made.stop()
    made.remove_filters()


def test_a_dll_without_the_older_exports_is_none_of_them() -> None:
    made = PktMonLegacy(StandIn(PktmonStart=lambda _how, _nothing: 0))
    assert not made.there()
    with pytest.raises(NotHereError):
        made.stop()


def test_a_number_of_the_older_exports_is_an_error() -> None:
    made = PktMonLegacy(StandIn(PktmonStop=lambda _room: 5, PktmonStart=lambda _how, _nothing: 183))
    with pytest.raises(RightsError):
        made.stop()
    with pytest.raises(WindowsCallError, match="exists already"):
        made.start("all")


# ---- the device ----


class Control:
    """An open device that keeps what it is asked."""

    def __init__(self, answer: bytes = b"") -> None:
        self.asked: list[tuple[int, bytes, int]] = []
        self._answer = answer

    def call(self, code: int, given: bytes = b"", room: int = 0) -> bytes:
        self.asked.append((code, given, room))
        return self._answer

    def close(self) -> None:
        """Nothing."""


def test_the_control_codes_and_what_goes_with_them() -> None:
    opened = Control()
    device.start(opened, device.ADAPTERS)
    device.stop(opened)
    device.add_filter(opened, PROTOCOL_CONSTRAINT(Port1=443))
    device.remove_filters(opened)
    codes = [code for code, _, _ in opened.asked]
    assert codes == [0x220404, 0x220408, 0x220410, 0x220414]
    block = DEVICE_START.from_buffer_copy(opened.asked[0][1])
    assert (block.Size, block.Selection, block.CaptureType, block.Flag) == (20, 2, 1, 1)
    assert len(opened.asked[2][1]) == 216


@pytest.mark.parametrize(
    ("answer", "runs"),
    [(bytes(20), False), (bytes([0, 0, 0, 0, 1]) + bytes(15), True), (b"", False), (bytes(4), False)],
)
def test_the_fifth_byte_of_the_state_says_whether_it_runs(answer: bytes, runs: bool) -> None:
    assert device.running(Control(answer)) == runs


def test_the_device_is_opened_for_us_alone_and_closed() -> None:
    calls: list[tuple[Any, ...]] = []

    def create(name: int, *rest: int | None) -> int:
        calls.append((string_at(name, 28).decode("utf-16-le"), *rest))
        return 77

    def control(
        handle: int, code: int, given: int, size: int, out: int, room: int, written: int, nothing: int | None
    ) -> int:
        calls.append((handle, code, string_at(given, size) if given else b"", room))
        if out:
            ctypes.memmove(out, b"\0\0\0\0\1", 5)
            c_uint32.from_address(written).value = 5
        return 1

    library = StandIn(CreateFileW=create, DeviceIoControl=control, CloseHandle=lambda _handle: 1)
    opened = device.Device(library=library)
    assert calls == [("\\\\.\\PktMonDev\0\0"[:14], 0xC0000000, 0, None, 3, 0, 0)]
    assert device.running(opened)
    device.start(opened, device.ALL)
    assert calls[1] == (77, 0x220424, b"", 20)
    assert calls[2][:2] == (77, 0x220404)
    opened.close()
    opened.close()


def test_a_device_that_cannot_be_opened_is_an_error() -> None:
    library = StandIn(CreateFileW=lambda *_words: c_size_t(-1).value)
    with pytest.raises(WindowsCallError, match="cannot be opened"):
        device.Device(library=library)


# ---- the documented API ----


class Api:
    """The exports, with a list of data sources laid out as Windows lays it out."""

    def __init__(self, *sources: DataSource) -> None:
        self.sources = [specification(each) for each in sources]
        self.calls: list[str] = []
        self.library = StandIn(
            PacketMonitorInitialize=self.initialize,
            PacketMonitorUninitialize=lambda _handle: self.calls.append("uninitialize"),
            PacketMonitorEnumDataSources=self.enumerate,
            PacketMonitorCreateLiveSession=self.create_session,
            PacketMonitorCloseSessionHandle=lambda _session: self.calls.append("close session"),
            PacketMonitorAddSingleDataSourceToSession=self.add_source,
            PacketMonitorAddCaptureConstraint=self.add_constraint,
            PacketMonitorCreateRealtimeStream=self.create_stream,
            PacketMonitorAttachOutputToSession=lambda _session, _stream: 0,
            PacketMonitorCloseRealtimeStream=lambda _stream: self.calls.append("close stream"),
            PacketMonitorSetSessionActive=self.set_active,
        )
        self.grows = 0

    def initialize(self, version: int, nothing: int | None, handle: int) -> int:
        assert (version, nothing) == (0x00010000, None)
        c_void_p.from_address(handle).value = 0x1000
        return 0

    def enumerate(self, handle: int, kind: int, hidden: int, room: int, needed: int, out: int | None) -> int:
        assert handle == 0x1000
        size = ctypes.sizeof(DATA_SOURCE_SPECIFICATION)
        whole = 8 + len(self.sources) * (8 + size)
        if self.grows:
            self.grows -= 1
            whole += 100
        c_size_t.from_address(needed).value = whole
        if not out or room < whole:
            return 0x8007007A - (1 << 32)
        c_uint32.from_address(out).value = len(self.sources)
        for number, each in enumerate(self.sources):
            place = out + 8 + 8 * len(self.sources) + number * size
            c_void_p.from_address(out + 8 + 8 * number).value = place
            ctypes.memmove(place, addressof(each), size)
        return 0

    def create_session(self, handle: int, name: int, session: int) -> int:
        self.calls.append("session " + string_at(name, 12).decode("utf-16-le"))
        c_void_p.from_address(session).value = 0x2000
        return 0

    def add_source(self, session: int, source: int) -> int:
        self.calls.append(f"source {DATA_SOURCE_SPECIFICATION.from_address(source).Id}")
        return 0

    def add_constraint(self, session: int, constraint: int) -> int:
        self.calls.append(f"port {PROTOCOL_CONSTRAINT.from_address(constraint).Port1}")
        return 0

    def set_active(self, session: int, active: int) -> int:
        self.calls.append(f"active {active}")
        return 0

    def create_stream(self, handle: int, how: int, stream: int) -> int:
        given = REALTIME_STREAM_CONFIGURATION.from_address(how)
        names = ("UserContext", "EventCallback", "DataCallback", "BufferSizeMultiplier", "TruncationSize")
        self.calls.append(f"stream {[getattr(given, name) for name in names]}")
        c_void_p.from_address(stream).value = 0x3000
        return 0


NIC = DataSource(1, 12, "madegig.sys", "Made-up Gigabit Adapter", mac=MAC)
CARD = DataSource(1, 13, "madewifi.sys", "Made-up Wireless Adapter", guid=GUID.bytes_le, secondary_id=4)
LAYER = DataSource(3, 40, "tcpip.sys", "TCP/IPv4 - L3/L4", parent_id=12, address=bytes([192, 0, 2, 1]))


@pytest.mark.parametrize("grows", [0, 2])
def test_data_sources_are_listed_though_the_list_grows(grows: int) -> None:
    stand_in = Api(NIC, CARD, LAYER)
    stand_in.grows = grows
    api = PktMonApi(stand_in.library)
    assert api.there()
    handle = api.initialize()
    assert api.data_sources(handle) == [NIC, CARD, LAYER]
    api.uninitialize(handle)


def test_a_session_and_its_stream() -> None:
    stand_in = Api(NIC, CARD)
    api = PktMonApi(stand_in.library)
    handle = api.initialize()
    session = api.create_session(handle, "etwcap")
    for each in api.data_sources(handle):
        api.add_source(session, each)
    api.add_constraint(session, PROTOCOL_CONSTRAINT(Port1=443))
    stream = api.create_stream(handle, context=0x101, event=0x10, data=0x20)
    api.attach(session, stream)
    api.set_active(session, True)
    api.set_active(session, False)
    api.close_stream(stream)
    api.close_session(session)
    api.uninitialize(handle)
    assert stand_in.calls == [
        "session etwcap", "source 12", "source 13", "port 443", "stream [257, 16, 32, 10, 9000]", "active 1",
        "active 0", "close stream", "close session", "uninitialize",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("result", "kind", "code"),
    [(0x80070005, RightsError, 5), (0x8007051A, WindowsCallError, 1306), (0x80004005, WindowsCallError, 0x80004005)],
)
def test_a_failed_hresult_is_an_error(result: int, kind: type[WindowsCallError], code: int) -> None:
    api = PktMonApi(StandIn(PacketMonitorInitialize=lambda *_words: result - (1 << 32)))
    assert not api.there()
    with pytest.raises(kind) as error:
        api.initialize()
    assert error.value.code == code


def test_data_sources_may_lie_outside_of_the_list() -> None:
    elsewhere = [specification(each) for each in (NIC, CARD)]

    def pointing(handle: int, kind: int, hidden: int, room: int, needed: int, out: int | None) -> int:
        c_size_t.from_address(needed).value = 8 + 8 * len(elsewhere)
        if out:
            c_uint32.from_address(out).value = len(elsewhere)
            for place, each in enumerate(elsewhere):
                c_void_p.from_address(out + 8 + 8 * place).value = addressof(each)
        return 0

    api = PktMonApi(StandIn(PacketMonitorEnumDataSources=pointing))
    assert api.data_sources(1) == [NIC, CARD]


def test_pointers_that_lead_out_of_the_list_are_passed_over() -> None:
    def hostile(handle: int, kind: int, hidden: int, room: int, needed: int, out: int | None) -> int:
        c_size_t.from_address(needed).value = 600
        if out:
            c_uint32.from_address(out).value = 0xFFFFFFFF
            for place, pointer in enumerate((0, 1, out - 8, out + 600, out + 100)):
                c_void_p.from_address(out + 8 + 8 * place).value = pointer
        return 0

    api = PktMonApi(StandIn(PacketMonitorEnumDataSources=hostile))
    assert [each.id for each in api.data_sources(1)] == [0]


@given(
    st.integers(0, 5), st.integers(0, 2**32 - 1), st.text(max_size=80), st.text(max_size=200),
    st.sampled_from([{"mac": MAC}, {"guid": GUID.bytes_le}, {"address": bytes(range(16))}, {"address": b"abcd"}, {}]),
)  # fmt: skip
def test_a_data_source_goes_there_and_back(kind: int, number: int, name: str, description: str, detail: Any) -> None:
    made = specification(DataSource(kind, number, name, description, **detail))
    back = data_source(made)
    assert (back.kind, back.id) == (kind, number)
    assert {key: getattr(back, key) for key in detail} == detail
    plain = name.encode("utf-16-le", "replace").decode("utf-16-le").partition("\0")[0]
    assert back.name == plain or (len(plain.encode("utf-16-le")) >= 126 and plain.startswith(back.name[:-1]))
