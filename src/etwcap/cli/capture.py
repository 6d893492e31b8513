"""``etwcap capture``: live packets into a file, a pipe, or lines on the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from etwcap.cli.convert import check_receipt, check_repair, read_key, rotation, write_receipt
from etwcap.cli.live import StatusLine, stopping_on_signals
from etwcap.cli.summary import conversion_lines
from etwcap.cli.words import STANDARD
from etwcap.errors import NotHereError, NothingToWriteError, UsageError

if TYPE_CHECKING:
    from etwcap.packets import Chunk, Context
    from etwcap.pipeline.convert import Outcome

EPILOG = """\b
Examples:
  etwcap capture -w out.pcapng                    until Ctrl-C
  etwcap capture                                  a line per packet
  etwcap capture -w out.pcapng tcp port 443
  etwcap capture --tap raw -i loopback -w lo.pcapng
  etwcap capture --tap pktmon,raw -w all.pcapng   the adapters, and the loopback
  etwcap capture -w out.pcapng --duration 1h --stop-when "tcp[tcpflags] & tcp-rst != 0"
  etwcap capture -w day-%Y%m%d-%H%M.pcapng -G 1h  a file an hour
  etwcap capture -w ring.pcapng -C 100 -W 10      the last 1,000 MB
  etwcap capture -w - | Wireshark.exe -k -i -

While it grows, the file is named out.part.pcapng; it holds whole blocks only, and can be opened.

Exit codes: 0 done (Ctrl-C too), 1 failed, 2 wrong usage, 3 no packet came, 5 rights missing, 6 not on this machine.
"""

NOT_HERE = "capturing needs Windows; here these work: etwcap info, convert, synth, completion"


@click.command("capture", epilog=EPILOG)
@click.argument("words", nargs=-1, metavar="[FILTER]")
@click.option(
    "--tap",
    "taps",
    metavar="TAP[,TAP]",
    help="How to capture; etwcap taps tells which can be used here. Else the best that can, and never one that "
    "interrupts the network.",
)
@click.option(
    "-i",
    "--interface",
    "interfaces",
    multiple=True,
    metavar="NAME|INDEX|loopback",
    help="Capture on this interface; repeatable. Else on all that are up, but for the loopback.",
)
@click.option(
    "-w", "--write", "output", metavar="OUT", type=click.Path(), help="The output; - is stdout. Without: lines."
)
@click.option(
    "--format", "capture_format", type=click.Choice(["pcapng", "pcap"]), help="The output's format; else its suffix."
)
@click.option(
    "--filter", "expression", metavar="EXPR", help="Only packets that match; the words at the end are the same."
)
@click.option("-c", "--count", type=int, metavar="N", help="End after N packets.")
@click.option("--duration", metavar="TIME", help="End after so long: 30s, 5m, 1h30m.")
@click.option("--stop-when", metavar="EXPR", help="End with the first packet that matches, which is written too.")
@click.option("-s", "--snaplen", type=int, metavar="BYTES", help="Cut packets to so many bytes; their lengths stay.")
@click.option("--strip-payload", is_flag=True, help="Cut packets behind their headers; lengths stay.")
@click.option("--anonymize", metavar="KEY|@FILE", help="Map the addresses in headers by a key; as in convert.")
@click.option("-C", "piece_size", metavar="SIZE", help="Begin a new file when one is larger: 100 is 100 MB, 512k, 2g.")
@click.option(
    "-G",
    "piece_period",
    metavar="SECONDS",
    help="Begin a new file after so long; OUT holds codes: %H%M%S (UTC).",
)
@click.option(
    "-W", "piece_count", type=click.IntRange(min=1), metavar="N", help="With -C a ring of N files; with -G end after N."
)
@click.option(
    "--repair", default="auto", callback=check_repair, metavar="auto|all|none|NAME,…", help="What to put right."
)
@click.option("--evidence", type=click.Choice(["comments"]), multiple=True, help="Say why in packets' comments.")
@click.option(
    "--raw-recording", is_flag=True, help="Tap raw: what the sockets gave, unrepaired; convert repairs it, and better."
)
@click.option(
    "--no-firewall-rule",
    is_flag=True,
    help="Tap raw: add no rule to the Windows firewall; what it stops on the way in is then not seen.",
)
@click.option(
    "--components",
    default="nics",
    metavar="nics|all|IDS",
    help="Tap pktmon: at the adapters, each packet once (nics), everywhere on its way through the stack (all), or at "
    "these components, by the ids of pktmon list.",
)
@click.option("--pktmon-api", is_flag=True, help="Tap pktmon: through PktMonApi.dll, though a better way is open.")
@click.option("--ipsec-clear", is_flag=True, help="Tap wfp: also what IPsec protects, in clear.")
@click.option("--yes", is_flag=True, help="Do not ask before something interrupts the network (tap ndiscap may).")
@click.option("-n", "numeric", is_flag=True, help="Lines: ports as numbers.")
@click.option("-v", "--verbose", is_flag=True, help="Lines: more of the headers.")
@click.option("--receipt", type=click.Path(dir_okay=False), metavar="FILE", help="Write what was done as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON, on stdout (with -w - on stderr).")
@click.option("-q", "--quiet", is_flag=True, help="No status line and no summary.")
def command(
    words: tuple[str, ...],
    taps: str | None,
    interfaces: tuple[str, ...],
    output: str | None,
    capture_format: str | None,
    expression: str | None,
    count: int | None,
    duration: str | None,
    stop_when: str | None,
    snaplen: int | None,
    strip_payload: bool,
    anonymize: str | None,
    piece_size: str | None,
    piece_period: str | None,
    piece_count: int | None,
    repair: str,
    evidence: tuple[str, ...],
    raw_recording: bool,
    no_firewall_rule: bool,
    components: str,
    pktmon_api: bool,
    ipsec_clear: bool,
    yes: bool,
    numeric: bool,
    verbose: bool,
    receipt: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Capture what this Windows machine sends and receives, with what Windows has itself.

    It goes on until Ctrl-C, or until -c, --duration or --stop-when ends it. Needs an administrator.
    """
    if sys.platform != "win32":
        raise NotHereError(NOT_HERE)
    if words and expression is not None:
        raise UsageError("two filters", cause=f"--filter {expression}, and: {' '.join(words)}", hint="name one of them")
    if receipt is not None:
        check_receipt(receipt, [output or ""])
    pieces = piece_size is not None or piece_period is not None or piece_count is not None

    from etwcap.inspect.lines import Style
    from etwcap.pipeline.capture import CaptureOptions
    from etwcap.taps.capturing import LiveOptions, capture_live

    options = LiveOptions(
        taps=tuple(name.strip() for name in taps.split(",")) if taps else (),
        interfaces=interfaces,
        raw_recording=raw_recording,
        firewall_rule=not no_firewall_rule,
        components=components,
        pktmon_api=pktmon_api,
        ipsec_clear=ipsec_clear,
        capture=CaptureOptions(
            repair=repair,
            filter=" ".join(words) if words else expression,
            stop_when=stop_when,
            count=count,
            duration=read_duration(duration) if duration is not None else None,
            snap_length=snaplen,
            strip_payload=strip_payload,
            anonymize=read_key(anonymize) if anonymize is not None else None,
            evidence=evidence,
            format=capture_format,
            rotation=rotation(piece_size, piece_period, piece_count) if pieces else None,
        ),
    )
    options.capture.check(output)
    show = printer(Style(numeric, verbose, interfaces=True)) if output is None else None
    live = capture_live(
        output if show is None else show, options, tell=None if quiet else tell, consent=agreed if yes else ask
    )
    status = StatusLine(output or "", live.lost, wanted=False if quiet or output is None else None)
    # the signals outermost: a console that closes waits until the rule, the sockets and the journal are gone too
    with stopping_on_signals(live.stop), live, status:
        outcome = live.run(status)
    return finish(outcome, output, receipt, as_json=as_json, quiet=quiet)


def read_duration(text: str) -> int:
    """``--duration`` in ns; a bare number is seconds. Raises UsageError."""
    from etwcap.repair.limits import parse_seconds

    try:
        return parse_seconds(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time", cause=f"--duration {text}", hint="--duration 30s, 5m, 1h30m"
        ) from error


def printer(style: object) -> Callable[[Chunk, Context], None]:
    """What prints a line per packet on stdout, each chunk at once."""
    from etwcap.inspect.lines import Style, packet_lines

    assert isinstance(style, Style)

    def show(chunk: Chunk, context: Context) -> None:
        if len(chunk.packets):
            sys.stdout.write("\n".join([*packet_lines(chunk, context, style), ""]))
            sys.stdout.flush()

    return show


def tell(line: str) -> None:
    """One line about what is being done, on stderr."""
    click.echo(f"etwcap: {line}", err=True)


def agreed(warning: str) -> bool:
    """``--yes``: what is interrupted is said, and not asked."""
    tell(warning)
    return True


def ask(warning: str) -> bool:
    """Whether the person at the terminal agrees; without a terminal nobody does."""
    if not sys.stdin.isatty():
        return False
    tell(warning)
    return click.confirm("Go on?", err=True)


def finish(outcome: Outcome, output: str | None, receipt: str | None, *, as_json: bool, quiet: bool) -> int:
    """Say what was captured. Raises NothingToWriteError where nothing was."""
    if receipt is not None:
        write_receipt(receipt, outcome.as_dict())
    if as_json:
        click.echo(json.dumps(outcome.as_dict(), indent=2), err=output == STANDARD)
    elif not quiet:
        click.echo("\n".join(conversion_lines(outcome, to_stdout=output in (None, STANDARD))), err=True)
    if outcome.exit_code == NothingToWriteError.exit_code and not as_json:
        raise NothingToWriteError(
            "no packet came", hint="etwcap taps tells what each tap sees; ports and addresses of the filter?"
        )
    return outcome.exit_code
