"""``etwcap convert``: traces and captures to one pcapng or pcap file."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from etwcap.cli.backend import hint_at_slow_core
from etwcap.cli.explain import explain_filter
from etwcap.cli.progress import Progress
from etwcap.cli.summary import conversion_lines
from etwcap.cli.words import STANDARD, default_output, sort_words
from etwcap.errors import UsageError

if TYPE_CHECKING:
    from etwcap.pipeline.convert import Outcome
    from etwcap.sinks.pieces import Rotation

REPAIRS = ("wifi", "ipv6", "order")
"""Names that ``--repair`` knows."""

PLANNED_REPAIRS = ("length", "checksums", "duplicates")

EPILOG = """\b
Examples:
  etwcap convert trace.etl                     writes trace.pcapng here
  etwcap convert trace.etl -w out.pcapng       replaces out.pcapng when it is whole
  etwcap convert trace.etl --appearances all   every sighting of a packet is a frame
  etwcap convert trace.etl -w out.pcap --ethernet
  etwcap convert *.etl -w all.pcapng           merges in time
  etwcap convert trace.etl -w - | tshark -r -
  etwcap convert trace.etl -w web.pcapng tcp port 80 and not host 203.0.113.1
  etwcap convert trace.etl --start 2024-01-17T21:20 --end +10m
  etwcap convert trace.etl -C 100              pieces of 100 MB: trace.pcapng, trace.pcapng1 …
  etwcap convert trace.etl --strip-payload --anonymize @key.txt -w share.pcapng

Exit codes: 0 done, 1 failed or not a trace, 2 wrong usage, 3 no packet to write,
4 damaged input (what is intact is in the output), 130 interrupted.
"""


def check_repair(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    """The value of ``--repair`` as given; raises UsageError for a name that is not known."""
    names = [name.strip() for name in value.split(",")]
    for position, name in enumerate(names):
        bare = name.removeprefix("-")
        if bare in PLANNED_REPAIRS:
            raise UsageError(
                f"the repair {bare!r} is not there yet",
                cause=f"--repair {value}",
                hint=f"there is: {', '.join(REPAIRS)}",
            )
        if bare not in REPAIRS and not (name in ("auto", "all", "none") and position == 0):
            raise UsageError(
                f"there is no repair {name!r}",
                cause=f"--repair {value}",
                hint="--repair auto|all|none|NAME,…; -NAME takes one out",
            )
    return ",".join(names)


@click.command("convert", epilog=EPILOG)
@click.argument("words", nargs=-1, type=click.Path(), metavar="INPUT… [OUT] [FILTER]")
@click.option(
    "-w", "--write", "output", metavar="OUT", type=click.Path(), help="The output, replaced when whole; - is stdout."
)
@click.option(
    "--format",
    "capture_format",
    type=click.Choice(["pcapng", "pcap"]),
    help="The output's format; else its suffix says.",
)
@click.option(
    "--appearances",
    default="wire",
    show_default=True,
    metavar="wire|all|first|NAME",
    help="Which sighting of a packet is kept: the one nearest the wire, every one, the first, or those of a component "
    "(by name or id).",
)
@click.option("--no-drops", is_flag=True, help="Leave out frames that exist only as a drop report.")
@click.option("--ethernet", is_flag=True, help="Turn 802.11 data frames into the Ethernet frames that the stack saw.")
@click.option(
    "--no-radiotap",
    is_flag=True,
    help="Leave out what the radio told of received 802.11 frames (signal, channel, rate).",
)
@click.option(
    "--repair",
    default="auto",
    show_default=True,
    callback=check_repair,
    metavar="auto|all|none|NAME,…",
    help="What to put right: wifi (a Protected bit on clear frames), ipv6 (headers that raw sockets leave out), order "
    "(answers before their causes; auto: only where raw sockets recorded). -NAME takes one out, as in all,-wifi.",
)
@click.option(
    "--order",
    type=click.Choice(["causal", "none"]),
    help="causal: put packets behind those that they answer, in any input; none: in no input. Else as --repair says.",
)
@click.option(
    "--local",
    multiple=True,
    metavar="ADDRESS",
    help="An address of the machine that captured, for --order; repeatable, and commas separate several.",
)
@click.option(
    "--evidence",
    type=click.Choice(["comments"]),
    multiple=True,
    help="Write why a packet was changed into its comment.",
)
@click.option(
    "-i",
    "--interface",
    "interfaces",
    multiple=True,
    metavar="NAME|INDEX",
    help="Only packets of this interface; repeatable.",
)
@click.option(
    "--filter",
    "expression",
    metavar="EXPR",
    help="Only packets that match, in the language of tcpdump; the words at the end of the command are the same.",
)
@click.option("--explain-filter", "explain", is_flag=True, help="Show what the filter asks of a packet, and end.")
@click.option(
    "--tap",
    type=click.Choice(["pktmon", "ndiscap", "wfp"]),
    default=None,
    help="With --explain-filter: what of it that tap's own filter could take over.",
)
@click.option(
    "--start",
    metavar="TIME",
    help="Only packets from then on: 2024-01-17T21:20:00.5 (UTC, or with a zone), 2024-01-17, +30s after the first "
    "packet, -10m before the last.",
)
@click.option("--end", metavar="TIME", help="Only packets before that time; written as for --start.")
@click.option("-c", "--count", type=int, metavar="N", help="Stop reading after N packets.")
@click.option("-s", "--snaplen", type=int, metavar="BYTES", help="Cut packets to so many bytes; their lengths stay.")
@click.option(
    "--strip-payload", is_flag=True, help="Cut packets behind their headers (link, IP, TCP, UDP, ICMP); lengths stay."
)
@click.option(
    "--anonymize",
    metavar="KEY|@FILE",
    help="Map the addresses in headers by a key, prefixes kept, right checksums right; leave out names. What "
    "applications send stays: --strip-payload cuts it.",
)
@click.option(
    "-C",
    "piece_size",
    metavar="SIZE",
    help="Begin a new file when one is larger: millions of bytes, or with k, m, g KiB, MiB, GiB.",
)
@click.option(
    "-G",
    "piece_period",
    metavar="SECONDS",
    help="Begin a new file after so many seconds of the packets' time; OUT holds codes such as %H%M%S (UTC).",
)
@click.option(
    "-W",
    "piece_count",
    type=click.IntRange(min=1),
    metavar="N",
    help="With -C a ring of N files; with -G stop after N files.",
)
@click.option("--hash", "hashed", is_flag=True, help="Put the SHA-256 of each input into the output and the receipt.")
@click.option(
    "--receipt", type=click.Path(dir_okay=False), metavar="FILE", help="Write what was done as JSON into FILE."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON, on stdout (with -w - on stderr).")
@click.option("-q", "--quiet", is_flag=True, help="No summary and no progress.")
@click.option(
    "--progress/--no-progress", default=None, help="Show progress on stderr; else only where that is a terminal."
)
def command(
    words: tuple[str, ...],
    output: str | None,
    capture_format: str | None,
    appearances: str,
    no_drops: bool,
    ethernet: bool,
    no_radiotap: bool,
    repair: str,
    order: str | None,
    local: tuple[str, ...],
    evidence: tuple[str, ...],
    interfaces: tuple[str, ...],
    expression: str | None,
    explain: bool,
    tap: str | None,
    start: str | None,
    end: str | None,
    count: int | None,
    snaplen: int | None,
    strip_payload: bool,
    anonymize: str | None,
    piece_size: str | None,
    piece_period: str | None,
    piece_count: int | None,
    hashed: bool,
    receipt: str | None,
    as_json: bool,
    quiet: bool,
    progress: bool | None,
) -> int:
    """Turn ETL traces, pcap and pcapng captures into one pcapng (or pcap) file in time order.

    Leading words that are files are inputs. Without -w, one more word that ends in .pcapng, .pcap or .cap is the
    output; without any, the first input's name with .pcapng in the current folder, which is never replaced.
    """
    if explain:
        explain_filter(words, expression, tap)
        return 0
    if tap is not None:
        raise UsageError("--tap only explains a filter", cause=f"--tap {tap}", hint="add --explain-filter")
    inputs, output, wanted = sort_words(words, output)
    if wanted and expression is not None:
        raise UsageError(
            "two filters", cause=f"--filter {expression}, and: {' '.join(wanted)}", hint="name one of them"
        )
    expression = " ".join(wanted) if wanted else expression
    pieces = piece_size is not None or piece_period is not None or piece_count is not None
    if output is None and not pieces:
        output = default_output(inputs, capture_format)
    if receipt is not None:
        check_receipt(receipt, [*inputs, output or ""])

    from etwcap.pipeline.convert import ConvertOptions, convert

    options = ConvertOptions(
        appearances=appearances,
        drops=not no_drops,
        ethernet=ethernet,
        repair=repair,
        order=order,
        local=local,
        format=capture_format,
        radiotap=not no_radiotap,
        interfaces=interfaces,
        hash=hashed,
        evidence=evidence,
        filter=expression,
        start=start,
        end=end,
        count=count,
        snap_length=snaplen,
        strip_payload=strip_payload,
        anonymize=read_key(anonymize) if anonymize is not None else None,
        rotation=rotation(piece_size, piece_period, piece_count) if pieces else None,
    )
    if not quiet:
        hint_at_slow_core(inputs)
    with Progress("converting", wanted=False if quiet else progress) as show:
        outcome = convert(inputs, output, options, progress=show)
    if receipt is not None:
        write_receipt(receipt, outcome.as_dict())
    _tell(outcome, as_json=as_json, quiet=quiet, to_stdout=output == STANDARD)
    return outcome.exit_code


def read_key(text: str) -> bytes:
    """The key of ``--anonymize``: the text itself, or what is in @FILE but for the end of its last line."""
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        with open(text[1:], "rb") as file:
            return file.read(1 << 20).rstrip(b"\r\n")
    except OSError as error:
        raise UsageError(
            "the key cannot be read", cause=f"{text[1:]}: {error.strerror}", hint="--anonymize @FILE names a file"
        ) from error


def rotation(size: str | None, period: str | None, count: int | None) -> Rotation:
    """What ``-C``, ``-G`` and ``-W`` say. Raises UsageError."""
    from etwcap.repair.limits import parse_seconds
    from etwcap.sinks.pieces import Rotation, parse_size

    length = 0
    if period is not None:
        try:
            length = parse_seconds(period)
        except ValueError:
            length = 0
        if length <= 0:
            raise UsageError(f"{period!r} is no time", cause=f"-G {period}", hint="-G 3600, or -G 1h")
    return Rotation(parse_size(size) if size is not None else 0, length, count or 0)


def check_receipt(name: str, taken: list[str]) -> None:
    """Raise UsageError where the receipt would land in an input or in the output."""
    if os.path.realpath(name) in {os.path.realpath(other) for other in taken if other != STANDARD}:
        raise UsageError("the receipt needs a file of its own", cause=f"--receipt {name} is an input or the output")
    if name == STANDARD and taken[-1] == STANDARD:
        raise UsageError("stdout cannot take both the packets and the receipt", hint="name a file with --receipt")


def write_receipt(name: str, facts: dict[str, Any]) -> None:
    """Write the receipt as JSON; a file of that name is replaced when the new one is whole.

    Raises OutputError where it cannot be written; the converted output stands by then.
    """
    from etwcap.sinks.output import Output

    output = Output(name)
    try:
        output.write(json.dumps(facts, indent=2).encode("ascii") + b"\n")
    except BaseException:
        output.abort()
        raise
    output.commit()


def _tell(outcome: Outcome, *, as_json: bool, quiet: bool, to_stdout: bool) -> None:
    if as_json:
        click.echo(json.dumps(outcome.as_dict(), indent=2), err=to_stdout)
    elif not quiet:
        click.echo("\n".join(conversion_lines(outcome, to_stdout=to_stdout)), err=True)
