"""The commands that need Windows, and what they say elsewhere; status lines, tables and signals on any system."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from command_line import etwcap
from etwcap.cli.cleanup import report_lines
from etwcap.cli.live import StatusLine, status_text, stopping_on_signals
from etwcap.pipeline.capture import Progress
from etwcap.taps.cleanup import ENDED, FAILED, CleanupReport, Item
from etwcap.taps.listing import TapState, tap_lines
from etwcap.taps.protocol import Condition, State
from etwcap.windows.processes import ProcessIdentity


@pytest.mark.skipif(sys.platform == "win32", reason="what is said where there is no Windows")
@pytest.mark.parametrize("words", ["capture -w x.pcapng", "capture", "taps", "cleanup", "taps --json", "selftest"])
def test_off_windows_one_line_says_what_works_here(words: str) -> None:
    done = etwcap(*words.split())
    assert done.returncode == 6
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "etwcap info, convert, synth" in line


@pytest.mark.parametrize(
    ("progress", "rate", "lost", "text"),
    [
        (Progress(1, 60, 0.2, False), 0.0, 0, "1 packet  0/s  60 bytes  lost 0  0:00  x.pcapng"),
        (
            Progress(12_345, 9_900_000, 75.9, False),
            1234.4,
            3,
            "12,345 packets  1,234/s  9.9 MB  lost 3  1:15  x.pcapng",
        ),
        (Progress(2, 120, 7261.0, True), 1, 0, "2 packets  1/s  120 bytes  lost 0  2:01:01  x.pcapng  ending …"),
    ],
)
def test_the_status_line_tells_where_a_capture_is(progress: Progress, rate: float, lost: int, text: str) -> None:
    assert status_text(progress, rate, lost, "x.pcapng") == text


def test_the_status_line_shows_and_is_wiped(capsys: pytest.CaptureFixture[str]) -> None:
    with StatusLine("x\x1b[2J.pcapng", lambda: 7, wanted=True) as line:
        line(Progress(1, 60, 0.1, False))
    shown = capsys.readouterr().err
    assert "lost 7" in shown
    assert "x\\x1b[2J" in shown
    assert shown.endswith("\r\x1b[K")
    with StatusLine("x", lambda: 0) as line:  # no terminal
        line(Progress(1, 60, 0.1, False))
    assert capsys.readouterr().err == ""


def test_the_first_interrupt_stops_and_the_second_interrupts() -> None:
    asked: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with stopping_on_signals(lambda: asked.append("stop")):
        signal.raise_signal(signal.SIGINT)
        assert asked == ["stop"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert asked == ["stop"]
    assert signal.getsignal(signal.SIGINT) is before


# ---- the table of taps ----

LONG = "netsh add rule " + "x" * 90
STATES = [
    TapState(
        "raw",
        "IPv4 and IPv6 packets of each interface and the loopback; IPv6 headers are rebuilt, times are coarse",
        (
            Condition("windows", State.MET, "Windows 11 10.0.26100"),
            Condition("rights", State.MISSING, "raw sockets are for administrators", "elevate --now"),
            Condition("firewall", State.MISSING, "a rule is added for the capture", LONG, needed=False),
        ),
    ),
    TapState("pktmon", "Ethernet", (Condition("driver", State.UNKNOWN, "\x1b[31mno"),)),
    TapState("wfp", "transport", ()),
]  # fmt: skip


def test_the_table_says_what_can_be_used_and_how_to_mend_the_rest() -> None:
    assert tap_lines(STATES, 80, machine="Windows 11") == [
        "Windows 11: wfp can be used, pktmon may be.",
        "  etwcap capture --tap wfp -w out.pcapng",
        "",
        "raw: usable by an administrator",
        "  IPv4 and IPv6 packets of each interface and the loopback; IPv6 headers are",
        "  rebuilt, times are coarse",
        "  missing  rights    raw sockets are for administrators",
        "                     > elevate --now",
        "  note     firewall  a rule is added for the capture",
        "",
        "pktmon: maybe usable",
        "  Ethernet",
        "  not known  driver  \\x1b[31mno",
        "",
        "wfp: usable",
        "  transport",
    ]


def test_everything_also_says_what_is_in_order_and_what_a_tap_does_without() -> None:
    assert tap_lines(STATES[:1], 80, everything=True)[-5:] == [
        "  ok       windows   Windows 11 10.0.26100",
        "  missing  rights    raw sockets are for administrators",
        "                     > elevate --now",
        "  note     firewall  a rule is added for the capture",
        "                     > " + LONG,
    ]


NO_RIGHTS = Condition("rights", State.MISSING, "for administrators", "elevate --now")


def test_what_all_taps_lack_is_told_once() -> None:
    states = [TapState("pktmon", "frames", (NO_RIGHTS,)), TapState("raw", "packets", (NO_RIGHTS,))]
    assert tap_lines(states, 100) == [
        "this machine: an administrator can use pktmon and raw. Windows asks for consent when a capture",
        "  begins:",
        "  etwcap capture --tap pktmon -w out.pcapng",
        "  etwcap capture --tap pktmon,raw -w out.pcapng  the loopback too",
        "Or from a prompt that has the rights, which this opens:",
        "  elevate --now",
        "",
        "pktmon: usable by an administrator",
        "  frames",
        "",
        "raw: usable by an administrator",
        "  packets",
    ]


def test_where_no_tap_can_be_used_it_says_what_still_works() -> None:
    wine = Condition("windows", State.MISSING, "Wine has none of it", "capture on Windows")
    states = [TapState("pktmon", "frames", (wine,)), TapState("raw", "packets", (wine, NO_RIGHTS))]
    assert tap_lines(states, 100)[:4] == [
        "this machine: no tap can be used. What others recorded can be read:",
        "  etwcap convert trace.etl",
        "windows: Wine has none of it",
        "  > capture on Windows",
    ]


def test_the_table_is_json_too() -> None:
    facts = json.loads(json.dumps([state.as_dict() for state in STATES]))
    assert [each["usable"] for each in facts] == [False, None, True]
    assert facts[0]["conditions"][1] == {
        "name": "rights", "state": "missing", "why": "raw sockets are for administrators", "mend": "elevate --now",
        "needed": True,
    }  # fmt: skip


def test_cleanup_tells_each_thing_on_a_line() -> None:
    process = ProcessIdentity(7, 9)
    report = CleanupReport(
        [
            Item("firewall rule", "etwcap-7-9", process, "etwcap", ENDED),
            Item("trace session", "etwcap-7-9-x", process, "etwcap", FAILED, "it is still there"),
        ],
        [("foreign.txt", "no file of the journal")],
    )
    assert report_lines(report) == [
        "ended: firewall rule etwcap-7-9 (process 7)",
        "left: trace session etwcap-7-9-x (process 7): it is still there",
        "left: foreign.txt: no file of the journal",
    ]
    assert report_lines(CleanupReport()) == ["nothing is left of earlier captures"]
