"""``etwcap taps``: which taps this machine can use."""

from __future__ import annotations

import json
import shutil
import sys

import click

from etwcap.errors import NotHereError, RightsError

NOT_HERE = "taps are Windows' own; here these work: etwcap info, convert, synth, completion"

EPILOG = """\b
First what can be used and what to type. Then of each tap what is missing or not known, and notes on what it does
without. The line that begins with > is the command that mends it, for an elevated prompt, or what sees the same.

\b
Exit codes: 0 a tap can be used, 5 only by an administrator, 6 none can, or this is not Windows.
"""


@click.command("taps", epilog=EPILOG)
@click.option("-v", "--verbose", is_flag=True, help="Also say what is in order.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def command(verbose: bool, as_json: bool) -> int:
    """Say which taps this machine can use, what each sees, what each lacks, and the exact command that mends it.

    Nothing is changed. As much as can be is told without an administrator's rights.
    """
    if sys.platform != "win32":
        raise NotHereError(NOT_HERE)
    from etwcap.taps.listing import WIDTH, tap_lines, tap_states
    from etwcap.taps.opening import all_taps
    from etwcap.windows.version import this_windows

    states = tap_states(all_taps().values())
    if as_json:
        click.echo(json.dumps([state.as_dict() for state in states], indent=2))
    else:
        width = shutil.get_terminal_size((WIDTH, 25)).columns if sys.stdout.isatty() else WIDTH
        click.echo("\n".join(tap_lines(states, width, machine=str(this_windows()), everything=verbose)))
    if any(state.usable is not False for state in states):
        return 0
    only_rights = any(state.lacks_only_rights for state in states)
    return RightsError.exit_code if only_rights else NotHereError.exit_code
