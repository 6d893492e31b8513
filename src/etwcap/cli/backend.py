"""Which core runs, for people."""

from __future__ import annotations

import os
from collections.abc import Iterable

import click

from etwcap.native.loader import backend

LARGE_INPUT = 50_000_000
"""bytes: from here on the twin's slowness is worth a hint"""


def backend_title() -> str:
    """ "native core", or that it is missing."""
    return "native core" if backend() == "native" else "plain Python, no native core"


def hint_at_slow_core(inputs: Iterable[str]) -> None:
    """Say on stderr how to get the native core, where a large input is about to be read without it."""
    total = sum(os.path.getsize(name) for name in inputs if os.path.isfile(name))
    if total > LARGE_INPUT and backend() == "twin":
        click.echo(
            f"etwcap: reading {total / 1e6:,.0f} MB in plain Python, which takes a while\n"
            "hint: with a C compiler installed, pip install --force-reinstall etwcap builds the native core",
            err=True,
        )
