"""Values that are compared: arithmetic over numbers, lengths and bytes of headers."""

from __future__ import annotations

from etwcap.filters.names import CONSTANTS, LINK_WORDS, NOT_SUPPORTED, QUALIFIERS
from etwcap.filters.reader import DEEPEST, Reader
from etwcap.filters.tree import Arithmetic, Field, LengthValue, Negative, Number, Relation, Value
from etwcap.filters.words import Word

_COMPARE = {"=": "=", "==": "=", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_LEVELS = (("|",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/"))
"""Operators from the loosest to the closest. ``^`` and ``%`` have no rank in libpcap's grammar: they bind the value on
their left to everything on their right."""


def is_relation(reader: Reader) -> bool:
    """Whether the number here is followed by an operator."""
    after = reader.words[reader.at + 1]
    return after.kind == "sign" and after.text not in (")", "!", "&&", "||", "[", "]", ":", "(")


def starts_relation(reader: Reader) -> bool:
    """Whether a value to be compared begins here, rather than a primitive."""
    word = reader.word
    if word.kind == "number":
        return True
    if word.kind == "sign":
        return word.text in ("-", "(")
    if word.kind != "name":
        return False
    after = reader.words[reader.at + 1]
    return (
        word.text in ("len", "length")
        or word.text in CONSTANTS
        or (after.kind == "sign" and after.text == "[" and (word.text in QUALIFIERS or word.text == "radio"))
    )


def parenthesis_is_value(reader: Reader) -> bool:
    """Whether the parenthesis here belongs to a value: whether an operator follows its end, or only a value can
    stand in it."""
    depth = 0
    for number in range(reader.at, len(reader.words)):
        word = reader.words[number]
        if word.kind == "sign" and word.text == "(":
            depth += 1
        elif word.kind == "sign" and word.text == ")":
            depth -= 1
            if depth == 0:
                after = reader.words[number + 1]
                return after.kind == "sign" and after.text not in (")", "&&", "||", "!", "(", "]", "[", ":")
    return False


def relation(reader: Reader) -> Relation:
    """Two values and the comparison between them."""
    left = _arithmetic(reader, 0)
    word = reader.next()
    operator = _COMPARE.get(word.text) if word.kind == "sign" else None
    if operator is None:
        reader.fail("a comparison is expected here: = != < <= > >=", word=word)
    return Relation(operator, left, _arithmetic(reader, 0))


def _arithmetic(reader: Reader, level: int) -> Value:
    if level == len(_LEVELS):
        return _factor(reader)
    left = _arithmetic(reader, level + 1)
    steps = 0
    while reader.is_word(*_LEVELS[level]):
        word = reader.next()
        right = _arithmetic(reader, level + 1)
        _check(reader, word, right)
        left = Arithmetic(word.text, left, right)
        steps += 1
        if steps > DEEPEST:
            reader.fail("too many operators in one value", word=word)
    return left


def _check(reader: Reader, word: Word, right: Value) -> None:
    if isinstance(right, Number):
        if word.text in ("/", "%") and right.value == 0:
            reader.fail("division by zero", word=word)
        if word.text in ("<<", ">>") and right.value > 31:
            reader.fail("a shift by more than 31 bits", word=word)


def _factor(reader: Reader) -> Value:
    with reader.nested():
        value = _operand(reader)
        if reader.is_word("^", "%"):
            word = reader.next()
            right = _arithmetic(reader, 0)
            _check(reader, word, right)
            value = Arithmetic(word.text, value, right)
        return value


def _operand(reader: Reader) -> Value:
    word = reader.next()
    if word.kind == "number":
        return Number(reader.integer(word))
    if word.kind == "sign" and word.text == "-":
        return Negative(_factor(reader))
    if word.kind == "sign" and word.text == "(":
        value = _arithmetic(reader, 0)
        if not reader.take(")"):
            reader.fail("a closing parenthesis is missing")
        return value
    if word.kind == "name" and word.text in ("len", "length"):
        return LengthValue()
    if word.kind == "name" and word.text in CONSTANTS:
        return Number(CONSTANTS[word.text])
    if word.kind == "name" and reader.take("["):
        return _field(reader, word)
    return reader.fail("a number, a constant, len or PROTO[OFFSET:SIZE] is expected here", word=word)


def _field(reader: Reader, word: Word) -> Value:
    if word.text not in QUALIFIERS or word.text in ("ah", "esp", "iso", "stp", "ipx", "netbeui", "aarp"):
        hint = NOT_SUPPORTED.get(word.text, "")
        reader.fail(f"{word.text} cannot be indexed", hint, word)
    index = _arithmetic(reader, 0)
    size = 1
    if reader.take(":"):
        at = reader.word
        size = reader.number("a size of 1, 2 or 4", 4)
        if size not in (1, 2, 4):
            reader.fail("a size of 1, 2 or 4 is expected here", word=at)
    if not reader.take("]"):
        reader.fail("] is expected here")
    return Field("link" if word.text in LINK_WORDS else word.text, index, size)
