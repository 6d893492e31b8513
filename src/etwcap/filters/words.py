"""The words of a filter expression, and errors that point at one of them."""

from __future__ import annotations

import difflib
import re
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from etwcap.errors import UsageError
from etwcap.filters.names import WORDS

LONGEST = 65_536
"""Characters that an expression may have."""


class Word(NamedTuple):
    """One word: ``kind`` is number, address4, address6, mac, name, escaped, sign or end."""

    kind: str
    text: str
    at: int


class FilterError(UsageError):
    """A filter that cannot be understood. ``position``: offset of the wrong word in the expression."""

    def __init__(self, what: str, expression: str, word: Word, hint: str = "") -> None:
        end = word.at + len(word.text)
        marked = f"{expression[: word.at]}>>>{expression[word.at : end]}<<<{expression[end:]}"
        super().__init__(f"filter: {what}", cause=f"column {word.at + 1}: {_shortened(marked)}", hint=hint)
        self.position = word.at


def suggestion(text: str, known: tuple[str, ...] = WORDS) -> str:
    """A hint with the known words most like this one; empty where none is."""
    close = difflib.get_close_matches(text.lower(), known, 3, 0.6)
    return f"did you mean {' or '.join(close)}?" if close else ""


_BYTE = "[0-9A-Fa-f]{1,2}"
_PATTERNS = [
    ("number", re.compile(r"0[xX][0-9A-Fa-f]+|[0-9]+")),
    ("address4", re.compile(r"[0-9]+(\.[0-9]+){1,3}")),
    ("mac", re.compile(rf"{_BYTE}([:.-]{_BYTE}){{5}}|[0-9A-Fa-f]{{4}}(\.[0-9A-Fa-f]{{4}}){{2}}|[0-9A-Fa-f]{{12}}")),
    ("name", re.compile(r"[A-Za-z0-9]([-_.A-Za-z0-9]*[.A-Za-z0-9])?")),
    ("escaped", re.compile(r"\\[^ !()\n\t]+")),
    ("quoted", re.compile(r'"[^"]*"|' + r"'[^']*'")),
    ("sign", re.compile(r"<<|>>|<=|>=|!=|==|&&|\|\||[&|^<>=!()*/%+\-\[\]:]")),
]
_ADDRESS6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:]*(\d+\.\d+\.\d+\.\d+)?")
_SPACE = re.compile(r"\s*")


def words_of(expression: str) -> list[Word]:
    """The words, ``end`` last: the longest that can begin at each place, as pcap-filter(7) reads them.

    Raises FilterError at a character that begins none.
    """
    if len(expression) > LONGEST:
        raise UsageError(f"filter: longer than {LONGEST:,} characters")
    found: list[Word] = []
    at = 0
    while True:
        space = _SPACE.match(expression, at)
        assert space is not None
        at = space.end()
        if at == len(expression):
            return [*found, Word("end", "", at)]
        word = _word_at(expression, at)
        if word is None:
            raise FilterError(f"{expression[at]!r} does not belong here", expression, Word("sign", expression[at], at))
        found.append(word)
        at += len(word.text)


def _word_at(expression: str, at: int) -> Word | None:
    best: Word | None = None
    for kind, pattern in _PATTERNS:
        match = pattern.match(expression, at)
        if match is not None and (best is None or len(match[0]) > len(best.text)):
            best = Word(kind, match[0], at)
    match = _ADDRESS6.match(expression, at)
    if match is not None and (best is None or len(match[0]) > len(best.text)) and is_address6(match[0]):
        best = Word("address6", match[0], at)
    return best


def is_address6(text: str) -> bool:
    """Whether the text is an IPv6 address."""
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _shortened(marked: str) -> str:
    """The text around the mark, on one line."""
    marked = " ".join(marked.split())
    start, end = max(marked.find(">>>") - 60, 0), marked.find("<<<") + 60
    return ("…" if start else "") + marked[start:end] + ("…" if end < len(marked) else "")
