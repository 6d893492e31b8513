"""``etwcap collect``: the part of a capture that holds rights, started by ``etwcap capture`` where it has none."""

from __future__ import annotations

import sys

import click

from etwcap.errors import NotHereError


@click.command("collect", hidden=True)
@click.option("--pipe", required=True, metavar="NAME", help="The pipe of the process that asks.")
@click.option("--front", required=True, type=int, metavar="PID", help="The process that asks.")
@click.option("--tap", "taps", required=True, metavar="TAP[,TAP]", help="How to capture.")
@click.option("-i", "--interface", "interfaces", multiple=True, metavar="NAME", help="Where.")
@click.option("--no-firewall-rule", is_flag=True, help="Add no rule to the firewall.")
@click.option("--raw-recording", is_flag=True, help="For a recording.")
@click.option("--filter", "expression", metavar="EXPR", help="For the taps to hand down.")
@click.option("--components", default="nics", metavar="nics|all|IDS", help="pktmon: where in the stack.")
@click.option("--pktmon-api", is_flag=True, help="pktmon: through PktMonApi.dll.")
@click.option("--ipsec-clear", is_flag=True, help="wfp: what IPsec protects, in clear.")
@click.option("--yes", "consented", is_flag=True, help="The user agreed to what is interrupted.")
def command(
    pipe: str,
    front: int,
    taps: str,
    interfaces: tuple[str, ...],
    no_firewall_rule: bool,
    raw_recording: bool,
    expression: str | None,
    components: str,
    pktmon_api: bool,
    ipsec_clear: bool,
    consented: bool,
) -> int:
    """Copy what is captured into the pipe of a process without rights, and nothing else."""
    if sys.platform != "win32":
        raise NotHereError("collecting needs Windows; here these work: etwcap info, convert, synth, completion")
    from etwcap.taps.collecting import Collection, run_collector

    wanted = Collection(
        tuple(taps.split(",")),
        interfaces,
        not no_firewall_rule,
        raw_recording,
        expression,
        components,
        pktmon_api,
        ipsec_clear,
        consented,
    )
    return run_collector(pipe, front, wanted)
