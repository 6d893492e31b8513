"""``etwcap synth``: a capture as the trace, or the recording of raw sockets, that Windows would have left of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from etwcap.cli.backend import hint_at_slow_core
from etwcap.cli.progress import Progress

if TYPE_CHECKING:
    from etwcap.synth.run import SynthOutcome

TAPS = ("ndiscap", "pktmon", "vmswitch", "wfp", "ras", "raw")
DEFAULT_CIRCULAR = 64

EPILOG = """\b
Examples:
  etwcap synth web.pcapng -w web.etl --as pktmon --appearances 6 --processors 4
  etwcap synth web.pcapng -w old.etl --as ndiscap --os-build 7601 --fragments 3
  etwcap synth web.pcapng -w lso.etl --as ndiscap --lso --offload --local 192.0.2.10
  etwcap synth web.pcapng -w cut.etl --as pktmon --cut 100000
  etwcap synth web.pcapng -w vpn.etl --as ras
  etwcap synth web.pcapng -w web-raw.pcapng --as raw --no-pktinfo --tables half --disorder --seed 3

Exit codes: 0 done, 1 failed or no capture, 2 wrong usage, 3 the tap can hold none of the
packets, 4 damaged capture (what is intact is in the trace), 130 interrupted.
"""


@click.command("synth", epilog=EPILOG)
@click.argument("capture", type=click.Path())
@click.option("-w", "--write", "output", required=True, metavar="OUT", type=click.Path(), help="The trace to write.")
@click.option("--as", "tap", required=True, type=click.Choice(TAPS), help="Which tap of Windows recorded it.")
@click.option("--processors", type=int, default=1, show_default=True, metavar="N", help="Processors of the machine.")
@click.option(
    "--buffer-size", type=int, default=65536, show_default=True, metavar="BYTES", help="Size of the session's buffers."
)
@click.option("--compress/--no-compress", default=None, help="Compressed buffers; else as the tap's own tool writes.")
@click.option("--relogged/--no-relogged", default=None, help="As merged at the stop; else as the tap's own tool does.")
@click.option("--clock", type=click.IntRange(1, 3), default=1, show_default=True,
              help="What stamps the events: 1 QPC, 2 system time, 3 processor cycles.")  # fmt: skip
@click.option("--frequency", type=int, metavar="HZ", help="Ticks of that clock per second.")
@click.option("--pointer-size", type=click.Choice(["4", "8"]), default="8", show_default=True, help="32 or 64 bits.")
@click.option("--os-build", type=int, default=26100, show_default=True, metavar="BUILD",
              help="The build of Windows: its event layouts, and how PktMon numbers packets.")  # fmt: skip
@click.option("--appearances", type=int, default=1, show_default=True, metavar="N",
              help="Components (PktMon) or layers (NdisCap) that see each packet.")  # fmt: skip
@click.option("--fragments", type=int, default=1, show_default=True, metavar="N",
              help="Split each packet over N events, as Windows 7 and 8 do.")  # fmt: skip
@click.option("--truncate", type=int, default=0, metavar="BYTES", help="Log no more than that of a packet.")
@click.option("--lso", is_flag=True, help="Merge sent TCP segments into large sends, whose IP header has length 0.")
@click.option("--offload", is_flag=True, help="Leave the checksums of sent packets open, as the adapter fills them in.")
@click.option("--drop-rate", type=float, default=0.0, metavar="SHARE",
              help="Share of the received packets with a drop report, 0 to 1 (PktMon).")  # fmt: skip
@click.option("--local", multiple=True, metavar="ADDRESS",
              help="An IP or MAC address of the machine; repeatable, comma lists. Else guessed.")  # fmt: skip
@click.option("--unclosed", is_flag=True, help="As a crash leaves it: no rundown, no end time.")
@click.option("--cut", type=int, default=0, metavar="BYTES", help="The file lacks so many bytes at its end.")
@click.option("--circular", type=int, is_flag=False, flag_value=DEFAULT_CIRCULAR, default=0, metavar="[BUFFERS]",
              help=f"A circular file with room for that many buffers ({DEFAULT_CIRCULAR} if not told).")  # fmt: skip
@click.option("--lose-buffers", type=int, default=0, metavar="N", help="N buffers never reached the file.")
@click.option("--no-pktinfo", is_flag=True,
              help="The sockets tell neither destination, interface, hop limit nor traffic class (raw).")  # fmt: skip
@click.option("--tables", type=click.Choice(["none", "half", "all"]), default="all", show_default=True,
              help="Which of the capture's addresses stand in the machine's address tables (raw).")  # fmt: skip
@click.option("--disorder", is_flag=True,
              help="Stamps of batches, answers before what they answer, near neighbours shuffled (raw).")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True,
              help="What is chosen at random depends on it alone.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No summary and no progress.")
@click.option(
    "--progress/--no-progress", default=None, help="Show progress on stderr; else only where that is a terminal."
)
def command(
    capture: str,
    output: str,
    tap: str,
    processors: int,
    buffer_size: int,
    compress: bool | None,
    relogged: bool | None,
    clock: int,
    frequency: int | None,
    pointer_size: str,
    os_build: int,
    appearances: int,
    fragments: int,
    truncate: int,
    lso: bool,
    offload: bool,
    drop_rate: float,
    local: tuple[str, ...],
    unclosed: bool,
    cut: int,
    circular: int,
    lose_buffers: int,
    no_pktinfo: bool,
    tables: str,
    disorder: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
    progress: bool | None,
) -> int:
    """Write a pcap or pcapng capture as the ETL trace that Windows would have left of it (with --as raw: as the
    recording of raw sockets), with faults as wished: test traces with a known answer.

    What the tap cannot hold is left out, told and counted.
    """
    from etwcap.synth.options import SynthOptions
    from etwcap.synth.run import synthesize

    default_frequency = 2_400_000_000 if clock == 3 else 10_000_000
    options = SynthOptions(
        tap=tap, processors=processors, buffer_size=buffer_size, compress=compress, relogged=relogged, clock=clock,
        frequency=default_frequency if frequency is None else frequency, pointer_size=int(pointer_size),
        os_build=os_build, appearances=appearances, fragments=fragments, truncate=truncate, lso=lso, offload=offload,
        drop_rate=drop_rate, local=local, unclosed=unclosed, cut=cut, circular=circular, lose_buffers=lose_buffers,
        seed=seed, pktinfo=not no_pktinfo, tables=tables, disorder=disorder,
    )  # fmt: skip
    if not quiet:
        hint_at_slow_core([capture])
    with Progress("writing", wanted=False if quiet else progress) as show:
        outcome = synthesize(capture, output, options, progress=show)
    if as_json:
        click.echo(json.dumps(outcome.as_dict(), indent=2))
    elif not quiet:
        click.echo("\n".join(outcome_lines(outcome)), err=True)
    return outcome.exit_code


def outcome_lines(outcome: SynthOutcome) -> list[str]:
    """What was done, for people."""
    options = outcome.options
    made = "records of raw sockets" if options.tap == "raw" else f"events as {options.tap} of build {options.os_build}"
    lines = [
        f"{outcome.output}: {outcome.packets:,} packets in {outcome.records:,} {made}, {outcome.size:,} bytes;"
        f" {outcome.received:,} received, {outcome.sent:,} sent"
    ]
    if outcome.local:
        lines.append(f"  the machine is taken to be {outcome.local} (--local says otherwise)")
    if outcome.lost_buffers:
        lines.append(f"  buffers that never reached the file: {outcome.lost_buffers:,}")
    lines += [f"  {note.text}: {note.count:,}" for note in outcome.receipt.notes.values()]
    return lines
