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
def command(
    pipe: str, front: int, taps: str, interfaces: tuple[str, ...], no_firewall_rule: bool, raw_recording: bool
) -> int:
    """Copy what is captured into the pipe of a process without rights, and nothing else."""
    if sys.platform != "win32":
        raise NotHereError("collecting needs Windows; here these work: etwcap info, convert, synth, completion")
    from etwcap.taps.collecting import Collection, run_collector

    wanted = Collection(tuple(taps.split(",")), interfaces, not no_firewall_rule, raw_recording)
    return run_collector(pipe, front, wanted)
