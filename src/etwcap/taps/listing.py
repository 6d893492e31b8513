"""What ``etwcap taps`` says: each tap, whether it can be used here, and the exact command for what is missing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from etwcap.packets.words import safe_text
from etwcap.taps.protocol import Condition, State, Tap, usable

WIDTH: Final = 100
"""columns where the terminal does not say"""
_SIGNS: Final = {State.MET: "ok", State.MISSING: "missing", State.UNKNOWN: "not known"}
_VERDICTS: Final = {True: "usable", False: "not usable", None: "maybe usable"}


@dataclass(frozen=True, slots=True)
class TapState:
    """A tap as it stands on this machine."""

    name: str
    sees: str
    conditions: tuple[Condition, ...]

    @property
    def usable(self) -> bool | None:
        """Whether it can be used; None: not known."""
        return usable(self.conditions)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "tap": self.name,
            "usable": self.usable,
            "sees": self.sees,
            "conditions": [
                {"name": c.name, "state": c.state.value, "why": c.why, "mend": c.mend, "needed": c.needed}
                for c in self.conditions
            ],
        }


def tap_states(taps: Iterable[Tap]) -> list[TapState]:
    """Ask each tap; nothing on the machine changes."""
    return [TapState(tap.name, tap.sees, tuple(tap.available())) for tap in taps]


def tap_lines(states: Iterable[TapState], width: int = WIDTH) -> list[str]:
    """The table as lines, wrapped to ``width``; a command that mends something is a line of its own, never wrapped."""
    states = list(states)
    names = max((len(state.name) for state in states), default=0)
    labels = max((len(c.name) for state in states for c in state.conditions), default=0)
    signs = max(len(sign) for sign in _SIGNS.values())
    lines: list[str] = []
    for state in states:
        head = f"{state.name:{names}}  {_VERDICTS[state.usable]}: "
        lines += [*([""] if lines else []), *_wrapped(head, state.sees, width, names + 2)]
        for condition in state.conditions:
            sign = _SIGNS[condition.state]
            if condition.state is State.MISSING and not condition.needed:
                sign = "without"
            label = f"{'':{names}}  {sign:{signs}}  {condition.name:{labels}}  "
            lines += _wrapped(label, safe_text(condition.why), width, len(label))
            if condition.state is not State.MET and condition.mend:
                lines.append(f"{'':{len(label)}}> {safe_text(condition.mend)}")
    return lines


def _wrapped(first: str, text: str, width: int, indent: int) -> list[str]:
    return textwrap.wrap(
        text, max(width, indent + 20), initial_indent=first, subsequent_indent=" " * indent, break_long_words=False
    ) or [first.rstrip()]
