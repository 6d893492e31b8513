"""What the tap ndiscap says of a machine before anything is done, and what it does with records."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import need_native_core
from etwcap.errors import EtwcapError, WindowsCallError
from etwcap.etl.build import event_record
from etwcap.packets import Chunk, Context, EventTable, Mark, PacketTable
from etwcap.providers.ndiscap_build import build_packet_event, build_source_info
from etwcap.taps.ndiscap import PROVIDER
from etwcap.taps.ndiscap_cleanup import CaptureBindings, change_name
from etwcap.taps.ndiscap_stages import NOT_BOUND, AdapterRecords, SilenceWatch
from etwcap.taps.protocol import Condition, State, TapOptions, usable
from etwcap.taps.trace_folders import TraceFolders
from etwcap.windows.filter_binding import FilterBinding, filter_binding
from etwcap.windows.processes import ProcessIdentity
from etwcap.windows.version import WindowsVersion
from ndiscap_machine import ETHERNET_CARD, ME, SECOND_CARD, Machine, MachineServices

CLASS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e972-e325-11ce-bfc1-08002be10318}"
NETWORK = r"SYSTEM\CurrentControlSet\Control\Network\{4d36e974-e325-11ce-bfc1-08002be10318}"
FILTER = "{430BDADD-BAB0-41AB-A369-94B67FA5BE0A}"


def named(found: list[Condition]) -> dict[str, Condition]:
    return {each.name: each for each in found}


def test_a_machine_that_has_everything(tmp_path: Path) -> None:
    need_native_core()
    found = Machine(tmp_path).tap().available()
    assert [(each.name, each.state, each.needed) for each in found] == [
        ("windows", State.MET, True),
        ("native core", State.MET, True),
        ("driver", State.MET, True),
        ("rights", State.MET, True),
        ("switched on by", State.MET, False),
        ("binding", State.MISSING, False),
    ]
    assert usable(found) is True
    assert "not bound to Ethernet, Ethernet 2" in named(found)["binding"].why


def test_asking_changes_nothing_and_runs_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.tap().available()
    machine.tap().interrupts((), TapOptions())
    assert (machine.steps, machine.commands, machine.journal.entries) == ([], [], ())


def test_a_binding_that_is_there_is_said(tmp_path: Path) -> None:
    machine = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])
    condition = named(machine.tap().available())["binding"]
    assert (condition.state, condition.why) == (
        State.MET,
        "bound already to Ethernet, Ethernet 2: a capture interrupts nothing",
    )


def test_without_rights_it_is_not_usable(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.elevated = False
    found = machine.tap().available()
    assert usable(found) is False
    assert named(found)["rights"].mend


def test_without_the_driver_it_is_not_usable(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert isinstance(machine.means.services, MachineServices)
    machine.means.services.there = False
    assert named(machine.tap().available())["driver"].state is State.MISSING


@pytest.mark.parametrize(
    "version", [WindowsVersion(6, 0, 6002), WindowsVersion(10, 0, 19045, wine="8.0")], ids=["Vista", "Wine"]
)
def test_a_windows_that_has_it_not(tmp_path: Path, version: WindowsVersion) -> None:
    (condition,) = Machine(tmp_path, version=version).tap().available()
    assert (condition.name, condition.state) == ("windows", State.MISSING)


def test_netsh_serves_where_there_are_no_netevent_sessions(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.module_there = False
    condition = named(machine.tap().available())["switched on by"]
    assert condition.state is State.MET
    assert "netsh trace serves" in condition.why
    old = Machine(tmp_path, version=WindowsVersion(6, 1, 7601)).tap().available()
    assert named(old)["switched on by"].why == "netsh trace"


def test_a_trace_of_somebody_else_is_in_the_way_unless_its_binding_serves(tmp_path: Path) -> None:
    need_native_core()
    machine = Machine(tmp_path)
    machine.trace = "C:\\NetTrace.etl"
    assert usable(machine.tap().available()) is False
    bound = Machine(tmp_path, bound=[ETHERNET_CARD, SECOND_CARD])
    bound.trace = "C:\\NetTrace.etl"
    assert usable(bound.tap().available()) is True


def test_what_cannot_be_asked_is_not_known(tmp_path: Path) -> None:
    need_native_core()
    machine = Machine(tmp_path)

    def fails(*_: object) -> bool:
        raise WindowsCallError("a call", 31)

    machine.means.elevated = fails
    machine.means.binding = fails  # type: ignore[assignment]
    machine.fails["paths"] = WindowsCallError("INetCfg", 31)
    machine.means.services.state = fails  # type: ignore[assignment, method-assign]
    machine.means.etw.sessions = fails  # type: ignore[assignment, method-assign]
    found = named(machine.tap().available())
    assert [found[name].state for name in ("driver", "rights", "binding")] == [State.UNKNOWN] * 3
    assert usable(list(found.values())) is None


# ---- the registry ----


class Keys:
    """A registry in memory."""

    def __init__(self, *, bound: bool = True) -> None:
        self.values: dict[tuple[str, str], int | str | bytes | list[str] | None] = {
            (rf"{NETWORK}\{FILTER}", "ComponentId"): "MS_NDISCAP",
            (rf"{NETWORK}\{{AAAA}}", "ComponentId"): "ms_pacer",
            (rf"{CLASS}\0000", "NetCfgInstanceId"): ETHERNET_CARD.guid.lower(),
            (rf"{CLASS}\0000\Linkage", "FilterList"): [
                f"{ETHERNET_CARD.guid}-{{AAAA}}-0000",
                *([f"{ETHERNET_CARD.guid}-{FILTER.lower()}-0000"] if bound else []),
            ],
            (rf"{CLASS}\0001", "NetCfgInstanceId"): SECOND_CARD.guid,
            (rf"{CLASS}\0002", "DriverDesc"): "no adapter",
        }

    def value(self, key: str, name: str) -> int | str | bytes | list[str] | None:
        return self.values.get((key, name))

    def subkeys(self, key: str) -> list[str]:
        below = {path[len(key) + 1 :].partition("\\")[0] for path, _ in self.values if path.startswith(key + "\\")}
        return sorted(below) + (["Properties"] if key == CLASS else [])


def test_the_registry_tells_to_which_adapters_a_filter_is_bound() -> None:
    keys = Keys()
    assert filter_binding("ms_ndiscap", value=keys.value, subkeys=keys.subkeys) == FilterBinding(
        frozenset({ETHERNET_CARD.guid}), frozenset({SECOND_CARD.guid})
    )
    keys = Keys(bound=False)
    assert filter_binding("ms_ndiscap", value=keys.value, subkeys=keys.subkeys) == FilterBinding(
        frozenset(), frozenset({ETHERNET_CARD.guid, SECOND_CARD.guid})
    )


def test_a_filter_that_is_not_installed_has_no_binding() -> None:
    keys = Keys()
    assert filter_binding("ms_other", value=keys.value, subkeys=keys.subkeys) is None


# ---- undoing ----


def test_names_carry_the_process_and_the_way() -> None:
    known = CaptureBindings()
    for way in ("netevent", "netsh", "binding", "bound"):
        assert known.owner(change_name(ME, way)) == ME
    for name in ("etwcap-1-2", "etwcap-1-2-other", "netevent", f"{change_name(ME, 'netsh')}x", "etwcap-x-2-netsh"):
        assert known.owner(name) is None
    assert known.owner("etwcap-1-2-bound") == ProcessIdentity(1, 2)


def test_without_rights_sessions_are_not_looked_for(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.elevated = False
    assert CaptureBindings(machine.means).find() == []
    assert machine.commands == []


def made(path: str) -> bool:
    Path(path).mkdir()
    return True


def test_a_folder_is_removed_with_its_files(tmp_path: Path) -> None:
    folders = TraceFolders(lambda: str(tmp_path), made, patience=0)
    folder = Path(folders.make("one"))
    (folder / "packets.etl").write_bytes(b"x")
    (folder / "what netsh adds").mkdir()
    assert folders.there("one")
    assert folders.remove("one") is True
    assert folders.remove("one") is True, "it is gone"
    assert folders.names() == []


def in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are in use from here on."""

    def refuse(path: str) -> None:
        raise PermissionError(13, "in use", path)

    monkeypatch.setattr(shutil, "rmtree", refuse)


def test_a_folder_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_use(monkeypatch)
    folders = TraceFolders(lambda: str(tmp_path), made, patience=0.15)
    folders.make("one")
    assert folders.remove("one") is False


def test_a_folder_whose_name_is_taken_is_not_used(tmp_path: Path) -> None:
    folders = TraceFolders(lambda: str(tmp_path), lambda _path: False)
    with pytest.raises(EtwcapError, match="cannot be made"):
        folders.make("one")


def test_netshs_trace_is_stopped_where_its_file_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though no trace session names the file."""
    machine = Machine(tmp_path)
    name = change_name(ME, "netsh")
    (machine.folder / name).mkdir()
    in_use(monkeypatch)
    with pytest.raises(EtwcapError, match="cannot be stopped"):
        CaptureBindings(machine.means).undo(machine.journal.record("binding", name))
    assert machine.commands[-1][1:] == ("trace", "stop")


# ---- records ----


def chunk_of(*records: bytes) -> Chunk:
    """Records as ``EtwRecordSource`` gives them."""
    data, offsets = bytearray(64), []
    for record in records:
        offsets.append(len(data))
        data += bytes(8) + record
    rows = PacketTable(len(records))
    rows["offset"] = np.array(offsets, np.int64)
    rows["captured"] = np.array([8 + len(each) for each in records], np.uint32)
    rows["flags"] = np.full(len(records), Mark.LATE, np.uint32)
    return Chunk(np.frombuffer(bytes(data), np.uint8), rows, EventTable(0), 17)


def frame(index: int, event_id: int = 1001, *, extended: tuple[tuple[int, bytes], ...] = ()) -> bytes:
    return event_record(PROVIDER, event_id, build_packet_event(b"frame", miniport=index), time=1, extended=extended)


def test_frames_of_other_adapters_are_left_out_and_nothing_else() -> None:
    records = [
        frame(7),
        frame(9),
        event_record(PROVIDER, 5101, build_source_info(9, "Ethernet 2"), time=1),
        frame(9, 1002),
        frame(7, 1003),
        event_record(PROVIDER, 1001, b"ab", time=1),
        event_record(bytes(16), 1001, build_packet_event(b"x", miniport=9), time=1),
        b"too short for a record",
    ]
    chunk = chunk_of(*records)
    passed = AdapterRecords([7]).process(chunk)
    assert passed.packets["offset"].tolist() == [chunk.packets["offset"][i] for i in (0, 2, 4, 5, 6, 7)]
    assert passed.complete_to == 17
    assert set(passed.packets["flags"].tolist()) == {int(Mark.LATE)}


def test_a_record_with_extended_items_is_not_judged() -> None:
    chunk = chunk_of(frame(9, extended=((1, b"12345678"),)))
    assert AdapterRecords([7]).process(chunk) is chunk


def test_silence_is_told_once_and_after_a_while() -> None:
    told: list[str] = []
    now = [100.0]
    context = Context()
    watch = SilenceWatch(context, told.append, now=lambda: now[0])
    for now[0] in (100.0, 101.9, 102.0, 105.0):
        watch.process(chunk_of(event_record(PROVIDER, 5101, build_source_info(9, "x"), time=1)))
    assert told == [NOT_BOUND]
    watch.finish()
    assert "ndiscap-silent" in context.receipt.notes


def test_after_the_first_frame_silence_is_silence() -> None:
    told: list[str] = []
    now = [100.0]
    context = Context()
    watch = SilenceWatch(context, told.append, now=lambda: now[0])
    watch.process(chunk_of(frame(7)))
    now[0] = 200.0
    watch.process(chunk_of())
    watch.finish()
    assert (told, list(context.receipt.notes)) == ([], [])
