"""A whole capture with taps and a machine that stand in for Windows: what is changed is put back, whatever happens."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

import etwcap
from etwcap.cli.collect import command as collect_command
from etwcap.errors import EtwcapError, NotHereError, RightsError, UsageError
from etwcap.packets import Chunk, Context, Description, EventTable, PacketTable
from etwcap.packets.chunk import END_OF_TIME
from etwcap.pipeline.capture import CaptureOptions
from etwcap.pipeline.protocols import Stage
from etwcap.taps.capturing import LiveOptions, Machine, capture_live, choose_taps
from etwcap.taps.collecting import Collection
from etwcap.taps.collector import collect
from etwcap.taps.journal import FIREWALL_RULE, PART_FILE, Journal
from etwcap.taps.journal_store import FolderStore
from etwcap.taps.protocol import Changes, Condition, State, TapLosses, TapOptions
from etwcap.windows.firewall import Firewall, rule_name
from etwcap.windows.processes import ProcessIdentity
from frames import HOST, ip
from test_capture import FakeTap as FakeSource
from test_taps_collector import Blocking, Records, Socket

PEER = IPv4Address("198.51.100.7")
ME = ProcessIdentity(4711, 133_500_000_000_000_000)


class Source(FakeSource):
    def losses(self) -> TapLosses:
        return TapLosses(ring=2, failed=1)


@dataclass
class StandIn:
    """A tap that stands in for Windows' own."""

    name: str
    conditions: list[Condition] = field(default_factory=list)
    fails: EtwcapError | None = None
    sees: str = "what the test gives"
    opened: list[tuple[list[str], TapOptions]] = field(default_factory=list)
    staged: list[tuple[str, ...]] = field(default_factory=list)
    changes: Changes | None = None
    interrupting: str = ""
    source: Source | None = None
    kind: type[Source] = Source
    when_opened: Callable[[], None] = lambda: None

    def available(self) -> list[Condition]:
        return self.conditions

    def stages(self, context: Context, description: Description, options: TapOptions) -> list[Stage]:
        self.staged.append(options.interfaces)
        return []

    def interrupts(self, interfaces: Sequence[str], options: TapOptions) -> str:
        return self.interrupting

    def open(
        self, context: Context, interfaces: Sequence[str], options: TapOptions, changes: Changes | None = None
    ) -> Source:
        self.opened.append((list(interfaces), options))
        self.changes = changes
        self.when_opened()
        if self.fails is not None:
            raise self.fails
        self.source = self.kind(context, limit=5)
        return self.source


class Rules:
    """A firewall that is a dict."""

    def __init__(self, *, refuses: int = 0) -> None:
        self.held: dict[str, str] = {}
        self.refuses = refuses

    def run(self, words: Sequence[str]) -> int:
        facts = dict(word.partition("=")[::2] for word in words if "=" in word)
        if self.refuses:
            return self.refuses
        if "add" in words:
            self.held[facts["name"]] = facts["program"]
        else:
            self.held.pop(facts["name"], None)
        return 0

    def read(self) -> list[str]:
        return [
            f"v2.30|Action=Allow|Active=TRUE|Dir=In|App={program}|Name={name}|" for name, program in self.held.items()
        ]


class Bench:
    """A machine with journals in folders."""

    def __init__(self, folder: Path, *, program: str = r"C:\Tools\etwcap.exe", refuses: int = 0) -> None:
        self.rules = Rules(refuses=refuses)
        self.folder = folder
        self.told: list[str] = []
        self.rights = True
        self.machine = Machine(
            journal=self.journal,
            user_journal=lambda: Journal(FolderStore(folder / "user"), ME, kinds=frozenset({PART_FILE})),
            firewall=lambda: Firewall(self.rules.run, self.rules.read),
            identity=lambda: ME,
            program=lambda: program,
            drop_privileges=lambda: ["SeDebugPrivilege"],
        )

    def journal(self) -> Journal:
        if not self.rights:
            raise RightsError("the journal is for administrators")
        return Journal(FolderStore(self.folder / "admin"), ME)

    def entries(self, which: str) -> list[tuple[str, str]]:
        """(kind, name) of what stands in a journal."""
        found = [json.loads(path.read_bytes()) for path in (self.folder / which).glob("*.journal")]
        return [(entry["kind"], entry["name"]) for each in found for entry in each["entries"]]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def run(bench: Bench, output: str | Path | Callable[[Chunk, Context], None], tap: StandIn, **options: object) -> object:
    wanted = LiveOptions(**{"taps": (tap.name,), **options})  # type: ignore[arg-type]
    live = capture_live(output, wanted, tell=bench.told.append, machine=bench.machine, taps={tap.name: tap})
    with live:
        return live.run()


def test_a_capture_is_whole_and_leaves_nothing_on_the_machine(bench: Bench, tmp_path: Path) -> None:
    tap = StandIn("raw")
    tap.when_opened = lambda: seen.append((dict(bench.rules.held), bench.entries("admin")))
    seen: list[tuple[dict[str, str], list[tuple[str, str]]]] = []
    outcome = run(bench, tmp_path / "x.pcapng", tap, interfaces=("Ethernet",))
    assert seen == [({rule_name(ME): r"C:\Tools\etwcap.exe"}, [(FIREWALL_RULE, rule_name(ME))])]
    assert bench.rules.held == {}
    assert bench.entries("admin") == bench.entries("user") == []
    with etwcap.open(tmp_path / "x.pcapng") as trace:
        assert len(list(trace)) == 5
    assert tap.opened[0][0] == ["Ethernet"]
    notes = outcome.receipt.notes  # type: ignore[attr-defined]
    assert (notes["lost-ring"].count, notes["lost-failed"].count) == (2, 1)
    assert bench.told == [
        r"until the end of this capture a firewall rule lets packets in for C:\Tools\etwcap.exe",
        "1 privilege that is no longer needed was given up",
        "capturing with raw: Ethernet",
    ]


def test_a_rule_for_an_interpreter_is_explained_before_it_is_made(tmp_path: Path) -> None:
    bench = Bench(tmp_path, program=r"C:\Python311\python.exe")
    run(bench, tmp_path / "x.pcapng", StandIn("raw"))
    assert "for every program it runs" in bench.told[1]


def test_packets_that_a_function_was_given_are_counted_as_written(bench: Bench) -> None:
    given: list[int] = []
    outcome = run(bench, lambda chunk, _context: given.append(len(chunk.packets)), StandIn("raw"))
    receipt = outcome.receipt  # type: ignore[attr-defined]
    assert (receipt.packets_written, sum(given)) == (5, 5)
    assert receipt.bytes_written > 0


def test_without_the_rule_the_firewall_and_the_journal_are_not_touched(bench: Bench, tmp_path: Path) -> None:
    bench.rights = False
    run(bench, tmp_path / "x.pcapng", StandIn("raw"), firewall_rule=False)
    assert not (tmp_path / "admin").exists()


@pytest.mark.parametrize("error", [RightsError("no rights"), NotHereError("no driver")])
def test_a_tap_that_does_not_open_leaves_nothing(bench: Bench, tmp_path: Path, error: EtwcapError) -> None:
    with pytest.raises(type(error)):
        run(bench, tmp_path / "x.pcapng", StandIn("raw", fails=error))
    assert bench.rules.held == {}
    assert bench.entries("admin") == []
    assert not (tmp_path / "x.pcapng").exists()


def test_an_error_in_the_middle_leaves_nothing_but_the_file(bench: Bench, tmp_path: Path) -> None:
    def show(chunk: Chunk, context: Context) -> None:
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="terminal"):
        run(bench, show, StandIn("raw"))
    assert bench.rules.held == {}
    assert bench.entries("admin") == []


def test_a_firewall_that_takes_no_rule_is_told_and_the_capture_goes_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, refuses=1060)
    run(bench, tmp_path / "x.pcapng", StandIn("raw"))
    assert any("going on without the firewall rule" in line for line in bench.told)
    assert bench.entries("admin") == []


def test_rights_that_are_missing_for_the_rule_end_it(bench: Bench, tmp_path: Path) -> None:
    bench.rights = False
    with pytest.raises(RightsError):
        run(bench, tmp_path / "x.pcapng", StandIn("raw"))


def test_the_unfinished_file_stands_in_the_users_journal_while_it_grows(bench: Bench, tmp_path: Path) -> None:
    tap = StandIn("raw")
    live = capture_live(tmp_path / "x.pcapng", LiveOptions(("raw",)), machine=bench.machine, taps={"raw": tap})
    seen = []
    with live:
        live.run(lambda _progress: seen.append(bench.entries("user")))
    assert seen[0] == [(PART_FILE, str(tmp_path / "x.part.pcapng"))]
    assert bench.entries("user") == []


def test_a_stop_before_the_start_is_a_stop(bench: Bench, tmp_path: Path) -> None:
    tap = StandIn("raw")
    live = capture_live(tmp_path / "x.pcapng", LiveOptions(("raw",)), machine=bench.machine, taps={"raw": tap})
    live.stop()
    with live:
        assert live.run().exit_code == 3


def test_without_rights_a_collector_captures_and_this_process_writes(bench: Bench, tmp_path: Path) -> None:
    """The collector runs in a thread here, at the other end of a pair of sockets."""
    wanted: list[Collection] = []
    left, right = socket.socketpair()
    there = Records(Context())

    def start(asked: Collection) -> Socket:
        wanted.append(asked)
        Thread(target=collect, args=(there, there.context, Blocking(left, timed=False))).start()
        return Socket(right, timed=True)

    bench.machine.elevated = lambda: False
    bench.machine.start_collector = start
    bench.rights = False
    tap = StandIn("raw")
    outcome = run(bench, tmp_path / "x.pcapng", tap, interfaces=("Ethernet",))
    left.close()
    assert (tap.opened, tap.staged) == ([], [("Ethernet",)])
    assert outcome.exit_code == 0  # type: ignore[attr-defined]
    assert wanted == [Collection(("raw",), ("Ethernet",))]
    assert bench.rules.held == {}
    with etwcap.open(tmp_path / "x.pcapng") as trace:
        assert len(list(trace)) == 5


def test_what_a_collector_is_asked_for_are_words_that_it_understands() -> None:
    asked = Collection(
        ("raw", "pktmon"),
        ("Ethernet 2", "7"),
        firewall_rule=False,
        recording=True,
        filter="tcp port 443",
        components="all",
        pktmon_api=True,
        ipsec_clear=True,
        consented=True,
    )
    context = collect_command.make_context("collect", ["--pipe", "p", "--front", "7", *asked.words()])
    assert context.params == {
        "pipe": "p", "front": 7, "taps": "raw,pktmon", "interfaces": ("Ethernet 2", "7"), "no_firewall_rule": True,
        "raw_recording": True, "expression": "tcp port 443", "components": "all", "pktmon_api": True,
        "ipsec_clear": True, "consented": True,
    }  # fmt: skip
    options = asked.tap_options()
    assert (options.records, options.filter, options.components) == (True, "tcp port 443", "all")
    assert (options.pktmon_api, options.ipsec_clear, options.raw_recording) == (True, True, True)


class Hasty(Source):
    """Gives the machine's echo reply before the request that it answers, as raw sockets do."""

    def chunks(self) -> Iterator[Chunk]:
        request = ip(PEER, HOST, 1, bytes.fromhex("0800000000070001") + b"ping")
        reply = ip(HOST, PEER, 1, bytes.fromhex("0000000000070001") + b"ping")
        size, start = len(request), 1_705_526_400_000_000_000
        self._context.interfaces[self._number].link_type = 101
        rows = PacketTable(2, time=np.array([start, start + 100_000]), offset=np.array([0, size]))
        rows["interface"] = np.full(2, self._number)
        rows["captured"] = rows["original"] = np.full(2, size)
        rows["direction"] = np.array([2, 1])
        yield Chunk(np.frombuffer(bytearray(reply + request), np.uint8), rows, EventTable(0), END_OF_TIME)


@pytest.mark.parametrize(("repair", "directions"), [("auto", ["in", "out"]), ("none", ["out", "in"])])
def test_answers_stand_behind_what_they_answer(
    bench: Bench, tmp_path: Path, repair: str, directions: list[str]
) -> None:
    tap = StandIn("raw", kind=Hasty)
    run(bench, tmp_path / "x.pcapng", tap, capture=CaptureOptions(repair=repair))
    with etwcap.open(tmp_path / "x.pcapng") as trace:
        assert [packet.direction for packet in trace] == directions


# ---- consent ----


@pytest.mark.parametrize("agrees", [True, False])
def test_nothing_interrupts_the_network_without_consent(bench: Bench, tmp_path: Path, agrees: bool) -> None:
    asked: list[str] = []

    def consent(warning: str) -> bool:
        asked.append(warning)
        return agrees

    tap = StandIn("ndiscap", interrupting="the adapters pause")
    live = capture_live(
        tmp_path / "x.pcapng", LiveOptions(("ndiscap",)), machine=bench.machine, taps={"ndiscap": tap}, consent=consent
    )
    if agrees:
        with live:
            assert live.run().exit_code == 0
        assert tap.changes is not None
        assert tap.changes.consented
    else:
        with pytest.raises(UsageError, match="the adapters pause"), live:
            pass
        assert tap.opened == []
    assert asked == ["the adapters pause"]


def test_without_anybody_to_ask_nothing_is_interrupted(bench: Bench, tmp_path: Path) -> None:
    tap = StandIn("ndiscap", interrupting="the adapters pause")
    with pytest.raises(UsageError, match="would be interrupted"):
        run(bench, tmp_path / "x.pcapng", tap)
    assert tap.opened == []


def test_what_interrupts_nothing_is_not_asked_about(bench: Bench, tmp_path: Path) -> None:
    tap = StandIn("ndiscap")
    run(bench, tmp_path / "x.pcapng", tap)
    assert tap.changes is not None
    assert not tap.changes.consented


# ---- which tap ----

MISSING = Condition("driver", State.MISSING, "there is no driver", "mend it")
NO_RIGHTS = Condition("rights", State.MISSING, "not elevated", "elevate")
UNKNOWN = Condition("driver", State.UNKNOWN, "it cannot be told")
EXTRA = Condition("firewall", State.MISSING, "no rule", needed=False)


@pytest.mark.parametrize(
    ("pktmon", "raw", "taken"),
    [([], [], "pktmon"), ([MISSING], [], "raw"), ([UNKNOWN], [], "pktmon"), ([EXTRA], [], "pktmon")],
)
def test_the_best_tap_that_can_be_used_is_taken(pktmon: list[Condition], raw: list[Condition], taken: str) -> None:
    taps = {"ndiscap": StandIn("ndiscap"), "raw": StandIn("raw", raw), "pktmon": StandIn("pktmon", pktmon)}
    assert choose_taps(taps, ()) == [taken]  # type: ignore[arg-type]


def test_a_tap_that_interrupts_the_network_is_never_taken_unasked() -> None:
    taps = {"ndiscap": StandIn("ndiscap"), "raw": StandIn("raw", [MISSING])}
    with pytest.raises(NotHereError, match="there is no driver"):
        choose_taps(taps, ())  # type: ignore[arg-type]
    assert choose_taps(taps, ("ndiscap",)) == ["ndiscap"]  # type: ignore[arg-type]


def test_missing_rights_are_no_reason_against_a_tap_since_consent_gives_them() -> None:
    assert choose_taps({"raw": StandIn("raw", [NO_RIGHTS])}, ()) == ["raw"]
    with pytest.raises(NotHereError, match="there is no driver"):
        choose_taps({"raw": StandIn("raw", [NO_RIGHTS, MISSING])}, ())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (LiveOptions(("telepathy",)), "no tap 'telepathy'"),
        (LiveOptions(("pktmon",), raw_recording=True), "only the tap raw"),
        (LiveOptions(capture=CaptureOptions(count=0)), "at least 1"),
        (LiveOptions(components="adapters"), "no components"),
        (LiveOptions(components="12,"), "no components"),
        (LiveOptions(("pktmon", "raw"), ("loopback",)), "pktmon does not see the loopback"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_touched(bench: Bench, options: LiveOptions, says: str) -> None:
    taps = {"raw": StandIn("raw"), "pktmon": StandIn("pktmon")}
    with pytest.raises(UsageError, match=says):
        capture_live("x.pcapng", options, machine=bench.machine, taps=taps)  # type: ignore[arg-type]
