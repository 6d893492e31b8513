"""IPv6 headers: one capture recorded in several manners, rebuilt, and compared packet by packet with what it was."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.accuracy.files import Frame, frames
from benchmarks.accuracy.published import Published
from benchmarks.accuracy.truth import Truth, truth_of

UNKNOWN = bytes(16)
RECORD_LINK, RECORD_BYTES, MAGIC = 156, 64, b"ERS1"
TABLE_ROW = 24
LONGEST = 65535
"""bytes of a receive"""
MOST_FAILURES = 200
"""told of one capture"""

MANNERS = {
    "all": ("--no-pktinfo", "--tables", "all"),
    "half": ("--no-pktinfo", "--tables", "half"),
    "none": ("--no-pktinfo", "--tables", "none"),
    "pktinfo": ("--tables", "all"),
}
"""How a capture is recorded: which addresses stand in the tables, and whether the sockets tell the destination."""


@dataclass(slots=True)
class Tally:
    """Counts of packets."""

    packets: int = 0
    protocol_right: int = 0
    destination_right: int = 0
    destination_unknown: int = 0
    destination_wrong: int = 0
    baseline_protocol: int = 0
    baseline_destination: int = 0
    baseline_wrong: int = 0

    def add(self, truth: Truth, protocol: int, destination: bytes, baseline: tuple[int, bytes]) -> None:
        """Count one packet."""
        self.packets += 1
        self.protocol_right += protocol == truth.protocol
        if destination == truth.destination:
            self.destination_right += 1
        elif destination == UNKNOWN:
            self.destination_unknown += 1
        else:
            self.destination_wrong += 1
        self.baseline_protocol += baseline[0] == truth.protocol
        self.baseline_destination += baseline[1] == truth.destination
        self.baseline_wrong += baseline[1] not in (truth.destination, UNKNOWN)

    def merge(self, other: Tally) -> None:
        """Add another one's counts."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Failure:
    """One packet whose header came back otherwise than it was."""

    capture: str
    number: int
    """of the capture's IPv6 packets, from 1"""
    manner: str
    protocol: str
    given: int
    destination: str
    """right, unknown or wrong"""
    checksum: str
    length: int
    comment: str


@dataclass(slots=True)
class HeaderScore:
    """One capture in one manner."""

    origin: str
    capture: str
    manner: str
    total: Tally = field(default_factory=Tally)
    protocols: dict[str, Tally] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """what kept packets from being compared"""


def etwcap(*words: str | Path) -> str:
    """Run the command line in this process; raises with what it said unless it ended well (0, or 4: damaged)."""
    from etwcap.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    if code not in (0, 4):
        raise RuntimeError(f"etwcap {' '.join(map(str, words))}: exit code {code}: {err.getvalue().strip()}")
    return out.getvalue()


def score(capture: Path, origin: str, manner: str, folder: Path) -> HeaderScore | None:
    """Record, rebuild, compare; None: the capture has no IPv6 packet. ``folder`` takes the files on the way."""
    truths = [truth for truth in map(truth_of, frames(capture)) if truth is not None]
    if not truths:
        return None
    result = HeaderScore(origin, capture.stem, manner)
    recording, rebuilt = folder / "recording.pcapng", folder / "rebuilt.pcapng"
    try:
        etwcap("synth", capture, "-w", recording, "--as", "raw", "-q", *MANNERS[manner])
        etwcap("convert", recording, "-w", rebuilt, "-q", "--repair", "ipv6", "--evidence", "comments")
    except RuntimeError as error:
        result.faults.append(str(error))
        return result
    compare(result, truths, list(frames(recording)), list(frames(rebuilt)))
    return result


def compare(result: HeaderScore, truths: list[Truth], recording: list[Frame], rebuilt: list[Frame]) -> None:
    """Count packet by packet; both files hold the capture's IP packets in its order."""
    six = [frame for frame in rebuilt if frame.data[:1] and frame.data[0] >> 4 == 6]
    baseline = published(recording)
    pairs = matched(truths, six)
    absent = []
    for number, (truth, frame) in enumerate(pairs, 1):
        if frame is None:
            absent.append(number)
            continue
        protocol, destination = frame.data[6], frame.data[24:40]
        known = truth.destination if result.manner == "pktinfo" else UNKNOWN
        was = baseline.infer(truth.source, truth.payload, known)
        for tally in (result.total, result.protocols.setdefault(truth.name, Tally())):
            tally.add(truth, protocol, destination, was)
        right = destination == truth.destination
        if (protocol != truth.protocol or not right) and len(result.failures) < MOST_FAILURES:
            how = "right" if right else "unknown" if destination == UNKNOWN else "wrong"
            told = (result.capture, number, result.manner, truth.name, protocol, how, truth.checksum)
            result.failures.append(Failure(*told, len(truth.payload), frame.comment))
    if absent:
        result.faults.append(f"{len(absent)} packets are not in what was rebuilt, the first is number {absent[0]}")


def matched(truths: list[Truth], six: list[Frame]) -> Iterator[tuple[Truth, Frame | None]]:
    """Each packet with its rebuilt one: of those with the same source and payload, in the order of their times."""
    by_content: dict[tuple[bytes, bytes], deque[Frame]] = defaultdict(deque)
    for frame in six:
        by_content[frame.data[8:24], frame.data[40:]].append(frame)
    for truth in sorted(truths, key=lambda each: each.time):
        same = by_content[truth.source, truth.payload[:LONGEST]]
        yield truth, same.popleft() if same else None


def published(recording: list[Frame]) -> Published:
    """The published method with every address of the recording as candidate: sources, and all tables."""
    found: dict[bytes, None] = {}
    for frame in recording:
        data = frame.data
        if frame.link != RECORD_LINK or data[:4] != MAGIC:
            continue
        if data[4] == 2:
            for at in range(RECORD_BYTES, len(data) - TABLE_ROW + 1, TABLE_ROW):
                if data[at] == 6:
                    found.setdefault(data[at + 8 : at + 24])
        elif data[5] == 6:
            found.setdefault(data[32:48])
    return Published(found)
