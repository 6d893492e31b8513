"""The command ``etwcap``: which commands there are, and how a run of one ends."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Sequence

import click

from etwcap._version import __version__
from etwcap.cli import failures
from etwcap.cli.signals import raise_on_signals
from etwcap.cli.words import shell_words

COMPLETION_VARIABLE = "_ETWCAP_COMPLETE"
"""Set by the shell's completion script: which shell asks, and for what."""

COMMANDS = {
    "capture": "Capture what this Windows machine sends and receives.",
    "cleanup": "End what captures that crashed left on this machine.",
    "completion": "Print the script that completes etwcap in your shell.",
    "convert": "Turn traces and captures into one pcapng or pcap file.",
    "info": "Say what is in a trace, and why there are no packets.",
    "selftest": "Try each tap of this Windows machine on traffic of which all is known.",
    "synth": "Write a capture as the trace that Windows would have left of it.",
    "taps": "Say which ways to capture this Windows machine has, and what each lacks.",
}
"""Name and one line of help; the command itself is the attribute ``command`` of the module of that name."""

HIDDEN = ("collect",)
"""Commands that etwcap runs itself; people do not."""

EPILOG = """\b
Exit codes:
  0    done; losses and an unclosed trace are notes
  1    failed, or not a trace
  2    wrong usage
  3    nothing to write: the input is intact, but no packet is left
  4    the input is damaged; what is intact was read
  5    administrator rights are missing
  6    this machine cannot do it
  130  interrupted
"""


class LazyGroup(click.Group):
    """A group that knows its commands' names and short helps, and imports a command only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in COMMANDS and cmd_name not in HIDDEN:
            return None
        command: click.Command = importlib.import_module(f"etwcap.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in ``--help``."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name; raises UsageError with a hint for any other word."""
        if args[0] not in (*COMMANDS, *HIDDEN) and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise failures.unknown_command(args[0], sorted(COMMANDS))
        return super().resolve_command(ctx, args)


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from etwcap.cli.backend import backend_title

    python = f"{platform.python_implementation()} {platform.python_version()}"
    click.echo(f"etwcap {__version__} ({backend_title()}; {python}; {platform.system()} {platform.machine()})")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version, whether the native core runs, and the Python.",
)
@click.pass_context
def app(ctx: click.Context) -> int:
    """Read the packet captures that Windows itself makes (ETL traces of PktMon and NdisCap, netsh trace), on any OS,
    and hand them to Wireshark; and capture on Windows, with what Windows has itself.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    return 0


def run(arguments: Sequence[str]) -> int:
    """Parse and run; everything that goes wrong is raised."""
    try:
        with app.make_context("etwcap", list(arguments)) as ctx:
            code = app.invoke(ctx)
    except click.exceptions.Exit as end:
        code = end.exit_code
    sys.stdout.flush()
    return int(code or 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (of this process unless ``arguments`` are given) and give its exit code.

    What went wrong is told on stderr in up to three lines: what, cause, hint. Only a fault of etwcap itself is raised.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    instruction = os.environ.get(COMPLETION_VARIABLE)
    try:
        if instruction:
            from etwcap.cli.completion import answer

            return answer(app, instruction)
        if arguments is not None:
            return run(arguments)
        raise_on_signals()
        return run(shell_words(sys.argv[1:]))
    except BaseException as error:
        return failures.report(error)
