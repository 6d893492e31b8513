"""``etwcap selftest``: every tap on this machine, against traffic that it makes itself."""

from __future__ import annotations

import json
import sys

import click

from etwcap.errors import NotHereError

NOT_HERE = "taps are Windows' own; here these work: etwcap info, convert, synth, completion"

EPILOG = """\b
The report names this machine's Windows, its own addresses and its adapters, and nothing else of its network. It is
what we need to know how etwcap does on a Windows that we have not seen: please send it.

\b
Exit codes: 0 every tap that was tried is good, 1 one is not, 5 rights missing, 6 not on this machine.
"""


@click.command("selftest", epilog=EPILOG)
@click.option(
    "--tap",
    "taps",
    metavar="TAP[,TAP]",
    help="Only these; else every tap that can be used here and interrupts nothing.",
)
@click.option("--no-firewall-rule", is_flag=True, help="Add no rule to the firewall.")
@click.option("--yes", is_flag=True, help="Do not ask before something interrupts the network (tap ndiscap may).")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(taps: str | None, no_firewall_rule: bool, yes: bool, as_json: bool) -> int:
    """Capture for a few seconds while this machine sends packets of which all is known, and say how right each tap was.

    They go over the loopback, and through each adapter to 192.0.2.1 and 2001:db8::1, which nobody has. Needs an
    administrator.
    """
    if sys.platform != "win32":
        raise NotHereError(NOT_HERE)
    from etwcap.cli.capture import agreed, ask
    from etwcap.taps.checking import check_taps
    from etwcap.taps.opening import all_taps, check_names

    known = all_taps()
    wanted = [name.strip() for name in taps.split(",")] if taps else []
    check_names(wanted, known)
    report = check_taps(known, wanted, firewall_rule=not no_firewall_rule, consent=agreed if yes else ask)
    click.echo(json.dumps(report.as_dict(), indent=2) if as_json else "\n".join(report.lines()))
    return 0 if report.good else 1
