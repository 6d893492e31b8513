"""What ``etwcap taps`` says: what to type here, then each tap, whether it can be used, and what mends what is missing.

What is in order is told only when asked for; what all taps lack alike is told once.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from etwcap.taps.protocol import RIGHTS, Condition, State, Tap, usable, usable_with_consent
from etwcap.words import safe_text

WIDTH: Final = 100
"""columns where the terminal does not say"""
USUAL: Final = ("pktmon", "raw", "ndiscap", "wfp")
"""which tap to propose, the better first"""

_QUIET: Final = ("loopback", "api")
"""notes for those who ask for everything: a tap's own line says the first, and the second is a way beside others"""
_SIGNS: Final = {State.MET: "ok", State.MISSING: "missing", State.UNKNOWN: "not known"}
_NOTE: Final = "note"
_VERDICTS: Final = {True: "usable", False: "not usable", None: "maybe usable"}
_INDENT: Final = 2


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

    @property
    def lacks_only_rights(self) -> bool:
        """Whether an administrator could use it."""
        return self.usable is False and usable_with_consent(self.conditions) is not False

    @property
    def verdict(self) -> str:
        """In few words."""
        return "usable by an administrator" if self.lacks_only_rights else _VERDICTS[self.usable]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "tap": self.name,
            "usable": self.usable,
            "verdict": self.verdict,
            "sees": self.sees,
            "conditions": [
                {"name": c.name, "state": c.state.value, "why": c.why, "mend": c.mend, "needed": c.needed}
                for c in self.conditions
            ],
        }


def tap_states(taps: Iterable[Tap]) -> list[TapState]:
    """Ask each tap; nothing on the machine changes."""
    return [TapState(tap.name, tap.sees, tuple(tap.available())) for tap in taps]


def tap_lines(
    states: Iterable[TapState], width: int = WIDTH, *, machine: str = "this machine", everything: bool = False
) -> list[str]:
    """The whole answer as lines, wrapped to ``width``; a command is a line of its own, never wrapped.

    ``machine`` in few words; ``everything``: also what is in order, and the command for what a tap can do without.
    """
    states = list(states)
    shared = _shared(states)
    lines = _summary(states, shared, machine, width)
    for state in states:
        lines += ["", f"{state.name}: {state.verdict}", *_wrapped(" " * _INDENT, state.sees, width, _INDENT)]
        shown = [each for each in state.conditions if everything or _worth_saying(each, shared)]
        lines += _condition_lines(shown, width, everything)
    return lines


def _summary(states: Sequence[TapState], shared: Sequence[Condition], machine: str, width: int) -> list[str]:
    """What can be used, and what to type."""
    good = [state.name for state in states if state.usable]
    maybe = [state.name for state in states if state.usable is None]
    elevated = [state.name for state in states if state.lacks_only_rights]
    if good or maybe:
        parts = [f"{_names(good)} can be used"] if good else []
        parts += [f"{_names(maybe)} {'may be' if good else 'can perhaps be used'}"] if maybe else []
        return [*_wrapped("", f"{machine}: {', '.join(parts)}.", width, _INDENT), *_proposals(good or maybe)]
    if elevated:
        head = (
            f"{machine}: an administrator can use {_names(elevated)}. Windows asks for consent when a capture begins:"
        )
        mends = dict.fromkeys(c.mend for c in shared if c.name == RIGHTS and c.mend)
        first = [
            line for mend in mends for line in ("Or from a prompt that has the rights, which this opens:", f"  {mend}")
        ]
        return [*_wrapped("", head, width, _INDENT), *_proposals(elevated), *first]
    head = f"{machine}: no tap can be used. What others recorded can be read:"
    lines = [*_wrapped("", head, width, _INDENT), "  etwcap convert trace.etl"]
    for condition in shared:
        lines += _wrapped("", f"{condition.name}: {safe_text(condition.why)}", width, _INDENT)
        lines += [f"  > {safe_text(condition.mend)}"] if condition.mend else []
    return lines


def _proposals(names: Sequence[str]) -> list[str]:
    """What to type, the better tap first."""
    ranked = sorted(names, key=lambda name: USUAL.index(name) if name in USUAL else len(USUAL))
    commands = [(f"etwcap capture --tap {ranked[0]} -w out.pcapng", "")]
    if {"pktmon", "raw"} <= {*names}:
        commands.append(("etwcap capture --tap pktmon,raw -w out.pcapng", "the loopback too"))
    longest = max(len(command) for command, _ in commands)
    return [f"  {command:{longest}}  {why}".rstrip() for command, why in commands]


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _shared(states: Sequence[TapState]) -> list[Condition]:
    """What every tap lacks alike: the first tap's own word for it."""
    if len(states) < 2:
        return []
    first, *rest = states
    return [
        condition
        for condition in first.conditions
        if condition.needed
        and condition.state is State.MISSING
        and all(any(_alike(condition, each) for each in other.conditions) for other in rest)
    ]


def _worth_saying(condition: Condition, shared: Sequence[Condition]) -> bool:
    if condition.state is State.MET or any(_alike(condition, each) for each in shared):
        return False
    return condition.needed or condition.name not in _QUIET


def _alike(one: Condition, other: Condition) -> bool:
    return (one.name, one.state, one.mend, one.needed) == (other.name, other.state, other.mend, other.needed)


def _condition_lines(conditions: Sequence[Condition], width: int, everything: bool) -> list[str]:
    signs = [_NOTE if not c.needed and c.state is not State.MET else _SIGNS[c.state] for c in conditions]
    longest = max((len(c.name) for c in conditions), default=0)
    widest = max(map(len, signs), default=0)
    lines: list[str] = []
    for sign, condition in zip(signs, conditions, strict=True):
        label = f"{'':{_INDENT}}{sign:{widest}}  {condition.name:{longest}}  "
        lines += _wrapped(label, safe_text(condition.why), width, len(label))
        if condition.mend and condition.state is not State.MET and (everything or sign != _NOTE):
            lines.append(f"{'':{len(label)}}> {safe_text(condition.mend)}")
    return lines


def _wrapped(first: str, text: str, width: int, indent: int) -> list[str]:
    return textwrap.wrap(
        text, max(width, indent + 20), initial_indent=first, subsequent_indent=" " * indent, break_long_words=False
    ) or [first.rstrip()]
