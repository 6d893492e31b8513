"""The bindings on a running Windows (Wine in CI): what they answer is what another way of asking answers.

What Wine stands in for, and what it cannot show, is listed in docs/windows-verification.md.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etwcap.errors import EtwcapError, NotHereError, UsageError, WindowsCallError
from etwcap.taps import cleanup as cleaning
from etwcap.taps.cleaning import clean_this_machine
from etwcap.taps.journal import FIREWALL_RULE, PART_FILE, USER_KINDS, Journal, file_name, read_all
from etwcap.taps.journal_store import AdministratorsStore, FolderStore
from etwcap.windows import addresses, files, security, services, version, winsock
from etwcap.windows.adapters import adapters, filter_layers
from etwcap.windows.clock import Clock, Counter
from etwcap.windows.completion import CompletionPort
from etwcap.windows.console import ConsoleEvent, ConsoleEvents
from etwcap.windows.dll import Library, system_folder, system_program
from etwcap.windows.firewall import Firewall, rule_name
from etwcap.windows.handles import close_handle
from etwcap.windows.iphlpapi import IpHelper
from etwcap.windows.pipes import PipeServer, connect, pipe_name, server_process
from etwcap.windows.processes import Processes, ProcessIdentity
from etwcap.windows.session_end import MESSAGE_ONLY, WM_ENDSESSION, WM_QUERYENDSESSION, SessionEndWindow
from etwcap.windows.tokens import HIGH, Tokens
from etwcap.windows.winsock import Winsock

if sys.platform != "win32":
    pytest.skip("these call Windows", allow_module_level=True)


@pytest.fixture(scope="module")
def wine() -> bool:
    return bool(version.this_windows().wine)


def test_dlls_and_programs_are_those_of_system32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = system_folder()
    monkeypatch.setenv("SystemRoot", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ws2_32.dll").write_bytes(b"planted")
    assert folder.lower().endswith(r":\windows\system32")
    assert system_folder() == folder
    assert system_program("netsh.exe") == folder + r"\netsh.exe"
    assert Library("ws2_32.dll").has("WSASocketW")
    assert not Library("ws2_32.dll").has("WSANoSuchCall")
    with pytest.raises(NotHereError, match="no PktNoSuch"):
        Library("PktNoSuch.dll").function("f", None)


def test_the_machines_addresses_are_found_both_ways() -> None:
    helper = IpHelper()
    found = {addresses.text(each) for each in helper.unicast()}
    assert {"127.0.0.1", "::1"} <= found
    of_adapters = {
        each.text + (f"%{each.scope}" if each.scope else "")
        for adapter in adapters(helper)
        for each in adapter.addresses
    }
    assert found == of_adapters
    assert {addresses.text(each) for each in helper.unicast(winsock.AF_INET)} == {each for each in found if "." in each}
    assert found <= {addresses.text(each) for each in helper.all_addresses()}


def test_tables_that_this_windows_lacks_are_empty_and_named() -> None:
    helper = IpHelper()
    for table in (helper.multicast, helper.anycast, helper.neighbours, helper.destinations):
        assert table().dtype == addresses.ADDRESS
    assert len(helper.missing) < 5
    lacking = IpHelper(Library("kernel32.dll"))  # a DLL without any of the calls
    assert len(lacking.all_addresses()) == 0
    assert {"GetUnicastIpAddressTable", "GetExtendedTcpTable", "GetIpPathTable"} <= lacking.missing


@pytest.mark.parametrize(
    ("family", "ours", "address"),
    [(socket.AF_INET, winsock.AF_INET, "127.0.0.1"), (socket.AF_INET6, winsock.AF_INET6, "::1")],
)
def test_a_listening_socket_stands_in_the_table_of_its_owner(family: int, ours: int, address: str, wine: bool) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as listener, socket.socket(family, socket.SOCK_DGRAM) as datagrams:
        listener.bind((address, 0))
        listener.listen()
        datagrams.bind((address, 0))
        helper = IpHelper()
        for rows, number in ((helper.tcp(ours), listener), (helper.udp(ours), datagrams)):
            (row,) = rows[rows["local_port"] == number.getsockname()[1]]
            size = 4 if family == socket.AF_INET else 16
            assert bytes(row["local_address"])[:size] == socket.inet_pton(family, address)
            assert wine or row["process"] == os.getpid()  # Wine gives no owners


def test_adapters_have_names_that_lead_back_to_them() -> None:
    helper = IpHelper()
    found = adapters(helper, disconnected=True)
    assert any(each.loopback for each in found)
    for each in found:
        assert helper.alias_of_luid(each.luid) == each.alias
        assert helper.luid_of_guid(helper.guid_of_luid(each.luid)) == each.luid
        assert f"{{{helper.guid_of_luid(each.luid)}}}".upper() == each.guid.upper()
        assert helper.index_of_luid(each.luid) in (each.index, each.index6)
        assert helper.luid_of_index(each.index or each.index6) == each.luid
        assert helper.name_of_luid(each.luid)
    assert len(helper.interface_rows()) >= len(found)
    assert filter_layers(helper).keys().isdisjoint({each.index for each in found})
    with pytest.raises(WindowsCallError):
        helper.luid_of_index(0x7FFFFFFF)


def test_changes_of_addresses_can_be_watched_and_left() -> None:
    helper = IpHelper()
    for watch in (helper.watch_addresses(lambda kind: None), helper.watch_interfaces(lambda kind: None)):
        watch.close()
        watch.close()


def test_the_clock_is_the_system_s() -> None:
    counter, clock = Counter(), Clock()
    assert clock.map.frequency == counter.frequency() > 1_000_000
    assert clock.map.uncertainty < 5_000_000
    before = time.time_ns()
    found = int(clock.to_ns(np.array([counter.ticks()], np.int64))[0])
    assert before - 50_000_000 < found < time.time_ns() + 50_000_000


def test_a_raw_socket_gets_what_is_sent_to_its_address(wine: bool) -> None:
    calls = Winsock()
    raw = calls.socket(winsock.AF_INET6, winsock.IPPROTO_UDP if wine else winsock.IPPROTO_IPV6)
    try:
        with pytest.raises(WindowsCallError, match="bind"):
            calls.bind(raw, "2001:db8::77")
        calls.bind(raw, "::1")
        assert calls.local_address(raw)[0] == "::1"
        for option in (winsock.IPV6_PKTINFO, winsock.IPV6_HOPLIMIT, winsock.IPV6_RECVTCLASS):
            calls.set_option(raw, winsock.IPPROTO_IPV6, option, 1)
        calls.set_option(raw, winsock.SOL_SOCKET, winsock.SO_RCVBUF, 1 << 24)
        assert calls.option(raw, winsock.SOL_SOCKET, winsock.SO_RCVBUF) == 1 << 24
        assert calls.receive_message_pointer(raw) > 0x10000
        if wine:
            with pytest.raises(NotHereError, match="SIO_RCVALL") as caught:
                calls.receive_all(raw)
            assert caught.value.exit_code == 6
        else:
            calls.receive_all(raw)
    finally:
        calls.close(raw)
    with pytest.raises(WindowsCallError, match="no socket"):
        calls.close(raw)
    with pytest.raises(UsageError):
        calls.bind(raw, "localhost")


def test_ipv4_raw_sockets_are_refused_with_the_reason_under_wine(wine: bool) -> None:
    calls = Winsock()
    if not wine:
        calls.close(calls.socket(winsock.AF_INET, winsock.IPPROTO_IP))
        return
    with pytest.raises(NotHereError, match="no raw socket of this kind"):
        calls.socket(winsock.AF_INET, winsock.IPPROTO_IP)


def test_a_completion_port_wakes_who_waits() -> None:
    with CompletionPort() as port:
        assert port.wait(4, 0) == []
        port.post(7, size=9)
        port.post(8)
        assert [(each.key, each.size) for each in port.wait(4, 1000)] == [(7, 9), (8, 0)]
        calls = Winsock()
        one = calls.socket(winsock.AF_INET6, winsock.IPPROTO_UDP, kind=winsock.SOCK_DGRAM)
        port.add(one, 3)
        port.cancel(one)
        calls.close(one)
    port.close()


def test_services_are_known_or_not() -> None:
    manager = services.Services()
    assert manager.state("NoSuchServiceAtAll") is None
    found = manager.state("MountMgr")
    assert found is not None
    assert (found.kind, found.running) == (services.KERNEL_DRIVER, True)
    assert manager.start("MountMgr") is False
    with pytest.raises(NotHereError, match="no such service") as caught:
        manager.start("NoSuchServiceAtAll")
    assert (caught.value.exit_code, manager.stop("NoSuchServiceAtAll")) == (6, False)


def test_the_version_is_that_of_ntdll() -> None:
    found = version.this_windows()
    assert found.build > 7000
    assert str(found.build) in str(found)
    assert version.WindowsVersion(10, 0, version.SERVER_2022) > version.WindowsVersion(10, 0, version.WINDOWS_10_2004)
    assert version.signing_policy().upgraded in (True, False)
    assert version.remote_session() in (True, False)


def test_processes_are_known_by_number_and_creation_time() -> None:
    asked = Processes()
    me = asked.this()
    assert me.pid == os.getpid()
    assert asked.alive(me)
    assert not asked.alive(ProcessIdentity(me.pid, me.created + 1))
    assert asked.own_image().lower() == sys.executable.lower()
    assert (asked.image(4), asked.image(0x7FFFFFF0), asked.created(0x7FFFFFF0)) == ("System", "", None)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        created = asked.created(child.pid)
        assert created is not None
        its = ProcessIdentity(child.pid, created)
        assert created >= me.created
        assert asked.alive(its)
        assert asked.parent(child.pid) == me.pid
        child.communicate(b"\n")
        assert not asked.alive(its)  # though the Popen object still has its handle


def test_privileges_are_given_up_for_good() -> None:
    code = (
        "from etwcap.windows.tokens import Tokens, CHANGE_NOTIFY as K\n"
        "t = Tokens(); before = set(t.privileges()); dropped = set(t.drop_privileges())\n"
        "assert before - {K} == dropped and dropped, (before, dropped)\n"
        "assert set(t.privileges()) == before & {K} and t.drop_privileges() == []\n"
        "print('given up', len(dropped))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("given up"), done.stderr


def test_the_token_says_who_this_is() -> None:
    token = Tokens()
    assert token.user().startswith("S-1-5-")
    assert "S-1-1-0" in token.groups()
    assert token.elevated() == (token.integrity() >= HIGH)


@pytest.fixture
def pipe() -> Iterator[tuple[PipeServer, str]]:
    name = pipe_name()
    with PipeServer(name, Tokens().user()) as server:
        yield server, name


def test_a_pipe_carries_bytes_both_ways_between_processes_that_know_each_other(pipe: tuple[PipeServer, str]) -> None:
    server, name = pipe
    seen: dict[str, Any] = {}

    def client() -> None:
        with connect(name, timeout=10) as end:
            seen["server"] = server_process(end)
            end.write(bytes(3_000_000))
            seen["answer"] = end.read(100, timeout=10)

    thread = threading.Thread(target=client)
    thread.start()
    assert server.accept(timeout=10) == os.getpid()
    got = 0
    while got < 3_000_000:
        got += len(server.read(1 << 20, timeout=10))
    assert server.write(b"enough")
    thread.join()
    assert (got, seen) == (3_000_000, {"server": os.getpid(), "answer": b"enough"})
    assert server.read(1, timeout=5) == b""
    assert server.write(b"is anybody there", timeout=5) is False


def test_a_pipe_is_made_once_and_waits_no_longer_than_told(pipe: tuple[PipeServer, str]) -> None:
    server, name = pipe
    with pytest.raises(WindowsCallError, match="CreateNamedPipeW"):
        PipeServer(name, Tokens().user())
    with pytest.raises(WindowsCallError) as caught:
        server.accept(timeout=0.05)
    assert caught.value.code == 1460
    with connect(name, timeout=5) as end:
        server.accept(timeout=5)
        for each in (end, server):
            with pytest.raises(WindowsCallError) as caught:
                each.read(1, timeout=0.05)
            assert caught.value.code == 1460
    with pytest.raises(WindowsCallError, match="not found"):
        connect(pipe_name(), timeout=0.05)


@pytest.fixture
def folder(tmp_path: Path) -> AdministratorsStore:
    """A journal for administrators; whoever runs the tests counts as one, since Wine keeps no owners."""
    return AdministratorsStore(tmp_path / "etwcap" / "journal", {security.ADMINISTRATORS, Tokens().user()})


def test_the_administrators_journal_is_written_and_read(folder: AdministratorsStore) -> None:
    me = Processes().this()
    assert folder.names() == []
    journal = Journal(folder, me)
    entry = journal.record(FIREWALL_RULE, rule_name(me))
    assert folder.names() == [file_name(me)]
    assert [each.entries for each in read_all(folder)[0]] == [(entry,)]
    second = journal.record(PART_FILE, "x.part.pcapng")
    journal.forget(entry)
    journal.forget(second)
    assert folder.names() == []


def test_a_folder_that_somebody_else_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "etwcap").mkdir()
    store = AdministratorsStore(tmp_path / "etwcap" / "journal", {"S-1-5-18"})
    with pytest.raises(EtwcapError, match="not of administrators"):
        Journal(store, Processes().this()).record(PART_FILE, "x.part.pcapng")
    (tmp_path / "etwcap" / "journal").mkdir()
    with pytest.raises(EtwcapError, match="not of administrators"):
        store.names()


def test_a_file_of_somebody_else_in_the_folder_is_not_read(folder: AdministratorsStore) -> None:
    me = Processes().this()
    Journal(folder, me).record(FIREWALL_RULE, rule_name(me))
    strict = AdministratorsStore(folder.folder, {security.ADMINISTRATORS, Tokens().user()})
    strict._owners = set()
    with pytest.raises(EtwcapError, match="its owner is"):
        strict.read(file_name(me), 1000)


def test_the_user_s_journal_needs_no_rights(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "journal")
    me = Processes().this()
    Journal(store, me, kinds=USER_KINDS).record(PART_FILE, "x.part.pcapng")
    assert len(read_all(store, USER_KINDS)[0]) == 1


def test_windows_folders_are_known_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ProgramData", r"C:\elsewhere")
    monkeypatch.setenv("LocalAppData", r"C:\elsewhere")
    assert files.known_folder(files.PROGRAM_DATA).endswith("ProgramData")
    assert "elsewhere" not in files.known_folder(files.LOCAL_APP_DATA)


def test_the_first_ctrl_c_is_ours_and_the_second_python_s() -> None:
    seen: list[ConsoleEvent] = []
    with ConsoleEvents(seen.append) as events:
        assert events.handle(0)
        assert not events.handle(0)
        assert not events.handle(1)
        assert not events.handle(99)
    assert seen == [ConsoleEvent.CTRL_C]


@pytest.mark.parametrize("event", [ConsoleEvent.CLOSE, ConsoleEvent.LOGOFF, ConsoleEvent.SHUTDOWN])
def test_an_event_that_ends_the_process_waits_until_all_is_released(event: ConsoleEvent) -> None:
    asked = threading.Event()
    done: list[bool] = []
    with ConsoleEvents(lambda _: asked.set(), patience=30) as events:
        thread = threading.Thread(target=lambda: done.append(events.handle(event)))
        thread.start()
        assert asked.wait(10)
        assert done == []
        events.release()
        thread.join(10)
    assert done == [True]
    impatient = ConsoleEvents(lambda _: None, patience=0.01)
    assert impatient.handle(event)  # Windows would end the process anyway


def test_ctrl_c_for_real_reaches_the_handler() -> None:
    """A console of the child's own, since the tests have none; the event goes to all processes on it."""
    code = (
        "import ctypes, threading, time\n"
        "from etwcap.windows.console import ConsoleEvents\n"
        "k = ctypes.WinDLL('kernel32'); k.FreeConsole(); k.AllocConsole()\n"
        "asked = threading.Event()\n"
        "with ConsoleEvents(lambda event: asked.set()) as events:\n"
        "    assert k.GenerateConsoleCtrlEvent(0, 0)\n"
        "    assert asked.wait(20)\n"
        "    print('stopped by', events.event.name, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "stopped by CTRL_C", done.stderr


def test_logoff_and_shutdown_reach_the_same_handler_by_a_window() -> None:
    """Console handlers are not called for them in a process with user32.dll, which ctypes brings in."""
    assert version.module_loaded("user32.dll")
    seen: list[int] = []
    window = SessionEndWindow(seen.append, parent=MESSAGE_ONLY)
    assert window.handle
    send = Library("user32.dll").function(
        "SendMessageW", ctypes.c_int64, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64
    )
    try:
        assert send(window.handle, WM_QUERYENDSESSION, 0, 0) == 1
        assert send(window.handle, WM_ENDSESSION, 0, 0) == 0  # somebody else objected: nothing ends
        assert seen == []
        send(window.handle, WM_ENDSESSION, 1, 0)
        send(window.handle, WM_ENDSESSION, 1, -0x80000000)
    finally:
        window.close()
        window.close()
    assert seen == [ConsoleEvent.SHUTDOWN, ConsoleEvent.LOGOFF]


RULES = r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules"

LEAVES_A_RULE = r"""
import sys, winreg
from etwcap.taps.journal import Journal, FIREWALL_RULE
from etwcap.taps.journal_store import AdministratorsStore
from etwcap.windows.firewall import rule_name
from etwcap.windows.processes import Processes
from etwcap.windows.tokens import Tokens
me = Processes().this()
Journal(AdministratorsStore(sys.argv[1], {Tokens().user()}), me).record(FIREWALL_RULE, rule_name(me))
if sys.argv[2] == "after":
    with winreg.CreateKeyEx(winreg.HKEY_LOCAL_MACHINE, sys.argv[3], 0, winreg.KEY_WRITE) as key:
        rule = f"v2.31|Action=Allow|Active=TRUE|Dir=In|App=C:\\x.exe|Name={rule_name(me)}|"
        winreg.SetValueEx(key, rule_name(me), 0, winreg.REG_SZ, rule)
print("ready", flush=True)
input()
"""


def take_rule_away(words: Sequence[str]) -> int:
    """In the place of netsh, which Wine has as a stub only."""
    import winreg

    name = words[-1].removeprefix("name=")
    with winreg.CreateKeyEx(winreg.HKEY_LOCAL_MACHINE, RULES, 0, winreg.KEY_WRITE) as key:
        try:
            winreg.DeleteValue(key, name)
        except FileNotFoundError:
            return 1
    return 0


@pytest.mark.parametrize(("moment", "outcome"), [("before", cleaning.GONE), ("after", cleaning.ENDED)])
def test_what_a_terminated_process_left_is_ended(tmp_path: Path, wine: bool, moment: str, outcome: str) -> None:
    if not wine:
        pytest.skip("this would change the firewall of a real machine")
    folder = tmp_path / "etwcap" / "journal"
    command = [sys.executable, "-c", LEAVES_A_RULE, str(folder), moment, RULES]
    store = AdministratorsStore(folder, {Tokens().user()})
    undoers = {FIREWALL_RULE: cleaning.FirewallRules(Firewall(run=take_rule_away))}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"ready"
        used = cleaning.cleanup(store, undoers, Processes().alive)
        assert {each.outcome for each in used.items} == {cleaning.IN_USE}
        child.kill()
    report = cleaning.cleanup(store, undoers, Processes().alive)
    assert (report.clean, [each.outcome for each in report.items]) == (True, [outcome])
    assert (Firewall().rules(), store.names()) == ([], [])


def test_cleaning_this_machine_leaves_nothing(wine: bool) -> None:
    if not wine:
        pytest.skip("this would end what is left on a real machine")
    report = clean_this_machine()
    assert (report.items, report.strange, report.clean) == ([], [], True)


def free_handle() -> int:
    """The highest of the next numbers that handles get: Windows gives free ones again, so it rises with each leak."""
    create = Library("kernel32.dll").function(
        "CreateEventW", ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p
    )
    handles = [int(create(None, 1, 0, None)) for _ in range(100)]
    for each in handles:
        close_handle(each)
    return max(handles)


def open_and_close(calls: Winsock, user: str, me: ProcessIdentity) -> None:
    raw = calls.socket(winsock.AF_INET6, winsock.IPPROTO_UDP)
    with CompletionPort() as port:
        port.add(raw, 1)
    calls.close(raw)
    name = pipe_name()
    with PipeServer(name, user) as server, connect(name, timeout=5):
        server.accept(timeout=5)
    assert Tokens().elevated() in (True, False)
    assert Processes().alive(me)
    assert services.Services().state("NoSuchServiceAtAll") is None


def test_openings_and_closings_leave_no_handle_and_no_thread() -> None:
    calls, user, me = Winsock(), Tokens().user(), Processes().this()
    for _ in range(3):
        open_and_close(calls, user, me)
    handle, threads = free_handle(), threading.active_count()
    for _ in range(200):
        open_and_close(calls, user, me)
        SessionEndWindow(lambda _kind: None, parent=MESSAGE_ONLY).close()
        IpHelper().watch_addresses(lambda _kind: None).close()
    assert free_handle() - handle < 4 * 40  # numbers go up by four; a leak in a turn would be 200 of them
    assert threading.active_count() == threads


def test_netsh_alone_is_not_believed(wine: bool) -> None:
    if not wine:
        pytest.skip("this would change the firewall of a real machine")
    firewall = Firewall(patience=0)
    name = rule_name(Processes().this())
    assert firewall.rules() == []
    with pytest.raises(NotHereError, match="cannot be added"):
        firewall.add(name, Processes().own_image())
    assert firewall.remove(name) is False
