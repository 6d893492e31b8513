"""The firewall rule that lets packets in for the program that captures, for as long as it captures."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from etwcap.errors import EtwcapError, RightsError
from etwcap.taps.journal import FIREWALL_RULE, Journal
from etwcap.windows.firewall import Firewall, rule_name
from etwcap.windows.processes import ProcessIdentity

INTERPRETERS: Final = ("python", "pythonw", "pypy", "py")


def open_firewall(
    stack: ExitStack,
    tell: Callable[[str], None],
    journal: Journal,
    firewall: Firewall,
    identity: ProcessIdentity,
    program: str,
) -> None:
    """Add the rule, which ``stack`` takes away again; it stands in the journal before it is there.

    Says what is about to be done first. Goes on without the rule where the firewall takes none (its service may not
    run). Raises RightsError.
    """
    tell(f"until the end of this capture a firewall rule lets packets in for {program}")
    stem = os.path.splitext(program.replace("\\", "/").rpartition("/")[2])[0].casefold().rstrip("0123456789.")
    if stem in INTERPRETERS:
        tell(
            "this is the Python that runs etwcap, so for that time the rule holds for every program it runs; "
            "--no-firewall-rule goes without it"
        )
    name = rule_name(identity)
    entry = journal.record(FIREWALL_RULE, name)

    def close() -> None:
        firewall.remove(name)
        journal.forget(entry)

    try:
        firewall.add(name, program)
    except RightsError:
        close()
        raise
    except EtwcapError as error:
        close()
        tell(f"going on without the firewall rule: {error}")
        return
    stack.callback(close)
