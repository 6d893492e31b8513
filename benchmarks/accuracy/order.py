"""Order: the flags of tshark's TCP analysis, of a capture, of the same disturbed, and of the same repaired."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from benchmarks.accuracy.files import frames
from benchmarks.accuracy.headers import etwcap

FLAGS = (
    "retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order", "lost_segment",
    "ack_lost_segment", "duplicate_ack", "keep_alive", "keep_alive_ack", "window_update", "window_full", "zero_window",
    "zero_window_probe", "zero_window_probe_ack", "reused_ports",
)  # fmt: skip
KEY = (
    "ip.src",
    "ipv6.src",
    "ip.dst",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.len",
)
SEEDS = (1, 2)
SECONDS = 300
MOST_DIFFERENCES = 50
"""told of one capture"""

Flags: TypeAlias = Counter[tuple[tuple[str, ...], str]]
"""How often each (addresses, ports, sequence and acknowledgement number, length) has each flag."""


@dataclass(slots=True)
class OrderScore:
    """One capture, disturbed with one seed."""

    origin: str
    capture: str
    seed: int
    original: int = 0
    """flags of the capture"""
    added: int = 0
    """flags that disorder added"""
    left: int = 0
    """flags of the repaired one that the capture does not have"""
    lost: int = 0
    """flags of the capture that the repaired one does not have"""
    orderly_changes: int = 0
    """packets that causal order changed in the capture itself, or in its orderly recording"""
    by_flag: dict[str, list[int]] = field(default_factory=dict)
    """original, added, left, lost"""
    differences: list[str] = field(default_factory=list)
    """flags left and lost, each with its segment"""
    faults: list[str] = field(default_factory=list)


def tcp_flags(capture: Path) -> Flags:
    """What tshark says of a capture."""
    program = shutil.which("tshark")
    if program is None:
        raise RuntimeError("tshark is not installed")
    names = [*KEY, *(f"tcp.analysis.{flag}" for flag in FLAGS)]
    words = [word for name in names for word in ("-e", name)]
    command = [program, "-n", "-r", str(capture), "-o", "tcp.desegment_tcp_streams:FALSE", "-o", "ip.defragment:FALSE"]
    command += ["-Y", "tcp", "-T", "fields", "-E", "occurrence=f", *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    found: Flags = Counter()
    for line in ran.stdout.splitlines():
        values = line.split("\t")
        key = tuple(values[: len(KEY)])
        found.update((key, flag) for flag, value in zip(FLAGS, values[len(KEY) :], strict=True) if value)
    return found


def count(result: OrderScore, original: Flags, disturbed: Flags, repaired: Flags) -> None:
    """What was added, what of it is left, what was lost."""
    for flag in FLAGS:
        of = [{key: n for (key, name), n in each.items() if name == flag} for each in (original, disturbed, repaired)]
        added, left, lost = _more(of[1], of[0]), _more(of[2], of[0]), _more(of[0], of[2])
        numbers = [sum(of[0].values()), added, left, lost]
        if any(numbers):
            result.by_flag[flag] = numbers
        result.original += numbers[0]
        result.added += added
        result.left += left
        result.lost += lost
        for what, more, less in (("left", of[2], of[0]), ("lost", of[0], of[2])):
            found = [f"{flag} {what}: {named(key)}" for key, n in more.items() if n > less.get(key, 0)]
            result.differences += found[: MOST_DIFFERENCES - len(result.differences)]


def named(key: tuple[str, ...]) -> str:
    """A segment in words."""
    source, destination = key[0] or key[1], key[2] or key[3]
    return f"{source}.{key[4]} > {destination}.{key[5]} seq {key[6]} ack {key[7]} length {key[8]}"


def _more(these: dict[tuple[str, ...], int], those: dict[tuple[str, ...], int]) -> int:
    return sum(max(0, n - those.get(key, 0)) for key, n in these.items())


def score(capture: Path, origin: str, seed: int, folder: Path) -> OrderScore:
    """Disturb, repair, compare; PKTINFO tells the headers, which are not judged here."""
    result = OrderScore(origin, capture.stem, seed)
    recording, orderly, disturbed, repaired = (
        folder / name for name in ("recording.pcapng", "orderly.pcapng", "disturbed.pcapng", "repaired.pcapng")
    )
    try:
        told = json.loads(etwcap("synth", capture, "-w", recording, "--as", "raw", "--json"))
        own = told["local_guessed"]
        if own is not None:
            etwcap("convert", capture, "-w", orderly, "-q", "--repair", "none")
            etwcap("convert", capture, "-w", repaired, "-q", "--order", "causal", "--local", own)
            result.orderly_changes = changes(orderly, repaired)
        etwcap("convert", recording, "-w", orderly, "-q", "--repair", "ipv6")
        original = tcp_flags(orderly)
        etwcap("convert", recording, "-w", repaired, "-q")
        result.orderly_changes += changes(orderly, repaired)
        etwcap("synth", capture, "-w", recording, "--as", "raw", "-q", "--disorder", "--seed", str(seed))
        etwcap("convert", recording, "-w", disturbed, "-q", "--repair", "ipv6")
        etwcap("convert", recording, "-w", repaired, "-q")
        count(result, original, tcp_flags(disturbed), tcp_flags(repaired))
    except RuntimeError as error:
        result.faults.append(str(error))
    return result


def changes(one: Path, other: Path) -> int:
    """How many packets differ in bytes, length, time or place."""
    return differing(
        ((frame.data, frame.original, frame.time) for frame in frames(one)),
        ((frame.data, frame.original, frame.time) for frame in frames(other)),
    )


def differing(these: Iterable[object], those: Iterable[object]) -> int:
    """How many places of two sequences hold different things."""
    one, other = list(these), list(those)
    return sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))
