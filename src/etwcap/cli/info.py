"""``etwcap info``: what is in a trace."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import click

from etwcap.cli import failures
from etwcap.cli.backend import hint_at_slow_core
from etwcap.cli.progress import Progress
from etwcap.errors import EtwcapError

PIPED_WIDTH = 100
"""Columns of the text where stdout is no terminal."""

EPILOG = """\b
Examples:
  etwcap info trace.etl
  etwcap info --filter 'tcp port 443' trace.etl
  etwcap info --json trace.etl | jq .packets

Exit codes: 0 read, 1 cannot be read or no trace, 2 wrong usage, 4 damaged;
of several files the worst: 1, then 4, then 0.
"""


@click.command("info", epilog=EPILOG)
@click.argument("traces", nargs=-1, required=True, type=click.Path(), metavar="TRACE…")
@click.option(
    "--filter", "expression", metavar="EXPR", help="Count only packets that match, in the language of tcpdump."
)
@click.option(
    "--json", "as_json", is_flag=True, help="All of it as JSON: an object, or an array of them for several files."
)
@click.option(
    "--progress/--no-progress", default=None, help="Show progress on stderr; else only where that is a terminal."
)
def command(traces: tuple[str, ...], expression: str | None, as_json: bool, progress: bool | None) -> int:
    """Say what session wrote a trace, on what system, what is in it, what was lost or is damaged, and, where it has no
    packets, why and which command captures some.
    """
    from etwcap.inspect.info import describe_trace

    hint_at_slow_core(traces)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH
    codes: list[int] = []
    described: list[dict[str, Any]] = []
    for position, trace in enumerate(traces):
        try:
            with Progress("reading", wanted=progress) as show:
                facts = describe_trace(trace, filter=expression, progress=show)
        except (EtwcapError, OSError) as error:
            codes.append(failures.tell(error))
            if len(traces) > 1:
                described.append({"path": trace, "error": failures.as_dict(error)})
            continue
        codes.append(facts.exit_code)
        if as_json:
            described.append(facts.as_dict())
        else:
            click.echo("\n" * (position > 0) + facts.render(width).rstrip("\n"))
    if as_json and described:
        click.echo(json.dumps(described[0] if len(traces) == 1 else described, indent=2))
    return worst(codes)


def worst(codes: list[int]) -> int:
    """The exit code for several files: one that could not be read outweighs a damaged one."""
    return next((code for code in codes if code not in (0, 4)), max(codes))
