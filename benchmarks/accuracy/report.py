"""What was measured, as JSON and as a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.accuracy.headers import HeaderScore, Tally
from benchmarks.accuracy.order import OrderScore

GOALS = {
    "protocol right, all addresses known, no PKTINFO": ("all", "protocol_right", 0.99),
    "destination right, all addresses known, no PKTINFO": ("all", "destination_right", 0.97),
    "destination wrong, all addresses known, no PKTINFO": ("all", "destination_wrong", 0.001),
    "protocol right, with PKTINFO": ("pktinfo", "protocol_right", 0.993),
}
MADE = "made-"
"""What the names of origins begin with whose packets no network stack sent."""
AT_MOST = ("destination_wrong",)
ADDED_FLAGS_GONE = 0.99
MANNER_TITLES = {
    "all": "all addresses in the tables, no PKTINFO",
    "half": "half of the addresses in the tables, no PKTINFO",
    "none": "no tables, no PKTINFO",
    "pktinfo": "with PKTINFO",
}


@dataclass
class Results:
    """All that was measured in one run."""

    command: str
    date: str
    headers: list[HeaderScore] = field(default_factory=list)
    order: list[OrderScore] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What kept packets from being compared."""
        every: list[HeaderScore | OrderScore] = [*self.headers, *self.order]
        return [f"{one.origin}/{one.capture}: {fault}" for one in every for fault in one.faults]


def total(scores: Iterable[HeaderScore]) -> Tally:
    """The counts of several captures together."""
    summed = Tally()
    for each in scores:
        summed.merge(each.total)
    return summed


def goals(results: Results) -> list[tuple[str, float, float, bool]]:
    """Each goal that this run measured: what, measured, wanted, reached."""
    told = []
    for title, (manner, name, wanted) in GOALS.items():
        counts = total(each for each in results.headers if each.manner == manner)
        if counts.packets:
            share = getattr(counts, name) / counts.packets
            told.append((title, share, wanted, share <= wanted if name in AT_MOST else share >= wanted))
    added, left = (sum(getattr(each, name) for each in results.order) for name in ("added", "left"))
    if results.order:
        share = 1 - left / added if added else 1.0
        told.append(
            ("order: of the flags that disorder added, gone", share, ADDED_FLAGS_GONE, share >= ADDED_FLAGS_GONE)
        )
        for title, name in (
            ("flags of the capture lost", "lost"),
            ("packets of orderly captures changed", "orderly_changes"),
        ):
            number = sum(getattr(each, name) for each in results.order)
            told.append((f"order: {title} (number)", number, 0, number == 0))
    return told


def as_dict(results: Results) -> dict[str, object]:
    """For JSON: every capture with its counts; no packet."""
    return {
        "command": results.command,
        "date": results.date,
        "goals": [dict(zip(("goal", "measured", "wanted", "reached"), each, strict=True)) for each in goals(results)],
        "headers": [asdict(each) | {"failures": len(each.failures)} for each in results.headers],
        "order": [asdict(each) | {"differences": len(each.differences)} for each in results.order],
    }


def percent(part: int, whole: int) -> str:
    """Rounded so that a miss never looks like none."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if part not in (0, whole):
        share = min(max(share, 0.01), 99.99)
    return f"{share:.2f}"


def table(rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    head, *body = ([str(cell) for cell in row] for row in rows)
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))


HEAD = (
    "protocol right",
    "destination right",
    "unknown",
    "wrong",
    "published: protocol",
    "published: destination",
    "published: wrong",
)
COUNTED = (
    "protocol_right",
    "destination_right",
    "destination_unknown",
    "destination_wrong",
    "baseline_protocol",
    "baseline_destination",
    "baseline_wrong",
)


def shares(counts: Tally) -> list[str]:
    """The columns of ``HEAD``, in percent."""
    return [percent(getattr(counts, name), counts.packets) for name in COUNTED]


def page(results: Results) -> str:
    """The measurements as Markdown, without a title."""
    parts = []
    measured = goals(results)
    if measured:
        rows = [("goal", "measured", "wanted", "")]
        rows += [
            (title, _number(title, share), _number(title, wanted), "" if ok else "missed")
            for title, share, wanted, ok in measured
        ]
        parts.append(table(rows))
    for manner, title in MANNER_TITLES.items():
        scores = [each for each in results.headers if each.manner == manner]
        if scores:
            parts.append(f"### IPv6 headers: {title}\n\n" + header_tables(scores))
    if results.order:
        parts.append("### Order\n\n" + order_tables(results.order))
    return "\n\n".join(parts) + "\n"


def _number(title: str, value: float) -> str:
    return f"{value:,.0f}" if title.endswith("(number)") else f"{100 * value:.2f} %"


def header_tables(scores: Sequence[HeaderScore]) -> str:
    """By protocol and by origin."""
    protocols: dict[str, Tally] = defaultdict(Tally)
    origins: dict[str, Tally] = defaultdict(Tally)
    captures: dict[str, int] = defaultdict(int)
    for score in scores:
        captures[score.origin] += 1
        origins[score.origin].merge(score.total)
        for name, counts in score.protocols.items():
            protocols[name].merge(counts)
    everything = total(scores)
    rows: list[Sequence[object]] = [("protocol", "packets", *HEAD)]
    rows += [
        (name, f"{counts.packets:,}", *shares(counts))
        for name, counts in sorted(protocols.items(), key=lambda item: -item[1].packets)
    ]
    rows.append(("all", f"{everything.packets:,}", *shares(everything)))
    by_origin: list[Sequence[object]] = [("origin", "captures", "packets", *HEAD)]
    by_origin += [
        (name, captures[name], f"{counts.packets:,}", *shares(counts)) for name, counts in sorted(origins.items())
    ]
    for title, chosen in (("all that was captured", False), ("all that was made", True)):
        some = [score for score in scores if score.origin.startswith(MADE) == chosen]
        if some:
            counts = total(some)
            by_origin.append((title, len(some), f"{counts.packets:,}", *shares(counts)))
    return table(rows) + "\n\n" + table(by_origin)


def order_tables(scores: Sequence[OrderScore]) -> str:
    """By flag and by origin."""
    flags: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    origins: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for score in scores:
        for flag, numbers in score.by_flag.items():
            flags[flag] = [a + b for a, b in zip(flags[flag], numbers, strict=True)]
        more = (score.original, score.added, score.left, score.lost, score.orderly_changes)
        origins[score.origin] = [a + b for a, b in zip(origins[score.origin], more, strict=True)]
    head = ("in the capture", "added by disorder", "of these or others left", "lost")
    rows: list[Sequence[object]] = [("flag", *head), *((name, *numbers) for name, numbers in sorted(flags.items()))]
    more_rows: list[Sequence[object]] = [("origin", *head, "packets of the orderly capture changed")]
    more_rows += [(name, *numbers) for name, numbers in sorted(origins.items())]
    return table(rows) + "\n\n" + table(more_rows)


def failures(results: Results, *, examples: int = 6) -> str:
    """The packets that came back otherwise than they were, by cause."""
    groups = defaultdict(list)
    for score in results.headers:
        for one in score.failures:
            protocol = "protocol right" if one.given == _code(one.protocol, one.given) else f"given as {one.given}"
            groups[
                one.manner, one.protocol, protocol, f"destination {one.destination}", f"checksum {one.checksum}"
            ].append((score.origin, one))
    lines = []
    for key, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines.append(f"- **{len(members)}** × {', '.join(key)}")
        for origin, one in members[:examples]:
            lines.append(f"  - {origin}/{one.capture} packet {one.number}, {one.length} bytes: {one.comment}")
    for each in results.order:
        lines += [f"- {each.origin}/{each.capture}, seed {each.seed}: {one}" for one in each.differences]
    return "\n".join(lines) + "\n"


def _code(name: str, given: int) -> int:
    from benchmarks.accuracy.truth import NAMES

    return given if NAMES.get(given, f"number {given}") == name else -1
