"""``etwcap completion``: the scripts that complete etwcap in a shell, and the answers those scripts ask for."""

from __future__ import annotations

import os
from typing import Any

import click
from click import shell_completion

from etwcap.cli.app import COMPLETION_VARIABLE

_POWERSHELL = """\
Register-ArgumentCompleter -Native -CommandName %(prog_name)s -ScriptBlock {
    param($word, $tree, $cursor)
    $before = $tree.ToString()
    $cursor -= $tree.Extent.StartOffset
    if ($cursor -lt $before.Length) { $before = $before.Substring(0, $cursor) }
    $env:COMP_WORDS = $before
    $env:COMP_WORD = $word
    $env:%(complete_var)s = 'powershell_complete'
    try { $found = @(%(prog_name)s) }
    finally {
        Remove-Item -ErrorAction SilentlyContinue -Path 'Env:COMP_WORDS', 'Env:COMP_WORD', 'Env:%(complete_var)s'
    }
    foreach ($line in $found) {
        $kind, $value, $help = $line -split "`t", 3
        if ($kind -ne 'plain') { [System.Management.Automation.CompletionCompleters]::CompleteFilename($word) }
        else { [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $help) }
    }
}
"""


class PowerShellComplete(shell_completion.ShellComplete):
    """Completion for Windows PowerShell and PowerShell 7, spoken over the environment as click's own shells do.

    The script gives the line up to the cursor in COMP_WORDS and the word there in COMP_WORD; the answer is one line
    ``kind TAB value TAB help`` for each proposal.
    """

    name = "powershell"
    source_template = _POWERSHELL

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is completed, and that one."""
        words = shell_completion.split_arg_string(os.environ.get("COMP_WORDS", "").replace("\\", "\\\\"))
        incomplete = os.environ.get("COMP_WORD", "").strip("'\"")
        before = words[1:]
        if incomplete and before:
            before.pop()
        return before, incomplete

    def format_completion(self, item: shell_completion.CompletionItem) -> str:
        """One proposal as a line."""
        # PowerShell takes no empty tooltip.
        return f"{item.type}\t{item.value}\t{item.help or item.value}"


shell_completion.add_completion_class(PowerShellComplete)

SHELLS = ("bash", "zsh", "fish", "powershell")


def answer(group: click.Command, instruction: str) -> int:
    """Answer a completion script; ``instruction`` is the variable's value: ``SHELL_source`` or ``SHELL_complete``."""
    extra: dict[str, Any] = {}
    return shell_completion.shell_complete(group, extra, "etwcap", COMPLETION_VARIABLE, instruction)


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> int:
    """Print the script that completes etwcap's commands, options and files in SHELL.

    \b
    bash        eval "$(etwcap completion bash)"         in ~/.bashrc
    zsh         eval "$(etwcap completion zsh)"          in ~/.zshrc
    fish        etwcap completion fish | source          in ~/.config/fish/config.fish
    powershell  etwcap completion powershell | Out-String | Invoke-Expression    in $PROFILE
    """
    return answer(ctx.find_root().command, f"{shell}_source")
