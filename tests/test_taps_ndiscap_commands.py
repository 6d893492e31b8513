"""What is typed for the user: PowerShell's scripts and netsh's words, for each Windows, letter by letter."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import need_native_core
from etwcap.errors import NotHereError, RightsError, UsageError, WindowsCallError
from etwcap.packets import Context
from etwcap.taps.ndiscap_ways import Wanted, what_to_tell
from etwcap.taps.protocol import TapOptions
from etwcap.windows.netevent import AnotherSessionError, NetEvent, error_number, nothing_made, packet_capture, quoted
from etwcap.windows.netsh_trace import NetshTrace, start_words
from etwcap.windows.programs import Ran, clean_environment, run_program
from etwcap.windows.version import WindowsVersion
from ndiscap_machine import ETHERNET_CARD, SECOND_CARD, SYSTEM32, WIFI_CARD, Machine

SHELL = rf"{SYSTEM32}\WindowsPowerShell\v1.0\powershell.exe"
MODULE = rf"{SYSTEM32}\WindowsPowerShell\v1.0\Modules\NetEventPacketCapture\NetEventPacketCapture.psd1"
NAME = "etwcap-4711-133500000000000000-netevent"

BEGIN = (
    "$ErrorActionPreference='Stop';$ProgressPreference='SilentlyContinue';$step='Import-Module';"
    f"try{{Import-Module -Name '{MODULE}';"
    "$step='Get-NetEventSession';$there=@(Get-NetEventSession);"
    "foreach($s in $there){'session {0} {1}' -f $s.SessionStatus,$s.Name};"
)
END = "exit 0}catch{'error {0} {1}' -f $step,$_.FullyQualifiedErrorId;$_.Exception.Message;exit 3}"
NEW = (
    "if($there){exit 4};"
    f"$step='New-NetEventSession';New-NetEventSession -Name '{NAME}' -CaptureMode 'RealtimeLocal'"
    " -TraceBufferSize 512 -MaxNumberOfBuffers 128|Out-Null;"
    f"$step='Add-NetEventPacketCaptureProvider';Add-NetEventPacketCaptureProvider -SessionName '{NAME}'"
    " -Level 4 -CaptureType 'Physical' -MultiLayer $false -TruncationLength 65535"
)
START = f"$step='Start-NetEventSession';Start-NetEventSession -Name '{NAME}'|Out-Null;"
REMOVE = (
    f"$mine=$there|Where-Object Name -eq '{NAME}';"
    f"if($mine){{$step='Stop-NetEventSession';try{{Stop-NetEventSession -Name '{NAME}'|Out-Null}}catch{{}};"
    f"$step='Remove-NetEventSession';Remove-NetEventSession -Name '{NAME}'|Out-Null}};"
)


def opened(
    machine: Machine, interfaces: Sequence[str] = (), options: TapOptions | None = None
) -> list[tuple[str, ...]]:
    """The commands of a capture from its beginning to its end."""
    need_native_core()
    machine.tap().open(Context(), interfaces, options or TapOptions(), machine.changes()).close()
    return machine.commands


BUILDS = {
    9600: WindowsVersion(6, 3, 9600, 0, "Windows 8.1"),
    14393: WindowsVersion(10, 0, 14393, 0, "Windows Server 2016", server=True),
    17763: WindowsVersion(10, 0, 17763, 0, "Windows Server 2019", server=True),
    19045: WindowsVersion(10, 0, 19045, 0, "Windows 10 Pro"),
    20348: WindowsVersion(10, 0, 20348, 0, "Windows Server 2022", server=True),
    22631: WindowsVersion(10, 0, 22631, 0, "Windows 11 Pro"),
    26100: WindowsVersion(10, 0, 26100, 0, "Windows 11 Pro"),
}


@pytest.mark.parametrize("build", BUILDS)
def test_powershell_is_given_one_script_to_begin_and_one_to_end(tmp_path: Path, build: int) -> None:
    start, end = opened(Machine(tmp_path, version=BUILDS[build]))
    words = (SHELL, "-NoLogo", "-NoProfile", "-NonInteractive", "-Command")
    assert start == (*words, BEGIN + NEW + "|Out-Null;" + START + END)
    assert end == (*words, BEGIN + REMOVE + END)


def test_adapters_and_filters_stand_in_the_script(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    script = opened(machine, ("Ethernet", "9"), TapOptions(filter="tcp and host 192.0.2.7"))[0][-1]
    filters = " -EtherType 2048 -IpProtocols 6 -IpAddresses '192.0.2.7'|Out-Null;"
    cards = "".join(
        f"$step='Add-NetEventNetworkAdapter';Add-NetEventNetworkAdapter -Name '{each}'|Out-Null;"
        for each in ("Ethernet", "Ethernet 2")
    )
    assert script == BEGIN + NEW + filters + cards + START + END


def netsh(report: str, *, adapter: str = "", told: str = "") -> list[str]:
    words = (
        rf"{SYSTEM32}\netsh.exe trace start capture=yes report={report} correlation={report} persistent=no"
        f" tracefile=FILE filemode=circular maxsize=16 overwrite=yes{adapter}{told}"
    )
    return words.split()


@pytest.mark.parametrize(
    ("build", "report"),
    [(7601, "no"), (9200, "no"), *((build, "no" if build < 10_000 else "disabled") for build in BUILDS)],
)
def test_netsh_is_given_the_words_of_its_windows(tmp_path: Path, build: int, report: str) -> None:
    version = BUILDS.get(build) or WindowsVersion(6, 1 if build == 7601 else 2, build)
    machine = Machine(tmp_path, version=version)
    machine.module_there = False
    start, stop = opened(machine)
    file = next(each for each in start if each.startswith("tracefile="))
    assert Path(file.partition("=")[2]).parent.parent == machine.folder
    assert [each if each != file else "tracefile=FILE" for each in start] == netsh(report)
    assert stop == (rf"{SYSTEM32}\netsh.exe", "trace", "stop")


def test_one_adapter_and_filters_stand_in_netshs_words(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.module_there = False
    start = opened(machine, ("Ethernet",), TapOptions(filter="udp port 53 and ip6"))[0]
    told = " ".join(start[start.index("overwrite=yes") + 1 :])
    assert told == f"CaptureInterface={ETHERNET_CARD.guid} Ethernet.Type=0x86dd Protocol=17"


def test_a_filter_is_not_told_where_a_wifi_is_among_the_adapters() -> None:
    assert what_to_tell("arp", [ETHERNET_CARD, SECOND_CARD]).pushed == ("Ethernet.Type=0x0806",)
    assert what_to_tell("arp", [ETHERNET_CARD, WIFI_CARD]).pushed == ()
    assert what_to_tell(None, [ETHERNET_CARD]).pushed == ()


@pytest.mark.parametrize(
    ("expression", "types", "protocols", "addresses"),
    [
        (None, [], [], []),
        ("arp", [0x0806], [], []),
        ("ip and tcp", [0x0800], [6], []),
        ("ip6 host 2001:db8::1", [0x86DD], [], ["2001:db8::1"]),
        ("port 53", [], [], []),
        ("arp or ip", [0x0806, 0x0800], [], []),
        ("ip and net 192.0.2.0/24", [0x0800], [], []),
    ],
)
def test_a_netevent_session_is_told_what_the_filter_implies(
    expression: str | None, types: list[int], protocols: list[int], addresses: list[str]
) -> None:
    wanted = Wanted((), 19045, what_to_tell(expression, [ETHERNET_CARD]))
    assert (wanted.ether_types, wanted.protocols, wanted.addresses) == (types, protocols, addresses)


@pytest.mark.parametrize(
    "expression",
    [
        "ip",
        "arp or ip6",
        "ip proto 17 or ip proto 6",
        "ip host 192.0.2.1 and udp",
        "ip6 host 2001:db8::7 and tcp port 80",
        "host 192.0.2.1",
        "vlan 7 and ip",
        "not arp",
        "ether proto 0x88cc",
        "ip src 192.0.2.1 and ip dst 192.0.2.2",
        "greater 100",
    ],
)
def test_a_netevent_session_is_told_the_same_as_netsh(expression: str) -> None:
    wanted = Wanted((), 19045, what_to_tell(expression, [ETHERNET_CARD]))
    words = dict(word.split("=") for word in " ".join(wanted.told.pushed).split())
    types = [int(each, 16) for each in re.findall(r"0x\w+", words.pop("Ethernet.Type", ""))]
    protocols = [int(each) for each in re.findall(r"\d+", words.pop("Protocol", ""))]
    assert (wanted.ether_types, wanted.protocols, wanted.addresses) == (types, protocols, list(words.values()))


# ---- what comes from outside ----


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("Ethernet", "'Ethernet'"),
        ("O'Brien's", "'O''Brien''s'"),
        ("a’b", "'a’’b'"),
        ('$(calc) `; | & "x" %TEMP%', "'$(calc) `; | & \"x\" %TEMP%'"),
    ],
)
def test_a_name_is_a_text_and_nothing_else(text: str, inside: str) -> None:
    assert quoted(text) == inside


def read_by_powershell(text: str) -> str:
    """A text in single quotes as PowerShell reads it: any quote ends it, of two together the second counts."""
    quotes = "'\u2018\u2019\u201a\u201b"
    assert text[0] in quotes
    at, found = 1, ""
    while True:
        if text[at] not in quotes:
            found, at = found + text[at], at + 1
        elif at + 1 < len(text) and text[at + 1] in quotes:
            found, at = found + text[at + 1], at + 2
        else:
            assert at == len(text) - 1, "it ends before its end"
            return found


@given(st.text(max_size=60) | st.text(alphabet="'\u2018\u2019\u201a\u201b x", max_size=20))
def test_no_name_gets_out_of_its_quotes(text: str) -> None:
    try:
        inside = quoted(text)
    except UsageError:
        assert not text.isprintable()
        return
    assert read_by_powershell(inside) == text


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "a\u2028b", "a\ud800", "x" * 1001, "\x1b[0m"])
def test_a_name_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no name"):
        quoted(text)


def test_a_file_that_would_end_netshs_word_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be given"):
        start_words(19045, 'C:\\x" capture=no')


# ---- what programs say ----


def netevent(ran: Ran) -> NetEvent:
    return NetEvent(lambda _words, _limit: ran, system32=lambda: SYSTEM32, exists=lambda _path: True)


PROVIDERS = [packet_capture(level=4)]


@pytest.mark.parametrize(
    ("said", "kind", "code", "text"),
    [
        (
            "error New-NetEventSession HRESULT 0x80070005,New-NetEventSession\r\nZugriff verweigert",
            RightsError,
            5,
            "New-NetEventSession: access denied",
        ),
        (
            "error Get-NetEventSession Windows System Error 5,Get-NetEventSession\r\nx",
            RightsError,
            5,
            "Get-NetEventSession: access denied",
        ),
        (
            "error Start-NetEventSession HRESULT 0x8007001f,x\r\nEin Gerät ist\r\nkaputt",
            WindowsCallError,
            31,
            "Ein Gerät ist kaputt",
        ),
        ("error Import-Module Modules_ModuleNotFound,X\r\n", WindowsCallError, 0, "Modules_ModuleNotFound"),
        ("", WindowsCallError, 3, "nothing was said"),
        ("something else", WindowsCallError, 3, "exit code 3: something else"),
    ],
)
def test_a_script_that_fails_says_where_and_what(said: str, kind: type[Exception], code: int, text: str) -> None:
    with pytest.raises(kind) as caught:
        netevent(Ran(3, said)).start(NAME, PROVIDERS)
    assert isinstance(caught.value, WindowsCallError)
    assert caught.value.code == code
    assert "cannot be started" in caught.value.what
    assert text in caught.value.cause


def test_sessions_that_are_in_the_way_are_named() -> None:
    with pytest.raises(AnotherSessionError) as caught:
        netevent(Ran(4, "session Running Ärger mit Netz\r\nsession Stopped b\r\n")).start(NAME, PROVIDERS)
    assert [(each.name, each.status) for each in caught.value.sessions] == [
        ("Ärger mit Netz", "Running"),
        ("b", "Stopped"),
    ]


@pytest.mark.parametrize(
    ("error", "nothing"),
    [
        (NotHereError("no module"), True),
        (AnotherSessionError([]), True),
        (WindowsCallError("New-NetEventSession", 5), True),
        (WindowsCallError("powershell.exe", 1260), True),
        (WindowsCallError("powershell.exe", 1460), False),
        (WindowsCallError("Start-NetEventSession", 31), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_it_is_known_whether_a_start_that_failed_had_made_anything(error: BaseException, nothing: bool) -> None:
    assert nothing_made(error) is nothing


def test_removing_says_whether_it_was_there() -> None:
    assert netevent(Ran(0, f"session Running {NAME}\r\n")).remove(NAME) is True
    assert netevent(Ran(0, "session Running other\r\n")).remove(NAME) is False
    with pytest.raises(WindowsCallError, match="cannot be removed"):
        netevent(Ran(3, "error Remove-NetEventSession x\r\n")).remove(NAME)


def test_without_the_module_nothing_is_run() -> None:
    never = NetEvent(lambda *_: pytest.fail("run"), system32=lambda: SYSTEM32, exists=lambda path: "psd1" not in path)
    assert never.lacks() == MODULE
    with pytest.raises(NotHereError, match="no NetEvent sessions"):
        never.sessions()


@pytest.mark.parametrize(
    ("identifier", "number"),
    [
        ("HRESULT 0x80070005,New-NetEventSession", 5),
        ("HRESULT 0x8004A024,X", 0x8004A024),
        ("Windows System Error 1168,X", 1168),
        ("anything", 0),
    ],
)
def test_numbers_of_cim_errors(identifier: str, number: int) -> None:
    assert error_number(identifier) == number


def test_netsh_is_judged_by_its_exit_code() -> None:
    def failing(_words: Sequence[str], _limit: float) -> Ran:
        return Ran(1, "Es läuft\r\nschon eine")

    trace = NetshTrace(failing, program=lambda: "netsh")
    with pytest.raises(WindowsCallError, match="cannot start") as caught:
        trace.start(["trace", "start"])
    assert caught.value.cause.endswith("exit code 1: Es läuft schon eine")
    with pytest.raises(WindowsCallError, match="cannot be stopped"):
        trace.stop()


def test_programs_get_windows_own_folders_and_nothing_of_the_caller() -> None:
    made = clean_environment(SYSTEM32)
    assert made["SystemRoot"] == r"C:\Windows"
    assert made["SystemDrive"] == "C:"
    assert made["PSModulePath"] == rf"{SYSTEM32}\WindowsPowerShell\v1.0\Modules"
    assert all(value.startswith(("C:", ".COM")) for value in made.values())


@pytest.mark.skipif(sys.platform == "win32", reason="off Windows")
def test_off_windows_no_program_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_words: pytest.fail("run"))
    with pytest.raises(NotHereError, match="Windows"):
        run_program((r"C:\Windows\System32\netsh.exe", "trace"), 1)
