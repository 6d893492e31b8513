"""``--explain-filter``: what a filter asks of a packet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import cast

import click

from etwcap.errors import UsageError


def explain_filter(words: Sequence[str], expression: str | None, tap: str | None) -> None:
    """Print the tree of the filter and its program for Ethernet; with a tap, what that could take over.

    The filter is ``expression``, else the words behind leading ones that are files. Raises UsageError without one.
    """
    if expression is None:
        rest = list(words)
        while rest and os.path.isfile(rest[0]):
            rest.pop(0)
        expression = " ".join(rest)
    if not expression.strip():
        raise UsageError("there is no filter to explain", hint="etwcap convert --explain-filter tcp port 443")

    from etwcap.filters.compiled import Filter
    from etwcap.filters.split import Tap, split

    chosen = Filter(expression)
    lines = chosen.explained()
    if tap is not None:
        lines += ["", *split(chosen.tree, cast("Tap", tap)).lines()]
    click.echo("\n".join(lines))
