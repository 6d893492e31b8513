"""The great test: capture -> synth -> convert gives back what went in, or loses exactly what is said.

What must come out is worked out here packet by packet in plain Python, by other code than what is tested.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from capture_files import read
from etwcap.errors import NothingToWriteError
from etwcap.pipeline.convert import ConvertOptions, convert
from etwcap.synth.options import SynthOptions
from etwcap.synth.run import SynthOutcome, synthesize

ETHERNET, RAW_IP, WIFI, RADIOTAP = 1, 101, 105, 127
RAW_LINKS = {0: 4, 12: 0, 14: 0, 101: 0, 108: 4, 113: 16, 228: 0, 229: 0, 276: 20}
"""Link types that become raw IP, and the bytes before the IP header."""
LINKS = {
    "ndiscap": {ETHERNET, RAW_IP, WIFI},
    "pktmon": {ETHERNET, RAW_IP, WIFI},
    "vmswitch": {ETHERNET},
    "ras": {ETHERNET},
    "wfp": {ETHERNET, RAW_IP},
}
WINDOW = 1_000_000_000
"""ns within which packets that stand out of order are put right"""


class Packet(NamedTuple):
    """What is compared."""

    time: int
    """ns since 1970 UTC, rounded down to 100"""
    link: int
    data: bytes
    original: int
    direction: int
    """0 where the capture does not tell"""


def packets_of(path: Path) -> list[Packet]:
    """The packets of a capture file, in its order."""
    reading = read(path)
    links = [each.link_type for each in reading.context.interfaces]
    return [
        Packet(
            each["time"] // 100 * 100,
            links[each["interface"]],
            each["data"],
            max(each["original"], each["captured"]),
            each["direction"],
        )
        for each in reading.packets
    ]


def as_seen(packet: Packet, tap: str) -> Packet | None:
    """The packet as that tap can tell of it; None: it cannot."""
    link, data, original = packet.link, packet.data, packet.original
    if link == RADIOTAP:
        size = int.from_bytes(data[2:4], "little") if len(data) >= 4 else 0
        if size > len(data):
            return None
        link, data, original = WIFI, data[size:], max(original - size, len(data) - size)
    elif link in RAW_LINKS:
        size = RAW_LINKS[link]
        if len(data) <= size or data[size] >> 4 not in (4, 6):
            return None
        link, data, original = RAW_IP, data[size:], max(original - size, len(data) - size)
    if link not in LINKS[tap]:
        return None
    if tap == "wfp":
        return as_message(packet, link, data)
    if tap == "pktmon":
        return None if original > 0xFFFF else packet._replace(link=link, data=data, original=original)
    return packet._replace(link=link, data=data, original=len(data))


def as_message(packet: Packet, link: int, data: bytes) -> Packet | None:
    """What WFP tells of an IP packet: addresses, protocol, and everything from the transport header on."""
    kind = 0
    if link == ETHERNET:
        at = 12
        kind = int.from_bytes(data[at : at + 2], "big")
        for _ in range(2):
            if kind in (0x8100, 0x88A8, 0x9100):
                at += 4
                kind = int.from_bytes(data[at : at + 2], "big")
        data = data[at + 2 :]
    if len(data) >= 20 and data[0] >> 4 == 4 and (link == RAW_IP or kind == 0x0800):
        head = (data[0] & 15) * 4
        if head < 20 or head > len(data) or int.from_bytes(data[6:8], "big") & 0x3FFF:
            return None
        total = int.from_bytes(data[2:4], "big") or len(data)
        body, protocol = data[head : max(total, head)], data[9]
        made = struct.pack(">BBHHHBBH", 0x45, 0, (20 + len(body)) % 65536, 0, 0, 64, protocol, 0) + data[12:20]
        words = sum(struct.unpack(">10H", made))
        words = (words & 0xFFFF) + (words >> 16)
        made = made[:10] + struct.pack(">H", 0xFFFF - ((words & 0xFFFF) + (words >> 16))) + made[12:]
        return packet._replace(link=RAW_IP, data=made + body, original=len(made + body))
    if len(data) >= 40 and data[0] >> 4 == 6 and (link == RAW_IP or kind == 0x86DD):
        total = int.from_bytes(data[4:6], "big")
        end = len(data) if total == 0 else min(40 + total, len(data))
        protocol, at = data[6], 40
        for _ in range(8):
            if protocol not in (0, 43, 60) or at + 8 > len(data):
                break
            protocol, at = data[at], at + (data[at + 1] + 1) * 8
        if protocol == 44 or at > len(data):
            return None
        body = data[at : max(end, at)]
        made = struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + data[8:40]
        return packet._replace(link=RAW_IP, data=made + body, original=len(made + body))
    return None


def expected(packets: Sequence[Packet], tap: str) -> list[Packet]:
    """What must come out, in time order."""
    seen = [each for each in (as_seen(packet, tap) for packet in packets) if each is not None]
    return sorted(seen, key=lambda each: each.time)


def in_window(packets: Sequence[Packet]) -> bool:
    """Whether no packet stands in the capture so much too late that its time cannot be kept."""
    newest = packets[0].time if packets else 0
    for packet in packets:
        if packet.time <= newest - WINDOW:
            return False
        newest = max(newest, packet.time)
    return True


class Trip(NamedTuple):
    """A round trip."""

    outcome: SynthOutcome | None
    """None: the tap could hold no packet"""
    back: list[Packet]
    notes: dict[str, int]
    """of synth, by kind"""
    said: dict[str, int]
    """of convert, by kind"""
    exit_code: int


def trip(capture: Path, folder: Path, options: SynthOptions) -> Trip:
    """Capture to trace to capture."""
    trace, back = folder / "trace.etl", folder / "back.pcapng"
    try:
        outcome = synthesize(capture, trace, options)
    except NothingToWriteError:
        return Trip(None, [], {}, {}, 3)
    try:
        converted = convert([trace], back, ConvertOptions(repair="none", radiotap=False))
    except NothingToWriteError:
        return Trip(outcome, [], {}, {}, 3)
    notes = {kind: note.count for kind, note in outcome.receipt.notes.items()}
    said = {kind: note.count for kind, note in converted.receipt.notes.items()}
    packets = packets_of(back) if converted.output else []
    return Trip(outcome, packets, notes, said, converted.exit_code)


def differences(wanted: Sequence[Packet], got: Sequence[Packet]) -> str:
    """What is wrong, in a line; empty: nothing."""
    if len(wanted) != len(got):
        return f"{len(got)} packets instead of {len(wanted)}"
    for number, (one, other) in enumerate(zip(wanted, got, strict=True)):
        for name, value, found in zip(Packet._fields, one, other, strict=True):
            if value != found and not (name == "direction" and value == 0 and found in (1, 2)):
                return f"packet {number}: {name} is {found!r} instead of {value!r}"
    return ""


def lossless(capture: Path, folder: Path, options: SynthOptions) -> str:
    """What a round trip without loss gets wrong, in a line; empty: nothing."""
    packets = packets_of(capture)
    wanted = expected(packets, options.tap)
    done = trip(capture, folder, options)
    if done.outcome is None or not wanted:
        return "" if not wanted and done.outcome is None else f"{len(wanted)} packets can be held, none was"
    if done.exit_code:
        return f"convert ends with {done.exit_code}"
    if done.outcome.packets != len(wanted):
        return f"synth tells of {done.outcome.packets} packets instead of {len(wanted)}"
    got = done.back
    if "loopback" in done.notes:
        # logged twice; the sending is what is kept
        wanted = [each._replace(direction=0) for each in wanted]
    elif (sent := sum(each.direction == 2 for each in got)) != done.outcome.sent:
        return f"{sent} packets were sent instead of {done.outcome.sent}"
    if done.notes.get("times"):
        if in_window(packets):
            return "times were changed"
        return "" if Counter(each.data for each in wanted) == Counter(each.data for each in got) else "other packets"
    if options.unclosed and options.tap == "pktmon":
        # without the rundown a frame that is tagged WiFi is told from Ethernet by its bytes
        wanted, got = _any_frame(wanted), _any_frame(got)
    return differences(wanted, got)


def _any_frame(packets: list[Packet]) -> list[Packet]:
    """802.11 and Ethernet as one."""
    return [each._replace(link=ETHERNET if each.link == WIFI else each.link) for each in packets]


FACTORS: dict[str, tuple[Any, ...]] = {
    "tap": ("ndiscap", "pktmon", "vmswitch", "wfp", "ras"),
    "processors": (1, 2, 5, 16),
    "buffer_size": (1 << 17, 1 << 18, 1 << 20),
    "container": ("own", "native", "relogged", "compressed", "unclosed"),
    "clock": ((1, 10_000_000), (1, 24_000_000), (2, 10_000_000), (3, 2_400_000_000), (3, 1_999_000_000)),
    "pointer_size": (8, 4),
    "os_build": (26100, 22621, 20348, 19042, 9200, 7601),
    "appearances": (1, 2, 3, 8),
    "fragments": (1, 2, 5),
    "seed": (0, 1),
}
"""What a loss-free trip may vary."""

_CONTAINERS: dict[str, dict[str, Any]] = {
    "own": {},
    "native": {"relogged": False},
    "relogged": {"relogged": True, "compress": False},
    "compressed": {"compress": True},
    "unclosed": {"unclosed": True},
}

Row = dict[str, Any]


def possible(row: Row) -> bool:
    """Whether the combination exists and loses nothing."""
    tap = row["tap"]
    if row["appearances"] > 1 and tap not in ("ndiscap", "pktmon"):
        return False
    if row["fragments"] > 1 and tap not in ("ndiscap", "vmswitch"):
        return False
    if tap == "pktmon" and row["os_build"] < 17763:
        return False
    # without the rundown nothing tells the components apart where packets have no ids
    alone = row["appearances"] == 1
    return not (row["container"] == "unclosed" and tap == "pktmon" and row["os_build"] > 20348 and not alone)


def options_of(row: Row) -> SynthOptions:
    """The options that a row of factors stands for."""
    plain = {name: value for name, value in row.items() if name not in ("container", "clock")}
    clock, frequency = row["clock"]
    return SynthOptions(**plain, **_CONTAINERS[row["container"]], clock=clock, frequency=frequency)


def pairwise(factors: dict[str, tuple[Any, ...]], possible: Callable[[Row], bool], seed: int = 0) -> list[Row]:
    """Rows that hold every pair of values that can go together: greedy, the same each time."""
    random_source = random.Random(seed)
    names = list(factors)

    def row_with(fixed: Row) -> Row | None:
        for _ in range(200):
            row = {name: fixed.get(name, random_source.choice(factors[name])) for name in names}
            if possible(row):
                return row
        return None

    open_pairs = {
        ((one, a), (other, b))
        for one, other in itertools.combinations(names, 2)
        for a in factors[one]
        for b in factors[other]
    }

    def covered(row: Row) -> set[Any]:
        return {((a, row[a]), (b, row[b])) for a, b in itertools.combinations(names, 2)}

    rows: list[Row] = []
    while open_pairs:
        pair = min(open_pairs, key=repr)
        tries = [each for each in (row_with(dict(pair)) for _ in range(40)) if each is not None]
        if not tries:
            open_pairs.discard(pair)
            continue
        best = max(tries, key=lambda row: len(covered(row) & open_pairs))
        open_pairs -= covered(best)
        rows.append(best)
    return rows


def loss_free() -> list[SynthOptions]:
    """A pairwise-covering set of the options that lose nothing."""
    return [options_of(row) for row in pairwise(FACTORS, possible)]


def longest(capture: Path) -> int:
    """Bytes of the longest packet of a capture."""
    return max((len(each.data) for each in packets_of(capture)), default=0)


def fitting(options: SynthOptions, longest: int) -> SynthOptions:
    """The same with buffers that hold packets of that length in one event."""
    needed = longest + 4096
    size = max(options.buffer_size, needed + -needed % 8)
    return replace(options, buffer_size=size)


def named(options: SynthOptions) -> str:
    """The options that are not the default, in a line."""
    plain = asdict(SynthOptions(tap=options.tap))
    told = {name: value for name, value in asdict(options).items() if value != plain[name]}
    return " ".join([options.tap, *(f"{name}={value}" for name, value in told.items())])
