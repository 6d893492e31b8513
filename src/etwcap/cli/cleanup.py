"""``etwcap cleanup``: ends what a crash left behind."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from etwcap.errors import NotHereError
from etwcap.words import safe_text

if TYPE_CHECKING:
    from etwcap.taps.cleanup import CleanupReport

NOT_HERE = "captures run on Windows, so nothing of theirs is left here; these work: etwcap info, convert, synth"

EPILOG = """\b
Firewall rules and trace sessions of etwcap whose process no longer runs are ended; those of captures under way stay.
Unfinished files (NAME.part.pcapng) are named and left: they hold whole packets, and etwcap convert reads them.

\b
Exit codes: 0 nothing is left, 1 something could not be ended, 5 rights missing, 6 not on this machine.
"""


@click.command("cleanup", epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print what was found and done as JSON.")
def command(as_json: bool) -> int:
    """End what captures that crashed or were killed left on this machine: firewall rules, trace sessions.

    Run it elevated. Nothing that is not etwcap's is touched.
    """
    if sys.platform != "win32":
        raise NotHereError(NOT_HERE)
    from etwcap.taps.cleaning import clean_this_machine

    report = clean_this_machine()
    if as_json:
        facts = {"clean": report.clean, "items": [asdict(item) for item in report.items], "strange": report.strange}
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo("\n".join(report_lines(report)))
    return 0 if report.clean else 1


def report_lines(report: CleanupReport) -> list[str]:
    """What was found and done, a line each."""
    lines = [
        safe_text(f"{item.outcome}: {item.kind} {item.name} (process {item.process.pid})")
        + (f": {safe_text(item.why)}" if item.why else "")
        for item in report.items
    ]
    lines += [safe_text(f"left: {name}: {why}") for name, why in report.strange]
    return lines or ["nothing is left of earlier captures"]
