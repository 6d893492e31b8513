"""The words of an expression one by one, and what is said where one is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from etwcap.filters.words import FilterError, Word, suggestion, words_of

DEEPEST = 60
"""Levels of parentheses and of ``not``."""
WORD32 = 0xFFFFFFFF
"""the largest number"""


class Reader:
    """Where in an expression the parsing stands. Everything that fails raises FilterError at its word."""

    def __init__(self, expression: str) -> None:
        self.text = expression
        self.words = words_of(expression)
        self.at = 0
        self._depth = 0

    @property
    def word(self) -> Word:
        """The word that is next."""
        return self.words[self.at]

    def next(self) -> Word:
        """Take the word that is next; the end stays."""
        word = self.word
        self.at += word.kind != "end"
        return word

    def is_word(self, *texts: str) -> bool:
        """Whether one of these is next, unquoted."""
        return self.word.kind in ("name", "sign") and self.word.text in texts

    def take(self, *texts: str) -> bool:
        """Take one of these if it is next."""
        found = self.is_word(*texts)
        self.at += found
        return found

    def fail(self, what: str, hint: str = "", word: Word | None = None) -> NoReturn:
        """Raise FilterError at ``word``, or at the one that is next."""
        word = word or self.word
        if word.kind == "end":
            what = f"the expression ends too early: {what}"
        elif not hint and word.kind == "name":
            hint = suggestion(word.text)
        raise FilterError(what, self.text, word, hint)

    @contextmanager
    def nested(self) -> Iterator[None]:
        """One level deeper."""
        self._depth += 1
        if self._depth > DEEPEST:
            self.fail(f"more than {DEEPEST} levels of parentheses")
        try:
            yield
        finally:
            self._depth -= 1

    def number(self, what: str, highest: int) -> int:
        """Take a number up to ``highest``; ``what`` says what it is."""
        word = self.next()
        if word.kind != "number":
            self.fail(f"{what} is expected here", word=word)
        number = self.integer(word)
        if number > highest:
            self.fail(f"{what} is expected here", word=word)
        return number

    def integer(self, word: Word) -> int:
        """The number that a word is, 32 bits."""
        try:
            number = as_c_writes_it(word.text)
        except ValueError:
            self.fail(f"{word.text} is no number", word=word)
        if number > WORD32:
            self.fail(f"{word.text} does not fit 32 bits", word=word)
        return number


def as_c_writes_it(text: str) -> int:
    """A number as C writes it: 0x for hexadecimal, a leading 0 for octal. Raises ValueError."""
    if not text.isascii() or not text.isalnum() or len(text) > 32:
        raise ValueError(text)
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    return int(text, 8) if text.startswith("0") and len(text) > 1 else int(text, 10)
