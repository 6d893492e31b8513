"""The results as a table in Markdown."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable
from pathlib import Path

from benchmarks.cases import MIB, Result
from etwcap import __version__

_NOTES = Path(__file__).with_name("notes.md")

_HEAD = ("case", "input MB", "events", "wall s", "cpu s", "M events/s", "peak MiB", "cp", "editcap", "goals")


def table(results: Iterable[Result], *, judged: bool) -> str:
    """One line a case; rivals as wall/cpu ratios, ours to theirs. ``judged``: say whether goals are reached."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    lines += ["| " + " | ".join(_cells(result, judged)) + " |" for result in results]
    return "\n".join(lines)


def _cells(result: Result, judged: bool) -> list[str]:
    words = {True: "reached: ", False: "**NOT reached**: "} if judged else {True: "", False: ""}
    goals = [words[goal.reached] + goal.text for goal in result.goals]
    return [
        result.name,
        f"{result.input_size / 1e6:,.1f}" if result.input_size else "",
        f"{result.items:,}" if result.items else "",
        f"{result.ours.wall:.3f}",
        f"{result.ours.cpu:.3f}",
        f"{result.rate / 1e6:.2f}" if result.items else "",
        f"{result.ours.peak / MIB:.0f}",
        *(_ratio(result, rival) for rival in ("cp", "editcap")),
        "; ".join(goals + result.notes),
    ]


def _ratio(result: Result, rival: str) -> str:
    found = result.rivals.get(rival)
    return f"{found.wall_ratio:.2f} / {found.cpu_ratio:.2f}" if found else ""


def report(results: Iterable[Result], *, rounds: int, scale: float, folder: Path) -> str:
    """The whole page: how it was measured, and the table."""
    small = f" Sizes are {scale:g} of the full ones: too small to judge by; starting takes most of the time."
    size = "" if scale == 1 else small
    return f"""# Benchmarks

`python -m benchmarks`: whole processes on one core, medians of {rounds} alternating pairs, files in `{folder}`.{size}
The columns of rivals are our time to theirs, wall / user+sys: `cp` of the same input, `editcap` copying the pcapng that
was written. Peak is the resident set at its highest; the traces of many processors, for which it matters, are read
once, to /dev/null. dissect.etl walks a smaller trace of the same kind and does nothing with the records; the rates are
compared, its own without the time to start.

Measured on {datetime.date.today().isoformat()} with etwcap {__version__}: {_processor()}, Linux {platform.release()},
Python {platform.python_version()}.

{table(results, judged=scale == 1)}

{_NOTES.read_text(encoding="utf-8")}"""


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
